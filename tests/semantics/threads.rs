//! Futexes through std: condition variables, parking, channels, and blocking calls that wait for a time.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Barrier, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::raw;
use crate::trace::{File, Trace, option, tcp_pair, unix_pair};

const SHORT: Duration = Duration::from_millis(30);
/// Longer than any busy machine needs.
const LONG: Duration = Duration::from_secs(20);

/// Tells how long ago it was made.
#[expect(clippy::disallowed_methods, reason = "the real side of a case lives in real time")]
fn stopwatch() -> impl Fn() -> Duration {
    let begin = Instant::now();
    move || begin.elapsed()
}

/// How long something took.
pub fn time(what: impl FnOnce()) -> Duration {
    let elapsed = stopwatch();
    what();
    elapsed()
}

/// Tells whether something took its time, in buckets wide enough for any machine.
fn took(t: &mut Trace, what: &str, span: Duration) {
    let bucket = match span {
        span if span < SHORT => "less than it should",
        span if span < LONG => "its time",
        _ => "for ever",
    };
    t.note(format!("{what} took {bucket}"));
}

fn a_condition_that_nobody_signals(t: &mut Trace) {
    let (lock, condition) = (Mutex::new(()), Condvar::new());
    let mut timed_out = false;
    let span = time(|| {
        let guard = lock.lock().expect("not poisoned");
        let (_guard, result) = condition.wait_timeout_while(guard, SHORT, |()| true).expect("not poisoned");
        timed_out = result.timed_out();
    });
    t.note(format!("timed out: {timed_out}"));
    took(t, "it", span);
}

fn a_condition_that_is_signalled(t: &mut Trace) {
    let (lock, condition) = (Mutex::new(false), Condvar::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            *lock.lock().expect("not poisoned") = true;
            condition.notify_one();
        });
        let guard = lock.lock().expect("not poisoned");
        let (guard, result) = condition.wait_timeout_while(guard, LONG, |done| !*done).expect("not poisoned");
        t.note(format!("timed out: {}, done: {}", result.timed_out(), *guard));
    });
}

fn parked(t: &mut Trace) {
    let span = time(|| {
        // Parking may end early, for no reason.
        let elapsed = stopwatch();
        while elapsed() < SHORT {
            std::thread::park_timeout(SHORT);
        }
    });
    took(t, "parking", span);
    // A token that was given before is taken at once.
    std::thread::current().unpark();
    let span = time(|| std::thread::park_timeout(LONG));
    t.note(format!("not for ever: {}", span < LONG));
    let main = std::thread::current();
    std::thread::scope(|scope| {
        scope.spawn(move || main.unpark());
        let span = time(|| std::thread::park_timeout(LONG));
        t.note(format!("woken: {}", span < LONG));
    });
}

fn a_channel(t: &mut Trace) {
    let (sender, receiver) = channel::<u8>();
    let mut result = Ok(0);
    let span = time(|| result = receiver.recv_timeout(SHORT));
    t.note(format!("timed out: {}", result == Err(RecvTimeoutError::Timeout)));
    took(t, "it", span);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..3 {
                sender.send(number).expect("somebody listens");
            }
        });
        for _ in 0..4 {
            t.note(format!("{:?}", receiver.recv_timeout(LONG)));
        }
    });
}

fn a_barrier_and_joins(t: &mut Trace) {
    let barrier = Barrier::new(4);
    let leaders: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| usize::from(barrier.wait().is_leader()))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    t.note(format!("leaders: {leaders}"));
    let panicked = std::thread::Builder::new().spawn(|| std::panic::resume_unwind(Box::new("quiet"))).map(|h| h.join());
    t.note(format!("a panic is told by join: {}", panicked.is_ok_and(|joined: Result<(), _>| joined.is_err())));
}

fn sleep(t: &mut Trace) {
    #[expect(clippy::disallowed_methods, reason = "the real side of a case lives in real time")]
    let span = time(|| std::thread::sleep(SHORT));
    took(t, "sleeping", span);
}

fn micros(span: Duration) -> Vec<u8> {
    [span.as_secs().to_ne_bytes(), u64::from(span.subsec_micros()).to_ne_bytes()].concat()
}

fn a_time_limit(t: &mut Trace, file: &File) {
    let set = raw::setsockopt(file.number(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, &micros(SHORT));
    t.say(format_args!("{}.set(RCVTIMEO)", file.name), set);
    t.say("blocking", raw::fcntl(file.number(), libc::F_SETFL, 0));
    let span = time(|| t.read(file, 10));
    took(t, "read", span);
}

fn receiving_for_a_time(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    a_time_limit(t, &a);
    t.write(&b, "abc");
    t.read(&a, 10);
    let (a, _b) = unix_pair("a", "b", libc::SOCK_DGRAM);
    a_time_limit(t, &a);
    let udp = crate::trace::udp("udp");
    t.bind(&udp, "127.0.0.1:0");
    a_time_limit(t, &udp);
    let listener = crate::trace::listener("listener");
    let set = raw::setsockopt(listener.number(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, &micros(SHORT));
    t.say("listener.set(RCVTIMEO)", set);
    t.say("blocking", raw::fcntl(listener.number(), libc::F_SETFL, 0));
    let span = time(|| drop(t.accept(&listener, "none")));
    took(t, "accept", span);
}

fn sending_for_a_time(t: &mut Trace) {
    let (a, _b) = unix_pair("a", "b", libc::SOCK_STREAM);
    while nix::unistd::write(&a.fd, &[b'x'; 1_000]).is_ok() {}
    let set = raw::setsockopt(a.number(), libc::SOL_SOCKET, libc::SO_SNDTIMEO, &micros(SHORT));
    t.say("a.set(SNDTIMEO)", set);
    t.say("blocking", raw::fcntl(a.number(), libc::F_SETFL, 0));
    let span = time(|| t.write(&a, "a"));
    took(t, "write", span);
}

fn time_limits_are_told(t: &mut Trace) {
    let (a, _b) = tcp_pair("a", "b");
    for value in [micros(Duration::ZERO), micros(Duration::from_millis(1_500)), micros(Duration::from_micros(4_000))] {
        let set = raw::setsockopt(a.number(), libc::SOL_SOCKET, libc::SO_SNDTIMEO, &value);
        t.say("set", set);
        let told = raw::getsockopt(a.number(), libc::SOL_SOCKET, libc::SO_SNDTIMEO, 16);
        t.say("get", told.map(|told| (told == value, told.len())).map(|told| format!("{told:?}")));
    }
    t.say(
        "a second of a million",
        raw::setsockopt(a.number(), libc::SOL_SOCKET, libc::SO_SNDTIMEO, &micros_of(1_000_000)),
    );
    t.say("short", raw::setsockopt(a.number(), libc::SOL_SOCKET, libc::SO_SNDTIMEO, &[0; 4]));
}

fn micros_of(micros: u64) -> Vec<u8> {
    [0_u64.to_ne_bytes(), micros.to_ne_bytes()].concat()
}

/// A blocking read ends when another thread shuts the socket down.
fn shut_down_by_another_thread(t: &mut Trace) {
    let (a, _b) = tcp_pair("a", "b");
    t.say("blocking", raw::fcntl(a.number(), libc::F_SETFL, 0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            Trace::default().quiet();
            raw::shutdown(a.number(), libc::SHUT_RDWR).expect("it is connected");
        });
        t.read(&a, 10);
    });
    t.say("no error", option(&a, libc::SOL_SOCKET, libc::SO_ERROR));
}

#[test]
fn as_on_linux() {
    compare!(
        a_condition_that_nobody_signals,
        a_condition_that_is_signalled,
        parked,
        a_channel,
        a_barrier_and_joins,
        sleep,
        receiving_for_a_time,
        sending_for_a_time,
        time_limits_are_told,
        shut_down_by_another_thread,
    );
}
