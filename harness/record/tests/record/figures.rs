//! Metrics, one table of events and figures for each subject.

use crate::events::check;

const HOSTS: &str = "
    0s host app-1 10.0.0.1
    0s host app-2 10.0.0.2
    0s host db 10.0.9.9 upstream
";

/// Ops of `app-1` from `from_ms` on, `count` of them `every_ms`, that take 10 ms and end as `outcome` says.
fn ops(first: u64, count: u64, from_ms: u64, every_ms: u64, outcome: &str) -> String {
    let each = (0..count).map(|index| {
        let (op, at) = (first + index, from_ms + index * every_ms);
        format!("{at}ms op {op} app-1 get\n{}ms op {op} {outcome}\n", at + 10)
    });
    in_order(&each.collect::<String>())
}

/// Lines by their time in milliseconds; those of one instant stay as they are.
fn in_order(text: &str) -> String {
    let time = |line: &str| -> u64 {
        let word = line.split_whitespace().next().expect("a time");
        match word.strip_suffix("ms") {
            Some(ms) => ms.parse().expect("milliseconds"),
            None => word.trim_end_matches('s').parse::<u64>().expect("seconds") * 1000,
        }
    };
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.sort_by_key(|line| time(line));
    lines.join("\n") + "\n"
}

#[test]
fn ops_by_outcome_host_and_phase() {
    let text = format!(
        "{HOSTS}
        1s op 1 app-1 get
        1.1s op 1 ok
        2s fault blip begins
        2.5s op 2 app-1 get
        2.5s op 3 app-2 get
        3s fault blip ends
        3.5s op 2 failed read-timeout
        4s op 4 app-2 get
        4.3s op 4 ok
        5s op 5 app-2 get
        5.1s op 5 silent
        6s end limit"
    );
    check(
        &text,
        &[
            ("ops.total", "5"),
            ("ops.ok", "2"),
            ("ops.failed", "2"),
            ("ops.hung", "1"),
            ("ops.silent", "1"),
            ("errors.read-timeout", "1"),
            ("errors.reset", "0"),
            // A hung op counts with the time it has hung.
            ("ops.latency.max", "3.5"),
            ("ops.latency.p50", "0.3"),
            ("ops.latency.mean", "1"),
            ("ops.latency.p99 before blip", "0.1"),
            ("ops.failed during blip", "1"),
            ("ops.hung during blip", "1"),
            ("ops.failed after blip", "1"),
            ("ops.total before blip", "1"),
            ("app: ops.total", "5"),
            ("app-1: ops.failed", "1"),
            ("app-2: ops.total during blip", "1"),
            ("ap: ops.total", "no data"),
            ("ops.total before nothing", "no data"),
            ("run.time during blip", "1"),
            ("run.time", "6"),
        ],
    );
}

#[test]
fn what_one_instant_holds_is_told_apart_by_order() {
    check(
        "0s host app 10.0.0.1
        2s op 1 app get
        2s fault blip begins
        2s op 2 app get
        2s fault blip ends
        2s op 3 app get
        2s end done",
        &[("ops.total before blip", "1"), ("ops.total during blip", "1"), ("ops.total after blip", "1")],
    );
}

#[test]
fn a_fault_that_comes_again_has_one_phase_and_one_without_end_no_after() {
    check(
        "0s host app 10.0.0.1
        0s op 1 app get
        1s fault blip begins
        1s op 2 app get
        2s fault blip ends
        2s op 3 app get
        3s fault blip begins
        3s op 4 app get
        4s fault blip ends
        4s op 5 app get
        5s fault dead begins
        5s op 6 app get
        6s end limit",
        &[
            ("ops.total before blip", "1"),
            ("ops.total during blip", "2"),
            ("ops.total after blip", "2"),
            ("run.time during blip", "2"),
            ("ops.total during dead", "1"),
            ("ops.total after dead", "no data"),
        ],
    );
}

#[test]
fn attempts_amplify_peak_and_bunch() {
    // Two seconds with one attempt for each of 10 ops, then a second in which each of 10 ops is tried four times,
    // all within one tick.
    let mut text = HOSTS.to_owned();
    let mut attempt = 0;
    for op in 0..20 {
        attempt += 1;
        text += &format!("{}ms op {op} app-1 get\n{}ms attempt {attempt} db of {op}\n", op * 100, op * 100);
    }
    text += "2s fault slow begins\n";
    for op in 20..30 {
        text += &format!("2050ms op {op} app-1 get\n");
        for _ in 0..4 {
            attempt += 1;
            text += &format!("2050ms attempt {attempt} db of {op}\n");
        }
    }
    text += "2900ms attempt 1 db ok\n2900ms attempt 60 db failed\n3s end limit";
    check(
        &text,
        &[
            ("attempts.total", "60"),
            ("attempts.ok", "1"),
            ("attempts.failed", "1"),
            ("attempts.unfinished", "58"),
            ("attempts.retries", "30"),
            ("attempts.amplification", "2"),
            ("attempts.amplification before slow", "1"),
            ("attempts.amplification during slow", "4"),
            ("attempts.amplification.peak", "4"),
            ("attempts.peak", "4"),
            ("attempts.peak_rate", "40"),
            // One in each bin of 100 ms: variance 0. All 40 in one of ten bins: (10 * 1600 - 1600) / (10 * 40).
            ("attempts.synchrony before slow", "0"),
            ("attempts.synchrony during slow", "36"),
            ("attempts.retries.synchrony before slow", "no data"),
            ("attempts.retries.synchrony", "27"),
            // Attempts belong to the upstream and to the host whose ops they serve.
            ("db: attempts.total", "60"),
            ("app-1: attempts.total", "60"),
            ("app-2: attempts.total", "0"),
        ],
    );
    check("0s end done", &[("attempts.amplification", "no data"), ("attempts.synchrony", "no data")]);
}

#[test]
fn pools_saturate_while_full_with_somebody_waiting() {
    check(
        "0s host app-1 10.0.0.1
        0s host app-2 10.0.0.2
        0s gauge app-1 pool.size 2
        0s gauge app-2 pool.size 2
        1s gauge app-1 pool.in_use 2
        2s gauge app-1 pool.waiting 3
        3s fault slow begins
        4s gauge app-2 pool.in_use 1
        4s gauge app-2 pool.waiting 1
        6s gauge app-1 pool.waiting 0
        6s wait app-1 4s
        6s wait app-1 1s
        7s fault slow ends
        8s end done",
        &[
            ("pool.size", "4"),
            ("pool.in_use", "3"),
            ("pool.in_use before slow", "2"),
            ("pool.waiting", "4"),
            ("pool.saturated", "4"),
            ("pool.saturated before slow", "1"),
            ("pool.saturated during slow", "3"),
            // Somebody waits there, but not for want of connections.
            ("app-2: pool.saturated", "0"),
            ("pool.wait.count", "2"),
            ("pool.wait.p50", "1"),
            ("pool.wait.max", "4"),
            ("pool.wait.max before slow", "no data"),
            ("pool.idle", "no data"),
            ("breaker.opened", "0"),
        ],
    );
    // A client that never had anybody waiting does not tell of it; one without a pool has none to saturate.
    check(
        "0s host app-1 10.0.0.1\n1s gauge app-1 pool.in_use 1\n2s end done",
        &[("pool.waiting", "0"), ("pool.saturated", "0"), ("pool.wait.count", "0"), ("pool.wait.p99", "no data")],
    );
    check("0s host app-1 10.0.0.1\n2s end done", &[("pool.waiting", "no data"), ("pool.saturated", "no data")]);
}

#[test]
fn breakers_and_transfers() {
    check(
        "0s host app 10.0.0.1
        0s op 1 app upload
        1s gauge app breaker.open 1
        3s gauge app breaker.open 0
        4s gauge app breaker.open 1
        5s gauge app transfer.progress 10
        9s gauge app transfer.progress 50
        10s gauge app transfer.progress 20
        12s gauge app transfer.progress 100
        12s op 1 ok
        60s end done",
        &[
            ("breaker.opened", "2"),
            ("breaker.open_time", "58"),
            ("transfer.progress", "100"),
            ("transfer.stalled", "4"),
            ("transfer.restarts", "1"),
        ],
    );
}

#[test]
fn effects_lost_doubled_and_silent() {
    check(
        "0s host app 10.0.0.1
        0s host db 10.0.0.2 upstream
        0s op 1 app put
        0s effect 1 db
        0s op 1 ok
        1s op 2 app put
        1s op 2 ok
        2s op 3 app put
        2s effect 3 db
        2s effect 3 db
        2s op 3 ok
        3s op 4 app put
        3s op 4 failed reset
        # No effect of a `get` was ever seen, so that none can be missed; but all attempts of op 6 failed.
        4s op 5 app get
        4s op 5 ok
        5s op 6 app get
        5s attempt 1 db of 6
        5s attempt 1 db failed
        5s op 6 ok
        6s end done",
        &[
            ("effects.total", "3"),
            ("effects.lost", "1"),
            ("effects.duplicated", "1"),
            ("ops.silent", "2"),
            ("ops.failed", "1"),
        ],
    );
}

#[test]
fn recovery_is_when_service_stays_as_good_as_before() {
    let faulty = |after: &str| {
        let before = ops(1, 40, 0, 50, "ok");
        let during = ops(100, 20, 2_000, 50, "failed deadline");
        let text = format!("2000ms fault blip begins\n{during}3000ms fault blip ends\n{after}");
        format!("{HOSTS}{before}{}60s end done", in_order(&text))
    };
    for (after, time, first_success) in [
        // All is well at once.
        (ops(200, 100, 3_000, 50, "ok"), "0", "0.01"),
        // Five seconds of failures.
        (ops(200, 100, 3_000, 50, "failed reset") + &ops(300, 100, 8_000, 50, "ok"), "5", "5.01"),
        // It looks well for two seconds, and is not.
        (
            ops(200, 40, 3_000, 50, "ok") + &ops(300, 40, 5_000, 50, "failed reset") + &ops(400, 99, 7_000, 50, "ok"),
            "4",
            "0.01",
        ),
        // It never is.
        (ops(200, 100, 3_000, 50, "failed reset"), "never", "never"),
        // The last few ops are well, and only just.
        (ops(200, 100, 3_000, 50, "failed reset") + &ops(300, 3, 8_000, 50, "ok"), "5", "5.01"),
        // Nothing was asked for afterwards.
        (String::new(), "no data", "no data"),
    ] {
        check(&faulty(&in_order(&after)), &[("recovery.time", time), ("recovery.first_success", first_success)]);
    }
}

#[test]
fn recovery_sees_slowness_and_forgives_what_was_usual() {
    // Ops that take ten times as long are no recovery, and twice is.
    let slow = |took_ms: u64| {
        let each = (0..60).map(|index| {
            let at = 3_000 + index * 50;
            format!("{at}ms op {} app-1 get\n{}ms op {} ok\n", 200 + index, at + took_ms, 200 + index)
        });
        let faults = "2000ms fault slow begins\n3000ms fault slow ends\n";
        let text = in_order(&format!("{}{faults}{}", ops(1, 40, 0, 50, "ok"), each.collect::<String>()));
        format!("{HOSTS}{text}60s end done")
    };
    check(&slow(20), &[("recovery.time", "0")]);

    // Four slow ops in a second of twenty may be chance, five may not.
    let some_slow = |slow: u64| {
        let each = (0..60).map(|index| {
            let (op, at, took_ms) = (200 + index, 3_000 + index * 50, if index < slow { 100 } else { 10 });
            format!("{at}ms op {op} app-1 get\n{}ms op {op} ok\n", at + took_ms)
        });
        let faults = "2000ms fault slow begins\n3000ms fault slow ends\n";
        let text = in_order(&format!("{}{faults}{}", ops(1, 40, 0, 50, "ok"), each.collect::<String>()));
        format!("{HOSTS}{text}60s end done")
    };
    check(&some_slow(4), &[("recovery.time", "0")]);
    check(&some_slow(5), &[("recovery.time", "0.05")]);
    check(&slow(100), &[("recovery.time", "never"), ("recovery.first_success", "0.1")]);

    // One op in ten fails before as after: as good as before.
    let lossy = |first: u64, from_ms: u64| {
        let tenth = |index: u64| if index.is_multiple_of(10) { "failed reset" } else { "ok" };
        (0..60).map(|index| ops(first + index, 1, from_ms + index * 50, 50, tenth(index))).collect::<String>()
    };
    let faults = "4000ms fault blip begins\n5000ms fault blip ends\n";
    let text = in_order(&format!("{}{faults}{}", lossy(1, 0), lossy(100, 5_000)));
    check(&format!("{HOSTS}{text}60s end done"), &[("recovery.time", "0")]);
}

#[test]
fn recovery_from_one_of_two_faults() {
    let faults = "2000ms fault blip begins\n3000ms fault blip ends\n6000ms fault slow begins\n7000ms fault slow ends\n";
    let text = ops(1, 40, 0, 50, "ok")
        + &ops(100, 40, 2_000, 50, "failed reset")
        + &ops(200, 40, 4_000, 50, "ok")
        + &ops(300, 40, 6_000, 50, "failed reset")
        + &ops(400, 40, 8_000, 50, "ok");
    check(
        &format!("{HOSTS}{}60s end done", in_order(&(faults.to_owned() + &text))),
        // The failures of the second fault spoil the recovery from the first.
        &[("recovery.time", "1"), ("recovery.time after slow", "1"), ("recovery.time after blip", "5")],
    );
}

#[test]
fn recovery_without_fault_and_with_a_hung_client() {
    check("0s host app 10.0.0.1\n0s op 1 app get\n1s op 1 ok\n2s end done", &[("recovery.time", "no data")]);
    check(
        "0s host app 10.0.0.1
        1s op 1 app get
        2s fault blip begins
        3s fault blip ends
        60s end limit",
        &[("recovery.time", "never"), ("recovery.first_success", "never"), ("ops.hung", "1")],
    );
}

const CLIENT: &str = "10.0.0.1:4000";
const SERVER: &str = "10.0.9.9:80";

fn handshake(client: &str) -> String {
    format!(
        "{HOSTS}
        1s tcp app-1 {CLIENT} {SERVER} CLOSED SYN-SENT
        1s tcp db {SERVER} {client} LISTEN SYN-RECEIVED
        1s tcp app-1 {CLIENT} {SERVER} SYN-SENT ESTABLISHED
        1s tcp db {SERVER} {client} SYN-RECEIVED ESTABLISHED
        "
    )
}

#[test]
fn half_open_when_one_end_is_gone() {
    let up = handshake(CLIENT);
    for (rest, count, longest, at_end) in [
        // An orderly close.
        (
            format!(
                "5s tcp db {SERVER} {CLIENT} ESTABLISHED FIN-WAIT-1
                5s tcp app-1 {CLIENT} {SERVER} ESTABLISHED CLOSE-WAIT
                5s tcp db {SERVER} {CLIENT} FIN-WAIT-1 FIN-WAIT-2
                # The client leaves it in CLOSE-WAIT for ever: it knows, and the server has given up.
                65s tcp db {SERVER} {CLIENT} FIN-WAIT-2 CLOSED"
            ),
            "0",
            "0",
            "0",
        ),
        // A reset that travels 40 ms.
        (
            format!(
                "5s tcp db {SERVER} {CLIENT} ESTABLISHED CLOSED
                5.04s tcp app-1 {CLIENT} {SERVER} ESTABLISHED CLOSED"
            ),
            "0",
            "0",
            "0",
        ),
        // The reset is lost, and the client finds out by sending.
        (
            format!(
                "5s tcp db {SERVER} {CLIENT} ESTABLISHED CLOSED
                25s tcp app-1 {CLIENT} {SERVER} ESTABLISHED CLOSED"
            ),
            "1",
            "20",
            "0",
        ),
        // Power loss, and the client never finds out.
        ("10s crash db".to_owned(), "1", "90", "1"),
        // A killed process closes its sockets, which the events of its stack say.
        ("10s kill db".to_owned(), "0", "0", "0"),
        // The client dies, and the server believes on.
        ("40s crash app-1".to_owned(), "1", "60", "1"),
        ("50s crash app-1\n50s crash db".to_owned(), "0", "0", "0"),
    ] {
        let figures = [("half_open.count", count), ("half_open.longest", longest), ("half_open.at_end", at_end)];
        check(&format!("{up}{rest}\n100s end done"), &figures);
    }
}

#[test]
fn half_open_belongs_to_its_ends_and_to_the_phases_it_touches() {
    let text = format!("{}\n10s crash db\n20s fault blip begins\n25s fault blip ends\n30s end done", handshake(CLIENT));
    check(
        &text,
        &[
            ("half_open.longest", "20"),
            ("half_open.longest during blip", "5"),
            ("half_open.count after blip", "1"),
            ("app-1: half_open.count", "1"),
            ("db: half_open.count", "1"),
            ("app-2: half_open.count", "0"),
            ("tcp.connects", "1"),
            ("db: tcp.connects", "0"),
            ("tcp.established", "1"),
        ],
    );
}

#[test]
fn half_open_through_nats() {
    // Two NATs in a row: the server sees 203.0.113.1:700.
    let (middle, outside) = ("192.168.0.1:5000", "203.0.113.1:700");
    let entries = format!("1s nat 1 {CLIENT} {middle} {SERVER}\n1s nat 2 {middle} {outside} {SERVER}");
    let up = handshake(outside).replacen("1s tcp db", &format!("{entries}\n1s tcp db"), 1);
    // The server goes, which is known only if both ends were found to be one connection.
    check(
        &format!("{up}10s crash db\n30s end done"),
        &[("half_open.count", "1"), ("half_open.longest", "20"), ("nat.created", "2"), ("nat.evicted", "0")],
    );
    // The second NAT forgets, and at 50 s it has the same entry again.
    let forgets = format!("40s nat 2 {middle} {outside} {SERVER} idle 30s");
    let again = format!("50s nat 2 {middle} {outside} {SERVER}");
    check(
        &format!("{up}{forgets}\n{again}\n60s end done"),
        &[("half_open.longest", "10"), ("half_open.at_end", "0"), ("nat.evicted.idle", "1")],
    );
    // Another port does not bring the connection back.
    let other = format!("50s nat 2 {middle} 203.0.113.1:701 {SERVER}");
    check(&format!("{up}{forgets}\n{other}\n60s end done"), &[("half_open.longest", "20"), ("half_open.at_end", "1")]);
    // An entry that goes with its connection is nothing of the kind.
    let closed = format!(
        "5s tcp app-1 {CLIENT} {SERVER} ESTABLISHED CLOSED
        5.1s tcp db {SERVER} {outside} ESTABLISHED CLOSED
        15s nat 2 {middle} {outside} {SERVER} closed 10s"
    );
    check(&format!("{up}{closed}\n60s end done"), &[("half_open.count", "0"), ("nat.evicted", "0")]);
}

#[test]
fn half_open_past_a_firewall_and_on_loopback() {
    // Firewalls tell only of what they forget, with their own two sides, whoever opened the connection.
    let up = handshake(CLIENT);
    let arrives = format!("received db {CLIENT} {SERVER} 100");
    for (inner, remote) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        let forgets = format!("400s nat 7 {inner} {inner} {remote} idle 350s");
        check(&format!("{up}{forgets}\n450s end done"), &[("half_open.longest", "50"), ("nat.evicted.idle", "1")]);
        // A packet that was on its way proves nothing; one that comes later does.
        let text = format!("{up}{forgets}\n400.5s {arrives}\n420s {arrives}\n450s end done");
        check(&text, &[("half_open.longest", "20"), ("half_open.at_end", "0")]);
    }
    // Behind a NAT.
    let seen = "203.0.113.1:700";
    let nat = format!("1s nat 1 {CLIENT} {seen} {SERVER}\n");
    let up = handshake(seen).replacen("1s tcp db", &format!("{nat}1s tcp db"), 1);
    let forgets = format!("400s nat 7 {seen} {seen} {SERVER} idle 350s");
    check(&format!("{up}{forgets}\n450s end done"), &[("half_open.longest", "50")]);

    let (client, server) = ("127.0.0.1:4000", "127.0.0.1:80");
    check(
        &format!(
            "0s host app 10.0.0.1
            1s tcp app {client} {server} CLOSED SYN-SENT
            1s tcp app {server} {client} LISTEN SYN-RECEIVED
            1s tcp app {client} {server} SYN-SENT ESTABLISHED
            1s tcp app {server} {client} SYN-RECEIVED CLOSED
            9s end done"
        ),
        &[("half_open.longest", "8")],
    );
}

#[test]
fn a_tuple_used_again_is_another_connection() {
    let up = handshake(CLIENT);
    let close = format!(
        "2s tcp app-1 {CLIENT} {SERVER} ESTABLISHED CLOSED
        2s tcp db {SERVER} {CLIENT} ESTABLISHED CLOSED"
    );
    let again = handshake(CLIENT).replace(HOSTS, "").replace("1s tcp", "3s tcp");
    check(
        &format!("{up}{close}\n{again}\n4s crash db\n10s end done"),
        &[("half_open.count", "1"), ("half_open.longest", "6"), ("tcp.connects", "2")],
    );
}

#[test]
fn dns_is_stale_when_the_record_has_moved_and_the_ttl_has_run_out() {
    let text = |uses: &str| {
        format!(
            "0s host app 10.0.0.1
            0s host other 10.0.0.2
            0s record db.internal 10.0.9.1 60s
            10s resolved app db.internal. 10.0.9.1 server
            11s sent app 10.0.0.1:4000 10.0.9.1:80 100
            20s record db.internal 10.0.9.2 60s
            {uses}
            300s end done"
        )
    };
    for (uses, stale, connections) in [
        // The TTL of the answer at 10 s allows it until 70 s.
        ("69s sent app 10.0.0.1:4000 10.0.9.1:80 100", "0", "0"),
        // What was under way then may end.
        ("71s sent app 10.0.0.1:4000 10.0.9.1:80 100", "0", "0"),
        ("75s sent app 10.0.0.1:4000 10.0.9.1:80 100", "5", "1"),
        // A new connection is a use; a bare ACK would not be; an answer from the stub's cache renews nothing.
        ("80s resolved app db.internal 10.0.9.1 cache\n90s sent app 10.0.0.1:4001 10.0.9.1:80 40", "20", "1"),
        ("80s sent app 10.0.0.1:4000 10.0.9.1:80 90\n99s sent app 10.0.0.1:4001 10.0.9.1:80 90", "29", "2"),
        // The new address is right, whoever has the old one from elsewhere owes nothing, and so does one who never asked.
        ("90s sent app 10.0.0.1:4000 10.0.9.2:80 100", "0", "0"),
        ("80s resolved other db.internal 10.0.9.1 hosts\n90s sent other 10.0.0.2:4 10.0.9.1:80 99", "0", "0"),
        ("90s sent other 10.0.0.2:4000 10.0.9.1:80 100", "0", "0"),
        // It asked by itself: as if a moment before the record moved.
        ("20s asks other\n90s sent other 10.0.0.2:4000 10.0.9.1:80 100", "10", "1"),
        ("25s asks other\n79s sent other 10.0.0.2:4000 10.0.9.1:80 100", "0", "0"),
        (
            "25s asks other\n26s resolved other db.internal 10.0.9.1 hosts\n90s sent other 10.0.0.2:4 10.0.9.1:80 99",
            "0",
            "0",
        ),
        // The record comes back.
        ("100s record db.internal 10.0.9.1 60s\n200s sent app 10.0.0.1:4000 10.0.9.1:80 99", "0", "0"),
    ] {
        check(&text(uses), &[("dns.stale", stale), ("dns.stale_connections", connections)]);
    }
}

#[test]
fn dns_lookups_and_failures() {
    check(
        "0s host app 10.0.0.1
        1s resolved app db.internal 10.0.9.1 server
        2s resolved app db.internal - server
        3s end done",
        &[("dns.lookups", "2"), ("dns.failures", "1"), ("dns.stale", "0")],
    );
}

#[test]
fn packets_are_counted_by_host_reason_and_phase() {
    check(
        "0s host app 10.0.0.1
        0s host db 10.0.9.9 upstream
        1s sent app 10.0.0.1:4000 10.0.9.9:80 1500
        1s dropped too-big 10.0.0.1:4000 10.0.9.9:80 1500
        1s mtu app 10.0.9.9 1400
        2s fault mtu begins
        2s sent app 10.0.0.1:4000 10.0.9.9:80 1400
        2s dropped too-big-silent 10.0.0.1:4000 10.0.9.9:80 1400
        2s retransmit app 10.0.0.1:4000 10.0.9.9:80
        2s keepalive db 10.0.9.9:80 10.0.0.1:4000
        3s fault mtu ends
        3s received db 10.0.0.1:4000 10.0.9.9:80 200
        # Behind a NAT the sender's address is nobody's, and the receiver's tells.
        3s dropped loss 203.0.113.1:700 10.0.9.9:80 100
        4s dropped loss 203.0.113.1:700 203.0.113.2:700 100
        5s load idle
        7s load get
        8s panic app
        8s unsupported app io_uring_setup
        9s crash db
        9s restart db
        9s end done",
        &[
            ("packets.sent", "2"),
            ("packets.sent before mtu", "1"),
            ("packets.delivered", "1"),
            ("packets.dropped", "4"),
            ("packets.dropped.loss", "2"),
            ("packets.dropped.too-big", "1"),
            ("mtu.dropped", "2"),
            ("mtu.dropped during mtu", "1"),
            ("mtu.learned", "1"),
            ("app: packets.dropped", "2"),
            ("db: packets.dropped", "1"),
            ("tcp.retransmits", "1"),
            ("tcp.retransmits.timeout", "1"),
            ("tcp.retransmits.fast", "0"),
            ("tcp.probes.keepalive", "1"),
            ("app: tcp.probes", "0"),
            ("load.idle", "2"),
            ("hosts.panicked", "1"),
            ("hosts.crashed", "1"),
            ("hosts.restarted", "1"),
            ("calls.unsupported", "1"),
        ],
    );
}
