//! From YAML to a checked [`Plan`]: every mistake in a scenario is found at once, with its place in the file and a way
//! to mend it, and nothing runs before there is none.
//!
//! Suggested reading order: [`plan`] (what comes out), [`registry`] (what `run:` can name), [`value`]; then, inside,
//! `node` (the file as a tree), `language` (the tables of keys), `read`, `resolve`, and [`mod@schema`].
//!
//! **Invariant:** nothing here opens a file or prints; text goes in, a plan or diagnostics come out.
#![forbid(unsafe_code)]

mod diagnostic;
mod language;
mod node;
pub mod plan;
mod read;
pub mod registry;
mod render;
mod resolve;
pub mod schema;
pub mod value;

pub use diagnostic::{Diagnostic, Span};
pub use plan::Plan;
pub use registry::Registry;
pub use render::render;
pub use schema::schema;

/// Reads the scenario in `text`, which came from `file` (a name for messages only): a plan for each variant, or one if
/// there are none. If anything is wrong with it there are no plans but all the mistakes, in the order of the file.
pub fn parse(file: &str, text: &str, registry: &Registry) -> (Option<Vec<Plan>>, Vec<Diagnostic>) {
    let mut diagnostics = diagnostic::Diagnostics::default();
    let plans = node::parse(text, &mut diagnostics).and_then(|root| {
        let mut context = resolve::Context { text, registry, diagnostics: &mut diagnostics };
        resolve::plans(file, &root, &mut context)
    });
    let sound = diagnostics.is_empty();
    let diagnostics = diagnostics.finish(text);
    assert_eq!(sound, plans.is_some(), "there are plans exactly where there are no mistakes: {diagnostics:?}");
    (plans, diagnostics)
}
