//! Segments that belong to nobody, and ends that are not orderly.

use halfopen_core::event::{DropReason, TcpFlags};
use halfopen_core::{Errno, Event, SimDuration};
use halfopen_fabric::packet::{Body, Packet, SeqNum, TcpSegment};
use halfopen_netstack::socket::{SocketId, SocketOptions};

use crate::common::Side::{A, B};
use crate::common::*;

/// A segment from A to port 80 of B that no connection sent.
fn stranger(flags: TcpFlags, seq: u32, ack: u32, payload: &'static [u8]) -> Packet {
    Packet {
        src: A4.parse().unwrap(),
        dst: B4.parse().unwrap(),
        ttl: 64,
        id: 0,
        dont_fragment: true,
        ecn: 0,
        body: Body::Tcp(TcpSegment {
            src_port: 50_000,
            dst_port: 80,
            seq: SeqNum(seq),
            ack: SeqNum(ack),
            flags,
            payload: bytes::Bytes::from_static(payload),
            ..TcpSegment::default()
        }),
        corrupt: false,
    }
}

const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;
const RST: TcpFlags = TcpFlags::RST;
const FIN: TcpFlags = TcpFlags::FIN;

#[test]
fn strangers_are_answered_by_the_rules() {
    // (flags, seq, ack, payload) -> (flags, seq, ack) of the answer, to a closed port and to a listener
    type Answer = Option<(TcpFlags, u32, u32)>;
    let cases: [(TcpFlags, &'static [u8], Answer, Answer); 6] = [
        (SYN, b"", Some((RST.with(ACK), 0, 101)), None),
        (ACK, b"", Some((RST, 7, 0)), Some((RST, 7, 0))),
        (ACK, b"data", Some((RST, 7, 0)), Some((RST, 7, 0))),
        (FIN, b"data", Some((RST.with(ACK), 0, 105)), None),
        (RST, b"", None, None),
        (RST.with(ACK), b"", None, None),
    ];
    for (flags, payload, closed, listening) in cases {
        for (listens, expect) in [(false, closed), (true, listening)] {
            let mut net = Net::new();
            if listens {
                net.listener(B, "0.0.0.0:80", 8);
            }
            net.stack(B).on_packet(halfopen_core::SimTime::ZERO, stranger(flags, 100, 7, payload));
            let answer = net.stack(B).poll_transmit(halfopen_core::SimTime::ZERO).map(|packet| match packet.body {
                Body::Tcp(segment) => (segment.flags, segment.seq.0, segment.ack.0),
                body => panic!("{body:?}"),
            });
            let answer = answer.filter(|(flags, ..)| flags.has(RST));
            assert_eq!(answer, expect, "{flags:?} {payload:?} listening {listens}");
        }
    }
}

/// A client on A, a server on B, connected.
fn connected(net: &mut Net) -> (SocketId, SocketId) {
    let listener = net.listener(B, "0.0.0.0:80", 8);
    let client = net.connecting(A, "10.0.0.2:80");
    net.run(ms(10));
    let (server, _) = net.accept(B, listener).unwrap();
    (client, server)
}

#[test]
fn a_rebooted_peer_resets() {
    let mut net = Net::new();
    let (client, _) = connected(&mut net);
    net.stack(B).power_loss();
    net.run(ms(1000));
    assert_eq!(net.recv(A, client), Err(Errno::EAGAIN), "nothing was sent at the power loss");
    net.send(A, client, b"x").unwrap();
    net.run(ms(10));
    assert_eq!(net.recv(A, client), Err(Errno::ECONNRESET));
    assert_eq!(net.recv(A, client), Ok(vec![]), "once");
    assert_eq!(net.send(A, client, b"x"), Err(Errno::EPIPE));
}

#[test]
fn how_a_killed_process_looks_from_the_other_side() {
    // (bytes the server had not read) -> what the client reads
    for (unread, expect) in [(&b""[..], Ok(vec![])), (b"unread", Err(Errno::ECONNRESET))] {
        let mut net = Net::new();
        let (client, _) = connected(&mut net);
        if !unread.is_empty() {
            net.send(A, client, unread).unwrap();
            net.run(ms(100));
        }
        let now = net.now;
        net.stack(B).kill_all(now);
        net.run(ms(10));
        assert_eq!(net.recv(A, client), expect);
    }
}

#[test]
fn linger_zero_resets() {
    let mut net = Net::new();
    let (client, server) = connected(&mut net);
    let now = net.now;
    let options = SocketOptions { linger: Some(SimDuration::ZERO), ..SocketOptions::default() };
    net.stack(A).set_options(now, client, options);
    net.close(A, client);
    net.run(ms(10));
    assert_eq!(net.recv(B, server), Err(Errno::ECONNRESET));
    assert_eq!(net.stack(A).next_deadline(), None);
}

#[test]
fn a_closed_socket_lingers_until_its_data_is_acknowledged() {
    let mut net = Net::new();
    let (client, _) = connected(&mut net);
    net.send(A, client, b"last words").unwrap();
    net.close(A, client);
    assert!(net.stack(A).is_lingering(client));
    net.woken.clear();
    net.run(ms(100));
    assert!(!net.stack(A).is_lingering(client));
    assert!(net.woken.contains(&(A, client)), "whoever waits in close is woken");
}

#[test]
fn a_reset_fault_reaches_both_ends() {
    let mut net = Net::new();
    let (client, server) = connected(&mut net);
    net.woken.clear();
    let now = net.now;
    net.stack(A).reset_flows(now, Some("10.9.9.9".parse().unwrap()));
    net.run(ms(10));
    assert_eq!(net.recv(A, client), Err(Errno::EAGAIN), "another remote");
    let now = net.now;
    net.stack(A).reset_flows(now, Some(B4.parse().unwrap()));
    net.run(ms(10));
    assert!(net.woken.contains(&(A, client)));
    assert!(net.woken.contains(&(B, server)));
    assert_eq!(net.recv(A, client), Err(Errno::ECONNRESET));
    assert_eq!(net.recv(B, server), Err(Errno::ECONNRESET));
}

#[test]
fn power_loss_forgets_everything() {
    let mut net = Net::new();
    connected(&mut net);
    net.stack(A).power_loss();
    assert_eq!(net.stack(A).next_deadline(), None);
    let now = net.now;
    assert_eq!(net.stack(A).poll_transmit(now), None);
    let listener = net.listener(A, "0.0.0.0:80", 8);
    assert!(net.stack(A).is_listening(listener), "and may begin again");
}

#[test]
fn packets_that_cannot_be_are_dropped() {
    let good = stranger(SYN, 100, 0, b"");
    for (name, packet) in [
        ("for another host", Packet { dst: "10.0.0.3".parse().unwrap(), ..good.clone() }),
        ("from loopback", Packet { src: "127.0.0.1".parse().unwrap(), ..good.clone() }),
        ("to loopback", Packet { dst: "127.0.0.1".parse().unwrap(), ..good.clone() }),
        ("from the host itself", Packet { src: B4.parse().unwrap(), ..good.clone() }),
    ] {
        let mut net = Net::new();
        net.inject(B, packet);
        assert_eq!(net.trace, Vec::<String>::new(), "{name}");
        let told = net.count(|event| matches!(event, Event::PacketDropped { reason: DropReason::NoRoute, .. }));
        assert_eq!(told, 1, "{name}");
    }
}
