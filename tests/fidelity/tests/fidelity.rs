//! Every case: the simulation against the recording of the real kernel; and, where this machine allows it, the real
//! kernel once more against its own recording.
//!
//! - By default the fast cases run on the real kernel too (`linux/...`, in real time); `HALFOPEN_LIVE=0` leaves them out.
//! - `HALFOPEN_LIVE_SLOW=1` runs the slow cases on the real kernel too (`linux-slow/...`, all at once).
//! - `HALFOPEN_LIVE_STRICT=1` takes nothing for an excuse: a case that could not be judged, or that differs on another
//!   kernel than the recorded one, fails.
//! - `HALFOPEN_RECORD=1` writes recordings anew, and nothing else: of the cases whose names contain the first argument.
//! - `HALFOPEN_PAGE=1` writes docs/fidelity.md anew; otherwise it is compared.
//!
//! docs/testing.md says which of these runs where.
#![allow(clippy::disallowed_methods)] // A test, which lives in real time.

#[path = "fidelity/live.rs"]
mod live;
#[path = "fidelity/record.rs"]
mod record;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use halfopen_fidelity::case::{self, Case, HOSTS};
use halfopen_fidelity::compare::{Difference, differences};
use halfopen_fidelity::page::{self, Outcome};
use halfopen_fidelity::trace::{Column, Trace};
use halfopen_fidelity::world::{self, Side};
use libtest_mimic::{Arguments, Failed, Trial};

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
        return record::record(cases, arguments.filter.as_deref().unwrap_or(""));
    }
    let simulations: &'static [Simulation] = cases.iter().map(Simulation::of).collect::<Vec<_>>().leak();
    let mut trials: Vec<Trial> = Vec::new();
    for simulation in simulations {
        trials.push(Trial::test(format!("simulated/{}", simulation.case.name), move || simulated(simulation)));
    }
    trials.push(Trial::test("page", move || page_is_true(simulations)));
    trials.push(Trial::test("pushes", move || pushes_stand_where_linux_sets_them(simulations)));
    let simulated = libtest_mimic::run(&arguments, trials);
    // Real time does not stand being disturbed: the real kernel runs when the processors have nothing else to do.
    let linux = live::run(cases, &arguments);
    simulated.exit_if_failed();
    linux.exit();
}

/// A case on the virtual kernel, run once by whoever looks first.
struct Simulation {
    case: &'static Case,
    trace: OnceLock<Result<Trace, String>>,
}

impl Simulation {
    fn of(case: &'static Case) -> Simulation {
        Simulation { case, trace: OnceLock::new() }
    }

    fn trace(&self) -> Result<&Trace, Failed> {
        let run = || Side::Simulated.run(self.case).map(|run| run.trace).map_err(|error| format!("{error:?}"));
        self.trace.get_or_init(run).as_ref().map_err(Failed::from)
    }
}

fn told(differences: &[Difference]) -> String {
    let one = |difference: &Difference| format!("{}\n{}\n", difference.what, difference.context);
    differences.iter().map(one).collect()
}

fn simulated(simulation: &Simulation) -> Result<(), Failed> {
    let found = differences(&recorded(simulation.case)?, simulation.trace()?);
    match (&simulation.case.differs, found.is_empty()) {
        (None, true) | (Some(_), false) => Ok(()),
        (Some(_), true) => Err("is said to differ, and does not any more".into()),
        (None, false) => Err(format!("Linux | halfopen\n{}", told(&found)).into()),
    }
}

/// The one case whose bundles are cut in other places: how the receiver's ACKs are merged, which is nobody's to say, decides
/// how much may be sent again at once.
const CUT_ELSEWHERE: &str = "loss/blip-30s-200ms-bulk";

/// PSH on the very segments on which the recordings have it. It is no part of a comparison with a live run, since it
/// follows from when ACKs come.
fn pushes_stand_where_linux_sets_them(simulations: &[Simulation]) -> Result<(), Failed> {
    let pushes = |trace: &Trace, host| -> Vec<(String, bool)> {
        let sent = trace.column(host, Column::Out).filter(|entry| entry.what.starts_with("DATA"));
        sent.map(|entry| (entry.what.clone(), entry.note.contains("push"))).collect()
    };
    let mut segments = 0;
    for simulation in simulations {
        let case = simulation.case;
        if case.differs.is_some() || case.name == CUT_ELSEWHERE {
            continue;
        }
        let (linux, simulated) = (recorded(case)?, simulation.trace()?);
        for (host, name) in HOSTS.iter().enumerate() {
            let (expected, actual) = (pushes(&linux, host), pushes(simulated, host));
            segments += expected.len();
            if expected != actual {
                return Err(format!("{}, host {name}:\n{expected:?}\n{actual:?}", case.name).into());
            }
        }
    }
    if segments < 2_000 { Err(format!("only {segments} segments with data").into()) } else { Ok(()) }
}

/// The kernel of this machine.
fn kernel() -> String {
    let version = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Linux {}", version.trim())
}

/// The kernel in the head of a recording.
fn kernel_of(case: &Case) -> Option<String> {
    let text = fs::read_to_string(recording(case)).ok()?;
    Some(text.lines().next()?.trim_start_matches("# ").to_owned())
}

/// The kernels of all recordings.
fn recorded_kernel(simulations: &[Simulation]) -> String {
    let mut kernels: Vec<String> = simulations.iter().filter_map(|one| kernel_of(one.case)).collect();
    kernels.sort();
    kernels.dedup();
    kernels.join(", ")
}

fn page_is_true(simulations: &[Simulation]) -> Result<(), Failed> {
    let mut runs = Vec::new();
    for simulation in simulations {
        let (linux, simulated) = (recorded(simulation.case).ok(), simulation.trace()?);
        let found = linux.as_ref().map(|linux| differences(linux, simulated)).unwrap_or_default();
        runs.push((simulation.case, linux, simulated, found));
    }
    let outcomes: Vec<Outcome> = runs
        .iter()
        .map(|(case, linux, simulated, differences)| Outcome { case, linux: linux.as_ref(), simulated, differences })
        .collect();
    let text = page::render(&recorded_kernel(simulations), &outcomes);
    let path = root().join("../../docs/fidelity.md");
    if is_set("HALFOPEN_PAGE") {
        fs::write(&path, &text)?;
    }
    match fs::read_to_string(&path)? == text {
        true => Ok(()),
        false => Err("docs/fidelity.md is not what the suite says: HALFOPEN_PAGE=1 writes it anew".into()),
    }
}
