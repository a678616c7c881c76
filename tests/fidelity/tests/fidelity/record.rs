//! Recordings of the real kernel, made only when asked for.

use std::fs;
use std::sync::Mutex;
use std::time::Duration;

use halfopen_fidelity::case::{self, Case};
use halfopen_fidelity::compare::differences;
use halfopen_fidelity::trace::Trace;
use halfopen_fidelity::world::{NoTrace, Side};

use super::{is_set, kernel, recording, told};

/// How many fast cases are recorded at once, each twice: more would disturb each other's times.
const FAST_AT_ONCE: usize = 2;

/// How many slow cases are recorded at once: they mostly wait.
const SLOW_AT_ONCE: usize = 20;

/// How often a case is recorded, two runs at once, until two runs agree: what a busy machine did to one of them is not
/// kept.
const RECORD_TRIES: usize = 4;

/// Between the starts of slow cases: making a namespace disturbs its neighbours.
const START_GAP: Duration = Duration::from_millis(500);

/// Records the cases whose names contain `filter`: the slow ones if `HALFOPEN_LIVE_SLOW` says so, else the others.
pub fn record(cases: &[Case], filter: &str) {
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

/// What the real kernel does: what it did twice.
fn settled(case: &Case) -> Result<Trace, NoTrace> {
    let mut runs: Vec<Trace> = Vec::new();
    for _ in 0..RECORD_TRIES {
        let both = std::thread::scope(|scope| {
            let first = scope.spawn(|| Side::Linux.run(case));
            std::thread::sleep(START_GAP);
            [Side::Linux.run(case), first.join().expect("a run does not panic")]
        });
        for run in both {
            let run = run?.trace;
            if runs.iter().any(|earlier| differences(earlier, &run).is_empty()) {
                return Ok(run);
            }
            runs.push(run);
        }
    }
    let found = told(&differences(&runs[0], &runs[1]));
    Err(NoTrace::Failed(format!("{}: no two runs agree\n{found}", case.name)))
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
