//! What a person sees of a storm, of a full pool and of a recovery: the tables of the scenarios, window by window.
//!
//! A change that moves a figure shows here as a difference to look at. `cargo insta review` takes it.

use halfopen_tests::variant;

/// The tables of two variants of a scenario, one below the other.
fn tables(runs: &[halfopen::Run], bad: &str, good: &str) -> String {
    let one = |name: &str| format!("== {name}\n{}", variant(runs, name).table());
    halfopen::Scenario::assert_pass(runs);
    format!("{}\n{}", one(bad), one(good))
}

#[test]
fn retry_storm() {
    let runs = halfopen::scenario!("../scenarios/storms/retry-storm.yaml").clients(halfopen_clients::all()).run();
    insta::assert_snapshot!(tables(&runs, "synchronised", "jittered"));
}

#[test]
fn pool_saturation() {
    let runs = halfopen::scenario!("../scenarios/pools/slow-upstream.yaml").clients(halfopen_clients::all()).run();
    insta::assert_snapshot!(tables(&runs, "patient", "bounded"));
}

#[test]
fn recovery_after_a_restart() {
    let runs =
        halfopen::scenario!("../scenarios/upstreams/crash-and-restart.yaml").clients(halfopen_clients::all()).run();
    insta::assert_snapshot!(tables(&runs, "one-try", "retries"));
}
