//! What holds for any events in any order: no panic, books that add up, figures that are numbers.

use halfopen_core::event::{Event, EventSink};
use halfopen_core::metric::{METRICS, Unit};
use halfopen_core::{SimDuration, SimTime};
use halfopen_record::report::{Style, report};
use halfopen_record::{Config, Phase, Recorder, RunResult, Scope, Summary, json};
use proptest::prelude::*;

use crate::events::parse;
use crate::fixture::{identity, storm};

/// Any of the events of a full run, in any order, each some time after the one before; some times go back.
fn chaos() -> impl Strategy<Value = Vec<(SimTime, Event)>> {
    let events: Vec<Event> = parse(&storm()).into_iter().map(|(_, event)| event).collect();
    let step = prop_oneof![
        4 => Just(0u64),
        4 => 0..2_000_000u64,
        4 => 0..20_000_000_000u64,
        // To the end of time, and past it.
        1 => Just(u64::MAX / 3),
    ];
    prop::collection::vec((step, any::<bool>(), prop::sample::select(events)), 0..120).prop_map(|steps| {
        let mut now = SimTime::ZERO;
        let timed = steps.into_iter().map(|(step, back, event)| {
            now += SimDuration::from_nanos(step);
            (if back && step.is_multiple_of(7) { SimTime::from_nanos(now.as_nanos() / 2) } else { now }, event)
        });
        timed.collect()
    })
}

fn record(events: &[(SimTime, Event)]) -> Summary {
    let mut recorder = Recorder::new(Config::default());
    for (at, event) in events {
        recorder.event(*at, event);
    }
    recorder.finish()
}

fn phases() -> [Phase; 4] {
    ["", "before", "during", "after"].map(|when| match when {
        "before" => Phase::Before("slow".to_owned()),
        "during" => Phase::During("slow".to_owned()),
        "after" => Phase::After("slow".to_owned()),
        _ => Phase::Whole,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_events_make_a_result(events in chaos()) {
        let summary = record(&events);
        let result = RunResult::judged(identity(), &summary, &[], std::time::Duration::ZERO);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&json::line(&result)).is_ok());
        let text = report(&result, Style { colour: false, table: true });
        prop_assert!(text.ends_with('\n'));
        prop_assert_eq!(record(&events).fingerprint(), result.fingerprint);
        for phase in phases() {
            for scope in [Scope::All, Scope::Hosts(vec!["app".to_owned()])] {
                for metric in METRICS {
                    let figure = summary.metric(metric.name, &scope, &phase).unwrap_or(0.0);
                    prop_assert!(figure.is_finite() && figure >= 0.0, "{} is {figure}", metric.name);
                    prop_assert!(metric.unit != Unit::Count || figure.fract() == 0.0, "{}", metric.name);
                }
            }
        }
    }

    #[test]
    fn books_add_up(events in chaos()) {
        let summary = record(&events);
        let figure = |name: &str, phase: &Phase| summary.metric(name, &Scope::All, phase).unwrap_or(0.0);
        let whole = |name: &str| figure(name, &Phase::Whole);
        prop_assert_eq!(whole("ops.total"), whole("ops.ok") + whole("ops.failed") + whole("ops.hung"));
        prop_assert_eq!(
            whole("attempts.total"),
            whole("attempts.ok") + whole("attempts.failed") + whole("attempts.unfinished")
        );
        let dropped = METRICS.iter().filter(|metric| metric.name.starts_with("packets.dropped."));
        prop_assert_eq!(whole("packets.dropped"), dropped.map(|metric| whole(metric.name)).sum::<f64>());
        // The parts of a run make up the run, where a fault of that name was there to part it.
        let [_, before, during, after] = phases();
        if summary.faults().iter().any(|span| span.name == "slow") {
            // Between two times that a fault was on is neither before, nor during, nor after.
            let once = summary.faults().iter().filter(|span| span.name == "slow").count() == 1;
            for name in ["ops.total", "ops.ok", "attempts.total", "packets.sent", "tcp.connects", "run.time"] {
                let parts = figure(name, &before) + figure(name, &during) + figure(name, &after);
                // Seconds are rounded in their last binary digit.
                let over = (parts - whole(name)) / whole(name).max(1.0);
                prop_assert!(over < 1e-12, "{name}: {parts} of {}", whole(name));
                prop_assert!(!once || over > -1e-12, "{name}: {parts} of {}", whole(name));
            }
        }
    }

    #[test]
    fn percentiles_are_monotone(events in chaos()) {
        let summary = record(&events);
        let figure = |name: &str| summary.metric(name, &Scope::All, &Phase::Whole).unwrap_or(0.0);
        let latency = ["p50", "p90", "p99", "p999", "max"].map(|which| figure(&format!("ops.latency.{which}")));
        prop_assert!(latency.is_sorted(), "{latency:?}");
        prop_assert!(figure("ops.latency.mean") <= latency[4]);
        prop_assert!(figure("pool.wait.p50") <= figure("pool.wait.p99"));
        prop_assert!(figure("pool.wait.p99") <= figure("pool.wait.max"));
        prop_assert!(figure("half_open.at_end") <= figure("half_open.count"));
        prop_assert!(figure("half_open.longest") <= figure("run.time"));
    }
}
