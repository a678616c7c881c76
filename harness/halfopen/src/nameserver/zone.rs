//! The zone: every name there is, and what it leads to.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::rr::Name;

/// What a name leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Data {
    /// A and AAAA together, in the order of the answer.
    Addresses(Vec<IpAddr>),
    /// CNAME: another name.
    Alias(Name),
}

/// One name's data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub(super) data: Data,
    /// How long it may be kept. Messages carry whole seconds; the rest of a second counts for the cache only.
    pub(super) ttl: Duration,
}

/// A text that is no domain name (a label of more than 63 bytes, an empty one, more than 255 bytes in all).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvalidName(pub String);

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a domain name", self.0)
    }
}

impl std::error::Error for InvalidName {}

/// All records. Names compare without regard to case (RFC 4343).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Zone {
    records: BTreeMap<Name, Record>,
}

/// What the zone says of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entry<'a> {
    Record(&'a Record),
    /// It has no record, but names below it do, so it exists (RFC 8020).
    Empty,
    Nonexistent,
}

impl Zone {
    /// A zone without names.
    pub fn new() -> Zone {
        Zone::default()
    }

    /// Gives `name` addresses; what it had before is gone.
    pub fn set_addresses(&mut self, name: &str, addresses: Vec<IpAddr>, ttl: Duration) -> Result<(), InvalidName> {
        self.set(name, Data::Addresses(addresses), ttl)
    }

    /// Makes `name` an alias of `target`, which need not exist.
    pub fn set_alias(&mut self, name: &str, target: &str, ttl: Duration) -> Result<(), InvalidName> {
        let target = parse_name(target)?;
        self.set(name, Data::Alias(target), ttl)
    }

    fn set(&mut self, name: &str, data: Data, ttl: Duration) -> Result<(), InvalidName> {
        self.records.insert(parse_name(name)?, Record { data, ttl });
        Ok(())
    }

    /// Removes a name; says whether it was there.
    pub fn remove(&mut self, name: &str) -> Result<bool, InvalidName> {
        Ok(self.records.remove(&parse_name(name)?).is_some())
    }

    pub(super) fn find(&self, name: &Name) -> Entry<'_> {
        match self.records.get(name) {
            Some(record) => Entry::Record(record),
            None if self.records.keys().any(|known| name.zone_of(known)) => Entry::Empty,
            None => Entry::Nonexistent,
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.records.keys()
    }
}

/// A name as messages spell it: with or without a dot at the end it is the same one.
pub(super) fn parse_name(text: &str) -> Result<Name, InvalidName> {
    let invalid = || InvalidName(text.to_owned());
    if text.is_empty() {
        return Err(invalid());
    }
    let mut name = Name::from_ascii(text).map_err(|_| invalid())?;
    name.set_fqdn(true);
    Ok(name)
}
