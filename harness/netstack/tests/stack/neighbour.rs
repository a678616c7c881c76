//! Addresses of the own link at which nobody answers.

use halfopen_core::event::DropReason;
use halfopen_core::{Errno, Event};
use halfopen_netstack::stack::SilentLink;

use crate::common::Side::A;
use crate::common::{Net, ms};

const SILENT: SilentLink = SilentLink { address: std::net::Ipv4Addr::new(10, 77, 0, 0), prefix_len: 24 };

#[test]
fn three_questions_are_asked_for_all_who_wait_and_anew_for_the_next() {
    let mut net = Net::new();
    net.stack(A).set_silent_link(SILENT);
    let (first, second, other) =
        (net.connecting(A, "10.77.0.9:80"), net.connecting(A, "10.77.0.9:81"), net.connecting(A, "10.77.1.9:80"));
    net.run(ms(2_999));
    assert_eq!(net.stack(A).take_error(first), None, "the third question may still be answered");
    let late = net.connecting(A, "10.77.0.9:82");
    net.run(ms(1));
    for waiting in [first, second, late] {
        assert_eq!(net.stack(A).take_error(waiting), Some(Errno::EHOSTUNREACH));
    }
    assert_eq!(net.stack(A).take_error(other), None, "another link has routers");
    assert!(net.take_trace().lines().all(|line| !line.contains("10.77.0.")), "nothing leaves the host");
    let again = net.connecting(A, "10.77.0.9:80");
    net.run(ms(2_999));
    assert_eq!(net.stack(A).take_error(again), None);
    net.run(ms(1));
    assert_eq!(net.stack(A).take_error(again), Some(Errno::EHOSTUNREACH));
}

#[test]
fn what_waits_has_its_limit_and_is_counted() {
    let mut net = Net::new();
    net.stack(A).set_silent_link(SILENT);
    let socket = net.udp(A);
    net.connect(A, socket, "10.77.0.9:53").unwrap();
    for _ in 0..300 {
        net.send(A, socket, &[0; 100]).unwrap();
    }
    net.run(ms(10));
    let dropped =
        |net: &Net| net.count(|event| matches!(event, Event::PacketDropped { reason: DropReason::NoRoute, .. }));
    // 212,992 bytes for datagrams that take 832 each.
    assert_eq!(dropped(&net), 300 - 256);
    net.run(ms(3_000));
    assert_eq!(dropped(&net), 300);
    assert_eq!(net.stack(A).take_error(socket), None, "a host that cannot be reached is no hard error for UDP");
}
