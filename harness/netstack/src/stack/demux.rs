//! TCP segments and connections: which belongs to which, and what must be told after each touch.

use std::net::{IpAddr, SocketAddr};

use halfopen_core::SimTime;
use halfopen_core::event::{TcpFlags, TcpState};
use halfopen_fabric::packet::{Body, Packet, SeqNum, TcpSegment};

use super::flows::{Flow, FlowId, Owner, Seen, Tuple};
use super::ports::{Claim, Holder};
use super::{Netstack, Timer};
use crate::readiness::Readiness;
use crate::tcp::{Connection, Endpoint, Transmit};

impl Netstack {
    /// A segment for this host.
    pub(super) fn on_segment(&mut self, now: SimTime, local: IpAddr, remote: IpAddr, segment: &TcpSegment) {
        let tuple = Tuple {
            local: SocketAddr::new(local, segment.dst_port),
            remote: SocketAddr::new(remote, segment.src_port),
        };
        if let Some(id) = self.flows.find(&tuple) {
            if !self.gives_way(id, segment) {
                return self.on_flow_segment(now, id, segment);
            }
            self.forget_flow(id);
        }
        match self.find_listener(tuple.local, tuple.remote) {
            Some(listener) => self.on_listener_segment(now, listener, tuple, segment),
            None => self.send_reset(now, tuple, segment),
        }
    }

    /// Whether a connection in TIME-WAIT must go because this segment begins a new one.
    fn gives_way(&self, id: FlowId, segment: &TcpSegment) -> bool {
        let flow = self.flows.get(id);
        flow.connection.may_be_replaced_by(segment) && self.find_listener(flow.tuple.local, flow.tuple.remote).is_some()
    }

    fn on_flow_segment(&mut self, now: SimTime, id: FlowId, segment: &TcpSegment) {
        let flow = self.flows.get_mut(id);
        flow.note_segment(segment);
        if let Owner::SynQueue(listener) = flow.owner
            && self.listener(listener).is_full()
        {
            return self.on_segment_without_room(now, id, segment);
        }
        let has_data = !segment.payload.is_empty();
        let unread = |connection: &Connection| if has_data { connection.bytes_unread() } else { 0 };
        let arrived = self.with_flow(now, id, |connection| {
            let before = unread(connection);
            connection.on_segment(now, segment);
            unread(connection) > before
        });
        // Data on top of data moves no readiness bit, but is an edge for epoll all the same.
        if arrived {
            self.wake_owner(id);
        }
    }

    /// Does something to a connection and tells whoever must know what came of it. It may be gone afterwards.
    pub(super) fn with_flow<R>(&mut self, now: SimTime, id: FlowId, act: impl FnOnce(&mut Connection) -> R) -> R {
        let flow = self.flows.get_mut(id);
        let before = flow.seen();
        let result = act(&mut flow.connection);
        self.flows.queue(id);
        self.told = now;
        self.settle(now, id, before);
        result
    }

    /// The first look at a connection that has just been made.
    pub(super) fn settle_new(&mut self, now: SimTime, id: FlowId) {
        self.flows.queue(id);
        self.told = now;
        let state = self.flows.get(id).connection.state();
        self.settle(now, id, Seen { readiness: Readiness::NONE, state });
    }

    /// Compares a connection with what it was: events, wake-ups, its place in the tables, its alarm.
    fn settle(&mut self, now: SimTime, id: FlowId, before: Seen) {
        let flow = self.flows.get_mut(id);
        while let Some(event) = flow.connection.poll_event() {
            self.events.push_back(event);
        }
        let after = flow.seen();
        // A bit that goes makes nobody look again; one that comes is an edge, and so is a change of state, whatever
        // bits stand already (Linux sk_state_change: FIN-WAIT-2, the end of LAST-ACK, ...).
        if after.readiness.0 & !before.readiness.0 != 0 || after.state != before.state {
            self.wake_owner(id);
        }
        if after.state != before.state {
            self.on_state_changed(now, id, after.state);
        }
        self.set_alarm(id);
    }

    /// Sees to it that the stack looks at a connection when something is due there. An alarm that comes too early stays:
    /// a connection's deadlines mostly move on, with each segment, and an alarm only when it has come.
    pub(super) fn set_alarm(&mut self, id: FlowId) {
        let flow = self.flows.get_mut(id);
        let Some(deadline) = flow.connection.next_deadline() else { return };
        if flow.alarm.is_some_and(|alarm| alarm <= deadline) {
            return;
        }
        if let Some(late) = flow.alarm.replace(deadline) {
            self.timers.remove(&(late, Timer::Flow(id)));
        }
        self.timers.insert((deadline, Timer::Flow(id)));
    }

    fn on_state_changed(&mut self, now: SimTime, id: FlowId, state: TcpState) {
        if let Owner::SynQueue(listener) = self.flows.get(id).owner {
            self.on_half_open_changed(id, listener, state);
        }
        if let Owner::Orphan(Some(closed)) = self.flows.get(id).owner {
            self.wakeups.push(closed);
        }
        match state {
            TcpState::TimeWait => {
                // More than the limit are not kept (Linux `tcp_time_wait`): this one goes when its last ACK is sent.
                let count = self.flows.enter_time_wait(now, id);
                self.flows.get_mut(id).surplus = count > self.sysctls.tcp_max_tw_buckets as usize;
            }
            TcpState::Closed => self.unindex(id),
            _ => {}
        }
    }

    fn wake_owner(&mut self, id: FlowId) {
        if let Owner::Socket(socket) = self.flows.get(id).owner {
            self.wakeups.push(socket);
        }
    }

    /// Sends the next segment of the first connection in the queue, or finds that it has none.
    pub(super) fn transmit_queued(&mut self, now: SimTime, id: FlowId) {
        let flow = self.flows.get_mut(id);
        match flow.connection.poll_transmit(now) {
            // What was sent was decided before, and told: handing it out changes nothing.
            Some(transmit) => {
                let packet = packet_of(flow, transmit);
                self.send_segment(now, packet);
            }
            None => {
                self.flows.unqueue_first();
                self.bury(id);
            }
        }
    }

    fn send_segment(&mut self, now: SimTime, mut packet: Box<Packet>) {
        // A path that claims less than `min_pmtu` is fragmented on the way (Linux `ip_dont_fragment`).
        if self.known_path_mtu(now, packet.dst).is_some_and(|known| known.locked) {
            packet.dont_fragment = false;
        }
        let mtu = self.interface_mtu_towards(packet.dst);
        self.send_packet(now, packet, mtu);
    }

    /// Forgets a connection with which nobody has anything more to do.
    pub(super) fn bury(&mut self, id: FlowId) {
        let flow = self.flows.get(id);
        let over = flow.connection.is_finished() || flow.surplus;
        if over && matches!(flow.owner, Owner::Orphan(_)) {
            self.forget_flow(id);
        }
    }

    /// What a connection is told at its birth.
    pub(super) fn endpoint(&self, now: SimTime, tuple: Tuple) -> Endpoint {
        Endpoint {
            host: self.host,
            local: tuple.local,
            remote: tuple.remote,
            iss: self.secrets.initial_sequence(now, tuple),
            timestamp_offset: self.secrets.timestamp_offset(tuple),
            path_mtu: self.path_mtu_towards(now, tuple.remote.ip()),
        }
    }

    /// Takes a new connection into the tables.
    pub(super) fn add_flow(&mut self, flow: Flow, claim: Claim) -> FlowId {
        let port = flow.tuple.local.port();
        let id = self.flows.insert(flow);
        self.tcp_ports.hold(port, Holder::Flow(id), claim);
        id
    }

    /// The connection is closed: its tuple and its port are free.
    fn unindex(&mut self, id: FlowId) {
        let flow = self.flows.get(id);
        if flow.indexed {
            let port = flow.tuple.local.port();
            self.flows.unindex(id);
            self.tcp_ports.release(port, Holder::Flow(id));
        }
    }

    /// Takes a connection out of all tables without a word.
    pub(super) fn forget_flow(&mut self, id: FlowId) {
        self.unindex(id);
        let flow = self.flows.remove(id);
        if let Some(alarm) = flow.alarm {
            self.timers.remove(&(alarm, Timer::Flow(id)));
        }
        if let Owner::Orphan(Some(socket)) = flow.owner {
            self.orphans.remove(&socket);
            self.wakeups.push(socket);
        }
    }

    /// Answers a segment that belongs to no connection (RFC 9293, section 3.10.7.1). A reset is never answered.
    pub(super) fn send_reset(&mut self, now: SimTime, tuple: Tuple, segment: &TcpSegment) {
        if segment.flags.has(TcpFlags::RST) {
            return;
        }
        let (seq, ack, flags) = if segment.flags.has(TcpFlags::ACK) {
            (segment.ack, SeqNum(0), TcpFlags::RST)
        } else {
            (SeqNum(0), segment.seq.add(segment.sequence_len()), TcpFlags::RST.with(TcpFlags::ACK))
        };
        let Tuple { local, remote } = tuple;
        let (src_port, dst_port) = (local.port(), remote.port());
        let reset = TcpSegment { src_port, dst_port, seq, ack, flags, ..TcpSegment::default() };
        self.send_segment(
            now,
            Box::new(Packet {
                src: local.ip(),
                dst: remote.ip(),
                ttl: self.default_ttl(),
                id: 0,
                dont_fragment: true,
                ecn: 0,
                body: Body::Tcp(reset),
                corrupt: false,
            }),
        );
    }
}

/// The packet around a connection's segment.
fn packet_of(flow: &mut Flow, transmit: Transmit) -> Box<Packet> {
    let Transmit { segment, dont_fragment } = transmit;
    let id = u32::from(flow.next_ip_id);
    flow.next_ip_id = flow.next_ip_id.wrapping_add(1);
    Box::new(Packet {
        src: flow.tuple.local.ip(),
        dst: flow.tuple.remote.ip(),
        ttl: flow.ttl,
        id,
        dont_fragment,
        ecn: 0,
        body: Body::Tcp(segment),
        corrupt: false,
    })
}
