//! The load: what clients are asked to do, and when all of it is over.

use halfopen_core::{HostId, SimDuration, SimTime};

use crate::diagnostic::{Diagnostic, Diagnostics, suggestion};
use crate::language::{self, OPS_MAX};
use crate::node::Node;
use crate::plan::{Arrival, Extent, LoadPlan, PhasePlan, Role, Spread};
use crate::read::Fields;
use crate::registry::Registry;
use crate::value::spelled;

use super::network::positive;
use super::{Context, Found};

/// Resolves `load:`, and finds out when the load ends and when everything does.
pub(crate) fn resolve(scenario: &Fields<'_>, time_limit: SimDuration, found: &mut Found, context: &mut Context<'_>) {
    let limit = SimTime::ZERO + time_limit;
    let mut now = Some(SimTime::ZERO);
    // Nothing happens after the last deadline; without deadlines, ops may go on to the very end.
    let mut end = SimTime::ZERO;
    let mut told = false;
    let nodes = scenario.list("load", context.diagnostics);
    for node in nodes {
        let Some(phase) = phase(node, found, context) else {
            now = None;
            end = limit;
            continue;
        };
        now = now.zip(length(&phase)).map(|(now, length)| now + length);
        end = end.max(match &phase {
            PhasePlan::Idle(_) => now.unwrap_or(limit),
            PhasePlan::Load(load) => now.zip(load.deadline).map_or(limit, |(now, deadline)| now + deadline),
        });
        if now.is_some_and(|now| now > limit) && !told {
            told = true;
            let (span, label) = match scenario.node("time_limit") {
                Some(node) => (node.span.clone(), "the limit is here"),
                None => (scenario.key_span("load"), "the limit is 1h, since there is no `time_limit`"),
            };
            let over = spelled(now.unwrap_or(limit).since(SimTime::ZERO));
            let message = format!("the load goes on until {over}, but the run ends at {}", spelled(time_limit));
            let help = format!("raise `time_limit` above {over}, or shorten the load");
            context.diagnostics.push(Diagnostic::new(&node.span, message, help).related(&span, label));
        }
        found.load.push(phase);
    }
    found.end_of_load = now.filter(|_| !nodes.is_empty());
    found.end = if nodes.is_empty() { limit } else { end.min(limit) };
    for (at, span) in found.starts.iter().filter(|(at, _)| *at >= found.end) {
        let [at, end] = [*at, found.end].map(|time| spelled(time.since(SimTime::ZERO)));
        let message = format!("the host would start at {at}, but everything is over at {end}");
        context.diagnostics.error(span, message, format!("let it start before {end}"));
    }
}

/// How long a phase lasts, if that does not depend on clients or on chance.
fn length(phase: &PhasePlan) -> Option<SimDuration> {
    match phase {
        PhasePlan::Idle(span) => Some(*span),
        PhasePlan::Load(load) => match (load.extent, load.arrival) {
            (Extent::For(span), _) => Some(span),
            (Extent::Count(count), Arrival::Rate { rate, spread: Spread::Uniform }) => Some(rate.offset(count - 1)),
            (Extent::Count(_), _) => None,
        },
    }
}

fn phase(node: &Node, found: &Found, context: &mut Context<'_>) -> Option<PhasePlan> {
    let diagnostics = &mut *context.diagnostics;
    let fields = Fields::open(node, &node.span, &language::PHASE, diagnostics)?;
    if fields.has("idle") {
        let work = ["on", "op", "rate", "concurrency", "arrivals", "for", "count", "deadline"];
        let given: Vec<String> = work.iter().filter(|key| fields.has(key)).map(|key| format!("`{key}`")).collect();
        if !given.is_empty() {
            let message = format!("an idle phase has no {}", given.join(", "));
            diagnostics.error(&fields.key_span("idle"), message, "write `{ idle: 10m }` as a phase of its own");
            return None;
        }
        return positive(&fields, "idle", diagnostics).map(PhasePlan::Idle);
    }
    for key in ["on", "op"] {
        if !fields.has(key) {
            let message = format!("a phase of the load needs the key `{key}`");
            let help = "write `{ on: app, op: get, rate: 20/s, for: 60s }`, or `{ idle: 10m }`";
            diagnostics.error(&node.span, message, help);
        }
    }
    let hosts = fields.node("on").and_then(|node| found.hosts_at(node, diagnostics));
    let op = fields.text("op", diagnostics);
    let op_sound = hosts
        .as_ref()
        .zip(op)
        .is_none_or(|(hosts, op)| check_op(&fields, hosts, op, found, context.registry, diagnostics));
    let arrival = arrival(&fields, node, diagnostics);
    let extent = extent(&fields, node, diagnostics);
    let deadline = positive(&fields, "deadline", diagnostics);
    let (hosts, arrival, extent) = (hosts?, arrival?, extent?);
    check_amount(&fields, hosts.len() as u64, arrival, extent, diagnostics);
    let op = op.filter(|_| op_sound)?.to_owned();
    Some(PhasePlan::Load(LoadPlan { hosts, op, arrival, extent, deadline }))
}

/// Every host must run a client that knows the op.
fn check_op(
    fields: &Fields<'_>,
    hosts: &[HostId],
    op: &str,
    found: &Found,
    registry: &Registry,
    diagnostics: &mut Diagnostics,
) -> bool {
    let on = &fields.node("on").expect("its hosts were found").span;
    for host in hosts.iter().map(|id| &found.hosts[id.index()]) {
        if host.role == Role::Bare {
            // Code that a library user brings may know any op.
            continue;
        }
        let registration = host.run.as_deref().and_then(|run| registry.find(run));
        let Some(registration) = registration.filter(|_| host.role == Role::Client) else {
            let clients: Vec<&str> =
                found.hosts.iter().filter(|host| host.role == Role::Client).map(|host| host.group.as_str()).collect();
            let help = match clients.first() {
                Some(name) => format!("name a host that runs a client, such as `{name}`"),
                None => "give a host a client with `run:`; `halfopen list` shows them".to_owned(),
            };
            diagnostics.error(on, format!("`{}` runs no client that could do work", host.name), help);
            return false;
        };
        if !registration.ops.iter().any(|known| known.name == op) {
            let names = registration.ops.iter().map(|known| known.name);
            let span = &fields.node("op").expect("it was read").span;
            let message = format!("`{}` knows no op `{op}`", registration.name);
            diagnostics.error(span, message, suggestion(op, "ops", names));
            return false;
        }
    }
    true
}

fn arrival(fields: &Fields<'_>, node: &Node, diagnostics: &mut Diagnostics) -> Option<Arrival> {
    let spread = match fields.choice("arrivals", diagnostics) {
        Some("poisson") => Spread::Poisson,
        _ => Spread::Uniform,
    };
    match (fields.has("rate"), fields.has("concurrency")) {
        (true, false) => fields.rate("rate", diagnostics).map(|rate| Arrival::Rate { rate, spread }),
        (false, true) => {
            if fields.has("arrivals") {
                let help = "leave `arrivals` out, or give a `rate`";
                diagnostics.error(&fields.key_span("arrivals"), "`arrivals` spreads a `rate`, and there is none", help);
            }
            fields.count_u32("concurrency", diagnostics).map(Arrival::Concurrency)
        }
        (true, true) => {
            let help = "keep `rate` (ops begin whatever the client does) or `concurrency` (each waits for the last)";
            diagnostics.error(&fields.key_span("concurrency"), "`rate` and `concurrency` exclude each other", help);
            None
        }
        (false, false) => {
            let help = "add `rate: 20/s`, or `concurrency: 4`";
            diagnostics.error(&node.span, "this phase does not say how much work there is", help);
            None
        }
    }
}

fn extent(fields: &Fields<'_>, node: &Node, diagnostics: &mut Diagnostics) -> Option<Extent> {
    match (fields.has("for"), fields.has("count")) {
        (true, false) => positive(fields, "for", diagnostics).map(Extent::For),
        (false, true) => fields.count("count", diagnostics).map(Extent::Count),
        (true, true) => {
            diagnostics.error(&fields.key_span("count"), "`for` and `count` exclude each other", "keep one of the two");
            None
        }
        (false, false) => {
            diagnostics.error(&node.span, "this phase does not say when it ends", "add `for: 60s`, or `count: 100`");
            None
        }
    }
}

/// A slip of a unit should not ask for work without end.
fn check_amount(fields: &Fields<'_>, hosts: u64, arrival: Arrival, extent: Extent, diagnostics: &mut Diagnostics) {
    let (each, key) = match (extent, arrival) {
        (Extent::Count(count), _) => (count, "count"),
        (Extent::For(span), Arrival::Rate { rate, .. }) => (rate.count_within(span), "rate"),
        (Extent::For(_), Arrival::Concurrency(_)) => return,
    };
    let all = each.saturating_mul(hosts);
    if all > OPS_MAX {
        let span = &fields.node(key).expect("it was read").span;
        let message = format!("this phase asks for {all} ops; {OPS_MAX} is the most");
        diagnostics.error(span, message, "lower the rate, the time or the number of hosts");
    }
}
