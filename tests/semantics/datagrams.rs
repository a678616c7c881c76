//! UDP over loopback.

use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;

use nix::sys::socket::{MsgFlags, SockaddrStorage, recvmsg, sendmsg, sendto};

use crate::raw;
use crate::trace::{File, Trace, local, udp};

fn bound(name: &str) -> File {
    let file = udp(name);
    nix::sys::socket::bind(file.number(), &*crate::trace::inet("127.0.0.1:0")).expect("a free port");
    file
}

/// Two sockets that know each other.
fn pair() -> (File, File) {
    let (a, b) = (bound("a"), bound("b"));
    for (from, to) in [(&a, &b), (&b, &a)] {
        nix::sys::socket::connect(from.number(), &*crate::trace::sockaddr(local(to))).expect("UDP connects at once");
    }
    (a, b)
}

fn send_to(t: &mut Trace, file: &File, text: &str, to: SocketAddr) {
    let sent = sendto(file.number(), text.as_bytes(), &*crate::trace::sockaddr(to), MsgFlags::empty());
    let shown = t.address(to);
    t.say(format_args!("{}.sendto({text:?}, {shown})", file.name), sent);
}

/// recvmsg, with the sender and the flags.
pub fn receive_from(t: &mut Trace, file: &File, room: usize) {
    let mut buffer = vec![0; room];
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let received = recvmsg::<SockaddrStorage>(file.number(), &mut parts, None, MsgFlags::empty());
    let told = received.map(|message| {
        let from = message.address.and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::from((v4.ip(), v4.port())));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port()))))
        });
        (message.bytes, message.flags, from)
    });
    let told = told.map(|(bytes, flags, from)| {
        let from = from.map_or("nobody".to_owned(), |from| t.address(from));
        format!("{bytes} from {from}, flags {flags:?}")
    });
    t.say(format_args!("{}.recvmsg({room})", file.name), told);
}

fn a_fresh_socket(t: &mut Trace) {
    let fresh = udp("fresh");
    t.poll(&fresh);
    t.read(&fresh, 1);
    t.write(&fresh, "a");
    t.listen(&fresh, 1);
    t.accept(&fresh, "none");
    t.shutdown(&fresh, libc::SHUT_RD);
    t.names(&fresh);
    t.error(&fresh);
}

fn boundaries(t: &mut Trace) {
    let (a, b) = pair();
    t.write(&a, "abc");
    t.write(&a, "");
    t.write(&a, "defgh");
    t.write(&a, "ijklm");
    t.until(&b, libc::POLLIN);
    t.poll(&b);
    t.read(&b, 10);
    t.read(&b, 10);
    receive_from(t, &b, 2);
    t.recv(&b, 2, MsgFlags::MSG_TRUNC);
    t.read(&b, 10);
    t.poll(&b);
}

fn peeking(t: &mut Trace) {
    let (a, b) = pair();
    t.write(&a, "abc");
    t.write(&a, "def");
    t.until(&b, libc::POLLIN);
    t.recv(&b, 2, MsgFlags::MSG_PEEK);
    t.recv(&b, 2, MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC);
    t.recv(&b, 10, MsgFlags::MSG_WAITALL);
    t.read(&b, 0);
    t.recv(&b, 10, MsgFlags::MSG_DONTWAIT);
}

fn readable_bytes(t: &mut Trace) {
    let (a, b) = pair();
    for text in ["abc", "defgh"] {
        t.write(&a, text);
    }
    t.until(&b, libc::POLLIN);
    for _ in 0..3 {
        let count = raw::ioctl(b.number(), libc::FIONREAD, -1).map(|(code, count)| format!("{code}, {count}"));
        t.say("FIONREAD", count);
        t.read(&b, 10);
    }
}

fn unconnected(t: &mut Trace) {
    let (a, b) = (bound("a"), bound("b"));
    t.write(&a, "x");
    send_to(t, &a, "abc", local(&b));
    t.until(&b, libc::POLLIN);
    receive_from(t, &b, 10);
    send_to(t, &b, "", local(&a));
    t.until(&a, libc::POLLIN);
    receive_from(t, &a, 10);
    t.connect(&a, local(&b));
    let c = bound("c");
    // A connected socket hears its peer alone, and may still send to others.
    send_to(t, &c, "not for you", local(&a));
    t.quiet();
    t.read(&a, 20);
    send_to(t, &a, "to c", local(&c));
    t.until(&c, libc::POLLIN);
    receive_from(t, &c, 10);
}

/// The refusal is told once, by whatever call comes next.
fn nobody_is_there(t: &mut Trace) {
    let gone = local(&bound("gone"));
    let a = bound("a");
    t.connect(&a, gone);
    t.write(&a, "x");
    t.until(&a, libc::POLLERR);
    t.poll(&a);
    t.write(&a, "y");
    t.poll(&a);
    t.write(&a, "z");
    t.until(&a, libc::POLLERR);
    t.read(&a, 10);
    t.read(&a, 10);
    t.write(&a, "z");
    t.until(&a, libc::POLLERR);
    t.error(&a);
    t.error(&a);
    t.poll(&a);
}

/// Who is not connected does not hear of it.
fn nobody_is_there_and_nobody_is_told(t: &mut Trace) {
    let gone = local(&bound("gone"));
    let a = bound("a");
    send_to(t, &a, "x", gone);
    t.quiet();
    t.poll(&a);
    t.error(&a);
    send_to(t, &a, "y", gone);
    t.read(&a, 10);
}

fn the_peer_goes_and_comes_back(t: &mut Trace) {
    let (a, b) = (bound("a"), bound("b"));
    let there = local(&b);
    t.connect(&a, there);
    t.close(b);
    t.write(&a, "lost");
    t.until(&a, libc::POLLERR);
    let b = udp("b");
    t.say("bind", nix::sys::socket::bind(b.number(), &*crate::trace::sockaddr(there)));
    t.error(&a);
    t.write(&a, "heard");
    t.until(&b, libc::POLLIN);
    t.read(&b, 10);
}

fn too_long(t: &mut Trace) {
    let (a, b) = pair();
    t.write_many(&a, 65_508);
    t.write_many(&a, 65_507);
    t.until(&b, libc::POLLIN);
    t.read(&b, 70_000);
    let parts = [IoSlice::new(b"abc"), IoSlice::new(b""), IoSlice::new(b"def")];
    t.say("sendmsg", sendmsg::<SockaddrStorage>(a.number(), &parts, &[], MsgFlags::empty(), None));
    t.until(&b, libc::POLLIN);
    t.read(&b, 10);
}

fn shut_down(t: &mut Trace) {
    let (a, b) = pair();
    t.write(&b, "abc");
    t.until(&a, libc::POLLIN);
    t.shutdown(&a, libc::SHUT_RD);
    t.poll(&a);
    t.read(&a, 10);
    t.read(&a, 10);
    t.shutdown(&a, libc::SHUT_WR);
    t.poll(&a);
    t.write(&a, "x");
    t.poll(&b);
}

fn to_nowhere(t: &mut Trace) {
    let a = udp("a");
    send_to(t, &a, "x", "127.0.0.1:0".parse().expect("an address"));
    send_to(t, &a, "x", "255.255.255.255:9".parse().expect("an address"));
    send_to(t, &a, "x", "[::1]:9".parse().expect("an address"));
    let b = bound("b");
    send_to(t, &a, "to any", SocketAddr::from(([0, 0, 0, 0], local(&b).port())));
    t.until(&b, libc::POLLIN);
    t.read(&b, 10);
}

fn edges(t: &mut Trace) {
    let (a, b) = pair();
    let epoll = t.epoll("epoll");
    t.add(&epoll, &b, libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET);
    t.wait(&epoll, 8);
    t.write(&a, "abc");
    t.wait_long(&epoll, 8);
    t.write(&a, "def");
    t.wait_long(&epoll, 8);
    t.read(&b, 10);
    t.wait(&epoll, 8);
    t.read(&b, 10);
    t.read(&b, 10);
    t.wait(&epoll, 8);
}

#[test]
fn as_on_linux() {
    compare!(
        a_fresh_socket,
        boundaries,
        peeking,
        readable_bytes,
        unconnected,
        nobody_is_there,
        nobody_is_there_and_nobody_is_told,
        the_peer_goes_and_comes_back,
        too_long,
        shut_down,
        to_nowhere,
        edges,
    );
}
