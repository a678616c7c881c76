//! One run that all outputs are shown on: a retry storm on a slow upstream, with a saturated pool, a NAT that forgets
//! idle connections, a DNS record that moves and packets that are too big.

use std::fmt::Write;
use std::time::Duration;

use halfopen_record::result::Identity;
use halfopen_record::{Check, Comparison, Phase, RunResult, Scope, Summary, Threshold};

use crate::events::run;

/// An event's time in milliseconds and its text.
type Line = (u64, String);

/// The events of the run as text.
pub fn storm() -> String {
    let mut lines: Vec<Line> = Vec::new();
    let mut at = |ms: u64, text: String| lines.push((ms, text));
    for text in ["host app 10.0.0.1", "host db 10.0.9.9 upstream", "record db.internal 10.0.9.9 1s", "load query"] {
        at(0, text.to_owned());
    }
    at(0, "resolved app db.internal 10.0.9.9 server".to_owned());
    at(0, "gauge app pool.size 4".to_owned());
    let (client, seen, server) = ("10.0.0.1:4000", "203.0.113.1:700", "10.0.9.9:5432");
    at(10, format!("tcp app {client} {server} CLOSED SYN-SENT"));
    at(10, format!("nat 1 {client} {seen} {server}"));
    at(11, format!("tcp db {server} {seen} LISTEN SYN-RECEIVED"));
    at(12, format!("tcp app {client} {server} SYN-SENT ESTABLISHED"));
    at(13, format!("tcp db {server} {seen} SYN-RECEIVED ESTABLISHED"));
    let mut attempt = 0;
    for op in 1..=100u64 {
        let begins = op * 100;
        let slow = (4_000..7_000).contains(&begins);
        at(begins, format!("op {op} app query"));
        at(begins, format!("gauge app pool.in_use {}", if slow { 4 } else { 1 }));
        at(begins, format!("gauge app pool.waiting {}", if slow { (begins - 4_000) / 200 } else { 0 }));
        for retry in 0..if slow { 4 } else { 1 } {
            attempt += 1;
            at(begins + 1 + retry * 500, format!("attempt {attempt} db of {op}"));
            if !slow {
                at(begins + 20, format!("attempt {attempt} db ok"));
                at(begins + 20, format!("effect {op} db"));
            }
        }
        let kind = if op % 3 == 0 { "pool-timeout" } else { "read-timeout" };
        at(
            begins + if slow { 2_000 } else { 25 },
            format!("op {op} {}", if slow { format!("failed {kind}") } else { "ok".to_owned() }),
        );
        at(begins + 1, format!("wait app {}ms", if slow { 400 } else { 1 }));
    }
    at(4_000, "fault slow begins".to_owned());
    at(7_000, "fault slow ends".to_owned());
    at(8_000, "record db.internal 10.0.9.8 1s".to_owned());
    at(9_500, format!("sent app {client} {server} 200"));
    at(9_600, format!("dropped too-big-silent {client} {server} 1500"));
    at(9_700, format!("received db {seen} {server} 1200"));
    at(10_500, "load idle".to_owned());
    at(360_500, format!("nat 1 {client} {seen} {server} idle 350s"));
    at(400_000, "load query".to_owned());
    at(400_000, "op 101 app query".to_owned());
    at(400_000, "unsupported app io_uring_setup".to_owned());
    at(430_000, "end limit".to_owned());
    lines.sort_by_key(|(ms, _)| *ms);
    lines.iter().fold(String::new(), |mut text, (ms, line)| {
        writeln!(text, "{ms}ms {line}").expect("a string takes all text");
        text
    })
}

/// Two minutes of calm with a short blip in the middle, and an hour of idling before the last ten seconds.
pub fn blip() -> String {
    let mut lines: Vec<Line> = vec![(0, "host app 10.0.0.1".to_owned()), (0, "host db 10.0.0.2 upstream".to_owned())];
    lines.push((60_500, "fault blip begins".to_owned()));
    lines.push((63_000, "fault blip ends".to_owned()));
    for op in 0..1_300u64 {
        let begins = op * 100 + if op < 1_200 { 0 } else { 3_600_000 };
        let late = (60_500..63_000).contains(&begins);
        lines.push((begins, format!("op {op} app get")));
        lines.push((if late { 63_400 } else { begins + 2 }, format!("attempt {op} db of {op}")));
        lines.push((if late { 63_500 } else { begins + 20 + op % 7 }, format!("op {op} ok")));
    }
    lines.push((3_740_000, "end done".to_owned()));
    lines.sort_by_key(|(ms, _)| *ms);
    lines.iter().map(|(ms, line)| format!("{ms}ms {line}\n")).collect()
}

pub fn summary() -> Summary {
    run(&storm())
}

pub fn expectation(text: &str, metric: &str, comparison: Comparison, threshold: Threshold) -> Check {
    Check {
        text: text.to_owned(),
        line: None,
        metric: metric.to_owned(),
        scope: Scope::All,
        phase: Phase::Whole,
        comparison,
        threshold,
        must_fail: false,
    }
}

pub fn identity() -> Identity {
    Identity {
        scenario: "retry-storm".to_owned(),
        variant: Some("no-jitter".to_owned()),
        file: "scenarios/retry/storm.yaml".to_owned(),
        seed: 7,
        replay: "halfopen run scenarios/retry/storm.yaml --seed 7".to_owned(),
    }
}

/// The result of the run: one expectation holds, one is caught, one fails, one should have failed, and one had nothing
/// to measure.
pub fn failed() -> RunResult {
    let at = |line: u32, check: Check| Check { line: Some(line), ..check };
    let must_fail = |check: Check| Check { must_fail: true, ..check };
    let after = |check: Check| Check { phase: Phase::After("slow".to_owned()), ..check };
    let checks = [
        at(
            31,
            after(expectation(
                "after slow: ops.failed <= 5%",
                "ops.failed",
                Comparison::AtMost,
                Threshold::Share(0.05),
            )),
        ),
        at(32, must_fail(expectation("ops.hung == 0", "ops.hung", Comparison::Equal, Threshold::Figure(0.0)))),
        at(
            33,
            expectation(
                "attempts.amplification <= 1.5",
                "attempts.amplification",
                Comparison::AtMost,
                Threshold::Figure(1.5),
            ),
        ),
        at(
            34,
            must_fail(expectation(
                "recovery.time <= 500s",
                "recovery.time",
                Comparison::AtMost,
                Threshold::Figure(500.0),
            )),
        ),
        expectation("transfer.stalled <= 1s", "transfer.stalled", Comparison::AtMost, Threshold::Figure(1.0)),
    ];
    RunResult::judged(identity(), &summary(), &checks, Duration::from_millis(12))
}

/// A run in which all is well.
pub fn passed() -> RunResult {
    let text = "0s host app 10.0.0.1\n1s op 1 app get\n1.02s op 1 ok\n2s end done";
    let check = expectation("ops.ok == 100%", "ops.ok", Comparison::Equal, Threshold::Share(1.0));
    let identity = halfopen_record::result::Identity {
        scenario: "calm".to_owned(),
        variant: None,
        file: "scenarios/calm.yaml".to_owned(),
        ..identity()
    };
    RunResult::judged(identity, &run(text), &[check], Duration::from_micros(1_500))
}

/// A run whose process died.
pub fn died() -> RunResult {
    let error = "the client called abort(3)\nat 12.5s: 100% of it".to_owned();
    RunResult::failed(Identity { variant: Some("a:b".to_owned()), ..identity() }, error, Duration::from_secs(1))
}
