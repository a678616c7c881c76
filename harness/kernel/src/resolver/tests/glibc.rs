//! glibc 2.36 against every kind of server, as measured (Debian's 2.36-9+deb12u14, scripted servers on a loopback of its
//! own).

use hickory_proto::op::ResponseCode;

use super::*;
use Reaction::*;
use Server::*;

const V4: &str = "10.9.0.10";

fn serves(a: Reaction, aaaa: Reaction) -> Server {
    Serves { a, aaaa }
}

fn both(reaction: Reaction) -> Server {
    serves(reaction.clone(), reaction)
}

fn code(code: ResponseCode) -> Reaction {
    Code(code)
}

fn good() -> Server {
    serves(Addresses(vec![V4]), NoData)
}

/// Looks `host.test` up in a system of these servers: the result, the time it took and each query.
#[track_caller]
fn check(case: &str, servers: Vec<Server>, options: &str, family: i32, expected: (&str, u64, &str)) {
    let mut system = FakeSystem::new(servers).with_options(options);
    let result = show(&system.lookup("host.test", family));
    let seen = (result.as_str(), system.now.as_millis(), system.queries_by_time());
    assert_eq!((seen.0, seen.1, seen.2.as_str()), expected, "{case}");
}

const ONCE: &str = "0: A@1#1 AAAA@1#1";

#[test]
fn answers_and_refusals() {
    use ResponseCode::{FormErr, NXDomain, NotImp, Refused, ServFail};
    let once = |case, server, expected| check(case, vec![server], "", AF_UNSPEC, (expected, 0, ONCE));
    once("ok", good(), V4);
    once("nx", both(code(NXDomain)), "EAI_NONAME");
    once("nodata", both(NoData), "EAI_NODATA");
    once("formerr", both(code(FormErr)), "EAI_NONAME");
    once("aaaa_servfail", serves(Addresses(vec![V4]), code(ServFail)), V4);
    once("aaaa_nx", serves(Addresses(vec![V4]), code(NXDomain)), V4);
    once("a_servfail_aaaa_nodata", serves(code(ServFail), NoData), "EAI_NODATA");
    once("a_servfail_aaaa_nx", serves(code(ServFail), code(NXDomain)), "EAI_NONAME");
    once("a_nodata_aaaa_servfail", serves(NoData, code(ServFail)), "EAI_NODATA");
    once("a_nx_aaaa_nodata", serves(code(NXDomain), NoData), "EAI_NONAME");
    once("a_formerr_aaaa_ok", serves(code(FormErr), Addresses(vec!["2001:db8::1"])), "2001:db8::1");
    once("a_notimp_aaaa_nx", serves(code(NotImp), code(NXDomain)), "EAI_NONAME");
    once("aaaa_lame", serves(Addresses(vec![V4]), Lame), V4);
    once("stray answers", serves(StrayFirst(Box::new(Addresses(vec![V4]))), NoData), V4);
    // Twice, without delay, from the socket that is there.
    for (case, failure) in [("servfail", ServFail), ("refused", Refused), ("notimp", NotImp)] {
        let twice = "0: A@1#1 AAAA@1#1 A@1#1 AAAA@1#1";
        check(case, vec![both(code(failure))], "", AF_UNSPEC, ("EAI_AGAIN", 0, twice));
    }
    check("servfail, one query", vec![both(code(ServFail))], "", AF_INET, ("EAI_AGAIN", 0, "0: A@1#1 A@1#2"));
    check("lame, one query", vec![both(Lame)], "", AF_INET, ("EAI_AGAIN", 0, "0: A@1#1 A@1#2"));
    check("lame", vec![both(Lame)], "", AF_UNSPEC, ("EAI_AGAIN", 0, "0: A@1#1 AAAA@1#1 A@1#1 AAAA@1#1"));
}

#[test]
fn servers_that_are_not_there() {
    let dead = |servers, options, expected| check("dead", servers, options, AF_UNSPEC, expected);
    dead(vec![Dead], "", ("EAI_AGAIN", 10_000, "0: A@1#1 AAAA@1#1; 5: A@1#1 AAAA@1#1"));
    dead(
        vec![Dead, Dead],
        "",
        ("EAI_AGAIN", 20_000, "0: A@1#1 AAAA@1#1; 5: A@2#2 AAAA@2#2; 10: A@1#1 AAAA@1#1; 15: A@2#2 AAAA@2#2"),
    );
    dead(vec![Dead], "timeout:1 attempts:1", ("EAI_AGAIN", 1_000, ONCE));
    let thrice = "0: A@1#1 AAAA@1#1; 2: A@1#1 AAAA@1#1; 4: A@1#1 AAAA@1#1";
    dead(vec![Dead], "timeout:2 attempts:3", ("EAI_AGAIN", 6_000, thrice));
    // The second of three servers has 5 * 2 / 3 = 3 s, the third 5 * 4 / 3 = 6 s.
    let turn = "0: A@1#1 AAAA@1#1; 5: A@2#2 AAAA@2#2; 8: A@3#3 AAAA@3#3";
    dead(vec![Dead, Dead, Dead], "attempts:1", ("EAI_AGAIN", 14_000, turn));
    dead(vec![Dead, Dead, Dead, good()], "attempts:1", ("EAI_AGAIN", 14_000, turn));
    dead(vec![Dead, good()], "", (V4, 5_000, "0: A@1#1 AAAA@1#1; 5: A@2#2 AAAA@2#2"));
    dead(vec![ClosedPort], "", ("EAI_AGAIN", 0, "0: A@1#1 AAAA@1#1 A@1#2 AAAA@1#2"));
    dead(vec![ClosedPort, good()], "", (V4, 0, "0: A@1#1 AAAA@1#1 A@2#2 AAAA@2#2"));
    dead(vec![NoNeighbour], "", ("EAI_AGAIN", 6_120, "0: A@1#1 AAAA@1#1; 3.060: A@1#2 AAAA@1#2"));
    dead(vec![NoNeighbour, good()], "", (V4, 3_060, "0: A@1#1 AAAA@1#1; 3.060: A@2#2 AAAA@2#2"));
    dead(vec![both(Code(ResponseCode::ServFail)), good()], "", (V4, 0, "0: A@1#1 AAAA@1#1 A@2#2 AAAA@2#2"));
    // Link down: no socket can be connected. No resolv.conf: the server is on this machine, and it is not there.
    dead(vec![NoRoute], "", ("EAI_AGAIN", 0, ""));
    dead(vec![], "", ("EAI_AGAIN", 0, "0: A@0#1 AAAA@0#1 A@0#2 AAAA@0#2"));
    dead(vec![NoDescriptors], "", ("EAI_SYSTEM", 0, ""));
}

#[test]
fn every_lookup_pays_for_a_dead_server_but_rotate_may_skip_it() {
    let mut system = FakeSystem::new(vec![Dead, good()]);
    for seconds in [5, 10, 15] {
        assert_eq!(show(&system.lookup("host.test", AF_UNSPEC)), V4);
        assert_eq!(system.now, at(seconds));
    }
    let mut system = FakeSystem::new(vec![Dead, good()]).with_options("rotate");
    let took: Vec<u64> = (0..4)
        .map(|_| {
            let began = system.now;
            assert_eq!(show(&system.lookup("host.test", AF_UNSPEC)), V4);
            system.now.since(began).as_millis()
        })
        .collect();
    assert_eq!(took, [5_000, 0, 5_000, 0], "which server is first is drawn; from then on they take turns");
}

#[test]
fn half_an_answer() {
    let a_only = || vec![serves(Addresses(vec![V4]), Silence)];
    let half = |case, servers, options, expected| check(case, servers, options, AF_UNSPEC, expected);
    half("aaaa_dropped", a_only(), "", (V4, 15_000, "0: A@1#1 AAAA@1#1; 5: A@1#1 AAAA@1#1; 10: A@1#2 AAAA@1#3"));
    half(
        "aaaa_dropped_single_request",
        a_only(),
        "single-request",
        (V4, 10_000, "0: A@1#1 AAAA@1#1; 5: A@1#2 AAAA@1#3"),
    );
    half("single-request-reopen", a_only(), "single-request-reopen", (V4, 5_000, "0: A@1#1 AAAA@1#2"));
    check("aaaa_dropped_v4only", a_only(), "", AF_INET, (V4, 0, "0: A@1#1"));
    half("single-request-reopen, ok", vec![good()], "single-request-reopen", (V4, 0, "0: A@1#1 AAAA@1#2"));
    half(
        "a_dropped",
        vec![serves(Silence, NoData)],
        "",
        // Measured as EAI_AGAIN: the queries after the first two are for A alone, which is never answered, so that
        // the AAAA query is not sent again and nothing is known at 15 s.
        ("EAI_AGAIN", 15_000, "0: A@1#1 AAAA@1#1; 5: A@1#1; 10: A@1#1"),
    );
    let lost = || vec![serves(SilentFirst(1, Box::new(Addresses(vec![V4]))), NoData)];
    half("first_A_lost", lost(), "", (V4, 5_000, "0: A@1#1 AAAA@1#1; 5: A@1#1 AAAA@1#1"));
    half("first_A_lost, timeout:1", lost(), "timeout:1", (V4, 1_000, "0: A@1#1 AAAA@1#1; 1: A@1#1 AAAA@1#1"));
    half(
        "single-request, A SERVFAIL",
        vec![serves(Code(ResponseCode::ServFail), NoData)],
        "single-request",
        ("EAI_AGAIN", 0, "0: A@1#1 A@1#2"),
    );
    half(
        "single-request, AAAA SERVFAIL",
        vec![serves(Addresses(vec![V4]), Code(ResponseCode::ServFail))],
        "single-request",
        (V4, 0, ONCE),
    );
    let again = ("EAI_AGAIN", 10_000, "0: A@1#1 AAAA@1#1; 5: A@1#1 AAAA@1#1");
    half("A SERVFAIL, AAAA dropped", vec![serves(Code(ResponseCode::ServFail), Silence)], "", again);
    half("A dropped, AAAA SERVFAIL", vec![serves(Silence, Code(ResponseCode::ServFail))], "", again);
}

#[test]
fn the_thread_remembers_a_server_that_gives_half_an_answer() {
    let mut system = FakeSystem::new(vec![serves(Addresses(vec![V4]), Silence)]);
    for seconds in [15, 20, 25] {
        assert_eq!(show(&system.lookup("host.test", AF_UNSPEC)), V4);
        assert_eq!(system.now, at(seconds));
    }
    assert_eq!(system.thread, ThreadState { single_request: true, single_request_reopen: true });
    system.thread = ThreadState::default();
    system.lookup("host.test", AF_UNSPEC).unwrap();
    assert_eq!(system.now, at(40), "another thread begins anew");
}

#[test]
fn truncation_moves_both_queries_to_tcp() {
    let tc = |inner| Truncated(Box::new(inner));
    let over_tcp = "0: A@1#1 AAAA@1#1 A@1#2t AAAA@1#2t";
    check("tc", vec![serves(tc(Addresses(vec![V4])), NoData)], "", AF_UNSPEC, (V4, 0, over_tcp));
    let failing = serves(tc(Code(ResponseCode::ServFail)), tc(Code(ResponseCode::ServFail)));
    check("tc, then SERVFAIL", vec![failing], "", AF_UNSPEC, ("EAI_AGAIN", 0, over_tcp));
    check("use-vc", vec![good()], "use-vc", AF_UNSPEC, (V4, 0, "0: A@1#1t AAAA@1#1t"));
    check("use-vc, dead first", vec![Dead, good()], "use-vc", AF_UNSPEC, (V4, 0, "0: A@2#2t AAAA@2#2t"));
    check("use-vc, dead", vec![Dead], "use-vc", AF_UNSPEC, ("EAI_AGAIN", 0, ""));
    let reset = serves(ResetFirst(Box::new(Addresses(vec![V4]))), NoData);
    check("reset", vec![reset], "use-vc", AF_UNSPEC, (V4, 0, "0: A@1#1t AAAA@1#1t A@1#2t AAAA@1#2t"));
}

/// Looks a name up with a search list: the result, the seconds and each name that was asked for.
#[track_caller]
fn check_search(host: &str, server: Server, options: &str, expected: (&str, u64, &str)) {
    let mut system = FakeSystem::new(vec![server]).with_options(options);
    let result = show(&system.lookup(host, AF_UNSPEC));
    let names = system.names_by_time();
    assert_eq!((result.as_str(), system.now.as_millis() / 1000, names.as_str()), expected, "{host}");
}

#[test]
fn search_lists() {
    let k8s = "ndots:5 search:ns.svc.cluster.local,svc.cluster.local,cluster.local";
    check_search(
        "api",
        Only("api.svc.cluster.local"),
        k8s,
        (
            V4,
            0,
            "0: A api.ns.svc.cluster.local AAAA api.ns.svc.cluster.local A api.svc.cluster.local \
             AAAA api.svc.cluster.local",
        ),
    );
    // Four names, eight queries.
    check_search(
        "no.example.com",
        Only("nothing"),
        k8s,
        (
            "EAI_NONAME",
            0,
            "0: A no.example.com.ns.svc.cluster.local AAAA no.example.com.ns.svc.cluster.local \
             A no.example.com.svc.cluster.local AAAA no.example.com.svc.cluster.local \
             A no.example.com.cluster.local AAAA no.example.com.cluster.local A no.example.com AAAA no.example.com",
        ),
    );
    check_search(
        "drop.example.com",
        Dead,
        &format!("{k8s} timeout:1 attempts:1"),
        (
            "EAI_AGAIN",
            2,
            "0: A drop.example.com.ns.svc.cluster.local AAAA drop.example.com.ns.svc.cluster.local; \
             1: A drop.example.com AAAA drop.example.com",
        ),
    );
    check_search("no.test.", Only("nothing"), k8s, ("EAI_NONAME", 0, "0: A no.test AAAA no.test"));
    check_search("no.test", Only("no.test"), "search:a", (V4, 0, "0: A no.test AAAA no.test"));
    check_search("db", Only("nothing"), "", ("EAI_NONAME", 0, "0: A db AAAA db"));
    let list = "search:a,b";
    check_search(
        "x.y",
        both(NoData),
        list,
        ("EAI_NODATA", 0, "0: A x.y AAAA x.y A x.y.a AAAA x.y.a A x.y.b AAAA x.y.b"),
    );
    // SERVFAIL goes on along the list; nobody there ends it all.
    let failing = both(Code(ResponseCode::ServFail));
    let tries = "0: A x.a AAAA x.a A x.b AAAA x.b A x AAAA x";
    check_search("x", failing, "search:a,b attempts:1", ("EAI_AGAIN", 0, tries));
    check_search("x", ClosedPort, "search:a,b attempts:1", ("EAI_AGAIN", 0, "0: A x.a AAAA x.a"));
    // A time-out ends the list, whatever the name before it met with.
    let silent = ByName(vec![("x.y", Code(ResponseCode::ServFail)), ("x.y.a", Silence)]);
    let stops = "0: A x.y AAAA x.y A x.y.a AAAA x.y.a";
    check_search("x.y", silent, "search:a,b attempts:1", ("EAI_AGAIN", 5, stops));
    let refusing = both(Code(ResponseCode::Refused));
    check_search("x", refusing, "search:a,b attempts:1", ("EAI_AGAIN", 0, "0: A x.a AAAA x.a A x AAAA x"));
}

/// Which failure is told when the names on the list fail differently: for A and AAAA together (and for A with its
/// canonical name), and for A alone.
#[test]
fn the_failure_that_is_told() {
    let fail = || Code(ResponseCode::ServFail);
    for (host, table, both_families, v4_only) in [
        ("h.t", vec![("h.t", fail())], "EAI_AGAIN", "EAI_NONAME"),
        ("h.t", vec![("h.t", Silence)], "EAI_AGAIN", "EAI_NONAME"),
        ("h", vec![("h.q", fail())], "EAI_AGAIN", "EAI_NONAME"),
        ("h", vec![("h.q", fail()), ("h", fail())], "EAI_AGAIN", "EAI_AGAIN"),
        ("h", vec![("h", fail())], "EAI_AGAIN", "EAI_AGAIN"),
        ("h", vec![("h.q", fail()), ("h", NoData)], "EAI_AGAIN", "EAI_NONAME"),
        ("h", vec![("h.q", NoData), ("h", fail())], "EAI_NODATA", "EAI_NODATA"),
    ] {
        for (family, flags, expected) in [
            (AF_UNSPEC, 0, both_families),
            (AF_INET, AI_CANONNAME, both_families),
            (AF_INET6, AI_V4MAPPED, both_families),
            (AF_INET, 0, v4_only),
        ] {
            let mut system = FakeSystem::new(vec![ByName(table.clone())]).with_options("search:q attempts:1");
            let result = getaddrinfo(&mut system, &Query { flags, ..stream_query(host, family) });
            assert_eq!(show(&result), expected, "{host} {table:?} {family} {flags}");
        }
    }
    let over_tcp = vec![both(Truncated(Box::new(fail())))];
    check("tc, then SERVFAIL, one query", over_tcp, "", AF_INET, ("EAI_NONAME", 0, "0: A@1#1 A@1#2t"));
}

#[test]
fn names_that_cannot_be() {
    let (label, long) = ("x".repeat(64), "long.".repeat(60));
    for host in ["", "a..b", "..", ".a", "-a", "a+b", "a b", "a/b", "*.a", "+1.2.3.4", "\u{e4}", &label, &long] {
        let mut system = FakeSystem::new(vec![good()]);
        assert_eq!(show(&system.lookup(host, AF_UNSPEC)), "EAI_NONAME", "{host:?}");
        assert_eq!(system.queries_by_time(), "", "{host:?}");
    }
}

#[test]
fn names_that_can_be() {
    for host in ["_a", "a_b", "a-", "a.-b", "1.2.3.4.5", "256.0.0.1", "0x", &"x".repeat(63)] {
        let mut system = FakeSystem::new(vec![both(Code(ResponseCode::NXDomain))]);
        assert_eq!(show(&system.lookup(host, AF_INET)), "EAI_NONAME", "{host:?}");
        assert_eq!(system.names_by_time(), format!("0: A {host}"));
    }
}

#[test]
fn aliases_lead_to_addresses() {
    let server = serves(Alias("real.test", vec!["10.0.0.1", "10.0.0.2"]), Alias("real.test", vec![]));
    let mut system = FakeSystem::new(vec![server]);
    let query = Query { flags: AI_CANONNAME, ..stream_query("alias.test", AF_UNSPEC) };
    let entries = getaddrinfo(&mut system, &query).unwrap();
    let shown: Vec<_> = entries.iter().map(|e| (e.address.to_string(), e.canonical_name.as_deref())).collect();
    assert_eq!(shown, [("10.0.0.1:0".to_owned(), Some("real.test")), ("10.0.0.2:0".to_owned(), None)]);
    let dangling = both(Alias("gone.test", vec![]));
    check("an alias of nothing", vec![dangling], "", AF_UNSPEC, ("EAI_NONAME", 0, ONCE));
}
