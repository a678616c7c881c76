//! Annotations for GitHub Actions: each wrong expectation at its line of the scenario file.
//!
//! Format: "Workflow commands for GitHub Actions", `::error file=...,line=...,title=...::message`.

use crate::result::{RunResult, Verdict};

/// The annotations of one run, with a line break after each; nothing for a run that passed.
pub fn annotations(result: &RunResult) -> String {
    let mut text = String::new();
    if result.verdict == Verdict::Pass {
        return text;
    }
    let title = result.identity.title();
    if let Some(error) = &result.error {
        text += &annotation(result, None, &title, error);
    }
    for judged in result.expectations.iter().filter(|_| result.verdict == Verdict::Fail) {
        if let Some(complaint) = judged.complaint() {
            text += &annotation(result, judged.line, &title, &complaint);
        }
    }
    text
}

fn annotation(result: &RunResult, line: Option<u32>, title: &str, message: &str) -> String {
    let place = line.map_or_else(String::new, |line| format!(",line={line}"));
    let (file, title) = (property(&result.identity.file), property(title));
    let message = data(&format!("{message}\nreplay: {}", result.identity.replay));
    format!("::error file={file}{place},title={title}::{message}\n")
}

/// Escapes the message of a command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a property of a command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
