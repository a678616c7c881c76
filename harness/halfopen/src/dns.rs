//! The DNS server of a scenario: the nameserver on a host of its own, and the timeline's changes to its zone.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use halfopen_core::id::FaultId;
use halfopen_core::{Event, SimDuration};
use halfopen_interpose::{blocking, with_kernel};
use halfopen_kernel::Step;
use halfopen_scenario::plan::{DnsFailure, DnsPlan, FaultKind, Plan, RecursiveCache};

use crate::nameserver::{self, Answered, Behaviour, CachePolicy, Settings, Shared, Zone};

/// Where DNS servers listen (RFC 1035, section 4.2).
const PORT: u16 = 53;

/// What the timeline tells the server, as text on the kernel's board. Each fault has a key of its own.
pub(crate) fn key(fault: FaultId) -> String {
    format!("dns/{}", fault.index())
}

fn post(fault: FaultId, value: String) -> Step {
    Step::Post { key: key(fault), value }
}

pub(crate) fn set_record(fault: FaultId, name: &str, addresses: &[IpAddr], ttl: SimDuration) -> Step {
    let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    post(fault, format!("set {name} {} {}", ttl.as_nanos(), addresses.join(" ")))
}

pub(crate) fn fail(fault: FaultId, name: Option<&str>, failure: DnsFailure) -> Step {
    let failure = match failure {
        DnsFailure::ServFail => "servfail",
        DnsFailure::NxDomain => "nxdomain",
        DnsFailure::Refused => "refused",
        DnsFailure::Silence => "silence",
        DnsFailure::Truncate => "truncate",
    };
    post(fault, format!("fail {} {failure}", name.unwrap_or("*")))
}

pub(crate) fn heal(fault: FaultId, name: Option<&str>) -> Step {
    post(fault, format!("heal {}", name.unwrap_or("*")))
}

pub(crate) fn freeze(fault: FaultId, on: bool) -> Step {
    post(fault, if on { "freeze".to_owned() } else { "thaw".to_owned() })
}

/// The main of the DNS server's host.
pub(crate) fn serve(plan: &Plan, dns: &DnsPlan) -> Result<(), String> {
    let mut zone = Zone::new();
    for record in &dns.records {
        zone.set_addresses(&record.name, record.addresses.clone(), record.ttl.into())
            .map_err(|error| error.to_string())?;
    }
    let settings = Settings {
        cache: match dns.cache {
            RecursiveCache::Honour => CachePolicy::Honour,
            RecursiveCache::None => CachePolicy::None,
            RecursiveCache::Ignore => CachePolicy::Ignore,
            RecursiveCache::Clamp { min, max } => CachePolicy::Clamp { least: min.into(), most: max.into() },
        },
        latency: dns.latency.into(),
        negative_ttl: dns.negative_ttl.into(),
        ..Settings::default()
    };
    let shared = Arc::new(Shared::new(zone, settings));
    for fault in plan.faults.iter().filter(|fault| is_dns(&fault.kind)) {
        let (shared, key) = (Arc::clone(&shared), key(fault.id));
        std::thread::spawn(move || follow(&shared, &key));
    }
    let host = dns.host;
    let observe = move |answered: &Answered| {
        let (name, code) = (answered.name.clone(), answered.code);
        with_kernel(|kernel| kernel.emit(Event::DnsAnswered { host, name, code }));
    };
    nameserver::serve((Ipv6Addr::UNSPECIFIED, PORT).into(), shared, observe).map_err(|error| error.to_string())
}

fn is_dns(kind: &FaultKind) -> bool {
    matches!(kind, FaultKind::DnsSet { .. } | FaultKind::DnsFail { .. } | FaultKind::DnsStale)
}

/// Does what the timeline posts under this key, each time it does.
fn follow(shared: &Shared, key: &str) {
    let mut seen = 0;
    while let Ok((version, command)) = blocking(|kernel, call| kernel.board_wait(key, seen, call)) {
        seen = version;
        obey(shared, &command).expect("the timeline's commands are made by the functions above");
    }
}

fn obey(shared: &Shared, command: &str) -> Option<()> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let all = |name: &str| (name != "*").then(|| name.to_owned());
    match words[..] {
        ["set", name, _ttl] => drop(shared.remove(name).ok()?),
        ["set", name, ttl, ref addresses @ ..] => {
            let addresses = addresses.iter().map(|address| address.parse()).collect::<Result<_, _>>().ok()?;
            shared.set_record(name, addresses, Duration::from_nanos(ttl.parse().ok()?)).ok()?;
        }
        ["fail", name, failure] => {
            let behaviour = match failure {
                "servfail" => Behaviour::ServFail,
                "nxdomain" => Behaviour::NxDomain,
                "refused" => Behaviour::Refused,
                "silence" => Behaviour::Silence,
                _ => Behaviour::Truncate,
            };
            shared.set_behaviour(all(name).as_deref(), behaviour).ok()?;
        }
        ["heal", name] => shared.set_behaviour(all(name).as_deref(), Behaviour::Answer).ok()?,
        ["freeze"] => shared.freeze(true),
        ["thaw"] => shared.freeze(false),
        _ => return None,
    }
    Some(())
}
