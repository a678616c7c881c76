//! Socket options: what is told, what is kept, and what is refused.

use crate::raw;
use crate::trace::{File, Trace, listener, tcp, tcp_pair, udp, unix_pair};

const SOL: i32 = libc::SOL_SOCKET;
const TCP: i32 = libc::IPPROTO_TCP;
const IP: i32 = libc::IPPROTO_IP;
const IPV6: i32 = libc::IPPROTO_IPV6;

fn what_a_socket_is(t: &mut Trace) {
    let v6 = crate::trace::nonblocking("v6", libc::AF_INET6, libc::SOCK_DGRAM);
    let (stream, packets) =
        (unix_pair("stream", "", libc::SOCK_STREAM).0, unix_pair("packets", "", libc::SOCK_SEQPACKET).0);
    for file in [tcp("tcp"), udp("udp"), v6, stream, packets, listener("listener")] {
        for (name, option) in [
            ("TYPE", libc::SO_TYPE),
            ("DOMAIN", libc::SO_DOMAIN),
            ("PROTOCOL", libc::SO_PROTOCOL),
            ("ACCEPTCONN", libc::SO_ACCEPTCONN),
        ] {
            t.get(&file, name, (SOL, option));
        }
    }
}

fn what_cannot_be_set(t: &mut Trace) {
    for file in [tcp("tcp"), udp("udp"), unix_pair("unix", "", libc::SOCK_STREAM).0] {
        for (name, option) in [
            ("TYPE", libc::SO_TYPE),
            ("DOMAIN", libc::SO_DOMAIN),
            ("PROTOCOL", libc::SO_PROTOCOL),
            ("ACCEPTCONN", libc::SO_ACCEPTCONN),
            ("ERROR", libc::SO_ERROR),
        ] {
            t.set(&file, name, (SOL, option), 1);
        }
    }
}

/// Linux doubles what is asked for.
fn buffers(t: &mut Trace) {
    for file in [tcp("tcp"), udp("udp"), unix_pair("unix", "", libc::SOCK_STREAM).0] {
        for (name, option) in [("SNDBUF", libc::SO_SNDBUF), ("RCVBUF", libc::SO_RCVBUF)] {
            for value in [50_000, 1, 0] {
                t.set(&file, name, (SOL, option), value);
                t.get(&file, name, (SOL, option));
            }
        }
    }
}

const SWITCHES: [(&str, i32); 6] = [
    ("REUSEADDR", libc::SO_REUSEADDR),
    ("REUSEPORT", libc::SO_REUSEPORT),
    ("KEEPALIVE", libc::SO_KEEPALIVE),
    ("BROADCAST", libc::SO_BROADCAST),
    ("OOBINLINE", libc::SO_OOBINLINE),
    ("PRIORITY", libc::SO_PRIORITY),
];

fn switches(t: &mut Trace) {
    for file in [tcp("tcp"), udp("udp")] {
        for (name, option) in SWITCHES {
            t.get(&file, name, (SOL, option));
            t.set(&file, name, (SOL, option), 5);
            t.get(&file, name, (SOL, option));
            t.set(&file, name, (SOL, option), 0);
            t.get(&file, name, (SOL, option));
        }
    }
}

fn switches_of_unix_sockets(t: &mut Trace) {
    let (unix, _) = unix_pair("unix", "", libc::SOCK_STREAM);
    for (name, option) in SWITCHES {
        t.get(&unix, name, (SOL, option));
        t.set(&unix, name, (SOL, option), 1);
        t.get(&unix, name, (SOL, option));
    }
    t.set(&unix, "NODELAY", (TCP, libc::TCP_NODELAY), 1);
    t.get(&unix, "NODELAY", (TCP, libc::TCP_NODELAY));
}

const TIMES: [(&str, i32); 5] = [
    ("KEEPIDLE", libc::TCP_KEEPIDLE),
    ("KEEPINTVL", libc::TCP_KEEPINTVL),
    ("KEEPCNT", libc::TCP_KEEPCNT),
    ("USER_TIMEOUT", libc::TCP_USER_TIMEOUT),
    ("SYNCNT", libc::TCP_SYNCNT),
];

fn options_of_tcp(t: &mut Trace) {
    let file = tcp("tcp");
    for (name, option) in TIMES {
        t.get(&file, name, (TCP, option));
        for value in [7, 127, 128, 32_767, 32_768, 0, -1] {
            t.set(&file, name, (TCP, option), value);
        }
        t.get(&file, name, (TCP, option));
    }
    for (name, option) in [("NODELAY", libc::TCP_NODELAY), ("CORK", libc::TCP_CORK), ("QUICKACK", libc::TCP_QUICKACK)] {
        t.get(&file, name, (TCP, option));
        t.set(&file, name, (TCP, option), 7);
        t.get(&file, name, (TCP, option));
        t.set(&file, name, (TCP, option), 0);
        t.get(&file, name, (TCP, option));
    }
    t.get(&file, "MAXSEG", (TCP, libc::TCP_MAXSEG));
    t.set(&file, "MAXSEG", (TCP, libc::TCP_MAXSEG), 10);
    t.set(&file, "MAXSEG", (TCP, libc::TCP_MAXSEG), 1_000);
    t.get(&file, "DEFER_ACCEPT", (TCP, libc::TCP_DEFER_ACCEPT));
    t.set(&file, "DEFER_ACCEPT", (TCP, libc::TCP_DEFER_ACCEPT), 10);
    t.get(&file, "DEFER_ACCEPT", (TCP, libc::TCP_DEFER_ACCEPT));
}

fn accepted_sockets_inherit(t: &mut Trace) {
    let listener = listener("listener");
    t.set(&listener, "NODELAY", (TCP, libc::TCP_NODELAY), 1);
    t.set(&listener, "KEEPALIVE", (SOL, libc::SO_KEEPALIVE), 1);
    t.set(&listener, "KEEPIDLE", (TCP, libc::TCP_KEEPIDLE), 77);
    t.set(&listener, "USER_TIMEOUT", (TCP, libc::TCP_USER_TIMEOUT), 88);
    t.set(&listener, "REUSEADDR", (SOL, libc::SO_REUSEADDR), 1);
    let client = tcp("client");
    t.connect(&client, crate::trace::local(&listener));
    t.until(&listener, libc::POLLIN);
    if let Some(server) = t.accept(&listener, "server") {
        t.get(&server, "NODELAY", (TCP, libc::TCP_NODELAY));
        t.get(&server, "KEEPALIVE", (SOL, libc::SO_KEEPALIVE));
        t.get(&server, "KEEPIDLE", (TCP, libc::TCP_KEEPIDLE));
        t.get(&server, "USER_TIMEOUT", (TCP, libc::TCP_USER_TIMEOUT));
        t.get(&server, "REUSEADDR", (SOL, libc::SO_REUSEADDR));
    }
}

fn unknown(t: &mut Trace) {
    for file in [tcp("tcp"), udp("udp"), unix_pair("unix", "", libc::SOCK_STREAM).0] {
        for (name, level) in
            [("SOCKET", SOL), ("TCP", TCP), ("UDP", libc::IPPROTO_UDP), ("IP", IP), ("IPV6", IPV6), ("777", 777)]
        {
            t.set(&file, name, (level, 9_999), 1);
            t.get(&file, name, (level, 9_999));
        }
    }
}

fn lengths(t: &mut Trace) {
    let file = tcp("tcp");
    for (name, level, option) in [
        ("REUSEADDR", SOL, libc::SO_REUSEADDR),
        ("LINGER", SOL, libc::SO_LINGER),
        ("NODELAY", TCP, libc::TCP_NODELAY),
        ("KEEPIDLE", TCP, libc::TCP_KEEPIDLE),
        ("TTL", IP, libc::IP_TTL),
        ("TOS", IP, libc::IP_TOS),
    ] {
        for len in [0, 1, 3, 4, 8, 16] {
            let mut value = vec![0; len];
            if let Some(first) = value.first_mut() {
                *first = 1;
            }
            t.say(format_args!("set {name}, {len} bytes"), raw::setsockopt(file.number(), level, option, &value));
        }
        for room in [0, 1, 4, 100] {
            let told = raw::getsockopt(file.number(), level, option, room).map(|value| format!("{value:?}"));
            t.say(format_args!("get {name}, {room} bytes"), told);
        }
    }
}

fn linger(t: &mut Trace) {
    let file = tcp("tcp");
    let get = |t: &mut Trace, file: &File| {
        let told = raw::getsockopt(file.number(), SOL, libc::SO_LINGER, 8).map(|value| format!("{value:?}"));
        t.say("get LINGER", told);
    };
    get(t, &file);
    let value = |on: i32, seconds: i32| [on.to_ne_bytes(), seconds.to_ne_bytes()].concat();
    for (on, seconds) in [(1, 5), (1, 0), (0, 9)] {
        t.say(
            format_args!("set LINGER {on} {seconds}"),
            raw::setsockopt(file.number(), SOL, libc::SO_LINGER, &value(on, seconds)),
        );
        get(t, &file);
    }
}

fn options_of_ip(t: &mut Trace) {
    for file in [tcp("tcp"), udp("udp")] {
        for (name, option) in [("TTL", libc::IP_TTL), ("TOS", libc::IP_TOS), ("MTU_DISCOVER", libc::IP_MTU_DISCOVER)] {
            t.get(&file, name, (IP, option));
            for value in [3, 0, 255, 256, -1] {
                t.set(&file, name, (IP, option), value);
            }
            t.get(&file, name, (IP, option));
        }
        t.get(&file, "MTU", (IP, libc::IP_MTU));
        t.set(&file, "V6ONLY", (IPV6, libc::IPV6_V6ONLY), 1);
        t.get(&file, "V6ONLY", (IPV6, libc::IPV6_V6ONLY));
    }
    let v6 = crate::trace::nonblocking("v6", libc::AF_INET6, libc::SOCK_STREAM);
    for (name, option) in
        [("V6ONLY", libc::IPV6_V6ONLY), ("UNICAST_HOPS", libc::IPV6_UNICAST_HOPS), ("TCLASS", libc::IPV6_TCLASS)]
    {
        t.get(&v6, name, (IPV6, option));
        for value in [1, 255, 256, -1, -2] {
            t.set(&v6, name, (IPV6, option), value);
        }
        t.get(&v6, name, (IPV6, option));
    }
    t.get(&v6, "TTL", (IP, libc::IP_TTL));
}

fn what_a_connection_is(t: &mut Trace) {
    let (a, _b) = tcp_pair("a", "b");
    t.get(&a, "ACCEPTCONN", (SOL, libc::SO_ACCEPTCONN));
    let state = raw::getsockopt(a.number(), TCP, libc::TCP_INFO, 1).map(|info| format!("{info:?}"));
    t.say("state", state);
    let name = raw::getsockopt(a.number(), TCP, libc::TCP_CONGESTION, 16);
    t.say("congestion is a name of 16 bytes", name.map(|name| name.len()));
    let bad = raw::setsockopt(a.number(), TCP, libc::TCP_CONGESTION, b"no such thing");
    t.say("congestion", bad);
    t.set(&a, "REUSEPORT", (SOL, libc::SO_REUSEPORT), 1);
}

#[test]
fn as_on_linux() {
    compare!(
        what_a_socket_is,
        what_cannot_be_set,
        buffers,
        switches,
        switches_of_unix_sockets,
        options_of_tcp,
        accepted_sockets_inherit,
        unknown,
        lengths,
        linger,
        options_of_ip,
        what_a_connection_is,
    );
}
