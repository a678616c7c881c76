//! Pipes.

use nix::errno::Errno;

use crate::raw;
use crate::trace::{Trace, pipe};

fn empty_then_written_then_read(t: &mut Trace) {
    let (reader, writer) = pipe();
    t.poll(&reader);
    t.poll(&writer);
    t.read(&reader, 10);
    t.read(&reader, 0);
    t.write(&writer, "");
    t.write(&writer, "abc");
    t.write(&writer, "def");
    t.poll(&reader);
    t.read(&reader, 2);
    t.read(&reader, 10);
    t.read(&reader, 10);
}

fn the_writer_goes_with_bytes_unread(t: &mut Trace) {
    let (reader, writer) = pipe();
    t.write(&writer, "abc");
    t.close(writer);
    t.poll(&reader);
    t.read(&reader, 2);
    t.poll(&reader);
    t.read(&reader, 2);
    t.poll(&reader);
    t.read(&reader, 2);
    t.read(&reader, 2);
}

fn the_reader_goes(t: &mut Trace) {
    let (reader, writer) = pipe();
    t.write(&writer, "abc");
    t.close(reader);
    t.poll(&writer);
    t.write(&writer, "abc");
    t.write(&writer, "");
    t.poll(&writer);
}

fn the_wrong_end(t: &mut Trace) {
    let (reader, writer) = pipe();
    t.write(&reader, "abc");
    t.read(&writer, 1);
}

/// A write that would block gives what fits; one of no more than a page is whole or not at all.
fn filled_up(t: &mut Trace) {
    let (reader, writer) = pipe();
    t.say("capacity", raw::fcntl(writer.number(), libc::F_GETPIPE_SZ, 0));
    t.write_many(&writer, 100_000);
    t.write_many(&writer, 1);
    t.poll(&writer);
    t.poll(&reader);
    t.read(&reader, 4_095);
    t.poll(&writer);
    t.write_many(&writer, 1);
    t.read(&reader, 1);
    t.poll(&writer);
    t.write_many(&writer, 5_000);
    t.write_many(&writer, 4_096);
    t.drain(&reader);
}

fn atomic_up_to_a_page(t: &mut Trace) {
    let (reader, writer) = pipe();
    t.write_many(&writer, 62_000);
    t.write_many(&writer, 4_096);
    t.write_many(&writer, 3_536);
    t.write_many(&writer, 1);
    t.drain(&reader);
    for _ in 0..16 {
        t.write_many(&writer, 3_000);
    }
    t.write_many(&writer, 3_000);
    t.write_many(&writer, 1_000);
    t.write_many(&writer, 97);
    t.write_many(&writer, 96);
    t.drain(&reader);
}

/// Small writes share a page.
fn many_small_writes(t: &mut Trace) {
    let (reader, writer) = pipe();
    let mut count = 0;
    while nix::unistd::write(&writer.fd, b"0123456").is_ok() {
        count += 1;
    }
    t.note(format!("{count} writes of 7 bytes"));
    t.drain(&reader);
}

fn readable_bytes(t: &mut Trace) {
    let (reader, writer) = pipe();
    t.write(&writer, "abc");
    t.write(&writer, "de");
    for file in [&reader, &writer] {
        let count = raw::ioctl(file.number(), libc::FIONREAD, -1).map(|(code, count)| format!("{code}, {count}"));
        t.say(format_args!("{}.FIONREAD", file.name), count);
    }
}

fn one_of_two_writers_goes(t: &mut Trace) {
    let (reader, writer) = pipe();
    let second = writer.dup("second");
    t.close(writer);
    t.poll(&reader);
    t.read(&reader, 1);
    t.close(second);
    t.poll(&reader);
    t.read(&reader, 1);
}

fn flags_that_pipe2_does_not_take(t: &mut Trace) {
    let made = nix::unistd::pipe2(nix::fcntl::OFlag::O_APPEND).map(drop);
    assert_eq!(made, Err(Errno::EINVAL));
    t.say("pipe2(O_APPEND)", made);
}

fn edges_of_a_pipe(t: &mut Trace) {
    let (reader, writer) = pipe();
    let epoll = t.epoll("epoll");
    t.add(&epoll, &reader, libc::EPOLLIN | libc::EPOLLET);
    t.add(&epoll, &writer, libc::EPOLLOUT | libc::EPOLLET);
    t.wait(&epoll, 8);
    t.write(&writer, "a");
    t.wait(&epoll, 8);
    t.write(&writer, "b");
    t.wait(&epoll, 8);
    t.read(&reader, 1);
    t.wait(&epoll, 8);
    t.read(&reader, 1);
    t.wait(&epoll, 8);
    t.write_many(&writer, 70_000);
    t.wait(&epoll, 8);
    t.read(&reader, 100);
    t.wait(&epoll, 8);
    t.read(&reader, 5_000);
    t.wait(&epoll, 8);
    t.close(writer);
    t.wait(&epoll, 8);
    t.drain(&reader);
    t.wait(&epoll, 8);
}

/// A blocking write waits until all of it is in; a blocking read for the first byte.
fn one_end_waits_for_the_other(t: &mut Trace) {
    let (reader, writer) = pipe();
    for file in [&reader, &writer] {
        t.say("blocking", raw::fcntl(file.number(), libc::F_SETFL, 0));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            Trace::default().quiet();
            nix::unistd::write(&writer.fd, b"abc").expect("room");
        });
        t.read(&reader, 10);
    });
    std::thread::scope(|scope| {
        let reads = scope.spawn(|| {
            Trace::default().quiet();
            let mut buffer = vec![0; 50_000];
            let mut total = 0;
            while total < 150_000 {
                total += nix::unistd::read(&reader.fd, &mut buffer).expect("bytes");
            }
            total
        });
        t.write_many(&writer, 150_000);
        t.note(format!("read: {:?}", reads.join().ok()));
    });
}

/// A writer that waits for room hears that nobody will make any.
fn the_reader_goes_while_the_writer_waits(t: &mut Trace) {
    for head_start in [0, 10_000] {
        let (reader, writer) = pipe();
        t.say("blocking", raw::fcntl(writer.number(), libc::F_SETFL, 0));
        t.write_many(&writer, 65_536 - head_start);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                Trace::default().quiet();
                drop(reader);
            });
            t.write_many(&writer, 20_000);
        });
    }
}

#[test]
fn as_on_linux() {
    compare!(
        empty_then_written_then_read,
        the_writer_goes_with_bytes_unread,
        the_reader_goes,
        the_wrong_end,
        filled_up,
        atomic_up_to_a_page,
        many_small_writes,
        readable_bytes,
        one_of_two_writers_goes,
        flags_that_pipe2_does_not_take,
        edges_of_a_pipe,
        one_end_waits_for_the_other,
        the_reader_goes_while_the_writer_waits,
    );
}
