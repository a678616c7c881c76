//! eventfd.

use std::time::Duration;

use nix::Result;

use crate::raw;
use crate::trace::{File, Trace};

fn eventfd(initial: u32, flags: i32) -> File {
    File::new("event", raw::eventfd(initial, flags | libc::EFD_NONBLOCK).expect("an eventfd"))
}

fn add(t: &mut Trace, file: &File, count: u64) {
    t.say(format_args!("add({count})"), nix::unistd::write(&file.fd, &count.to_ne_bytes()));
}

fn take(t: &mut Trace, file: &File) {
    let mut count = [0; 8];
    let result: Result<String> =
        nix::unistd::read(&file.fd, &mut count).map(|len| format!("{len}: {}", u64::from_ne_bytes(count)));
    t.say("take", result);
}

fn counts(t: &mut Trace) {
    let event = eventfd(3, 0);
    t.poll(&event);
    take(t, &event);
    t.poll(&event);
    take(t, &event);
    add(t, &event, 4);
    add(t, &event, 5);
    add(t, &event, 0);
    take(t, &event);
    add(t, &event, 0);
    t.poll(&event);
    take(t, &event);
}

fn a_semaphore(t: &mut Trace) {
    let event = eventfd(2, libc::EFD_SEMAPHORE);
    take(t, &event);
    t.poll(&event);
    take(t, &event);
    take(t, &event);
    add(t, &event, 2);
    take(t, &event);
}

fn full(t: &mut Trace) {
    let event = eventfd(0, 0);
    add(t, &event, u64::MAX - 1);
    t.poll(&event);
    add(t, &event, 1);
    add(t, &event, 0);
    take(t, &event);
    add(t, &event, u64::MAX);
    add(t, &event, u64::MAX - 2);
    t.poll(&event);
    add(t, &event, 2);
    add(t, &event, 1);
    t.poll(&event);
}

fn short_and_long_buffers(t: &mut Trace) {
    let event = eventfd(7, 0);
    t.read(&event, 7);
    t.read(&event, 0);
    t.write(&event, "1234567");
    t.write(&event, "");
    let mut buffer = [0; 12];
    t.say("read(12)", nix::unistd::read(&event.fd, &mut buffer));
    // (What a write of more than eight bytes gives changed with Linux 6.9.)
    let mut short = [0; 7];
    t.say("read(7) of nothing", nix::unistd::read(&event.fd, &mut short));
}

fn flags(t: &mut Trace) {
    for flags in [0, libc::EFD_CLOEXEC, libc::EFD_NONBLOCK, libc::EFD_SEMAPHORE, 2, libc::O_APPEND] {
        let told = raw::eventfd(0, flags).and_then(|fd| {
            let file = File::new("event", fd);
            let cloexec = raw::fcntl(file.number(), libc::F_GETFD, 0)?;
            let status = raw::fcntl(file.number(), libc::F_GETFL, 0)?;
            Ok(format!("{cloexec}, {:#o}", status & (libc::O_ACCMODE | libc::O_NONBLOCK)))
        });
        t.say(format_args!("eventfd({flags:#o})"), told);
    }
}

fn no_socket_and_no_position(t: &mut Trace) {
    let event = eventfd(0, 0);
    t.shutdown(&event, libc::SHUT_WR);
    t.error(&event);
    t.say("lseek", nix::unistd::lseek(&event.fd, 0, nix::unistd::Whence::SeekCur));
    let mut buffer = [0; 8];
    t.say("pread", nix::sys::uio::pread(&event.fd, &mut buffer, 0));
}

/// A blocking read waits for a count, a blocking write for room.
fn one_thread_waits_for_another(t: &mut Trace) {
    let event = File::new("event", raw::eventfd(0, 0).expect("an eventfd"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            Trace::default().quiet();
            nix::unistd::write(&event.fd, &9_u64.to_ne_bytes()).expect("room");
        });
        take(t, &event);
    });
    add(t, &event, u64::MAX - 1);
    let mut buffer = [0; 8];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            Trace::default().quiet();
            nix::unistd::read(&event.fd, &mut buffer).expect("a count");
        });
        let span = crate::threads::time(|| add(t, &event, 1));
        t.note(format!("not for ever: {}", span < Duration::from_secs(20)));
    });
    take(t, &event);
}

#[test]
fn as_on_linux() {
    compare!(
        counts,
        a_semaphore,
        full,
        short_and_long_buffers,
        flags,
        no_socket_and_no_position,
        one_thread_waits_for_another
    );
}
