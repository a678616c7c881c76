//! The recursive cache before the zone: a change of the zone is seen only when the copy here has run out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hickory_proto::rr::{Name, RecordType};

use super::zone::{Data, Entry, Zone};

/// Copies that the cache keeps (CoreDNS keeps 9984 of each kind by default).
const COPIES_MAX: usize = 10_000;
/// The TTL of an answer past its time, from a frozen cache (RFC 8767, section 4).
const STALE_TTL: Duration = Duration::from_secs(30);

/// What a recursive cache does with the TTL of a record. Negative answers are kept for the zone's negative TTL under
/// every policy but `None`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CachePolicy {
    /// Keeps answers for their TTL, and says what is left of it.
    #[default]
    Honour,
    /// Keeps nothing: every question reaches the zone.
    None,
    /// Keeps answers for ever, and says the full TTL each time.
    Ignore,
    /// Keeps answers for their TTL, but at least and at most so long; the TTL it says is changed likewise.
    Clamp {
        /// At least.
        least: Duration,
        /// At most; the lesser of the two counts if `least` is longer.
        most: Duration,
    },
}

/// What is known of one name and one type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Known {
    /// At least one.
    Addresses(Vec<IpAddr>),
    Alias(Name),
    /// The name exists, but has nothing of this type.
    NoData,
    Nonexistent,
}

#[derive(Clone, Debug)]
struct Kept {
    known: Known,
    /// The TTL when it was made.
    ttl: Duration,
    /// When it was made.
    at: Instant,
}

#[derive(Clone, Debug)]
pub(super) struct Cache {
    policy: CachePolicy,
    negative_ttl: Duration,
    frozen: bool,
    copies: BTreeMap<(Name, RecordType), Kept>,
}

impl Cache {
    pub(super) fn new(policy: CachePolicy, negative_ttl: Duration) -> Cache {
        Cache { policy, negative_ttl, frozen: false, copies: BTreeMap::new() }
    }

    /// Whether this can be answered without asking the zone.
    pub(super) fn has(&self, name: &Name, record_type: RecordType, now: Instant) -> bool {
        let key = (name.clone(), record_type);
        self.frozen || self.copies.get(&key).is_some_and(|copy| self.is_good(copy, now))
    }

    /// What the cache says of a name, and for how long it may be kept. Asks the zone where it has no good copy.
    pub(super) fn look_up(
        &mut self,
        zone: &Zone,
        name: &Name,
        record_type: RecordType,
        now: Instant,
    ) -> (Known, Duration) {
        let key = (name.clone(), record_type);
        if let Some(copy) = self.copies.get(&key).filter(|copy| self.frozen || self.is_good(copy, now)) {
            return (copy.known.clone(), self.ttl_left(copy, now));
        }
        if self.frozen {
            // It was not there when the cache froze, and nothing new is learned.
            return (Known::Nonexistent, self.negative_ttl);
        }
        let copy = self.copy_of(zone, name, record_type, now);
        let answer = (copy.known.clone(), copy.ttl);
        if self.policy != CachePolicy::None {
            self.keep(key, copy, now);
        }
        answer
    }

    /// Freezes the cache as one in steady use: it knows every name of the zone, be it by an older copy that was still
    /// good. From then on it answers from its copies, past their time too, until it thaws.
    pub(super) fn freeze(&mut self, zone: &Zone, now: Instant) {
        for name in zone.names() {
            for record_type in [RecordType::A, RecordType::AAAA] {
                if !self.has(name, record_type, now) {
                    let copy = self.copy_of(zone, name, record_type, now);
                    self.keep((name.clone(), record_type), copy, now);
                }
            }
        }
        self.frozen = true;
    }

    pub(super) fn thaw(&mut self) {
        self.frozen = false;
        if self.policy == CachePolicy::None {
            self.copies.clear();
        }
    }

    fn copy_of(&self, zone: &Zone, name: &Name, record_type: RecordType, now: Instant) -> Kept {
        let (known, ttl) = match zone.find(name) {
            Entry::Record(record) => match (&record.data, of_type(&record.data, record_type)) {
                (Data::Alias(target), _) => (Known::Alias(target.clone()), self.clamp(record.ttl)),
                (Data::Addresses(_), addresses) if addresses.is_empty() => (Known::NoData, self.negative_ttl),
                (Data::Addresses(_), addresses) => (Known::Addresses(addresses), self.clamp(record.ttl)),
            },
            Entry::Empty => (Known::NoData, self.negative_ttl),
            Entry::Nonexistent => (Known::Nonexistent, self.negative_ttl),
        };
        Kept { known, ttl, at: now }
    }

    fn clamp(&self, ttl: Duration) -> Duration {
        match self.policy {
            CachePolicy::Clamp { least, most } => ttl.max(least).min(most),
            _ => ttl,
        }
    }

    fn keeps_for_ever(&self, copy: &Kept) -> bool {
        self.policy == CachePolicy::Ignore && matches!(copy.known, Known::Addresses(_) | Known::Alias(_))
    }

    fn is_good(&self, copy: &Kept, now: Instant) -> bool {
        self.keeps_for_ever(copy) || now.duration_since(copy.at) < copy.ttl
    }

    fn ttl_left(&self, copy: &Kept, now: Instant) -> Duration {
        let age = if self.keeps_for_ever(copy) { Duration::ZERO } else { now.duration_since(copy.at) };
        match copy.ttl.checked_sub(age) {
            Some(left) if !left.is_zero() => left,
            _ => STALE_TTL,
        }
    }

    fn keep(&mut self, key: (Name, RecordType), copy: Kept, now: Instant) {
        if self.copies.len() >= COPIES_MAX && !self.copies.contains_key(&key) {
            let good: Vec<bool> = self.copies.values().map(|copy| self.is_good(copy, now)).collect();
            let mut good = good.into_iter();
            self.copies.retain(|_, _| good.next() == Some(true));
        }
        if self.copies.len() >= COPIES_MAX {
            let oldest = self.copies.iter().min_by_key(|(_, copy)| copy.at).map(|(key, _)| key.clone());
            self.copies.remove(&oldest.expect("a full cache has copies"));
        }
        self.copies.insert(key, copy);
        assert!(self.copies.len() <= COPIES_MAX);
    }
}

fn of_type(data: &Data, record_type: RecordType) -> Vec<IpAddr> {
    let Data::Addresses(addresses) = data else { return Vec::new() };
    let fits = |ip: &IpAddr| match record_type {
        RecordType::A => ip.is_ipv4(),
        RecordType::AAAA => ip.is_ipv6(),
        _ => false,
    };
    addresses.iter().copied().filter(fits).collect()
}
