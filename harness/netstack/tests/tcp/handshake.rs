//! Opening: SYN and SYN-ACK schedules, what is agreed, and how a connect fails.

use halfopen_core::event::{TcpFlags, TcpState};
use halfopen_core::{Errno, SimTime};
use halfopen_fabric::packet::{SeqNum, TcpSegment};
use halfopen_netstack::socket::SocketOptions;
use halfopen_netstack::tcp::{Connection, IcmpNotice};

use crate::net::{CLIENT_ISS, Client, Fate, Net, Server, Setup, check_schedule, is_syn, ms, secs};

#[test]
fn handshake_data_and_close_read_like_a_trace() {
    let mut net = Setup::rtt(20).start();
    net.run_for(ms(100));
    net.client_send(b"ping");
    net.run_for(ms(100));
    net.server_send(b"pong!");
    net.run_for(ms(100));
    net.client.close(net.now);
    net.run_for(ms(100));
    let now = net.now;
    net.server().close(now);
    net.run_for(ms(100));
    insta::assert_snapshot!(net.trace(SimTime::ZERO), @r"
          0 C [S] 0
         10 S [SA] 0 ack 1
         20 C [A] 1 ack 1
        100 C [PA] 1+4 ack 1
        110 S [A] 1 ack 5
        200 S [PA] 1+5 ack 5
        210 C [A] 5 ack 6
        300 C [FA] 5 ack 6
        350 S [A] 6 ack 6
        400 S [FA] 6 ack 6
        410 C [A] 6 ack 7
    ");
    assert_eq!((net.server_got.as_slice(), net.client_got.as_slice()), (&b"ping"[..], &b"pong!"[..]));
    assert_eq!(net.server().state(), TcpState::Closed);
    assert!(net.server().is_finished());
    assert_eq!(net.client.state(), TcpState::TimeWait);
    net.run_for(secs(61));
    assert!(net.client.is_finished());
    assert_eq!(net.next(), None, "nothing is left to do");
}

/// Connects into a black hole: when SYNs went out, and the end.
fn connect_into_black_hole(setup: Setup) -> (Vec<u64>, (u64, Errno)) {
    let mut net = setup.start_with(Box::new(|_, _, _| Fate::Drop));
    let (at, errno) = net.client_error_by(SimTime::ZERO + secs(500)).expect("the connect ends");
    assert_eq!(net.client.state(), TcpState::Closed);
    (net.times(Client, SimTime::ZERO, is_syn), (at.as_millis(), errno))
}

#[test]
fn connect_into_a_black_hole_gives_up_as_linux_does() {
    // A4: M:connect_blackhole_*.
    let user_timeout = |seconds| move |options: &mut SocketOptions| options.user_timeout = secs(seconds);
    for (what, setup, syns, end) in [
        ("defaults", Setup::default(), &[0u64, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67][..], 131),
        (
            "before Linux 6.5",
            Setup::default().sysctl("net.ipv4.tcp_syn_linear_timeouts", "0"),
            &[0, 1, 3, 7, 15, 31, 63][..],
            127,
        ),
        ("two retries", Setup::default().sysctl("net.ipv4.tcp_syn_retries", "2"), &[0, 1, 2, 3, 4, 5][..], 7),
        ("TCP_SYNCNT 3", Setup::default().client(|o| o.syn_count = Some(3)), &[0, 1, 2, 3, 4, 5, 7, 11][..], 19),
        ("user timeout 10 s", Setup::default().client(user_timeout(10)), &[0, 1, 2, 3, 4, 5, 7][..], 10),
        (
            "a user timeout of 300 s does not add retries",
            Setup::default().client(user_timeout(300)),
            &[0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67][..],
            131,
        ),
        ("user timeout 30 s", Setup::default().client(user_timeout(30)), &[0, 1, 2, 3, 4, 5, 7, 11, 19][..], 30),
    ] {
        let (times, (at, errno)) = connect_into_black_hole(setup);
        assert_eq!(times, syns.iter().map(|s| s * 1000).collect::<Vec<_>>(), "{what}");
        assert_eq!((at, errno), (end * 1000, Errno::ETIMEDOUT), "{what}");
    }
}

#[test]
fn nominal_connect_times_fit_the_measured_ones() {
    let (times, (at, _)) = connect_into_black_hole(Setup::default());
    let measured = [0, 1010, 2040, 3060, 4090, 5110, 7130, 11_350, 19_500, 35_700, 68_200];
    check_schedule("SYN", &times, &measured);
    check_schedule("ETIMEDOUT", &[at], &[133_700]);
}

#[test]
fn lost_syns_cost_seconds_and_then_the_window() {
    // A4: M:syn_lost_1, M:syn_lost_2: one lost SYN leaves the window at 10, two leave 1.
    for (lost, seconds, cwnd, rto) in [(1, 1, 10, 220), (2, 2, 1, 220)] {
        let mut left = lost;
        let mut net = Setup::rtt(20).start_with(Box::new(move |_, from, _| {
            if from == Client && left > 0 {
                left -= 1;
                return Fate::Drop;
            }
            Fate::Pass
        }));
        net.run_for(secs(5));
        assert_eq!(net.client.state(), TcpState::Established);
        let info = net.client.info();
        assert_eq!(info.congestion_window_segments, cwnd, "{lost} lost");
        assert_eq!(info.rto, ms(rto), "a lost SYN does not spoil the RTO");
        assert_eq!(net.times(Client, SimTime::ZERO, is_syn).last(), Some(&(seconds * 1000)));
    }
}

#[test]
fn a_lost_syn_ack_poisons_the_clients_rto() {
    // A2, M:synack_one_lost: the SYN-ACK echoes the first SYN, so the sample is a second and more.
    let mut first = true;
    let mut net = Setup::rtt(10).start_with(Box::new(move |_, from, segment| {
        if from == Server && segment.flags.has(TcpFlags::SYN) && std::mem::take(&mut first) {
            return Fate::Drop;
        }
        Fate::Pass
    }));
    net.run_for(ms(1500));
    assert_eq!(net.client.state(), TcpState::Established);
    let info = net.client.info();
    assert_eq!((info.srtt.as_millis(), info.rto.as_millis()), (1010, 3032));
    assert_eq!(info.congestion_window_segments, 10);
    net.client_send(b"x");
    net.run_for(secs(1));
    assert!(net.client.info().rto < secs(3), "new samples heal it");
}

#[test]
fn syn_acks_are_repeated_and_then_forgotten() {
    // A4, M:synack_retrans: the client's ACKs are lost.
    let mut net = Setup::rtt(0).start_with(Box::new(|_, from, segment| {
        if from == Client && !segment.flags.has(TcpFlags::SYN) { Fate::Drop } else { Fate::Pass }
    }));
    net.run_for(secs(70));
    let times = net.times(Server, SimTime::ZERO, is_syn);
    assert_eq!(times, [0, 1000, 3000, 7000, 15_000, 31_000]);
    assert_eq!(net.client.state(), TcpState::Established, "the client believes in it");
    assert!(net.server().is_finished(), "and the server has forgotten it, at 63 s");
    assert_eq!(net.server().take_error(), None);
}

#[test]
fn every_repeated_syn_is_answered_and_puts_the_timer_off() {
    // A4, M:synack_blackhole: server to client is dead.
    let mut net =
        Setup::rtt(20).start_with(Box::new(|_, from, _| if from == Server { Fate::Drop } else { Fate::Pass }));
    net.run_for(secs(4));
    let times = net.times(Server, SimTime::ZERO, is_syn);
    for syn in [10, 1010, 2010, 3010] {
        assert!(times.contains(&syn), "{times:?}");
    }
}

#[test]
fn a_full_accept_queue_lets_the_client_believe() {
    // A4, M:backlog_final_ack_dropped.
    let mut net = Setup::rtt(50).start();
    net.run_until(SimTime::ZERO + ms(49));
    let mut rejected = 0;
    while net.now < SimTime::ZERO + secs(3) {
        let next = net.next().expect("timers run").min(SimTime::ZERO + secs(3));
        net.run_until(next);
        let now = net.now;
        if net.server().state() == TcpState::Established {
            net.server().on_accept_queue_full(now);
            rejected += 1;
            if rejected == 1 {
                net.client_send(b"early");
            }
        }
    }
    assert!(rejected >= 2, "the ACK and the data were refused");
    assert_eq!(net.client.state(), TcpState::Established);
    assert_eq!(net.server().state(), TcpState::SynReceived);
    let times = net.times(Server, SimTime::ZERO, is_syn);
    assert_eq!(times[..2], [25, 1025]);
    net.run_for(secs(5));
    assert_eq!(net.server().state(), TcpState::Established, "room at last");
    assert_eq!(net.server_got, b"early");
}

#[test]
fn both_sides_may_open_at_once() {
    let setup = Setup::rtt(20);
    let mut net = setup.clone().start_with(Box::new(|_, _, _| Fate::Pass));
    let (endpoint, sysctls, options) = net.server_setup.clone();
    net.server = Some(Connection::connect(SimTime::ZERO, endpoint, &sysctls, &options));
    net.run_for(secs(3));
    assert_eq!((net.client.state(), net.server().state()), (TcpState::Established, TcpState::Established));
    net.client_send(b"left");
    net.server_send(b"right");
    net.run_for(secs(1));
    assert_eq!((&net.server_got[..], &net.client_got[..]), (&b"left"[..], &b"right"[..]));
}

#[test]
fn refusals_and_icmp_end_a_connect_at_once() {
    let icmp = |code| {
        move |net: &mut Net| {
            let notice = IcmpNotice::Unreachable { code, quoted_seq: SeqNum(CLIENT_ISS) };
            net.client.on_icmp(net.now, notice);
        }
    };
    let reset = |net: &mut Net| {
        let flags = TcpFlags::RST.with(TcpFlags::ACK);
        let segment = TcpSegment { ack: SeqNum(CLIENT_ISS + 1), flags, ..TcpSegment::default() };
        net.client.on_segment(net.now, &segment);
    };
    type Happens = Box<dyn Fn(&mut Net)>;
    let cases: [(&str, Happens, Errno); 8] = [
        ("RST", Box::new(reset), Errno::ECONNREFUSED),
        ("net unreachable", Box::new(icmp(0)), Errno::ENETUNREACH),
        ("host unreachable", Box::new(icmp(1)), Errno::EHOSTUNREACH),
        ("protocol unreachable", Box::new(icmp(2)), Errno::ENOPROTOOPT),
        ("port unreachable", Box::new(icmp(3)), Errno::ECONNREFUSED),
        ("net prohibited", Box::new(icmp(9)), Errno::ENETUNREACH),
        ("host prohibited", Box::new(icmp(10)), Errno::EHOSTUNREACH),
        ("filtered", Box::new(icmp(13)), Errno::EHOSTUNREACH),
    ];
    for (what, event, errno) in cases {
        let mut net = Setup::default().start_with(Box::new(|_, _, _| Fate::Drop));
        event(&mut net);
        assert_eq!(net.client.take_error(), Some(errno), "{what}");
        assert_eq!(net.client.state(), TcpState::Closed, "{what}");
    }
}

#[test]
fn a_stray_reset_does_not_refuse_a_connect() {
    let mut net = Setup::default().start_with(Box::new(|_, _, _| Fate::Drop));
    let flags = TcpFlags::RST.with(TcpFlags::ACK);
    for (ack, flags) in [(CLIENT_ISS, flags), (CLIENT_ISS + 2, flags), (CLIENT_ISS + 1, TcpFlags::RST)] {
        net.client.on_segment(net.now, &TcpSegment { ack: SeqNum(ack), flags, ..TcpSegment::default() });
        assert_eq!(net.client.state(), TcpState::SynSent);
    }
}

#[test]
fn windows_and_sizes_of_the_handshake() {
    // A1: 64240 and 65160, scale 10, MSS 1460, 1448 with timestamps.
    let mut net = Setup::rtt(10).start();
    net.run_for(ms(50));
    let syn = net.seen[0].segment.clone();
    let syn_ack = net.seen[1].segment.clone();
    let ack = net.seen[2].segment.clone();
    assert_eq!((syn.window, syn.options.mss, syn.options.window_scale), (64240, Some(1460), Some(10)));
    assert_eq!((syn_ack.window, syn_ack.options.mss, syn_ack.options.window_scale), (65160, Some(1460), Some(10)));
    assert_eq!(ack.window, 63);
    assert_eq!(net.client.info().send_mss, 1448);
    for (what, name, mss, scaled) in [
        ("no timestamps", "net.ipv4.tcp_timestamps", 1460, true),
        ("no scaling", "net.ipv4.tcp_window_scaling", 1448, false),
        ("no SACK", "net.ipv4.tcp_sack", 1448, true),
    ] {
        let mut net = Setup::rtt(10).sysctl(name, "0").start();
        net.run_for(ms(50));
        let syn_ack = &net.seen[1].segment;
        assert_eq!(syn_ack.options.window_scale.is_some(), scaled, "{what}");
        assert_eq!(net.client.info().send_mss, mss, "{what}");
        net.client_send(&[7; 100_000][..20_000]);
        net.run_for(secs(2));
        assert_eq!(net.server_got.len(), 20_000, "{what}");
    }
}

#[test]
fn ipv6_takes_twenty_bytes_more() {
    let mut net = Setup { v6: true, ..Setup::rtt(10) }.start();
    net.run_for(ms(50));
    assert_eq!(net.seen[0].segment.options.mss, Some(1440));
    assert_eq!(net.client.info().send_mss, 1428);
    net.client_send(&[7; 5000]);
    net.run_for(secs(1));
    assert_eq!(net.server_got.len(), 5000);
}
