//! Ops and attempts: what the load asked for, and what of it reached an upstream.

use std::collections::{BTreeMap, BTreeSet};

use halfopen_core::event::{OpErrorKind, OpOutcome};
use halfopen_core::id::OpId;
use halfopen_core::{HostId, SimTime};

use crate::counts::error_kind;
use crate::percentile::{mean, percentile};
use crate::phase::View;

/// The window for rates: one second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;
/// The window for `attempts.synchrony`: 100 ms, far below the usual backoffs of a second and more.
const SYNCHRONY_BIN_NS: u64 = 100_000_000;

/// How an op ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Ok,
    Failed(OpErrorKind),
    FailedSilently,
}

/// One op.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) host: HostId,
    /// Index into [`Ops::names`].
    name: usize,
    pub(crate) started: SimTime,
    pub(crate) segment: usize,
    pub(crate) ended: Option<(SimTime, Outcome)>,
    effects: u32,
    attempts: u32,
    attempts_ok: u32,
}

impl Op {
    pub(crate) fn is_ok(&self) -> bool {
        matches!(self.ended, Some((_, Outcome::Ok)))
    }

    pub(crate) fn is_hung(&self) -> bool {
        self.ended.is_none()
    }

    pub(crate) fn is_failed(&self) -> bool {
        matches!(self.ended, Some((_, Outcome::Failed(_) | Outcome::FailedSilently)))
    }

    /// How long it took, or has taken when the run ended.
    pub(crate) fn took(&self, run_end: SimTime) -> u64 {
        self.ended.map_or(run_end, |(at, _)| at).since(self.started).as_nanos()
    }
}

/// One request that reached an upstream.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) at: SimTime,
    upstream: HostId,
    /// Index into [`Ops::ops`].
    pub(crate) op: Option<usize>,
    segment: usize,
    finished: Option<bool>,
    /// Its op had an attempt before.
    pub(crate) is_retry: bool,
}

/// All ops and attempts of a run, in the order in which they began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ops {
    pub(crate) ops: Vec<Op>,
    by_id: BTreeMap<OpId, usize>,
    names: Vec<String>,
    /// By name: whether ops of that name have effects at their upstream.
    effectful: BTreeSet<usize>,
    pub(crate) attempts: Vec<Attempt>,
    /// The latest attempt with this number at this upstream: a restarted upstream may count anew.
    attempts_by_id: BTreeMap<(HostId, u64), usize>,
}

impl Ops {
    /// `effectful`: the names of ops that are known to have effects at their upstream.
    pub(crate) fn new(effectful: &BTreeSet<String>) -> Ops {
        let names: Vec<String> = effectful.iter().cloned().collect();
        Ops { effectful: (0..names.len()).collect(), names, ..Ops::default() }
    }

    pub(crate) fn started(&mut self, at: SimTime, segment: usize, host: HostId, op: OpId, name: &str) {
        let name = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        if !self.by_id.contains_key(&op) {
            self.by_id.insert(op, self.ops.len());
            let (effects, attempts, attempts_ok) = (0, 0, 0);
            self.ops.push(Op { host, name, started: at, segment, ended: None, effects, attempts, attempts_ok });
        }
    }

    pub(crate) fn finished(&mut self, at: SimTime, op: OpId, outcome: &OpOutcome) {
        let outcome = match outcome {
            OpOutcome::Ok => Outcome::Ok,
            OpOutcome::Failed { kind, message: _ } => Outcome::Failed(*kind),
            OpOutcome::FailedSilently => Outcome::FailedSilently,
        };
        if let Some(op) = self.by_id.get(&op).map(|index| &mut self.ops[*index]) {
            op.ended.get_or_insert((at, outcome));
        }
    }

    pub(crate) fn attempt_started(&mut self, at: SimTime, segment: usize, upstream: HostId, id: u64, op: Option<OpId>) {
        let op = op.and_then(|op| self.by_id.get(&op)).copied();
        let is_retry = op.is_some_and(|op| self.ops[op].attempts > 0);
        if let Some(op) = op {
            self.ops[op].attempts += 1;
        }
        self.attempts_by_id.insert((upstream, id), self.attempts.len());
        self.attempts.push(Attempt { at, upstream, op, segment, finished: None, is_retry });
    }

    pub(crate) fn attempt_finished(&mut self, upstream: HostId, id: u64, ok: bool) {
        let Some(index) = self.attempts_by_id.get(&(upstream, id)) else { return };
        let attempt = &mut self.attempts[*index];
        if attempt.finished.is_none() {
            attempt.finished = Some(ok);
            if let Some(op) = attempt.op.filter(|_| ok) {
                self.ops[op].attempts_ok += 1;
            }
        }
    }

    pub(crate) fn effect(&mut self, op: OpId) {
        if let Some(op) = self.by_id.get(&op).map(|index| &mut self.ops[*index]) {
            op.effects += 1;
            self.effectful.insert(op.name);
        }
    }

    /// Whether the op was reported as done though the upstream has none of its effects.
    fn is_lost(&self, op: &Op) -> bool {
        op.is_ok() && op.effects == 0 && self.effectful.contains(&op.name)
    }

    /// Whether the report about the op is not true or was never made: lost work, an op reported as done none of
    /// whose attempts succeeded, and a failure that was not reported.
    fn is_silent(&self, op: &Op) -> bool {
        let never_done = op.is_ok() && op.effects == 0 && op.attempts > 0 && op.attempts_ok == 0;
        self.is_lost(op) || never_done || matches!(op.ended, Some((_, Outcome::FailedSilently)))
    }

    pub(crate) fn in_view<'a>(&'a self, view: &'a View) -> impl Iterator<Item = &'a Op> {
        self.ops.iter().filter(|op| view.has_segment(op.segment) && view.has_host(op.host))
    }

    /// Attempts belong to the upstream that they reached and to the host whose op they serve.
    pub(crate) fn attempts_in_view<'a>(&'a self, view: &'a View) -> impl Iterator<Item = &'a Attempt> {
        self.attempts.iter().filter(|attempt| {
            let client = attempt.op.map(|op| self.ops[op].host);
            let host = view.has_host(attempt.upstream) || client.is_some_and(|host| view.has_host(host));
            host && view.has_segment(attempt.segment)
        })
    }

    /// A count of ops, attempts or effects, by the name of its metric.
    pub(crate) fn count(&self, metric: &str, view: &View) -> Option<u64> {
        let ops = |wanted: &dyn Fn(&Op) -> bool| self.in_view(view).filter(|op| wanted(op)).count() as u64;
        let attempts = |wanted: &dyn Fn(&Attempt) -> bool| {
            self.attempts_in_view(view).filter(|attempt| wanted(attempt)).count() as u64
        };
        if let Some(kind) = error_kind(metric) {
            return Some(ops(&|op| matches!(op.ended, Some((_, Outcome::Failed(k))) if k == kind)));
        }
        Some(match metric {
            "ops.total" => ops(&|_| true),
            "ops.ok" => ops(&Op::is_ok),
            "ops.failed" => ops(&Op::is_failed),
            "ops.hung" => ops(&Op::is_hung),
            "ops.silent" => ops(&|op| self.is_silent(op)),
            "effects.total" => self.in_view(view).map(|op| u64::from(op.effects)).sum(),
            "effects.lost" => ops(&|op| self.is_lost(op)),
            "effects.duplicated" => ops(&|op| op.effects > 1),
            "attempts.total" => attempts(&|_| true),
            "attempts.ok" => attempts(&|attempt| attempt.finished == Some(true)),
            "attempts.failed" => attempts(&|attempt| attempt.finished == Some(false)),
            "attempts.unfinished" => attempts(&|attempt| attempt.finished.is_none()),
            "attempts.retries" => attempts(&|attempt| attempt.is_retry),
            "attempts.peak_rate" => {
                per_bin(self.attempts_in_view(view).map(|a| a.at), SECOND_NS).into_values().max().unwrap_or(0)
            }
            _ => return None,
        })
    }

    /// A figure of `ops.latency.*`, in nanoseconds.
    pub(crate) fn latency(&self, which: &str, view: &View, run_end: SimTime) -> Option<u64> {
        let mut took: Vec<u64> = self.in_view(view).map(|op| op.took(run_end)).collect();
        match which {
            "p50" => percentile(&mut took, 500),
            "p90" => percentile(&mut took, 900),
            "p99" => percentile(&mut took, 990),
            "p999" => percentile(&mut took, 999),
            "max" => took.into_iter().max(),
            "mean" => mean(&took),
            _ => None,
        }
    }

    /// Attempts for each op: overall, and in the worst second in which an op began.
    pub(crate) fn amplification(&self, view: &View) -> Option<f64> {
        quotient(self.count("attempts.total", view)?, self.count("ops.total", view)?)
    }

    pub(crate) fn amplification_peak(&self, view: &View) -> Option<f64> {
        let ops = per_bin(self.in_view(view).map(|op| op.started), SECOND_NS);
        let attempts = per_bin(self.attempts_in_view(view).map(|attempt| attempt.at), SECOND_NS);
        let each = ops.iter().map(|(bin, ops)| (attempts.get(bin).copied().unwrap_or(0), *ops));
        let worst = each.max_by(|a, b| (u128::from(a.0) * u128::from(b.1)).cmp(&(u128::from(b.0) * u128::from(a.1))));
        worst.and_then(|(attempts, ops)| quotient(attempts, ops))
    }

    /// The busiest second of the view against the mean of the busy seconds of `before`, the time before the first
    /// fault. The second that the fault cuts short does not count, unless there is no other.
    pub(crate) fn peak(&self, view: &View, before: &View, first_fault: Option<SimTime>) -> Option<f64> {
        let peak = self.count("attempts.peak_rate", view)?;
        let mut usual = per_bin(self.attempts_in_view(before).map(|attempt| attempt.at), SECOND_NS);
        if let Some(cut) = first_fault.filter(|_| usual.len() > 1) {
            usual.remove(&(cut.as_nanos() / SECOND_NS));
        }
        let sum: u64 = usual.values().sum();
        quotient(peak.saturating_mul(usual.len() as u64), sum)
    }

    /// Retries in the second that had the most.
    pub(crate) fn retries_peak(&self, view: &View) -> u64 {
        let retries = self.attempts_in_view(view).filter(|attempt| attempt.is_retry);
        per_bin(retries.map(|attempt| attempt.at), SECOND_NS).into_values().max().unwrap_or(0)
    }

    /// The index of dispersion of attempts, or of retries alone: variance over mean of their number in bins of 100 ms,
    /// over all bins of the seconds in which there was any.
    pub(crate) fn synchrony(&self, view: &View, retries_only: bool) -> Option<f64> {
        let wanted = self.attempts_in_view(view).filter(|attempt| attempt.is_retry || !retries_only);
        let counts = per_bin(wanted.map(|attempt| attempt.at), SYNCHRONY_BIN_NS);
        let bins_per_second = SECOND_NS / SYNCHRONY_BIN_NS;
        let seconds: BTreeSet<u64> = counts.keys().map(|bin| bin / bins_per_second).collect();
        let bins = seconds.len() as u128 * u128::from(bins_per_second);
        let sum: u128 = counts.values().map(|count| u128::from(*count)).sum();
        let squares: u128 = counts.values().map(|count| u128::from(*count) * u128::from(*count)).sum();
        // Var / mean = (n * sum of squares - sum^2) / (n * sum); Cauchy-Schwarz keeps the difference above zero.
        (sum > 0).then(|| (bins * squares - sum * sum) as f64 / (bins * sum) as f64)
    }
}

/// How many of these instants fall into each bin of this width, by the number of the bin.
pub(crate) fn per_bin(instants: impl Iterator<Item = SimTime>, width_ns: u64) -> BTreeMap<u64, u64> {
    let mut bins = BTreeMap::new();
    for at in instants {
        *bins.entry(at.as_nanos() / width_ns).or_insert(0) += 1;
    }
    bins
}

/// `None` where nothing is divided by nothing.
pub(crate) fn quotient(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
