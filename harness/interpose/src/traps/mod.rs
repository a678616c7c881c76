//! What escapes the symbols: system call instructions in the program's own text, the vDSO, the time stamp counter.
//!
//! A seccomp filter on each simulated thread turns such a system call into SIGSYS, whose handler serves it through
//! `dispatch` or refuses it by name. The vDSO's functions are overwritten with jumps to ours, and `rdtsc` is made to
//! fault, so that its SIGSEGV handler can answer with virtual time.

mod filter;
mod sigsys;
#[cfg(target_arch = "x86_64")]
mod tsc;
mod vdso;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use halfopen_core::Errno;

use crate::abi::errno;
use crate::world::unsupported;

/// The program for the kernel, made once.
static FILTER: OnceLock<Vec<libc::sock_filter>> = OnceLock::new();

/// Before the first simulated thread exists.
pub(crate) fn prepare() {
    FILTER.get_or_init(|| {
        let filter = filter::build(&filter::libc_text());
        sigsys::listen();
        vdso::patch();
        #[cfg(target_arch = "x86_64")]
        tsc::listen();
        filter
    });
}

/// Puts the traps in place for the calling thread and all that it makes. Returns what could not be put in place.
pub(crate) fn install_on_this_thread() -> Result<(), Errno> {
    let program = FILTER.get().expect("the driver prepared the traps");
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    #[cfg(target_arch = "x86_64")]
    tsc::trap_on_this_thread();
    // SAFETY: no pointers; from here on this thread cannot gain privileges by exec, which it cannot do anyway.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(errno());
    }
    // SAFETY: a filter that outlives the call; the kernel copies it.
    let code = unsafe {
        crate::symbols::real::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER as usize,
            // Without it older kernels slow the thread down against speculation attacks, which matter to sandboxes only.
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as usize,
            &raw const program as usize,
            0,
            0,
            0,
        )
    };
    if code == 0 { Ok(()) } else { Err(errno()) }
}

/// Tells the log, once, that raw system calls will escape on this machine.
pub(crate) fn tell_missing(errno: Errno) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if TOLD.swap(true, Ordering::Relaxed) {
        return;
    }
    unsupported("seccomp (raw system calls are not trapped on this machine)", errno);
}
