//! What the program wrote: first as bytes not yet sent, then as segments in flight with their scoreboard.
//!
//! Positions are 64-bit offsets into the stream (see [`super::space`]), so that `<` means what it says. Walks over the
//! whole queue happen once for each retransmission timeout; an ACK touches what it acknowledges and no more.

use std::collections::{BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use halfopen_core::SimTime;

/// A segment that was sent and is not yet acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub start: u64,
    pub payload: Bytes,
    pub syn: bool,
    pub fin: bool,
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
}

/// The send queue.
#[derive(Clone, Default, Debug)]
pub(super) struct SendQueue {
    unsent: VecDeque<Bytes>,
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
    pub sacked_out: u32,
    pub lost_out: u32,
    pub retrans_out: u32,
    /// All marks of loss ever made: how many an event added is the difference.
    pub lost_total: u64,
}

impl SendQueue {
    /// Appends what the program wrote.
    pub fn push(&mut self, data: Bytes) {
        self.unsent_len += data.len();
        self.unsent.push_back(data);
    }

    pub fn unsent_len(&self) -> usize {
        self.unsent_len
    }

    /// Bytes written and not acknowledged.
    pub fn len(&self) -> usize {
        self.unsent_len + self.flight_bytes
    }

    /// Whether there is anything to send for the first time, a FIN included.
    pub fn has_unsent(&self) -> bool {
        self.unsent_len > 0 || self.fin_waiting
    }

    pub fn packets_out(&self) -> u32 {
        self.flight.len() as u32
    }

    /// Segments believed to be in the network (RFC 6675's pipe).
    pub fn in_flight(&self) -> u32 {
        (self.packets_out() + self.retrans_out).saturating_sub(self.sacked_out + self.lost_out)
    }

    /// Takes the next `len` unsent bytes; without a copy where they lie in one piece.
    pub fn take_unsent(&mut self, len: usize) -> Bytes {
        assert!(len <= self.unsent_len, "{len} of {} unsent bytes", self.unsent_len);
        self.unsent_len -= len;
        if len == 0 {
            return Bytes::new();
        }
        let first = self.unsent.front_mut().expect("unsent bytes");
        if first.len() > len {
            return first.split_to(len);
        }
        if first.len() == len {
            return self.unsent.pop_front().expect("just seen");
        }
        let mut gathered = BytesMut::with_capacity(len);
        while gathered.len() < len {
            let chunk = self.unsent.front_mut().expect("unsent bytes");
            let part = chunk.split_to((len - gathered.len()).min(chunk.len()));
            gathered.extend_from_slice(&part);
            if chunk.is_empty() {
                self.unsent.pop_front();
            }
        }
        gathered.freeze()
    }

    /// Puts a segment in flight.
    pub fn launch(&mut self, now: SimTime, start: u64, payload: Bytes, syn: bool, fin: bool) {
        assert!(self.flight.back().is_none_or(|last| last.end() == start), "flight has no gaps");
        self.flight_bytes += payload.len();
        self.flight.push_back(Sent {
            start,
            payload,
            syn,
            fin,
            sent_at: now,
            transmission: 0,
            sacked: false,
            lost: false,
            retransmitted: false,
            ever_retransmitted: false,
        });
        self.stamp(now, self.flight.len() - 1);
    }

    fn stamp(&mut self, now: SimTime, index: usize) {
        self.transmissions += 1;
        let segment = &mut self.flight[index];
        segment.transmission = self.transmissions;
        segment.sent_at = now;
        self.order.push_back((self.transmissions, segment.start));
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

    /// Index of the segment that starts here.
    pub fn find(&self, start: u64) -> Option<usize> {
        self.flight.binary_search_by_key(&start, |segment| segment.start).ok()
    }

    /// Index of the first segment that starts at `position` or later.
    pub fn first_from(&self, position: u64) -> usize {
        self.flight.partition_point(|segment| segment.start < position)
    }

    /// The lost segment to send again first.
    pub fn next_to_repair(&self) -> Option<u64> {
        self.to_repair.first().copied()
    }

    /// Marks a segment lost; a retransmission of it, if in flight, too.
    pub fn mark_lost(&mut self, index: usize) {
        let segment = &mut self.flight[index];
        if segment.sacked {
            return;
        }
        if segment.retransmitted {
            segment.retransmitted = false;
            self.retrans_out -= 1;
        }
        if !segment.lost {
            segment.lost = true;
            self.lost_out += 1;
        }
        if self.to_repair.insert(segment.start) {
            self.lost_total += 1;
        }
    }

    /// Marks a segment received out of order. Gives the segment as it was before.
    pub fn mark_sacked(&mut self, index: usize) -> Sent {
        let segment = &mut self.flight[index];
        assert!(!segment.sacked, "sacked twice");
        let before = segment.clone();
        segment.sacked = true;
        self.sacked_out += 1;
        self.clear_marks(index);
        before
    }

    /// The receiver took a SACK back: nothing is known to have arrived.
    pub fn forget_sacks(&mut self) {
        for segment in &mut self.flight {
            segment.sacked = false;
        }
        self.sacked_out = 0;
    }

    /// No segment is lost after all (an undone recovery).
    pub fn unmark_lost(&mut self) {
        self.to_repair.clear();
        if self.lost_out > 0 {
            for segment in &mut self.flight {
                segment.lost = false;
            }
        }
        self.lost_out = 0;
    }

    fn clear_marks(&mut self, index: usize) {
        let segment = &mut self.flight[index];
        if segment.lost {
            segment.lost = false;
            self.lost_out -= 1;
            self.to_repair.remove(&segment.start);
        }
        if segment.retransmitted {
            segment.retransmitted = false;
            self.retrans_out -= 1;
        }
    }

    /// A segment went out again. `counts` is false for a tail loss probe, which recovery does not see.
    pub fn mark_retransmitted(&mut self, now: SimTime, index: usize, counts: bool) {
        self.stamp(now, index);
        let segment = &mut self.flight[index];
        segment.ever_retransmitted = true;
        self.to_repair.remove(&segment.start);
        if counts && !segment.retransmitted {
            segment.retransmitted = true;
            self.retrans_out += 1;
        }
    }

    /// Takes the first segment if `una` covers it whole; cuts what it covers of the first otherwise.
    pub fn pop_acked(&mut self, una: u64) -> Option<Sent> {
        let head = self.flight.front()?;
        if head.end() <= una {
            self.clear_marks(0);
            let segment = self.flight.pop_front().expect("just seen");
            if segment.sacked {
                self.sacked_out -= 1;
            }
            self.flight_bytes -= segment.payload.len();
            return Some(segment);
        }
        if head.start < una {
            self.trim_head(una);
        }
        self.prune(una);
        None
    }

    fn trim_head(&mut self, una: u64) {
        let head = &mut self.flight[0];
        let cut = (una - head.start) as usize;
        let was = head.start;
        head.payload = head.payload.slice(cut.min(head.payload.len())..);
        head.start = una;
        self.flight_bytes -= cut;
        let transmission = head.transmission;
        if self.to_repair.remove(&was) {
            self.to_repair.insert(una);
        }
        for entry in &mut self.order {
            if entry.0 == transmission {
                entry.1 = una;
                break;
            }
        }
    }

    fn prune(&mut self, una: u64) {
        while self.order.front().is_some_and(|&(_, start)| start < una) {
            self.order.pop_front();
        }
    }

    /// The segment that was sent longest ago of those neither delivered nor lost, from the `skip`th valid entry of the
    /// order of sending on. Drops entries that are out of date while it looks.
    pub fn oldest_sent(&mut self, skip: usize) -> Option<usize> {
        while let Some(&(transmission, start)) = self.order.get(skip) {
            let valid = self.find(start).filter(|&index| {
                let segment = &self.flight[index];
                let outstanding = !segment.lost || segment.retransmitted;
                segment.transmission == transmission && !segment.sacked && outstanding
            });
            if valid.is_some() {
                return valid;
            }
            self.order.remove(skip);
        }
        None
    }

    /// Cuts a segment in two after `len` bytes of payload; both halves keep its marks.
    pub fn split(&mut self, index: usize, len: usize) {
        let segment = &mut self.flight[index];
        assert!(len > 0 && len < segment.payload.len(), "split inside the payload");
        let mut second = segment.clone();
        second.payload = segment.payload.split_off(len);
        second.start = segment.start + len as u64;
        second.syn = false;
        segment.fin = false;
        let segment = segment.clone();
        self.sacked_out += u32::from(second.sacked);
        self.lost_out += u32::from(second.lost);
        self.retrans_out += u32::from(second.retransmitted);
        if self.to_repair.contains(&segment.start) {
            self.to_repair.insert(second.start);
        }
        self.flight.insert(index + 1, second);
    }

    /// Joins the segment after this one to it, if both are to be sent again, plain data and small enough
    /// (Linux `tcp_retrans_try_collapse`). Says whether it did.
    pub fn join_next(&mut self, index: usize, len_max: usize) -> bool {
        let (Some(first), Some(next)) = (self.flight.get(index), self.flight.get(index + 1)) else { return false };
        let fits = first.payload.len() + next.payload.len() <= len_max;
        if first.syn || first.fin || first.sacked || next.sacked || !fits {
            return false;
        }
        self.clear_marks(index + 1);
        let next = self.flight.remove(index + 1).expect("just seen");
        let first = &mut self.flight[index];
        if !next.payload.is_empty() {
            let mut joined = BytesMut::with_capacity(first.payload.len() + next.payload.len());
            joined.extend_from_slice(&first.payload);
            joined.extend_from_slice(&next.payload);
            first.payload = joined.freeze();
        }
        first.fin = next.fin;
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
        let count = |mark: fn(&Sent) -> bool| self.flight.iter().filter(|segment| mark(segment)).count() as u32;
        assert_eq!(self.lost_out, count(|s| s.lost));
        assert_eq!(self.retrans_out, count(|s| s.retransmitted));
        assert_eq!(self.flight_bytes, self.flight.iter().map(|s| s.payload.len()).sum::<usize>());
        assert_eq!(self.unsent_len, self.unsent.iter().map(Bytes::len).sum::<usize>());
        for start in &self.to_repair {
            assert!(self.find(*start).is_some_and(|index| self.flight[index].lost), "{start} is to be repaired");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(sizes: &[usize]) -> SendQueue {
        let mut queue = SendQueue::default();
        let mut at = 0;
        for &size in sizes {
            queue.push(Bytes::from(vec![7; size]));
            let payload = queue.take_unsent(size);
            queue.launch(SimTime::ZERO, at, payload, false, false);
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
        queue.split(1, 40);
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
    fn unsent_bytes_are_gathered_across_writes() {
        let mut queue = SendQueue::default();
        for write in [&b"abc"[..], b"de", b"fghij"] {
            queue.push(Bytes::copy_from_slice(write));
        }
        assert_eq!(queue.take_unsent(6), &b"abcdef"[..]);
        assert_eq!(queue.take_unsent(4), &b"ghij"[..]);
        assert_eq!(queue.unsent_len(), 0);
    }
}
