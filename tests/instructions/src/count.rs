//! Counts what the processor does between two calls of one function, in another process, one instruction at a time.
//!
//! The process that counts ([`count`]) starts this same program once more. There the operation runs ([`obey`]), at full
//! speed until it comes to [`counted`], from whose beginning to whose end it is stepped through with `ptrace`. So setting
//! up costs no more than it does anywhere, whatever the operation does (switching stacks, being trapped by a filter of
//! system calls) counts like anything else, and nothing needs to be installed.
//!
//! What would make counts differ from one machine to the next is taken away: address randomisation, the environment,
//! and glibc's choice of string functions by processor.

use std::fmt;
use std::fs;
use std::hint::black_box;
use std::io;
use std::process::Command;

use halfopen_interpose::child;
use nix::errno::Errno;
use nix::libc::user_regs_struct;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("instructions are counted on x86-64 only: that is what the counts on record are for");

/// The argument by which a process is told that it is the one to be counted.
const OBEY: &str = "--operation";

/// `int3`, the breakpoint instruction.
const BREAKPOINT: i64 = 0xcc;

/// Keeps glibc to the string functions that every x86-64 processor has (glibc's manual, "Hardware Capability Tunables").
const PLAIN_PROCESSOR: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,-BMI2,-SSSE3,-SSE4_1,-SSE4_2,-ERMS,-FSRM,-RTM",
);

/// Why an operation could not be counted.
#[derive(Debug)]
pub enum CountError {
    /// The process could not be started or looked into.
    Io(io::Error),
    /// A `ptrace` or `waitpid` was refused (EPERM: tracing is forbidden here).
    Trace(Errno),
    /// The process ended otherwise than it should.
    Ended(WaitStatus),
}

impl fmt::Display for CountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CountError::Io(error) => write!(f, "{error}"),
            CountError::Trace(Errno::EPERM) => f.write_str(
                "tracing a child process (ptrace) is not allowed here; in a container: --cap-add SYS_PTRACE",
            ),
            CountError::Trace(errno) => write!(f, "tracing failed: {errno}"),
            CountError::Ended(status) => write!(f, "the counted process ended with {status:?}"),
        }
    }
}

impl From<io::Error> for CountError {
    fn from(error: io::Error) -> CountError {
        CountError::Io(error)
    }
}

impl From<Errno> for CountError {
    fn from(errno: Errno) -> CountError {
        CountError::Trace(errno)
    }
}

/// Where counting begins and ends. In the counted process its code never runs: a breakpoint stands there, and the
/// process that counts returns from it.
#[inline(never)]
fn mark() {
    // Something that no other function does, so that the linker keeps this one apart.
    black_box(0x6861_6c66_6f70_656e_u64);
}

/// Runs the operation with its instructions counted. Of several such stretches in one process the sum is counted.
pub fn counted<T>(operation: impl FnOnce() -> T) -> T {
    mark();
    let result = operation();
    mark();
    result
}

/// In a process that [`count`] has started: the name of the operation that it asks for, and from now on it watches.
///
/// # Panics
/// If the process is not traced after all.
pub fn obey(arguments: &[String]) -> Option<&str> {
    let [first, name] = arguments else { return None };
    if first != OBEY {
        return None;
    }
    ptrace::traceme().expect("a process may ask to be traced");
    raise(Signal::SIGSTOP).expect("a process may stop itself");
    Some(name)
}

/// Counts the instructions that this operation has executed within [`counted`], in a process of its own.
///
/// # Errors
/// If the process could not be traced, or did not end with success.
pub fn count(name: &str) -> Result<u64, CountError> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([OBEY, name]).env_clear().env(PLAIN_PROCESSOR.0, PLAIN_PROCESSOR.1);
    child::prepare(&mut command);
    let child = command.spawn()?;
    let pid = Pid::from_raw(child.id().cast_signed());
    match wait(Some(pid))? {
        WaitStatus::Stopped(_, Signal::SIGSTOP) => {}
        other => return Err(CountError::Ended(other)),
    }
    ptrace::setoptions(pid, ptrace::Options::PTRACE_O_TRACECLONE | ptrace::Options::PTRACE_O_EXITKILL)?;
    let mark = mark as fn() as usize as u64 - base(std::process::id())? + base(child.id())?;
    let code = ptrace::read(pid, mark as ptrace::AddressType)?;
    ptrace::write(pid, mark as ptrace::AddressType, code & !0xff | BREAKPOINT)?;
    ptrace::cont(pid, None)?;
    follow(pid, mark)
}

/// Where a process has this program's code.
fn base(process: u32) -> Result<u64, CountError> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let start = maps.split('-').next().and_then(|start| u64::from_str_radix(start, 16).ok());
    start.ok_or_else(|| io::Error::other("a process has no memory").into())
}

/// Waits for this thread, or for any thread of those that this one traces.
fn wait(thread: Option<Pid>) -> Result<WaitStatus, CountError> {
    Ok(waitpid(thread, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD))?)
}

/// Lets the process run to its end, and steps through every stretch between two calls of `mark`.
fn follow(process: Pid, mark: u64) -> Result<u64, CountError> {
    let mut total = 0;
    loop {
        let status = wait(None)?;
        if let WaitStatus::Stopped(thread, Signal::SIGTRAP) = status
            && let registers = ptrace::getregs(thread)?
            && registers.rip == mark + 1
        {
            return_from(thread, registers)?;
            total += step_through(process, thread, mark)?;
            ptrace::cont(thread, None)?;
        } else if let WaitStatus::Exited(thread, 0) = status
            && thread == process
        {
            return Ok(total);
        } else {
            let_run(process, status)?;
        }
    }
}

/// A thread that is not stepped through goes on, with the signal that it stopped for.
fn let_run(process: Pid, status: WaitStatus) -> Result<(), CountError> {
    match status {
        // So a new thread comes in; nobody else sends this.
        WaitStatus::Stopped(thread, Signal::SIGSTOP) | WaitStatus::PtraceEvent(thread, ..) => {
            ptrace::cont(thread, None)?;
        }
        WaitStatus::Stopped(thread, signal) => ptrace::cont(thread, signal)?,
        WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..) if thread == process => {
            return Err(CountError::Ended(status));
        }
        _ => {}
    }
    Ok(())
}

/// Steps to the next call of `mark`, returns from it, and gives how many instructions that were. One that repeats itself
/// (`rep movsb`) counts once, as processors count it.
fn step_through(process: Pid, thread: Pid, mark: u64) -> Result<u64, CountError> {
    let (mut count, mut last) = (0, 0);
    ptrace::step(thread, None)?;
    loop {
        let signal = match wait(None)? {
            WaitStatus::Stopped(stopped, signal) if stopped == thread => signal,
            WaitStatus::PtraceEvent(stopped, ..) if stopped == thread => {
                ptrace::step(thread, None)?;
                continue;
            }
            other => {
                let_run(process, other)?;
                continue;
            }
        };
        if signal != Signal::SIGTRAP {
            // Its handler is stepped through too: a trap is part of what the operation costs.
            ptrace::step(thread, signal)?;
            continue;
        }
        let registers = ptrace::getregs(thread)?;
        if registers.rip == mark {
            return_from(thread, registers)?;
            return Ok(count);
        }
        count += u64::from(registers.rip != last);
        last = registers.rip;
        ptrace::step(thread, None)?;
    }
}

/// Returns from a function of which nothing has run yet.
fn return_from(thread: Pid, mut registers: user_regs_struct) -> Result<(), CountError> {
    registers.rip = ptrace::read(thread, registers.rsp as ptrace::AddressType)?.cast_unsigned();
    registers.rsp += 8;
    Ok(ptrace::setregs(thread, registers)?)
}
