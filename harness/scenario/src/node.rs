//! YAML as a tree in which every value and every key knows its place in the file. Nothing is interpreted here: this
//! is the record that everything else resolves.

use granit_parser::{Event, Options, Parser, ScalarStyle};

use crate::diagnostic::{Diagnostic, Diagnostics, Span};

/// Nodes that aliases may unfold to in one file: far above any scenario, far below what a "billion laughs" needs.
const NODES_MAX: usize = 100_000;

/// One value and its place.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Node {
    pub span: Span,
    pub value: Value,
}

/// What a value is made of.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// One piece of text: a word, a number, a quoted string.
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One `key: value` of a mapping.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Entry {
    pub key: String,
    pub key_span: Span,
    pub value: Node,
}

impl Node {
    /// What kind of value it is, with an article.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The value under `key`, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value),
            _ => None,
        }
    }

    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Null | Value::Scalar(_) => 0,
            Value::List(items) => items.iter().map(Node::size).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.value.size()).sum(),
        }
    }
}

/// Reads `text` as one YAML document. `None` if there is nothing to go on with; the reason is on the list.
pub(crate) fn parse(text: &str, diagnostics: &mut Diagnostics) -> Option<Node> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.emit_unresolved_aliases = true;
    let mut builder = Builder { text, diagnostics, open: Vec::new(), root: None, anchors: Vec::new(), nodes: 0 };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let start = error.marker().byte_offset().unwrap_or(0);
                builder.syntax_error(start..start + 1, &error.info());
                return None;
            }
        };
        let span = span.byte_range().unwrap_or(0..0);
        if !builder.event(event, span) {
            return None;
        }
    }
    match builder.root {
        None | Some(Node { value: Value::Null, .. }) => {
            diagnostics.error(
                &(0..0),
                "the file is empty",
                "a scenario begins with `scenario: its-name` and needs `hosts:`",
            );
            None
        }
        root => root,
    }
}

/// A collection whose end has not come yet.
enum Open {
    List { start: usize, anchor: usize, items: Vec<Node> },
    Map { start: usize, anchor: usize, entries: Vec<Entry>, key: Option<(String, Span)>, skip_value: bool },
}

/// `<<: *base` and `<<: [*a, *b]`: the entries of other mappings, as far as this one does not have them itself (and the
/// first of several has them first).
fn merge_keys(entries: Vec<Entry>) -> Vec<Entry> {
    let is_map = |node: &Node| matches!(node.value, Value::Map(_));
    let is_merge = |entry: &Entry| {
        entry.key == "<<"
            && (is_map(&entry.value) || matches!(&entry.value.value, Value::List(items) if items.iter().all(is_map)))
    };
    let (merges, mut own): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(is_merge);
    for node in merges.into_iter().map(|merge| merge.value) {
        let nodes = match node.value {
            Value::List(items) => items,
            _ => vec![node],
        };
        for node in nodes {
            let Value::Map(entries) = node.value else { unreachable!("only mappings are merged") };
            for entry in entries {
                if !own.iter().any(|known| known.key == entry.key) {
                    own.push(entry);
                }
            }
        }
    }
    own
}

struct Builder<'a> {
    text: &'a str,
    diagnostics: &'a mut Diagnostics,
    open: Vec<Open>,
    root: Option<Node>,
    anchors: Vec<(usize, Node)>,
    nodes: usize,
}

impl Builder<'_> {
    fn syntax_error(&mut self, span: Span, info: &str) {
        let mut help = "indent with spaces, close every quote and bracket, and put a space after each `:`".to_owned();
        if self.text[..span.start.min(self.text.len())].lines().next_back().is_some_and(|line| line.contains('\t'))
            || self.text[span.start.min(self.text.len())..].starts_with('\t')
        {
            help = "YAML does not allow tabs in the indentation: use spaces".to_owned();
        }
        self.diagnostics.push(Diagnostic::new(&span, "this is not YAML", help).label(info));
    }

    /// Takes one event; `false` if there is no point in going on.
    fn event(&mut self, event: Event<'_>, span: Span) -> bool {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null");
                let value = if null { Value::Null } else { Value::Scalar(text.into_owned()) };
                self.close(Node { span, value }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.open.push(Open::List { start: span.start, anchor, items: Vec::new() });
                true
            }
            Event::MappingStart(_, anchor, _) => {
                let (entries, key) = (Vec::new(), None);
                self.open.push(Open::Map { start: span.start, anchor, entries, key, skip_value: false });
                true
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Alias(anchor) => match self.anchors.iter().rev().find(|(id, _)| *id == anchor) {
                Some((_, node)) => {
                    let node = node.clone();
                    self.close(node, 0)
                }
                None => {
                    self.diagnostics.error(&span, "an alias inside its own anchor", "write the value out");
                    self.close(Node { span, value: Value::Null }, 0)
                }
            },
            Event::UnresolvedAlias(name) => {
                let message = format!("no anchor `&{name}` stands before this alias");
                self.diagnostics.error(&span, message, "write the value out, or put it in quotes if it is text");
                self.close(Node { span, value: Value::Null }, 0)
            }
            Event::DocumentStart(..) if self.root.is_some() => {
                self.diagnostics.error(
                    &span,
                    "a second document in one file",
                    "put each scenario into a file of its own",
                );
                false
            }
            _ => true,
        }
    }

    fn end(&mut self, end: Span) -> bool {
        // A block collection ends where its last value does; the event's own place is where the next thing begins.
        let bracket = self.text.get(end.clone()).is_some_and(|text| matches!(text, "]" | "}"));
        match self.open.pop().expect("the parser closes only what it opened") {
            Open::List { start, anchor, items } => {
                let last = items.last().map_or(start, |item| item.span.end);
                let span = start..if bracket { end.end } else { last };
                self.close(Node { span, value: Value::List(items) }, anchor)
            }
            Open::Map { start, anchor, entries, .. } => {
                let last = entries.last().map_or(start, |entry| entry.value.span.end.max(entry.key_span.end));
                let span = start..if bracket { end.end } else { last };
                self.close(Node { span, value: Value::Map(merge_keys(entries)) }, anchor)
            }
        }
    }

    /// A whole node: it goes where the innermost open collection wants it.
    fn close(&mut self, node: Node, anchor: usize) -> bool {
        self.nodes += node.size();
        if self.nodes > NODES_MAX {
            self.diagnostics.error(&node.span, "the aliases of this file unfold to too much", "write fewer of them");
            return false;
        }
        if anchor != 0 {
            self.anchors.push((anchor, node.clone()));
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, skip_value, .. }) => match key.take() {
                None => {
                    let text = match node.value {
                        Value::Scalar(text) => text,
                        _ => {
                            self.diagnostics.error(&node.span, "a key must be one word", "write `key: value`");
                            *skip_value = true;
                            String::new()
                        }
                    };
                    if let Some(first) = entries.iter().find(|entry| entry.key == text) {
                        let message = format!("the key `{text}` stands here twice");
                        let diagnostic = Diagnostic::new(&node.span, message, "keep one of the two");
                        self.diagnostics.push(diagnostic.related(&first.key_span, "first here"));
                        *skip_value = true;
                    }
                    *key = Some((text, node.span));
                }
                Some((key, key_span)) => {
                    if !std::mem::take(skip_value) {
                        entries.push(Entry { key, key_span, value: node });
                    }
                }
            },
        }
        true
    }
}
