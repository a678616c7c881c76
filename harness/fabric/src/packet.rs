//! Packets: IPv4 and IPv6 with TCP, UDP and ICMP, as values.
//!
//! A packet is kept parsed, since most are never looked at as bytes; [`wire`](crate::wire) turns one into bytes and
//! back, exactly as they stand on a real network.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
pub use halfopen_core::event::{PacketInfo, Protocol, TcpFlags};

/// One IP packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Source address; the same family as `dst`.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Time to live (IPv6: hop limit).
    pub ttl: u8,
    /// IPv4 identification, or the identification of an IPv6 fragment.
    pub id: u32,
    /// IPv4 DF. IPv6 packets are never fragmented on the way, whatever this says.
    pub dont_fragment: bool,
    /// The two ECN bits.
    pub ecn: u8,
    /// What is inside.
    pub body: Body,
    /// Bits were changed on the way: the receiver's checksum will not match.
    pub corrupt: bool,
}

/// The payload of an IP packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// A TCP segment.
    Tcp(TcpSegment),
    /// A UDP datagram.
    Udp(UdpDatagram),
    /// An ICMP (or ICMPv6) message.
    Icmp(IcmpMessage),
    /// A piece of a packet that was too large for a link and had DF clear.
    Fragment(Fragment),
}

/// One TCP segment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TcpSegment {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number of the first byte (or of the SYN or FIN).
    pub seq: SeqNum,
    /// The next byte expected from the other side; counts only with ACK set.
    pub ack: SeqNum,
    /// Control bits.
    pub flags: TcpFlags,
    /// Receive window, unscaled, as on the wire.
    pub window: u16,
    /// Options.
    pub options: TcpOptions,
    /// Data.
    pub payload: Bytes,
}

/// TCP options (RFC 9293, 7323, 2018).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TcpOptions {
    /// Maximum segment size; in SYNs only.
    pub mss: Option<u16>,
    /// Window scale; in SYNs only.
    pub window_scale: Option<u8>,
    /// The sender understands SACK; in SYNs only.
    pub sack_permitted: bool,
    /// Timestamp value and echo reply.
    pub timestamps: Option<(u32, u32)>,
    /// SACK blocks (left edge, right edge); the first `sack_count` count.
    pub sack: [(SeqNum, SeqNum); 4],
    /// How many SACK blocks there are.
    pub sack_count: u8,
}

impl TcpOptions {
    /// The SACK blocks.
    pub fn sack_blocks(&self) -> &[(SeqNum, SeqNum)] {
        &self.sack[..usize::from(self.sack_count)]
    }

    /// Bytes on the wire, padded to whole words as Linux pads them (each option to 4, timestamps to 12, n SACK blocks
    /// to 4 + 8n).
    pub fn wire_len(&self) -> usize {
        let mut len = 0;
        if self.mss.is_some() {
            len += 4;
        }
        match (self.timestamps.is_some(), self.sack_permitted) {
            (true, _) => len += 12, // SACK-permitted takes the place of the two NOPs.
            (false, true) => len += 4,
            (false, false) => {}
        }
        if self.window_scale.is_some() {
            len += 4;
        }
        if self.sack_count > 0 {
            len += 4 + 8 * usize::from(self.sack_count);
        }
        len
    }
}

impl TcpSegment {
    /// Bytes of header, options included.
    pub fn header_len(&self) -> usize {
        20 + self.options.wire_len()
    }

    /// How much of the sequence space it takes: data, and one each for SYN and FIN.
    pub fn sequence_len(&self) -> u32 {
        let control = u32::from(self.flags.has(TcpFlags::SYN)) + u32::from(self.flags.has(TcpFlags::FIN));
        self.payload.len() as u32 + control
    }
}

/// A TCP sequence number: 32 bits that wrap round, so `<` has no meaning and there is none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SeqNum(pub u32);

impl SeqNum {
    /// This number `n` further on.
    #[must_use]
    pub const fn add(self, n: u32) -> SeqNum {
        SeqNum(self.0.wrapping_add(n))
    }

    /// This number `n` further back.
    #[must_use]
    pub const fn sub(self, n: u32) -> SeqNum {
        SeqNum(self.0.wrapping_sub(n))
    }

    /// How far this lies after `earlier`; meaningful only if it does (`!self.before(earlier)`).
    pub const fn since(self, earlier: SeqNum) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Whether this comes before `other` (within half the space).
    pub const fn before(self, other: SeqNum) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Whether this comes after `other` (within half the space).
    pub const fn after(self, other: SeqNum) -> bool {
        other.before(self)
    }
}

/// One UDP datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct UdpDatagram {
    pub src_port: u16,
    pub dst_port: u16,
    pub payload: Bytes,
}

/// One ICMP or ICMPv6 message; the family is that of the packet.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum IcmpMessage {
    /// An echo request.
    EchoRequest { id: u16, seq: u16, payload: Bytes },
    /// Its answer.
    EchoReply { id: u16, seq: u16, payload: Bytes },
    /// An error about a packet that somebody sent.
    Error { error: IcmpError, quoted: Quoted },
}

/// What an ICMP error says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum IcmpError {
    /// Destination unreachable. For IPv4 the code of type 3 (0 net, 1 host, 2 protocol, 3 port, 9, 10, 13 prohibited);
    /// IPv6 codes are kept as the IPv4 code with the same meaning.
    Unreachable { code: u8 },
    /// Fragmentation needed (IPv4 type 3 code 4) or packet too big (IPv6 type 2), with the MTU of the next hop.
    TooBig { mtu: u32 },
    /// The time to live ran out on the way.
    TimeExceeded,
}

/// The start of the packet that an ICMP error is about: what the receiver needs to find its socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Quoted {
    /// Source of the quoted packet (the receiver of the error).
    pub src: SocketAddr,
    /// Destination of the quoted packet.
    pub dst: SocketAddr,
    /// Its protocol.
    pub protocol: Protocol,
    /// TCP only: its sequence number.
    pub seq: SeqNum,
    /// Its total length in bytes.
    pub total_len: u16,
}

/// A piece of an IP packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Transport protocol of the whole.
    pub protocol: Protocol,
    /// Where in the whole packet's payload this piece begins, in bytes (a multiple of 8).
    pub offset: u16,
    /// More pieces follow.
    pub more: bool,
    /// The piece.
    pub data: Bytes,
}

/// Bytes of IP header without options.
pub const fn ip_header_len(addr: IpAddr) -> usize {
    match addr {
        IpAddr::V4(_) => 20,
        IpAddr::V6(_) => 40,
    }
}

impl Packet {
    /// Bytes from the IP header on.
    pub fn wire_len(&self) -> usize {
        let body = match &self.body {
            Body::Tcp(segment) => segment.header_len() + segment.payload.len(),
            Body::Udp(datagram) => 8 + datagram.payload.len(),
            Body::Icmp(IcmpMessage::EchoRequest { payload, .. } | IcmpMessage::EchoReply { payload, .. }) => {
                8 + payload.len()
            }
            // ICMP errors quote the IP header and the first 8 bytes behind it.
            Body::Icmp(IcmpMessage::Error { .. }) => 8 + ip_header_len(self.src) + 8,
            // An IPv6 fragment carries a fragment header of 8 bytes.
            Body::Fragment(fragment) => fragment.data.len() + if self.src.is_ipv6() { 8 } else { 0 },
        };
        ip_header_len(self.src) + body
    }

    /// The transport protocol.
    pub fn protocol(&self) -> Protocol {
        match &self.body {
            Body::Tcp(_) => Protocol::Tcp,
            Body::Udp(_) => Protocol::Udp,
            Body::Icmp(_) => Protocol::Icmp,
            Body::Fragment(fragment) => fragment.protocol,
        }
    }

    /// Source and destination ports; 0 where there are none.
    pub fn ports(&self) -> (u16, u16) {
        match &self.body {
            Body::Tcp(segment) => (segment.src_port, segment.dst_port),
            Body::Udp(datagram) => (datagram.src_port, datagram.dst_port),
            Body::Icmp(_) | Body::Fragment(_) => (0, 0),
        }
    }

    /// What the event log keeps of it.
    pub fn info(&self) -> PacketInfo {
        let (src_port, dst_port) = self.ports();
        let (flags, seq, ack) = match &self.body {
            Body::Tcp(segment) => (segment.flags, segment.seq.0, segment.ack.0),
            _ => (TcpFlags::default(), 0, 0),
        };
        let payload = match &self.body {
            Body::Tcp(segment) => segment.payload.len(),
            Body::Udp(datagram) => datagram.payload.len(),
            Body::Icmp(_) => 0,
            Body::Fragment(fragment) => fragment.data.len(),
        };
        PacketInfo {
            src: SocketAddr::new(self.src, src_port),
            dst: SocketAddr::new(self.dst, dst_port),
            protocol: self.protocol(),
            size: self.wire_len() as u32,
            flags,
            seq,
            ack,
            payload: payload as u32,
        }
    }
}
