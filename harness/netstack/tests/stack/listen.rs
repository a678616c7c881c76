//! Listening: backlog and overflow, dual stack, SO_REUSEPORT, the end of a listener.

use halfopen_core::{Errno, Event};
use halfopen_netstack::Sysctls;
use halfopen_netstack::socket::{SocketId, SocketOptions};

use crate::common::Side::{A, B};
use crate::common::*;

fn overflows(net: &Net) -> usize {
    net.count(|event| matches!(event, Event::ListenOverflow { .. }))
}

#[test]
fn a_backlog_of_n_holds_n_plus_one() {
    for (backlog, somaxconn, holds) in [(0, 4096, 1), (1, 4096, 2), (5, 4096, 6), (100, 3, 4), (-1, 3, 4)] {
        let mut net = Net::with(Sysctls::default(), Sysctls { somaxconn, ..Sysctls::default() });
        let listener = net.listener(B, "0.0.0.0:80", backlog);
        for _ in 0..8 {
            net.connecting(A, "10.0.0.2:80");
            net.run(ms(10));
        }
        let queued = std::iter::from_fn(|| net.accept(B, listener).ok()).count();
        assert_eq!(queued, holds, "listen({backlog}) with somaxconn {somaxconn}");
        assert_eq!(overflows(&net), 8 - holds);
    }
}

#[test]
fn a_syn_that_found_no_room_is_tried_again() {
    let mut net = Net::new();
    let listener = net.listener(B, "0.0.0.0:80", 0);
    let first = net.connecting(A, "10.0.0.2:80");
    net.run(ms(10));
    let second = net.connecting(A, "10.0.0.2:80");
    net.run(ms(100));
    assert_eq!(net.connect(A, first, "10.0.0.2:80"), Ok(()));
    assert_eq!(net.connect(A, second, "10.0.0.2:80"), Err(Errno::EALREADY), "dropped without a word");
    net.accept(B, listener).unwrap();
    net.run(ms(1000));
    assert_eq!(net.connect(A, second, "10.0.0.2:80"), Ok(()));
}

/// Three at once, room for one: all clients believe that they are connected.
fn three_into_one(sysctls: Sysctls) -> (Net, SocketId, [SocketId; 3]) {
    let mut net = Net::with(Sysctls::default(), sysctls);
    net.set_latency(ms(25));
    let listener = net.listener(B, "0.0.0.0:80", 0);
    let clients = [(); 3].map(|()| net.connecting(A, "10.0.0.2:80"));
    net.run(ms(100));
    (net, listener, clients)
}

#[test]
fn the_last_ack_of_a_handshake_is_dropped_when_the_queue_is_full() {
    let (mut net, listener, clients) = three_into_one(Sysctls::default());
    for client in clients {
        assert_eq!(net.connect(A, client, "10.0.0.2:80"), Ok(()), "the client is connected");
        net.send(A, client, b"hello").unwrap();
    }
    assert!(overflows(&net) >= 2);
    // Data of those that found no room is repeated until the server accepts.
    net.run(ms(4000));
    for nth in 0..3 {
        let (server, _) = (0..20)
            .find_map(|_| {
                net.run(ms(1000));
                net.accept(B, listener).ok()
            })
            .unwrap_or_else(|| panic!("connection {nth} was given up"));
        let said = (0..20).find_map(|_| {
            net.run(ms(1000));
            net.recv(B, server).ok()
        });
        assert_eq!(said.as_deref(), Some(&b"hello"[..]), "connection {nth}");
    }
}

#[test]
fn with_abort_on_overflow_the_client_is_reset() {
    let (mut net, _, clients) = three_into_one(Sysctls { tcp_abort_on_overflow: true, ..Sysctls::default() });
    let errors: Vec<Option<Errno>> = clients.iter().map(|&client| net.stack(A).take_error(client)).collect();
    assert_eq!(errors, [None, Some(Errno::ECONNRESET), Some(Errno::ECONNRESET)]);
}

#[test]
fn half_open_connections_are_forgotten_after_their_retries() {
    let mut net = Net::new();
    let listener = net.listener(B, "0.0.0.0:80", 8);
    // Nothing reaches the client.
    net.on_wire(|from, _| if from == B { Fate::Drop } else { Fate::Pass });
    let client = net.connecting(A, "10.0.0.2:80");
    net.run(ms(100));
    net.close(A, client);
    net.run(ms(200_000));
    assert_eq!(net.accept(B, listener), Err(Errno::EAGAIN));
    assert_eq!(net.stack(B).next_deadline(), None);
}

#[test]
fn a_listener_that_goes_resets_what_nobody_accepted() {
    let mut net = Net::new();
    let listener = net.listener(B, "0.0.0.0:80", 8);
    let client = net.connecting(A, "10.0.0.2:80");
    net.run(ms(10));
    net.close(B, listener);
    net.run(ms(10));
    assert_eq!(net.recv(A, client), Err(Errno::ECONNRESET));
    let late = net.connecting(A, "10.0.0.2:80");
    net.run(ms(10));
    assert_eq!(net.stack(A).take_error(late), Some(Errno::ECONNREFUSED));
    assert_eq!(net.stack(B).next_deadline(), None);
}

#[test]
fn a_listener_that_goes_forgets_what_is_half_open() {
    let mut net = Net::new();
    let listener = net.listener(B, "0.0.0.0:80", 8);
    let client = net.connecting(A, "10.0.0.2:80");
    net.set_latency(ms(1));
    // The SYN-ACK is on its way when the listener goes.
    net.run(ms(1));
    net.close(B, listener);
    assert_eq!(net.stack(B).next_deadline(), None);
    net.run(ms(10));
    assert_eq!(net.recv(A, client), Err(Errno::ECONNRESET), "the ACK found nobody");
}

#[test]
fn families_meet_where_linux_lets_them() {
    // (the listener, IPV6_V6ONLY, the client's target) -> what accept and getpeername say
    for (listens, only_v6, target, accepted) in [
        ("0.0.0.0:80", false, "10.0.0.2:80", Some("10.0.0.1")),
        ("[::]:80", false, "10.0.0.2:80", Some("::ffff:10.0.0.1")),
        ("[::]:80", false, "[fd00::2]:80", Some("fd00::1")),
        ("[::]:80", true, "10.0.0.2:80", None),
        ("[::]:80", true, "[fd00::2]:80", Some("fd00::1")),
        ("0.0.0.0:80", false, "[fd00::2]:80", None),
        ("0.0.0.0:80", false, "[::ffff:10.0.0.2]:80", Some("10.0.0.1")),
        ("[::ffff:10.0.0.2]:80", false, "10.0.0.2:80", Some("::ffff:10.0.0.1")),
        ("[fd00::2]:80", false, "10.0.0.2:80", None),
    ] {
        let mut net = Net::new();
        let listener = if at(listens).is_ipv4() { net.tcp(B) } else { net.tcp6(B) };
        let now = net.now;
        net.stack(B).set_options(now, listener, SocketOptions { only_v6, ..SocketOptions::default() });
        net.bind(B, listener, listens).unwrap();
        net.listen(B, listener, 8).unwrap();
        let client = net.connecting(A, target);
        net.run(ms(10));
        let name = format!("{target} to {listens}, v6only {only_v6}");
        match accepted {
            Some(from) => {
                let (server, peer) = net.accept(B, listener).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(peer.ip().to_string(), from, "{name}");
                assert_eq!(net.stack(B).peer_address(server), Ok(peer), "{name}");
                assert_eq!(net.stack(B).local_address(server).is_ipv4(), at(listens).is_ipv4(), "{name}");
                assert_eq!(net.stack(A).peer_address(client), Ok(at(target)), "{name}");
            }
            None => assert_eq!(net.stack(A).take_error(client), Some(Errno::ECONNREFUSED), "{name}"),
        }
    }
}

#[test]
fn the_best_fitting_listener_gets_the_connection() {
    let mut net = Net::new();
    let everywhere = net.tcp6(B);
    let now = net.now;
    net.stack(B).set_options(now, everywhere, SocketOptions { reuse_port: true, ..SocketOptions::default() });
    net.bind(B, everywhere, "[::]:80").unwrap();
    net.listen(B, everywhere, 8).unwrap();
    let here = net.tcp(B);
    net.stack(B).set_options(now, here, SocketOptions { reuse_port: true, ..SocketOptions::default() });
    net.bind(B, here, "10.0.0.2:80").unwrap();
    net.listen(B, here, 8).unwrap();
    net.connecting(A, "10.0.0.2:80");
    net.connecting(A, "[fd00::2]:80");
    net.run(ms(10));
    assert_eq!(net.accept(B, here).unwrap().1.ip().to_string(), A4);
    assert_eq!(net.accept(B, everywhere).unwrap().1.ip().to_string(), A6);
}

#[test]
fn a_reuseport_group_shares_the_load() {
    let mut net = Net::new();
    let group = [(); 4].map(|()| {
        let socket = net.tcp(B);
        let now = net.now;
        net.stack(B).set_options(now, socket, SocketOptions { reuse_port: true, ..SocketOptions::default() });
        net.bind(B, socket, "0.0.0.0:80").unwrap();
        net.listen(B, socket, 100).unwrap();
        socket
    });
    for _ in 0..100 {
        net.connecting(A, "10.0.0.2:80");
    }
    net.run(ms(10));
    let shares = group.map(|socket| std::iter::from_fn(|| net.accept(B, socket).ok()).count());
    assert_eq!(shares.iter().sum::<usize>(), 100);
    assert!(shares.iter().all(|&share| share > 10), "{shares:?}");
}

#[test]
fn what_is_accepted_inherits_the_listeners_options() {
    let mut net = Net::new();
    let listener = net.tcp(B);
    let options = SocketOptions { keepalive: true, no_delay: true, ttl: 7, ..SocketOptions::default() };
    let now = net.now;
    net.stack(B).set_options(now, listener, options.clone());
    net.bind(B, listener, "0.0.0.0:80").unwrap();
    net.listen(B, listener, 8).unwrap();
    net.connecting(A, "10.0.0.2:80");
    net.run(ms(10));
    let (server, _) = net.accept(B, listener).unwrap();
    assert_eq!(net.stack(B).options(server), &options);
}
