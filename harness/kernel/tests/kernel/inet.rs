//! UDP and TCP through the kernel: two hosts, 1 ms apart each way.

use halfopen_core::event::EndReason;
use halfopen_core::{Errno, Event, SimTime};
use halfopen_kernel::{
    Address, Call, Domain, EPOLLET, Fd, HostConfig, KernelConfig, MsgFlags, Scheduling, SocketType, Step,
};
use halfopen_netstack::socket::{Family, Kind, Shutdown};

use crate::world::{IN, OUT, RDHUP, Sys, World, check, host_config, kernel_config, millis, names};

const SOL_SOCKET: i32 = 1;
const SO_LINGER: i32 = 13;
const SO_RCVTIMEO: i32 = 20;
const SO_SNDTIMEO: i32 = 21;

fn address(text: &str) -> Address {
    Address::Inet(text.parse().unwrap())
}

fn socket(sys: &Sys, kind: Kind, nonblocking: bool) -> Fd {
    sys.k(|kernel| kernel.socket(SocketType::Inet(kind), Domain::Inet(Family::V4), nonblocking, true)).unwrap()
}

fn listener(sys: &Sys, nonblocking: bool) -> Fd {
    let fd = socket(sys, Kind::Tcp, nonblocking);
    sys.k(|kernel| kernel.bind(fd, &address("0.0.0.0:80"))).unwrap();
    sys.k(|kernel| kernel.listen(fd, 128)).unwrap();
    fd
}

async fn accept(sys: &Sys, fd: Fd) -> Fd {
    sys.call(|kernel, call| kernel.accept(fd, false, true, call)).await.unwrap().0
}

async fn connect(sys: &Sys, fd: Fd, to: &str) -> Result<(), Errno> {
    let to = address(to);
    sys.call(|kernel, call| kernel.connect(fd, &to, call)).await
}

async fn connected(sys: &Sys) -> Fd {
    let fd = socket(sys, Kind::Tcp, false);
    connect(sys, fd, "10.0.0.2:80").await.unwrap();
    fd
}

fn set_timeout(sys: &Sys, fd: Fd, option: i32, ms: i64) {
    let value = [(ms / 1000).to_ne_bytes(), (ms % 1000 * 1000).to_ne_bytes()].concat();
    sys.k(|kernel| kernel.setsockopt(fd, SOL_SOCKET, option, &value)).unwrap();
}

/// Reads to the end; says how much.
async fn drain(sys: &Sys, fd: Fd) -> Result<usize, Errno> {
    let mut total = 0;
    loop {
        let len = sys.read(fd, 65_536).await?.len();
        if len == 0 {
            return Ok(total);
        }
        total += len;
    }
}

/// Plays a client at 10.0.0.1 and a server at 10.0.0.2; the run ends 10 minutes later at the latest.
fn check_pair<C, S>(client: impl Fn(Sys) -> C + 'static, server: impl Fn(Sys) -> S + 'static) -> World
where
    C: Future<Output = ()> + 'static,
    S: Future<Output = ()> + 'static,
{
    let mut world = World::new();
    world.host("server", "10.0.0.2", server);
    world.host("client", "10.0.0.1", client);
    world.step(millis(600_000), Step::End(EndReason::Done));
    let reason = world.run();
    assert_eq!(reason, EndReason::Done, "{}", world.said());
    world
}

// ---- UDP ----

#[test]
fn datagrams_cross_the_network() {
    let world = check_pair(
        |sys| async move {
            let fd = socket(&sys, Kind::Udp, false);
            connect(&sys, fd, "10.0.0.2:7").await.unwrap();
            sys.send(fd, b"ping", None).await.unwrap();
            let (bytes, message) = sys.recv(fd, 99, MsgFlags::default()).await.unwrap();
            sys.say(format!("{:?} from {:?}", bytes, message.from.unwrap()));
            set_timeout(&sys, fd, SO_RCVTIMEO, 250);
            sys.say(format!("{:?}", sys.recv(fd, 99, MsgFlags::default()).await.unwrap_err()));
        },
        |sys| async move {
            let fd = socket(&sys, Kind::Udp, false);
            sys.k(|kernel| kernel.bind(fd, &address("10.0.0.2:7"))).unwrap();
            let (_, message) = sys.recv(fd, 2, MsgFlags::default()).await.unwrap();
            assert_eq!((message.len, message.full_len), (2, 4));
            sys.send(fd, &[1, 2, 3], message.from.as_ref()).await.unwrap();
        },
    );
    insta::assert_snapshot!(world.said(), @"
    0.002000s [1, 2, 3] from Inet(10.0.0.2:7)
    0.252000s EAGAIN(11)
    ");
}

#[test]
fn a_closed_port_refuses_a_connected_datagram_socket() {
    let world = check_pair(
        |sys| async move {
            let fd = socket(&sys, Kind::Udp, false);
            connect(&sys, fd, "10.0.0.2:9").await.unwrap();
            sys.send(fd, b"ping", None).await.unwrap();
            sys.say(format!("{:?}", sys.recv(fd, 99, MsgFlags::default()).await.unwrap_err()));
            sys.call(|kernel, call| kernel.connect(fd, &Address::Unspecified, call)).await.unwrap();
            assert_eq!(sys.send(fd, b"ping", None).await, Err(Errno::EDESTADDRREQ));
        },
        |_| async {},
    );
    insta::assert_snapshot!(world.said(), @"0.002000s ECONNREFUSED(111)");
}

#[test]
fn loopback_stays_inside_the_host() {
    let mut world = World::new();
    world.host("h", "10.0.0.1", |sys| async move {
        let server = socket(&sys, Kind::Udp, false);
        sys.k(|kernel| kernel.bind(server, &address("127.0.0.1:0"))).unwrap();
        let Address::Inet(to) = sys.k(|kernel| kernel.getsockname(server)).unwrap() else { panic!("not inet") };
        assert_ne!(to.port(), 0);
        let client = socket(&sys, Kind::Udp, true);
        sys.send(client, b"hi", Some(&Address::Inet(to))).await.unwrap();
        assert_eq!(sys.recv(server, 9, MsgFlags::default()).await.unwrap().0, b"hi");
        sys.say("hi");
    });
    assert_eq!(world.run(), EndReason::Done);
    assert_eq!(world.said(), "0.000000s hi");
    assert!(!world.log.events().iter().any(|(_, event)| matches!(event, Event::PacketSent { .. })));
}

#[test]
fn kinds_and_families_that_do_not_fit_are_refused() {
    check(|sys| async move {
        sys.k(|kernel| {
            let inet = Domain::Inet(Family::V4);
            let wrong = kernel.socket(SocketType::UnixStream, inet, true, true);
            assert_eq!(wrong, Err(Errno::EPROTONOSUPPORT));
            let wrong = kernel.socket(SocketType::Inet(Kind::Tcp), Domain::Unix, true, true);
            assert_eq!(wrong, Err(Errno::EPROTONOSUPPORT));
            assert_eq!(kernel.socketpair(SocketType::Inet(Kind::Tcp), true, true), Err(Errno::EOPNOTSUPP));
            let udp = kernel.socket(SocketType::Inet(Kind::Udp), inet, true, true).unwrap();
            assert_eq!(kernel.listen(udp, 1), Err(Errno::EOPNOTSUPP));
            assert_eq!(kernel.bind(udp, &Address::Unix(b"/x".to_vec())), Err(Errno::EAFNOSUPPORT));
            assert_eq!(kernel.getpeername(udp), Err(Errno::ENOTCONN));
        });
        let udp = socket(&sys, Kind::Udp, true);
        let accepted = sys.now(|kernel, call| kernel.accept(udp, true, true, call));
        assert_eq!(accepted, Err(Errno::EOPNOTSUPP));
    });
}

#[test]
fn packets_are_in_the_log_and_in_the_capture() {
    let mut world = World::new();
    world.log.want_packets();
    world.host("server", "10.0.0.2", |sys| async move {
        let fd = socket(&sys, Kind::Udp, false);
        sys.k(|kernel| kernel.bind(fd, &address("10.0.0.2:7"))).unwrap();
        sys.recv(fd, 9, MsgFlags::default()).await.unwrap();
    });
    world.host("client", "10.0.0.1", |sys| async move {
        let fd = socket(&sys, Kind::Udp, false);
        sys.k(|kernel| kernel.bind(fd, &address("10.0.0.1:7"))).unwrap();
        sys.send(fd, b"ping", Some(&address("10.0.0.2:7"))).await.unwrap();
        sys.send(fd, b"lost", Some(&address("10.0.0.3:7"))).await.unwrap();
    });
    world.kernel(|kernel| kernel.add_host(host_config("dark", &["10.0.0.3"])));
    assert_eq!(world.run(), EndReason::Done);
    let told = |(at, event): (halfopen_core::SimTime, Event)| match event {
        Event::PacketSent { host, packet } => Some(format!("{at} sent by {host} to {}", packet.dst)),
        Event::PacketDelivered { host, packet } => Some(format!("{at} delivered to {host} from {}", packet.src)),
        Event::PacketDropped { reason, packet, .. } => {
            Some(format!("{at} {} on the way to {}", reason.name(), packet.dst))
        }
        Event::LinkClosed { books, .. } if books.offered > 0 => {
            Some(format!("{at} a link delivered {}", books.delivered))
        }
        Event::RunEnded { .. } => Some(format!("{at} the end")),
        _ => None,
    };
    insta::assert_snapshot!(world.log.events().into_iter().filter_map(told).collect::<Vec<_>>().join("\n"), @"
    0.000000s sent by h1 to 10.0.0.2:7
    0.000000s sent by h1 to 10.0.0.3:7
    0.001000s delivered to h0 from 10.0.0.1:7
    0.001000s host-down on the way to 10.0.0.3:7
    0.001000s a link delivered 1
    0.001000s a link delivered 1
    0.001000s the end
    ");
    let captured: Vec<String> = world
        .log
        .packets()
        .iter()
        .map(|(at, host, bytes)| {
            format!("{at} {host} IPv{} {} {:?}", bytes[0] >> 4, bytes.len(), String::from_utf8_lossy(&bytes[28..]))
        })
        .collect();
    insta::assert_snapshot!(captured.join("\n"), @r#"
    0.000000s h1 IPv4 32 "ping"
    0.000000s h1 IPv4 32 "lost"
    0.001000s h0 IPv4 32 "ping"
    "#);
}

#[test]
fn a_descriptor_that_is_closed_under_a_waiting_thread_is_ebadf() {
    let said = check(|sys| async move {
        let fd = socket(&sys, Kind::Udp, false);
        let waiter = sys.spawn(move |sys| async move {
            sys.say(format!("{:?}", sys.recv(fd, 9, MsgFlags::default()).await.unwrap_err()));
        });
        sys.sleep(millis(5)).await;
        sys.close(fd).await.unwrap();
        sys.join(waiter).await;
    });
    insta::assert_snapshot!(said, @"0.005000s EBADF(9)");
}

// ---- TCP ----

#[test]
fn a_connection_inherits_the_timeouts_of_its_listener() {
    check_pair(
        |sys| async move {
            connected(&sys).await;
            sys.sleep(millis(100)).await;
        },
        |sys| async move {
            let listener = listener(&sys, false);
            set_timeout(&sys, listener, SO_RCVTIMEO, 30);
            sys.k(|kernel| kernel.setsockopt(listener, 1, 12, &5i32.to_ne_bytes())).unwrap();
            let fd = accept(&sys, listener).await;
            assert_eq!(sys.read(fd, 9).await, Err(Errno::EAGAIN));
            assert_eq!(sys.k(|kernel| kernel.getsockopt(fd, 1, 12, 4)).unwrap(), 5i32.to_ne_bytes());
            // The listener itself gives up waiting, too.
            let late = sys.call(|kernel, call| kernel.accept(listener, false, true, call)).await;
            assert_eq!(late, Err(Errno::EAGAIN));
        },
    );
}

#[test]
fn a_connection_carries_bytes_both_ways_and_ends() {
    let world = check_pair(
        |sys| async move {
            let fd = connected(&sys).await;
            sys.say("connected");
            sys.write(fd, b"ping").await.unwrap();
            let peek = MsgFlags { peek: true, ..MsgFlags::default() };
            assert_eq!(sys.recv(fd, 2, peek).await.unwrap().0, b"po");
            assert_eq!(sys.k(|kernel| kernel.bytes_readable(fd)), Ok(4));
            sys.say(String::from_utf8(sys.read(fd, 99).await.unwrap()).unwrap());
            assert_eq!(sys.read(fd, 99).await.unwrap(), b"");
            sys.say("end");
            let named = sys.k(|kernel| kernel.getpeername(fd));
            assert_eq!(named, Ok(address("10.0.0.2:80")));
        },
        |sys| async move {
            let listener = listener(&sys, false);
            let fd = accept(&sys, listener).await;
            sys.say("accepted");
            sys.say(String::from_utf8(sys.read(fd, 99).await.unwrap()).unwrap());
            sys.write(fd, b"pong").await.unwrap();
            sys.k(|kernel| kernel.shutdown(fd, Shutdown::Write)).unwrap();
            assert_eq!(sys.write(fd, b"x").await, Err(Errno::EPIPE));
            assert_eq!(drain(&sys, fd).await, Ok(0));
        },
    );
    insta::assert_snapshot!(world.said(), @"
    0.002000s connected
    0.003000s accepted
    0.003000s ping
    0.004000s pong
    0.004000s end
    ");
}

#[test]
fn a_connection_over_loopback_blocks_and_wakes_as_any_other() {
    let mut world = World::new();
    world.host("h", "10.0.0.1", |sys| async move {
        let listener = listener(&sys, false);
        let server = sys.spawn(move |sys| async move {
            let fd = accept(&sys, listener).await;
            let wait_all = MsgFlags { wait_all: true, ..MsgFlags::default() };
            let (bytes, _) = sys.recv(fd, 3_000_000, wait_all).await.unwrap();
            assert_eq!((bytes.len(), bytes[2_999_999]), (3_000_000, 7));
            sys.write(fd, b"done").await.unwrap();
        });
        let fd = socket(&sys, Kind::Tcp, false);
        connect(&sys, fd, "127.0.0.1:80").await.unwrap();
        assert_eq!(sys.write(fd, &vec![7; 3_000_000]).await, Ok(3_000_000));
        assert_eq!(sys.read(fd, 9).await.unwrap(), b"done");
        sys.join(server).await;
        // Nobody listens: refused at once.
        let late = socket(&sys, Kind::Tcp, false);
        assert_eq!(connect(&sys, late, "127.0.0.1:81").await, Err(Errno::ECONNREFUSED));
    });
    assert_eq!(world.run(), EndReason::Done);
}

#[test]
fn a_closed_port_refuses() {
    let world = check_pair(
        |sys| async move {
            let fd = socket(&sys, Kind::Tcp, false);
            sys.say(format!("{:?}", connect(&sys, fd, "10.0.0.2:81").await));
        },
        |sys| async move { sys.sleep(millis(100)).await },
    );
    insta::assert_snapshot!(world.said(), @"0.002000s Err(ECONNREFUSED(111))");
}

#[test]
fn a_nonblocking_connect_is_told_by_epoll() {
    let world = check_pair(
        |sys| async move {
            let epoll = sys.k(|kernel| kernel.epoll_create(true)).unwrap();
            for port in [80, 81] {
                let fd = socket(&sys, Kind::Tcp, true);
                sys.epoll_add(epoll, fd, IN | OUT | RDHUP | EPOLLET, port).unwrap();
                sys.say(format!("at first {}", sys.epoll_now(epoll).await));
                let to = format!("10.0.0.2:{port}");
                assert_eq!(connect(&sys, fd, &to).await, Err(Errno::EINPROGRESS));
                assert_eq!(connect(&sys, fd, &to).await, Err(Errno::EALREADY));
                assert_eq!(sys.epoll_now(epoll).await, "");
                sys.say(sys.epoll_wait(epoll, 9, None).await.unwrap());
                let error = sys.k(|kernel| kernel.getsockopt(fd, 1, 4, 4)).unwrap();
                sys.say(format!("SO_ERROR {}", i32::from_ne_bytes(error.try_into().unwrap())));
                sys.close(fd).await.unwrap();
            }
        },
        |sys| async move {
            let listener = listener(&sys, false);
            accept(&sys, listener).await;
            sys.sleep(millis(100)).await;
        },
    );
    insta::assert_snapshot!(world.said(), @"
    0.000000s at first 80:OUT|HUP
    0.002000s 80:OUT
    0.002000s SO_ERROR 0
    0.002000s at first 81:OUT|HUP
    0.004000s 81:IN|OUT|ERR|HUP|RDHUP
    0.004000s SO_ERROR 111
    ");
}

#[test]
fn edges_of_a_connection_are_arrivals_and_not_what_its_program_takes() {
    let world = check_pair(
        |sys| async move {
            let fd = connected(&sys).await;
            for pause in [0, 20, 20, 20] {
                sys.sleep(millis(pause)).await;
                sys.write(fd, b"x").await.unwrap();
            }
            sys.sleep(millis(100)).await;
        },
        |sys| async move {
            let listener = listener(&sys, false);
            let fd = accept(&sys, listener).await;
            sys.k(|kernel| kernel.set_nonblocking(fd, true)).unwrap();
            let epoll = sys.k(|kernel| kernel.epoll_create(true)).unwrap();
            sys.epoll_add(epoll, fd, IN | OUT | EPOLLET, 1).unwrap();
            let next = |why: &'static str| {
                let sys = sys.clone();
                async move { sys.say(format!("{} {why}", sys.epoll_wait(epoll, 9, None).await.unwrap())) }
            };
            next("at first").await;
            next("data on top of data").await;
            sys.read(fd, 9).await.unwrap();
            sys.write(fd, b"answer").await.unwrap();
            next("new data").await;
            sys.read(fd, 9).await.unwrap();
            let mut written = 0;
            while let Ok(len) = sys.write(fd, &[0; 100_000]).await {
                written += len;
            }
            assert!(written > 0);
            next("data while the buffer is full").await;
        },
    );
    insta::assert_snapshot!(world.said(), @"
    0.003000s 1:IN|OUT at first
    0.023000s 1:IN|OUT data on top of data
    0.043000s 1:IN|OUT new data
    0.063000s 1:IN|OUT data while the buffer is full
    ");
}

#[test]
fn timeouts_of_a_connection() {
    let world = check_pair(
        |sys| async move {
            let fd = connected(&sys).await;
            set_timeout(&sys, fd, SO_RCVTIMEO, 50);
            set_timeout(&sys, fd, SO_SNDTIMEO, 300);
            sys.say(format!("recv {:?}", sys.read(fd, 9).await));
            let sent = sys.write(fd, &vec![0; 30_000_000]).await.unwrap();
            assert!((100_000..30_000_000).contains(&sent));
            sys.say("send is over in part");
            // Window probes bring a little across: too little to make room, for those who wait and for the next call.
            let mut calls = 0;
            while calls < 10 && sys.write(fd, &vec![0; 30_000_000]).await.is_ok() {
                calls += 1;
            }
            sys.say(format!("send is over in part {calls} times more"));
            sys.say(format!("send {:?}", sys.write(fd, b"x").await));
        },
        |sys| async move {
            let listener = listener(&sys, false);
            let _fd = accept(&sys, listener).await;
            sys.sleep(millis(60_000)).await;
        },
    );
    insta::assert_snapshot!(world.said(), @"
    0.052000s recv Err(EAGAIN(11))
    0.352000s send is over in part
    0.652000s send is over in part 0 times more
    0.952000s send Err(EAGAIN(11))
    ");
}

#[test]
fn a_connect_that_nobody_answers_is_in_progress_after_its_timeout() {
    let mut world = World::new();
    let dark = host_config("dark", &["10.0.0.9"]);
    world.kernel(|kernel| kernel.add_host(dark));
    world.host("client", "10.0.0.1", |sys| async move {
        let fd = socket(&sys, Kind::Tcp, false);
        set_timeout(&sys, fd, SO_SNDTIMEO, 400);
        sys.say(format!("connect {:?}", connect(&sys, fd, "10.0.0.9:80").await));
        // The handshake goes on.
        sys.say(format!("connect {:?}", connect(&sys, fd, "10.0.0.9:80").await));
        set_timeout(&sys, fd, SO_SNDTIMEO, 0);
        sys.say(format!("connect {:?}", connect(&sys, fd, "10.0.0.9:80").await));
    });
    assert_eq!(world.run(), EndReason::Done);
    insta::assert_snapshot!(world.said(), @"
    0.400000s connect Err(EINPROGRESS(115))
    0.800000s connect Err(EALREADY(114))
    131.000000s connect Err(ETIMEDOUT(110))
    ");
}

#[test]
fn a_blocking_send_queues_everything() {
    let world = check_pair(
        |sys| async move {
            let fd = connected(&sys).await;
            sys.say(format!("sent {:?}", sys.write(fd, &vec![0; 10_000_000]).await));
        },
        |sys| async move {
            let listener = listener(&sys, false);
            let fd = accept(&sys, listener).await;
            assert_eq!(drain(&sys, fd).await, Ok(10_000_000));
            sys.say("received all");
        },
    );
    let said = world.said();
    assert!(said.contains("sent Ok(10000000)") && said.contains("received all"), "{said}");
}

#[test]
fn the_same_seed_gives_the_same_log() {
    let log = |seed| {
        let mut world = World::with(KernelConfig { seed, scheduling: Scheduling::Shuffle, ..kernel_config() });
        world.host("server", "10.0.0.2", |sys| async move {
            let listener = listener(&sys, false);
            for _ in 0..4 {
                let fd = accept(&sys, listener).await;
                sys.spawn(move |sys| async move {
                    let len = drain(&sys, fd).await.unwrap();
                    sys.say(len);
                    sys.close(fd).await.unwrap();
                });
            }
            sys.sleep(millis(5_000)).await;
        });
        world.host("client", "10.0.0.1", |sys| async move {
            for size in [1_000, 20_000, 300_000, 5] {
                sys.spawn(move |sys| async move {
                    let fd = connected(&sys).await;
                    sys.write(fd, &vec![0; size]).await.unwrap();
                    sys.close(fd).await.unwrap();
                });
            }
            sys.sleep(millis(3_000)).await;
        });
        assert_eq!(world.run(), EndReason::Done);
        assert_eq!(world.said().lines().count(), 4);
        world.log.events()
    };
    assert_eq!(log(1), log(1));
    assert_ne!(log(1), log(2));
}

#[test]
fn a_killed_process_resets_or_ends_its_connections() {
    let mut world = World::new();
    let server = world.host("server", "10.0.0.2", |sys| async move {
        let listener = listener(&sys, false);
        let _unread = accept(&sys, listener).await;
        let _read = accept(&sys, listener).await;
        sys.sleep(millis(60_000)).await;
    });
    world.host("client", "10.0.0.1", |sys| async move {
        let unread = connected(&sys).await;
        let read = connected(&sys).await;
        sys.write(unread, b"never read").await.unwrap();
        sys.say(format!("unread {:?}", sys.read(unread, 9).await));
        sys.say(format!("read {:?}", sys.read(read, 9).await));
        let late = socket(&sys, Kind::Tcp, false);
        sys.say(format!("late {:?}", connect(&sys, late, "10.0.0.2:80").await));
    });
    world.step(millis(100), Step::Crash { host: server, power_loss: false });
    assert_eq!(world.run(), EndReason::Done);
    insta::assert_snapshot!(world.said(), @"
    0.101000s unread Err(ECONNRESET(104))
    0.101000s read Ok([])
    0.103000s late Err(ECONNREFUSED(111))
    ");
}

#[test]
fn a_power_loss_leaves_a_half_open_connection() {
    let mut world = World::new();
    let serve = |sys: Sys| async move {
        let listener = listener(&sys, false);
        let fd = accept(&sys, listener).await;
        let _ = drain(&sys, fd).await;
    };
    let server = world.host("server", "10.0.0.2", serve);
    world.host("client", "10.0.0.1", |sys| async move {
        let fd = connected(&sys).await;
        sys.sleep(millis(500)).await;
        // The server is back, and knows nothing of the connection.
        sys.say(format!("write {:?}", sys.write(fd, b"hello?").await));
        sys.say(format!("read {:?}", sys.read(fd, 9).await));
    });
    world.step(millis(100), Step::Crash { host: server, power_loss: true });
    world.step(millis(200), Step::Restart(server));
    world.step(millis(60_000), Step::End(EndReason::Done));
    assert_eq!(world.run(), EndReason::Done);
    insta::assert_snapshot!(world.said(), @"
    0.502000s write Ok(6)
    0.504000s read Err(ECONNRESET(104))
    ");
}

#[test]
fn a_close_lingers_until_everything_is_acknowledged_or_the_time_is_over() {
    let linger = |seconds: i32| [1i32.to_ne_bytes(), seconds.to_ne_bytes()].concat();
    let world = check_pair(
        move |sys| async move {
            for size in [1_000, 30_000_000] {
                let fd = connected(&sys).await;
                sys.k(|kernel| kernel.setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger(2))).unwrap();
                set_timeout(&sys, fd, SO_SNDTIMEO, 500);
                let sent = sys.write(fd, &vec![0; size]).await.unwrap();
                sys.say(if sent == size { "close after all was queued" } else { "close with buffers full" });
                sys.close(fd).await.unwrap();
                sys.say("closed");
                assert!(!sys.k(|kernel| kernel.is_open(fd)));
            }
            let fd = connected(&sys).await;
            sys.k(|kernel| kernel.setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger(2))).unwrap();
            sys.k(|kernel| kernel.set_nonblocking(fd, true)).unwrap();
            sys.write(fd, b"x").await.unwrap();
            sys.close(fd).await.unwrap();
            sys.say("a non-blocking one does not wait");
        },
        |sys| async move {
            let listener = listener(&sys, false);
            let mut all = Vec::new();
            loop {
                // Nothing is ever read: what does not fit into the buffer stays unacknowledged.
                all.push(accept(&sys, listener).await);
            }
        },
    );
    insta::assert_snapshot!(world.said(), @"
    0.002000s close after all was queued
    0.044000s closed
    0.546000s close with buffers full
    2.546000s closed
    2.548000s a non-blocking one does not wait
    ");
}

#[test]
fn an_accepted_connection_needs_a_descriptor() {
    let mut world = World::new();
    world.host_with(HostConfig { fd_limit: 2, ..host_config("server", &["10.0.0.2"]) }, |sys| async move {
        let listener = listener(&sys, true);
        let spare = sys.eventfd();
        sys.sleep(millis(50)).await;
        let attempt = || sys.now(|kernel, call: &mut Call| kernel.accept(listener, true, true, call));
        assert_eq!(attempt(), Err(Errno::EMFILE));
        sys.close(spare).await.unwrap();
        // The connection was not lost meanwhile.
        assert!(attempt().is_ok());
    });
    world.host("client", "10.0.0.1", |sys| async move {
        connected(&sys).await;
        sys.sleep(millis(100)).await;
    });
    assert_eq!(world.run(), EndReason::Done);
}

#[test]
fn tcp_info_is_laid_out_as_in_linux() {
    check_pair(
        |sys| async move {
            let fd = connected(&sys).await;
            sys.write(fd, b"ping").await.unwrap();
            sys.read(fd, 9).await.unwrap();
            let info = sys.k(|kernel| kernel.getsockopt(fd, 6, 11, 248)).unwrap();
            let word = |offset: usize| u32::from_ne_bytes(info[offset..offset + 4].try_into().unwrap());
            // State, RTO, send MSS with timestamps, path MTU, smoothed RTT of 2 ms, initial window.
            assert_eq!((info.len(), info[0], word(16), word(60)), (248, 1, 1448, 1500));
            assert!((200_000..210_000).contains(&word(8)), "RTO {}", word(8));
            assert!((1_900..2_100).contains(&word(68)), "RTT {}", word(68));
            assert!(word(80) >= 10, "window {}", word(80));
            assert_eq!(sys.k(|kernel| kernel.getsockopt(fd, 0, 14, 4)).unwrap(), 1500i32.to_ne_bytes());
        },
        |sys| async move {
            let listener = listener(&sys, false);
            let fd = accept(&sys, listener).await;
            sys.read(fd, 9).await.unwrap();
            sys.write(fd, b"pong").await.unwrap();
            sys.sleep(millis(10)).await;
        },
    );
}

#[test]
fn a_deadlock_names_the_connection() {
    let mut world = World::new();
    world.host("server", "10.0.0.2", |sys| async move {
        let listener = listener(&sys, false);
        let fd = accept(&sys, listener).await;
        let _ = sys.read(fd, 9).await;
    });
    world.host("client", "10.0.0.1", |sys| async move {
        let fd = connected(&sys).await;
        let _ = sys.read(fd, 9).await;
    });
    let EndReason::Deadlock { waiting } = world.run() else { panic!("no deadlock") };
    let hidden: Vec<String> =
        waiting.iter().map(|line| line.split(':').map(hide_ephemeral).collect::<Vec<_>>().join(":")).collect();
    insta::assert_snapshot!(hidden.join("\n"), @"
    server t0: recv on fd 1048577 (tcp 10.0.0.2:80 -> 10.0.0.1:PORT)
    client t1: recv on fd 1114112 (tcp 10.0.0.1:PORT -> 10.0.0.2:80)
    ");
}

#[test]
fn time_stands_still_where_a_timer_was_of_no_use() {
    let mut world = World::new();
    world.host("server", "10.0.0.2", |sys| async move {
        let listener = listener(&sys, false);
        let fd = accept(&sys, listener).await;
        sys.read(fd, 9).await.unwrap();
        let _ = sys.read(fd, 9).await;
    });
    world.host("client", "10.0.0.1", |sys| async move {
        let fd = connected(&sys).await;
        sys.write(fd, b"ping").await.unwrap();
        let _ = sys.read(fd, 9).await;
    });
    let EndReason::Deadlock { .. } = world.run() else { panic!("no deadlock") };
    // The last packet is the acknowledgement of the write, which stopped the timer that would have repeated it.
    let delivered = |(at, event): &(SimTime, Event)| matches!(event, Event::PacketDelivered { .. }).then_some(*at);
    let last = world.log.events().iter().rev().find_map(delivered);
    assert_eq!(Some(world.kernel(|kernel| kernel.now())), last);
}

/// Ephemeral ports are the stack's own affair.
fn hide_ephemeral(part: &str) -> String {
    let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if digits == 5 { format!("PORT{}", &part[digits..]) } else { part.to_owned() }
}

#[test]
fn a_reset_fault_ends_established_connections() {
    let mut world = World::new();
    let server = world.host("server", "10.0.0.2", |sys| async move {
        let listener = listener(&sys, false);
        let fd = accept(&sys, listener).await;
        sys.say(format!("server {:?}", sys.read(fd, 9).await));
    });
    let client = world.host("client", "10.0.0.1", |sys| async move {
        let fd = connected(&sys).await;
        let (count, events) = sys.poll(&[(fd, IN | OUT)], Some(millis(1))).await;
        assert_eq!((count, events.as_str()), (1, names(OUT).as_str()));
        sys.say(format!("client {:?}", sys.read(fd, 9).await));
    });
    world.step(millis(50), Step::ResetFlows { host: client, remote: Some(server) });
    world.step(millis(60_000), Step::End(EndReason::Done));
    assert_eq!(world.run(), EndReason::Done);
    insta::assert_snapshot!(world.said(), @"
    0.050000s client Err(ECONNRESET(104))
    0.051000s server Err(ECONNRESET(104))
    ");
}
