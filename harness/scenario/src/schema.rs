//! The language as a JSON Schema (draft 2020-12), for editors: completion, documentation, and most mistakes while
//! typing. It comes from the tables that the parser itself reads by, and from the registrations.

use serde_json::{Map, Value, json};

use halfopen_core::metric::METRICS;
use halfopen_netstack::Sysctls;

use crate::language;
use crate::read::{Kind, OpenKeys, Table};
use crate::registry::{Param, ParamKind, Registration, Registry};

/// Numbers with units, as far as a pattern can say it.
const DURATION: &str = r"^\s*(0|([0-9][0-9_]*(\.[0-9]+)?\s*(ns|us|ms|s|m|min|h|d)\s*)+)$";
const SIGNED_DURATION: &str = r"^\s*[-+]?(0|([0-9][0-9_]*(\.[0-9]+)?\s*(ns|us|ms|s|m|min|h|d)\s*)+)$";
const INSTANT: &str = r"^[0-9][0-9._]*\s*[a-z]+.*$";
const SHARE: &str = r"^[0-9][0-9_]*(\.[0-9]+)?\s*%$";
const RATE: &str = r"^[0-9][0-9_]*(\.[0-9]+)?\s*/\s*([0-9.]+\s*)?(ns|us|ms|s|m|min|h|d)$";
const SIZE: &str = r"^[0-9][0-9_]*(\.[0-9]+)?\s*(B|kB|MB|GB|KiB|MiB|GiB)$";
const BANDWIDTH: &str = r"^[0-9][0-9_]*(\.[0-9]+)?\s*([kMG]?bit|[kMG]?B|[KM]iB)/s$";
const TIMESTAMP: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?$";
const NAME: &str = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$";

/// The kinds of faults that a timeline can name, each with what it does.
pub fn faults() -> impl Iterator<Item = (&'static str, &'static str)> {
    language::FAULT_KINDS.iter().map(|(name, _, doc)| (*name, *doc))
}

/// The schema of the whole language, with the registrations of `registry`.
pub fn schema(registry: &Registry) -> Value {
    let mut schema = table(&language::SCENARIO, registry);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("A halfopen scenario");
    schema["properties"]["scenario"]["pattern"] = json!(NAME);
    let metrics: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
    schema["properties"]["expect"]["description"] =
        json!(format!("what must hold, each a comparison of a metric with a figure. Metrics: {}", metrics.join(", ")));
    schema
}

fn table(table: &Table, registry: &Registry) -> Value {
    let mut properties = Map::new();
    for key in table.keys {
        let mut value = kind(key.kind, registry);
        value["description"] = json!(key.doc);
        properties.insert(key.name.to_owned(), value);
    }
    let required: Vec<&str> = table.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if let Some(words) = schema.pointer_mut("/properties/preset") {
        words["enum"] = json!(presets(table));
    }
    if table.name == language::HOST.name {
        let names: Vec<&str> = registry.iter().map(|registration| registration.name).collect();
        schema["properties"]["run"]["enum"] = json!(names);
        schema["allOf"] = json!(registry.iter().map(host_of).collect::<Vec<_>>());
    }
    schema
}

/// The names of the presets that fit a table.
fn presets(table: &Table) -> Vec<&'static str> {
    let link = table.name == language::LINK.name;
    let all = halfopen_fabric::preset::presets();
    all.into_iter().filter(|preset| preset.link().is_some() == link).map(|preset| preset.name).collect()
}

/// A host that runs this has these settings.
fn host_of(registration: &Registration) -> Value {
    json!({
        "if": { "properties": { "run": { "const": registration.name } }, "required": ["run"] },
        "then": { "properties": { "with": params(registration) } },
    })
}

fn params(registration: &Registration) -> Value {
    let mut properties = Map::new();
    for param in registration.params {
        properties.insert(param.name.to_owned(), param_schema(param));
    }
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn param_schema(param: &Param) -> Value {
    let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    let or_none = |value: Value| json!({ "anyOf": [value, { "enum": ["none", null] }] });
    let mut schema = match param.kind {
        ParamKind::Duration => text(DURATION),
        ParamKind::OptionalDuration => or_none(text(DURATION)),
        ParamKind::Count => json!({ "type": "integer", "minimum": 0 }),
        ParamKind::OptionalCount => or_none(json!({ "type": "integer", "minimum": 0 })),
        ParamKind::Share => share(),
        ParamKind::Bool => json!({ "type": "boolean" }),
        ParamKind::Choice(words) => json!({ "enum": words }),
        ParamKind::Rate => text(RATE),
        ParamKind::Size => text(SIZE),
        ParamKind::Text => scalar(),
        ParamKind::Url => text("^[A-Za-z0-9+.-]+://[^/].*$"),
        ParamKind::Distribution => distribution(),
    };
    schema["description"] = json!(format!("{} (default {})", param.doc, param.default));
    schema
}

fn share() -> Value {
    json!({ "anyOf": [{ "type": "number", "minimum": 0, "maximum": 1 }, { "type": "string", "pattern": SHARE }] })
}

/// A single value: YAML makes numbers and booleans of some texts.
fn scalar() -> Value {
    json!({ "type": ["string", "number", "boolean"] })
}

fn one_or_many(value: Value) -> Value {
    json!({ "anyOf": [value, { "type": "array", "items": value, "minItems": 1 }] })
}

fn distribution() -> Value {
    let duration = || json!({ "type": "string", "pattern": DURATION });
    let with = |name: &str, keys: &[&str]| {
        let properties: Map<String, Value> = keys.iter().map(|key| ((*key).to_owned(), duration())).collect();
        let parameters =
            json!({ "type": "object", "properties": properties, "required": keys, "additionalProperties": false });
        json!({ "type": "object", "properties": { name: parameters }, "required": [name], "additionalProperties": false })
    };
    let mut forms = vec![json!({ "type": "string", "pattern": INSTANT })];
    forms.extend(crate::read::DISTRIBUTIONS.iter().map(|(name, keys)| with(name, keys)));
    json!({ "anyOf": forms })
}

fn kind(kind: Kind, registry: &Registry) -> Value {
    let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    match kind {
        Kind::Text | Kind::Form(_) => scalar(),
        Kind::Duration => text(DURATION),
        Kind::SignedDuration => text(SIGNED_DURATION),
        Kind::Instant => text(INSTANT),
        Kind::Timestamp => text(TIMESTAMP),
        Kind::Count(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::Share => share(),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Rate => text(RATE),
        Kind::Bandwidth => text(BANDWIDTH),
        Kind::Distribution => distribution(),
        Kind::Address => json!({ "type": "string" }),
        Kind::Hosts => one_or_many(json!({ "type": "string" })),
        Kind::Pair => {
            let end = one_or_many(json!({ "type": "string" }));
            json!({ "type": "array", "items": end, "minItems": 2, "maxItems": 2 })
        }
        Kind::Places => json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] }),
        Kind::Table(inner) => table(inner, registry),
        Kind::NameOr(inner) => json!({ "anyOf": [{ "type": "string" }, table(inner, registry)] }),
        Kind::List(inner) => json!({ "type": "array", "items": self::kind(*inner, registry) }),
        Kind::Named(inner) => named(inner, registry),
        Kind::Open(keys) => open(keys, registry),
    }
}

/// A mapping whose keys are names of the user's choice.
fn named(inner: &Kind, registry: &Registry) -> Value {
    json!({ "type": "object", "propertyNames": { "pattern": NAME }, "additionalProperties": kind(*inner, registry) })
}

fn open(keys: OpenKeys, registry: &Registry) -> Value {
    match keys {
        // What it holds depends on `run`: see `host_of`.
        OpenKeys::Params => json!({ "type": "object" }),
        OpenKeys::Sysctls => {
            let defaults = Sysctls::default();
            let setting = |name: &&str| {
                let default = defaults.get(name).unwrap_or_default().replace('\t', " ");
                let schema = json!({
                    "type": ["integer", "string", "boolean", "array"], "description": format!("default {default}"),
                });
                ((*name).to_owned(), schema)
            };
            let properties: Map<String, Value> = Sysctls::NAMES.iter().map(setting).collect();
            json!({ "type": "object", "properties": properties, "additionalProperties": false })
        }
        OpenKeys::Variant => json!({
            "type": "object",
            "properties": {
                "summary": { "type": "string", "description": "what is special about this variant" },
                "caught": {
                    "type": "array", "items": { "type": "string" },
                    "description": "metrics whose expectations must fail for this variant",
                },
            },
            "additionalProperties": table(&language::HOST, registry),
        }),
    }
}
