//! Many runs, each in a process of its own, from one that parses and links once: it copies itself for each run.
//!
//! **Invariant:** the process allocates nothing between two copies. So every run of a file begins with the same memory,
//! whichever came before it and however many there were: a replayed seed cannot differ from one among a thousand.
//!
//! The two ends speak over a socket: a [`Request`] as a line of JSON one way, the status of `waitpid` (4 bytes, little
//! endian) the other. The result comes in the request's file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::child::{self, Ended, Request};
use crate::program::Client;
use crate::single;

/// The environment variable by which a process learns that it is to do the runs of a file. JSON, so that a variable that
/// a user set by hand is no request.
const FILE_VARIABLE: &str = "HALFOPEN_RUNS";
/// Room for a request, in bytes: three paths of PATH_MAX (4096, `<linux/limits.h>`), every byte escaped, and the rest.
const REQUEST_BYTES: usize = 100_000;

/// The file whose runs this process is to do; `None` if it was not started for that.
pub(crate) fn of_this_process() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "read before any run begins, to learn what to run")]
    let text = std::env::var(FILE_VARIABLE).ok()?;
    serde_json::from_str(&text).ok()
}

/// Does the runs that standard input asks for, until it ends.
pub(crate) fn serve(file: &Path, clients: &[Client]) -> ! {
    if let Err(error) = copies(file, clients) {
        eprintln!("{error}");
        halfopen_interpose::child::exit_now(2);
    }
    halfopen_interpose::child::exit_now(0)
}

fn copies(file: &Path, clients: &[Client]) -> Result<(), String> {
    let plans = single::plans(file, clients, &[])?;
    let broken = |error: io::Error| format!("error: cannot make runs of {}: {error}", file.display());
    let socket = UnixStream::from(halfopen_interpose::child::take_stdin().map_err(broken)?);
    let mut requests = BufReader::with_capacity(REQUEST_BYTES, socket);
    let mut line = Vec::with_capacity(REQUEST_BYTES);
    while requests.read_until(b'\n', &mut line).map_err(broken)? > 0 {
        let Some(status) = halfopen_interpose::child::fork_and_wait().map_err(broken)? else {
            let request: Request = serde_json::from_slice(&line).map_err(|error| broken(error.into()))?;
            single::perform(&plans, &request, clients, &[]);
        };
        requests.get_ref().write_all(&status.into_raw().to_le_bytes()).map_err(broken)?;
        line.clear();
    }
    Ok(())
}

/// Has runs done, one after another. Keeps a process warm for as long as they are of the same file.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    warm: Option<Zygote>,
}

impl Worker {
    /// Does what is requested, and waits for it at most `wall_limit`.
    ///
    /// # Errors
    /// If no process could be started or watched.
    #[expect(clippy::disallowed_methods, reason = "the parent lives in real time")]
    pub(crate) fn run(&mut self, request: &Request, wall_limit: Duration) -> io::Result<Ended> {
        let mut zygote = match self.warm.take() {
            Some(zygote) if zygote.file == request.file => zygote,
            _ => Zygote::start(&request.file)?,
        };
        let began = Instant::now();
        let answer = zygote.ask(request, wall_limit)?;
        let wall = began.elapsed();
        let died = |how, output| Ended::Died { how, output, wall };
        let ended = match answer {
            Answer::Ended(status) => match child::take_result(request) {
                Some(result) => Ended::Result(Box::new(result)),
                None => died(child::how_it_died(status), child::printed(&mut zygote.output)?),
            },
            // Whatever its state is, the next run gets another.
            Answer::Lost(status) => return Ok(died(child::how_it_died(status), child::printed(&mut zygote.output)?)),
            Answer::Late => return Ok(died(child::too_long(wall_limit), child::printed(&mut zygote.output)?)),
        };
        self.warm = Some(zygote);
        Ok(ended)
    }
}

/// What became of a run.
enum Answer {
    /// Its process ended.
    Ended(ExitStatus),
    /// The process that should have made it ended.
    Lost(ExitStatus),
    /// It took too long and was killed.
    Late,
}

/// A process that makes the runs of a file, as its parent sees it.
#[derive(Debug)]
struct Zygote {
    file: PathBuf,
    process: Child,
    socket: UnixStream,
    /// What it and its runs print.
    output: File,
}

impl Zygote {
    fn start(file: &Path) -> io::Result<Zygote> {
        let (socket, theirs) = UnixStream::pair()?;
        let output = tempfile::tempfile()?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .env_clear()
            .env(FILE_VARIABLE, serde_json::to_string(file)?)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?);
        halfopen_interpose::child::prepare(&mut command);
        let process = command.spawn()?;
        Ok(Zygote { file: file.to_owned(), process, socket, output })
    }

    fn ask(&mut self, request: &Request, wall_limit: Duration) -> io::Result<Answer> {
        // Its standard output and error share this file's position.
        self.output.set_len(0)?;
        self.output.rewind()?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.socket.set_read_timeout(Some(wall_limit))?;
        let mut status = [0; 4];
        match self.socket.write_all(&line).and_then(|()| self.socket.read_exact(&mut status)) {
            Ok(()) => Ok(Answer::Ended(ExitStatus::from_raw(i32::from_le_bytes(status)))),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                self.process.kill()?;
                self.socket.set_read_timeout(None)?;
                // The run dies with the process that made it. Nobody has the other end any more once both are gone.
                io::copy(&mut self.socket, &mut io::sink())?;
                Ok(Answer::Late)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                ) =>
            {
                Ok(Answer::Lost(self.process.wait()?))
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
