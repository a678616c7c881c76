//! Expectations and verdicts.

use std::time::Duration;

use halfopen_record::expect::judge;
use halfopen_record::{Actual, Check, Comparison, RunResult, Threshold, Verdict};

use crate::events::run;
use crate::fixture::{expectation, identity};

/// 1 of 4 ops failed, none hung, service did not recover.
const RUN: &str = "
    0s host app 10.0.0.1
    1s op 1 app get
    1s op 2 app get
    1s op 3 app get
    2s op 1 ok
    2s op 2 ok
    2s op 3 ok
    3s fault blip begins
    4s fault blip ends
    5s op 4 app get
    6s op 4 failed reset
    7s end done
";

fn verdict(text: &str, checks: &[Check]) -> Verdict {
    RunResult::judged(identity(), &run(text), checks, Duration::ZERO).verdict
}

#[test]
fn comparisons_with_figures_shares_and_never() {
    use Comparison::{AtLeast, AtMost, Equal, Less, More, NotEqual};
    use Threshold::{Figure, Share};
    let summary = run(RUN);
    for (metric, comparison, threshold, holds, shown) in [
        ("ops.failed", Equal, Figure(1.0), true, "1"),
        ("ops.failed", NotEqual, Figure(1.0), false, "1"),
        ("ops.failed", Less, Figure(1.0), false, "1"),
        ("ops.failed", AtMost, Share(0.25), true, "25% (1 of 4)"),
        ("ops.failed", Less, Share(0.25), false, "25% (1 of 4)"),
        ("ops.failed", More, Share(0.01), true, "25% (1 of 4)"),
        ("ops.latency.max", AtLeast, Figure(1.0), true, "1s"),
        ("recovery.time", AtMost, Figure(1e9), false, "never"),
        ("recovery.time", More, Figure(1e9), true, "never"),
        ("recovery.time", NotEqual, Figure(0.0), true, "never"),
        ("pool.saturated", AtMost, Figure(1.0), false, "no data"),
        ("dns.failures", AtMost, Share(0.5), false, "no data"),
    ] {
        let judged = judge(&summary, &expectation("x", metric, comparison, threshold));
        assert_eq!((judged.holds, judged.shown.as_str()), (holds, shown), "{metric} {comparison:?} {threshold:?}");
    }
}

#[test]
fn a_verdict_takes_must_fail_into_account() {
    let holds = expectation("ops.ok == 3", "ops.ok", Comparison::Equal, Threshold::Figure(3.0));
    let fails = expectation("ops.failed == 0", "ops.failed", Comparison::Equal, Threshold::Figure(0.0));
    let must_fail = |check: &Check| Check { must_fail: true, ..check.clone() };
    for (checks, expected) in [
        (vec![], Verdict::Pass),
        (vec![holds.clone()], Verdict::Pass),
        (vec![holds.clone(), fails.clone()], Verdict::Fail),
        (vec![holds.clone(), must_fail(&fails)], Verdict::Pass),
        (vec![must_fail(&holds), must_fail(&fails)], Verdict::Fail),
    ] {
        assert_eq!(verdict(RUN, &checks), expected, "{checks:?}");
    }
}

#[test]
fn nothing_measured_never_passes() {
    let nothing = expectation("pool.wait.p99 <= 1s", "pool.wait.p99", Comparison::AtMost, Threshold::Figure(1.0));
    let caught = Check { must_fail: true, ..nothing.clone() };
    assert_eq!(judge(&run(RUN), &nothing).actual, Actual::Nothing);
    assert_eq!(verdict(RUN, &[nothing]), Verdict::Fail);
    assert_eq!(verdict(RUN, &[caught]), Verdict::Fail);
}

#[test]
fn a_run_that_cannot_be_judged_is_an_error() {
    let hung = "0s host app 10.0.0.1\n1s op 1 app get\n";
    for (text, expected) in [
        ("", Verdict::Error),
        ("1s end done", Verdict::Pass),
        ("1s end limit", Verdict::Pass),
        ("1s end abort", Verdict::Error),
        // Nobody can run, and no op tells of it.
        ("1s end deadlock", Verdict::Error),
        // The op that hangs is what the expectations judge.
        (&format!("{hung}2s end deadlock"), Verdict::Pass),
        (hung, Verdict::Error),
    ] {
        assert_eq!(verdict(text, &[]), expected, "{text}");
    }
}

#[test]
fn books_that_do_not_balance_are_an_error() {
    use halfopen_core::event::{Direction, Event, EventSink, LinkBooks};
    use halfopen_core::id::{ElementId, RouteId};
    use halfopen_core::{SimTime, event::EndReason};
    for (delivered, error) in [(9, None), (8, Some("halfopen itself has failed: the books of link e3"))] {
        let mut recorder = halfopen_record::Recorder::new(halfopen_record::Config::default());
        let books = LinkBooks { offered: 10, delivered, in_flight: 1, ..LinkBooks::default() };
        let (element, route, direction) = (ElementId::new(3), RouteId::new(0), Direction::Forward);
        recorder.event(SimTime::ZERO, &Event::LinkClosed { element, route, direction, books });
        recorder.event(SimTime::ZERO, &Event::RunEnded { reason: EndReason::Done });
        let found = recorder.finish().error();
        assert_eq!(found.is_some(), error.is_some());
        assert!(found.unwrap_or_default().starts_with(error.unwrap_or_default()));
    }
}
