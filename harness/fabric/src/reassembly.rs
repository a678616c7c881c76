//! Cutting packets into fragments and putting them together again (RFC 791, section 3.2; RFC 8200, section 4.5).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bytes::Bytes;
use halfopen_core::{SimDuration, SimTime};

use crate::packet::{Body, Fragment, Packet, Protocol, ip_header_len};
use crate::wire;

/// How long fragments wait for their siblings, from the first on (Linux `net.ipv4.ipfrag_time`).
pub const IPV4_REASSEMBLY_TIME: SimDuration = SimDuration::from_secs(30);
/// The same for IPv6 (RFC 8200, section 4.5; Linux `net.ipv6.ip6frag_time`).
pub const IPV6_REASSEMBLY_TIME: SimDuration = SimDuration::from_secs(60);
/// Most bytes that wait in one reassembler; then the oldest go (Linux `net.ipv4.ipfrag_high_thresh`).
pub const REASSEMBLY_BYTES_MAX: usize = 4 << 20;
/// Most bytes in the payload of a whole packet.
const PAYLOAD_MAX: usize = 65_535;

/// Cuts a packet into pieces of at most `mtu` bytes each. A packet that fits comes back as it is. The pieces of a
/// corrupt packet are all marked corrupt: so is the whole that is made of them.
///
/// # Panics
/// If `mtu` leaves no room for 8 bytes behind the headers.
pub fn split(packet: Packet, mtu: u32) -> Vec<Packet> {
    if packet.wire_len() <= mtu as usize {
        return vec![packet];
    }
    let headers = ip_header_len(packet.src) + if packet.src.is_ipv6() { 8 } else { 0 };
    let room = (mtu as usize).saturating_sub(headers) & !7;
    assert!(room > 0, "an MTU of {mtu} has no room for fragments");
    let (start, last_more) = match &packet.body {
        Body::Fragment(piece) => (usize::from(piece.offset), piece.more),
        _ => (0, false),
    };
    let whole = Bytes::from(wire::emit_body(&Packet { corrupt: false, ..packet.clone() }));
    let cuts = (0..whole.len()).step_by(room);
    let pieces = cuts.map(|from| {
        let to = whole.len().min(from + room);
        let fragment = Fragment {
            protocol: packet.protocol(),
            offset: (start + from) as u16,
            more: to < whole.len() || last_more,
            data: whole.slice(from..to),
        };
        Packet { body: Body::Fragment(fragment), ..packet.clone() }
    });
    pieces.collect()
}

/// Which fragments belong together.
type Key = (IpAddr, IpAddr, Protocol, u32);

/// The fragments of one packet so far.
#[derive(Debug)]
struct Pending {
    deadline: SimTime,
    /// By offset; no two overlap.
    pieces: BTreeMap<u16, Packet>,
    /// Bytes in `pieces`.
    bytes: usize,
    /// Length of the whole, once the last piece is there.
    total: Option<usize>,
}

/// Collects fragments until packets are whole, as a receiving host does, or a box that must see ports.
///
/// A fragment that overlaps another is dropped with all its siblings, as Linux does (net/ipv4/inet_fragment.c); an
/// exact copy of one that is there is ignored.
#[derive(Debug, Default)]
pub struct Reassembler {
    pending: BTreeMap<Key, Pending>,
    deadlines: BTreeSet<(SimTime, Key)>,
    /// Bytes in all of `pending`.
    bytes: usize,
    /// Given up for want of room or for contradictions, not yet collected.
    given_up: Vec<Packet>,
}

impl Reassembler {
    /// Takes a packet. Gives it back if it is no fragment; gives the whole packet if this was its last missing piece.
    pub fn push(&mut self, now: SimTime, packet: Box<Packet>) -> Option<Box<Packet>> {
        let Body::Fragment(piece) = &packet.body else { return Some(packet) };
        let key = (packet.src, packet.dst, piece.protocol, packet.id);
        let (offset, end, more) = (piece.offset, usize::from(piece.offset) + piece.data.len(), piece.more);
        let len = piece.data.len();
        let wait = if packet.src.is_ipv6() { IPV6_REASSEMBLY_TIME } else { IPV4_REASSEMBLY_TIME };
        let pending = self.pending.entry(key).or_insert_with(|| {
            let deadline = now + wait;
            self.deadlines.insert((deadline, key));
            Pending { deadline, pieces: BTreeMap::new(), bytes: 0, total: None }
        });
        if pending.pieces.get(&offset).is_some_and(|there| there.body == packet.body) {
            return None;
        }
        let malformed = len == 0 || end > PAYLOAD_MAX || (more && !len.is_multiple_of(8));
        if malformed || pending.contradicts(offset, end, more) {
            self.given_up.push(*packet);
            self.give_up(key);
            return None;
        }
        pending.bytes += len;
        self.bytes += len;
        if !more {
            pending.total = Some(end);
        }
        pending.pieces.insert(offset, *packet);
        if pending.total == Some(pending.bytes) {
            return self.join(key);
        }
        self.make_room();
        None
    }

    /// When the oldest incomplete packet is given up.
    pub fn next_deadline(&self) -> Option<SimTime> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// Gives up what is due by `now`: the fragments, to be counted as dropped, with those that [`Reassembler::push`]
    /// has refused since the last call.
    pub fn expire(&mut self, now: SimTime) -> Vec<Packet> {
        while let Some(&(deadline, key)) = self.deadlines.first()
            && deadline <= now
        {
            self.give_up(key);
        }
        std::mem::take(&mut self.given_up)
    }

    fn remove(&mut self, key: Key) -> Option<Pending> {
        let pending = self.pending.remove(&key)?;
        let armed = self.deadlines.remove(&(pending.deadline, key));
        assert!(armed, "every incomplete packet has a deadline");
        self.bytes -= pending.bytes;
        Some(pending)
    }

    fn give_up(&mut self, key: Key) {
        if let Some(pending) = self.remove(key) {
            self.given_up.extend(pending.pieces.into_values());
        }
    }

    fn make_room(&mut self) {
        while self.bytes > REASSEMBLY_BYTES_MAX
            && let Some(&(_, oldest)) = self.deadlines.first()
        {
            self.give_up(oldest);
        }
    }

    /// All pieces are there.
    fn join(&mut self, key: Key) -> Option<Box<Packet>> {
        let pending = self.remove(key)?;
        let pieces: Vec<Packet> = pending.pieces.into_values().collect();
        let mut data = Vec::with_capacity(pending.bytes);
        for packet in &pieces {
            let Body::Fragment(piece) = &packet.body else { unreachable!("only fragments wait here") };
            assert_eq!(usize::from(piece.offset), data.len(), "pieces that add up to the whole leave no gap");
            data.extend_from_slice(&piece.data);
        }
        let corrupt = pieces.iter().any(|packet| packet.corrupt);
        let fragment = Fragment { protocol: key.2, offset: 0, more: false, data: data.into() };
        let mut whole = Packet { body: Body::Fragment(fragment), corrupt, ..pieces[0].clone() };
        match wire::unwrap_whole(&mut whole) {
            Ok(()) => Some(Box::new(whole)),
            Err(_) => {
                self.given_up.extend(pieces);
                None
            }
        }
    }
}

impl Pending {
    /// Whether a piece from `offset` to `end` overlaps one that is there, or lies beyond the end of the whole.
    fn contradicts(&self, offset: u16, end: usize, more: bool) -> bool {
        let ends_at = |packet: &Packet| match &packet.body {
            Body::Fragment(piece) => usize::from(piece.offset) + piece.data.len(),
            _ => 0,
        };
        let before = self.pieces.range(..=offset).next_back().map_or(0, |(_, packet)| ends_at(packet));
        let after = self.pieces.range(offset..).next().map_or(usize::MAX, |(&at, _)| usize::from(at));
        let last_end = self.pieces.values().next_back().map_or(0, ends_at);
        let beyond = match self.total {
            Some(total) => end > total || (!more && end != total),
            None => !more && last_end > end,
        };
        before > usize::from(offset) || after < end || beyond
    }
}
