//! The table of TCP connections: by tuple, by deadline, and in a queue where they have something to send.
//!
//! A connection lives here from its first segment to the end of TIME-WAIT; a socket, a listener's queue or nobody owns
//! it. A connection that neither receives, nor is due, nor is called costs nothing.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use halfopen_core::SimTime;
use halfopen_core::event::{TcpFlags, TcpState};
use halfopen_fabric::packet::TcpSegment;

use crate::readiness::Readiness;
use crate::socket::{SocketId, SocketOptions};
use crate::tcp::Connection;

/// A connection of one stack. Never used again within a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct FlowId(u64);

/// Both ends of a connection as this host sees them, canonical. Ordered by remote address first, so that all
/// connections with one other host stand together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Tuple {
    pub remote: SocketAddr,
    pub local: SocketAddr,
}

/// Who may call a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    Socket(SocketId),
    /// Half open, in the SYN queue of this listener.
    SynQueue(SocketId),
    /// Established, in the accept queue of this listener.
    AcceptQueue(SocketId),
    /// Nobody any more; the socket is the one that was closed (it may linger).
    Orphan(Option<SocketId>),
}

#[derive(Debug)]
pub(super) struct Flow {
    pub connection: Connection,
    pub tuple: Tuple,
    pub owner: Owner,
    /// As it stands in the set of deadlines.
    pub deadline: Option<SimTime>,
    /// It stands in the queue of those that may have something to send.
    queued: bool,
    /// Its tuple and its port are taken. A connection in CLOSED keeps neither.
    pub indexed: bool,
    pub ttl: u8,
    pub next_ip_id: u16,
    pub reuse_addr: bool,
    pub reuse_port: bool,
    pub time_wait_since: Option<SimTime>,
    /// One TIME-WAIT more than `tcp_max_tw_buckets` allows.
    pub surplus: bool,
    /// The other side's FIN carried a timestamp.
    pub peer_timestamps: bool,
}

/// What is compared before and after each touch, to find what must be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub readiness: Readiness,
    pub state: TcpState,
}

impl Flow {
    pub fn new(connection: Connection, tuple: Tuple, owner: Owner, options: &SocketOptions, ip_id: u16) -> Flow {
        Flow {
            connection,
            tuple,
            owner,
            deadline: None,
            queued: false,
            indexed: true,
            ttl: options.ttl,
            next_ip_id: ip_id,
            reuse_addr: options.reuse_addr,
            reuse_port: options.reuse_port,
            time_wait_since: None,
            surplus: false,
            peer_timestamps: false,
        }
    }

    pub fn seen(&self) -> Seen {
        Seen { readiness: self.connection.readiness(), state: self.connection.state() }
    }

    /// Remembers of the other side's FIN what TIME-WAIT must know.
    pub fn note_segment(&mut self, segment: &TcpSegment) {
        if segment.flags.has(TcpFlags::FIN) {
            self.peer_timestamps = segment.options.timestamps.is_some();
        }
    }
}

/// All connections of a stack.
#[derive(Debug, Default)]
pub(super) struct Flows {
    table: BTreeMap<FlowId, Flow>,
    by_tuple: BTreeMap<Tuple, FlowId>,
    ready: VecDeque<FlowId>,
    next_id: u64,
    time_waits: usize,
}

impl Flows {
    pub fn insert(&mut self, flow: Flow) -> FlowId {
        let id = FlowId(self.next_id);
        self.next_id += 1;
        assert_eq!(self.by_tuple.insert(flow.tuple, id), None, "a tuple belongs to one connection");
        self.table.insert(id, flow);
        id
    }

    /// Frees the tuple of a connection that is over.
    pub fn unindex(&mut self, id: FlowId) {
        let flow = self.table.get_mut(&id).expect("a flow that is in the table");
        assert!(flow.indexed, "{:?} is freed once", flow.tuple);
        flow.indexed = false;
        assert_eq!(self.by_tuple.remove(&flow.tuple), Some(id), "the tuple was its own");
    }

    pub fn remove(&mut self, id: FlowId) -> Flow {
        let flow = self.table.remove(&id).expect("a flow that is in the table");
        assert!(!flow.indexed, "{:?} was freed first", flow.tuple);
        self.time_waits -= usize::from(flow.time_wait_since.is_some());
        flow
    }

    /// Counts a connection that has come to TIME-WAIT. Gives how many there are now.
    pub fn enter_time_wait(&mut self, now: SimTime, id: FlowId) -> usize {
        let flow = self.table.get_mut(&id).expect("a flow that is in the table");
        assert!(flow.time_wait_since.replace(now).is_none(), "TIME-WAIT is entered once");
        self.time_waits += 1;
        self.time_waits
    }

    pub fn find(&self, tuple: &Tuple) -> Option<FlowId> {
        self.by_tuple.get(tuple).copied()
    }

    pub fn get(&self, id: FlowId) -> &Flow {
        self.table.get(&id).expect("a flow that is in the table")
    }

    pub fn get_mut(&mut self, id: FlowId) -> &mut Flow {
        self.table.get_mut(&id).expect("a flow that is in the table")
    }

    /// The open connections with this remote address, or all, in the order of their tuples.
    pub fn with_remote(&self, remote: Option<IpAddr>) -> Vec<FlowId> {
        let Some(remote) = remote else { return self.by_tuple.values().copied().collect() };
        let first = Tuple { remote: SocketAddr::new(remote, 0), local: (Ipv4Addr::UNSPECIFIED, 0).into() };
        let open = self.by_tuple.range(first..).take_while(|(tuple, _)| tuple.remote.ip() == remote);
        open.map(|(_, &id)| id).collect()
    }

    /// It may have something to send.
    pub fn queue(&mut self, id: FlowId) {
        let flow = self.table.get_mut(&id).expect("a flow that is in the table");
        if !flow.queued {
            flow.queued = true;
            self.ready.push_back(id);
        }
    }

    /// The first that may have something to send.
    pub fn first_queued(&mut self) -> Option<FlowId> {
        while let Some(&id) = self.ready.front() {
            if self.table.contains_key(&id) {
                return Some(id);
            }
            self.ready.pop_front();
        }
        None
    }

    /// The first has nothing more to send.
    pub fn unqueue_first(&mut self) {
        let id = self.ready.pop_front().expect("the queue has a first");
        if let Some(flow) = self.table.get_mut(&id) {
            flow.queued = false;
        }
    }

    pub fn has_queued(&self) -> bool {
        !self.ready.is_empty()
    }

    pub fn clear(&mut self) {
        *self = Flows { next_id: self.next_id, ..Flows::default() };
    }
}
