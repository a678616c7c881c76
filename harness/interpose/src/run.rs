//! A run: from a kernel that is set up to a kernel that has finished.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::{Arc, Once};
use std::time::Duration;

use halfopen_core::event::EndReason;
use halfopen_core::{Event, HostId, Index};
use halfopen_kernel::Kernel;

use crate::lookup::Memory;
use crate::switch::{self, Handover};
use crate::watchdog::{StuckReport, Watchdog};
use crate::world::{self, World, enter, in_libc};
use crate::{symbols, threads, traps};

/// What a host runs. Called anew, on a new thread, each time the host starts.
pub type Main = Arc<dyn Fn() + Send + Sync>;

/// What a run needs.
pub struct Setup {
    /// The virtual kernel, with all hosts added and the timeline set.
    pub kernel: Kernel,
    /// What each host runs, indexed by [`HostId`].
    pub mains: Vec<Main>,
    /// For how long in real time a simulated thread may run without a call into the kernel.
    pub watchdog: Duration,
    /// Told of the thread that ran for longer; afterwards the process ends with [`STUCK_STATUS`](crate::STUCK_STATUS).
    pub on_stuck: Box<dyn FnOnce(StuckReport) + Send>,
    /// How threads hand over to each other.
    pub handover: Handover,
}

/// What a run leaves behind.
pub struct Finished {
    /// The kernel, which says how the run ended and gives the event sink back.
    pub kernel: Kernel,
}

/// Runs all hosts until the kernel says that the run is over. The calling thread, which is not simulated, waits.
///
/// Threads that had not ended by then stay parked until the process ends, with all that they own: a process is good for
/// one run.
///
/// # Panics
/// If called from a simulated thread, or while another run goes on in this process.
pub fn run(setup: Setup) -> Finished {
    assert!(!world::is_simulated(), "a run cannot start another");
    symbols::link();
    threads::prepare_exit();
    traps::prepare();
    install_panic_hook();
    settle_heaps();
    let Setup { kernel, mains, watchdog, on_stuck, handover } = setup;
    switch::choose(handover);
    world::begin(World {
        kernel,
        mains,
        threads: Index::default(),
        handles: BTreeMap::new(),
        leaving: None,
        untrapped: None,
        condition_clocks: BTreeMap::new(),
        last_tsc: 0,
        panics: BTreeMap::new(),
        names: Memory::default(),
    });
    let watchdog = Watchdog::start(watchdog, on_stuck);
    // A thread of its own, since the traps stay on it for ever.
    let driver = std::thread::Builder::new().name("driver".to_owned()).spawn(threads::drive);
    driver.expect("the machine has room for a thread").join().expect("the driver does not panic");
    watchdog.stop();
    Finished { kernel: world::finish().kernel }
}

/// Each thread gets a heap of its own, so that each run gets the same addresses: what stands in the heap that the process
/// began with, and where, depends on the names of files, on the request, and on other threads of a test binary. glibc would
/// give new threads heaps of their own up to a limit, and then one of those that are there, whichever is not in use at the
/// moment.
///
/// Programs do tell addresses apart: with one heap for all, a client that retries took up its tasks in another order when
/// the scenario was given by a longer path.
fn settle_heaps() {
    // SAFETY: two numbers; a libc that does not know the setting says so and changes nothing.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, i32::MAX) };
}

/// The life of a host's main thread, once it has the baton.
pub(crate) fn run_main(host: HostId, main: &Main) {
    let result = catch_unwind(AssertUnwindSafe(|| main()));
    match result {
        Ok(()) => enter(|world| world.kernel.main_returned(host, None)),
        Err(payload) => {
            let message = in_libc(|| payload_text(&*payload));
            panicked(host, message);
            // What a program panics with may panic again when it is dropped.
            std::mem::forget(payload);
        }
    }
}

fn panicked(host: HostId, message: String) {
    let tid = world::me().tid;
    enter(|world| {
        let message = world.panics.remove(&tid).unwrap_or(message);
        let kernel = &mut world.kernel;
        kernel.emit(Event::HostPanicked { host, main: true, message: message.clone() });
        kernel.main_returned(host, Some(message.clone()));
        let message = format!("host `{}` panicked: {message}", kernel.host_name(host));
        kernel.end(EndReason::Aborted { message });
    });
}

fn payload_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

/// On simulated threads a panic is an event; elsewhere it is what it was before.
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(
            move |info| {
                if world::intercepts() { record_panic(info) } else { previous(info) }
            },
        ));
    });
}

/// Says what panicked and where. On a main thread it is told now only as something that went wrong: whether it ends the
/// host is not known before it has unwound ([`run_main`] tells that).
fn record_panic(info: &PanicHookInfo<'_>) {
    let message = in_libc(|| match info.location() {
        Some(place) => format!("{} at {}:{}", payload_text(info.payload()), place.file(), place.line()),
        None => payload_text(info.payload()),
    });
    let me = world::me();
    enter(|world| {
        if me.main {
            world.panics.insert(me.tid, message.clone());
        }
        world.kernel.emit(Event::HostPanicked { host: me.host, main: false, message });
    });
}
