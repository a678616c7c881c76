//! What is inside IP as bytes: checksums, UDP, ICMP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use super::{WireError, be16, fold, protocol_number, protocol_of, pseudo_sum, quad, quote_len, sum, tcp};
use crate::packet::{Body, IcmpError, IcmpMessage, Packet, Protocol, Quoted, SeqNum, UdpDatagram};

/// Where the checksum stands in each header.
const fn checksum_at(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Tcp => 16,
        Protocol::Udp => 6,
        Protocol::Icmp => 2,
    }
}

/// The sum over header, payload and, where there is one, the pseudo header. ICMP for IPv4 has none (RFC 792).
fn checksum_base(src: IpAddr, dst: IpAddr, protocol: Protocol, len: usize) -> u64 {
    match (protocol, src) {
        (Protocol::Icmp, IpAddr::V4(_)) => 0,
        _ => pseudo_sum(src, dst, protocol, len),
    }
}

/// The bytes behind the IP header; for a fragment, the piece as it is.
pub fn emit_body(packet: &Packet) -> Vec<u8> {
    let mut out = Vec::new();
    match &packet.body {
        Body::Tcp(segment) => tcp::emit(&mut out, segment),
        Body::Udp(datagram) => {
            let len = 8 + datagram.payload.len();
            out.extend_from_slice(&datagram.src_port.to_be_bytes());
            out.extend_from_slice(&datagram.dst_port.to_be_bytes());
            out.extend_from_slice(&u16::try_from(len).expect("a datagram fits its packet").to_be_bytes());
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&datagram.payload);
        }
        Body::Icmp(message) => emit_icmp(&mut out, message, packet.src.is_ipv6()),
        Body::Fragment(fragment) => return fragment.data.to_vec(),
    }
    let protocol = packet.protocol();
    let base = checksum_base(packet.src, packet.dst, protocol, out.len());
    let mut checksum = !fold(base + sum(&out));
    if checksum == 0 && protocol == Protocol::Udp {
        checksum = 0xffff; // Zero would say that there is none (RFC 768).
    }
    if packet.corrupt {
        // A wrong one; and not zero, which UDP takes for none.
        checksum ^= if checksum == 1 { 2 } else { 1 };
    }
    out[checksum_at(protocol)..][..2].copy_from_slice(&checksum.to_be_bytes());
    out
}

/// What these bytes behind an IP header hold, and whether their checksum is right.
pub fn parse_body(src: IpAddr, dst: IpAddr, protocol: Protocol, bytes: Bytes) -> Result<(Body, bool), WireError> {
    let base = checksum_base(src, dst, protocol, bytes.len());
    let mut intact = fold(base + sum(&bytes)) == 0xffff;
    let body = match protocol {
        Protocol::Tcp => Body::Tcp(tcp::parse(&bytes)?),
        Protocol::Udp => {
            let header: &[u8; 8] = bytes.first_chunk().ok_or(WireError::Truncated)?;
            if usize::from(be16(header, 4)) != bytes.len() {
                return Err(WireError::BadLength);
            }
            // Only IPv4 may go without a checksum (RFC 8200, section 8.1).
            intact |= be16(header, 6) == 0 && src.is_ipv4();
            let (src_port, dst_port) = (be16(header, 0), be16(header, 2));
            Body::Udp(UdpDatagram { src_port, dst_port, payload: bytes.slice(8..) })
        }
        Protocol::Icmp => Body::Icmp(parse_icmp(&bytes, src.is_ipv6())?),
    };
    Ok((body, intact))
}

/// ICMP type and code, and the 32 bits that follow the checksum of an error.
fn icmp_error_header(error: IcmpError, v6: bool) -> (u8, u8, u32) {
    match (error, v6) {
        (IcmpError::Unreachable { code }, false) => (3, code, 0),
        (IcmpError::TooBig { mtu }, false) => (3, 4, mtu.min(0xffff)),
        (IcmpError::TimeExceeded, false) => (11, 0, 0),
        // RFC 4443, sections 3.1 and 3.4; codes by meaning.
        (IcmpError::Unreachable { code: 0 }, true) => (1, 0, 0),
        (IcmpError::Unreachable { code: 2 }, true) => (4, 1, 6), // Unrecognised next header, at byte 6.
        (IcmpError::Unreachable { code: 3 }, true) => (1, 4, 0),
        (IcmpError::Unreachable { code: 9 | 10 | 13 }, true) => (1, 1, 0),
        (IcmpError::Unreachable { code: _ }, true) => (1, 3, 0),
        (IcmpError::TooBig { mtu }, true) => (2, 0, mtu),
        (IcmpError::TimeExceeded, true) => (3, 0, 0),
    }
}

fn emit_icmp(out: &mut Vec<u8>, message: &IcmpMessage, v6: bool) {
    match message {
        IcmpMessage::EchoRequest { id, seq, payload } | IcmpMessage::EchoReply { id, seq, payload } => {
            let request = matches!(message, IcmpMessage::EchoRequest { .. });
            let kind = match (request, v6) {
                (true, false) => 8,
                (false, false) => 0,
                (true, true) => 128,
                (false, true) => 129,
            };
            out.extend_from_slice(&[kind, 0, 0, 0]);
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&seq.to_be_bytes());
            out.extend_from_slice(payload);
        }
        IcmpMessage::Error { error, quoted } => {
            let (kind, code, rest) = icmp_error_header(*error, v6);
            out.extend_from_slice(&[kind, code, 0, 0]);
            out.extend_from_slice(&rest.to_be_bytes());
            emit_quoted(out, quoted, v6);
        }
    }
}

/// The header of the quoted packet as far as it is known (its TTL and identification are not), and 8 bytes more.
fn emit_quoted(out: &mut Vec<u8>, quoted: &Quoted, v6: bool) {
    const TTL: u8 = 64;
    let start = out.len();
    let protocol = protocol_number(quoted.protocol, v6);
    match (quoted.src.ip(), quoted.dst.ip()) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            out.extend_from_slice(&[0x60, 0, 0, 0]);
            out.extend_from_slice(&quoted.total_len.saturating_sub(40).to_be_bytes());
            out.extend_from_slice(&[protocol, TTL]);
            out.extend_from_slice(&src.octets());
            out.extend_from_slice(&dst.octets());
        }
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            out.extend_from_slice(&[0x45, 0]);
            out.extend_from_slice(&quoted.total_len.to_be_bytes());
            out.extend_from_slice(&[0, 0, 0x40, 0, TTL, protocol, 0, 0]);
            out.extend_from_slice(&src.octets());
            out.extend_from_slice(&dst.octets());
            let checksum = !fold(sum(&out[start..]));
            out[start + 10..start + 12].copy_from_slice(&checksum.to_be_bytes());
        }
        _ => panic!("an ICMP error quotes a packet of two families"),
    }
    match quoted.protocol {
        Protocol::Tcp => {
            out.extend_from_slice(&quoted.src.port().to_be_bytes());
            out.extend_from_slice(&quoted.dst.port().to_be_bytes());
            out.extend_from_slice(&quoted.seq.0.to_be_bytes());
        }
        Protocol::Udp => {
            let header = if v6 { 40 } else { 20 };
            out.extend_from_slice(&quoted.src.port().to_be_bytes());
            out.extend_from_slice(&quoted.dst.port().to_be_bytes());
            out.extend_from_slice(&quoted.total_len.saturating_sub(header).to_be_bytes());
            out.extend_from_slice(&[0, 0]);
        }
        Protocol::Icmp => out.extend_from_slice(&[0; 8]),
    }
    assert_eq!(out.len() - start, quote_len(v6), "an ICMP error quotes one header and 8 bytes");
}

fn parse_icmp(bytes: &Bytes, v6: bool) -> Result<IcmpMessage, WireError> {
    let header: &[u8; 8] = bytes.first_chunk().ok_or(WireError::Truncated)?;
    let (kind, code) = (header[0], header[1]);
    let (id, seq) = (be16(header, 4), be16(header, 6));
    let payload = || bytes.slice(8..);
    let error = match (kind, code, v6) {
        (8, 0, false) | (128, 0, true) => return Ok(IcmpMessage::EchoRequest { id, seq, payload: payload() }),
        (0, 0, false) | (129, 0, true) => return Ok(IcmpMessage::EchoReply { id, seq, payload: payload() }),
        (3, 4, false) => IcmpError::TooBig { mtu: u32::from(seq) },
        (3, code @ 0..=15, false) => IcmpError::Unreachable { code },
        (11, 0, false) | (3, 0, true) => IcmpError::TimeExceeded,
        (2, 0, true) => IcmpError::TooBig { mtu: u32::from_be_bytes(quad(header, 4)) },
        (1, 0, true) => IcmpError::Unreachable { code: 0 },
        (1, 1, true) => IcmpError::Unreachable { code: 13 },
        (1, 3, true) => IcmpError::Unreachable { code: 1 },
        (1, 4, true) => IcmpError::Unreachable { code: 3 },
        (4, 1, true) => IcmpError::Unreachable { code: 2 },
        _ => return Err(WireError::Icmp(kind, code)),
    };
    Ok(IcmpMessage::Error { error, quoted: parse_quoted(&bytes[8..], v6)? })
}

fn parse_quoted(bytes: &[u8], v6: bool) -> Result<Quoted, WireError> {
    let (src, dst, number, total_len, header_len): (IpAddr, IpAddr, u8, u16, usize) = if v6 {
        let header: &[u8; 40] = bytes.first_chunk().ok_or(WireError::Truncated)?;
        let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&header[at..at + 16]).expect("16 bytes"));
        (address(8).into(), address(24).into(), header[6], be16(header, 4).saturating_add(40), 40)
    } else {
        let header: &[u8; 20] = bytes.first_chunk().ok_or(WireError::Truncated)?;
        let header_len = usize::from(header[0] & 15) * 4;
        if header_len < 20 {
            return Err(WireError::BadLength);
        }
        let (src, dst) = (Ipv4Addr::from(quad(header, 12)), Ipv4Addr::from(quad(header, 16)));
        (src.into(), dst.into(), header[9], be16(header, 2), header_len)
    };
    let protocol = protocol_of(number, v6)?;
    let eight: &[u8; 8] = bytes.get(header_len..).and_then(|rest| rest.first_chunk()).ok_or(WireError::Truncated)?;
    let (src_port, dst_port) = if protocol == Protocol::Icmp { (0, 0) } else { (be16(eight, 0), be16(eight, 2)) };
    let seq = if protocol == Protocol::Tcp { u32::from_be_bytes(quad(eight, 4)) } else { 0 };
    Ok(Quoted {
        src: SocketAddr::new(src, src_port),
        dst: SocketAddr::new(dst, dst_port),
        protocol,
        seq: SeqNum(seq),
        total_len,
    })
}
