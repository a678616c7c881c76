//! How a TCP connection ends, and what poll and epoll say at each moment.

use nix::sys::socket::MsgFlags;

use crate::raw;
use crate::trace::{File, Trace, tcp_pair};

const LINGER_AT_ONCE: [u8; 8] = {
    let on = 1_i32.to_ne_bytes();
    [on[0], on[1], on[2], on[3], 0, 0, 0, 0]
};

/// What everybody sees of both ends.
fn both(t: &mut Trace, a: &File, b: &File) {
    t.quiet();
    t.poll(a);
    t.poll(b);
}

fn one_way_then_the_other(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    t.write(&a, "abc");
    t.shutdown(&a, libc::SHUT_WR);
    both(t, &a, &b);
    t.read(&b, 10);
    t.poll(&b);
    t.read(&b, 10);
    t.read(&b, 10);
    t.write(&a, "d");
    t.send(&a, "d", MsgFlags::MSG_NOSIGNAL);
    t.write(&b, "xyz");
    t.until(&a, libc::POLLIN);
    t.read(&a, 10);
    t.read(&a, 10);
    t.shutdown(&b, libc::SHUT_WR);
    t.until(&a, libc::POLLIN);
    both(t, &a, &b);
    t.read(&a, 10);
    t.write(&b, "d");
    t.shutdown(&a, libc::SHUT_WR);
    t.shutdown(&a, libc::SHUT_RDWR);
    t.error(&a);
    t.names(&a);
}

fn shut_for_reading(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    t.write(&b, "abc");
    t.until(&a, libc::POLLIN);
    t.shutdown(&a, libc::SHUT_RD);
    both(t, &a, &b);
    t.read(&a, 2);
    t.read(&a, 2);
    t.read(&a, 2);
    t.write(&b, "def");
    t.until(&a, libc::POLLIN);
    t.quiet();
    t.read(&a, 5);
    t.read(&a, 5);
    t.write(&a, "x");
    t.until(&b, libc::POLLIN);
    t.read(&b, 5);
    t.shutdown(&a, libc::SHUT_WR);
    both(t, &a, &b);
}

fn shut_both_ways(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    t.shutdown(&a, libc::SHUT_RDWR);
    t.until(&b, libc::POLLIN);
    both(t, &a, &b);
    t.read(&a, 1);
    t.write(&a, "x");
    t.read(&b, 1);
    t.close(b);
    t.quiet();
    t.poll(&a);
    t.read(&a, 1);
    t.error(&a);
}

fn closed_with_all_read(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    t.close(b);
    t.until(&a, libc::POLLIN);
    t.poll(&a);
    t.read(&a, 1);
    // The first bytes that nobody can take provoke a reset.
    t.write(&a, "x");
    t.until(&a, libc::POLLHUP);
    t.poll(&a);
    t.read(&a, 1);
    t.write(&a, "x");
    t.error(&a);
    t.poll(&a);
}

fn the_error_of_a_reset_is_told_once(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    t.say("linger", raw::setsockopt(b.number(), libc::SOL_SOCKET, libc::SO_LINGER, &LINGER_AT_ONCE));
    t.close(b);
    t.until(&a, libc::POLLIN);
    t.poll(&a);
    t.error(&a);
    t.error(&a);
    t.poll(&a);
    t.read(&a, 1);
    t.write(&a, "x");
    t.names(&a);
    t.shutdown(&a, libc::SHUT_WR);
}

fn a_reset_met_by_read(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    t.say("linger", raw::setsockopt(b.number(), libc::SOL_SOCKET, libc::SO_LINGER, &LINGER_AT_ONCE));
    t.close(b);
    t.until(&a, libc::POLLIN);
    t.read(&a, 1);
    t.read(&a, 1);
    t.write(&a, "x");
    t.poll(&a);
}

fn a_reset_met_by_write(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    t.say("linger", raw::setsockopt(b.number(), libc::SOL_SOCKET, libc::SO_LINGER, &LINGER_AT_ONCE));
    t.close(b);
    t.until(&a, libc::POLLIN);
    t.write(&a, "x");
    t.write(&a, "x");
    t.read(&a, 1);
}

/// Bytes that came before the reset are lost.
fn closed_with_bytes_unread(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    t.write(&b, "xyz");
    t.write(&a, "abc");
    t.until(&a, libc::POLLIN);
    t.until(&b, libc::POLLIN);
    t.close(b);
    t.until(&a, libc::POLLHUP);
    t.poll(&a);
    t.read(&a, 2);
    t.read(&a, 2);
    t.read(&a, 2);
    t.error(&a);
}

fn a_half_closed_peer_resets(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    t.shutdown(&a, libc::SHUT_WR);
    t.until(&b, libc::POLLIN);
    t.read(&b, 1);
    t.say("linger", raw::setsockopt(b.number(), libc::SOL_SOCKET, libc::SO_LINGER, &LINGER_AT_ONCE));
    t.close(b);
    t.until(&a, libc::POLLHUP);
    t.poll(&a);
    t.read(&a, 1);
    t.read(&a, 1);
}

fn a_reset_after_the_end(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    t.shutdown(&b, libc::SHUT_WR);
    t.until(&a, libc::POLLIN);
    t.say("linger", raw::setsockopt(b.number(), libc::SOL_SOCKET, libc::SO_LINGER, &LINGER_AT_ONCE));
    t.close(b);
    t.until(&a, libc::POLLHUP);
    t.poll(&a);
    t.error(&a);
    t.read(&a, 1);
    t.write(&a, "x");
}

/// A duplicate keeps the connection.
fn one_of_two_descriptors_is_closed(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    let second = b.dup("second");
    t.close(b);
    t.quiet();
    t.poll(&a);
    t.write(&second, "abc");
    t.until(&a, libc::POLLIN);
    t.read(&a, 10);
    t.close(second);
    t.until(&a, libc::POLLIN);
    t.poll(&a);
}

fn edges_at_the_end(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    let epoll = t.epoll("epoll");
    t.add(&epoll, &a, libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET);
    t.wait(&epoll, 8);
    t.wait(&epoll, 8);
    t.write(&b, "abc");
    t.wait_long(&epoll, 8);
    t.shutdown(&b, libc::SHUT_WR);
    t.wait_long(&epoll, 8);
    t.wait(&epoll, 8);
    t.read(&a, 10);
    t.read(&a, 10);
    t.wait(&epoll, 8);
    t.shutdown(&a, libc::SHUT_WR);
    t.wait_long(&epoll, 8);
    t.wait(&epoll, 8);
}

/// RDHUP is told to those who ask; HUP and ERR to all.
fn only_who_asks_is_told(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    let epoll = t.epoll("epoll");
    t.add(&epoll, &a, 0);
    t.wait(&epoll, 8);
    t.shutdown(&b, libc::SHUT_WR);
    t.until(&a, libc::POLLIN);
    t.wait(&epoll, 8);
    t.modify(&epoll, &a, libc::EPOLLRDHUP);
    t.wait(&epoll, 8);
    t.modify(&epoll, &a, 0);
    t.shutdown(&a, libc::SHUT_WR);
    t.wait_long(&epoll, 8);
}

#[test]
fn as_on_linux() {
    compare!(
        one_way_then_the_other,
        shut_for_reading,
        shut_both_ways,
        closed_with_all_read,
        the_error_of_a_reset_is_told_once,
        a_reset_met_by_read,
        a_reset_met_by_write,
        closed_with_bytes_unread,
        a_half_closed_peer_resets,
        a_reset_after_the_end,
        one_of_two_descriptors_is_closed,
        edges_at_the_end,
        only_who_asks_is_told,
    );
}
