//! DNS: which host got which address for which name, and how long it kept using one that was no longer right.
//!
//! An address is **stale** for a host from the later of two instants on: the record moved away from it, and the TTL of
//! the last answer that the host had while the record was right ran out. Until then even a perfect client may use it.
//! What is under way at that instant may end: only use after [`STALE_GRACE`] counts, and then all the time since.
//! Hosts that have an address from elsewhere (a literal, the hosts file) owe DNS nothing. Of a program that asks DNS by
//! itself, past `getaddrinfo`, only the questions are seen: it is taken to have asked just before the record moved.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use halfopen_core::event::DnsSource;
use halfopen_core::{HostId, SimDuration, SimTime};

use crate::phase::View;

/// How long a request that began in time may go on, so that a client that keeps to every TTL shows no stale use.
pub const STALE_GRACE: SimDuration = SimDuration::from_secs(1);

#[derive(Clone, Debug)]
struct Record {
    addresses: Vec<IpAddr>,
    ttl: SimDuration,
}

/// A stretch of time for which a host kept using a stale address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StaleUse {
    pub(crate) host: HostId,
    pub(crate) address: IpAddr,
    pub(crate) name: String,
    pub(crate) from: SimTime,
    pub(crate) last: SimTime,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    records: BTreeMap<String, Record>,
    /// Addresses that a record has moved away from, with the name, when, and the TTL it had.
    departed: BTreeMap<IpAddr, BTreeMap<String, (SimTime, SimDuration)>>,
    /// Until when a host may use an address for a name.
    leases: BTreeMap<(HostId, IpAddr), BTreeMap<String, SimTime>>,
    /// Hosts that sent a question to a DNS server.
    asked: BTreeSet<HostId>,
    /// Addresses that hosts have from elsewhere.
    given: BTreeSet<(HostId, IpAddr)>,
    pub(crate) stale: Vec<StaleUse>,
    seen: BTreeSet<(HostId, SocketAddr, SocketAddr)>,
    /// The segment and host of each connection when it first was used on a stale address.
    stale_connections: Vec<(usize, HostId)>,
    /// When records that existed changed.
    pub(crate) moves: Vec<SimTime>,
}

impl Names {
    pub(crate) fn record(&mut self, at: SimTime, name: &str, addresses: &[IpAddr], ttl: SimDuration) {
        let name = canonical(name);
        for address in addresses {
            if let Some(names) = self.departed.get_mut(address) {
                names.remove(&name);
                if names.is_empty() {
                    self.departed.remove(address);
                }
            }
        }
        let new = Record { addresses: addresses.to_vec(), ttl };
        let Some(old) = self.records.insert(name.clone(), new) else { return };
        let left: Vec<IpAddr> = old.addresses.iter().copied().filter(|address| !addresses.contains(address)).collect();
        if !left.is_empty() {
            self.moves.push(at);
        }
        for address in left {
            self.departed.entry(address).or_default().insert(name.clone(), (at, old.ttl));
        }
    }

    pub(crate) fn resolved(&mut self, at: SimTime, host: HostId, name: &str, addresses: &[IpAddr], source: DnsSource) {
        if matches!(source, DnsSource::HostsFile | DnsSource::Literal) {
            self.given.extend(addresses.iter().map(|address| (host, *address)));
            return;
        }
        let name = canonical(name);
        for address in addresses {
            let until = self.leases.entry((host, *address)).or_default().entry(name.clone()).or_default();
            let record = self.records.get(&name).filter(|record| record.addresses.contains(address));
            if let Some(record) = record.filter(|_| source == DnsSource::Server) {
                *until = (*until).max(at + record.ttl);
            }
        }
    }

    /// The host sent a question to a DNS server.
    pub(crate) fn asked(&mut self, host: HostId) {
        self.asked.insert(host);
    }

    /// Until when a host may use an address that `name` moved away from; `None` if it does not have it by that name.
    fn until(
        &self,
        host: HostId,
        address: IpAddr,
        name: &str,
        (moved, ttl): (SimTime, SimDuration),
    ) -> Option<SimTime> {
        match self.leases.get(&(host, address)) {
            Some(names) => names.get(name).map(|until| moved.max(*until)),
            None => (self.asked.contains(&host) && !self.given.contains(&(host, address))).then(|| moved + ttl),
        }
    }

    /// The host sent data (or asked for a connection) to `remote`; `local` is given for TCP.
    pub(crate) fn used(
        &mut self,
        at: SimTime,
        segment: usize,
        host: HostId,
        local: Option<SocketAddr>,
        remote: SocketAddr,
    ) {
        let Some(departed) = self.departed.get(&remote.ip()) else { return };
        let until = |(name, moved): (&String, &(SimTime, SimDuration))| {
            self.until(host, remote.ip(), name, *moved).map(|until| (name.clone(), until))
        };
        let over: Vec<(String, SimTime)> =
            departed.iter().filter_map(until).filter(|(_, until)| at > *until + STALE_GRACE).collect();
        let is_stale = !over.is_empty();
        for (name, from) in over {
            let same = |stale: &&mut StaleUse| {
                stale.host == host && stale.address == remote.ip() && stale.name == name && stale.from == from
            };
            match self.stale.iter_mut().find(same) {
                Some(stale) => stale.last = at,
                None => {
                    let address = remote.ip();
                    self.stale.push(StaleUse { host, address, name, from, last: at });
                }
            }
        }
        if let Some(local) = local.filter(|_| is_stale)
            && self.seen.insert((host, local, remote))
        {
            self.stale_connections.push((segment, host));
        }
    }

    /// The longest time in the view for which an address was used while stale, in nanoseconds.
    pub(crate) fn longest_stale(&self, view: &View) -> u64 {
        let stale = self.stale.iter().filter(|stale| view.has_host(stale.host));
        stale.flat_map(|stale| view.clip(stale.from, stale.last).collect::<Vec<_>>()).max().unwrap_or(0)
    }

    pub(crate) fn stale_connections(&self, view: &View) -> u64 {
        let wanted = |(segment, host): &&(usize, HostId)| view.has_segment(*segment) && view.has_host(*host);
        self.stale_connections.iter().filter(wanted).count() as u64
    }
}

/// Names compare without regard to case, with or without the final dot (RFC 4343, RFC 1034 section 3.1).
fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
