//! What an idle hour costs: nothing but what the programs themselves do in it.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// How long the connections idle, in seconds.
const IDLE_S: f64 = 7200.0;
/// How many hosts hold one.
const HOSTS: f64 = 10.0;

/// Runs a variant of `scenarios/idle.yaml` twice and returns its object and the number of events in its log.
fn check(variant: &str) -> (Value, usize) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios/idle.yaml");
    let run = |format: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_halfopen"));
        command.arg("run").arg(&file).args(["--variant", variant, "--format", format, "--log", "all"]);
        let output = command.output().expect("the binary runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        output
    };
    let output = run("json");
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(object["verdict"], "pass");
    let log = String::from_utf8(output.stderr).expect("a log is text");
    println!("{variant}: {} events, {} s of real time", log.lines().count(), object["wall_s"]);
    (object, log.lines().count())
}

fn figure(object: &Value, metric: &str) -> f64 {
    object["metrics"][metric].as_f64().unwrap_or_else(|| panic!("no figure for {metric}"))
}

#[test]
fn an_idle_hour_costs_nothing() {
    let (object, events) = check("silent");
    let virtual_s = object["virtual_s"].as_f64().expect("a number");
    assert!((IDLE_S..IDLE_S + 2.0).contains(&virtual_s), "{virtual_s}");
    // The same connections serve both rounds of ops: they were held all the time.
    assert_eq!(figure(&object, "ops.ok"), 2.0 * HOSTS);
    assert_eq!(figure(&object, "tcp.connects"), HOSTS);
    // reqwest sets the interval between keepalive probes, and with it SO_KEEPALIVE, even where it sets no idle time:
    // one probe a connection at Linux's tcp_keepalive_time, 7200 s.
    assert!(figure(&object, "tcp.probes") <= HOSTS);
    // A handshake, a request and its answer, a second request and its answer: per host, not per second.
    assert!(figure(&object, "packets.sent") <= HOSTS * 20.0, "{}", figure(&object, "packets.sent"));
    assert!(events < 1000, "{events} events");
}

#[test]
fn keepalives_cost_their_packets_and_no_more() {
    let (object, events) = check("keepalive");
    assert_eq!(figure(&object, "tcp.connects"), HOSTS);
    let probes = figure(&object, "tcp.probes.keepalive");
    let expected = HOSTS * IDLE_S / 15.0;
    assert!((expected * 0.99..=expected).contains(&probes), "{probes}");
    // A probe and its answer each.
    let packets = figure(&object, "packets.sent");
    assert!((2.0 * probes..2.0 * probes + HOSTS * 20.0).contains(&packets), "{packets}");
    assert!((events as f64) < 3.0 * packets, "{events} events");
}
