//! The network between the hosts, as a state machine.
//!
//! Packets go in with [`Fabric::send`] and come out of [`Fabric::poll_delivery`]; in between, time is told with
//! [`Fabric::on_timer`] and asked for with [`Fabric::next_deadline`]. Every call that is told the time first does what
//! is due by then, so each may leave deliveries and events to be polled. A packet costs what it passes: no packet and
//! no instant walks the links, hosts or flows that exist.
//!
//! A packet's way: its sender and the owner of its destination give a route; the route gives elements, one after the
//! other, until one keeps it for a while (a link), drops it, or none is left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use halfopen_core::event::{Direction, DropReason};
use halfopen_core::id::{ElementId, FaultId, RouteId};
use halfopen_core::{Event, HostId, SimDuration, SimTime};

use crate::answer;
use crate::config::{ConfigError, DEFAULT_LATENCY, FabricConfig, IcmpPolicy};
use crate::delay::Sampler;
use crate::fault::FaultKind;
use crate::flight::{Flight, Place, Sky};
use crate::link::{Judgement, Link};
use crate::middlebox::{Notice, Verdict};
use crate::packet::{IcmpError, Packet};
use crate::reassembly;
use crate::scope::{Ends, Passage, Reach};
use crate::topology::{Kind, Owner, Topology, router_address};

/// The network between the hosts.
#[derive(Debug)]
pub struct Fabric {
    pub(crate) seed: u64,
    pub(crate) topology: Topology,
    sky: Sky,
    /// The next deadline of each box that has one, and its element.
    alarms: BTreeSet<(SimTime, usize)>,
    /// The same by element.
    armed: BTreeMap<usize, SimTime>,
    deliveries: VecDeque<Delivery>,
    pub(crate) events: VecDeque<Event>,
    /// Faults of links that are at work: links made later are hit too.
    pub(crate) active: BTreeMap<FaultId, ActiveFault>,
    /// How many times each fault has begun.
    pub(crate) begun: BTreeMap<FaultId, u64>,
    /// How long the network takes to say that it knows no such address.
    no_route_delay: SimDuration,
}

/// A packet that has arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// Where.
    pub host: HostId,
    /// What. Boxed, as it was on its way: a packet is moved often.
    pub packet: Box<Packet>,
}

/// A fault of links that is at work.
#[derive(Debug)]
pub(crate) struct ActiveFault {
    pub kind: FaultKind,
    pub reach: Arc<Reach>,
    pub sampler: Option<Sampler>,
    /// Which time this is.
    pub time: u64,
    pub begun: SimTime,
}

impl Fabric {
    /// A network without hosts.
    ///
    /// # Errors
    /// What is wrong with the configuration, the first thing only; `scenario` finds all of it, with its place.
    pub fn new(config: &FabricConfig) -> Result<Fabric, ConfigError> {
        let no_route_delay = Sampler::new(config.default_link.latency).median();
        Ok(Fabric {
            seed: config.seed,
            topology: Topology::new(config)?,
            sky: Sky::default(),
            alarms: BTreeSet::new(),
            armed: BTreeMap::new(),
            deliveries: VecDeque::new(),
            events: VecDeque::new(),
            active: BTreeMap::new(),
            begun: BTreeMap::new(),
            no_route_delay: if no_route_delay.is_zero() { DEFAULT_LATENCY } else { no_route_delay },
        })
    }

    /// Tells where a host lives; before any packet to it. Once for each host (a restart changes nothing).
    ///
    /// # Panics
    /// If another host, or a NAT, has one of the addresses.
    pub fn add_host(&mut self, host: HostId, addresses: &[IpAddr]) {
        assert!(self.topology.add_host(host, addresses), "an address of {host} belongs to somebody else");
    }

    /// A host's stack hands over a packet. Tells the log [`Event::PacketSent`]; [`Event::PacketDelivered`], or a drop
    /// at the host, is for whoever takes the delivery to tell.
    ///
    /// The packet may be due for delivery at once, if nothing on its way takes time: ask [`Fabric::next_deadline`].
    pub fn send(&mut self, now: SimTime, from: HostId, packet: impl Into<Box<Packet>>) {
        self.take(now, from, packet.into());
    }

    fn take(&mut self, now: SimTime, from: HostId, packet: Box<Packet>) {
        self.on_timer(now);
        self.events.push_back(Event::PacketSent { host: from, packet: packet.info() });
        let to = self.final_host(&packet);
        let ends = Ends { from: Some(from), to };
        let way = match self.topology.owner(packet.dst) {
            Some(Owner::Host(to)) if to == from => {
                let flight = Flight { packet, ends, place: Place::Direct(to), inside: None, met_link: true };
                return self.sky.launch(now, flight);
            }
            Some(Owner::Host(to)) => Some(self.way(from, to)),
            Some(Owner::Nat(nat)) => self.topology.way_to_nat(from, nat),
            None => None,
        };
        let Some((route, direction)) = way else { return self.no_route(now, from, packet) };
        let cursor = self.topology.routes[route].start(direction);
        let place = Place::OnRoute { route, cursor, direction };
        self.travel(now, Flight { packet, ends, place, inside: None, met_link: false });
    }

    /// The next instant at which something happens without a new packet (an arrival, an expiry). It may be the present
    /// one: then [`Fabric::on_timer`] has work at once.
    pub fn next_deadline(&self) -> Option<SimTime> {
        let alarm = self.alarms.first().map(|&(alarm, _)| alarm).filter(|&alarm| alarm < SimTime::FAR_FUTURE);
        match (self.sky.next_arrival(), alarm) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Does what is due by `now`.
    pub fn on_timer(&mut self, now: SimTime) {
        while let Some(due) = self.next_deadline()
            && due <= now
        {
            // An entry that is due at the instant at which a packet comes is gone before.
            if let Some(&(alarm, element)) = self.alarms.first()
                && alarm <= due
            {
                self.ring(due, element);
            } else if let Some(mut flight) = self.sky.land(due) {
                if let Some((element, direction)) = flight.inside.take() {
                    self.link(element).count_delivered(direction);
                }
                self.travel(due, flight);
            }
        }
    }

    /// The next packet that has arrived at a host.
    pub fn poll_delivery(&mut self) -> Option<Delivery> {
        self.deliveries.pop_front()
    }

    /// The next event for the log.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Ends the run: the books of each direction of every link that was declared, or that carried anything, come out
    /// of [`Fabric::poll_event`].
    ///
    /// # Panics
    /// If the books do not balance: then halfopen itself has failed.
    pub fn close(&mut self, now: SimTime) {
        self.on_timer(now);
        let mut under_way: BTreeMap<(usize, Direction), u64> = BTreeMap::new();
        for inside in self.sky.iter().filter_map(|flight| flight.inside) {
            *under_way.entry(inside).or_default() += 1;
        }
        for (index, element) in self.topology.elements.iter_mut().enumerate() {
            let Kind::Link(link) = &mut element.kind else { continue };
            for direction in [Direction::Forward, Direction::Backward] {
                let in_flight = under_way.get(&(index, direction)).copied().unwrap_or(0);
                let books = link.books(direction, in_flight);
                assert!(books.balance(), "the books of {} {direction:?} do not balance: {books:?}", element.id);
                if element.declared || books.offered > 0 {
                    let (element, route) = (element.id, element.home);
                    self.events.push_back(Event::LinkClosed { element, route, direction, books });
                }
            }
        }
    }

    /// The identity, and the first route, of the element with this name: what events call it.
    pub fn element_named(&self, name: &str) -> Option<(ElementId, RouteId)> {
        let mut elements = self.topology.elements.iter();
        elements.find(|element| element.name.as_deref() == Some(name)).map(|element| (element.id, element.home))
    }

    /// The name of an element that has one.
    pub fn element_name(&self, element: ElementId) -> Option<&str> {
        self.topology.elements.get(element.index())?.name.as_deref()
    }

    // ---- on the way ----

    /// The host for which a packet is meant in the end, through a NAT, as far as its table says now.
    fn final_host(&self, packet: &Packet) -> Option<HostId> {
        let inner = match self.topology.owner(packet.dst)? {
            Owner::Host(host) => return Some(host),
            Owner::Nat(nat) => match &self.topology.elements[nat].kind {
                Kind::Middlebox(middlebox) => middlebox.peek_inner(packet)?,
                Kind::Link(_) => return None,
            },
        };
        match self.topology.owner(inner)? {
            Owner::Host(host) => Some(host),
            Owner::Nat(_) => None,
        }
    }

    /// The route between two hosts; one that is not configured is made when it is first used.
    fn way(&mut self, from: HostId, to: HostId) -> (usize, Direction) {
        if let Some(way) = self.topology.way(from, to) {
            return way;
        }
        let route = self.topology.connect(from, to);
        self.strike_new_route(route);
        self.topology.way(from, to).expect("a route that was just made")
    }

    /// Nobody has the destination address: the sender hears so from the network.
    fn no_route(&mut self, now: SimTime, from: HostId, packet: Box<Packet>) {
        self.tell_drop(None, None, DropReason::NoRoute, &packet);
        let router = router_address(0, packet.src.is_ipv6());
        if let Some(error) = answer::icmp_error(router, &packet, IcmpError::Unreachable { code: 0 }) {
            let ends = Ends { from: None, to: Some(from) };
            let flight =
                Flight { packet: error.into(), ends, place: Place::Direct(from), inside: None, met_link: true };
            self.sky.launch(now + self.no_route_delay, flight);
        }
    }

    /// Moves a packet on from element to element, until one keeps it or it has arrived.
    fn travel(&mut self, now: SimTime, mut flight: Flight) {
        loop {
            let (route, cursor, direction) = match flight.place {
                Place::OnRoute { route, cursor, direction } => (route, cursor, direction),
                Place::Direct(host) => return self.deliver(host, flight.packet),
            };
            let Some((index, behind)) = self.topology.routes[route].next(cursor, direction) else {
                return self.arrive(flight, route, direction);
            };
            match self.topology.elements[index].kind {
                Kind::Link(_) => return self.enter_link(now, flight, index, behind),
                Kind::Middlebox(_) => match self.pass_middlebox(now, flight, index, behind) {
                    Some(passed) => flight = passed,
                    None => return,
                },
            }
        }
    }

    /// The end of a route.
    fn arrive(&mut self, flight: Flight, route: usize, direction: Direction) {
        match self.topology.owner(flight.packet.dst) {
            Some(Owner::Host(host))
                if self.topology.routes[route].far_group(direction).binary_search(&host).is_ok() =>
            {
                self.deliver(host, flight.packet);
            }
            _ => self.tell_drop(None, Some(direction), DropReason::NoRoute, &flight.packet),
        }
    }

    fn deliver(&mut self, host: HostId, packet: Box<Packet>) {
        self.deliveries.push_back(Delivery { host, packet });
    }

    fn tell_drop(&mut self, element: Option<usize>, direction: Option<Direction>, reason: DropReason, packet: &Packet) {
        let element = element.map(|index| self.topology.elements[index].id);
        self.events.push_back(Event::PacketDropped { element, direction, reason, packet: packet.info() });
    }

    /// Sends what an element says back along the way on which `flight` came.
    fn answer(&mut self, at: SimTime, now: SimTime, flight: &Flight, packet: Box<Packet>) {
        let Place::OnRoute { route, cursor, direction } = flight.place else { return };
        let place = Place::OnRoute { route, cursor, direction: direction.reverse() };
        let answer = Flight { packet, ends: flight.ends.reverse(), place, inside: None, met_link: false };
        match at > now {
            true => self.sky.launch(at, answer),
            false => self.travel(now, answer),
        }
    }

    /// A router forwards the packet: its time to live goes down. `false` if it ran out; then the sender is told.
    fn forward(&mut self, now: SimTime, flight: &mut Flight, index: usize, direction: Direction) -> bool {
        if flight.packet.ttl > 1 {
            flight.packet.ttl -= 1;
            return true;
        }
        self.tell_drop(Some(index), Some(direction), DropReason::TtlExpired, &flight.packet);
        let router = self.topology.elements[index].router(flight.packet.src.is_ipv6());
        if let Some(error) = answer::icmp_error(router, &flight.packet, IcmpError::TimeExceeded) {
            self.answer(now, now, flight, error.into());
        }
        false
    }

    // ---- links ----

    pub(crate) fn link(&mut self, index: usize) -> &mut Link {
        match &mut self.topology.elements[index].kind {
            Kind::Link(link) => link,
            Kind::Middlebox(_) => unreachable!("element {index} is a link"),
        }
    }

    /// A packet comes to a link, whose far end is at the cursor `behind`.
    fn enter_link(&mut self, now: SimTime, mut flight: Flight, index: usize, behind: usize) {
        let Place::OnRoute { route, cursor, direction } = flight.place else { return };
        // Between two links stands a router; where a link follows a box, that is the router.
        let previous = self.topology.routes[route].next(cursor, direction.reverse());
        let after_link = previous.is_some_and(|(index, _)| matches!(self.topology.elements[index].kind, Kind::Link(_)));
        if after_link && !self.forward(now, &mut flight, index, direction) {
            let link = self.link(index);
            link.count_offered(direction);
            return link.count_dropped(direction, DropReason::TtlExpired);
        }
        self.link(index).clamp_mss(&mut flight.packet);
        let passage = Passage { ends: flight.ends, route, direction, first_link: !flight.met_link };
        let judgement = self.link(index).judge(now, &flight.packet, &passage);
        let (mtu, icmp) = judgement.mtu;
        if let (None, Some(code)) = (judgement.lost_early, judgement.unreachable) {
            return self.refuse(now, flight, index, DropReason::Fault, icmp, IcmpError::Unreachable { code });
        }
        let too_big = flight.packet.wire_len() > mtu as usize;
        if judgement.lost_early.is_some() || !too_big {
            return self.carry(now, flight, index, behind, judgement);
        }
        if flight.packet.dont_fragment || flight.packet.src.is_ipv6() {
            let reason = match icmp {
                IcmpPolicy::Allowed => DropReason::TooBig,
                IcmpPolicy::Blocked => DropReason::TooBigSilent,
            };
            return self.refuse(now, flight, index, reason, icmp, IcmpError::TooBig { mtu });
        }
        for (piece, packet) in reassembly::split((*flight.packet).clone(), mtu).into_iter().enumerate() {
            let flight = Flight { packet: packet.into(), inside: None, ..flight };
            let judgement = match piece {
                0 => judgement,
                _ => self.link(index).judge(now, &flight.packet, &passage),
            };
            self.carry(now, flight, index, behind, judgement);
        }
    }

    /// The router before a link does not let the packet onto it, and says so where it may.
    fn refuse(
        &mut self,
        now: SimTime,
        flight: Flight,
        index: usize,
        reason: DropReason,
        icmp: IcmpPolicy,
        error: IcmpError,
    ) {
        let Place::OnRoute { direction, .. } = flight.place else { return };
        let link = self.link(index);
        link.count_offered(direction);
        link.count_dropped(direction, reason);
        let back = now + link.icmp_delay();
        self.tell_drop(Some(index), Some(direction), reason, &flight.packet);
        if icmp == IcmpPolicy::Allowed {
            let router = self.topology.elements[index].router(flight.packet.src.is_ipv6());
            if let Some(error) = answer::icmp_error(router, &flight.packet, error) {
                self.answer(back, now, &flight, error.into());
            }
        }
    }

    /// A packet that fits goes down the line, or is lost there.
    fn carry(&mut self, now: SimTime, mut flight: Flight, index: usize, behind: usize, judgement: Judgement) {
        let Place::OnRoute { route, direction, .. } = flight.place else { return };
        let size = flight.packet.wire_len() as u32;
        let link = self.link(index);
        link.count_offered(direction);
        let fate = match judgement.lost_early.or(judgement.lost_late) {
            Some(reason) => Err(reason),
            None => link.carry(now, direction, size, &judgement),
        };
        let arrival = match fate {
            Ok(arrival) => arrival,
            Err(reason) => {
                link.count_dropped(direction, reason);
                return self.tell_drop(Some(index), Some(direction), reason, &flight.packet);
            }
        };
        let element = self.topology.elements[index].id;
        if judgement.corrupted {
            flight.packet.corrupt = true;
            self.events.push_back(Event::PacketCorrupted { element, packet: flight.packet.info() });
        }
        flight.place = Place::OnRoute { route, cursor: behind, direction };
        flight.inside = Some((index, direction));
        flight.met_link = true;
        if judgement.duplicated {
            self.events.push_back(Event::PacketDuplicated { element, packet: flight.packet.info() });
            self.sky.launch(arrival, Flight { packet: flight.packet.clone(), ..flight });
        }
        self.sky.launch(arrival, flight);
    }

    // ---- boxes ----

    /// A packet comes to a box: gives it back, on the far side, if it passes.
    fn pass_middlebox(&mut self, now: SimTime, mut flight: Flight, index: usize, behind: usize) -> Option<Flight> {
        let Place::OnRoute { route, direction, .. } = flight.place else { return None };
        if !self.forward(now, &mut flight, index, direction) {
            return None;
        }
        let Kind::Middlebox(middlebox) = &mut self.topology.elements[index].kind else { return None };
        let inbound = direction != middlebox.outbound();
        let before = flight.packet.dst;
        let verdict = middlebox.process(now, &mut flight.packet, direction, route, &mut self.events);
        self.arm(index);
        match verdict {
            Verdict::Hold { given_up } => {
                for packet in given_up {
                    self.tell_drop(Some(index), Some(direction), DropReason::ReassemblyTimeout, &packet);
                }
                None
            }
            Verdict::Drop { reason, answer } => {
                self.tell_drop(Some(index), Some(direction), reason, &flight.packet);
                if let Some(packet) = answer {
                    self.answer(now, now, &flight, packet);
                }
                None
            }
            Verdict::Pass => {
                flight.place = Place::OnRoute { route, cursor: behind, direction };
                if inbound && flight.packet.dst != before {
                    self.rejoin(&mut flight, index);
                }
                Some(flight)
            }
        }
    }

    /// A NAT that stands on several routes has found out for whom a packet is: it goes on along that host's route.
    fn rejoin(&mut self, flight: &mut Flight, nat: usize) {
        let Some(Owner::Host(host)) = self.topology.owner(flight.packet.dst) else { return };
        flight.ends.to = Some(host);
        let Some((route, direction)) = flight.ends.from.and_then(|from| self.topology.way(from, host)) else { return };
        if let Some(cursor) = self.topology.routes[route].before(nat, direction)
            && let Some((_, behind)) = self.topology.routes[route].next(cursor, direction)
        {
            flight.place = Place::OnRoute { route, cursor: behind, direction };
        }
    }

    /// A deadline of a box is reached.
    fn ring(&mut self, now: SimTime, index: usize) {
        let Kind::Middlebox(middlebox) = &mut self.topology.elements[index].kind else { return };
        let (notices, fragments) = middlebox.on_timer(now, &mut self.events);
        self.arm(index);
        for packet in fragments {
            self.tell_drop(Some(index), None, DropReason::ReassemblyTimeout, &packet);
        }
        for Notice { route, direction, packet } in notices {
            let Some(cursor) = self.topology.routes[route].before(index, direction) else { continue };
            let Some((_, cursor)) = self.topology.routes[route].next(cursor, direction) else { continue };
            let to = self.final_host(&packet);
            let place = Place::OnRoute { route, cursor, direction };
            let ends = Ends { from: None, to };
            self.travel(now, Flight { packet: packet.into(), ends, place, inside: None, met_link: false });
        }
    }

    /// Keeps the alarm of a box at its next deadline.
    pub(crate) fn arm(&mut self, index: usize) {
        let Kind::Middlebox(middlebox) = &self.topology.elements[index].kind else { return };
        let next = middlebox.next_deadline();
        let before = match next {
            Some(next) => self.armed.insert(index, next),
            None => self.armed.remove(&index),
        };
        if before != next {
            if let Some(before) = before {
                self.alarms.remove(&(before, index));
            }
            if let Some(next) = next {
                self.alarms.insert((next, index));
            }
        }
    }
}
