//! Variants: the same scenario with other clients. What a variant says about a host is laid over the host, key by key.

use crate::diagnostic::{Diagnostic, Diagnostics, Span, suggestion};
use crate::node::{Entry, Node, Value};
use crate::read::{Fields, list, scalar};

use super::is_kebab_case;

/// Words of a variant that are no hosts.
pub(crate) const RESERVED: [&str; 2] = ["caught", "summary"];

/// One run of the scenario.
pub(crate) struct Variant {
    /// `None`: the scenario has no variants.
    pub name: Option<String>,
    pub summary: Option<String>,
    /// The scenario's hosts with the variant's changes; `None` where there are none.
    pub hosts: Option<Node>,
    /// Metrics whose expectations must fail, and where they are named.
    pub caught: Vec<(String, Span)>,
}

/// The variants in the order of the file; one without a name if there are none.
pub(crate) fn read(scenario: &Fields<'_>, diagnostics: &mut Diagnostics) -> Vec<Variant> {
    let plain = || vec![Variant { name: None, summary: None, hosts: None, caught: Vec::new() }];
    let Some(node) = scenario.node("variants") else { return plain() };
    let entries = match &node.value {
        Value::Map(entries) if !entries.is_empty() => entries,
        _ => {
            let message = format!("`variants` is a mapping from names to changes, not {}", node.kind());
            diagnostics.error(&node.span, message, "write `careful: { app: { with: { retries: 0 } } }`");
            return plain();
        }
    };
    let hosts = scenario.node("hosts");
    entries.iter().map(|entry| variant(entry, hosts, diagnostics)).collect()
}

fn variant(entry: &Entry, hosts: Option<&Node>, diagnostics: &mut Diagnostics) -> Variant {
    if !is_kebab_case(&entry.key) {
        let help = "write lower-case words and digits with `-` between them";
        diagnostics.error(&entry.key_span, format!("the variant's name `{}` is not in kebab-case", entry.key), help);
    }
    let mut variant = Variant { name: Some(entry.key.clone()), summary: None, hosts: None, caught: Vec::new() };
    let changes = match &entry.value.value {
        Value::Map(changes) => changes.as_slice(),
        Value::Null => &[],
        _ => {
            let message = format!("a variant is a mapping from hosts to changes, not {}", entry.value.kind());
            diagnostics.error(&entry.value.span, message, "write `{ app: { with: { retries: 0 } } }`");
            &[]
        }
    };
    let mut merged = hosts.cloned();
    for change in changes {
        match change.key.as_str() {
            "summary" => {
                variant.summary = diagnostics.accept(&change.value.span, scalar(&change.value)).map(str::to_owned);
            }
            "caught" => {
                for node in list(&change.value, "caught", diagnostics) {
                    let name = diagnostics.accept(&node.span, scalar(node));
                    variant.caught.extend(name.map(|name| (name.to_owned(), node.span.clone())));
                }
            }
            _ => lay_over(merged.as_mut(), change, diagnostics),
        }
    }
    variant.hosts = merged;
    variant
}

/// Lays what a variant says about one host over what the scenario says.
fn lay_over(hosts: Option<&mut Node>, change: &Entry, diagnostics: &mut Diagnostics) {
    let Some(Node { value: Value::Map(hosts), .. }) = hosts else { return };
    match hosts.iter_mut().find(|host| host.key == change.key) {
        Some(host) => host.value = merge(&host.value, &change.value),
        None => {
            let names: Vec<&str> = hosts.iter().map(|host| host.key.as_str()).chain(RESERVED).collect();
            let message = format!("the scenario has no host `{}` that a variant could change", change.key);
            let help = suggestion(&change.key, "hosts and words of a variant", names);
            diagnostics.push(Diagnostic::new(&change.key_span, message, help));
        }
    }
}

/// Mappings are merged key by key; anything else is replaced.
fn merge(base: &Node, over: &Node) -> Node {
    let (Value::Map(below), Value::Map(above)) = (&base.value, &over.value) else { return over.clone() };
    let mut entries = below.clone();
    for entry in above {
        match entries.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => *known = Entry { value: merge(&known.value, &entry.value), ..entry.clone() },
            None => entries.push(entry.clone()),
        }
    }
    Node { span: base.span.clone(), value: Value::Map(entries) }
}
