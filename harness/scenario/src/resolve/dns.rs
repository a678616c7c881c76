//! The DNS: its zone and the server for it.

use std::net::IpAddr;

use halfopen_core::SimDuration;

use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::language;
use crate::node::{Node, Value};
use crate::plan::{DnsPlan, DnsRecord, RecursiveCache};
use crate::read::{Fields, scalar};

use super::Found;

/// How long an answer may be kept where the record does not say.
const DEFAULT_TTL: SimDuration = SimDuration::from_secs(60);
/// How long "no such name" may be kept: CoreDNS's `cache` plugin in Kubernetes' default Corefile.
const DEFAULT_NEGATIVE_TTL: SimDuration = SimDuration::from_secs(30);
/// The longest TTL (RFC 2181, section 8).
const TTL_MAX_SECS: u64 = i32::MAX as u64;

/// Resolves `dns:`; the server's host is already there.
pub(crate) fn resolve(node: Option<&Node>, place: &Span, found: &mut Found, diagnostics: &mut Diagnostics) {
    let Some(fields) = node.and_then(|node| Fields::open(node, place, &language::DNS, diagnostics)) else { return };
    let host = found.hosts.last().expect("the DNS server's host was added").id;
    let mut plan = DnsPlan {
        host,
        records: Vec::new(),
        cache: RecursiveCache::Honour,
        latency: SimDuration::ZERO,
        negative_ttl: DEFAULT_NEGATIVE_TTL,
    };
    let mut places_of: Vec<(String, Span)> = Vec::new();
    for node in fields.list("records", diagnostics) {
        let Some(record) = Fields::open(node, &node.span, &language::RECORD, diagnostics) else { continue };
        let Some((name, span)) = name(&record, diagnostics) else { continue };
        if let Some((_, first)) = places_of.iter().find(|(known, _)| *known == name) {
            let message = format!("the zone has two records for `{name}`");
            let help = "put all addresses into one, as in `to: [a, b]`";
            diagnostics.push(Diagnostic::new(&span, message, help).related(first, "first here"));
            continue;
        }
        places_of.push((name.clone(), span));
        let addresses = record.node("to").and_then(|node| places(node, found, diagnostics));
        let ttl = ttl(&record, diagnostics).unwrap_or(DEFAULT_TTL);
        plan.records.extend(addresses.map(|addresses| DnsRecord { name, addresses, ttl }));
    }
    if let Some(node) = fields.node("server")
        && let Some(server) = Fields::open(node, &fields.key_span("server"), &language::DNS_SERVER, diagnostics)
    {
        plan.cache = cache(&server, diagnostics);
        plan.latency = server.duration("latency", diagnostics).unwrap_or(plan.latency);
        plan.negative_ttl = server.duration("negative_ttl", diagnostics).unwrap_or(plan.negative_ttl);
    }
    found.dns = Some(plan);
}

/// The name of a record, in lower case and without a dot at its end, and where it stands.
pub(crate) fn name(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<(String, Span)> {
    let text = fields.text("name", diagnostics)?;
    let span = fields.node("name").expect("it was read").span.clone();
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if !name.split('.').all(label) || name.len() > 253 {
        let help = "write labels of letters, digits and `-` with dots between them, as in `db.internal` (RFC 1035)";
        diagnostics.error(&span, format!("`{text}` is not a DNS name"), help);
        return None;
    }
    Some((name, span))
}

/// A TTL: whole seconds.
pub(crate) fn ttl(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<SimDuration> {
    let ttl = fields.duration("ttl", diagnostics)?;
    let whole = ttl.as_nanos().is_multiple_of(1_000_000_000);
    if !whole || ttl > SimDuration::from_secs(TTL_MAX_SECS) {
        let span = &fields.node("ttl").expect("it was read").span;
        diagnostics.error(span, format!("a TTL is whole seconds (up to 68 years), not {ttl}"), "write `30s`");
        return None;
    }
    Some(ttl)
}

fn cache(server: &Fields<'_>, diagnostics: &mut Diagnostics) -> RecursiveCache {
    let word = server.choice("cache", diagnostics);
    let min = server.duration("min_ttl", diagnostics);
    let max = server.duration("max_ttl", diagnostics);
    match (word, min, max) {
        (None | Some("honour"), None, None) => RecursiveCache::Honour,
        (None | Some("honour"), min, max) => {
            let (min, max) = (min.unwrap_or(SimDuration::ZERO), max.unwrap_or(SimDuration::MAX));
            if min > max {
                let span = &server.node("min_ttl").expect("zero is not above anything").span;
                diagnostics.error(span, "`min_ttl` is above `max_ttl`", "swap them");
            }
            RecursiveCache::Clamp { min, max }
        }
        (Some(word), None, None) => {
            if word == "ignore" {
                RecursiveCache::Ignore
            } else {
                RecursiveCache::None
            }
        }
        (Some(word), ..) => {
            let key = if min.is_some() { "min_ttl" } else { "max_ttl" };
            let message = format!("`{key}` has no meaning for a cache that does not look at TTLs");
            diagnostics.error(&server.key_span(key), message, format!("leave it out, or leave `cache: {word}` out"));
            RecursiveCache::Ignore
        }
    }
}

/// The addresses behind a host's name, an IP address, or a list of them.
pub(crate) fn places(node: &Node, found: &Found, diagnostics: &mut Diagnostics) -> Option<Vec<IpAddr>> {
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let mut addresses = Vec::new();
    let mut sound = true;
    for item in items {
        match scalar(item).ok().and_then(|text| text.parse::<IpAddr>().ok()) {
            Some(address) => addresses.push(address),
            None => match found.hosts_at(item, diagnostics) {
                Some(hosts) => addresses.extend(hosts.iter().flat_map(|id| &found.hosts[id.index()].addresses)),
                None => sound = false,
            },
        }
    }
    sound.then_some(addresses)
}
