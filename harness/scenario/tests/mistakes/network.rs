//! Mistakes about the network.

use super::broken;

#[test]
fn unknown_preset() {
    let told = broken(&[("preset: aws-nat-gateway", "preset: aws-nat-gatway")]);
    insta::assert_snapshot!(told, @r#"
        error: there is no preset `aws-nat-gatway` for NATs
          --> bad.yaml:10:26
           |
        10 |         - nat: { preset: aws-nat-gatway }
           |                          ^^^^^^^^^^^^^^
           |
           = help: did you mean `aws-nat-gateway`?

        1 mistake
        "#);
}

#[test]
fn preset_of_another_kind() {
    let told = broken(&[("latency: 10ms", "preset: aws-nat-gateway")]);
    insta::assert_snapshot!(told, @r#"
        error: there is no preset `aws-nat-gateway` for links
          --> bad.yaml:12:27
           |
        12 |         - link: { preset: aws-nat-gateway }
           |                           ^^^^^^^^^^^^^^^
           |
           = help: did you mean `aws-transit-gateway`?

        1 mistake
        "#);
}

#[test]
fn two_routes_for_one_pair() {
    let told = broken(&[("dns:\n", "    - between: [db, app-2]\n      via: [link: { loss: 1% }]\ndns:\n")]);
    insta::assert_snapshot!(told, @r#"
        error: two routes between `db` and `app-2`
          --> bad.yaml:13:16
           |
         8 |     - between: [app, db]
           |                --------- the first is here
        ...
        13 |     - between: [db, app-2]
           |                ^^^^^^^^^^^
           |
           = help: put all elements into one route

        1 mistake
        "#);
}

#[test]
fn host_on_both_sides() {
    let told = broken(&[("    - between: [app, db]", "    - between: [app, [db, app-1]]")]);
    insta::assert_snapshot!(told, @r#"
        error: `app-1` stands on both sides
         --> bad.yaml:8:16
          |
        8 |     - between: [app, [db, app-1]]
          |                ^^^^^^^^^^^^^^^^^^
          |
          = help: take two groups without a common host

        1 mistake
        "#);
}

#[test]
fn nat_inside_nowhere() {
    let told = broken(&[("preset: aws-nat-gateway", "inner: dns")]);
    insta::assert_snapshot!(told, @r#"
        error: `inner` names hosts that are not at one end of this route
          --> bad.yaml:10:25
           |
        10 |         - nat: { inner: dns }
           |                         ^^^
           |
           = help: write `inner: app` or `inner: db`

        1 mistake
        "#);
}

#[test]
fn ports_reversed() {
    let told = broken(&[("preset: aws-nat-gateway", "ports: 2000..1024")]);
    insta::assert_snapshot!(told, @r#"
        error: the range of ports `2000..1024` runs backwards
          --> bad.yaml:10:25
           |
        10 |         - nat: { ports: 2000..1024 }
           |                         ^^^^^^^^^^
           |
           = help: write `1024..2000`

        1 mistake
        "#);
}

#[test]
fn mtu_too_small() {
    let told = broken(&[("latency: 10ms", "mtu: 60")]);
    insta::assert_snapshot!(told, @r#"
        error: `mtu` is at least 68, not 60
          --> bad.yaml:12:24
           |
        12 |         - link: { mtu: 60 }
           |                        ^^
           |
           = help: write 68 or more

        1 mistake
        "#);
}

#[test]
fn exponential_latency() {
    let told = broken(&[("latency: 10ms", "latency: { exponential: { mean: 5ms } }")]);
    insta::assert_snapshot!(told, @r#"
        error: no line has exponential latency
          --> bad.yaml:12:28
           |
        12 |         - link: { latency: { exponential: { mean: 5ms } } }
           |                            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: write `{ lognormal: { median: 5ms, p99: 50ms } }` for a long tail

        1 mistake
        "#);
}

#[test]
fn element_described_twice() {
    let told = broken(&[("- link: { latency: 10ms }", "- link: { latency: 10ms }\n          name: gw")]);
    insta::assert_snapshot!(told, @r#"
        error: two elements are named `gw`
          --> bad.yaml:13:17
           |
        11 |           name: gw
           |                 -- the first is here
        12 |         - link: { latency: 10ms }
        13 |           name: gw
           |                 ^^
           |
           = help: for the same box on another route write `- gw`; for another box take another name

        1 mistake
        "#);
}

#[test]
fn element_from_nowhere() {
    let told = broken(&[("- link: { latency: 10ms }", "- gateway")]);
    insta::assert_snapshot!(told, @r#"
        error: no route has an element named `gateway`
          --> bad.yaml:12:11
           |
        12 |         - gateway
           |           ^^^^^^^
           |
           = help: elements: gw

        1 mistake
        "#);
}

#[test]
fn element_of_two_kinds() {
    let told = broken(&[("          name: gw", "          firewall: {}")]);
    insta::assert_snapshot!(told, @r#"
        error: one element cannot be a firewall as well
          --> bad.yaml:11:11
           |
        11 |           firewall: {}
           |           ^^^^^^^^
           |
           = help: begin a new item of the list with `-`

        1 mistake
        "#);
}

#[test]
fn name_within_and_beside() {
    let told = broken(&[("preset: aws-nat-gateway", "preset: aws-nat-gateway, name: gw")]);
    insta::assert_snapshot!(told, @r#"
        error: `name` stands here and beside it
          --> bad.yaml:10:49
           |
        10 |         - nat: { preset: aws-nat-gateway, name: gw }
           |                                                 ^^
           |
           = help: keep one of the two

        1 mistake
        "#);
}

#[test]
fn name_of_the_default_link() {
    let told = broken(&[("  routes:", "  default: { name: any }\n  routes:")]);
    insta::assert_snapshot!(told, @r#"
        error: the default link has no name: each pair of hosts has one of its own
         --> bad.yaml:7:20
          |
        7 |   default: { name: any }
          |                    ^^^
          |
          = help: leave `name` out, or write a route

        1 mistake
        "#);
}
