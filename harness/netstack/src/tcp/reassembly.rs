//! Segments that came before their turn, and the SACK blocks that tell the sender of them.

use std::collections::BTreeMap;

use bytes::Bytes;

/// SACK blocks are remembered in the order in which they last changed (RFC 2018): the first one holds the newest.
const BLOCKS_MAX: usize = 4;

/// Data beyond a gap, by its position in the stream. Pieces never overlap.
#[derive(Clone, Default, Debug)]
pub(super) struct Reassembly {
    pieces: BTreeMap<u64, Bytes>,
    bytes: usize,
    recent: Vec<(u64, u64)>,
}

impl Reassembly {
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where the last piece ends; 0 if there is none.
    pub fn end(&self) -> u64 {
        self.pieces.last_key_value().map_or(0, |(at, piece)| at + piece.len() as u64)
    }

    /// The blocks to tell, the one that changed last first.
    pub fn blocks(&self) -> &[(u64, u64)] {
        &self.recent
    }

    /// Takes data that starts beyond the next expected position. Gives the part that was here before, if any (for
    /// D-SACK): the whole of the segment's range that is covered, if it is covered whole.
    pub fn insert(&mut self, start: u64, data: Bytes) -> Option<(u64, u64)> {
        let end = start + data.len() as u64;
        let duplicate = self.covering(start, end);
        let mut from = start;
        let mut rest = data;
        while !rest.is_empty() {
            // Skip what an earlier piece holds.
            if let Some((&at, piece)) = self.pieces.range(..=from).next_back() {
                let held_to = at + piece.len() as u64;
                if held_to > from {
                    let skip = (held_to - from).min(rest.len() as u64);
                    rest = rest.slice(skip as usize..);
                    from += skip;
                    continue;
                }
            }
            let gap = self.pieces.range(from..).next().map_or(rest.len() as u64, |(&at, _)| at - from);
            let take = rest.split_to(gap.min(rest.len() as u64) as usize);
            self.bytes += take.len();
            let at = from;
            from += take.len() as u64;
            self.pieces.insert(at, take);
        }
        self.touch(start, end);
        duplicate
    }

    fn covering(&self, start: u64, end: u64) -> Option<(u64, u64)> {
        let mut at = start;
        while at < end {
            let (&from, piece) = self.pieces.range(..=at).next_back()?;
            let to = from + piece.len() as u64;
            if to <= at {
                return None;
            }
            at = to;
        }
        Some((start, end))
    }

    /// Merges a changed range into the recent blocks and puts it first.
    fn touch(&mut self, mut start: u64, mut end: u64) {
        self.recent.retain(|&(from, to)| {
            let apart = to < start || from > end;
            if !apart {
                (start, end) = (start.min(from), end.max(to));
            }
            apart
        });
        self.recent.insert(0, (start, end));
        self.recent.truncate(BLOCKS_MAX);
    }

    /// Takes the next piece if it continues the stream at `next`; what lies before `next` is thrown away.
    pub fn pop(&mut self, next: u64) -> Option<Bytes> {
        loop {
            let (&at, piece) = self.pieces.first_key_value()?;
            if at > next {
                return None;
            }
            let skip = ((next - at) as usize).min(piece.len());
            let (_, mut piece) = self.pieces.pop_first().expect("just seen");
            self.bytes -= piece.len();
            if skip < piece.len() {
                return Some(piece.split_off(skip));
            }
        }
    }

    /// Forgets blocks that the stream has passed.
    pub fn advance(&mut self, next: u64) {
        self.recent.retain(|&(_, to)| to > next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_out_in_order_and_once() {
        let whole: Vec<u8> = (0..100).collect();
        let part = |from: usize, to: usize| Bytes::copy_from_slice(&whole[from..to]);
        let mut held = Reassembly::default();
        for (from, to) in [(50, 60), (20, 30), (25, 55), (58, 80), (10, 20), (90, 100)] {
            held.insert(from as u64, part(from, to));
        }
        assert_eq!(held.blocks(), &[(90, 100), (10, 80)]);
        assert_eq!(held.bytes(), 80);
        let mut got = Vec::new();
        while let Some(piece) = held.pop(10 + got.len() as u64) {
            got.extend_from_slice(&piece);
        }
        assert_eq!(got, whole[10..80]);
        held.advance(80);
        assert_eq!(held.blocks(), &[(90, 100)]);
    }

    #[test]
    fn a_duplicate_is_told() {
        let mut held = Reassembly::default();
        assert_eq!(held.insert(10, Bytes::from_static(b"abcd")), None);
        assert_eq!(held.insert(11, Bytes::from_static(b"bc")), Some((11, 13)));
        assert_eq!(held.insert(12, Bytes::from_static(b"cdef")), None);
    }
}
