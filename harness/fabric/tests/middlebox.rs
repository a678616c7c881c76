//! What NATs and firewalls do to flows: refresh, expiry, and the packet that comes too late.
//!
//! Host 0 (and host 2) is inside, host 1 outside; between them a box with a timeout of 10 s, then a link of 1 ms.

mod common;

use std::net::SocketAddr;

use common::*;
use halfopen_core::event::{Direction, DropReason, EvictReason};
use halfopen_core::{Event, SimDuration};
use halfopen_fabric::config::{
    ElementConfig, ElementKind, FirewallConfig, LatePacket, LinkConfig, NatConfig, OnExpiry, Opens, PortPolicy,
    Refresh, RouteConfig, Side, StrayPacket, Timeouts, Tracking,
};
use halfopen_fabric::fault::{FaultKind, NetFault, Scope, Target};
use halfopen_fabric::packet::{Body, IcmpError, IcmpMessage, Packet, Protocol, SeqNum, TcpFlags};

/// Ten seconds for everything that lasts, and silence.
fn tracking() -> Tracking {
    let ten = secs(10);
    let timeouts = Timeouts {
        tcp_established: ten,
        tcp_max_retrans: ten,
        tcp_unacknowledged: ten,
        udp: secs(5),
        udp_stream: ten,
        ..Timeouts::LINUX
    };
    Tracking { timeouts, late: LatePacket::Drop, stray: StrayPacket::Drop, ..Tracking::default() }
}

fn nat_config(tracking: Tracking) -> NatConfig {
    NatConfig { addresses: vec![nat_ip()], inner: Side::First, ports: PortPolicy::default(), tracking }
}

fn behind_nat(config: NatConfig) -> Net {
    net(vec![RouteConfig { between: (vec![host(0), host(2)], vec![host(1)]), via: vec![nat(config), plain()] }])
}

fn firewall(opens: Opens, tracking: Tracking) -> Net {
    let kind = ElementKind::Firewall(FirewallConfig { opens, tracking });
    net(vec![route(vec![ElementConfig { name: None, kind }, plain()])])
}

fn inner() -> SocketAddr {
    at(ip(0), 40_000)
}

fn server() -> SocketAddr {
    at(ip(1), 80)
}

fn outer(port: u16) -> SocketAddr {
    at(nat_ip(), port)
}

/// Host 0 connects to host 1 and gives the address from which host 1 sees it.
fn connect(net: &mut Net) -> SocketAddr {
    let arrived = net.exchange(tcp(inner(), server(), SYN, 0));
    let info = arrived[0].packet.info();
    assert_eq!(info.dst, server());
    assert_eq!(net.exchange(tcp(server(), info.src, SYN_ACK, 0))[0].packet.info().dst, inner());
    assert_eq!(net.exchange(tcp(inner(), server(), ACK, 0))[0].packet.info().src, info.src);
    net.events.clear();
    info.src
}

/// What comes of a packet: which host gets which flags from whom to whom, and which drops there were.
type Outcome = (Vec<(u32, TcpFlags, SocketAddr, SocketAddr)>, Vec<DropReason>);

fn outcome(net: &mut Net, packet: Packet) -> Outcome {
    net.events.clear();
    let arrived = net.exchange(packet);
    let seen = arrived.iter().map(|delivery| {
        let info = delivery.packet.info();
        (delivery.host.index() as u32, info.flags, info.src, info.dst)
    });
    let seen = seen.collect();
    (seen, net.take_drops())
}

/// Evictions so far: reason and idle time.
fn evictions(net: &Net) -> Vec<(EvictReason, SimDuration)> {
    let evicted = net.events.iter().filter_map(|event| match event {
        Event::NatEvicted { reason, idle, .. } => Some((*reason, *idle)),
        _ => None,
    });
    evicted.collect()
}

#[test]
fn sources_are_translated_and_answers_translated_back() {
    let mut net = behind_nat(nat_config(tracking()));
    let syn = net.exchange(tcp(inner(), server(), SYN, 0));
    assert_eq!(syn[0].packet.info().src, outer(40_000), "the port is kept");
    assert!(net.events.contains(&Event::NatCreated {
        element: halfopen_core::id::ElementId::new(0),
        protocol: Protocol::Tcp,
        inner: inner(),
        outer: outer(40_000),
        remote: server(),
    }));
    let (seen, drops) = outcome(&mut net, tcp(server(), outer(40_000), SYN_ACK, 0));
    assert_eq!((seen, drops), (vec![(0, SYN_ACK, server(), inner())], vec![]));
    assert_eq!(syn[0].packet.ttl, 63);
}

#[test]
fn a_port_that_is_taken_is_replaced() {
    let mut net = behind_nat(nat_config(tracking()));
    connect(&mut net);
    let other = net.exchange(tcp(at(ip(2), 40_000), server(), SYN, 0))[0].packet.info().src;
    assert!(other.ip() == nat_ip() && other.port() != 40_000);
    // Towards another remote the port is free.
    let elsewhere = net.exchange(tcp(at(ip(2), 40_000), at(ip(1), 81), SYN, 0))[0].packet.info().src;
    assert_eq!(elsewhere, outer(40_000));
    // Each gets its own answers.
    let (seen, _) = outcome(&mut net, tcp(server(), other, SYN_ACK, 0));
    assert_eq!(seen, [(2, SYN_ACK, server(), at(ip(2), 40_000))]);
}

#[test]
fn ports_run_out_for_one_remote_only() {
    let ports = PortPolicy { keep: false, first: 2000, last: 2003 };
    let mut net = behind_nat(NatConfig { ports, ..nat_config(tracking()) });
    let mut seen: Vec<SocketAddr> =
        (0..4).map(|n| net.exchange(udp(at(ip(0), 1000 + n), server(), 1))[0].packet.info().src).collect();
    seen.sort_unstable();
    assert_eq!(seen, [outer(2000), outer(2001), outer(2002), outer(2003)]);
    net.events.clear();
    assert_eq!(net.exchange(udp(at(ip(0), 1004), server(), 1)), []);
    assert_eq!(net.take_drops(), [DropReason::NatFull]);
    assert_eq!(net.exchange(udp(at(ip(0), 1004), at(ip(1), 81), 1)).len(), 1);
    // The timeout of one-way UDP frees them.
    net.run_for(secs(5));
    assert_eq!(net.exchange(udp(at(ip(0), 1004), server(), 1)).len(), 1);
}

#[test]
fn more_addresses_give_more_ports() {
    let ports = PortPolicy { keep: false, first: 2000, last: 2000 };
    let addresses = vec![nat_ip(), [203, 0, 113, 2].into()];
    let mut net = behind_nat(NatConfig { ports, addresses, ..nat_config(tracking()) });
    let first = net.exchange(udp(at(ip(0), 1000), server(), 1))[0].packet.src;
    let second = net.exchange(udp(at(ip(0), 1001), server(), 1))[0].packet.src;
    assert_ne!(first, second);
    assert_eq!(net.exchange(udp(at(ip(0), 1002), server(), 1)), []);
}

#[test]
fn a_full_table_takes_no_more() {
    let mut net = behind_nat(nat_config(Tracking { table_size: 1, ..tracking() }));
    connect(&mut net);
    let (seen, drops) = outcome(&mut net, tcp(at(ip(2), 1), server(), SYN, 0));
    assert_eq!((seen, drops), (vec![], vec![DropReason::NatFull]));
    net.run_for(secs(10));
    assert_eq!(net.exchange(tcp(at(ip(2), 1), server(), SYN, 0)).len(), 1);
}

#[test]
fn an_idle_entry_goes_at_its_very_instant() {
    let mut net = behind_nat(nat_config(tracking()));
    connect(&mut net);
    let last_packet = net.now.as_millis() - 1000;
    net.run_until(t(last_packet + 9_999));
    assert_eq!(evictions(&net), []);
    net.run_until(t(last_packet + 10_000));
    assert_eq!(evictions(&net), [(EvictReason::Idle, secs(10))]);
}

#[test]
fn a_packet_in_time_keeps_the_entry() {
    let mut net = behind_nat(nat_config(tracking()));
    connect(&mut net);
    for _ in 0..5 {
        net.run_for(secs(8));
        assert_eq!(net.exchange(tcp(inner(), server(), ACK, 0)).len(), 1);
    }
    assert_eq!(evictions(&net), []);
}

#[test]
fn only_the_direction_that_counts_refreshes() {
    for (refresh, from_inner, survives) in [
        (Refresh::Both, true, true),
        (Refresh::Both, false, true),
        (Refresh::Outbound, true, true),
        (Refresh::Outbound, false, false),
        (Refresh::Inbound, true, false),
        (Refresh::Inbound, false, true),
    ] {
        let mut net = behind_nat(nat_config(Tracking { refresh, ..tracking() }));
        let seen_as = connect(&mut net);
        net.run_for(secs(5));
        let packet = if from_inner { tcp(inner(), server(), ACK, 0) } else { tcp(server(), seen_as, ACK, 0) };
        assert_eq!(net.exchange(packet).len(), 1);
        net.run_for(secs(5));
        assert_eq!(evictions(&net).is_empty(), survives, "{refresh:?}, from inside: {from_inner}");
    }
}

/// A flow idles for 20 s behind such a box; then the inner end sends.
fn late(late: LatePacket, flags: TcpFlags) -> (Net, Outcome) {
    let mut net = behind_nat(nat_config(Tracking { late, ..tracking() }));
    connect(&mut net);
    net.run_for(secs(20));
    let seen = outcome(&mut net, tcp(inner(), server(), flags, 10));
    (net, seen)
}

#[test]
fn a_late_packet_is_dropped() {
    assert_eq!(late(LatePacket::Drop, ACK).1, (vec![], vec![DropReason::NatNoEntry]));
}

#[test]
fn a_late_packet_is_answered_with_a_reset() {
    let (net, seen) = late(LatePacket::Reset, ACK);
    assert_eq!(seen, (vec![(0, RST, server(), inner())], vec![DropReason::NatNoEntry]));
    let Body::Tcp(rst) = &net.delivered.last().unwrap().1.packet.body else { panic!() };
    assert_eq!(rst.seq, SeqNum(2000), "numbered as the sender expects it");
    // Nobody answers a reset.
    assert_eq!(late(LatePacket::Reset, RST).1, (vec![], vec![DropReason::NatNoEntry]));
}

#[test]
fn a_late_packet_is_picked_up_on_its_old_port() {
    assert_eq!(late(LatePacket::PickUp, ACK).1, (vec![(1, ACK, outer(40_000), server())], vec![]));
    // But nothing that does not look like the middle of a connection.
    assert_eq!(late(LatePacket::PickUp, FIN_ACK).1, (vec![], vec![DropReason::NatNoEntry]));
}

#[test]
fn a_late_packet_is_remapped_to_another_port() {
    let (_, (seen, drops)) = late(LatePacket::Remap, ACK);
    let [(1, ACK, from, _)] = seen[..] else { panic!("{seen:?}") };
    assert!(from.ip() == nat_ip() && from.port() != 40_000, "{from}");
    assert_eq!(drops, []);
}

#[test]
fn a_late_packet_is_forwarded_with_its_private_address() {
    let (mut net, seen) = late(LatePacket::ForwardUntranslated, ACK);
    assert_eq!(seen, (vec![(1, ACK, inner(), server())], vec![]));
    // No way leads back.
    let answer = outcome(&mut net, tcp(server(), inner(), RST, 0));
    assert_eq!(answer, (vec![], vec![DropReason::NatNoEntry]));
}

#[test]
fn strays_from_outside_are_dropped_or_answered() {
    let mut net = behind_nat(nat_config(tracking()));
    let stray = tcp(server(), outer(5), ACK, 1);
    assert_eq!(outcome(&mut net, stray.clone()), (vec![], vec![DropReason::NatNoEntry]));
    let mut net = behind_nat(nat_config(Tracking { stray: StrayPacket::Reset, ..tracking() }));
    assert_eq!(outcome(&mut net, stray), (vec![(1, RST, outer(5), server())], vec![DropReason::NatNoEntry]));
    // UDP hears that the port is unreachable.
    let heard = net.exchange(udp(server(), outer(5), 1));
    let Body::Icmp(IcmpMessage::Error { error, quoted }) = heard[0].packet.body else { panic!() };
    assert_eq!((error, quoted.src, quoted.dst), (IcmpError::Unreachable { code: 3 }, server(), outer(5)));
}

#[test]
fn the_box_can_reset_both_ends_when_it_forgets() {
    for (on_expiry, told) in [
        (OnExpiry::Silent, vec![]),
        (OnExpiry::ResetInner, vec![(0, server(), inner())]),
        (OnExpiry::ResetBoth, vec![(0, server(), inner()), (1, outer(40_000), server())]),
    ] {
        let mut net = behind_nat(nat_config(Tracking { on_expiry, ..tracking() }));
        connect(&mut net);
        // What each end expects next: 1000 + 10 from the inside, 2000 from the outside.
        net.exchange(tcp(inner(), server(), ACK, 10));
        let before = net.delivered.len();
        net.run_for(secs(20));
        let seen: Vec<_> = net.delivered[before..]
            .iter()
            .map(|(_, delivery)| {
                let info = delivery.packet.info();
                assert_eq!(info.flags, RST_ACK);
                let (seq, ack) = if delivery.host == host(0) { (2000, 1010) } else { (2000, 1001) };
                assert_eq!((info.seq, info.ack), (seq, ack));
                (delivery.host.index() as u32, info.src, info.dst)
            })
            .collect();
        assert_eq!(seen, told, "{on_expiry:?}");
    }
}

#[test]
fn a_closed_connection_is_forgotten_as_closed() {
    let mut net = behind_nat(nat_config(tracking()));
    connect(&mut net);
    net.send(tcp(inner(), server(), RST, 0));
    net.run_for(secs(10));
    assert_eq!(evictions(&net), [(EvictReason::Closed, secs(10))]);
}

#[test]
fn udp_lives_longer_once_it_was_answered() {
    let mut net = behind_nat(nat_config(tracking()));
    net.exchange(udp(inner(), server(), 1));
    net.run_for(secs(20));
    assert_eq!(evictions(&net), [(EvictReason::Idle, secs(5))]);
    net.events.clear();
    net.exchange(udp(inner(), server(), 1));
    assert_eq!(net.exchange(udp(server(), outer(40_000), 1)).len(), 1);
    net.run_for(secs(20));
    assert_eq!(evictions(&net), [(EvictReason::Idle, secs(10))]);
}

#[test]
fn echo_passes_and_its_answer_too() {
    let mut net = behind_nat(nat_config(tracking()));
    let echo = |body| Packet { body: Body::Icmp(body), ..udp(inner(), server(), 0) };
    let there = net.exchange(echo(IcmpMessage::EchoRequest { id: 9, seq: 1, payload: vec![].into() }));
    assert_eq!(there[0].packet.src, nat_ip());
    let body = Body::Icmp(IcmpMessage::EchoReply { id: 9, seq: 1, payload: vec![].into() });
    let back = net.exchange(Packet { body, ..udp(server(), outer(0), 0) });
    assert_eq!((back[0].host, back[0].packet.dst), (host(0), ip(0)));
}

#[test]
fn icmp_errors_are_translated_with_what_they_quote() {
    let narrow = LinkConfig { mtu: 1400, ..LinkConfig::default() };
    let config = nat_config(tracking());
    let via = vec![plain(), nat(config), link(narrow)];
    let mut net = net(vec![RouteConfig { between: (vec![host(0)], vec![host(1)]), via }]);
    connect(&mut net);
    let heard = net.exchange(tcp(inner(), server(), ACK, 1460));
    let Body::Icmp(IcmpMessage::Error { error, quoted }) = heard[0].packet.body else { panic!() };
    assert_eq!((heard[0].host, heard[0].packet.dst, error), (host(0), ip(0), IcmpError::TooBig { mtu: 1400 }));
    assert_eq!((quoted.src, quoted.dst), (inner(), server()));
    // The other way: the server hears about the address that it knows.
    let refused = IcmpMessage::Error {
        error: IcmpError::Unreachable { code: 3 },
        quoted: halfopen_fabric::packet::Quoted { src: server(), dst: inner(), ..quoted },
    };
    let heard = net.exchange(Packet { body: Body::Icmp(refused), ..udp(inner(), server(), 0) });
    let Body::Icmp(IcmpMessage::Error { quoted, .. }) = heard[0].packet.body else { panic!() };
    assert_eq!((heard[0].packet.src, quoted.src, quoted.dst), (nat_ip(), server(), outer(40_000)));
}

#[test]
fn fragments_are_put_together_before_they_are_translated() {
    let narrow = LinkConfig { mtu: 600, ..LinkConfig::default() };
    let via = vec![link(narrow), nat(nat_config(tracking())), plain()];
    let mut net = net(vec![RouteConfig { between: (vec![host(0)], vec![host(1)]), via }]);
    let big = Packet { dont_fragment: false, ..udp(inner(), server(), 1400) };
    let arrived = net.exchange(big.clone());
    let expected = Packet { src: nat_ip(), ttl: 63, ..big };
    assert_eq!(arrived.into_iter().map(|delivery| *delivery.packet).collect::<Vec<_>>(), [expected]);
}

#[test]
fn a_fragment_alone_is_given_up_at_the_box() {
    let mut net = behind_nat(nat_config(tracking()));
    let big = Packet { dont_fragment: false, ..udp(inner(), server(), 1400) };
    net.send(halfopen_fabric::reassembly::split(big, 600).swap_remove(0));
    net.run_for(secs(60));
    assert_eq!(net.take_drops(), [DropReason::ReassemblyTimeout]);
}

#[test]
fn one_nat_can_stand_on_several_routes() {
    let shared = || named("gateway", nat(nat_config(tracking())));
    let slow = LinkConfig { latency: halfopen_fabric::config::Delay::Fixed(ms(5)), ..LinkConfig::default() };
    let mut net = net(vec![
        RouteConfig { between: (vec![host(0)], vec![host(1)]), via: vec![plain(), shared(), plain()] },
        RouteConfig { between: (vec![host(2)], vec![host(1)]), via: vec![link(slow), shared(), plain()] },
    ]);
    connect(&mut net);
    let other = net.exchange(tcp(at(ip(2), 40_000), server(), SYN, 0))[0].packet.info().src;
    assert_ne!(other, outer(40_000), "one table for both");
    // The answer goes on along the route of the host behind: 1 ms and 5 ms.
    let sent = net.now;
    net.exchange(tcp(server(), other, SYN_ACK, 0));
    let (time, delivery) = net.delivered.last().unwrap();
    assert_eq!((delivery.host, time.since(sent)), (host(2), ms(6)));
}

#[test]
fn nats_can_stand_behind_one_another() {
    let second = NatConfig { addresses: vec![[198, 51, 100, 1].into()], ..nat_config(tracking()) };
    let via = vec![nat(nat_config(tracking())), plain(), nat(second), plain()];
    let mut net = net(vec![RouteConfig { between: (vec![host(0)], vec![host(1)]), via }]);
    let seen_as = connect(&mut net);
    assert_eq!(seen_as, at([198, 51, 100, 1].into(), 40_000));
}

#[test]
fn the_inner_side_can_be_the_second() {
    let config = NatConfig { inner: Side::Second, ..nat_config(tracking()) };
    let via = vec![plain(), nat(config)];
    let mut net = net(vec![RouteConfig { between: (vec![host(1)], vec![host(0)]), via }]);
    assert_eq!(connect(&mut net), outer(40_000));
}

#[test]
fn a_corrupt_packet_begins_nothing_and_keeps_nothing_alive() {
    let mut net = behind_nat(nat_config(tracking()));
    let corrupt = |flags| Packet { corrupt: true, ..tcp(inner(), server(), flags, 0) };
    assert_eq!(outcome(&mut net, corrupt(SYN)), (vec![], vec![DropReason::NatNoEntry]));
    connect(&mut net);
    net.run_for(secs(5));
    assert_eq!(outcome(&mut net, corrupt(RST)), (vec![(1, RST, outer(40_000), server())], vec![]));
    net.run_for(secs(5));
    assert_eq!(evictions(&net), [(EvictReason::Idle, secs(10))]);
}

#[test]
fn ipv6_passes_a_nat_without_an_ipv6_address() {
    let mut net = behind_nat(nat_config(tracking()));
    let there = net.exchange(tcp(at(ip6(0), 1), at(ip6(1), 2), SYN, 0));
    assert_eq!(there[0].packet.src, ip6(0));
}

// ---- faults ----

#[test]
fn eviction_takes_the_flow_that_was_idle_longest() {
    let mut net = behind_nat(nat_config(tracking()));
    connect(&mut net);
    net.exchange(udp(at(ip(2), 50_009), server(), 1));
    net.apply(0, &everywhere(FaultKind::NatEvict { flows: 1 }));
    assert_eq!(evictions(&net), [(EvictReason::Evicted, secs(2))]);
    net.events.clear();
    assert_eq!(net.exchange(udp(server(), outer(50_009), 1)).len(), 1, "the other is still there");
    let (seen, drops) = outcome(&mut net, tcp(inner(), server(), ACK, 0));
    assert_eq!((seen, drops), (vec![], vec![DropReason::NatNoEntry]));
}

#[test]
fn eviction_can_be_for_the_flows_of_some_hosts() {
    let mut net = behind_nat(nat_config(tracking()));
    connect(&mut net);
    net.exchange(udp(at(ip(2), 50_009), server(), 1));
    net.apply(0, &pairs(&[2], &[1], None, FaultKind::NatEvict { flows: 10 }));
    assert_eq!(evictions(&net), [(EvictReason::Evicted, secs(1))]);
    assert_eq!(net.exchange(tcp(inner(), server(), ACK, 0)).len(), 1);
}

#[test]
fn a_flush_forgets_all() {
    let mut net = behind_nat(nat_config(tracking()));
    connect(&mut net);
    net.exchange(udp(at(ip(2), 50_009), server(), 1));
    net.apply(0, &everywhere(FaultKind::NatFlush));
    assert_eq!(evictions(&net), [(EvictReason::Flushed, secs(2)), (EvictReason::Flushed, secs(1))]);
    let (_, drops) = outcome(&mut net, tcp(inner(), server(), ACK, 0));
    assert_eq!(drops, [DropReason::NatNoEntry]);
    assert_eq!(net.exchange(tcp(inner(), server(), SYN, 0)).len(), 1);
}

#[test]
fn a_box_that_reboots_is_away_until_it_is_back() {
    let mut net = behind_nat(nat_config(tracking()));
    connect(&mut net);
    let scope = Scope { target: Target::Route(halfopen_core::id::RouteId::new(0)), direction: None };
    net.apply(0, &NetFault { scope, kind: FaultKind::NatReboot });
    assert_eq!(outcome(&mut net, tcp(inner(), server(), SYN, 0)), (vec![], vec![DropReason::Fault]));
    net.lift(0);
    let (_, drops) = outcome(&mut net, tcp(inner(), server(), ACK, 0));
    assert_eq!(drops, [DropReason::NatNoEntry]);
    assert_eq!(net.exchange(tcp(inner(), server(), SYN, 0)).len(), 1);
}

#[test]
fn a_box_that_is_full_serves_the_flows_it_has() {
    let mut net = behind_nat(nat_config(tracking()));
    connect(&mut net);
    net.apply(3, &everywhere(FaultKind::NatFull));
    assert_eq!(net.exchange(tcp(inner(), server(), ACK, 0)).len(), 1);
    assert_eq!(outcome(&mut net, tcp(at(ip(2), 1), server(), SYN, 0)), (vec![], vec![DropReason::NatRefusing]));
    net.lift(3);
    assert_eq!(net.exchange(tcp(at(ip(2), 1), server(), SYN, 0)).len(), 1);
}

// ---- firewalls ----

#[test]
fn a_firewall_lets_flows_begin_on_one_side_only() {
    for (opens, first, second) in [(Opens::First, true, false), (Opens::Second, false, true), (Opens::Both, true, true)]
    {
        let mut from_first = firewall(opens, tracking());
        let mut from_second = firewall(opens, tracking());
        assert_eq!(!from_first.exchange(tcp(inner(), server(), SYN, 0)).is_empty(), first, "{opens:?}");
        assert_eq!(!from_second.exchange(tcp(server(), inner(), SYN, 0)).is_empty(), second, "{opens:?}");
        if !second {
            assert_eq!(from_second.take_drops(), [DropReason::FirewallNoEntry]);
        }
    }
}

#[test]
fn a_firewall_changes_no_address_and_forgets_like_a_nat() {
    let mut net = firewall(Opens::First, tracking());
    assert_eq!(connect(&mut net), inner());
    assert_eq!(net.exchange(tcp(server(), inner(), ACK, 5)).len(), 1);
    net.run_for(secs(20));
    assert_eq!(evictions(&net), [(EvictReason::Idle, secs(10))]);
    assert_eq!(outcome(&mut net, tcp(server(), inner(), ACK, 5)), (vec![], vec![DropReason::FirewallNoEntry]));
    assert_eq!(outcome(&mut net, tcp(inner(), server(), ACK, 5)), (vec![], vec![DropReason::FirewallNoEntry]));
}

#[test]
fn a_cloud_firewall_hears_nothing_from_outside_until_something_goes_out() {
    let mut net = firewall(Opens::First, Tracking { late: LatePacket::PickUp, ..tracking() });
    connect(&mut net);
    net.run_for(secs(20));
    assert_eq!(outcome(&mut net, tcp(server(), inner(), ACK, 5)), (vec![], vec![DropReason::FirewallNoEntry]));
    assert_eq!(net.exchange(tcp(inner(), server(), ACK, 5)).len(), 1);
    assert_eq!(net.exchange(tcp(server(), inner(), ACK, 5)).len(), 1);
}

#[test]
fn a_firewall_open_on_both_sides_tracks_from_either() {
    let mut net = firewall(Opens::Both, Tracking { on_expiry: OnExpiry::ResetBoth, ..tracking() });
    net.exchange(tcp(server(), inner(), SYN, 0));
    net.exchange(tcp(inner(), server(), SYN_ACK, 0));
    net.exchange(tcp(server(), inner(), ACK, 0));
    let before = net.delivered.len();
    net.run_for(secs(20));
    let told: Vec<_> = net.delivered[before..].iter().map(|(_, delivery)| delivery.host).collect();
    assert_eq!(told, [host(0), host(1)]);
}

#[test]
fn what_a_box_drops_is_told_with_its_place() {
    let mut net = firewall(Opens::First, tracking());
    net.exchange(tcp(server(), inner(), SYN, 0));
    let packet = tcp(server(), inner(), SYN, 0).info();
    assert!(net.events.contains(&Event::PacketDropped {
        element: Some(halfopen_core::id::ElementId::new(0)),
        direction: Some(Direction::Backward),
        reason: DropReason::FirewallNoEntry,
        packet,
    }));
}
