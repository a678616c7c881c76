//! One setting of a client decides. Changing it turns the verdict, and the figures of the report show why.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Runs one variant of a scenario of this repository, as it stands and with one text in it replaced. The two reports:
/// `--format json`, before and after.
fn check(scenario: &str, variant: &str, setting: &str, other: &str) -> (Value, Value) {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios").join(scenario));
    let text = text.expect("the scenario");
    assert_eq!(text.matches(setting).count(), 1, "{setting} stands once in {scenario}");
    let folder = tempfile::tempdir().expect("a folder");
    let run = |name: &str, text: &str, status: i32| -> Value {
        let file = folder.path().join(name);
        fs::write(&file, text).expect("a file can be written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_halfopen"));
        let output = command.arg("run").arg(&file).args(["--variant", variant, "--format", "json"]).output();
        let output = output.expect("the binary runs");
        let stdout = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(output.status.code(), Some(status), "{name}: {stdout}\n{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&stdout).expect("one object")
    };
    let before = run("before.yaml", &text, 0);
    let after = run("after.yaml", &text.replace(setting, other), 1);
    assert_eq!((&before["verdict"], &after["verdict"]), (&Value::from("pass"), &Value::from("fail")));
    (before, after)
}

fn figure(object: &Value, metric: &str) -> f64 {
    object["metrics"][metric].as_f64().unwrap_or_else(|| panic!("no figure for {metric}: {object}"))
}

/// The figure by which the expectation of this metric was judged.
fn actual(object: &Value, metric: &str) -> f64 {
    let expectations = object["expectations"].as_array().expect("a list");
    let found = expectations.iter().find(|one| one["expr"].as_str().is_some_and(|expr| expr.starts_with(metric)));
    found.and_then(|one| one["actual"].as_f64()).unwrap_or_else(|| panic!("no figure for {metric}: {object}"))
}

/// The expectations that did not come true.
fn broken(object: &Value) -> Vec<&str> {
    let expectations = object["expectations"].as_array().expect("a list");
    expectations.iter().filter(|one| one["holds"] == false).filter_map(|one| one["expr"].as_str()).collect()
}

/// The answer and its evidence to the question of the outage review that contains these words.
fn review(object: &Value, words: &str) -> (String, String) {
    let answers = object["review"].as_array().expect("a list");
    let found = answers.iter().find(|answer| answer["question"].as_str().is_some_and(|text| text.contains(words)));
    let found = found.unwrap_or_else(|| panic!("nobody asks about {words}: {object}"));
    let text = |key: &str| found[key].as_str().expect("a string").to_owned();
    (text("answer"), text("evidence"))
}

#[test]
fn a_pool_that_outlives_the_nat_loses_ops() {
    let setting = "pool_idle_timeout: 60s";
    let (before, after) = check("nat/idle-eviction-drop.yaml", "closes-first", setting, "pool_idle_timeout: 15m");
    assert_eq!(broken(&after), ["ops.failed == 0", "ops.latency.max <= 1s", "half_open.longest <= 15s"]);
    assert_eq!((figure(&before, "ops.failed"), figure(&before, "nat.evicted.idle")), (0.0, 0.0));
    assert!(figure(&after, "ops.failed") > 0.0 && figure(&after, "nat.evicted.idle") > 0.0, "{after}");
    // The client believes in the connection for as long as the balancer has forgotten it: minutes.
    assert!(figure(&before, "half_open.longest") < 1.0 && figure(&after, "half_open.longest") > 300.0, "{after}");
    assert_eq!(review(&before, "outlive a NAT").0, "no");
    let (answer, evidence) = review(&after, "outlive a NAT");
    assert_eq!(answer, "yes");
    assert!(evidence.contains("forgotten after 240s without a packet"), "{evidence}");
}

#[test]
fn retries_without_jitter_come_all_at_once() {
    let (before, after) = check("storms/retry-storm.yaml", "jittered", "jitter: true", "jitter: false");
    assert!(broken(&after).iter().any(|expr| expr.starts_with("attempts.synchrony")), "{:?}", broken(&after));
    let (spread, bunched) = (actual(&before, "attempts.synchrony"), actual(&after, "attempts.synchrony"));
    assert!(bunched > 2.0 * spread, "{spread} and {bunched}");
    assert_eq!(review(&after, "retries add load").0, "yes");
}
