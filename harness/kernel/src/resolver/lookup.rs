//! A name to addresses: the hosts file, then the host's cache, then DNS (`hosts: files dns` of nsswitch.conf).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use halfopen_core::event::DnsSource;
use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;

use super::answer;
use super::cache::{Resolved, with_state};
use super::numbers::{AI_ALL, AI_CANONNAME, AI_V4MAPPED};
use super::search::{HostError, NotFound, search};
use super::{Found, GaiError, ResolverSystem, Target, Wanted};
use crate::{ResolverConfig, StubCache};

/// Looks a name up and says where the answer came from. Each source is asked for everything that is wanted before the
/// next one is.
pub(super) fn lookup(
    system: &mut dyn ResolverSystem,
    host: &str,
    wanted: Wanted,
    flags: i32,
) -> (Result<Found, GaiError>, DnsSource) {
    let in_file = |wanted| in_hosts_file(system, host, wanted).ok_or(GaiError::NoName);
    if let Ok(found) = with_mapped(wanted, flags, in_file) {
        return (Ok(found), DnsSource::HostsFile);
    }
    let plain = wanted == Wanted::V4 && flags & AI_CANONNAME == 0;
    let mut source = DnsSource::Server;
    let result = with_mapped(wanted, flags, |wanted| {
        let (result, from) = in_cache_or_dns(system, host, wanted, plain);
        source = from;
        result
    });
    (result, source)
}

/// AI_V4MAPPED where only IPv6 is wanted: IPv4 addresses in IPv6's dress if there are no others, or (AI_ALL) beside
/// them.
fn with_mapped(
    wanted: Wanted,
    flags: i32,
    mut look_up: impl FnMut(Wanted) -> Result<Found, GaiError>,
) -> Result<Found, GaiError> {
    let first = look_up(wanted);
    let enough = first.is_ok() && flags & AI_ALL == 0;
    if wanted != Wanted::V6 || flags & AI_V4MAPPED == 0 || enough {
        return first;
    }
    match (first, look_up(Wanted::V4).map(mapped)) {
        (Ok(mut v6), v4) => {
            v6.addresses.extend(v4.into_iter().flat_map(|v4| v4.addresses));
            Ok(v6)
        }
        (Err(_), Ok(v4)) => Ok(v4),
        (Err(v6), Err(v4)) => Err(both_failed(v6, v4)),
    }
}

/// One family that does not know the name is enough for glibc to say so; "again" needs both to have failed so.
fn both_failed(v6: GaiError, v4: GaiError) -> GaiError {
    match (v6, v4) {
        (GaiError::System(_), _) => v6,
        (_, GaiError::System(_)) => v4,
        (GaiError::NoName, _) | (_, GaiError::NoName) => GaiError::NoName,
        (GaiError::Again, GaiError::Again) => GaiError::Again,
        _ => GaiError::NoData,
    }
}

fn mapped(found: Found) -> Found {
    let map = |target: Target| match target.ip {
        IpAddr::V4(v4) => IpAddr::V6(v4.to_ipv6_mapped()).into(),
        IpAddr::V6(_) => target,
    };
    Found { addresses: found.addresses.into_iter().map(map).collect(), canonical_name: found.canonical_name }
}

fn in_cache_or_dns(
    system: &mut dyn ResolverSystem,
    host: &str,
    wanted: Wanted,
    plain: bool,
) -> (Result<Found, GaiError>, DnsSource) {
    let config = system.config();
    let name = host.to_ascii_lowercase();
    if config.cache == StubCache::None {
        return (from_dns(system, &config, host, wanted, plain).result, DnsSource::Server);
    }
    let now = system.now();
    if let Some(result) = with_state(system, |state| state.recall(&name, wanted, now)) {
        return (result, DnsSource::StubCache);
    }
    let resolved = from_dns(system, &config, host, wanted, plain);
    let now = system.now();
    with_state(system, |state| state.remember(config.cache, &name, wanted, &resolved, now));
    (resolved.result, DnsSource::Server)
}

/// All lines that name the host, just as it is spelt but for case. The first name of the first such line is the
/// official one. An IPv6 loopback stands for the IPv4 one where only IPv4 is wanted (so that the usual file gives
/// `localhost` twice), as in nss_files.
fn in_hosts_file(system: &mut dyn ResolverSystem, host: &str, wanted: Wanted) -> Option<Found> {
    let as_wanted = |ip: IpAddr| match wanted {
        Wanted::V4 if ip == Ipv6Addr::LOCALHOST => Ipv4Addr::LOCALHOST.into(),
        _ => ip,
    };
    let mut lines = system.hosts_by_name(host);
    lines.retain(|ip| wanted.admits(as_wanted(*ip)));
    let canonical_name = system.hosts_by_address(*lines.first()?).expect("the line is in the file");
    let addresses = lines.iter().map(|ip| as_wanted(*ip).into()).collect();
    Some(Found { addresses, canonical_name })
}

fn from_dns(
    system: &mut dyn ResolverSystem,
    config: &ResolverConfig,
    host: &str,
    wanted: Wanted,
    plain: bool,
) -> Resolved {
    let types: &[RecordType] = match wanted {
        Wanted::V4 => &[RecordType::A],
        Wanted::V6 => &[RecordType::AAAA],
        Wanted::Both => &[RecordType::A, RecordType::AAAA],
    };
    match search(system, config, host, types) {
        Ok(answers) => read(&answers),
        Err(not_found) => Resolved { result: Err(gai_error(not_found, plain)), ttl: not_found.ttl },
    }
}

/// What getaddrinfo makes of `h_errno`. For a `plain` lookup (IPv4 alone, no canonical name) glibc calls the older
/// `gethostbyname2_r`: if the last name on the list was answered, that says "not found", and "again" is lost on the way.
fn gai_error(not_found: NotFound, plain: bool) -> GaiError {
    match not_found.error {
        HostError::TryAgain if !plain || not_found.unanswered => GaiError::Again,
        HostError::NoData => GaiError::NoData,
        // Neither "does not exist" nor "the server is confused" has a code of its own in glibc.
        HostError::TryAgain | HostError::NotFound | HostError::NoRecovery => GaiError::NoName,
        HostError::Internal(errno) => GaiError::System(errno),
    }
}

fn read(messages: &[Message]) -> Resolved {
    let answers: Vec<answer::Answer> =
        messages.iter().map(answer::read).filter(|answer| !answer.addresses.is_empty()).collect();
    let ttl = answers.iter().filter_map(|answer| answer.ttl).min();
    let Some(first) = answers.first() else {
        // Only a CNAME that leads nowhere.
        return Resolved { result: Err(GaiError::NoName), ttl: None };
    };
    let canonical_name = answer::dotted(&first.canonical_name);
    let addresses = answers.iter().flat_map(|answer| &answer.addresses).map(|ip| Target::from(*ip)).collect();
    Resolved { result: Ok(Found { addresses, canonical_name }), ttl }
}
