//! Identities: small numbers that are not integers, so that one cannot be passed for another.

use std::fmt;

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(u32);

        impl $name {
            /// The identity with this number; numbers start at 0 and leave no gaps.
            pub const fn new(number: u32) -> $name {
                $name(number)
            }

            /// Its number, for use as an index.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

identity!(
    /// A host of the simulated network: one process, one kernel, one set of addresses.
    HostId, "h"
);
identity!(
    /// One element of a route: a link, a NAT, a firewall. Shared elements have one identity.
    ElementId, "e"
);
identity!(
    /// One path between two groups of hosts.
    RouteId, "r"
);
identity!(
    /// A fault of the scenario's timeline, in the order of the file.
    FaultId, "f"
);
identity!(
    /// A simulated thread. Never used again within a run.
    Tid, "t"
);

/// One piece of work that the load asked a client for, numbered over the whole run from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OpId(pub u64);

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "op{}", self.0)
    }
}
