//! Paths that take less than the ends believe.

use halfopen_core::{Errno, SimTime};
use halfopen_fabric::packet::TcpSegment;
use halfopen_netstack::socket::MtuDiscover;
use halfopen_netstack::tcp::IcmpNotice;

use crate::net::{Fate, Setup, Side, check_schedule, has_data, ms, secs};

/// A hop that drops what is too large, with or without telling.
fn narrow(mtu: usize) -> impl FnMut(SimTime, Side, &TcpSegment) -> Fate + 'static {
    move |_, _, segment| {
        let size = 20 + segment.header_len() + segment.payload.len();
        if size > mtu { Fate::Drop } else { Fate::Pass }
    }
}

#[test]
fn icmp_shrinks_segments_at_once() {
    // A8, M:mtu_icmp_ok: all is sent again within a millisecond, no timeout, no cut of the window.
    let mut net = Setup::rtt(0).warm();
    net.script(narrow(1400));
    let before = net.server_got.len();
    let start = net.now;
    net.client_send(&vec![4; 14_480]);
    let lost = net.seen.iter().find(|seen| seen.dropped).expect("too large").segment.seq;
    assert_eq!(net.client.info().send_mss, 1448);
    net.client.on_icmp(net.now, IcmpNotice::TooBig { path_mtu: 1400, quoted_seq: lost });
    assert_eq!(net.client.info().send_mss, 1348);
    net.run_for(ms(1));
    assert_eq!(net.server_got.len(), before + 14_480, "{}", net.trace(start));
    let info = net.client.info();
    assert!(info.congestion_window_segments >= 10 && info.retransmits == 0, "{info:?}");
    assert!(net.seen.iter().all(|seen| seen.dont_fragment), "still with DF");
}

#[test]
fn a_black_hole_for_large_segments_stays_one_without_probing() {
    // A8, M:mtu_icmp_blocked: small writes work, 100 KB never arrive.
    let mut net = Setup::rtt(0).sysctl("net.ipv4.tcp_retries2", "7").warm();
    net.script(narrow(1400));
    net.client_send(&[4; 500]);
    net.run_for(ms(500));
    let before = net.server_got.len();
    let start = net.now;
    net.client_send(&vec![4; 20_000]);
    let (at, errno) = net.client_error_by(start + secs(1000)).unwrap();
    check_schedule("the end", &[at.since(start).as_millis()], &[53_900]);
    assert_eq!((errno, net.server_got.len()), (Errno::ETIMEDOUT, before));
}

#[test]
fn probing_finds_the_size_that_passes() {
    // A8, M:mtu_icmp_blocked_probing1: four repetitions at full size, the fifth at 1024.
    let mut net = Setup::rtt(0).sysctl("net.ipv4.tcp_mtu_probing", "1").warm();
    net.script(narrow(1400));
    let before = net.server_got.len();
    let start = net.now;
    net.client_send(&vec![4; 20_000]);
    net.run_for(secs(10));
    assert_eq!(net.server_got.len(), before + 20_000);
    let head = net.seen.iter().find(|seen| has_data(seen)).unwrap().segment.seq;
    let repeated: Vec<_> = net.seen.iter().filter(|seen| seen.segment.seq == head && has_data(seen)).collect();
    let sizes: Vec<usize> = repeated.iter().map(|seen| seen.len()).collect();
    assert_eq!(sizes, [1448, 1448, 1448, 1448, 1448, 1024]);
    check_schedule("1024 passes", &[repeated[5].at.since(start).as_millis()], &[6_463]);
    // More data: the size grows again towards what the path takes.
    net.client_reads = true;
    for _ in 0..400 {
        let _ = net.client.send(net.now, &[4; 16_000]);
        net.run_for(ms(10));
    }
    net.run_for(secs(5));
    let mss = net.client.info().send_mss;
    assert!(mss > 1300 && mss <= 1348, "grew to {mss}");
    assert_eq!(net.client.info().bytes_unacked, 0);
}

#[test]
fn probing_halves_until_it_fits() {
    // A8, M:mtu_1000_probing1: 1024 fails, 512 works.
    let mut net = Setup::rtt(0).sysctl("net.ipv4.tcp_mtu_probing", "1").warm();
    net.script(narrow(1000));
    let before = net.server_got.len();
    let start = net.now;
    net.client_send(&vec![4; 16_000]);
    net.run_for(secs(30));
    assert_eq!(net.server_got.len(), before + 16_000);
    let first = net.seen.iter().find(|seen| seen.len() == 512).expect("512 is tried");
    check_schedule("512", &[first.at.since(start).as_millis()], &[13_203]);
}

#[test]
fn probing_always_starts_small() {
    let net = Setup::rtt(0).sysctl("net.ipv4.tcp_mtu_probing", "2").warm();
    assert_eq!(net.client.info().send_mss, 1024);
}

#[test]
fn a_path_below_the_least_mtu_clears_df() {
    // A8, M:mtu_500.
    let mut net = Setup::rtt(0).warm();
    net.script(narrow(500));
    let start = net.now;
    net.client_send(&vec![4; 3000]);
    let lost = net.seen.iter().find(|seen| seen.dropped).unwrap().segment.seq;
    net.script(|_, _, _| Fate::Pass); // From here on a router fragments.
    net.client.on_icmp(net.now, IcmpNotice::TooBig { path_mtu: 552, quoted_seq: lost });
    net.run_for(ms(10));
    let again: Vec<_> = net.seen.iter().skip(3).filter(|seen| has_data(seen)).collect();
    assert_eq!(again.len(), 6);
    assert!(again.iter().all(|seen| seen.len() <= 500 && !seen.dont_fragment), "{}", net.trace(start));
}

#[test]
fn df_follows_the_socket_option() {
    for (discover, df) in
        [(MtuDiscover::Dont, false), (MtuDiscover::Want, true), (MtuDiscover::Do, true), (MtuDiscover::Probe, true)]
    {
        let net = Setup::default().client(|o| o.mtu_discover = discover).start();
        assert_eq!(net.seen[0].dont_fragment, df, "{discover:?}");
    }
}

#[test]
fn a_clamped_mss_is_obeyed_by_both() {
    let mut net = Setup::rtt(10).client(|o| o.max_segment = Some(1360)).start();
    net.run_for(ms(100));
    assert_eq!((net.client.info().send_mss, net.server().info().send_mss), (1348, 1348));
}
