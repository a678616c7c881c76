//! Packets of every kind, at random. Strategies are boxed: in one piece they would not fit a test's stack.
#![allow(dead_code)] // Each test file uses its part.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use halfopen_fabric::packet::{
    Body, IcmpError, IcmpMessage, Packet, Protocol, Quoted, SeqNum, TcpFlags, TcpOptions, TcpSegment, UdpDatagram,
};
use proptest::prelude::*;

fn payload(most: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..=most).prop_map(Bytes::from)
}

prop_compose! {
    /// Options as a stack sends them: they fit into 40 bytes.
    fn options()(
        mss in any::<Option<u16>>(),
        window_scale in prop::option::of(0u8..=14),
        sack_permitted in any::<bool>(),
        timestamps in any::<Option<(u32, u32)>>(),
        edges in any::<[(u32, u32); 4]>(),
        syn in any::<bool>(),
        count in 0u8..=4,
    ) -> TcpOptions {
        // 40 bytes: a SYN's options and no SACK, or timestamps and three blocks, or four blocks.
        let sack_count = if syn { 0 } else { count.min(if timestamps.is_some() { 3 } else { 4 }) };
        let mut sack = [(SeqNum(0), SeqNum(0)); 4];
        for (block, (left, right)) in sack.iter_mut().zip(edges).take(usize::from(sack_count)) {
            *block = (SeqNum(left), SeqNum(right));
        }
        TcpOptions {
            mss: mss.filter(|_| syn),
            window_scale: window_scale.filter(|_| syn),
            sack_permitted: sack_permitted && syn,
            timestamps,
            sack,
            sack_count,
        }
    }
}

prop_compose! {
    fn segment(most: usize)(
        src_port: u16, dst_port: u16, seq: u32, ack: u32, flags in 0u8..=0x1f, window: u16,
        options in options(), payload in payload(most),
    ) -> Body {
        let (seq, ack, flags) = (SeqNum(seq), SeqNum(ack), TcpFlags(flags));
        Body::Tcp(TcpSegment { src_port, dst_port, seq, ack, flags, window, options, payload })
    }
}

fn icmp_error() -> impl Strategy<Value = IcmpError> {
    prop_oneof![
        prop::sample::select(&[0u8, 1, 2, 3, 13][..]).prop_map(|code| IcmpError::Unreachable { code }),
        (0u32..=0xffff).prop_map(|mtu| IcmpError::TooBig { mtu }),
        Just(IcmpError::TimeExceeded),
    ]
}

prop_compose! {
    fn quoted(src: IpAddr, dst: IpAddr)(
        ports: (u16, u16), seq: u32, protocol in prop::sample::select(&[Protocol::Tcp, Protocol::Udp, Protocol::Icmp][..]),
        total_len in 60u16..=1500,
    ) -> Quoted {
        let (a, b) = if protocol == Protocol::Icmp { (0, 0) } else { ports };
        let seq = SeqNum(if protocol == Protocol::Tcp { seq } else { 0 });
        // An error is about a packet that went the other way.
        Quoted { src: SocketAddr::new(dst, a), dst: SocketAddr::new(src, b), protocol, seq, total_len }
    }
}

fn body(src: IpAddr, dst: IpAddr, most: usize) -> BoxedStrategy<Body> {
    let echo = (any::<bool>(), any::<(u16, u16)>(), payload(most)).prop_map(|(request, (id, seq), payload)| {
        Body::Icmp(match request {
            true => IcmpMessage::EchoRequest { id, seq, payload },
            false => IcmpMessage::EchoReply { id, seq, payload },
        })
    });
    let error = (icmp_error(), quoted(src, dst));
    prop_oneof![
        4 => segment(most),
        2 => (any::<(u16, u16)>(), payload(most)).prop_map(|((src_port, dst_port), payload)| {
            Body::Udp(UdpDatagram { src_port, dst_port, payload })
        }),
        1 => echo,
        1 => error.prop_map(|(error, quoted)| Body::Icmp(IcmpMessage::Error { error, quoted })),
    ]
    .boxed()
}

/// A packet between two addresses, with at most so many bytes of payload, as it is after it was on the wire.
pub fn packet(src: IpAddr, dst: IpAddr, most: usize) -> BoxedStrategy<Packet> {
    let rest = (1u8..=255, any::<u16>(), any::<bool>(), 0u8..=3, prop::bool::weighted(0.1));
    let packet = (body(src, dst, most), rest).prop_map(move |(body, (ttl, id, df, ecn, corrupt))| {
        let v6 = src.is_ipv6();
        let id = if v6 { 0 } else { u32::from(id) };
        Packet { src, dst, ttl, id, dont_fragment: v6 || df, ecn, body, corrupt }
    });
    packet.boxed()
}

/// A packet between any two addresses.
pub fn any_packet(most: usize) -> BoxedStrategy<Packet> {
    let v4 = any::<(Ipv4Addr, Ipv4Addr)>().prop_map(|(a, b)| (IpAddr::V4(a), IpAddr::V4(b)));
    let v6 = any::<(Ipv6Addr, Ipv6Addr)>().prop_map(|(a, b)| (IpAddr::V6(a), IpAddr::V6(b)));
    prop_oneof![v4, v6].prop_flat_map(move |(src, dst)| packet(src, dst, most)).boxed()
}
