//! timerfd.

use std::time::Duration;

use nix::Result;

use crate::raw;
use crate::trace::{File, Trace};

const MS: i64 = 1_000_000;
const HOUR: i64 = 3_600_000 * MS;

fn timer(clock: i32) -> File {
    File::new("timer", raw::timerfd_create(clock, libc::TFD_NONBLOCK).expect("a timer"))
}

/// The count of expirations, told as it is.
fn take(t: &mut Trace, file: &File) {
    let mut count = [0; 8];
    let result: Result<String> =
        nix::unistd::read(&file.fd, &mut count).map(|len| format!("{len}: {}", u64::from_ne_bytes(count)));
    t.say("take", result);
}

/// A time that is left, in a bucket: it runs down while we look.
fn bucket(left: i64, of: i64) -> &'static str {
    match left {
        0 => "none",
        left if left > of => "more than it should",
        left if left > of - 60_000 * MS => "nearly all",
        _ => "less than it should",
    }
}

fn set(t: &mut Trace, file: &File, flags: i32, value: i64, interval: i64, of: i64) {
    let old = raw::timerfd_settime(file.number(), flags, value, interval);
    let old = old.map(|(left, interval)| format!("old: {}, every {} ms", bucket(left, of), interval / MS));
    t.say(format_args!("set({flags}, every {} ms)", interval / MS), old);
}

fn never_set(t: &mut Trace) {
    let timer = timer(libc::CLOCK_MONOTONIC);
    t.poll(&timer);
    take(t, &timer);
    t.say("get", raw::timerfd_gettime(timer.number()).map(|told| format!("{told:?}")));
    t.read(&timer, 7);
    t.write(&timer, "12345678");
}

fn once(t: &mut Trace) {
    let timer = timer(libc::CLOCK_MONOTONIC);
    set(t, &timer, 0, 10 * MS, 0, 0);
    t.poll_readable(&timer);
    t.say("get", raw::timerfd_gettime(timer.number()).map(|told| format!("{told:?}")));
    t.read(&timer, 7);
    take(t, &timer);
    take(t, &timer);
    t.poll(&timer);
}

fn the_old_value(t: &mut Trace) {
    let timer = timer(libc::CLOCK_MONOTONIC);
    set(t, &timer, 0, HOUR, 7 * MS, 0);
    let now = raw::timerfd_gettime(timer.number());
    t.say("get", now.map(|(left, interval)| format!("{}, every {} ms", bucket(left, HOUR), interval / MS)));
    set(t, &timer, 0, 2 * HOUR, 0, HOUR);
    set(t, &timer, 0, 0, 5 * MS, 2 * HOUR);
    set(t, &timer, 0, 0, 0, 0);
    t.poll(&timer);
}

fn set_anew_forgets_what_was(t: &mut Trace) {
    let timer = timer(libc::CLOCK_MONOTONIC);
    set(t, &timer, 0, 5 * MS, 0, 0);
    t.until(&timer, libc::POLLIN);
    set(t, &timer, 0, HOUR, 0, 0);
    t.poll(&timer);
    take(t, &timer);
}

fn again_and_again(t: &mut Trace) {
    let timer = timer(libc::CLOCK_MONOTONIC);
    set(t, &timer, 0, 10 * MS, 10 * MS, 0);
    let mut buffer = [0; 8];
    let mut total = 0;
    let span = crate::threads::time(|| {
        while total < 3 {
            t.until(&timer, libc::POLLIN);
            nix::unistd::read(&timer.fd, &mut buffer).expect("it has run");
            total += u64::from_ne_bytes(buffer);
        }
    });
    t.note(format!("three times took its time: {}", span >= Duration::from_millis(29)));
    #[expect(clippy::disallowed_methods, reason = "the real side of a case lives in real time")]
    std::thread::sleep(Duration::from_millis(55));
    nix::unistd::read(&timer.fd, &mut buffer).expect("it has run");
    t.note(format!("what was missed is counted: {}", u64::from_ne_bytes(buffer) >= 5));
}

fn at_a_time_of_the_clock(t: &mut Trace) {
    let timer = timer(libc::CLOCK_MONOTONIC);
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("a clock");
    let now = now.tv_sec() * 1_000 * MS + now.tv_nsec();
    set(t, &timer, libc::TFD_TIMER_ABSTIME, now + HOUR, 0, 0);
    let left = raw::timerfd_gettime(timer.number());
    t.say("get", left.map(|(left, _)| bucket(left, HOUR)));
    set(t, &timer, libc::TFD_TIMER_ABSTIME, now + 10 * MS, 0, HOUR);
    t.until(&timer, libc::POLLIN);
    take(t, &timer);
    // A time that is over is over at once.
    set(t, &timer, libc::TFD_TIMER_ABSTIME, 1, 0, 0);
    t.poll(&timer);
    take(t, &timer);
    set(t, &timer, libc::TFD_TIMER_ABSTIME, 1, 1_000_000 * HOUR, 0);
    t.until(&timer, libc::POLLIN);
    take(t, &timer);
    t.poll(&timer);
}

fn of_the_wall_clock(t: &mut Trace) {
    let timer = timer(libc::CLOCK_REALTIME);
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME).expect("a clock");
    let now = now.tv_sec() * 1_000 * MS + now.tv_nsec();
    set(t, &timer, libc::TFD_TIMER_ABSTIME, now + 10 * MS, 0, 0);
    t.poll_readable(&timer);
    take(t, &timer);
}

fn what_is_refused(t: &mut Trace) {
    for clock in [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC, libc::CLOCK_BOOTTIME, 77, libc::CLOCK_PROCESS_CPUTIME_ID]
    {
        t.say(format_args!("create({clock})"), raw::timerfd_create(clock, 0));
    }
    t.say("create with flags", raw::timerfd_create(libc::CLOCK_MONOTONIC, 1));
    let timer = timer(libc::CLOCK_MONOTONIC);
    t.say("negative", raw::timerfd_settime(timer.number(), 0, -1, 0).map(|_| ()));
    t.say("negative interval", raw::timerfd_settime(timer.number(), 0, MS, -MS).map(|_| ()));
    t.say("flags", raw::timerfd_settime(timer.number(), 0x80, MS, 0).map(|_| ()));
    let event = File::new("event", raw::eventfd(0, 0).expect("an eventfd"));
    t.say("no timer", raw::timerfd_settime(event.number(), 0, MS, 0).map(|_| ()));
    t.say("no timer", raw::timerfd_gettime(event.number()).map(|_| ()));
}

fn a_blocking_read_waits(t: &mut Trace) {
    let timer = File::new("timer", raw::timerfd_create(libc::CLOCK_MONOTONIC, 0).expect("a timer"));
    set(t, &timer, 0, 10 * MS, 0, 0);
    let span = crate::threads::time(|| take(t, &timer));
    t.note(format!("about its time: {}", span < Duration::from_secs(20)));
}

#[test]
fn as_on_linux() {
    compare!(
        never_set,
        once,
        the_old_value,
        set_anew_forgets_what_was,
        again_and_again,
        at_a_time_of_the_clock,
        of_the_wall_clock,
        what_is_refused,
        a_blocking_read_waits,
    );
}
