//! What a command costs: real time, processor time and memory of it and all processes that it starts.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use std::os::unix::process::CommandExt;

/// How long a run may take.
const LIMIT: Duration = Duration::from_secs(600);

/// What a command cost, and what it printed.
#[derive(Serialize, Deserialize)]
pub struct Measured {
    /// From before its start to after its end, in seconds of real time.
    pub wall_s: f64,
    /// Processor time of all its processes in user space, in seconds.
    pub user_s: f64,
    /// And in the kernel.
    pub system_s: f64,
    /// The most memory that was resident, of the largest of its processes, in MiB.
    pub peak_mib: f64,
    /// Standard output.
    pub output: String,
}

/// Runs the command and measures it, in a process of this program that does nothing else: a process's peak is never
/// below that of the one which started it (exec in Linux's fs/exec.c keeps `maxrss`), and this one must be small.
///
/// # Errors
/// If it could not be run, failed, or took too long.
pub fn run(command: &[String]) -> Result<Measured, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program).args(["measure", "--"]).args(command).output();
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

/// What that process does: runs the command, and prints the [`Measured`].
pub fn child(command: &[String]) -> Result<(), String> {
    let [program, arguments @ ..] = command else { return Err("no command".to_owned()) };
    let began = Instant::now();
    let mut process = Command::new(program)
        .args(arguments)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot start {program}: {error}"))?;
    let end = kill_at_limit(&process);
    let mut output = String::new();
    let read = process.stdout.take().map_or(Ok(0), |mut stdout| stdout.read_to_string(&mut output));
    let status = process.wait().map_err(|error| error.to_string())?;
    let wall_s = began.elapsed().as_secs_f64();
    drop(end);
    read.map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("{}: {status} after {wall_s:.1} s\n{output}", command.join(" ")));
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|error| error.to_string())?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let measured = Measured {
        wall_s,
        user_s: seconds(usage.user_time()),
        system_s: seconds(usage.system_time()),
        peak_mib: usage.max_rss() as f64 / 1024.0,
        output,
    };
    println!("{}", serde_json::to_string(&measured).map_err(|error| error.to_string())?);
    Ok(())
}

/// Kills the process and all that it started at [`LIMIT`], unless what is returned is dropped before.
fn kill_at_limit(process: &Child) -> mpsc::Sender<()> {
    let group = Pid::from_raw(process.id() as i32);
    let (end, ended) = mpsc::channel();
    std::thread::spawn(move || {
        if ended.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            // It may just have ended.
            let _ = killpg(group, Signal::SIGKILL);
        }
    });
    end
}
