//! Who is compared.

use std::path::{Path, PathBuf};

/// halfopen, or one that it is compared with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Peer {
    /// halfopen itself.
    Halfopen,
    /// The kernel's loopback device.
    Loopback,
    /// turmoil with its default tick of 1 ms.
    Turmoil,
    /// turmoil with a tick of 10 ms.
    Turmoil10,
    /// turmoil-net.
    TurmoilNet,
    /// madsim.
    Madsim,
}

impl Peer {
    /// All of them, in the order of the table's columns.
    pub const ALL: [Peer; 6] =
        [Peer::Halfopen, Peer::Loopback, Peer::Turmoil, Peer::Turmoil10, Peer::TurmoilNet, Peer::Madsim];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Halfopen => "halfopen",
            Peer::Loopback => "loopback",
            Peer::Turmoil => "turmoil",
            Peer::Turmoil10 => "turmoil-10ms",
            Peer::TurmoilNet => "turmoil-net",
            Peer::Madsim => "madsim",
        }
    }

    /// The head of its column.
    pub fn title(self) -> &'static str {
        match self {
            Peer::Halfopen => "halfopen",
            Peer::Loopback => "real loopback [1]",
            Peer::Turmoil => "turmoil [2]",
            Peer::Turmoil10 => "turmoil, tick 10 ms [2]",
            Peer::TurmoilNet => "turmoil-net [3]",
            Peer::Madsim => "madsim [4]",
        }
    }

    /// Its package in this workspace.
    pub fn package(self) -> &'static str {
        match self {
            Peer::Halfopen => "bench-halfopen",
            Peer::Loopback => "bench-loopback",
            Peer::Turmoil | Peer::Turmoil10 => "bench-turmoil",
            Peer::TurmoilNet => "bench-turmoil-net",
            Peer::Madsim => "bench-madsim",
        }
    }

    /// The compiler flags that it cannot be built without.
    pub fn flags(self) -> Option<&'static str> {
        (self == Peer::Madsim).then_some("--cfg madsim")
    }

    /// Its target folder: what needs flags of its own gets one of its own.
    pub fn target(self, target: &Path) -> PathBuf {
        if self.flags().is_some() { target.join(self.name()) } else { target.to_owned() }
    }

    /// Its binary.
    pub fn binary(self, target: &Path) -> PathBuf {
        self.target(target).join("release").join(self.package())
    }

    /// What its binary takes besides what all take.
    pub fn settings(self) -> &'static [&'static str] {
        match self {
            Peer::Turmoil => &["tick_ms=1"],
            Peer::Turmoil10 => &["tick_ms=10"],
            Peer::Halfopen | Peer::Loopback | Peer::TurmoilNet | Peer::Madsim => &[],
        }
    }
}
