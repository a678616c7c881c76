//! The real kernel against its own recording, once more.
//!
//! A run in real time shows the kernel and the machine. How late a run's own threads were is measured (`harness/live`
//! and the scripts); a run that differs from the recording and was late tells nothing of the kernel, and is done again. A
//! case that differs in [`PUNCTUAL_RUNS`] punctual runs differs; one that never was punctual is *not judged*, and
//! says so.
//!
//! A case that differs fails if this is the kernel that was recorded. Another kernel may well differ: that is told, case
//! by case and at the end, and somebody has to look at it, but it fails under `HALFOPEN_LIVE_STRICT=1` only.

use std::sync::Mutex;
use std::time::Duration;

use halfopen_core::{SimDuration, SimTime};
use halfopen_fidelity::case::Case;
use halfopen_fidelity::compare::differences;
use halfopen_fidelity::world::{NoTrace, Side};
use libtest_mimic::{Arguments, Completion, Conclusion, Failed, Trial};

use super::{is_set, kernel, kernel_of, recorded, told};

/// How many fast cases run at once: they mostly wait, too.
const FAST_AT_ONCE: usize = 8;

/// A run that was later than this at any time is late: a tick of the kernel's clock at HZ=250, half of the smallest
/// tolerance (`compare::tolerance`).
const LATE_MAX: SimDuration = SimDuration::from_millis(4);

/// How many punctual runs must differ before a case does: the kernel's own timers fall into its ticks by chance.
const PUNCTUAL_RUNS: usize = 3;

/// How often a case is run at most.
const RUNS_MAX: usize = 6;

/// How long the runs of one case may take together, so that the slowest runs but once.
const RUNS_SPAN_MAX: SimDuration = SimDuration::from_secs(16 * 60);

/// How long to wait after the first late run, in the hope of a quieter machine; twice as long after each further one.
const BACKOFF: Duration = Duration::from_millis(250);

/// Between the starts of slow cases: making a namespace disturbs its neighbours.
const START_GAP: Duration = Duration::from_millis(200);

/// What became of a case on the real kernel.
enum Verdict {
    /// As it was recorded, after so many runs.
    AsRecorded(usize),
    /// This machine allows no namespaces, for this reason.
    NotRun(String),
    /// The machine was late in each of so many runs, in the last by so much.
    NotJudged(usize, SimDuration),
    Differs(String),
}

/// What is told at the end.
#[derive(Default)]
struct Summary {
    as_recorded: usize,
    /// Of them, those that took more than one run.
    in_later_runs: usize,
    not_run: usize,
    not_judged: Vec<&'static str>,
    to_look_at: Vec<&'static str>,
}

static SUMMARY: Mutex<Summary> = Mutex::new(Summary {
    as_recorded: 0,
    in_later_runs: 0,
    not_run: 0,
    not_judged: Vec::new(),
    to_look_at: Vec::new(),
});

/// Runs what the environment asks for and `arguments` select: the fast cases, then the slow ones all at once.
pub fn run(cases: &'static [Case], arguments: &Arguments) -> Conclusion {
    let with_fast = std::env::var("HALFOPEN_LIVE").as_deref() != Ok("0");
    let with_slow = is_set("HALFOPEN_LIVE_SLOW");
    let mut conclusion =
        batch(cases.iter().filter(|case| with_fast && !case.slow), "linux", Some(FAST_AT_ONCE), arguments);
    let slow = batch(cases.iter().filter(|case| with_slow && case.slow), "linux-slow", None, arguments);
    conclusion.num_failed += slow.num_failed;
    let ran =
        conclusion.num_passed + conclusion.num_failed + conclusion.num_ignored + slow.num_passed + slow.num_ignored;
    if ran > 0 || arguments.filter.is_none() && !arguments.list {
        tell(cases.iter().filter(|case| if case.slow { !with_slow } else { !with_fast }).count());
    }
    conclusion
}

/// Runs cases, so many at once, or all.
fn batch(
    cases: impl Iterator<Item = &'static Case>,
    kind: &str,
    at_once: Option<usize>,
    arguments: &Arguments,
) -> Conclusion {
    let trial = |case: &'static Case| Trial::ignorable_test(format!("{kind}/{}", case.name), move || live(case));
    let trials: Vec<Trial> = cases.map(trial).filter(|trial| !arguments.is_filtered_out(trial)).collect();
    if trials.is_empty() {
        return Conclusion { num_filtered_out: 0, num_passed: 0, num_failed: 0, num_ignored: 0, num_measured: 0 };
    }
    let test_threads = arguments.test_threads.or(at_once).unwrap_or(trials.len()).max(1);
    libtest_mimic::run(&Arguments { test_threads: Some(test_threads), ..arguments.clone() }, trials)
}

fn live(case: &'static Case) -> Result<Completion, Failed> {
    if case.slow {
        static STARTS: Mutex<()> = Mutex::new(());
        let _turn = STARTS.lock().expect("no panic");
        std::thread::sleep(START_GAP);
    }
    let verdict = judge(case)?;
    let mut summary = SUMMARY.lock().expect("no panic");
    let (excuse, details) = match verdict {
        Verdict::AsRecorded(runs) => {
            summary.as_recorded += 1;
            summary.in_later_runs += usize::from(runs > 1);
            return Ok(Completion::Completed);
        }
        Verdict::NotRun(why) => {
            summary.not_run += 1;
            (format!("compared with its recording only: {why}"), String::new())
        }
        Verdict::NotJudged(runs, late) => {
            summary.not_judged.push(&case.name);
            (
                format!("not judged: the machine was late in {runs} runs, by {} ms in the last", late.as_millis()),
                String::new(),
            )
        }
        Verdict::Differs(details) if kernel_of(case).as_deref() == Some(kernel().as_str()) => {
            return Err(format!("the kernel is not as it was recorded\nrecorded | now\n{details}").into());
        }
        Verdict::Differs(details) => {
            summary.to_look_at.push(&case.name);
            ("to look at: this kernel differs from the recorded one".to_owned(), details)
        }
    };
    if is_set("HALFOPEN_LIVE_STRICT") {
        return Err(format!("{excuse}\n{details}").into());
    }
    if !details.is_empty() {
        println!("{}: recorded | now\n{details}", case.name);
    }
    Ok(Completion::ignored_with(excuse))
}

/// Runs a case on the real kernel until it is as it was recorded, or has differed often enough, or was late too often.
fn judge(case: &Case) -> Result<Verdict, Failed> {
    let expected = recorded(case)?;
    let span = case.until.since(SimTime::ZERO);
    let runs_max = usize::try_from(RUNS_SPAN_MAX.as_nanos() / span.as_nanos().max(1)).unwrap_or(RUNS_MAX);
    let runs_max = runs_max.clamp(1, RUNS_MAX);
    let (mut punctual, mut late) = (0, SimDuration::ZERO);
    for number in 0..runs_max {
        let run = match Side::Linux.run(case) {
            Ok(run) => run,
            Err(NoTrace::NotAllowed(why)) => return Ok(Verdict::NotRun(why)),
            Err(NoTrace::Failed(why)) => return Err(why.into()),
        };
        let found = differences(&expected, &run.trace);
        if found.is_empty() {
            return Ok(Verdict::AsRecorded(number + 1));
        }
        if run.late > LATE_MAX {
            late = run.late;
            std::thread::sleep(BACKOFF * (1 << number));
            continue;
        }
        punctual += 1;
        if punctual == PUNCTUAL_RUNS.min(runs_max) {
            return Ok(Verdict::Differs(told(&found)));
        }
    }
    Ok(Verdict::NotJudged(runs_max - punctual, late))
}

/// What the real kernel said, in a few lines. `left_out` cases were not asked for.
fn tell(left_out: usize) {
    let Summary { as_recorded, in_later_runs, not_run, not_judged, to_look_at } = &*SUMMARY.lock().expect("no panic");
    println!(
        "the real kernel, {}: {as_recorded} cases are as they were recorded ({in_later_runs} not in the first run)",
        kernel()
    );
    if left_out + not_run > 0 {
        println!(
            "{} cases are compared with recordings of the real kernel only: {not_run} could not run here, {left_out} \
             were not asked for (HALFOPEN_LIVE_SLOW=1 asks for the slow ones)",
            left_out + not_run
        );
    }
    if !not_judged.is_empty() {
        println!("{} cases were not judged, the machine being too busy: {}", not_judged.len(), not_judged.join(", "));
    }
    if !to_look_at.is_empty() {
        println!(
            "{} cases differ from another kernel's recording; to look at: {}",
            to_look_at.len(),
            to_look_at.join(", ")
        );
    }
}
