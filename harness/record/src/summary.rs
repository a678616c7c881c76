//! What a run came to: any metric of the catalogue, for any hosts and any phase.

use std::collections::BTreeSet;

use halfopen_core::event::EndReason;
use halfopen_core::metric::{METRICS, Metric};
use halfopen_core::{HostId, SimTime};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fold::Fold;
use crate::ops::Op;
use crate::phase::{FaultSpan, Phase, Scope, View, is_instance_of};
use crate::{recovery, review, table};

/// What a question about a metric comes to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Actual {
    /// A figure in the metric's unit; always finite.
    Figure(f64),
    /// It never happened: later than any figure (`recovery.time` without recovery).
    Never,
    /// There was nothing to measure: no ops, no fault of that name, no pool.
    Nothing,
}

impl Actual {
    /// The figure, if it is one.
    pub fn figure(self) -> Option<f64> {
        match self {
            Actual::Figure(figure) => Some(figure),
            Actual::Never | Actual::Nothing => None,
        }
    }

    fn count(count: u64) -> Actual {
        Actual::Figure(count as f64)
    }

    fn seconds(nanos: Option<u64>) -> Actual {
        nanos.map_or(Actual::Nothing, |nanos| Actual::Figure(nanos as f64 / 1e9))
    }

    fn of(figure: Option<f64>) -> Actual {
        figure.filter(|figure| figure.is_finite()).map_or(Actual::Nothing, Actual::Figure)
    }
}

/// A number with at most this many decimals leaves halfopen: nanoseconds.
const DECIMALS: f64 = 1e9;

/// The figure as JSON shows it: a whole number without a decimal point, others to the ninth decimal.
pub(crate) fn number(figure: f64) -> serde_json::Value {
    /// Up to here a floating-point number holds every whole number (2^53).
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    let rounded = if figure.abs() < WHOLE_MAX / DECIMALS { (figure * DECIMALS).round() / DECIMALS } else { figure };
    if rounded.fract() == 0.0 && rounded.abs() < WHOLE_MAX { (rounded as i64).into() } else { rounded.into() }
}

/// A number, or the text `never` or `no data`.
impl Serialize for Actual {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Actual::Figure(figure) => number(*figure).serialize(serializer),
            Actual::Never => serializer.serialize_str("never"),
            Actual::Nothing => serializer.serialize_str("no data"),
        }
    }
}

impl<'de> Deserialize<'de> for Actual {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Actual, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) if text == "never" => Ok(Actual::Never),
            serde_json::Value::String(text) if text == "no data" => Ok(Actual::Nothing),
            value => {
                let figure = value.as_f64().ok_or_else(|| serde::de::Error::custom("not a figure"))?;
                Ok(Actual::Figure(figure))
            }
        }
    }
}

/// The whole of a run, ready to be asked.
#[derive(Clone, Debug)]
pub struct Summary {
    pub(crate) fold: Fold,
    fingerprint: u64,
    limit: Option<String>,
}

impl Summary {
    pub(crate) fn new(mut fold: Fold, fingerprint: u64, limit: Option<String>) -> Summary {
        let now = fold.now;
        fold.connections.finish(now);
        Summary { fold, fingerprint, limit }
    }

    /// The hash over the whole event log as 16 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        format!("{:016x}", self.fingerprint)
    }

    /// When the last event happened.
    pub fn run_end(&self) -> SimTime {
        self.fold.now
    }

    /// Why the run ended; `None` if it did not come to an end.
    pub fn end_reason(&self) -> Option<&EndReason> {
        self.fold.end.as_ref()
    }

    /// The times that faults were on, in the order in which they began.
    pub fn faults(&self) -> &[FaultSpan] {
        self.fold.timeline.faults()
    }

    /// What a reader should know beside the figures: panics, refused system calls, failed mains, who waits for what.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.fold.notes.clone();
        match &self.fold.end {
            Some(EndReason::Deadlock { waiting }) => {
                notes.push("nobody could ever run again:".to_owned());
                notes.extend(waiting.iter().map(|line| format!("  {line}")));
            }
            Some(EndReason::TimeLimit) => notes.push("the run reached the scenario's time limit".to_owned()),
            _ => {}
        }
        notes
    }

    /// Why the run cannot be judged at all, if so. A deadlock or the time limit with ops still without an outcome is
    /// not such a reason: those ops are hung, and the expectations judge them. A deadlock without any hung op is.
    pub fn error(&self) -> Option<String> {
        if let Some(limit) = &self.limit {
            return Some(limit.clone());
        }
        if let Some(unbalanced) = self.fold.unbalanced.first() {
            return Some(format!("halfopen itself has failed: {unbalanced}"));
        }
        match &self.fold.end {
            None => Some("the run did not come to its end".to_owned()),
            Some(EndReason::Done | EndReason::TimeLimit) => None,
            Some(EndReason::Deadlock { waiting }) => {
                let hung = self.fold.ops.ops.iter().any(Op::is_hung);
                (!hung).then(|| format!("deadlock: nobody can ever run again; {}", waiting.join("; ")))
            }
            Some(EndReason::Aborted { message } | EndReason::Limit { message }) => Some(message.clone()),
        }
    }

    /// The metric's figure; `None` where there is none, because it never happened or nothing was measured.
    pub fn metric(&self, name: &str, scope: &Scope, phase: &Phase) -> Option<f64> {
        self.measure(name, scope, phase).figure()
    }

    /// The metric's figure, or why there is none. A name that is not in the catalogue measures nothing.
    pub fn measure(&self, name: &str, scope: &Scope, phase: &Phase) -> Actual {
        self.view(scope, phase).map_or(Actual::Nothing, |view| self.in_view(name, &view))
    }

    /// Every metric that has a figure for the whole run, in the order of the catalogue.
    pub fn metrics(&self) -> Vec<(&'static str, f64)> {
        let figure = |metric: &Metric| self.metric(metric.name, &Scope::All, &Phase::Whole);
        METRICS.iter().filter_map(|metric| figure(metric).map(|figure| (metric.name, figure))).collect()
    }

    /// The outage review.
    pub fn review(&self) -> Vec<review::Answer> {
        review::review(self)
    }

    /// The table of what happened window by window.
    pub fn table(&self) -> String {
        table::table(self)
    }

    /// The hosts of a scope; `None` for all.
    fn hosts(&self, scope: &Scope) -> Option<BTreeSet<HostId>> {
        let Scope::Hosts(names) = scope else { return None };
        let named = |host: &str| names.iter().any(|name| is_instance_of(host, name));
        Some(self.fold.hosts.iter().filter(|info| named(&info.name)).map(|info| info.host).collect())
    }

    /// `None` if the phase's fault never began or no host has the scope's name.
    pub(crate) fn view(&self, scope: &Scope, phase: &Phase) -> Option<View> {
        let segments = self.fold.timeline.segments(phase)?;
        let spans = self.fold.timeline.spans(&segments, self.fold.now);
        let hosts = self.hosts(scope);
        let fault = match phase {
            Phase::Whole | Phase::Before(_) | Phase::During(_) => None,
            Phase::After(name) => Some(name.clone()),
        };
        let nobody = hosts.as_ref().is_some_and(BTreeSet::is_empty);
        (!nobody).then_some(View { segments, spans, hosts, fault })
    }

    /// The whole run, all hosts.
    pub(crate) fn whole(&self) -> View {
        let segments = self.fold.timeline.segments(&Phase::Whole).unwrap_or_default();
        let spans = self.fold.timeline.spans(&segments, self.fold.now);
        View { segments, spans, hosts: None, fault: None }
    }

    pub(crate) fn in_view(&self, metric: &str, view: &View) -> Actual {
        let fold = &self.fold;
        if view.spans.is_empty() {
            return Actual::Nothing;
        }
        if let Some(count) = fold.counters.total(metric, view).or_else(|| fold.ops.count(metric, view)) {
            return Actual::count(count);
        }
        if let Some(which) = metric.strip_prefix("ops.latency.") {
            return Actual::seconds(fold.ops.latency(which, view, fold.now));
        }
        match metric.split('.').next() {
            Some("attempts") => self.attempts(metric, view),
            Some("pool" | "breaker" | "transfer") => self.gauges(metric, view),
            Some("recovery") => self.recovery(metric, view),
            Some("half_open" | "dns") => self.beliefs(metric, view),
            Some("load") => Actual::seconds(Some(self.idle(view))),
            Some("run") => Actual::seconds(Some(view.length())),
            _ => Actual::Nothing,
        }
    }

    fn attempts(&self, metric: &str, view: &View) -> Actual {
        let ops = &self.fold.ops;
        let first_fault = self.fold.timeline.first_fault();
        Actual::of(match metric {
            "attempts.amplification" => ops.amplification(view),
            "attempts.amplification.peak" => ops.amplification_peak(view),
            "attempts.peak" => {
                let first = self.faults().iter().min_by_key(|span| span.from);
                let phase = first.map_or(Phase::Whole, |span| Phase::Before(span.name.clone()));
                let segments = self.fold.timeline.segments(&phase).unwrap_or_default();
                ops.peak(view, &View { segments, ..view.clone() }, first_fault)
            }
            "attempts.synchrony" => ops.synchrony(view, false),
            "attempts.retries.synchrony" => ops.synchrony(view, true),
            _ => None,
        })
    }

    fn gauges(&self, metric: &str, view: &View) -> Actual {
        let (gauges, now) = (&self.fold.gauges, self.fold.now);
        let ops_of = |host: HostId| self.fold.ops.ops.iter().filter(move |op| op.host == host);
        let busy = |host: HostId| ops_of(host).map(|op| (op.started, op.ended.map_or(now, |(at, _)| at))).collect();
        let same =
            |host: HostId, from: SimTime, to: SimTime| !ops_of(host).any(|op| op.started > from && op.started <= to);
        let whole = |value: Option<i64>| value.map_or(Actual::Nothing, |value| Actual::Figure(value as f64));
        match metric {
            "pool.waiting" if !gauges.pool_hosts(view).is_empty() => whole(gauges.peak(metric, view).or(Some(0))),
            "pool.size" | "pool.in_use" | "pool.idle" | "transfer.progress" => whole(gauges.peak(metric, view)),
            "pool.saturated" => Actual::seconds(gauges.longest_saturation(view, now)),
            "pool.wait.count" => Actual::count(gauges.wait_count(view)),
            "pool.wait.p50" => Actual::seconds(gauges.wait_percentile(500, view)),
            "pool.wait.p99" => Actual::seconds(gauges.wait_percentile(990, view)),
            "pool.wait.max" => Actual::seconds(gauges.wait_percentile(1000, view)),
            "breaker.opened" => Actual::count(gauges.breaker(view, now).0),
            "breaker.open_time" => Actual::seconds(Some(gauges.breaker(view, now).1)),
            "transfer.stalled" => Actual::seconds(gauges.stalled(view, now, &busy)),
            "transfer.restarts" => Actual::of(gauges.went_back(view, &same).map(|count| count as f64)),
            _ => Actual::Nothing,
        }
    }

    fn recovery(&self, metric: &str, view: &View) -> Actual {
        let ours = |span: &&FaultSpan| view.fault.as_ref().is_none_or(|name| span.name == *name);
        let end = self.faults().iter().filter(ours).map(|span| span.to.unwrap_or(span.from)).max();
        let Some((first, end)) = self.fold.timeline.first_fault().zip(end) else { return Actual::Nothing };
        let all: Vec<&Op> = self.fold.ops.ops.iter().filter(|op| view.has_host(op.host)).collect();
        match metric {
            "recovery.time" => {
                let before: Vec<&Op> = all.iter().filter(|op| op.started < first).copied().collect();
                recovery::time(&all, &before, end, self.fold.now)
            }
            "recovery.first_success" => recovery::first_success(&all, end),
            _ => Actual::Nothing,
        }
    }

    fn beliefs(&self, metric: &str, view: &View) -> Actual {
        let found = || self.fold.connections.half_open_in(view, self.fold.now);
        match metric {
            "half_open.count" => {
                Actual::count(found().map(|(found, _)| found.connection).collect::<BTreeSet<_>>().len() as u64)
            }
            "half_open.longest" => Actual::seconds(Some(found().map(|(_, longest)| longest).max().unwrap_or(0))),
            "half_open.at_end" => Actual::count(found().filter(|(found, _)| found.to.is_none()).count() as u64),
            "dns.stale" => Actual::seconds(Some(self.fold.names.longest_stale(view))),
            "dns.stale_connections" => Actual::count(self.fold.names.stale_connections(view)),
            _ => Actual::Nothing,
        }
    }

    /// The nanoseconds of the view in which the load was told to be idle.
    fn idle(&self, view: &View) -> u64 {
        let ends = self.fold.load.iter().skip(1).map(|(at, _)| *at).chain([self.fold.now]);
        let phases = self.fold.load.iter().zip(ends).filter(|((_, op), _)| op.is_none());
        phases.flat_map(|((from, _), to)| view.clip(*from, to)).sum()
    }
}
