//! Recordings of the real kernel, made only when asked for.

use std::fs;
use std::sync::Mutex;
use std::time::Duration;

use halfopen_core::SimTime;
use halfopen_fidelity::case::{self, Case};
use halfopen_fidelity::compare::differences;
use halfopen_fidelity::trace::Trace;
use halfopen_fidelity::world::{NoTrace, Side};

use super::{is_set, kernel, recording};

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

/// What the real kernel does: of all but the longest cases, what it did twice in a row.
fn settled(case: &Case) -> Result<Trace, NoTrace> {
    let mut last = Side::Linux.run(case)?.trace;
    if case.until > SETTLED_MAX {
        return Ok(last);
    }
    for _ in 0..RECORD_TRIES {
        let again = Side::Linux.run(case)?.trace;
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
