//! UDP: datagrams with their boundaries, connected or not.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use halfopen_core::event::{DropReason, PacketInfo};
use halfopen_core::{Errno, Event, SimTime};
use halfopen_fabric::packet::{Body, IcmpError, Packet, UdpDatagram, ip_header_len};

use super::address::{self, LocalScope, Purpose};
use super::ports::Holder;
use super::table::{Bound, Role};
use super::{Netstack, Received};
use crate::memory;
use crate::readiness::Readiness;
use crate::socket::{Kind, MtuDiscover, Shutdown, SocketId};

/// Bytes of UDP header.
const UDP_HEADER_BYTES: usize = 8;
/// Largest IP packet (IPv4 counts its header in the 16-bit length, IPv6 does not).
const IP_LENGTH_MAX: usize = 65_535;
#[derive(Debug)]
struct Datagram {
    from: SocketAddr,
    payload: Bytes,
}

/// What a UDP socket has besides its binding.
#[derive(Debug, Default)]
pub(super) struct Udp {
    pub peer: Option<SocketAddr>,
    queue: VecDeque<Datagram>,
    queued_bytes: usize,
    error: Option<Errno>,
    read_shut: bool,
    write_shut: bool,
}

impl Udp {
    pub fn readiness(&self) -> Readiness {
        let mut ready = Readiness::OUT;
        if !self.queue.is_empty() || self.read_shut {
            ready = ready.with(Readiness::IN);
        }
        if self.read_shut {
            ready = ready.with(Readiness::RDHUP);
        }
        if self.read_shut && self.write_shut {
            ready = ready.with(Readiness::HUP);
        }
        if self.error.is_some() {
            ready = ready.with(Readiness::ERR);
        }
        ready
    }

    pub fn take_error(&mut self) -> Option<Errno> {
        self.error.take()
    }

    /// Length of the first datagram: what FIONREAD says of a UDP socket.
    pub fn first_len(&self) -> usize {
        self.queue.front().map_or(0, |datagram| datagram.payload.len())
    }

    fn recv(&mut self, buffer: &mut [u8], peek: bool) -> Result<Option<Received>, Errno> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let Some(datagram) = self.queue.front() else {
            return if self.read_shut { Ok(None) } else { Err(Errno::EAGAIN) };
        };
        let full_len = datagram.payload.len();
        let len = full_len.min(buffer.len());
        buffer[..len].copy_from_slice(&datagram.payload[..len]);
        let received = Received { len, full_len, from: datagram.from };
        if !peek {
            self.queued_bytes -= memory::datagram(full_len);
            self.queue.pop_front();
        }
        Ok(Some(received))
    }
}

/// How a datagram leaves, or why it does not.
struct Sending {
    dont_fragment: bool,
    /// Fragments are no larger than this.
    mtu: u32,
}

impl Netstack {
    fn udp(&self, socket: SocketId) -> &Udp {
        match &self.socket_ref(socket).role {
            Role::Udp(udp) => udp,
            Role::Tcp(_) => panic!("{socket:?} is no UDP socket"),
        }
    }

    fn udp_mut(&mut self, socket: SocketId) -> &mut Udp {
        match &mut self.socket_mut(socket).role {
            Role::Udp(udp) => udp,
            Role::Tcp(_) => panic!("{socket:?} is no UDP socket"),
        }
    }

    /// The socket for a datagram from `remote` to `local`: one that is connected to `remote` before any other, then
    /// the best-fitting address; of equals the one bound last (Linux `udp4_lib_lookup2`), within a SO_REUSEPORT group
    /// the one that a hash picks.
    pub(super) fn find_udp(&self, local: SocketAddr, remote: SocketAddr) -> Option<SocketId> {
        let fit = |id: SocketId| {
            let socket = self.socket_ref(id);
            let fit = socket.bound.as_ref()?.scope.fit(local.ip())?;
            match self.udp(id).peer {
                None => Some((false, fit)),
                Some(peer) => (peer == remote).then_some((true, fit)),
            }
        };
        let sockets = || {
            self.udp_ports.holders(local.port()).map(|holder| match holder {
                Holder::Socket(id) => id,
                Holder::Flow(_) => panic!("a connection holds a UDP port"),
            })
        };
        let best = sockets().filter_map(fit).max()?;
        let equals = || sockets().filter(|&id| fit(id) == Some(best));
        let (connected, _) = best;
        if connected || !equals().all(|id| self.socket_ref(id).options.reuse_port) {
            return equals().last();
        }
        let choice = self.secrets.tuple_hash("reuseport", local, remote) % equals().count() as u64;
        equals().nth(choice as usize)
    }

    pub(super) fn on_datagram(&mut self, now: SimTime, packet: &Packet, datagram: &UdpDatagram) {
        let local = SocketAddr::new(packet.dst, datagram.dst_port);
        let remote = SocketAddr::new(packet.src, datagram.src_port);
        let Some(id) = self.find_udp(local, remote) else {
            return self.refuse_datagram(now, packet);
        };
        let limit = self.socket_ref(id).options.receive_buffer.unwrap_or(self.sysctls.rmem_default) as usize;
        let udp = self.udp_mut(id);
        let cost = memory::datagram(datagram.payload.len());
        // An empty queue takes any datagram (Linux `__udp_enqueue_schedule_skb`).
        if udp.queued_bytes + cost > limit && !udp.queue.is_empty() {
            return self.report_drop(DropReason::QueueFull, packet.info());
        }
        udp.queued_bytes += cost;
        udp.queue.push_back(Datagram { from: remote, payload: datagram.payload.clone() });
        self.wakeups.push(id);
    }

    /// An ICMP error about a datagram that this host sent (Linux `__udp4_lib_err`): a connected socket learns of hard
    /// errors, once; an unconnected one of nothing.
    pub(super) fn on_udp_error(&mut self, local: SocketAddr, remote: SocketAddr, error: IcmpError) {
        let Some(id) = self.find_udp(local, remote) else { return };
        let discover = self.socket_ref(id).options.mtu_discover;
        let udp = self.udp_mut(id);
        let errno = match error {
            IcmpError::TooBig { .. } if discover == MtuDiscover::Dont => None,
            IcmpError::TooBig { .. } => Some(Errno::EMSGSIZE),
            IcmpError::Unreachable { code } => hard_error(code, remote.is_ipv6()),
            IcmpError::TimeExceeded => None,
        };
        if let (Some(errno), Some(_)) = (errno, udp.peer) {
            udp.error = Some(errno);
            self.wakeups.push(id);
        }
    }

    pub(super) fn udp_connect(&mut self, socket: SocketId, to: Option<SocketAddr>) -> Result<(), Errno> {
        let Some(to) = to else {
            self.udp_disconnect(socket);
            return Ok(());
        };
        let (family, only_v6) = (self.socket_ref(socket).family, self.socket_ref(socket).options.only_v6);
        let to = address::destination(address::accepted(Purpose::Reach, family, Kind::Udp, only_v6, to)?);
        self.autobind(socket)?;
        let source = self.udp_source(socket, to)?;
        let bound = self.socket_mut(socket).bound.as_mut().expect("just bound");
        if bound.scope.ip.is_unspecified() {
            bound.scope = LocalScope { ip: source.ip(), dual: false };
        }
        self.udp_mut(socket).peer = Some(to);
        Ok(())
    }

    fn udp_disconnect(&mut self, socket: SocketId) {
        self.udp_mut(socket).peer = None;
        let record = self.socket_mut(socket);
        let Some(bound) = &mut record.bound else { return };
        if bound.by_program {
            bound.scope = bound.requested;
        } else {
            let port = bound.port;
            record.bound = None;
            self.udp_ports.release(port, Holder::Socket(socket));
        }
    }

    /// The source of a datagram to `to`, or why none can leave.
    fn udp_source(&self, socket: SocketId, to: SocketAddr) -> Result<SocketAddr, Errno> {
        let record = self.socket_ref(socket);
        let bound = record.bound.as_ref().expect("a sender is bound");
        if address::is_broadcast(to.ip()) && !record.options.broadcast {
            return Err(Errno::EACCES);
        }
        let ip = self.source_address(bound.scope, to.ip())?;
        Ok(SocketAddr::new(ip, bound.port))
    }

    pub(super) fn udp_send(
        &mut self,
        now: SimTime,
        socket: SocketId,
        data: &[u8],
        to: Option<SocketAddr>,
    ) -> Result<usize, Errno> {
        // Before anything else, as Linux does (`inet_send_prepare`).
        self.autobind(socket)?;
        let (family, only_v6) = (self.socket_ref(socket).family, self.socket_ref(socket).options.only_v6);
        let to = match to {
            Some(to) if to.port() == 0 => return Err(Errno::EINVAL),
            Some(to) => Some(address::destination(address::accepted(Purpose::Reach, family, Kind::Udp, only_v6, to)?)),
            None => self.udp(socket).peer,
        };
        let Some(to) = to else { return Err(Errno::EDESTADDRREQ) };
        let header = if to.is_ipv4() { ip_header_len(to.ip()) } else { 0 } + UDP_HEADER_BYTES;
        if data.len() > IP_LENGTH_MAX - header {
            return Err(Errno::EMSGSIZE);
        }
        let from = self.udp_source(socket, to)?;
        let size = ip_header_len(to.ip()) + UDP_HEADER_BYTES + data.len();
        let Sending { dont_fragment, mtu } = self.datagram_sending(now, socket, to, size as u32)?;
        // The waiting error comes after what is wrong with the datagram itself (Linux `sock_alloc_send_pskb`).
        let udp = self.udp_mut(socket);
        if let Some(error) = udp.error.take() {
            return Err(error);
        }
        if udp.write_shut {
            return Err(Errno::EPIPE);
        }
        let packet = Packet {
            src: from.ip(),
            dst: to.ip(),
            ttl: self.socket_ref(socket).options.ttl,
            id: self.next_packet_id(),
            dont_fragment,
            ecn: 0,
            body: Body::Udp(UdpDatagram {
                src_port: from.port(),
                dst_port: to.port(),
                payload: Bytes::copy_from_slice(data),
            }),
            corrupt: false,
        };
        self.send_packet(now, packet.into(), mtu);
        Ok(data.len())
    }

    /// DF and the size of fragments by the socket's IP_MTU_DISCOVER (Linux `__ip_make_skb`, `ip_append_data`).
    fn datagram_sending(&self, now: SimTime, socket: SocketId, to: SocketAddr, size: u32) -> Result<Sending, Errno> {
        let interface = self.interface_mtu_towards(to.ip());
        let path = self.known_path_mtu(now, to.ip());
        let path_mtu = path.map_or(interface, |known| known.mtu.min(interface));
        let locked = path.is_some_and(|known| known.locked);
        match self.socket_ref(socket).options.mtu_discover {
            MtuDiscover::Do if size > path_mtu => Err(Errno::EMSGSIZE),
            MtuDiscover::Probe if size > interface => Err(Errno::EMSGSIZE),
            MtuDiscover::Do | MtuDiscover::Probe => Ok(Sending { dont_fragment: true, mtu: interface }),
            MtuDiscover::Want => Ok(Sending { dont_fragment: size <= path_mtu && !locked, mtu: path_mtu }),
            MtuDiscover::Dont => Ok(Sending { dont_fragment: false, mtu: path_mtu }),
        }
    }

    pub(super) fn udp_recv(&mut self, socket: SocketId, buffer: &mut [u8], peek: bool) -> Result<Received, Errno> {
        let family = self.socket_ref(socket).family;
        let received = self.udp_mut(socket).recv(buffer, peek)?;
        Ok(match received {
            Some(received) => Received { from: address::presented(family, received.from), ..received },
            None => Received { len: 0, full_len: 0, from: SocketAddr::new(address::wildcard(family), 0) },
        })
    }

    /// Takes effect even where it says ENOTCONN, as on Linux (`inet_shutdown`).
    pub(super) fn udp_shutdown(&mut self, socket: SocketId, how: Shutdown) -> Result<(), Errno> {
        let udp = self.udp_mut(socket);
        udp.read_shut |= how != Shutdown::Write;
        udp.write_shut |= how != Shutdown::Read;
        let connected = udp.peer.is_some();
        self.wakeups.push(socket);
        if connected { Ok(()) } else { Err(Errno::ENOTCONN) }
    }
}

impl Netstack {
    /// The log learns of a packet that this host throws away.
    pub(super) fn report_drop(&mut self, reason: DropReason, packet: PacketInfo) {
        self.events.push_back(Event::PacketDropped { element: None, direction: None, reason, packet });
    }

    /// Gives a socket without a port one of the ephemeral ones.
    pub(super) fn autobind(&mut self, socket: SocketId) -> Result<(), Errno> {
        let record = self.socket_ref(socket);
        if record.bound.is_some() {
            return Ok(());
        }
        let scope = LocalScope::any(record.family, record.options.only_v6);
        let port = self.find_open_port(socket, scope).ok_or(Errno::EAGAIN)?;
        self.hold(socket, Bound { scope, requested: scope, port, by_program: false });
        Ok(())
    }
}

/// The errno of an ICMP code that Linux counts as fatal (`icmp_err_convert`, `icmpv6_err_convert`); the others a UDP
/// socket never hears of.
const fn hard_error(code: u8, v6: bool) -> Option<Errno> {
    match code {
        9 | 10 | 13 if v6 => Some(Errno::EACCES),
        2 if v6 => Some(Errno::EPROTO),
        2 => Some(Errno::ENOPROTOOPT),
        3 => Some(Errno::ECONNREFUSED),
        6 | 9 => Some(Errno::ENETUNREACH),
        7 => Some(Errno::EHOSTDOWN),
        10 | 13 | 14 | 15 => Some(Errno::EHOSTUNREACH),
        _ => None,
    }
}
