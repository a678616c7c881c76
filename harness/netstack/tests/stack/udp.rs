//! Datagrams: boundaries, who gets them, errors, sizes.

use halfopen_core::event::DropReason;
use halfopen_core::{Errno, Event, SimTime};
use halfopen_fabric::packet::{Body, IcmpError, IcmpMessage, Packet};
use halfopen_netstack::Sysctls;
use halfopen_netstack::socket::{MtuDiscover, Shutdown, SocketOptions};

use crate::common::Side::{A, B};
use crate::common::*;

#[test]
fn datagrams_keep_their_boundaries() {
    let mut net = Net::new();
    let (client, server) = (net.udp(A), net.udp(B));
    net.bind(B, server, "0.0.0.0:53").unwrap();
    for data in [&b"first"[..], b"", b"third"] {
        net.send_to(A, client, data, "10.0.0.2:53").unwrap();
    }
    assert_eq!(net.ready(B, server), "OUT");
    net.run(ms(1));
    assert_eq!(net.ready(B, server), "IN|OUT");
    assert_eq!(net.stack(B).bytes_unread(server), 5);
    let mut small = [0; 2];
    let peeked = net.recv_into(B, server, &mut small, true).unwrap();
    assert_eq!((peeked.len, peeked.full_len, &small), (2, 5, b"fi"));
    let taken = net.recv_into(B, server, &mut small, false).unwrap();
    assert_eq!((taken.len, taken.full_len), (2, 5), "what does not fit is lost");
    assert_eq!(taken.from, net.stack(A).local_address(client).to_string().replace("0.0.0.0", A4).parse().unwrap());
    assert_eq!(net.recv(B, server), Ok(vec![]));
    assert_eq!(net.recv(B, server), Ok(b"third".to_vec()));
    assert_eq!(net.recv(B, server), Err(Errno::EAGAIN));
}

#[test]
fn every_datagram_wakes_its_socket() {
    let mut net = Net::new();
    let (client, server) = (net.udp(A), net.udp(B));
    net.bind(B, server, "0.0.0.0:53").unwrap();
    net.send_to(A, client, b"1", "10.0.0.2:53").unwrap();
    net.run(ms(1));
    assert_eq!(std::mem::take(&mut net.woken), [(B, server)]);
    net.send_to(A, client, b"2", "10.0.0.2:53").unwrap();
    net.run(ms(1));
    assert_eq!(std::mem::take(&mut net.woken), [(B, server)], "readable before, and yet an edge");
}

#[test]
fn the_best_fitting_socket_gets_the_datagram() {
    let mut net = Net::new();
    let client = net.udp(A);
    net.bind(A, client, "10.0.0.1:1000").unwrap();
    let mut sockets = Vec::new();
    for (address, peer) in [
        ("0.0.0.0:53", None),
        ("10.0.0.2:53", None),
        ("10.0.0.2:53", Some("10.0.0.1:1000")),
        ("10.0.0.2:53", Some("10.0.0.1:2000")),
    ] {
        let socket = net.udp(B);
        let mut options = net.stack(B).options(socket).clone();
        options.reuse_addr = true;
        let now = net.now;
        net.stack(B).set_options(now, socket, options);
        net.bind(B, socket, address).unwrap();
        if let Some(peer) = peer {
            net.connect(B, socket, peer).unwrap();
        }
        sockets.push(socket);
    }
    // The best of those that are still open gets it; then it is closed.
    for winner in [2, 1, 0] {
        net.send_to(A, client, b"x", "10.0.0.2:53").unwrap();
        net.run(ms(1));
        assert_eq!(net.recv(B, sockets[winner]), Ok(b"x".to_vec()), "socket {winner}");
        net.close(B, sockets[winner]);
    }
    assert_eq!(net.recv(B, sockets[3]), Err(Errno::EAGAIN), "connected to somebody else");
}

#[test]
fn a_closed_port_tells_connected_sockets_once() {
    let mut net = Net::new();
    let (connected, loose) = (net.udp(A), net.udp(A));
    net.connect(A, connected, "10.0.0.2:53").unwrap();
    net.send(A, connected, b"x").unwrap();
    net.send_to(A, loose, b"x", "10.0.0.2:53").unwrap();
    net.run(ms(10));
    assert_eq!(net.ready(A, loose), "OUT", "an unconnected socket learns nothing");
    assert_eq!(net.recv(A, loose), Err(Errno::EAGAIN));
    assert_eq!(net.ready(A, connected), "OUT|ERR");
    assert_eq!(net.recv(A, connected), Err(Errno::ECONNREFUSED));
    assert_eq!(net.recv(A, connected), Err(Errno::EAGAIN), "reported once");
    net.send(A, connected, b"x").unwrap();
    net.run(ms(10));
    assert_eq!(net.send(A, connected, b"x"), Err(Errno::ECONNREFUSED), "a send reports it too");
    net.run(ms(10));
    assert_eq!(net.stack(A).take_error(connected), None, "the refused send sent nothing");
}

#[test]
fn icmp_codes_become_errors_or_nothing() {
    let over_v4 = [
        (0, None),
        (1, None),
        (2, Some(Errno::ENOPROTOOPT)),
        (3, Some(Errno::ECONNREFUSED)),
        (9, Some(Errno::ENETUNREACH)),
        (10, Some(Errno::EHOSTUNREACH)),
        (13, Some(Errno::EHOSTUNREACH)),
    ];
    let over_v6 = [
        (0, None),
        (1, None),
        (2, Some(Errno::EPROTO)),
        (3, Some(Errno::ECONNREFUSED)),
        (9, Some(Errno::EACCES)),
        (10, Some(Errno::EACCES)),
        (13, Some(Errno::EACCES)),
    ];
    let cases = over_v4.map(|case| ("10.0.0.2:53", case)).into_iter().chain(over_v6.map(|case| ("[fd00::2]:53", case)));
    for (to, (code, expect)) in cases {
        let mut net = Net::new();
        let socket = if to.starts_with('[') { net.udp6(A) } else { net.udp(A) };
        net.connect(A, socket, to).unwrap();
        net.on_wire(move |_, packet| Fate::Answer(about(packet, IcmpError::Unreachable { code })));
        net.send(A, socket, b"x").unwrap();
        net.run(ms(1));
        assert_eq!(net.stack(A).take_error(socket), expect, "{to}, code {code}");
    }
}

#[test]
fn what_is_wrong_with_a_datagram_comes_before_the_waiting_error() {
    let mut net = Net::new();
    let socket = net.udp(A);
    let options = SocketOptions { mtu_discover: MtuDiscover::Do, ..net.stack(A).options(socket).clone() };
    let now = SimTime::ZERO;
    net.stack(A).set_options(now, socket, options);
    net.connect(A, socket, "10.0.0.2:53").unwrap();
    net.send(A, socket, b"x").unwrap();
    net.run(ms(10));
    assert_eq!(net.send(A, socket, &[0; 1473]), Err(Errno::EMSGSIZE));
    assert_eq!(net.send(A, socket, b"x"), Err(Errno::ECONNREFUSED), "nobody listens; told once");
    assert_eq!(net.send(A, socket, b"x"), Ok(1));
}

#[test]
fn port_unreachables_are_limited() {
    let mut net = Net::new();
    let client = net.udp(A);
    let count = |net: &mut Net| {
        for _ in 0..100 {
            net.send_to(A, client, b"x", "10.0.0.2:53").unwrap();
        }
        net.run(ms(1));
        net.take_trace().matches("icmp").count()
    };
    assert_eq!(count(&mut net), 6, "a burst to one destination");
    assert_eq!(count(&mut net), 0);
    net.run(ms(1000));
    assert_eq!(count(&mut net), 1, "one more each second");
    // A host's own programs are told without limit.
    let local = net.udp(A);
    for _ in 0..100 {
        net.connect(A, local, "127.0.0.1:53").unwrap();
        net.send(A, local, b"x").unwrap();
        assert_eq!(net.stack(A).take_error(local), Some(Errno::ECONNREFUSED));
    }
}

#[test]
fn the_limits_of_port_unreachables_are_settings() {
    for (icmp_ratelimit, icmp_msgs_per_sec, icmp_msgs_burst, expect) in
        [(1000, 1000, 50, 6), (0, 1000, 50, 50), (0, 1000, 5, 5), (1000, 1000, 3, 3)]
    {
        let limited = Sysctls { icmp_ratelimit, icmp_msgs_per_sec, icmp_msgs_burst, ..Sysctls::default() };
        let mut net = Net::with(Sysctls::default(), limited);
        let client = net.udp(A);
        for _ in 0..100 {
            net.send_to(A, client, b"x", "10.0.0.2:53").unwrap();
        }
        net.run(ms(1));
        assert_eq!(net.take_trace().matches("icmp").count(), expect, "{icmp_ratelimit} {icmp_msgs_burst}");
    }
}

#[test]
fn sizes_at_the_limits() {
    let mut net = Net::new();
    let (v4, v6) = (net.udp(A), net.udp6(A));
    let big = vec![7; 65_536];
    for (socket, to, len, expect) in [
        (v4, "10.0.0.2:53", 65_507, Ok(65_507)),
        (v4, "10.0.0.2:53", 65_508, Err(Errno::EMSGSIZE)),
        (v6, "[fd00::2]:53", 65_527, Ok(65_527)),
        (v6, "[fd00::2]:53", 65_528, Err(Errno::EMSGSIZE)),
        (v4, "127.0.0.1:53", 65_507, Ok(65_507)),
        (v4, "10.0.0.2:0", 1, Err(Errno::EINVAL)),
    ] {
        assert_eq!(net.send_to(A, socket, &big[..len], to), expect, "{len} to {to}");
    }
    assert_eq!(net.send(A, v4, b"x"), Err(Errno::EDESTADDRREQ));
}

#[test]
fn large_datagrams_travel_in_fragments() {
    for to in ["10.0.0.2:53", "[fd00::2]:53"] {
        let mut net = Net::new();
        let (client, server) = (net.udp6(A), net.udp6(B));
        net.bind(B, server, "[::]:53").unwrap();
        let data: Vec<u8> = (0..5000u32).map(|i| i as u8).collect();
        net.send_to(A, client, &data, to).unwrap();
        assert_eq!(net.trace.len(), 4, "{:?}", net.trace);
        net.run(ms(1));
        assert_eq!(net.recv(B, server), Ok(data), "{to}");
    }
}

#[test]
fn a_lost_fragment_loses_the_datagram_after_thirty_seconds() {
    let mut net = Net::new();
    let (client, server) = (net.udp(A), net.udp(B));
    net.bind(B, server, "0.0.0.0:53").unwrap();
    let mut nth = 0;
    net.on_wire(move |_, _| {
        nth += 1;
        if nth == 2 { Fate::Drop } else { Fate::Pass }
    });
    net.send_to(A, client, &[1; 5000], "10.0.0.2:53").unwrap();
    let timed_out = |event: &Event| {
        matches!(event, Event::PacketDropped { reason: DropReason::ReassemblyTimeout, element: None, .. })
    };
    net.run(ms(30_000));
    assert_eq!(net.count(timed_out), 0);
    net.run(ms(1));
    assert_ne!(net.count(timed_out), 0);
    assert_eq!(net.recv(B, server), Err(Errno::EAGAIN));
    assert_eq!(net.stack(B).next_deadline(), None);
}

#[test]
fn a_corrupt_packet_is_dropped_and_told() {
    let mut net = Net::new();
    let (client, server) = (net.udp(A), net.udp(B));
    net.bind(B, server, "0.0.0.0:53").unwrap();
    let seen = std::rc::Rc::new(std::cell::RefCell::new(None));
    let tap = std::rc::Rc::clone(&seen);
    net.on_wire(move |_, packet| {
        *tap.borrow_mut() = Some(packet.clone());
        Fate::Drop
    });
    net.send_to(A, client, b"x", "10.0.0.2:53").unwrap();
    let packet = seen.borrow_mut().take().unwrap();
    net.inject(B, Packet { corrupt: true, ..packet.clone() });
    assert_eq!(net.recv(B, server), Err(Errno::EAGAIN));
    let bad = |event: &Event| {
        matches!(event, Event::PacketDropped { reason: DropReason::BadChecksum, element: None, direction: None, .. })
    };
    assert_eq!(net.count(bad), 1);
    net.inject(B, packet);
    assert_eq!(net.recv(B, server), Ok(b"x".to_vec()));
}

/// A link of this MTU behind the first hop.
fn narrow(net: &mut Net, mtu: u32) {
    net.on_wire(move |_, packet| {
        if packet.wire_len() > mtu as usize && packet.dont_fragment {
            Fate::Answer(about(packet, IcmpError::TooBig { mtu }))
        } else {
            Fate::Pass
        }
    });
}

#[test]
fn path_mtu_discovery_by_mode() {
    // On a path of 1400 bytes, three datagrams of 1450: what the calls say and how many arrive.
    const OK: Result<usize, Errno> = Ok(1450);
    const TOO_LONG: Result<usize, Errno> = Err(Errno::EMSGSIZE);
    for (mode, calls, arrived) in [
        (MtuDiscover::Want, [OK, OK, OK], 2),
        (MtuDiscover::Do, [OK, TOO_LONG, TOO_LONG], 0),
        (MtuDiscover::Dont, [OK, OK, OK], 3),
        (MtuDiscover::Probe, [OK, OK, OK], 0),
    ] {
        let mut net = Net::new();
        narrow(&mut net, 1400);
        let (client, server) = (net.udp(A), net.udp(B));
        net.bind(B, server, "0.0.0.0:6000").unwrap();
        let mut options = net.stack(A).options(client).clone();
        options.mtu_discover = mode;
        let now = net.now;
        net.stack(A).set_options(now, client, options);
        for expect in calls {
            assert_eq!(net.send_to(A, client, &[1; 1450], "10.0.0.2:6000"), expect, "{mode:?}");
            net.run(ms(10));
        }
        let received = (0..3).filter(|_| net.recv(B, server).is_ok()).count();
        assert_eq!(received, arrived, "{mode:?}");
    }
}

#[test]
fn what_a_path_taught_is_forgotten_after_ten_minutes() {
    let mut net = Net::new();
    narrow(&mut net, 1400);
    let socket = net.udp(A);
    net.connect(A, socket, "10.0.0.2:6000").unwrap();
    assert_eq!(net.stack(A).path_mtu(socket), Some(1500));
    net.send(A, socket, &[1; 1450]).unwrap();
    net.run(ms(10));
    assert_eq!(net.stack(A).take_error(socket), Some(Errno::EMSGSIZE), "a connected socket is told");
    assert_eq!(net.stack(A).path_mtu(socket), Some(1400));
    let told: Vec<u32> = net
        .events
        .iter()
        .filter_map(|(_, event)| if let Event::PathMtu { mtu, .. } = event { Some(*mtu) } else { None })
        .collect();
    assert_eq!(told, [1400]);
    net.take_trace();
    net.run(ms(600_000));
    net.send(A, socket, &[1; 1450]).unwrap();
    assert_eq!(net.take_trace(), "600.010 10.0.0.1:* > 10.0.0.2:6000 udp 1450 DF");
}

#[test]
fn below_min_pmtu_df_is_cleared() {
    let mut net = Net::new();
    narrow(&mut net, 500);
    let socket = net.udp(A);
    net.send_to(A, socket, &[1; 520], "10.0.0.2:9").unwrap();
    net.run(ms(1));
    net.take_trace();
    net.send_to(A, socket, &[1; 520], "10.0.0.2:9").unwrap();
    assert_eq!(net.take_trace(), "0.001 10.0.0.1:* > 10.0.0.2:9 udp 520");
}

#[test]
fn a_receive_queue_holds_what_linux_holds() {
    // (bytes, how many fit), as measured on Linux 6.18 with the default SO_RCVBUF of 212992.
    for (len, holds) in [(1, 256), (197, 256), (198, 166), (1000, 92), (1400, 92), (3000, 48), (9000, 12), (60_000, 3)]
    {
        let mut net = Net::new();
        let (client, server) = (net.udp(A), net.udp(A));
        net.bind(A, server, "127.0.0.1:53").unwrap();
        for _ in 0..300 {
            net.send_to(A, client, &vec![1; len], "127.0.0.1:53").unwrap();
        }
        let kept = std::iter::from_fn(|| net.recv(A, server).ok()).count();
        let full =
            |event: &Event| matches!(event, Event::PacketDropped { reason: DropReason::QueueFull, element: None, .. });
        assert_eq!((kept, net.count(full)), (holds, 300 - holds), "datagrams of {len} bytes");
        net.send_to(A, client, b"x", "127.0.0.1:53").unwrap();
        assert_eq!(net.recv(A, server), Ok(b"x".to_vec()), "room again");
    }
}

#[test]
fn where_datagrams_may_go() {
    for (to, expect) in [
        ("255.255.255.255:9", Err(Errno::EACCES)),
        ("224.0.0.1:9", Err(Errno::ENETUNREACH)),
        ("10.0.0.2:9", Ok(1)),
        ("127.0.0.1:9", Ok(1)),
        ("0.0.0.0:9", Ok(1)),
    ] {
        let mut net = Net::new();
        let socket = net.udp(A);
        assert_eq!(net.send_to(A, socket, b"x", to), expect, "{to}");
    }
    let mut lonely = stack(0, &["10.0.0.1"], Sysctls::default(), 1);
    use halfopen_netstack::socket::{Family, Kind};
    let socket = lonely.socket(Family::V6, Kind::Udp).unwrap();
    let now = halfopen_core::SimTime::ZERO;
    assert_eq!(lonely.send(now, socket, b"x", Some(at("[fd00::2]:9"))), Err(Errno::ENETUNREACH));
    assert_eq!(lonely.send(now, socket, b"x", Some(at("[::1]:9"))), Ok(1));
    assert_eq!(lonely.send(now, socket, b"x", Some(at("10.0.0.2:9"))), Ok(1), "an AF_INET6 socket takes a sockaddr_in");
}

#[test]
fn dual_stack_sockets_see_mapped_addresses() {
    let mut net = Net::new();
    let (client, server) = (net.udp(A), net.udp6(B));
    net.bind(B, server, "[::]:53").unwrap();
    net.bind(A, client, "0.0.0.0:1000").unwrap();
    net.send_to(A, client, b"ping", "10.0.0.2:53").unwrap();
    net.run(ms(1));
    let mut buffer = [0; 16];
    let received = net.recv_into(B, server, &mut buffer, false).unwrap();
    assert_eq!(received.from, at("[::ffff:10.0.0.1]:1000"));
    net.send_to(B, server, b"pong", "[::ffff:10.0.0.1]:1000").unwrap();
    net.run(ms(1));
    assert_eq!(net.recv(A, client), Ok(b"pong".to_vec()));
}

#[test]
fn shutdown_of_datagrams() {
    let mut net = Net::new();
    let socket = net.udp(A);
    let now = net.now;
    assert_eq!(net.stack(A).shutdown(now, socket, Shutdown::Write), Err(Errno::ENOTCONN));
    assert_eq!(net.send_to(A, socket, b"x", "10.0.0.2:9"), Err(Errno::EPIPE), "it took effect all the same");
    net.connect(A, socket, "10.0.0.2:9").unwrap();
    assert_eq!(net.stack(A).shutdown(now, socket, Shutdown::Read), Ok(()));
    assert_eq!(net.recv(A, socket), Ok(vec![]));
    assert_eq!(net.ready(A, socket), "IN|OUT|HUP|RDHUP");
}

#[test]
fn an_undone_connect_gives_back_what_it_took() {
    let mut net = Net::new();
    let socket = net.udp(A);
    net.connect(A, socket, "10.0.0.2:9").unwrap();
    assert_eq!(net.stack(A).local_address(socket).ip().to_string(), A4);
    let now = net.now;
    net.stack(A).connect(now, socket, None).unwrap();
    assert_eq!(net.stack(A).local_address(socket), at("0.0.0.0:0"));
    assert_eq!(net.stack(A).peer_address(socket), Err(Errno::ENOTCONN));
    net.bind(A, socket, "0.0.0.0:7000").unwrap();
    net.connect(A, socket, "10.0.0.2:9").unwrap();
    net.stack(A).connect(now, socket, None).unwrap();
    assert_eq!(net.stack(A).local_address(socket), at("0.0.0.0:7000"), "what bind took stays");
}

#[test]
fn echo_requests_are_answered() {
    let mut net = Net::new();
    let payload = bytes::Bytes::from_static(b"ping");
    let request = Packet {
        src: A4.parse().unwrap(),
        dst: B4.parse().unwrap(),
        ttl: 64,
        id: 0,
        dont_fragment: true,
        ecn: 0,
        body: Body::Icmp(IcmpMessage::EchoRequest { id: 1, seq: 2, payload }),
        corrupt: false,
    };
    net.inject(B, request);
    assert_eq!(net.take_trace(), "0.000 10.0.0.2 > 10.0.0.1 echo reply");
}
