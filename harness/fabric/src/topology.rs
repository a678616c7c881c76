//! What lies between whom: elements, routes, and who has which address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use halfopen_core::event::Direction;
use halfopen_core::id::{ElementId, RouteId};
use halfopen_core::{HostId, Index, Stream};

use crate::config::{
    ConfigError, Delay, ElementConfig, ElementKind, FabricConfig, LinkConfig, MTU_MAX, MTU_MIN, NatConfig, Tracking,
};
use crate::delay::Sampler;
use crate::link::Link;
use crate::middlebox::Middlebox;

/// One box or line.
#[derive(Debug)]
pub(crate) struct Element {
    pub id: ElementId,
    pub name: Option<String>,
    /// Names its random streams: made of its own name, or of where it is, so that no other element moves its luck.
    pub label: String,
    /// The first route it is on.
    pub home: RouteId,
    /// It stands in the configuration; else it was made for a pair of hosts.
    pub declared: bool,
    pub kind: Kind,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // Few, and never moved.
pub(crate) enum Kind {
    Link(Link),
    Middlebox(Middlebox),
}

impl Element {
    /// The address from which its router speaks: from 198.18.0.0/15 or 2001:2::/48, which are set aside for tests
    /// (RFC 2544, RFC 5180), and which no host has.
    pub(crate) fn router(&self, v6: bool) -> IpAddr {
        router_address(self.id.index() as u32 + 1, v6)
    }
}

/// The address of the router with this number; number 0 stands for the network itself.
pub(crate) fn router_address(number: u32, v6: bool) -> IpAddr {
    const V4: u32 = 198 << 24 | 18 << 16;
    const V4_HOSTS: u32 = 0x1_ffff;
    const V6: u128 = 0x2001_0002 << 96;
    match v6 {
        false => Ipv4Addr::from_bits(V4 | (number & V4_HOSTS)).into(),
        true => Ipv6Addr::from_bits(V6 | u128::from(number)).into(),
    }
}

/// An ordered list of elements between two groups of hosts.
#[derive(Debug)]
pub(crate) struct Route {
    /// In order.
    pub first: Vec<HostId>,
    /// In order.
    pub second: Vec<HostId>,
    /// Elements by index, from the first group's end to the second's.
    pub via: Vec<usize>,
}

impl Route {
    /// The group at which packets of this direction arrive.
    pub(crate) fn far_group(&self, direction: Direction) -> &[HostId] {
        match direction {
            Direction::Forward => &self.second,
            Direction::Backward => &self.first,
        }
    }

    /// The cursor of a packet that sets out in this direction.
    pub(crate) fn start(&self, direction: Direction) -> usize {
        match direction {
            Direction::Forward => 0,
            Direction::Backward => self.via.len(),
        }
    }

    /// The element that a packet at `cursor` meets next, and the cursor behind it.
    pub(crate) fn next(&self, cursor: usize, direction: Direction) -> Option<(usize, usize)> {
        match direction {
            Direction::Forward => self.via.get(cursor).map(|&element| (element, cursor + 1)),
            Direction::Backward => cursor.checked_sub(1).map(|before| (self.via[before], before)),
        }
    }

    /// The cursor before an element of this route, for a packet of this direction.
    pub(crate) fn before(&self, element: usize, direction: Direction) -> Option<usize> {
        let at = self.via.iter().position(|&other| other == element)?;
        Some(match direction {
            Direction::Forward => at,
            Direction::Backward => at + 1,
        })
    }
}

/// Whose an address is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    Host(HostId),
    /// An external address of this element.
    Nat(usize),
}

/// The whole map.
#[derive(Debug)]
pub(crate) struct Topology {
    seed: u64,
    default_link: LinkConfig,
    default_sampler: Sampler,
    pub elements: Vec<Element>,
    pub routes: Vec<Route>,
    pairs: Index<(HostId, HostId), (usize, Direction)>,
    owners: Index<IpAddr, Owner>,
    /// By (NAT, host): the route, and the direction towards the NAT, on which the host reaches its address.
    nat_ways: Index<(usize, HostId), (usize, Direction)>,
}

impl Topology {
    pub(crate) fn new(config: &FabricConfig) -> Result<Topology, ConfigError> {
        let FabricConfig { seed, default_link, routes } = config;
        check_link(None, 0, default_link)?;
        let mut topology = Topology {
            seed: *seed,
            default_link: default_link.clone(),
            default_sampler: Sampler::new(default_link.latency),
            elements: Vec::new(),
            routes: Vec::new(),
            pairs: Index::default(),
            owners: Index::default(),
            nat_ways: Index::default(),
        };
        let mut named: BTreeMap<&str, (usize, &ElementKind)> = BTreeMap::new();
        for (number, route) in routes.iter().enumerate() {
            let (mut first, mut second) = route.between.clone();
            for group in [&mut first, &mut second] {
                group.sort_unstable();
                group.dedup();
            }
            if first.is_empty() || second.is_empty() {
                return Err(ConfigError::EmptyGroup { route: number });
            }
            if let Some(&host) = first.iter().find(|host| second.binary_search(host).is_ok()) {
                return Err(ConfigError::HostOnBothSides { route: number, host });
            }
            let mut via = Vec::new();
            for (position, element) in route.via.iter().enumerate() {
                let index = topology.element(number, position, first[0], second[0], element, &mut named)?;
                if via.contains(&index) {
                    let name = element.name.clone().unwrap_or_default();
                    return Err(ConfigError::ElementTwice { route: number, name });
                }
                via.push(index);
            }
            if !via.iter().any(|&index| matches!(topology.elements[index].kind, Kind::Link(_))) {
                let label = label_of(None, first[0], second[0], via.len());
                via.push(topology.add_default_link(label, number, true));
            }
            topology.add_route(Route { first, second, via })?;
        }
        Ok(topology)
    }

    /// The element of this configuration: a new one, or one that another route named before.
    fn element<'a>(
        &mut self,
        route: usize,
        position: usize,
        first: HostId,
        second: HostId,
        config: &'a ElementConfig,
        named: &mut BTreeMap<&'a str, (usize, &'a ElementKind)>,
    ) -> Result<usize, ConfigError> {
        let ElementConfig { name, kind } = config;
        if let Some(name) = name {
            if let Some(&(index, known)) = named.get(name.as_str()) {
                let alike = known == kind;
                return if alike { Ok(index) } else { Err(ConfigError::NamesClash { name: name.clone() }) };
            }
            named.insert(name, (self.elements.len(), kind));
        }
        let index = self.elements.len();
        let id = ElementId::new(index as u32);
        let label = label_of(name.as_deref(), first, second, position);
        let kind = match kind {
            ElementKind::Link(link) => {
                check_link(Some(route), position, link)?;
                Kind::Link(Link::new(link, Sampler::new(link.latency), self.seed, &label))
            }
            ElementKind::Nat(nat) => {
                check_nat(route, position, nat)?;
                for &address in &nat.addresses {
                    if self.owners.insert(address, Owner::Nat(index)).is_some() {
                        return Err(ConfigError::AddressTaken { address });
                    }
                }
                let stream = Stream::new(self.seed, &format!("nat.ports.{label}"), 0);
                Kind::Middlebox(Middlebox::nat(id, nat, stream))
            }
            ElementKind::Firewall(firewall) => {
                check_tracking(route, position, &firewall.tracking)?;
                Kind::Middlebox(Middlebox::firewall(id, firewall))
            }
        };
        let home = RouteId::new(route as u32);
        self.elements.push(Element { id, name: name.clone(), label, home, declared: true, kind });
        Ok(index)
    }

    fn add_default_link(&mut self, label: String, route: usize, declared: bool) -> usize {
        let index = self.elements.len();
        let link = Link::new(&self.default_link, self.default_sampler.clone(), self.seed, &label);
        let (id, home) = (ElementId::new(index as u32), RouteId::new(route as u32));
        self.elements.push(Element { id, name: None, label, home, declared, kind: Kind::Link(link) });
        index
    }

    fn add_route(&mut self, route: Route) -> Result<usize, ConfigError> {
        let number = self.routes.len();
        for &a in &route.first {
            for &b in &route.second {
                for (pair, direction) in [((a, b), Direction::Forward), ((b, a), Direction::Backward)] {
                    if let Some((first, _)) = self.pairs.insert(pair, (number, direction)) {
                        return Err(ConfigError::TwoRoutes { first, second: number, pair: (a, b) });
                    }
                }
            }
        }
        for &element in &route.via {
            let Kind::Middlebox(middlebox) = &self.elements[element].kind else { continue };
            if middlebox.addresses().is_empty() {
                continue;
            }
            // Both sides reach the address: the outer with answers, the inner in vain.
            for (hosts, direction) in [(&route.first, Direction::Forward), (&route.second, Direction::Backward)] {
                for &host in hosts {
                    self.nat_ways.get_or_insert_with((element, host), || (number, direction));
                }
            }
        }
        self.routes.push(route);
        Ok(number)
    }

    /// Tells where a host lives; `false` if another has one of the addresses.
    pub(crate) fn add_host(&mut self, host: HostId, addresses: &[IpAddr]) -> bool {
        addresses.iter().all(|&address| match self.owners.insert(address, Owner::Host(host)) {
            None => true,
            Some(before) => before == Owner::Host(host),
        })
    }

    pub(crate) fn owner(&self, address: IpAddr) -> Option<Owner> {
        self.owners.get(&address).copied()
    }

    /// The route from one host to another, if there is one already.
    pub(crate) fn way(&self, from: HostId, to: HostId) -> Option<(usize, Direction)> {
        self.pairs.get(&(from, to)).copied()
    }

    /// The route on which a host reaches the address of a NAT.
    pub(crate) fn way_to_nat(&self, from: HostId, nat: usize) -> Option<(usize, Direction)> {
        self.nat_ways.get(&(nat, from)).copied()
    }

    /// Makes the link between two hosts that have none, and gives its route. The lower-numbered host is its first end.
    pub(crate) fn connect(&mut self, a: HostId, b: HostId) -> usize {
        let (first, second) = (a.min(b), a.max(b));
        let label = label_of(None, first, second, 0);
        let element = self.add_default_link(label, self.routes.len(), false);
        let route = Route { first: vec![first], second: vec![second], via: vec![element] };
        self.add_route(route).expect("two hosts without a route")
    }
}

/// What an element's random streams are named after.
fn label_of(name: Option<&str>, first: HostId, second: HostId, position: usize) -> String {
    match name {
        Some(name) => format!("named.{name}"),
        None => format!("between.{first}.{second}.{position}"),
    }
}

fn check_link(route: Option<usize>, element: usize, link: &LinkConfig) -> Result<(), ConfigError> {
    let out_of_range = |what| Err(ConfigError::OutOfRange { route, element, what });
    if !(MTU_MIN..=MTU_MAX).contains(&link.mtu) {
        return out_of_range("an MTU is 68 to 65535 bytes");
    }
    if link.bandwidth == Some(0) {
        return out_of_range("a bandwidth is at least 1 bit/s");
    }
    if let Delay::Uniform { min, max } = link.latency
        && min > max
    {
        return out_of_range("the least latency is above the greatest");
    }
    Ok(())
}

fn check_nat(route: usize, element: usize, nat: &NatConfig) -> Result<(), ConfigError> {
    let out_of_range = |what| Err(ConfigError::OutOfRange { route: Some(route), element, what });
    if nat.addresses.is_empty() || nat.addresses.len() > NAT_ADDRESSES_MAX {
        return out_of_range("a NAT has 1 to 100 external addresses");
    }
    if nat.ports.first > nat.ports.last || nat.ports.first == 0 {
        return out_of_range("a port range goes upwards from 1 at least");
    }
    check_tracking(route, element, &nat.tracking)
}

fn check_tracking(route: usize, element: usize, tracking: &Tracking) -> Result<(), ConfigError> {
    if tracking.table_size == 0 {
        return Err(ConfigError::OutOfRange { route: Some(route), element, what: "a table has 1 entry at least" });
    }
    Ok(())
}

/// The most external addresses of one NAT.
const NAT_ADDRESSES_MAX: usize = 100;
