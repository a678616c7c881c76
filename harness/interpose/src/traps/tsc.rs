//! The time stamp counter of x86-64, which a program can read without any call: made to fault, and answered with virtual
//! time. It counts nanoseconds.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::OnceLock;

use libc::{siginfo_t, ucontext_t};

use crate::world::{self, enter};

/// What handled SIGSEGV before: Rust's own handler tells of stack overflows.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

const PR_SET_TSC: c_int = 26;
const PR_TSC_SIGSEGV: c_int = 2;
/// SI_KERNEL of `<asm-generic/siginfo.h>`: a general protection fault, as an `rdtsc` that is not allowed raises it.
const SI_KERNEL: c_int = 0x80;

const RDTSC: [u8; 2] = [0x0f, 0x31];
const RDTSCP: [u8; 3] = [0x0f, 0x01, 0xf9];

/// Makes `rdtsc` fault on this thread and all that it makes. Where that cannot be had, programs read the real counter.
pub(crate) fn trap_on_this_thread() {
    // SAFETY: no pointers.
    unsafe { libc::prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0) };
}

/// Installs the handler, for the whole process.
pub(crate) fn listen() {
    PREVIOUS.get_or_init(|| {
        let mut previous = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: all zeroes is a valid sigaction; the handler has the signature that goes with SA_SIGINFO; the kernel
        // fills `previous`. SA_ONSTACK: after a stack overflow there is no other stack.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_sigsegv as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            let code = libc::sigaction(libc::SIGSEGV, &raw const action, previous.as_mut_ptr());
            assert_eq!(code, 0, "SIGSEGV can be handled");
            previous.assume_init()
        }
    });
}

unsafe extern "C" fn on_sigsegv(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO these are the signal's description and the thread's context, ours until we return.
    let (code, registers) = unsafe { ((*info).si_code, &mut (*context.cast::<ucontext_t>()).uc_mcontext.gregs) };
    let len = if code == SI_KERNEL { counter_read_at(registers[libc::REG_RIP as usize] as usize) } else { None };
    let Some(len) = len else {
        // SAFETY: the same arguments, for whoever had the signal before.
        return unsafe { chain(signal, info, context) };
    };
    let ticks = if world::intercepts() { virtual_ticks() } else { 0 };
    registers[libc::REG_RAX as usize] = (ticks & 0xffff_ffff) as i64;
    registers[libc::REG_RDX as usize] = (ticks >> 32) as i64;
    if len == RDTSCP.len() {
        // Which processor it was: the first.
        registers[libc::REG_RCX as usize] = 0;
    }
    registers[libc::REG_RIP as usize] += len as i64;
}

/// The length of the instruction that read the counter; `None` if it is another.
fn counter_read_at(address: usize) -> Option<usize> {
    // SAFETY: a general protection fault comes from an instruction that was fetched, so at least the first two bytes can
    // be read; the third only where the first two are those of a longer instruction.
    let byte = |index: usize| unsafe { *(address as *const u8).add(index) };
    if [byte(0), byte(1)] == RDTSC {
        return Some(RDTSC.len());
    }
    ([byte(0), byte(1)] == RDTSCP[..2] && byte(2) == RDTSCP[2]).then_some(RDTSCP.len())
}

/// Virtual nanoseconds, a little more with each reading so that no two are equal.
fn virtual_ticks() -> u64 {
    enter(|world| {
        let now = halfopen_kernel::UPTIME_AT_START_NANOS + world.kernel.now().as_nanos();
        world.last_tsc = now.max(world.last_tsc + 1);
        world.last_tsc
    })
}

/// # Safety
/// The arguments of a SIGSEGV handler.
unsafe fn chain(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let previous = PREVIOUS.get().expect("installed together with this handler");
    match previous.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // Back to what was: the faulting instruction runs again and ends the process.
            // SAFETY: puts the previous action back.
            unsafe { libc::sigaction(signal, previous, std::ptr::null_mut()) };
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: a handler with SA_SIGINFO has this signature.
            let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: a handler without SA_SIGINFO has this signature.
            let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}
