//! Runs cases on both kernels and compares what they tell.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use halfopen::{Env, Scenario, Verdict};

use crate::trace::Trace;

/// One subject's question, asked of both kernels.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub run: fn(&mut Trace),
    pub known: &'static [Known],
}

/// A line that the virtual kernel is known to tell differently.
#[derive(Clone, Copy)]
pub struct Known {
    pub linux: &'static str,
    pub here: &'static str,
    /// Why it is so, and why that does no harm.
    pub why: &'static str,
}

/// Compares the functions that are named; `name: [Known { .. }]` for one with known differences.
macro_rules! compare {
    (@known) => { &[] };
    (@known $known:expr) => { $known };
    ($($case:ident $(: $known:expr)?),* $(,)?) => {{
        let cases = vec![$($crate::compare::Case {
            name: stringify!($case),
            run: $case,
            known: compare!(@known $($known)?),
        }),*];
        let scenario = halfopen::scenario!("scenarios/semantics.yaml");
        $crate::compare::compare(module_path!(), scenario, cases);
    }};
}

/// One subject at a time: a closed descriptor's number must not come to life again in another thread.
static TURN: Mutex<()> = Mutex::new(());

/// Lines around a difference that are shown with it.
const CONTEXT_LINES: usize = 8;

/// Opens the part of one case in a file of traces.
const HEADING: &str = "## ";

pub fn compare(subject: &str, scenario: Scenario, cases: Vec<Case>) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.trace", subject.replace("::", "-")));
    // What an earlier run left must not pass for an answer of this one.
    let _ = std::fs::remove_file(&file);
    let told = tell_in_simulation(scenario, &cases, &file);
    let mut report = String::new();
    for case in &cases {
        let linux = trace_of(case);
        let empty = Vec::new();
        let here = told.get(case.name).unwrap_or(&empty);
        if let Some(difference) = difference(case, linux, here) {
            let _ = writeln!(report, "\n{}: {difference}", case.name);
        }
    }
    assert!(report.is_empty(), "\nnot as on Linux ({subject}):\n{report}");
}

fn trace_of(case: &Case) -> Vec<String> {
    let mut trace = Trace::default();
    (case.run)(&mut trace);
    trace.into_lines()
}

/// Runs the cases in a simulated host. Files are the machine's own there: so the traces come out by one.
fn tell_in_simulation(scenario: Scenario, cases: &[Case], file: &Path) -> BTreeMap<String, Vec<String>> {
    let (cases, path): (Vec<Case>, PathBuf) = (cases.to_vec(), file.to_owned());
    let program = halfopen::program::run_blocking(move |_: Env| -> std::io::Result<()> {
        let mut out = std::fs::File::create(&path)?;
        for case in &cases {
            writeln!(out, "{HEADING}{}", case.name)?;
            for line in trace_of(case) {
                writeln!(out, "{line}")?;
            }
        }
        Ok(())
    });
    let runs = scenario.program("app", program).run();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].verdict(), Verdict::Pass, "{}", runs[0].report());
    let text = std::fs::read_to_string(file).expect("the run wrote its traces");
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        match line.strip_prefix(HEADING) {
            Some(name) => {
                name.clone_into(&mut current);
                told.insert(current.clone(), Vec::new());
            }
            None => told.get_mut(&current).expect("a heading comes first").push(line.to_owned()),
        }
    }
    told
}

/// How the two stories differ beyond what is known.
fn difference(case: &Case, mut expected: Vec<String>, here: &[String]) -> Option<String> {
    assert!(!expected.is_empty(), "{} tells nothing", case.name);
    for known in case.known {
        match expected.iter_mut().find(|line| line.as_str() == known.linux) {
            Some(line) => known.here.clone_into(line),
            None => return Some(format!("Linux does not say {:?} any more ({})", known.linux, known.why)),
        }
    }
    if expected == here {
        return None;
    }
    let mut text = String::from("(- Linux, + here)\n");
    let differs = |place: usize| expected.get(place) != here.get(place);
    for place in 0..expected.len().max(here.len()) {
        if differs(place) {
            for (sign, line) in [('-', expected.get(place)), ('+', here.get(place))] {
                let _ = line.map(|line| writeln!(text, "  {sign} {line}"));
            }
        } else if (place.saturating_sub(CONTEXT_LINES)..=place + CONTEXT_LINES).any(differs) {
            let _ = writeln!(text, "    {}", here[place]);
        }
    }
    Some(text)
}
