//! Mistakes about the timeline.

use super::broken;

#[test]
fn unknown_fault() {
    let told = broken(&[("blip: {", "blib: {"), (" during blip", "")]);
    insta::assert_snapshot!(told, @r#"
        error: a fault has no key `blib`
          --> bad.yaml:19:16
           |
        19 |   - { at: 20s, blib: { between: [app, db] }, for: 2s }
           |                ^^^^
           |
           = help: did you mean `blip`?

        1 mistake
        "#);
}

#[test]
fn two_faults_in_one() {
    let told = broken(&[("for: 2s }", "for: 2s, dns.stale: {} }")]);
    insta::assert_snapshot!(told, @r#"
        error: one fault cannot be a `blip` and a `dns.stale`
          --> bad.yaml:19:55
           |
        19 |   - { at: 20s, blip: { between: [app, db] }, for: 2s, dns.stale: {} }
           |                                                       ^^^^^^^^^
           |
           = help: begin a new item of the list with `-`

        1 mistake
        "#);
}

#[test]
fn fault_without_time() {
    let told = broken(&[("at: 20s, ", "")]);
    insta::assert_snapshot!(told, @r#"
        error: this fault does not say when it begins
          --> bad.yaml:19:5
           |
        19 |   - { blip: { between: [app, db] }, for: 2s }
           |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: add `at: 2m`, or `when: ops.started == 500`

        1 mistake
        "#);
}

#[test]
fn fault_after_the_end() {
    let told = broken(&[("at: 20s", "at: 2h")]);
    insta::assert_snapshot!(told, @r#"
        error: the fault would begin at 2h, but everything is over at 62s
          --> bad.yaml:19:11
           |
        19 |   - { at: 2h, blip: { between: [app, db] }, for: 2s }
           |           ^^
           |
           = help: let it begin before 62s, or let the load (or `time_limit`) go on for longer

        1 mistake
        "#);
}

#[test]
fn range_of_times_after_the_end() {
    let told = broken(&[("at: 20s", "at: 10s..90s")]);
    insta::assert_snapshot!(told, @r#"
        error: the fault would begin at 90s, but everything is over at 62s
          --> bad.yaml:19:11
           |
        19 |   - { at: 10s..90s, blip: { between: [app, db] }, for: 2s }
           |           ^^^^^^^^
           |
           = help: let it begin before 62s, or let the load (or `time_limit`) go on for longer

        1 mistake
        "#);
}

#[test]
fn fault_of_no_length() {
    let told = broken(&[("for: 2s }", "for: 0s }")]);
    insta::assert_snapshot!(told, @r#"
        error: `for` is no time at all
          --> bad.yaml:19:51
           |
        19 |   - { at: 20s, blip: { between: [app, db] }, for: 0s }
           |                                                   ^^
           |
           = help: write a time such as `2s`, or leave it out

        1 mistake
        "#);
}

#[test]
fn for_twice() {
    let told = broken(&[("blip: { between: [app, db] }", "blip: { between: [app, db], for: 1s }")]);
    insta::assert_snapshot!(told, @r#"
        error: `for` stands here and beside it
          --> bad.yaml:19:44
           |
        19 |   - { at: 20s, blip: { between: [app, db], for: 1s }, for: 2s }
           |                                            ^^^
           |
           = help: keep one of the two

        1 mistake
        "#);
}

#[test]
fn fault_again_before_it_ends() {
    let told = broken(&[("at: 20s", "at: 20s, every: 1s")]);
    insta::assert_snapshot!(told, @r#"
        error: it begins again after 1s, but lasts 2s
          --> bad.yaml:19:16
           |
        19 |   - { at: 20s, every: 1s, blip: { between: [app, db] }, for: 2s }
           |                ^^^^^
           |
           = help: raise `every` above 2s, or shorten `for`

        1 mistake
        "#);
}

#[test]
fn unknown_counter() {
    let told = broken(&[("at: 20s", "when: ops.begun == 500")]);
    insta::assert_snapshot!(told, @r#"
        error: there is no counter `ops.begun` to wait for
          --> bad.yaml:19:13
           |
        19 |   - { when: ops.begun == 500, blip: { between: [app, db] }, for: 2s }
           |             ^^^^^^^^^
           |
           = help: counters: ops.started, ops.ok, ops.failed, attempts.started, pool.in_use, pool.idle, pool.waiting, pool.size, breaker.open, transfer.progress

        1 mistake
        "#);
}

#[test]
fn unknown_element() {
    let told = broken(&[("blip: { between: [app, db] }", "nat.full: { on: gateway }"), (" during blip", "")]);
    insta::assert_snapshot!(told, @r#"
        error: no route has a NAT named `gateway`
          --> bad.yaml:19:32
           |
        19 |   - { at: 20s, nat.full: { on: gateway }, for: 2s }
           |                                ^^^^^^^
           |
           = help: NATs: gw

        1 mistake
        "#);
}

#[test]
fn element_of_another_kind() {
    let told = broken(&[("blip: { between: [app, db] }", "blip: { on: gw }")]);
    insta::assert_snapshot!(told, @r#"
        error: the element `gw` is not a link
          --> bad.yaml:19:28
           |
        19 |   - { at: 20s, blip: { on: gw }, for: 2s }
           |                            ^^
           |
           = help: links: app-db.link

        1 mistake
        "#);
}

#[test]
fn unknown_host_in_fault() {
    let told = broken(&[("blip: { between: [app, db] }", "blip: { between: [app-4, db] }")]);
    insta::assert_snapshot!(told, @r#"
        error: there is no host `app-4`
          --> bad.yaml:19:34
           |
        19 |   - { at: 20s, blip: { between: [app-4, db] }, for: 2s }
           |                                  ^^^^^
           |
           = help: did you mean `app-1`?

        1 mistake
        "#);
}

#[test]
fn record_that_is_not_there() {
    let told =
        broken(&[("blip: { between: [app, db] }", "dns.set: { name: db.interal, to: app }"), (" during blip", "")]);
    insta::assert_snapshot!(told, @r#"
        error: the zone has no record `db.interal`
          --> bad.yaml:19:33
           |
        19 |   - { at: 20s, dns.set: { name: db.interal, to: app }, for: 2s }
           |                                 ^^^^^^^^^^
           |
           = help: did you mean `db.internal`?

        1 mistake
        "#);
}

#[test]
fn fault_of_dns_without_dns() {
    let told = broken(&[
        ("dns:\n  records:\n    - { name: db.internal, to: db, ttl: 30s }\n", ""),
        ("blip: { between: [app, db] }", "dns.stale: {}"),
        (" during blip", ""),
    ]);
    insta::assert_snapshot!(told, @r#"
        error: the scenario has no DNS server that could fail
          --> bad.yaml:16:16
           |
        16 |   - { at: 20s, dns.stale: {}, for: 2s }
           |                ^^^^^^^^^
           |
           = help: add `dns: { records: [...] }` to the scenario

        1 mistake
        "#);
}

#[test]
fn upstream_fault_on_a_client() {
    let told = broken(&[("blip: { between: [app, db] }", "slow: { on: app, by: 1s }"), (" during blip", "")]);
    insta::assert_snapshot!(told, @r#"
        error: `app-1` runs no upstream that could do this
          --> bad.yaml:19:28
           |
        19 |   - { at: 20s, slow: { on: app, by: 1s }, for: 2s }
           |                            ^^^
           |
           = help: name a host that runs an upstream, such as `db`

        1 mistake
        "#);
}

#[test]
fn two_nats_and_no_name() {
    let told = broken(&[
        ("- link: { latency: 10ms }", "- nat: {}"),
        ("blip: { between: [app, db] }", "nat.full: {}"),
        (" during blip", ""),
    ]);
    insta::assert_snapshot!(told, @r#"
        error: there are several NATs that this could happen to
          --> bad.yaml:19:16
           |
        19 |   - { at: 20s, nat.full: {}, for: 2s }
           |                ^^^^^^^^
           |
           = help: add `on: ...` with one of: gw, app-db.nat

        1 mistake
        "#);
}

#[test]
fn reboot_without_end() {
    let told = broken(&[("blip: { between: [app, db] }, for: 2s", "nat.reboot: {}"), (" during blip", "")]);
    insta::assert_snapshot!(told, @r#"
        error: a reboot needs `for`
          --> bad.yaml:19:16
           |
        19 |   - { at: 20s, nat.reboot: {} }
           |                ^^^^^^^^^^
           |
           = help: say how long the box is away, as in `for: 30s`

        1 mistake
        "#);
}

#[test]
fn instant_that_lasts() {
    let told = broken(&[("blip: { between: [app, db] }", "restart: { on: db }"), (" during blip", "")]);
    insta::assert_snapshot!(told, @r#"
        error: a `restart` is over in an instant
          --> bad.yaml:19:37
           |
        19 |   - { at: 20s, restart: { on: db }, for: 2s }
           |                                     ^^^
           |
           = help: leave `for` out

        1 mistake
        "#);
}

#[test]
fn repeated_for_ever() {
    let told =
        broken(&[("at: 20s, blip: { between: [app, db] }, for: 2s", "every: 10s, blip: { between: [app, db] }")]);
    insta::assert_snapshot!(told, @r#"
        error: a fault that comes again must end in between
          --> bad.yaml:19:7
           |
        19 |   - { every: 10s, blip: { between: [app, db] } }
           |       ^^^^^
           |
           = help: add `for: 2s`

        1 mistake
        "#);
}

#[test]
fn at_and_when() {
    let told = broken(&[("at: 20s", "at: 20s, when: ops.ok == 5")]);
    insta::assert_snapshot!(told, @r#"
        error: `at` and `when` exclude each other
          --> bad.yaml:19:7
           |
        19 |   - { at: 20s, when: ops.ok == 5, blip: { between: [app, db] }, for: 2s }
           |       ^^
           |
           = help: keep one of the two

        1 mistake
        "#);
}
