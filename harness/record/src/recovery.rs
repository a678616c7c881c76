//! When is service as good again as it was before the fault?
//!
//! **Before** are the ops that began before the first fault: their share of failures and the 90th percentile of the
//! time that the successful ones took. If there were none, no failure counts as usual and no time as slow.
//!
//! **After** are the ops that began at or after the end of the last fault (a fault that stays, such as a changed DNS
//! record, ends for this purpose when it begins). Slide a window of [`WINDOW`], and of at least [`WINDOW_OPS`] ops, from
//! op to op. A window is good if
//!
//! - its failures (hung ops included) are no more than before by over [`FAILURES_MORE_PERCENT`] of its ops, and
//! - no more than a tenth of its ops and [`SLOW_BY_CHANCE`] took longer than [`SLOWER_FACTOR`] times the 90th
//!   percentile before.
//!
//! Where there were failures before, and for slowness always, fractions of an op are rounded up in favour of the
//! client: chance must not decide a verdict.
//!
//! With `after X`, after is the last end of X; before stays before the first fault of all.
//!
//! Service has **recovered** at the first op from which on every window is good; the time from the end of the fault to
//! that op's beginning is `recovery.time`, and zero if the very first op is it. If the last whole window is bad, service
//! has recovered at the first op from which on all ops are good, one by one. If there is no such op: never. `never` is
//! not a number: the metric is absent from the JSON output, and an expectation treats it as longer than any figure.

use halfopen_core::{SimDuration, SimTime};

use crate::ops::Op;
use crate::percentile::percentile;
use crate::summary::Actual;

/// The length of the sliding window.
pub const WINDOW: SimDuration = SimDuration::from_secs(1);
/// The least number of ops in a whole window.
pub const WINDOW_OPS: usize = 10;
/// How many ops of a hundred may fail beyond what failed before.
pub const FAILURES_MORE_PERCENT: u128 = 1;
/// How many times the 90th percentile before an op may take, and not count as slow.
pub const SLOWER_FACTOR: u64 = 2;
/// How many ops of any window may be slow by chance. With a log-normal time (sigma 1) about one op in 40 is slower than
/// twice the 90th percentile; that four of ten are is then one case in ten thousand, where two of ten would be one in
/// forty and spoil most runs.
pub const SLOW_BY_CHANCE: u128 = 2;
/// What an op may take longer than the 90th percentile before in any case: below a millisecond nobody feels slow.
pub const SLOWER_FLOOR: SimDuration = SimDuration::from_millis(1);

/// How service was before the fault.
#[derive(Clone, Copy, Debug)]
struct Baseline {
    ops: u128,
    failed: u128,
    /// More nanoseconds than these are slow.
    slow_ns: u64,
}

impl Baseline {
    fn of(before: &[&Op], run_end: SimTime) -> Baseline {
        let mut took: Vec<u64> = before.iter().filter(|op| op.is_ok()).map(|op| op.took(run_end)).collect();
        let failed = (before.len() - took.len()) as u128;
        let bound = |p90: u64| p90.saturating_mul(SLOWER_FACTOR).max(p90.saturating_add(SLOWER_FLOOR.as_nanos()));
        Baseline { ops: before.len() as u128, failed, slow_ns: percentile(&mut took, 900).map_or(u64::MAX, bound) }
    }

    fn is_good(&self, window: Tally) -> bool {
        let ops = u128::from(window.ops);
        let failures_allowed = match self.failed {
            0 => ops * FAILURES_MORE_PERCENT / 100,
            failed => (ops * (failed * 100 + FAILURES_MORE_PERCENT * self.ops)).div_ceil(self.ops * 100),
        };
        u128::from(window.failed) <= failures_allowed && u128::from(window.slow) <= ops.div_ceil(10) + SLOW_BY_CHANCE
    }
}

/// Ops of a window, or of all up to some op.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    ops: u64,
    failed: u64,
    slow: u64,
}

/// The time from `end`, the end of the fault, until service was as good as `before`. `all` are the ops of the scope.
pub(crate) fn time(all: &[&Op], before: &[&Op], end: SimTime, run_end: SimTime) -> Actual {
    let baseline = Baseline::of(before, run_end);
    let after: Vec<&Op> = all.iter().filter(|op| op.started >= end).copied().collect();
    if after.is_empty() {
        let hung = all.iter().any(|op| op.is_hung());
        return if hung { Actual::Never } else { Actual::Nothing };
    }
    match recovered_at(&baseline, &after, run_end) {
        Some(0) => Actual::Figure(0.0),
        Some(first) => Actual::Figure(after[first].started.since(end).as_secs_f64()),
        None => Actual::Never,
    }
}

/// The time from `end` until the first op that succeeded ended.
pub(crate) fn first_success(all: &[&Op], end: SimTime) -> Actual {
    let ended = |op: &&&Op| op.ended.map(|(at, _)| at).is_none_or(|at| at >= end);
    let mut running = all.iter().filter(ended).peekable();
    if running.peek().is_none() {
        return Actual::Nothing;
    }
    let successes = running.filter(|op| op.is_ok()).filter_map(|op| op.ended).map(|(at, _)| at);
    successes.min().map_or(Actual::Never, |at| Actual::Figure(at.since(end).as_secs_f64()))
}

fn recovered_at(baseline: &Baseline, after: &[&Op], run_end: SimTime) -> Option<usize> {
    let is_slow = |op: &Op| op.is_ok() && op.took(run_end) > baseline.slow_ns;
    let mut sums = vec![Tally::default()];
    for op in after {
        let Tally { ops, failed, slow } = sums[sums.len() - 1];
        sums.push(Tally { ops: ops + 1, failed: failed + u64::from(!op.is_ok()), slow: slow + u64::from(is_slow(op)) });
    }
    let tally = |from: usize, to: usize| Tally {
        ops: sums[to].ops - sums[from].ops,
        failed: sums[to].failed - sums[from].failed,
        slow: sums[to].slow - sums[from].slow,
    };
    let windows: Vec<bool> = (0..after.len())
        .map_while(|from| window_end(after, from, run_end).map(|to| baseline.is_good(tally(from, to))))
        .collect();
    let last_bad = windows.iter().rposition(|good| !good);
    match last_bad {
        None if !windows.is_empty() => Some(0),
        Some(bad) if bad + 1 < windows.len() => Some(bad + 1),
        _ => {
            let good = |op: &Op| op.is_ok() && !is_slow(op);
            let first = after.iter().rposition(|op| !good(op)).map_or(0, |last| last + 1);
            (first < after.len()).then_some(first)
        }
    }
}

/// One past the last op of the window that begins with op `from`; `None` if there is no whole window there.
fn window_end(after: &[&Op], from: usize, run_end: SimTime) -> Option<usize> {
    let until = after[from].started + WINDOW;
    let by_time = from + after[from..].partition_point(|op| op.started < until);
    let to = by_time.max(from + WINDOW_OPS);
    (to <= after.len() && (to < after.len() || run_end >= until)).then_some(to)
}
