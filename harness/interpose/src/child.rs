//! How a process for a run is started, and copied: so that nothing of the machine gets into it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

/// Sees to it that the child has no address randomisation (addresses get into the order of hash tables) and dies with
/// its parent.
pub fn prepare(command: &mut Command) {
    let before_exec = || {
        // SAFETY: plain system calls on the child's own attributes.
        unsafe {
            // Where it is not allowed (some containers), runs still go; only programs that sort by address may differ.
            let persona = libc::personality(0xffff_ffff);
            if persona != -1 {
                libc::personality(persona as libc::c_ulong | libc::ADDR_NO_RANDOMIZE as libc::c_ulong);
            }
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        }
        Ok(())
    };
    // SAFETY: `before_exec` only makes system calls, which are safe between fork and exec.
    unsafe { command.pre_exec(before_exec) };
}

/// Ends the process now: no destructors, no `atexit`. Threads of a finished run are parked for ever and must stay so.
///
/// `std::process::exit` would not do: if a simulated thread called it, std believes for ever that that thread is ending
/// the process, and lets every other one wait.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: takes any status; does not return, since the calling thread is not simulated.
    unsafe { libc::_exit(status) }
}

/// Takes this process's standard input away from it: what was there is only to be had from what is returned, and whoever
/// reads standard input from now on finds an empty file. What is returned does not outlive an `exec`.
///
/// # Errors
/// If descriptors are used up, or there is no `/dev/null`.
pub fn take_stdin() -> io::Result<OwnedFd> {
    let taken = io::stdin().as_fd().try_clone_to_owned()?;
    let nothing = File::open("/dev/null")?;
    // SAFETY: puts another open file behind descriptor 0, which stays open.
    match unsafe { libc::dup2(nothing.as_raw_fd(), libc::STDIN_FILENO) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(taken),
    }
}

/// Makes a copy of this process, which dies with it, and waits for the copy's end. Returns twice: `None` in the copy,
/// and how the copy ended in this process. Allocates nothing, so that all copies begin with the same memory.
///
/// # Errors
/// If there could be no other process, or `/proc` is not there.
///
/// # Panics
/// If this process has more than one thread: the others would be missing in the copy, with all locks that they hold.
pub fn fork_and_wait() -> io::Result<Option<ExitStatus>> {
    assert_eq!(threads()?, 1, "only a process with one thread can be copied");
    // SAFETY: no other thread exists whose locks would stay locked in the copy.
    let (parent, copy) = unsafe { (libc::getpid(), libc::fork()) };
    match copy {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: plain system calls on the copy's own attributes.
            unsafe {
                // A copy does not inherit this.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // The parent may have died before that.
                if libc::getppid() != parent {
                    libc::_exit(1);
                }
            }
            Ok(None)
        }
        copy => wait(copy).map(Some),
    }
}

fn wait(process: libc::pid_t) -> io::Result<ExitStatus> {
    loop {
        let mut status = 0;
        // SAFETY: the status is ours.
        if unsafe { libc::waitpid(process, &raw mut status, 0) } == process {
            return Ok(ExitStatus::from_raw(status));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// How many threads this process has: a folder is linked once for each folder in it, once in its parent and once in
/// itself, and `/proc/self/task` has one for each thread (`proc_task_getattr` in Linux's fs/proc/base.c).
fn threads() -> io::Result<u64> {
    Ok(std::fs::metadata("/proc/self/task")?.nlink() - 2)
}
