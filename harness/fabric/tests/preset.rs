//! What each preset does to a TCP connection that idles: one line each, to be read beside the vendor's page and the
//! measurements of Linux (masquerading, established timeout passed, either side writes first).

mod common;

use std::net::SocketAddr;

use common::*;
use halfopen_core::{Event, SimDuration};
use halfopen_fabric::config::RouteConfig;
use halfopen_fabric::packet::{Body, Packet, SeqNum, TcpFlags};
use halfopen_fabric::preset::{Preset, presets};

fn inner() -> SocketAddr {
    at(ip(0), 40_000)
}

fn server() -> SocketAddr {
    at(ip(1), 5432)
}

fn segment(src: SocketAddr, dst: SocketAddr, flags: TcpFlags, seq: u32, ack: u32) -> Packet {
    let mut packet = tcp(src, dst, flags, 0);
    if let Body::Tcp(segment) = &mut packet.body {
        (segment.seq, segment.ack) = (SeqNum(seq), SeqNum(ack));
    }
    packet
}

/// A connection through such a NAT, and the address from which the server sees it.
fn connected(preset: &Preset) -> (Net, SocketAddr) {
    let mut config = preset.nat().expect("a middlebox");
    config.addresses = vec![nat_ip()];
    let via = vec![nat(config), plain()];
    let mut net = net(vec![RouteConfig { between: (vec![host(0)], vec![host(1)]), via }]);
    let seen_as = net.exchange(segment(inner(), server(), SYN, 1000, 0))[0].packet.info().src;
    assert_eq!(net.exchange(segment(server(), seen_as, SYN_ACK, 2000, 1001)).len(), 1);
    // The last packet passes at this very instant.
    net.send(segment(inner(), server(), ACK, 1001, 2001));
    (net, seen_as)
}

/// What becomes of a packet of the old connection.
fn outcome(net: &mut Net, seen_as: SocketAddr, packet: Packet) -> &'static str {
    let from_inner = packet.src == ip(0);
    let arrived = net.exchange(packet);
    let Some(first) = arrived.first() else { return "silence" };
    let info = first.packet.info();
    match (from_inner, first.host.index(), info.flags.has(RST)) {
        (true, 1, false) if info.src == seen_as => "survives",
        (true, 1, false) if info.src == inner() => "private address",
        (true, 1, false) => "other port",
        (false, 0, false) => "survives",
        (true, 0, true) | (false, 1, true) => "reset to sender",
        _ => panic!("{first:?}"),
    }
}

fn line(preset: &Preset) -> String {
    let idle = preset.nat().unwrap().tracking.timeouts.tcp_established;
    let ack = || segment(inner(), server(), ACK, 1001, 2001);
    let second = secs(1);

    let (mut net, seen_as) = connected(preset);
    net.run_for(idle.saturating_sub(second));
    assert_eq!(outcome(&mut net, seen_as, ack()), "survives", "{}: a second before", preset.name);

    let (mut net, seen_as) = connected(preset);
    let before = net.delivered.len();
    net.run_for(idle + second);
    let at_expiry = match net.delivered.len() - before {
        1 => "nothing", // The last packet of the handshake.
        3 => "reset to both",
        other => panic!("{}: {other} packets", preset.name),
    };
    let forgotten: Vec<SimDuration> = net
        .events
        .iter()
        .filter_map(|event| match event {
            Event::NatEvicted { idle, .. } => Some(*idle),
            _ => None,
        })
        .collect();
    assert_eq!(forgotten, [idle], "{}", preset.name);
    let client_first = outcome(&mut net, seen_as, ack());

    let (mut net, seen_as) = connected(preset);
    net.run_for(idle + second);
    let server_first = outcome(&mut net, seen_as, segment(server(), seen_as, ACK, 2001, 1001));

    let idle = idle.to_string();
    format!("{:22} {idle:>8}  {at_expiry:13}  {client_first:15}  {server_first}", preset.name)
}

#[test]
fn an_idle_connection_behind_each_preset() {
    let middleboxes = presets().into_iter().filter(|preset| preset.nat().is_some());
    let lines: Vec<String> = middleboxes.map(|preset| line(&preset)).collect();
    let head = format!("{:22} {:>8}  {:13}  {:15}  server first", "preset", "idle", "at expiry", "client first");
    insta::assert_snapshot!(format!("{head}\n{}", lines.join("\n")), @r"
    preset                     idle  at expiry      client first     server first
    aws-nat-gateway            350s  nothing        reset to sender  silence
    aws-network-firewall       350s  nothing        silence          silence
    aws-nlb                    350s  nothing        reset to sender  reset to sender
    aws-security-group      432000s  nothing        silence          silence
    azure-lb                   240s  nothing        silence          silence
    azure-lb-reset             240s  reset to both  silence          silence
    azure-nat                  240s  nothing        reset to sender  reset to sender
    carrier-nat               7440s  nothing        silence          silence
    cisco-asa                 3600s  nothing        silence          silence
    dlink-dfl               262144s  nothing        silence          silence
    gcp-nat                   1200s  nothing        silence          silence
    gcp-vpc-firewall           600s  nothing        survives         silence
    home-router               3600s  nothing        silence          silence
    home-router-short          240s  nothing        silence          silence
    kube-ipvs                  900s  nothing        reset to sender  reset to sender
    kube-proxy               86400s  nothing        survives         reset to sender
    linux-conntrack         432000s  nothing        survives         reset to sender
    linux-conntrack-leaky   432000s  nothing        private address  reset to sender
    linux-conntrack-random  432000s  nothing        other port       reset to sender
    linux-conntrack-strict  432000s  nothing        silence          reset to sender
    ");
}
