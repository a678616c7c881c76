//! What the program wrote, as buffers: first unsent, then in flight with their scoreboard.
//!
//! A buffer (Linux sk_buff) is filled by writes up to a bundle of many segments. What is sent at once is cut off its
//! front and stays together: one bundle is marked, timed and sent again as a whole, until an acknowledgement of a part
//! or a smaller path cuts it. So memory is counted as Linux counts it, and repetitions are cut where Linux cuts them.
//!
//! Positions are 64-bit offsets into the stream (see [`super::space`]), so that `<` means what it says. Walks over the
//! whole queue happen once for each retransmission timeout; an ACK touches what it acknowledges and no more.

use std::collections::{BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use halfopen_core::SimTime;
use halfopen_core::event::TcpFlags;

use crate::memory::{DESCRIPTOR, SENT_AROUND};

/// What a buffer without data takes (Linux SKB_TRUESIZE of a head with room for MAX_TCP_HEADER), in bytes; its data are
/// counted by the byte.
pub(super) const BUFFER_OVERHEAD: usize = (SENT_AROUND + DESCRIPTOR) as usize;

/// A bundle of segments that was sent and is not yet acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub start: u64,
    pub payload: Bytes,
    /// Payload of each of its segments but the last (Linux gso_size).
    pub mss: usize,
    /// How many segments it is on the wire (Linux tcp_skb_pcount).
    pub segments: u32,
    pub syn: bool,
    pub fin: bool,
    /// A write ended with it, or pushed on the way: its last segment says so.
    pub psh: bool,
    /// Last (re)transmission.
    pub sent_at: SimTime,
    /// Number of that transmission, in the order of all of them.
    pub transmission: u64,
    pub sacked: bool,
    pub lost: bool,
    /// A retransmission is in flight.
    pub retransmitted: bool,
    /// It was sent more than once, at any time.
    pub ever_retransmitted: bool,
}

impl Sent {
    pub fn end(&self) -> u64 {
        self.start + self.payload.len() as u64 + u64::from(self.syn) + u64::from(self.fin)
    }

    /// Payload of its largest segment (Linux tcp_skb_seglen).
    pub fn segment_len(&self) -> usize {
        self.payload.len().min(self.mss)
    }

    fn cut(&mut self, mss: usize) {
        self.mss = mss;
        self.segments = segments_of(self.payload.len(), mss);
    }
}

/// Into how many segments so many bytes are cut; what carries no data is one, too.
pub(super) fn segments_of(len: usize, mss: usize) -> u32 {
    if len <= mss { 1 } else { len.div_ceil(mss) as u32 }
}

/// A buffer that was filled and not sent; its bytes are the next ones of [`SendQueue::unsent_data`].
#[derive(Clone, Copy, Debug)]
struct Unsent {
    len: usize,
    psh: bool,
}

/// The send queue.
#[derive(Clone, Default, Debug)]
pub(super) struct SendQueue {
    /// What waits; of the first buffer the front may have been sent.
    unsent: VecDeque<Unsent>,
    unsent_data: VecDeque<BytesMut>,
    unsent_len: usize,
    /// A FIN waits behind the unsent bytes.
    pub fin_waiting: bool,
    flight: VecDeque<Sent>,
    flight_bytes: usize,
    /// (transmission, start) in the order of sending: RACK looks at the oldest first. Entries go out of date.
    order: VecDeque<(u64, u64)>,
    /// Lost and not yet sent again, by start.
    to_repair: BTreeSet<u64>,
    transmissions: u64,
    packets_out: u32,
    pub sacked_out: u32,
    pub lost_out: u32,
    pub retrans_out: u32,
    /// All marks of loss ever made, in segments: how many an event added is the difference.
    pub lost_total: u64,
}

impl SendQueue {
    /// How much the last unsent buffer still takes if it is filled up to `goal` bytes; 0 if there is none.
    pub fn tail_room(&self, goal: usize) -> usize {
        self.unsent.back().map_or(0, |tail| goal.saturating_sub(tail.len))
    }

    /// Appends what the program wrote: to the last buffer if that is not filled, else as a new one.
    pub fn push(&mut self, data: &[u8], goal: usize) {
        let room = self.tail_room(goal);
        self.unsent_len += data.len();
        if room == 0 {
            self.unsent.push_back(Unsent { len: data.len(), psh: false });
            self.unsent_data.push_back(BytesMut::from(data));
            return;
        }
        assert!(data.len() <= room, "{} bytes for a room of {room}", data.len());
        self.unsent.back_mut().expect("a buffer with room").len += data.len();
        let tail = self.unsent_data.back_mut().expect("a buffer with bytes");
        if tail.capacity() - tail.len() < data.len() {
            // Twice as much, that small writes are not copied again and again.
            tail.reserve(data.len().max(tail.len().min(room)));
        }
        tail.extend_from_slice(data);
    }

    /// Whether the last unsent buffer, if there is one, ends with PSH (Linux tcp_mark_push; a write that goes on in a
    /// buffer takes it back).
    pub fn set_psh(&mut self, psh: bool) {
        if let Some(tail) = self.unsent.back_mut() {
            tail.psh = psh;
        }
    }

    /// Cuts the first unsent buffer after `len` bytes if it is longer. It and what is cut off end with PSH.
    pub fn cut_first(&mut self, len: usize) {
        let Some(first) = self.unsent.front_mut() else { return };
        first.psh = true;
        if first.len > len {
            first.len -= len;
            self.unsent.push_front(Unsent { len, psh: true });
        }
    }

    /// Whether only one buffer waits to be sent.
    pub fn is_tail_first(&self) -> bool {
        self.unsent.len() == 1
    }

    /// Bytes in the first unsent buffer, and whether there are more buffers.
    pub fn first_unsent(&self) -> (usize, bool) {
        (self.unsent.front().map_or(0, |first| first.len), self.unsent.len() > 1)
    }

    pub fn unsent_len(&self) -> usize {
        self.unsent_len
    }

    /// Bytes written and not acknowledged.
    pub fn len(&self) -> usize {
        self.unsent_len + self.flight_bytes
    }

    /// What all buffers take, in bytes (Linux sk_wmem_queued).
    pub fn memory(&self) -> usize {
        self.len() + (self.unsent.len() + self.flight.len()) * BUFFER_OVERHEAD
    }

    /// Whether there is anything to send for the first time, a FIN included.
    pub fn has_unsent(&self) -> bool {
        self.unsent_len > 0 || self.fin_waiting
    }

    /// Segments in flight.
    pub fn packets_out(&self) -> u32 {
        self.packets_out
    }

    /// Bundles in flight: the bound of an index.
    pub fn bundles(&self) -> usize {
        self.flight.len()
    }

    /// Segments believed to be in the network (RFC 6675's pipe).
    pub fn in_flight(&self) -> u32 {
        (self.packets_out + self.retrans_out).saturating_sub(self.sacked_out + self.lost_out)
    }

    /// Fills the first unsent buffer up to `len` bytes from the one behind it (Linux tcp_grow_skb). One that is used up
    /// leaves its PSH.
    pub fn grow_first(&mut self, len: usize) {
        if self.unsent.len() < 2 || self.unsent[0].len >= len {
            return;
        }
        let moved = self.unsent[1].len.min(len - self.unsent[0].len);
        self.unsent[0].len += moved;
        self.unsent[1].len -= moved;
        if self.unsent[1].len == 0 {
            self.unsent[0].psh |= self.unsent[1].psh;
            self.unsent.remove(1);
        }
    }

    /// Takes the next `len` unsent bytes, without a copy where they lie in one piece; and whether a buffer that was
    /// taken to its end has PSH.
    pub fn take_unsent(&mut self, len: usize) -> (Bytes, bool) {
        assert!(len <= self.unsent_len, "{len} of {} unsent bytes", self.unsent_len);
        self.unsent_len -= len;
        let (mut left, mut psh) = (len, false);
        while left > 0 {
            let first = self.unsent.front_mut().expect("unsent bytes");
            let part = first.len.min(left);
            first.len -= part;
            left -= part;
            if first.len == 0 {
                psh |= first.psh;
                self.unsent.pop_front();
            }
        }
        (self.take_data(len), psh)
    }

    fn take_data(&mut self, len: usize) -> Bytes {
        let Some(first) = self.unsent_data.front_mut() else { return Bytes::new() };
        if first.len() > len {
            return first.split_to(len).freeze();
        }
        if first.len() == len {
            return self.unsent_data.pop_front().expect("just seen").freeze();
        }
        let mut gathered = BytesMut::with_capacity(len);
        while gathered.len() < len {
            let first = self.unsent_data.front_mut().expect("unsent bytes");
            let part = first.split_to((len - gathered.len()).min(first.len()));
            gathered.extend_from_slice(&part);
            if first.is_empty() {
                self.unsent_data.pop_front();
            }
        }
        gathered.freeze()
    }

    /// Puts a bundle in flight, to be cut into segments of `mss`; of the flags SYN, FIN and PSH count.
    pub fn launch(&mut self, now: SimTime, start: u64, payload: Bytes, mss: usize, flags: TcpFlags) {
        assert!(self.flight.back().is_none_or(|last| last.end() == start), "flight has no gaps");
        self.flight_bytes += payload.len();
        let segments = segments_of(payload.len(), mss);
        self.flight.push_back(Sent {
            start,
            payload,
            mss,
            segments,
            syn: flags.has(TcpFlags::SYN),
            fin: flags.has(TcpFlags::FIN),
            psh: flags.has(TcpFlags::PSH),
            sent_at: now,
            transmission: 0,
            sacked: false,
            lost: false,
            retransmitted: false,
            ever_retransmitted: false,
        });
        self.packets_out += segments;
        self.stamp(now, self.flight.len() - 1);
    }

    fn stamp(&mut self, now: SimTime, index: usize) {
        self.transmissions += 1;
        let bundle = &mut self.flight[index];
        bundle.transmission = self.transmissions;
        bundle.sent_at = now;
        self.order.push_back((self.transmissions, bundle.start));
    }

    // ---- the books: the counters are in segments, the marks on bundles ----

    fn leave(&mut self, index: usize) {
        let Sent { segments, sacked, lost, retransmitted, .. } = self.flight[index];
        self.packets_out -= segments;
        self.sacked_out -= if sacked { segments } else { 0 };
        self.lost_out -= if lost { segments } else { 0 };
        self.retrans_out -= if retransmitted { segments } else { 0 };
    }

    fn enter(&mut self, index: usize) {
        let Sent { segments, sacked, lost, retransmitted, .. } = self.flight[index];
        self.packets_out += segments;
        self.sacked_out += if sacked { segments } else { 0 };
        self.lost_out += if lost { segments } else { 0 };
        self.retrans_out += if retransmitted { segments } else { 0 };
    }

    pub fn get(&self, index: usize) -> Option<&Sent> {
        self.flight.get(index)
    }

    pub fn head(&self) -> Option<&Sent> {
        self.flight.front()
    }

    pub fn tail(&self) -> Option<&Sent> {
        self.flight.back()
    }

    /// Index of the bundle that starts here.
    pub fn find(&self, start: u64) -> Option<usize> {
        self.flight.binary_search_by_key(&start, |bundle| bundle.start).ok()
    }

    /// Index of the first bundle that ends behind `position`.
    pub fn first_behind(&self, position: u64) -> usize {
        self.flight.partition_point(|bundle| bundle.end() <= position)
    }

    /// The lost bundle to send again first.
    pub fn next_to_repair(&self) -> Option<u64> {
        self.to_repair.first().copied()
    }

    /// Marks a bundle lost; a retransmission of it, if in flight, too.
    pub fn mark_lost(&mut self, index: usize) {
        let bundle = &mut self.flight[index];
        if bundle.sacked {
            return;
        }
        if bundle.retransmitted {
            bundle.retransmitted = false;
            self.retrans_out -= bundle.segments;
        }
        if !bundle.lost {
            bundle.lost = true;
            self.lost_out += bundle.segments;
        }
        if self.to_repair.insert(bundle.start) {
            self.lost_total += u64::from(bundle.segments);
        }
    }

    /// Marks a bundle received out of order. Gives the bundle as it was before.
    pub fn mark_sacked(&mut self, index: usize) -> Sent {
        let bundle = &mut self.flight[index];
        assert!(!bundle.sacked, "sacked twice");
        let before = bundle.clone();
        bundle.sacked = true;
        self.sacked_out += bundle.segments;
        self.clear_marks(index);
        before
    }

    /// The receiver took a SACK back: nothing is known to have arrived.
    pub fn forget_sacks(&mut self) {
        for bundle in &mut self.flight {
            bundle.sacked = false;
        }
        self.sacked_out = 0;
    }

    /// No segment is lost after all (an undone recovery).
    pub fn unmark_lost(&mut self) {
        self.to_repair.clear();
        if self.lost_out > 0 {
            for bundle in &mut self.flight {
                bundle.lost = false;
            }
        }
        self.lost_out = 0;
    }

    fn clear_marks(&mut self, index: usize) {
        let bundle = &mut self.flight[index];
        if bundle.lost {
            bundle.lost = false;
            self.lost_out -= bundle.segments;
            self.to_repair.remove(&bundle.start);
        }
        if bundle.retransmitted {
            bundle.retransmitted = false;
            self.retrans_out -= bundle.segments;
        }
    }

    /// A bundle went out again. `counts` is false for a tail loss probe, which recovery does not see.
    pub fn mark_retransmitted(&mut self, now: SimTime, index: usize, counts: bool) {
        self.stamp(now, index);
        let bundle = &mut self.flight[index];
        bundle.ever_retransmitted = true;
        self.to_repair.remove(&bundle.start);
        if counts && !bundle.retransmitted {
            bundle.retransmitted = true;
            self.retrans_out += bundle.segments;
        }
    }

    /// Takes the first bundle if `una` covers it whole, and of the last that it covers in part the segments that it
    /// covers whole.
    pub fn pop_acked(&mut self, una: u64) -> Option<Sent> {
        let head = self.flight.front()?;
        if head.end() <= una {
            self.leave(0);
            let bundle = self.flight.pop_front().expect("just seen");
            self.to_repair.remove(&bundle.start);
            self.flight_bytes -= bundle.payload.len();
            return Some(bundle);
        }
        let acked = if head.start < una { self.trim_head(una) } else { None };
        self.prune(una);
        acked
    }

    /// Cuts off what `una` covers of the first bundle (Linux tcp_tso_acked).
    fn trim_head(&mut self, una: u64) -> Option<Sent> {
        self.leave(0);
        let head = &mut self.flight[0];
        let mut acked = head.clone();
        let cut = ((una - head.start) as usize).min(head.payload.len());
        acked.payload = head.payload.split_to(cut);
        acked.fin = false;
        head.start = una;
        head.syn = false;
        head.cut(head.mss);
        acked.segments -= head.segments;
        self.flight_bytes -= cut;
        let known = (head.transmission, acked.start);
        self.enter(0);
        if self.to_repair.remove(&acked.start) {
            self.to_repair.insert(una);
        }
        if let Ok(index) = self.order.binary_search(&known) {
            self.order[index].1 = una;
        }
        (acked.segments > 0).then_some(acked)
    }

    fn prune(&mut self, una: u64) {
        while self.order.front().is_some_and(|&(_, start)| start < una) {
            self.order.pop_front();
        }
    }

    /// The bundle that was sent longest ago of those neither delivered nor lost, from the `skip`th valid entry of the
    /// order of sending on. Drops entries that are out of date while it looks.
    pub fn oldest_sent(&mut self, skip: usize) -> Option<usize> {
        while let Some(&(transmission, start)) = self.order.get(skip) {
            let valid = self.find(start).filter(|&index| {
                let bundle = &self.flight[index];
                let outstanding = !bundle.lost || bundle.retransmitted;
                bundle.transmission == transmission && !bundle.sacked && outstanding
            });
            if valid.is_some() {
                return valid;
            }
            self.order.remove(skip);
        }
        None
    }

    /// Cuts a bundle in two after `len` bytes of payload, both into segments of `mss`; both keep its marks.
    pub fn split(&mut self, index: usize, len: usize, mss: usize) {
        self.leave(index);
        let first = &mut self.flight[index];
        assert!(len > 0 && len < first.payload.len(), "split inside the payload");
        let mut second = first.clone();
        second.payload = first.payload.split_off(len);
        second.start = first.start + len as u64;
        second.syn = false;
        (first.fin, first.psh) = (false, false);
        first.cut(mss);
        second.cut(mss);
        if self.to_repair.contains(&first.start) {
            self.to_repair.insert(second.start);
        }
        let order = ((first.transmission, first.start), (second.transmission, second.start));
        if let Ok(known) = self.order.binary_search(&order.0) {
            self.order.insert(known + 1, order.1);
        }
        self.flight.insert(index + 1, second);
        self.enter(index);
        self.enter(index + 1);
    }

    /// Cuts a bundle that is about to be sent again into segments of `mss`.
    pub fn recut(&mut self, index: usize, mss: usize) {
        self.leave(index);
        self.flight[index].cut(mss);
        self.enter(index);
    }

    /// Joins the segment after this one to it, if both are to be sent again, plain data and small enough
    /// (Linux tcp_retrans_try_collapse). Says whether it did.
    pub fn join_next(&mut self, index: usize, len_max: usize) -> bool {
        let (Some(first), Some(next)) = (self.flight.get(index), self.flight.get(index + 1)) else { return false };
        let fits = first.payload.len() + next.payload.len() <= len_max;
        let single = first.segments == 1 && next.segments == 1;
        if first.syn || first.fin || first.sacked || next.sacked || !single || !fits {
            return false;
        }
        self.clear_marks(index + 1);
        self.leave(index + 1);
        let next = self.flight.remove(index + 1).expect("just seen");
        let first = &mut self.flight[index];
        if !next.payload.is_empty() {
            let mut joined = BytesMut::with_capacity(first.payload.len() + next.payload.len());
            joined.extend_from_slice(&first.payload);
            joined.extend_from_slice(&next.payload);
            first.payload = joined.freeze();
        }
        first.fin = next.fin;
        first.psh |= next.psh;
        first.ever_retransmitted |= next.ever_retransmitted;
        true
    }

    /// Gives up everything (the connection died).
    pub fn purge(&mut self) {
        *self = SendQueue { transmissions: self.transmissions, ..SendQueue::default() };
    }

    /// Checks the books: the counters are what the marks say. For tests.
    #[cfg(test)]
    pub fn check(&self) {
        let count = |mark: fn(&Sent) -> bool| {
            self.flight.iter().filter(|bundle| mark(bundle)).map(|bundle| bundle.segments).sum::<u32>()
        };
        assert_eq!(self.packets_out, count(|_| true));
        assert_eq!(self.sacked_out, count(|s| s.sacked));
        assert_eq!(self.lost_out, count(|s| s.lost));
        assert_eq!(self.retrans_out, count(|s| s.retransmitted));
        assert_eq!(self.flight_bytes, self.flight.iter().map(|s| s.payload.len()).sum::<usize>());
        assert_eq!(self.unsent_len, self.unsent.iter().map(|buffer| buffer.len).sum::<usize>());
        assert_eq!(self.unsent_len, self.unsent_data.iter().map(BytesMut::len).sum::<usize>());
        for start in &self.to_repair {
            assert!(self.find(*start).is_some_and(|index| self.flight[index].lost), "{start} is to be repaired");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: usize = 100;

    fn flight(sizes: &[usize]) -> SendQueue {
        let mut queue = SendQueue::default();
        let mut at = 0;
        for &size in sizes {
            queue.push(&vec![7; size], size);
            let (payload, _) = queue.take_unsent(size);
            queue.launch(SimTime::ZERO, at, payload, MSS, TcpFlags::ACK);
            at += size as u64;
        }
        queue
    }

    #[test]
    fn marks_and_counters_agree() {
        let mut queue = flight(&[100, 100, 100, 100]);
        queue.mark_sacked(2);
        queue.mark_lost(0);
        queue.mark_lost(1);
        queue.mark_retransmitted(SimTime::ZERO, 0, true);
        queue.check();
        assert_eq!((queue.in_flight(), queue.next_to_repair()), (2, Some(100)));
        queue.split(1, 40, MSS);
        queue.check();
        assert_eq!((queue.packets_out(), queue.lost_out), (5, 3));
        assert!(queue.join_next(1, 100));
        queue.check();
        assert!(queue.pop_acked(150).is_some());
        assert!(queue.pop_acked(150).is_none());
        queue.check();
        assert_eq!(queue.next_to_repair(), Some(150));
        queue.unmark_lost();
        queue.check();
        assert_eq!(queue.lost_out, 0);
    }

    #[test]
    fn bundles_count_by_the_segment() {
        let mut queue = flight(&[250, 200]);
        assert_eq!((queue.packets_out(), queue.bundles(), queue.memory()), (5, 2, 450 + 2 * BUFFER_OVERHEAD));
        queue.mark_lost(0);
        queue.check();
        assert_eq!((queue.lost_out, queue.lost_total), (3, 3));
        // Half of the second arrived: it is cut, and both halves are found in the order of sending.
        queue.split(1, 100, MSS);
        queue.mark_sacked(2);
        queue.check();
        assert_eq!((queue.packets_out(), queue.sacked_out, queue.in_flight()), (5, 1, 1));
        assert_eq!(queue.oldest_sent(0), Some(1));
        // A part of the first is acknowledged: one segment whole, half of the second.
        let acked = queue.pop_acked(150).map(|acked| (acked.start, acked.end(), acked.segments));
        assert_eq!(acked, Some((0, 150, 2)));
        queue.check();
        assert_eq!((queue.packets_out(), queue.lost_out, queue.next_to_repair()), (3, 1, Some(150)));
        // A smaller path: three segments of what was one.
        queue.recut(0, 40);
        queue.check();
        assert_eq!(queue.lost_out, 3);
    }

    #[test]
    fn unsent_bytes_are_gathered_across_buffers() {
        let mut queue = SendQueue::default();
        for buffer in [&b"abc"[..], b"de", b"fghij"] {
            queue.push(buffer, 1);
        }
        assert_eq!(queue.take_unsent(6).0, &b"abcdef"[..]);
        assert_eq!(queue.take_unsent(4).0, &b"ghij"[..]);
        assert_eq!(queue.unsent_len(), 0);
    }

    #[test]
    fn a_buffer_is_filled_before_the_next_is_begun() {
        let mut queue = SendQueue::default();
        queue.push(b"abc", 5);
        assert_eq!(queue.tail_room(5), 2);
        queue.push(b"de", 5);
        queue.push(b"f", 5);
        assert_eq!((queue.first_unsent(), queue.memory()), ((5, true), 6 + 2 * BUFFER_OVERHEAD));
        queue.check();
    }

    #[test]
    fn psh_stays_at_the_end_of_its_buffer() {
        let mut queue = SendQueue::default();
        for buffer in [b"abcd", b"efgh"] {
            queue.push(buffer, 4);
            queue.set_psh(true);
        }
        assert_eq!(queue.take_unsent(2), (Bytes::from("ab"), false));
        // The first buffer grows, and its end moves.
        queue.grow_first(3);
        queue.check();
        assert_eq!(queue.take_unsent(3), (Bytes::from("cde"), true));
        // A probe of the window pushes, and so does what it leaves.
        queue.cut_first(1);
        queue.check();
        assert_eq!(queue.take_unsent(1), (Bytes::from("f"), true));
        assert_eq!(queue.take_unsent(2), (Bytes::from("gh"), true));
        // One that is used up leaves its own.
        for (buffer, psh) in [(b"ab", false), (b"cd", true)] {
            queue.push(buffer, 2);
            queue.set_psh(psh);
        }
        queue.grow_first(9);
        assert_eq!((queue.first_unsent(), queue.take_unsent(4).1), ((4, false), true));
    }

    #[test]
    fn psh_goes_with_the_last_part_of_a_bundle() {
        let mut queue = flight(&[250]);
        queue.flight[0].psh = true;
        queue.split(0, 100, MSS);
        assert_eq!([queue.flight[0].psh, queue.flight[1].psh], [false, true]);
        queue.split(1, 100, MSS);
        assert!(queue.join_next(1, 150));
        assert!(queue.flight[1].psh);
    }
}
