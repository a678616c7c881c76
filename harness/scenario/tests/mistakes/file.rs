//! Mistakes in the file as a whole: no YAML, unknown, missing and repeated keys, wrong types, bad values.

use super::broken;
use super::common::mistakes;

#[test]
fn unknown_key() {
    let told = broken(&[("time_limit: 10m", "time_limt: 10m")]);
    insta::assert_snapshot!(told, @r#"
        error: a scenario has no key `time_limt`
         --> bad.yaml:2:1
          |
        2 | time_limt: 10m
          | ^^^^^^^^^
          |
          = help: did you mean `time_limit`?

        1 mistake
        "#);
}

#[test]
fn unknown_key_of_a_host() {
    let told = broken(&[("count: 3", "cuont: 3")]);
    insta::assert_snapshot!(told, @r#"
        error: a host has no key `cuont`
         --> bad.yaml:4:34
          |
        4 |   app: { run: postgres/deadpool, cuont: 3, with: { pool_size: 8 } }
          |                                  ^^^^^
          |
          = help: did you mean `count`?

        1 mistake
        "#);
}

#[test]
fn another_word_for_a_key() {
    let told = broken(&[("blip: { between: [app, db] }", "crash: { host: db }"), (" during blip", "")]);
    insta::assert_snapshot!(told, @r#"
        error: a crash has no key `host`
          --> bad.yaml:19:25
           |
        19 |   - { at: 20s, crash: { host: db }, for: 2s }
           |                         ^^^^
           |
           = help: did you mean `on`: the hosts that are hit?

        1 mistake
        "#);
}

#[test]
fn duplicate_key() {
    let told = broken(&[("time_limit: 10m", "time_limit: 10m\nscenario: again")]);
    insta::assert_snapshot!(told, @r#"
        error: the key `scenario` stands here twice
         --> bad.yaml:3:1
          |
        1 | scenario: two-hosts
          | -------- first here
        2 | time_limit: 10m
        3 | scenario: again
          | ^^^^^^^^
          |
          = help: keep one of the two

        1 mistake
        "#);
}

#[test]
fn missing_key() {
    let told = broken(&[("scenario: two-hosts\n", "")]);
    insta::assert_snapshot!(told, @r#"
        error: a scenario needs the key `scenario`
         --> bad.yaml:1:1
          |
        1 | time_limit: 10m
          | ^^^^^^^^^^^^^^^
          |
          = help: add `scenario: ...`: its name, in kebab-case

        1 mistake
        "#);
}

#[test]
fn missing_key_of_a_record() {
    let told = broken(&[("to: db, ttl", "ttl")]);
    insta::assert_snapshot!(told, @r#"
        error: a DNS record needs the key `to`
          --> bad.yaml:15:7
           |
        15 |     - { name: db.internal, ttl: 30s }
           |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: add `to: ...`: hosts or addresses that it leads to

        1 mistake
        "#);
}

#[test]
fn wrong_type_single_for_mapping() {
    let told = broken(&[("with: { pool_size: 8 }", "with: 8")]);
    insta::assert_snapshot!(told, @r#"
        error: `with` is a mapping, not a single value
         --> bad.yaml:4:50
          |
        4 |   app: { run: postgres/deadpool, count: 3, with: 8 }
          |                                                  ^
          |
          = help: write `setting: value`

        1 mistake
        "#);
}

#[test]
fn wrong_type_mapping_for_single() {
    let told = broken(&[("run: upstream/postgres", "run: { name: upstream/postgres }")]);
    insta::assert_snapshot!(told, @r#"
        error: a single value is needed here, not a mapping
         --> bad.yaml:5:14
          |
        5 |   db: { run: { name: upstream/postgres } }
          |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: write one value after the colon

        1 mistake
        "#);
}

#[test]
fn wrong_type_single_for_list() {
    let told = broken(&[("expect:\n  - ops.hung == 0\n  - ops.failed <= 1% during blip", "expect: ops.hung == 0")]);
    insta::assert_snapshot!(told, @r#"
        error: `expect` is a list, not a single value
          --> bad.yaml:20:9
           |
        20 | expect: ops.hung == 0
           |         ^^^^^^^^^^^^^
           |
           = help: write `[a, b]`, or one item on each line after a `-`

        1 mistake
        "#);
}

#[test]
fn unknown_unit() {
    let told = broken(&[("for: 60s", "for: 60sec")]);
    insta::assert_snapshot!(told, @r#"
        error: unknown unit `sec` in `60sec`
          --> bad.yaml:17:44
           |
        17 |   - { on: app, op: query, rate: 20/s, for: 60sec, deadline: 2s }
           |                                            ^^^^^
           |
           = help: did you mean `60s`? units: ns, us, ms, s, m, min, h, d

        1 mistake
        "#);
}

#[test]
fn no_unit() {
    let told = broken(&[("for: 60s", "for: 60")]);
    insta::assert_snapshot!(told, @r#"
        error: `60` has no unit
          --> bad.yaml:17:44
           |
        17 |   - { on: app, op: query, rate: 20/s, for: 60, deadline: 2s }
           |                                            ^^
           |
           = help: say of what, as in `2s`; units: ns, us, ms, s, m, min, h, d

        1 mistake
        "#);
}

#[test]
fn bad_rate() {
    let told = broken(&[("rate: 20/s", "rate: 20")]);
    insta::assert_snapshot!(told, @r#"
        error: `20` is not a rate
          --> bad.yaml:17:33
           |
        17 |   - { on: app, op: query, rate: 20, for: 60s, deadline: 2s }
           |                                 ^^
           |
           = help: write a number, a slash and a time, as in `20/s`, `3/min` or `1/10s`

        1 mistake
        "#);
}

#[test]
fn rate_of_nothing() {
    let told = broken(&[("rate: 20/s", "rate: 0/s")]);
    insta::assert_snapshot!(told, @r#"
        error: `0/s` is no rate at all
          --> bad.yaml:17:33
           |
        17 |   - { on: app, op: query, rate: 0/s, for: 60s, deadline: 2s }
           |                                 ^^^
           |
           = help: for a time without load, use `{ idle: 10m }`

        1 mistake
        "#);
}

#[test]
fn bad_size() {
    let told = broken(&[("pool_size: 8", "body: 64K")]);
    insta::assert_snapshot!(told, @r#"
        error: `body`: unknown unit `K` in `64K`
         --> bad.yaml:4:58
          |
        4 |   app: { run: postgres/deadpool, count: 3, with: { body: 64K } }
          |                                                          ^^^
          |
          = help: did you mean `64KiB`? units: B, kB, MB, GB, KiB, MiB, GiB

        1 mistake
        "#);
}

#[test]
fn bad_share() {
    let told = broken(&[("blip: { between: [app, db] }", "blip: { between: [app, db], loss: 150% }")]);
    insta::assert_snapshot!(told, @r#"
        error: `150%` is more than the whole
          --> bad.yaml:19:50
           |
        19 |   - { at: 20s, blip: { between: [app, db], loss: 150% }, for: 2s }
           |                                                  ^^^^
           |
           = help: a share is at most 100%

        1 mistake
        "#);
}

#[test]
fn share_that_is_a_percentage() {
    let told = broken(&[("blip: { between: [app, db] }", "blip: { between: [app, db], loss: 5 }")]);
    insta::assert_snapshot!(told, @r#"
        error: `5` is more than the whole
          --> bad.yaml:19:50
           |
        19 |   - { at: 20s, blip: { between: [app, db], loss: 5 }, for: 2s }
           |                                                  ^
           |
           = help: did you mean `5%`?

        1 mistake
        "#);
}

#[test]
fn bad_bandwidth() {
    let told = broken(&[("latency: 10ms", "bandwidth: 100Mb")]);
    insta::assert_snapshot!(told, @r#"
        error: unknown unit `Mb` in `100Mb`
          --> bad.yaml:12:30
           |
        12 |         - link: { bandwidth: 100Mb }
           |                              ^^^^^
           |
           = help: did you mean `100Mbit/s`? units: bit/s, kbit/s, Mbit/s, Gbit/s, B/s, kB/s, MB/s, GB/s, KiB/s, MiB/s

        1 mistake
        "#);
}

#[test]
fn negative() {
    let told = broken(&[("for: 60s", "for: -60s")]);
    insta::assert_snapshot!(told, @r#"
        error: a duration cannot be negative: `-60s`
          --> bad.yaml:17:44
           |
        17 |   - { on: app, op: query, rate: 20/s, for: -60s, deadline: 2s }
           |                                            ^^^^
           |
           = help: leave the sign out

        1 mistake
        "#);
}

#[test]
fn overflow() {
    let told = broken(&[("for: 60s", "for: 99999999999h")]);
    insta::assert_snapshot!(told, @r#"
        error: `99999999999h` is too large
          --> bad.yaml:17:44
           |
        17 |   - { on: app, op: query, rate: 20/s, for: 99999999999h, deadline: 2s }
           |                                            ^^^^^^^^^^^^
           |
           = help: take a duration that fits

        1 mistake
        "#);
}

#[test]
fn not_a_number() {
    let told = broken(&[("pool_size: 8", "pool_size: eight")]);
    insta::assert_snapshot!(told, @r#"
        error: `pool_size`: `eight` is not a whole number
         --> bad.yaml:4:63
          |
        4 |   app: { run: postgres/deadpool, count: 3, with: { pool_size: eight } }
          |                                                               ^^^^^
          |
          = help: write digits only, as in `8`

        1 mistake
        "#);
}

#[test]
fn name_not_in_kebab_case() {
    let told = broken(&[("scenario: two-hosts", "scenario: Two Hosts")]);
    insta::assert_snapshot!(told, @r#"
        error: `Two Hosts` is not in kebab-case
         --> bad.yaml:1:11
          |
        1 | scenario: Two Hosts
          |           ^^^^^^^^^
          |
          = help: write `two-hosts`

        1 mistake
        "#);
}

#[test]
fn not_yaml() {
    let told = mistakes("scenario: two-hosts\nhosts: { app: { run: postgres/deadpool }\nload: []\n");
    insta::assert_snapshot!(told, @r#"
        error: this is not YAML
         --> bad.yaml:3:1
          |
        3 | load: []
          | ^ while parsing a flow mapping, did not find expected ',' or '}'
          |
          = help: indent with spaces, close every quote and bracket, and put a space after each `:`

        1 mistake
        "#);
}

#[test]
fn tabs() {
    let told = mistakes("scenario: two-hosts\nhosts:\n\tapp: {}\n");
    insta::assert_snapshot!(told, @r#"
        error: this is not YAML
         --> bad.yaml:3:2
          |
        3 |     app: {}
          |     ^ tabs disallowed within this context (block indentation)
          |
          = help: YAML does not allow tabs in the indentation: use spaces

        1 mistake
        "#);
}

#[test]
fn empty() {
    let told = mistakes("");
    insta::assert_snapshot!(told, @r#"
        error: the file is empty
         --> bad.yaml:1:1
          |
        1 |
          | ^
          |
          = help: a scenario begins with `scenario: its-name` and needs `hosts:`

        1 mistake
        "#);
}

#[test]
fn only_a_comment() {
    let told = mistakes("# nothing yet\n");
    insta::assert_snapshot!(told, @r#"
        error: the file is empty
         --> bad.yaml:1:1
          |
        1 | # nothing yet
          | ^
          |
          = help: a scenario begins with `scenario: its-name` and needs `hosts:`

        1 mistake
        "#);
}

#[test]
fn a_list() {
    let told = mistakes("- scenario: two-hosts\n");
    insta::assert_snapshot!(told, @r#"
        error: a scenario is a mapping, not a list
         --> bad.yaml:1:1
          |
        1 | - scenario: two-hosts
          | ^^^^^^^^^^^^^^^^^^^^^
          |
          = help: write `key: value`; keys: scenario, summary, sources, seed, epoch, time_limit, cpus, scheduling, hosts, network, dns, load, faults, expect, variants

        1 mistake
        "#);
}

#[test]
fn two_documents() {
    let told = mistakes("scenario: one\nhosts: { app: {} }\n---\nscenario: two\n");
    insta::assert_snapshot!(told, @r#"
        error: a second document in one file
         --> bad.yaml:3:1
          |
        3 | ---
          | ^^^
          |
          = help: put each scenario into a file of its own

        1 mistake
        "#);
}

#[test]
fn unknown_alias() {
    let told = mistakes("scenario: one\nhosts: { app: *base }\n");
    insta::assert_snapshot!(told, @r#"
        error: no anchor `&base` stands before this alias
         --> bad.yaml:2:15
          |
        2 | hosts: { app: *base }
          |               ^^^^^
          |
          = help: write the value out, or put it in quotes if it is text

        1 mistake
        "#);
}

#[test]
fn date_that_is_none() {
    let told = broken(&[("time_limit: 10m", "epoch: 2026-02-30T00:00:00Z")]);
    insta::assert_snapshot!(told, @r#"
        error: there is no `2026-02-30T00:00:00Z` in the calendar from 1970 to 2500
         --> bad.yaml:2:8
          |
        2 | epoch: 2026-02-30T00:00:00Z
          |        ^^^^^^^^^^^^^^^^^^^^
          |
          = help: write it in UTC, as in `2026-01-01T00:00:00Z`

        1 mistake
        "#);
}

#[test]
fn yes_for_true() {
    let told = broken(&[("pool_size: 8", "jitter: yes")]);
    insta::assert_snapshot!(told, @r#"
        error: `jitter`: `yes` is neither `true` nor `false`
         --> bad.yaml:4:60
          |
        4 |   app: { run: postgres/deadpool, count: 3, with: { jitter: yes } }
          |                                                            ^^^
          |
          = help: write `true`

        1 mistake
        "#);
}

#[test]
fn no_url() {
    let told = broken(&[("pool_size: 8", "url: db.internal")]);
    insta::assert_snapshot!(told, @r#"
        error: `url`: `db.internal` is not a URL
         --> bad.yaml:4:57
          |
        4 |   app: { run: postgres/deadpool, count: 3, with: { url: db.internal } }
          |                                                         ^^^^^^^^^^^
          |
          = help: write a scheme and a host, as in `http://api/`

        1 mistake
        "#);
}

#[test]
fn percentiles_in_the_wrong_order() {
    let told = broken(&[(
        "db: { run: upstream/postgres }",
        "db: { run: upstream/postgres, with: { service_time: { lognormal: { median: 5ms, p99: 1ms } } } }",
    )]);
    insta::assert_snapshot!(told, @r#"
        error: `median` must be below `p99`, and more than nothing
         --> bad.yaml:5:68
          |
        5 |   db: { run: upstream/postgres, with: { service_time: { lognormal: { median: 5ms, p99: 1ms } } } }
          |                                                                    ^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: write `5ms`, `2ms..8ms`, or `{ lognormal: { median: 5ms, p99: 50ms } }`; distributions: uniform, normal, lognormal, pareto, exponential

        1 mistake
        "#);
}

#[test]
fn unknown_distribution() {
    let told = broken(&[("latency: 10ms", "latency: { gamma: { mean: 5ms } }")]);
    insta::assert_snapshot!(told, @r#"
        error: unknown distribution `gamma`
          --> bad.yaml:12:30
           |
        12 |         - link: { latency: { gamma: { mean: 5ms } } }
           |                              ^^^^^
           |
           = help: distributions: uniform, normal, lognormal, pareto, exponential

        1 mistake
        "#);
}

#[test]
fn all_at_once() {
    let told = broken(&[
        ("time_limit: 10m", "time_limit: 10"),
        ("run: postgres/deadpool", "run: postgres/dedpool"),
        ("name: db.internal", "nam: db.internal"),
        ("rate: 20/s", "rate: fast"),
        ("at: 20s", "at: soon"),
        ("ops.hung == 0", "ops.hung < many"),
        ("during blip", "during blop"),
    ]);
    insta::assert_snapshot!(told, @r#"
        error: `10` has no unit
         --> bad.yaml:2:13
          |
        2 | time_limit: 10
          |             ^^
          |
          = help: say of what, as in `2s`; units: ns, us, ms, s, m, min, h, d

        error: no client or upstream is registered as `postgres/dedpool`
         --> bad.yaml:4:15
          |
        4 |   app: { run: postgres/dedpool, count: 3, with: { pool_size: 8 } }
          |               ^^^^^^^^^^^^^^^^
          |
          = help: did you mean `postgres/deadpool`?

        error: a DNS record has no key `nam`
          --> bad.yaml:15:9
           |
        15 |     - { nam: db.internal, to: db, ttl: 30s }
           |         ^^^
           |
           = help: did you mean `name`?

        error: `fast` is not a rate
          --> bad.yaml:17:33
           |
        17 |   - { on: app, op: query, rate: fast, for: 60s, deadline: 2s }
           |                                 ^^^^
           |
           = help: write a number, a slash and a time, as in `20/s`, `3/min` or `1/10s`

        error: `soon` is not a duration
          --> bad.yaml:19:11
           |
        19 |   - { at: soon, blip: { between: [app, db] }, for: 2s }
           |           ^^^^
           |
           = help: write a number and a unit, as in `2s`; units: ns, us, ms, s, m, min, h, d

        error: `many` is not a number
          --> bad.yaml:21:16
           |
        21 |   - ops.hung < many
           |                ^^^^
           |
           = help: write `ops.hung <= 10`

        error: the scenario has no fault `blop`
          --> bad.yaml:22:29
           |
        22 |   - ops.failed <= 1% during blop
           |                             ^^^^
           |
           = help: did you mean `blip`?

        7 mistakes
        "#);
}
