//! One run in a process of its own: how a parent asks for it, and how it hears what came of it.
//!
//! Statics that a program sets once (and crashes, and endless loops) end with the process, so no run sees another's.
//! The child has an empty environment and no address randomisation: nothing of the machine gets into a run.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use halfopen_record::RunResult;
use serde::{Deserialize, Serialize};

/// The environment variable by which a process learns that it is a child, and for what run.
pub(crate) const REQUEST_VARIABLE: &str = "HALFOPEN_RUN";
/// How long a run may take in real time before its process is killed.
pub const WALL_LIMIT: Duration = Duration::from_secs(300);
/// How long a simulated thread may run in real time without a system call before it counts as an endless loop.
pub(crate) const SPIN_LIMIT: Duration = Duration::from_secs(5);
/// Most bytes that are kept of what a run's programs print.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;
/// How often a parent looks whether its child has ended.
const POLL: Duration = Duration::from_millis(1);

/// What run a child shall do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) file: PathBuf,
    pub(crate) variant: Option<String>,
    pub(crate) seed: Option<u64>,
    /// Where the child puts its [`RunResult`].
    pub(crate) result: PathBuf,
    /// Where the child writes every event as a line, if anywhere.
    pub(crate) events: Option<PathBuf>,
    /// The folder for captures, if they are wanted.
    pub(crate) pcap: Option<PathBuf>,
    /// What `tracing` events go into the log.
    pub(crate) log: Option<String>,
    /// Whether threads shall hand over by futex, whatever else the machine can do.
    pub(crate) futex: bool,
    /// The test that asks, if it is one.
    pub(crate) test: Option<String>,
}

impl Request {
    /// What this process was started for; `None` if it is nobody's child.
    pub(crate) fn of_this_process() -> Option<Request> {
        #[expect(clippy::disallowed_methods, reason = "read before the run begins, to learn what to run")]
        let text = std::env::var(REQUEST_VARIABLE).ok()?;
        // A variable that a user set by hand is no request.
        serde_json::from_str(&text).ok()
    }
}

/// How a child ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// With a result.
    Result(Box<RunResult>),
    /// Without: it died, or was killed. Says how, what it had printed, and how long it had lived in real time.
    Died { how: String, output: String, wall: Duration },
}

/// Runs `program` with `arguments` as a child that does `request`, and waits for it at most `wall_limit`.
///
/// # Errors
/// If the process could not be started or watched.
#[expect(clippy::disallowed_methods, reason = "the parent lives in real time")]
pub(crate) fn launch(
    program: &Path,
    arguments: &[OsString],
    request: &Request,
    wall_limit: Duration,
) -> std::io::Result<Ended> {
    let mut output = tempfile::tempfile()?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env(REQUEST_VARIABLE, serde_json::to_string(request)?)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?);
    halfopen_interpose::child::prepare(&mut command);
    let mut child = command.spawn()?;
    let began = Instant::now();
    let status = wait(&mut child, began + wall_limit)?;
    let wall = began.elapsed();
    let how = match (status, take_result(request)) {
        (Some(_), Some(result)) => return Ok(Ended::Result(Box::new(result))),
        (Some(status), None) => how_it_died(status),
        (None, _) => too_long(wall_limit),
    };
    Ok(Ended::Died { how, output: printed(&mut output)?, wall })
}

/// The result of a run that has ended, if it left one. The file goes, so that no later run is taken for this one.
pub(crate) fn take_result(request: &Request) -> Option<RunResult> {
    let bytes = fs::read(&request.result).ok()?;
    fs::remove_file(&request.result).ok()?;
    serde_json::from_slice(&bytes).ok()
}

pub(crate) fn too_long(wall_limit: Duration) -> String {
    format!("the run took more than {wall_limit:?} of real time and was ended")
}

/// Waits for the child until `deadline`; then kills it and says `None`.
#[expect(clippy::disallowed_methods, reason = "the parent lives in real time")]
fn wait(child: &mut Child, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

/// What a run's programs have printed.
pub(crate) fn printed(output: &mut fs::File) -> std::io::Result<String> {
    use std::io::Seek;
    output.rewind()?;
    let mut bytes = Vec::new();
    output.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(crate) fn how_it_died(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal(), status.code()) {
        (Some(6), _) => "a program of the run called abort (SIGABRT)".to_owned(),
        (Some(signal), _) => format!("the process of the run was ended by signal {signal}{}", signal_name(signal)),
        (None, Some(code)) => format!("the process of the run exited with status {code} before its end"),
        (None, None) => "the process of the run ended in an unknown way".to_owned(),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => " (SIGILL)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV: a stack overflow, or a fault in native code)",
        31 => " (SIGSYS)",
        _ => "",
    }
}
