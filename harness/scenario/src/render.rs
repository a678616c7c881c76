//! Mistakes as text: file, line and column, the line itself underlined, and a way to mend it.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::diagnostic::Diagnostic;

/// All `diagnostics` about `text`, which was read from `file`; with colours for a terminal, or as plain text. Ends
/// with a line that counts them; empty if there are none.
pub fn render(file: &str, text: &str, diagnostics: &[Diagnostic], colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for diagnostic in diagnostics {
        let mut primary = AnnotationKind::Primary.span(diagnostic.span.clone());
        if !diagnostic.label.is_empty() {
            primary = primary.label(diagnostic.label.as_str());
        }
        let mut snippet = Snippet::source(text).path(file).annotation(primary);
        if let Some((span, label)) = &diagnostic.related {
            snippet = snippet.annotation(AnnotationKind::Context.span(span.clone()).label(label.as_str()));
        }
        let group = Level::ERROR
            .primary_title(diagnostic.message.as_str())
            .element(snippet)
            .element(Level::HELP.message(diagnostic.help.as_str()));
        out.push_str(&renderer.render(&[group]));
        out.push_str("\n\n");
    }
    match diagnostics.len() {
        0 => {}
        1 => out.push_str("1 mistake\n"),
        n => out.push_str(&format!("{n} mistakes\n")),
    }
    out
}
