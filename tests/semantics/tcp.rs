//! TCP over loopback: connecting, accepting, reading and writing.

use std::net::SocketAddr;

use nix::sys::socket::{MsgFlags, connect};

use crate::compare::Known;
use crate::raw;
use crate::trace::{File, Trace, listener, local, tcp, tcp_pair};

fn a_fresh_socket(t: &mut Trace) {
    let fresh = tcp("fresh");
    t.poll(&fresh);
    t.read(&fresh, 1);
    t.write(&fresh, "a");
    t.send(&fresh, "a", MsgFlags::MSG_NOSIGNAL);
    t.recv(&fresh, 1, MsgFlags::empty());
    t.recv(&fresh, 0, MsgFlags::empty());
    t.shutdown(&fresh, libc::SHUT_WR);
    t.shutdown(&fresh, 3);
    t.accept(&fresh, "none");
    t.error(&fresh);
    t.names(&fresh);
    t.poll(&fresh);
}

fn connect_and_accept(t: &mut Trace) {
    let listener = listener("listener");
    t.poll(&listener);
    t.accept(&listener, "none");
    let client = tcp("client");
    t.connect(&client, local(&listener));
    t.until(&client, libc::POLLOUT);
    t.poll(&client);
    t.error(&client);
    // The first connect after it says that it is done, and only the next that it was.
    t.connect(&client, local(&listener));
    t.connect(&client, local(&listener));
    t.poll_readable(&listener);
    if let Some(server) = t.accept(&listener, "server") {
        t.poll(&server);
        t.names(&client);
        t.names(&server);
        t.say(
            "server is non-blocking",
            raw::fcntl(server.number(), libc::F_GETFL, 0).map(|f| f & libc::O_NONBLOCK != 0),
        );
    }
    t.accept(&listener, "none");
    t.poll(&listener);
}

fn nobody_listens(t: &mut Trace) {
    let gone = local(&listener("gone"));
    let client = tcp("client");
    t.connect(&client, gone);
    t.until(&client, libc::POLLOUT);
    t.poll(&client);
    t.error(&client);
    t.error(&client);
    t.poll(&client);
    t.write(&client, "a");
    t.read(&client, 1);
    // Another attempt with the same socket.
    t.connect(&client, gone);
    t.until(&client, libc::POLLOUT);
    t.read(&client, 1);
    t.read(&client, 1);
    t.error(&client);
    t.connect(&client, gone);
    t.until(&client, libc::POLLOUT);
    t.connect(&client, gone);
}

fn a_blocking_connect_is_refused(t: &mut Trace) {
    let gone = local(&listener("gone"));
    let client = File::new("client", raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).expect("a socket"));
    t.connect(&client, gone);
    t.error(&client);
    t.poll(&client);
    t.connect(&client, gone);
}

fn a_blocking_connect_succeeds(t: &mut Trace) {
    let listener = listener("listener");
    let client = File::new("client", raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).expect("a socket"));
    t.connect(&client, local(&listener));
    t.connect(&client, local(&listener));
    t.write(&client, "abc");
    t.until(&listener, libc::POLLIN);
    let server = t.accept(&listener, "server");
    if let Some(server) = server {
        t.until(&server, libc::POLLIN);
        t.read(&server, 10);
    }
}

fn the_wildcard_is_oneself(t: &mut Trace) {
    let listener = listener("listener");
    let client = tcp("client");
    t.connect(&client, SocketAddr::from(([0, 0, 0, 0], local(&listener).port())));
    t.until(&client, libc::POLLOUT);
    t.error(&client);
    t.names(&client);
}

fn a_listener_is_no_connection(t: &mut Trace) {
    let listener = listener("listener");
    t.read(&listener, 1);
    t.write(&listener, "a");
    t.send(&listener, "a", MsgFlags::MSG_NOSIGNAL);
    t.connect(&listener, local(&listener));
    t.listen(&listener, 5);
    t.names(&listener);
    t.error(&listener);
    t.bind(&listener, "127.0.0.1:0");
}

fn a_listener_is_shut_down(t: &mut Trace) {
    let listener = listener("listener");
    let at = local(&listener);
    t.shutdown(&listener, libc::SHUT_WR);
    t.poll(&listener);
    t.shutdown(&listener, libc::SHUT_RD);
    t.poll(&listener);
    t.accept(&listener, "none");
    let client = tcp("client");
    t.connect(&client, at);
    t.until(&client, libc::POLLOUT);
    t.error(&client);
    t.listen(&listener, 5);
    t.poll(&listener);
}

fn listen_without_bind(t: &mut Trace) {
    let free = tcp("free");
    t.listen(&free, 1);
    t.say("it has a port", Ok(local(&free).port() != 0));
    t.note(format!("at {}", local(&free).ip()));
}

/// A backlog of nought still takes one connection.
fn a_backlog_of_nought(t: &mut Trace) {
    let listener = tcp("listener");
    t.bind(&listener, "127.0.0.1:0");
    t.listen(&listener, 0);
    let first = tcp("first");
    t.connect(&first, local(&listener));
    t.until(&first, libc::POLLOUT);
    t.error(&first);
    t.until(&listener, libc::POLLIN);
    let second = tcp("second");
    t.connect(&second, local(&listener));
    t.quiet();
    t.poll(&second);
    t.connect(&second, local(&listener));
    t.read(&second, 1);
    t.write(&second, "a");
    t.error(&second);
    t.accept(&listener, "server");
    t.accept(&listener, "none");
    // The next SYN finds room.
    t.until(&second, libc::POLLOUT);
    t.connect(&second, local(&listener));
}

/// SO_SNDTIMEO ends the wait, not the connection's attempt.
fn a_blocking_connect_gives_up(t: &mut Trace) {
    let listener = tcp("listener");
    t.bind(&listener, "127.0.0.1:0");
    t.listen(&listener, 0);
    let first = tcp("first");
    t.connect(&first, local(&listener));
    t.until(&first, libc::POLLOUT);
    t.until(&listener, libc::POLLIN);
    let second = File::new("second", raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).expect("a socket"));
    let limit = [0_u64.to_ne_bytes(), 30_000_u64.to_ne_bytes()].concat();
    t.say("limit", raw::setsockopt(second.number(), libc::SOL_SOCKET, libc::SO_SNDTIMEO, &limit));
    t.connect(&second, local(&listener));
    t.connect(&second, local(&listener));
    t.shutdown(&second, libc::SHUT_RDWR);
    t.poll(&second);
}

fn a_blocking_accept_waits(t: &mut Trace) {
    let listener = listener("listener");
    let at = local(&listener);
    t.say("blocking", raw::fcntl(listener.number(), libc::F_SETFL, 0));
    std::thread::scope(|scope| {
        let client = scope.spawn(move || {
            let client = tcp("client");
            Trace::default().quiet();
            let _ = connect(client.number(), &*crate::trace::sockaddr(at));
            client
        });
        t.accept(&listener, "server");
        drop(client.join());
    });
}

fn a_client_that_went_before_accept(t: &mut Trace) {
    let listener = listener("listener");
    let client = tcp("client");
    t.connect(&client, local(&listener));
    t.until(&client, libc::POLLOUT);
    t.write(&client, "abc");
    t.until(&listener, libc::POLLIN);
    t.close(client);
    t.quiet();
    t.poll(&listener);
    if let Some(server) = t.accept(&listener, "server") {
        t.poll(&server);
        t.read(&server, 10);
        t.read(&server, 10);
    }
}

fn accept_takes_flags(t: &mut Trace) {
    let listener = listener("listener");
    for flags in [0, libc::SOCK_CLOEXEC, libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC] {
        let client = tcp("client");
        let _ = connect(client.number(), &*crate::trace::sockaddr(local(&listener)));
        t.until(&listener, libc::POLLIN);
        let server = raw::accept4(listener.number(), flags).expect("a connection");
        let server = File::new("server", server);
        let told = (raw::fcntl(server.number(), libc::F_GETFL, 0), raw::fcntl(server.number(), libc::F_GETFD, 0));
        t.note(format!("accept4({flags:#o}) -> {:?}", (told.0.map(|f| f & libc::O_NONBLOCK), told.1)));
    }
    t.say("accept4(1)", raw::accept4(listener.number(), 1));
}

fn bytes_in_both_directions(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    t.poll(&a);
    t.read(&a, 10);
    t.write(&a, "abc");
    t.poll_readable(&b);
    t.write(&b, "xyz");
    t.read(&b, 2);
    t.poll(&b);
    t.read(&b, 2);
    t.read(&b, 2);
    t.poll(&b);
    t.until(&a, libc::POLLIN);
    t.read(&a, 0);
    t.read(&a, 10);
    t.write(&a, "");
    t.quiet();
    t.poll(&b);
}

fn flags_of_recv(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    t.recv(&b, 10, MsgFlags::MSG_PEEK);
    t.recv(&b, 10, MsgFlags::MSG_WAITALL);
    t.write(&a, "abcdef");
    t.until(&b, libc::POLLIN);
    t.recv(&b, 3, MsgFlags::MSG_PEEK);
    t.recv(&b, 10, MsgFlags::MSG_PEEK);
    t.recv(&b, 2, MsgFlags::MSG_DONTWAIT);
    // Bytes of a stream may be thrown away.
    t.recv(&b, 2, MsgFlags::MSG_TRUNC);
    t.recv(&b, 10, MsgFlags::MSG_WAITALL);
    t.recv(&b, 10, MsgFlags::MSG_WAITALL);
}

fn dont_wait_on_a_blocking_socket(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    t.say("blocking", raw::fcntl(b.number(), libc::F_SETFL, 0));
    t.recv(&b, 10, MsgFlags::MSG_DONTWAIT);
    t.write(&a, "ab");
    t.recv(&b, 1, MsgFlags::MSG_WAITALL);
    t.recv(&b, 1, MsgFlags::MSG_WAITALL);
    t.recv(&b, 1, MsgFlags::MSG_DONTWAIT);
    t.write(&a, "abc");
    t.shutdown(&a, libc::SHUT_WR);
    t.recv(&b, 10, MsgFlags::MSG_WAITALL);
    t.recv(&b, 10, MsgFlags::MSG_WAITALL);
}

fn a_connection_is_no_listener(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    t.listen(&a, 1);
    t.accept(&a, "none");
    t.bind(&a, "127.0.0.1:0");
    t.connect(&a, local(&b));
}

/// How much fits differs; that it ends, and that reading makes room, does not.
fn filled_up(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    let chunk = vec![b'x'; 1 << 16];
    let mut written = 0;
    loop {
        match nix::unistd::write(&a.fd, &chunk) {
            Ok(len) => written += len,
            // What is under way may still make room.
            Err(_) if raw::poll(&[(a.number(), libc::POLLOUT)], 100) == Ok((0, vec![0])) => break,
            Err(_) => {}
        }
    }
    t.write(&a, "a");
    t.poll(&a);
    t.note(format!("at least 64 KiB: {}", written > 1 << 16));
    let mut read = 0;
    let mut buffer = vec![0; 1 << 16];
    while read < written {
        t.until(&b, libc::POLLIN);
        match nix::unistd::read(&b.fd, &mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(len) => read += len,
        }
    }
    t.note(format!("all of it arrives: {}", read == written));
    t.until(&a, libc::POLLOUT);
    t.poll(&a);
    t.write(&a, "a");
}

fn oneself_is_a_peer_too(t: &mut Trace) {
    let alone = tcp("alone");
    t.bind(&alone, "127.0.0.1:0");
    t.connect(&alone, local(&alone));
    t.until(&alone, libc::POLLOUT);
    t.error(&alone);
    t.names(&alone);
    t.write(&alone, "abc");
    t.until(&alone, libc::POLLIN);
    t.read(&alone, 10);
}

fn a_family_that_does_not_fit(t: &mut Trace) {
    let client = tcp("client");
    t.say("connect(AF_UNIX)", raw::connect_family(client.number(), libc::AF_UNIX, 16));
    t.say("connect(AF_INET6)", raw::connect_family(client.number(), libc::AF_INET6, 28));
    t.say("connect(short)", raw::connect_family(client.number(), libc::AF_INET, 8));
    t.say("connect(AF_UNSPEC)", raw::connect_family(client.number(), libc::AF_UNSPEC, 16));
}

fn dissolved(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    t.say("connect(AF_UNSPEC)", raw::connect_family(a.number(), libc::AF_UNSPEC, 16));
    t.poll(&a);
    t.write(&a, "a");
    t.until(&b, libc::POLLHUP);
    t.poll(&b);
    t.read(&b, 1);
}

#[test]
fn as_on_linux() {
    compare!(
        a_fresh_socket,
        connect_and_accept,
        nobody_listens,
        a_blocking_connect_is_refused,
        a_blocking_connect_succeeds,
        the_wildcard_is_oneself,
        a_listener_is_no_connection,
        a_listener_is_shut_down,
        listen_without_bind,
        a_backlog_of_nought,
        a_blocking_connect_gives_up: &[Known {
            linux: "second.poll -> OUT HUP ERR",
            here: "second.poll -> IN OUT RDHUP HUP ERR",
            why: "Linux makes a fresh socket of one that is shut down while it connects; here it is one that failed",
        }],
        a_blocking_accept_waits,
        a_client_that_went_before_accept,
        accept_takes_flags,
        bytes_in_both_directions,
        flags_of_recv,
        dont_wait_on_a_blocking_socket,
        a_connection_is_no_listener,
        filled_up,
        oneself_is_a_peer_too,
        a_family_that_does_not_fit,
        dissolved: &[
            Known {
                linux: "a.poll -> OUT HUP ERR",
                here: "a.poll -> OUT HUP",
                why: "connect(AF_UNSPEC) of a connected stream also leaves ECONNRESET behind, which nobody asks for",
            },
            Known {
                linux: "a.write(\"a\") -> ECONNRESET",
                here: "a.write(\"a\") -> EPIPE",
                why: "the same error, met by a write",
            },
        ],
    );
}
