//! From a scenario file to its plans.

use halfopen_instructions::count::counted;
use halfopen_scenario::registry::{Kind, OpSpec, Param, ParamKind, Registration};
use halfopen_scenario::{Registry, parse};

use crate::{Operation, operation};

pub const OPERATIONS: &[Operation] = &[operation("scenario/parse", 1, scenario)];

/// Of ordinary size: two hosts, a route, a load in three phases, a fault, expectations and two variants.
const TEXT: &str = include_str!("pool.yaml");

const CLIENT: Registration = Registration {
    name: "http/client",
    summary: "a pretended client",
    kind: Kind::Client,
    ops: &[OpSpec { name: "get", doc: "one small request", effect: false }],
    params: &[
        Param { name: "url", kind: ParamKind::Url, default: "http://api:8080", doc: "where to ask" },
        Param { name: "timeout", kind: ParamKind::OptionalDuration, default: "none", doc: "of one request" },
        Param { name: "pool_idle_timeout", kind: ParamKind::Duration, default: "90s", doc: "of a connection" },
    ],
};

const SERVER: Registration = Registration {
    name: "upstream/http",
    summary: "a pretended upstream",
    kind: Kind::Upstream,
    ops: &[],
    params: &[Param { name: "service_time", kind: ParamKind::Distribution, default: "5ms", doc: "of a request" }],
};

fn scenario() {
    let registry = Registry::from_iter([CLIENT, SERVER]);
    let (plans, mistakes) = counted(|| parse("pool.yaml", TEXT, &registry));
    assert!(mistakes.is_empty(), "{mistakes:?}");
    assert_eq!(plans.map(|plans| plans.len()), Some(2), "a plan for each variant");
}
