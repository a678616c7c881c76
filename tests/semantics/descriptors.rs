//! What all descriptors share: duplicates, flags, kinds, and what cannot be done with them.

use nix::unistd::{Whence, lseek};

use crate::raw;
use crate::trace::{File, Trace, pipe, tcp, tcp_pair, udp, unix_pair};

fn status(t: &mut Trace, file: &File) {
    let told = raw::fcntl(file.number(), libc::F_GETFL, 0);
    let told = told.map(|flags| format!("{:#o}", flags & (libc::O_ACCMODE | libc::O_NONBLOCK | libc::O_APPEND)));
    t.say(format_args!("{}.F_GETFL", file.name), told);
}

fn close_on_exec(t: &mut Trace, file: &File) {
    t.say(format_args!("{}.F_GETFD", file.name), raw::fcntl(file.number(), libc::F_GETFD, 0));
}

/// One of each kind, by name.
fn zoo() -> Vec<File> {
    let (reader, writer) = pipe();
    let (pair, _) = unix_pair("pair", "other", libc::SOCK_STREAM);
    let epoll = nix::sys::epoll::Epoll::new(nix::sys::epoll::EpollCreateFlags::empty()).expect("epoll").0;
    vec![
        reader,
        writer,
        pair,
        tcp("tcp"),
        udp("udp"),
        File::new("event", raw::eventfd(0, libc::EFD_NONBLOCK).expect("an eventfd")),
        File::new("timer", raw::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK).expect("a timer")),
        File::new("epoll", epoll),
    ]
}

fn kinds(t: &mut Trace) {
    for file in zoo() {
        let told = raw::fstat(file.number()).map(|(kind, size)| format!("{kind:#o}, {size} bytes"));
        t.say(format_args!("{}.fstat", file.name), told);
    }
}

fn no_position(t: &mut Trace) {
    let mut buffer = [0; 8];
    for file in zoo() {
        let name = &file.name;
        t.say(format_args!("{name}.lseek"), lseek(&file.fd, 0, Whence::SeekSet));
        t.say(format_args!("{name}.pread"), nix::sys::uio::pread(&file.fd, &mut buffer, 0));
        t.say(format_args!("{name}.pwrite"), nix::sys::uio::pwrite(&file.fd, b"a", 0));
        t.say(format_args!("{name}.fsync"), nix::unistd::fsync(&file.fd));
    }
}

fn status_flags(t: &mut Trace) {
    for file in zoo() {
        status(t, &file);
        close_on_exec(t, &file);
        t.say("set", raw::fcntl(file.number(), libc::F_SETFL, 0));
        status(t, &file);
        t.say("set", raw::fcntl(file.number(), libc::F_SETFL, libc::O_NONBLOCK | libc::O_RDWR | libc::O_CREAT));
        status(t, &file);
        t.say("set", raw::fcntl(file.number(), libc::F_SETFD, 1));
        close_on_exec(t, &file);
    }
}

/// O_NONBLOCK belongs to what is open, FD_CLOEXEC to the number.
fn duplicates_share(t: &mut Trace) {
    let (reader, _writer) = pipe();
    let plain = File::new("plain", raw::own(raw::fcntl(reader.number(), libc::F_DUPFD, 0).expect("room")));
    let closing = File::new("closing", raw::own(raw::fcntl(reader.number(), libc::F_DUPFD_CLOEXEC, 0).expect("room")));
    for file in [&reader, &plain, &closing] {
        close_on_exec(t, file);
    }
    t.say("set", raw::fcntl(plain.number(), libc::F_SETFL, 0));
    status(t, &reader);
    t.say("FIONBIO", raw::ioctl(closing.number(), libc::FIONBIO, 1).map(|(code, _)| code));
    status(t, &reader);
    t.read(&reader, 1);
    t.say("FIONBIO", raw::ioctl(closing.number(), libc::FIONBIO, 0).map(|(code, _)| code));
    status(t, &plain);
    t.say("FIOCLEX", raw::ioctl(plain.number(), libc::FIOCLEX, 0).map(|(code, _)| code));
    close_on_exec(t, &plain);
    close_on_exec(t, &reader);
    t.say("FIONCLEX", raw::ioctl(plain.number(), libc::FIONCLEX, 0).map(|(code, _)| code));
    close_on_exec(t, &plain);
}

fn the_lowest_free_number(t: &mut Trace) {
    let (reader, writer) = pipe();
    let number = reader.number();
    drop(reader);
    let again = writer.dup("again");
    t.note(format!("the number is used again: {}", again.number() == number));
    let least = writer.number() + 10;
    let far = raw::fcntl(writer.number(), libc::F_DUPFD, least).map(raw::own);
    t.note(format!("at least what was asked for: {:?}", far.map(|fd| std::os::fd::AsRawFd::as_raw_fd(&fd) >= least)));
    t.say("F_DUPFD(-1)", raw::fcntl(writer.number(), libc::F_DUPFD, -1));
}

fn onto_another(t: &mut Trace) {
    let (reader, writer) = pipe();
    let (other_reader, other_writer) = pipe();
    t.write(&writer, "abc");
    // The last writer of the other pipe goes, without a word.
    let moved = raw::dup2(reader.number(), other_writer.number());
    t.note(format!("dup2 -> the number: {}", moved == Ok(other_writer.number())));
    t.poll(&other_reader);
    t.read(&other_reader, 1);
    t.read(&other_writer, 2);
    t.read(&reader, 2);
    let same = raw::dup2(reader.number(), reader.number());
    t.note(format!("dup2 onto itself -> the number: {}", same == Ok(reader.number())));
    t.say("dup3 onto itself", raw::dup3(reader.number(), reader.number(), 0));
    t.say("dup3 with flags", raw::dup3(reader.number(), other_writer.number(), libc::O_NONBLOCK));
    let moved = raw::dup3(reader.number(), other_writer.number(), libc::O_CLOEXEC);
    t.note(format!("dup3 -> the number: {}", moved == Ok(other_writer.number())));
    close_on_exec(t, &other_writer);
}

fn numbers_that_are_not_open(t: &mut Trace) {
    let closed = pipe().0.into_number();
    t.say("close", raw::close(closed));
    t.say("close", raw::close(closed));
    t.say("close(-1)", raw::close(-1));
    t.say("F_GETFL", raw::fcntl(closed, libc::F_GETFL, 0));
    t.say("F_DUPFD", raw::fcntl(closed, libc::F_DUPFD, 0));
    t.say("FIONREAD", raw::ioctl(closed, libc::FIONREAD, 0).map(|_| ()));
    t.say("fstat", raw::fstat(closed).map(|_| ()));
    t.say("dup2", raw::dup2(closed, closed));
    t.say("dup2(-1)", raw::dup2(-1, closed));
    t.say("shutdown", raw::shutdown(closed, 0));
    t.say("listen", raw::listen(closed, 0));
    t.say("accept", raw::accept4(closed, 0));
    t.say("setsockopt", raw::setsockopt(closed, libc::SOL_SOCKET, libc::SO_REUSEADDR, &[0; 4]));
    t.say("timerfd_settime", raw::timerfd_settime(closed, 0, 0, 0).map(|_| ()));
}

fn no_sockets(t: &mut Trace) {
    let (reader, _writer) = pipe();
    let number = reader.number();
    t.shutdown(&reader, libc::SHUT_RD);
    t.listen(&reader, 1);
    t.say("accept", raw::accept4(number, 0));
    t.bind(&reader, "127.0.0.1:0");
    t.connect(&reader, "127.0.0.1:9".parse().expect("an address"));
    t.names(&reader);
    t.error(&reader);
    t.say("setsockopt", raw::setsockopt(number, libc::SOL_SOCKET, libc::SO_REUSEADDR, &[0; 4]));
    t.recv(&reader, 1, nix::sys::socket::MsgFlags::empty());
}

fn readable_bytes(t: &mut Trace) {
    // What epoll says of an ioctl changed with Linux 6.9.
    for file in zoo().iter().filter(|file| file.name != "epoll") {
        let count = raw::ioctl(file.number(), libc::FIONREAD, -1).map(|(code, count)| format!("{code}, {count}"));
        t.say(format_args!("{}.FIONREAD", file.name), count);
        let unknown = raw::ioctl(file.number(), 0x5401, 0).map(|_| ());
        t.say(format_args!("{}.TCGETS", file.name), unknown);
    }
    let (a, b) = tcp_pair("a", "b");
    t.write(&a, "abc");
    t.until(&b, libc::POLLIN);
    t.say("b.FIONREAD", raw::ioctl(b.number(), libc::FIONREAD, -1).map(|(_, count)| count));
    let listener = crate::trace::listener("listener");
    t.say("listener.FIONREAD", raw::ioctl(listener.number(), libc::FIONREAD, -1).map(|(_, count)| count));
}

/// Data that comes in parts, and goes in parts.
fn in_parts(t: &mut Trace) {
    use std::io::{IoSlice, IoSliceMut};
    let (reader, writer) = pipe();
    let parts = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cdef")];
    t.say("writev", nix::sys::uio::writev(&writer.fd, &parts));
    let (mut one, mut two) = ([b'.'; 3], [b'.'; 5]);
    let read = nix::sys::uio::readv(&reader.fd, &mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)]);
    t.say("readv", read);
    t.note(format!("{} {}", String::from_utf8_lossy(&one), String::from_utf8_lossy(&two)));
    t.say("writev of nothing", nix::sys::uio::writev(&writer.fd, &[]));
    t.say("readv into nothing", nix::sys::uio::readv(&reader.fd, &mut []));
}

#[test]
fn as_on_linux() {
    compare!(
        kinds,
        no_position,
        status_flags,
        duplicates_share,
        the_lowest_free_number,
        onto_another,
        numbers_that_are_not_open,
        no_sockets,
        readable_bytes,
        in_parts,
    );
}
