//! Packets as bytes: there and back, and read by somebody else.

#[path = "common/arbitrary.rs"]
mod arbitrary;

use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use halfopen_core::SimTime;
use halfopen_fabric::packet::{Body, IcmpMessage, Packet, Protocol, SeqNum, TcpFlags, TcpOptions, TcpSegment};
use halfopen_fabric::reassembly::{Reassembler, split};
use halfopen_fabric::wire::{WireError, emit, parse};
use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpAddress, TcpPacket, TcpRepr};

fn to_smoltcp(address: IpAddr) -> IpAddress {
    address.into()
}

/// What etherparse makes of the bytes: addresses, time to live, ports, payload; and whether the checksum is right.
fn check_with_etherparse(packet: &Packet, bytes: &[u8]) {
    let sliced = SlicedPacket::from_ip(bytes).expect("a packet");
    let (src, dst, ttl): (IpAddr, IpAddr, u8) = match sliced.net.as_ref().expect("IP") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
            assert_eq!(header.dont_fragment(), packet.dont_fragment);
            assert_eq!(u32::from(header.identification()), packet.id);
            (header.source_addr().into(), header.destination_addr().into(), header.ttl())
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), header.hop_limit())
        }
        NetSlice::Arp(_) => panic!("ARP"),
    };
    assert_eq!((src, dst, ttl), (packet.src, packet.dst, packet.ttl));
    let intact = match (sliced.transport.expect("a transport"), &packet.body, src, dst) {
        (TransportSlice::Tcp(tcp), Body::Tcp(ours), ..) => {
            let header = tcp.to_header();
            assert_eq!((header.source_port, header.destination_port), (ours.src_port, ours.dst_port));
            assert_eq!((header.sequence_number, header.acknowledgment_number), (ours.seq.0, ours.ack.0));
            assert_eq!(tcp.payload(), &ours.payload[..]);
            let expected = match (src, dst) {
                (IpAddr::V4(a), IpAddr::V4(b)) => tcp.calc_checksum_ipv4(a.octets(), b.octets()),
                (IpAddr::V6(a), IpAddr::V6(b)) => tcp.calc_checksum_ipv6(a.octets(), b.octets()),
                _ => panic!("two families"),
            };
            expected == Ok(header.checksum)
        }
        (TransportSlice::Udp(udp), Body::Udp(ours), ..) => {
            let header = udp.to_header();
            assert_eq!((header.source_port, header.destination_port), (ours.src_port, ours.dst_port));
            assert_eq!(udp.payload(), &ours.payload[..]);
            let expected = match (src, dst) {
                (IpAddr::V4(a), IpAddr::V4(b)) => header.calc_checksum_ipv4_raw(a.octets(), b.octets(), udp.payload()),
                (IpAddr::V6(a), IpAddr::V6(b)) => header.calc_checksum_ipv6_raw(a.octets(), b.octets(), udp.payload()),
                _ => panic!("two families"),
            };
            expected == Ok(header.checksum)
        }
        (TransportSlice::Icmpv4(icmp), Body::Icmp(_), ..) => {
            let header = icmp.header();
            header.icmp_type.calc_checksum(icmp.payload()) == header.checksum
        }
        (TransportSlice::Icmpv6(icmp), Body::Icmp(_), IpAddr::V6(a), IpAddr::V6(b)) => {
            icmp.is_checksum_valid(a.octets(), b.octets())
        }
        (other, ours, ..) => panic!("{other:?} for {ours:?}"),
    };
    assert_eq!(intact, !packet.corrupt);
}

/// What smoltcp makes of a segment: the options too.
fn check_with_smoltcp(packet: &Packet, bytes: &[u8]) {
    let Body::Tcp(ours) = &packet.body else { return };
    let theirs = TcpPacket::new_checked(&bytes[if packet.src.is_ipv6() { 40 } else { 20 }..]).expect("a segment");
    let (src, dst) = (to_smoltcp(packet.src), to_smoltcp(packet.dst));
    assert_eq!(theirs.verify_checksum(&src, &dst), !packet.corrupt);
    let Ok(repr) = TcpRepr::parse(&theirs, &src, &dst, &ChecksumCapabilities::ignored()) else {
        return; // It refuses ports of zero and some combinations of flags.
    };
    assert_eq!(repr.window_len, ours.window);
    assert_eq!(repr.max_seg_size, ours.options.mss);
    assert_eq!(repr.window_scale, ours.options.window_scale);
    assert_eq!(repr.sack_permitted, ours.options.sack_permitted);
    assert_eq!(repr.timestamp.map(|stamp| (stamp.tsval, stamp.tsecr)), ours.options.timestamps);
    let blocks = ours.options.sack_blocks().iter().take(3).map(|(left, right)| (left.0, right.0));
    assert_eq!(repr.sack_ranges.iter().flatten().copied().collect::<Vec<_>>(), blocks.collect::<Vec<_>>());
}

proptest! {
    #[test]
    fn what_is_emitted_can_be_parsed(packet in arbitrary::any_packet(100)) {
        let bytes = emit(&packet);
        prop_assert_eq!(bytes.len(), packet.wire_len());
        let back = parse(&bytes);
        prop_assert_eq!(back, Ok(packet));
    }

    #[test]
    fn others_read_the_same(packet in arbitrary::any_packet(100)) {
        let bytes = emit(&packet);
        check_with_etherparse(&packet, &bytes);
        check_with_smoltcp(&packet, &bytes);
    }

    /// In any order, and with copies of some pieces.
    #[test]
    fn fragments_survive_the_wire(
        packet in arbitrary::any_packet(3000),
        mtu in 100u32..1500,
        order in prop::collection::vec(any::<u64>(), 64),
        copies in prop::collection::vec(any::<bool>(), 64),
    ) {
        let packet = Packet { dont_fragment: packet.src.is_ipv6(), corrupt: false, ..packet };
        let pieces = split(packet.clone(), mtu);
        prop_assert!(pieces.iter().all(|piece| piece.wire_len() <= mtu as usize));
        let mut arrivals: Vec<usize> = (0..pieces.len()).collect();
        arrivals.sort_by_key(|&piece| order[piece]);
        let last = arrivals[arrivals.len() - 1];
        let mut reassembler = Reassembler::default();
        for &number in &arrivals {
            let piece = &pieces[number];
            let back = parse(&emit(piece));
            prop_assert_eq!(back.as_ref(), Ok(piece));
            if copies[number] && number != last {
                prop_assert_eq!(reassembler.push(SimTime::ZERO, piece.clone().into()), None);
            }
            let whole = reassembler.push(SimTime::ZERO, piece.clone().into());
            prop_assert_eq!(whole, (number == last).then(|| packet.clone().into()));
        }
        prop_assert_eq!(reassembler.next_deadline(), None);
        prop_assert_eq!(reassembler.expire(SimTime::FAR_FUTURE), vec![]);
    }

    #[test]
    fn any_bytes_are_a_packet_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = parse(&bytes);
    }

    /// Bytes that look like a packet at first, with some of them changed or cut off.
    #[test]
    fn damaged_packets_do_not_panic(
        packet in arbitrary::any_packet(60),
        changes in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = emit(&packet);
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        let _ = parse(&bytes);
    }
}

fn syn() -> Packet {
    let options = TcpOptions {
        mss: Some(1460),
        window_scale: Some(10),
        sack_permitted: true,
        timestamps: Some((0x0102_0304, 0)),
        ..TcpOptions::default()
    };
    let segment = TcpSegment {
        src_port: 40_000,
        dst_port: 80,
        seq: SeqNum(0x1122_3344),
        flags: TcpFlags::SYN,
        window: 64_240,
        options,
        ..TcpSegment::default()
    };
    Packet {
        src: [10, 0, 0, 1].into(),
        dst: [10, 0, 0, 2].into(),
        ttl: 64,
        id: 0x5566,
        dont_fragment: true,
        ecn: 0,
        body: Body::Tcp(segment),
        corrupt: false,
    }
}

#[test]
fn a_syn_is_laid_out_as_linux_does() {
    let hex: Vec<String> =
        emit(&syn()).chunks(4).map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    insta::assert_snapshot!(hex.join(" "), @"4500003c 55664000 4006d153 0a000001 0a000002 9c400050 11223344 00000000 a002faf0 540d0000 020405b4 0402080a 01020304 00000000 0103030a");
}

#[test]
fn garbage_is_refused_with_a_reason() {
    let good = emit(&syn());
    let damaged = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        // Keep the header checksum right, so that the damage itself is met.
        bytes[10..12].fill(0);
        let sum: u32 = bytes[..20].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let folded = !((sum & 0xffff) + (sum >> 16)) as u16;
        bytes[10..12].copy_from_slice(&folded.to_be_bytes());
        parse(&bytes)
    };
    let mut wrong_checksum = good.clone();
    wrong_checksum[10] ^= 1;
    assert_eq!(parse(&[]), Err(WireError::Truncated));
    assert_eq!(parse(&good[..59]), Err(WireError::Truncated));
    assert_eq!(parse(&[0x50; 40]), Err(WireError::Version(5)));
    assert_eq!(parse(&wrong_checksum), Err(WireError::HeaderChecksum));
    assert_eq!(damaged(0, 0x44), Err(WireError::BadLength));
    assert_eq!(damaged(9, 132), Err(WireError::Protocol(132)));
    assert_eq!(damaged(32, 0x40), Err(WireError::BadLength));
    assert_eq!(damaged(41, 40), Err(WireError::TcpOption(2)));
    assert_eq!(damaged(41, 3), Err(WireError::TcpOption(2)));
}

#[test]
fn a_corrupt_packet_has_a_wrong_checksum_and_is_seen_to_be_so() {
    let corrupt = Packet { corrupt: true, ..syn() };
    let (bytes, good) = (emit(&corrupt), emit(&syn()));
    let differing: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] != good[at]).collect();
    assert_eq!(differing, [37]);
    assert_eq!(parse(&bytes), Ok(corrupt));
}

#[test]
fn icmp_errors_quote_a_header_and_eight_bytes() {
    use halfopen_fabric::packet::{IcmpError, Quoted};
    let quoted = Quoted {
        src: "10.0.0.1:40000".parse().unwrap(),
        dst: "10.0.0.2:80".parse().unwrap(),
        protocol: Protocol::Tcp,
        seq: SeqNum(7),
        total_len: 1500,
    };
    let message = IcmpMessage::Error { error: IcmpError::TooBig { mtu: 1400 }, quoted };
    let packet = Packet { src: [198, 18, 0, 1].into(), dst: [10, 0, 0, 1].into(), body: Body::Icmp(message), ..syn() };
    let bytes = emit(&packet);
    assert_eq!(bytes.len(), 20 + 8 + 20 + 8);
    assert_eq!(bytes[20..22], [3, 4]);
    assert_eq!(bytes[26..28], 1400u16.to_be_bytes());
    // The quoted header is a right one.
    let inner = etherparse::Ipv4HeaderSlice::from_slice(&bytes[28..]).unwrap();
    assert_eq!(inner.total_len(), 1500);
    assert_eq!(inner.header_checksum(), inner.to_header().calc_header_checksum());
}
