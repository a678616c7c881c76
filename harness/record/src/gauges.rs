//! Gauges as step functions: pools, breakers, transfers.

use std::collections::{BTreeMap, BTreeSet};

use halfopen_core::{HostId, SimDuration, SimTime};

use crate::percentile::percentile;
use crate::phase::View;

/// A gauge's value from this instant on.
type Step = (SimTime, i64);

/// What a pool reports.
const POOL: [&str; 4] = ["pool.size", "pool.in_use", "pool.idle", "pool.waiting"];
/// The gauges that fall to zero when their host crashes: what they counted is gone.
const GONE_WITH_HOST: [&str; 5] = ["pool.size", "pool.in_use", "pool.idle", "pool.waiting", "breaker.open"];

/// All gauges of a run, and the waits for pools.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauges {
    steps: BTreeMap<String, BTreeMap<HostId, Vec<Step>>>,
    waits: Vec<Wait>,
}

/// A measured wait for a pool.
#[derive(Clone, Debug)]
struct Wait {
    segment: usize,
    host: HostId,
    waited: SimDuration,
}

impl Gauges {
    pub(crate) fn set(&mut self, at: SimTime, host: HostId, name: &str, value: i64) {
        match self.steps.get_mut(name) {
            Some(hosts) => hosts.entry(host).or_default().push((at, value)),
            None => {
                self.steps.insert(name.to_owned(), BTreeMap::from([(host, vec![(at, value)])]));
            }
        }
    }

    pub(crate) fn crashed(&mut self, at: SimTime, host: HostId) {
        for name in GONE_WITH_HOST {
            if let Some(steps) = self.steps.get_mut(name).and_then(|hosts| hosts.get_mut(&host)) {
                steps.push((at, 0));
            }
        }
    }

    pub(crate) fn waited(&mut self, segment: usize, host: HostId, waited: SimDuration) {
        self.waits.push(Wait { segment, host, waited });
    }

    fn of<'a>(&'a self, name: &str, view: &'a View) -> impl Iterator<Item = (HostId, &'a [Step])> {
        let hosts = self.steps.get(name).into_iter().flatten();
        hosts.filter(|(host, _)| view.has_host(**host)).map(|(host, steps)| (*host, steps.as_slice()))
    }

    fn host(&self, name: &str, host: HostId) -> &[Step] {
        self.steps.get(name).and_then(|hosts| hosts.get(&host)).map_or(&[], Vec::as_slice)
    }

    /// Whether any host of the view has this gauge.
    pub(crate) fn has(&self, name: &str, view: &View) -> bool {
        self.of(name, view).next().is_some()
    }

    /// The highest sum over the hosts of the view at any time in its spans.
    pub(crate) fn peak(&self, name: &str, view: &View) -> Option<i64> {
        let sums = self.sums(name, view);
        let inside = sums.iter().filter(|(from, to, _)| overlaps(view, *from, *to)).map(|(_, _, sum)| *sum);
        inside.max()
    }

    /// The sum over the hosts of the view as stretches of time with a value, from the first report on.
    pub(crate) fn sums(&self, name: &str, view: &View) -> Vec<(SimTime, SimTime, i64)> {
        let mut changes: Vec<(SimTime, i64)> = Vec::new();
        for (_, steps) in self.of(name, view) {
            let mut previous = 0;
            for (at, value) in steps {
                changes.push((*at, value.saturating_sub(previous)));
                previous = *value;
            }
        }
        changes.sort_by_key(|(at, _)| *at);
        let mut stretches: Vec<(SimTime, SimTime, i64)> = Vec::new();
        let mut sum: i64 = 0;
        for (at, change) in changes {
            sum = sum.saturating_add(change);
            match stretches.last_mut() {
                Some((from, _, value)) if *from == at => *value = sum,
                last => {
                    if let Some((_, to, _)) = last {
                        *to = at;
                    }
                    stretches.push((at, SimTime::FAR_FUTURE, sum));
                }
            }
        }
        stretches
    }

    /// The stretches of time in which the host's pool had all connections in use and somebody waiting.
    pub(crate) fn saturations(&self, host: HostId, run_end: SimTime) -> Vec<(SimTime, SimTime)> {
        let series = POOL.map(|name| self.host(name, host));
        let mut instants: Vec<SimTime> = series.iter().flat_map(|steps| steps.iter().map(|(at, _)| *at)).collect();
        instants.sort_unstable();
        instants.dedup();
        let mut position = [0usize; 4];
        let mut found: Vec<(SimTime, SimTime)> = Vec::new();
        let mut since = None;
        for at in instants {
            for (index, steps) in series.iter().enumerate() {
                while steps.get(position[index]).is_some_and(|(step, _)| *step <= at) {
                    position[index] += 1;
                }
            }
            let value = |index: usize| position[index].checked_sub(1).map(|last| series[index][last].1);
            match (is_saturated(value(0), value(1), value(2), value(3)), since) {
                (true, None) => since = Some(at),
                (false, Some(from)) => {
                    found.push((from, at));
                    since = None;
                }
                _ => {}
            }
        }
        found.extend(since.map(|from| (from, run_end.max(from))));
        found
    }

    /// The hosts of the view that report a pool. One whose pool nobody ever waited for may never say so.
    pub(crate) fn pool_hosts(&self, view: &View) -> Vec<HostId> {
        let hosts = POOL.iter().flat_map(|name| self.of(name, view)).map(|(host, _)| host);
        hosts.collect::<BTreeSet<HostId>>().into_iter().collect()
    }

    pub(crate) fn longest_saturation(&self, view: &View, run_end: SimTime) -> Option<u64> {
        let hosts = self.pool_hosts(view);
        let stretches = hosts.iter().flat_map(|host| self.saturations(*host, run_end));
        let longest = stretches.flat_map(|(from, to)| view.clip(from, to).collect::<Vec<_>>()).max();
        (!hosts.is_empty()).then(|| longest.unwrap_or(0))
    }

    pub(crate) fn wait_count(&self, view: &View) -> u64 {
        self.waits_in(view).count() as u64
    }

    /// A percentile of the waits for a pool, in nanoseconds.
    pub(crate) fn wait_percentile(&self, per_mille: u64, view: &View) -> Option<u64> {
        percentile(&mut self.waits_in(view).collect::<Vec<_>>(), per_mille)
    }

    fn waits_in<'a>(&'a self, view: &'a View) -> impl Iterator<Item = u64> + 'a {
        let inside = self.waits.iter().filter(|wait| view.has_segment(wait.segment) && view.has_host(wait.host));
        inside.map(|wait| wait.waited.as_nanos())
    }

    /// How often breakers opened, and for how many nanoseconds they were open, over all hosts.
    pub(crate) fn breaker(&self, view: &View, run_end: SimTime) -> (u64, u64) {
        let (mut opened, mut open_ns) = (0, 0u64);
        for (_, steps) in self.of("breaker.open", view) {
            for (from, to) in stretches_where(steps, run_end, |value| value > 0) {
                opened += u64::from(within(view, from));
                open_ns = open_ns.saturating_add(view.clip(from, to).sum());
            }
        }
        (opened, open_ns)
    }

    /// The longest time, in nanoseconds, for which a transfer made no progress while `busy` says that its host had
    /// one going.
    pub(crate) fn stalled(&self, view: &View, run_end: SimTime, busy: &dyn Fn(HostId) -> Spans) -> Option<u64> {
        let mut longest = None;
        for (host, steps) in self.of("transfer.progress", view) {
            longest = longest.max(Some(0));
            let mut moved: Vec<SimTime> = Vec::new();
            let mut previous = None;
            for (at, value) in steps {
                if previous.is_none_or(|previous| *value > previous) {
                    moved.push(*at);
                }
                previous = Some(*value);
            }
            let busy = busy(host);
            let ends = moved.iter().skip(1).copied().chain([run_end]);
            for (from, to) in moved.iter().copied().zip(ends) {
                let parts = busy.iter().map(|(start, end)| (from.max(*start), to.min(*end)));
                let inside = parts.filter(|(from, to)| from < to);
                longest = longest.max(inside.flat_map(|(from, to)| view.clip(from, to).collect::<Vec<_>>()).max());
            }
        }
        longest
    }

    /// How often a transfer went back while `same` says that one op was going on between two instants.
    pub(crate) fn went_back(&self, view: &View, same: &dyn Fn(HostId, SimTime, SimTime) -> bool) -> Option<u64> {
        let mut hosts = self.of("transfer.progress", view).peekable();
        hosts.peek()?;
        let pairs = hosts.flat_map(|(host, steps)| steps.windows(2).map(move |pair| (host, pair[0], pair[1])));
        let back = pairs.filter(|(host, (from, before), (at, after))| {
            after < before && within(view, *at) && same(*host, *from, *at)
        });
        Some(back.count() as u64)
    }
}

/// Stretches of time.
pub(crate) type Spans = Vec<(SimTime, SimTime)>;

/// All connections in use and somebody waiting. A pool that does not tell its size is full when none is idle.
fn is_saturated(size: Option<i64>, in_use: Option<i64>, idle: Option<i64>, waiting: Option<i64>) -> bool {
    let in_use = in_use.unwrap_or(0);
    let full = match (size, idle) {
        (Some(size), _) if size > 0 => in_use >= size,
        (_, Some(idle)) => idle == 0,
        (_, None) => in_use > 0,
    };
    full && waiting.unwrap_or(0) > 0
}

fn stretches_where(steps: &[Step], run_end: SimTime, wanted: impl Fn(i64) -> bool) -> Spans {
    let mut found = Vec::new();
    let mut since = None;
    for (at, value) in steps {
        match (wanted(*value), since) {
            (true, None) => since = Some(*at),
            (false, Some(from)) => {
                found.push((from, *at));
                since = None;
            }
            _ => {}
        }
    }
    found.extend(since.map(|from| (from, run_end.max(from))));
    found
}

fn within(view: &View, at: SimTime) -> bool {
    view.spans.iter().any(|(from, to)| *from <= at && at <= *to)
}

fn overlaps(view: &View, from: SimTime, to: SimTime) -> bool {
    view.spans.iter().any(|(start, end)| from.max(*start) < to.min(*end) || (from == *end && from < to))
}
