//! What a host's C library remembers between lookups: a stub cache, if the scenario gives it one, and whose turn it is
//! under `options rotate`.
//!
//! | policy | an answer is kept | a failure is kept |
//! | --- | --- | --- |
//! | `none` (glibc) | no | no |
//! | `ttl` (a caching stub) | for the least TTL of its records | NXDOMAIN, NODATA: as the SOA says (RFC 2308) |
//! | `forever` (the old JVM) | for ever | any: 10 s |
//! | a fixed time (the new JVM) | that long, whatever its TTL | any: 10 s |
//!
//! The JVM's figures are `networkaddress.cache.ttl` and `networkaddress.cache.negative.ttl` of its `java.security`
//! (JDK 17: 30 s positive, -1 with a security manager, 10 s negative).

use std::collections::BTreeMap;

use halfopen_core::{SimDuration, SimTime};

use super::{Found, GaiError, ResolverSystem, Wanted};
use crate::StubCache;

/// How long the JVM keeps a failure: `networkaddress.cache.negative.ttl` of JDK 17's `java.security`.
pub(super) const JVM_NEGATIVE: SimDuration = SimDuration::from_secs(10);
/// Entries of one host's cache, as in systemd-resolved (CACHE_MAX of resolved-dns-cache.c).
const ENTRIES_MAX: usize = 4096;

/// What is remembered for a host. It dies with the host's process: a restart begins with [`HostState::default`].
#[derive(Clone, Debug, Default)]
pub struct HostState {
    entries: BTreeMap<(String, Wanted), Entry>,
    /// Whose turn it is next; `None` before the first exchange.
    rotation: Option<usize>,
}

#[derive(Clone, Debug)]
struct Entry {
    result: Result<Found, GaiError>,
    /// The entry is good before this instant.
    until: SimTime,
}

/// A result from DNS and how long it may be kept by its own account.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub(super) result: Result<Found, GaiError>,
    /// The least TTL of the records that led to the result, or that of the negative answer's SOA. `None`: the failure
    /// says nothing about the name.
    pub(super) ttl: Option<SimDuration>,
}

impl HostState {
    /// The number of the exchange, counted from `fresh` by the process's first.
    pub(super) fn next_rotation(&mut self, fresh: u16) -> usize {
        let turn = self.rotation.unwrap_or(usize::from(fresh));
        self.rotation = Some(turn.wrapping_add(1));
        turn
    }

    /// What is known of a name, in lower case, for these families.
    pub(super) fn recall(&self, name: &str, wanted: Wanted, now: SimTime) -> Option<Result<Found, GaiError>> {
        let entry = self.entries.get(&(name.to_owned(), wanted))?;
        (now < entry.until).then(|| entry.result.clone())
    }

    /// Keeps a result for as long as the policy says.
    pub(super) fn remember(
        &mut self,
        policy: StubCache,
        name: &str,
        wanted: Wanted,
        resolved: &Resolved,
        now: SimTime,
    ) {
        let Some(until) = kept_until(policy, resolved, now).filter(|until| *until > now) else { return };
        let key = (name.to_owned(), wanted);
        if self.entries.len() >= ENTRIES_MAX && !self.entries.contains_key(&key) {
            self.make_room(now);
        }
        self.entries.insert(key, Entry { result: resolved.result.clone(), until });
        assert!(self.entries.len() <= ENTRIES_MAX);
    }

    /// Drops what is out of date, or else what will be first.
    fn make_room(&mut self, now: SimTime) {
        self.entries.retain(|_, entry| now < entry.until);
        if self.entries.len() >= ENTRIES_MAX {
            let first = self.entries.iter().min_by_key(|(_, entry)| entry.until).map(|(key, _)| key.clone());
            self.entries.remove(&first.expect("a full cache has entries"));
        }
    }
}

/// Does something with the host's state and says what came of it.
pub(super) fn with_state<R>(system: &mut dyn ResolverSystem, f: impl FnOnce(&mut HostState) -> R) -> R {
    let mut f = Some(f);
    let mut result = None;
    system.with_host_state(&mut |state| result = f.take().map(|f| f(state)));
    result.expect("the system lends the state once")
}

fn kept_until(policy: StubCache, resolved: &Resolved, now: SimTime) -> Option<SimTime> {
    match (policy, &resolved.result) {
        (StubCache::None, _) => None,
        (StubCache::Ttl, _) => resolved.ttl.map(|ttl| now + ttl),
        (StubCache::Forever, Ok(_)) => Some(SimTime::FAR_FUTURE),
        (StubCache::Fixed(span), Ok(_)) => Some(now + span),
        (StubCache::Forever | StubCache::Fixed(_), Err(_)) => Some(now + JVM_NEGATIVE),
    }
}
