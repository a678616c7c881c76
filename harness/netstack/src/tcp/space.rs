//! Sequence numbers as positions: 64 bits inside, 32 on the wire.
//!
//! Inside a connection every sequence number is a `u64` that grows and never wraps, so ordinary comparison is right and
//! the arithmetic of RFC 1982 stays at the edge, here.

use halfopen_fabric::packet::SeqNum;

/// Where the SYN stands: far from zero, so that what lies before it is still a position.
pub(super) const ORIGIN: u64 = 1 << 32;

/// One direction's sequence space.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    initial: SeqNum,
}

impl Space {
    pub fn new(initial: SeqNum) -> Space {
        Space { initial }
    }

    /// The number on the wire for a position.
    pub fn wire(self, position: u64) -> SeqNum {
        self.initial.add(position.wrapping_sub(ORIGIN) as u32)
    }

    /// The position of a number on the wire, the one nearest to `near`.
    pub fn position(self, seq: SeqNum, near: u64) -> u64 {
        let distance = seq.since(self.wire(near)) as i32;
        near.saturating_add_signed(i64::from(distance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_survive_the_wrap() {
        let space = Space::new(SeqNum(u32::MAX - 5));
        for position in [ORIGIN, ORIGIN + 5, ORIGIN + 6, ORIGIN + 100, ORIGIN + (1 << 33)] {
            for near in [position - 1000, position, position + 1000] {
                assert_eq!(space.position(space.wire(position), near), position);
            }
        }
    }
}
