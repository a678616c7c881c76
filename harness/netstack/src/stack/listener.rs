//! Listening sockets: which one a SYN is for, the SYN queue, the accept queue, and what happens when they are full.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use halfopen_core::event::{TcpFlags, TcpState};
use halfopen_core::{Errno, Event, SimTime};
use halfopen_fabric::packet::TcpSegment;

use super::Netstack;
use super::address;
use super::flows::{Flow, FlowId, Owner, Tuple};
use super::ports::Claim;
use super::table::{Role, TcpRole};
use crate::socket::SocketId;
use crate::tcp::Connection;

/// The queues of one listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    /// As `listen` gave it, bounded by `somaxconn`. A queue of n holds n + 1 (Linux `sk_acceptq_is_full`).
    pub backlog: u32,
    pub half_open: BTreeSet<FlowId>,
    pub accept_queue: VecDeque<FlowId>,
}

impl Listener {
    pub fn new(backlog: u32) -> Listener {
        Listener { backlog, half_open: BTreeSet::new(), accept_queue: VecDeque::new() }
    }

    pub fn is_full(&self) -> bool {
        self.accept_queue.len() > self.backlog as usize
    }
}

/// The listening sockets by port, in the order in which they began to listen.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    by_port: BTreeMap<u16, Vec<SocketId>>,
}

impl Listeners {
    pub fn add(&mut self, port: u16, socket: SocketId) {
        self.by_port.entry(port).or_default().push(socket);
    }

    pub fn remove(&mut self, port: u16, socket: SocketId) {
        let sockets = self.by_port.get_mut(&port).expect("a listener's port has listeners");
        let place = sockets.iter().position(|&other| other == socket).expect("a listener is in its port's list");
        sockets.remove(place);
        if sockets.is_empty() {
            self.by_port.remove(&port);
        }
    }

    pub fn on_port(&self, port: u16) -> &[SocketId] {
        self.by_port.get(&port).map_or(&[], Vec::as_slice)
    }

    pub fn clear(&mut self) {
        self.by_port.clear();
    }
}

impl Netstack {
    /// The listener for a connection from `remote` to `local`: the best fit, and within a SO_REUSEPORT group the one
    /// that a hash of the tuple picks.
    pub(super) fn find_listener(&self, local: SocketAddr, remote: SocketAddr) -> Option<SocketId> {
        let fits = |id: SocketId| self.socket_ref(id).bound.as_ref().and_then(|bound| bound.scope.fit(local.ip()));
        let candidates = self.listeners.on_port(local.port());
        let best = candidates.iter().filter_map(|&id| fits(id)).max()?;
        let mut group = candidates.iter().copied().filter(|&id| fits(id) == Some(best));
        match group.clone().count() {
            1 => group.next(),
            n => group.nth((self.secrets.tuple_hash("reuseport", local, remote) % n as u64) as usize),
        }
    }

    pub(super) fn listener(&self, socket: SocketId) -> &Listener {
        match &self.socket_ref(socket).role {
            Role::Tcp(TcpRole::Listening(listener)) => listener,
            role => panic!("{socket:?} is no listener but {role:?}"),
        }
    }

    pub(super) fn listener_mut(&mut self, socket: SocketId) -> &mut Listener {
        match &mut self.socket_mut(socket).role {
            Role::Tcp(TcpRole::Listening(listener)) => listener,
            role => panic!("{socket:?} is no listener but {role:?}"),
        }
    }

    /// A segment for a listener that belongs to no connection (RFC 9293, section 3.10.7.2).
    pub(super) fn on_listener_segment(&mut self, now: SimTime, listener: SocketId, tuple: Tuple, segment: &TcpSegment) {
        if segment.flags.has(TcpFlags::RST) {
            return;
        }
        if segment.flags.has(TcpFlags::ACK) {
            return self.send_reset(now, tuple, segment);
        }
        if !segment.flags.has(TcpFlags::SYN) || segment.flags.has(TcpFlags::FIN) {
            return;
        }
        let queues = self.listener(listener);
        if queues.is_full() {
            return self.report_overflow(tuple.local);
        }
        // Linux would send SYN cookies from `backlog` on, which keeps no state and serves the client all the same;
        // here the state is kept, up to the limit that holds without cookies.
        if queues.half_open.len() >= self.sysctls.tcp_max_syn_backlog as usize {
            return self.report_overflow(tuple.local);
        }
        self.begin_passive_open(now, listener, tuple, segment);
    }

    fn begin_passive_open(&mut self, now: SimTime, listener: SocketId, tuple: Tuple, syn: &TcpSegment) {
        let endpoint = self.endpoint(now, tuple);
        let options = &self.socket_ref(listener).options;
        let connection = Connection::accept(now, endpoint, &self.sysctls, options, syn);
        let ip_id = self.secrets.first_ip_id(tuple);
        let flow = Flow::new(connection, tuple, Owner::SynQueue(listener), options, ip_id);
        let id = self.add_flow(flow, Claim::Bound);
        self.listener_mut(listener).half_open.insert(id);
        self.settle_new(now, id);
    }

    /// A segment for a half-open connection while the accept queue is full: if it completes the handshake, it might as
    /// well not have come (or, with `tcp_abort_on_overflow`, ends the connection).
    pub(super) fn on_segment_without_room(&mut self, now: SimTime, flow: FlowId, segment: &TcpSegment) {
        let abort = self.sysctls.tcp_abort_on_overflow;
        let tuple = self.flows.get(flow).tuple;
        let overflows = self.with_flow(now, flow, |connection| {
            connection.on_segment(now, segment);
            let overflows = !matches!(connection.state(), TcpState::SynReceived | TcpState::Closed);
            match (overflows, abort) {
                (false, _) => {}
                (true, false) => connection.on_accept_queue_full(now),
                (true, true) => connection.on_accept_queue_refuses(now),
            }
            overflows
        });
        if overflows {
            self.report_overflow(tuple.local);
        }
        if overflows && abort {
            self.send_reset(now, tuple, segment);
        }
    }

    fn report_overflow(&mut self, local: SocketAddr) {
        self.events.push_back(Event::ListenOverflow { host: self.host, local });
    }

    /// A half-open connection changed state: established goes to the accept queue, anything else is forgotten.
    pub(super) fn on_half_open_changed(&mut self, flow: FlowId, listener: SocketId, state: TcpState) {
        match state {
            TcpState::SynReceived => {}
            TcpState::Closed => {
                self.listener_mut(listener).half_open.remove(&flow);
                self.flows.get_mut(flow).owner = Owner::Orphan(None);
            }
            _ => {
                let queues = self.listener_mut(listener);
                assert!(queues.half_open.remove(&flow), "what was half open is in the SYN queue");
                assert!(!queues.is_full(), "room was checked before the last ACK was taken");
                queues.accept_queue.push_back(flow);
                self.flows.get_mut(flow).owner = Owner::AcceptQueue(listener);
                self.wakeups.push(listener);
            }
        }
    }

    /// Takes the first connection of the accept queue.
    pub(super) fn take_accepted(&mut self, socket: SocketId) -> Result<(SocketId, SocketAddr), Errno> {
        let family = self.socket_ref(socket).family;
        let flow = self.listener_mut(socket).accept_queue.pop_front().ok_or(Errno::EAGAIN)?;
        let options = self.socket_ref(socket).options.clone();
        let accepted = self.add_socket(family, Role::Tcp(TcpRole::connected(flow)), options);
        let record = self.flows.get_mut(flow);
        record.owner = Owner::Socket(accepted);
        let remote = record.tuple.remote;
        Ok((accepted, address::presented(family, remote)))
    }

    /// The listener goes: connections that nobody accepted are reset, half-open ones are forgotten without a word
    /// (their next segment finds nobody and is answered with RST).
    pub(super) fn stop_listening(&mut self, now: SimTime, socket: SocketId) {
        let port = self.socket_ref(socket).bound.as_ref().expect("a listener is bound").port;
        let Role::Tcp(role) = &mut self.socket_mut(socket).role else { panic!("{socket:?} is no TCP socket") };
        let TcpRole::Listening(queues) = std::mem::replace(role, TcpRole::Idle) else {
            panic!("{socket:?} is no listener")
        };
        self.listeners.remove(port, socket);
        for flow in queues.half_open {
            self.forget_flow(flow);
        }
        for flow in queues.accept_queue {
            self.disown(now, flow);
        }
    }
}
