//! What the end-to-end tests share.
#![forbid(unsafe_code)]

use halfopen::Run;

/// The run of this variant.
///
/// # Panics
/// If there is none.
pub fn variant<'a>(runs: &'a [Run], name: &str) -> &'a Run {
    runs.iter().find(|run| run.variant() == Some(name)).unwrap_or_else(|| panic!("there is no variant `{name}`"))
}
