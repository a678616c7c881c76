//! Counts the instructions of each operation and compares them with `counts.txt`.
//!
//!     cargo bench -p halfopen-instructions                  all of them
//!     cargo bench -p halfopen-instructions -- nat           those with `nat` in their names
//!     cargo bench -p halfopen-instructions -- --renew       writes the counts down
//!
//! Exit status 1 if an operation costs 10 % more than on record, or more than the bounds below allow.
#![forbid(unsafe_code)]

mod calls;
mod fabric;
mod kernel;
mod netstack;
mod record;
mod run;
mod scenario;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::Instant;

use halfopen_instructions::count::{CountError, count, obey};
use halfopen_instructions::table::{Bound, Count, Counts, compare};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Something that is counted.
struct Operation {
    /// Its name on record.
    name: &'static str,
    /// How many times `run` does it within `counted`.
    times: u64,
    /// Sets up, and does it.
    run: fn(),
}

const fn operation(name: &'static str, times: u64, run: fn()) -> Operation {
    Operation { name, times, run }
}

/// All rooms, from the network upwards.
const ROOMS: [&[Operation]; 6] = [
    fabric::OPERATIONS,
    netstack::OPERATIONS,
    kernel::OPERATIONS,
    calls::OPERATIONS,
    scenario::OPERATIONS,
    record::OPERATIONS,
];

const fn bound(large: &'static str, small: &'static str, percent_max: u64, shows: &'static str) -> Bound {
    Bound { large, small, percent_max, shows }
}

/// No sweeps: what a thing costs among many.
const BOUNDS: &[Bound] = &[
    bound("fabric/nat-1048576-flows", "fabric/nat-10-flows", 400, "a lookup costs the logarithm of the table"),
    bound("netstack/segment-in-10000-flows", "netstack/segment-in", 300, "a segment touches its own connection only"),
    bound("kernel/timer-set-1000000", "kernel/timer-set-10", 600, "a timer costs the logarithm of those pending"),
    bound("kernel/timer-due-1000000", "kernel/timer-due-10", 400, "a timer costs the logarithm of those pending"),
    bound("kernel/idle-10-hosts-2h", "kernel/idle-10-hosts-1h", 101, "an idle hour costs nothing"),
    bound("kernel/idle-1000-hosts-1h", "kernel/idle-10-hosts-1h", 130, "an idle host costs nothing"),
    bound("record/event-1000000", "record/event-10000", 150, "an event costs the same however many went before"),
    bound("record/metrics-2000-events", "record/metrics-1000-events", 230, "metrics cost what they are taken from"),
];

fn main() -> ExitCode {
    // Cargo adds this.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let Some(name) = obey(&arguments) {
        let operation = ROOMS.into_iter().flatten().find(|operation| operation.name == name);
        (operation.expect("an operation of the list").run)();
        // Threads of a run stay parked for ever, and set-ups are large: nothing is torn down.
        halfopen_interpose::child::exit_now(0);
    }
    let renew = arguments.iter().any(|argument| argument == "--renew");
    let filter = arguments.into_iter().find(|argument| !argument.starts_with('-'));
    match main_of_counting(filter.as_deref(), renew) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::disallowed_methods)] // How long counting takes is told, and nothing else hangs on it.
fn main_of_counting(filter: Option<&str>, renew: bool) -> Result<bool, String> {
    let started = Instant::now();
    let wanted = |operation: &&Operation| filter.is_none_or(|part| operation.name.contains(part));
    let operations: Vec<&Operation> = ROOMS.into_iter().flatten().filter(wanted).collect();
    let new = Counts { toolchain: toolchain(), counts: count_all(&operations)? };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.txt");
    let record = if renew && filter.is_none() {
        fs::write(&file, new.to_text()).map_err(|error| format!("{}: {error}", file.display()))?;
        new.clone()
    } else {
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        Counts::parse(&text)?
    };
    let (text, well) = compare(&new, &record, BOUNDS, filter.is_none());
    print!("{text}");
    println!("{} operations counted in {:.0?}", operations.len(), started.elapsed());
    Ok(well)
}

/// Counts all of these, as many at a time as there are processors: each process stays on one with whoever counts it,
/// since every instruction is a switch between the two.
fn count_all(operations: &[&Operation]) -> Result<Vec<(String, Count)>, String> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).map_err(|errno| errno.to_string())?;
    let processors = (0..CpuSet::count()).filter(|&processor| allowed.is_set(processor).unwrap_or(false));
    let next = Mutex::new(operations.iter().enumerate());
    let done = Mutex::new(vec![None; operations.len()]);
    std::thread::scope(|scope| {
        for processor in processors {
            let (next, done) = (&next, &done);
            scope.spawn(move || {
                let mut own = CpuSet::new();
                // Where it is refused, counting is slower and as exact.
                let _ = own.set(processor).and_then(|()| sched_setaffinity(Pid::from_raw(0), &own));
                while let Some((index, operation)) = { next.lock().expect("nobody panics").next() } {
                    let counted = count_one(operation);
                    done.lock().expect("nobody panics")[index] = Some(counted);
                }
            });
        }
    });
    let done = done.into_inner().expect("nobody panics");
    done.into_iter().map(|counted| counted.expect("all were counted")).collect()
}

fn count_one(operation: &Operation) -> Result<(String, Count), String> {
    let error = |error: CountError| format!("{}: {error}", operation.name);
    let instructions = count(operation.name).map_err(error)?;
    Ok((operation.name.to_owned(), Count(instructions * 10 / operation.times)))
}

/// The compiler and the C library: both are in every count.
fn toolchain() -> String {
    let libc = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let libc =
        libc.map_or_else(|_| "an unknown libc".to_owned(), |output| String::from_utf8_lossy(&output.stdout).into());
    format!("{}, {}", env!("BUILT_BY"), libc.trim())
}
