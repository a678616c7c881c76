//! Faults: what they hit, what they spare, and that they move nobody else's luck.

mod common;

use common::*;
use halfopen_core::event::{Direction, DropReason, LinkBooks};
use halfopen_core::id::RouteId;
use halfopen_core::{Ratio, SimTime};
use halfopen_fabric::config::{Delay, FabricConfig, IcmpPolicy, LinkConfig, RouteConfig};
use halfopen_fabric::fault::{FaultKind, NetFault, Scope, Target};
use halfopen_fabric::packet::{Body, IcmpError, IcmpMessage};

const ALL: FaultKind = FaultKind::Loss { share: Ratio::ONE };

fn loss(percent: u32) -> FaultKind {
    FaultKind::Loss { share: Ratio::from_percent(percent) }
}

fn scoped(target: Target, direction: Option<Direction>, kind: FaultKind) -> NetFault {
    NetFault { scope: Scope { target, direction }, kind }
}

/// Which of the four ways between hosts 0, 2 and host 1 are open: (0 to 1, 1 to 0, 2 to 1, 1 to 2).
fn open_ways(net: &mut Net) -> [bool; 4] {
    [(0, 1), (1, 0), (2, 1), (1, 2)].map(|(a, b)| !net.exchange(udp(at(ip(a), 1), at(ip(b), 2), 1)).is_empty())
}

/// Hosts 0 and 2 share a route of two links to host 1.
fn shared_route() -> Net {
    net(vec![RouteConfig {
        between: (vec![host(0), host(2)], vec![host(1)]),
        via: vec![named("access", plain()), named("backbone", plain())],
    }])
}

fn check_scope(fault: &NetFault, expected: [bool; 4]) {
    // On a shared route, and on links that are made for each pair, before and after the fault begins.
    let element = matches!(fault.scope.target, Target::Element(_) | Target::Route(_));
    let mut nets = vec![shared_route()];
    if !element {
        nets.push(net(vec![]));
        let mut used = net(vec![]);
        open_ways(&mut used);
        nets.push(used);
    }
    for mut net in nets {
        net.apply(0, fault);
        assert_eq!(open_ways(&mut net), expected, "{fault:?}");
        net.lift(0);
        assert_eq!(open_ways(&mut net), [true; 4], "{fault:?} is lifted");
        net.close();
    }
}

#[test]
fn scopes_hit_what_they_name() {
    use Direction::{Backward, Forward};
    check_scope(&everywhere(ALL), [false; 4]);
    check_scope(&pairs(&[0], &[1], None, ALL), [false, false, true, true]);
    check_scope(&pairs(&[1], &[0], None, ALL), [false, false, true, true]);
    check_scope(&pairs(&[0], &[1], Some(Forward), ALL), [false, true, true, true]);
    check_scope(&pairs(&[1], &[0], Some(Forward), ALL), [true, false, true, true]);
    check_scope(&pairs(&[2, 0], &[1], Some(Backward), ALL), [true, false, true, false]);
    check_scope(&pairs(&[0], &[3], None, ALL), [true; 4]);
    check_scope(&scoped(Target::Route(RouteId::new(0)), Some(Forward), ALL), [false, true, false, true]);
    check_scope(&scoped(Target::Element("backbone".to_owned()), Some(Backward), ALL), [true, false, true, false]);
    check_scope(&scoped(Target::Element("no such".to_owned()), None, ALL), [true; 4]);
}

#[test]
fn a_packet_meets_a_fault_once_on_its_way() {
    let mut net = shared_route();
    net.apply(0, &everywhere(FaultKind::Latency { add: Delay::Fixed(ms(100)) }));
    net.send(udp(at(ip(0), 1), at(ip(1), 2), 1));
    net.run_for(secs(1));
    assert_eq!(net.delivered[0].0, t(102));
    // At the first link that it meets: there the books show it.
    net.apply(0, &everywhere(ALL));
    net.send(udp(at(ip(0), 1), at(ip(1), 2), 1));
    let closed = net.close();
    assert_eq!(closed[0].2, books(2, 1, &[(DropReason::Fault, 1)]));
    assert_eq!(closed[2].2, books(1, 1, &[]));
}

#[test]
fn an_answer_from_the_middle_meets_the_fault_too() {
    let mut net = net(vec![RouteConfig {
        between: (vec![host(0)], vec![host(1)]),
        via: vec![plain(), link(LinkConfig { mtu: 600, ..LinkConfig::default() })],
    }]);
    let big = tcp(at(ip(0), 1), at(ip(1), 2), ACK, 1000);
    assert_eq!(net.exchange(big.clone()).len(), 1, "an ICMP error");
    net.apply(0, &pairs(&[1], &[0], Some(Direction::Forward), ALL));
    assert_eq!(net.exchange(big), []);
    assert_eq!(net.take_drops(), [DropReason::TooBig, DropReason::TooBig, DropReason::Fault]);
}

#[test]
fn a_blip_can_take_a_share() {
    let mut net = net(vec![route(vec![plain()])]);
    net.apply(0, &everywhere(loss(50)));
    for number in 0..1000 {
        net.send(numbered(number, 100));
    }
    net.run_for(secs(1));
    let delivered = net.arrivals().len() as u64;
    assert!((450..550).contains(&delivered), "{delivered}");
    assert_eq!(net.forward_books(), books(1000, delivered, &[(DropReason::Fault, 1000 - delivered)]));
}

#[test]
fn a_fault_of_the_line_changes_what_the_line_does() {
    let run = |kind: FaultKind| {
        let mut net = net(vec![route(vec![plain()])]);
        net.apply(0, &everywhere(kind));
        (0..2).for_each(|number| net.send(numbered(number, 1000)));
        net.run_for(secs(10));
        (net.arrivals(), net.forward_books())
    };
    let plain_books = books(2, 2, &[]);
    assert_eq!(
        run(FaultKind::Bandwidth { bits_per_second: 8_000_000 }),
        (vec![(2000, 0), (3000, 1)], plain_books.clone())
    );
    assert_eq!(
        run(FaultKind::Duplicate { share: Ratio::ONE }),
        (vec![(1000, 0), (1000, 0), (1000, 1), (1000, 1)], LinkBooks { duplicated: 2, ..books(2, 4, &[]) })
    );
    assert_eq!(
        run(FaultKind::Reorder { share: Ratio::ONE, by: ms(7) }),
        (vec![(8000, 0), (8000, 1)], plain_books.clone())
    );
    assert_eq!(
        run(FaultKind::Mtu { mtu: 900, icmp: IcmpPolicy::Blocked }),
        (vec![], books(2, 0, &[(DropReason::TooBigSilent, 2)]))
    );
    // A larger MTU than the link's own changes nothing.
    assert_eq!(run(FaultKind::Mtu { mtu: 9000, icmp: IcmpPolicy::Blocked }), (vec![(1000, 0), (1000, 1)], plain_books));
}

#[test]
fn a_fault_can_corrupt() {
    let mut net = net(vec![route(vec![plain()])]);
    net.apply(0, &everywhere(FaultKind::Corrupt { share: Ratio::ONE }));
    assert!(net.exchange(numbered(0, 100))[0].packet.corrupt);
    net.lift(0);
    assert!(!net.exchange(numbered(0, 100))[0].packet.corrupt);
}

#[test]
fn an_mtu_fault_tells_the_sender_if_it_may() {
    let mut net = net(vec![route(vec![plain()])]);
    net.apply(0, &everywhere(FaultKind::Mtu { mtu: 900, icmp: IcmpPolicy::Allowed }));
    let heard = net.exchange(numbered(0, 1000));
    let Body::Icmp(IcmpMessage::Error { error, .. }) = heard[0].packet.body else { panic!() };
    assert_eq!(error, IcmpError::TooBig { mtu: 900 });
}

#[test]
fn an_unreachable_place_is_told_with_its_code_where_icmp_is_allowed() {
    for (icmp, told) in [(IcmpPolicy::Allowed, 1), (IcmpPolicy::Blocked, 0)] {
        let mut net = one_link(LinkConfig { icmp, ..LinkConfig::default() });
        net.apply(0, &everywhere(FaultKind::Unreachable { code: 13 }));
        let heard = net.exchange(numbered(0, 1000));
        assert_eq!(heard.len(), told);
        if let Some(heard) = heard.first() {
            let Body::Icmp(IcmpMessage::Error { error, .. }) = heard.packet.body else { panic!() };
            assert_eq!(error, IcmpError::Unreachable { code: 13 });
        }
        assert_eq!(net.forward_books(), books(1, 0, &[(DropReason::Fault, 1)]));
        net.lift(0);
        assert_eq!(net.exchange(numbered(1, 1000)).len(), 1, "it is reached again");
    }
}

#[test]
fn a_changed_route_has_a_gap_and_another_latency() {
    let mut net = one_link(LinkConfig { latency: Delay::Fixed(ms(50)), ..LinkConfig::default() });
    net.send(numbered(0, 100));
    net.apply(0, &everywhere(FaultKind::RouteChange { latency: Delay::Fixed(ms(5)), gap: ms(20) }));
    net.run_until(t(19));
    net.send(numbered(1, 100));
    net.run_until(t(20));
    net.send(numbered(2, 100)); // Overtakes what is still on the old path.
    net.run_until(t(100));
    net.lift(0);
    net.send(numbered(3, 100));
    net.run_for(secs(1));
    assert_eq!(net.arrivals(), [(25_000, 2), (50_000, 0), (150_000, 3)]);
    assert_eq!(net.forward_books(), books(4, 3, &[(DropReason::RouteChange, 1)]));
}

#[test]
fn faults_add_up_and_the_worst_counts() {
    let mut net = net(vec![route(vec![plain()])]);
    net.apply(0, &everywhere(FaultKind::Latency { add: Delay::Fixed(ms(10)) }));
    net.apply(1, &everywhere(FaultKind::Latency { add: Delay::Fixed(ms(20)) }));
    net.send(numbered(0, 100));
    net.run_for(secs(1));
    // The same fault again does not add to itself.
    net.apply(1, &everywhere(FaultKind::Latency { add: Delay::Fixed(ms(20)) }));
    net.send(numbered(1, 100));
    net.run_for(secs(1));
    assert_eq!(net.arrivals(), [(31_000, 0), (1_031_000, 1)]);
}

#[test]
fn a_host_behind_a_nat_counts_as_itself() {
    use halfopen_fabric::config::{NatConfig, PortPolicy, Side, Tracking};
    let config = NatConfig {
        addresses: vec![nat_ip()],
        inner: Side::First,
        ports: PortPolicy { keep: false, ..PortPolicy::default() },
        tracking: Tracking::default(),
    };
    let mut net =
        net(vec![RouteConfig { between: (vec![host(0), host(2)], vec![host(1)]), via: vec![nat(config), plain()] }]);
    let server = at(ip(1), 80);
    let [a, b] = [0, 2].map(|number| net.exchange(udp(at(ip(number), 5), server, 1))[0].packet.info().src);
    net.apply(0, &pairs(&[1], &[2], Some(Direction::Forward), ALL));
    assert_eq!(net.exchange(udp(server, a, 1)).len(), 1);
    assert_eq!(net.exchange(udp(server, b, 1)).len(), 0);
}

// ---- luck ----

/// A link on which chance decides about everything.
fn chancy() -> LinkConfig {
    let tenth = Ratio::from_percent(10);
    LinkConfig {
        latency: Delay::Normal { mean: ms(20), deviation: ms(5) },
        jitter: ms(3),
        loss: tenth,
        duplicate: tenth,
        reorder: halfopen_fabric::config::Reorder { share: tenth, by: ms(30) },
        corrupt: tenth,
        ..LinkConfig::default()
    }
}

/// What happens to 300 datagrams from each of hosts 0 and 2 to host 1: those of host 0 only, in full.
fn fate_of_host_0(config: FabricConfig, prepare: impl Fn(&mut Net)) -> Vec<(SimTime, u16, bool)> {
    let mut net = Net::new(config);
    prepare(&mut net);
    for number in 0..300 {
        net.send(numbered(number, 100));
        net.send(udp(at(ip(2), 4000), at(ip(1), number), 72));
        net.run_for(ms(10));
    }
    net.run_for(secs(10));
    net.close();
    let from_0 = net.delivered.iter().filter(|(_, delivery)| delivery.packet.src == ip(0));
    from_0.map(|(time, delivery)| (*time, number_of(&delivery.packet), delivery.packet.corrupt)).collect()
}

fn chancy_net(seed: u64) -> FabricConfig {
    FabricConfig { seed, default_link: chancy(), routes: vec![] }
}

#[test]
fn one_seed_gives_one_fate() {
    let fate = fate_of_host_0(chancy_net(1), |_| {});
    assert_eq!(fate, fate_of_host_0(chancy_net(1), |_| {}));
    assert_ne!(fate, fate_of_host_0(chancy_net(2), |_| {}));
    assert!(fate.len() > 250);
}

#[test]
fn what_happens_elsewhere_moves_nothing_here() {
    let fate = fate_of_host_0(chancy_net(1), |_| {});
    // A fault on another pair, and traffic of another pair.
    let elsewhere = pairs(&[2], &[1], None, loss(50));
    assert_eq!(fate, fate_of_host_0(chancy_net(1), |net| net.apply(0, &elsewhere)));
    let traffic = |net: &mut Net| net.send(udp(at(ip(3), 1), at(ip(2), 1), 1));
    assert_eq!(fate, fate_of_host_0(chancy_net(1), traffic));
    // A route that is declared for somebody else.
    let aside = RouteConfig { between: (vec![host(2)], vec![host(3)]), via: vec![link(chancy())] };
    let config = FabricConfig { routes: vec![aside], ..chancy_net(1) };
    assert_eq!(fate, fate_of_host_0(config, |_| {}));
}

#[test]
fn one_setting_moves_only_what_it_sets() {
    let fate = fate_of_host_0(chancy_net(1), |_| {});
    let set = |default_link: LinkConfig| fate_of_host_0(FabricConfig { default_link, ..chancy_net(1) }, |_| {});
    // Without loss, whoever came through before comes through at the same time and in the same state.
    let lossless = set(LinkConfig { loss: Ratio::ZERO, reorder: Default::default(), ..chancy() });
    let all_kept = set(LinkConfig { reorder: Default::default(), ..chancy() });
    let numbers = |fate: &[(SimTime, u16, bool)]| fate.iter().map(|&(_, n, c)| (n, c)).collect::<Vec<_>>();
    let kept: Vec<u16> = all_kept.iter().map(|&(_, number, _)| number).collect();
    let mut common = numbers(&lossless);
    common.retain(|(number, _)| kept.contains(number));
    assert_eq!(common, numbers(&all_kept));
    assert!(lossless.len() > all_kept.len());
    // Without corruption, everything arrives as before, but whole.
    let clean = set(LinkConfig { corrupt: Ratio::ZERO, ..chancy() });
    assert_eq!(
        clean.iter().map(|&(time, n, _)| (time, n)).collect::<Vec<_>>(),
        fate.iter().map(|&(time, n, _)| (time, n)).collect::<Vec<_>>()
    );
    assert!(clean.iter().all(|&(_, _, corrupt)| !corrupt) && fate.iter().any(|&(_, _, corrupt)| corrupt));
}

#[test]
fn one_more_fault_moves_no_other() {
    let half = pairs(&[0], &[1], None, loss(50));
    let corrupt = pairs(&[0], &[1], None, FaultKind::Corrupt { share: Ratio::ONE });
    let one = fate_of_host_0(chancy_net(1), |net| net.apply(0, &half));
    let both = fate_of_host_0(chancy_net(1), |net| {
        net.apply(1, &corrupt);
        net.apply(0, &half);
    });
    assert_eq!(
        one.iter().map(|&(time, n, _)| (time, n)).collect::<Vec<_>>(),
        both.iter().map(|&(time, n, _)| (time, n)).collect::<Vec<_>>()
    );
    assert!(both.iter().all(|&(_, _, corrupt)| corrupt));
}

#[test]
fn a_fault_has_new_luck_each_time_it_begins() {
    let mut net = net(vec![route(vec![plain()])]);
    let mut round = |first: u16| {
        net.apply(0, &everywhere(loss(50)));
        (first..first + 50).for_each(|number| net.send(numbered(number, 100)));
        net.run_for(secs(1));
        net.lift(0);
        let came: Vec<u16> = net.arrivals().iter().map(|&(_, n)| n).filter(|&n| n >= first).collect();
        came.into_iter().map(|n| n - first).collect::<Vec<u16>>()
    };
    assert_ne!(round(0), round(1000));
}
