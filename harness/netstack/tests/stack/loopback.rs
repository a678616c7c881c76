//! What a host sends to itself stays inside, and is received without time passing.

use halfopen_core::Errno;
use halfopen_netstack::socket::SocketId;

use crate::common::Side::A;
use crate::common::*;

/// A connection of the host with itself.
fn pair(net: &mut Net, listens: &str, to: &str) -> (SocketId, SocketId) {
    let listener = net.listener(A, listens, 8);
    let client = net.connecting(A, to);
    assert_eq!(net.connect(A, client, to), Ok(()), "connected within the same instant");
    let (server, _) = net.accept(A, listener).unwrap();
    (client, server)
}

#[test]
fn a_host_reaches_itself_by_all_its_addresses() {
    for (listens, to, source) in [
        ("127.0.0.1:80", "127.0.0.1:80", "127.0.0.1"),
        ("0.0.0.0:80", "127.0.0.1:80", "127.0.0.1"),
        ("0.0.0.0:80", "127.9.9.9:80", "127.0.0.1"),
        ("0.0.0.0:80", "10.0.0.1:80", "10.0.0.1"),
        ("0.0.0.0:80", "0.0.0.0:80", "127.0.0.1"),
        ("[::1]:80", "[::1]:80", "::1"),
        ("[::]:80", "[fd00::1]:80", "fd00::1"),
        ("[::]:80", "127.0.0.1:80", "127.0.0.1"),
        ("[::]:80", "[::]:80", "::1"),
    ] {
        let mut net = Net::new();
        let (client, server) = pair(&mut net, listens, to);
        assert_eq!(net.stack(A).local_address(client).ip().to_string(), source, "{listens} {to}");
        assert_eq!(net.send(A, client, b"ping"), Ok(4));
        assert_eq!(net.recv(A, server), Ok(b"ping".to_vec()));
        assert_eq!(net.send(A, server, b"pong"), Ok(4));
        assert_eq!(net.recv(A, client), Ok(b"pong".to_vec()));
        assert_eq!(net.trace, Vec::<String>::new(), "nothing left the host");
        assert_eq!(net.now, halfopen_core::SimTime::ZERO);
    }
}

#[test]
fn loopback_has_a_large_mtu() {
    let mut net = Net::new();
    let (client, _) = pair(&mut net, "127.0.0.1:80", "127.0.0.1:80");
    assert_eq!(net.stack(A).path_mtu(client), Some(65_535), "as `ss -i` shows for 127.0.0.1");
    assert!(net.stack(A).tcp_info(client).unwrap().send_mss > 32_000);
}

#[test]
fn a_closed_port_refuses_at_once() {
    let mut net = Net::new();
    let client = net.connecting(A, "127.0.0.1:80");
    assert_eq!(net.connect(A, client, "127.0.0.1:80"), Err(Errno::ECONNREFUSED));
}

#[test]
fn nothing_is_received_within_the_senders_call() {
    let mut host = stack(0, &[A4], halfopen_netstack::Sysctls::default(), 1);
    use halfopen_netstack::socket::{Family, Kind};
    let now = halfopen_core::SimTime::ZERO + ms(5);
    let (client, server) = (host.socket(Family::V4, Kind::Udp).unwrap(), host.socket(Family::V4, Kind::Udp).unwrap());
    host.bind(now, server, at("127.0.0.1:53")).unwrap();
    host.send(now, client, b"x", Some(at("127.0.0.1:53"))).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(host.recv(now, server, &mut buffer, false), Err(Errno::EAGAIN));
    assert_eq!(host.next_deadline(), Some(now), "there is work to do, now");
    host.on_timer(now);
    assert_eq!(host.next_deadline(), None);
    assert_eq!(host.recv(now, server, &mut buffer, false).unwrap().len, 1);
    assert_eq!(host.poll_wakeup(), Some(server));
}

#[test]
fn a_large_transfer_through_loopback() {
    let mut net = Net::new();
    let (client, server) = pair(&mut net, "127.0.0.1:80", "127.0.0.1:80");
    let data: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    let (mut sent, mut received) = (0, Vec::new());
    for _ in 0..10_000 {
        if received.len() == data.len() {
            break;
        }
        if sent < data.len() {
            match net.send(A, client, &data[sent..]) {
                Ok(n) => sent += n,
                Err(error) => assert_eq!(error, Errno::EAGAIN),
            }
        }
        match net.recv(A, server) {
            Ok(bytes) => received.extend(bytes),
            Err(error) => {
                assert_eq!(error, Errno::EAGAIN);
                net.run(ms(1));
            }
        }
    }
    assert_eq!(received.len(), data.len());
    assert!(received == data);
    assert!(net.now.as_millis() < 1_000, "no timer had to help: {}", net.now);
}
