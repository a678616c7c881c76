//! Losses, reordering and duplicates: when they are repaired, and what the congestion window does.

use std::collections::BTreeMap;

use halfopen_core::event::RetransmitKind;
use halfopen_core::{Event, SimDuration, SimTime};
use halfopen_fabric::packet::TcpSegment;

use crate::net::{Client, Fate, Net, Seen, Server, Setup, Side, check_schedule, has_data, ms, secs};

/// Drops the numbered data segments of the client (from 0), once each.
fn lose(numbers: &[usize]) -> impl FnMut(SimTime, Side, &TcpSegment) -> Fate + 'static {
    let numbers = numbers.to_vec();
    let mut count = 0;
    move |_, from, segment| {
        if from == Client && !segment.payload.is_empty() {
            count += 1;
            if numbers.contains(&(count - 1)) {
                return Fate::Drop;
            }
        }
        Fate::Pass
    }
}

/// Sends `segments` full segments at RTT 50 with some lost: retransmission times, and when the server has all.
fn repair(mut net: Net, segments: usize, lost: &[usize]) -> (Vec<u64>, u64, Net) {
    let before = net.server_got.len();
    net.script(lose(lost));
    let start = net.now;
    let total = segments * 1448;
    assert_eq!(net.client_send(&vec![9; total]), total);
    while net.server_got.len() < before + total {
        let next = net.next().expect("repair goes on");
        net.run_until(next);
    }
    let done = net.now.since(start).as_millis();
    (net.times(Client, start, has_data).split_off(segments), done, net)
}

#[test]
fn losses_are_repaired_when_linux_repairs_them() {
    // A7: M:loss_*; repetitions, and the time at which the server has everything.
    for (what, segments, lost, repaired, complete) in [
        ("segment 4 of 10", 10, &[3][..], &[50u64][..], 75),
        ("segment 1 of 10", 10, &[0], &[50], 75),
        ("last 3 of 10", 10, &[7, 8, 9], &[152, 202, 252], 277),
    ] {
        let (times, done, net) = repair(Setup::rtt(50).warm(), segments, lost);
        assert_eq!((times.as_slice(), done), (repaired, complete), "{what}\n{}", net.trace(SimTime::ZERO));
    }
    let (times, done, net) = repair(Setup::rtt(50).warm(), 10, &[9]);
    check_schedule("last of 10", &times, &[306]);
    check_schedule("complete", &[done], &[332]);
    assert_eq!(net.client.info().retransmits, 0, "a probe is no timeout");
    let (times, done, _) = repair(Setup::rtt(50).conversed(), 2, &[1]); // The lone first segment's ACK is delayed.
    check_schedule("2nd of 2", &times, &[370]);
    check_schedule("complete", &[done], &[396]);
}

#[test]
fn after_a_timeout_the_window_starts_from_one() {
    let mut net = Setup::rtt(50).warm();
    let before = net.server_got.len();
    let heal = net.now + ms(300);
    net.script(move |now, _, _| if now < heal { Fate::Drop } else { Fate::Pass });
    let start = net.now;
    net.client_send(&vec![9; 14_480]);
    net.run_for(secs(1));
    assert_eq!(net.server_got.len(), before + 14_480);
    let mut rounds: BTreeMap<u64, usize> = BTreeMap::new();
    for at in net.times(Client, start + ms(300), has_data) {
        *rounds.entry(at).or_default() += 1;
    }
    // The head, then the rest in slow start; the last segment had been repeated by the probe, in vain.
    assert_eq!(rounds.into_values().collect::<Vec<_>>(), [1, 2, 4, 3], "{}", net.trace(start));
}

#[test]
fn a_lost_single_segment_is_probed_for() {
    let mut net = Setup::rtt(50).warm();
    net.script(lose(&[0]));
    let start = net.now;
    net.client_send(b"x");
    net.run_for(secs(1));
    check_schedule("probe", &net.times(Client, start, has_data), &[0, 273]);
}

#[test]
fn fast_repair_costs_a_third_of_the_window() {
    let (_, _, mut net) = repair(Setup::rtt(50).warm(), 10, &[3]);
    net.run_for(ms(200));
    let info = net.client.info();
    // Three ACKs had let the window grow from 10 to 13 before the loss was seen.
    assert_eq!(info.slow_start_threshold_segments, 9, "717/1024 of 13");
    assert_eq!(info.congestion_window_segments, 9);
    assert_eq!(info.total_retransmits, 1);
}

#[test]
fn a_peer_without_sack_is_served_by_duplicate_acks() {
    let mut net = Setup::rtt(50).sysctl("net.ipv4.tcp_sack", "0").warm();
    let before = net.server_got.len();
    net.script(lose(&[3]));
    let start = net.now;
    net.client_send(&vec![9; 14_480]);
    net.run_for(secs(2));
    assert_eq!(net.server_got.len(), before + 14_480);
    assert_eq!(net.times(Client, start, has_data)[10..], [50]);
}

#[test]
fn reordering_is_not_loss() {
    let mut net = Setup::rtt(50).warm();
    let before = net.server_got.len();
    let mut count = 0;
    net.script(move |_, from, segment| {
        if from == Client && !segment.payload.is_empty() {
            count += 1;
            if count == 4 {
                return Fate::Delay(SimDuration::from_micros(100));
            }
        }
        Fate::Pass
    });
    let start = net.now;
    net.client_send(&vec![9; 14_480]);
    net.run_for(secs(2));
    assert_eq!(net.server_got.len(), before + 14_480);
    let info = net.client.info();
    // Ten segments arrive in one instant here, so one repetition may be spurious; it must be undone.
    assert!(net.times(Client, start, has_data).len() <= 11);
    assert!(info.congestion_window_segments >= 10, "{info:?}");
}

#[test]
fn a_spurious_timeout_is_undone() {
    // The path stalls for a second: everything arrives in the end, and the window is what it was.
    let mut net = Setup::rtt(50).warm();
    let before = net.server_got.len();
    let stall = net.now + ms(10);
    net.script(move |now, _, _| if now < stall { Fate::Delay(secs(1)) } else { Fate::Pass });
    net.client_send(&vec![9; 14_480]);
    net.run_for(secs(3));
    assert_eq!(net.server_got.len(), before + 14_480);
    assert!(net.client.info().congestion_window_segments >= 10, "{:?}", net.client.info());
}

#[test]
fn duplicates_are_reported_and_harmless() {
    let mut net = Setup::rtt(20).warm();
    let before = net.server_got.len();
    net.script(|_, _, _| Fate::Twice);
    net.client_send(&vec![9; 14_480]);
    net.run_for(secs(2));
    assert_eq!(net.server_got.len(), before + 14_480);
    let reported = |seen: &&Seen| seen.from == Server && seen.segment.options.sack_count > 0;
    assert!(net.seen.iter().any(|seen| reported(&seen)), "D-SACK");
    assert_eq!(net.client.info().total_retransmits, 0);
}

#[test]
fn the_window_grows_as_linux_grows_it() {
    // A1, M:initial_cwnd: bursts of 10, 20, 40, 80 segments at RTT 100, and again after 3 s of idleness.
    let mut net = Setup::rtt(100).client(|o| o.send_buffer = Some(4 << 20)).start();
    net.run_for(secs(1));
    for round in 0..2 {
        let start = net.now;
        assert_eq!(net.client_send(&vec![5; 300_000]), 300_000);
        net.run_for(secs(4));
        let mut bursts: BTreeMap<u64, usize> = BTreeMap::new();
        for at in net.times(Client, start, has_data) {
            *bursts.entry(at / 100 * 100).or_default() += 1;
        }
        let sizes: Vec<usize> = bursts.into_values().collect();
        assert_eq!(sizes, [10, 20, 40, 80, 58], "round {round}");
    }
}

/// A link of `bits` per second with room for `queue` bytes, between client and server; the way back is wide.
fn bottleneck(bits: u64, queue: u64) -> impl FnMut(SimTime, Side, &TcpSegment) -> Fate + 'static {
    let mut free_at = SimTime::ZERO;
    move |now, from, segment| {
        if from == Server {
            return Fate::Pass;
        }
        let nanos = |bytes: u64| SimDuration::from_nanos(bytes * 8 * 1_000_000_000 / bits);
        let size = (20 + segment.header_len() + segment.payload.len()) as u64;
        let backlog = free_at.since(now);
        if backlog + nanos(size) > nanos(queue) {
            return Fate::Drop;
        }
        free_at = free_at.max(now) + nanos(size);
        Fate::Delay(free_at.since(now))
    }
}

/// Writes without end until `end`; gives the bytes that arrived.
fn upload_until(net: &mut Net, end: SimTime) -> usize {
    let before = net.server_got.len();
    let block = vec![6; 1 << 16];
    while net.now < end {
        while net.client.send(net.now, &block).is_ok() {}
        let next = net.next().filter(|&at| at <= end).unwrap_or(end);
        net.run_until(next);
    }
    net.server_got.len() - before
}

#[test]
fn a_bulk_transfer_fills_a_bottleneck() {
    // 20 Mbit/s, RTT 50: with a queue of one bandwidth-delay product CUBIC keeps the link busy.
    let mut net = Setup::rtt(50).warm();
    net.script(bottleneck(20_000_000, 125_000));
    let end = net.now + secs(2);
    upload_until(&mut net, end);
    let end = net.now + secs(20);
    let bytes = upload_until(&mut net, end);
    let share = bytes as f64 * 8.0 / 20.0 / 20e6;
    assert!((0.90..1.0).contains(&share), "{share} of the link; {:?}", net.client.info());
    let info = net.client.info();
    assert!(info.total_retransmits > 0, "there were losses to repair");
    assert_eq!(info.retransmits, 0);
}

#[test]
fn the_receive_window_grows_with_the_path() {
    // No bottleneck, RTT 100: 64 KiB of window would give 0.6 MB/s.
    let mut net = Setup::rtt(100).warm();
    let end = net.now + secs(4);
    let bytes = upload_until(&mut net, end);
    assert!(bytes > 20_000_000, "{bytes} bytes in 4 s; {:?}", net.client.info());
}

#[test]
fn a_blip_of_two_seconds_in_a_bulk_transfer() {
    // B2, M:blip_2s_both_*: queue-loaded RTT 131 ms; transmissions after the blip began at .23 (probe), .585, 1.26, 2.6.
    let mut net = Setup::rtt(50).warm();
    net.script(bottleneck(20_000_000, 200_000));
    let end = net.now + secs(8);
    upload_until(&mut net, end);
    let start = net.now;
    let mut path = bottleneck(20_000_000, 200_000);
    net.script(move |now, from, segment| if now < start + secs(2) { Fate::Drop } else { path(now, from, segment) });
    upload_until(&mut net, start + secs(4));
    // What follows the segments that were already under way: a probe, then timeouts that double.
    let times = net.times(Client, start + ms(200), has_data);
    let lone: Vec<u64> = times.iter().take(4).map(|at| at + 200).collect();
    let gaps: Vec<u64> = lone.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((220..=240).contains(&lone[0]), "the probe: {lone:?}");
    assert!((300..=340).contains(&gaps[0]) && gaps[1] == 2 * gaps[0] && gaps[2] == 4 * gaps[0], "{lone:?}");
    assert!((2_350..=2_700).contains(&lone[3]) && times[4] + 200 > lone[3] + 40, "data flows again one RTT after it");
    let bytes = upload_until(&mut net, start + secs(12));
    assert!(bytes as f64 * 8.0 / 8.0 / 20e6 > 0.8, "{bytes} bytes in 8 s afterwards");
}

#[test]
fn random_loss_is_repaired_without_timeouts() {
    let mut net = Setup::rtt(40).warm();
    let mut count = 0u32;
    net.script(move |_, from, segment| {
        count += u32::from(from == Client && !segment.payload.is_empty());
        if from == Client && count % 100 == 37 { Fate::Drop } else { Fate::Pass }
    });
    net.events.clear();
    let end = net.now + secs(10);
    let bytes = upload_until(&mut net, end);
    let kinds = |want: RetransmitKind| {
        let is = |event: &&(SimTime, Side, Event)| matches!(event.2, Event::TcpRetransmit { kind, .. } if kind == want);
        net.events.iter().filter(is).count()
    };
    assert!(bytes > 2_000_000, "{bytes} bytes at 1 % loss");
    assert!(kinds(RetransmitKind::Fast) > 20, "{}", kinds(RetransmitKind::Fast));
    assert!(kinds(RetransmitKind::Timeout) <= 2, "{}", kinds(RetransmitKind::Timeout));
}

#[test]
fn a_dead_way_back_is_no_reason_to_stop_hearing() {
    // A6, M:oneway_dport: the client's data dies; it still receives, and what it receives does not put its own
    // backoff back.
    let mut net = Setup::rtt(50).warm();
    let start = net.now;
    net.script(|_, from, segment| if from == Client && !segment.payload.is_empty() { Fate::Drop } else { Fate::Pass });
    net.client_send(b"lost");
    for _ in 0..80 {
        net.server_send(b"news");
        net.run_for(ms(100));
    }
    assert_eq!(net.client_got.len(), 4 * 80);
    let times = net.times(Client, start, has_data);
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps[2..].windows(2).all(|pair| pair[1] == 2 * pair[0]), "{gaps:?}");
    assert!(gaps.len() >= 5, "{gaps:?}");
}
