//! Hosts: what they run, how many there are, their addresses, kernels and resolvers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use halfopen_core::{HostId, ResolverConfig, SimDuration, SimTime, StubCache};
use halfopen_fabric::config::FabricConfig;
use halfopen_netstack::Sysctls;

use crate::diagnostic::{Diagnostic, Diagnostics, Span, suggestion};
use crate::language::{self, HOSTS_MAX};
use crate::node::{Entry, Node, Value};
use crate::plan::{HostPlan, Role};
use crate::read::{self, Fields, scalar};
use crate::registry::{Kind, Registration};
use crate::value::{Params, parse_duration};

use super::variants::RESERVED;
use super::{Context, Found, is_kebab_case};

/// The name of the host that the DNS server runs on.
pub(crate) const DNS_HOST: &str = "dns";
/// Ethernet's (RFC 894).
const DEFAULT_INTERFACE_MTU: u32 = 1500;
/// RLIMIT_NOFILE of a process by default on Linux (include/uapi/linux/fs.h, INR_OPEN_CUR).
const DEFAULT_FD_LIMIT: u32 = 1024;

/// What one entry of `hosts` says, before it becomes one or many hosts.
struct Group<'n> {
    entry: &'n Entry,
    plan: HostPlan,
    count: u32,
    nameservers: Option<&'n Node>,
    addresses: Vec<(IpAddr, Span)>,
    /// Where `start_at` stands.
    start: Option<Span>,
}

/// All hosts, with addresses. `None` if there are none at all.
pub(crate) fn resolve(hosts: Option<&Node>, has_dns: bool, seed: u64, context: &mut Context<'_>) -> Option<Found> {
    let hosts = hosts?;
    let entries = match &hosts.value {
        Value::Map(entries) if !entries.is_empty() => entries,
        _ => {
            let help = "write `app: { run: http/reqwest }` and the like below it";
            context.diagnostics.error(
                &hosts.span,
                format!("`hosts` is a mapping from names to hosts, not {}", hosts.kind()),
                help,
            );
            return None;
        }
    };
    let mut groups = Vec::new();
    let mut broken = Vec::new();
    for entry in entries {
        check_name(entry, entries, has_dns, context.diagnostics);
        match group(entry, context) {
            Some(group) => groups.push(group),
            None => broken.push(entry.key.clone()),
        }
    }
    let mut found = Found {
        hosts: Vec::new(),
        broken,
        starts: groups.iter().filter_map(|group| Some((group.plan.start_at, group.start.clone()?))).collect(),
        network: FabricConfig { seed, ..FabricConfig::default() },
        dns: None,
        load: Vec::new(),
        end_of_load: None,
        end: SimTime::FAR_FUTURE,
        seed,
    };
    let nameservers: Vec<Option<&Node>> =
        groups.iter().flat_map(|group| std::iter::repeat_n(group.nameservers, group.count as usize)).collect();
    expand(groups, has_dns, &mut found, context.diagnostics);
    point_resolvers(&nameservers, has_dns, &mut found, context.diagnostics);
    Some(found)
}

fn check_name(entry: &Entry, entries: &[Entry], has_dns: bool, diagnostics: &mut Diagnostics) {
    let name = entry.key.as_str();
    let mut refuse = |message: String, help: &str| diagnostics.error(&entry.key_span, message, help);
    if !is_kebab_case(name) || name.len() > 63 {
        let help = "write up to 63 lower-case letters and digits with `-` between words (RFC 1123)";
        refuse(format!("`{name}` cannot be the name of a host"), help);
    } else if RESERVED.contains(&name) || name == "localhost" {
        refuse(format!("the name `{name}` has a meaning of its own"), "take another name for this host");
    } else if has_dns && name == DNS_HOST {
        refuse(
            "the scenario's DNS server is the host `dns` already".to_owned(),
            "describe it under `dns: { server: ... }`, or take another name",
        );
    } else if let Some((group, number)) = name.rsplit_once('-')
        && number.bytes().all(|b| b.is_ascii_digit())
        && entries.iter().any(|other| other.key == group && other.value.get("count").is_some())
    {
        refuse(format!("`{name}` is the name of an instance of `{group}`"), "take another name for this host");
    }
}

fn group<'n>(entry: &'n Entry, context: &mut Context<'_>) -> Option<Group<'n>> {
    let fields = Fields::open(&entry.value, &entry.key_span, &language::HOST, context.diagnostics)?;
    let registration = registration(&fields, context);
    let diagnostics = &mut *context.diagnostics;
    let params = params(&fields, registration.as_ref(), diagnostics);
    let resolver_fields = fields
        .node("resolver")
        .and_then(|node| Fields::open(node, &fields.key_span("resolver"), &language::RESOLVER, diagnostics));
    let role = match registration.as_ref().map(|registration| registration.kind) {
        None => Role::Bare,
        Some(Kind::Client) => Role::Client,
        Some(Kind::Upstream) => Role::Upstream,
    };
    let plan = HostPlan {
        id: HostId::new(0),
        name: entry.key.clone(),
        group: entry.key.clone(),
        instance: 1,
        role,
        run: registration.as_ref().map(|registration| registration.name.to_owned()),
        params,
        addresses: Vec::new(),
        sysctls: sysctls(&fields, diagnostics),
        interface_mtu: fields.count_u32("mtu", diagnostics).unwrap_or(DEFAULT_INTERFACE_MTU),
        resolver: resolver(resolver_fields.as_ref(), diagnostics),
        clock_offset_nanos: fields.signed_duration("clock_offset", diagnostics).unwrap_or(0),
        start_at: SimTime::ZERO + fields.duration("start_at", diagnostics).unwrap_or(SimDuration::ZERO),
        fd_limit: fields.count_u32("fd_limit", diagnostics).unwrap_or(DEFAULT_FD_LIMIT),
    };
    let count = fields.count_u32("count", diagnostics).unwrap_or(1);
    let addresses = fields.addresses("addresses", diagnostics);
    if count > 1 && fields.has("addresses") {
        let help = "leave `addresses` out: each instance gets its own";
        diagnostics.error(&fields.key_span("addresses"), "several instances cannot share addresses", help);
    }
    let start = fields.node("start_at").map(|node| node.span.clone());
    let unknown = fields.has("run") && registration.is_none();
    let nameservers = resolver_fields.and_then(|fields| fields.node("nameservers"));
    (!unknown).then_some(Group { entry, plan, count, nameservers, addresses, start })
}

fn registration(fields: &Fields<'_>, context: &mut Context<'_>) -> Option<Registration> {
    let name = fields.text("run", context.diagnostics)?;
    let found = context.registry.find(name).copied();
    if found.is_none() {
        let span = &fields.node("run").expect("it was read").span;
        let names = context.registry.iter().map(|entry| entry.name).collect::<Vec<_>>();
        let help = suggestion(name, "registered clients and upstreams", names);
        context.diagnostics.error(span, format!("no client or upstream is registered as `{name}`"), help);
    }
    found
}

/// The registration's settings: the file's where it gives any, the defaults for the rest.
fn params(fields: &Fields<'_>, registration: Option<&Registration>, diagnostics: &mut Diagnostics) -> Params {
    let mut params = Params::default();
    for param in registration.iter().flat_map(|registration| registration.params) {
        params.set(param.name, read::default_of(param).expect("defaults were checked at registration"));
    }
    let Some(node) = fields.node("with") else { return params };
    let entries = match (&node.value, registration) {
        (Value::Map(entries), Some(_)) => entries,
        (Value::Null, _) => return params,
        (Value::Map(_), None) => {
            if !fields.has("run") {
                let help = "add `run: ...`, or leave `with` out";
                diagnostics.error(&fields.key_span("with"), "settings for a host that runs nothing", help);
            }
            return params;
        }
        _ => {
            diagnostics.error(
                &node.span,
                format!("`with` is a mapping, not {}", node.kind()),
                "write `setting: value`",
            );
            return params;
        }
    };
    let registration = registration.expect("there is one in this arm");
    for entry in entries {
        match registration.param(&entry.key) {
            Some(param) => {
                let value = read::param(&entry.value, param, diagnostics);
                value.into_iter().for_each(|value| params.set(param.name, value));
            }
            None => {
                let names = registration.params.iter().map(|param| param.name);
                let message = format!("`{}` has no setting `{}`", registration.name, entry.key);
                diagnostics.error(&entry.key_span, message, suggestion(&entry.key, "settings", names));
            }
        }
    }
    params
}

fn sysctls(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Sysctls {
    let mut sysctls = Sysctls::default();
    let Some(node) = fields.node("sysctls") else { return sysctls };
    let Value::Map(entries) = &node.value else {
        let help = "write `net.ipv4.tcp_retries2: 6`";
        diagnostics.error(&node.span, format!("`sysctls` is a mapping, not {}", node.kind()), help);
        return sysctls;
    };
    for entry in entries {
        if sysctls.get(&entry.key).is_none() {
            let help = match crate::diagnostic::closest(&entry.key, Sysctls::NAMES.iter().copied()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => "write its whole Linux name, such as `net.ipv4.tcp_retries2`".to_owned(),
            };
            diagnostics.error(&entry.key_span, format!("no sysctl `{}` is simulated", entry.key), help);
            continue;
        }
        let Some(value) = sysctl_text(&entry.value) else {
            let help = "write a number, or several as in `4096 131072 6291456`";
            diagnostics.error(&entry.value.span, format!("`{}` is not {}", entry.key, entry.value.kind()), help);
            continue;
        };
        if let Err(reason) = sysctls.set(&entry.key, &value) {
            let default = Sysctls::default().get(&entry.key).expect("it is known");
            diagnostics.error(&entry.value.span, reason, format!("its default is `{}`", default.replace('\t', " ")));
        }
    }
    let [first, last] = sysctls.ip_local_port_range;
    if first > last || first == 0 || last > 65_535 {
        let entry = entries.iter().find(|entry| entry.key == "net.ipv4.ip_local_port_range");
        let span = entry.map_or(&node.span, |entry| &entry.value.span);
        let help = "write the first and the last port, from 1 to 65535, as in `32768 60999`";
        diagnostics.error(span, format!("there is no port from {first} to {last}"), help);
    }
    sysctls
}

/// One value, or a list of values as the kernel writes it.
fn sysctl_text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Scalar(text) => Some(text.clone()),
        Value::List(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(|item| scalar(item).ok()).collect();
            texts.map(|texts| texts.join(" "))
        }
        _ => None,
    }
}

/// resolv.conf(5)'s defaults where the file says nothing. Servers come later: they may be hosts.
fn resolver(fields: Option<&Fields<'_>>, diagnostics: &mut Diagnostics) -> ResolverConfig {
    let mut plan = ResolverConfig::default();
    let Some(fields) = fields else { return plan };
    for node in fields.list("search", diagnostics) {
        plan.search.extend(diagnostics.accept(&node.span, scalar(node)).map(str::to_owned));
    }
    plan.ndots = fields.count_u32("ndots", diagnostics).unwrap_or(plan.ndots);
    plan.timeout = fields.duration("timeout", diagnostics).unwrap_or(plan.timeout);
    plan.attempts = fields.count_u32("attempts", diagnostics).unwrap_or(plan.attempts);
    for (name, flag) in [
        ("rotate", &mut plan.rotate),
        ("single_request", &mut plan.single_request),
        ("single_request_reopen", &mut plan.single_request_reopen),
        ("use_vc", &mut plan.use_vc),
    ] {
        *flag = fields.flag(name, diagnostics).unwrap_or(false);
    }
    if plan.timeout.is_zero() {
        let span = &fields.node("timeout").expect("zero is not the default").span;
        diagnostics.error(span, "a resolver that does not wait at all", "write `5s`, or leave `timeout` out");
    }
    if let Some(text) = fields.text("cache", diagnostics) {
        let node = fields.node("cache").expect("it was read");
        let cache = match text {
            "none" => Ok(StubCache::None),
            "ttl" => Ok(StubCache::Ttl),
            "forever" => Ok(StubCache::Forever),
            _ => parse_duration(text).map(StubCache::Fixed).map_err(|mut mistake| {
                mistake.message = format!("`{text}` is no way to cache names");
                mistake.help = "write `none`, `ttl`, `forever`, or a fixed time such as `30s`".to_owned();
                mistake
            }),
        };
        plan.cache = diagnostics.accept(&node.span, cache).unwrap_or_default();
    }
    plan
}

/// Turns groups into hosts, and gives each its addresses in the order of the file.
fn expand(groups: Vec<Group<'_>>, has_dns: bool, found: &mut Found, diagnostics: &mut Diagnostics) {
    let mut taken: BTreeMap<IpAddr, Span> = BTreeMap::new();
    for (address, span) in groups.iter().flat_map(|group| &group.addresses) {
        let message = if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
            format!("{address} cannot be the address of a host on the network")
        } else if let Some(first) = taken.get(address) {
            let message = format!("two hosts have the address {address}");
            let diagnostic = Diagnostic::new(span, message, "give each host an address of its own");
            diagnostics.push(diagnostic.related(first, "first here"));
            continue;
        } else {
            taken.insert(*address, span.clone());
            continue;
        };
        diagnostics.error(span, message, "take one such as 10.0.0.7 or fd00::7");
    }
    let mut number = 0;
    for group in groups {
        let Group { entry, plan, count, addresses, start: _, nameservers: _ } = group;
        if found.hosts.len() as u64 + u64::from(count) > HOSTS_MAX {
            let message = format!("the scenario has more than {HOSTS_MAX} hosts");
            diagnostics.error(&entry.key_span, message, "lower the `count` of a host");
            break;
        }
        for instance in 1..=count {
            let name = if count == 1 { plan.name.clone() } else { format!("{}-{instance}", plan.name) };
            let given: Vec<IpAddr> = addresses.iter().map(|(address, _)| *address).collect();
            let addresses = if given.is_empty() { next_addresses(&mut number, &taken) } else { given };
            let id = HostId::new(found.hosts.len() as u32);
            found.hosts.push(HostPlan { id, name, instance, addresses, ..plan.clone() });
        }
    }
    if has_dns {
        let id = HostId::new(found.hosts.len() as u32);
        found.hosts.push(dns_host(id, next_addresses(&mut number, &taken), diagnostics));
    }
}

fn dns_host(id: HostId, addresses: Vec<IpAddr>, diagnostics: &mut Diagnostics) -> HostPlan {
    HostPlan {
        id,
        name: DNS_HOST.to_owned(),
        group: DNS_HOST.to_owned(),
        instance: 1,
        role: Role::Dns,
        run: None,
        params: Params::default(),
        addresses,
        sysctls: Sysctls::default(),
        interface_mtu: DEFAULT_INTERFACE_MTU,
        resolver: resolver(None, diagnostics),
        clock_offset_nanos: 0,
        start_at: SimTime::ZERO,
        fd_limit: DEFAULT_FD_LIMIT,
    }
}

/// The next 10.0.0.N and fd00::N of which none is taken.
fn next_addresses(number: &mut u32, taken: &BTreeMap<IpAddr, Span>) -> Vec<IpAddr> {
    loop {
        *number += 1;
        let v4 = IpAddr::from(Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + *number));
        let v6 = IpAddr::from(Ipv6Addr::from((0xfd00 << 112) + u128::from(*number)));
        if !taken.contains_key(&v4) && !taken.contains_key(&v6) {
            return vec![v4, v6];
        }
    }
}

/// Gives each host its DNS servers: the file's, or the scenario's own.
fn point_resolvers(nodes: &[Option<&Node>], has_dns: bool, found: &mut Found, diagnostics: &mut Diagnostics) {
    let own: Vec<IpAddr> = match found.hosts.last() {
        Some(dns) if has_dns => dns.addresses.iter().copied().filter(IpAddr::is_ipv4).collect(),
        _ => Vec::new(),
    };
    for index in 0..found.hosts.len() {
        let servers = match nodes.get(index).copied().flatten() {
            None => own.clone(),
            Some(node) => super::dns::places(node, found, diagnostics).unwrap_or_default(),
        };
        found.hosts[index].resolver.nameservers = servers;
    }
}
