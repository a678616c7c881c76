//! A DNS server as an ordinary program: a recursive cache with the zone behind it, over UDP and TCP, on blocking std
//! sockets and threads. It runs on a host of the simulated network, and just as well on a real loopback.
//!
//! Suggested reading order: `zone` (names and what they lead to), `cache` (what the recursive cache keeps and for how
//! long), `shared` (the state that the timeline changes while the server runs), `reply` (bytes to bytes), `transport`
//! (sockets and threads).
//!
//! **Invariant:** `zone`, `cache` and `reply` read no clock and touch no socket: they are told the time.
//!
//! It speaks for every name there is: what the zone does not know does not exist. EDNS0 (RFC 6891) is understood for
//! its message size; there are no zone transfers, no DNSSEC, and no types but A, AAAA and CNAME with data.

mod cache;
mod reply;
mod shared;
#[cfg(test)]
mod tests;
mod transport;
mod zone;

use std::net::{IpAddr, SocketAddr};

pub use cache::CachePolicy;
pub use shared::{Behaviour, Settings, Shared};
pub use transport::{Server, serve};
pub use zone::{InvalidName, Zone};

/// What a question came over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Transport {
    Udp,
    Tcp,
}

/// One question and what became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answered {
    /// Who asked.
    pub peer: SocketAddr,
    /// Over what.
    pub transport: Transport,
    /// The name as it was asked for, in lower case, without a dot at the end.
    pub name: String,
    /// The type asked for: `A`, `AAAA`, ...
    pub record_type: String,
    /// `NOERROR`, `NXDOMAIN`, `SERVFAIL`, `REFUSED`; `SILENCE` where the question was dropped.
    pub code: &'static str,
    /// The addresses in the answer.
    pub addresses: Vec<IpAddr>,
    /// Whether TC is set: the question must come again over TCP.
    pub truncated: bool,
}
