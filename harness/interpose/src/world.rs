//! Who may touch the kernel, and when.
//!
//! The kernel stands in a static that no lock guards. The argument why that is sound: a simulated thread touches it
//! only while it has the baton; the baton is handed from thread to thread through their [`Seat`]s, which order
//! everything before the hand-over before everything after it; and there is one baton. The driver (a thread that
//! [`run`](crate::run()) makes) holds it before the first and after the last simulated thread.

use std::cell::{Cell, UnsafeCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use halfopen_core::id::Tid;
use halfopen_core::{Errno, Event, HostId, Index};
use halfopen_kernel::{Call, Clock, Kernel, Outcome};

use crate::lookup;
use crate::run::Main;
use crate::switch::Seat;
use crate::threads::{self, Thread};

/// All that a run is made of, besides the real threads.
pub(crate) struct World {
    pub(crate) kernel: Kernel,
    /// Indexed by host.
    pub(crate) mains: Vec<Main>,
    pub(crate) threads: Index<Tid, Thread>,
    /// Joinable or running threads by their `pthread_t`, which libc uses again later.
    pub(crate) handles: BTreeMap<libc::pthread_t, Tid>,
    /// The real id of the thread that handed the baton on as its last act. Its remains are libc's to clear away; who
    /// has the baton next waits for that, so that allocations come in the same order in each run.
    pub(crate) leaving: Option<libc::pid_t>,
    /// Why the traps could not be put in place, until it is told.
    pub(crate) untrapped: Option<Errno>,
    /// The clocks of condition variables that were made with another than the real-time clock.
    pub(crate) condition_clocks: BTreeMap<usize, Clock>,
    /// What the last emulated `rdtsc` said.
    pub(crate) last_tsc: u64,
    /// What a thread said when it last panicked, and where.
    pub(crate) panics: BTreeMap<Tid, String>,
    /// What the hosts' C libraries remember of names.
    pub(crate) names: lookup::Memory,
}

struct Shared(UnsafeCell<Option<World>>);

// SAFETY: only the thread with the baton touches what is inside (see the head of this file).
unsafe impl Sync for Shared {}

static WORLD: Shared = Shared(UnsafeCell::new(None));

/// [`Kernel::progress`], for the watchdog, which may not touch the kernel.
pub(crate) static PROGRESS: AtomicU64 = AtomicU64::new(0);

/// What a thread is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It is not simulated: every call goes to libc.
    Outside,
    /// A simulated thread in the program's own code: calls go to the kernel.
    Program,
    /// A simulated thread in our code: what that calls in turn (allocation, above all) goes to libc.
    Kernel,
}

/// A simulated thread, as it knows itself.
#[derive(Clone, Copy)]
pub(crate) struct Me {
    pub(crate) tid: Tid,
    pub(crate) host: HostId,
    pub(crate) seat: &'static Seat,
    /// Whether this thread runs the host's main.
    pub(crate) main: bool,
    /// The id that libc knows it by: that of the kernel thread that it began on.
    pub(crate) real: libc::pid_t,
}

// Constants without destructors: reading them never allocates and works until the very end of a thread.
thread_local! {
    static ROLE: Cell<Role> = const { Cell::new(Role::Outside) };
    static ME: Cell<Option<Me>> = const { Cell::new(None) };
}

/// Whether a call of this thread belongs to the virtual kernel.
pub(crate) fn intercepts() -> bool {
    ROLE.get() == Role::Program
}

/// Whether the calling thread is a simulated thread of a host.
pub fn is_simulated() -> bool {
    // The driver is in the kernel at times, but it is nobody.
    ROLE.get() != Role::Outside && ME.get().is_some()
}

/// The host whose thread is calling; `None` outside of the simulation.
pub fn current_host() -> Option<HostId> {
    ME.get().filter(|_| is_simulated()).map(|me| me.host)
}

/// The calling thread, which is simulated.
pub(crate) fn me() -> Me {
    ME.get().expect("a simulated thread knows itself")
}

/// The calling thread has the baton for the first time: it is simulated from now on.
pub(crate) fn become_simulated(me: Me) {
    ME.set(Some(me));
    ROLE.set(Role::Program);
}

/// The calling thread is about to end: what it still calls goes to libc.
pub(crate) fn become_outside() {
    ROLE.set(Role::Outside);
}

/// Runs `f` with this thread's calls going to libc: for our own code on a simulated thread.
pub(crate) fn in_libc<R>(f: impl FnOnce() -> R) -> R {
    let before = ROLE.replace(Role::Kernel);
    let result = f();
    ROLE.set(before);
    result
}

/// The world, for the thread that has the baton. `f` must not hand the baton on.
pub(crate) fn enter<R>(f: impl FnOnce(&mut World) -> R) -> R {
    let before = ROLE.replace(Role::Kernel);
    assert!(before != Role::Kernel, "the kernel was entered from within itself");
    // SAFETY: this thread has the baton, or is the driver before the first hand-over or after the last (see the head of
    // this file), and the assertion rules out a second borrow by the same thread. `f` returns before a hand-over.
    let world = unsafe { &mut *WORLD.0.get() };
    let world = world.as_mut().expect("a simulated thread runs only within a run");
    let guard = AbortOnUnwind;
    let result = f(world);
    std::mem::forget(guard);
    PROGRESS.store(world.kernel.progress(), Ordering::Relaxed);
    ROLE.set(before);
    result
}

/// A panic inside of the kernel is our own mistake, and nothing after it can be trusted: the process ends (after the
/// panic's message) instead of unwinding into the program under test.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// The driver puts a world up.
pub(crate) fn begin(world: World) {
    // SAFETY: no simulated thread exists yet, so the calling thread alone knows of the static.
    let place = unsafe { &mut *WORLD.0.get() };
    assert!(place.is_none(), "one run at a time in a process");
    *place = Some(world);
}

/// The driver takes the world down, after the last thread handed the baton to it.
pub(crate) fn finish() -> World {
    // SAFETY: the driver has the baton and all simulated threads are parked for ever.
    let place = unsafe { &mut *WORLD.0.get() };
    place.take().expect("the run has begun")
}

/// Lends the kernel to a simulated thread's own code (halfopen's, never a client's). `f` must not call anything that
/// blocks.
///
/// # Panics
/// If the calling thread is not a simulated thread, or is inside the kernel already.
pub fn with_kernel<R>(f: impl FnOnce(&mut Kernel) -> R) -> R {
    assert!(intercepts(), "with_kernel is for simulated threads");
    enter(|world| f(&mut world.kernel))
}

/// Makes a system call that may wait: calls `f` until it is ready, handing the baton on in between.
///
/// # Errors
/// What the call ends with.
///
/// # Panics
/// If the calling thread is not a simulated thread, or is inside the kernel already.
pub fn blocking<T>(mut f: impl FnMut(&mut Kernel, &mut Call) -> Outcome<T>) -> Result<T, Errno> {
    assert!(intercepts(), "blocking is for simulated threads");
    let mut call = Call::default();
    loop {
        match enter(|world| f(&mut world.kernel, &mut call)) {
            Poll::Ready(result) => return result,
            Poll::Pending => threads::hand_over(),
        }
        call.resumed = true;
    }
}

/// Tells the log that a call was refused.
pub(crate) fn unsupported(call: impl Into<std::borrow::Cow<'static, str>>, errno: Errno) -> Errno {
    if intercepts() {
        let event = Event::Unsupported { host: me().host, call: in_libc(|| call.into()), errno };
        enter(|world| world.kernel.emit(event));
    }
    errno
}
