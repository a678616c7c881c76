//! The table of flows of a middlebox.
//!
//! A flow is found by what it looks like on either side. An idle entry costs nothing: each has one deadline in an
//! ordered set, which is looked at again only when it is reached (a packet that passes moves it only if it comes
//! nearer), so neither a packet nor an instant ever walks the table.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use halfopen_core::{SimDuration, SimTime};

use crate::config::{Refresh, Timeouts, Tracking};
use crate::conntrack::Connection;
use crate::packet::{Body, Packet, Protocol};

/// A flow's number within its table, never used again.
pub(crate) type FlowId = u64;

/// One flow. A firewall sees it alike on both sides: there `inner` and `outer` are the same.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub protocol: Protocol,
    /// The end on the inner side, as it is known there. ICMP echo has its identifier where others have a port.
    pub inner: SocketAddr,
    /// The same, as it is known outside.
    pub outer: SocketAddr,
    /// The end on the outer side.
    pub remote: SocketAddr,
    /// Whether the first packet came from the inner side.
    pub opened_by_inner: bool,
    /// The route on which the last packet came.
    pub route: usize,
    pub tcp: Option<Connection>,
    /// When any packet last passed.
    pub seen: SimTime,
    /// Packets passed in both directions.
    replied: bool,
    /// When a packet that counts last passed.
    refreshed: SimTime,
    timeout: SimDuration,
    /// When the table looks at it again: never later than its deadline.
    armed: SimTime,
}

impl Flow {
    pub(crate) fn deadline(&self) -> SimTime {
        self.refreshed + self.timeout
    }

    /// How long it may be idle as things stand.
    fn timeout_by(&self, timeouts: &Timeouts) -> SimDuration {
        match (&self.tcp, self.protocol) {
            (Some(connection), _) => connection.timeout(timeouts),
            (None, Protocol::Udp) if self.replied => timeouts.udp_stream,
            (None, Protocol::Udp) => timeouts.udp,
            (None, _) => timeouts.icmp,
        }
    }

    /// Whether it is a TCP connection that has ended.
    pub(crate) fn is_closing(&self) -> bool {
        self.tcp.as_ref().is_some_and(Connection::is_closing)
    }
}

/// What a new flow is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    pub protocol: Protocol,
    pub inner: SocketAddr,
    pub outer: SocketAddr,
    pub remote: SocketAddr,
    pub by_inner: bool,
    pub route: usize,
}

/// All flows of one middlebox.
#[derive(Debug)]
pub(crate) struct Tracker {
    config: Tracking,
    flows: BTreeMap<FlowId, Flow>,
    /// By (protocol, inner, remote).
    by_inner: BTreeMap<(Protocol, SocketAddr, SocketAddr), FlowId>,
    /// By (protocol, remote, outer): all flows to one remote stand together.
    by_outer: BTreeMap<(Protocol, SocketAddr, SocketAddr), FlowId>,
    /// How many flows there are to one remote.
    to_remote: BTreeMap<(Protocol, SocketAddr), u32>,
    deadlines: BTreeSet<(SimTime, FlowId)>,
    next_id: FlowId,
}

impl Tracker {
    pub(crate) fn new(config: Tracking) -> Tracker {
        Tracker {
            config,
            flows: BTreeMap::new(),
            by_inner: BTreeMap::new(),
            by_outer: BTreeMap::new(),
            to_remote: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            next_id: 0,
        }
    }

    pub(crate) fn config(&self) -> &Tracking {
        &self.config
    }

    pub(crate) fn is_full(&self) -> bool {
        self.flows.len() >= self.config.table_size as usize
    }

    pub(crate) fn flow(&self, id: FlowId) -> &Flow {
        &self.flows[&id]
    }

    pub(crate) fn find_by_inner(&self, protocol: Protocol, inner: SocketAddr, remote: SocketAddr) -> Option<FlowId> {
        self.by_inner.get(&(protocol, inner, remote)).copied()
    }

    pub(crate) fn find_by_outer(&self, protocol: Protocol, outer: SocketAddr, remote: SocketAddr) -> Option<FlowId> {
        self.by_outer.get(&(protocol, remote, outer)).copied()
    }

    /// How many flows there are to this remote.
    pub(crate) fn count_to(&self, protocol: Protocol, remote: SocketAddr) -> u32 {
        self.to_remote.get(&(protocol, remote)).copied().unwrap_or(0)
    }

    /// The outer addresses in use towards this remote, from `from` to `to`, in order.
    pub(crate) fn outers_to(
        &self,
        protocol: Protocol,
        remote: SocketAddr,
        from: SocketAddr,
        to: SocketAddr,
    ) -> impl Iterator<Item = SocketAddr> {
        self.by_outer.range((protocol, remote, from)..=(protocol, remote, to)).map(|((.., outer), _)| *outer)
    }

    /// Makes an entry for the flow that this packet begins.
    pub(crate) fn insert(&mut self, now: SimTime, opening: Opening, first: &Packet) -> FlowId {
        assert!(!self.is_full(), "the caller sees to it that there is room");
        let Opening { protocol, inner, outer, remote, by_inner, route } = opening;
        let id = self.next_id;
        self.next_id += 1;
        let tcp = match &first.body {
            Body::Tcp(segment) => Some(Connection::new(segment)),
            _ => None,
        };
        let mut flow = Flow {
            protocol,
            inner,
            outer,
            remote,
            opened_by_inner: by_inner,
            route,
            tcp,
            seen: now,
            replied: false,
            refreshed: now,
            timeout: SimDuration::ZERO,
            armed: now,
        };
        flow.timeout = flow.timeout_by(&self.config.timeouts);
        flow.armed = flow.deadline();
        self.deadlines.insert((flow.armed, id));
        let same_inner = self.by_inner.insert((protocol, inner, remote), id);
        let same_outer = self.by_outer.insert((protocol, remote, outer), id);
        assert!(same_inner.is_none() && same_outer.is_none(), "one entry for each flow, on either side");
        *self.to_remote.entry((protocol, remote)).or_default() += 1;
        self.flows.insert(id, flow);
        id
    }

    /// A packet of a flow passes.
    pub(crate) fn on_packet(&mut self, now: SimTime, id: FlowId, from_inner: bool, route: usize, packet: &Packet) {
        let flow = self.flows.get_mut(&id).expect("a flow that was just found");
        let original = from_inner == flow.opened_by_inner;
        flow.seen = now;
        flow.route = route;
        flow.replied |= !original;
        let counts = match (&mut flow.tcp, &packet.body) {
            (Some(connection), Body::Tcp(segment)) => connection.on_segment(original, segment),
            _ => true,
        };
        let refreshes = match self.config.refresh {
            Refresh::Both => true,
            Refresh::Outbound => from_inner,
            Refresh::Inbound => !from_inner,
        };
        if counts && refreshes {
            flow.refreshed = now;
        }
        flow.timeout = flow.timeout_by(&self.config.timeouts);
        let (armed, deadline) = (flow.armed, flow.deadline());
        if deadline < armed {
            flow.armed = deadline;
            self.deadlines.remove(&(armed, id));
            self.deadlines.insert((deadline, id));
        }
    }

    /// When to call [`Tracker::expire`] again.
    pub(crate) fn next_deadline(&self) -> Option<SimTime> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// Forgets the next flow that was idle for too long by `now`, if there is one.
    pub(crate) fn expire(&mut self, now: SimTime) -> Option<Flow> {
        while let Some(&(armed, id)) = self.deadlines.first()
            && armed <= now
        {
            let flow = self.flows.get_mut(&id).expect("every deadline has a flow");
            let deadline = flow.deadline();
            assert!(deadline >= armed, "a deadline that comes nearer is armed anew");
            if deadline <= now {
                return self.remove(id);
            }
            flow.armed = deadline;
            self.deadlines.remove(&(armed, id));
            self.deadlines.insert((deadline, id));
        }
        None
    }

    /// Forgets a flow.
    pub(crate) fn remove(&mut self, id: FlowId) -> Option<Flow> {
        let flow = self.flows.remove(&id)?;
        let armed = self.deadlines.remove(&(flow.armed, id));
        let inner = self.by_inner.remove(&(flow.protocol, flow.inner, flow.remote));
        let outer = self.by_outer.remove(&(flow.protocol, flow.remote, flow.outer));
        assert!(armed && inner == Some(id) && outer == Some(id), "an entry is known on both sides and has a deadline");
        let remote = (flow.protocol, flow.remote);
        let count = self.to_remote.get_mut(&remote).expect("a flow that was counted");
        *count -= 1;
        if *count == 0 {
            self.to_remote.remove(&remote);
        }
        Some(flow)
    }

    /// All flows, oldest first.
    pub(crate) fn flows(&self) -> impl Iterator<Item = (FlowId, &Flow)> {
        self.flows.iter().map(|(&id, flow)| (id, flow))
    }
}
