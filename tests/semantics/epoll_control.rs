//! What epoll_ctl and epoll_wait refuse.

use crate::raw;
use crate::trace::{File, Trace, listener, pipe};

const IN: i32 = libc::EPOLLIN;

/// The number of a descriptor that was just closed.
fn closed_number() -> i32 {
    let number = pipe().0.into_number();
    raw::close(number).expect("it was open");
    number
}

fn control(t: &mut Trace, call: &str, epoll: i32, op: i32, fd: i32) {
    t.say(call, raw::epoll_ctl(epoll, op, fd, IN as u32, 0));
}

fn twice_and_never(t: &mut Trace) {
    let (reader, _writer) = pipe();
    let epoll = t.epoll("epoll");
    t.modify(&epoll, &reader, IN);
    t.delete(&epoll, &reader);
    t.add(&epoll, &reader, IN);
    t.add(&epoll, &reader, IN);
    t.delete(&epoll, &reader);
    t.delete(&epoll, &reader);
}

fn numbers_that_are_not_open(t: &mut Trace) {
    let (reader, _writer) = pipe();
    let epoll = t.epoll("epoll");
    let closed = closed_number();
    control(t, "add(-1)", epoll.number(), libc::EPOLL_CTL_ADD, -1);
    control(t, "add(closed)", epoll.number(), libc::EPOLL_CTL_ADD, closed);
    control(t, "delete(closed)", epoll.number(), libc::EPOLL_CTL_DEL, closed);
    control(t, "closed.add", closed, libc::EPOLL_CTL_ADD, reader.number());
    control(t, "-1.add", -1, libc::EPOLL_CTL_ADD, reader.number());
}

fn what_is_no_instance(t: &mut Trace) {
    let (reader, writer) = pipe();
    let epoll = t.epoll("epoll");
    control(t, "pipe.add", reader.number(), libc::EPOLL_CTL_ADD, writer.number());
    control(t, "itself", epoll.number(), libc::EPOLL_CTL_ADD, epoll.number());
    control(t, "no such operation", epoll.number(), 9, reader.number());
    t.say("pipe.wait", raw::epoll_wait(reader.number(), 1, 0).map(|told| told.len()));
    t.say("closed.wait", raw::epoll_wait(closed_number(), 1, 0).map(|told| told.len()));
    t.say("wait for none", raw::epoll_wait(epoll.number(), 0, 0).map(|told| told.len()));
    t.say("wait for fewer", raw::epoll_wait(epoll.number(), -1, 0).map(|told| told.len()));
    t.read(&epoll, 8);
    t.write(&epoll, "a");
}

fn a_regular_file(t: &mut Trace) {
    let path = std::env::current_exe().expect("a program has a file");
    let file = File::new("file", std::fs::File::open(path).expect("it can be read").into());
    let epoll = t.epoll("epoll");
    t.add(&epoll, &file, IN);
    t.modify(&epoll, &file, IN);
    t.delete(&epoll, &file);
    t.poll(&file);
}

fn circles(t: &mut Trace) {
    let (a, b, c) = (t.epoll("a"), t.epoll("b"), t.epoll("c"));
    t.add(&a, &b, IN);
    t.add(&b, &a, IN);
    t.add(&b, &c, IN);
    t.add(&c, &a, IN);
    t.delete(&a, &b);
    t.add(&c, &a, IN);
}

fn a_chain_has_an_end(t: &mut Trace) {
    let chain: Vec<File> = (0..8).map(|index| t.epoll(&format!("e{index}"))).collect();
    for pair in chain.windows(2) {
        t.add(&pair[1], &pair[0], IN);
    }
    let others: Vec<File> = (0..8).map(|index| t.epoll(&format!("f{index}"))).collect();
    for pair in others.windows(2) {
        t.add(&pair[0], &pair[1], IN);
    }
}

fn exclusive(t: &mut Trace) {
    let listener = listener("listener");
    let (epoll, other) = (t.epoll("epoll"), t.epoll("other"));
    t.add(&epoll, &listener, IN | libc::EPOLLEXCLUSIVE);
    t.modify(&epoll, &listener, IN | libc::EPOLLEXCLUSIVE);
    t.modify(&epoll, &listener, IN);
    t.delete(&epoll, &listener);
    t.add(&epoll, &listener, IN | libc::EPOLLEXCLUSIVE | libc::EPOLLET);
    t.add(&epoll, &other, IN | libc::EPOLLEXCLUSIVE);
    t.add(&other, &listener, IN | libc::EPOLLEXCLUSIVE | libc::EPOLLONESHOT);
    t.add(&other, &listener, IN | libc::EPOLLEXCLUSIVE | libc::EPOLLRDHUP);
    t.add(&other, &listener, IN | libc::EPOLLOUT | libc::EPOLLEXCLUSIVE | libc::EPOLLERR | libc::EPOLLHUP);
    t.wait(&other, 8);
}

fn created_with_flags(t: &mut Trace) {
    use nix::sys::epoll::{Epoll, EpollCreateFlags};
    for flags in [EpollCreateFlags::empty(), EpollCreateFlags::EPOLL_CLOEXEC, EpollCreateFlags::from_bits_retain(1)] {
        let made = Epoll::new(flags).map(|epoll| File::new("epoll", epoll.0));
        let told = made.and_then(|epoll| raw::fcntl(epoll.number(), libc::F_GETFD, 0));
        t.say(format_args!("epoll_create1({:#o})", flags.bits()), told);
    }
    let epoll = t.epoll("epoll");
    t.say("F_GETFL", raw::fcntl(epoll.number(), libc::F_GETFL, 0).map(|flags| flags & libc::O_ACCMODE));
}

#[test]
fn as_on_linux() {
    compare!(
        twice_and_never,
        numbers_that_are_not_open,
        what_is_no_instance,
        a_regular_file,
        circles,
        a_chain_has_an_end,
        exclusive,
        created_with_flags,
    );
}
