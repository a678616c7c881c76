//! The command line, from outside: what it prints, what it leaves behind, and how it ends.
#![forbid(unsafe_code)]

mod outside;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use quick_xml::events::Event;
use serde_json::Value;
use tempfile::TempDir;

use crate::outside::{child_of, objects, says, texts};

/// One client, one upstream, and expectations to come. The jitter makes seeds differ.
const HEAD: &str = "\
scenario: little
summary: One client asks one upstream.
seed: 1
time_limit: 10m

hosts:
  app: { run: http/reqwest }
  api: { run: upstream/http }

network:
  default: { latency: 10ms, jitter: 2ms }

load:
  - { on: app, op: get, rate: 10/s, for: 3s, deadline: 2s }

";
const GOOD: &str = "expect:\n  - ops.failed == 0\n";
const FAILING: &str = "expect:\n  - ops.hung == 0\n  - ops.failed == 5\n";
const BROKEN: &str = "expect:\n  - ops.hang == 0\n";
const VARIANTS: &str = "\
faults:
  - { at: 1s, crash: { on: api }, name: outage }

expect:
  - ops.hung == 0
  - ops.failed == 0

variants:
  lone: { caught: [ops.failed] }
  doubted: { caught: [ops.failed, ops.hung] }
";

/// The keys of an object of `--format json`, in their order.
const KEYS: [&str; 12] = [
    "scenario",
    "variant",
    "file",
    "seed",
    "verdict",
    "fingerprint",
    "virtual_s",
    "wall_s",
    "expectations",
    "metrics",
    "review",
    "error",
];

/// A folder with scenario files, in which the binary is run.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Folder {
        let folder = Folder(TempDir::with_prefix("half open ").expect("a folder"));
        for (name, tail) in files {
            folder.write(name, &format!("{HEAD}{tail}"));
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder can be made");
        fs::write(path, text).expect("a file can be written");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = outside::halfopen();
        command.args(arguments).current_dir(self.0.path());
        command
    }

    /// Runs the binary in it, and checks how it ended. What it printed comes back as text: stdout, stderr.
    #[track_caller]
    fn check(&self, arguments: &[&str], status: i32) -> (String, String) {
        outside::check(&mut self.command(arguments), status)
    }

    /// As [`check`](Folder::check), with `--format json`; the objects.
    #[track_caller]
    fn json(&self, arguments: &[&str], status: i32) -> Vec<Value> {
        objects(&self.check(&[arguments, &["--format", "json"]].concat(), status).0)
    }
}

#[test]
fn the_exit_status_tells_the_verdict() {
    let folder = Folder::new(&[
        ("good.yaml", GOOD),
        ("failing.yaml", FAILING),
        ("broken.yaml", BROKEN),
        ("variants.yaml", VARIANTS),
    ]);
    folder.check(&["run", "good.yaml"], 0);
    folder.check(&["run", "failing.yaml"], 1);
    folder.check(&["run", "good.yaml", "failing.yaml"], 1);
    folder.check(&["run", "broken.yaml"], 2);
    folder.check(&["run", "variants.yaml", "--variant", "lone"], 0);
    folder.check(&["run", "variants.yaml", "--variant", "doubted"], 1);
    folder.check(&["check", "good.yaml", "variants.yaml"], 0);
    folder.check(&["check", "."], 2);
}

#[test]
fn json_is_one_object_a_line_and_nothing_else() {
    let folder = Folder::new(&[("a.yaml", GOOD), ("b.yaml", FAILING), ("c.yaml", VARIANTS)]);
    let (stdout, stderr) = folder.check(&["run", ".", "--format", "json"], 1);
    assert_eq!(stderr, "");
    let mut verdicts = Vec::new();
    for line in stdout.lines() {
        let object: Value = serde_json::from_str(line).expect("JSON");
        the_keys_are_in_order(line, &object);
        types_are_as_promised(&object);
        verdicts.push(format!("{} {} {}", object["file"], object["variant"], object["verdict"]));
    }
    insta::assert_snapshot!(verdicts.join("\n"), @r#"
    "./a.yaml" null "pass"
    "./b.yaml" null "fail"
    "./c.yaml" "lone" "pass"
    "./c.yaml" "doubted" "fail"
    "#);
}

fn the_keys_are_in_order(line: &str, object: &Value) {
    let mut places = Vec::new();
    for key in KEYS {
        places.push(line.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("no {key} in {line}")));
    }
    assert!(places.is_sorted(), "{line}");
    assert_eq!(object.as_object().map(|object| object.len()), Some(KEYS.len()), "{line}");
}

fn types_are_as_promised(object: &Value) {
    assert!(object["scenario"].is_string() && object["file"].is_string() && object["seed"].is_u64(), "{object}");
    let caught = object["variant"].is_string();
    assert!(caught || object["variant"].is_null(), "{object}");
    let fingerprint = object["fingerprint"].as_str().expect("a string");
    assert!(fingerprint.len() == 16 && u64::from_str_radix(fingerprint, 16).is_ok(), "{fingerprint}");
    assert!(object["virtual_s"].is_number() && object["wall_s"].is_number(), "{object}");
    assert!(object["error"].is_null(), "{object}");
    for expectation in object["expectations"].as_array().expect("a list") {
        let expectation = expectation.as_object().expect("an object");
        assert!(expectation["expr"].is_string() && expectation["holds"].is_boolean(), "{object}");
        assert!(expectation["actual"].is_number() || expectation["actual"].is_string(), "{object}");
        match expectation.get("must_fail") {
            Some(must_fail) => assert!(caught && *must_fail == true && expectation.len() == 4, "{object}"),
            None => assert_eq!(expectation.len(), 3, "{object}"),
        }
    }
    let metrics = object["metrics"].as_object().expect("an object");
    assert!(metrics.contains_key("ops.total") && metrics.values().all(Value::is_number), "{object}");
    for answer in object["review"].as_array().expect("a list") {
        let answer = answer.as_object().expect("an object");
        assert!(answer.len() == 3 && ["question", "answer", "evidence"].iter().all(|key| answer[*key].is_string()));
    }
}

#[test]
fn what_must_fail_is_marked_where_it_must() {
    let folder = Folder::new(&[("variants.yaml", VARIANTS), ("good.yaml", GOOD)]);
    let marks = |object: &Value| -> Vec<(String, bool, bool)> {
        let expectations = object["expectations"].as_array().expect("a list");
        let mark = |one: &Value| {
            (one["expr"].as_str().unwrap_or("").to_owned(), one["holds"] == true, one["must_fail"] == true)
        };
        expectations.iter().map(mark).collect()
    };
    let objects = folder.json(&["run", "variants.yaml", "good.yaml"], 1);
    let marks: Vec<_> = objects.iter().map(|object| (object["verdict"].to_string(), marks(object))).collect();
    let expectation = |expr: &str, holds, must_fail| (expr.to_owned(), holds, must_fail);
    assert_eq!(
        marks,
        [
            (
                "\"pass\"".to_owned(),
                vec![expectation("ops.hung == 0", true, false), expectation("ops.failed == 0", false, true),]
            ),
            (
                "\"fail\"".to_owned(),
                vec![expectation("ops.hung == 0", true, true), expectation("ops.failed == 0", false, true),]
            ),
            ("\"pass\"".to_owned(), vec![expectation("ops.failed == 0", true, false)]),
        ]
    );
}

#[test]
fn junit_counts_runs_failures_and_errors() {
    let folder = Folder::new(&[("a.yaml", GOOD), ("b.yaml", FAILING), ("c.yaml", VARIANTS)]);
    let (stdout, _) = folder.check(&["run", ".", "--format", "junit"], 1);
    let mut reader = quick_xml::Reader::from_str(&stdout);
    let mut counts = std::collections::BTreeMap::new();
    let mut totals = String::new();
    loop {
        match reader.read_event().expect("XML") {
            Event::Start(tag) | Event::Empty(tag) => {
                let name = String::from_utf8_lossy(tag.name().as_ref()).into_owned();
                if name == "testsuites" {
                    totals = String::from_utf8_lossy(&tag).into_owned();
                }
                *counts.entry(name).or_insert(0) += 1;
            }
            Event::Eof => break,
            _ => {}
        }
    }
    let count = |name: &str| counts.get(name).copied().unwrap_or(0);
    assert_eq!((count("testsuites"), count("testsuite"), count("testcase")), (1, 3, 4));
    assert_eq!((count("failure"), count("error")), (2, 0));
    says(&totals, &["tests=\"4\"", "failures=\"2\"", "errors=\"0\""]);
}

#[test]
fn github_annotations_name_file_and_line() {
    let folder = Folder::new(&[("a.yaml", GOOD), ("b.yaml", FAILING)]);
    let (stdout, _) = folder.check(&["run", ".", "--format", "github"], 1);
    let line = HEAD.lines().count() + 3;
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    assert!(stdout.starts_with("::error file="), "{stdout}");
    says(&stdout, &["b.yaml", &format!(",line={line},title="), "ops.failed == 5", "replay: halfopen run"]);
}

/// The report without what real time and the binary change: how long it took, and the fingerprint.
fn masked(report: &str) -> String {
    let mut lines = Vec::new();
    for line in report.lines() {
        let mut words: Vec<&str> = line.split(' ').collect();
        if let Some(place) = words.windows(2).position(|pair| pair == ["virtual", "in"]) {
            words[place + 2] = "[wall]";
            words.pop();
            words.push("[fingerprint]");
        }
        lines.push(words.join(" "));
    }
    lines.join("\n")
}

#[test]
fn a_pipe_gets_neither_colour_nor_bars() {
    let folder = Folder::new(&[]);
    for (name, tail) in [("a.yaml", GOOD), ("b.yaml", FAILING)] {
        folder.write(name, &format!("{HEAD}{tail}").replace("for: 3s", "for: 400ms"));
    }
    let (stdout, stderr) = folder.check(&["run", "a.yaml", "b.yaml", "--report"], 1);
    assert_eq!(stderr, "");
    assert!(!stdout.contains(['\u{1b}', '\r']), "{stdout:?}");
    insta::assert_snapshot!(masked(&stdout), @r"
    PASS  little  400ms virtual in [wall]  seed 1  [fingerprint]
      ok    ops.failed == 0  0

      per 100ms:
      time  ops  ok  attempts   amp      p99  attempts: = first, + again
      0.0s    1   1         1  1.00   46.4ms  ==============================
      0.1s    1   1         1  1.00  23.84ms  ==============================
      0.2s    1   1         1  1.00  24.65ms  ==============================
      0.3s    1   1         1  1.00  24.66ms  ==============================
    FAIL  little  400ms virtual in [wall]  seed 1  [fingerprint]
      ok    ops.hung == 0    0
      FAIL  ops.failed == 5  0

      per 100ms:
      time  ops  ok  attempts   amp      p99  attempts: = first, + again
      0.0s    1   1         1  1.00   46.4ms  ==============================
      0.1s    1   1         1  1.00  23.84ms  ==============================
      0.2s    1   1         1  1.00  24.65ms  ==============================
      0.3s    1   1         1  1.00  24.66ms  ==============================

      replay: halfopen run b.yaml --seed 1
    1 passed, 1 failed
    ");
    let (brief, _) = folder.check(&["run", "a.yaml"], 0);
    assert!(!brief.contains("attempts: = first"), "only --report shows a table of a run that passed:\n{brief}");
}

#[test]
fn wrong_arguments_are_told_with_a_remedy() {
    let folder = Folder::new(&[("good.yaml", GOOD), ("variants.yaml", VARIANTS)]);
    fs::create_dir(folder.path("empty")).expect("a folder");
    for (arguments, parts) in [
        (&["run", "--frobnicate"][..], &["--frobnicate", "--help"][..]),
        (&["walk"], &["walk", "--help"]),
        (&["run", "good.yaml", "--seed", "lucky"], &["lucky", "whole number", "0x5eed"]),
        (&["run", "good.yaml", "--seed", "18446744073709551616"], &["from 0 to 18446744073709551615"]),
        (&["run", "good.yaml", "--jobs", "0"], &["'0'", "1..=1024"]),
        (&["run", "good.yaml", "--jobs", "many"], &["many", "--jobs"]),
        (&["run", "good.yaml", "--format", "xml"], &["xml", "human, json, junit, github"]),
        (&["run", "good.yaml", "--log", "frames"], &["--log", "frames", "packets, tcp, nat"]),
        (&["run", "good.yaml", "--log", "hyper=loud"], &["loud", "error, warn, info, debug, trace"]),
        (&["run", "good.yaml", "--wall-limit", "0"], &["--wall-limit", "1.."]),
        (&["run", "good.yaml", "--wall-limit", "18446744073709551615"], &["--wall-limit", "1.."]),
        (&["run", "missing.yaml"], &["missing.yaml does not exist", "help: name a scenario file or a folder"]),
        (&["run"], &["scenarios does not exist", "help:"]),
        (&["run", "empty"], &["empty has no scenarios", ".yaml"]),
        (&["run", "variants.yaml", "--variant", "loen"], &["`loen`", "lone, doubted"]),
        (&["run", "good.yaml", "--variant", "lone"], &["`lone`", "no scenario"]),
        (&["run", "good.yaml", "--pcap", "good.yaml"], &["--pcap good.yaml"]),
    ] {
        let (stdout, stderr) = folder.check(arguments, 2);
        assert_eq!(stdout, "", "{arguments:?}");
        assert!(stderr.starts_with("error: "), "{arguments:?}: {stderr}");
        says(&stderr, parts);
    }
}

#[test]
fn broken_input_runs_nothing_and_touches_nothing() {
    let folder = Folder::new(&[("all/good.yaml", GOOD), ("all/broken.yaml", BROKEN)]);
    folder.write("captures/little.pcapng", "of yesterday");
    let (stdout, stderr) = folder.check(&["run", "all", "--pcap", "captures"], 2);
    assert_eq!(stdout, "");
    says(&stderr, &["no metric `ops.hang`", "broken.yaml:17:5", "^^^^^^^^", "did you mean `ops.hung`?"]);
    assert_eq!(fs::read_to_string(folder.path("captures/little.pcapng")).expect("a file"), "of yesterday");
    for arguments in [
        &["run", "all", "--pcap", "new"][..],
        &["run", "all/good.yaml", "--pcap", "new", "--variant", "none"],
        &["run", "all/good.yaml", "--pcap", "new", "--log", "nonsense"],
    ] {
        folder.check(arguments, 2);
        assert!(!folder.path("new").exists(), "{arguments:?}");
    }
    let text = format!("{HEAD}{BROKEN}");
    assert_eq!(fs::read_to_string(folder.path("all/broken.yaml")).expect("a file"), text);
}

#[test]
fn every_mistake_of_every_file_is_told_at_once() {
    let two = "expect:\n  - ops.hang == 0\n  - ops.failed == 0 parsecs\n";
    let folder = Folder::new(&[("a.yaml", two), ("b.yaml", BROKEN), ("c.yaml", GOOD)]);
    for verb in ["run", "check"] {
        let (_, stderr) = folder.check(&[verb, "."], 2);
        says(&stderr, &["a.yaml:17:5", "a.yaml:18:21", "2 mistakes", "b.yaml:17:5", "1 mistake\n"]);
    }
}

#[test]
fn check_counts_what_is_good() {
    let folder = Folder::new(&[("a.yaml", GOOD), ("b.yaml", VARIANTS)]);
    let (stdout, _) = folder.check(&["check", "."], 0);
    assert_eq!(stdout, "2 scenarios with 3 runs: all good\n");
}

#[test]
fn list_names_what_scenarios_can_name() {
    let (stdout, _) = Folder::new(&[]).check(&["list"], 0);
    says(&stdout, &["CLIENTS", "http/reqwest", "http/ureq", "transfer/upload", "UPSTREAMS", "upstream/http"]);
    says(&stdout, &["PRESETS", "aws-nat-gateway", "FAULTS", "blip", "nat.evict", "METRICS", "half_open.longest [s]"]);
}

#[test]
fn the_schema_is_json_and_names_the_clients() {
    let (stdout, _) = Folder::new(&[]).check(&["schema"], 0);
    let schema: Value = serde_json::from_str(&stdout).expect("JSON");
    assert!(
        schema["$schema"].as_str().is_some_and(|dialect| dialect.starts_with("https://json-schema.org/")),
        "{schema:#}"
    );
    says(&stdout, &["\"http/reqwest\"", "\"upstream/http\"", "\"pool_idle_timeout\""]);
}

#[test]
fn seeds_are_decimal_or_hexadecimal() {
    let folder = Folder::new(&[("good.yaml", GOOD)]);
    let run = |seed: &str| folder.json(&["run", "good.yaml", "--seed", seed], 0).remove(0);
    let (seven, hex, eight) = (run("7"), run("0x7"), run("8"));
    assert_eq!(seven["seed"], 7);
    assert_eq!(seven["fingerprint"], hex["fingerprint"]);
    assert_ne!(seven["fingerprint"], eight["fingerprint"]);
    assert_ne!(seven["metrics"]["ops.latency.mean"], eight["metrics"]["ops.latency.mean"]);
}

#[test]
fn pcap_writes_a_capture_with_packets() {
    let folder = Folder::new(&[("variants.yaml", VARIANTS)]);
    folder.write("good.yaml", &format!("{HEAD}{GOOD}").replace("scenario: little", "scenario: tiny"));
    folder.check(&["run", ".", "--pcap", "captures/today"], 1);
    for name in ["tiny.pcapng", "little.lone.pcapng", "little.doubted.pcapng"] {
        let bytes =
            fs::read(folder.path("captures/today").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        // The section header block's type, its length, and the byte-order magic (pcapng, section 4.1).
        assert_eq!(bytes[..4], 0x0A0D_0D0A_u32.to_le_bytes(), "{name}");
        assert_eq!(bytes[8..12], 0x1A2B_3C4D_u32.to_le_bytes(), "{name}");
        assert!(packets(&bytes) > 100, "{name}: {} packets", packets(&bytes));
    }
}

/// How many enhanced packet blocks a capture has. Every block says its length twice.
fn packets(capture: &[u8]) -> usize {
    const ENHANCED_PACKET: u32 = 6;
    let word = |at: usize| u32::from_le_bytes(capture[at..at + 4].try_into().expect("four bytes"));
    let (mut at, mut count) = (0, 0);
    while at < capture.len() {
        let length = word(at + 4) as usize;
        assert!(
            length >= 12 && length.is_multiple_of(4) && word(at + length - 4) as usize == length,
            "a broken block at {at}"
        );
        count += usize::from(word(at) == ENHANCED_PACKET);
        at += length;
    }
    count
}

#[test]
fn captures_of_one_name_do_not_overwrite_each_other() {
    let folder = Folder::new(&[("a.yaml", GOOD), ("b.yaml", FAILING)]);
    let (_, stderr) = folder.check(&["run", ".", "--pcap", "captures"], 2);
    says(&stderr, &["a.yaml", "b.yaml", "`little`", "help:"]);
    assert!(!folder.path("captures").exists());
}

#[test]
fn log_prints_lines_with_virtual_time() {
    let folder = Folder::new(&[("good.yaml", GOOD)]);
    let (stdout, _) = folder.check(&["run", "good.yaml", "--log", "ops"], 0);
    let lines: Vec<&str> = stdout.lines().filter(|line| line.contains(" get begins ")).collect();
    assert_eq!(lines.len(), 30, "{stdout}");
    assert!(lines[0].starts_with("0.000000s  app"), "{stdout}");
    assert!(lines[29].starts_with("2.900000s  app"), "{stdout}");
    // Machines read standard output, people the other.
    let (stdout, stderr) = folder.check(&["run", "good.yaml", "--log", "hyper_util=trace", "--format", "json"], 0);
    assert_eq!(stdout.lines().count(), 1);
    says(&stderr, &["0.0", "s  app", "hyper_util"]);
}

#[test]
fn a_reader_that_has_had_enough_is_no_mistake() {
    let folder = Folder::new(&[("a.yaml", GOOD), ("b.yaml", GOOD), ("c.yaml", GOOD)]);
    for arguments in
        [&["run", ".", "--report"][..], &["run", ".", "--format", "json"], &["list"], &["schema"], &["--help"]]
    {
        let mut child =
            folder.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let mut first = [0];
        child.stdout.take().expect("a pipe").read_exact(&mut first).expect("some output");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(texts(&output).1, "", "{arguments:?}");
    }
}

/// More work than a second of real time is enough for.
const LONG: &str =
    "load:\n  - { on: app, op: get, rate: 5000/s, for: 9m, deadline: 2s }\n\nexpect:\n  - ops.hung == 0\n";

fn long_run() -> Folder {
    let folder = Folder::new(&[]);
    let (head, _) = HEAD.split_once("load:").expect("a load");
    folder.write("long.yaml", &format!("{head}{LONG}"));
    folder
}

#[test]
fn a_run_that_takes_too_long_is_ended() {
    let folder = long_run();
    let object = folder.json(&["run", "long.yaml", "--wall-limit", "1"], 2).remove(0);
    assert_eq!(object["verdict"], "error");
    says(object["error"].as_str().unwrap_or_default(), &["more than 1s of real time"]);
    let (stdout, _) = folder.check(&["run", "long.yaml", "--wall-limit", "1"], 2);
    says(&stdout, &["ERROR little", "more than 1s of real time", "0 passed, 0 failed, 1 could not be completed"]);
}

#[test]
fn a_run_that_is_killed_from_outside_is_an_error() {
    let folder = long_run();
    let mut command = folder.command(&["run", "long.yaml", "--format", "json"]);
    let parent = command.stdout(Stdio::piped()).spawn().expect("the binary runs");
    let child = loop {
        if let Some(child) = child_of(parent.id()) {
            break child;
        }
        std::thread::yield_now();
    };
    let killed = Command::new("kill").args(["-KILL", &child.to_string()]).status().expect("kill exists");
    assert!(killed.success());
    let output = parent.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(2));
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(object["verdict"], "error");
    says(object["error"].as_str().unwrap_or_default(), &["SIGKILL"]);
}

#[test]
fn the_printed_command_replays_a_failure() {
    let folder = Folder::new(&[("it's a/little one.yaml", &VARIANTS.replace("doubted", "other"))]);
    // The head of the report: verdict, fingerprint, expectations; not how long it took in real time.
    let report = |output: &str| -> (String, Option<String>) {
        let fingerprint = output.lines().next().and_then(|line| line.rsplit(' ').next());
        (masked(output.split_once("\n\n").map_or(output, |(head, _)| head)), fingerprint.map(str::to_owned))
    };
    let (stdout, _) = folder.check(&["run", ".", "--seed", "0x5eed", "--variant", "other"], 1);
    let replay = stdout.lines().find_map(|line| line.trim().strip_prefix("replay: ")).expect("a command to replay it");
    let arguments = replay.strip_prefix("halfopen ").expect("it begins with the binary's name");
    let binary = env!("CARGO_BIN_EXE_halfopen");
    let again =
        Command::new("sh").args(["-c", &format!("'{binary}' {arguments}")]).current_dir(folder.0.path()).output();
    let (again, stderr) = texts(&again.expect("a shell"));
    assert_eq!(report(&again), report(&stdout), "{replay}\n{stderr}");
    says(&stdout, &["seed 24301", "FAIL  little [other]"]);
    assert_eq!(report(&stdout).1.map(|fingerprint| fingerprint.len()), Some(16));
}

#[test]
fn a_request_that_a_user_set_by_hand_is_no_request() {
    let folder = Folder::new(&[("good.yaml", GOOD)]);
    let output = folder.command(&["run", "good.yaml"]).env("HALFOPEN_RUN", "yes").output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(0), "{:?}", texts(&output));
}

#[test]
fn folders_are_read_in_the_order_of_names() {
    let folder = Folder::new(&[("b/one.yaml", GOOD), ("a.yml", GOOD), ("c.yaml", GOOD), ("notes.txt", GOOD)]);
    let files: Vec<String> =
        folder.json(&["run", ".", "--jobs", "3"], 0).iter().map(|one| one["file"].to_string()).collect();
    assert_eq!(files, ["\"./a.yml\"", "\"./b/one.yaml\"", "\"./c.yaml\""]);
    let path: &Path = &folder.path("c.yaml");
    let object = folder.json(&["run", path.to_str().expect("UTF-8")], 0).remove(0);
    assert_eq!(object["file"].as_str().map(Path::new), Some(path));
}
