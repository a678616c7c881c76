//! A receiver that does not read.

use halfopen_core::event::TcpState;
use halfopen_core::{Errno, SimDuration, SimTime};

use crate::net::{Client, Net, Server, Setup, check_schedule, ms, secs};

/// A server that does not read, with SO_RCVBUF of 8 KiB, filled up.
fn fill_window(setup: Setup) -> (Net, SimTime) {
    let mut net = setup.server(|o| o.receive_buffer = Some(16_384)).start();
    net.run_for(ms(100));
    net.server_reads = false;
    let mut sent = 0;
    while let Ok(len) = net.client.send(net.now, &[3; 4096]) {
        sent += len;
        net.run_for(SimDuration::ZERO);
    }
    assert!(sent > 16_000);
    // The last bundle fills what is left of the window with a part of a segment.
    net.run_for(ms(400));
    let shut = net.seen.iter().find(|seen| seen.from == Server && seen.segment.window == 0);
    let at = shut.unwrap_or_else(|| panic!("the window did not shut:\n{}", net.trace(SimTime::ZERO))).at;
    (net, at)
}

#[test]
fn a_shut_window_is_probed_for_ever() {
    // A6, M:zero_window: gaps .22 .45 .86 1.73 3.58 6.9 13.8 27.9 after the ACK that shut it.
    let (mut net, shut) = fill_window(Setup::default());
    net.run_until(shut + secs(700));
    let times = net.times(Client, shut, |seen| seen.at > shut);
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    check_schedule("gaps", &[times[0]], &[216]);
    check_schedule("gaps", &gaps[..7], &[448, 864, 1728, 3584, 6912, 13_824, 27_904]);
    assert!(gaps.iter().all(|&gap| gap <= 120_001), "never more than two minutes: {gaps:?}");
    assert_eq!(net.client.state(), TcpState::Established);
    let answers = net.times(Server, shut, |_| true);
    assert!(!answers.iter().any(|at| (500..1000).contains(at)), "the second probe is not answered (rate limit)");
    // The program reads at last.
    let before = net.server_got.len();
    net.server_reads = true;
    net.run_for(secs(130));
    assert!(net.server_got.len() > before + 16_000, "and everything flows");
    assert_eq!(net.client.info().bytes_unacked + net.client.info().bytes_unsent, 0);
}

#[test]
fn unanswered_window_probes_end_it() {
    // A6, M:zero_window_blackhole: retries2 = 6, ETIMEDOUT after 6 unanswered probes.
    let (mut net, shut) = fill_window(Setup::default().sysctl("net.ipv4.tcp_retries2", "6"));
    net.run_until(shut + ms(1000));
    net.black_hole();
    let (at, errno) = net.client_error_by(net.now + secs(100)).unwrap();
    assert_eq!(errno, Errno::ETIMEDOUT);
    check_schedule("the end", &[at.since(shut).as_millis()], &[41_200]);
}

#[test]
fn the_user_timeout_kills_a_slow_reader() {
    // A5, M:zero_window_uto.
    let (mut net, shut) = fill_window(Setup::default().client(|o| o.user_timeout = secs(10)));
    let (at, errno) = net.client_error_by(net.now + secs(100)).unwrap();
    assert_eq!(errno, Errno::ETIMEDOUT);
    check_schedule("the end", &[at.since(shut).as_millis()], &[10_412]);
}
