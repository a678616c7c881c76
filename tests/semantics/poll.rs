//! poll(2) of numbers that are odd, of many at once, and with a time.

use std::time::Duration;

use crate::raw;
use crate::trace::{ALL, File, Trace, events, pipe, tcp, tcp_pair, udp, unix_pair};

fn poll(t: &mut Trace, call: &str, asked: &[(i32, i16)], timeout_ms: i32) {
    let told = raw::poll(asked, timeout_ms).map(|(count, revents)| {
        let revents: Vec<String> = revents.iter().map(|bits| events(*bits as u16 as u32)).collect();
        format!("{count} [{}]", revents.join(", "))
    });
    t.say(call, told);
}

fn numbers_that_are_not_open(t: &mut Trace) {
    let (reader, writer) = pipe();
    let closed = pipe().0.into_number();
    raw::close(closed).expect("it was open");
    poll(t, "a negative number", &[(-1, ALL)], 0);
    poll(t, "a closed number", &[(closed, ALL)], 0);
    poll(t, "asking for nothing", &[(closed, 0), (writer.number(), 0)], 0);
    let all = [(-1, ALL), (closed, ALL), (reader.number(), ALL), (writer.number(), ALL), (-7, ALL)];
    poll(t, "together", &all, 0);
    poll(t, "without waiting", &all, 10_000);
    poll(t, "none", &[], 0);
}

fn the_same_twice(t: &mut Trace) {
    let (reader, writer) = pipe();
    t.write(&writer, "a");
    poll(t, "twice", &[(reader.number(), ALL), (reader.number(), 0), (reader.number(), libc::POLLIN)], 0);
}

fn only_what_is_asked_for(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    poll(t, "IN", &[(a.number(), libc::POLLIN)], 0);
    poll(t, "OUT", &[(a.number(), libc::POLLOUT)], 0);
    poll(t, "WRNORM", &[(a.number(), libc::POLLWRNORM | libc::POLLWRBAND)], 0);
    t.write(&b, "a");
    t.until(&a, libc::POLLIN);
    poll(t, "RDNORM", &[(a.number(), libc::POLLRDNORM | libc::POLLRDBAND)], 0);
    poll(t, "PRI", &[(a.number(), libc::POLLPRI)], 0);
}

/// HUP and ERR come unasked.
fn the_ends_are_told_unasked(t: &mut Trace) {
    let (reader, writer) = pipe();
    t.close(writer);
    poll(t, "no writer", &[(reader.number(), 0)], 0);
    let (reader, writer) = pipe();
    t.close(reader);
    poll(t, "no reader", &[(writer.number(), 0)], 0);
    let (a, b) = unix_pair("a", "b", libc::SOCK_STREAM);
    t.close(b);
    poll(t, "no peer", &[(a.number(), 0)], 0);
}

fn fresh_sockets(t: &mut Trace) {
    for file in [tcp("tcp"), udp("udp")] {
        t.poll(&file);
    }
    for (name, kind) in
        [("stream", libc::SOCK_STREAM), ("datagram", libc::SOCK_DGRAM), ("packets", libc::SOCK_SEQPACKET)]
    {
        let file = File::new(name, raw::socket(libc::AF_UNIX, kind | libc::SOCK_NONBLOCK, 0).expect("a socket"));
        t.poll(&file);
        t.read(&file, 1);
        t.write(&file, "a");
    }
}

fn a_regular_file_is_always_ready(t: &mut Trace) {
    let path = std::env::current_exe().expect("a program has a file");
    let file = File::new("file", std::fs::File::open(path).expect("it can be read").into());
    poll(t, "file", &[(file.number(), ALL)], 0);
    poll(t, "file, with time", &[(file.number(), libc::POLLIN)], 10_000);
}

fn a_time_passes(t: &mut Trace) {
    let (reader, _writer) = pipe();
    let taken = crate::threads::time(|| poll(t, "30 ms", &[(reader.number(), libc::POLLIN)], 30));
    t.note(format!(
        "at least so long: {}, but not for ever: {}",
        taken >= Duration::from_millis(30),
        taken.as_secs() < 20
    ));
}

fn woken_by_another_thread(t: &mut Trace) {
    let (reader, writer) = pipe();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            Trace::default().quiet();
            nix::unistd::write(&writer.fd, b"a").expect("room");
        });
        poll(t, "woken", &[(reader.number(), libc::POLLIN), (-1, ALL)], 10_000);
    });
}

#[test]
fn as_on_linux() {
    compare!(
        numbers_that_are_not_open,
        the_same_twice,
        only_what_is_asked_for,
        the_ends_are_told_unasked,
        fresh_sockets,
        a_regular_file_is_always_ready,
        a_time_passes,
        woken_by_another_thread,
    );
}
