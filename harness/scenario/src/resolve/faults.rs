//! The timeline: what breaks, when, and for how long.

use halfopen_core::event::Direction;
use halfopen_core::id::FaultId;
use halfopen_core::{Ratio, SimDuration, SimTime};
use halfopen_fabric::config::{ElementKind, IcmpPolicy};
use halfopen_fabric::fault::{FaultKind as NetFaultKind, NetFault, Scope, Target};

use crate::diagnostic::{Diagnostics, Span, suggestion};
use crate::language::{self, FAULT_KINDS};
use crate::node::{Node, Value};
use crate::plan::{Condition, DnsFailure, FaultKind, FaultPlan, Role, When, draw};
use crate::read::{Fields, Table, scalar};
use crate::value::{parse_count, parse_duration, parse_share, spelled};

use super::network::{Pair, delay, icmp, pair, positive};
use super::{Context, Found, dns, part_span};

/// What a fault can wait for, besides a time: counters of the event log, and gauges of clients.
const COUNTERS: [&str; 10] = [
    "ops.started",
    "ops.ok",
    "ops.failed",
    "attempts.started",
    "pool.in_use",
    "pool.idle",
    "pool.waiting",
    "pool.size",
    "breaker.open",
    PROGRESS,
];
/// A gauge in percent.
const PROGRESS: &str = "transfer.progress";
/// Faults that are over in the instant in which they begin.
const INSTANT: [&str; 4] = ["nat.evict", "nat.flush", "restart", "reset"];

/// Faults that change something for good where they have no `for`; nothing goes on afterwards.
const CHANGES: [&str; 3] = ["dns.set", "crash", "clock"];

/// How a fault goes on once it has begun.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    /// It is over at once: there is no `during`.
    Instant,
    /// It ends.
    Ends,
    /// It goes on to the end of the run: there is no `after`.
    Endless,
}

/// The faults, in the order of the file.
#[derive(Default)]
pub(crate) struct Timeline {
    /// Names of all, broken ones included; `None` where not even the kind is known.
    pub names: Vec<Option<String>>,
    /// How each goes on; `None` where it is broken.
    courses: Vec<Option<Course>>,
    plans: Vec<Option<FaultPlan>>,
}

impl Timeline {
    /// The numbers of the faults of this name.
    pub fn ids(&self, name: &str) -> Vec<FaultId> {
        let named = self.names.iter().enumerate().filter(|(_, known)| known.as_deref() == Some(name));
        named.map(|(index, _)| FaultId::new(index as u32)).collect()
    }

    /// How these faults go on, if all go on alike.
    pub fn course(&self, ids: &[FaultId]) -> Option<Course> {
        let mut courses = ids.iter().map(|id| self.courses[id.index()]);
        let first = courses.next().flatten();
        first.filter(|_| courses.all(|course| course == first))
    }

    /// The faults, if none is broken.
    pub fn plans(self) -> Option<Vec<FaultPlan>> {
        self.plans.into_iter().collect()
    }
}

/// Resolves `faults:`.
pub(crate) fn resolve(scenario: &Fields<'_>, found: &Found, context: &mut Context<'_>) -> Timeline {
    let mut timeline = Timeline::default();
    for (index, node) in scenario.list("faults", context.diagnostics).iter().enumerate() {
        let id = FaultId::new(index as u32);
        let mut name = None;
        let mut course = None;
        let plan = fault(node, id, &mut name, &mut course, found, context);
        timeline.names.push(name);
        timeline.courses.push(course.filter(|_| plan.is_some()));
        timeline.plans.push(plan);
    }
    timeline
}

fn fault(
    node: &Node,
    id: FaultId,
    name: &mut Option<String>,
    course: &mut Option<Course>,
    found: &Found,
    context: &mut Context<'_>,
) -> Option<FaultPlan> {
    let text = context.text;
    let diagnostics = &mut *context.diagnostics;
    let fields = Fields::open(node, &node.span, &language::FAULT, diagnostics)?;
    *name = fields.text("name", diagnostics).map(str::to_owned);
    let kind = kind_of(&fields, node, diagnostics);
    let when = when(&fields, id, text, found, diagnostics);
    let (kind_name, table) = kind?;
    let name = name.get_or_insert_with(|| kind_name.to_owned()).clone();
    let inner = Fields::open(fields.node(kind_name)?, &fields.key_span(kind_name), table, diagnostics)?;
    let kind = kind_plan(kind_name, &inner, found, diagnostics);
    let duration = duration(&fields, &inner, kind_name, diagnostics);
    *course = Some(match duration {
        Some(_) => Course::Ends,
        None if INSTANT.contains(&kind_name) || CHANGES.contains(&kind_name) => Course::Instant,
        None => Course::Endless,
    });
    let (when, drawn_from) = when?;
    check_repetition(&fields, &when, duration, kind_name, diagnostics);
    Some(FaultPlan { id, name, kind: kind?, when, drawn_from, duration })
}

/// The one key that says what the fault does.
fn kind_of(fields: &Fields<'_>, node: &Node, diagnostics: &mut Diagnostics) -> Option<(&'static str, &'static Table)> {
    let kinds: Vec<_> = FAULT_KINDS.iter().filter(|(name, ..)| fields.has(name)).collect();
    match kinds.as_slice() {
        [(name, table, _)] => Some((name, table)),
        [] => {
            // An unknown key, which has been told, stands most likely in the place of the kind.
            let known = |key: &str| language::FAULT.keys.iter().any(|known| known.name == key);
            if matches!(&node.value, Value::Map(entries) if entries.iter().all(|entry| known(&entry.key))) {
                let names: Vec<&str> = FAULT_KINDS.iter().map(|(name, ..)| *name).collect();
                diagnostics.error(&node.span, "this fault breaks nothing", format!("add one of: {}", names.join(", ")));
            }
            None
        }
        [(first, ..), (second, ..), ..] => {
            let message = format!("one fault cannot be a `{first}` and a `{second}`");
            diagnostics.error(&fields.key_span(second), message, "begin a new item of the list with `-`");
            None
        }
    }
}

type Beginning = (When, Option<(SimTime, SimTime)>);

fn when(
    fields: &Fields<'_>,
    id: FaultId,
    text: &str,
    found: &Found,
    diagnostics: &mut Diagnostics,
) -> Option<Beginning> {
    for (key, partner) in [("after", "when"), ("times", "every")] {
        if fields.has(key) && !fields.has(partner) {
            let help = format!("add `{partner}`, or leave `{key}` out");
            diagnostics.error(&fields.key_span(key), format!("`{key}` has no meaning without `{partner}`"), help);
        }
    }
    if fields.has("when") {
        for key in ["at", "every"].into_iter().filter(|key| fields.has(key)) {
            let message = format!("`{key}` and `when` exclude each other");
            diagnostics.error(&fields.key_span(key), message, "keep one of the two");
        }
        return Some((trigger(fields, text, diagnostics)?, None));
    }
    if !fields.has("at") && !fields.has("every") {
        let help = "add `at: 2m`, or `when: ops.started == 500`";
        diagnostics.error(&fields.span, "this fault does not say when it begins", help);
        return None;
    }
    let range = instants(fields, found, diagnostics);
    if fields.has("every") {
        let period = positive(fields, "every", diagnostics);
        return every(fields, range, period?, found, diagnostics);
    }
    let (first, last) = range?;
    let drawn_from = (first != last).then_some((first, last));
    let at = drawn_from.map_or(first, |range| draw(found.seed, id, range));
    Some((When::At(at), drawn_from))
}

/// `at`: an instant, or a range as its first and last instant; both before everything is over.
fn instants(fields: &Fields<'_>, found: &Found, diagnostics: &mut Diagnostics) -> Option<(SimTime, SimTime)> {
    let node = fields.node("at")?;
    let text = diagnostics.accept(&node.span, scalar(node))?;
    let (first, last) = match text.split_once("..") {
        None => (text, text),
        Some((first, last)) => (first.trim(), last.trim()),
    };
    let first = diagnostics.accept(&node.span, parse_duration(first))?;
    let last = diagnostics.accept(&node.span, parse_duration(last))?;
    if first > last {
        diagnostics.error(&node.span, format!("`{text}` runs backwards"), format!("write `{last}..{first}`"));
        return None;
    }
    let (first, last) = (SimTime::ZERO + first, SimTime::ZERO + last);
    if last >= found.end {
        tell_late(&node.span, last, found, diagnostics);
        return None;
    }
    Some((first, last))
}

fn tell_late(span: &Span, at: SimTime, found: &Found, diagnostics: &mut Diagnostics) {
    let [at, end] = [at, found.end].map(|time| spelled(time.since(SimTime::ZERO)));
    let message = format!("the fault would begin at {at}, but everything is over at {end}");
    let help = format!("let it begin before {end}, or let the load (or `time_limit`) go on for longer");
    diagnostics.error(span, message, help);
}

fn every(
    fields: &Fields<'_>,
    range: Option<(SimTime, SimTime)>,
    period: SimDuration,
    found: &Found,
    diagnostics: &mut Diagnostics,
) -> Option<Beginning> {
    let first = match (fields.has("at"), range) {
        (false, _) => SimTime::ZERO + period,
        (true, Some((first, last))) if first == last => first,
        (true, Some(_)) => {
            let help = "give one instant, or leave `every` out";
            diagnostics.error(&fields.key_span("at"), "a range cannot be repeated", help);
            return None;
        }
        (true, None) => return None,
    };
    if first >= found.end {
        tell_late(&fields.node("every")?.span, first, found, diagnostics);
        return None;
    }
    let left = found.end.since(first).as_nanos() - 1;
    let fitting = u32::try_from(left / period.as_nanos() + 1).unwrap_or(u32::MAX);
    let count = match fields.count_u32("times", diagnostics) {
        Some(times) if times > fitting => {
            let last = first + period * u64::from(times - 1);
            tell_late(&fields.node("times")?.span, last, found, diagnostics);
            return None;
        }
        Some(times) => times,
        None => fitting,
    };
    Some((When::Every { first, period, count }, None))
}

/// `ops.started == 500`, `transfer.progress >= 50%`.
fn trigger(fields: &Fields<'_>, source: &str, diagnostics: &mut Diagnostics) -> Option<When> {
    const HELP: &str = "write a counter and a number, as in `ops.started == 500` or `transfer.progress >= 50%`";
    let after = fields.duration("after", diagnostics).unwrap_or(SimDuration::ZERO);
    let text = fields.text("when", diagnostics)?;
    let node = fields.node("when")?;
    let operator = ["==", ">="].into_iter().find_map(|operator| text.find(operator).map(|at| (at, operator)));
    let Some((at, _)) = operator else {
        diagnostics.error(&node.span, format!("`{text}` is nothing that a fault could wait for"), HELP);
        return None;
    };
    let (counter, value) = (text[..at].trim_end(), text[at + 2..].trim());
    let span = part_span(source, node, 0..counter.len());
    if !COUNTERS.contains(&counter) {
        let help = suggestion(counter, "counters", COUNTERS);
        diagnostics.error(&span, format!("there is no counter `{counter}` to wait for"), help);
        return None;
    }
    let value_span = part_span(source, node, text.len() - value.len()..text.len());
    let at_least = match (counter, value.strip_suffix('%')) {
        (PROGRESS, Some(number)) => {
            diagnostics.accept(&value_span, parse_share(value))?;
            diagnostics.accept(&value_span, parse_count(number))?
        }
        (PROGRESS, None) => {
            diagnostics.error(&value_span, format!("`{counter}` is a share"), "write it as in `50%`");
            return None;
        }
        (_, Some(_)) => {
            diagnostics.error(&value_span, format!("`{counter}` is a whole number"), "write it as in `500`");
            return None;
        }
        (_, None) => diagnostics.accept(&value_span, parse_count(value))?,
    };
    let Ok(at_least) = i64::try_from(at_least) else {
        diagnostics.error(&value_span, format!("`{value}` is too large"), HELP);
        return None;
    };
    Some(When::Trigger { counter: counter.to_owned(), at_least, after })
}

/// `for`, which may stand beside the kind or within it.
fn duration(fields: &Fields<'_>, inner: &Fields<'_>, kind: &str, diagnostics: &mut Diagnostics) -> Option<SimDuration> {
    if INSTANT.contains(&kind) {
        if fields.has("for") {
            let message = format!("a `{kind}` is over in an instant");
            diagnostics.error(&fields.key_span("for"), message, "leave `for` out");
        }
        return None;
    }
    if fields.has("for") && inner.has("for") {
        diagnostics.error(&inner.key_span("for"), "`for` stands here and beside it", "keep one of the two");
        return None;
    }
    if kind == "nat.reboot" && !fields.has("for") && !inner.has("for") {
        diagnostics.error(&inner.span, "a reboot needs `for`", "say how long the box is away, as in `for: 30s`");
    }
    let place = if inner.has("for") { inner } else { fields };
    positive(place, "for", diagnostics)
}

fn check_repetition(
    fields: &Fields<'_>,
    when: &When,
    duration: Option<SimDuration>,
    kind: &str,
    diagnostics: &mut Diagnostics,
) {
    let When::Every { period, count, .. } = when else { return };
    let span = &fields.key_span("every");
    match duration {
        Some(duration) if duration >= *period => {
            let [period, duration] = [*period, duration].map(spelled);
            let message = format!("it begins again after {period}, but lasts {duration}");
            diagnostics.error(span, message, format!("raise `every` above {duration}, or shorten `for`"));
        }
        None if *count > 1 && !INSTANT.contains(&kind) => {
            diagnostics.error(span, "a fault that comes again must end in between", "add `for: 2s`");
        }
        _ => {}
    }
}

fn kind_plan(kind: &str, fields: &Fields<'_>, found: &Found, diagnostics: &mut Diagnostics) -> Option<FaultKind> {
    match kind {
        "dns.set" | "dns.fail" | "dns.stale" => dns_fault(kind, fields, found, diagnostics),
        "crash" | "restart" | "pause" | "clock" => host_fault(kind, fields, found, diagnostics),
        "slow" | "refuse" | "hang" | "error" | "capacity" => upstream_fault(kind, fields, found, diagnostics),
        "reset" => reset(fields, found, diagnostics),
        _ if kind.starts_with("nat.") => nat_fault(kind, fields, found, diagnostics),
        _ => line_fault(kind, fields, found, diagnostics),
    }
}

/// Faults of lines: what happens to packets on their way.
fn line_fault(kind: &str, fields: &Fields<'_>, found: &Found, diagnostics: &mut Diagnostics) -> Option<FaultKind> {
    let scope = scope(fields, found, diagnostics);
    let kind = match kind {
        "blip" => NetFaultKind::Loss { share: fields.share("loss", diagnostics).unwrap_or(Ratio::ONE) },
        "partition" => NetFaultKind::Loss { share: Ratio::ONE },
        "loss" => NetFaultKind::Loss { share: fields.share("share", diagnostics)? },
        "latency" => NetFaultKind::Latency { add: delay(fields, "add", diagnostics)? },
        "bandwidth" => NetFaultKind::Bandwidth { bits_per_second: fields.bandwidth("limit", diagnostics)? },
        "duplicate" => NetFaultKind::Duplicate { share: fields.share("share", diagnostics)? },
        "reorder" => {
            let (share, by) = (fields.share("share", diagnostics), positive(fields, "by", diagnostics));
            NetFaultKind::Reorder { share: share?, by: by? }
        }
        "corrupt" => NetFaultKind::Corrupt { share: fields.share("share", diagnostics)? },
        "mtu" => {
            let (mtu, icmp) = (fields.count_u32("mtu", diagnostics), icmp(fields, diagnostics));
            NetFaultKind::Mtu { mtu: mtu?, icmp: icmp.unwrap_or(IcmpPolicy::Allowed) }
        }
        "unreachable" => {
            // Codes of ICMP type 3 (RFC 792; RFC 1812, section 5.2.7.1).
            let code = match fields.choice("says", diagnostics) {
                Some("network") => 0,
                Some("port") => 3,
                Some("prohibited") => 13,
                _ => 1,
            };
            NetFaultKind::Unreachable { code }
        }
        "route" => {
            let latency = delay(fields, "latency", diagnostics);
            let gap = fields.duration("gap", diagnostics).unwrap_or(SimDuration::ZERO);
            NetFaultKind::RouteChange { latency: latency?, gap }
        }
        _ => unreachable!("`{kind}` is a fault without a meaning"),
    };
    Some(FaultKind::Net(NetFault { scope: scope?, kind }))
}

/// Which packets a fault of a line hits: those of `between`, those at the link `on`, or all.
fn scope(fields: &Fields<'_>, found: &Found, diagnostics: &mut Diagnostics) -> Option<Scope> {
    let direction = fields.choice("direction", diagnostics);
    let target = match (fields.node("between"), fields.node("on")) {
        (Some(between), None) => {
            let Pair { first, second } = pair(between, found, diagnostics)?;
            Target::Pairs(first.1, second.1)
        }
        (None, Some(_)) => {
            let is_link = |kind: &ElementKind| matches!(kind, ElementKind::Link(_));
            Target::Element(element(fields, "link", is_link, found, diagnostics)?)
        }
        (None, None) => {
            if direction.is_some_and(|direction| direction != "both") {
                let message = "the whole network has no direction";
                diagnostics.error(&fields.key_span("direction"), message, "add `between: [app, db]`");
            }
            Target::Everything
        }
        (Some(_), Some(_)) => {
            diagnostics.error(&fields.key_span("on"), "`between` and `on` exclude each other", "keep one of the two");
            return None;
        }
    };
    let direction = match direction {
        Some("forward") => Some(Direction::Forward),
        Some("backward") => Some(Direction::Backward),
        _ => None,
    };
    Some(Scope { target, direction })
}

/// The name of an element, if there is one of the right kind.
fn element(
    fields: &Fields<'_>,
    what: &str,
    fits: impl Fn(&ElementKind) -> bool,
    found: &Found,
    diagnostics: &mut Diagnostics,
) -> Option<String> {
    let name = fields.text("on", diagnostics)?;
    let elements: Vec<_> = found.network.routes.iter().flat_map(|route| &route.via).collect();
    let mut names: Vec<&str> = Vec::new();
    for element in elements.iter().filter(|element| fits(&element.kind)) {
        names.extend(element.name.as_deref().filter(|name| !names.contains(name)));
    }
    if names.contains(&name) {
        return Some(name.to_owned());
    }
    let span = &fields.node("on").expect("it was read").span;
    let message = if elements.iter().any(|element| element.name.as_deref() == Some(name)) {
        format!("the element `{name}` is not a {what}")
    } else {
        format!("no route has a {what} named `{name}`")
    };
    diagnostics.error(span, message, suggestion(name, &format!("{what}s"), names));
    None
}

fn nat_fault(kind: &str, fields: &Fields<'_>, found: &Found, diagnostics: &mut Diagnostics) -> Option<FaultKind> {
    let is_nat = |kind: &ElementKind| matches!(kind, ElementKind::Nat(_));
    let kind = match kind {
        "nat.evict" => NetFaultKind::NatEvict { flows: fields.count_u32("flows", diagnostics).unwrap_or(1) },
        "nat.flush" => NetFaultKind::NatFlush,
        "nat.reboot" => NetFaultKind::NatReboot,
        _ => NetFaultKind::NatFull,
    };
    let name = if fields.has("on") {
        element(fields, "NAT", is_nat, found, diagnostics)?
    } else {
        let mut names: Vec<&str> = Vec::new();
        for element in found.network.routes.iter().flat_map(|route| &route.via).filter(|element| is_nat(&element.kind))
        {
            names.extend(element.name.as_deref().filter(|name| !names.contains(name)));
        }
        match names.as_slice() {
            [name] => (*name).to_owned(),
            [] => {
                let help = "put `- nat: { preset: aws-nat-gateway }` on a route";
                diagnostics.error(&fields.span, "there is no NAT that this could happen to", help);
                return None;
            }
            _ => {
                let help = format!("add `on: ...` with one of: {}", names.join(", "));
                diagnostics.error(&fields.span, "there are several NATs that this could happen to", help);
                return None;
            }
        }
    };
    Some(FaultKind::Net(NetFault { scope: Scope { target: Target::Element(name), direction: None }, kind }))
}

fn dns_fault(kind: &str, fields: &Fields<'_>, found: &Found, diagnostics: &mut Diagnostics) -> Option<FaultKind> {
    let Some(zone) = &found.dns else {
        let help = "add `dns: { records: [...] }` to the scenario";
        diagnostics.error(&fields.span, "the scenario has no DNS server that could fail", help);
        return None;
    };
    if kind == "dns.stale" {
        return Some(FaultKind::DnsStale);
    }
    let name = if fields.has("name") { Some(dns::name(fields, diagnostics)?) } else { None };
    let record = name.as_ref().and_then(|(name, _)| zone.records.iter().find(|record| record.name == *name));
    if let (Some((name, span)), None) = (&name, record) {
        let names: Vec<&str> = zone.records.iter().map(|record| record.name.as_str()).collect();
        diagnostics.error(span, format!("the zone has no record `{name}`"), suggestion(name, "records", names));
    }
    if kind == "dns.fail" {
        let failure = match fields.choice("with", diagnostics) {
            None | Some("servfail") => DnsFailure::ServFail,
            Some("nxdomain") => DnsFailure::NxDomain,
            Some("refused") => DnsFailure::Refused,
            Some("silence") => DnsFailure::Silence,
            Some(_) => DnsFailure::Truncate,
        };
        return Some(FaultKind::DnsFail { name: name.map(|(name, _)| name), failure });
    }
    let addresses = fields.node("to").and_then(|node| dns::places(node, found, diagnostics));
    let ttl = dns::ttl(fields, diagnostics).or(record.map(|record| record.ttl));
    Some(FaultKind::DnsSet { name: name?.0, addresses: addresses?, ttl: ttl? })
}

fn host_fault(kind: &str, fields: &Fields<'_>, found: &Found, diagnostics: &mut Diagnostics) -> Option<FaultKind> {
    let hosts = fields.node("on").and_then(|node| found.hosts_at(node, diagnostics));
    Some(match kind {
        "crash" => {
            let power_loss = fields.flag("power_loss", diagnostics).unwrap_or(false);
            FaultKind::Crash { hosts: hosts?, power_loss }
        }
        "restart" => FaultKind::Restart { hosts: hosts? },
        "pause" => FaultKind::Pause { hosts: hosts? },
        _ => {
            let by_nanos = fields.signed_duration("by", diagnostics);
            FaultKind::Clock { hosts: hosts?, by_nanos: by_nanos? }
        }
    })
}

fn upstream_fault(kind: &str, fields: &Fields<'_>, found: &Found, diagnostics: &mut Diagnostics) -> Option<FaultKind> {
    let hosts = fields.node("on").and_then(|node| found.hosts_at(node, diagnostics));
    let stranger = hosts.as_ref().and_then(|hosts| {
        hosts.iter().map(|id| &found.hosts[id.index()]).find(|host| !matches!(host.role, Role::Upstream | Role::Bare))
    });
    if let Some(host) = stranger {
        let span = &fields.node("on").expect("its hosts were found").span;
        let names: Vec<&str> =
            found.hosts.iter().filter(|host| host.role == Role::Upstream).map(|host| host.group.as_str()).collect();
        let help = match names.first() {
            Some(name) => format!("name a host that runs an upstream, such as `{name}`"),
            None => "give a host an upstream with `run:`; `halfopen list` shows them".to_owned(),
        };
        diagnostics.error(span, format!("`{}` runs no upstream that could do this", host.name), help);
    }
    let mut share = || fields.share("share", diagnostics).unwrap_or(Ratio::ONE);
    let condition = match kind {
        "slow" => {
            let share = share();
            fields.distribution("by", diagnostics).map(|by| Condition::Slow { by, share })
        }
        "refuse" => Some(Condition::Refuse),
        "hang" => Some(Condition::Hang { share: share() }),
        "error" => {
            let share = share();
            let status = fields.count("status", diagnostics).map_or(503, |status| status as u16);
            Some(Condition::Error { share, status })
        }
        _ => fields.count_u32("workers", diagnostics).map(|workers| Condition::Capacity { workers }),
    };
    Some(FaultKind::Upstream { hosts: hosts?, condition: condition? })
}

fn reset(fields: &Fields<'_>, found: &Found, diagnostics: &mut Diagnostics) -> Option<FaultKind> {
    match (fields.node("between"), fields.node("on")) {
        (Some(between), None) => {
            let Pair { first, second } = pair(between, found, diagnostics)?;
            Some(FaultKind::Reset { hosts: first.1, peers: second.1 })
        }
        (None, Some(on)) => Some(FaultKind::Reset { hosts: found.hosts_at(on, diagnostics)?, peers: Vec::new() }),
        (None, None) => {
            let help = "add `between: [app, db]`, or `on: app`";
            diagnostics.error(&fields.span, "this reset does not say whose connections it hits", help);
            None
        }
        (Some(_), Some(_)) => {
            diagnostics.error(&fields.key_span("on"), "`between` and `on` exclude each other", "keep one of the two");
            None
        }
    }
}
