//! The same seed, scenario and binary make the same run, whatever stands around it.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The repository.
fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the repository has a path")
}

/// What came of each run, by file (its last two parts) and variant.
type Runs = BTreeMap<(String, Option<String>), Value>;

/// Runs the binary, after `arrange` has had its way with the command. No run may be an error.
fn runs(arguments: &[&str], arrange: impl Fn(&mut Command)) -> Runs {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halfopen"));
    command.arg("run").args(arguments).args(["--format", "json"]).current_dir(root());
    arrange(&mut command);
    let output = command.output().expect("the binary runs");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let mut runs = Runs::new();
    for line in stdout.lines() {
        let object: Value = serde_json::from_str(line).expect("JSON");
        assert_ne!(object["verdict"], "error", "{object}");
        let file: Vec<&str> = object["file"].as_str().expect("a path").rsplit('/').take(2).collect();
        let variant = object["variant"].as_str().map(str::to_owned);
        assert!(runs.insert((file.join(" in "), variant), object).is_none());
    }
    assert!(!runs.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    runs
}

fn figures<'a>(runs: &'a Runs, key: &str) -> Vec<(&'a (String, Option<String>), String)> {
    runs.iter().map(|(name, object)| (name, object[key].to_string())).collect()
}

/// Asserts that two lots of runs are the same: their fingerprints, and all their metrics.
#[track_caller]
fn check(one: &Runs, other: &Runs) {
    for key in ["fingerprint", "metrics", "expectations", "review", "virtual_s"] {
        assert_eq!(figures(one, key), figures(other, key), "{key}");
    }
}

#[test]
fn every_scenario_twice_and_with_one_job_or_two() {
    // A difference between the two runs of `--twice` is an error, and `runs` allows none.
    let twice = runs(&["scenarios", "--twice", "--jobs", "2"], |_| {});
    assert!(twice.len() >= 24, "twelve scenarios with two variants each, at least");
    check(&twice, &runs(&["scenarios", "--jobs", "1"], |_| {}));
}

/// Has jitter on its links.
const JITTERY: &str = "scenarios/nat/idle-eviction-drop.yaml";
/// Has no randomness but jitter in its clients' backoff.
const STORM: &str = "scenarios/storms/retry-storm.yaml";

#[test]
fn another_seed_is_another_run_where_chance_has_a_say() {
    for (file, variant, metric) in
        [(JITTERY, "keepalive", "ops.latency.mean"), (STORM, "jittered", "attempts.synchrony")]
    {
        let figures = ["1", "2", "3"].map(|seed| {
            let mut runs = runs(&[file, "--variant", variant, "--seed", seed], |_| {});
            let (_, object) = runs.pop_first().expect("a run");
            (object["fingerprint"].to_string(), object["metrics"][metric].to_string())
        });
        for (index, (fingerprint, figure)) in figures.iter().enumerate() {
            for (other_fingerprint, other_figure) in &figures[index + 1..] {
                assert_ne!(fingerprint, other_fingerprint, "{file}");
                assert_ne!(figure, other_figure, "{file}: {metric}");
            }
        }
    }
}

#[test]
fn the_environment_changes_nothing() {
    let bare = runs(&[JITTERY], |command| {
        command.env_clear();
    });
    let crowded = runs(&[JITTERY], |command| {
        command.envs([
            ("FOO", "bar"),
            ("TZ", "Pacific/Chatham"),
            ("LANG", "tr_TR.UTF-8"),
            ("RUST_LOG", "trace"),
            ("RUST_BACKTRACE", "full"),
            ("TOKIO_WORKER_THREADS", "7"),
            ("MALLOC_ARENA_MAX", "1"),
            ("LD_BIND_NOW", "1"),
            ("HTTP_PROXY", "http://127.0.0.1:1"),
            ("http_proxy", "http://127.0.0.1:1"),
            ("ALL_PROXY", "socks5://127.0.0.1:1"),
            ("PADDING", &"x".repeat(10_000)),
        ]);
    });
    check(&bare, &crowded);
}

/// Its client retries, and once took up its tasks in another order when blocks of memory lay elsewhere.
const ERRORS: &str = "scenarios/upstreams/refuses-and-errors.yaml";

#[test]
fn names_of_files_and_what_is_asked_for_change_nothing() {
    let variant = ["--variant", "retries"];
    let file = root().join(ERRORS);
    let plain = runs(&[&[ERRORS], &variant[..]].concat(), |_| {});
    let folder = tempfile::tempdir().expect("a folder");
    let deep = folder.path().join("a folder with a long name, for files that do not last");
    std::fs::create_dir(&deep).expect("a folder");
    let captures = folder.path().to_str().expect("UTF-8");
    for name in [file.to_str().expect("UTF-8"), "./././././././scenarios/upstreams/refuses-and-errors.yaml", ERRORS] {
        for more in [&["--twice"][..], &["--pcap", captures], &["--jobs", "1"]] {
            let other = runs(&[&[name], &variant[..], more].concat(), |command| {
                command.env("TMPDIR", &deep);
            });
            check(&plain, &other);
        }
    }
}

#[test]
fn the_working_directory_changes_nothing() {
    let here = runs(&[JITTERY], |_| {});
    let elsewhere = tempfile::tempdir().expect("a folder");
    let file = root().join(JITTERY);
    let file = file.to_str().expect("UTF-8");
    let there = runs(&[file], |command| {
        command.current_dir(elsewhere.path());
    });
    check(&here, &there);
}
