//! The JSON Schema, which comes from the tables that the parser reads by.

mod common;

use halfopen_scenario::schema;
use serde_json::Value;

fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or_else(|| panic!("the schema has no {pointer}"))
}

#[test]
fn it_knows_the_language() {
    let schema = schema(&common::registry());
    assert_eq!(at(&schema, "/$schema"), "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(at(&schema, "/required"), &serde_json::json!(["scenario", "hosts"]));
    assert_eq!(at(&schema, "/additionalProperties"), false);
    let fault = at(&schema, "/properties/faults/items/properties");
    for kind in ["blip", "nat.evict", "dns.set", "crash", "capacity", "reset"] {
        assert_eq!(at(fault, &format!("/{kind}/additionalProperties")), false);
    }
    assert_eq!(at(fault, "/mtu/properties/icmp/enum"), &serde_json::json!(["allowed", "blocked"]));
    let host = "/properties/hosts/additionalProperties";
    assert_eq!(at(&schema, &format!("{host}/properties/count/minimum")), 1);
    assert!(at(&schema, "/properties/expect/description").as_str().unwrap().contains("ops.hung"));
}

#[test]
fn it_knows_the_registered_clients() {
    let schema = schema(&common::registry());
    let hosts = at(&schema, "/properties/hosts/additionalProperties/allOf").as_array().unwrap();
    assert_eq!(hosts.len(), 3);
    assert_eq!(at(&hosts[0], "/if/properties/run/const"), "postgres/deadpool");
    let with = at(&hosts[0], "/then/properties/with/properties");
    assert_eq!(at(with, "/recycling/enum"), &serde_json::json!(["fast", "verified"]));
    assert_eq!(at(with, "/pool_size/description"), "connections at most (default 8)");
}

#[test]
fn sound_scenarios_fit() {
    check(include_str!("scenarios/everything.yaml"), true);
}

#[test]
fn broken_scenarios_do_not() {
    let sound = "scenario: small\nhosts: { app: { run: postgres/bb8, with: { pool_size: 2 } } }\n";
    check(sound, true);
    for (from, to) in [
        ("scenario:", "scenaro:"),
        ("small", "Not Small"),
        ("pool_size: 2", "pool_size: two"),
        ("pool_size: 2", "poolsize: 2"),
        ("pool_size: 2", "recycling: quick"),
        ("pool_size: 2", "backoff: 5"),
        ("run:", "count: 0, run:"),
        ("postgres/bb8", "postgres/pgbouncer"),
        ("hosts:", "network: { default: { preset: aws-nlb } }\nhosts:"),
        ("hosts:", "faults: [{ at: 2s, blop: {} }]\nhosts:"),
        ("hosts:", "load: { on: app }\nhosts:"),
        ("hosts:", "network: { routes: [{ between: [app], via: [] }] }\nhosts:"),
    ] {
        assert!(sound.contains(from));
        check(&sound.replace(from, to), false);
    }
}

/// Whether an editor that reads the schema would be content with `text`.
fn check(text: &str, expected: bool) {
    let schema = schema(&common::registry());
    let value: Value = serde_saphyr::from_str(text).unwrap();
    assert_eq!(fits(&value, &schema), expected, "{text}");
}

/// As much of JSON Schema as the language's schema uses. A keyword that is not understood is a failure.
fn fits(value: &Value, schema: &Value) -> bool {
    let number = |bound: &Value| bound.as_f64().unwrap();
    schema.as_object().unwrap().iter().all(|(keyword, rule)| match keyword.as_str() {
        "$schema" | "title" | "description" | "then" | "propertyNames" => true,
        "type" => match rule {
            Value::Array(types) => types.iter().any(|kind| is(value, kind)),
            kind => is(value, kind),
        },
        "enum" => rule.as_array().unwrap().contains(value),
        "const" => rule == value,
        "pattern" => {
            value.as_str().is_none_or(|text| regex_lite::Regex::new(rule.as_str().unwrap()).unwrap().is_match(text))
        }
        "minimum" => value.as_f64().is_none_or(|value| value >= number(rule)),
        "maximum" => value.as_f64().is_none_or(|value| value <= number(rule)),
        "minItems" => value.as_array().is_none_or(|items| items.len() as f64 >= number(rule)),
        "maxItems" => value.as_array().is_none_or(|items| items.len() as f64 <= number(rule)),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| fits(item, rule))),
        "anyOf" => rule.as_array().unwrap().iter().any(|form| fits(value, form)),
        "allOf" => rule.as_array().unwrap().iter().all(|form| fits(value, form)),
        "if" => !fits(value, rule) || fits(value, &schema["then"]),
        "required" => value
            .as_object()
            .is_none_or(|fields| rule.as_array().unwrap().iter().all(|key| fields.contains_key(key.as_str().unwrap()))),
        "properties" => value
            .as_object()
            .is_none_or(|fields| fields.iter().all(|(key, value)| rule.get(key).is_none_or(|rule| fits(value, rule)))),
        "additionalProperties" => value.as_object().is_none_or(|fields| {
            let known = |key: &str| schema.get("properties").is_some_and(|known| known.get(key).is_some());
            fields.iter().filter(|(key, _)| !known(key)).all(|(_, value)| match rule {
                Value::Bool(allowed) => *allowed,
                rule => fits(value, rule),
            })
        }),
        other => panic!("the schema uses `{other}`, which this test does not understand"),
    })
}

fn is(value: &Value, kind: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        other => panic!("no such type: {other}"),
    }
}
