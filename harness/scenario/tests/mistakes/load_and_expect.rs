//! Mistakes about the load and about expectations.

use super::broken;

#[test]
fn unknown_host_in_load() {
    let told = broken(&[("on: app", "on: ap")]);
    insta::assert_snapshot!(told, @r#"
        error: there is no host `ap`
          --> bad.yaml:17:11
           |
        17 |   - { on: ap, op: query, rate: 20/s, for: 60s, deadline: 2s }
           |           ^^
           |
           = help: did you mean `app`?

        1 mistake
        "#);
}

#[test]
fn unknown_op() {
    let told = broken(&[("op: query", "op: qwery")]);
    insta::assert_snapshot!(told, @r#"
        error: `postgres/deadpool` knows no op `qwery`
          --> bad.yaml:17:20
           |
        17 |   - { on: app, op: qwery, rate: 20/s, for: 60s, deadline: 2s }
           |                    ^^^^^
           |
           = help: did you mean `query`?

        1 mistake
        "#);
}

#[test]
fn op_on_an_upstream() {
    let told = broken(&[("on: app", "on: db")]);
    insta::assert_snapshot!(told, @r#"
        error: `db` runs no client that could do work
          --> bad.yaml:17:11
           |
        17 |   - { on: db, op: query, rate: 20/s, for: 60s, deadline: 2s }
           |           ^^
           |
           = help: name a host that runs a client, such as `app`

        1 mistake
        "#);
}

#[test]
fn unknown_metric() {
    let told = broken(&[("ops.hung == 0", "ops.hang == 0")]);
    insta::assert_snapshot!(told, @r#"
        error: there is no metric `ops.hang`
          --> bad.yaml:21:5
           |
        21 |   - ops.hang == 0
           |     ^^^^^^^^
           |
           = help: did you mean `ops.hung`?

        1 mistake
        "#);
}

#[test]
fn unknown_host_of_a_metric() {
    let told = broken(&[("ops.hung == 0", "web.ops.hung == 0")]);
    insta::assert_snapshot!(told, @r#"
        error: there is no host `web`
          --> bad.yaml:21:5
           |
        21 |   - web.ops.hung == 0
           |     ^^^^^^^^^^^^
           |
           = help: hosts: app, db, dns, app-1, app-2, app-3

        1 mistake
        "#);
}

#[test]
fn deadline_of_nothing() {
    let told = broken(&[("deadline: 2s", "deadline: 0s")]);
    insta::assert_snapshot!(told, @r#"
        error: `deadline` is no time at all
          --> bad.yaml:17:59
           |
        17 |   - { on: app, op: query, rate: 20/s, for: 60s, deadline: 0s }
           |                                                           ^^
           |
           = help: write a time such as `2s`, or leave it out

        1 mistake
        "#);
}

#[test]
fn rate_and_concurrency() {
    let told = broken(&[("rate: 20/s", "rate: 20/s, concurrency: 4")]);
    insta::assert_snapshot!(told, @r#"
        error: `rate` and `concurrency` exclude each other
          --> bad.yaml:17:39
           |
        17 |   - { on: app, op: query, rate: 20/s, concurrency: 4, for: 60s, deadline: 2s }
           |                                       ^^^^^^^^^^^
           |
           = help: keep `rate` (ops begin whatever the client does) or `concurrency` (each waits for the last)

        1 mistake
        "#);
}

#[test]
fn load_without_end() {
    let told = broken(&[("for: 60s, ", "")]);
    insta::assert_snapshot!(told, @r#"
        error: this phase does not say when it ends
          --> bad.yaml:17:5
           |
        17 |   - { on: app, op: query, rate: 20/s, deadline: 2s }
           |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: add `for: 60s`, or `count: 100`

        1 mistake
        "#);
}

#[test]
fn load_beyond_the_limit() {
    let told = broken(&[("for: 60s", "for: 11m")]);
    insta::assert_snapshot!(told, @r#"
        error: the load goes on until 11m, but the run ends at 10m
          --> bad.yaml:17:5
           |
         2 | time_limit: 10m
           |             --- the limit is here
        ...
        17 |   - { on: app, op: query, rate: 20/s, for: 11m, deadline: 2s }
           |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: raise `time_limit` above 11m, or shorten the load

        1 mistake
        "#);
}

#[test]
fn too_many_ops() {
    let told = broken(&[("rate: 20/s", "rate: 20000000/s")]);
    insta::assert_snapshot!(told, @r#"
        error: this phase asks for 3600000000 ops; 10000000 is the most
          --> bad.yaml:17:33
           |
        17 |   - { on: app, op: query, rate: 20000000/s, for: 60s, deadline: 2s }
           |                                 ^^^^^^^^^^
           |
           = help: lower the rate, the time or the number of hosts

        1 mistake
        "#);
}

#[test]
fn phase_of_an_unknown_fault() {
    let told = broken(&[("during blip", "during blop")]);
    insta::assert_snapshot!(told, @r#"
        error: the scenario has no fault `blop`
          --> bad.yaml:22:29
           |
        22 |   - ops.failed <= 1% during blop
           |                             ^^^^
           |
           = help: did you mean `blip`?

        1 mistake
        "#);
}

#[test]
fn phase_of_no_fault() {
    let told = broken(&[("during blip", "durring blip")]);
    insta::assert_snapshot!(told, @r#"
        error: `durring` is not a part of the run
          --> bad.yaml:22:22
           |
        22 |   - ops.failed <= 1% durring blip
           |                      ^^^^^^^
           |
           = help: did you mean `during`?

        1 mistake
        "#);
}

#[test]
fn expectation_in_another_unit() {
    let told = broken(&[("ops.hung == 0", "ops.latency.p99 <= 3")]);
    insta::assert_snapshot!(told, @r#"
        error: `ops.latency.p99` is a time: `3` has no unit
          --> bad.yaml:21:24
           |
        21 |   - ops.latency.p99 <= 3
           |                        ^
           |
           = help: write `ops.latency.p99 <= 2s`; say of what, as in `2s`; units: ns, us, ms, s, m, min, h, d

        1 mistake
        "#);
}

#[test]
fn share_of_no_whole() {
    let told = broken(&[("ops.hung == 0", "attempts.amplification <= 200%")]);
    insta::assert_snapshot!(told, @r#"
        error: `attempts.amplification` is a quotient, not a share
          --> bad.yaml:21:31
           |
        21 |   - attempts.amplification <= 200%
           |                               ^^^^
           |
           = help: write `attempts.amplification <= 2.0`

        1 mistake
        "#);
}

#[test]
fn time_for_a_number() {
    let told = broken(&[("ops.hung == 0", "ops.hung <= 2s")]);
    insta::assert_snapshot!(told, @r#"
        error: `ops.hung` is a number, not a time
          --> bad.yaml:21:17
           |
        21 |   - ops.hung <= 2s
           |                 ^^
           |
           = help: write `ops.hung <= 10`

        1 mistake
        "#);
}

#[test]
fn comparison_that_is_none() {
    let told = broken(&[("ops.hung == 0", "ops.hung = 0")]);
    insta::assert_snapshot!(told, @r#"
        error: `ops.hung = 0` compares nothing
          --> bad.yaml:21:5
           |
        21 |   - ops.hung = 0
           |     ^^^^^^^^^^^^
           |
           = help: did you mean `==`, not `=`?

        1 mistake
        "#);
}

#[test]
fn comparison_backwards() {
    let told = broken(&[("ops.failed <= 1%", "ops.failed =< 1%")]);
    insta::assert_snapshot!(told, @r#"
        error: `ops.failed =< 1% during blip` compares nothing
          --> bad.yaml:22:5
           |
        22 |   - ops.failed =< 1% during blip
           |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: did you mean `<=`, not `=<`?

        1 mistake
        "#);
}

#[test]
fn idle_and_busy() {
    let told = broken(&[("deadline: 2s", "idle: 2s")]);
    insta::assert_snapshot!(told, @r#"
        error: an idle phase has no `on`, `op`, `rate`, `for`
          --> bad.yaml:17:49
           |
        17 |   - { on: app, op: query, rate: 20/s, for: 60s, idle: 2s }
           |                                                 ^^^^
           |
           = help: write `{ idle: 10m }` as a phase of its own

        1 mistake
        "#);
}

#[test]
fn during_an_instant() {
    let told = broken(&[
        ("blip: { between: [app, db] }, for: 2s", "restart: { on: db }"),
        (" during blip", " during restart"),
    ]);
    insta::assert_snapshot!(told, @r#"
        error: there is no `during`: `restart` is over in an instant
          --> bad.yaml:22:22
           |
        22 |   - ops.failed <= 1% during restart
           |                      ^^^^^^
           |
           = help: write `after restart`

        1 mistake
        "#);
}

#[test]
fn after_what_never_ends() {
    let told = broken(&[(", for: 2s }", " }"), (" during blip", " after blip")]);
    insta::assert_snapshot!(told, @r#"
        error: there is no `after`: `blip` never ends
          --> bad.yaml:22:22
           |
        22 |   - ops.failed <= 1% after blip
           |                      ^^^^^
           |
           = help: write `during blip`, or give the fault an end with `for: 2s`

        1 mistake
        "#);
}
