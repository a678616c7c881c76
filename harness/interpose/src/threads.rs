//! Simulated threads: real pthreads, of which exactly one runs at a time.

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use halfopen_core::id::Tid;
use halfopen_core::{Errno, HostId};
use halfopen_kernel::Next;

use crate::abi::{In, Out, StartRoutine};
use crate::run;
use crate::switch::{self, Parker, Seat};
use crate::symbols::real;
use crate::traps;
use crate::world::{self, Me, blocking, enter, in_libc};

/// The stack of a host's main: as large as Linux gives a process's first thread (`ulimit -s`), in bytes.
const MAIN_STACK_BYTES: usize = 8 << 20;

/// glibc's PTHREAD_DESTRUCTOR_ITERATIONS: how often it runs the destructors of thread-specific data that come back.
const DESTRUCTOR_ROUNDS: usize = 4;

/// What the world knows of a thread.
pub(crate) struct Thread {
    seat: &'static Seat,
    host: HostId,
    /// Whether libc may use its `pthread_t` again as soon as it has ended.
    detached: bool,
    /// `None` for a host's main, which nobody joins.
    handle: Option<libc::pthread_t>,
}

/// What a new thread is handed before it may run: where to wait for the baton, and who it will be.
struct Ticket {
    seat: Seat,
    /// Where the maker of a host's main waits until the thread has begun. It lies here, not in an `Arc`, since who of the
    /// two would free that is up to chance.
    begun: Parker,
    /// Set before the thread gets the baton for the first time.
    tid: AtomicU32,
    host: HostId,
    main: bool,
}

impl Ticket {
    /// Never freed, as its seat must not be: some bytes for each thread of a run.
    fn leak(host: HostId, main: bool) -> &'static Ticket {
        Box::leak(Box::new(Ticket { seat: Seat::new(), begun: Parker::new(), tid: AtomicU32::new(0), host, main }))
    }
}

/// Where the driver waits for the end of the run.
static DRIVER: Seat = Seat::new();

/// Who runs, for the watchdog: host in the upper half, thread in the lower; all ones for nobody.
pub(crate) static RUNNING: AtomicU64 = AtomicU64::new(NOBODY);
/// The id of the kernel thread that runs it.
pub(crate) static RUNNING_REAL: AtomicI32 = AtomicI32::new(0);
/// No simulated thread runs.
pub(crate) const NOBODY: u64 = u64::MAX;

/// Gives the baton to whoever the kernel says, and waits until it comes back.
pub(crate) fn hand_over() {
    let me = world::me();
    if let Some(next) = choose_next() {
        me.seat.hand_over(next);
        resumed(me.real);
    }
}

/// The calling thread does nothing more in this run; its remains are parked for ever.
pub(crate) fn hand_over_for_ever() -> ! {
    hand_over();
    unreachable!("a thread that has ended is scheduled no more")
}

/// Drives the run: gives the baton away and gets it back when the run is over. The calling thread is used up: it keeps
/// the traps, which all simulated threads inherit from it.
pub(crate) fn drive() {
    switch::begin();
    if let Err(errno) = traps::install_on_this_thread() {
        enter(|world| world.untrapped = Some(errno));
    }
    // SAFETY: takes nothing.
    let real = unsafe { real::gettid() };
    RUNNING_REAL.store(real, Ordering::Relaxed);
    if let Some(first) = choose_next() {
        DRIVER.hand_over(first);
        resumed(real);
    }
    RUNNING.store(NOBODY, Ordering::Relaxed);
}

/// The baton is here: notes who runs and waits until the thread that ended before has really gone.
fn resumed(real_id: libc::pid_t) {
    if !switch::in_user_space() {
        RUNNING_REAL.store(real_id, Ordering::Relaxed);
    }
    if let Some(leaving) = enter(|world| world.leaving.take()) {
        in_libc(|| {
            switch::send_home(leaving);
            await_gone(leaving);
        });
    }
}

fn await_gone(thread: libc::pid_t) {
    // SAFETY: getpid takes nothing; signal 0 is never delivered, the call only says whether the thread exists.
    switch::wait_until(|| unsafe {
        real::syscall(libc::SYS_tgkill, real::getpid() as usize, thread as usize, 0, 0, 0, 0) != 0
    });
}

/// Asks the kernel who is next: where it sits, or `None` if it is the calling thread. When the run is over it is the
/// driver.
fn choose_next() -> Option<&'static Seat> {
    let caller = if world::is_simulated() { Some(world::me().tid) } else { None };
    loop {
        let (next, seat) = enter(|world| {
            let next = world.kernel.schedule();
            let seat = match next {
                Next::Run(tid) => {
                    let thread = world.threads.get(&tid).expect("the kernel names threads that were registered");
                    RUNNING.store((thread.host.index() as u64) << 32 | tid.index() as u64, Ordering::Relaxed);
                    (caller != Some(tid)).then_some(thread.seat)
                }
                Next::StartMain(_) => None,
                Next::Finished => caller.map(|_| &DRIVER),
            };
            (next, seat)
        });
        match next {
            Next::Run(_) | Next::Finished => return seat,
            Next::StartMain(host) => start_main(host),
        }
    }
}

/// Makes the thread of a host's main. It waits for its turn as every thread does.
fn start_main(host: HostId) {
    let (main, name) = enter(|world| {
        world.names.forget_host(host);
        (world.mains[host.index()].clone(), world.kernel.host_name(host).to_owned())
    });
    let ticket = in_libc(|| {
        let _on_one = switch::for_new_thread();
        let ticket = Ticket::leak(host, true);
        let body = move || {
            // What std does at the start of a thread allocates: the maker waits until it is done, so that allocations
            // come in the same order in each run.
            ticket.begun.unpark();
            first_baton(ticket);
            run::run_main(host, &main);
        };
        let made = std::thread::Builder::new().name(name).stack_size(MAIN_STACK_BYTES).spawn(body);
        made.expect("the machine has room for a thread");
        ticket.begun.park();
        ticket.seat.await_sitting();
        ticket
    });
    register(ticket, None, true);
}

fn register(ticket: &'static Ticket, handle: Option<libc::pthread_t>, detached: bool) {
    enter(|world| {
        let tid = world.kernel.register_thread(ticket.host);
        ticket.tid.store(tid.index() as u32, Ordering::Relaxed);
        world.threads.insert(tid, Thread { seat: &ticket.seat, host: ticket.host, detached, handle });
        if let Some(handle) = handle {
            world.handles.insert(handle, tid);
        }
    });
}

/// The new thread waits for its first baton and is simulated from then on.
fn first_baton(ticket: &'static Ticket) {
    // SAFETY: takes nothing.
    let real = unsafe { real::gettid() };
    ticket.seat.sit_down();
    resumed(real);
    arm_exit(1);
    let tid = Tid::new(ticket.tid.load(Ordering::Relaxed));
    world::become_simulated(Me { tid, host: ticket.host, seat: &ticket.seat, main: ticket.main, real });
    if let Some(errno) = enter(|world| world.untrapped.take()) {
        traps::tell_missing(errno);
    }
}

/// What `pthread_create` was asked to run.
struct Start {
    routine: StartRoutine,
    argument: *mut c_void,
    ticket: &'static Ticket,
}

extern "C" fn trampoline(start: *mut c_void) -> *mut c_void {
    let start = start.cast::<Start>();
    // SAFETY: `create` made it for this thread alone and does not free it once the thread exists.
    first_baton(unsafe { (*start).ticket });
    // SAFETY: as above; from here on it is this thread's.
    let start = in_libc(|| *unsafe { Box::from_raw(start) });
    (start.routine)(start.argument)
}

/// `pthread_create`.
pub(crate) fn create(
    handle: Out<libc::pthread_t>,
    attributes: In<libc::pthread_attr_t>,
    routine: StartRoutine,
    argument: Out<c_void>,
) -> Result<(), Errno> {
    let detached = is_detached(attributes);
    let ticket = in_libc(|| Ticket::leak(world::me().host, false));
    let start = in_libc(|| Box::into_raw(Box::new(Start { routine, argument: argument.pointer(), ticket })));
    let mut made = 0;
    let _on_one = switch::for_new_thread();
    // SAFETY: the attributes are the program's own or null, `made` outlives the call, and `trampoline` takes a `Start`.
    let code =
        in_libc(|| unsafe { real::pthread_create(&raw mut made, attributes.pointer(), trampoline, start.cast()) });
    if code != 0 {
        // SAFETY: no thread was made, so the box is still ours.
        in_libc(|| drop(unsafe { Box::from_raw(start) }));
        return Err(Errno(code));
    }
    ticket.seat.await_sitting();
    handle.put(made);
    register(ticket, Some(made), detached);
    Ok(())
}

fn is_detached(attributes: In<libc::pthread_attr_t>) -> bool {
    let mut state: c_int = libc::PTHREAD_CREATE_JOINABLE;
    if !attributes.is_null() {
        // SAFETY: the program vouches for its attributes; `state` is ours.
        unsafe { pthread_attr_getdetachstate(attributes.pointer(), &raw mut state) };
    }
    state == libc::PTHREAD_CREATE_DETACHED
}

unsafe extern "C" {
    fn pthread_attr_getdetachstate(attributes: *const libc::pthread_attr_t, state: *mut c_int) -> c_int;
}

/// `pthread_join`.
pub(crate) fn join(handle: libc::pthread_t, value: Out<*mut c_void>) -> Result<(), Errno> {
    let tid = enter(|world| world.handles.get(&handle).copied()).ok_or(Errno::ESRCH)?;
    if tid == world::me().tid {
        return Err(Errno::EDEADLK);
    }
    blocking(|kernel, call| kernel.join_thread(tid, call))?;
    enter(|world| world.handles.remove(&handle));
    // SAFETY: the thread was made by libc's pthread_create and joined by nobody; it has ended, so this does not wait.
    match in_libc(|| unsafe { real::pthread_join(handle, value.pointer()) }) {
        0 => Ok(()),
        code => Err(Errno(code)),
    }
}

/// `pthread_detach`.
pub(crate) fn detach(handle: libc::pthread_t) -> Result<(), Errno> {
    enter(|world| {
        let tid = *world.handles.get(&handle).ok_or(Errno::ESRCH)?;
        match world.threads.get_mut(&tid) {
            Some(thread) => thread.detached = true,
            None => {
                world.handles.remove(&handle);
            }
        }
        Ok(())
    })?;
    // SAFETY: the thread was made by libc's pthread_create and has been neither joined nor detached.
    match in_libc(|| unsafe { real::pthread_detach(handle) }) {
        0 => Ok(()),
        code => Err(Errno(code)),
    }
}

/// The key whose destructor hands the baton on at the end of a thread.
static EXIT_KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();

/// Makes the key: once, by the driver.
pub(crate) fn prepare_exit() {
    EXIT_KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: `key` is ours, and the destructor below takes any value.
        let code = unsafe { libc::pthread_key_create(&raw mut key, Some(at_exit)) };
        assert_eq!(code, 0, "the process has a free pthread key");
        key
    });
}

fn arm_exit(round: usize) {
    let key = *EXIT_KEY.get().expect("the driver made the key");
    // SAFETY: the key exists; the value is a number that only `at_exit` reads.
    unsafe { libc::pthread_setspecific(key, round as *const c_void) };
}

/// Runs after Rust's thread-local destructors (glibc runs those of `__cxa_thread_atexit_impl` first), and puts itself
/// off to the last round of the thread-specific ones, so that nothing of the program runs without the baton.
extern "C" fn at_exit(round: *mut c_void) {
    match round as usize {
        last if last >= DESTRUCTOR_ROUNDS => leave(),
        round => arm_exit(round + 1),
    }
}

/// The end of a simulated thread.
fn leave() {
    let me = world::me();
    enter(|world| {
        world.kernel.exit_thread();
        let thread = world.threads.remove(&me.tid).expect("a running thread is registered");
        if let Some(handle) = thread.handle.filter(|_| thread.detached) {
            world.handles.remove(&handle);
        }
        world.names.forget_thread(me.tid);
        world.leaving = Some(me.real);
    });
    let next = choose_next().expect("a thread that has ended is scheduled no more");
    me.seat.leave(next);
    world::become_outside();
}
