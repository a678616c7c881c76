//! From the tree of the file to plans: one for each variant. Everything is checked, and no mistake hides another.

mod dns;
mod expect;
mod faults;
mod hosts;
mod load;
mod network;
mod variants;

use std::collections::BTreeSet;

use halfopen_core::{HostId, SimDuration, SimTime};
use halfopen_fabric::config::FabricConfig;

use crate::diagnostic::{Diagnostics, Span, suggestion};
use crate::language;
use crate::node::{Node, Value};
use crate::plan::{DnsPlan, HostPlan, PhasePlan, Plan, Scheduling};
use crate::read::{Fields, scalar};
use crate::registry::Registry;

/// How long a run may take where the file does not say.
const DEFAULT_TIME_LIMIT: SimDuration = SimDuration::from_secs(3600);
/// CPUs where the file does not say.
const DEFAULT_CPUS: u32 = 2;
/// 2026-01-01T00:00:00Z: the wall clock at the start where the file does not say.
const DEFAULT_EPOCH_NANOS: u64 = 1_767_225_600_000_000_000;
/// The seed where the file does not say.
const DEFAULT_SEED: u64 = 1;

/// What every part of the resolution shares.
pub(crate) struct Context<'a> {
    pub text: &'a str,
    pub registry: &'a Registry,
    pub diagnostics: &'a mut Diagnostics,
}

/// What the first parts of the resolution have found, for the later ones to look names up in.
pub(crate) struct Found {
    pub hosts: Vec<HostPlan>,
    /// Names of groups whose description is broken: mistakes about them are not told twice.
    pub broken: Vec<String>,
    /// When groups of hosts start, where the file says so.
    pub starts: Vec<(SimTime, Span)>,
    pub network: FabricConfig,
    pub dns: Option<DnsPlan>,
    pub load: Vec<PhasePlan>,
    pub end_of_load: Option<SimTime>,
    /// Nothing happens from then on.
    pub end: SimTime,
    pub seed: u64,
}

impl Found {
    /// The host or hosts behind a name.
    pub fn hosts_named(&self, name: &str) -> Vec<HostId> {
        self.hosts.iter().filter(|host| host.name == name || host.group == name).map(|host| host.id).collect()
    }

    /// All names that mean hosts: groups first, then instances.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for host in &self.hosts {
            if !names.contains(&host.group.as_str()) {
                names.push(&host.group);
            }
        }
        // Instances of a crowd make no useful list; a slip in one of them is still found by its group's name.
        names.extend(
            self.hosts
                .iter()
                .filter(|host| host.name != host.group && host.instance <= 3)
                .map(|host| host.name.as_str()),
        );
        names
    }

    /// The hosts that a name or a list of names means; `None` if one of the names is unknown.
    pub fn hosts_at(&self, node: &Node, diagnostics: &mut Diagnostics) -> Option<Vec<HostId>> {
        let names = match &node.value {
            Value::List(items) if !items.is_empty() => items.as_slice(),
            Value::Scalar(_) => std::slice::from_ref(node),
            _ => {
                let message = format!("the name of a host is needed here, not {}", node.kind());
                diagnostics.error(&node.span, message, "write `app`, or `[app, web]`");
                return None;
            }
        };
        let mut hosts = Vec::new();
        let mut seen = BTreeSet::new();
        let mut sound = true;
        for node in names {
            let Some(name) = diagnostics.accept(&node.span, scalar(node)) else {
                sound = false;
                continue;
            };
            let named = self.hosts_named(name);
            sound &= !named.is_empty();
            if named.is_empty() && !self.broken.iter().any(|broken| broken == name) {
                let help = suggestion(name, "hosts", self.names());
                diagnostics.error(&node.span, format!("there is no host `{name}`"), help);
            }
            hosts.extend(named.into_iter().filter(|id| seen.insert(*id)));
        }
        sound.then_some(hosts)
    }
}

/// Everything that the top level of the file says, checked; and the hosts, the network, the load and so on below it.
pub(crate) fn plans(file: &str, root: &Node, context: &mut Context<'_>) -> Option<Vec<Plan>> {
    let place = first_line(context.text);
    let scenario = Fields::open(root, &place, &language::SCENARIO, context.diagnostics)?;
    let variants = variants::read(&scenario, context.diagnostics);
    let head = head(&scenario, context.diagnostics);
    let mut plans = Vec::new();
    let mut starts = Vec::new();
    for variant in &variants {
        starts.push(context.diagnostics.len());
        let hosts = variant.hosts.as_ref().or(scenario.node("hosts"));
        let plan = plan(file, &scenario, &head, variant, hosts, context);
        plans.push(plan);
    }
    if !context.diagnostics.is_empty() {
        let names: Vec<&str> = variants.iter().map(|variant| variant.name.as_deref().unwrap_or_default()).collect();
        context.diagnostics.attribute(&names, &starts);
        return None;
    }
    plans.into_iter().collect()
}

fn first_line(text: &str) -> Span {
    0..text.find('\n').unwrap_or(text.len())
}

/// What does not depend on hosts.
struct Head {
    scenario: String,
    summary: String,
    sources: Vec<String>,
    seed: u64,
    epoch_nanos: u64,
    time_limit: SimDuration,
    cpus: u32,
    scheduling: Scheduling,
}

fn head(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Head {
    let scenario = fields.text("scenario", diagnostics).unwrap_or_default();
    if let Some(node) = fields.node("scenario")
        && matches!(&node.value, Value::Scalar(text) if !is_kebab_case(text))
    {
        let help = match kebab_case(scenario) {
            Some(name) => format!("write `{name}`"),
            None => "write lower-case words and digits with `-` between them".to_owned(),
        };
        diagnostics.error(&node.span, format!("`{scenario}` is not in kebab-case"), help);
    }
    let time_limit = fields.duration("time_limit", diagnostics);
    if time_limit.is_some_and(SimDuration::is_zero) {
        let span = &fields.node("time_limit").expect("it was read").span;
        diagnostics.error(span, "a run of no time at all", "leave `time_limit` out, or write `30m`");
    }
    let mut sources = Vec::new();
    for node in fields.list("sources", diagnostics) {
        sources.extend(diagnostics.accept(&node.span, scalar(node)).map(str::to_owned));
    }
    Head {
        scenario: scenario.to_owned(),
        summary: fields.text("summary", diagnostics).unwrap_or_default().to_owned(),
        sources,
        seed: fields.count("seed", diagnostics).unwrap_or(DEFAULT_SEED),
        epoch_nanos: fields.timestamp("epoch", diagnostics).unwrap_or(DEFAULT_EPOCH_NANOS),
        time_limit: time_limit.unwrap_or(DEFAULT_TIME_LIMIT),
        cpus: fields.count_u32("cpus", diagnostics).unwrap_or(DEFAULT_CPUS),
        scheduling: match fields.choice("scheduling", diagnostics) {
            Some("shuffle") => Scheduling::Shuffle,
            _ => Scheduling::Fifo,
        },
    }
}

fn plan(
    file: &str,
    scenario: &Fields<'_>,
    head: &Head,
    variant: &variants::Variant,
    hosts: Option<&Node>,
    context: &mut Context<'_>,
) -> Option<Plan> {
    let mut found = hosts::resolve(hosts, scenario.has("dns"), head.seed, context)?;
    dns::resolve(scenario.node("dns"), &scenario.key_span("dns"), &mut found, context.diagnostics);
    network::resolve(scenario.node("network"), &scenario.key_span("network"), &mut found, context.diagnostics);
    load::resolve(scenario, head.time_limit, &mut found, context);
    let faults = faults::resolve(scenario, &found, context);
    let expect = expect::resolve(scenario, variant, &found, &faults, context);
    let faults = faults.plans()?;
    Some(Plan {
        scenario: head.scenario.clone(),
        variant: variant.name.clone(),
        file: file.to_owned(),
        summary: variant.summary.clone().unwrap_or_else(|| head.summary.clone()),
        sources: head.sources.clone(),
        seed: head.seed,
        epoch_nanos: head.epoch_nanos,
        time_limit: head.time_limit,
        cpus: head.cpus,
        scheduling: head.scheduling,
        hosts: found.hosts,
        network: found.network,
        dns: found.dns,
        load: found.load,
        end_of_load: found.end_of_load,
        faults,
        expect,
    })
}

/// Whether a name is lower-case words and digits with single `-` between them.
pub(crate) fn is_kebab_case(name: &str) -> bool {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.split('-').all(word) && name.starts_with(|c: char| c.is_ascii_lowercase())
}

/// The same name in kebab-case, if anything of it can be kept.
fn kebab_case(name: &str) -> Option<String> {
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let name = words.join("-");
    is_kebab_case(&name).then_some(name)
}

/// The place of a part of a single value (`range` counts its bytes), as exactly as the way it is written allows.
pub(crate) fn part_span(text: &str, node: &Node, range: std::ops::Range<usize>) -> Span {
    let Value::Scalar(value) = &node.value else { return node.span.clone() };
    let written = text.get(node.span.clone()).unwrap_or_default();
    let start = match written.strip_prefix(['"', '\'']) {
        Some(inner) if inner.starts_with(value.as_str()) => node.span.start + 1,
        _ if written.starts_with(value.as_str()) => node.span.start,
        _ => return node.span.clone(),
    };
    start + range.start..start + range.end
}
