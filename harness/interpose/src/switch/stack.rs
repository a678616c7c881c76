//! In user space: one kernel thread, the *carrier*, runs the stacks of all simulated threads in turn.
//!
//! Each simulated thread is a real pthread, made and ended by libc: that gives it a stack, thread-locals and all that
//! libc knows of a thread. But once it has begun, its own kernel thread goes to sleep ([`Context::board`]), and the
//! carrier goes on in its place, with its registers, its stack and its thread pointer, so that every thread-local
//! (`errno`, the allocator's caches, std's current thread) is its own. A hand-over is a switch from stack to stack. At
//! its end a thread goes back to its kernel thread ([`send_home`]), which libc waits for and clears away.
//!
//! **Invariant:** while a thread is aboard, its own kernel thread touches neither its stack nor its thread-locals: it
//! waits in the assembly below for a signal, with all signals blocked, and a handler never runs on it.
//!
//! What the kernel keeps for each *kernel* thread, simulated threads share while they are aboard:
//! - the seccomp filter and the trap on `rdtsc`: the carrier has them before the first simulated thread exists;
//! - the signal mask and the alternate signal stack: see `signals`;
//! - the list of robust mutexes and the address to clear at the end: each kernel thread has kept its own, which is only
//!   looked at when it ends, with the thread at home again;
//! - the area of restartable sequences (rseq): the carrier's is in its own thread-locals, the others' tell of a kernel
//!   thread that sleeps. `sched_getcpu`, which would read it, is overridden;
//! - the id: `gettid` is overridden, and libc's locks use the one in the thread-locals;
//! - the name that `ps` and `pthread_getname_np` show: the carrier's is that of whoever named itself last.
//!
//! Not kept apart are the signals that are blocked because a handler runs: if a program's handler waits for another
//! thread, that one has them blocked as well.
//!
//! In a debugger the running thread's stack is the carrier's; of those that wait only [`board`] is seen, so that whoever
//! wants to see their stacks hands over by futex.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::symbols::real;

/// Where a thread that is not running can be taken up: its stack pointer, at which its registers lie (see [`switch`]).
#[repr(transparent)]
pub(super) struct Context(AtomicUsize);

impl Context {
    /// Of a thread that is not aboard yet.
    pub(super) const fn new() -> Context {
        Context(AtomicUsize::new(0))
    }

    /// The calling thread goes on as part of the carrier, when somebody switches to it. All signals must be blocked.
    pub(super) fn board(&self) {
        // SAFETY: the context outlives the thread; the calling kernel thread has all signals blocked, so that it does
        // nothing on this stack until it is sent home.
        unsafe { board(&raw const self.0, &raw const HOME_SIGNALS) };
    }

    /// Waits until the new thread that this is the context of is aboard: it runs on its own until then, and does nothing
    /// but get there.
    pub(super) fn await_boarding(&self) {
        super::wait_until(|| self.0.load(Ordering::Acquire) != 0);
    }

    /// The calling thread, which this is the context of, stops here until somebody switches to it.
    pub(super) fn switch_to(&self, next: &Context) {
        // SAFETY: both contexts outlive their threads. `next` is a thread that waits (there is one baton, which it does
        // not have), so that what it saved is whole and its stack in nobody's use.
        unsafe { switch(&raw const self.0, &raw const next.0) };
    }
}

/// The real-time signal, counted from Linux's first (32), that sends a thread home. It is blocked wherever it arrives,
/// so no handler ever sees it and programs may use it as well.
const HOME_SIGNAL: usize = 32 + 10;

/// As a `sigset_t` of the kernel.
static HOME_SIGNALS: u64 = 1 << (HOME_SIGNAL - 1);

/// Wakes the kernel thread with this id, which takes over the thread that boarded from it. That must have switched away.
pub(super) fn send_home(thread: libc::pid_t) {
    // SAFETY: a signal to a thread of this process, which has it blocked and waits for it.
    let code =
        unsafe { real::syscall(libc::SYS_tgkill, real::getpid() as usize, thread as usize, HOME_SIGNAL, 0, 0, 0) };
    assert_eq!(code, 0, "a thread that left is still there");
}

#[cfg(target_arch = "x86_64")]
mod machine {
    use std::arch::naked_asm;
    use std::sync::atomic::AtomicUsize;

    /// HWCAP2_FSGSBASE of `<asm/hwcap2.h>`: programs may write the thread pointer.
    const FSGSBASE: u64 = 1 << 1;

    pub(in super::super) fn is_available() -> bool {
        // SAFETY: a number or 0.
        unsafe { libc::getauxval(libc::AT_HWCAP2) & FSGSBASE != 0 }
    }

    /// Puts all that the calling convention makes a function keep onto the stack: registers, the modes of floating point
    /// arithmetic, and the thread pointer (the first word behind it is itself, by the platform's binary interface).
    macro_rules! save {
        () => {
            "push rbp
             push rbx
             push r12
             push r13
             push r14
             push r15
             push qword ptr fs:[0]
             sub rsp, 8
             stmxcsr [rsp]
             fnstcw [rsp + 4]"
        };
    }

    /// Takes it from there again and returns to where that thread was.
    macro_rules! restore {
        () => {
            "ldmxcsr [rsp]
             fldcw [rsp + 4]
             add rsp, 8
             pop rax
             wrfsbase rax
             pop r15
             pop r14
             pop r13
             pop r12
             pop rbx
             pop rbp
             ret"
        };
    }

    /// Stops the calling thread, whose context is `from`, and goes on with the one of `to`.
    ///
    /// # Safety
    /// The processor has FSGSBASE. `to` was saved by this function or by [`board`], nobody runs on that stack, and the
    /// stack still exists.
    #[unsafe(naked)]
    pub(super) unsafe extern "C" fn switch(from: *const AtomicUsize, to: *const AtomicUsize) {
        naked_asm!(save!(), "mov [rdi], rsp", "mov rsp, [rsi]", restore!())
    }

    /// Saves the calling thread into `context` and waits for one of `signals`, without using the stack, which is the
    /// carrier's from the moment that `context` is written. Returns on the carrier first, and here (for the thread as
    /// it is then) after the signal.
    ///
    /// # Safety
    /// All signals are blocked. `context` and `signals` outlive the calling thread. Whoever sends the signal has made
    /// sure that the thread in `context` has been switched away from.
    #[unsafe(naked)]
    pub(super) unsafe extern "C" fn board(context: *const AtomicUsize, signals: *const u64) {
        naked_asm!(
            save!(),
            "mov r12, rdi",
            "mov r13, rsi",
            "mov [rdi], rsp",
            // rt_sigtimedwait(signals, nothing, no timeout, the size of the set): the traps let it pass, and the signal
            // waits if it comes first. It fails only by being interrupted (by a debugger).
            "2:",
            "mov eax, {wait}",
            "mov rdi, r13",
            "xor esi, esi",
            "xor edx, edx",
            "mov r10d, 8",
            "syscall",
            "test rax, rax",
            "js 2b",
            "mov rsp, [r12]",
            restore!(),
            wait = const libc::SYS_rt_sigtimedwait,
        )
    }
}

/// Elsewhere threads are handed over to by futex.
#[cfg(not(target_arch = "x86_64"))]
mod machine {
    use std::sync::atomic::AtomicUsize;

    pub(in super::super) fn is_available() -> bool {
        false
    }

    pub(super) unsafe fn switch(_: *const AtomicUsize, _: *const AtomicUsize) {
        unreachable!("this machine hands over by futex")
    }

    pub(super) unsafe fn board(_: *const AtomicUsize, _: *const u64) {
        unreachable!("this machine hands over by futex")
    }
}

pub(super) use machine::is_available;
use machine::{board, switch};
