//! The stub cache's policies: at which seconds the server is asked again.

use hickory_proto::op::ResponseCode;

use super::*;

/// Looks one name up every second of two minutes, and says at which of them the server was asked.
fn asked(policy: StubCache, reaction: Reaction) -> Vec<u64> {
    let mut system = FakeSystem::new(vec![Server::Serves { a: reaction, aaaa: Reaction::NoData }]);
    system.config.cache = policy;
    system.config.attempts = 1;
    (0..120)
        .filter(|second| {
            system.now = at(*second);
            system.events.clear();
            // The case of a name does not matter to a cache.
            let name = if second % 2 == 0 { "Host.test" } else { "hOST.TEST" };
            let _ = system.lookup(name, AF_INET);
            let [Event::NameResolved { source, took, .. }] = system.events.as_slice() else { panic!("one event") };
            assert_eq!(*took, SimDuration::ZERO);
            *source == DnsSource::Server
        })
        .collect()
}

#[test]
fn policies() {
    let every = |step: u64| (0..120).step_by(step as usize).collect::<Vec<u64>>();
    let good = || Reaction::Addresses(vec!["10.0.0.1"]);
    let code = |code| Reaction::Code(code);
    let fixed = StubCache::Fixed(secs(30));
    // An answer with a TTL of 60 s.
    assert_eq!(asked(StubCache::None, good()), every(1));
    assert_eq!(asked(StubCache::Ttl, good()), every(60));
    assert_eq!(asked(StubCache::Forever, good()), [0]);
    assert_eq!(asked(fixed, good()), every(30));
    assert_eq!(asked(StubCache::Fixed(SimDuration::ZERO), good()), every(1));
    // An alias of 20 s to it: the least counts.
    assert_eq!(asked(StubCache::Ttl, Reaction::Alias("real.test", vec!["10.0.0.1"])), every(20));
    // A negative answer whose SOA says 30 s; the JVM's 10 s.
    for negative in [code(ResponseCode::NXDomain), Reaction::NoData] {
        assert_eq!(asked(StubCache::None, negative.clone()), every(1));
        assert_eq!(asked(StubCache::Ttl, negative.clone()), every(30));
        assert_eq!(asked(StubCache::Forever, negative.clone()), every(10));
        assert_eq!(asked(fixed, negative), every(10));
    }
    // A failure of the server says nothing about the name, but the JVM keeps it too.
    assert_eq!(asked(StubCache::Ttl, code(ResponseCode::ServFail)), every(1));
    assert_eq!(asked(StubCache::Forever, code(ResponseCode::ServFail)), every(10));
}

#[test]
fn families_have_entries_of_their_own() {
    let a = Reaction::Addresses(vec!["10.0.0.1"]);
    let mut system = FakeSystem::new(vec![Server::Serves { a, aaaa: Reaction::NoData }]);
    system.config.cache = StubCache::Forever;
    assert_eq!(show(&system.lookup("host.test", AF_INET)), "10.0.0.1");
    assert_eq!(show(&system.lookup("host.test", AF_INET6)), "EAI_NODATA");
    assert_eq!(show(&system.lookup("host.test", AF_INET)), "10.0.0.1");
    assert_eq!(system.names_by_time(), "0: A host.test AAAA host.test");
}

#[test]
fn a_full_cache_makes_room() {
    let a = Reaction::Addresses(vec!["10.0.0.1"]);
    let mut system = FakeSystem::new(vec![Server::Serves { a, aaaa: Reaction::NoData }]);
    system.config.cache = StubCache::Ttl;
    for number in 0..4097u64 {
        system.now = SimTime::from_nanos(number);
        system.lookup(&format!("n{number}.test"), AF_INET).unwrap();
    }
    system.events.clear();
    for name in ["n1.test", "n4096.test", "n0.test"] {
        system.lookup(name, AF_INET).unwrap();
    }
    let sources: Vec<_> = system
        .events
        .iter()
        .map(|event| match event {
            Event::NameResolved { source, .. } => *source,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sources, [DnsSource::StubCache, DnsSource::StubCache, DnsSource::Server]);
}
