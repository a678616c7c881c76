//! Any network, any packets, any faults: nothing panics, time never goes back, and the books balance.

#[path = "common/arbitrary.rs"]
mod arbitrary;
mod common;

use std::net::IpAddr;

use common::*;
use halfopen_core::event::Direction;
use halfopen_core::id::RouteId;
use halfopen_core::{Event, Ratio, SimDuration};
use halfopen_fabric::config::{
    ClampMss, Delay, ElementConfig, ElementKind, FabricConfig, FirewallConfig, GilbertElliott, IcmpPolicy, LatePacket,
    LinkConfig, NatConfig, OnExpiry, Opens, PortPolicy, QueueLimit, Refresh, Reorder, RouteConfig, Side, StrayPacket,
    Timeouts, Tracking,
};
use halfopen_fabric::fault::{FaultKind, NetFault, Scope, Target};
use halfopen_fabric::packet::Packet;
use halfopen_fabric::wire;
use proptest::prelude::*;
use proptest::sample::select;

fn share() -> impl Strategy<Value = Ratio> {
    prop_oneof![
        3 => Just(Ratio::ZERO),
        3 => (0u32..1_000_000_000).prop_map(Ratio::from_billionths),
        1 => Just(Ratio::ONE),
    ]
}

fn span() -> impl Strategy<Value = SimDuration> {
    prop_oneof![Just(SimDuration::ZERO), (0u64..50_000_000).prop_map(SimDuration::from_nanos)]
}

fn delay() -> impl Strategy<Value = Delay> {
    // Distributions with tables cost a millisecond each to make: few of them here.
    prop_oneof![
        8 => span().prop_map(Delay::Fixed),
        4 => (span(), span()).prop_map(|(a, b)| Delay::Uniform { min: a.min(b), max: a.max(b) }),
        1 => (span(), span()).prop_map(|(mean, deviation)| Delay::Pareto { mean, deviation }),
    ]
}

fn icmp() -> impl Strategy<Value = IcmpPolicy> {
    select(&[IcmpPolicy::Allowed, IcmpPolicy::Blocked][..])
}

prop_compose! {
    fn a_link()(
        latency in delay(), jitter in span(), loss in share(), duplicate in share(), corrupt in share(),
        burst in prop::option::of((share(), share(), share(), share())),
        reorder in (share(), span()),
        bandwidth in prop::option::of(1_000u64..10_000_000),
        queue in prop_oneof![(0u64..5000).prop_map(QueueLimit::Bytes), (0u32..5).prop_map(QueueLimit::Packets)],
        mtu in 68u32..1600, icmp in icmp(),
        clamp_mss in prop_oneof![Just(ClampMss::Off), Just(ClampMss::ToMtu), any::<u16>().prop_map(ClampMss::To)],
    ) -> LinkConfig {
        let burst = burst.map(|(to_bad, to_good, loss_bad, loss_good)| {
            GilbertElliott { to_bad, to_good, loss_bad, loss_good }
        });
        let reorder = Reorder { share: reorder.0, by: reorder.1 };
        LinkConfig { latency, jitter, loss, burst, duplicate, reorder, corrupt, bandwidth, queue, mtu, icmp, clamp_mss }
    }
}

prop_compose! {
    fn tracking()(
        refresh in select(&[Refresh::Both, Refresh::Outbound, Refresh::Inbound][..]),
        on_expiry in select(&[OnExpiry::Silent, OnExpiry::ResetInner, OnExpiry::ResetBoth][..]),
        late in select(&[
            LatePacket::Drop, LatePacket::Reset, LatePacket::PickUp, LatePacket::Remap, LatePacket::ForwardUntranslated,
        ][..]),
        stray in select(&[StrayPacket::Drop, StrayPacket::Reset][..]),
        table_size in 1u32..6,
        established in 1u64..500, other in 1u64..500,
    ) -> Tracking {
        let timeouts = Timeouts {
            tcp_established: ms(established), tcp_syn_sent: ms(other), udp: ms(other), icmp: ms(other),
            ..Timeouts::LINUX
        };
        Tracking { timeouts, refresh, on_expiry, late, stray, table_size }
    }
}

/// A NAT whose address ends in `number`, a firewall or a link.
fn element(number: u8) -> BoxedStrategy<ElementConfig> {
    let nat = (tracking(), any::<bool>(), any::<bool>(), 1u16..100).prop_map(move |(tracking, keep, second, last)| {
        let ports = PortPolicy { keep, first: 1, last };
        let inner = if second { Side::Second } else { Side::First };
        ElementKind::Nat(NatConfig { addresses: vec![[203, 0, 113, number].into()], inner, ports, tracking })
    });
    let firewall = (tracking(), select(&[Opens::First, Opens::Second, Opens::Both][..]))
        .prop_map(|(tracking, opens)| ElementKind::Firewall(FirewallConfig { opens, tracking }));
    prop_oneof![a_link().prop_map(ElementKind::Link), nat, firewall]
        .prop_map(move |kind| ElementConfig { name: Some(format!("e{number}")), kind })
        .boxed()
}

prop_compose! {
    /// Hosts 0 and 2 reach host 1 through some elements, and host 3 through others; the rest has no route.
    fn config()(
        seed: u64, default_link in a_link(), lengths in (0usize..4, 0usize..3),
        elements in (element(1), element(2), element(3), element(4), element(5)),
    ) -> FabricConfig {
        let (a, b, c, d, e) = elements;
        let first: Vec<_> = [a, b, c].into_iter().take(lengths.0).collect();
        let second: Vec<_> = [d, e].into_iter().take(lengths.1).collect();
        let to_1 = RouteConfig { between: (vec![host(0), host(2)], vec![host(1)]), via: first };
        let to_3 = RouteConfig { between: (vec![host(0)], vec![host(3)]), via: second };
        FabricConfig { seed, default_link, routes: vec![to_1, to_3] }
    }
}

fn fault_kind() -> impl Strategy<Value = FaultKind> {
    prop_oneof![
        share().prop_map(|share| FaultKind::Loss { share }),
        delay().prop_map(|add| FaultKind::Latency { add }),
        (0u64..1_000_000).prop_map(|bits_per_second| FaultKind::Bandwidth { bits_per_second }),
        share().prop_map(|share| FaultKind::Duplicate { share }),
        (share(), span()).prop_map(|(share, by)| FaultKind::Reorder { share, by }),
        share().prop_map(|share| FaultKind::Corrupt { share }),
        (0u32..1600, icmp()).prop_map(|(mtu, icmp)| FaultKind::Mtu { mtu, icmp }),
        (delay(), span()).prop_map(|(latency, gap)| FaultKind::RouteChange { latency, gap }),
        (0u32..3).prop_map(|flows| FaultKind::NatEvict { flows }),
        Just(FaultKind::NatFlush),
        Just(FaultKind::NatReboot),
        Just(FaultKind::NatFull),
    ]
}

fn fault() -> BoxedStrategy<NetFault> {
    let target = prop_oneof![
        Just(Target::Everything),
        (0u32..4, 0u32..4).prop_map(|(a, b)| Target::Pairs(vec![host(a)], vec![host(b)])),
        (0u32..4).prop_map(|number| Target::Route(RouteId::new(number))),
        (0u8..7).prop_map(|number| Target::Element(format!("e{number}"))),
    ];
    let direction = select(&[None, Some(Direction::Forward), Some(Direction::Backward)][..]);
    (target, direction, fault_kind())
        .prop_map(|(target, direction, kind)| NetFault { scope: Scope { target, direction }, kind })
        .boxed()
}

#[derive(Clone, Debug)]
enum Step {
    Send(Packet),
    /// An answer to the packet that was delivered last, from its receiver.
    Answer(Packet),
    Wait(SimDuration),
    Apply(u32, NetFault),
    Lift(u32),
}

/// Addresses that packets go to: hosts, NATs, and nobody's.
fn destination() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        6 => (0u32..4).prop_map(ip),
        2 => (1u8..6).prop_map(|number| IpAddr::from([203, 0, 113, number])),
        1 => Just(IpAddr::from([192, 0, 2, 1])),
    ]
}

fn step() -> BoxedStrategy<Step> {
    let v4 = (0u32..4, destination()).prop_flat_map(|(from, to)| arbitrary::packet(ip(from), to, 1600));
    let v6 = (0u32..4, 0u32..4).prop_flat_map(|(from, to)| arbitrary::packet(ip6(from), ip6(to), 1600));
    // Few ports, so that packets meet.
    let few = |mut packet: Packet| {
        if let halfopen_fabric::packet::Body::Tcp(segment) = &mut packet.body {
            segment.src_port %= 4;
            segment.dst_port %= 4;
        }
        packet
    };
    prop_oneof![
        6 => v4.prop_map(few).prop_map(Step::Send),
        1 => v6.prop_map(few).prop_map(Step::Send),
        4 => arbitrary::packet(ip(0), ip(1), 50).prop_map(Step::Answer),
        4 => (0u64..300_000_000).prop_map(|nanos| Step::Wait(SimDuration::from_nanos(nanos))),
        1 => (0u32..3, fault()).prop_map(|(id, fault)| Step::Apply(id, fault)),
        1 => (0u32..3).prop_map(Step::Lift),
    ]
    .boxed()
}

/// Runs the steps and gives everything that was said.
fn run(config: &FabricConfig, steps: &[Step]) -> (Net, Vec<Event>) {
    let mut net = Net::new(config.clone());
    for step in steps {
        match step {
            Step::Send(packet) => net.send(packet.clone()),
            Step::Answer(packet) => answer(&mut net, packet.clone()),
            Step::Wait(span) => net.run_for(*span),
            Step::Apply(id, fault) => net.apply(*id, fault),
            Step::Lift(id) => net.lift(*id),
        }
    }
    net.run_for(secs(40)); // Longer than fragments wait.
    net.close();
    let events = net.events.clone();
    (net, events)
}

/// Turns a packet round, so that it belongs to the flow of what arrived last.
fn answer(net: &mut Net, mut packet: Packet) {
    use halfopen_fabric::packet::Body;
    let Some((_, last)) = net.delivered.last() else { return };
    let host_address =
        if last.packet.dst.is_ipv4() { ip(last.host.index() as u32) } else { ip6(last.host.index() as u32) };
    let (src_port, dst_port) = last.packet.ports();
    (packet.src, packet.dst) = (host_address, last.packet.src);
    packet.id = 0;
    match &mut packet.body {
        Body::Tcp(segment) => (segment.src_port, segment.dst_port) = (dst_port, src_port),
        Body::Udp(datagram) => (datagram.src_port, datagram.dst_port) = (dst_port, src_port),
        _ => return,
    }
    net.send(packet);
}

proptest! {
    #[test]
    fn the_books_always_balance(config in config(), steps in prop::collection::vec(step(), 0..60)) {
        let (net, events) = run(&config, &steps);
        for event in &events {
            if let Event::LinkClosed { books, .. } = event {
                prop_assert!(books.balance(), "{books:?}");
            }
        }
        for (_, delivery) in &net.delivered {
            let own = [ip(delivery.host.index() as u32), ip6(delivery.host.index() as u32)];
            prop_assert!(own.contains(&delivery.packet.dst), "delivered to the wrong host");
            let bytes = wire::emit(&delivery.packet);
            prop_assert!(wire::parse(&bytes).is_ok());
        }
    }

    #[test]
    fn the_same_run_happens_twice(config in config(), steps in prop::collection::vec(step(), 0..40)) {
        let (one, events) = run(&config, &steps);
        let (other, events_again) = run(&config, &steps);
        prop_assert_eq!(one.delivered, other.delivered);
        prop_assert_eq!(events, events_again);
    }
}

/// The chaos is worth its name: it meets every way to lose a packet that the network has.
#[test]
fn chaos_meets_every_reason() {
    use std::collections::BTreeSet;

    use halfopen_core::event::DropReason;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let case = (config(), prop::collection::vec(step(), 60));
    let mut met = BTreeSet::new();
    let mut delivered = 0;
    for _ in 0..300 {
        let (config, steps) = case.new_tree(&mut runner).expect("a case").current();
        let (net, events) = run(&config, &steps);
        delivered += net.delivered.len();
        met.extend(events.iter().filter_map(|event| match event {
            Event::PacketDropped { reason, .. } => Some(*reason),
            _ => None,
        }));
    }
    // Crashed hosts and wrong checksums are for hosts to find.
    let at_hosts = [DropReason::HostDown, DropReason::BadChecksum];
    let missed: Vec<DropReason> =
        DropReason::ALL.into_iter().filter(|reason| !met.contains(reason) && !at_hosts.contains(reason)).collect();
    assert_eq!(missed, []);
    assert!(delivered > 1000, "{delivered} delivered");
}
