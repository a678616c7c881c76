//! Both ends of every TCP connection, the NATs between, and for how long only one side believed in it.
//!
//! A connection is **half open** while at least one end is ESTABLISHED and either the other end is gone (closed, reset
//! or crashed) or a NAT or firewall on the way has forgotten the flow. An end in CLOSE-WAIT or FIN-WAIT-1 is not a
//! believer: it knows that the connection is ending. An end that was never seen is not counted as gone: a handshake
//! that stops half-way is no half-open connection.
//!
//! A NAT that has its entry back heals the connection, if the entry is the same. Firewalls do not tell when they let a
//! flow in again: there, a packet that arrives after all shows it.
//!
//! Whatever lasts no longer than [`HALF_OPEN_GRACE`] is a FIN or RST on its way, not a broken belief.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use halfopen_core::event::{EvictReason, TcpState};
use halfopen_core::id::ElementId;
use halfopen_core::{HostId, Index, SimDuration, SimTime};

use crate::phase::View;

/// How long a close may travel before the other end counts as mistaken: longer than any one-way latency that a
/// terrestrial or geostationary path has (about 300 ms), even with one retransmission on top.
pub const HALF_OPEN_GRACE: SimDuration = SimDuration::from_secs(1);

/// The longest chain of NATs and firewalls that a connection is followed through.
const CHAIN_MAX: usize = 8;

/// One entry of one NAT or firewall.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Mapping {
    pub(crate) element: ElementId,
    pub(crate) inner: SocketAddr,
    pub(crate) outer: SocketAddr,
    pub(crate) remote: SocketAddr,
}

impl Mapping {
    /// A firewall's: it passes addresses on as they are.
    fn is_firewall(&self) -> bool {
        self.inner == self.outer
    }
}

pub(crate) type EndKey = (HostId, SocketAddr, SocketAddr);

/// By local and remote address: the connection, and on which side of it.
type Ends = Index<(SocketAddr, SocketAddr), (usize, usize)>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct End {
    host: HostId,
    /// `None`: gone.
    state: Option<TcpState>,
}

#[derive(Clone, Debug)]
struct Connection {
    /// The end that was seen first (the one that opened it), and the other.
    ends: [Option<End>; 2],
    /// The entries on its way that are forgotten, and since when.
    forgotten: BTreeMap<Mapping, SimTime>,
    half_open_since: Option<SimTime>,
}

impl Connection {
    fn is_half_open(&self) -> bool {
        let ends = || self.ends.iter().flatten();
        let believed = ends().any(|end| end.state == Some(TcpState::Established));
        let gone = ends().any(|end| end.state.is_none());
        believed && (gone || !self.forgotten.is_empty())
    }
}

/// A time for which a connection was half open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HalfOpen {
    pub(crate) connection: usize,
    pub(crate) hosts: Vec<HostId>,
    pub(crate) from: SimTime,
    /// `None`: it still was when the run ended.
    pub(crate) to: Option<SimTime>,
    /// A NAT or firewall had forgotten it, rather than the other end.
    pub(crate) by_middlebox: bool,
}

/// A connection that somebody believed in when a NAT or firewall forgot it for having been idle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdleLoss {
    pub(crate) at: SimTime,
    pub(crate) idle: SimDuration,
}

/// All TCP connections of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections {
    owners: BTreeMap<IpAddr, HostId>,
    connections: Vec<Connection>,
    /// The ends that are there, by host: the connection of each, and on which side of it.
    live: BTreeMap<HostId, Ends>,
    /// The entries that exist now, by how the server side sees the client and the server.
    entries: BTreeMap<(SocketAddr, SocketAddr), Vec<Mapping>>,
    /// The latest connection that passes each entry.
    passing: BTreeMap<Mapping, usize>,
    /// Connections that a firewall has forgotten.
    barred: BTreeSet<usize>,
    pub(crate) half_open: Vec<HalfOpen>,
    pub(crate) idle_losses: Vec<IdleLoss>,
}

impl Connections {
    pub(crate) fn declare(&mut self, host: HostId, addresses: &[IpAddr]) {
        self.owners.extend(addresses.iter().map(|address| (*address, host)));
    }

    /// The connection that a live end belongs to, and on which side.
    fn place(&self, (host, local, remote): EndKey) -> Option<(usize, usize)> {
        self.live.get(&host)?.get(&(local, remote)).copied()
    }

    /// The host with this address, if it is a host's own.
    pub(crate) fn owner(&self, address: IpAddr) -> Option<HostId> {
        self.owners.get(&address).copied()
    }

    pub(crate) fn state_changed(&mut self, at: SimTime, (host, local, remote): EndKey, from: TcpState, to: TcpState) {
        let key = (host, local, remote);
        if to == TcpState::Listen || (from == TcpState::Listen && to == TcpState::Closed) {
            return;
        }
        let begins = matches!(from, TcpState::Closed | TcpState::Listen);
        if begins {
            self.set_state(at, key, None);
        }
        if to != TcpState::Closed && self.place(key).is_none() {
            self.attach(key);
        }
        self.set_state(at, key, Some(to).filter(|state| *state != TcpState::Closed));
    }

    /// A host lost its memory: all its ends are gone, and nobody was told.
    pub(crate) fn power_lost(&mut self, at: SimTime, host: HostId) {
        if self.live.remove(&host).is_none() {
            return;
        }
        for index in 0..self.connections.len() {
            let mut lost = false;
            for end in self.connections[index].ends.iter_mut().flatten().filter(|end| end.host == host) {
                lost |= end.state.take().is_some();
            }
            if lost {
                self.weigh(at, index);
            }
        }
    }

    pub(crate) fn entry_created(&mut self, at: SimTime, mapping: Mapping) {
        let entries = self.entries.entry((mapping.outer, mapping.remote)).or_default();
        if !entries.contains(&mapping) {
            entries.push(mapping);
        }
        if let Some(connection) = self.passing.get(&mapping).copied() {
            self.connections[connection].forgotten.remove(&mapping);
            self.weigh(at, connection);
        }
    }

    pub(crate) fn entry_evicted(&mut self, at: SimTime, mapping: Mapping, reason: EvictReason, idle: SimDuration) {
        if let Some(entries) = self.entries.get_mut(&(mapping.outer, mapping.remote)) {
            entries.retain(|entry| *entry != mapping);
            if entries.is_empty() {
                self.entries.remove(&(mapping.outer, mapping.remote));
            }
        }
        let Some(index) = self.passing.get(&mapping).copied().or_else(|| self.through(mapping)) else { return };
        if mapping.is_firewall() {
            self.barred.insert(index);
        }
        let connection = &mut self.connections[index];
        connection.forgotten.insert(mapping, at);
        let believed = connection.ends.iter().flatten().any(|end| end.state == Some(TcpState::Established));
        if believed && reason == EvictReason::Idle {
            self.idle_losses.push(IdleLoss { at, idle });
        }
        self.weigh(at, index);
    }

    /// A packet arrived: what a firewall had forgotten passes it again, unless the packet was under way all the time.
    pub(crate) fn delivered(&mut self, at: SimTime, key: EndKey) {
        if self.barred.is_empty() {
            return;
        }
        let Some((index, _)) = self.place(key).filter(|(index, _)| self.barred.contains(index)) else {
            return;
        };
        let shut = |mapping: &Mapping, since: SimTime| !mapping.is_firewall() || at.since(since) <= HALF_OPEN_GRACE;
        let forgotten = &mut self.connections[index].forgotten;
        forgotten.retain(|mapping, since| shut(mapping, *since));
        if forgotten.keys().all(|mapping| !mapping.is_firewall()) {
            self.barred.remove(&index);
        }
        self.weigh(at, index);
    }

    /// The live connection that an entry belongs to which nobody told of when it was made.
    fn through(&self, mapping: Mapping) -> Option<usize> {
        let either_way = [(mapping.inner, mapping.remote), (mapping.remote, mapping.inner)];
        either_way.into_iter().find_map(|(client, server)| {
            let (origin, _) = self.origin(client, server);
            let (connection, _) = self.place((self.owner(origin.ip())?, origin, server))?;
            Some(connection)
        })
    }

    /// Gives a new end its connection: the one whose other end is already there, or a new one.
    fn attach(&mut self, key: EndKey) {
        let (host, local, remote) = key;
        let end = Some(End { host, state: None });
        let (origin, chain) = self.origin(remote, local);
        let peer_host = if local.ip().is_loopback() { Some(host) } else { self.owner(origin.ip()) };
        let peer = peer_host.and_then(|peer| self.place((peer, origin, local)));
        let place = match peer {
            Some((connection, side)) if self.connections[connection].ends[1 - side].is_none() => {
                self.connections[connection].ends[1 - side] = end;
                self.passing.extend(chain.into_iter().map(|mapping| (mapping, connection)));
                (connection, 1 - side)
            }
            _ => {
                let forgotten = BTreeMap::new();
                self.connections.push(Connection { ends: [end, None], forgotten, half_open_since: None });
                (self.connections.len() - 1, 0)
            }
        };
        self.live.entry(host).or_default().insert((local, remote), place);
    }

    /// Follows the entries back from how a server sees its client to how the client sees itself.
    fn origin(&self, client: SocketAddr, server: SocketAddr) -> (SocketAddr, Vec<Mapping>) {
        let mut current = client;
        let mut chain: Vec<Mapping> = Vec::new();
        for _ in 0..CHAIN_MAX {
            let entries = self.entries.get(&(current, server)).map_or(&[][..], Vec::as_slice);
            let fresh = |mapping: &&Mapping| chain.iter().all(|passed| passed.element != mapping.element);
            let new: Vec<Mapping> = entries.iter().filter(fresh).copied().collect();
            let Some(last) = new.last() else { break };
            let translated = new.iter().find(|mapping| mapping.inner != current).map_or(last.inner, |m| m.inner);
            chain.extend(new.iter().filter(|mapping| mapping.inner == current || mapping.inner == translated));
            current = translated;
        }
        (current, chain)
    }

    fn set_state(&mut self, at: SimTime, key: EndKey, state: Option<TcpState>) {
        let (host, local, remote) = key;
        let Some(ends) = self.live.get_mut(&host) else { return };
        let place = if state.is_none() { ends.remove(&(local, remote)) } else { ends.get(&(local, remote)).copied() };
        let Some((connection, side)) = place else { return };
        if let Some(end) = &mut self.connections[connection].ends[side] {
            end.state = state;
        }
        self.weigh(at, connection);
    }

    /// Notes when a connection becomes half open and when it ceases to be.
    fn weigh(&mut self, at: SimTime, index: usize) {
        let connection = &mut self.connections[index];
        match (connection.half_open_since, connection.is_half_open()) {
            (None, true) => connection.half_open_since = Some(at),
            (Some(from), false) => {
                connection.half_open_since = None;
                let found = HalfOpen { to: Some(at), ..half_open(index, connection, from) };
                self.half_open.extend(Some(found).filter(|found| at.since(found.from) > HALF_OPEN_GRACE));
            }
            _ => {}
        }
    }

    /// Closes the books: what is half open now stays so.
    pub(crate) fn finish(&mut self, run_end: SimTime) {
        for (index, connection) in self.connections.iter().enumerate() {
            if let Some(from) = connection.half_open_since.filter(|from| run_end.since(*from) > HALF_OPEN_GRACE) {
                self.half_open.push(half_open(index, connection, from));
            }
        }
        self.half_open.sort_by_key(|found| (found.from, found.connection));
    }

    /// The half-open times that touch the view, each cut to its longest part inside, in nanoseconds.
    pub(crate) fn half_open_in<'a>(
        &'a self,
        view: &'a View,
        run_end: SimTime,
    ) -> impl Iterator<Item = (&'a HalfOpen, u64)> {
        self.half_open.iter().filter_map(move |found| {
            let ours = view.hosts.is_none() || found.hosts.iter().any(|host| view.has_host(*host));
            let longest = view.clip(found.from, found.to.unwrap_or(run_end)).max();
            longest.filter(|_| ours).map(|longest| (found, longest))
        })
    }
}

fn half_open(index: usize, connection: &Connection, from: SimTime) -> HalfOpen {
    let mut hosts: Vec<HostId> = connection.ends.iter().flatten().map(|end| end.host).collect();
    hosts.dedup();
    HalfOpen { connection: index, hosts, from, to: None, by_middlebox: !connection.forgotten.is_empty() }
}
