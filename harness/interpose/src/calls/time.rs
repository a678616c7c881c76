//! Clocks and sleeping.

use std::ffi::{c_int, c_uint};

use halfopen_core::{Errno, SimDuration};
use halfopen_kernel::Clock;
use libc::{clockid_t, time_t, timespec, timeval};

use crate::abi::{In, Out};
use crate::world::{blocking, unsupported};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The clock behind a number of `<time.h>`.
pub(crate) fn clock(id: clockid_t) -> Result<Clock, Errno> {
    match id {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_TAI => Ok(Clock::Realtime),
        libc::CLOCK_MONOTONIC | libc::CLOCK_MONOTONIC_RAW | libc::CLOCK_MONOTONIC_COARSE | libc::CLOCK_BOOTTIME => {
            Ok(Clock::Monotonic)
        }
        libc::CLOCK_PROCESS_CPUTIME_ID | libc::CLOCK_THREAD_CPUTIME_ID => Ok(Clock::Cpu),
        _ => Err(Errno::EINVAL),
    }
}

/// Nanoseconds; EINVAL if it is negative or its nanoseconds are not a fraction of a second.
pub(crate) fn nanos(t: timespec) -> Result<u64, Errno> {
    let (seconds, fraction) = (u64::try_from(t.tv_sec), u64::try_from(t.tv_nsec));
    match (seconds, fraction) {
        (Ok(seconds), Ok(fraction)) if fraction < NANOS_PER_SECOND => {
            Ok(seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(fraction))
        }
        _ => Err(Errno::EINVAL),
    }
}

/// A span; EINVAL as for [`nanos`].
pub(crate) fn span(t: timespec) -> Result<SimDuration, Errno> {
    nanos(t).map(SimDuration::from_nanos)
}

/// C's form of so many nanoseconds.
pub(crate) fn spec(nanos: u64) -> timespec {
    timespec { tv_sec: (nanos / NANOS_PER_SECOND) as time_t, tv_nsec: (nanos % NANOS_PER_SECOND) as i64 }
}

/// What a clock shows, in nanoseconds.
pub(crate) fn read(clock: Clock) -> Result<u64, Errno> {
    blocking(|kernel, call| kernel.clock_gettime(clock, call))
}

pub(crate) fn clock_gettime(id: clockid_t, now: Out<timespec>) -> Result<(), Errno> {
    now.write(spec(read(clock(id)?)?))
}

pub(crate) fn clock_getres(id: clockid_t, resolution: Out<timespec>) -> Result<(), Errno> {
    clock(id)?;
    resolution.put(spec(1));
    Ok(())
}

pub(crate) fn gettimeofday(now: Out<timeval>) -> Result<(), Errno> {
    let nanos = read(Clock::Realtime)?;
    now.put(timeval {
        tv_sec: (nanos / NANOS_PER_SECOND) as time_t,
        tv_usec: (nanos % NANOS_PER_SECOND / 1_000) as i64,
    });
    Ok(())
}

pub(crate) fn time(now: Out<time_t>) -> time_t {
    let seconds = read(Clock::Realtime).map_or(-1, |nanos| (nanos / NANOS_PER_SECOND) as time_t);
    now.put(seconds);
    seconds
}

pub(crate) fn nanosleep(time: In<timespec>) -> Result<(), Errno> {
    sleep_for(span(time.read()?)?)
}

fn sleep_for(span: SimDuration) -> Result<(), Errno> {
    blocking(|kernel, call| kernel.sleep(span, call))
}

pub(crate) fn clock_nanosleep(id: clockid_t, flags: c_int, time: In<timespec>) -> Result<(), Errno> {
    let clock = clock(id)?;
    let time = time.read()?;
    if clock == Clock::Cpu {
        // A sleeping thread uses no processor time: it would never wake.
        return Err(unsupported("clock_nanosleep on a CPU clock", Errno::EINVAL));
    }
    if flags & libc::TIMER_ABSTIME == 0 {
        return sleep_for(span(time)?);
    }
    let nanos = nanos(time)?;
    blocking(|kernel, call| kernel.sleep_until(clock, nanos, call))
}

pub(crate) fn usleep(micros: c_uint) -> Result<(), Errno> {
    sleep_for(SimDuration::from_micros(u64::from(micros)))
}

/// No signal of the simulation ends a sleep early: nothing is ever left of it.
pub(crate) fn sleep(seconds: c_uint) -> c_uint {
    sleep_for(SimDuration::from_secs(u64::from(seconds))).map_or(seconds, |()| 0)
}

/// The machine's clock is nobody's to set; a host's own is the scenario's (`clock` faults).
pub(crate) fn set(call: &'static str) -> Result<(), Errno> {
    Err(unsupported(call, Errno::EPERM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_nanoseconds_and_back() {
        for (seconds, fraction, expected) in [
            (0, 0, Ok(0)),
            (1, 5, Ok(1_000_000_005)),
            (0, 999_999_999, Ok(999_999_999)),
            (0, 1_000_000_000, Err(Errno::EINVAL)),
            (-1, 0, Err(Errno::EINVAL)),
            (0, -1, Err(Errno::EINVAL)),
            (i64::MAX, 0, Ok(u64::MAX)),
        ] {
            assert_eq!(nanos(timespec { tv_sec: seconds, tv_nsec: fraction }), expected, "{seconds} {fraction}");
        }
        let back = spec(7_000_000_009);
        assert_eq!((back.tv_sec, back.tv_nsec), (7, 9));
    }
}
