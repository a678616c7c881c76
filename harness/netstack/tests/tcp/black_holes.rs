//! Writing into silence: retransmission schedules, giving up, ICMP errors, orphans.

use halfopen_core::Errno;
use halfopen_core::event::TcpFlags;
use halfopen_netstack::tcp::IcmpNotice;

use crate::net::{Client, Fate, Net, Setup, check_schedule, has_data, ms, secs};

/// A write of `len` bytes into a black hole: times of data after the write, and the end.
pub fn write_into_black_hole(setup: Setup, len: usize) -> (Vec<u64>, Option<(u64, Errno)>, Net) {
    let mut net = setup.warm();
    net.black_hole();
    let start = net.now;
    net.client_send(&vec![1; len]);
    let end = net.client_error_by(start + secs(2000));
    let end = end.map(|(at, errno)| (at.since(start).as_millis(), errno));
    (net.times(Client, start, has_data), end, net)
}

#[test]
fn a_write_into_a_black_hole_is_repeated_as_linux_does() {
    // A3: M:est_blackhole_default.
    let (times, end, _) = write_into_black_hole(Setup::default(), 100);
    let measured = [
        0, 212, 423, 844, 1679, 3339, 6668, 13_323, 26_636, 53_772, 107_020, 213_515, 334_347, 455_179, 576_011,
        696_843, 817_675,
    ];
    check_schedule("RTT 0, retries2 15", &times, &measured);
    let (at, errno) = end.unwrap();
    assert_eq!(errno, Errno::ETIMEDOUT);
    check_schedule("the end", &[at], &[938_500]);

    // M:est_blackhole_50ms_retries2_8.
    let (times, end, _) = write_into_black_hole(Setup::rtt(50).sysctl("net.ipv4.tcp_retries2", "8"), 100);
    let measured = [0, 268, 528, 1036, 2060, 4108, 8332, 16_524, 32_908, 66_700];
    check_schedule("RTT 50, retries2 8", &times, &measured);
    check_schedule("the end", &[end.unwrap().0], &[132_200]);
}

#[test]
fn a_fresh_connection_over_a_long_path_is_slow_to_repeat() {
    // A3, M:est_blackhole_retries2_6_200ms: one exchange at RTT 200, then silence. The probe is capped by the RTO.
    let mut net = Setup::rtt(200).sysctl("net.ipv4.tcp_retries2", "6").start();
    net.run_for(ms(200));
    net.client_send(b"hello");
    net.run_for(ms(100));
    net.server_send(b"hello");
    net.run_for(secs(1));
    net.black_hole();
    let start = net.now;
    net.client_send(&[1; 100]);
    let (at, errno) = net.client_error_by(start + secs(100)).unwrap();
    let times = net.times(Client, start, has_data);
    check_schedule("RTT 200, retries2 6", &times, &[0, 616, 1252, 2468, 4968, 9828, 19_556]);
    check_schedule("the end", &[at.since(start).as_millis()], &[39_500]);
    assert_eq!(errno, Errno::ETIMEDOUT);
}

#[test]
fn giving_up_is_a_matter_of_time() {
    // A3: M:est_blackhole_retries2_*, the nominal RTT is 0.
    for (retries, measured) in [(3, 6_690), (5, 13_280), (6, 26_600), (7, 53_900), (8, 106_700)] {
        let setup = Setup::default().sysctl("net.ipv4.tcp_retries2", &retries.to_string());
        let (_, end, mut net) = write_into_black_hole(setup, 100);
        let (at, errno) = end.unwrap();
        check_schedule(&format!("retries2 {retries}"), &[at], &[measured]);
        assert_eq!(errno, Errno::ETIMEDOUT);
        // The error is told once; then the stream is at its end.
        let mut buffer = [0; 10];
        assert_eq!(net.client.recv(net.now, &mut buffer, false), Ok(0));
        assert_eq!(net.client.send(net.now, b"x"), Err(Errno::EPIPE));
    }
}

#[test]
fn with_ten_segments_in_flight_only_the_head_is_repeated() {
    // A3: RTT 50, 20 KB, retries2 5: the probe sends one new segment, then the head alone.
    let (times, end, net) = write_into_black_hole(Setup::rtt(50).sysctl("net.ipv4.tcp_retries2", "5"), 20_000);
    assert_eq!(times[..10], [0; 10]);
    check_schedule("RTT 50, 20 KB", &times[10..], &[105, 361, 881, 1905, 3953, 8145]);
    check_schedule("the end", &[end.unwrap().0], &[16_300]);
    let data: Vec<_> = net.seen.iter().filter(|seen| seen.from == Client && has_data(seen)).collect();
    assert!(data[10].segment.seq.since(data[9].segment.seq) == 1448, "the probe is new data");
    assert!(data[11..].iter().all(|seen| seen.segment.seq == data[0].segment.seq), "then the head alone");
}

#[test]
fn the_user_timeout_bounds_a_write() {
    // A5: M:user_timeout_1s, M:user_timeout_10s, M:user_timeout_10s_50ms.
    for (rtt, seconds, measured) in [(0, 1, 1434), (0, 10, 10_600), (50, 10, 10_590)] {
        let setup = Setup::rtt(rtt).client(|o| o.user_timeout = secs(seconds));
        let (_, end, _) = write_into_black_hole(setup, 100);
        let (at, errno) = end.unwrap();
        check_schedule(&format!("UTO {seconds} s, RTT {rtt}"), &[at], &[measured]);
        assert_eq!(errno, Errno::ETIMEDOUT);
    }
}

#[test]
fn an_idle_connection_knows_no_user_timeout() {
    let mut net = Setup::default().client(|o| o.user_timeout = secs(5)).warm();
    net.black_hole();
    assert_eq!(net.client_error_by(net.now + secs(100)), None);
    assert_eq!(net.next(), None);
}

#[test]
fn icmp_errors_only_name_the_reason_of_a_timeout() {
    // A6: M:established_icmp_codes.
    for (code, errno) in [
        (0, Errno::ENETUNREACH),
        (1, Errno::EHOSTUNREACH),
        (2, Errno::ENOPROTOOPT),
        (3, Errno::ECONNREFUSED),
        (13, Errno::EHOSTUNREACH),
    ] {
        let mut net = Setup::default().sysctl("net.ipv4.tcp_retries2", "3").warm();
        net.black_hole();
        net.client_send(&[1; 100]);
        let seq = net.seen[0].segment.seq;
        net.run_for(ms(100));
        net.client.on_icmp(net.now, IcmpNotice::Unreachable { code, quoted_seq: seq });
        assert_eq!(net.client.take_error(), None, "code {code} kills nothing");
        let (_, got) = net.client_error_by(net.now + secs(100)).unwrap();
        assert_eq!(got, errno, "code {code}");
    }
}

#[test]
fn an_acknowledgement_forgets_an_icmp_error() {
    let mut net = Setup::default().sysctl("net.ipv4.tcp_retries2", "3").warm();
    net.black_hole();
    net.client_send(&[1; 100]);
    let seq = net.seen[0].segment.seq;
    net.client.on_icmp(net.now, IcmpNotice::Unreachable { code: 1, quoted_seq: seq });
    net.script(|_, _, _| Fate::Pass);
    net.run_for(secs(1));
    net.black_hole();
    net.client_send(&[1; 100]);
    assert_eq!(net.client_error_by(net.now + secs(100)).unwrap().1, Errno::ETIMEDOUT);
}

#[test]
fn icmp_about_what_is_not_in_flight_is_ignored() {
    let mut net = Setup::default().sysctl("net.ipv4.tcp_retries2", "3").warm();
    net.black_hole();
    net.client_send(&[1; 100]);
    let seq = net.seen[0].segment.seq;
    for quoted_seq in [seq.sub(1), seq.add(101)] {
        net.client.on_icmp(net.now, IcmpNotice::Unreachable { code: 1, quoted_seq });
        net.client.on_icmp(net.now, IcmpNotice::TooBig { path_mtu: 600, quoted_seq });
    }
    assert_eq!(net.client.info().path_mtu, 1500);
    assert_eq!(net.client_error_by(net.now + secs(100)).unwrap().1, Errno::ETIMEDOUT);
}

#[test]
fn unreachable_takes_a_backoff_back() {
    // A6, RFC 6069: an ICMP error about the head makes the next repetition come sooner.
    let mut net = Setup::default().warm();
    net.black_hole();
    let start = net.now;
    net.client_send(&[1; 100]);
    let seq = net.seen[0].segment.seq;
    net.run_for(ms(3_500)); // Repeated at 3.26 s; the next would come at 6.5 s.
    net.client.on_icmp(net.now, IcmpNotice::Unreachable { code: 1, quoted_seq: seq });
    net.run_until(start + secs(10));
    let times = net.times(Client, start, has_data);
    assert_eq!(times, [0, 201, 405, 813, 1629, 3261, 4893, 8157], "half the wait after 3261, then doubling again");
}

#[test]
fn an_orphan_is_given_up_after_eight_backoffs() {
    // A6, M:orphan_data_blackhole: data and FIN travel together from the first repetition on.
    let mut net = Setup::default().warm();
    net.black_hole();
    let start = net.now;
    net.client_send(&[1; 100]);
    net.client.close(net.now);
    let mut gone = None;
    while gone.is_none() {
        let next = net.next().expect("timers run until it is gone");
        net.run_until(next);
        gone = net.client.is_finished().then_some(net.now);
    }
    check_schedule("gone", &[gone.unwrap().since(start).as_millis()], &[106_500]);
    let joined: Vec<_> = net.seen.iter().filter(|seen| seen.len() == 100 && seen.has(TcpFlags::FIN)).collect();
    assert_eq!(joined.len(), 8, "{}", net.trace(start));
    assert!(!net.seen.iter().any(|seen| seen.has(TcpFlags::RST)), "in silence");
}
