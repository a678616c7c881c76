//! How a host looks names up: what a scenario sets and the virtual kernel does.

use std::net::IpAddr;

use crate::time::SimDuration;

/// How a host's C library caches names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StubCache {
    /// glibc: no cache at all.
    #[default]
    None,
    /// Honours the TTL of the answer.
    Ttl,
    /// The old JVM: an answer is kept for ever.
    Forever,
    /// The new JVM: an answer is kept this long, whatever its TTL.
    Fixed(SimDuration),
}

/// resolv.conf(5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResolverConfig {
    /// `nameserver` lines, in order.
    pub nameservers: Vec<IpAddr>,
    /// The `search` list.
    pub search: Vec<String>,
    /// `options ndots:`.
    pub ndots: u32,
    /// `options timeout:`, for each attempt at each server.
    pub timeout: SimDuration,
    /// `options attempts:`.
    pub attempts: u32,
    /// `options rotate`.
    pub rotate: bool,
    /// `options single-request`.
    pub single_request: bool,
    /// `options single-request-reopen`.
    pub single_request_reopen: bool,
    /// `options use-vc`: TCP only.
    pub use_vc: bool,
    /// What the C library, or a runtime above it, remembers.
    pub cache: StubCache,
}

impl Default for ResolverConfig {
    /// What resolv.conf(5) says of an empty file, and no server.
    fn default() -> ResolverConfig {
        ResolverConfig {
            nameservers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: SimDuration::from_secs(5),
            attempts: 2,
            rotate: false,
            single_request: false,
            single_request_reopen: false,
            use_vc: false,
            cache: StubCache::None,
        }
    }
}
