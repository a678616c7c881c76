//! docs/performance.md: what is measured stands between two marks, and is replaced; the rest is written by hand.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::acceptance::{self, run_phase};
use crate::figures::Figures;
use crate::peer::Peer;
use crate::workload::{Scaling, Workload, key_of};

/// What is measured begins after this line.
const BEGIN: &str = "<!-- figures: written by benches/compare -->";
/// And ends before this one.
const END: &str = "<!-- end of figures -->";

/// Puts the figures into the page.
///
/// # Errors
/// If the page cannot be read or written, or has no place for them.
pub fn write(file: &Path, figures: &Figures) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let text = with_figures(&text, &self::figures(figures))
        .ok_or_else(|| format!("{} has no lines `{BEGIN}` and `{END}`", file.display()))?;
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

fn with_figures(page: &str, figures: &str) -> Option<String> {
    let (head, rest) = page.split_once(BEGIN)?;
    let (_, tail) = rest.split_once(END)?;
    Some(format!("{head}{BEGIN}\n\n{figures}\n{END}{tail}"))
}

/// All tables.
pub fn figures(figures: &Figures) -> String {
    let mut text = String::new();
    let machine = &figures.machine;
    // Writing to a String cannot fail.
    let _ = writeln!(text, "Measured {} at {}, release builds.  ", machine.date, machine.commit);
    let _ = writeln!(text, "{}.  \n{}.\n", machine.hardware, machine.versions);
    let _ = writeln!(text, "### Real time of the whole process\n\n{}", comparison(figures));
    let _ = writeln!(text, "### Marks\n\n{}", marks(figures));
    let _ = writeln!(text, "### W6's run phase\n\n{}", scaling(figures));
    let _ = write!(text, "### Every figure\n\n{}", details(figures));
    text
}

/// The rows of the comparison: all but the scaling, which has a table of its own.
fn compared() -> impl Iterator<Item = Workload> {
    Workload::ALL.into_iter().filter(|workload| *workload != Workload::Scaling)
}

fn comparison(figures: &Figures) -> String {
    let heads = Peer::ALL.map(Peer::title).join(" | ");
    let mut text = format!("| workload | {heads} |\n| --- |{}\n", " --: |".repeat(Peer::ALL.len()));
    for workload in compared() {
        let cells = Peer::ALL.map(|peer| cell(figures, workload, peer)).join(" | ");
        let _ = writeln!(text, "| {} {} | {cells} |", workload.name(), workload.title());
    }
    text
}

/// The median, and how many times halfopen's it is.
fn cell(figures: &Figures, workload: Workload, peer: Peer) -> String {
    if let Some(reason) = workload.not_on(peer) {
        return reason.to_owned();
    }
    let Some(wall) = figures.wall(&key_of(workload, peer)) else { return "not measured".to_owned() };
    if peer == Peer::Halfopen {
        return format!("**{}**", seconds(wall));
    }
    let ratio = figures.wall(&key_of(workload, Peer::Halfopen)).map(|ours| format!(" ({}x)", digits(wall / ours)));
    let note = workload.note(peer).map(|note| format!(" {note}"));
    format!("{}{}{}", seconds(wall), ratio.unwrap_or_default(), note.unwrap_or_default())
}

fn marks(figures: &Figures) -> String {
    let mut text = "| mark | measured | |\n| --- | --: | --- |\n".to_owned();
    for row in acceptance::rows(figures) {
        let met = match row.met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "",
        };
        let _ = writeln!(text, "| {} | {} | {met} |", row.mark, row.measured);
    }
    text
}

fn scaling(figures: &Figures) -> String {
    let mut text = "| hosts | user time of 6,000 beats | beside the first |\n| --- | --: | --: |\n".to_owned();
    let base = run_phase(figures, Scaling::Base);
    for (scaling, hosts) in [
        (Scaling::Base, "10 active, 1,000 idle"),
        (Scaling::Idle, "10 active, 2,000 idle"),
        (Scaling::Active, "20 active, 1,000 idle"),
    ] {
        let cost = run_phase(figures, scaling);
        let ratio = cost.zip(base).map(|(cost, base)| format!("{:.2}x", cost / base));
        let cost = cost.map_or("not measured".to_owned(), seconds);
        let _ = writeln!(text, "| {hosts} | {cost} | {} |", ratio.unwrap_or_default());
    }
    text
}

fn details(figures: &Figures) -> String {
    let mut text =
        "| workload | peer | runs | real time (least to most) | run [11] | processor time | peak MiB [12] | by \
                    the client's clock |\n| --- | --- | --: | --: | --: | --: | --: | --: |\n"
            .to_owned();
    for workload in compared() {
        for peer in Peer::ALL {
            let key = key_of(workload, peer);
            let Some(wall) = figures.spread(&key, |sample| sample.wall_s) else { continue };
            let [run, cpu, peak, client] = [
                figures.spread(&key, |sample| sample.run_s),
                figures.spread(&key, |sample| sample.user_s + sample.system_s),
                figures.spread(&key, |sample| sample.peak_mib),
                figures.spread(&key, |sample| sample.client_s),
            ]
            .map(|spread| spread.map_or(0.0, |spread| spread.median));
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} ({} to {}) | {} | {} | {peak:.1} | {client:.3} s |",
                workload.name(),
                peer.name(),
                figures.count(&key),
                seconds(wall.median),
                seconds(wall.least),
                seconds(wall.most),
                seconds(run),
                seconds(cpu),
            );
        }
    }
    text
}

fn seconds(value: f64) -> String {
    format!("{} s", if value < 10.0 { format!("{value:.3}") } else { format!("{value:.1}") })
}

/// As many digits as say something.
fn digits(ratio: f64) -> String {
    match ratio {
        ratio if ratio < 10.0 => format!("{ratio:.2}"),
        ratio if ratio < 100.0 => format!("{ratio:.1}"),
        ratio => format!("{ratio:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::of;

    #[test]
    fn figures_replace_what_was_between_the_marks() {
        let page = format!("# Page\n\nText.\n{BEGIN}\nold\n{END}\nMore.\n");
        let new = with_figures(&page, "new\n").unwrap();
        assert_eq!(new, format!("# Page\n\nText.\n{BEGIN}\n\nnew\n\n{END}\nMore.\n"));
        assert_eq!(with_figures(&new, "new\n").as_ref(), Some(&new));
        assert_eq!(with_figures("# Page\n", "new\n"), None);
    }

    #[test]
    fn cells_say_how_long_and_how_often_that_is() {
        let figures = of(&[
            ("W2r halfopen", &[0.05]),
            ("W2r loopback", &[0.025]),
            ("W3 halfopen", &[0.1]),
            ("W3 turmoil", &[129.0]),
        ]);
        let row = |workload: Workload| Peer::ALL.map(|peer| cell(&figures, workload, peer)).join(" | ");
        let rows = [Workload::Web, Workload::Idle, Workload::Bulk].map(row);
        insta::assert_snapshot!(rows.join("\n"), @r"
    **0.050 s** | 0.025 s (0.50x) | cannot [5] | cannot [5] | cannot [5] | cannot [5]
    **0.100 s** | 2 hours | 129.0 s (1290x) | not measured | not measured | not measured
    not measured | not measured | not measured | not measured | not measured | not measured
    ");
    }
}
