//! One host's IP stack: its sockets, its connections, and what it says to the network.
//!
//! [`Netstack`] is driven by four verbs on the network's side ([`Netstack::on_packet`], [`Netstack::on_timer`],
//! [`Netstack::poll_transmit`], [`Netstack::next_deadline`], of which [`Netstack::quiet_until`] is a cheap lower bound)
//! and by the program's calls, none of which blocks. After any of them, [`Netstack::poll_transmit`],
//! [`Netstack::poll_wakeup`] and [`Netstack::poll_event`] tell what came of it, until each says `None`.
//!
//! Suggested reading order: `table` (what a socket is), `flows` (what a connection is besides its state machine),
//! `demux` (which segment belongs to which), `calls`, `listener`, `udp`, `ip`, `icmp`, `pmtu`, `neighbour`.
//!
//! Left out: SYN cookies (half-open connections keep their state instead), multicast, IP options, routing tables (a host
//! has one interface, and every address of a family that it has is reachable), neighbours that answer and are lost later.
//!
//! **Invariant:** no call and no packet sweeps over sockets or connections: each touches those that it concerns, and
//! timers stand in one ordered set. **Invariant:** what a host sends to itself goes through a queue and is received in
//! a later step of the same loop, never by a call from within the sender's.

mod address;
mod calls;
mod demux;
mod flows;
mod icmp;
mod ip;
mod listener;
mod neighbour;
mod pmtu;
mod ports;
mod secrets;
mod table;
mod udp;
mod wake;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use halfopen_core::event::TcpState;
use halfopen_core::{Errno, Event, HostId, SimTime, Slots, Stream};
use halfopen_fabric::packet::Packet;
use halfopen_fabric::reassembly::Reassembler;

use self::flows::{FlowId, Flows};
use self::listener::Listeners;
use self::neighbour::Neighbours;
use self::pmtu::PathMtus;
use self::ports::Ports;
use self::secrets::Secrets;
use self::table::{Role, Socket, TcpRole};
use self::udp::Udp;
use self::wake::WakeQueue;
use crate::readiness::Readiness;
use crate::socket::{Family, Kind, Shutdown, SocketId, SocketOptions};
use crate::sysctl::Sysctls;
use crate::tcp::TcpInfo;

pub use self::neighbour::SilentLink;

/// What a host's stack is told at its birth.
#[derive(Debug)]
pub struct StackConfig {
    /// Whose stack it is.
    pub host: HostId,
    /// The addresses of its one interface besides loopback.
    pub addresses: Vec<IpAddr>,
    /// MTU of that interface in bytes; 1500 by default.
    pub interface_mtu: u32,
    /// The host's settings.
    pub sysctls: Sysctls,
    /// Initial sequence numbers, ephemeral ports, timestamp offsets.
    pub random: Stream,
}

/// Something that is due at an instant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    Flow(FlowId),
    PathMtu(IpAddr),
    Neighbour(IpAddr),
}

/// One host's IP stack: all its sockets, and no thread of its own.
#[derive(Debug)]
pub struct Netstack {
    host: HostId,
    addresses: Vec<IpAddr>,
    interface_mtu: u32,
    sysctls: Sysctls,
    secrets: Secrets,
    /// By what is in their [`SocketId`].
    sockets: Slots<Socket>,
    /// Closed sockets whose connection lives on.
    orphans: BTreeMap<SocketId, FlowId>,
    listeners: Listeners,
    tcp_ports: Ports,
    udp_ports: Ports,
    flows: Flows,
    timers: BTreeSet<(SimTime, Timer)>,
    path_mtus: PathMtus,
    neighbours: Neighbours,
    reassembly: Reassembler,
    icmp_limit: icmp::RateLimit,
    packet_id: u32,
    /// Packets for the network.
    outbox: VecDeque<Box<Packet>>,
    /// Packets for the host itself.
    loopback: VecDeque<Box<Packet>>,
    /// The time when work last came in that waits for [`Netstack::poll_transmit`] or [`Netstack::on_timer`].
    told: SimTime,
    wakeups: WakeQueue,
    events: VecDeque<Event>,
}

impl Netstack {
    /// A stack without sockets.
    pub fn new(config: StackConfig) -> Netstack {
        let StackConfig { host, addresses, interface_mtu, sysctls, random } = config;
        Netstack {
            host,
            addresses: addresses.into_iter().map(address::canonical_ip).collect(),
            interface_mtu,
            sysctls,
            secrets: Secrets::new(random),
            sockets: Slots::default(),
            orphans: BTreeMap::new(),
            listeners: Listeners::default(),
            tcp_ports: Ports::default(),
            udp_ports: Ports::default(),
            flows: Flows::default(),
            timers: BTreeSet::new(),
            path_mtus: PathMtus::default(),
            neighbours: Neighbours::default(),
            reassembly: Reassembler::default(),
            icmp_limit: icmp::RateLimit::default(),
            packet_id: 0,
            outbox: VecDeque::new(),
            loopback: VecDeque::new(),
            told: SimTime::ZERO,
            wakeups: WakeQueue::default(),
            events: VecDeque::new(),
        }
    }

    // ---- the network's side ----

    /// A packet came from the network.
    pub fn on_packet(&mut self, now: SimTime, packet: impl Into<Box<Packet>>) {
        self.receive_from_network(now, packet.into());
    }

    /// Does what is due at `now`, loopback traffic included.
    pub fn on_timer(&mut self, now: SimTime) {
        while let Some(&(deadline, timer)) = self.timers.first()
            && deadline <= now
        {
            self.timers.pop_first();
            match timer {
                Timer::Flow(id) => {
                    let flow = self.flows.get_mut(id);
                    flow.alarm = None;
                    if flow.connection.next_deadline().is_some_and(|due| due <= now) {
                        self.with_flow(now, id, |connection| connection.on_timer(now));
                    } else {
                        self.set_alarm(id);
                    }
                }
                Timer::PathMtu(remote) => self.forget_path_mtu(now, remote),
                Timer::Neighbour(neighbour) => self.give_up_neighbour(now, neighbour),
            }
        }
        if self.reassembly.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.expire_fragments(now);
        }
        while self.step(now) {}
    }

    /// The next packet for the network. Loopback traffic never comes out here: the stack keeps it.
    pub fn poll_transmit(&mut self, now: SimTime) -> Option<Box<Packet>> {
        loop {
            if let Some(packet) = self.outbox.pop_front() {
                return Some(packet);
            }
            if !self.step(now) {
                return None;
            }
        }
    }

    /// Lets one connection send one segment, or receives one packet of loopback. Gives whether there was anything.
    fn step(&mut self, now: SimTime) -> bool {
        if let Some(flow) = self.flows.first_queued() {
            self.transmit_queued(now, flow);
            true
        } else if let Some(packet) = self.loopback.pop_front() {
            self.receive(now, &packet);
            true
        } else {
            false
        }
    }

    /// When [`Netstack::on_timer`] must be called if nothing else happens before.
    pub fn next_deadline(&mut self) -> Option<SimTime> {
        // Alarms that come too early are put where they belong.
        while let Some(&(alarm, Timer::Flow(id))) = self.timers.first()
            && self.flows.get(id).connection.next_deadline() != Some(alarm)
        {
            self.timers.pop_first();
            self.flows.get_mut(id).alarm = None;
            self.set_alarm(id);
        }
        self.quiet_until()
    }

    /// An instant before which [`Netstack::on_timer`] has nothing to do, `None` if it never will: cheap, and not always
    /// the last such one, which is [`Netstack::next_deadline`].
    pub fn quiet_until(&self) -> Option<SimTime> {
        let work = (self.flows.has_queued() || !self.loopback.is_empty()).then_some(self.told);
        let timer = self.timers.first().map(|&(deadline, _)| deadline);
        [work, timer, self.reassembly.next_deadline()].into_iter().flatten().min()
    }

    /// A socket on which something changed since the last call (new data, room, an error, the end): poll, epoll and
    /// blocked calls look again. One that changed twice comes once. A closed socket comes when its connection moves
    /// on, for a `close` that lingers.
    pub fn poll_wakeup(&mut self) -> Option<SocketId> {
        self.wakeups.pop()
    }

    /// The next event for the log.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    // ---- the program's calls; none blocks: EAGAIN where it would, EINPROGRESS for connect ----

    /// A new socket with the host's default options.
    ///
    /// # Errors
    /// None today: every family and kind that can be named is there.
    pub fn socket(&mut self, family: Family, kind: Kind) -> Result<SocketId, Errno> {
        let role = match kind {
            Kind::Tcp => Role::Tcp(TcpRole::Idle),
            Kind::Udp => Role::Udp(Udp::default()),
        };
        let options = self.initial_options();
        Ok(self.add_socket(family, role, options))
    }

    /// Takes a local address; port 0 asks for any.
    ///
    /// # Errors
    /// EADDRINUSE; EADDRNOTAVAIL for an address that is not the host's; EINVAL if it is bound already; EAFNOSUPPORT or
    /// EINVAL for an address of the wrong family.
    pub fn bind(&mut self, now: SimTime, socket: SocketId, address: SocketAddr) -> Result<(), Errno> {
        let _ = now;
        self.bind_socket(socket, address)
    }

    /// Listens, or changes the backlog of one that does.
    ///
    /// # Errors
    /// EADDRINUSE if another socket listens there; EOPNOTSUPP for UDP; EINVAL for one that is connected.
    pub fn listen(&mut self, now: SimTime, socket: SocketId, backlog: i32) -> Result<(), Errno> {
        let _ = now;
        self.listen_on(socket, backlog)
    }

    /// TCP: starts and says EINPROGRESS (or how it ended: a second call says EALREADY, Ok once, EISCONN, or the
    /// error). UDP: sets the peer; `None` (AF_UNSPEC) clears it.
    ///
    /// # Errors
    /// Besides those: ENETUNREACH without a route; EADDRNOTAVAIL without a free port.
    pub fn connect(&mut self, now: SimTime, socket: SocketId, address: Option<SocketAddr>) -> Result<(), Errno> {
        match self.socket_ref(socket).kind() {
            Kind::Tcp => self.tcp_connect(now, socket, address),
            Kind::Udp => self.udp_connect(socket, address),
        }
    }

    /// Takes the first connection of the accept queue, and the address of its other end.
    ///
    /// # Errors
    /// EAGAIN while the queue is empty; EINVAL for one that does not listen; EOPNOTSUPP for UDP.
    pub fn accept(&mut self, now: SimTime, socket: SocketId) -> Result<(SocketId, SocketAddr), Errno> {
        let _ = now;
        match &self.socket_ref(socket).role {
            Role::Udp(_) => Err(Errno::EOPNOTSUPP),
            Role::Tcp(TcpRole::Listening(_)) => self.take_accepted(socket),
            Role::Tcp(_) => Err(Errno::EINVAL),
        }
    }

    /// Sends; gives how many bytes were taken. `to` is for UDP (and ignored on TCP).
    ///
    /// # Errors
    /// TCP: EAGAIN while the buffer is full or the handshake goes on; EPIPE or the waiting error. UDP: EDESTADDRREQ
    /// without a peer; EMSGSIZE; the waiting error; EACCES for broadcasts; ENETUNREACH without a route.
    pub fn send(
        &mut self,
        now: SimTime,
        socket: SocketId,
        data: &[u8],
        to: Option<SocketAddr>,
    ) -> Result<usize, Errno> {
        match self.socket_ref(socket).kind() {
            Kind::Tcp => self.tcp_send(now, socket, data),
            Kind::Udp => self.udp_send(now, socket, data, to),
        }
    }

    /// Receives: a stretch of the stream, or one datagram (what does not fit is lost). `peek` leaves it there.
    ///
    /// # Errors
    /// EAGAIN while there is nothing; ENOTCONN for TCP that was never connected; the waiting error.
    pub fn recv(&mut self, now: SimTime, socket: SocketId, buffer: &mut [u8], peek: bool) -> Result<Received, Errno> {
        match self.socket_ref(socket).kind() {
            Kind::Tcp => self.tcp_recv(now, socket, buffer, peek),
            Kind::Udp => self.udp_recv(socket, buffer, peek),
        }
    }

    /// Ends one direction or both.
    ///
    /// # Errors
    /// ENOTCONN where there is no peer (UDP is shut down all the same).
    pub fn shutdown(&mut self, now: SimTime, socket: SocketId, how: Shutdown) -> Result<(), Errno> {
        match self.socket_ref(socket).kind() {
            Kind::Tcp => self.tcp_shutdown(now, socket, how),
            Kind::Udp => self.udp_shutdown(socket, how),
        }
    }

    /// The last descriptor went. With SO_LINGER the kernel waits on [`Netstack::is_lingering`].
    pub fn close(&mut self, now: SimTime, socket: SocketId) {
        self.close_socket(now, socket);
    }

    /// Whether a closed socket still has data or a FIN that was not acknowledged.
    pub fn is_lingering(&self, socket: SocketId) -> bool {
        self.orphans.get(&socket).is_some_and(|&flow| self.flows.get(flow).connection.is_lingering())
    }

    /// The socket's options.
    pub fn options(&self, socket: SocketId) -> &SocketOptions {
        &self.socket_ref(socket).options
    }

    /// Sets all of the socket's options.
    pub fn set_options(&mut self, now: SimTime, socket: SocketId, options: SocketOptions) {
        let record = self.socket_mut(socket);
        record.options = options.clone();
        let Some(flow) = record.flow() else { return };
        let shared = self.flows.get_mut(flow);
        shared.ttl = options.ttl;
        shared.reuse_addr = options.reuse_addr;
        shared.reuse_port = options.reuse_port;
        self.with_flow(now, flow, |connection| connection.set_options(now, &options));
    }

    /// SO_ERROR: takes the waiting error, or the soft one that an ICMP error left.
    pub fn take_error(&mut self, socket: SocketId) -> Option<Errno> {
        match &mut self.socket_mut(socket).role {
            Role::Udp(udp) => udp.take_error(),
            Role::Tcp(TcpRole::Stream { flow, .. }) => {
                let flow = *flow;
                let connection = &mut self.flows.get_mut(flow).connection;
                connection.take_error().or_else(|| connection.take_soft_error())
            }
            Role::Tcp(_) => None,
        }
    }

    /// What poll would say now.
    pub fn readiness(&self, socket: SocketId) -> Readiness {
        let record = self.socket_ref(socket);
        let queued = if record.icmp_queued { Readiness::ERR } else { Readiness::NONE };
        let ready = match &record.role {
            Role::Udp(udp) => udp.readiness(),
            Role::Tcp(TcpRole::Stream { flow, .. }) => self.flows.get(*flow).connection.readiness(),
            Role::Tcp(TcpRole::Listening(listener)) if listener.accept_queue.is_empty() => Readiness::NONE,
            Role::Tcp(TcpRole::Listening(_)) => Readiness::IN,
            Role::Tcp(TcpRole::Idle) => Readiness::OUT.with(Readiness::HUP),
        };
        ready.with(queued)
    }

    /// getsockname: the wildcard and port 0 where it has none yet.
    pub fn local_address(&self, socket: SocketId) -> SocketAddr {
        let record = self.socket_ref(socket);
        let local = match (record.flow(), &record.bound) {
            (Some(flow), _) => self.flows.get(flow).tuple.local,
            (None, Some(bound)) => SocketAddr::new(bound.scope.ip, bound.port),
            (None, None) => SocketAddr::new(address::wildcard(record.family), 0),
        };
        address::presented(record.family, local)
    }

    /// getpeername.
    ///
    /// # Errors
    /// ENOTCONN before the handshake is done, and once the connection is closed.
    pub fn peer_address(&self, socket: SocketId) -> Result<SocketAddr, Errno> {
        let record = self.socket_ref(socket);
        let peer = match &record.role {
            Role::Udp(udp) => udp.peer,
            Role::Tcp(TcpRole::Stream { flow, .. }) => {
                let flow = self.flows.get(*flow);
                let known =
                    !matches!(flow.connection.state(), TcpState::SynSent | TcpState::TimeWait | TcpState::Closed);
                known.then_some(flow.tuple.remote)
            }
            Role::Tcp(_) => None,
        };
        peer.map(|peer| address::presented(record.family, peer)).ok_or(Errno::ENOTCONN)
    }

    /// SO_ACCEPTCONN.
    pub fn is_listening(&self, socket: SocketId) -> bool {
        self.socket_ref(socket).is_listening()
    }

    /// TCP_INFO, SIOCINQ, SIOCOUTQ; `None` for UDP and for TCP that was never connected.
    pub fn tcp_info(&self, socket: SocketId) -> Option<TcpInfo> {
        self.socket_ref(socket).flow().map(|flow| self.flows.get(flow).connection.info())
    }

    /// SIOCINQ (FIONREAD): bytes of the stream, or of the first datagram.
    pub fn bytes_unread(&self, socket: SocketId) -> usize {
        match &self.socket_ref(socket).role {
            Role::Udp(udp) => udp.first_len(),
            Role::Tcp(TcpRole::Stream { flow, .. }) => self.flows.get(*flow).connection.bytes_unread(),
            Role::Tcp(_) => 0,
        }
    }

    /// IP_MTU: the path MTU towards the peer; `None` without one.
    pub fn path_mtu(&self, socket: SocketId) -> Option<u32> {
        match &self.socket_ref(socket).role {
            Role::Udp(udp) => udp.peer.map(|peer| self.path_mtu_towards(self.told, peer.ip())),
            Role::Tcp(_) => self.tcp_info(socket).map(|info| info.path_mtu),
        }
    }

    // ---- the host's side ----

    /// The addresses of the interface besides loopback.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The process was killed: every socket is closed as the kernel closes them (RST where data is unread).
    pub fn kill_all(&mut self, now: SimTime) {
        let sockets: Vec<SocketId> = self.sockets.oldest_first().into_iter().map(|(key, _)| SocketId(key)).collect();
        for socket in sockets {
            self.close_socket(now, socket);
        }
    }

    /// Power loss: everything is forgotten, nothing is sent. What the log has not yet fetched stays.
    pub fn power_loss(&mut self) {
        self.sockets.clear();
        self.orphans.clear();
        self.listeners.clear();
        self.tcp_ports.clear();
        self.udp_ports.clear();
        self.flows.clear();
        self.timers.clear();
        self.path_mtus.clear();
        self.neighbours.clear();
        self.reassembly = Reassembler::default();
        self.icmp_limit = icmp::RateLimit::default();
        self.outbox.clear();
        self.loopback.clear();
        self.wakeups.clear();
    }

    /// A `reset` fault: RST to both ends of established connections with this remote (all if `None`).
    pub fn reset_flows(&mut self, now: SimTime, remote: Option<IpAddr>) {
        for id in self.flows.with_remote(remote.map(address::canonical_ip)) {
            let established = matches!(
                self.flows.get(id).connection.state(),
                TcpState::Established | TcpState::CloseWait | TcpState::FinWait1 | TcpState::FinWait2
            );
            if established {
                self.with_flow(now, id, |connection| connection.reset_both(now));
            }
        }
    }

    /// Tells of a part of the host's own link at which nobody answers.
    pub fn set_silent_link(&mut self, silent: SilentLink) {
        self.neighbours.silent = Some(silent);
    }

    /// Changes the host's settings; what exists keeps what it copied at its birth.
    pub fn set_sysctls(&mut self, sysctls: Sysctls) {
        self.sysctls = sysctls;
    }
}

/// What `recv` took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Bytes copied; 0 at the end of a stream.
    pub len: usize,
    /// UDP: the datagram's whole length (MSG_TRUNC).
    pub full_len: usize,
    /// UDP: who sent it. TCP: the peer.
    pub from: SocketAddr,
}
