//! Signals where one kernel thread carries all simulated threads: masks and alternate stacks belong to kernel threads,
//! but programs mean their own thread.

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use halfopen_core::Errno;
use libc::{sigset_t, stack_t};

use crate::abi::{In, Out};
use crate::symbols::real;
use crate::world::in_libc;

/// A signal mask as the kernel has it.
pub(super) type Mask = u64;

/// Whether any thread has changed its mask: only then does a hand-over have to bring the mask along, which is two system
/// calls. Hardly any program does.
static VARY: AtomicBool = AtomicBool::new(false);

/// The carrier's mask before any thread changed its own.
static AT_FIRST: AtomicU64 = AtomicU64::new(0);

/// The carrier's alternate signal stack, in bytes: handlers of all threads run there, and the largest frame that a
/// kernel puts there (with AMX) is some 11 KiB.
const ALTERNATE_STACK_BYTES: usize = 256 << 10;

/// The alternate signal stack that a thread asked for. It is remembered but not used: the carrier's is, as only one
/// thread at a time handles a signal.
#[derive(Clone, Copy)]
struct Alternate {
    address: usize,
    size: usize,
    flags: c_int,
}

thread_local! {
    static ALTERNATE: Cell<Alternate> = const { Cell::new(Alternate { address: 0, size: 0, flags: libc::SS_DISABLE }) };
}

/// Prepares the carrier. Done where there is none as well, so that both ways allocate the same.
pub(super) fn begin() {
    VARY.store(false, Ordering::Relaxed);
    AT_FIRST.store(change(libc::SIG_BLOCK, None), Ordering::Relaxed);
    let room = Box::leak(vec![0u8; ALTERNATE_STACK_BYTES].into_boxed_slice());
    let stack = stack_t { ss_sp: room.as_mut_ptr().cast(), ss_flags: 0, ss_size: room.len() };
    // SAFETY: memory that is never freed and that nobody else uses.
    let code = unsafe { real::sigaltstack(&raw const stack, ptr::null_mut()) };
    assert_eq!(code, 0, "a signal stack of this size is allowed");
}

/// Every signal, those that libc keeps to itself as well. Returns what was blocked before.
pub(super) fn block_all() -> Mask {
    change(libc::SIG_SETMASK, Some(Mask::MAX))
}

/// The running thread's mask, if masks must be kept apart.
pub(super) fn current_if_they_vary() -> Option<Mask> {
    VARY.load(Ordering::Relaxed).then(|| change(libc::SIG_BLOCK, None))
}

/// The running thread has the baton again, and this is its mask; `None` if it was as at first when it handed over.
pub(super) fn resume_with(mask: Option<Mask>) {
    if VARY.load(Ordering::Relaxed) {
        change(libc::SIG_SETMASK, Some(mask.unwrap_or_else(|| AT_FIRST.load(Ordering::Relaxed))));
    }
}

/// rt_sigprocmask(2): changes the kernel thread's mask and returns what it was.
fn change(how: c_int, mask: Option<Mask>) -> Mask {
    let mut before: Mask = 0;
    let new = mask.as_ref().map_or(ptr::null(), ptr::from_ref) as usize;
    // SAFETY: two words of ours that outlive the call, of the size that is told. It cannot fail.
    unsafe {
        let old = &raw mut before as usize;
        real::syscall(libc::SYS_rt_sigprocmask, how as usize, new, old, size_of::<Mask>(), 0, 0);
    }
    before
}

/// `pthread_sigmask` and `sigprocmask` on a simulated thread: returns an errno or 0.
pub(crate) fn change_mask(how: c_int, new: In<sigset_t>, old: Out<sigset_t>) -> Result<(), Errno> {
    if !new.is_null() {
        VARY.store(true, Ordering::Relaxed);
    }
    // SAFETY: the program's sets, or null, as it passed them.
    match in_libc(|| unsafe { real::pthread_sigmask(how, new.pointer(), old.pointer()) }) {
        0 => Ok(()),
        code => Err(Errno(code)),
    }
}

/// `sigaltstack` on a simulated thread.
pub(crate) fn alternate_stack(new: In<stack_t>, old: Out<stack_t>) -> Result<(), Errno> {
    let before = ALTERNATE.get();
    if !new.is_null() {
        let asked = new.read()?;
        if asked.ss_flags & !libc::SS_DISABLE != 0 {
            return Err(Errno::EINVAL);
        }
        if asked.ss_flags == 0 && asked.ss_size < libc::MINSIGSTKSZ {
            return Err(Errno(libc::ENOMEM));
        }
        ALTERNATE.set(Alternate { address: asked.ss_sp as usize, size: asked.ss_size, flags: asked.ss_flags });
    }
    if !old.is_null() {
        old.write(stack_t { ss_sp: before.address as *mut _, ss_flags: before.flags, ss_size: before.size })?;
    }
    Ok(())
}
