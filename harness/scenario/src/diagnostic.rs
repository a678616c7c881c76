//! Mistakes in a scenario: what is wrong, where, and how to mend it. They are collected, never thrown.

use std::ops::Range;

use crate::value::Mistake;

/// A stretch of the file, in bytes.
pub type Span = Range<usize>;

/// One mistake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// What is wrong, in one line.
    pub message: String,
    /// The line where it begins, from 1.
    pub line: usize,
    /// The column where it begins, in characters from 1.
    pub column: usize,
    /// What is underlined.
    pub span: Span,
    /// What stands beside the underline; empty for nothing.
    pub label: String,
    /// How to mend it.
    pub help: String,
    /// Another place that matters, and why.
    pub related: Option<(Span, String)>,
}

impl Diagnostic {
    /// A mistake at `span`, with a way to mend it.
    pub(crate) fn new(span: &Span, message: impl Into<String>, help: impl Into<String>) -> Diagnostic {
        Diagnostic {
            message: message.into(),
            line: 0,
            column: 0,
            span: span.clone(),
            label: String::new(),
            help: help.into(),
            related: None,
        }
    }

    /// Says more beside the underline.
    pub(crate) fn label(mut self, label: impl Into<String>) -> Diagnostic {
        self.label = label.into();
        self
    }

    /// Points at another place, too.
    pub(crate) fn related(mut self, span: &Span, label: impl Into<String>) -> Diagnostic {
        self.related = Some((span.clone(), label.into()));
        self
    }
}

/// All mistakes so far.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    pub(crate) fn error(&mut self, span: &Span, message: impl Into<String>, help: impl Into<String>) {
        self.push(Diagnostic::new(span, message, help));
    }

    /// The value, or its mistake on the list.
    pub(crate) fn accept<T>(&mut self, span: &Span, result: Result<T, Mistake>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(Mistake { message, help }) => {
                self.error(span, message, help);
                None
            }
        }
    }

    /// How many there are so far, repeated ones included.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Given where the mistakes of each variant begin in the list (the first variant's at `starts[0]`), says of those
    /// that not all variants have which variant it is.
    pub(crate) fn attribute(&mut self, names: &[&str], starts: &[usize]) {
        assert_eq!(names.len(), starts.len(), "each variant has a beginning");
        let ends = starts.iter().copied().skip(1).chain([self.0.len()]);
        let ranges: Vec<Range<usize>> = starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect();
        let same = |a: &Diagnostic, b: &Diagnostic| a.span == b.span && a.message == b.message;
        for (name, range) in names.iter().zip(&ranges) {
            for index in range.clone() {
                let has = |range: &Range<usize>| self.0[range.clone()].iter().any(|other| same(other, &self.0[index]));
                if self.0[index].label.is_empty() && !ranges.iter().all(has) {
                    self.0[index].label = format!("in the variant `{name}`");
                }
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of the file, each once, with line and column in `text`. An underline never leaves its line.
    pub(crate) fn finish(self, text: &str) -> Vec<Diagnostic> {
        let mut all = self.0;
        for diagnostic in &mut all {
            diagnostic.span = within_line(text, &diagnostic.span);
            diagnostic.related = diagnostic.related.take().map(|(span, label)| (within_line(text, &span), label));
            let before = &text[..diagnostic.span.start];
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            diagnostic.line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
            diagnostic.column = before[line_start..].chars().count() + 1;
        }
        all.sort_by_key(|diagnostic| (diagnostic.span.start, diagnostic.span.end));
        let mut unique: Vec<Diagnostic> = Vec::new();
        for diagnostic in all {
            if !unique.iter().any(|seen| seen.span == diagnostic.span && seen.message == diagnostic.message) {
                unique.push(diagnostic);
            }
        }
        unique
    }
}

/// The part of `span` on its first line, on character boundaries and inside the text; at least one byte where there
/// is one.
fn within_line(text: &str, span: &Span) -> Span {
    let start = floor_boundary(text, span.start);
    let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
    let line_end = start + text[start..line_end].trim_end().len();
    let end = floor_boundary(text, span.end).clamp(start, line_end.max(start));
    start..end
}

fn floor_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// The candidate that `word` is most likely a slip of, if any is near enough: one that it is the beginning of, or one
/// of which a third of the letters (at least one) are wrong, or one with a tail (`seconds` for `s`).
pub(crate) fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let begun = candidates.clone().into_iter().filter(|candidate| !word.is_empty() && candidate.starts_with(word));
    if let Some(candidate) = begun.min_by_key(|candidate| candidate.len()) {
        return Some(candidate);
    }
    let lower = word.to_lowercase();
    let distance = |candidate: &&str| strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
    let nearest = candidates.clone().into_iter().min_by_key(distance)?;
    let longest = word.chars().count().max(nearest.chars().count());
    if distance(&nearest) <= (longest / 3).max(1) {
        return Some(nearest);
    }
    let with_tail = candidates.into_iter().filter(|candidate| lower.starts_with(&candidate.to_lowercase()));
    with_tail.max_by_key(|candidate| candidate.len())
}

/// "did you mean `x`?", or else the list of what there is.
pub(crate) fn suggestion<'a>(word: &str, what: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match closest(word, candidates.clone()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => {
            let names: Vec<&str> = candidates.into_iter().collect();
            match names.len() {
                0 => format!("there are no {what}"),
                _ => format!("{what}: {}", names.join(", ")),
            }
        }
    }
}
