//! The queue of what is due, and idle time.

use std::task::Poll;

use halfopen_core::event::EndReason;
use halfopen_core::{Event, HostId, SimDuration, SimTime};
use halfopen_instructions::count::counted;
use halfopen_kernel::{Call, Clock, Kernel, Next, Step};

use crate::{Operation, operation, run};

pub const OPERATIONS: &[Operation] = &[
    operation("kernel/timer-set-10", TIMES, || timer_set(10)),
    operation("kernel/timer-set-1000000", TIMES, || timer_set(1_000_000)),
    operation("kernel/timer-due-10", TIMES, || timer_due(10)),
    operation("kernel/timer-due-1000000", TIMES, || timer_due(1_000_000)),
    operation("kernel/idle-10-hosts-1h", 1, || idle(10, HOUR)),
    operation("kernel/idle-10-hosts-2h", 1, || idle(10, SimDuration::from_secs(7200))),
    operation("kernel/idle-1000-hosts-1h", 1, || idle(1_000, HOUR)),
];

const TIMES: u64 = 32;
const HOUR: SimDuration = SimDuration::from_secs(3600);

/// A kernel in which one thread runs, with this many timers pending, one each millisecond from the second minute on.
fn pending(timers: u64) -> Kernel {
    let mut kernel = run::kernel(1);
    start_all(&mut kernel, 1);
    for number in 0..timers {
        let at = SimTime::ZERO + SimDuration::from_millis(60_000 + number);
        kernel.add_step(at, Step::Tell(Event::HostPaused { host: HostId::new(0) }));
    }
    kernel
}

/// The mains of all hosts begin to run; the last is the one that runs.
fn start_all(kernel: &mut Kernel, hosts: u32) {
    for number in 0..hosts {
        match kernel.schedule() {
            Next::StartMain(host) => kernel.register_thread(host),
            next => panic!("host {number} should start: {next:?}"),
        };
    }
    assert!(matches!(kernel.schedule(), Next::Run(_)));
}

/// A timer is moved from one place among the others to another.
fn timer_set(timers: u64) {
    let mut kernel = pending(timers);
    let timer = kernel.timerfd_create(Clock::Monotonic, true, true).expect("there is room for a descriptor");
    let place = |number: u64| SimDuration::from_millis(60_000 + timers * number / (TIMES + 1)).as_nanos() + 1;
    kernel.timerfd_settime(timer, false, place(0), 0).expect("it is a timer");
    for number in 1..=TIMES {
        counted(|| kernel.timerfd_settime(timer, false, place(number), 0)).expect("it is a timer");
    }
}

/// A thread sleeps: its deadline goes in before all others, time moves there, and it runs again.
fn timer_due(timers: u64) {
    let mut kernel = pending(timers);
    for _ in 0..TIMES {
        counted(|| sleep(&mut kernel, SimDuration::from_millis(1)));
    }
}

fn sleep(kernel: &mut Kernel, span: SimDuration) {
    let mut call = Call::default();
    assert!(kernel.sleep(span, &mut call).is_pending(), "it has to wait");
    assert!(matches!(kernel.schedule(), Next::Run(_)));
    assert_eq!(kernel.sleep(span, &mut call), Poll::Ready(Ok(())));
}

/// All hosts but one sleep for longer than that one.
fn idle(hosts: u32, span: SimDuration) {
    let mut kernel = run::kernel(hosts);
    start_all(&mut kernel, hosts);
    for _ in 1..hosts {
        assert!(kernel.sleep(span + HOUR, &mut Call::default()).is_pending());
        assert!(matches!(kernel.schedule(), Next::Run(_)), "the next host");
    }
    counted(|| sleep(&mut kernel, span));
    kernel.end(EndReason::Done);
}
