//! Mistakes about hosts, the DNS and variants.

use super::broken;

#[test]
fn unknown_client() {
    let told = broken(&[("run: postgres/deadpool", "run: postgres/dedpool")]);
    insta::assert_snapshot!(told, @r#"
        error: no client or upstream is registered as `postgres/dedpool`
         --> bad.yaml:4:15
          |
        4 |   app: { run: postgres/dedpool, count: 3, with: { pool_size: 8 } }
          |               ^^^^^^^^^^^^^^^^
          |
          = help: did you mean `postgres/deadpool`?

        1 mistake
        "#);
}

#[test]
fn unknown_setting() {
    let told = broken(&[("pool_size: 8", "poolsize: 8")]);
    insta::assert_snapshot!(told, @r#"
        error: `postgres/deadpool` has no setting `poolsize`
         --> bad.yaml:4:52
          |
        4 |   app: { run: postgres/deadpool, count: 3, with: { poolsize: 8 } }
          |                                                    ^^^^^^^^
          |
          = help: did you mean `pool_size`?

        1 mistake
        "#);
}

#[test]
fn bad_choice() {
    let told = broken(&[("pool_size: 8", "recycling: quick")]);
    insta::assert_snapshot!(told, @r#"
        error: `recycling`: `quick` is not one of the words that can stand here
         --> bad.yaml:4:63
          |
        4 |   app: { run: postgres/deadpool, count: 3, with: { recycling: quick } }
          |                                                               ^^^^^
          |
          = help: words: fast, verified

        1 mistake
        "#);
}

#[test]
fn unknown_sysctl() {
    let told = broken(&[("count: 3", "sysctls: { net.ipv4.tcp_retries: 6 }")]);
    insta::assert_snapshot!(told, @r#"
        error: no sysctl `net.ipv4.tcp_retries` is simulated
         --> bad.yaml:4:45
          |
        4 |   app: { run: postgres/deadpool, sysctls: { net.ipv4.tcp_retries: 6 }, with: { pool_size: 8 } }
          |                                             ^^^^^^^^^^^^^^^^^^^^
          |
          = help: did you mean `net.ipv4.tcp_retries1`?

        1 mistake
        "#);
}

#[test]
fn bad_sysctl() {
    let told = broken(&[("count: 3", "sysctls: { net.ipv4.tcp_sack: maybe }")]);
    insta::assert_snapshot!(told, @r#"
        error: `net.ipv4.tcp_sack` takes 0 or 1, not `maybe`
         --> bad.yaml:4:64
          |
        4 |   app: { run: postgres/deadpool, sysctls: { net.ipv4.tcp_sack: maybe }, with: { pool_size: 8 } }
          |                                                                ^^^^^
          |
          = help: its default is `1`

        1 mistake
        "#);
}

#[test]
fn ports_reversed_in_a_sysctl() {
    let told = broken(&[("count: 3", "sysctls: { net.ipv4.ip_local_port_range: [60999, 32768] }")]);
    insta::assert_snapshot!(told, @r#"
        error: there is no port from 60999 to 32768
         --> bad.yaml:4:75
          |
        4 |   app: { run: postgres/deadpool, sysctls: { net.ipv4.ip_local_port_range: [60999, 32768] }, with: { pool_size: 8 } }
          |                                                                           ^^^^^^^^^^^^^^
          |
          = help: write the first and the last port, from 1 to 65535, as in `32768 60999`

        1 mistake
        "#);
}

#[test]
fn overlapping_addresses() {
    let told = broken(&[(
        "db: { run: upstream/postgres }",
        "db: { run: upstream/postgres, addresses: [10.9.0.1] }\n  web: { addresses: [10.9.0.1] }",
    )]);
    insta::assert_snapshot!(told, @r#"
        error: two hosts have the address 10.9.0.1
         --> bad.yaml:6:22
          |
        5 |   db: { run: upstream/postgres, addresses: [10.9.0.1] }
          |                                             -------- first here
        6 |   web: { addresses: [10.9.0.1] }
          |                      ^^^^^^^^
          |
          = help: give each host an address of its own

        1 mistake
        "#);
}

#[test]
fn addresses_for_several() {
    let told = broken(&[("count: 3", "count: 3, addresses: [10.9.0.1]")]);
    insta::assert_snapshot!(told, @r#"
        error: several instances cannot share addresses
         --> bad.yaml:4:44
          |
        4 |   app: { run: postgres/deadpool, count: 3, addresses: [10.9.0.1], with: { pool_size: 8 } }
          |                                            ^^^^^^^^^
          |
          = help: leave `addresses` out: each instance gets its own

        1 mistake
        "#);
}

#[test]
fn no_address() {
    let told = broken(&[("db: { run: upstream/postgres }", "db: { run: upstream/postgres, addresses: [10.9.0] }")]);
    insta::assert_snapshot!(told, @r#"
        error: `10.9.0` is not an IP address
         --> bad.yaml:5:45
          |
        5 |   db: { run: upstream/postgres, addresses: [10.9.0] }
          |                                             ^^^^^^
          |
          = help: write it as `10.0.0.7` or `fd00::7`

        1 mistake
        "#);
}

#[test]
fn count_of_nothing() {
    let told = broken(&[("count: 3", "count: 0")]);
    insta::assert_snapshot!(told, @r#"
        error: `count` is at least 1, not 0
         --> bad.yaml:4:41
          |
        4 |   app: { run: postgres/deadpool, count: 0, with: { pool_size: 8 } }
          |                                         ^
          |
          = help: write 1 or more

        1 mistake
        "#);
}

#[test]
fn two_records_for_one_name() {
    let told = broken(&[("load:\n", "    - { name: DB.internal., to: app, ttl: 30s }\nload:\n")]);
    insta::assert_snapshot!(told, @r#"
        error: the zone has two records for `db.internal`
          --> bad.yaml:16:15
           |
        15 |     - { name: db.internal, to: db, ttl: 30s }
           |               ----------- first here
        16 |     - { name: DB.internal., to: app, ttl: 30s }
           |               ^^^^^^^^^^^^
           |
           = help: put all addresses into one, as in `to: [a, b]`

        1 mistake
        "#);
}

#[test]
fn name_of_a_host() {
    let told = broken(&[
        ("  db: {", "  my_db: {"),
        ("between: [app, db]\n", "between: [app, my_db]\n"),
        ("to: db", "to: my_db"),
        ("between: [app, db] }", "between: [app, my_db] }"),
    ]);
    insta::assert_snapshot!(told, @r#"
        error: `my_db` cannot be the name of a host
         --> bad.yaml:5:3
          |
        5 |   my_db: { run: upstream/postgres }
          |   ^^^^^
          |
          = help: write up to 63 lower-case letters and digits with `-` between words (RFC 1123)

        1 mistake
        "#);
}

#[test]
fn name_of_an_instance() {
    let told = broken(&[("network:\n", "  app-2: {}\nnetwork:\n")]);
    insta::assert_snapshot!(told, @r#"
        error: `app-2` is the name of an instance of `app`
         --> bad.yaml:6:3
          |
        6 |   app-2: {}
          |   ^^^^^
          |
          = help: take another name for this host

        1 mistake
        "#);
}

#[test]
fn the_dns_server_twice() {
    let told = broken(&[("network:\n", "  dns: {}\nnetwork:\n")]);
    insta::assert_snapshot!(told, @r#"
        error: the scenario's DNS server is the host `dns` already
         --> bad.yaml:6:3
          |
        6 |   dns: {}
          |   ^^^
          |
          = help: describe it under `dns: { server: ... }`, or take another name

        1 mistake
        "#);
}

#[test]
fn unknown_host_in_a_variant() {
    let told = broken(&[("expect:", "variants:\n  careful: { ap: { with: { pool_size: 1 } } }\nexpect:")]);
    insta::assert_snapshot!(told, @r#"
        error: the scenario has no host `ap` that a variant could change
          --> bad.yaml:21:14
           |
        21 |   careful: { ap: { with: { pool_size: 1 } } }
           |              ^^
           |
           = help: did you mean `app`?

        1 mistake
        "#);
}

#[test]
fn caught_by_nothing() {
    let told = broken(&[("expect:", "variants:\n  careless: { caught: [ops.silent] }\nexpect:")]);
    insta::assert_snapshot!(told, @r#"
        error: no expectation uses `ops.silent`, so nothing could catch this variant by it
          --> bad.yaml:21:24
           |
        21 |   careless: { caught: [ops.silent] }
           |                        ^^^^^^^^^^
           |
           = help: metrics that are expected something of: ops.hung, ops.failed

        1 mistake
        "#);
}

#[test]
fn wrong_setting_in_a_variant() {
    let told =
        broken(&[("expect:", "variants:\n  careful: { app: { with: { retries: some } } }\n  careless: {}\nexpect:")]);
    insta::assert_snapshot!(told, @r#"
        error: `retries`: `some` is not a whole number
          --> bad.yaml:21:38
           |
        21 |   careful: { app: { with: { retries: some } } }
           |                                      ^^^^ in the variant `careful`
           |
           = help: write digits only, as in `8`

        1 mistake
        "#);
}

#[test]
fn mistake_of_one_variant() {
    let told = broken(&[
        ("op: query", "op: query"),
        ("run: postgres/deadpool, count: 3, with: { pool_size: 8 }", "run: postgres/deadpool"),
        ("expect:", "variants:\n  deadpool: {}\n  direct: { app: { run: upstream/postgres } }\nexpect:"),
    ]);
    insta::assert_snapshot!(told, @r#"
        error: `app` runs no client that could do work
          --> bad.yaml:17:11
           |
        17 |   - { on: app, op: query, rate: 20/s, for: 60s, deadline: 2s }
           |           ^^^ in the variant `direct`
           |
           = help: give a host a client with `run:`; `halfopen list` shows them

        1 mistake
        "#);
}

#[test]
fn ttl_of_half_a_second() {
    let told = broken(&[("ttl: 30s", "ttl: 500ms")]);
    insta::assert_snapshot!(told, @r#"
        error: a TTL is whole seconds (up to 68 years), not 500ms
          --> bad.yaml:15:41
           |
        15 |     - { name: db.internal, to: db, ttl: 500ms }
           |                                         ^^^^^
           |
           = help: write `30s`

        1 mistake
        "#);
}

#[test]
fn settings_of_nothing() {
    let told = broken(&[("run: upstream/postgres", "with: { size: 3 }")]);
    insta::assert_snapshot!(told, @r#"
        error: settings for a host that runs nothing
         --> bad.yaml:5:9
          |
        5 |   db: { with: { size: 3 } }
          |         ^^^^
          |
          = help: add `run: ...`, or leave `with` out

        1 mistake
        "#);
}

#[test]
fn resolver_that_caches_oddly() {
    let told = broken(&[("count: 3", "resolver: { cache: always }")]);
    insta::assert_snapshot!(told, @r#"
        error: `always` is no way to cache names
         --> bad.yaml:4:53
          |
        4 |   app: { run: postgres/deadpool, resolver: { cache: always }, with: { pool_size: 8 } }
          |                                                     ^^^^^^
          |
          = help: write `none`, `ttl`, `forever`, or a fixed time such as `30s`

        1 mistake
        "#);
}

#[test]
fn host_after_the_end() {
    let told = broken(&[("db: { run: upstream/postgres }", "db: { run: upstream/postgres, start_at: 2m }")]);
    insta::assert_snapshot!(told, @r#"
        error: the host would start at 2m, but everything is over at 62s
         --> bad.yaml:5:43
          |
        5 |   db: { run: upstream/postgres, start_at: 2m }
          |                                           ^^
          |
          = help: let it start before 62s

        1 mistake
        "#);
}
