//! Who may have which port.

use halfopen_core::Errno;
use halfopen_netstack::Sysctls;
use halfopen_netstack::socket::{Family, Kind};

use crate::common::Side::{A, B};
use crate::common::*;

/// One socket of a table: `tcp 0.0.0.0:80 +reuse`; `listen` makes it a listener, `v6only` is IPV6_V6ONLY.
fn bind_as(net: &mut Net, text: &str) -> Result<(), Errno> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let kind = if words[0] == "udp" { Kind::Udp } else { Kind::Tcp };
    let family = if words[1].starts_with('[') { Family::V6 } else { Family::V4 };
    let socket = net.stack(A).socket(family, kind).unwrap();
    let mut options = net.stack(A).options(socket).clone();
    options.reuse_addr = words.contains(&"reuseaddr");
    options.reuse_port = words.contains(&"reuseport");
    options.only_v6 = words.contains(&"v6only");
    let now = net.now;
    net.stack(A).set_options(now, socket, options);
    net.bind(A, socket, words[1])?;
    if words.contains(&"listen") { net.listen(A, socket, 8) } else { Ok(()) }
}

#[test]
fn two_sockets_share_a_port_where_linux_lets_them() {
    const OK: Result<(), Errno> = Ok(());
    const IN_USE: Result<(), Errno> = Err(Errno::EADDRINUSE);
    for (first, second, expect) in [
        ("tcp 0.0.0.0:80", "tcp 0.0.0.0:80", IN_USE),
        ("tcp 0.0.0.0:80", "tcp 0.0.0.0:81", OK),
        ("tcp 0.0.0.0:80", "udp 0.0.0.0:80", OK),
        ("tcp 0.0.0.0:80", "tcp 127.0.0.1:80", IN_USE),
        ("tcp 10.0.0.1:80", "tcp 127.0.0.1:80", OK),
        ("tcp 0.0.0.0:80 reuseaddr", "tcp 0.0.0.0:80", IN_USE),
        ("tcp 0.0.0.0:80 reuseaddr", "tcp 0.0.0.0:80 reuseaddr", OK),
        ("tcp 0.0.0.0:80 reuseaddr listen", "tcp 0.0.0.0:80 reuseaddr", IN_USE),
        ("tcp 0.0.0.0:80 reuseaddr", "tcp 0.0.0.0:80 reuseaddr listen", OK),
        ("tcp 0.0.0.0:80 reuseport listen", "tcp 0.0.0.0:80 reuseport listen", OK),
        ("tcp 0.0.0.0:80 reuseport listen", "tcp 0.0.0.0:80 reuseaddr listen", IN_USE),
        ("udp 0.0.0.0:53", "udp 0.0.0.0:53", IN_USE),
        ("udp 0.0.0.0:53 reuseaddr", "udp 0.0.0.0:53 reuseaddr", OK),
        ("udp 0.0.0.0:53 reuseport", "udp 0.0.0.0:53 reuseport", OK),
        ("udp 0.0.0.0:53 reuseport", "udp 0.0.0.0:53 reuseaddr", IN_USE),
        ("tcp [::]:80", "tcp 0.0.0.0:80", IN_USE),
        ("tcp 0.0.0.0:80", "tcp [::]:80", IN_USE),
        ("tcp [::]:80 v6only", "tcp 0.0.0.0:80", OK),
        ("tcp [::]:80", "tcp [::1]:80", IN_USE),
        ("tcp [::]:80", "tcp 10.0.0.1:80", IN_USE),
        ("tcp [::ffff:0.0.0.0]:80", "tcp [::]:80 v6only", OK),
        ("tcp [::ffff:10.0.0.1]:80", "tcp 10.0.0.1:80", IN_USE),
    ] {
        let mut net = Net::new();
        bind_as(&mut net, first).unwrap();
        assert_eq!(bind_as(&mut net, second), expect, "{first} then {second}");
    }
}

#[test]
fn two_that_were_bound_together_do_not_both_listen() {
    let mut net = Net::new();
    let sockets = [net.tcp(A), net.tcp(A)];
    for socket in sockets {
        let mut options = net.stack(A).options(socket).clone();
        options.reuse_addr = true;
        let now = net.now;
        net.stack(A).set_options(now, socket, options);
        net.bind(A, socket, "0.0.0.0:80").unwrap();
    }
    assert_eq!(net.listen(A, sockets[0], 8), Ok(()));
    assert_eq!(net.listen(A, sockets[1], 8), Err(Errno::EADDRINUSE));
    assert_eq!(net.listen(A, sockets[0], 16), Ok(()), "a second listen changes the backlog");
}

#[test]
fn addresses_that_do_not_fit_are_refused() {
    for (socket, expect) in [
        ("tcp 10.0.0.2:80", Errno::EADDRNOTAVAIL),
        ("udp 10.0.0.2:80", Errno::EADDRNOTAVAIL),
        ("tcp [fd00::2]:80", Errno::EADDRNOTAVAIL),
        ("tcp [::ffff:10.0.0.2]:80", Errno::EADDRNOTAVAIL),
        ("tcp [::ffff:10.0.0.1]:80 v6only", Errno::EINVAL),
        ("tcp [ff02::1]:80", Errno::EINVAL),
    ] {
        assert_eq!(bind_as(&mut Net::new(), socket), Err(expect), "{socket}");
    }
    let mut net = Net::new();
    let v4 = net.tcp(A);
    assert_eq!(net.bind(A, v4, "[::1]:80"), Err(Errno::EAFNOSUPPORT));
    let v6 = net.tcp6(A);
    assert_eq!(net.bind(A, v6, "127.0.0.1:80"), Err(Errno::EINVAL), "a sockaddr_in is too short");
    assert_eq!(bind_as(&mut net, "tcp 224.0.0.1:80"), Ok(()), "of no use, but allowed");
    assert_eq!(net.bind(A, v4, "127.9.9.9:80"), Ok(()), "all of 127.0.0.0/8 is the host's own");
    assert_eq!(net.bind(A, v4, "127.0.0.1:81"), Err(Errno::EINVAL), "bound twice");
}

fn ten_ports() -> Sysctls {
    Sysctls { ip_local_port_range: [40_000, 40_009], ..Sysctls::default() }
}

#[test]
fn bind_to_port_zero_takes_odd_ports_first_until_none_is_left() {
    let mut net = Net::with(ten_ports(), Sysctls::default());
    let mut ports = Vec::new();
    for _ in 0..10 {
        let socket = net.tcp(A);
        net.bind(A, socket, "0.0.0.0:0").unwrap();
        ports.push(net.stack(A).local_address(socket).port());
    }
    assert!(ports[..5].iter().all(|port| port % 2 == 1), "{ports:?}");
    ports.sort_unstable();
    assert_eq!(ports, (40_000..40_010).collect::<Vec<u16>>());
    let eleventh = net.tcp(A);
    assert_eq!(net.bind(A, eleventh, "0.0.0.0:0"), Err(Errno::EADDRINUSE));
    let datagrams = net.udp(A);
    assert_eq!(net.bind(A, datagrams, "0.0.0.0:0"), Ok(()), "UDP has ports of its own");
    net.close(A, datagrams);
}

#[test]
fn udp_without_a_free_port_says_eagain() {
    let mut net = Net::with(ten_ports(), Sysctls::default());
    for _ in 0..10 {
        let socket = net.udp(A);
        net.send_to(A, socket, b"x", "10.0.0.2:9").unwrap();
    }
    let eleventh = net.udp(A);
    assert_eq!(net.send_to(A, eleventh, b"x", "10.0.0.2:9"), Err(Errno::EAGAIN));
    assert_eq!(net.connect(A, eleventh, "10.0.0.2:9"), Err(Errno::EAGAIN));
}

#[test]
fn two_hosts_and_two_seeds_draw_different_ports() {
    let port = |side, seed| {
        let addresses: &[&str] = if side == A { &[A4] } else { &[B4] };
        let mut host = stack(side as u32, addresses, Sysctls::default(), seed);
        let socket = host.socket(Family::V4, Kind::Udp).unwrap();
        host.bind(halfopen_core::SimTime::ZERO, socket, at("0.0.0.0:0")).unwrap();
        host.local_address(socket).port()
    };
    assert_eq!(port(A, 1), port(A, 1));
    assert_ne!(port(A, 1), port(B, 1));
    assert_ne!(port(A, 1), port(A, 2));
}

#[test]
fn a_port_that_ipv4_picked_is_free_for_ipv6_alone() {
    let mut net = Net::new();
    let v4 = net.udp(A);
    net.send_to(A, v4, b"x", "10.0.0.2:9").unwrap();
    let port = net.stack(A).local_address(v4).port();
    assert_eq!(bind_as(&mut net, &format!("udp [::]:{port} v6only")), Ok(()));
    assert_eq!(bind_as(&mut net, &format!("udp [::]:{port}")), Err(Errno::EADDRINUSE));
}
