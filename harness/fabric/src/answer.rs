//! What boxes on the way say themselves: RSTs and ICMP errors.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;

use crate::packet::{Body, IcmpError, IcmpMessage, Packet, Protocol, Quoted, SeqNum, TcpFlags, TcpSegment};

/// The time to live of what a box sends (Linux `net.ipv4.ip_default_ttl`).
const TTL: u8 = 64;

fn packet(src: IpAddr, dst: IpAddr, body: Body) -> Packet {
    Packet { src, dst, ttl: TTL, id: 0, dont_fragment: true, ecn: 0, body, corrupt: false }
}

/// An RST from one end to the other.
pub(crate) fn rst(from: SocketAddr, to: SocketAddr, seq: SeqNum, ack: Option<SeqNum>) -> Packet {
    let flags = if ack.is_some() { TcpFlags::RST.with(TcpFlags::ACK) } else { TcpFlags::RST };
    let segment = TcpSegment {
        src_port: from.port(),
        dst_port: to.port(),
        seq,
        ack: ack.unwrap_or_default(),
        flags,
        payload: Bytes::new(),
        ..TcpSegment::default()
    };
    packet(from.ip(), to.ip(), Body::Tcp(segment))
}

/// The RST that answers a segment for which there is no connection (RFC 9293, section 3.5.2); none for an RST.
pub(crate) fn rst_to(offender: &Packet) -> Option<Packet> {
    let Body::Tcp(segment) = &offender.body else { return None };
    if segment.flags.has(TcpFlags::RST) {
        return None;
    }
    let from = SocketAddr::new(offender.dst, segment.dst_port);
    let to = SocketAddr::new(offender.src, segment.src_port);
    Some(match segment.flags.has(TcpFlags::ACK) {
        true => rst(from, to, segment.ack, None),
        false => rst(from, to, SeqNum(0), Some(segment.seq.add(segment.sequence_len()))),
    })
}

/// An ICMP error about a packet, from a router; none about an ICMP error, about a fragment other than the first, or
/// about what was sent to many at once (RFC 1122, section 3.2.2).
pub(crate) fn icmp_error(router: IpAddr, about: &Packet, error: IcmpError) -> Option<Packet> {
    let to_many = about.dst.is_multicast() || about.dst == IpAddr::V4(Ipv4Addr::BROADCAST);
    let seq = match &about.body {
        _ if to_many => return None,
        Body::Icmp(IcmpMessage::Error { .. }) => return None,
        Body::Fragment(piece) if piece.offset > 0 => return None,
        Body::Tcp(segment) => segment.seq,
        _ => SeqNum(0),
    };
    let (src_port, dst_port) = quoted_ports(about);
    let quoted = Quoted {
        src: SocketAddr::new(about.src, src_port),
        dst: SocketAddr::new(about.dst, dst_port),
        protocol: about.protocol(),
        seq,
        total_len: u16::try_from(about.wire_len()).unwrap_or(u16::MAX),
    };
    Some(packet(router, about.src, Body::Icmp(IcmpMessage::Error { error, quoted })))
}

/// The ports in the first 8 bytes behind the IP header, also of a first fragment.
fn quoted_ports(about: &Packet) -> (u16, u16) {
    match &about.body {
        Body::Fragment(piece) if piece.protocol != Protocol::Icmp && piece.data.len() >= 4 => {
            let port = |at: usize| u16::from_be_bytes([piece.data[at], piece.data[at + 1]]);
            (port(0), port(2))
        }
        _ => about.ports(),
    }
}
