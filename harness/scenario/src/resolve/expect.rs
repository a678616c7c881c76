//! Expectations: `[HOST.]METRIC OP FIGURE [PHASE FAULT]`, each checked against the catalogue of metrics.

use halfopen_core::metric::{self, METRICS, Metric, Unit};

use crate::diagnostic::{Diagnostics, Span, closest, suggestion};
use crate::node::Node;
use crate::plan::{Comparison, Expectation, Phase, PhaseOf, Scope, Threshold};
use crate::read::{Fields, scalar};
use crate::value::{Mistake, parse_bool, parse_duration, parse_share};

use super::faults::{Course, Timeline};
use super::variants::Variant;
use super::{Context, Found, part_span};

/// Longer ones first: `<=` is not `<`.
const OPERATORS: [(&str, Comparison); 6] = [
    ("<=", Comparison::Le),
    (">=", Comparison::Ge),
    ("==", Comparison::Eq),
    ("!=", Comparison::Ne),
    ("<", Comparison::Lt),
    (">", Comparison::Gt),
];
/// What people write for them.
const SLIPS: [(&str, &str); 6] = [("=<", "<="), ("=>", ">="), ("≤", "<="), ("≥", ">="), ("≠", "!="), ("=", "==")];
const HELP: &str =
    "write a metric, a comparison and a figure, as in `ops.failed <= 1%` or `app.ops.hung == 0 after blip`";

/// Resolves `expect:`, and what a variant must be `caught` by.
pub(crate) fn resolve(
    scenario: &Fields<'_>,
    variant: &Variant,
    found: &Found,
    timeline: &Timeline,
    context: &mut Context<'_>,
) -> Vec<Expectation> {
    let mut expectations = Vec::new();
    let nodes = scenario.list("expect", context.diagnostics);
    for node in nodes {
        expectations.extend(expectation(node, found, timeline, context));
    }
    for (name, span) in &variant.caught {
        let mut any = false;
        for expectation in
            expectations.iter_mut().filter(|expectation| full_name(expectation) == *name || expectation.metric == *name)
        {
            expectation.must_fail = true;
            any = true;
        }
        // A broken expectation may be the one that is meant.
        if !any && expectations.len() == nodes.len() {
            let names: Vec<String> = expectations.iter().map(full_name).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let message = format!("no expectation uses `{name}`, so nothing could catch this variant by it");
            context.diagnostics.error(span, message, suggestion(name, "metrics that are expected something of", names));
        }
    }
    expectations
}

/// The metric as it is written, with its host.
fn full_name(expectation: &Expectation) -> String {
    match &expectation.scope {
        Some(scope) => format!("{}.{}", scope.name, expectation.metric),
        None => expectation.metric.clone(),
    }
}

fn expectation(node: &Node, found: &Found, timeline: &Timeline, context: &mut Context<'_>) -> Option<Expectation> {
    let source = context.text;
    let diagnostics = &mut *context.diagnostics;
    let text = diagnostics.accept(&node.span, scalar(node))?;
    let span_of = |part: &str| {
        let start = part.as_ptr() as usize - text.as_ptr() as usize;
        part_span(source, node, start..start + part.len())
    };
    let Some((name, comparison, rest)) = split(text) else {
        let help = match SLIPS.iter().find(|(slip, _)| text.contains(slip)) {
            Some((slip, right)) => format!("did you mean `{right}`, not `{slip}`?"),
            None => HELP.to_owned(),
        };
        diagnostics.error(&node.span, format!("`{text}` compares nothing"), help);
        return None;
    };
    let found_metric = metric_of(name, &span_of(name), found, diagnostics);
    let mut words = rest.split_whitespace();
    let Some(figure) = words.next() else {
        diagnostics.error(&node.span, format!("`{text}` has no figure to compare with"), HELP);
        return None;
    };
    let phase = phase(words.next(), words.next(), words.next(), &span_of, timeline, diagnostics);
    let (scope, metric) = found_metric?;
    let value = diagnostics.accept(&span_of(figure), threshold(figure, metric))?;
    if matches!(value, Threshold::Flag(_)) && !matches!(comparison, Comparison::Eq | Comparison::Ne) {
        let help = format!("write `{name} == {figure}`");
        diagnostics.error(&node.span, format!("`{}` is yes or no, neither more nor less", metric.name), help);
        return None;
    }
    let phase = phase?;
    let metric = metric.name.to_owned();
    let line = 1 + source[..node.span.start].matches('\n').count() as u32;
    Some(Expectation { text: text.to_owned(), line, metric, scope, phase, comparison, value, must_fail: false })
}

/// Cuts a text at its comparison; `None` if there is none, or one that is no comparison (`=`, `=<`).
fn split(text: &str) -> Option<(&str, Comparison, &str)> {
    let at = text.find(['<', '>', '=', '!', '≤', '≥', '≠'])?;
    let (name, rest) = text.split_at(at);
    let (symbol, comparison) = OPERATORS.iter().find(|(symbol, _)| rest.starts_with(symbol))?;
    let rest = &rest[symbol.len()..];
    if rest.starts_with(['<', '>', '=']) {
        return None;
    }
    Some((name.trim(), *comparison, rest.trim()))
}

/// The metric of this name, and the host in front of it if there is one.
fn metric_of(
    name: &str,
    span: &Span,
    found: &Found,
    diagnostics: &mut Diagnostics,
) -> Option<(Option<Scope>, &'static Metric)> {
    if let Some(metric) = metric::find(name) {
        return Some((None, metric));
    }
    let names = || METRICS.iter().map(|metric| metric.name);
    let (host, rest) = name.split_once('.').unwrap_or((name, ""));
    let hosts = found.hosts_named(host);
    let known = metric::find(rest);
    match (hosts.is_empty(), known) {
        (false, Some(metric)) => Some((Some(Scope { name: host.to_owned(), hosts }), metric)),
        (false, None) => {
            let help = match closest(rest, names()) {
                Some(metric) => format!("did you mean `{host}.{metric}`?"),
                None => "`halfopen list` shows all metrics".to_owned(),
            };
            diagnostics.error(span, format!("there is no metric `{rest}`"), help);
            None
        }
        (true, Some(_)) if found.broken.iter().any(|broken| broken == host) => None,
        (true, Some(_)) => {
            let help = suggestion(host, "hosts", found.names());
            diagnostics.error(span, format!("there is no host `{host}`"), help);
            None
        }
        (true, None) => {
            let help = match closest(name, names()) {
                Some(metric) => format!("did you mean `{metric}`?"),
                None => "`halfopen list` shows all metrics".to_owned(),
            };
            diagnostics.error(span, format!("there is no metric `{name}`"), help);
            None
        }
    }
}

/// The figure, in the unit of the metric.
fn threshold(figure: &str, metric: &Metric) -> Result<Threshold, Mistake> {
    let wrong = |message: String, help: String| Err(Mistake { message, help });
    let name = metric.name;
    let percent = figure.ends_with('%');
    match metric.unit {
        Unit::Flag => parse_bool(figure).map(Threshold::Flag).map_err(|_| Mistake {
            message: format!("`{name}` is yes or no, not `{figure}`"),
            help: format!("write `{name} == true`"),
        }),
        Unit::Seconds => parse_duration(figure).map(Threshold::Duration).map_err(|mistake| Mistake {
            message: format!("`{name}` is a time: {}", mistake.message),
            help: format!("write `{name} <= 2s`; {}", mistake.help),
        }),
        Unit::Count if percent => match metric.whole {
            Some(_) => parse_share(figure).map(Threshold::Share),
            None => wrong(format!("`{name}` is a number, and no part of a whole"), format!("write `{name} <= 10`")),
        },
        Unit::Quotient if percent => {
            wrong(format!("`{name}` is a quotient, not a share"), format!("write `{name} <= 2.0`"))
        }
        Unit::Count | Unit::Quotient => match number(figure) {
            Some(number) => Ok(Threshold::Number(number)),
            None if parse_duration(figure).is_ok() => {
                wrong(format!("`{name}` is a number, not a time"), format!("write `{name} <= 10`"))
            }
            None => wrong(format!("`{figure}` is not a number"), format!("write `{name} <= 10`")),
        },
    }
}

/// Digits with at most one point.
fn number(text: &str) -> Option<f64> {
    let sound = text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.parse::<f64>().ok().filter(|number| sound && number.is_finite())
}

/// `before blip`, `during blip`, `after blip`, or nothing. The outer `None` is a mistake.
fn phase<'t>(
    word: Option<&'t str>,
    fault: Option<&'t str>,
    more: Option<&'t str>,
    span_of: &dyn Fn(&str) -> Span,
    timeline: &Timeline,
    diagnostics: &mut Diagnostics,
) -> Option<Option<PhaseOf>> {
    let Some(word) = word else { return Some(None) };
    let phase = match word {
        "before" => Phase::Before,
        "during" => Phase::During,
        "after" => Phase::After,
        _ => {
            let help = suggestion(word, "phases", ["before", "during", "after"]);
            diagnostics.error(&span_of(word), format!("`{word}` is not a part of the run"), help);
            return None;
        }
    };
    let names = || {
        let mut names: Vec<&str> = timeline.names.iter().flatten().map(String::as_str).collect();
        names.dedup();
        names
    };
    let Some(fault) = fault else {
        let help = match names().first() {
            Some(name) => format!("name a fault, as in `{word} {name}`"),
            None => "the scenario has no faults: leave the phase out".to_owned(),
        };
        diagnostics.error(&span_of(word), format!("`{word}` what?"), help);
        return None;
    };
    if let Some(more) = more {
        diagnostics.error(&span_of(more), format!("`{more}` is too much here"), "end the expectation after the fault");
        return None;
    }
    let ids = timeline.ids(fault);
    if ids.is_empty() {
        if timeline.names.contains(&None) {
            // Most likely the fault of which not even the kind could be read.
            return None;
        }
        let help = suggestion(fault, "faults", names());
        diagnostics.error(&span_of(fault), format!("the scenario has no fault `{fault}`"), help);
        return None;
    }
    let never = match (phase, timeline.course(&ids)) {
        (Phase::During, Some(Course::Instant)) => Some(("is over in an instant", format!("write `after {fault}`"))),
        (Phase::After, Some(Course::Endless)) => {
            Some(("never ends", format!("write `during {fault}`, or give the fault an end with `for: 2s`")))
        }
        _ => None,
    };
    if let Some((why, help)) = never {
        diagnostics.error(&span_of(word), format!("there is no `{word}`: `{fault}` {why}"), help);
        return None;
    }
    Some(Some(PhaseOf { phase, fault: fault.to_owned(), ids }))
}
