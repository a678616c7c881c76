//! Sound scenarios and the plans that they become.

mod common;

use std::net::IpAddr;

use common::{digest, plan, plans};
use halfopen_core::{Ratio, ResolverConfig, SimDuration, SimTime, StubCache};
use halfopen_fabric::config::{ClampMss, Delay, ElementKind, LatePacket, Opens, QueueLimit};
use halfopen_scenario::Plan;
use halfopen_scenario::plan::{Arrival, Extent, PhasePlan, Role, Spread, When};
use halfopen_scenario::value::Distribution;

const EXAMPLE: &str = r"
scenario: nat-idle-eviction
summary: A pooled connection idles past the NAT gateway's flow timeout.
sources: [random-backend-outage]
seed: 1
time_limit: 30m

hosts:
  app:
    run: postgres/deadpool            # a registered client under test
    with: { pool_size: 8, recycling: fast }
  db:
    run: upstream/postgres
    with: { service_time: 5ms, max_connections: 50 }

network:
  default: { latency: 1ms }
  routes:
    - between: [app, db]
      via:
        - nat: { preset: aws-nat-gateway }
        - link: { latency: 10ms, jitter: 2ms, mtu: 1500 }

dns:
  records:
    - { name: db.internal, to: db, ttl: 300s }

load:
  - { on: app, op: query, rate: 20/s, for: 60s, deadline: 2s }
  - { idle: 10m }
  - { on: app, op: query, rate: 20/s, for: 60s, deadline: 2s }

faults:
  - at: 2m
    blip: { between: [app, db], loss: 100%, for: 2s }

expect:
  - ops.hung == 0
  - ops.failed <= 1%
  - attempts.amplification <= 2.0
  - recovery.time <= 10s
  - half_open.longest <= 15s

variants:
  default:  { app: { with: { recycling: fast } },     caught: [ops.hung, half_open.longest] }
  verified: { app: { with: { recycling: verified } } }
";

#[test]
fn the_example_of_the_book() {
    let plans = plans(EXAMPLE);
    assert_eq!(
        plans.iter().map(|plan| plan.variant.as_deref()).collect::<Vec<_>>(),
        [Some("default"), Some("verified")]
    );
    insta::assert_snapshot!(digest(&plans[0]), @r#"
    nat-idle-eviction / Some("default"): A pooled connection idles past the NAT gateway's flow timeout. ["random-backend-outage"]
    seed 1, epoch 1767225600000000000, limit 1800s, 2 CPUs, Fifo
    h0 app Client Some("postgres/deadpool") [10.0.0.1, fd00::1] backoff=Duration(SimDuration(100000000)) body=Size(65536) jitter=Bool(true) limit=Rate(Rate { events: 100, per: SimDuration(1000000000) }) pool_size=Count(8) recycling=Text("fast") retries=Count(3) sampled=Share(Ratio(100000000)) timeout=None url=Text("http://db.internal/") user=Text("app")
    h1 db Upstream Some("upstream/postgres") [10.0.0.2, fd00::2] max_connections=Count(50) service_time=Distribution(Fixed(SimDuration(5000000)))
    h2 dns Dns None [10.0.0.3, fd00::3] 
    route ([HostId(0)], [HostId(1)]) via ["app-db.nat", "app-db.link"]
    DnsPlan { host: HostId(2), records: [DnsRecord { name: "db.internal", addresses: [10.0.0.2, fd00::2], ttl: SimDuration(300000000000) }], cache: Honour, latency: SimDuration(0), negative_ttl: SimDuration(30000000000) }
    Load(LoadPlan { hosts: [HostId(0)], op: "query", arrival: Rate { rate: Rate { events: 20, per: SimDuration(1000000000) }, spread: Uniform }, extent: For(SimDuration(60000000000)), deadline: Some(SimDuration(2000000000)) })
    Idle(SimDuration(600000000000))
    Load(LoadPlan { hosts: [HostId(0)], op: "query", arrival: Rate { rate: Rate { events: 20, per: SimDuration(1000000000) }, spread: Uniform }, extent: For(SimDuration(60000000000)), deadline: Some(SimDuration(2000000000)) })
    load ends at Some(SimTime(720000000000))
    FaultPlan { id: FaultId(0), name: "blip", kind: Net(NetFault { scope: Scope { target: Pairs([HostId(0)], [HostId(1)]), direction: None }, kind: Loss { share: Ratio(1000000000) } }), when: At(SimTime(120000000000)), drawn_from: None, duration: Some(SimDuration(2000000000)) }
    Expectation { text: "ops.hung == 0", line: 38, metric: "ops.hung", scope: None, phase: None, comparison: Eq, value: Number(0.0), must_fail: true }
    Expectation { text: "ops.failed <= 1%", line: 39, metric: "ops.failed", scope: None, phase: None, comparison: Le, value: Share(Ratio(10000000)), must_fail: false }
    Expectation { text: "attempts.amplification <= 2.0", line: 40, metric: "attempts.amplification", scope: None, phase: None, comparison: Le, value: Number(2.0), must_fail: false }
    Expectation { text: "recovery.time <= 10s", line: 41, metric: "recovery.time", scope: None, phase: None, comparison: Le, value: Duration(SimDuration(10000000000)), must_fail: false }
    Expectation { text: "half_open.longest <= 15s", line: 42, metric: "half_open.longest", scope: None, phase: None, comparison: Le, value: Duration(SimDuration(15000000000)), must_fail: true }
    "#);
    let must_fail = |plan: &Plan| plan.expect.iter().map(|line| line.must_fail).collect::<Vec<_>>();
    assert_eq!(must_fail(&plans[0]), [true, false, false, false, true]);
    assert_eq!(must_fail(&plans[1]), [false; 5]);
    assert_eq!(plans[1].hosts[0].params.text("recycling"), "verified");
    assert_eq!(plans[1].hosts[0].params.count("pool_size"), 8);
}

#[test]
fn the_box_on_the_way_is_the_one_of_the_preset() {
    let plans = plans(EXAMPLE);
    let ElementKind::Nat(nat) = &plans[0].network.routes[0].via[0].kind else { panic!("a NAT comes first") };
    assert_eq!(nat.tracking.timeouts.tcp_established, SimDuration::from_secs(350));
    assert_eq!(nat.tracking.late, LatePacket::Reset);
    assert_eq!(nat.addresses, [IpAddr::from([198, 51, 100, 1]), "2001:db8::1".parse().unwrap()]);
}

/// Everything that a host can say.
#[test]
fn hosts() {
    let plan = plan(
        r"
scenario: hosts
hosts:
  web:
    run: postgres/bb8
    count: 2
    with: { timeout: 1m30s, retries: none, sampled: 0.25, limit: 3/min, body: 1500B, user: 7, url: 'http://db:80/' }
    mtu: 9001
    sysctls: { net.ipv4.tcp_retries2: 6, net.ipv4.tcp_rmem: [4096, 8192, 16384] }
    resolver: { cache: 30s, timeout: 1s, attempts: 3, ndots: 5, search: [svc.local], rotate: true, nameservers: [db, 10.9.9.9] }
    clock_offset: -3s
    start_at: 5s
    fd_limit: 64
  db: { run: upstream/postgres, addresses: [10.0.0.2], with: { service_time: { lognormal: { median: 5ms, p99: 50ms } } } }
  lib: {}
",
    );
    let names: Vec<(&str, &str, u32, Role)> =
        plan.hosts.iter().map(|host| (host.name.as_str(), host.group.as_str(), host.instance, host.role)).collect();
    assert_eq!(
        names,
        [
            ("web-1", "web", 1, Role::Client),
            ("web-2", "web", 2, Role::Client),
            ("db", "db", 1, Role::Upstream),
            ("lib", "lib", 1, Role::Bare)
        ]
    );
    let addresses: Vec<String> = plan.hosts.iter().map(|host| format!("{:?}", host.addresses)).collect();
    // 10.0.0.2 is taken, so its number is left out.
    assert_eq!(addresses, ["[10.0.0.1, fd00::1]", "[10.0.0.3, fd00::3]", "[10.0.0.2]", "[10.0.0.4, fd00::4]"]);
    let web = &plan.hosts[1];
    assert_eq!(web.params.optional_duration("timeout"), Some(SimDuration::from_secs(90)));
    assert_eq!(web.params.optional_count("retries"), None);
    assert_eq!(web.params.share("sampled"), Ratio::from_percent(25));
    assert_eq!(web.params.rate("limit").offset(3), SimDuration::from_secs(60));
    assert_eq!(web.params.size("body"), 1500);
    assert_eq!(web.params.text("user"), "7");
    assert_eq!(web.params.text("url"), "http://db:80/");
    assert!(web.params.flag("jitter"));
    assert_eq!(web.params.duration("backoff"), SimDuration::from_millis(100));
    let tail = Distribution::LogNormal { median: SimDuration::from_millis(5), p99: SimDuration::from_millis(50) };
    assert_eq!(plan.hosts[2].params.distribution("service_time"), tail);
    assert_eq!((web.interface_mtu, web.clock_offset_nanos, web.fd_limit), (9001, -3_000_000_000, 64));
    assert_eq!(web.start_at, SimTime::from_nanos(5_000_000_000));
    assert_eq!((web.sysctls.tcp_retries2, web.sysctls.tcp_rmem), (6, [4096, 8192, 16384]));
    let expected = ResolverConfig {
        nameservers: vec![IpAddr::from([10, 0, 0, 2]), IpAddr::from([10, 9, 9, 9])],
        search: vec!["svc.local".to_owned()],
        ndots: 5,
        timeout: SimDuration::from_secs(1),
        attempts: 3,
        rotate: true,
        single_request: false,
        single_request_reopen: false,
        use_vc: false,
        cache: StubCache::Fixed(SimDuration::from_secs(30)),
    };
    assert_eq!(web.resolver, expected);
    let file: Vec<String> = plan.hosts_file().iter().map(|(address, name)| format!("{address} {name}")).collect();
    assert_eq!(file[..4], ["10.0.0.1 web-1", "fd00::1 web-1", "10.0.0.1 web", "fd00::1 web"]);
}

#[test]
fn names_of_the_zone_are_not_in_the_hosts_file() {
    let plan = plan("scenario: zone\nhosts: { db: {} }\ndns: { records: [{ name: db, to: [db, 10.7.7.7] }] }\n");
    assert_eq!(plan.hosts_file().iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["dns", "dns"]);
    let dns = plan.dns.as_ref().unwrap();
    assert_eq!(plan.host(dns.host).role, Role::Dns);
    assert_eq!(dns.records[0].addresses.len(), 3);
    assert_eq!(plan.hosts[0].resolver.nameservers, plan.host(dns.host).addresses[..1]);
}

#[test]
fn a_box_on_two_routes_is_one_box() {
    let plan = plan(
        r"
scenario: shared-box
hosts: { app: {}, web: {}, db: {} }
network:
  routes:
    - { between: [app, db], via: [{ nat: { idle_timeout: 1m, late: remap, ports: 2000..2999, inner: app }, name: gw }] }
    - { between: [web, db], via: [gw, { firewall: { opens: both, timeouts: { udp: 5s } } }, { link: { preset: vxlan, loss: 1% } }] }
    - between: [app, web]
      via: [link: { latency: 2ms..8ms, bandwidth: 10Mbit/s, queue: 64KiB, clamp_mss: mtu, burst: { to_bad: 1%, to_good: 20% } }]
",
    );
    let [first, second, third] = plan.network.routes.as_slice() else { panic!("three routes") };
    assert_eq!(first.via[0], second.via[0]);
    assert_eq!(second.via[1].name.as_deref(), Some("web-db.firewall"));
    let ElementKind::Nat(nat) = &first.via[0].kind else { panic!("a NAT") };
    assert_eq!((nat.tracking.late, nat.ports.first, nat.ports.last), (LatePacket::Remap, 2000, 2999));
    assert_eq!(nat.tracking.timeouts.tcp_established, SimDuration::from_secs(60));
    assert_eq!(nat.tracking.timeouts.udp_stream, SimDuration::from_secs(60));
    let ElementKind::Firewall(firewall) = &second.via[1].kind else { panic!("a firewall") };
    assert_eq!((firewall.opens, firewall.tracking.timeouts.udp), (Opens::Both, SimDuration::from_secs(5)));
    let ElementKind::Link(vxlan) = &second.via[2].kind else { panic!("a link") };
    assert_eq!((vxlan.mtu, vxlan.loss), (1450, Ratio::from_percent(1)));
    let ElementKind::Link(link) = &third.via[0].kind else { panic!("a link") };
    assert_eq!(link.latency, Delay::Uniform { min: SimDuration::from_millis(2), max: SimDuration::from_millis(8) });
    assert_eq!((link.bandwidth, link.queue), (Some(10_000_000), QueueLimit::Bytes(65_536)));
    assert_eq!((link.clamp_mss, link.burst.unwrap().loss_bad), (ClampMss::ToMtu, Ratio::ONE));
}

/// Each kind of fault, and each way to say when.
#[test]
fn faults() {
    let plan = plan(
        r"
scenario: faults
time_limit: 10m
hosts:
  app: { run: postgres/deadpool, count: 2 }
  db: { run: upstream/postgres }
network:
  routes:
    - { between: [app, db], via: [nat: {}, link: {}] }
dns: { records: [{ name: db.internal, to: db }], server: { cache: honour, max_ttl: 5m, latency: 20ms } }
faults:
  - { at: 1s, blip: {}, for: 2s }
  - { at: 1s, partition: { between: [app-2, db], direction: forward, for: 2s } }
  - { at: 1s, latency: { on: app-db.link, add: 50ms } }
  - { at: 1s, bandwidth: { limit: 1MB/s } }
  - { at: 1s, loss: { share: 5% } }
  - { at: 1s, duplicate: { share: 5% } }
  - { at: 1s, reorder: { share: 5%, by: 3ms } }
  - { at: 1s, corrupt: { share: 0.1% } }
  - { at: 1s, nat.evict: { flows: 3 } }
  - { at: 1s, nat.flush: {} }
  - { at: 1s, nat.reboot: { for: 30s } }
  - { at: 1s, nat.full: {} }
  - { at: 1s, mtu: { mtu: 1400, icmp: blocked } }
  - { at: 1s, route: { latency: 80ms, gap: 1s } }
  - { at: 1s, dns.set: { name: db.internal, to: app-1 } }
  - { at: 1s, dns.fail: { with: silence } }
  - { at: 1s, dns.stale: {} }
  - { at: 1s, crash: { on: db, power_loss: true }, for: 5s }
  - { at: 1s, restart: { on: db } }
  - { at: 1s, pause: { on: [app, db], for: 5s } }
  - { at: 1s, clock: { on: app, by: -1h } }
  - { at: 1s, slow: { on: db, by: 1s, share: 50% } }
  - { at: 1s, refuse: { on: db } }
  - { at: 1s, hang: { on: db } }
  - { at: 1s, error: { on: db, status: 500 } }
  - { at: 1s, capacity: { on: db, workers: 2 } }
  - { at: 1s, reset: { between: [app, db] } }
  - { when: ops.started == 500, after: 1s, name: late, reset: { on: db } }
  - { when: transfer.progress >= 50%, blip: {}, for: 1s }
  - { every: 4m, blip: {}, for: 1s }
  - { at: 30s, every: 1m, times: 3, blip: {}, for: 1s }
  - { at: 1s, unreachable: { between: [app, db], says: prohibited } }
expect:
  - app-2.ops.failed <= 0 after late
  - app.errors.connect-timeout < 3 during blip
",
    );
    insta::assert_snapshot!(digest(&plan), @r#"
    faults / None:  []
    seed 1, epoch 1767225600000000000, limit 600s, 2 CPUs, Fifo
    h0 app-1 Client Some("postgres/deadpool") [10.0.0.1, fd00::1] backoff=Duration(SimDuration(100000000)) body=Size(65536) jitter=Bool(true) limit=Rate(Rate { events: 100, per: SimDuration(1000000000) }) pool_size=Count(8) recycling=Text("fast") retries=Count(3) sampled=Share(Ratio(100000000)) timeout=None url=Text("http://db.internal/") user=Text("app")
    h1 app-2 Client Some("postgres/deadpool") [10.0.0.2, fd00::2] backoff=Duration(SimDuration(100000000)) body=Size(65536) jitter=Bool(true) limit=Rate(Rate { events: 100, per: SimDuration(1000000000) }) pool_size=Count(8) recycling=Text("fast") retries=Count(3) sampled=Share(Ratio(100000000)) timeout=None url=Text("http://db.internal/") user=Text("app")
    h2 db Upstream Some("upstream/postgres") [10.0.0.3, fd00::3] max_connections=Count(100) service_time=Distribution(Fixed(SimDuration(5000000)))
    h3 dns Dns None [10.0.0.4, fd00::4] 
    route ([HostId(0), HostId(1)], [HostId(2)]) via ["app-db.nat", "app-db.link"]
    DnsPlan { host: HostId(3), records: [DnsRecord { name: "db.internal", addresses: [10.0.0.3, fd00::3], ttl: SimDuration(60000000000) }], cache: Clamp { min: SimDuration(0), max: SimDuration(300000000000) }, latency: SimDuration(20000000), negative_ttl: SimDuration(30000000000) }
    load ends at None
    FaultPlan { id: FaultId(0), name: "blip", kind: Net(NetFault { scope: Scope { target: Everything, direction: None }, kind: Loss { share: Ratio(1000000000) } }), when: At(SimTime(1000000000)), drawn_from: None, duration: Some(SimDuration(2000000000)) }
    FaultPlan { id: FaultId(1), name: "partition", kind: Net(NetFault { scope: Scope { target: Pairs([HostId(1)], [HostId(2)]), direction: Some(Forward) }, kind: Loss { share: Ratio(1000000000) } }), when: At(SimTime(1000000000)), drawn_from: None, duration: Some(SimDuration(2000000000)) }
    FaultPlan { id: FaultId(2), name: "latency", kind: Net(NetFault { scope: Scope { target: Element("app-db.link"), direction: None }, kind: Latency { add: Fixed(SimDuration(50000000)) } }), when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(3), name: "bandwidth", kind: Net(NetFault { scope: Scope { target: Everything, direction: None }, kind: Bandwidth { bits_per_second: 8000000 } }), when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(4), name: "loss", kind: Net(NetFault { scope: Scope { target: Everything, direction: None }, kind: Loss { share: Ratio(50000000) } }), when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(5), name: "duplicate", kind: Net(NetFault { scope: Scope { target: Everything, direction: None }, kind: Duplicate { share: Ratio(50000000) } }), when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(6), name: "reorder", kind: Net(NetFault { scope: Scope { target: Everything, direction: None }, kind: Reorder { share: Ratio(50000000), by: SimDuration(3000000) } }), when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(7), name: "corrupt", kind: Net(NetFault { scope: Scope { target: Everything, direction: None }, kind: Corrupt { share: Ratio(1000000) } }), when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(8), name: "nat.evict", kind: Net(NetFault { scope: Scope { target: Element("app-db.nat"), direction: None }, kind: NatEvict { flows: 3 } }), when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(9), name: "nat.flush", kind: Net(NetFault { scope: Scope { target: Element("app-db.nat"), direction: None }, kind: NatFlush }), when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(10), name: "nat.reboot", kind: Net(NetFault { scope: Scope { target: Element("app-db.nat"), direction: None }, kind: NatReboot }), when: At(SimTime(1000000000)), drawn_from: None, duration: Some(SimDuration(30000000000)) }
    FaultPlan { id: FaultId(11), name: "nat.full", kind: Net(NetFault { scope: Scope { target: Element("app-db.nat"), direction: None }, kind: NatFull }), when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(12), name: "mtu", kind: Net(NetFault { scope: Scope { target: Everything, direction: None }, kind: Mtu { mtu: 1400, icmp: Blocked } }), when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(13), name: "route", kind: Net(NetFault { scope: Scope { target: Everything, direction: None }, kind: RouteChange { latency: Fixed(SimDuration(80000000)), gap: SimDuration(1000000000) } }), when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(14), name: "dns.set", kind: DnsSet { name: "db.internal", addresses: [10.0.0.1, fd00::1], ttl: SimDuration(60000000000) }, when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(15), name: "dns.fail", kind: DnsFail { name: None, failure: Silence }, when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(16), name: "dns.stale", kind: DnsStale, when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(17), name: "crash", kind: Crash { hosts: [HostId(2)], power_loss: true }, when: At(SimTime(1000000000)), drawn_from: None, duration: Some(SimDuration(5000000000)) }
    FaultPlan { id: FaultId(18), name: "restart", kind: Restart { hosts: [HostId(2)] }, when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(19), name: "pause", kind: Pause { hosts: [HostId(0), HostId(1), HostId(2)] }, when: At(SimTime(1000000000)), drawn_from: None, duration: Some(SimDuration(5000000000)) }
    FaultPlan { id: FaultId(20), name: "clock", kind: Clock { hosts: [HostId(0), HostId(1)], by_nanos: -3600000000000 }, when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(21), name: "slow", kind: Upstream { hosts: [HostId(2)], condition: Slow { by: Fixed(SimDuration(1000000000)), share: Ratio(500000000) } }, when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(22), name: "refuse", kind: Upstream { hosts: [HostId(2)], condition: Refuse }, when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(23), name: "hang", kind: Upstream { hosts: [HostId(2)], condition: Hang { share: Ratio(1000000000) } }, when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(24), name: "error", kind: Upstream { hosts: [HostId(2)], condition: Error { share: Ratio(1000000000), status: 500 } }, when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(25), name: "capacity", kind: Upstream { hosts: [HostId(2)], condition: Capacity { workers: 2 } }, when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(26), name: "reset", kind: Reset { hosts: [HostId(0), HostId(1)], peers: [HostId(2)] }, when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    FaultPlan { id: FaultId(27), name: "late", kind: Reset { hosts: [HostId(2)], peers: [] }, when: Trigger { counter: "ops.started", at_least: 500, after: SimDuration(1000000000) }, drawn_from: None, duration: None }
    FaultPlan { id: FaultId(28), name: "blip", kind: Net(NetFault { scope: Scope { target: Everything, direction: None }, kind: Loss { share: Ratio(1000000000) } }), when: Trigger { counter: "transfer.progress", at_least: 50, after: SimDuration(0) }, drawn_from: None, duration: Some(SimDuration(1000000000)) }
    FaultPlan { id: FaultId(29), name: "blip", kind: Net(NetFault { scope: Scope { target: Everything, direction: None }, kind: Loss { share: Ratio(1000000000) } }), when: Every { first: SimTime(240000000000), period: SimDuration(240000000000), count: 2 }, drawn_from: None, duration: Some(SimDuration(1000000000)) }
    FaultPlan { id: FaultId(30), name: "blip", kind: Net(NetFault { scope: Scope { target: Everything, direction: None }, kind: Loss { share: Ratio(1000000000) } }), when: Every { first: SimTime(30000000000), period: SimDuration(60000000000), count: 3 }, drawn_from: None, duration: Some(SimDuration(1000000000)) }
    FaultPlan { id: FaultId(31), name: "unreachable", kind: Net(NetFault { scope: Scope { target: Pairs([HostId(0), HostId(1)], [HostId(2)]), direction: None }, kind: Unreachable { code: 13 } }), when: At(SimTime(1000000000)), drawn_from: None, duration: None }
    Expectation { text: "app-2.ops.failed <= 0 after late", line: 45, metric: "ops.failed", scope: Some(Scope { name: "app-2", hosts: [HostId(1)] }), phase: Some(PhaseOf { phase: After, fault: "late", ids: [FaultId(27)] }), comparison: Le, value: Number(0.0), must_fail: false }
    Expectation { text: "app.errors.connect-timeout < 3 during blip", line: 46, metric: "errors.connect-timeout", scope: Some(Scope { name: "app", hosts: [HostId(0), HostId(1)] }), phase: Some(PhaseOf { phase: During, fault: "blip", ids: [FaultId(0), FaultId(28), FaultId(29), FaultId(30)] }), comparison: Lt, value: Number(3.0), must_fail: false }
    "#);
}

#[test]
fn times_drawn_from_a_range_depend_on_the_seed_and_the_fault_alone() {
    let text = |more: &str| {
        format!(
            "scenario: drawn\nhosts: {{ app: {{}}, db: {{}} }}\nfaults:\n  - {{ at: 10s..60s, blip: {{}}, for: 1s }}\n{more}"
        )
    };
    let at = |plan: &Plan| match plan.faults[0].when {
        When::At(at) => at,
        _ => panic!("a range becomes an instant"),
    };
    let one = plan(&text(""));
    assert_eq!(at(&one), at(&plan(&text("  - { at: 5s..6s, partition: {}, for: 1s }\n"))));
    let times: Vec<SimTime> = (1..50).map(|seed| at(&one.clone().with_seed(seed))).collect();
    assert_eq!(times[0], at(&one));
    assert!(times.iter().all(|at| (10_000..=60_000).contains(&at.as_millis())));
    assert!(times.iter().any(|at| at.as_millis() < 25_000) && times.iter().any(|at| at.as_millis() > 45_000));
    assert_eq!(one.clone().with_seed(9).network.seed, 9);
}

#[test]
fn load() {
    let plan = plan(
        r"
scenario: load
time_limit: 1h
hosts: { app: { run: postgres/deadpool, count: 2 }, web: { run: postgres/bb8 } }
load:
  - { on: [app, web], op: query, rate: 0.5/s, arrivals: poisson, for: 60s }
  - { idle: 10m }
  - { on: app-2, op: report, rate: 1/10s, count: 7, deadline: 2s }
",
    );
    let PhasePlan::Load(first) = &plan.load[0] else { panic!("a phase with work") };
    assert_eq!(first.hosts.len(), 3);
    let Arrival::Rate { rate, spread } = first.arrival else { panic!("a rate") };
    assert_eq!(
        (rate.offset(1), rate.count_within(SimDuration::from_secs(60)), spread),
        (SimDuration::from_secs(2), 30, Spread::Poisson)
    );
    // 60 s, 10 min, and the last of 7 ops 60 s after the first.
    assert_eq!(plan.end_of_load, Some(SimTime::from_nanos(720_000_000_000)));
}

#[test]
fn a_closed_loop_with_a_count_ends_when_it_ends() {
    let text = "scenario: closed\nhosts: { app: { run: postgres/bb8 } }\nload: [{ on: app, op: query, concurrency: 4, count: 9 }]\n";
    let plan = plan(text);
    assert_eq!(plan.end_of_load, None);
    let PhasePlan::Load(load) = &plan.load[0] else { panic!("a phase with work") };
    assert_eq!((load.arrival, load.extent, load.deadline), (Arrival::Concurrency(4), Extent::Count(9), None));
}

#[test]
fn anchors_and_aliases() {
    let plan = plan("scenario: anchors\nhosts: { app: &same { mtu: 1400 }, web: *same }\n");
    assert_eq!(plan.hosts.iter().map(|host| host.interface_mtu).collect::<Vec<_>>(), [1400, 1400]);
}

#[test]
fn merge_keys() {
    let text = r"
scenario: merged
hosts:
  app: &app { mtu: 1400, fd_limit: 99, with: &with { pool_size: 2 }, run: postgres/bb8 }
  web: { <<: *app, mtu: 1300, with: { <<: [*with], retries: none } }
";
    let web = &plan(text).hosts[1];
    assert_eq!((web.interface_mtu, web.fd_limit, web.params.count("pool_size")), (1300, 99, 2));
    assert_eq!(web.params.optional_count("retries"), None);
}

#[test]
fn line_ends_and_a_byte_order_mark_do_not_matter() {
    let text = "scenario: lines\nhosts:\n  app: { mtu: 1400 }\nfaults:\n  - { at: 5s, blip: {}, for: 1s }\n";
    let expected = plan(text);
    assert_eq!(plan(&text.replace('\n', "\r\n")), expected);
    assert_eq!(plan(&format!("\u{feff}{text}")), expected);
    assert_eq!(plan(text.trim_end()), expected);
}
