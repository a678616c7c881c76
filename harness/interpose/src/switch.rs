//! Handing over: how the running thread stops and another goes on.
//!
//! This is an interface of its own, since there are two ways: by futex, where each thread runs on its own and sleeps
//! until it is woken, and in user space, where one kernel thread runs the stacks of all in turn (`stack`). Nobody else
//! knows how a thread waits.

mod parker;
mod processor;
mod signals;
mod stack;

use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use parker::Parker;
pub(crate) use signals::{alternate_stack, change_mask};

use crate::symbols::real;
use processor::OneProcessor;
use stack::Context;

/// How the running thread hands over to the next. Programs see no difference, nor does any log of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Handover {
    /// Every thread runs on its own and waits in the kernel: some microseconds each time.
    Futex,
    /// One thread runs the stacks of all: some nanoseconds each time. Where the machine cannot do it (x86-64 from Linux
    /// 5.9 on with FSGSBASE can), it is [`Futex`](Handover::Futex).
    #[default]
    UserSpace,
}

/// Whether this run hands over in user space.
static IN_USER_SPACE: AtomicBool = AtomicBool::new(false);

/// Chooses the way for a run, before it has any thread.
pub(crate) fn choose(way: Handover) {
    IN_USER_SPACE.store(way == Handover::UserSpace && stack::is_available(), Ordering::Relaxed);
}

/// Whether one kernel thread, the carrier, runs all simulated threads of this run.
pub(crate) fn in_user_space() -> bool {
    IN_USER_SPACE.load(Ordering::Relaxed)
}

/// Prepares the thread that drives the run, which is the carrier if there is one.
pub(crate) fn begin() {
    signals::begin();
}

/// Where one thread waits for the baton. It must outlive the thread that gives as well as the one that waits.
pub(crate) struct Seat {
    parker: Parker,
    context: Context,
}

impl Seat {
    pub(crate) const fn new() -> Seat {
        Seat { parker: Parker::new(), context: Context::new() }
    }

    /// The calling thread is new, and waits for its first baton.
    pub(crate) fn sit_down(&self) {
        if in_user_space() {
            let mask = signals::block_all();
            self.context.board();
            signals::resume_with(Some(mask));
        } else {
            self.parker.park();
        }
    }

    /// Waits until the new thread that is to sit here does. Whoever makes it has asked [`for_new_thread`] before.
    pub(crate) fn await_sitting(&self) {
        if in_user_space() {
            self.context.await_boarding();
        }
    }

    /// The calling thread, whose seat this is, gives the baton to another and waits until it comes back. What it wrote
    /// before is seen there.
    pub(crate) fn hand_over(&self, next: &Seat) {
        if in_user_space() {
            let mask = signals::current_if_they_vary();
            self.context.switch_to(&next.context);
            signals::resume_with(mask);
        } else {
            next.parker.unpark();
            self.parker.park();
        }
    }

    /// The calling thread, whose seat this is, gives the baton away for the last time, and comes back without it to do
    /// what libc does at the end of a thread. In user space it comes back when it was [sent home](send_home).
    pub(crate) fn leave(&self, next: &Seat) {
        if in_user_space() {
            self.context.switch_to(&next.context);
        } else {
            next.parker.unpark();
        }
    }
}

/// To be kept while a thread is made and comes to its seat.
pub(crate) fn for_new_thread() -> OneProcessor {
    if in_user_space() { OneProcessor::hold() } else { OneProcessor::none() }
}

/// How often a thread looks again at once, before it sleeps between looks.
const EAGER_LOOKS: u32 = 3;

/// How long it sleeps then. On a busy machine that is what gives its processor to the thread that it waits for: yielding
/// only lets threads go first that wait for the same processor.
static BETWEEN_LOOKS: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 20_000 };

/// Waits for real until something holds that another kernel thread is about to do, which cannot tell when it has.
pub(crate) fn wait_until(holds: impl Fn() -> bool) {
    let mut looks = 0;
    while !holds() {
        looks += 1;
        if looks <= EAGER_LOOKS {
            // SAFETY: takes nothing.
            unsafe { real::sched_yield() };
        } else {
            // SAFETY: a constant to read, and nothing to write. Woken too early, it only looks again.
            unsafe { real::nanosleep(&raw const BETWEEN_LOOKS, std::ptr::null_mut()) };
        }
    }
}

/// Lets a thread that left go on to its end, on a kernel thread of its own. `thread` is its real id.
pub(crate) fn send_home(thread: libc::pid_t) {
    if in_user_space() {
        stack::send_home(thread);
    }
}
