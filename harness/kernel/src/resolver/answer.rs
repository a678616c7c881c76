//! What an answer says: the addresses at the end of its CNAME chain, and for how long.

use std::net::IpAddr;

use halfopen_core::SimDuration;
use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RData, RecordType};

/// Links of a CNAME chain that are followed; a loop ends here.
const CNAME_CHAIN_MAX: usize = 16;

/// The meaning of one message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    /// In the server's order; empty if there are none of the type asked for.
    pub(super) addresses: Vec<IpAddr>,
    /// Where the chain ended.
    pub(super) canonical_name: Name,
    /// The least TTL on the way.
    pub(super) ttl: Option<SimDuration>,
}

/// Reads the answer section.
pub(super) fn read(message: &Message) -> Answer {
    let Some(question) = message.queries.first() else {
        return Answer { addresses: Vec::new(), canonical_name: Name::root(), ttl: None };
    };
    let mut name = question.name().clone();
    let mut ttl: Option<u32> = None;
    let mut shorten = |other: u32| ttl = Some(ttl.map_or(other, |ttl| ttl.min(other)));
    for _ in 0..CNAME_CHAIN_MAX {
        let link = message.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == name => Some((target.0.clone(), record.ttl)),
            _ => None,
        });
        let Some((target, target_ttl)) = link else { break };
        shorten(target_ttl);
        name = target;
    }
    let mut addresses = Vec::new();
    for record in message.answers.iter().filter(|record| record.name == name) {
        match (&record.data, question.query_type()) {
            (RData::A(ip), RecordType::A) => addresses.push(IpAddr::V4(ip.0)),
            (RData::AAAA(ip), RecordType::AAAA) => addresses.push(IpAddr::V6(ip.0)),
            _ => continue,
        }
        shorten(record.ttl);
    }
    Answer { addresses, canonical_name: name, ttl: ttl.map(|ttl| SimDuration::from_secs(ttl.into())) }
}

/// How long a negative answer may be kept: the lesser of its SOA's TTL and MINIMUM (RFC 2308, section 5).
pub(super) fn negative_ttl(message: &Message) -> Option<SimDuration> {
    message.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(SimDuration::from_secs(soa.minimum.min(record.ttl).into())),
        _ => None,
    })
}

/// A name as C programs see it: its labels with dots between them, and none at the end.
pub(super) fn dotted(name: &Name) -> String {
    name.iter().map(String::from_utf8_lossy).collect::<Vec<_>>().join(".")
}
