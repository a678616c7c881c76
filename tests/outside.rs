//! What tests of the binary share: it is run from outside, judged by its exit status and what it prints.

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The binary under test, to be told what to do; it has nothing to read.
pub fn halfopen() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halfopen"));
    command.stdin(Stdio::null());
    command
}

/// What it printed, as text: stdout, stderr.
pub fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("output is UTF-8");
    (text(&output.stdout), text(&output.stderr))
}

/// Runs the binary, and checks how it ended. What it printed comes back as text: stdout, stderr.
#[track_caller]
pub fn check(command: &mut Command, status: i32) -> (String, String) {
    let output = command.output().expect("the binary runs");
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(status), "{command:?}\n{stdout}\n{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    (stdout, stderr)
}

/// The objects of `--format json`, one a line.
#[track_caller]
pub fn objects(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[track_caller]
pub fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

/// A process whose parent is this one: the fourth field of `/proc/PID/stat` (proc_pid_stat(5)).
pub fn child_of(parent: u32) -> Option<u32> {
    fs::read_dir("/proc").expect("/proc").filter_map(Result::ok).find_map(|entry| {
        let child = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        (fields.split(' ').nth(1)?.parse() == Ok(parent)).then_some(child)
    })
}
