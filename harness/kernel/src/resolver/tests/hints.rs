//! Hints, numbers, services, the hosts file and the order of addresses: everything that needs no name server.

use super::*;

fn system() -> FakeSystem {
    let mut system = FakeSystem::new(vec![Server::Dead]);
    system.hosts = [("127.0.0.1", "localhost"), ("::1", "localhost"), ("10.0.0.7", "db.internal"), ("10.0.0.7", "db")]
        .map(|(ip, name)| (ip.parse().unwrap(), name.to_owned()))
        .to_vec();
    system
}

/// Asks without any name server: `address socktype/protocol`, each entry, or the error.
#[track_caller]
fn check(query: Query<'_>, expected: &str) {
    let mut system = system();
    let shown = match getaddrinfo(&mut system, &query) {
        Ok(entries) => entries
            .iter()
            .map(|entry| {
                assert_eq!(entry.family == AF_INET, entry.address.is_ipv4());
                format!("{} {}/{}", entry.address, entry.socktype, entry.protocol)
            })
            .collect::<Vec<_>>()
            .join(", "),
        Err(error) => error.name().to_owned(),
    };
    assert_eq!(shown, expected, "{query:?}");
    assert_eq!(system.now, SimTime::ZERO, "nobody was asked");
}

fn any<'a>(host: Option<&'a str>, service: Option<&'a str>) -> Query<'a> {
    Query { host, service, flags: 0, family: AF_UNSPEC, socktype: 0, protocol: 0 }
}

fn stream(host: &str) -> Query<'_> {
    stream_query(host, AF_UNSPEC)
}

#[test]
fn socket_types_fan_out() {
    let host = Some("10.0.0.1");
    check(any(host, None), "10.0.0.1:0 1/6, 10.0.0.1:0 2/17, 10.0.0.1:0 3/0");
    check(any(host, Some("80")), "10.0.0.1:80 1/6, 10.0.0.1:80 2/17, 10.0.0.1:80 3/0");
    check(any(host, Some("https")), "10.0.0.1:443 1/6, 10.0.0.1:443 2/17");
    check(any(host, Some("http")), "10.0.0.1:80 1/6");
    check(any(host, Some("nonsense")), "EAI_SERVICE");
    check(Query { socktype: SOCK_STREAM, ..any(host, Some("postgresql")) }, "10.0.0.1:5432 1/6");
    check(Query { socktype: SOCK_DGRAM, ..any(host, Some("http")) }, "EAI_SERVICE");
    check(Query { socktype: SOCK_DGRAM, ..any(host, Some("domain")) }, "10.0.0.1:53 2/17");
    check(Query { protocol: IPPROTO_TCP, ..any(host, None) }, "10.0.0.1:0 1/6");
    check(Query { protocol: IPPROTO_SCTP, socktype: SOCK_STREAM, ..any(host, None) }, "10.0.0.1:0 1/132");
    check(Query { socktype: SOCK_RAW, protocol: 1, ..any(host, None) }, "10.0.0.1:0 3/1");
    check(Query { socktype: SOCK_RAW, ..any(host, Some("80")) }, "EAI_SERVICE");
    check(Query { socktype: SOCK_STREAM, protocol: IPPROTO_UDP, ..any(host, None) }, "EAI_SOCKTYPE");
    check(Query { socktype: 77, ..any(host, None) }, "EAI_SOCKTYPE");
    check(Query { socktype: SOCK_SEQPACKET, ..any(host, None) }, "10.0.0.1:0 5/132");
    check(Query { socktype: SOCK_DCCP, ..any(host, None) }, "10.0.0.1:0 6/33");
    check(Query { protocol: IPPROTO_SCTP, ..any(host, Some("80")) }, "10.0.0.1:80 1/132");
    check(Query { protocol: 77, ..any(host, Some("80")) }, "EAI_SERVICE");
    check(any(host, Some("-1")), "EAI_SERVICE");
    check(Query { flags: AI_NUMERICSERV, ..any(host, Some("http")) }, "EAI_NONAME");
    check(Query { socktype: SOCK_STREAM, ..any(host, Some(" 80")) }, "10.0.0.1:80 1/6");
    check(Query { socktype: SOCK_STREAM, ..any(host, Some("")) }, "10.0.0.1:0 1/6");
    // The low sixteen bits, as strtoul and htons leave them.
    check(Query { socktype: SOCK_STREAM, ..any(host, Some("65616")) }, "10.0.0.1:80 1/6");
}

#[test]
fn numbers_need_no_server() {
    let v6 = |host, flags| Query { flags, ..stream_query(host, AF_INET6) };
    let v4 = |host, flags| Query { flags, ..stream_query(host, AF_INET) };
    for (query, expected) in [
        (stream("192.0.2.1"), "192.0.2.1:0 1/6"),
        (stream("127.1"), "127.0.0.1:0 1/6"),
        (stream("0x7f.1"), "127.0.0.1:0 1/6"),
        (stream("10.0.513"), "10.0.2.1:0 1/6"),
        (stream("010.0.0.1"), "8.0.0.1:0 1/6"),
        (stream("3232235777"), "192.168.1.1:0 1/6"),
        (stream("2001:db8::1"), "[2001:db8::1]:0 1/6"),
        (stream("fe80::1%3"), "[fe80::1%3]:0 1/6"),
        (v6("192.0.2.1", 0), "EAI_ADDRFAMILY"),
        (v6("192.0.2.1", AI_V4MAPPED), "[::ffff:192.0.2.1]:0 1/6"),
        (v4("2001:db8::1", 0), "EAI_ADDRFAMILY"),
        (v4("::ffff:192.0.2.1", 0), "192.0.2.1:0 1/6"),
        (v4("::ffff:192.0.2.1", AI_V4MAPPED), "192.0.2.1:0 1/6"),
        (stream("fe80::1%nope"), "EAI_NONAME"),
        (Query { flags: AI_NUMERICHOST, ..stream("db.internal") }, "EAI_NONAME"),
        // This host has no IPv6 address besides loopback.
        (Query { flags: AI_ADDRCONFIG, ..stream("2001:db8::1") }, "EAI_ADDRFAMILY"),
        (v6("2001:db8::1", AI_ADDRCONFIG), "EAI_NONAME"),
    ] {
        check(query, expected);
    }
    // Not numbers: they go to the hosts file and then to a name server that never answers.
    for host in
        ["1.2.3.4.5", "256.0.0.1", "1.2.65536", "0x", "0x.1", "08.1.1.1", "+1.2.3.4", "4294967296", "1..2", "1."]
    {
        assert_eq!(numeric::parse(host, Wanted::Both, 0), None, "{host}");
    }
}

#[test]
fn null_hosts() {
    let port = Some("80");
    let passive = |family| Query { flags: AI_PASSIVE, family, socktype: SOCK_STREAM, ..any(None, port) };
    check(passive(AF_UNSPEC), "0.0.0.0:80 1/6, [::]:80 1/6");
    check(passive(AF_INET6), "[::]:80 1/6");
    check(Query { flags: 0, ..passive(AF_UNSPEC) }, "[::1]:80 1/6, 127.0.0.1:80 1/6");
    check(any(None, None), "EAI_NONAME");
    check(any(Some("*"), Some("*")), "EAI_NONAME");
}

#[test]
fn nonsense_is_refused() {
    check(Query { flags: 0x8000, ..stream("db") }, "EAI_BADFLAGS");
    check(Query { flags: AI_CANONNAME, ..any(None, Some("80")) }, "EAI_BADFLAGS");
    check(Query { family: 1, ..stream("db") }, "EAI_FAMILY");
}

#[test]
fn the_hosts_file_comes_first() {
    check(stream("DB"), "10.0.0.7:0 1/6");
    check(stream("localhost"), "[::1]:0 1/6, 127.0.0.1:0 1/6");
    check(stream_query("localhost", AF_INET), "127.0.0.1:0 1/6, 127.0.0.1:0 1/6");
    check(stream_query("localhost", AF_INET6), "[::1]:0 1/6");
    check(Query::without_hints(Some("db"), None), "10.0.0.7:0 1/6, 10.0.0.7:0 2/17, 10.0.0.7:0 3/0");
    // Asked for: a name that the file knows for the other family only, or spelt with a dot at the end.
    for (host, family) in [("db", AF_INET6), ("db.internal.", AF_UNSPEC)] {
        let mut system = system();
        assert_eq!(show(&system.lookup(host, family)), "EAI_AGAIN");
        assert_eq!(system.now, at(10));
    }
    // The file is asked for both families before the servers are.
    check(Query { flags: AI_V4MAPPED, ..stream_query("db", AF_INET6) }, "[::ffff:10.0.0.7]:0 1/6");
    check(
        Query { flags: AI_V4MAPPED | AI_ALL, ..stream_query("localhost", AF_INET6) },
        "[::1]:0 1/6, [::ffff:127.0.0.1]:0 1/6, [::ffff:127.0.0.1]:0 1/6",
    );
    let query = Query { flags: AI_CANONNAME, ..stream("db") };
    let entries = getaddrinfo(&mut system(), &query).unwrap();
    assert_eq!(entries[0].canonical_name.as_deref(), Some("db.internal"));
}

/// The addresses of an answer in its order, and the order that getaddrinfo makes of them.
#[track_caller]
fn check_order(locals: &[&str], a: &[&'static str], aaaa: &[&'static str], expected: &str) {
    let reaction = |ips: &[&'static str]| match ips {
        [] => Reaction::NoData,
        ips => Reaction::Addresses(ips.to_vec()),
    };
    let mut system = FakeSystem::new(vec![Server::Serves { a: reaction(a), aaaa: reaction(aaaa) }]);
    system.locals = locals.iter().map(|ip| ip.parse().unwrap()).collect();
    assert_eq!(show(&system.lookup("host.test", AF_UNSPEC)), expected, "{locals:?}");
}

#[test]
fn addresses_are_sorted_by_rfc_6724() {
    let v4 = ["127.0.0.1", "10.0.0.1"];
    let both = ["127.0.0.1", "10.0.0.1", "::1", "2001:db8::1"];
    let v6_link_local_only = ["127.0.0.1", "10.0.0.1", "::1", "fe80::1"];
    let unique_local = ["127.0.0.1", "10.0.0.1", "::1", "fd00::1"];
    let a = ["198.51.100.2", "198.51.100.1"];
    let aaaa = ["2001:db8::9", "2001:db8::8"];
    check_order(&v4, &a, &aaaa, "198.51.100.2 198.51.100.1 2001:db8::9 2001:db8::8");
    check_order(&both, &a, &aaaa, "2001:db8::9 2001:db8::8 198.51.100.2 198.51.100.1");
    // A source of another scope is worse than IPv4 with one that fits.
    check_order(&v6_link_local_only, &a, &aaaa, "198.51.100.2 198.51.100.1 2001:db8::9 2001:db8::8");
    // A unique local source does not match the label of a global destination.
    check_order(&unique_local, &a, &aaaa, "198.51.100.2 198.51.100.1 2001:db8::9 2001:db8::8");
    check_order(&unique_local, &a, &["fd00::9"], "fd00::9 198.51.100.2 198.51.100.1");
}

#[test]
fn mapped_addresses() {
    let v4 = Reaction::Addresses(vec!["10.0.0.1"]);
    let ask = |aaaa: Reaction, flags| {
        let mut system = FakeSystem::new(vec![Server::Serves { a: v4.clone(), aaaa }]);
        show(&getaddrinfo(&mut system, &Query { flags, ..stream_query("host.test", AF_INET6) }))
    };
    let v6 = || Reaction::Addresses(vec!["2001:db8::1"]);
    assert_eq!(ask(Reaction::NoData, 0), "EAI_NODATA");
    assert_eq!(ask(Reaction::NoData, AI_V4MAPPED), "::ffff:10.0.0.1");
    assert_eq!(ask(v6(), AI_V4MAPPED), "2001:db8::1");
    // This host has a source for IPv4 only, so the mapped one is first.
    assert_eq!(ask(v6(), AI_V4MAPPED | AI_ALL), "::ffff:10.0.0.1 2001:db8::1");
}

#[test]
fn every_lookup_of_a_name_is_told() {
    let mut system = system();
    let told = |system: &mut FakeSystem, host: &str| {
        let _ = system.lookup(host, AF_UNSPEC);
        match system.events.drain(..).collect::<Vec<_>>().as_slice() {
            [Event::NameResolved { name, addresses, source, took, error, .. }] => {
                format!("{name} {addresses:?} {source:?} {took} {error:?}")
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(told(&mut system, "db"), "db [10.0.0.7] HostsFile 0s None");
    assert_eq!(told(&mut system, "localhost"), "localhost [::1, 127.0.0.1] HostsFile 0s None");
    assert_eq!(told(&mut system, "192.0.2.1"), "192.0.2.1 [192.0.2.1] Literal 0s None");
    assert_eq!(told(&mut system, "gone.test"), "gone.test [] Server 10s Some(\"EAI_AGAIN\")");
}

#[test]
fn codes_have_the_numbers_of_linux() {
    let all = [
        (GaiError::BadFlags, -1),
        (GaiError::NoName, -2),
        (GaiError::Again, -3),
        (GaiError::Fail, -4),
        (GaiError::NoData, -5),
        (GaiError::Family, -6),
        (GaiError::SockType, -7),
        (GaiError::Service, -8),
        (GaiError::AddrFamily, -9),
        (GaiError::System(Errno::EMFILE), -11),
    ];
    for (error, code) in all {
        assert_eq!(error.code(), code, "{error}");
        assert!(GaiError::message(code).is_some(), "{error}");
    }
    assert_eq!(GaiError::message(0), None);
}

#[test]
fn names_of_addresses() {
    let name = |address: &str, flags| {
        getnameinfo(&mut system(), address.parse().unwrap(), flags).map(|(host, service)| format!("{host} {service}"))
    };
    assert_eq!(name("10.0.0.7:5432", 0), Ok("db.internal postgresql".to_owned()));
    assert_eq!(name("10.0.0.7:5432", NI_NUMERICHOST | NI_NUMERICSERV), Ok("10.0.0.7 5432".to_owned()));
    assert_eq!(name("192.0.2.1:5", 0), Ok("192.0.2.1 5".to_owned()));
    assert_eq!(name("192.0.2.1:123", NI_DGRAM), Ok("192.0.2.1 ntp".to_owned()));
    assert_eq!(name("[fe80::1%3]:80", 0), Ok("fe80::1%3 http".to_owned()));
    assert_eq!(name("192.0.2.1:5", NI_NAMEREQD), Err(GaiError::NoName));
    assert_eq!(name("10.0.0.7:5432", 0x100), Err(GaiError::BadFlags));
}
