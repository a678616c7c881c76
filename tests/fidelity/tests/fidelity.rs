//! Every case: the simulation against the recording of the real kernel; and, where this machine allows it, the real
//! kernel once more against its own recording.
//!
//! - `HALFOPEN_LIVE=1` runs the fast cases on the real kernel, too (a minute and a half, in real time: on a busy machine
//!   they may be late).
//! - `HALFOPEN_LIVE_SLOW=1` runs the slow cases on the real kernel too (minutes, all at once).
//! - `HALFOPEN_RECORD=1` writes recordings anew, and nothing else: of the cases whose names contain the first argument.
//! - `HALFOPEN_PAGE=1` writes docs/fidelity.md anew; otherwise it is compared.
#![allow(clippy::disallowed_methods)] // A test, which lives in real time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use halfopen_core::SimTime;
use halfopen_fidelity::case::{self, Case};
use halfopen_fidelity::compare::{Difference, differences};
use halfopen_fidelity::page::{self, Outcome};
use halfopen_fidelity::trace::Trace;
use halfopen_fidelity::world::{self, NoTrace, Side};
use libtest_mimic::{Arguments, Failed, Trial};

/// How many fast cases are recorded at once: more would disturb each other's times.
const FAST_AT_ONCE: usize = 4;

/// How many slow cases are recorded at once: they mostly wait.
const SLOW_AT_ONCE: usize = 20;

/// How often a case is recorded until two runs agree: what a busy machine did to one of them is not kept.
const RECORD_TRIES: usize = 6;

/// Longer cases are recorded once.
const SETTLED_MAX: SimTime = SimTime::from_nanos(25_000_000_000);

/// Between the starts of slow cases: making a namespace disturbs its neighbours.
const START_GAP: Duration = Duration::from_millis(500);

/// How often the real kernel may try to be as it was recorded: a busy machine makes its threads late.
const LIVE_TRIES: usize = 3;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn is_set(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| value == "1")
}

fn cases() -> Vec<Case> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(root().join("cases")).expect("the cases").map(|file| file.expect("a file").path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let family = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).expect("a file of cases");
        cases.extend(case::parse(&family, &text).unwrap_or_else(|wrong| panic!("{wrong}")));
    }
    cases
}

fn recording(case: &Case) -> PathBuf {
    root().join("recordings").join(format!("{}.txt", case.name))
}

fn recorded(case: &Case) -> Result<Trace, String> {
    let path = recording(case);
    let text = fs::read_to_string(&path).map_err(|_| format!("no recording: {}", path.display()))?;
    Trace::parse(&text)
}

fn main() {
    let cases: &'static [Case] = cases().leak();
    world::child(cases);
    let arguments = Arguments::from_args();
    if is_set("HALFOPEN_RECORD") {
        return record(cases, arguments.filter.as_deref().unwrap_or(""));
    }
    let mut trials = Vec::new();
    for case in cases {
        trials.push(Trial::test(format!("simulated/{}", case.name), move || simulated(case)));
        if is_set("HALFOPEN_LIVE_SLOW") || (is_set("HALFOPEN_LIVE") && !case.slow) {
            trials.push(Trial::test(format!("linux/{}", case.name), move || linux(case)));
        }
    }
    trials.push(Trial::test("page", move || page_is_true(cases)));
    if !is_set("HALFOPEN_LIVE_SLOW") {
        let recorded = cases.iter().filter(|case| case.slow || !is_set("HALFOPEN_LIVE")).count();
        println!(
            "{recorded} cases are compared with recordings of the real kernel only: HALFOPEN_LIVE=1 runs it again"
        );
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn told(differences: &[Difference]) -> String {
    let one = |difference: &Difference| format!("{}\n{}\n", difference.what, difference.context);
    differences.iter().map(one).collect()
}

fn simulated(case: &Case) -> Result<(), Failed> {
    let expected = recorded(case)?;
    let actual = Side::Simulated.run(case).map_err(|error| format!("{error:?}"))?;
    let found = differences(&expected, &actual);
    match (&case.differs, found.is_empty()) {
        (None, true) | (Some(_), false) => Ok(()),
        (Some(_), true) => Err("is said to differ, and does not any more".into()),
        (None, false) => Err(format!("Linux | halfopen\n{}", told(&found)).into()),
    }
}

fn linux(case: &Case) -> Result<(), Failed> {
    let expected = recorded(case)?;
    let mut found = Vec::new();
    for _ in 0..LIVE_TRIES {
        match Side::Linux.run(case) {
            Ok(actual) => found = differences(&expected, &actual),
            Err(NoTrace::NotAllowed(why)) => {
                println!("{}: compared with its recording only: {why}", case.name);
                return Ok(());
            }
            Err(NoTrace::Failed(why)) => return Err(why.into()),
        }
        if found.is_empty() {
            return Ok(());
        }
    }
    Err(format!("the kernel is not as it was recorded\nrecorded | now\n{}", told(&found)).into())
}

fn kernel() -> String {
    let version = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Linux {}", version.trim())
}

/// The kernel in the head of the recordings.
fn recorded_kernel(cases: &[Case]) -> String {
    let heads = cases.iter().filter_map(|case| fs::read_to_string(recording(case)).ok());
    let mut kernels: Vec<String> =
        heads.filter_map(|text| Some(text.lines().next()?.trim_start_matches("# ").to_owned())).collect();
    kernels.sort();
    kernels.dedup();
    kernels.join(", ")
}

fn record(cases: &[Case], filter: &str) {
    let wanted = |slow: bool| cases.iter().filter(move |case| case.slow == slow && case.name.contains(filter));
    if is_set("HALFOPEN_LIVE_SLOW") {
        record_all(wanted(true).collect(), SLOW_AT_ONCE);
    } else {
        record_all(wanted(false).collect(), FAST_AT_ONCE);
    }
}

fn record_all(cases: Vec<&Case>, at_once: usize) {
    let rest = Mutex::new(cases.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let mut rest_locked = rest.lock().expect("no panic");
                    let Some(case) = rest_locked.next() else { return };
                    if case.slow {
                        std::thread::sleep(START_GAP);
                    }
                    drop(rest_locked);
                    match settled(case) {
                        Ok(trace) => write_recording(case, &trace),
                        Err(error) => println!("{}: {error:?}", case.name),
                    }
                }
            });
        }
    });
}

/// What the real kernel does: of all but the longest cases, what it did twice in a row.
fn settled(case: &Case) -> Result<Trace, NoTrace> {
    let mut last = Side::Linux.run(case)?;
    if case.until > SETTLED_MAX {
        return Ok(last);
    }
    for _ in 0..RECORD_TRIES {
        let again = Side::Linux.run(case)?;
        if differences(&last, &again).is_empty() {
            return Ok(again);
        }
        last = again;
    }
    Err(NoTrace::Failed(format!("{}: no two runs agree", case.name)))
}

fn write_recording(case: &Case, trace: &Trace) {
    let mut head = format!("# {}\n# {}: {}\n", kernel(), case.name, case.about);
    for (host, sysctls) in case::HOSTS.iter().zip(&case.sysctls) {
        for (name, value) in sysctls {
            head.push_str(&format!("# {host} {name} = {value}\n"));
        }
    }
    let path = recording(case);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for recordings");
    fs::write(&path, format!("{head}{trace}")).expect("a recording is written");
    println!("recorded {}", case.name);
}

fn page_is_true(cases: &[Case]) -> Result<(), Failed> {
    let mut runs = Vec::new();
    for case in cases {
        let linux = recorded(case).ok();
        let simulated = Side::Simulated.run(case).map_err(|error| format!("{error:?}"))?;
        let found = linux.as_ref().map(|linux| differences(linux, &simulated)).unwrap_or_default();
        runs.push((case, linux, simulated, found));
    }
    let outcomes: Vec<Outcome> = runs
        .iter()
        .map(|(case, linux, simulated, differences)| Outcome { case, linux: linux.as_ref(), simulated, differences })
        .collect();
    let text = page::render(&recorded_kernel(cases), &outcomes);
    let path = root().join("../../docs/fidelity.md");
    if is_set("HALFOPEN_PAGE") {
        fs::write(&path, &text)?;
    }
    match fs::read_to_string(&path)? == text {
        true => Ok(()),
        false => Err("docs/fidelity.md is not what the suite says: HALFOPEN_PAGE=1 writes it anew".into()),
    }
}
