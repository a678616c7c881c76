//! Binding: which addresses and ports may be shared, and what the ends of a connection are called.

use std::net::SocketAddr;

use crate::raw;
use crate::trace::{File, Trace, local, nonblocking, tcp, udp};

const REUSEADDR: (i32, i32) = (libc::SOL_SOCKET, libc::SO_REUSEADDR);
const REUSEPORT: (i32, i32) = (libc::SOL_SOCKET, libc::SO_REUSEPORT);
const V6ONLY: (i32, i32) = (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY);

fn tcp6(name: &str) -> File {
    nonblocking(name, libc::AF_INET6, libc::SOCK_STREAM)
}

fn what_is_not_ours(t: &mut Trace) {
    let file = tcp("tcp");
    // TEST-NET-3 of RFC 5737.
    t.bind(&file, "203.0.113.1:0");
    t.names(&file);
    let file = udp("udp");
    t.bind(&file, "203.0.113.1:0");
    let file = tcp6("v6");
    t.bind(&file, "[2001:db8::1]:0");
    t.bind(&file, "127.0.0.1:0");
    let file = tcp("v4");
    t.bind(&file, "[::1]:0");
}

fn any_loopback_address(t: &mut Trace) {
    let file = tcp("tcp");
    t.bind(&file, "127.1.2.3:0");
    t.names(&file);
    t.bind(&file, "127.0.0.1:0");
    t.listen(&file, 1);
    let client = tcp("client");
    t.connect(&client, local(&file));
    t.until(&client, libc::POLLOUT);
    t.names(&client);
}

fn in_use(t: &mut Trace) {
    let first = tcp("first");
    t.bind(&first, "127.0.0.1:0");
    let second = tcp("second");
    t.bind_beside(&second, "127.0.0.1", &first);
    t.bind_beside(&second, "0.0.0.0", &first);
    t.bind_beside(&second, "127.0.0.2", &first);
    let datagrams = udp("datagrams");
    t.bind_beside(&datagrams, "127.0.0.1", &first);
    let third = tcp6("third");
    t.bind_beside(&third, "::", &first);
    t.bind_beside(&third, "::1", &first);
}

fn the_wildcard_is_in_use(t: &mut Trace) {
    let first = tcp("first");
    t.bind(&first, "0.0.0.0:0");
    let second = tcp("second");
    t.bind_beside(&second, "127.0.0.1", &first);
    t.bind_beside(&second, "0.0.0.0", &first);
    let third = tcp6("third");
    t.set(&third, "V6ONLY", V6ONLY, 1);
    t.bind_beside(&third, "::", &first);
}

/// TCP: both must have said so, and none may listen.
fn shared_addresses(t: &mut Trace) {
    let first = tcp("first");
    t.bind(&first, "127.0.0.1:0");
    let second = tcp("second");
    t.set(&second, "REUSEADDR", REUSEADDR, 1);
    t.bind_beside(&second, "127.0.0.1", &first);
    t.set(&first, "REUSEADDR", REUSEADDR, 1);
    t.bind_beside(&second, "127.0.0.1", &first);
    t.listen(&first, 1);
    t.listen(&second, 1);
    let third = tcp("third");
    t.set(&third, "REUSEADDR", REUSEADDR, 1);
    t.bind_beside(&third, "127.0.0.1", &first);
    t.bind_beside(&third, "0.0.0.0", &first);
}

fn shared_ports(t: &mut Trace) {
    let first = tcp("first");
    t.set(&first, "REUSEPORT", REUSEPORT, 1);
    t.bind(&first, "127.0.0.1:0");
    t.listen(&first, 1);
    let second = tcp("second");
    t.bind_beside(&second, "127.0.0.1", &first);
    t.set(&second, "REUSEPORT", REUSEPORT, 1);
    t.bind_beside(&second, "127.0.0.1", &first);
    t.listen(&second, 1);
    let third = tcp("third");
    t.set(&third, "REUSEADDR", REUSEADDR, 1);
    t.bind_beside(&third, "127.0.0.1", &first);
}

fn shared_datagrams(t: &mut Trace) {
    let first = udp("first");
    t.bind(&first, "127.0.0.1:0");
    let second = udp("second");
    t.bind_beside(&second, "127.0.0.1", &first);
    t.set(&second, "REUSEADDR", REUSEADDR, 1);
    t.bind_beside(&second, "127.0.0.1", &first);
    t.set(&first, "REUSEADDR", REUSEADDR, 1);
    t.bind_beside(&second, "127.0.0.1", &first);
    let third = udp("third");
    t.set(&third, "REUSEPORT", REUSEPORT, 1);
    t.bind_beside(&third, "127.0.0.1", &first);
}

/// A listener may come back to its port while old connections still wait there.
fn a_port_with_old_connections(t: &mut Trace) {
    let listener = tcp("listener");
    t.bind(&listener, "127.0.0.1:0");
    t.listen(&listener, 1);
    let at = local(&listener);
    let client = tcp("client");
    t.connect(&client, at);
    t.until(&listener, libc::POLLIN);
    let server = t.accept(&listener, "server");
    t.close(listener);
    let plain = tcp("plain");
    let beside = |t: &mut Trace, file: &File| {
        let shown = t.address(at);
        let bound = nix::sys::socket::bind(file.number(), &*crate::trace::sockaddr(at));
        t.say(format_args!("{}.bind({shown})", file.name), bound);
    };
    beside(t, &plain);
    // The end that closes first keeps the port for a while (TIME_WAIT).
    if let Some(server) = server {
        t.close(server);
    }
    t.until(&client, libc::POLLIN);
    t.close(client);
    t.quiet();
    beside(t, &plain);
    let again = tcp("again");
    t.set(&again, "REUSEADDR", REUSEADDR, 1);
    beside(t, &again);
    t.listen(&again, 1);
}

fn both_families(t: &mut Trace) {
    let dual = tcp6("dual");
    t.get(&dual, "V6ONLY", V6ONLY);
    t.bind(&dual, "[::]:0");
    t.set(&dual, "V6ONLY", V6ONLY, 1);
    t.listen(&dual, 4);
    t.names(&dual);
    let port = local(&dual).port();
    for (name, ip) in [("v4", "127.0.0.1"), ("v6", "::1")] {
        let at = SocketAddr::new(ip.parse().expect("an address"), port);
        let client = nonblocking(name, if at.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }, libc::SOCK_STREAM);
        t.connect(&client, at);
        t.until(&client, libc::POLLOUT);
        t.until(&dual, libc::POLLIN);
        if let Some(server) = t.accept(&dual, "server") {
            t.names(&server);
            t.names(&client);
        }
    }
    let mapped = tcp6("mapped");
    t.connect(&mapped, SocketAddr::new("::ffff:127.0.0.1".parse().expect("an address"), port));
    t.until(&mapped, libc::POLLOUT);
    t.names(&mapped);
    let beside = tcp("beside");
    t.bind_beside(&beside, "0.0.0.0", &dual);
}

fn only_v6(t: &mut Trace) {
    let only = tcp6("only");
    t.set(&only, "V6ONLY", V6ONLY, 1);
    t.bind(&only, "[::]:0");
    t.listen(&only, 4);
    let beside = tcp("beside");
    t.bind_beside(&beside, "0.0.0.0", &only);
    let other = tcp6("other");
    t.bind_beside(&other, "::", &only);
    let client = tcp6("client");
    t.set(&client, "V6ONLY", V6ONLY, 1);
    t.connect(&client, "[::ffff:127.0.0.1]:9".parse().expect("an address"));
}

fn datagrams_of_both_families(t: &mut Trace) {
    let dual = nonblocking("dual", libc::AF_INET6, libc::SOCK_DGRAM);
    t.bind(&dual, "[::]:0");
    let client = udp("client");
    t.bind(&client, "127.0.0.1:0");
    t.connect(&client, SocketAddr::from(([127, 0, 0, 1], local(&dual).port())));
    t.names(&client);
    t.write(&client, "abc");
    t.until(&dual, libc::POLLIN);
    crate::datagrams::receive_from(t, &dual, 10);
}

fn ports_of_servers(t: &mut Trace) {
    let file = udp("udp");
    t.names(&file);
    t.connect(&file, "127.0.0.1:9".parse().expect("an address"));
    t.names(&file);
    t.bind(&file, "127.0.0.1:0");
    t.say("dissolved", raw::connect_family(file.number(), libc::AF_UNSPEC, 16));
    t.names(&file);
}

#[test]
fn as_on_linux() {
    compare!(
        what_is_not_ours,
        any_loopback_address,
        in_use,
        the_wildcard_is_in_use,
        shared_addresses,
        shared_ports,
        shared_datagrams,
        a_port_with_old_connections,
        both_families,
        only_v6,
        datagrams_of_both_families,
        ports_of_servers,
    );
}
