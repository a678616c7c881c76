//! The program's calls: bind, listen, connect, accept, send, recv, shutdown, close.

use std::net::{IpAddr, SocketAddr};

use halfopen_core::event::TcpState;
use halfopen_core::{Errno, Event, SimTime};

use super::address::{self, LocalScope, Purpose};
use super::flows::{Flow, FlowId, Owner, Tuple};
use super::listener::Listener;
use super::ports::{Claim, Holder, PortSpan, Ports};
use super::table::{Bound, Phase, Role, Socket, TcpRole};
use super::{Netstack, Received};
use crate::socket::{Family, Kind, MtuDiscover, Shutdown, SocketId, SocketOptions};
use crate::tcp::Connection;

/// What stands in the way of a connection's tuple.
enum TupleUse {
    Free,
    /// A TIME-WAIT that may be given up for it.
    Replaces(FlowId),
    Taken,
}

impl Netstack {
    pub(super) fn socket_ref(&self, id: SocketId) -> &Socket {
        self.sockets.get(id.0).unwrap_or_else(|| panic!("{id:?} is no socket of {}", self.host))
    }

    pub(super) fn socket_mut(&mut self, id: SocketId) -> &mut Socket {
        let host = self.host;
        self.sockets.get_mut(id.0).unwrap_or_else(|| panic!("{id:?} is no socket of {host}"))
    }

    pub(super) fn add_socket(&mut self, family: Family, role: Role, options: SocketOptions) -> SocketId {
        SocketId(self.sockets.insert(Socket { family, options, bound: None, icmp_queued: false, role }))
    }

    /// The options that a new socket has before its program sets any.
    pub(super) fn initial_options(&self) -> SocketOptions {
        // Linux `inet_create`: a host that does no path-MTU discovery starts its sockets without DF.
        let mtu_discover = if self.sysctls.ip_no_pmtu_disc == 0 { MtuDiscover::Want } else { MtuDiscover::Dont };
        SocketOptions { ttl: self.default_ttl(), mtu_discover, ..SocketOptions::default() }
    }

    fn ports(&self, kind: Kind) -> &Ports {
        match kind {
            Kind::Tcp => &self.tcp_ports,
            Kind::Udp => &self.udp_ports,
        }
    }

    fn ports_mut(&mut self, kind: Kind) -> &mut Ports {
        match kind {
            Kind::Tcp => &mut self.tcp_ports,
            Kind::Udp => &mut self.udp_ports,
        }
    }

    /// The socket takes a port.
    pub(super) fn hold(&mut self, socket: SocketId, bound: Bound) {
        let record = self.socket_mut(socket);
        let kind = record.kind();
        assert!(record.bound.replace(bound).is_none(), "a socket is bound once");
        self.ports_mut(kind).hold(bound.port, Holder::Socket(socket), Claim::Bound);
    }

    /// The socket gives its port back.
    fn release(&mut self, socket: SocketId) {
        let record = self.socket_mut(socket);
        let kind = record.kind();
        if let Some(bound) = record.bound.take() {
            self.ports_mut(kind).release(bound.port, Holder::Socket(socket));
        }
    }

    // ---- bind ----

    pub(super) fn bind_socket(&mut self, socket: SocketId, requested: SocketAddr) -> Result<(), Errno> {
        let record = self.socket_ref(socket);
        let only_v6 = record.options.only_v6;
        let local = address::accepted(Purpose::Bind, record.family, record.kind(), only_v6, requested)?;
        let ip = local.ip();
        match ip {
            IpAddr::V6(v6) if v6.is_multicast() && record.kind() == Kind::Tcp => return Err(Errno::EINVAL),
            ip if ip.is_unspecified() || ip.is_multicast() || address::is_broadcast(ip) || self.is_local(ip) => {}
            _ if self.sysctls.ip_nonlocal_bind => {}
            _ => return Err(Errno::EADDRNOTAVAIL),
        }
        if record.bound.is_some() || !matches!(record.role, Role::Udp(_) | Role::Tcp(TcpRole::Idle)) {
            return Err(Errno::EINVAL);
        }
        // A program that binds to `::ffff:0.0.0.0` asks for IPv4 alone.
        let scope = LocalScope { ip, dual: ip.is_ipv6() && ip.is_unspecified() && !only_v6 };
        let port = match local.port() {
            0 => self.find_open_port(socket, scope).ok_or(Errno::EADDRINUSE)?,
            port if self.conflicts(socket, scope, port, true) => return Err(Errno::EADDRINUSE),
            port => port,
        };
        self.hold(socket, Bound { scope, requested: scope, port, by_program: true });
        Ok(())
    }

    /// A free port for a socket that asked for none in particular (Linux `inet_csk_find_open_port`: of a TCP socket with
    /// SO_REUSEADDR in the lower half of the range first; `udp_lib_get_port`: any). One draw.
    pub(super) fn find_open_port(&mut self, socket: SocketId, scope: LocalScope) -> Option<u16> {
        let range = PortSpan::ephemeral(&self.sysctls);
        let start = self.secrets.bind_scan_start(range.len());
        let free = |port: &u16| !self.conflicts(socket, scope, *port, false);
        let record = self.socket_ref(socket);
        match record.kind() {
            Kind::Udp => range.rotate(start).find(free),
            Kind::Tcp if record.options.reuse_addr => {
                range.halves().into_iter().flat_map(|half| half.scan(start | 1)).find(free)
            }
            Kind::Tcp => range.scan(start | 1).find(free),
        }
    }

    /// Whether somebody who holds this port keeps the socket from having it too (Linux `inet_bind_conflict`,
    /// `udp_lib_lport_inuse`). `relaxed`: the options for sharing count, which they do not where any port will do.
    fn conflicts(&self, socket: SocketId, scope: LocalScope, port: u16, relaxed: bool) -> bool {
        let own = &self.socket_ref(socket).options;
        let kind = self.socket_ref(socket).kind();
        self.ports(kind).holders(port).filter_map(|holder| self.holding(holder, socket)).any(|other| {
            let shared = own.reuse_addr && other.reuse_addr && !other.listens || own.reuse_port && other.reuse_port;
            scope.overlaps(other.scope) && !(relaxed && shared)
        })
    }

    /// How a port is held; `None` by what belongs to `asking` itself.
    fn holding(&self, holder: Holder, asking: SocketId) -> Option<Holding> {
        let at = |flow: &Flow| LocalScope { ip: flow.tuple.local.ip(), dual: false };
        match holder {
            Holder::Socket(id) => {
                let other = self.socket_ref(id);
                let bound = other.bound.as_ref().expect("a holder is bound").scope;
                (id != asking).then(|| Holding {
                    scope: other.flow().map_or(bound, |flow| at(self.flows.get(flow))),
                    reuse_addr: other.options.reuse_addr,
                    reuse_port: other.options.reuse_port,
                    listens: other.is_listening(),
                })
            }
            Holder::Flow(id) => {
                let flow = self.flows.get(id);
                (flow.owner != Owner::Socket(asking)).then(|| Holding {
                    scope: at(flow),
                    reuse_addr: flow.reuse_addr,
                    reuse_port: flow.reuse_port,
                    listens: false,
                })
            }
        }
    }

    // ---- listen and accept ----

    pub(super) fn listen_on(&mut self, socket: SocketId, backlog: i32) -> Result<(), Errno> {
        // A negative backlog is a huge one, as Linux compares it unsigned.
        let backlog = (backlog as u32).min(self.sysctls.somaxconn);
        match &mut self.socket_mut(socket).role {
            Role::Udp(_) => return Err(Errno::EOPNOTSUPP),
            Role::Tcp(TcpRole::Stream { .. }) => return Err(Errno::EINVAL),
            Role::Tcp(TcpRole::Listening(listener)) => {
                listener.backlog = backlog;
                return Ok(());
            }
            Role::Tcp(TcpRole::Idle) => {}
        }
        self.autobind(socket).map_err(|_| Errno::EADDRINUSE)?;
        let bound = *self.socket_ref(socket).bound.as_ref().expect("just bound");
        // Another with SO_REUSEADDR may have been bound here and begun to listen in the meantime.
        if self.conflicts(socket, bound.scope, bound.port, true) {
            return Err(Errno::EADDRINUSE);
        }
        self.socket_mut(socket).role = Role::Tcp(TcpRole::Listening(Listener::new(backlog)));
        self.listeners.add(bound.port, socket);
        self.wakeups.push(socket);
        self.events.push_back(Event::Listening { host: self.host, local: self.local_address(socket) });
        Ok(())
    }

    // ---- connect ----

    pub(super) fn tcp_connect(&mut self, now: SimTime, socket: SocketId, to: Option<SocketAddr>) -> Result<(), Errno> {
        let Some(to) = to else {
            self.tcp_disconnect(now, socket);
            return Ok(());
        };
        let Role::Tcp(role) = &self.socket_ref(socket).role else { panic!("{socket:?} is no TCP socket") };
        match role {
            TcpRole::Listening(_) | TcpRole::Stream { phase: Phase::Connected, .. } => Err(Errno::EISCONN),
            TcpRole::Stream { flow, phase: Phase::Connecting } => self.how_connect_ended(now, socket, *flow),
            TcpRole::Idle => self.begin_active_open(now, socket, to),
        }
    }

    /// A second `connect` while the first was in progress (Linux `__inet_stream_connect`).
    fn how_connect_ended(&mut self, now: SimTime, socket: SocketId, flow: FlowId) -> Result<(), Errno> {
        let connection = &mut self.flows.get_mut(flow).connection;
        match connection.state() {
            TcpState::SynSent | TcpState::SynReceived => Err(Errno::EALREADY),
            TcpState::Closed => {
                let error = connection.take_error().unwrap_or(Errno::ECONNABORTED);
                self.detach(now, socket);
                Err(error)
            }
            _ => {
                self.socket_mut(socket).role = Role::Tcp(TcpRole::connected(flow));
                Ok(())
            }
        }
    }

    fn begin_active_open(&mut self, now: SimTime, socket: SocketId, to: SocketAddr) -> Result<(), Errno> {
        let record = self.socket_ref(socket);
        let to = address::accepted(Purpose::Reach, record.family, Kind::Tcp, record.options.only_v6, to)?;
        let remote = address::destination(to);
        let any = LocalScope::any(record.family, record.options.only_v6);
        let scope = record.bound.map_or(any, |bound| bound.scope);
        let source = self.source_address(scope, remote.ip())?;
        let (tuple, claim) = match self.socket_ref(socket).bound.as_ref().map(|bound| bound.port) {
            Some(port) => {
                let tuple = Tuple { local: SocketAddr::new(source, port), remote };
                (self.claim_tuple(now, tuple, true).then_some(tuple), Claim::Bound)
            }
            None => (self.pick_tuple(now, source, remote), Claim::Picked),
        };
        let tuple = tuple.ok_or(Errno::EADDRNOTAVAIL)?;
        let endpoint = self.endpoint(now, tuple);
        let options = &self.socket_ref(socket).options;
        let connection = Connection::connect(now, endpoint, &self.sysctls, options);
        let flow = Flow::new(connection, tuple, Owner::Socket(socket), options, self.secrets.first_ip_id(tuple));
        let id = self.add_flow(flow, claim);
        self.socket_mut(socket).role = Role::Tcp(TcpRole::Stream { flow: id, phase: Phase::Connecting });
        self.settle_new(now, id);
        Err(Errno::EINPROGRESS)
    }

    /// The first tuple towards `remote` that is free, over all ephemeral ports. One draw.
    fn pick_tuple(&mut self, now: SimTime, source: IpAddr, remote: SocketAddr) -> Option<Tuple> {
        let range = PortSpan::ephemeral(&self.sysctls);
        let start = self.secrets.connect_scan_start(source, remote, range.len());
        range.scan(start).find_map(|port| {
            let tuple = Tuple { local: SocketAddr::new(source, port), remote };
            (self.tcp_ports.may_be_picked(port) && self.claim_tuple(now, tuple, false)).then_some(tuple)
        })
    }

    /// Whether a new connection may have this tuple; a TIME-WAIT that stands in its way goes.
    fn claim_tuple(&mut self, now: SimTime, tuple: Tuple, port_is_bound: bool) -> bool {
        match self.tuple_use(now, tuple, port_is_bound) {
            TupleUse::Free => true,
            TupleUse::Taken => false,
            TupleUse::Replaces(old) => {
                self.forget_flow(old);
                true
            }
        }
    }

    /// Linux `__inet_check_established` and `tcp_twsk_unique`: with timestamps on both sides a TIME-WAIT may be given
    /// up: at once for a socket whose program bound the port, else by `tcp_tw_reuse` and after `tcp_tw_reuse_delay`.
    fn tuple_use(&self, now: SimTime, tuple: Tuple, port_is_bound: bool) -> TupleUse {
        let Some(id) = self.flows.find(&tuple) else { return TupleUse::Free };
        let flow = self.flows.get(id);
        let Some(since) = flow.time_wait_since else { return TupleUse::Taken };
        let allowed = match self.sysctls.tcp_tw_reuse {
            0 => false,
            1 => true,
            _ => self.is_local(tuple.remote.ip()),
        };
        let old_enough = now.since(since) > self.sysctls.tcp_tw_reuse_delay;
        let orphan = matches!(flow.owner, Owner::Orphan(_));
        if orphan && flow.peer_timestamps && (port_is_bound || allowed && old_enough) {
            TupleUse::Replaces(id)
        } else {
            TupleUse::Taken
        }
    }

    /// `connect(AF_UNSPEC)`: back to a socket that was never connected nor listened; the other side gets a RST.
    fn tcp_disconnect(&mut self, now: SimTime, socket: SocketId) {
        match &self.socket_ref(socket).role {
            Role::Tcp(TcpRole::Listening(_)) => self.stop_listening(now, socket),
            Role::Tcp(TcpRole::Stream { .. }) => self.detach(now, socket),
            _ => {}
        }
        if self.socket_ref(socket).bound.is_some_and(|bound| !bound.by_program) {
            self.release(socket);
        }
        self.wakeups.push(socket);
    }

    /// The socket lets go of its connection, which ends at once.
    fn detach(&mut self, now: SimTime, socket: SocketId) {
        let flow = self.socket_ref(socket).flow().expect("a socket with a connection");
        self.socket_mut(socket).role = Role::Tcp(TcpRole::Idle);
        self.disown(now, flow);
        self.wakeups.push(socket);
    }

    /// Resets a connection that no program will ever see again.
    pub(super) fn disown(&mut self, now: SimTime, flow: FlowId) {
        self.flows.get_mut(flow).owner = Owner::Orphan(None);
        self.with_flow(now, flow, |connection| {
            connection.abort(now);
            connection.close(now);
        });
    }

    // ---- data ----

    pub(super) fn tcp_send(&mut self, now: SimTime, socket: SocketId, data: &[u8]) -> Result<usize, Errno> {
        match self.socket_ref(socket).flow() {
            Some(flow) => self.with_flow(now, flow, |connection| connection.send(now, data)),
            None => Err(Errno::EPIPE),
        }
    }

    pub(super) fn tcp_recv(
        &mut self,
        now: SimTime,
        socket: SocketId,
        buffer: &mut [u8],
        peek: bool,
    ) -> Result<Received, Errno> {
        let record = self.socket_ref(socket);
        let id = record.flow().ok_or(Errno::ENOTCONN)?;
        let flow = self.flows.get(id);
        // As often as not a program reads until there is nothing: that touches nothing.
        if !buffer.is_empty() && !flow.connection.has_news() {
            return Err(Errno::EAGAIN);
        }
        let from = address::presented(record.family, flow.tuple.remote);
        let len = self.with_flow(now, id, |connection| connection.recv(now, buffer, peek))?;
        Ok(Received { len, full_len: len, from })
    }

    pub(super) fn tcp_shutdown(&mut self, now: SimTime, socket: SocketId, how: Shutdown) -> Result<(), Errno> {
        let Role::Tcp(role) = &self.socket_ref(socket).role else { panic!("{socket:?} is no TCP socket") };
        match role {
            TcpRole::Idle => Err(Errno::ENOTCONN),
            TcpRole::Stream { flow, .. } => {
                let flow = *flow;
                self.with_flow(now, flow, |connection| connection.shutdown(now, how))?;
                // Even where nothing changes (Linux inet_shutdown).
                self.wakeups.push(socket);
                Ok(())
            }
            TcpRole::Listening(_) => {
                if how != Shutdown::Write {
                    self.stop_listening(now, socket);
                    self.wakeups.push(socket);
                }
                Ok(())
            }
        }
    }

    // ---- the end ----

    pub(super) fn close_socket(&mut self, now: SimTime, socket: SocketId) {
        if self.socket_ref(socket).is_listening() {
            self.stop_listening(now, socket);
        }
        self.release(socket);
        let Socket { role, options, family: _, bound: _, icmp_queued: _ } =
            self.sockets.remove(socket.0).expect("a socket that is closed was open");
        let Role::Tcp(TcpRole::Stream { flow, .. }) = role else { return };
        let record = self.flows.get_mut(flow);
        record.owner = Owner::Orphan(Some(socket));
        record.reuse_addr = options.reuse_addr;
        record.reuse_port = options.reuse_port;
        self.orphans.insert(socket, flow);
        self.with_flow(now, flow, |connection| connection.close(now));
    }
}

/// Where a port is held, and what its holder lets others share.
#[derive(Clone, Copy, Debug)]
struct Holding {
    scope: LocalScope,
    reuse_addr: bool,
    reuse_port: bool,
    listens: bool,
}
