//! Nagle, corking, delayed ACKs, readiness, events.

use halfopen_core::event::TcpFlags;
use halfopen_core::{Errno, Event};
use halfopen_netstack::Readiness;
use halfopen_netstack::socket::SocketOptions;

use crate::net::{Client, Fate, Net, Server, Setup, has_data, ms, secs};

#[test]
fn nagle_waits_for_small_segments() {
    // M:nagle_delack, RTT 2: write-write-read without NODELAY stalls on the peer's delayed ACK.
    for (no_delay, least, most) in [(false, 40, 60), (true, 1, 3)] {
        let mut net = Setup::rtt(2).client(|o| o.no_delay = no_delay).warm();
        // A conversation, so that the server's ACKs wait for its answers.
        for _ in 0..10 {
            net.client_send(b"q");
            net.run_for(ms(1));
            net.server_send(b"a");
            net.run_for(ms(1));
        }
        net.run_for(ms(10));
        let before = net.server_got.len();
        let start = net.now;
        net.client_send(b"head");
        net.client_send(b"body");
        while net.server_got.len() < before + 8 {
            let next = net.next().unwrap();
            net.run_until(next);
        }
        let took = net.now.since(start).as_millis();
        assert!((least..=most).contains(&took), "NODELAY {no_delay}: {took} ms");
    }
}

#[test]
fn a_cork_holds_small_segments_for_a_while() {
    let mut net = Setup::rtt(2).client(|o| o.cork = true).warm();
    net.run_for(secs(1));
    let start = net.now;
    net.client_send(b"half");
    net.run_for(ms(50));
    assert!(net.times(Client, start, has_data).is_empty());
    let options = SocketOptions::default();
    net.client.set_options(net.now, &options);
    net.flush();
    assert_eq!(net.times(Client, start, has_data), [50]);
}

#[test]
fn the_end_of_each_bundle_is_pushed() {
    // As in the recording of fidelity case flow/cubic-after-loss, whose first segment is lost.
    let mut net = Setup::rtt(100).client(|o| o.send_buffer = Some(2_000_000)).start();
    net.run_for(ms(110));
    let start = net.now;
    net.client_send(&vec![7; 600_000]);
    net.run_for(ms(10));
    let pushed: Vec<bool> =
        net.seen.iter().filter(|s| s.at >= start && has_data(s)).map(|s| s.has(TcpFlags::PSH)).collect();
    assert_eq!(pushed, [false, true].repeat(5), "{}", net.trace(start));
}

#[test]
fn acks_are_quick_at_first_then_every_second_segment() {
    let mut net = Setup::rtt(20).warm();
    let start = net.now;
    net.client_send(&vec![1; 1448 * 10]);
    net.run_for(secs(1));
    let quick = net.times(Server, start, |_| true).len();
    assert!(quick >= 5, "{quick}");
    for _ in 0..5 {
        net.client_send(&vec![1; 1448 * 10]);
        net.run_for(ms(100));
    }
    let late = net.now;
    net.client_send(&vec![1; 1448 * 10]);
    net.run_for(secs(1));
    assert_eq!(net.times(Server, late, |_| true).len(), 5, "{}", net.trace(late));
}

#[test]
fn lone_segments_are_acknowledged_as_measured() {
    // M:delayed_ack, RTT 2: at once on a fresh connection; 40 ms late after a conversation, and then at once again.
    let mut net = Setup::rtt(2).start();
    net.run_for(ms(10));
    let answer = |net: &mut Net| {
        let start = net.now;
        net.client_send(b"x");
        net.run_for(ms(300));
        net.times(Server, start, |_| true)
    };
    for _ in 0..3 {
        assert_eq!(answer(&mut net), [1], "fresh");
    }
    for _ in 0..10 {
        net.client_send(b"q");
        net.run_for(ms(1));
        net.server_send(b"a");
        net.run_for(ms(1));
    }
    let talked = net.now;
    net.run_for(ms(300));
    assert_eq!(net.times(Client, talked, |_| true), [40], "the last answer waits for a question that never comes");
    assert_eq!(answer(&mut net), [41], "the first lone segment after the conversation");
    for _ in 0..3 {
        assert_eq!(answer(&mut net), [1], "the conversation is over");
    }
}

#[test]
fn readiness_follows_the_buffers() {
    let mut net = Setup::rtt(10).start_with(Box::new(|_, _, _| Fate::Pass));
    assert_eq!(net.client.readiness(), Readiness::NONE, "connecting");
    net.run_for(ms(50));
    assert_eq!(net.client.readiness(), Readiness::OUT);
    net.black_hole();
    while net.client.send(net.now, &[1; 1000]).is_ok() {}
    assert_eq!(net.client.send(net.now, &[1]), Err(Errno::EAGAIN));
    assert_eq!(net.client.readiness(), Readiness::NONE);
    net.script(|_, _, _| Fate::Pass);
    net.run_for(secs(5));
    assert_eq!(net.client.readiness(), Readiness::OUT);
    assert_eq!(net.client.recv(net.now, &mut [0; 4], false), Err(Errno::EAGAIN));
    net.client_reads = false;
    net.server_send(b"abc");
    net.run_for(ms(20));
    assert_eq!(net.client.readiness(), Readiness::OUT.with(Readiness::IN));
    let mut buffer = [0; 2];
    assert_eq!(net.client.recv(net.now, &mut buffer, true), Ok(2));
    assert_eq!(net.client.recv(net.now, &mut buffer, false), Ok(2));
    assert_eq!(net.client.recv(net.now, &mut buffer, false), Ok(1));
}

#[test]
fn events_tell_the_story() {
    let mut net = Setup::default().sysctl("net.ipv4.tcp_retries2", "3").start();
    net.run_for(secs(1));
    net.black_hole();
    net.client_send(b"x");
    net.run_for(secs(100));
    let mut story = String::new();
    for (at, side, event) in &net.events {
        if *side == Client {
            story += &match event {
                Event::TcpStateChanged { from, to, .. } => format!("{} {from:?} -> {to:?}\n", at.as_millis()),
                Event::TcpRetransmit { kind, payload, .. } => format!("{} {kind:?} {payload}\n", at.as_millis()),
                Event::TcpFailed { errno, .. } => format!("{} {errno}\n", at.as_millis()),
                other => format!("{other:?}\n"),
            };
        }
    }
    insta::assert_snapshot!(story, @r"
    0 Closed -> SynSent
    0 SynSent -> Established
    1200 TailLossProbe 1
    1404 Timeout 1
    1812 Timeout 1
    2628 Timeout 1
    4260 Timeout 1
    7524 ETIMEDOUT
    7524 Established -> Closed
    ");
}
