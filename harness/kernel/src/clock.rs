//! Clocks, sleeping, and the creep of time.
//!
//! Virtual time moves only while nobody runs, so a program that polls, a clock or a non-blocking socket, would poll
//! for ever. Such calls therefore cost something: each clock reading one unit, each call that found nothing to do
//! [`CREEP_UNITS_CALL`] units; a thread that has spent [`CREEP_UNITS_MAX`] within one instant sleeps [`CREEP`].
//! That makes a clock reading 20 ns and an EAGAIN 200 ns on average, which is what they cost on real machines. The EAGAIN
//! by which a thread sees that it has taken all that came is free: a server may have any number of connections.

use std::task::Poll;

use halfopen_core::{SimDuration, SimTime};

use crate::scheduler::{WaitFor, WaitKey};
use crate::{Call, Kernel, Outcome};

/// What a thread may spend within one instant before time creeps on, in clock readings.
pub const CREEP_UNITS_MAX: u32 = 1_000;
/// What a call costs that found nothing to do (EAGAIN, a poll with a timeout of zero), in clock readings.
pub const CREEP_UNITS_CALL: u32 = 10;
/// How far time creeps once [`CREEP_UNITS_MAX`] are spent.
pub const CREEP: SimDuration = SimDuration::from_micros(20);
/// How far time creeps at a sched_yield with nobody else ready.
pub const YIELD: SimDuration = SimDuration::from_micros(1);
/// What CLOCK_MONOTONIC shows when the run begins: a machine that has been up for a day, so that programs which
/// subtract from `Instant::now()` at their start do not underflow.
pub const UPTIME_AT_START_NANOS: u64 = 86_400_000_000_000;

/// Which clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clock {
    /// CLOCK_REALTIME: the scenario's epoch, virtual time, and the host's own offset.
    Realtime,
    /// CLOCK_MONOTONIC, CLOCK_BOOTTIME: virtual time and [`UPTIME_AT_START_NANOS`].
    Monotonic,
    /// CLOCK_PROCESS_CPUTIME_ID and CLOCK_THREAD_CPUTIME_ID: told as virtual time since the host started.
    Cpu,
}

impl Kernel {
    /// Virtual time.
    pub fn now(&self) -> SimTime {
        self.now
    }

    /// What this clock shows on the current host, without any creep.
    pub(crate) fn clock_nanos(&self, clock: Clock) -> u64 {
        let host = self.host();
        match clock {
            Clock::Realtime => {
                (self.config.epoch_nanos + self.now.as_nanos()).saturating_add_signed(host.clock_offset_nanos)
            }
            Clock::Monotonic => UPTIME_AT_START_NANOS + self.now.as_nanos(),
            Clock::Cpu => self.now.since(host.started_at).as_nanos(),
        }
    }

    /// When this clock will show `nanos`; now if it already has.
    pub(crate) fn when_clock_shows(&self, clock: Clock, nanos: u64) -> SimTime {
        self.now + SimDuration::from_nanos(nanos.saturating_sub(self.clock_nanos(clock)))
    }

    /// Nanoseconds of this clock on the current host. `Pending` now and then for a thread that only reads clocks: a
    /// program that polls the clock without blocking must see time creep forward.
    pub fn clock_gettime(&mut self, clock: Clock, call: &mut Call) -> Outcome<u64> {
        self.count_call();
        if !call.resumed && self.creep(1) {
            call.deadline = Some(self.now + CREEP);
            return self.block(call, &[], WaitFor::Creep);
        }
        Poll::Ready(Ok(self.clock_nanos(clock)))
    }

    /// Sleeps until this clock shows `nanos`.
    ///
    /// # Errors
    /// None.
    pub fn sleep_until(&mut self, clock: Clock, nanos: u64, call: &mut Call) -> Outcome<()> {
        self.count_call();
        let until = self.when_clock_shows(clock, nanos);
        if until <= self.now {
            if call.resumed {
                return Poll::Ready(Ok(()));
            }
            return self.idle_result(call, Ok(()));
        }
        // A clock that is set forward or back wakes its sleepers, who look again.
        let keys: &[WaitKey] = match clock {
            Clock::Realtime => &[WaitKey::ClockSet(self.current_host())],
            Clock::Monotonic | Clock::Cpu => &[],
        };
        call.deadline = Some(until);
        self.block(call, keys, WaitFor::Sleep)
    }

    /// nanosleep(2).
    ///
    /// # Errors
    /// None.
    pub fn sleep(&mut self, span: SimDuration, call: &mut Call) -> Outcome<()> {
        self.count_call();
        let until = *call.deadline.get_or_insert(self.now + span);
        if until > self.now {
            return self.block(call, &[], WaitFor::Sleep);
        }
        if call.resumed { Poll::Ready(Ok(())) } else { self.idle_result(call, Ok(())) }
    }

    /// sched_yield: behind everybody who is ready; if nobody is, time creeps on.
    ///
    /// # Errors
    /// None.
    pub fn yield_now(&mut self, call: &mut Call) -> Outcome<()> {
        self.count_call();
        if call.resumed {
            return Poll::Ready(Ok(()));
        }
        if self.creep(CREEP_UNITS_CALL) {
            call.deadline = Some(self.now + CREEP);
            return self.block(call, &[], WaitFor::Creep);
        }
        if self.threads.anyone_ready() {
            call.resumed = true;
            self.threads.requeue_current();
            return Poll::Pending;
        }
        call.deadline = Some(self.now + YIELD);
        self.block(call, &[], WaitFor::Creep)
    }

    /// Spends `units` of the current thread's allowance for this instant; whether that used it up.
    pub(crate) fn creep(&mut self, units: u32) -> bool {
        let now = self.now;
        let spent = self.threads.spent_mut();
        if spent.0 != now {
            *spent = (now, 0);
        }
        spent.1 += units;
        if spent.1 < CREEP_UNITS_MAX {
            return false;
        }
        spent.1 = 0;
        true
    }

    /// The result of a call that found nothing to do and does not wait. A thread that makes too many such calls within
    /// one instant sleeps a little before this one is tried once more.
    pub(crate) fn idle_result<T>(&mut self, call: &mut Call, result: Result<T, halfopen_core::Errno>) -> Outcome<T> {
        if !call.resumed && self.creep(CREEP_UNITS_CALL) {
            call.deadline = Some(self.now + CREEP);
            return self.block(call, &[], WaitFor::Creep);
        }
        Poll::Ready(result)
    }
}
