//! The fold: one event after the other into a compact record.

use std::collections::BTreeSet;

use halfopen_core::event::{DropReason, EndReason, Event, LinkBooks, PacketInfo, Protocol, TcpFlags, TcpState};
use halfopen_core::{HostId, SimTime};

use crate::connections::{Connections, Mapping};
use crate::counts::{Counters, Counts};
use crate::gauges::Gauges;
use crate::names::Names;
use crate::ops::Ops;
use crate::phase::Timeline;

/// A host of the scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostInfo {
    pub(crate) host: HostId,
    pub(crate) name: String,
    pub(crate) upstream: bool,
}

/// Sizes of packets that a path let through and did not, in bytes from the IP header on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// The largest packet that arrived after the first one was dropped for its size.
    pub(crate) largest_delivered: u32,
    pub(crate) smallest_dropped: u32,
    pub(crate) largest_dropped: u32,
}

/// Everything that a run left behind.
#[derive(Clone, Debug)]
pub(crate) struct Fold {
    pub(crate) hosts: Vec<HostInfo>,
    pub(crate) timeline: Timeline,
    pub(crate) counters: Counters,
    pub(crate) ops: Ops,
    pub(crate) gauges: Gauges,
    pub(crate) connections: Connections,
    pub(crate) names: Names,
    pub(crate) sizes: Sizes,
    /// The phases of the load: when each began, and its op (`None`: idling).
    pub(crate) load: Vec<(SimTime, Option<String>)>,
    /// Things that a reader should know, in the order in which they happened.
    pub(crate) notes: Vec<String>,
    /// Books of links that do not balance: halfopen itself has failed.
    pub(crate) unbalanced: Vec<String>,
    pub(crate) end: Option<EndReason>,
    pub(crate) now: SimTime,
}

/// Where DNS servers listen (RFC 1035, section 4.2).
const DNS_PORT: u16 = 53;
/// Notes kept for the report; the rest is only counted.
const NOTES_MAX: usize = 20;

impl Fold {
    pub(crate) fn new(effectful: &BTreeSet<String>) -> Fold {
        Fold {
            hosts: Vec::new(),
            timeline: Timeline::new(),
            counters: Counters::default(),
            ops: Ops::new(effectful),
            gauges: Gauges::default(),
            connections: Connections::default(),
            names: Names::default(),
            sizes: Sizes::default(),
            load: Vec::new(),
            notes: Vec::new(),
            unbalanced: Vec::new(),
            end: None,
            now: SimTime::ZERO,
        }
    }

    /// The name of a host; its number where none was declared.
    pub(crate) fn host_name(&self, host: HostId) -> String {
        let known = self.hosts.iter().find(|info| info.host == host);
        known.map_or_else(|| host.to_string(), |info| info.name.clone())
    }

    pub(crate) fn event(&mut self, at: SimTime, event: &Event) {
        self.now = self.now.max(at);
        let at = self.now;
        self.timeline.on_event(at, event);
        self.network(at, event);
        self.inside(at, event);
        self.scenario(at, event);
        self.workload(at, event);
    }

    fn count(&mut self, host: Option<HostId>) -> &mut Counts {
        self.counters.of(self.timeline.current(), host)
    }

    /// The host that a packet on the network belongs to: its sender, or behind a NAT its receiver.
    fn host_of(&self, packet: &PacketInfo) -> Option<HostId> {
        let owner = |address| self.connections.owner(address);
        owner(packet.src.ip()).or_else(|| owner(packet.dst.ip()))
    }

    fn network(&mut self, at: SimTime, event: &Event) {
        match event {
            Event::PacketSent { host, packet } => {
                self.count(Some(*host)).sent += 1;
                if packet.protocol == Protocol::Udp && packet.dst.port() == DNS_PORT {
                    self.names.asked(*host);
                }
                let opens = packet.flags.has(TcpFlags::SYN) && !packet.flags.has(TcpFlags::ACK);
                if packet.payload > 0 || (packet.protocol == Protocol::Tcp && opens) {
                    let local = Some(packet.src).filter(|_| packet.protocol == Protocol::Tcp);
                    self.names.used(at, self.timeline.current(), *host, local, packet.dst);
                }
            }
            Event::PacketDelivered { host, packet } => {
                self.count(Some(*host)).delivered += 1;
                if packet.protocol == Protocol::Tcp && !packet.flags.has(TcpFlags::RST) {
                    self.connections.delivered(at, (*host, packet.dst, packet.src));
                }
                if self.sizes.largest_dropped > 0 {
                    self.sizes.largest_delivered = self.sizes.largest_delivered.max(packet.size);
                }
            }
            Event::PacketDropped { reason, packet, element: _, direction: _ } => {
                let host = self.host_of(packet);
                self.count(host).dropped(*reason);
                if matches!(reason, DropReason::TooBig | DropReason::TooBigSilent) {
                    let Sizes { smallest_dropped, largest_dropped, .. } = &mut self.sizes;
                    let first = *largest_dropped == 0;
                    *smallest_dropped = if first { packet.size } else { packet.size.min(*smallest_dropped) };
                    *largest_dropped = packet.size.max(*largest_dropped);
                }
            }
            Event::PacketDuplicated { packet, element: _ } => {
                let host = self.host_of(packet);
                self.count(host).duplicated += 1;
            }
            Event::PacketCorrupted { packet, element: _ } => {
                let host = self.host_of(packet);
                self.count(host).corrupted += 1;
            }
            Event::NatCreated { element, protocol, inner, outer, remote } => {
                let host = self.connections.owner(inner.ip());
                self.count(host).nat_created += 1;
                if *protocol == Protocol::Tcp {
                    let mapping = Mapping { element: *element, inner: *inner, outer: *outer, remote: *remote };
                    self.connections.entry_created(at, mapping);
                }
            }
            Event::NatEvicted { element, protocol, inner, outer, remote, reason, idle } => {
                let host = self.connections.owner(inner.ip());
                self.count(host).evicted(*reason);
                if *protocol == Protocol::Tcp {
                    let mapping = Mapping { element: *element, inner: *inner, outer: *outer, remote: *remote };
                    self.connections.entry_evicted(at, mapping, *reason, *idle);
                }
            }
            Event::LinkClosed { element, route, direction, books } if !books.balance() => {
                let LinkBooks { offered, duplicated, delivered, dropped, in_flight } = books;
                let dropped: u64 = dropped.iter().map(|(_, count)| count).sum();
                self.unbalanced.push(format!(
                    "the books of link {element} of route {route} ({direction:?}) do not balance: {offered} offered + \
                     {duplicated} duplicated, but {delivered} delivered + {dropped} dropped + {in_flight} in flight"
                ));
            }
            _ => {}
        }
    }

    fn inside(&mut self, at: SimTime, event: &Event) {
        match event {
            Event::TcpStateChanged { host, local, remote, from, to } => {
                let counts = self.count(Some(*host));
                counts.connects += u64::from(*to == TcpState::SynSent);
                counts.established += u64::from(*from == TcpState::SynSent && *to == TcpState::Established);
                self.connections.state_changed(at, (*host, *local, *remote), *from, *to);
            }
            Event::TcpRetransmit { host, kind, local: _, remote: _, seq: _, payload: _ } => {
                self.count(Some(*host)).retransmit(*kind);
            }
            Event::TcpProbe { host, kind, local: _, remote: _ } => self.count(Some(*host)).probe(*kind),
            Event::TcpFailed { host, local: _, remote: _, errno: _ } => self.count(Some(*host)).tcp_failed += 1,
            Event::PathMtu { host, remote: _, mtu: _ } => self.count(Some(*host)).mtu_learned += 1,
            Event::ListenOverflow { host, local: _ } => self.count(Some(*host)).listen_overflows += 1,
            Event::NameResolved { host, name, addresses, source, took: _, error } => {
                let counts = self.count(Some(*host));
                counts.lookups += 1;
                counts.lookup_failures += u64::from(error.is_some());
                self.names.resolved(at, *host, name, addresses, *source);
            }
            Event::Unsupported { host, call, errno } => {
                self.count(Some(*host)).unsupported += 1;
                let host = self.host_name(*host);
                self.note(format!("{host}: the system call {call} is not supported and was refused with {errno}"));
            }
            Event::HostStarted { host, restart } => self.count(Some(*host)).restarted += u64::from(*restart),
            Event::HostCrashed { host, power_loss } => {
                self.count(Some(*host)).crashed += 1;
                self.gauges.crashed(at, *host);
                if *power_loss {
                    self.connections.power_lost(at, *host);
                }
            }
            Event::HostExited { host, error: Some(error) } => {
                let host = self.host_name(*host);
                self.note(format!("{host}: its main failed at {at}: {error}"));
            }
            Event::HostPanicked { host, main, message } => {
                self.count(Some(*host)).panicked += 1;
                let (host, what) = (self.host_name(*host), if *main { "its main" } else { "a thread" });
                self.note(format!("{host}: {what} panicked at {at}: {message}"));
            }
            _ => {}
        }
    }

    fn scenario(&mut self, at: SimTime, event: &Event) {
        match event {
            Event::HostDeclared { host, name, addresses, upstream } => {
                self.hosts.push(HostInfo { host: *host, name: name.clone(), upstream: *upstream });
                self.connections.declare(*host, addresses);
            }
            Event::DnsRecord { name, addresses, ttl } => self.names.record(at, name, addresses, *ttl),
            Event::LoadPhase { index: _, op } => self.load.push((at, op.clone())),
            Event::RunEnded { reason } => {
                self.end.get_or_insert_with(|| reason.clone());
            }
            _ => {}
        }
    }

    fn workload(&mut self, at: SimTime, event: &Event) {
        let segment = self.timeline.current();
        match event {
            Event::OpStarted { host, op, name, deadline: _ } => self.ops.started(at, segment, *host, *op, name),
            Event::OpFinished { host: _, op, outcome } => self.ops.finished(at, *op, outcome),
            Event::AttemptStarted { host, attempt, op } => {
                self.ops.attempt_started(at, segment, *host, *attempt, *op);
            }
            Event::AttemptFinished { host, attempt, ok } => self.ops.attempt_finished(*host, *attempt, *ok),
            Event::Effect { host: _, op } => self.ops.effect(*op),
            Event::Gauge { host, name, value } => self.gauges.set(at, *host, name, *value),
            Event::PoolWait { host, waited } => self.gauges.waited(segment, *host, *waited),
            _ => {}
        }
    }

    /// Adds a note unless it was made before.
    pub(crate) fn note(&mut self, note: String) {
        if self.notes.len() < NOTES_MAX && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}
