//! The network: routes, and the links, NATs and firewalls on them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use halfopen_core::{HostId, Ratio, SimDuration};
use halfopen_fabric::config::{
    ClampMss, Delay, ElementConfig, ElementKind, FirewallConfig, GilbertElliott, IcmpPolicy, LatePacket, LinkConfig,
    NatConfig, OnExpiry, Opens, PortPolicy, QueueLimit, Refresh, Reorder, RouteConfig, Side, StrayPacket, Timeouts,
    Tracking,
};
use halfopen_fabric::preset::{self, Preset};

use crate::diagnostic::{Diagnostic, Diagnostics, Span, suggestion};
use crate::language;
use crate::node::{Node, Value};
use crate::read::{Fields, scalar};
use crate::value::{Mistake, parse_count, parse_size};

use super::Found;

/// The most external addresses of one NAT (halfopen-fabric's limit).
const NAT_ADDRESSES_MAX: usize = 100;
/// How many NATs can get an external address of their own: one each of 198.51.100.0/24 (RFC 5737).
const NATS_MAX: u8 = 254;

/// The two groups of hosts at the ends of a route or a fault, each with the name it is told by.
pub(crate) struct Pair {
    pub first: (String, Vec<HostId>),
    pub second: (String, Vec<HostId>),
}

/// An element of a route as it is written.
enum Written {
    Here(ElementConfig),
    Elsewhere(String, Span),
}

/// What naming elements and numbering NATs has to remember.
struct Builder<'f> {
    found: &'f Found,
    named: BTreeMap<String, (ElementConfig, Span)>,
    nats: u8,
    /// Addresses of NATs so far.
    external: Vec<IpAddr>,
}

/// Resolves `network:`.
pub(crate) fn resolve(node: Option<&Node>, place: &Span, found: &mut Found, diagnostics: &mut Diagnostics) {
    let Some(fields) = node.and_then(|node| Fields::open(node, place, &language::NETWORK, diagnostics)) else { return };
    if let Some(node) = fields.node("default") {
        let link = link(node, &fields.key_span("default"), diagnostics);
        found.network.default_link = link.unwrap_or_default();
        if let Some(name) = node.get("name") {
            let message = "the default link has no name: each pair of hosts has one of its own";
            diagnostics.error(&name.span, message, "leave `name` out, or write a route");
        }
    }
    let mut builder = Builder { found, named: BTreeMap::new(), nats: 0, external: Vec::new() };
    let mut written = Vec::new();
    for node in fields.list("routes", diagnostics) {
        written.push(builder.route(node, diagnostics));
    }
    check_pairs(&written, diagnostics);
    let mut routes = Vec::new();
    for (pair, _, elements) in written.into_iter().flatten() {
        let mut via: Vec<ElementConfig> = Vec::new();
        for element in elements {
            let span = match &element {
                Written::Here(_) => None,
                Written::Elsewhere(_, span) => Some(span.clone()),
            };
            let Some(config) = builder.look_up(element, diagnostics) else { continue };
            if let Some(span) = span.filter(|_| via.iter().any(|known| known.name == config.name)) {
                let name = config.name.as_deref().unwrap_or_default();
                diagnostics.error(&span, format!("the element `{name}` is on this route already"), "leave it out here");
            }
            via.push(config);
        }
        routes.push(RouteConfig { between: (pair.first.1, pair.second.1), via });
    }
    found.network.routes = routes;
}

/// A route as far as it can be read: its ends, where they stand, and its elements.
type WrittenRoute = Option<(Pair, Span, Vec<Written>)>;

/// No pair of hosts may lie on two routes.
fn check_pairs(routes: &[WrittenRoute], diagnostics: &mut Diagnostics) {
    let meet = |a: &[HostId], b: &[HostId]| a.iter().any(|host| b.contains(host));
    let routes: Vec<&(Pair, Span, Vec<Written>)> = routes.iter().flatten().collect();
    for (index, (later, span, _)) in routes.iter().enumerate() {
        for (earlier, first, _) in &routes[..index] {
            let (a, b) = (&later.first.1, &later.second.1);
            let (c, d) = (&earlier.first.1, &earlier.second.1);
            if (meet(a, c) && meet(b, d)) || (meet(a, d) && meet(b, c)) {
                let message = format!("two routes between `{}` and `{}`", later.first.0, later.second.0);
                let help = "put all elements into one route";
                diagnostics.push(Diagnostic::new(span, message, help).related(first, "the first is here"));
            }
        }
    }
}

/// `[app, db]`, or lists in the place of names.
pub(crate) fn pair(node: &Node, found: &Found, diagnostics: &mut Diagnostics) -> Option<Pair> {
    let ends = match &node.value {
        Value::List(ends) if ends.len() == 2 => ends,
        _ => {
            let what = match &node.value {
                Value::List(ends) => format!("{} of them", ends.len()),
                _ => node.kind().to_owned(),
            };
            diagnostics.error(
                &node.span,
                format!("two groups of hosts are needed here, not {what}"),
                "write `[app, db]`",
            );
            return None;
        }
    };
    let [first, second] = [&ends[0], &ends[1]].map(|end| {
        let name = match &end.value {
            Value::Scalar(name) => name.clone(),
            Value::List(names) => names.first().and_then(|name| scalar(name).ok()).unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        found.hosts_at(end, diagnostics).map(|hosts| (name, hosts))
    });
    let (first, second) = (first?, second?);
    if let Some(both) = first.1.iter().find(|host| second.1.contains(host)) {
        let name = &found.hosts[both.index()].name;
        diagnostics.error(
            &node.span,
            format!("`{name}` stands on both sides"),
            "take two groups without a common host",
        );
        return None;
    }
    Some(Pair { first, second })
}

impl Builder<'_> {
    fn route(&mut self, node: &Node, diagnostics: &mut Diagnostics) -> WrittenRoute {
        let fields = Fields::open(node, &node.span, &language::ROUTE, diagnostics)?;
        let between = fields.node("between");
        let ends = between.and_then(|node| pair(node, self.found, diagnostics));
        let mut elements = Vec::new();
        for node in fields.list("via", diagnostics) {
            elements.extend(self.element(node, ends.as_ref(), diagnostics));
        }
        Some((ends?, between?.span.clone(), elements))
    }

    fn element(&mut self, node: &Node, ends: Option<&Pair>, diagnostics: &mut Diagnostics) -> Option<Written> {
        if let Value::Scalar(name) = &node.value {
            return Some(Written::Elsewhere(name.clone(), node.span.clone()));
        }
        let fields = Fields::open(node, &node.span, &language::ELEMENT, diagnostics)?;
        let kinds: Vec<&'static str> =
            ["link", "nat", "firewall"].into_iter().filter(|kind| fields.has(kind)).collect();
        let kind = match kinds.as_slice() {
            [kind] => *kind,
            [] => {
                // Where an unknown key stands in the place of the kind, that has been told.
                if matches!(&node.value, Value::Map(entries) if entries.iter().all(|entry| entry.key == "name")) {
                    let help = "write `link: { ... }`, `nat: { ... }` or `firewall: { ... }`";
                    diagnostics.error(&node.span, "an element that is nothing", help);
                }
                return None;
            }
            [_, second, ..] => {
                let message = format!("one element cannot be a {} as well", second);
                diagnostics.error(&fields.key_span(second), message, "begin a new item of the list with `-`");
                return None;
            }
        };
        let (inner, place) = (fields.node(kind).expect("it is there"), fields.key_span(kind));
        let config = match kind {
            "link" => link(inner, &place, diagnostics).map(ElementKind::Link),
            "nat" => self.nat(inner, &place, ends, diagnostics).map(ElementKind::Nat),
            _ => firewall(inner, &place, ends, self.found, diagnostics).map(ElementKind::Firewall),
        };
        let (name, span) = match name_of(&fields, inner, diagnostics) {
            Some((name, span)) => (name, span),
            None => (self.free_name(ends, kind), place),
        };
        if let Some((_, first)) = self.named.get(&name) {
            let help = format!("for the same box on another route write `- {name}`; for another box take another name");
            let diagnostic = Diagnostic::new(&span, format!("two elements are named `{name}`"), help);
            diagnostics.push(diagnostic.related(first, "the first is here"));
            return None;
        }
        let config = ElementConfig { name: Some(name.clone()), kind: config? };
        self.named.insert(name, (config.clone(), span));
        Some(Written::Here(config))
    }

    /// A name that says where an element stands: `app-db.nat`, and then `app-db.nat-2`.
    fn free_name(&self, ends: Option<&Pair>, kind: &str) -> String {
        let base = match ends {
            Some(ends) => format!("{}-{}.{kind}", ends.first.0, ends.second.0),
            None => kind.to_owned(),
        };
        let numbered = (2..).map(|number| format!("{base}-{number}"));
        let mut names = std::iter::once(base.clone()).chain(numbered);
        names.find(|name| !self.named.contains_key(name)).expect("numbers do not run out")
    }

    fn look_up(&self, element: Written, diagnostics: &mut Diagnostics) -> Option<ElementConfig> {
        match element {
            Written::Here(config) => Some(config),
            Written::Elsewhere(name, span) => {
                let config = self.named.get(&name).map(|(config, _)| config.clone());
                if config.is_none() {
                    let names: Vec<&str> = self.named.keys().map(String::as_str).collect();
                    let help = suggestion(&name, "elements", names);
                    diagnostics.error(&span, format!("no route has an element named `{name}`"), help);
                }
                config
            }
        }
    }

    fn taken(&self, address: &IpAddr) -> bool {
        self.external.contains(address) || self.found.hosts.iter().any(|host| host.addresses.contains(address))
    }

    /// The file's external addresses for a NAT, or the next free ones.
    fn nat_addresses(
        &mut self,
        fields: &Fields<'_>,
        place: &Span,
        diagnostics: &mut Diagnostics,
    ) -> Option<Vec<IpAddr>> {
        let mut addresses = Vec::new();
        for (address, span) in fields.addresses("addresses", diagnostics) {
            if self.taken(&address) {
                let message = format!("{address} is the address of a host or of another NAT already");
                diagnostics.error(&span, message, "take one such as 203.0.113.1");
            }
            self.external.push(address);
            addresses.push(address);
        }
        if addresses.len() > NAT_ADDRESSES_MAX {
            let message = format!("a NAT has at most {NAT_ADDRESSES_MAX} addresses");
            diagnostics.error(&fields.key_span("addresses"), message, "leave some out");
        }
        if addresses.is_empty() {
            if self.nats == NATS_MAX {
                diagnostics.error(place, format!("more than {NATS_MAX} NATs"), "give this one `addresses`");
                return None;
            }
            self.nats += 1;
            // Both families, so that nothing goes around the box.
            addresses = vec![
                IpAddr::from(Ipv4Addr::new(198, 51, 100, self.nats)),
                IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(self.nats))),
            ];
            if let Some(taken) = addresses.iter().find(|address| self.taken(address)) {
                diagnostics.error(place, format!("this NAT would get {taken}, which is taken"), "give it `addresses`");
            }
            self.external.extend(&addresses);
        }
        Some(addresses)
    }

    fn nat(
        &mut self,
        node: &Node,
        place: &Span,
        ends: Option<&Pair>,
        diagnostics: &mut Diagnostics,
    ) -> Option<NatConfig> {
        let fields = Fields::open(node, place, &language::NAT, diagnostics)?;
        let base = find_preset(&fields, "NATs", Preset::nat, diagnostics).unwrap_or_else(|| NatConfig {
            addresses: Vec::new(),
            inner: Side::First,
            ports: PortPolicy::default(),
            tracking: Tracking::default(),
        });
        let tracking = tracking(&fields, base.tracking, diagnostics);
        let mut ports = base.ports;
        if let Some((first, last)) = port_range(&fields, diagnostics) {
            (ports.first, ports.last) = (first, last);
        }
        ports.keep = fields.flag("keep_port", diagnostics).unwrap_or(ports.keep);
        let inner = match fields.node("inner").zip(ends) {
            None => base.inner,
            Some((node, ends)) => side(node, "inner", ends, self.found, diagnostics)?,
        };
        let addresses = self.nat_addresses(&fields, place, diagnostics)?;
        Some(NatConfig { addresses, inner, ports, tracking })
    }
}

/// An element's name, which may stand beside its kind or within it, and where it stands.
fn name_of(fields: &Fields<'_>, inner: &Node, diagnostics: &mut Diagnostics) -> Option<(String, Span)> {
    let node = match (fields.node("name"), inner.get("name")) {
        (Some(_), Some(inner)) => {
            diagnostics.error(&inner.span, "`name` stands here and beside it", "keep one of the two");
            return None;
        }
        (beside, within) => beside.or(within)?,
    };
    let name = diagnostics.accept(&node.span, scalar(node))?;
    Some((name.to_owned(), node.span.clone()))
}

fn firewall(
    node: &Node,
    place: &Span,
    ends: Option<&Pair>,
    found: &Found,
    diagnostics: &mut Diagnostics,
) -> Option<FirewallConfig> {
    let fields = Fields::open(node, place, &language::FIREWALL, diagnostics)?;
    let base = find_preset(&fields, "firewalls", Preset::firewall, diagnostics)
        .unwrap_or_else(|| FirewallConfig { opens: Opens::First, tracking: Tracking::default() });
    let tracking = tracking(&fields, base.tracking, diagnostics);
    let opens = match fields.node("opens").zip(ends) {
        None => base.opens,
        Some((node, _)) if matches!(&node.value, Value::Scalar(word) if word == "both") => Opens::Both,
        Some((node, ends)) => match side(node, "opens", ends, found, diagnostics)? {
            Side::First => Opens::First,
            Side::Second => Opens::Second,
        },
    };
    Some(FirewallConfig { opens, tracking })
}

/// Which end of its route a box's key means.
fn side(node: &Node, key: &str, ends: &Pair, found: &Found, diagnostics: &mut Diagnostics) -> Option<Side> {
    let hosts = found.hosts_at(node, diagnostics)?;
    let within = |end: &[HostId]| hosts.iter().all(|host| end.contains(host));
    if within(&ends.first.1) {
        return Some(Side::First);
    }
    if within(&ends.second.1) {
        return Some(Side::Second);
    }
    let message = format!("`{key}` names hosts that are not at one end of this route");
    let help = format!("write `{key}: {}` or `{key}: {}`", ends.first.0, ends.second.0);
    diagnostics.error(&node.span, message, help);
    None
}

/// What the preset that is named says, if it is of the kind that fits.
fn find_preset<T>(
    fields: &Fields<'_>,
    what: &str,
    as_kind: impl Fn(&Preset) -> Option<T>,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    let name = fields.text("preset", diagnostics)?;
    let found = preset::find(name).as_ref().and_then(&as_kind);
    if found.is_none() {
        let presets = preset::presets();
        let names: Vec<&str> =
            presets.iter().filter(|preset| as_kind(preset).is_some()).map(|preset| preset.name).collect();
        let span = &fields.node("preset").expect("it was read").span;
        let help = suggestion(name, &format!("presets for {what}"), names);
        diagnostics.error(span, format!("there is no preset `{name}` for {what}"), help);
    }
    found
}

/// The flow table of a NAT or a firewall: what the file says over what the box has by itself.
fn tracking(fields: &Fields<'_>, base: Tracking, diagnostics: &mut Diagnostics) -> Tracking {
    let mut timeouts = base.timeouts;
    if let Some(idle) = positive(fields, "idle_timeout", diagnostics) {
        timeouts.tcp_established = idle;
        timeouts.tcp_max_retrans = timeouts.tcp_max_retrans.min(idle);
        timeouts.tcp_unacknowledged = timeouts.tcp_unacknowledged.min(idle);
        (timeouts.udp, timeouts.udp_stream) = (idle, idle);
    }
    if let Some(node) = fields.node("timeouts")
        && let Some(fields) = Fields::open(node, &fields.key_span("timeouts"), &language::TIMEOUT, diagnostics)
    {
        for (name, timeout) in by_name(&mut timeouts) {
            *timeout = positive(&fields, name, diagnostics).unwrap_or(*timeout);
        }
    }
    Tracking {
        timeouts,
        refresh: match fields.choice("refresh", diagnostics) {
            None => base.refresh,
            Some("both") => Refresh::Both,
            Some("outbound") => Refresh::Outbound,
            Some(_) => Refresh::Inbound,
        },
        on_expiry: match fields.choice("on_expiry", diagnostics) {
            None => base.on_expiry,
            Some("silent") => OnExpiry::Silent,
            Some("reset-inner") => OnExpiry::ResetInner,
            Some(_) => OnExpiry::ResetBoth,
        },
        late: match fields.choice("late", diagnostics) {
            None => base.late,
            Some("drop") => LatePacket::Drop,
            Some("reset") => LatePacket::Reset,
            Some("pick-up") => LatePacket::PickUp,
            Some("remap") => LatePacket::Remap,
            Some(_) => LatePacket::ForwardUntranslated,
        },
        stray: match fields.choice("stray", diagnostics) {
            None => base.stray,
            Some("drop") => StrayPacket::Drop,
            Some(_) => StrayPacket::Reset,
        },
        table_size: fields.count_u32("table_size", diagnostics).unwrap_or(base.table_size),
    }
}

fn by_name(timeouts: &mut Timeouts) -> [(&'static str, &mut SimDuration); 13] {
    let Timeouts {
        tcp_syn_sent,
        tcp_syn_recv,
        tcp_established,
        tcp_fin_wait,
        tcp_close_wait,
        tcp_last_ack,
        tcp_time_wait,
        tcp_close,
        tcp_max_retrans,
        tcp_unacknowledged,
        udp,
        udp_stream,
        icmp,
    } = timeouts;
    [
        ("tcp_syn_sent", tcp_syn_sent),
        ("tcp_syn_recv", tcp_syn_recv),
        ("tcp_established", tcp_established),
        ("tcp_fin_wait", tcp_fin_wait),
        ("tcp_close_wait", tcp_close_wait),
        ("tcp_last_ack", tcp_last_ack),
        ("tcp_time_wait", tcp_time_wait),
        ("tcp_close", tcp_close),
        ("tcp_max_retrans", tcp_max_retrans),
        ("tcp_unacknowledged", tcp_unacknowledged),
        ("udp", udp),
        ("udp_stream", udp_stream),
        ("icmp", icmp),
    ]
}

/// A duration that is not zero.
pub(crate) fn positive(fields: &Fields<'_>, name: &'static str, diagnostics: &mut Diagnostics) -> Option<SimDuration> {
    let duration = fields.duration(name, diagnostics)?;
    if duration.is_zero() {
        let span = &fields.node(name).expect("it was read").span;
        diagnostics.error(span, format!("`{name}` is no time at all"), "write a time such as `2s`, or leave it out");
        return None;
    }
    Some(duration)
}

fn port_range(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<(u16, u16)> {
    const HELP: &str = "write the first and the last port, as in `1024..65535`";
    let text = fields.text("ports", diagnostics)?;
    let span = &fields.node("ports").expect("it was read").span;
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    match text.split_once("..").map(|(first, last)| (port(first), port(last))) {
        Some((Some(first), Some(last))) if first <= last => Some((first, last)),
        Some((Some(first), Some(last))) => {
            let help = format!("write `{last}..{first}`");
            diagnostics.error(span, format!("the range of ports `{text}` runs backwards"), help);
            None
        }
        _ => {
            diagnostics.error(span, format!("`{text}` is not a range of ports"), HELP);
            None
        }
    }
}

/// A link: what the file says over its preset, or over a plain line.
fn link(node: &Node, place: &Span, diagnostics: &mut Diagnostics) -> Option<LinkConfig> {
    let fields = Fields::open(node, place, &language::LINK, diagnostics)?;
    let base = find_preset(&fields, "links", Preset::link, diagnostics).unwrap_or_default();
    Some(LinkConfig {
        latency: delay(&fields, "latency", diagnostics).unwrap_or(base.latency),
        jitter: fields.duration("jitter", diagnostics).unwrap_or(base.jitter),
        loss: fields.share("loss", diagnostics).unwrap_or(base.loss),
        burst: burst(&fields, diagnostics).or(base.burst),
        duplicate: fields.share("duplicate", diagnostics).unwrap_or(base.duplicate),
        reorder: reorder(&fields, diagnostics).unwrap_or(base.reorder),
        corrupt: fields.share("corrupt", diagnostics).unwrap_or(base.corrupt),
        bandwidth: fields.bandwidth("bandwidth", diagnostics).or(base.bandwidth),
        queue: queue(&fields, diagnostics).unwrap_or(base.queue),
        mtu: fields.count_u32("mtu", diagnostics).unwrap_or(base.mtu),
        icmp: icmp(&fields, diagnostics).unwrap_or(base.icmp),
        clamp_mss: clamp_mss(&fields, diagnostics).unwrap_or(base.clamp_mss),
    })
}

pub(crate) fn icmp(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<IcmpPolicy> {
    let word = fields.choice("icmp", diagnostics)?;
    Some(if word == "blocked" { IcmpPolicy::Blocked } else { IcmpPolicy::Allowed })
}

/// A distribution that the network can draw from.
pub(crate) fn delay(fields: &Fields<'_>, name: &'static str, diagnostics: &mut Diagnostics) -> Option<Delay> {
    let distribution = fields.distribution(name, diagnostics)?;
    diagnostics.accept(&fields.node(name)?.span, distribution.to_delay())
}

fn burst(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<GilbertElliott> {
    let node = fields.node("burst")?;
    let fields = Fields::open(node, &fields.key_span("burst"), &language::BURST, diagnostics)?;
    let [to_bad, to_good] = ["to_bad", "to_good"].map(|name| fields.share(name, diagnostics));
    let loss_bad = fields.share("loss_bad", diagnostics).unwrap_or(Ratio::ONE);
    let loss_good = fields.share("loss_good", diagnostics).unwrap_or(Ratio::ZERO);
    Some(GilbertElliott { to_bad: to_bad?, to_good: to_good?, loss_bad, loss_good })
}

fn reorder(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<Reorder> {
    let node = fields.node("reorder")?;
    let fields = Fields::open(node, &fields.key_span("reorder"), &language::REORDER, diagnostics)?;
    let (share, by) = (fields.share("share", diagnostics), positive(&fields, "by", diagnostics));
    Some(Reorder { share: share?, by: by? })
}

fn queue(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<QueueLimit> {
    let text = fields.text("queue", diagnostics)?;
    let limit = match parse_count(text) {
        Ok(packets) => u32::try_from(packets).ok().filter(|packets| *packets > 0).map(QueueLimit::Packets),
        Err(_) => parse_size(text).ok().filter(|bytes| *bytes > 0).map(QueueLimit::Bytes),
    };
    let span = &fields.node("queue").expect("it was read").span;
    diagnostics.accept(
        span,
        limit.ok_or_else(|| Mistake {
            message: format!("`{text}` is not the length of a queue"),
            help: "write packets, as in `100`, or bytes, as in `64KiB`".to_owned(),
        }),
    )
}

fn clamp_mss(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<ClampMss> {
    let text = fields.text("clamp_mss", diagnostics)?;
    let clamp = match text {
        "off" | "false" => Some(ClampMss::Off),
        "mtu" => Some(ClampMss::ToMtu),
        _ => text.parse::<u16>().ok().filter(|mss| *mss > 0).map(ClampMss::To),
    };
    let span = &fields.node("clamp_mss").expect("it was read").span;
    diagnostics.accept(
        span,
        clamp.ok_or_else(|| Mistake {
            message: format!("`{text}` is nothing that an MSS can be clamped to"),
            help: "write `off`, `mtu`, or bytes, as in `1360`".to_owned(),
        }),
    )
}
