//! The watchdog: finds a simulated thread that runs for ever without a call into the kernel, and tells its stack.

use std::backtrace::Backtrace;
use std::ffi::c_int;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use halfopen_core::HostId;
use halfopen_core::id::Tid;

use crate::switch::Parker;
use crate::symbols::real;
use crate::threads::{NOBODY, RUNNING, RUNNING_REAL};
use crate::world::{self, PROGRESS};

/// The exit status of a process whose run was stuck. Told apart from Rust's 101 (a panic) and the shell's 126 and above.
pub const STUCK_STATUS: i32 = 97;

/// How many times the watchdog looks within its patience: it is at most so much of it late.
const LOOKS: u32 = 8;

/// How long the stuck thread may take to say where it is: it may have been stopped inside of the allocator. Real time.
const STACK_PATIENCE: Duration = Duration::from_secs(5);

/// How often the watchdog looks whether it has said so. Real time.
const STACK_LOOK: Duration = Duration::from_millis(10);

/// The real-time signal, counted from SIGRTMIN, that asks the stuck thread. Programs rarely use any.
const SIGNAL_OFFSET: c_int = 7;

/// A simulated thread that ran for too long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StuckReport {
    /// Whose thread it is.
    pub host: HostId,
    /// Which thread it is.
    pub thread: Tid,
    /// Its stack, innermost function first, as `std::backtrace` prints it; empty if it could not be had.
    pub stack: String,
}

/// A real thread that watches the simulated ones.
pub(crate) struct Watchdog {
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Watchdog {
    pub(crate) fn start(patience: Duration, on_stuck: Box<dyn FnOnce(StuckReport) + Send>) -> Watchdog {
        listen();
        let over = Arc::new(AtomicBool::new(false));
        let flag = over.clone();
        // What a thread does at its start maps memory. The run waits until that is done, so that its own threads get the
        // same addresses each time. (A channel would be freed by whichever comes last.)
        let started: &'static Parker = Box::leak(Box::new(Parker::new()));
        let thread = std::thread::spawn(move || {
            started.unpark();
            if let Some(running) = watch(patience, &flag) {
                let stack = ask_for_stack();
                let (host, thread) = (HostId::new((running >> 32) as u32), Tid::new(running as u32));
                on_stuck(StuckReport { host, thread, stack });
                // SAFETY: ends the process at once, without the exit handlers of a program that is stuck.
                unsafe { real::_exit(STUCK_STATUS) };
            }
        });
        started.park();
        Watchdog { over, thread }
    }

    pub(crate) fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        // It can only have panicked in `on_stuck`, which ends the process.
        let _ = self.thread.join();
    }
}

/// Waits until the run is over (`None`) or stuck: then who runs.
fn watch(patience: Duration, over: &AtomicBool) -> Option<u64> {
    let mut seen = (PROGRESS.load(Ordering::Relaxed), RUNNING.load(Ordering::Relaxed));
    let mut looks = 0;
    while !over.load(Ordering::Relaxed) {
        std::thread::park_timeout(patience / LOOKS);
        let now = (PROGRESS.load(Ordering::Relaxed), RUNNING.load(Ordering::Relaxed));
        looks = if now == seen && now.1 != NOBODY { looks + 1 } else { 0 };
        seen = now;
        if looks >= LOOKS && !over.load(Ordering::Relaxed) {
            return Some(now.1);
        }
    }
    None
}

/// What the stuck thread found, once it has.
static STACK: AtomicPtr<Backtrace> = AtomicPtr::new(ptr::null_mut());

fn ask_for_stack() -> String {
    let thread = RUNNING_REAL.load(Ordering::Relaxed);
    // SAFETY: a signal that `listen` handles, to a thread of this process.
    unsafe { real::syscall(libc::SYS_tgkill, real::getpid() as usize, thread as usize, signal() as usize, 0, 0, 0) };
    let mut waited = Duration::ZERO;
    while waited < STACK_PATIENCE {
        std::thread::park_timeout(STACK_LOOK);
        waited += STACK_LOOK;
        let found = STACK.load(Ordering::Acquire);
        if !found.is_null() {
            // SAFETY: the handler leaked it for us and touches it no more.
            return below_the_signal(&unsafe { &*found }.to_string());
        }
    }
    String::new()
}

/// Leaves out the frames of the signal itself: our handler, and the trampoline that has no name or `__restore_rt`.
fn below_the_signal(stack: &str) -> String {
    let is_ours = |line: &&str| {
        let is_place = line.trim_start().starts_with("at ");
        is_place || ["on_signal", "<unknown>", "__restore_rt"].iter().any(|name| line.contains(name))
    };
    let below = stack.lines().skip_while(|line| !line.contains("on_signal")).skip_while(is_ours);
    let below = below.collect::<Vec<_>>().join("\n");
    if below.is_empty() { stack.to_owned() } else { below }
}

fn signal() -> c_int {
    libc::SIGRTMIN() + SIGNAL_OFFSET
}

fn listen() {
    // SAFETY: all zeroes is a valid sigaction; the handler has the signature that goes with flags of 0.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        libc::sigaction(signal(), &raw const action, ptr::null_mut());
    }
}

/// On the stuck thread: the run is over, so it may allocate; should that hang, the watchdog does not wait for ever.
extern "C" fn on_signal(_: c_int) {
    world::in_libc(|| {
        let stack = Box::new(Backtrace::force_capture());
        STACK.store(Box::into_raw(stack), Ordering::Release);
        loop {
            std::thread::park();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_begins_where_the_program_was() {
        let stack = "   0: capture\n   1: on_signal\n  at a.rs:1\n   2: <unknown>\n   3: spin\n  at b.rs:2\n   4: main";
        assert_eq!(below_the_signal(stack), "   3: spin\n  at b.rs:2\n   4: main");
        assert_eq!(below_the_signal("   0: what"), "   0: what");
    }
}
