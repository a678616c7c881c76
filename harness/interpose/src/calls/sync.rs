//! Waiting for each other: futexes, and the locks of pthreads on top of them.
//!
//! A lock's own state stays libc's: we try it, and where libc's function would wait we wait in the kernel, keyed by the
//! lock's address. Between the attempt that fails and the wait no other thread runs, so no wake-up is lost. A condition
//! variable has no state at all here: waiting is all that there is to it.

use std::ffi::c_int;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use halfopen_core::Errno;
use halfopen_kernel::{Call, Clock, FutexTimeout, Kernel, Outcome};
use libc::{
    clockid_t, pthread_cond_t, pthread_condattr_t, pthread_mutex_t, pthread_once_t, pthread_rwlock_t, sem_t, timespec,
};

use crate::abi::{In, OnceRoutine, Out, errno};
use crate::calls::{kernel, time};
use crate::symbols::real;
use crate::world::{blocking, enter, in_libc, me, unsupported};

/// FUTEX_BITSET_MATCH_ANY of `<linux/futex.h>`.
const ANY: u32 = u32::MAX;

pub(crate) fn sched_yield() -> Result<(), Errno> {
    blocking(|kernel, call| kernel.yield_now(call))
}

// ---- futex(2) ----

/// The arguments of futex(2), as they come.
#[derive(Clone, Copy)]
pub(crate) struct Futex {
    pub(crate) word: Out<u32>,
    pub(crate) operation: c_int,
    pub(crate) value: u32,
    /// A `timespec`, or a count for the operations that wake.
    pub(crate) timeout: usize,
    pub(crate) second: Out<u32>,
    pub(crate) value3: u32,
}

impl Futex {
    /// The timeout of an operation that waits.
    fn time(self) -> Option<timespec> {
        // SAFETY: for the operations that wait, the program vouches for a `timespec` there, or null.
        unsafe { In::<timespec>::new(self.timeout) }.optional()
    }
}

pub(crate) fn futex(f: Futex) -> Result<usize, Errno> {
    let realtime = f.operation & libc::FUTEX_CLOCK_REALTIME != 0;
    let address = f.word.address();
    if !address.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    match f.operation & libc::FUTEX_CMD_MASK {
        libc::FUTEX_WAIT => {
            let timeout = f.time().map(time::span).transpose()?.map(FutexTimeout::Relative);
            futex_wait(f.word, f.value, timeout, ANY)
        }
        libc::FUTEX_WAIT_BITSET => {
            let clock = if realtime { Clock::Realtime } else { Clock::Monotonic };
            let until = f.time().map(time::nanos).transpose()?;
            futex_wait(f.word, f.value, until.map(|nanos| FutexTimeout::Absolute(clock, nanos)), f.value3)
        }
        libc::FUTEX_WAKE => Ok(wake(address, f.value, ANY)),
        libc::FUTEX_WAKE_BITSET if f.value3 == 0 => Err(Errno::EINVAL),
        libc::FUTEX_WAKE_BITSET => Ok(wake(address, f.value, f.value3)),
        libc::FUTEX_REQUEUE => Ok(requeue(f)),
        libc::FUTEX_CMP_REQUEUE if load(f.word)? != f.value3 => Err(Errno::EAGAIN),
        libc::FUTEX_CMP_REQUEUE => Ok(requeue(f)),
        libc::FUTEX_WAKE_OP => wake_op(f),
        _ => Err(unsupported("futex (priority inheritance or unknown operation)", Errno::ENOSYS)),
    }
}

/// The word as it is now. Atomic, because real threads outside of the simulation may share it.
fn load(word: Out<u32>) -> Result<u32, Errno> {
    if word.is_null() {
        return Err(Errno::EFAULT);
    }
    // SAFETY: not null, and a word of the program by the contract of `Out`; futex words are aligned (checked).
    Ok(unsafe { AtomicU32::from_ptr(word.pointer()) }.load(Ordering::SeqCst))
}

fn futex_wait(word: Out<u32>, value: u32, timeout: Option<FutexTimeout>, mask: u32) -> Result<usize, Errno> {
    if mask == 0 {
        return Err(Errno::EINVAL);
    }
    let matches = load(word)? == value;
    blocking(|kernel, call| kernel.futex_wait(word.address(), matches, timeout, mask, call)).map(|()| 0)
}

fn wake(address: usize, count: u32, mask: u32) -> usize {
    kernel(|kernel| kernel.futex_wake(address, count, mask)) as usize
}

fn requeue(f: Futex) -> usize {
    let (from, to, limit) = (f.word.address(), f.second.address(), f.timeout as u32);
    kernel(|kernel| kernel.futex_requeue(from, f.value, to, limit)) as usize
}

/// FUTEX_WAKE_OP: changes the second word, wakes waiters of the first, and of the second if its old value compares so.
fn wake_op(f: Futex) -> Result<usize, Errno> {
    let code = f.value3;
    let sign_extended = |bits: u32| ((bits << 20) as i32 >> 20) as u32;
    let (mut operand, against) = (sign_extended(code >> 12), sign_extended(code));
    if code >> 28 & 8 != 0 {
        operand = 1u32.wrapping_shl(operand);
    }
    let old = load(f.second)?;
    let new = match code >> 28 & 7 {
        0 => operand,
        1 => old.wrapping_add(operand),
        2 => old | operand,
        3 => old & !operand,
        4 => old ^ operand,
        _ => return Err(Errno::ENOSYS),
    };
    let (signed_old, signed_against) = (old as i32, against as i32);
    let holds = match code >> 24 & 15 {
        0 => signed_old == signed_against,
        1 => signed_old != signed_against,
        2 => signed_old < signed_against,
        3 => signed_old <= signed_against,
        4 => signed_old > signed_against,
        5 => signed_old >= signed_against,
        _ => return Err(Errno::ENOSYS),
    };
    f.second.write(new)?;
    let woken = wake(f.word.address(), f.value, ANY);
    Ok(woken + if holds { wake(f.second.address(), f.timeout as u32, ANY) } else { 0 })
}

// ---- waiting on a lock ----

/// Waits until somebody wakes `address`; ETIMEDOUT at the deadline.
fn wait_on(address: usize, until: Option<FutexTimeout>) -> Result<(), Errno> {
    let wait =
        |kernel: &mut Kernel, call: &mut Call| -> Outcome<()> { kernel.futex_wait(address, true, until, ANY, call) };
    match blocking(wait) {
        Err(Errno::EINTR) => Ok(()),
        result => result,
    }
}

/// Tries until it works or the deadline passes; `busy` is what the attempt says while another has the lock.
fn acquire(
    address: usize,
    until: Option<FutexTimeout>,
    busy: Errno,
    mut attempt: impl FnMut() -> Result<(), Errno>,
) -> Result<(), Errno> {
    loop {
        match attempt() {
            Err(errno) if errno == busy => wait_on(address, until)?,
            result => return result,
        }
    }
}

fn absolute(id: clockid_t, until: In<timespec>) -> Result<Option<FutexTimeout>, Errno> {
    Ok(Some(FutexTimeout::Absolute(time::clock(id)?, time::nanos(until.read()?)?)))
}

fn code(result: c_int) -> Result<(), Errno> {
    if result == 0 { Ok(()) } else { Err(Errno(result)) }
}

// ---- mutexes ----

pub(crate) fn mutex_trylock(mutex: Out<pthread_mutex_t>) -> Result<(), Errno> {
    // SAFETY: the program's mutex, initialised by the contract of the call.
    code(in_libc(|| unsafe { real::pthread_mutex_trylock(mutex.pointer()) }))
}

pub(crate) fn mutex_lock(mutex: Out<pthread_mutex_t>, until: Option<FutexTimeout>) -> Result<(), Errno> {
    acquire(mutex.address(), until, Errno::EBUSY, || match mutex_trylock(mutex) {
        Err(Errno::EBUSY) if checks_and_is_mine(mutex) => Err(Errno::EDEADLK),
        result => result,
    })
}

/// Whether this is an error-checking mutex that the calling thread has: its lock says EDEADLK where trylock says EBUSY.
fn checks_and_is_mine(mutex: Out<pthread_mutex_t>) -> bool {
    // The public beginning of glibc's `struct __pthread_mutex_s` on 64-bit platforms, fixed by its binary interface:
    // lock, count, owner (a real thread id), users, kind.
    const OWNER: usize = 2;
    const KIND: usize = 4;
    const KIND_MASK: c_int = 3;
    // SAFETY: a pthread_mutex_t is 40 or 48 bytes and aligned for integers; the program vouches for it.
    let words: In<c_int> = unsafe { In::new(mutex.address()) };
    words
        .slice(KIND + 1)
        .is_ok_and(|words| words[KIND] & KIND_MASK == libc::PTHREAD_MUTEX_ERRORCHECK && words[OWNER] == me().real)
}

pub(crate) fn mutex_timedlock(mutex: Out<pthread_mutex_t>, clock: clockid_t, until: In<timespec>) -> Result<(), Errno> {
    // POSIX: the time is looked at only if the lock has to be waited for.
    match mutex_trylock(mutex) {
        Err(Errno::EBUSY) => mutex_lock(mutex, absolute(clock, until)?),
        result => result,
    }
}

pub(crate) fn mutex_unlock(mutex: Out<pthread_mutex_t>) -> Result<(), Errno> {
    // SAFETY: as in `mutex_trylock`.
    code(in_libc(|| unsafe { real::pthread_mutex_unlock(mutex.pointer()) }))?;
    wake(mutex.address(), 1, ANY);
    Ok(())
}

// ---- condition variables ----

unsafe extern "C" {
    fn pthread_condattr_getclock(attributes: *const pthread_condattr_t, clock: *mut clockid_t) -> c_int;
}

pub(crate) fn condition_init(condition: Out<pthread_cond_t>, attributes: In<pthread_condattr_t>) -> Result<(), Errno> {
    // SAFETY: the program's condition variable and attributes.
    code(in_libc(|| unsafe { real::pthread_cond_init(condition.pointer(), attributes.pointer()) }))?;
    let mut id = libc::CLOCK_REALTIME;
    if !attributes.is_null() {
        // SAFETY: the program's attributes, and a number of ours.
        code(unsafe { pthread_condattr_getclock(attributes.pointer(), &raw mut id) })?;
    }
    let clock = time::clock(id)?;
    enter(|world| match clock {
        Clock::Realtime => world.condition_clocks.remove(&condition.address()),
        other => world.condition_clocks.insert(condition.address(), other),
    });
    Ok(())
}

pub(crate) fn condition_destroy(condition: Out<pthread_cond_t>) -> Result<(), Errno> {
    enter(|world| world.condition_clocks.remove(&condition.address()));
    Ok(())
}

pub(crate) fn condition_wait(
    condition: Out<pthread_cond_t>,
    mutex: Out<pthread_mutex_t>,
    until: Option<FutexTimeout>,
) -> Result<(), Errno> {
    mutex_unlock(mutex)?;
    let waited = wait_on(condition.address(), until);
    mutex_lock(mutex, None)?;
    waited
}

pub(crate) fn condition_timedwait(
    condition: Out<pthread_cond_t>,
    mutex: Out<pthread_mutex_t>,
    until: In<timespec>,
) -> Result<(), Errno> {
    let nanos = time::nanos(until.read()?)?;
    let clock = enter(|world| world.condition_clocks.get(&condition.address()).copied()).unwrap_or(Clock::Realtime);
    condition_wait(condition, mutex, Some(FutexTimeout::Absolute(clock, nanos)))
}

pub(crate) fn condition_clockwait(
    condition: Out<pthread_cond_t>,
    mutex: Out<pthread_mutex_t>,
    clock: clockid_t,
    until: In<timespec>,
) -> Result<(), Errno> {
    condition_wait(condition, mutex, absolute(clock, until)?)
}

pub(crate) fn condition_wake(condition: Out<pthread_cond_t>, count: u32) -> Result<(), Errno> {
    wake(condition.address(), count, ANY);
    Ok(())
}

// ---- read-write locks ----

pub(crate) fn rwlock_try(lock: Out<pthread_rwlock_t>, write: bool) -> Result<(), Errno> {
    let lock = lock.pointer();
    code(in_libc(|| {
        if write {
            // SAFETY: the program's lock, initialised by the contract of the call.
            unsafe { real::pthread_rwlock_trywrlock(lock) }
        } else {
            // SAFETY: as above.
            unsafe { real::pthread_rwlock_tryrdlock(lock) }
        }
    }))
}

pub(crate) fn rwlock_lock(lock: Out<pthread_rwlock_t>, write: bool, until: Option<FutexTimeout>) -> Result<(), Errno> {
    acquire(lock.address(), until, Errno::EBUSY, || rwlock_try(lock, write))
}

pub(crate) fn rwlock_timedlock(lock: Out<pthread_rwlock_t>, write: bool, until: In<timespec>) -> Result<(), Errno> {
    rwlock_lock(lock, write, absolute(libc::CLOCK_REALTIME, until)?)
}

pub(crate) fn rwlock_unlock(lock: Out<pthread_rwlock_t>) -> Result<(), Errno> {
    // SAFETY: as in `rwlock_try`.
    code(in_libc(|| unsafe { real::pthread_rwlock_unlock(lock.pointer()) }))?;
    // Readers may go together, so all of them look again.
    wake(lock.address(), u32::MAX, ANY);
    Ok(())
}

// ---- semaphores ----

pub(crate) fn sem_trywait(semaphore: Out<sem_t>) -> Result<(), Errno> {
    // SAFETY: the program's semaphore, initialised by the contract of the call.
    match in_libc(|| unsafe { real::sem_trywait(semaphore.pointer()) }) {
        0 => Ok(()),
        _ => Err(errno()),
    }
}

pub(crate) fn sem_wait(semaphore: Out<sem_t>, until: Option<FutexTimeout>) -> Result<(), Errno> {
    acquire(semaphore.address(), until, Errno::EAGAIN, || sem_trywait(semaphore))
}

pub(crate) fn sem_clockwait(semaphore: Out<sem_t>, clock: clockid_t, until: In<timespec>) -> Result<(), Errno> {
    match sem_trywait(semaphore) {
        Err(Errno::EAGAIN) => sem_wait(semaphore, absolute(clock, until)?),
        result => result,
    }
}

pub(crate) fn sem_post(semaphore: Out<sem_t>) -> Result<(), Errno> {
    // SAFETY: as in `sem_trywait`.
    if in_libc(|| unsafe { real::sem_post(semaphore.pointer()) }) != 0 {
        return Err(errno());
    }
    wake(semaphore.address(), 1, ANY);
    Ok(())
}

// ---- pthread_once ----

/// The states of a `pthread_once_t` in glibc's binary interface: statically 0, 2 when done. (Between the two, glibc
/// counts forks, of which there are none here.)
const ONCE_NEW: i32 = 0;
const ONCE_RUNNING: i32 = 1;
const ONCE_DONE: i32 = 2;

/// Whole here, since a routine that waits for another thread would make libc wait for real.
pub(crate) fn once(control: Out<pthread_once_t>, routine: OnceRoutine) -> Result<(), Errno> {
    // SAFETY: the program's `pthread_once_t` is one aligned int, shared between threads.
    let state = unsafe { AtomicI32::from_ptr(control.pointer().cast()) };
    loop {
        match state.load(Ordering::Acquire) {
            ONCE_NEW => {
                state.store(ONCE_RUNNING, Ordering::Relaxed);
                routine();
                state.store(ONCE_DONE, Ordering::Release);
                wake(control.address(), u32::MAX, ANY);
                return Ok(());
            }
            ONCE_RUNNING => wait_on(control.address(), None)?,
            _ => return Ok(()),
        }
    }
}
