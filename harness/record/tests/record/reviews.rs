//! The outage review: each question with each of its answers.

use crate::events::run;

const RETRIES: usize = 0;
const POOL: usize = 1;
const NAMES: usize = 2;
const IDLE: usize = 3;
const SIZE: usize = 4;
const WAITING: usize = 5;
const RESTART: usize = 6;

/// The review's answer to a question, and its evidence.
#[track_caller]
fn check(question: usize, text: &str, answer: &str, evidence: &str) {
    let review = run(&format!("0s host app 10.0.0.1\n0s host db 10.0.9.9 upstream\n{text}\n60s end limit")).review();
    assert_eq!(review.len(), 7);
    assert_eq!((review[question].answer.as_str(), review[question].evidence.as_str()), (answer, evidence), "{text}");
}

#[test]
fn retries() {
    check(RETRIES, "1s op 1 app get", "not seen", "no fault began");
    let fault = "2s fault slow begins\n3s op 2 app get";
    check(RETRIES, fault, "not seen", "no request was seen at an upstream after the fault began");
    let before = "1s op 1 app get\n1s attempt 1 db of 1";
    check(
        RETRIES,
        &format!("{before}\n{fault}\n3s attempt 2 db of 2"),
        "no",
        "from 2s on 1 op came to 1 attempt, 0 of them retries, up to 0 a second: 1 for each op (before: 1); the busiest second had 1, \
         before the fault 1",
    );
    check(
        RETRIES,
        &format!("{before}\n{fault}\n3s attempt 2 db of 2\n4s attempt 3 db of 2"),
        "yes",
        "from 2s on 1 op came to 2 attempts, 1 of them retries, up to 1 a second: 2 for each op (before: 1); the busiest second had 1, \
         before the fault 1",
    );
    // One in six is no storm.
    let mut busy = before.to_owned();
    for attempt in 10..15 {
        busy += &format!("\n1s attempt {attempt} db");
    }
    check(
        RETRIES,
        &format!("{busy}\n{fault}\n3s attempt 2 db of 2\n4s attempt 3 db of 2"),
        "no",
        "from 2s on 1 op came to 2 attempts, 1 of them retries, up to 1 a second: 2 for each op (before: 6); the busiest \
         second had 1, before the fault 6",
    );
    // Retries as before the fault add nothing.
    let retried = format!("{before}\n1s attempt 2 db of 1\n{fault}\n3s attempt 3 db of 2\n4s attempt 4 db of 2");
    check(
        RETRIES,
        &retried,
        "no",
        "from 2s on 1 op came to 2 attempts, 1 of them retries, up to 1 a second: 2 for each op (before: 2); the busiest second had 1, \
         before the fault 2",
    );
}

#[test]
fn pool() {
    check(POOL, "1s op 1 app get", "not seen", "no client reports a pool");
    let full = "0s gauge app pool.waiting 0\n1s gauge app pool.in_use 2";
    check(POOL, full, "no", "nobody waited for a full pool; 2 connections were in use at most");
    let waits = format!("{full}\n2s op 1 app get\n4s gauge app pool.waiting 1\n5s gauge app pool.waiting 0");
    let evidence = "all connections were in use with somebody waiting from 4s on, for 1s at the longest";
    check(POOL, &format!("{waits}\n6s op 1 ok"), "no", &format!("{evidence}; no op failed"));
    check(POOL, &format!("{waits}\n6s op 1 failed deadline"), "yes", &format!("{evidence}; the first op failed at 6s"));
    check(POOL, &waits, "no", &format!("{evidence}; the first op failed at 2s"));
}

#[test]
fn names() {
    let first = "0s record db.internal 10.0.9.9 1s\n0s resolved app db.internal 10.0.9.9 server";
    check(NAMES, first, "not seen", "no DNS record moved away from an address");
    let moved = format!("{first}\n5s record db.internal 10.0.9.8 1s");
    check(NAMES, &moved, "no", "a record moved at 5s; nobody used the old address past its TTL");
    check(
        NAMES,
        &format!("{moved}\n7s sent app 10.0.0.1:4000 10.0.9.9:80 100"),
        "yes",
        "app used 10.0.9.9 for db.internal until 7s, 2s after its TTL had run out; 1 connection in all",
    );
}

const OPEN: &str = "
    1s tcp app 10.0.0.1:4000 10.0.9.9:80 CLOSED SYN-SENT
    1s nat 1 10.0.0.1:4000 203.0.113.1:700 10.0.9.9:80
    1s tcp db 10.0.9.9:80 203.0.113.1:700 LISTEN SYN-RECEIVED
    1s tcp app 10.0.0.1:4000 10.0.9.9:80 SYN-SENT ESTABLISHED
    1s tcp db 10.0.9.9:80 203.0.113.1:700 SYN-RECEIVED ESTABLISHED
";

#[test]
fn idle() {
    check(IDLE, "1s op 1 app get", "not seen", "no NAT, firewall or balancer stood on the way");
    check(IDLE, OPEN, "no", "none of 1 entry expired under a connection");
    let evicted = |reason| format!("{OPEN}\n20s nat 1 10.0.0.1:4000 203.0.113.1:700 10.0.9.9:80 {reason} 19s");
    check(IDLE, &evicted("flushed"), "no", "none of 1 entry expired under a connection");
    check(
        IDLE,
        &evicted("idle"),
        "yes",
        "1 connection was forgotten after 19s without a packet, first at 20s, while an end still believed in it; the \
         longest such belief lasted 40s",
    );
}

#[test]
fn size() {
    check(SIZE, "1s sent app 10.0.0.1:4000 10.0.9.9:80 1500", "not seen", "no packet was too big for its path");
    let dropped = |reason| {
        format!(
            "1s received db 10.0.0.1:4000 10.0.9.9:80 1500
            2s dropped {reason} 10.0.0.1:4000 10.0.9.9:80 1500
            2s dropped {reason} 10.0.0.1:4000 10.0.9.9:80 1400
            3s received db 10.0.0.1:4000 10.0.9.9:80 1280
            4s op 1 app post"
        )
    };
    check(
        SIZE,
        &format!("{}\n3s mtu app 10.0.9.9 1280", dropped("too-big")),
        "no",
        "2 packets of 1400 to 1500 bytes did not fit, 0 without an ICMP answer; since then up to 1280 bytes got \
         through, and a smaller path MTU was learned 1 time",
    );
    check(
        SIZE,
        &format!("{}\n5s op 1 ok", dropped("too-big-silent")),
        "no",
        "2 packets of 1400 to 1500 bytes did not fit, 2 without an ICMP answer; since then up to 1280 bytes got \
         through, and a smaller path MTU was learned 0 times; no op failed",
    );
    check(
        SIZE,
        &dropped("too-big-silent"),
        "yes",
        "2 packets of 1400 to 1500 bytes did not fit, 2 without an ICMP answer; since then up to 1280 bytes got \
         through, and a smaller path MTU was learned 0 times",
    );
}

#[test]
fn waiting() {
    check(WAITING, "1s op 1 app get", "not seen", "no client reports a pool");
    let pool = "0s gauge app pool.waiting 0\n1s op 1 app get";
    check(WAITING, pool, "not seen", "nobody waited for the pool");
    let waited = format!("{pool}\n2s gauge app pool.waiting 1\n3s op 1 failed deadline");
    check(
        WAITING,
        &waited,
        "no",
        "no wait for the pool was measured and no error names the pool, though ops waited for it; 1 ran into their \
         deadline",
    );
    check(
        WAITING,
        &waited.replace("deadline", "pool-timeout"),
        "yes",
        "no wait for the pool was measured; 99% of ops within 2s; 1 error names the pool",
    );
    check(
        WAITING,
        &format!("{waited}\n3s wait app 500ms"),
        "yes",
        "1 measured wait for the pool, 99% of them over within 500ms; 99% of ops within 2s; 0 errors name the pool",
    );
}

#[test]
fn restart() {
    let fault = "10s fault blip begins\n11s op 1 app get\n12s op 1 failed reset\n13s fault blip ends";
    check(RESTART, fault, "not seen", "no op failed or hung after the last fault had ended at 13s");
    let after = format!("{fault}\n14s op 2 app get\n15s op 2 failed deadline\n16s op 3 app get");
    check(
        RESTART,
        &after,
        "no",
        "1 op failed and 1 op hung after the last fault had ended at 13s, but nothing was seen that a restart would \
         have dropped",
    );
    check(
        RESTART,
        &format!("{OPEN}\n9s crash db\n{after}"),
        "yes",
        "1 op failed and 1 op hung after the last fault had ended at 13s; a restart would have dropped 1 half-open \
         connection",
    );
    let full = "1s gauge app pool.in_use 1\n1s gauge app pool.waiting 1";
    check(
        RESTART,
        &format!("{full}\n{after}\n20s gauge app pool.waiting 0"),
        "yes",
        "1 op failed and 1 op hung after the last fault had ended at 13s; a restart would have dropped a pool that \
         stayed full for 7s",
    );
    // It passes by itself.
    check(
        RESTART,
        &format!("{full}\n{after}\n17s gauge app pool.waiting 0"),
        "no",
        "1 op failed and 1 op hung after the last fault had ended at 13s, but nothing was seen that a restart would \
         have dropped",
    );
    check(
        RESTART,
        "5s op 1 app get",
        "no",
        "1 op hung in the run, but nothing was seen that a restart would have dropped",
    );
}
