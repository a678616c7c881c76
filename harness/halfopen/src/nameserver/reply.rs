//! From the bytes of a question to the bytes of its answer.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::shared::{Behaviour, Resolution, Shared};
use super::{Answered, Transport};

/// A UDP message without EDNS0, in bytes (RFC 1035, section 4.2.1).
const UDP_BYTES_MAX: usize = 512;
/// A UDP message with EDNS0, in bytes: more than this risks fragments (DNS flag day 2020).
const EDNS_BYTES_MAX: usize = 1232;
/// A message's header, in bytes.
const HEADER_BYTES: usize = 12;

/// A question that has been read.
#[derive(Clone, Debug)]
pub(super) struct Question {
    message: Message,
    peer: SocketAddr,
    transport: Transport,
}

/// What to do with a message.
#[derive(Debug)]
pub(super) enum Incoming {
    Question(Question),
    /// It is none that we answer: an error goes back at once.
    Reject(Vec<u8>),
    /// It is no question at all.
    Ignore,
}

/// What became of a question.
#[derive(Debug)]
pub(super) struct Outcome {
    /// `None`: silence.
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) answered: Answered,
}

/// Reads a message.
pub(super) fn read(bytes: &[u8], peer: SocketAddr, transport: Transport) -> Incoming {
    let Some(header) = bytes.get(..HEADER_BYTES) else { return Incoming::Ignore };
    let is_response = header[2] & 0x80 != 0;
    if is_response {
        return Incoming::Ignore;
    }
    let Ok(message) = Message::from_vec(bytes) else {
        let id = u16::from_be_bytes([header[0], header[1]]);
        return reject(&Message::new(id, MessageType::Query, OpCode::Query), ResponseCode::FormErr);
    };
    if message.metadata.op_code != OpCode::Query {
        return reject(&message, ResponseCode::NotImp);
    }
    let [query] = message.queries.as_slice() else { return reject(&message, ResponseCode::FormErr) };
    if message.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
        return reject(&message, ResponseCode::BADVERS);
    }
    if query.query_class() != DNSClass::IN {
        return reject(&message, ResponseCode::Refused);
    }
    Incoming::Question(Question { message, peer, transport })
}

fn reject(question: &Message, code: ResponseCode) -> Incoming {
    encode(&response(question, code)).map_or(Incoming::Ignore, Incoming::Reject)
}

impl Question {
    fn query(&self) -> &Query {
        &self.message.queries[0]
    }

    fn name(&self) -> &Name {
        self.query().name()
    }

    /// How long the answer takes.
    pub(super) fn wait(&self, shared: &Shared, now: Instant) -> Duration {
        let latency = || shared.latency(self.name(), self.query().query_type(), now);
        match shared.behaviour(self.name()) {
            Behaviour::Answer | Behaviour::Truncate => latency(),
            Behaviour::Delay(delay) => delay + latency(),
            Behaviour::ServFail | Behaviour::NxDomain | Behaviour::Refused | Behaviour::Silence => Duration::ZERO,
        }
    }

    /// The answer as it is now.
    pub(super) fn answer(&self, shared: &Shared, now: Instant) -> Outcome {
        let resolve = || shared.resolve(self.name(), self.query().query_type(), now);
        let negative_ttl = || shared.negative_ttl();
        let udp = self.transport == Transport::Udp;
        match shared.behaviour(self.name()) {
            Behaviour::Silence => self.outcome(None, "SILENCE", Vec::new(), false),
            Behaviour::ServFail => self.fail(ResponseCode::ServFail, None),
            Behaviour::Refused => self.fail(ResponseCode::Refused, None),
            Behaviour::NxDomain => self.fail(ResponseCode::NXDomain, Some(negative_ttl())),
            Behaviour::Truncate if udp => self.reply(resolve(), negative_ttl(), true),
            Behaviour::Answer | Behaviour::Delay(_) | Behaviour::Truncate => {
                self.reply(resolve(), negative_ttl(), false)
            }
        }
    }

    fn fail(&self, code: ResponseCode, negative_ttl: Option<Duration>) -> Outcome {
        let mut message = response(&self.message, code);
        if let Some(ttl) = negative_ttl {
            message.add_authority(soa(self.name(), ttl, ttl));
        }
        self.outcome(encode(&message), code_name(code), Vec::new(), false)
    }

    fn reply(&self, resolution: Resolution, negative_ttl: Duration, truncate: bool) -> Outcome {
        let Resolution { code, aliases, owner, addresses, ttl } = resolution;
        let mut message = response(&self.message, code);
        for (alias, target, ttl) in aliases {
            message.add_answer(Record::from_rdata(alias, seconds(ttl), RData::CNAME(CNAME(target))));
        }
        for ip in &addresses {
            let data = match ip {
                IpAddr::V4(v4) => RData::A(A(*v4)),
                IpAddr::V6(v6) => RData::AAAA(AAAA(*v6)),
            };
            message.add_answer(Record::from_rdata(owner.clone(), seconds(ttl), data));
        }
        let negative = addresses.is_empty() && self.query().query_type() != RecordType::CNAME;
        if code != ResponseCode::ServFail && (negative || message.answers.is_empty()) {
            message.add_authority(soa(&owner, ttl, negative_ttl));
        }
        let whole = encode(&message).filter(|bytes| !truncate && bytes.len() <= self.bytes_max());
        match whole {
            Some(bytes) => self.outcome(Some(bytes), code_name(code), addresses, false),
            None => {
                let mut short = response(&self.message, code);
                short.metadata.truncation = true;
                self.outcome(encode(&short), code_name(code), Vec::new(), true)
            }
        }
    }

    /// The largest answer that the asker can take.
    fn bytes_max(&self) -> usize {
        match (self.transport, &self.message.edns) {
            (Transport::Tcp, _) => usize::from(u16::MAX),
            (Transport::Udp, None) => UDP_BYTES_MAX,
            (Transport::Udp, Some(edns)) => usize::from(edns.max_payload()).clamp(UDP_BYTES_MAX, EDNS_BYTES_MAX),
        }
    }

    fn outcome(&self, bytes: Option<Vec<u8>>, code: &'static str, addresses: Vec<IpAddr>, truncated: bool) -> Outcome {
        let mut name = self.name().to_lowercase();
        name.set_fqdn(false);
        let answered = Answered {
            peer: self.peer,
            transport: self.transport,
            name: name.to_ascii(),
            record_type: self.query().query_type().to_string(),
            code,
            addresses,
            truncated,
        };
        Outcome { bytes, answered }
    }
}

/// A reply without records: that of a server that recurses.
fn response(question: &Message, code: ResponseCode) -> Message {
    let mut message = Message::new(question.metadata.id, MessageType::Response, question.metadata.op_code);
    message.metadata.recursion_desired = question.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.response_code = code;
    message.add_queries(question.queries.iter().cloned());
    if question.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_BYTES_MAX as u16);
        message.set_edns(edns);
    }
    message
}

fn encode(message: &Message) -> Option<Vec<u8>> {
    message.to_vec().ok()
}

/// The SOA of a negative answer: its owner is the name's last label, its MINIMUM and TTL how long the answer may be
/// kept (RFC 2308, section 3).
fn soa(name: &Name, left: Duration, negative_ttl: Duration) -> Record {
    // Refresh, retry and expiry are for secondary servers, of which there are none (RIPE-203's figures).
    const REFRESH: i32 = 86_400;
    const RETRY: i32 = 7_200;
    const EXPIRE: i32 = 3_600_000;
    let zone = name.trim_to(1);
    let data = SOA::new(zone.clone(), zone.clone(), 1, REFRESH, RETRY, EXPIRE, seconds(negative_ttl));
    Record::from_rdata(zone, seconds(left), RData::SOA(data))
}

/// Whole seconds, as messages carry them.
fn seconds(ttl: Duration) -> u32 {
    u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)
}

fn code_name(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::Refused => "REFUSED",
        other => other.to_str(),
    }
}
