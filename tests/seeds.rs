//! Many seeds at once: each is the run that it is alone, and its end is its own.
#![forbid(unsafe_code)]

mod outside;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::outside::{child_of, says, texts};

/// Two hosts, a hundred requests, some loss; `hasty` fails with nearly every seed, `patient` with none.
const SMALL: &str = "tests/scenarios/seeds.yaml";
/// How many runs are under way at most when the first one fails, besides it.
const JOBS: usize = 2;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = outside::halfopen();
    command.arg("run").args(arguments).current_dir(root());
    command
}

#[track_caller]
fn check(arguments: &[&str], status: i32) -> (String, String) {
    outside::check(&mut command(arguments), status)
}

/// The objects of `--format json`, without what is real time.
fn timeless(stdout: &str) -> Vec<Value> {
    let mut objects = outside::objects(stdout);
    for object in &mut objects {
        object.as_object_mut().expect("an object").remove("wall_s");
    }
    objects
}

#[track_caller]
fn json(arguments: &[&str], status: i32) -> Vec<Value> {
    timeless(&check(&[arguments, &["--format", "json"]].concat(), status).0)
}

fn seeds(objects: &[Value]) -> Vec<u64> {
    objects.iter().map(|object| object["seed"].as_u64().expect("a seed")).collect()
}

/// A scenario of the repository and one of its variants.
const REPLAYED: [(&str, &str); 4] = [
    (SMALL, "patient"),
    ("scenarios/nat/idle-eviction-drop.yaml", "keepalive"),
    ("scenarios/blips/short-requests.yaml", "one-try"),
    ("scenarios/upstreams/crash-and-restart.yaml", "retries"),
];

#[test]
fn a_seed_is_the_same_run_alone_and_among_others() {
    for (file, variant) in REPLAYED {
        let this = [file, "--variant", variant, "--format", "json"];
        // Not whether they pass: whether they are the same.
        let of = |more: &[&str]| {
            let output = command(&[&this, more].concat()).output().expect("the binary runs");
            timeless(&texts(&output).0)
        };
        let alone = of(&["--seed", "7"]);
        assert_eq!(alone.len(), 1, "{file}");
        assert_ne!(alone[0]["verdict"], "error", "{file}");
        assert_eq!(of(&["--seeds", "7..8"]), alone, "{file}");
        for jobs in ["1", "2"] {
            let among = of(&["--seeds", "4..9", "--jobs", jobs]);
            assert_eq!(seeds(&among), [4, 5, 6, 7, 8], "{file}");
            assert_eq!(among[3], alone[0], "{file} with {jobs} jobs");
        }
    }
}

#[test]
fn every_seed_has_its_line_and_its_own_run() {
    let runs = json(&[SMALL, "--variant", "patient", "--seeds", "0..30"], 0);
    assert_eq!(seeds(&runs), (0..30).collect::<Vec<u64>>());
    let different: BTreeSet<&str> = runs.iter().filter_map(|run| run["fingerprint"].as_str()).collect();
    assert_eq!(different.len(), 30);
    // Where the file leaves the time of a fault to chance, each seed has its own.
    let blips: BTreeSet<String> =
        runs.iter().map(|run| run["review"].to_string()).filter(|review| review.contains("from ")).collect();
    assert!(blips.len() > 10, "{blips:?}");
    // Every variant has every seed, one variant after the other.
    let runs = json(&[SMALL, "--seeds", "0x5..7", "--twice"], 1);
    let shown: Vec<(&str, u64)> =
        runs.iter().map(|run| (run["variant"].as_str().expect("one"), run["seed"].as_u64().expect("one"))).collect();
    assert_eq!(shown, [("patient", 5), ("patient", 6), ("hasty", 5), ("hasty", 6)]);
}

#[test]
fn people_are_told_what_fails_and_how_to_have_it_again() {
    let (stdout, stderr) = check(&[SMALL, "--seeds", "0..4"], 1);
    assert_eq!(stderr, "");
    assert!(!stdout.contains("PASS"), "{stdout}");
    let replays: Vec<&str> = stdout.lines().filter_map(|line| line.strip_prefix("  failed  ")).collect();
    assert!(!replays.is_empty() && replays.iter().all(|replay| replay.ends_with("--variant hasty")), "{stdout}");
    let reports = stdout.lines().filter(|line| line.starts_with("FAIL  seeds [hasty]")).count();
    assert_eq!(reports, replays.len(), "{stdout}");
    let failed = replays.len();
    says(
        &stdout,
        &[
            "seeds [patient]: 4 passed, 0 failed\n",
            &format!("seeds [hasty]: {} passed, {failed} failed\n", 4 - failed),
            "8 runs in ",
            "ms for each with ",
            &format!("\n{} passed, {failed} failed\n", 8 - failed),
        ],
    );
    // With what is printed, it fails again.
    let arguments: Vec<&str> = replays[0].split(' ').skip(2).collect();
    check(&arguments, 1);
    let (stdout, _) = check(&[SMALL, "--variant", "patient", "--seeds", "0..2", "--report"], 0);
    assert_eq!(stdout.matches("PASS  seeds [patient]").count(), 2, "{stdout}");
}

#[test]
fn machines_can_tell_the_seeds_apart() {
    let (stdout, _) = check(&[SMALL, "--seeds", "0..3", "--format", "junit"], 1);
    says(&stdout, &["tests=\"6\"", "seeds [patient, seed 0]", "seeds [hasty, seed 2]", "--seed 2 --variant hasty"]);
    let (stdout, _) = check(&[SMALL, "--seeds", "0..3", "--variant", "hasty", "--format", "github"], 1);
    assert!(stdout.lines().all(|line| line.starts_with("::error file=tests/scenarios/seeds.yaml,")), "{stdout}");
    says(&stdout, &["--variant hasty"]);
}

#[test]
fn fail_fast_begins_no_more_runs() {
    let jobs = JOBS.to_string();
    let runs = json(&[SMALL, "--variant", "hasty", "--seeds", "0..1000", "--fail-fast", "--jobs", &jobs], 1);
    assert_eq!(seeds(&runs), (0..runs.len() as u64).collect::<Vec<u64>>(), "those under way were finished");
    let first = runs.iter().position(|run| run["verdict"] == "fail").expect("one failed");
    // While a run takes its time, another job may do several.
    assert!(runs.len() < 100, "{} runs, of which {first} failed first", runs.len());
    let all = json(&[SMALL, "--variant", "hasty", "--seeds", "0..6"], 1);
    assert_eq!(all.len(), 6);
    let (stdout, _) = check(&[SMALL, "--variant", "hasty", "--seeds", "0..1000", "--fail-fast"], 1);
    says(&stdout, &[" failed, 9", " not begun\n"]);
}

#[test]
fn bad_ranges_are_refused_before_anything_runs() {
    for (arguments, says_why) in [
        (&["--seeds", "5"][..], "a range without its end: `0..1000`"),
        (&["--seeds", "0..=5"], "a range without its end"),
        (&["--seeds", "5..5"], "there are no seeds from 5 to before 5"),
        (&["--seeds", "6..5"], "there are no seeds"),
        (&["--seeds", "0..1000000"], "at most 100000"),
        (&["--seeds", "a..b"], "a seed is a whole number"),
        (&["--seeds", "0..2", "--seed", "1"], "cannot be used with"),
        (&["--seeds", "0..2", "--pcap", "captures"], "cannot be used with"),
    ] {
        let (stdout, stderr) = check(&[&[SMALL], arguments].concat(), 2);
        assert_eq!(stdout, "", "{arguments:?}");
        says(&stderr, &[says_why]);
    }
}

/// More work than a second of real time is enough for.
const LONG: &str = "\
scenario: long
summary: One client asks one upstream for half an hour.
seed: 1
time_limit: 1h

hosts:
  app: { run: http/reqwest }
  api: { run: upstream/http }

load:
  - { on: app, op: get, rate: 5000/s, for: 30m, deadline: 2s }

expect:
  - ops.hung == 0
";

fn long() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("long.yaml");
    fs::write(&file, LONG).expect("the folder is ours");
    let file = file.to_str().expect("UTF-8").to_owned();
    (folder, file)
}

#[test]
fn a_run_that_takes_too_long_is_an_error_of_its_own() {
    let (_folder, file) = long();
    // One job: each run follows one that was killed.
    let runs = json(&[&file, SMALL, "--seeds", "0..2", "--wall-limit", "2", "--jobs", "1"], 2);
    assert_eq!(runs.len(), 6);
    for (run, seed) in runs[..2].iter().zip(0..) {
        assert_eq!((&run["verdict"], &run["seed"]), (&"error".into(), &seed.into()), "{run}");
        says(run["error"].as_str().expect("a reason"), &["more than 2s of real time"]);
    }
    let patient = json(&[SMALL, "--seeds", "0..2", "--variant", "patient"], 0);
    assert_eq!(runs[2..4], patient);
}

#[test]
fn a_run_that_dies_takes_no_other_with_it() {
    let (_folder, file) = long();
    let mut command = command(&[&file, SMALL, "--seeds", "0..1", "--jobs", "1", "--format", "json"]);
    let mut parent = command.stdout(Stdio::piped()).spawn().expect("the binary runs");
    // The first run goes on until it is killed: the child's child.
    let run = loop {
        if let Some(run) = child_of(parent.id()).and_then(child_of) {
            break run;
        }
        assert_eq!(parent.try_wait().expect("a child"), None, "it ended before its first run began");
        std::thread::yield_now();
    };
    let killed = Command::new("kill").args(["-KILL", &run.to_string()]).status().expect("kill exists");
    assert!(killed.success());
    let output = parent.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(2));
    let runs = timeless(&texts(&output).0);
    let verdicts: Vec<&str> = runs.iter().filter_map(|run| run["verdict"].as_str()).collect();
    assert_eq!(verdicts[..2], ["error", "pass"], "{runs:?}");
    says(runs[0]["error"].as_str().expect("a reason"), &["SIGKILL"]);
}
