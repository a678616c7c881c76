//! What a configuration may not say, and the presets.

mod common;

use common::*;
use halfopen_fabric::config::{ConfigError, Delay, FabricConfig, LinkConfig, NatConfig, RouteConfig};
use halfopen_fabric::fabric::Fabric;
use halfopen_fabric::preset::{self, PresetKind, presets};

fn between(first: &[u32], second: &[u32], via: Vec<halfopen_fabric::config::ElementConfig>) -> RouteConfig {
    let group = |numbers: &[u32]| numbers.iter().map(|&number| host(number)).collect();
    RouteConfig { between: (group(first), group(second)), via }
}

fn a_nat() -> NatConfig {
    NatConfig { addresses: vec![nat_ip()], ..preset::find("linux-conntrack").unwrap().nat().unwrap() }
}

fn error(routes: Vec<RouteConfig>) -> String {
    match Fabric::new(&FabricConfig { routes, ..FabricConfig::default() }) {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn nonsense_is_refused() {
    let bad_link = |config| error(vec![between(&[0], &[1], vec![link(config)])]);
    let bad_nat = |config| error(vec![between(&[0], &[1], vec![nat(config)])]);
    let mut no_ports = a_nat();
    no_ports.ports.first = 0;
    let mut no_table = a_nat();
    no_table.tracking.table_size = 0;
    let min_above_max = Delay::Uniform { min: ms(2), max: ms(1) };
    let named_twice = vec![named("a", plain()), named("a", plain())];
    let wide = || link(LinkConfig { mtu: 9000, ..LinkConfig::default() });
    let errors = [
        error(vec![between(&[], &[1], vec![])]),
        error(vec![between(&[0, 1], &[1], vec![])]),
        error(vec![between(&[0], &[1], vec![]), between(&[2, 1], &[0, 3], vec![])]),
        error(vec![between(&[0], &[1], named_twice)]),
        error(vec![between(&[0], &[1], vec![named("a", plain())]), between(&[0], &[2], vec![named("a", wide())])]),
        error(vec![between(&[0], &[1], vec![nat(a_nat())]), between(&[0], &[2], vec![nat(a_nat())])]),
        bad_link(LinkConfig { mtu: 67, ..LinkConfig::default() }),
        bad_link(LinkConfig { bandwidth: Some(0), ..LinkConfig::default() }),
        bad_link(LinkConfig { latency: min_above_max, ..LinkConfig::default() }),
        bad_nat(NatConfig { addresses: vec![], ..a_nat() }),
        bad_nat(no_ports),
        bad_nat(no_table),
        // And what is no nonsense.
        error(vec![between(&[0], &[1], vec![]), between(&[0], &[2], vec![]), between(&[1], &[2], vec![])]),
    ];
    insta::assert_snapshot!(errors.join("\n"), @r"
    route 0: a group of hosts is empty
    route 0: h1 stands on both sides
    routes 0 and 1 both lead from h1 to h0
    route 0: element `a` comes twice
    two elements are named `a` but are not alike
    two boxes have the address 203.0.113.1
    route 0, element 0: an MTU is 68 to 65535 bytes
    route 0, element 0: a bandwidth is at least 1 bit/s
    route 0, element 0: the least latency is above the greatest
    route 0, element 0: a NAT has 1 to 100 external addresses
    route 0, element 0: a port range goes upwards from 1 at least
    route 0, element 0: a table has 1 entry at least
    ok
    ");
}

#[test]
fn a_bad_default_link_is_refused() {
    let default_link = LinkConfig { mtu: 1, ..LinkConfig::default() };
    let refused = Fabric::new(&FabricConfig { default_link, ..FabricConfig::default() });
    let what = "an MTU is 68 to 65535 bytes";
    assert_eq!(refused.err(), Some(ConfigError::OutOfRange { route: None, element: 0, what }));
}

#[test]
fn elements_are_known_by_their_names() {
    let routes = vec![between(&[0], &[1], vec![plain(), named("wan", plain())])];
    let fabric = Fabric::new(&FabricConfig { routes, ..FabricConfig::default() }).unwrap();
    let (element, _) = fabric.element_named("wan").expect("it is there");
    assert_eq!((element.index(), fabric.element_name(element)), (1, Some("wan")));
    assert_eq!(fabric.element_named("lan"), None);
}

/// Each preset in one line: what a reader compares with the vendor's page.
#[test]
fn presets_have_the_published_figures() {
    let lines = presets().into_iter().map(|preset| match preset.kind {
        PresetKind::Middlebox { tracking, ports } => {
            let of = &tracking.timeouts;
            format!(
                "{:22} tcp {} (syn {}, fin {}, time-wait {}, close {}) udp {}/{}; {:?}, late {:?}, stray {:?}; ports {}{}-{}",
                preset.name,
                of.tcp_established,
                of.tcp_syn_sent,
                of.tcp_fin_wait,
                of.tcp_time_wait,
                of.tcp_close,
                of.udp,
                of.udp_stream,
                tracking.on_expiry,
                tracking.late,
                tracking.stray,
                if ports.keep { "kept, else " } else { "" },
                ports.first,
                ports.last,
            )
        }
        PresetKind::Link(link) => {
            let latency = match link.latency {
                Delay::Fixed(always) => always.to_string(),
                Delay::Uniform { min, max } => format!("{min} to {max}"),
                other => format!("{other:?}"),
            };
            let LinkConfig { mtu, icmp, clamp_mss, .. } = link;
            format!("{:22} mtu {mtu}, icmp {icmp:?}, mss clamp {clamp_mss:?}, latency {latency}", preset.name)
        }
    });
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r"
    aws-nat-gateway        tcp 350s (syn 120s, fin 120s, time-wait 120s, close 10s) udp 350s/350s; Silent, late Reset, stray Drop; ports 1024-56023
    aws-network-firewall   tcp 350s (syn 120s, fin 120s, time-wait 120s, close 10s) udp 120s/120s; Silent, late Drop, stray Drop; ports kept, else 1024-65535
    aws-nlb                tcp 350s (syn 120s, fin 120s, time-wait 120s, close 10s) udp 120s/120s; Silent, late Reset, stray Reset; ports 1024-65535
    aws-security-group     tcp 432000s (syn 120s, fin 120s, time-wait 120s, close 10s) udp 30s/180s; Silent, late Drop, stray Drop; ports kept, else 1024-65535
    azure-lb               tcp 240s (syn 120s, fin 120s, time-wait 120s, close 10s) udp 240s/240s; Silent, late Drop, stray Drop; ports 1024-65535
    azure-lb-reset         tcp 240s (syn 120s, fin 120s, time-wait 120s, close 10s) udp 240s/240s; ResetBoth, late Drop, stray Drop; ports 1024-65535
    azure-nat              tcp 240s (syn 30s, fin 65s, time-wait 65s, close 16s) udp 240s/240s; Silent, late Reset, stray Reset; ports 1024-65535
    carrier-nat            tcp 7440s (syn 240s, fin 240s, time-wait 120s, close 10s) udp 120s/300s; Silent, late Drop, stray Drop; ports 1024-65535
    cisco-asa              tcp 3600s (syn 120s, fin 600s, time-wait 120s, close 10s) udp 120s/120s; Silent, late Drop, stray Drop; ports kept, else 1024-65535
    dlink-dfl              tcp 262144s (syn 60s, fin 80s, time-wait 120s, close 10s) udp 130s/130s; Silent, late Drop, stray Drop; ports kept, else 1024-65535
    gcp-nat                tcp 1200s (syn 30s, fin 30s, time-wait 120s, close 10s) udp 30s/30s; Silent, late Drop, stray Drop; ports 1024-65535
    gcp-vpc-firewall       tcp 600s (syn 120s, fin 120s, time-wait 120s, close 10s) udp 600s/600s; Silent, late PickUp, stray Drop; ports kept, else 1024-65535
    home-router            tcp 3600s (syn 120s, fin 120s, time-wait 120s, close 10s) udp 30s/180s; Silent, late Drop, stray Drop; ports kept, else 1024-65535
    home-router-short      tcp 240s (syn 120s, fin 120s, time-wait 120s, close 10s) udp 30s/30s; Silent, late Drop, stray Drop; ports kept, else 1024-65535
    kube-ipvs              tcp 900s (syn 120s, fin 120s, time-wait 120s, close 10s) udp 300s/300s; Silent, late Reset, stray Reset; ports kept, else 1024-65535
    kube-proxy             tcp 86400s (syn 120s, fin 120s, time-wait 120s, close 10s) udp 30s/120s; Silent, late PickUp, stray Reset; ports kept, else 1024-65535
    linux-conntrack        tcp 432000s (syn 120s, fin 120s, time-wait 120s, close 10s) udp 30s/120s; Silent, late PickUp, stray Reset; ports kept, else 1024-65535
    linux-conntrack-leaky  tcp 432000s (syn 120s, fin 120s, time-wait 120s, close 10s) udp 30s/120s; Silent, late ForwardUntranslated, stray Reset; ports kept, else 1024-65535
    linux-conntrack-random tcp 432000s (syn 120s, fin 120s, time-wait 120s, close 10s) udp 30s/120s; Silent, late PickUp, stray Reset; ports 1024-65535
    linux-conntrack-strict tcp 432000s (syn 120s, fin 120s, time-wait 120s, close 10s) udp 30s/120s; Silent, late Drop, stray Reset; ports kept, else 1024-65535
    aws-transit-gateway    mtu 8500, icmp Blocked, mss clamp ToMtu, latency 1ms
    aws-vpc                mtu 9001, icmp Allowed, mss clamp Off, latency 1ms
    gcp-vpc                mtu 1460, icmp Allowed, mss clamp Off, latency 1ms
    geneve                 mtu 1450, icmp Allowed, mss clamp Off, latency 1ms
    geo-satellite          mtu 1500, icmp Allowed, mss clamp Off, latency 240ms to 280ms
    gre                    mtu 1476, icmp Allowed, mss clamp Off, latency 1ms
    ipip                   mtu 1480, icmp Allowed, mss clamp Off, latency 1ms
    ipsec                  mtu 1423, icmp Allowed, mss clamp Off, latency 1ms
    pppoe                  mtu 1492, icmp Allowed, mss clamp Off, latency 1ms
    vxlan                  mtu 1450, icmp Allowed, mss clamp Off, latency 1ms
    vxlan-ipv6             mtu 1430, icmp Allowed, mss clamp Off, latency 1ms
    wireguard              mtu 1420, icmp Allowed, mss clamp Off, latency 1ms
    wireguard-ipv4         mtu 1440, icmp Allowed, mss clamp Off, latency 1ms
    ");
}

#[test]
fn presets_are_told_apart_and_documented() {
    let all = presets();
    let mut names: Vec<&str> = all.iter().map(|preset| preset.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all.len());
    for preset in &all {
        assert!(!preset.summary.is_empty() && !preset.source.is_empty(), "{}", preset.name);
        assert_eq!(preset::find(preset.name).as_ref(), Some(preset));
        assert_eq!(preset.nat().is_some(), preset.link().is_none(), "{}", preset.name);
        assert_eq!(preset.nat().is_some(), preset.firewall().is_some(), "{}", preset.name);
    }
    assert_eq!(preset::find("no such"), None);
}
