//! `connect` and what it says, from the first call to the last; ephemeral ports and TIME-WAIT.

use halfopen_core::event::TcpState;
use halfopen_core::{Errno, Event};
use halfopen_fabric::packet::IcmpError;
use halfopen_netstack::Sysctls;
use halfopen_netstack::socket::{Family, Kind, Shutdown};

use crate::common::Side::{A, B};
use crate::common::*;

#[test]
fn a_connection_from_first_call_to_last() {
    let mut net = Net::new();
    let listener = net.listener(B, "0.0.0.0:80", 8);
    let client = net.tcp(A);
    assert_eq!(net.ready(A, client), "OUT|HUP", "never connected");
    assert_eq!(net.connect(A, client, "10.0.0.2:80"), Err(Errno::EINPROGRESS));
    assert_eq!(net.ready(A, client), "-");
    assert_eq!(net.connect(A, client, "10.0.0.2:80"), Err(Errno::EALREADY));
    assert_eq!(net.stack(A).peer_address(client), Err(Errno::ENOTCONN));
    assert_eq!(net.send(A, client, b"x"), Err(Errno::EAGAIN));
    assert_eq!(net.accept(B, listener), Err(Errno::EAGAIN));
    net.run(ms(10));
    assert_eq!(net.ready(A, client), "OUT");
    assert_eq!(net.connect(A, client, "10.0.0.2:80"), Ok(()), "says so once");
    assert_eq!(net.connect(A, client, "10.0.0.2:80"), Err(Errno::EISCONN));
    assert_eq!(net.listen(A, client, 1), Err(Errno::EINVAL));
    assert_eq!(net.stack(A).peer_address(client), Ok(at("10.0.0.2:80")));
    assert_eq!(net.ready(B, listener), "IN");
    let (server, from) = net.accept(B, listener).unwrap();
    assert_eq!(from, net.stack(A).local_address(client));
    assert_eq!(net.stack(B).local_address(server), at("10.0.0.2:80"));
    assert_eq!(net.ready(B, listener), "-");
    net.send(A, client, b"request").unwrap();
    net.run(ms(10));
    assert_eq!(net.stack(B).bytes_unread(server), 7);
    assert_eq!(net.recv(B, server), Ok(b"request".to_vec()));
    net.send(B, server, b"answer").unwrap();
    net.close(B, server);
    net.run(ms(10));
    assert_eq!(net.ready(A, client), "IN|OUT|RDHUP");
    assert_eq!(net.recv(A, client), Ok(b"answer".to_vec()));
    assert_eq!(net.recv(A, client), Ok(vec![]));
    net.close(A, client);
    net.run(ms(100_000));
    assert_eq!(net.stack(A).next_deadline(), None);
    assert_eq!(net.stack(B).next_deadline(), None, "the end of TIME-WAIT too");
}

#[test]
fn a_handshake_on_the_wire() {
    let mut net = Net::new();
    net.listener(B, "0.0.0.0:80", 8);
    net.connecting(A, "10.0.0.2:80");
    net.run(ms(10));
    insta::assert_snapshot!(net.take_trace(), @r"
    0.000 10.0.0.1:* > 10.0.0.2:80 [S] len 0 DF
    0.001 10.0.0.2:80 > 10.0.0.1:* [SA] len 0 DF
    0.002 10.0.0.1:* > 10.0.0.2:80 [A] len 0 DF
    ");
}

#[test]
fn a_closed_port_refuses() {
    let mut net = Net::new();
    let client = net.connecting(A, "10.0.0.2:80");
    net.run(ms(10));
    insta::assert_snapshot!(net.take_trace(), @r"
    0.000 10.0.0.1:* > 10.0.0.2:80 [S] len 0 DF
    0.001 10.0.0.2:80 > 10.0.0.1:* [RA] len 0 DF
    ");
    assert!(net.ready(A, client).contains("ERR"));
    assert!(net.ready(A, client).contains("HUP"));
    assert_eq!(net.connect(A, client, "10.0.0.2:80"), Err(Errno::ECONNREFUSED), "the error, once");
    assert_eq!(net.ready(A, client), "OUT|HUP", "as if it had never connected");
    net.listener(B, "0.0.0.0:80", 8);
    assert_eq!(net.connect(A, client, "10.0.0.2:80"), Err(Errno::EINPROGRESS), "and may try again");
    net.run(ms(10));
    assert_eq!(net.connect(A, client, "10.0.0.2:80"), Ok(()));
}

#[test]
fn an_error_that_was_taken_leaves_econnaborted() {
    let mut net = Net::new();
    let client = net.connecting(A, "10.0.0.2:80");
    net.run(ms(10));
    assert_eq!(net.stack(A).take_error(client), Some(Errno::ECONNREFUSED));
    assert_eq!(net.stack(A).take_error(client), None);
    assert_eq!(net.connect(A, client, "10.0.0.2:80"), Err(Errno::ECONNABORTED));
}

#[test]
fn where_tcp_may_connect() {
    for (family, bound, to, expect) in [
        (Family::V4, None, "10.0.0.2:80", Errno::EINPROGRESS),
        (Family::V4, None, "127.0.0.1:80", Errno::EINPROGRESS),
        (Family::V4, None, "0.0.0.0:80", Errno::EINPROGRESS),
        (Family::V4, None, "224.0.0.1:80", Errno::ENETUNREACH),
        (Family::V4, None, "255.255.255.255:80", Errno::ENETUNREACH),
        (Family::V4, None, "[fd00::2]:80", Errno::EAFNOSUPPORT),
        (Family::V4, Some("127.0.0.1:0"), "10.0.0.2:80", Errno::EINVAL),
        (Family::V6, None, "[fd00::2]:80", Errno::ENETUNREACH),
        (Family::V6, None, "[::1]:80", Errno::EINPROGRESS),
        (Family::V6, None, "[::ffff:10.0.0.2]:80", Errno::EINPROGRESS),
        (Family::V6, None, "10.0.0.2:80", Errno::EINVAL),
    ] {
        // A host without IPv6.
        let mut host = stack(0, &[A4], Sysctls::default(), 1);
        let now = halfopen_core::SimTime::ZERO;
        let socket = host.socket(family, Kind::Tcp).unwrap();
        if let Some(bound) = bound {
            host.bind(now, socket, at(bound)).unwrap();
        }
        assert_eq!(host.connect(now, socket, Some(at(to))), Err(expect), "{family:?} from {bound:?} to {to}");
    }
}

#[test]
fn unreachables_end_a_connect_with_their_errno() {
    for (code, expect) in [
        (0, Errno::ENETUNREACH),
        (1, Errno::EHOSTUNREACH),
        (2, Errno::ENOPROTOOPT),
        (3, Errno::ECONNREFUSED),
        (9, Errno::ENETUNREACH),
        (10, Errno::EHOSTUNREACH),
        (13, Errno::EHOSTUNREACH),
    ] {
        let mut net = Net::new();
        net.on_wire(move |_, packet| Fate::Answer(about(packet, IcmpError::Unreachable { code })));
        let client = net.connecting(A, "10.0.0.2:80");
        net.run(ms(10));
        assert_eq!(net.stack(A).take_error(client), Some(expect), "code {code}");
        let told = net.count(|event| matches!(event, Event::TcpFailed { errno, .. } if *errno == expect));
        assert_eq!(told, 1, "code {code}");
    }
}

#[test]
fn a_black_hole_times_out_as_measured() {
    let mut net = Net::new();
    net.on_wire(|_, _| Fate::Drop);
    let client = net.connecting(A, "10.0.0.2:80");
    net.run(ms(200_000));
    assert_eq!(net.stack(A).take_error(client), Some(Errno::ETIMEDOUT));
    let seconds: Vec<&str> = net.trace.iter().filter_map(|line| line.split('.').next()).collect();
    assert_eq!(seconds.join(" "), "0 1 2 3 4 5 7 11 19 35 67");
}

fn few_ports() -> Sysctls {
    Sysctls { ip_local_port_range: [40_000, 40_009], ..Sysctls::default() }
}

#[test]
fn ephemeral_ports_run_out_towards_one_destination() {
    let mut net = Net::with(few_ports(), Sysctls::default());
    let mut ports = Vec::new();
    for _ in 0..10 {
        let socket = net.connecting(A, "10.0.0.2:80");
        ports.push(net.stack(A).local_address(socket).port());
    }
    assert!(ports[..5].iter().all(|port| port % 2 == 0), "even ports first: {ports:?}");
    ports.sort_unstable();
    assert_eq!(ports, (40_000..40_010).collect::<Vec<u16>>());
    let eleventh = net.tcp(A);
    assert_eq!(net.connect(A, eleventh, "10.0.0.2:80"), Err(Errno::EADDRNOTAVAIL));
    assert_eq!(net.bind(A, eleventh, "0.0.0.0:0"), Err(Errno::EADDRINUSE));
    assert_eq!(net.connect(A, eleventh, "10.0.0.2:81"), Err(Errno::EINPROGRESS), "another port has its own tuples");
}

#[test]
fn a_bound_port_is_never_picked_for_others() {
    let mut net =
        Net::with(Sysctls { ip_local_port_range: [40_000, 40_001], ..Sysctls::default() }, Sysctls::default());
    let bound = net.tcp(A);
    net.bind(A, bound, "127.0.0.1:40000").unwrap();
    let first = net.connecting(A, "10.0.0.2:80");
    assert_eq!(net.stack(A).local_address(first).port(), 40_001);
    let second = net.tcp(A);
    assert_eq!(net.connect(A, second, "10.0.0.2:80"), Err(Errno::EADDRNOTAVAIL));
}

/// Ten connections, closed by the client first: all its ports are in TIME-WAIT.
fn all_ports_in_time_wait(reuse: u32) -> Net {
    let mut net = Net::with(Sysctls { tcp_tw_reuse: reuse, ..few_ports() }, Sysctls::default());
    let listener = net.listener(B, "0.0.0.0:80", 100);
    for _ in 0..10 {
        let client = net.connecting(A, "10.0.0.2:80");
        net.run(ms(10));
        let (server, _) = net.accept(B, listener).unwrap();
        net.close(A, client);
        net.run(ms(10));
        net.close(B, server);
        net.run(ms(10));
    }
    let time_waits = net.count(
        |event| matches!(event, Event::TcpStateChanged { to: TcpState::TimeWait, host, .. } if host.index() == 0),
    );
    assert_eq!(time_waits, 10);
    net
}

#[test]
fn time_wait_keeps_its_port() {
    for (reuse, waited, expect) in [
        (2, 2_000, Errno::EADDRNOTAVAIL), // Loopback only.
        (0, 2_000, Errno::EADDRNOTAVAIL),
        (1, 500, Errno::EADDRNOTAVAIL),
        (1, 1_200, Errno::EINPROGRESS),
        (0, 61_000, Errno::EINPROGRESS),
    ] {
        let mut net = all_ports_in_time_wait(reuse);
        net.run(ms(waited));
        let client = net.tcp(A);
        assert_eq!(net.connect(A, client, "10.0.0.2:80"), Err(expect), "tcp_tw_reuse={reuse} after {waited} ms");
        if expect == Errno::EINPROGRESS {
            net.run(ms(10));
            assert_eq!(net.connect(A, client, "10.0.0.2:80"), Ok(()), "tcp_tw_reuse={reuse} after {waited} ms");
        }
    }
}

#[test]
fn a_new_syn_takes_the_place_of_a_time_wait() {
    let mut net = Net::new();
    let listener = net.listener(B, "0.0.0.0:80", 8);
    for round in 0..3 {
        let client = net.tcp(A);
        let now = net.now;
        let options = halfopen_netstack::socket::SocketOptions { reuse_addr: true, ..Default::default() };
        net.stack(A).set_options(now, client, options);
        net.bind(A, client, "0.0.0.0:5000").unwrap();
        assert_eq!(net.connect(A, client, "10.0.0.2:80"), Err(Errno::EINPROGRESS));
        net.run(ms(10));
        assert_eq!(net.connect(A, client, "10.0.0.2:80"), Ok(()), "round {round}");
        let (server, _) = net.accept(B, listener).unwrap();
        // The server closes first: TIME-WAIT is on its side.
        net.close(B, server);
        net.run(ms(10));
        net.close(A, client);
        net.run(ms(2_000));
    }
}

#[test]
fn a_server_restarts_on_its_port_with_so_reuseaddr_only() {
    for (reuse, expect) in [(true, Ok(())), (false, Err(Errno::EADDRINUSE))] {
        let mut net = Net::new();
        let open = |net: &mut Net| {
            let socket = net.tcp(B);
            let now = net.now;
            let options = halfopen_netstack::socket::SocketOptions { reuse_addr: reuse, ..Default::default() };
            net.stack(B).set_options(now, socket, options);
            net.bind(B, socket, "0.0.0.0:80").map(|()| socket)
        };
        let listener = open(&mut net).unwrap();
        net.listen(B, listener, 8).unwrap();
        let client = net.connecting(A, "10.0.0.2:80");
        net.run(ms(10));
        net.accept(B, listener).unwrap();
        let now = net.now;
        net.stack(B).kill_all(now);
        net.run(ms(10));
        net.close(A, client);
        net.run(ms(10));
        assert_eq!(open(&mut net).map(|_| ()), expect, "SO_REUSEADDR {reuse}");
    }
}

#[test]
fn calls_that_need_a_connection() {
    let mut net = Net::new();
    let idle = net.tcp(A);
    let listener = net.listener(A, "0.0.0.0:80", 8);
    let now = net.now;
    for (socket, shutdown) in [(idle, Err(Errno::ENOTCONN)), (listener, Ok(()))] {
        assert_eq!(net.send(A, socket, b"x"), Err(Errno::EPIPE));
        assert_eq!(net.recv(A, socket), Err(Errno::ENOTCONN));
        assert_eq!(net.stack(A).peer_address(socket), Err(Errno::ENOTCONN));
        assert_eq!(net.stack(A).shutdown(now, socket, Shutdown::Write), shutdown);
        assert_eq!(net.stack(A).tcp_info(socket), None);
    }
    assert_eq!(net.accept(A, idle), Err(Errno::EINVAL));
    let datagrams = net.udp(A);
    assert_eq!(net.accept(A, datagrams), Err(Errno::EOPNOTSUPP));
    assert_eq!(net.listen(A, datagrams, 1), Err(Errno::EOPNOTSUPP));
    assert_eq!(net.connect(A, listener, "10.0.0.2:80"), Err(Errno::EISCONN));
    assert_eq!(net.stack(A).shutdown(now, listener, Shutdown::Read), Ok(()));
    assert!(!net.stack(A).is_listening(listener), "shutdown for reading ends listening");
    assert_eq!(net.accept(A, listener), Err(Errno::EINVAL));
}

#[test]
fn an_undone_connect_resets_the_other_side() {
    let mut net = Net::new();
    let listener = net.listener(B, "0.0.0.0:80", 8);
    let client = net.connecting(A, "10.0.0.2:80");
    net.run(ms(10));
    let (server, _) = net.accept(B, listener).unwrap();
    let now = net.now;
    net.stack(A).connect(now, client, None).unwrap();
    net.run(ms(10));
    assert_eq!(net.recv(B, server), Err(Errno::ECONNRESET));
    assert_eq!(net.ready(A, client), "OUT|HUP");
    assert_eq!(net.connect(A, client, "10.0.0.2:80"), Err(Errno::EINPROGRESS));
}

#[test]
fn idle_connections_have_no_deadline() {
    let mut net = Net::new();
    let listener = net.listener(B, "0.0.0.0:80", 100);
    for _ in 0..50 {
        net.connecting(A, "10.0.0.2:80");
        net.run(ms(10));
        net.accept(B, listener).unwrap();
    }
    net.run(ms(1000));
    assert_eq!(net.stack(A).next_deadline(), None);
    assert_eq!(net.stack(B).next_deadline(), None);
}

#[test]
fn every_arrival_of_data_wakes() {
    let mut net = Net::new();
    let listener = net.listener(B, "0.0.0.0:80", 8);
    let client = net.connecting(A, "10.0.0.2:80");
    net.run(ms(10));
    assert!(net.woken.contains(&(A, client)), "connected");
    assert!(net.woken.contains(&(B, listener)), "a connection to accept");
    let (server, _) = net.accept(B, listener).unwrap();
    for _ in 0..3 {
        net.woken.clear();
        net.send(A, client, b"x").unwrap();
        net.run(ms(100));
        assert_eq!(net.woken.iter().filter(|woken| **woken == (B, server)).count(), 1);
    }
    net.woken.clear();
    net.recv(B, server).unwrap();
    net.run(ms(100));
    assert_eq!(net.woken, [], "what a program reads is no news to it");
    net.woken.clear();
    net.close(A, client);
    net.run(ms(100));
    assert!(net.woken.contains(&(B, server)), "the end of the stream");
}
