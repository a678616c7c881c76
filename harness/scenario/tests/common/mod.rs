//! What the tests share: a registry of pretended clients, and plans and mistakes as text.
#![allow(dead_code)] // Each test uses its part.

use halfopen_fabric::fabric::Fabric;
use halfopen_scenario::registry::{Kind, OpSpec, Param, ParamKind, Registration};
use halfopen_scenario::{Plan, Registry, parse, render};

/// A client with every kind of setting, another client, and an upstream.
pub fn registry() -> Registry {
    let param = |name, kind, default, doc| Param { name, kind, default, doc };
    let pool = Box::leak(Box::new([
        param("pool_size", ParamKind::Count, "8", "connections at most"),
        param("recycling", ParamKind::Choice(&["fast", "verified"]), "fast", "how connections are checked"),
        param("timeout", ParamKind::OptionalDuration, "none", "of one request"),
        param("backoff", ParamKind::Duration, "100ms", "before the first retry"),
        param("retries", ParamKind::OptionalCount, "3", "at most"),
        param("jitter", ParamKind::Bool, "true", "whether retries are spread"),
        param("sampled", ParamKind::Share, "10%", "of the requests"),
        param("limit", ParamKind::Rate, "100/s", "of requests"),
        param("body", ParamKind::Size, "64KiB", "of a request"),
        param("user", ParamKind::Text, "app", "who asks"),
        param("url", ParamKind::Url, "http://db.internal/", "where to ask"),
    ]));
    let serving = Box::leak(Box::new([
        param("service_time", ParamKind::Distribution, "5ms", "how long a request takes"),
        param("max_connections", ParamKind::Count, "100", "at one time"),
    ]));
    let ops = &[
        OpSpec { name: "query", doc: "one small request", effect: true },
        OpSpec { name: "report", doc: "one large answer", effect: false },
    ];
    let client = |name| Registration { name, summary: "a pretended client", kind: Kind::Client, ops, params: pool };
    let (kind, ops, params) = (Kind::Upstream, &[], serving);
    let upstream = Registration { name: "upstream/postgres", summary: "a pretended upstream", kind, ops, params };
    Registry::from_iter([client("postgres/deadpool"), client("postgres/bb8"), upstream])
}

/// The plans of a sound scenario.
pub fn plans(text: &str) -> Vec<Plan> {
    let (plans, mistakes) = parse("good.yaml", text, &registry());
    assert!(mistakes.is_empty(), "{}", render("good.yaml", text, &mistakes, false));
    let plans = plans.expect("no mistakes, so there are plans");
    plans.iter().for_each(check_network);
    plans
}

/// What the parser lets through, the network takes.
pub fn check_network(plan: &Plan) {
    let mut fabric = Fabric::new(&plan.network).unwrap_or_else(|error| panic!("{error}: {:?}", plan.network));
    plan.hosts.iter().for_each(|host| fabric.add_host(host.id, &host.addresses));
}

/// The only plan of a sound scenario without variants.
pub fn plan(text: &str) -> Plan {
    let mut plans = plans(text);
    assert_eq!(plans.len(), 1);
    plans.remove(0)
}

/// What a broken scenario's author reads.
pub fn mistakes(text: &str) -> String {
    let (plans, mistakes) = parse("bad.yaml", text, &registry());
    assert!(plans.is_none(), "nothing may run from a broken file");
    assert!(!mistakes.is_empty());
    render("bad.yaml", text, &mistakes, false)
}

/// A plan in a few lines, for snapshots: what a reader of the scenario would want to see again.
pub fn digest(plan: &Plan) -> String {
    let Plan {
        scenario,
        variant,
        file: _,
        summary,
        sources,
        seed,
        epoch_nanos,
        time_limit,
        cpus,
        scheduling,
        hosts,
        network,
        dns,
        load,
        end_of_load,
        faults,
        expect,
    } = plan;
    let mut lines = vec![
        format!("{scenario} / {variant:?}: {summary} {sources:?}"),
        format!("seed {seed}, epoch {epoch_nanos}, limit {time_limit}, {cpus} CPUs, {scheduling:?}"),
    ];
    for host in hosts {
        let params: Vec<String> = host.params.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let (id, name, role, run) = (host.id, &host.name, host.role, &host.run);
        lines.push(format!("{id} {name} {role:?} {run:?} {:?} {}", host.addresses, params.join(" ")));
    }
    for route in &network.routes {
        let names: Vec<&str> = route.via.iter().filter_map(|element| element.name.as_deref()).collect();
        lines.push(format!("route {:?} via {names:?}", route.between));
    }
    lines.extend(dns.iter().map(|dns| format!("{dns:?}")));
    lines.extend(load.iter().map(|phase| format!("{phase:?}")));
    lines.push(format!("load ends at {end_of_load:?}"));
    lines.extend(faults.iter().map(|fault| format!("{fault:?}")));
    lines.extend(expect.iter().map(|line| format!("{line:?}")));
    lines.join("\n")
}
