//! The table of TCP connections: by tuple, and in a queue where they have something to send.
//!
//! Each touch of a connection looks it up several times, so it is found by its slot and its tuple by a hash.
//!
//! A connection lives here from its first segment to the end of TIME-WAIT; a socket, a listener's queue or nobody owns
//! it. A connection that neither receives, nor is due, nor is called costs nothing.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use halfopen_core::event::{TcpFlags, TcpState};
use halfopen_core::slots::Key;
use halfopen_core::{Index, SimTime, Slots};
use halfopen_fabric::packet::TcpSegment;

use crate::readiness::Readiness;
use crate::socket::{SocketId, SocketOptions};
use crate::tcp::Connection;

/// A connection of one stack. Never used again within a run; older ones come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct FlowId(Key);

/// Both ends of a connection as this host sees them, canonical. Ordered by remote address first, so that all
/// connections with one other host stand together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
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
    /// Where it stands in the set of alarms: never later than its next deadline.
    pub alarm: Option<SimTime>,
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
            alarm: None,
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
    /// By what is in their [`FlowId`].
    all: Slots<Flow>,
    by_tuple: Index<Tuple, FlowId>,
    ready: VecDeque<FlowId>,
    time_waits: usize,
}

impl Flows {
    pub fn insert(&mut self, flow: Flow) -> FlowId {
        let tuple = flow.tuple;
        let id = FlowId(self.all.insert(flow));
        assert_eq!(self.by_tuple.insert(tuple, id), None, "a tuple belongs to one connection");
        id
    }

    /// Frees the tuple of a connection that is over.
    pub fn unindex(&mut self, id: FlowId) {
        let flow = self.get_mut(id);
        assert!(flow.indexed, "{:?} is freed once", flow.tuple);
        flow.indexed = false;
        let tuple = flow.tuple;
        assert_eq!(self.by_tuple.remove(&tuple), Some(id), "the tuple was its own");
    }

    pub fn remove(&mut self, id: FlowId) -> Flow {
        let flow = self.all.remove(id.0).expect("a flow that is in the table");
        assert!(!flow.indexed, "{:?} was freed first", flow.tuple);
        self.time_waits -= usize::from(flow.time_wait_since.is_some());
        flow
    }

    /// Counts a connection that has come to TIME-WAIT. Gives how many there are now.
    pub fn enter_time_wait(&mut self, now: SimTime, id: FlowId) -> usize {
        assert!(self.get_mut(id).time_wait_since.replace(now).is_none(), "TIME-WAIT is entered once");
        self.time_waits += 1;
        self.time_waits
    }

    pub fn find(&self, tuple: &Tuple) -> Option<FlowId> {
        self.by_tuple.get(tuple).copied()
    }

    pub fn get(&self, id: FlowId) -> &Flow {
        self.all.get(id.0).unwrap_or_else(|| panic!("{id:?} is not in the table"))
    }

    pub fn get_mut(&mut self, id: FlowId) -> &mut Flow {
        self.all.get_mut(id.0).unwrap_or_else(|| panic!("{id:?} is not in the table"))
    }

    /// The open connections with this remote address, or all, in the order of their tuples. Walks over all: for faults.
    pub fn with_remote(&self, remote: Option<IpAddr>) -> Vec<FlowId> {
        let meant = |flow: &Flow| flow.indexed && remote.is_none_or(|remote| flow.tuple.remote.ip() == remote);
        let all = self.all.oldest_first().into_iter();
        let mut open: Vec<(Tuple, FlowId)> =
            all.filter(|(_, flow)| meant(flow)).map(|(key, flow)| (flow.tuple, FlowId(key))).collect();
        open.sort_unstable();
        open.into_iter().map(|(_, id)| id).collect()
    }

    /// It may have something to send.
    pub fn queue(&mut self, id: FlowId) {
        let flow = self.get_mut(id);
        if !flow.queued {
            flow.queued = true;
            self.ready.push_back(id);
        }
    }

    /// The first that may have something to send.
    pub fn first_queued(&mut self) -> Option<FlowId> {
        while let Some(&id) = self.ready.front() {
            if self.all.contains(id.0) {
                return Some(id);
            }
            self.ready.pop_front();
        }
        None
    }

    /// The first has nothing more to send.
    pub fn unqueue_first(&mut self) {
        let id = self.ready.pop_front().expect("the queue has a first");
        if self.all.contains(id.0) {
            self.get_mut(id).queued = false;
        }
    }

    pub fn has_queued(&self) -> bool {
        !self.ready.is_empty()
    }

    pub fn clear(&mut self) {
        self.all.clear();
        *self = Flows { all: std::mem::take(&mut self.all), ..Flows::default() };
    }
}
