//! Path-MTU discovery as seen by TCP connections and by those that come after them.

use halfopen_core::Event;
use halfopen_fabric::packet::{IcmpError, Packet};
use halfopen_netstack::socket::SocketId;

use crate::common::Side::{A, B};
use crate::common::*;

/// A path of this MTU whose routers speak.
fn narrow(net: &mut Net, mtu: u32) {
    net.on_wire(move |_, packet: &Packet| {
        if packet.wire_len() > mtu as usize && packet.dont_fragment {
            Fate::Answer(about(packet, IcmpError::TooBig { mtu }))
        } else {
            Fate::Pass
        }
    });
}

fn connected(net: &mut Net, listener: SocketId) -> (SocketId, SocketId) {
    let client = net.connecting(A, "10.0.0.2:80");
    net.run(ms(10));
    let (server, _) = net.accept(B, listener).unwrap();
    (client, server)
}

fn mss(net: &mut Net, socket: SocketId) -> u32 {
    net.stack(A).tcp_info(socket).unwrap().send_mss
}

#[test]
fn one_connection_learns_and_the_next_one_knows() {
    let mut net = Net::new();
    narrow(&mut net, 1400);
    let listener = net.listener(B, "0.0.0.0:80", 8);
    let (client, server) = connected(&mut net, listener);
    assert_eq!(mss(&mut net, client), 1448);
    net.send(A, client, &[1; 14_480]).unwrap();
    net.run(ms(100));
    assert_eq!(mss(&mut net, client), 1348);
    assert_eq!(net.stack(A).path_mtu(client), Some(1400));
    assert_eq!(net.recv(B, server).unwrap().len(), 14_480, "no timeout was needed");
    let learned = net.count(|event| matches!(event, Event::PathMtu { mtu: 1400, .. }));
    assert_eq!(learned, 1);
    let (next, _) = connected(&mut net, listener);
    assert_eq!(mss(&mut net, next), 1348, "the next connection starts with it");
    // IPv6 has a path of its own.
    net.listener(B, "[fd00::2]:81", 8);
    let other = net.connecting(A, "[fd00::2]:81");
    net.run(ms(10));
    assert_eq!(net.stack(A).tcp_info(other).unwrap().path_mtu, 1500);
}

#[test]
fn a_path_below_min_pmtu_is_fragmented_on_the_way() {
    let mut net = Net::new();
    narrow(&mut net, 500);
    let listener = net.listener(B, "0.0.0.0:80", 8);
    let (client, server) = connected(&mut net, listener);
    net.send(A, client, &[1; 5_000]).unwrap();
    net.run(ms(1_000));
    assert_eq!(mss(&mut net, client), 500, "552 less 52 bytes of headers");
    assert_eq!(net.recv(B, server).unwrap().len(), 5_000);
    assert!(net.trace.iter().any(|line| line.contains("len 500") && !line.contains("DF")));
}

#[test]
fn what_was_learned_is_forgotten_after_ten_minutes() {
    let mut net = Net::new();
    narrow(&mut net, 1400);
    let listener = net.listener(B, "0.0.0.0:80", 8);
    let (client, _) = connected(&mut net, listener);
    net.send(A, client, &[1; 14_480]).unwrap();
    net.run(ms(599_000));
    let (before, _) = connected(&mut net, listener);
    assert_eq!(mss(&mut net, before), 1348);
    net.run(ms(2_000));
    let (after, _) = connected(&mut net, listener);
    assert_eq!(mss(&mut net, after), 1448);
}

#[test]
fn connections_share_what_one_of_them_learned() {
    let mut net = Net::new();
    narrow(&mut net, 1400);
    let listener = net.listener(B, "0.0.0.0:80", 8);
    let (first, _) = connected(&mut net, listener);
    let (second, _) = connected(&mut net, listener);
    net.send(A, first, &[1; 1448]).unwrap();
    net.run(ms(100));
    assert_eq!(mss(&mut net, second), 1348);
    // Ten minutes later both try again with full segments.
    net.run(ms(600_000));
    assert_eq!(mss(&mut net, first), 1448);
    assert_eq!(mss(&mut net, second), 1448);
}

#[test]
fn ipv6_learns_too_and_believes_nothing_below_1280() {
    // As recorded on Linux 6.18: tests/fidelity, ipv6/too-big-below-1280.
    let segment = |mtu: u32| mtu - 40 - 20 - 12;
    for (mtu, mss_expected) in [(1300, segment(1300)), (1280, segment(1280)), (1279, segment(1500))] {
        let mut net = Net::new();
        net.on_wire(move |_, packet: &Packet| {
            if packet.wire_len() > mtu as usize {
                Fate::Answer(about(packet, IcmpError::TooBig { mtu }))
            } else {
                Fate::Pass
            }
        });
        net.listener(B, "[::]:80", 8);
        let client = net.connecting(A, "[fd00::2]:80");
        net.run(ms(10));
        net.send(A, client, &[1; 5_000]).unwrap();
        net.run(ms(100));
        assert_eq!(mss(&mut net, client), mss_expected, "a link of {mtu}");
    }
}
