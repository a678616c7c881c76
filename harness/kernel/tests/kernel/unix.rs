//! Unix-domain sockets: pairs, names, SCM_RIGHTS, limits, the end.

use halfopen_core::Errno;
use halfopen_kernel::{
    Address, Call, Domain, Fd, MsgFlags, Outcome, SocketType, UNIX_BUFFER_BYTES, UNIX_DGRAM_QUEUE_MAX,
};
use halfopen_netstack::socket::Shutdown;

use crate::world::{IN, OUT, RDHUP, Sys, check, check_deadlock, millis};

fn pair(sys: &Sys, kind: SocketType) -> (Fd, Fd) {
    sys.k(|kernel| kernel.socketpair(kind, true, true)).unwrap()
}

fn socket(sys: &Sys, kind: SocketType, nonblocking: bool) -> Fd {
    sys.k(|kernel| kernel.socket(kind, Domain::Unix, nonblocking, true)).unwrap()
}

fn name(text: &str) -> Address {
    Address::Unix(text.as_bytes().to_vec())
}

async fn text(sys: &Sys, fd: Fd, size: usize) -> Result<String, Errno> {
    let (bytes, _) = sys.recv(fd, size, MsgFlags::default()).await?;
    Ok(String::from_utf8(bytes).unwrap())
}

#[test]
fn a_stream_pair_joins_bytes_and_keeps_their_order() {
    check(|sys| async move {
        let (one, other) = pair(&sys, SocketType::UnixStream);
        assert_eq!(text(&sys, other, 9).await, Err(Errno::EAGAIN));
        sys.write(one, b"ab").await.unwrap();
        sys.send(one, b"cd", None).await.unwrap();
        let peek = MsgFlags { peek: true, ..MsgFlags::default() };
        assert_eq!(sys.recv(other, 3, peek).await.unwrap().0, b"abc");
        assert_eq!(sys.k(|kernel| kernel.bytes_readable(other)), Ok(4));
        assert_eq!(text(&sys, other, 3).await.unwrap(), "abc");
        assert_eq!(sys.read(other, 9).await.unwrap(), b"d");
    });
}

#[test]
fn messages_keep_their_bounds() {
    check(|sys| async move {
        for kind in [SocketType::UnixDatagram, SocketType::UnixSeqpacket] {
            let (one, other) = pair(&sys, kind);
            sys.send(one, b"first", None).await.unwrap();
            sys.send(one, b"second", None).await.unwrap();
            let (bytes, message) = sys.recv(other, 3, MsgFlags::default()).await.unwrap();
            assert_eq!((&bytes[..], message.full_len), (&b"fir"[..], 5));
            assert_eq!(text(&sys, other, 99).await.unwrap(), "second");
            assert_eq!(sys.send(one, &vec![0; UNIX_BUFFER_BYTES + 1], None).await, Err(Errno::EMSGSIZE));
        }
    });
}

#[test]
fn the_end_of_a_stream() {
    check(|sys| async move {
        let (one, other) = pair(&sys, SocketType::UnixStream);
        sys.write(one, b"last").await.unwrap();
        sys.k(|kernel| kernel.shutdown(one, Shutdown::Write)).unwrap();
        assert_eq!(sys.write(one, b"x").await, Err(Errno::EPIPE));
        assert_eq!(text(&sys, other, 9).await.unwrap(), "last");
        assert_eq!(text(&sys, other, 9).await.unwrap(), "");
        assert_eq!(sys.poll(&[(other, IN | OUT | RDHUP)], None).await.1, "IN|OUT|RDHUP");
        sys.write(other, b"unread").await.unwrap();
        sys.close(one).await.unwrap();
        // The peer closed with data unread: a reset, once; then the end.
        assert_eq!(sys.poll(&[(other, IN)], None).await.1, "IN|ERR|HUP");
        assert_eq!(text(&sys, other, 9).await, Err(Errno::ECONNRESET));
        assert_eq!(text(&sys, other, 9).await.unwrap(), "");
        assert_eq!(sys.write(other, b"x").await, Err(Errno::EPIPE));
        assert_eq!(sys.k(|kernel| kernel.getpeername(other)), Ok(name("")));
    });
}

#[test]
fn a_full_stream_splits_or_waits() {
    let said = check(|sys| async move {
        let (one, other) = pair(&sys, SocketType::UnixStream);
        assert_eq!(sys.write(one, &vec![1; UNIX_BUFFER_BYTES + 1000]).await, Ok(UNIX_BUFFER_BYTES));
        assert_eq!(sys.write(one, b"x").await, Err(Errno::EAGAIN));
        assert_eq!(sys.poll(&[(one, OUT)], Some(millis(0))).await.0, 0);
        assert_eq!(sys.k(|kernel| kernel.bytes_unsent(one)), Ok(UNIX_BUFFER_BYTES));
        sys.k(|kernel| kernel.set_nonblocking(one, false)).unwrap();
        let writer = sys.spawn(move |sys| async move {
            let len = sys.write(one, &vec![2; 300_000]).await.unwrap();
            sys.say(format!("wrote {len}"));
        });
        for _ in 0..3 {
            sys.sleep(millis(1)).await;
            let all = sys.read(other, 1_000_000).await.unwrap();
            sys.say(format!("read {}", all.len()));
        }
        sys.join(writer).await;
    });
    insta::assert_snapshot!(said, @"
    0.001000s read 212992
    0.002000s read 212992
    0.002000s wrote 300000
    0.003000s read 87008
    ");
}

#[test]
fn timeouts_of_a_stream() {
    let said = check(|sys| async move {
        let (one, other) = sys.k(|kernel| kernel.socketpair(SocketType::UnixStream, false, true)).unwrap();
        let timeval = [0i64.to_ne_bytes(), 30_000i64.to_ne_bytes()].concat();
        sys.k(|kernel| kernel.setsockopt(other, 1, 20, &timeval)).unwrap();
        sys.k(|kernel| kernel.setsockopt(one, 1, 21, &timeval)).unwrap();
        sys.say(format!("recv {:?}", text(&sys, other, 9).await));
        let all = vec![0; UNIX_BUFFER_BYTES + 1];
        sys.say(format!("send {:?}", sys.write(one, &all).await));
        sys.say(format!("send {:?}", sys.write(one, &all).await));
        // MSG_WAITALL gives what there is at the time-out.
        let wait_all = MsgFlags { wait_all: true, ..MsgFlags::default() };
        let (bytes, _) = sys.recv(other, UNIX_BUFFER_BYTES + 5, wait_all).await.unwrap();
        sys.say(format!("recv {}", bytes.len()));
        let dont_wait = MsgFlags { dont_wait: true, ..MsgFlags::default() };
        assert_eq!(sys.recv(other, 5, dont_wait).await.unwrap_err(), Errno::EAGAIN);
    });
    insta::assert_snapshot!(said, @"
    0.030000s recv Err(EAGAIN(11))
    0.060000s send Ok(212992)
    0.090000s send Err(EAGAIN(11))
    0.120000s recv 212992
    ");
}

fn send_fds<'a>(sys: &'a Sys, fd: Fd, data: &'a [u8], fds: &'a [Fd]) -> impl FnOnce() -> Result<usize, Errno> + 'a {
    move || {
        sys.now(|kernel, call: &mut Call| -> Outcome<usize> {
            kernel.send(fd, data, None, fds, MsgFlags::default(), call)
        })
    }
}

#[test]
fn descriptors_travel() {
    check(|sys| async move {
        let (one, other) = pair(&sys, SocketType::UnixStream);
        let (read, write) = sys.k(|kernel| kernel.pipe(true, true)).unwrap();
        sys.write(one, b"a").await.unwrap();
        send_fds(&sys, one, b"bc", &[write])().unwrap();
        sys.write(one, b"d").await.unwrap();
        sys.close(write).await.unwrap();
        // The pipe lives on in the message.
        assert_eq!(sys.read(read, 1).await, Err(Errno::EAGAIN));
        // Bytes of a message with descriptors are joined to those before, but not to those after.
        let (bytes, message) = sys.recv(other, 9, MsgFlags::default()).await.unwrap();
        assert_eq!((&bytes[..], message.fds.len()), (&b"abc"[..], 1));
        assert_eq!(text(&sys, other, 9).await.unwrap(), "d");
        sys.write(message.fds[0], b"!").await.unwrap();
        assert_eq!(sys.read(read, 1).await.unwrap(), b"!");
        sys.close(message.fds[0]).await.unwrap();
        assert_eq!(sys.read(read, 1).await.unwrap(), b"");
        // A descriptor that nobody takes out is closed with the socket, or by a plain read.
        for by_read in [true, false] {
            let (read, write) = sys.k(|kernel| kernel.pipe(true, true)).unwrap();
            send_fds(&sys, one, b"x", &[write])().unwrap();
            sys.close(write).await.unwrap();
            if by_read {
                sys.read(other, 9).await.unwrap();
            } else {
                sys.close(other).await.unwrap();
            }
            assert_eq!(sys.read(read, 1).await.unwrap(), b"");
        }
        assert_eq!(send_fds(&sys, one, b"x", &[Fd(5)])(), Err(Errno::EPIPE));
    });
}

#[test]
fn connections_by_name() {
    let said = check(|sys| async move {
        for address in [name("/run/app.sock"), name("\0abstract")] {
            let listener = socket(&sys, SocketType::UnixStream, false);
            sys.k(|kernel| kernel.bind(listener, &address)).unwrap();
            let client = socket(&sys, SocketType::UnixStream, false);
            let connect = |fd, address: Address| {
                let sys = sys.clone();
                async move { sys.call(|kernel, call| kernel.connect(fd, &address, call)).await }
            };
            assert_eq!(connect(client, address.clone()).await, Err(Errno::ECONNREFUSED));
            sys.k(|kernel| kernel.listen(listener, 8)).unwrap();
            let server = sys.spawn(move |sys| async move {
                sys.sleep(millis(3)).await;
                let (fd, from) = sys.call(|kernel, call| kernel.accept(listener, true, true, call)).await.unwrap();
                assert_eq!(from, name(""));
                sys.say(text(&sys, fd, 9).await.unwrap());
                sys.write(fd, b"pong").await.unwrap();
            });
            connect(client, address.clone()).await.unwrap();
            sys.say("connected before it is accepted");
            assert_eq!(connect(client, address.clone()).await, Err(Errno::EISCONN));
            assert_eq!(sys.k(|kernel| kernel.getpeername(client)), Ok(address.clone()));
            sys.write(client, b"ping").await.unwrap();
            sys.say(text(&sys, client, 9).await.unwrap());
            sys.join(server).await;
            let second = socket(&sys, SocketType::UnixStream, false);
            assert_eq!(sys.k(|kernel| kernel.bind(second, &address)), Err(Errno::EADDRINUSE));
            sys.close(listener).await.unwrap();
            sys.k(|kernel| kernel.bind(second, &address)).unwrap();
            sys.close(second).await.unwrap();
            let gone = if address == name("/run/app.sock") { Errno::ENOENT } else { Errno::ECONNREFUSED };
            let late = socket(&sys, SocketType::UnixStream, false);
            assert_eq!(connect(late, address.clone()).await, Err(gone));
        }
    });
    insta::assert_snapshot!(said, @"
    0.000000s connected before it is accepted
    0.003000s ping
    0.003000s pong
    0.003000s connected before it is accepted
    0.006000s ping
    0.006000s pong
    ");
}

#[test]
fn a_backlog_fills_and_a_listener_that_closes_resets() {
    check(|sys| async move {
        let listener = socket(&sys, SocketType::UnixStream, true);
        sys.k(|kernel| kernel.bind(listener, &name("\0full"))).unwrap();
        sys.k(|kernel| kernel.listen(listener, 0)).unwrap();
        let first = socket(&sys, SocketType::UnixStream, true);
        let second = socket(&sys, SocketType::UnixStream, true);
        let connect = |fd| sys.now(|kernel, call| kernel.connect(fd, &name("\0full"), call));
        assert_eq!((connect(first), connect(second)), (Ok(()), Err(Errno::EAGAIN)));
        assert_eq!(connect(first), Err(Errno::EAGAIN));
        assert_eq!(sys.poll(&[(listener, IN)], None).await.1, "IN");
        sys.close(listener).await.unwrap();
        assert_eq!(text(&sys, first, 9).await, Err(Errno::ECONNRESET));
    });
}

#[test]
fn datagrams_by_name() {
    check(|sys| async move {
        let server = socket(&sys, SocketType::UnixDatagram, true);
        let client = socket(&sys, SocketType::UnixDatagram, true);
        sys.k(|kernel| kernel.bind(server, &name("\0log"))).unwrap();
        sys.k(|kernel| kernel.bind(client, &Address::Unix(Vec::new()))).unwrap();
        assert_eq!(sys.send(client, b"x", None).await, Err(Errno::ENOTCONN));
        sys.send(client, b"one", Some(&name("\0log"))).await.unwrap();
        let (bytes, message) = sys.recv(server, 9, MsgFlags::default()).await.unwrap();
        assert_eq!((&bytes[..], message.from), (&b"one"[..], Some(name("\x0000001"))));
        sys.now(|kernel, call| kernel.connect(client, &name("\0log"), call)).unwrap();
        for _ in 0..=UNIX_DGRAM_QUEUE_MAX {
            sys.send(client, b"", None).await.unwrap();
        }
        assert_eq!(sys.send(client, b"", None).await, Err(Errno::EAGAIN));
        sys.close(server).await.unwrap();
        assert_eq!(sys.send(client, b"x", None).await, Err(Errno::ECONNREFUSED));
        assert_eq!(sys.send(client, b"x", None).await, Err(Errno::ENOTCONN));
        let stream = socket(&sys, SocketType::UnixStream, true);
        assert_eq!(sys.send(stream, b"x", None).await, Err(Errno::ENOTCONN));
    });
}

#[test]
fn a_deadlock_names_the_socket() {
    let waiting = check_deadlock(|sys| async move {
        let listener = socket(&sys, SocketType::UnixStream, false);
        sys.k(|kernel| kernel.bind(listener, &name("\0app"))).unwrap();
        sys.k(|kernel| kernel.listen(listener, 1)).unwrap();
        let _ = sys.call(|kernel, call| kernel.accept(listener, true, true, call)).await;
    });
    insta::assert_snapshot!(waiting, @"h t0: accept on fd 1048576 (unix @app)");
}
