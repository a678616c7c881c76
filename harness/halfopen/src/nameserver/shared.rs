//! The server's state, which the timeline changes while the server runs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};

use super::cache::{Cache, CachePolicy, Known};
use super::zone::{InvalidName, Zone, parse_name};

/// Links of a CNAME chain that are followed; a loop ends in SERVFAIL, as with other servers.
const CNAME_CHAIN_MAX: usize = 8;

/// How the server is set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// What the recursive cache does with TTLs.
    pub cache: CachePolicy,
    /// How long the recursive cache takes to ask the zone where it has no copy.
    pub latency: Duration,
    /// How long it may be kept that a name or a type does not exist (RFC 2308).
    pub negative_ttl: Duration,
    /// Whether the addresses of a name take turns at the head of the answer.
    pub round_robin: bool,
}

impl Default for Settings {
    /// An honest cache with the zone next door; negative answers last 30 s.
    fn default() -> Settings {
        Settings {
            cache: CachePolicy::Honour,
            latency: Duration::ZERO,
            negative_ttl: Duration::from_secs(30),
            round_robin: false,
        }
    }
}

/// What the server does with questions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behaviour {
    /// Answers as it should.
    Answer,
    /// Answers as it should, but so much later.
    Delay(Duration),
    /// Says SERVFAIL.
    ServFail,
    /// Says NXDOMAIN.
    NxDomain,
    /// Says REFUSED.
    Refused,
    /// Says nothing.
    Silence,
    /// Sets TC and leaves the answer out over UDP; answers over TCP.
    Truncate,
}

/// The zone, the cache and how the server behaves: shared between the server and those who change it.
#[derive(Debug)]
pub struct Shared(Mutex<State>);

#[derive(Debug)]
struct State {
    settings: Settings,
    zone: Zone,
    cache: Cache,
    /// `None`: for every name that has none of its own.
    behaviours: BTreeMap<Option<Name>, Behaviour>,
    turns: BTreeMap<Name, usize>,
}

/// The answer section and the code of a reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Resolution {
    pub(super) code: ResponseCode,
    /// The aliases on the way: owner, target, TTL.
    pub(super) aliases: Vec<(Name, Name, Duration)>,
    /// The name that the addresses belong to.
    pub(super) owner: Name,
    pub(super) addresses: Vec<IpAddr>,
    /// Of the addresses; of the SOA where there are none.
    pub(super) ttl: Duration,
}

impl Shared {
    /// A server's state at the start.
    pub fn new(zone: Zone, settings: Settings) -> Shared {
        let cache = Cache::new(settings.cache, settings.negative_ttl);
        Shared(Mutex::new(State { settings, zone, cache, behaviours: BTreeMap::new(), turns: BTreeMap::new() }))
    }

    /// Gives a name these addresses from now on; askers see it when the cached copy has run out. No addresses: the
    /// name stays, without data.
    pub fn set_record(&self, name: &str, addresses: Vec<IpAddr>, ttl: Duration) -> Result<(), InvalidName> {
        self.lock().zone.set_addresses(name, addresses, ttl)
    }

    /// Makes a name an alias from now on.
    pub fn set_alias(&self, name: &str, target: &str, ttl: Duration) -> Result<(), InvalidName> {
        self.lock().zone.set_alias(name, target, ttl)
    }

    /// Removes a name from the zone; says whether it was there.
    pub fn remove(&self, name: &str) -> Result<bool, InvalidName> {
        self.lock().zone.remove(name)
    }

    /// What the server does with questions for this name, or (`None`) for every name that has no behaviour of its own.
    /// [`Behaviour::Answer`] takes back what was set before.
    pub fn set_behaviour(&self, name: Option<&str>, behaviour: Behaviour) -> Result<(), InvalidName> {
        let name = name.map(parse_name).transpose()?;
        let mut state = self.lock();
        match behaviour {
            Behaviour::Answer => drop(state.behaviours.remove(&name)),
            other => drop(state.behaviours.insert(name, other)),
        }
        Ok(())
    }

    /// Freezes the cache: it goes on answering what it and the zone say now, past any TTL, and learns nothing new,
    /// until it is told `false`.
    pub fn freeze(&self, on: bool) {
        let now = now();
        let state = &mut *self.lock();
        match on {
            true => state.cache.freeze(&state.zone, now),
            false => state.cache.thaw(),
        }
    }

    pub(super) fn behaviour(&self, name: &Name) -> Behaviour {
        let state = self.lock();
        let own = state.behaviours.get(&Some(name.clone()));
        own.or_else(|| state.behaviours.get(&None)).copied().unwrap_or(Behaviour::Answer)
    }

    pub(super) fn negative_ttl(&self) -> Duration {
        self.lock().settings.negative_ttl
    }

    /// How long an answer takes, on top of any delay that the behaviour asks for.
    pub(super) fn latency(&self, name: &Name, record_type: RecordType, now: Instant) -> Duration {
        let mut state = self.lock();
        if state.settings.latency.is_zero() || state.knows(name, record_type, now) {
            return Duration::ZERO;
        }
        state.settings.latency
    }

    pub(super) fn resolve(&self, name: &Name, record_type: RecordType, now: Instant) -> Resolution {
        self.lock().resolve(name, record_type, now)
    }

    /// A thread that panicked while it held the lock cannot have left a half-made change: each is one assignment.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the cache has every link of the chain. Looking a link up that it has changes nothing.
    fn knows(&mut self, name: &Name, record_type: RecordType, now: Instant) -> bool {
        let mut name = name.clone();
        for _ in 0..=CNAME_CHAIN_MAX {
            if !self.cache.has(&name, record_type, now) {
                return false;
            }
            match self.cache.look_up(&self.zone, &name, record_type, now).0 {
                Known::Alias(target) => name = target,
                _ => return true,
            }
        }
        true
    }

    fn resolve(&mut self, name: &Name, record_type: RecordType, now: Instant) -> Resolution {
        let mut owner = name.clone();
        let mut aliases = Vec::new();
        loop {
            let (known, ttl) = self.cache.look_up(&self.zone, &owner, record_type, now);
            let (code, addresses) = match known {
                Known::Alias(_) if aliases.len() == CNAME_CHAIN_MAX => (ResponseCode::ServFail, Vec::new()),
                Known::Alias(target) => {
                    aliases.push((owner, target.clone(), ttl));
                    owner = target;
                    // Asked for the alias itself, there is no need to follow it.
                    if record_type != RecordType::CNAME {
                        continue;
                    }
                    (ResponseCode::NoError, Vec::new())
                }
                Known::Addresses(addresses) => (ResponseCode::NoError, self.take_turns(&owner, addresses)),
                Known::NoData => (ResponseCode::NoError, Vec::new()),
                Known::Nonexistent => (ResponseCode::NXDomain, Vec::new()),
            };
            return Resolution { code, aliases, owner, addresses, ttl };
        }
    }

    fn take_turns(&mut self, owner: &Name, mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
        if self.settings.round_robin {
            let turn = self.turns.entry(owner.clone()).or_default();
            let first = *turn % addresses.len();
            *turn = turn.wrapping_add(1);
            addresses.rotate_left(first);
        }
        addresses
    }
}

/// The present instant: virtual on a simulated host.
#[expect(clippy::disallowed_methods, reason = "an ordinary program: its clock is that of the host it runs on")]
pub(super) fn now() -> Instant {
    Instant::now()
}
