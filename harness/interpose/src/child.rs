//! How a process for a run is started: so that nothing of the machine gets into it.

use std::os::unix::process::CommandExt;
use std::process::Command;

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
