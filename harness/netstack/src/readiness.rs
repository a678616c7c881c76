//! What poll and epoll would say of a socket.

/// Readiness bits, with the values of Linux's EPOLL* (and POLL*) constants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Readiness(pub u32);

impl Readiness {
    /// Nothing.
    pub const NONE: Readiness = Readiness(0);
    /// Something to read, a connection to accept, or the end of the stream.
    pub const IN: Readiness = Readiness(0x001);
    /// Urgent data. Never set here.
    pub const PRI: Readiness = Readiness(0x002);
    /// Room to write, or a write would fail at once.
    pub const OUT: Readiness = Readiness(0x004);
    /// An error is waiting to be read (SO_ERROR).
    pub const ERR: Readiness = Readiness(0x008);
    /// Both directions are shut down, or the socket was never connected.
    pub const HUP: Readiness = Readiness(0x010);
    /// The other side will send no more.
    pub const RDHUP: Readiness = Readiness(0x2000);

    /// Whether any bit of `other` is set.
    pub const fn intersects(self, other: Readiness) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Readiness) -> bool {
        self.0 & other.0 == other.0
    }

    /// These bits and those of `other`.
    #[must_use]
    pub const fn with(self, other: Readiness) -> Readiness {
        Readiness(self.0 | other.0)
    }

    /// The bits that both have.
    #[must_use]
    pub const fn and(self, other: Readiness) -> Readiness {
        Readiness(self.0 & other.0)
    }
}
