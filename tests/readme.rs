//! What README.md shows is true: its scenario runs and passes, and its report is what the command prints.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("the README is there")
}

/// The first block of this language after this heading.
fn block(heading: &str, language: &str) -> String {
    let readme = readme();
    let section = readme.split_once(heading).unwrap_or_else(|| panic!("no heading {heading:?}")).1;
    let open = format!("```{language}\n");
    let rest = section.split_once(&open).unwrap_or_else(|| panic!("no {language} below {heading:?}")).1;
    rest.split_once("```").expect("the block ends").0.to_owned()
}

fn run(path: &Path) -> (String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_halfopen"))
        .arg("run")
        .arg(path)
        .current_dir(root())
        .output()
        .expect("the binary starts");
    (String::from_utf8(output.stdout).expect("text"), output.status.code())
}

#[test]
fn the_scenario_to_copy_runs_and_passes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("own.yaml");
    std::fs::write(&file, block("## Your own scenario", "yaml")).expect("the folder is ours");
    let (text, status) = run(&file);
    assert_eq!(status, Some(0), "{text}");
}

/// Real time differs from run to run, and the fingerprint from build to build; every other word is compared.
#[test]
fn the_report_is_what_the_command_prints() {
    let shown = block("## What a run prints", "console");
    let printed = run(Path::new("scenarios/nat/idle-eviction-drop.yaml")).0;
    let printed: Vec<String> = printed.lines().map(steady).collect();
    for line in shown.lines().skip(1).filter(|line| *line != "…") {
        assert!(printed.contains(&steady(line)), "not printed: {line}\n{}", printed.join("\n"));
    }
}

/// A line without what differs from machine to machine.
fn steady(line: &str) -> String {
    match line.split_once(" virtual in ") {
        Some((before, after)) => {
            let seed = after.split_whitespace().skip(1).take(2).collect::<Vec<_>>().join(" ");
            format!("{before} virtual {seed}")
        }
        None => line.to_owned(),
    }
}
