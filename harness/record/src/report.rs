//! The report of one run for people.

use std::fmt::Write;

use crate::expect::Judged;
use crate::figures::{decimals, seconds};
use crate::result::{NO_FINGERPRINT, RunResult, Verdict};

/// How much a report says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Style {
    /// Colours for a terminal (ANSI escape sequences).
    pub colour: bool,
    /// The table of windows even where the run passed.
    pub table: bool,
}

/// The report, with a line break after each line.
pub fn report(result: &RunResult, style: Style) -> String {
    let RunResult { identity, verdict, fingerprint, virtual_s, wall_s, error, .. } = result;
    let (word, colour) = match verdict {
        Verdict::Pass => ("PASS", GREEN),
        Verdict::Fail => ("FAIL", RED),
        Verdict::Error => ("ERROR", RED),
    };
    let mut text = String::new();
    let fingerprint = if fingerprint == NO_FINGERPRINT { "" } else { fingerprint };
    let head = format!(
        "{} {}  {} virtual in {}s  seed {}  {fingerprint}",
        paint(style, colour, &format!("{word:5}")),
        identity.title(),
        seconds(*virtual_s),
        decimals(*wall_s, 3),
        identity.seed,
    );
    line(&mut text, head.trim_end());
    if let Some(error) = error {
        indent(&mut text, "  ", &format!("{}: {error}", paint(style, RED, "error")));
    }
    expectations(&mut text, &result.expectations, style);
    for note in &result.notes {
        indent(&mut text, "  note: ", note);
    }
    let failed = *verdict != Verdict::Pass;
    if (failed || style.table) && !result.table.is_empty() {
        line(&mut text, "");
        indent(&mut text, "  ", result.table.trim_end());
    }
    review(&mut text, result);
    if failed {
        line(&mut text, "");
        line(&mut text, &format!("  replay: {}", identity.replay));
    }
    text
}

fn expectations(text: &mut String, expectations: &[Judged], style: Style) {
    let width = expectations.iter().map(|judged| judged.expr.chars().count()).max().unwrap_or(0);
    for judged in expectations {
        let (word, colour) = if judged.is_as_expected() { ("ok", GREEN) } else { ("FAIL", RED) };
        let caught = match (judged.must_fail, judged.holds) {
            (false, _) => "",
            (true, false) => " (must fail: caught)",
            (true, true) => " (must fail, but holds)",
        };
        let word = paint(style, colour, &format!("{word:4}"));
        line(text, &format!("  {word}  {:<width$}  {}{caught}", judged.expr, judged.shown));
    }
}

fn review(text: &mut String, result: &RunResult) {
    let (seen, unseen): (Vec<_>, Vec<_>) = result.review.iter().partition(|answer| answer.answer != "not seen");
    if seen.is_empty() {
        return;
    }
    line(text, "");
    line(text, "  outage review");
    for answer in seen {
        line(text, &format!("    {} {}", answer.question, answer.answer));
        line(text, &format!("      {}", answer.evidence));
    }
    if !unseen.is_empty() {
        line(text, &format!("    (nothing was seen that could answer the other {})", unseen.len()));
    }
}

fn line(text: &mut String, content: &str) {
    writeln!(text, "{content}").expect("a string takes all text");
}

/// Every line of `content`, the first after `first`, the others below it.
fn indent(text: &mut String, first: &str, content: &str) {
    let below = " ".repeat(first.chars().count());
    for (index, part) in content.lines().enumerate() {
        line(text, format!("{}{part}", if index == 0 { first } else { &below }).trim_end());
    }
}

const GREEN: &str = "32";
const RED: &str = "31;1";

/// Select Graphic Rendition (ECMA-48, section 8.3.117).
fn paint(style: Style, colour: &str, text: &str) -> String {
    if style.colour { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
}
