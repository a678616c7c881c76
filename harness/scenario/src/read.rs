//! Reading values out of nodes: one function for each kind of value, and [`Fields`], which opens a mapping by its
//! [`Table`] of keys. The tables say what a key's value is; the JSON Schema is made from the same tables.

use std::collections::BTreeMap;
use std::net::IpAddr;

use halfopen_core::{Ratio, SimDuration};

use crate::diagnostic::{Diagnostic, Diagnostics, Span, closest, suggestion};
use crate::node::{self, Entry, Node, Value};
use crate::registry::{Param, ParamKind};
use crate::value::{self, Distribution, Mistake, ParamValue, Rate};

/// What the value of a key looks like.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// A span of time.
    Duration,
    /// A span of time that may be negative.
    SignedDuration,
    /// An instant, or a range to draw one from.
    Instant,
    /// UTC.
    Timestamp,
    /// A whole number within these bounds.
    Count(u64, u64),
    Share,
    Bool,
    Choice(&'static [&'static str]),
    Rate,
    Bandwidth,
    Distribution,
    /// An IP address.
    Address,
    /// The name of a group of hosts or of an instance, or a list of them.
    Hosts,
    /// Two groups of hosts.
    Pair,
    /// The name of a host, an IP address, or a list of them.
    Places,
    /// A mapping with these keys.
    Table(&'static Table),
    /// A mapping with these keys, or the name of one that is described elsewhere.
    NameOr(&'static Table),
    /// A list of such values.
    List(&'static Kind),
    /// A mapping from names of the user's choice to such values.
    Named(&'static Kind),
    /// A mapping whose keys depend on a registration or on the kernel.
    Open(OpenKeys),
    /// One of several forms, told in words.
    Form(&'static str),
}

/// Keys that come from elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OpenKeys {
    /// The settings of a registration.
    Params,
    /// Linux's names of kernel settings.
    Sysctls,
    /// The hosts of the scenario and two words of a variant.
    Variant,
}

/// One key of a mapping.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    pub doc: &'static str,
}

/// A mapping and its keys.
#[derive(PartialEq, Debug)]
pub(crate) struct Table {
    /// What the mapping describes, with an article.
    pub name: &'static str,
    pub keys: &'static [Key],
}

/// A key that may be left out.
pub(crate) const fn key(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, required: false, doc }
}

/// A key that must be there.
pub(crate) const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, required: true, doc }
}

/// An open mapping: its known keys and their values. Getters put mistakes on the list and give `None`.
pub(crate) struct Fields<'n> {
    pub span: Span,
    table: &'static Table,
    values: BTreeMap<&'static str, (&'n Node, Span)>,
}

impl<'n> Fields<'n> {
    /// Opens `node`; tells of keys that are unknown or missing. `place` is underlined where something is missing.
    pub fn open(
        node: &'n Node,
        place: &Span,
        table: &'static Table,
        diagnostics: &mut Diagnostics,
    ) -> Option<Fields<'n>> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => {
                let keys: Vec<&str> = table.keys.iter().map(|key| key.name).collect();
                let message = format!("{} is a mapping, not {}", table.name, node.kind());
                diagnostics.error(&node.span, message, format!("write `key: value`; keys: {}", keys.join(", ")));
                return None;
            }
        };
        let mut values = BTreeMap::new();
        let mut unknown = Vec::new();
        for entry in entries {
            match table.keys.iter().find(|key| key.name == entry.key) {
                Some(key) => {
                    values.insert(key.name, (&entry.value, entry.key_span.clone()));
                }
                None => unknown.push(entry),
            }
        }
        let missing: Vec<&Key> =
            table.keys.iter().filter(|key| key.required && !values.contains_key(key.name)).collect();
        tell_wrong_keys(table, &unknown, &missing, place, diagnostics);
        Some(Fields { span: place.clone(), table, values })
    }

    fn kind(&self, name: &str) -> Kind {
        let key = self.table.keys.iter().find(|key| key.name == name);
        key.unwrap_or_else(|| panic!("the table of {} has no key `{name}`", self.table.name)).kind
    }

    /// The node under this key.
    pub fn node(&self, name: &'static str) -> Option<&'n Node> {
        self.kind(name);
        self.values.get(name).map(|(node, _)| *node)
    }

    /// Where the key itself stands; the mapping's own place where it does not.
    pub fn key_span(&self, name: &str) -> Span {
        self.values.get(name).map_or_else(|| self.span.clone(), |(_, span)| span.clone())
    }

    /// Whether the key is there.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    fn get<T>(
        &self,
        name: &'static str,
        kind: fn(Kind) -> bool,
        diagnostics: &mut Diagnostics,
        parse: impl FnOnce(&'n Node) -> Result<T, Mistake>,
    ) -> Option<T> {
        assert!(kind(self.kind(name)), "the table of {} has another kind for `{name}`", self.table.name);
        let (node, _) = self.values.get(name)?;
        diagnostics.accept(&node.span, parse(node))
    }

    pub fn text(&self, name: &'static str, diagnostics: &mut Diagnostics) -> Option<&'n str> {
        self.get(name, |kind| matches!(kind, Kind::Text | Kind::Form(_)), diagnostics, scalar)
    }

    pub fn duration(&self, name: &'static str, diagnostics: &mut Diagnostics) -> Option<SimDuration> {
        self.get(name, |kind| kind == Kind::Duration, diagnostics, duration)
    }

    pub fn signed_duration(&self, name: &'static str, diagnostics: &mut Diagnostics) -> Option<i64> {
        self.get(
            name,
            |kind| kind == Kind::SignedDuration,
            diagnostics,
            |node| value::parse_signed_duration(scalar(node)?),
        )
    }

    pub fn timestamp(&self, name: &'static str, diagnostics: &mut Diagnostics) -> Option<u64> {
        self.get(name, |kind| kind == Kind::Timestamp, diagnostics, |node| value::parse_timestamp(scalar(node)?))
    }

    pub fn count(&self, name: &'static str, diagnostics: &mut Diagnostics) -> Option<u64> {
        let Kind::Count(least, most) = self.kind(name) else { panic!("`{name}` is no count") };
        let within = |node: &Node| count_within(node, name, least, most);
        self.get(name, |kind| matches!(kind, Kind::Count(..)), diagnostics, within)
    }

    /// A count whose bounds in the table fit in 32 bits.
    pub fn count_u32(&self, name: &'static str, diagnostics: &mut Diagnostics) -> Option<u32> {
        self.count(name, diagnostics).map(|count| u32::try_from(count).expect("the table bounds it to 32 bits"))
    }

    pub fn share(&self, name: &'static str, diagnostics: &mut Diagnostics) -> Option<Ratio> {
        self.get(name, |kind| kind == Kind::Share, diagnostics, |node| value::parse_share(scalar(node)?))
    }

    pub fn flag(&self, name: &'static str, diagnostics: &mut Diagnostics) -> Option<bool> {
        self.get(name, |kind| kind == Kind::Bool, diagnostics, |node| value::parse_bool(scalar(node)?))
    }

    pub fn choice(&self, name: &'static str, diagnostics: &mut Diagnostics) -> Option<&'static str> {
        let Kind::Choice(words) = self.kind(name) else { panic!("`{name}` is no choice") };
        self.get(name, |kind| matches!(kind, Kind::Choice(_)), diagnostics, |node| choice(node, words))
    }

    pub fn rate(&self, name: &'static str, diagnostics: &mut Diagnostics) -> Option<Rate> {
        self.get(name, |kind| kind == Kind::Rate, diagnostics, |node| value::parse_rate(scalar(node)?))
    }

    pub fn bandwidth(&self, name: &'static str, diagnostics: &mut Diagnostics) -> Option<u64> {
        self.get(name, |kind| kind == Kind::Bandwidth, diagnostics, |node| value::parse_bandwidth(scalar(node)?))
    }

    pub fn distribution(&self, name: &'static str, diagnostics: &mut Diagnostics) -> Option<Distribution> {
        assert_eq!(self.kind(name), Kind::Distribution);
        distribution(self.node(name)?, diagnostics)
    }

    /// The items of a list; none where the key is missing or its value is no list.
    pub fn list(&self, name: &'static str, diagnostics: &mut Diagnostics) -> &'n [Node] {
        assert!(matches!(self.kind(name), Kind::List(_)), "`{name}` is no list");
        self.node(name).map_or(&[], |node| list(node, name, diagnostics))
    }

    /// The address or addresses under this key.
    pub fn addresses(&self, name: &'static str, diagnostics: &mut Diagnostics) -> Vec<(IpAddr, Span)> {
        let mut found = Vec::new();
        for node in self.list(name, diagnostics) {
            if let Some(address) = diagnostics.accept(&node.span, address(node)) {
                found.push((address, node.span.clone()));
            }
        }
        found
    }
}

/// A required key that an unknown one stands for is not missing as well.
fn tell_wrong_keys(table: &Table, unknown: &[&Entry], missing: &[&Key], place: &Span, diagnostics: &mut Diagnostics) {
    let names = table.keys.iter().map(|key| key.name);
    let mut meant = Vec::new();
    for entry in unknown {
        let message = format!("{} has no key `{}`", table.name, entry.key);
        let help = match (closest(&entry.key, names.clone()), unknown, missing) {
            (None, [_], [key]) => {
                meant.push(key.name);
                format!("did you mean `{}`: {}?", key.name, key.doc)
            }
            (close, ..) => {
                meant.extend(close);
                suggestion(&entry.key, "keys", names.clone())
            }
        };
        diagnostics.error(&entry.key_span, message, help);
    }
    for key in missing.iter().filter(|key| !meant.contains(&key.name)) {
        let message = format!("{} needs the key `{}`", table.name, key.name);
        diagnostics.error(place, message, format!("add `{}: ...`: {}", key.name, key.doc));
    }
}

fn mistake<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Mistake> {
    Err(Mistake { message: message.into(), help: help.into() })
}

/// The text of a single value.
pub(crate) fn scalar(node: &Node) -> Result<&str, Mistake> {
    match &node.value {
        Value::Scalar(text) => Ok(text),
        _ => mistake(format!("a single value is needed here, not {}", node.kind()), "write one value after the colon"),
    }
}

pub(crate) fn duration(node: &Node) -> Result<SimDuration, Mistake> {
    value::parse_duration(scalar(node)?)
}

pub(crate) fn count_within(node: &Node, name: &str, least: u64, most: u64) -> Result<u64, Mistake> {
    let count = value::parse_count(scalar(node)?)?;
    if count < least {
        return mistake(format!("`{name}` is at least {least}, not {count}"), format!("write {least} or more"));
    }
    if count > most {
        return mistake(format!("`{name}` is at most {most}, not {count}"), format!("write {most} or less"));
    }
    Ok(count)
}

pub(crate) fn choice(node: &Node, words: &'static [&'static str]) -> Result<&'static str, Mistake> {
    let text = scalar(node)?;
    words.iter().copied().find(|word| *word == text).ok_or_else(|| Mistake {
        message: format!("`{text}` is not one of the words that can stand here"),
        help: match closest(text, words.iter().copied()) {
            Some(word) => format!("did you mean `{word}`? words: {}", words.join(", ")),
            None => format!("words: {}", words.join(", ")),
        },
    })
}

pub(crate) fn address(node: &Node) -> Result<IpAddr, Mistake> {
    let text = scalar(node)?;
    text.parse().or_else(|_| mistake(format!("`{text}` is not an IP address"), "write it as `10.0.0.7` or `fd00::7`"))
}

pub(crate) fn list<'n>(node: &'n Node, name: &str, diagnostics: &mut Diagnostics) -> &'n [Node] {
    match &node.value {
        Value::List(items) => items,
        Value::Null => &[],
        _ => {
            let message = format!("`{name}` is a list, not {}", node.kind());
            diagnostics.error(&node.span, message, "write `[a, b]`, or one item on each line after a `-`");
            &[]
        }
    }
}

/// The distributions that have parameters, each with its own.
pub(crate) const DISTRIBUTIONS: &[(&str, &[&str])] = &[
    ("uniform", &["min", "max"]),
    ("normal", &["mean", "deviation"]),
    ("lognormal", &["median", "p99"]),
    ("pareto", &["min", "p99"]),
    ("exponential", &["mean"]),
];

/// `5ms`, `2ms..8ms`, or `{ lognormal: { median: 5ms, p99: 50ms } }` and the like.
pub(crate) fn distribution(node: &Node, diagnostics: &mut Diagnostics) -> Option<Distribution> {
    const HELP: &str = "write `5ms`, `2ms..8ms`, or `{ lognormal: { median: 5ms, p99: 50ms } }`; distributions: \
                        uniform, normal, lognormal, pareto, exponential";
    let entry = match &node.value {
        Value::Scalar(text) => return diagnostics.accept(&node.span, value::parse_distribution(text)),
        Value::Map(entries) if entries.len() == 1 => &entries[0],
        _ => {
            diagnostics.error(&node.span, format!("{} is not how long something takes", node.kind()), HELP);
            return None;
        }
    };
    let Some((name, keys)) = DISTRIBUTIONS.iter().find(|(name, _)| *name == entry.key) else {
        let help = suggestion(&entry.key, "distributions", DISTRIBUTIONS.iter().map(|(name, _)| *name));
        diagnostics.error(&entry.key_span, format!("unknown distribution `{}`", entry.key), help);
        return None;
    };
    let Value::Map(parameters) = &entry.value.value else {
        diagnostics.error(&entry.value.span, format!("`{name}` needs {}", keys.join(" and ")), HELP);
        return None;
    };
    for parameter in parameters.iter().filter(|parameter| !keys.contains(&parameter.key.as_str())) {
        let help = suggestion(&parameter.key, "parameters", keys.iter().copied());
        diagnostics.error(&parameter.key_span, format!("`{name}` has no parameter `{}`", parameter.key), help);
    }
    let mut read = |key: &str| match entry.value.get(key) {
        Some(node) => diagnostics.accept(&node.span, duration(node)),
        None => {
            diagnostics.error(&entry.key_span, format!("`{name}` needs the parameter `{key}`"), HELP);
            None
        }
    };
    let first = read(keys[0]);
    if *name == "exponential" {
        return first.map(|mean| Distribution::Exponential { mean });
    }
    let (first, second) = (first?, read(keys[1])?);
    let ordered = match *name {
        "uniform" => first <= second,
        "normal" => true,
        _ => first < second && !first.is_zero(),
    };
    if !ordered {
        let message = format!("`{}` must be below `{}`, and more than nothing", keys[0], keys[1]);
        diagnostics.error(&entry.value.span, message, HELP);
        return None;
    }
    Some(match *name {
        "uniform" => Distribution::Uniform { low: first, high: second },
        "normal" => Distribution::Normal { mean: first, deviation: second },
        "lognormal" => Distribution::LogNormal { median: first, p99: second },
        _ => Distribution::Pareto { min: first, p99: second },
    })
}

/// The value of a registration's setting.
pub(crate) fn param(node: &Node, param: &Param, diagnostics: &mut Diagnostics) -> Option<ParamValue> {
    let none = matches!(&node.value, Value::Null) || matches!(&node.value, Value::Scalar(text) if text == "none");
    let result = match param.kind {
        ParamKind::OptionalDuration | ParamKind::OptionalCount if none => Ok(ParamValue::None),
        ParamKind::Duration | ParamKind::OptionalDuration => duration(node).map(ParamValue::Duration),
        ParamKind::Count | ParamKind::OptionalCount => scalar(node).and_then(value::parse_count).map(ParamValue::Count),
        ParamKind::Share => scalar(node).and_then(value::parse_share).map(ParamValue::Share),
        ParamKind::Bool => scalar(node).and_then(value::parse_bool).map(ParamValue::Bool),
        ParamKind::Choice(words) => choice(node, words).map(|word| ParamValue::Text(word.to_owned())),
        ParamKind::Rate => scalar(node).and_then(value::parse_rate).map(ParamValue::Rate),
        ParamKind::Size => scalar(node).and_then(value::parse_size).map(ParamValue::Size),
        ParamKind::Text => scalar(node).map(|text| ParamValue::Text(text.to_owned())),
        ParamKind::Url => url(node).map(|url| ParamValue::Text(url.to_owned())),
        ParamKind::Distribution => return distribution(node, diagnostics).map(ParamValue::Distribution),
    };
    let result =
        result.map_err(|mistake| Mistake { message: format!("`{}`: {}", param.name, mistake.message), ..mistake });
    diagnostics.accept(&node.span, result)
}

fn url(node: &Node) -> Result<&str, Mistake> {
    let text = scalar(node)?;
    let sound = |rest: &str| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace);
    let scheme =
        |scheme: &str| !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    match text.split_once("://") {
        Some((before, after)) if scheme(before) && sound(after) => Ok(text),
        _ => mistake(format!("`{text}` is not a URL"), "write a scheme and a host, as in `http://api/`"),
    }
}

/// The value that a setting has where the scenario gives none.
pub(crate) fn default_of(param_of: &Param) -> Result<ParamValue, String> {
    if matches!(param_of.kind, ParamKind::Text) {
        return Ok(ParamValue::Text(param_of.default.to_owned()));
    }
    let mut diagnostics = Diagnostics::default();
    let node = node::parse(param_of.default, &mut diagnostics);
    let value = node.and_then(|node| param(&node, param_of, &mut diagnostics));
    value.ok_or_else(|| {
        let messages = diagnostics.finish(param_of.default);
        messages.into_iter().map(|Diagnostic { message, .. }| message).collect::<Vec<_>>().join("; ")
    })
}
