//! How far `run` has come: a bar on a terminal, nothing in a pipe.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar for so many runs.
pub(super) fn bar(runs: usize, wanted: bool) -> ProgressBar {
    if !wanted || runs < 2 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(runs as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} runs, {per_sec}, {eta} left {msg}") {
        bar.set_style(style);
    }
    bar
}
