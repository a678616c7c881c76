//! The table of TCP connections: by tuple, by deadline, and in a queue where they have something to send.
//!
//! Each touch of a connection looks it up several times, so it is found by its slot and its tuple by a hash.
//!
//! A connection lives here from its first segment to the end of TIME-WAIT; a socket, a listener's queue or nobody owns
//! it. A connection that neither receives, nor is due, nor is called costs nothing.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use halfopen_core::event::{TcpFlags, TcpState};
use halfopen_core::{Index, SimTime};
use halfopen_fabric::packet::TcpSegment;

use crate::readiness::Readiness;
use crate::socket::{SocketId, SocketOptions};
use crate::tcp::Connection;

/// A connection of one stack. Never used again within a run; older ones come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct FlowId {
    serial: u64,
    /// Where it stands; used again after it is gone.
    slot: u32,
}

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
    /// Boxed, since a connection is large and slots move when there are more.
    slots: Vec<Option<(u64, Box<Flow>)>>,
    free: Vec<u32>,
    by_tuple: Index<Tuple, FlowId>,
    ready: VecDeque<FlowId>,
    next_serial: u64,
    time_waits: usize,
}

impl Flows {
    pub fn insert(&mut self, flow: Flow) -> FlowId {
        let serial = self.next_serial;
        self.next_serial += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        let id = FlowId { serial, slot };
        assert_eq!(self.by_tuple.insert(flow.tuple, id), None, "a tuple belongs to one connection");
        let empty = self.slots[slot as usize].replace((serial, Box::new(flow)));
        assert!(empty.is_none(), "a free slot holds nothing");
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

    pub fn remove(&mut self, id: FlowId) -> Box<Flow> {
        assert!(self.contains(id), "a flow that is in the table");
        let (_, flow) = self.slots[id.slot as usize].take().expect("just seen");
        self.free.push(id.slot);
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

    fn contains(&self, id: FlowId) -> bool {
        matches!(self.slots.get(id.slot as usize), Some(Some((serial, _))) if *serial == id.serial)
    }

    pub fn get(&self, id: FlowId) -> &Flow {
        match &self.slots[id.slot as usize] {
            Some((serial, flow)) if *serial == id.serial => flow,
            _ => panic!("{id:?} is not in the table"),
        }
    }

    pub fn get_mut(&mut self, id: FlowId) -> &mut Flow {
        match &mut self.slots[id.slot as usize] {
            Some((serial, flow)) if *serial == id.serial => flow,
            _ => panic!("{id:?} is not in the table"),
        }
    }

    /// The open connections with this remote address, or all, in the order of their tuples. Walks over all: for faults.
    pub fn with_remote(&self, remote: Option<IpAddr>) -> Vec<FlowId> {
        let open = self.slots.iter().enumerate().filter_map(|(slot, held)| {
            let (serial, flow) = held.as_ref()?;
            let meant = flow.indexed && remote.is_none_or(|remote| flow.tuple.remote.ip() == remote);
            meant.then_some((flow.tuple, FlowId { serial: *serial, slot: slot as u32 }))
        });
        let mut open: Vec<(Tuple, FlowId)> = open.collect();
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
            if self.contains(id) {
                return Some(id);
            }
            self.ready.pop_front();
        }
        None
    }

    /// The first has nothing more to send.
    pub fn unqueue_first(&mut self) {
        let id = self.ready.pop_front().expect("the queue has a first");
        if self.contains(id) {
            self.get_mut(id).queued = false;
        }
    }

    pub fn has_queued(&self) -> bool {
        !self.ready.is_empty()
    }

    pub fn clear(&mut self) {
        *self = Flows { next_serial: self.next_serial, ..Flows::default() };
    }
}
