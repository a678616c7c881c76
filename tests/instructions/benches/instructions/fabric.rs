//! Between hosts: what a packet costs on its way.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use halfopen_core::{HostId, Ratio, SimDuration, SimTime};
use halfopen_fabric::config::{
    Delay, ElementConfig, ElementKind, FabricConfig, LinkConfig, NatConfig, PortPolicy, RouteConfig, Side,
    TABLE_SIZE_MAX, Tracking,
};
use halfopen_fabric::fabric::Fabric;
use halfopen_fabric::packet::{Body, Packet, UdpDatagram};
use halfopen_instructions::count::counted;

use crate::{Operation, operation};

pub const OPERATIONS: &[Operation] = &[
    operation("fabric/link", TIMES, || through(LinkConfig::default())),
    operation("fabric/link-with-everything", TIMES, link_with_everything),
    operation("fabric/nat-10-flows", TIMES, || behind_nats(1, 10)),
    operation("fabric/nat-10000-flows", TIMES, || behind_nats(1, 10_000)),
    // A table holds at most a quarter of this (`TABLE_SIZE_MAX`): four boxes with full tables.
    operation("fabric/nat-1048576-flows", TIMES, || behind_nats(4, TABLE_SIZE_MAX)),
];

/// How many packets are counted.
const TIMES: u64 = 16;

/// The host outside of all NATs.
const SERVER: HostId = HostId::new(0);

/// Ports of the server that are talked to, so that there can be more flows behind a NAT than it has ports.
const SERVER_PORTS: u32 = 16;

fn address(host: HostId) -> IpAddr {
    IpAddr::from([10, 0, 0, host.index() as u8 + 1])
}

fn datagram(src: SocketAddr, dst: SocketAddr) -> Packet {
    let payload = Bytes::from_static(&[b'x'; 1000]);
    let body = Body::Udp(UdpDatagram { src_port: src.port(), dst_port: dst.port(), payload });
    Packet { src: src.ip(), dst: dst.ip(), ttl: 64, id: 7, dont_fragment: true, ecn: 0, body, corrupt: false }
}

/// The whole way of a packet: in, over all deadlines, out, with all events told.
fn carry(fabric: &mut Fabric, now: SimTime, from: HostId, packet: Packet) {
    fabric.send(now, from, packet);
    while let Some(deadline) = fabric.next_deadline()
        && deadline <= now + SimDuration::from_millis(100)
    {
        fabric.on_timer(deadline);
    }
    let delivery = fabric.poll_delivery();
    assert!(delivery.is_some(), "the packet arrived");
    while fabric.poll_event().is_some() {}
}

/// From one host to another over this link.
fn through(link: LinkConfig) {
    let client = HostId::new(1);
    let config = FabricConfig { seed: 1, default_link: link, routes: Vec::new() };
    let mut fabric = Fabric::new(&config).expect("a sound configuration");
    for host in [SERVER, client] {
        fabric.add_host(host, &[address(host)]);
    }
    let mut now = SimTime::ZERO;
    let packet = datagram(SocketAddr::new(address(client), 4000), SocketAddr::new(address(SERVER), 80));
    // The first one makes the route.
    for warm_up in [true, false] {
        for _ in 0..TIMES {
            let packet = packet.clone();
            now += SimDuration::from_secs(1);
            let carry = || carry(&mut fabric, now, client, packet);
            if warm_up { carry() } else { counted(carry) }
        }
    }
}

/// Every draw that a link can make, with chances so small that each packet still arrives.
fn link_with_everything() {
    let rare = Ratio::from_billionths(1);
    through(LinkConfig {
        latency: Delay::Normal { mean: SimDuration::from_millis(10), deviation: SimDuration::from_millis(2) },
        jitter: SimDuration::from_millis(1),
        loss: rare,
        duplicate: rare,
        corrupt: rare,
        bandwidth: Some(100_000_000),
        ..LinkConfig::default()
    });
}

/// Out of a NAT whose table has `flows` entries; there are `boxes` of them, each with a host of its own behind it. The
/// flows that are counted lie all over the first table.
fn behind_nats(boxes: u32, flows: u32) {
    let clients: Vec<HostId> = (1..=boxes).map(HostId::new).collect();
    let route = |&client: &HostId| RouteConfig { between: (vec![client], vec![SERVER]), via: vec![nat(client)] };
    let routes = clients.iter().map(route).collect();
    let mut fabric = Fabric::new(&FabricConfig { seed: 1, routes, ..FabricConfig::default() }).expect("it is sound");
    for host in clients.iter().copied().chain([SERVER]) {
        fabric.add_host(host, &[address(host)]);
    }
    let flow = |client, number: u32| {
        let src = SocketAddr::new(address(client), 2000 + (number / SERVER_PORTS) as u16);
        datagram(src, SocketAddr::new(address(SERVER), 80 + (number % SERVER_PORTS) as u16))
    };
    let mut now = SimTime::ZERO;
    for &client in &clients {
        for number in 0..flows {
            carry(&mut fabric, now, client, flow(client, number));
        }
    }
    for number in 0..TIMES {
        now += SimDuration::from_millis(200);
        let packet = flow(clients[0], (u64::from(flows) * number / TIMES) as u32);
        counted(|| carry(&mut fabric, now, clients[0], packet));
    }
}

fn nat(client: HostId) -> ElementConfig {
    let kind = ElementKind::Nat(NatConfig {
        addresses: vec![IpAddr::from([203, 0, 113, client.index() as u8])],
        inner: Side::First,
        ports: PortPolicy::default(),
        tracking: Tracking::default(),
    });
    ElementConfig { name: None, kind }
}
