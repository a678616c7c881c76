//! Packets as bytes and bytes as packets: IPv4 (RFC 791), IPv6 (RFC 8200), TCP (RFC 9293), UDP (RFC 768), ICMP
//! (RFC 792), ICMPv6 (RFC 4443).
//!
//! [`emit`] lays a packet out as Linux does, with right checksums, or a wrong one if the packet is
//! [corrupt](crate::packet::Packet::corrupt). [`parse`] takes any bytes and refuses what is no packet with a
//! [`WireError`]; a wrong transport checksum is no error but makes the packet corrupt, as it would be for a receiver.
//!
//! `parse(emit(packet))` gives the packet back, but for what has no place on the wire: IPv6 has no DF (it comes back
//! set) and, outside of fragments, no identification (it comes back 0); ICMPv6 has fewer codes; the bit flipped in a
//! corrupt fragment shows only once the whole is put together.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;

use crate::packet::{Body, Fragment, Packet, Protocol, ip_header_len};

mod body;
mod tcp;

pub use body::{emit_body, parse_body};

/// Why bytes are not a packet that halfopen knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WireError {
    /// The bytes end before the packet does.
    Truncated,
    /// Neither version 4 nor 6.
    Version(u8),
    /// A length or offset within the packet contradicts another.
    BadLength,
    /// The IPv4 header checksum is wrong: a router would discard the packet.
    HeaderChecksum,
    /// A transport protocol (or an IPv6 extension header) other than TCP, UDP and ICMP.
    Protocol(u8),
    /// An ICMP type and code without meaning here.
    Icmp(u8, u8),
    /// A TCP option whose length makes no sense.
    TcpOption(u8),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Truncated => f.write_str("the bytes end before the packet does"),
            WireError::Version(version) => write!(f, "IP version {version}"),
            WireError::BadLength => f.write_str("lengths contradict each other"),
            WireError::HeaderChecksum => f.write_str("wrong IPv4 header checksum"),
            WireError::Protocol(number) => write!(f, "transport protocol {number}"),
            WireError::Icmp(kind, code) => write!(f, "ICMP type {kind} code {code}"),
            WireError::TcpOption(kind) => write!(f, "malformed TCP option {kind}"),
        }
    }
}

impl std::error::Error for WireError {}

/// The IPv6 fragment header's protocol number (RFC 8200, section 4.5).
const IPV6_FRAGMENT: u8 = 44;
/// Bytes of an IPv6 fragment header.
const IPV6_FRAGMENT_LEN: usize = 8;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;

/// The bytes of a packet, from the IP header on.
///
/// # Panics
/// If source and destination are of different families, or the packet is longer than 65535 bytes (IPv4), or its TCP
/// options are longer than 40: no such packet can be made by the rooms above.
pub fn emit(packet: &Packet) -> Vec<u8> {
    let mut out = Vec::with_capacity(packet.wire_len());
    let body = match &packet.body {
        Body::Fragment(fragment) => fragment_bytes(fragment, packet.corrupt),
        _ => emit_body(packet),
    };
    match (packet.src, packet.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => emit_ipv4(&mut out, packet, src, dst, body.len()),
        (IpAddr::V6(src), IpAddr::V6(dst)) => emit_ipv6(&mut out, packet, src, dst, body.len()),
        _ => panic!("a packet from {} to {}: two families", packet.src, packet.dst),
    }
    out.extend_from_slice(&body);
    assert_eq!(out.len(), packet.wire_len(), "a packet's length is what its header says");
    out
}

/// The piece, with one bit flipped if it is corrupt.
fn fragment_bytes(fragment: &Fragment, corrupt: bool) -> Vec<u8> {
    let mut data = fragment.data.to_vec();
    if let (true, Some(last)) = (corrupt, data.last_mut()) {
        *last ^= 1;
    }
    data
}

fn emit_ipv4(out: &mut Vec<u8>, packet: &Packet, src: Ipv4Addr, dst: Ipv4Addr, body_len: usize) {
    let total = u16::try_from(20 + body_len).expect("an IPv4 packet counts its bytes in 16 bits");
    let mut fragment = if packet.dont_fragment { DONT_FRAGMENT } else { 0 };
    if let Body::Fragment(piece) = &packet.body {
        fragment |= (piece.offset / 8) | if piece.more { MORE_FRAGMENTS } else { 0 };
    }
    out.extend_from_slice(&[0x45, packet.ecn & 3]);
    out.extend_from_slice(&total.to_be_bytes());
    out.extend_from_slice(&(packet.id as u16).to_be_bytes());
    out.extend_from_slice(&fragment.to_be_bytes());
    out.extend_from_slice(&[packet.ttl, protocol_number(packet.protocol(), false), 0, 0]);
    out.extend_from_slice(&src.octets());
    out.extend_from_slice(&dst.octets());
    let checksum = !fold(sum(out));
    out[10..12].copy_from_slice(&checksum.to_be_bytes());
}

fn emit_ipv6(out: &mut Vec<u8>, packet: &Packet, src: Ipv6Addr, dst: Ipv6Addr, body_len: usize) {
    let piece = match &packet.body {
        Body::Fragment(piece) => Some(piece),
        _ => None,
    };
    let payload_len = body_len + if piece.is_some() { IPV6_FRAGMENT_LEN } else { 0 };
    let payload_len = u16::try_from(payload_len).expect("an IPv6 payload counts its bytes in 16 bits");
    let protocol = protocol_number(packet.protocol(), true);
    out.extend_from_slice(&[0x60, (packet.ecn & 3) << 4, 0, 0]);
    out.extend_from_slice(&payload_len.to_be_bytes());
    out.extend_from_slice(&[if piece.is_some() { IPV6_FRAGMENT } else { protocol }, packet.ttl]);
    out.extend_from_slice(&src.octets());
    out.extend_from_slice(&dst.octets());
    if let Some(piece) = piece {
        out.extend_from_slice(&[protocol, 0]);
        out.extend_from_slice(&((piece.offset & !7) | u16::from(piece.more)).to_be_bytes());
        out.extend_from_slice(&packet.id.to_be_bytes());
    }
}

/// The packet in these bytes. Bytes beyond the length in the IP header are ignored (Ethernet pads short frames).
pub fn parse(bytes: &[u8]) -> Result<Packet, WireError> {
    match bytes.first().ok_or(WireError::Truncated)? >> 4 {
        4 => parse_ipv4(bytes),
        6 => parse_ipv6(bytes),
        version => Err(WireError::Version(version)),
    }
}

fn parse_ipv4(bytes: &[u8]) -> Result<Packet, WireError> {
    let header: &[u8; 20] = bytes.first_chunk().ok_or(WireError::Truncated)?;
    let header_len = usize::from(header[0] & 15) * 4;
    let total = usize::from(be16(header, 2));
    if header_len < 20 || total < header_len {
        return Err(WireError::BadLength);
    }
    let bytes = bytes.get(..total).ok_or(WireError::Truncated)?;
    if fold(sum(&bytes[..header_len])) != 0xffff {
        return Err(WireError::HeaderChecksum);
    }
    let flags = be16(header, 6);
    let piece = (flags & 0x1fff) * 8;
    let more = flags & MORE_FRAGMENTS != 0;
    let mut packet = Packet {
        src: Ipv4Addr::from(quad(header, 12)).into(),
        dst: Ipv4Addr::from(quad(header, 16)).into(),
        ttl: header[8],
        id: u32::from(be16(header, 4)),
        dont_fragment: flags & DONT_FRAGMENT != 0,
        ecn: header[1] & 3,
        body: Body::Fragment(Fragment {
            protocol: protocol_of(header[9], false)?,
            offset: piece,
            more,
            data: Bytes::copy_from_slice(&bytes[header_len..]),
        }),
        corrupt: false,
    };
    if piece == 0 && !more {
        unwrap_whole(&mut packet)?;
    }
    Ok(packet)
}

fn parse_ipv6(bytes: &[u8]) -> Result<Packet, WireError> {
    let header: &[u8; 40] = bytes.first_chunk().ok_or(WireError::Truncated)?;
    let end = 40 + usize::from(be16(header, 4));
    let payload = bytes.get(40..end).ok_or(WireError::Truncated)?;
    let is_piece = header[6] == IPV6_FRAGMENT;
    let (protocol, offset, more, id, data) = if is_piece {
        let extension: &[u8; IPV6_FRAGMENT_LEN] = payload.first_chunk().ok_or(WireError::Truncated)?;
        let offset = be16(extension, 2);
        let id = u32::from_be_bytes(quad(extension, 4));
        (extension[0], offset & !7, offset & 1 != 0, id, &payload[IPV6_FRAGMENT_LEN..])
    } else {
        (header[6], 0, false, 0, payload)
    };
    let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&header[at..at + 16]).expect("16 bytes"));
    let mut packet = Packet {
        src: address(8).into(),
        dst: address(24).into(),
        ttl: header[7],
        id,
        dont_fragment: true,
        ecn: (header[1] >> 4) & 3,
        body: Body::Fragment(Fragment {
            protocol: protocol_of(protocol, true)?,
            offset,
            more,
            data: Bytes::copy_from_slice(data),
        }),
        corrupt: false,
    };
    if !is_piece {
        unwrap_whole(&mut packet)?;
    }
    Ok(packet)
}

/// Puts in place of a single fragment that is the whole what is inside.
pub(crate) fn unwrap_whole(packet: &mut Packet) -> Result<(), WireError> {
    let Body::Fragment(whole) = &packet.body else { return Ok(()) };
    let (body, intact) = parse_body(packet.src, packet.dst, whole.protocol, whole.data.clone())?;
    packet.body = body;
    packet.corrupt |= !intact;
    Ok(())
}

/// The protocol's number in IP headers (IANA).
fn protocol_number(protocol: Protocol, v6: bool) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Icmp if v6 => 58,
        Protocol::Icmp => 1,
    }
}

fn protocol_of(number: u8, v6: bool) -> Result<Protocol, WireError> {
    match (number, v6) {
        (6, _) => Ok(Protocol::Tcp),
        (17, _) => Ok(Protocol::Udp),
        (1, false) | (58, true) => Ok(Protocol::Icmp),
        _ => Err(WireError::Protocol(number)),
    }
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn quad(bytes: &[u8], at: usize) -> [u8; 4] {
    [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]
}

/// The sum of the 16-bit words of `bytes`, an odd last byte padded with zero (RFC 1071), not yet folded.
fn sum(bytes: &[u8]) -> u64 {
    let (words, odd) = bytes.as_chunks::<2>();
    let sum: u64 = words.iter().map(|&word| u64::from(u16::from_be_bytes(word))).sum();
    sum + odd.first().map_or(0, |&byte| u64::from(byte) << 8)
}

/// Folds a sum into 16 bits with end-around carry.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum of the pseudo header before a transport header (RFC 9293, section 3.1; RFC 8200, section 8.1).
fn pseudo_sum(src: IpAddr, dst: IpAddr, protocol: Protocol, len: usize) -> u64 {
    let addresses = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => sum(&src.octets()) + sum(&dst.octets()),
        (IpAddr::V6(src), IpAddr::V6(dst)) => sum(&src.octets()) + sum(&dst.octets()),
        _ => 0,
    };
    addresses + u64::from(protocol_number(protocol, src.is_ipv6())) + len as u64
}

/// What an ICMP error quotes of the packet it is about: the IP header and 8 bytes.
const fn quote_len(v6: bool) -> usize {
    8 + if v6 { ip_header_len(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) } else { 20 }
}
