//! What a link does to packets, told by its books: whole structs, so that nothing *else* moved either.

mod common;

use common::*;
use halfopen_core::event::{Direction, DropReason, LinkBooks};
use halfopen_core::id::ElementId;
use halfopen_core::{Event, Ratio, SimDuration, SimTime};
use halfopen_fabric::config::{ClampMss, Delay, GilbertElliott, IcmpPolicy, LinkConfig, QueueLimit, Reorder};
use halfopen_fabric::packet::{Body, IcmpError, IcmpMessage, Packet};
use halfopen_fabric::reassembly::{Reassembler, split};

fn base() -> LinkConfig {
    LinkConfig::default()
}

/// Sends `count` numbered datagrams of 100 bytes, one each millisecond, and lets all of them arrive.
fn stream(net: &mut Net, count: u16) {
    for number in 0..count {
        net.send(numbered(number, 100));
        net.run_for(ms(1));
    }
    net.run_for(secs(10));
}

/// The books of a link after 1000 datagrams.
fn check(config: LinkConfig, expected: &LinkBooks) -> Net {
    let mut net = one_link(config);
    stream(&mut net, 1000);
    assert_eq!(&net.forward_books(), expected);
    net
}

#[test]
fn a_plain_link_delivers_everything_in_its_latency() {
    let net = check(base(), &books(1000, 1000, &[]));
    let expected: Vec<(u64, u16)> = (0..1000).map(|n| (u64::from(n) * 1000 + 1000, n)).collect();
    assert_eq!(net.arrivals(), expected);
}

#[test]
fn loss_is_a_share_of_the_packets() {
    let loss = Ratio::from_percent(10);
    check(LinkConfig { loss, ..base() }, &books(1000, 892, &[(DropReason::Loss, 108)]));
    check(LinkConfig { loss: Ratio::ONE, ..base() }, &books(1000, 0, &[(DropReason::Loss, 1000)]));
}

#[test]
fn burst_loss_comes_in_bursts() {
    let model = GilbertElliott {
        to_bad: Ratio::from_percent(1),
        to_good: Ratio::from_percent(10),
        loss_bad: Ratio::ONE,
        loss_good: Ratio::ZERO,
    };
    let mut net = one_link(LinkConfig { burst: Some(model), ..base() });
    stream(&mut net, 1000);
    let arrived: Vec<u16> = net.arrivals().iter().map(|&(_, number)| number).collect();
    let bursts = arrived.windows(2).filter(|pair| pair[1] > pair[0] + 1).count() as u64;
    let lost = 1000 - arrived.len() as u64;
    assert!(bursts > 2 && lost / bursts >= 5, "{lost} lost in {bursts} bursts");
    assert_eq!(net.forward_books(), books(1000, 1000 - lost, &[(DropReason::BurstLoss, lost)]));
}

#[test]
fn a_duplicate_arrives_with_its_original() {
    let mut net = one_link(LinkConfig { duplicate: Ratio::ONE, ..base() });
    stream(&mut net, 3);
    assert_eq!(net.arrivals(), [(1000, 0), (1000, 0), (2000, 1), (2000, 1), (3000, 2), (3000, 2)]);
    let duplicated = net.events.iter().filter(|event| matches!(event, Event::PacketDuplicated { .. })).count();
    assert_eq!(duplicated, 3);
    assert_eq!(net.forward_books(), LinkBooks { duplicated: 3, ..books(3, 6, &[]) });
}

#[test]
fn a_packet_that_is_held_back_is_overtaken() {
    let reorder = Reorder { share: Ratio::from_percent(10), by: ms(5) };
    let net = check(LinkConfig { reorder, ..base() }, &books(1000, 1000, &[]));
    let late: Vec<(u64, u16)> =
        net.arrivals().into_iter().filter(|&(time, number)| time != u64::from(number) * 1000 + 1000).collect();
    assert!((50..150).contains(&late.len()), "{} held back", late.len());
    assert!(late.iter().all(|&(time, number)| time == u64::from(number) * 1000 + 6000));
}

#[test]
fn jitter_never_reorders() {
    let net = check(LinkConfig { latency: Delay::Fixed(ms(20)), jitter: ms(15), ..base() }, &books(1000, 1000, &[]));
    let arrivals = net.arrivals();
    assert!(arrivals.is_sorted_by_key(|&(_, number)| number));
    let own: Vec<u64> = arrivals.iter().map(|&(time, number)| time - u64::from(number) * 1000).collect();
    assert!(own.iter().all(|latency| (5_000..=35_000).contains(latency)), "{own:?}");
    assert!(own.iter().any(|&latency| latency > 30_000) && own.iter().any(|&latency| latency < 25_000));
}

#[test]
fn corrupt_packets_arrive_and_are_marked() {
    let net = check(LinkConfig { corrupt: Ratio::from_percent(50), ..base() }, &books(1000, 1000, &[]));
    let corrupt = net.delivered.iter().filter(|(_, delivery)| delivery.packet.corrupt).count();
    let told = net.events.iter().filter(|event| matches!(event, Event::PacketCorrupted { .. })).count();
    assert_eq!(corrupt, told);
    assert!((400..600).contains(&corrupt), "{corrupt}");
}

#[test]
fn bandwidth_spreads_packets_out() {
    // 1000 bytes at 8 Mbit/s take 1 ms.
    let mut net = one_link(LinkConfig { bandwidth: Some(8_000_000), ..base() });
    (0..3).for_each(|number| net.send(numbered(number, 1000)));
    net.run_for(ms(10));
    net.send(numbered(3, 500));
    net.run_for(secs(1));
    assert_eq!(net.arrivals(), [(2000, 0), (3000, 1), (4000, 2), (11_500, 3)]);
    assert_eq!(net.forward_books(), books(4, 4, &[]));
}

#[test]
fn a_full_queue_drops_the_tail() {
    for (queue, delivered) in [(QueueLimit::Packets(2), 2), (QueueLimit::Bytes(2999), 2), (QueueLimit::Bytes(10), 1)] {
        let mut net = one_link(LinkConfig { bandwidth: Some(8_000_000), queue, ..base() });
        (0..5).for_each(|number| net.send(numbered(number, 1000)));
        net.run_for(secs(1));
        // What has left makes room again.
        net.send(numbered(9, 1000));
        net.run_for(secs(1));
        let dropped = 5 - delivered;
        assert_eq!(net.forward_books(), books(6, delivered + 1, &[(DropReason::QueueFull, dropped)]), "{queue:?}");
    }
}

#[test]
fn what_is_under_way_at_the_end_is_in_the_books() {
    let mut net = one_link(base());
    net.send(numbered(0, 100));
    net.send(numbered(1, 100));
    net.run_for(ms(1));
    net.send(numbered(2, 100));
    assert_eq!(net.forward_books(), LinkBooks { in_flight: 1, ..books(3, 2, &[]) });
}

#[test]
fn the_directions_have_books_of_their_own() {
    let mut net = one_link(base());
    net.send(numbered(0, 100));
    net.send(udp(at(ip(1), 1), at(ip(0), 2), 10));
    net.send(udp(at(ip(1), 1), at(ip(0), 2), 10));
    net.run_for(secs(1));
    let element = ElementId::new(0);
    assert_eq!(
        net.close(),
        [(element, Direction::Forward, books(1, 1, &[])), (element, Direction::Backward, books(2, 2, &[]))]
    );
}

/// What host 0 hears after it sent a segment of 1500 bytes into a link of MTU 1400: drops, and the packet, if any.
fn too_big(icmp: IcmpPolicy, v6: bool) -> (LinkBooks, Option<(SimTime, Packet)>) {
    let mut net = one_link(LinkConfig { mtu: 1400, icmp, latency: Delay::Fixed(ms(10)), ..base() });
    let (a, b, payload) = if v6 { (ip6(0), ip6(1), 1440) } else { (ip(0), ip(1), 1460) };
    net.send(tcp(at(a, 4000), at(b, 80), ACK, payload));
    net.run_for(secs(1));
    let heard = net.delivered.first().map(|(time, delivery)| (*time, (*delivery.packet).clone()));
    (net.forward_books(), heard)
}

#[test]
fn a_packet_too_large_is_answered_with_icmp() {
    for v6 in [false, true] {
        let (books_now, heard) = too_big(IcmpPolicy::Allowed, v6);
        assert_eq!(books_now, books(1, 0, &[(DropReason::TooBig, 1)]));
        let (time, packet) = heard.expect("an ICMP error");
        let Body::Icmp(IcmpMessage::Error { error, quoted }) = packet.body else { panic!("{packet:?}") };
        assert_eq!((time, error), (t(10), IcmpError::TooBig { mtu: 1400 }));
        assert_eq!((quoted.src.port(), quoted.dst.port(), quoted.seq.0, quoted.total_len), (4000, 80, 1000, 1500));
    }
}

#[test]
fn a_black_hole_says_nothing() {
    let (books_now, heard) = too_big(IcmpPolicy::Blocked, false);
    assert_eq!((books_now, heard), (books(1, 0, &[(DropReason::TooBigSilent, 1)]), None));
}

#[test]
fn a_link_that_blocks_icmp_carries_no_errors_but_echo() {
    let mut net = net(vec![route(vec![
        link(LinkConfig { icmp: IcmpPolicy::Blocked, ..base() }),
        link(LinkConfig { mtu: 1400, ..base() }),
    ])]);
    net.send(tcp(at(ip(0), 4000), at(ip(1), 80), ACK, 1460));
    net.run_for(secs(1));
    assert_eq!(net.take_drops(), [DropReason::TooBig, DropReason::IcmpBlocked]);
    assert!(net.delivered.is_empty());
    let mut echo = udp(at(ip(0), 0), at(ip(1), 0), 0);
    echo.body = Body::Icmp(IcmpMessage::EchoRequest { id: 1, seq: 1, payload: vec![1, 2].into() });
    assert_eq!(net.exchange(echo).len(), 1);
}

#[test]
fn a_packet_without_df_is_cut_and_can_be_put_together_again() {
    let mut net = one_link(LinkConfig { mtu: 1400, ..base() });
    let mut whole = udp(at(ip(0), 1), at(ip(1), 2), 4000);
    whole.dont_fragment = false;
    net.send(whole.clone());
    net.run_for(secs(1));
    // 4008 bytes in pieces of 1376.
    assert_eq!(net.forward_books(), books(3, 3, &[]));
    let pieces: Vec<Packet> = net.delivered.iter().map(|(_, delivery)| (*delivery.packet).clone()).collect();
    assert!(pieces.iter().all(|piece| piece.wire_len() <= 1400));
    // In any order.
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut reassembler = Reassembler::default();
        let outcome: Vec<Option<Box<Packet>>> =
            order.iter().map(|&n: &usize| reassembler.push(net.now, pieces[n].clone().into())).collect();
        assert_eq!(outcome, [None, None, Some(whole.clone().into())]);
        assert_eq!(reassembler.next_deadline(), None);
    }
}

#[test]
fn fragments_of_fragments_fit_together() {
    let mut whole = udp(at(ip(0), 1), at(ip(1), 2), 4000);
    whole.dont_fragment = false;
    let pieces: Vec<Packet> = split(whole.clone(), 1400).into_iter().flat_map(|piece| split(piece, 600)).collect();
    assert!(pieces.iter().all(|piece| piece.wire_len() <= 600));
    let mut reassembler = Reassembler::default();
    let last = pieces.into_iter().rev().map(|piece| reassembler.push(SimTime::ZERO, piece.into())).last();
    assert_eq!(last, Some(Some(whole.into())));
}

#[test]
fn fragments_wait_for_thirty_seconds_and_overlaps_are_refused() {
    let whole = Packet { dont_fragment: false, ..udp(at(ip(0), 1), at(ip(1), 2), 3000) };
    let pieces = split(whole.clone(), 1400);
    let mut reassembler = Reassembler::default();
    assert_eq!(reassembler.push(t(0), pieces[0].clone().into()), None);
    assert_eq!(reassembler.push(t(5), pieces[0].clone().into()), None, "a copy is ignored");
    assert_eq!(reassembler.next_deadline(), Some(t(30_000)));
    assert_eq!(reassembler.expire(t(29_999)), []);
    assert_eq!(reassembler.expire(t(30_000)), [pieces[0].clone()]);
    assert_eq!(reassembler.next_deadline(), None);

    let overlapping = split(whole, 800)[1].clone();
    assert_eq!(reassembler.push(t(0), pieces[0].clone().into()), None);
    assert_eq!(reassembler.push(t(1), overlapping.clone().into()), None);
    assert_eq!(reassembler.expire(t(1)), [overlapping, pieces[0].clone()]);
}

#[test]
fn the_oldest_fragments_make_room_for_new_ones() {
    let mut reassembler = Reassembler::default();
    // The first pieces, of 32 KiB each, of 129 packets: one more than there is room for.
    for id in 0..129 {
        let whole = Packet { dont_fragment: false, id, ..udp(at(ip(0), 1), at(ip(1), 2), 60_000) };
        let first = split(whole, 32_768 + 20).swap_remove(0);
        assert_eq!(reassembler.push(t(u64::from(id)), first.into()), None);
    }
    let given_up: Vec<u32> = reassembler.expire(t(200)).iter().map(|piece| piece.id).collect();
    assert_eq!(given_up, [0]);
}

#[test]
fn mss_is_clamped_in_syns_and_never_raised() {
    for (clamp_mss, mtu, seen) in [
        (ClampMss::Off, 1400, 1460),
        (ClampMss::ToMtu, 1400, 1360),
        (ClampMss::ToMtu, 9001, 1460),
        (ClampMss::To(1200), 1500, 1200),
    ] {
        let mut net = one_link(LinkConfig { clamp_mss, mtu, ..base() });
        let arrived = net.exchange(tcp(at(ip(0), 1), at(ip(1), 2), SYN, 0));
        let Body::Tcp(segment) = &arrived[0].packet.body else { panic!() };
        assert_eq!(segment.options.mss, Some(seen), "{clamp_mss:?} at {mtu}");
    }
}

#[test]
fn latency_follows_its_distribution() {
    let (mean, deviation) = (ms(50), ms(10));
    for (latency, least, most) in [
        (Delay::Uniform { min: ms(40), max: ms(60) }, 40_000, 60_000),
        (Delay::Normal { mean, deviation }, 10_000, 90_000),
        (Delay::LogNormal { mean, deviation }, 20_000, 110_000),
        (Delay::Pareto { mean, deviation }, 40_000, 250_000),
    ] {
        let mut net = one_link(LinkConfig { latency, ..base() });
        let mut latencies = Vec::new();
        for number in 0..1000 {
            let sent = net.now;
            net.send(numbered(number, 100));
            net.run_for(secs(1)); // Alone on the line: nobody waits behind anybody.
            latencies.push(net.delivered.last().unwrap().0.since(sent).as_micros());
        }
        let average = latencies.iter().sum::<u64>() / 1000;
        assert!(latencies.iter().all(|&l| (least..=most).contains(&l)), "{latency:?}");
        assert!((49_000..51_000).contains(&average), "{latency:?}: {average}");
    }
}

#[test]
fn time_to_live_goes_down_at_routers_only() {
    let mut net = net(vec![route(vec![link(base()), link(base()), link(base())])]);
    assert_eq!(net.exchange(numbered(1, 100))[0].packet.ttl, 62);
    let dying = Packet { ttl: 2, ..numbered(1, 100) };
    let heard = net.exchange(dying);
    assert_eq!(heard[0].host, host(0));
    assert!(matches!(heard[0].packet.body, Body::Icmp(IcmpMessage::Error { error: IcmpError::TimeExceeded, .. })));
    assert_eq!(net.take_drops(), [DropReason::TtlExpired]);
}

#[test]
fn nobody_at_an_address_is_told_after_one_latency() {
    let mut net = net(vec![]);
    let nowhere = udp(at(ip(0), 1), at(IpAddrExt::nowhere(), 2), 10);
    let heard = net.exchange(nowhere);
    let Body::Icmp(IcmpMessage::Error { error, .. }) = heard[0].packet.body else { panic!() };
    assert_eq!((error, net.delivered[0].0), (IcmpError::Unreachable { code: 0 }, t(1)));
    assert_eq!(net.take_drops(), [DropReason::NoRoute]);
}

struct IpAddrExt;
impl IpAddrExt {
    fn nowhere() -> std::net::IpAddr {
        [192, 0, 2, 1].into()
    }
}

#[test]
fn pairs_without_a_route_get_a_link_of_their_own() {
    let mut net = net(vec![]);
    net.send(udp(at(ip(2), 1), at(ip(3), 2), 10));
    net.send(udp(at(ip(3), 1), at(ip(2), 2), 10));
    net.send(udp(at(ip(0), 1), at(ip(1), 2), 10));
    net.run_for(secs(1));
    let one = books(1, 1, &[]);
    assert_eq!(
        net.close(),
        [
            (ElementId::new(0), Direction::Forward, one.clone()),
            (ElementId::new(0), Direction::Backward, one.clone()),
            (ElementId::new(1), Direction::Forward, one),
        ]
    );
}

#[test]
fn an_idle_network_has_no_deadline() {
    let mut net = one_link(base());
    assert_eq!(net.fabric.next_deadline(), None);
    net.send(numbered(0, 100));
    assert_eq!(net.fabric.next_deadline(), Some(t(1)));
    net.run_for(secs(1));
    assert_eq!(net.fabric.next_deadline(), None);
}

#[test]
fn a_link_without_latency_delivers_at_once() {
    let mut net = one_link(LinkConfig { latency: Delay::Fixed(SimDuration::ZERO), ..base() });
    net.send(numbered(0, 100));
    assert_eq!(net.fabric.next_deadline(), Some(SimTime::ZERO));
    net.run_until(SimTime::ZERO);
    assert_eq!(net.arrivals(), [(0, 0)]);
}
