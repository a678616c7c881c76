//! The run as a table, window by window, in which a person sees the storm.
//!
//! A row counts the ops that *began* in its window, and what became of them; attempts count where they arrived. The
//! width of the windows is the smallest round one that keeps the table short. Windows in which nothing happened are left
//! out, and so are those of a calm stretch (all ops ok, no retries, no fault) after its first, if they are like it; a line
//! says for how long. Columns that would be empty throughout are left out.

use std::collections::{BTreeMap, BTreeSet};

use halfopen_core::SimTime;
use halfopen_core::event::OpErrorKind;

use crate::figures::{decimals, nanos};
use crate::ops::{Op, Outcome, quotient};
use crate::percentile::percentile;
use crate::summary::Summary;

/// Widths of windows to choose from, in milliseconds.
const WIDTHS_MS: [u64; 16] = [
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000,
    3_600_000, 21_600_000,
];
/// Rows at most (unless even the widest windows make more).
const ROWS_MAX: usize = 40;
/// Windows narrower than this are for runs so short that no row need be left out.
const WIDTH_CALM_MS: u64 = 1_000;
/// Fewer rows than this are not worth a line in their place.
const CALM_MIN: u64 = 3;
/// Characters in the longest bar.
const BAR: u64 = 30;

/// What one window saw.
#[derive(Default)]
struct Row {
    ops: u64,
    ok: u64,
    by_kind: BTreeMap<OpErrorKind, u64>,
    unreported: u64,
    hung: u64,
    attempts: u64,
    /// Attempts whose op had one before; where attempts do not say which op they serve, those beyond the ops.
    retries: u64,
    took: Vec<u64>,
    marks: Vec<String>,
}

impl Row {
    fn p99(&self) -> Option<u64> {
        percentile(&mut self.took.clone(), 990)
    }

    fn is_calm(&self) -> bool {
        self.ops > 0 && self.ok == self.ops && self.retries == 0 && self.marks.is_empty()
    }

    /// Whether nobody would miss this row after the other.
    fn is_like(&self, other: &Row) -> bool {
        let close = |a: u64, b: u64| a.max(b) <= a.min(b).saturating_mul(2);
        let p99 = self.p99().zip(other.p99());
        let both_calm = self.is_calm() && other.is_calm();
        both_calm
            && close(self.ops, other.ops)
            && close(self.attempts, other.attempts)
            && p99.is_some_and(|(a, b)| close(a, b))
    }
}

/// The rows that are shown, by the number of their window.
struct Shown {
    width_ms: u64,
    rows: BTreeMap<u64, Row>,
    /// How many windows like it follow a row that is shown.
    calm_after: BTreeMap<u64, u64>,
}

/// The table, with a line break after each line. Empty if nothing happened.
pub fn table(summary: &Summary) -> String {
    let shown = shown(summary);
    if shown.rows.is_empty() {
        return String::new();
    }
    let columns = columns(summary, &shown);
    let mut lines = vec![format!("per {}:", nanos(shown.width_ms * 1_000_000))];
    let last_line = shown.rows.len() * 2 + 1;
    let cells: Vec<Vec<&str>> = (0..=last_line).map(|line| line_of(&columns, line)).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| cells.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    for line in cells.iter().filter(|line| line.iter().any(|cell| !cell.is_empty())) {
        let padded = columns.iter().zip(line).zip(&widths).map(|((column, cell), width)| match column.left {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        lines.push(padded.collect::<Vec<_>>().join("  ").trim_end().to_owned());
    }
    lines.push(String::new());
    lines.join("\n")
}

/// A column: its heading, then for each row a line for the gap before it and one for itself.
struct Column {
    left: bool,
    cells: Vec<String>,
}

fn line_of(columns: &[Column], line: usize) -> Vec<&str> {
    columns.iter().map(|column| column.cells.get(line).map_or("", String::as_str)).collect()
}

fn columns(summary: &Summary, shown: &Shown) -> Vec<Column> {
    let Shown { width_ms, rows, calm_after: _ } = shown;
    let kinds: BTreeSet<OpErrorKind> = rows.values().flat_map(|row| row.by_kind.keys().copied()).collect();
    let any = |count: fn(&Row) -> u64| rows.values().any(|row| count(row) > 0);
    let (unreported, hung, attempts) = (any(|row| row.unreported), any(|row| row.hung), any(|row| row.attempts));
    let column = |heading: &str, left: bool, cell: &mut dyn FnMut(u64, &Row) -> String| {
        let mut cells = vec![heading.to_owned()];
        for (bin, row) in rows.iter() {
            cells.extend([String::new(), cell(*bin, row)]);
        }
        Column { left, cells }
    };
    let mut columns = vec![column("time", false, &mut |bin, _| time(bin, *width_ms))];
    columns.push(column("ops", false, &mut |_, row| count(row.ops)));
    columns.push(column("ok", false, &mut |_, row| count(row.ok)));
    for kind in kinds {
        columns.push(column(kind.name(), false, &mut |_, row| count(row.by_kind.get(&kind).copied().unwrap_or(0))));
    }
    if unreported {
        columns.push(column("unreported", false, &mut |_, row| count(row.unreported)));
    }
    if hung {
        columns.push(column("hung", false, &mut |_, row| count(row.hung)));
    }
    if attempts {
        columns.push(column("attempts", false, &mut |_, row| count(row.attempts)));
        let amplification = |row: &Row| quotient(row.attempts, row.ops);
        columns.push(column("amp", false, &mut |_, row| {
            amplification(row).filter(|_| row.attempts > 0).map_or(".".to_owned(), |figure| format!("{figure:.2}"))
        }));
    }
    columns.extend(pool_columns(summary, rows, *width_ms));
    columns.push(column("p99", false, &mut |_, row| row.p99().map_or(".".to_owned(), nanos)));
    let most = rows.values().map(|row| if attempts { row.attempts } else { row.ops }).max().unwrap_or(0);
    let heading = if attempts { "attempts: = first, + again" } else { "ops" };
    columns.push(column(heading, true, &mut |_, row| bar(row, attempts, most)));
    columns.push(column("", true, &mut |_, row| row.marks.join("; ")));
    add_gaps(&mut columns[0], shown);
    columns
}

/// `in use/size` and `waiting` at most in each window, where a pool is reported.
fn pool_columns(summary: &Summary, rows: &BTreeMap<u64, Row>, width_ms: u64) -> Vec<Column> {
    let (gauges, whole) = (&summary.fold.gauges, summary.whole());
    if !["pool.in_use", "pool.waiting"].iter().any(|name| gauges.has(name, &whole)) {
        return Vec::new();
    }
    let per_bin = |name: &str| {
        let stretches = gauges.sums(name, &whole);
        let mut next = 0;
        let mut peaks = BTreeMap::new();
        for bin in rows.keys() {
            let (from, to) = window(*bin, width_ms);
            while stretches.get(next).is_some_and(|(_, end, _)| *end <= from) {
                next += 1;
            }
            let inside = stretches[next..].iter().take_while(|(start, _, _)| *start < to);
            peaks.extend(inside.map(|(_, _, sum)| *sum).max().map(|peak| (*bin, peak)));
        }
        peaks
    };
    let (size, in_use, waiting) = (per_bin("pool.size"), per_bin("pool.in_use"), per_bin("pool.waiting"));
    let cells = |heading: &str, cell: &dyn Fn(&u64) -> String| {
        let cells = rows.keys().flat_map(|bin| [String::new(), cell(bin)]);
        Column { left: false, cells: [heading.to_owned()].into_iter().chain(cells).collect() }
    };
    let used = |bin: &u64| match (in_use.get(bin), size.get(bin)) {
        (Some(used), Some(size)) => format!("{used}/{size}"),
        (Some(used), None) => used.to_string(),
        (None, _) => ".".to_owned(),
    };
    let waits = |bin: &u64| waiting.get(bin).filter(|count| **count != 0).map_or(".".to_owned(), i64::to_string);
    vec![cells("pool", &used), cells("waiting", &waits)]
}

fn bar(row: &Row, attempts: bool, most: u64) -> String {
    let total = if attempts { row.attempts } else { row.ops };
    if most == 0 || total == 0 {
        return String::new();
    }
    let length = |count: u64| usize::try_from((count * BAR).div_ceil(most)).unwrap_or(0);
    let (first, all) = (length(total - row.retries.min(total)), length(total));
    format!("{}{}", "=".repeat(first), "+".repeat(all - first))
}

/// Says in the first column for how long all was calm, or nothing happened, between two rows and after the last.
fn add_gaps(first: &mut Column, shown: &Shown) {
    let bins: Vec<u64> = shown.rows.keys().copied().collect();
    let lasting = |windows: u64| nanos(windows.saturating_mul(shown.width_ms * 1_000_000));
    first.cells.push(String::new());
    for (index, bin) in bins.iter().enumerate() {
        let calm = shown.calm_after.get(bin).copied().unwrap_or(0);
        let idle = bins.get(index + 1).map_or(0, |next| next - bin - 1 - calm);
        let parts = [(calm, "calm"), (idle, "idle")].into_iter().filter(|(windows, _)| *windows > 0);
        let parts: Vec<String> = parts.map(|(windows, what)| format!("{what} {}", lasting(windows))).collect();
        first.cells[(index + 1) * 2 + 1] = parts.join(", ");
    }
}

/// Marks the faults that are on all through a row's window, beside those that begin or end in it.
fn mark_what_is_on(summary: &Summary, rows: &mut BTreeMap<u64, Row>, width_ms: u64) {
    for (bin, row) in rows.iter_mut() {
        let (from, to) = window(*bin, width_ms);
        let on = summary.faults().iter().filter(|span| span.from < from && span.to.is_none_or(|end| end >= to));
        let mut names: Vec<&str> = on.map(|span| span.name.as_str()).collect();
        names.dedup();
        row.marks.extend(names.iter().map(|name| format!("{name} ...")));
    }
}

fn window(bin: u64, width_ms: u64) -> (SimTime, SimTime) {
    let start = bin.saturating_mul(width_ms).saturating_mul(1_000_000);
    (SimTime::from_nanos(start), SimTime::from_nanos(start.saturating_add(width_ms * 1_000_000)))
}

/// The beginning of a window, in seconds.
fn time(bin: u64, width_ms: u64) -> String {
    let ms = bin * width_ms;
    if width_ms < 1000 { format!("{}.{}s", ms / 1000, ms % 1000 / 100) } else { format!("{}s", ms / 1000) }
}

fn count(count: u64) -> String {
    if count == 0 { ".".to_owned() } else { decimals(count as f64, 0) }
}

/// The rows at the smallest width that keeps the table short.
fn shown(summary: &Summary) -> Shown {
    let widest = WIDTHS_MS[WIDTHS_MS.len() - 1];
    let mut each = WIDTHS_MS.into_iter().filter(|width_ms| *width_ms == widest || fits(summary, *width_ms));
    let attempt = |width_ms: u64| {
        let rows = rows(summary, width_ms);
        if width_ms < WIDTH_CALM_MS {
            Shown { width_ms, rows, calm_after: BTreeMap::new() }
        } else {
            thin(rows, width_ms)
        }
    };
    let short = |shown: &Shown| shown.rows.len() <= ROWS_MAX || shown.width_ms == widest;
    each.find_map(|width_ms| Some(attempt(width_ms)).filter(short)).expect("the widest is taken as it is")
}

/// Whether it is worth making the rows of this width: a bound on what is made only to be thrown away.
fn fits(summary: &Summary, width_ms: u64) -> bool {
    let rows_max = if width_ms < WIDTH_CALM_MS { ROWS_MAX } else { ROWS_MAX * 100 };
    let mut bins = BTreeSet::new();
    instants(summary).all(|at| {
        bins.insert(at.as_millis() / width_ms);
        bins.len() <= rows_max
    })
}

/// Leaves out the rows of calm stretches after the first.
fn thin(mut rows: BTreeMap<u64, Row>, width_ms: u64) -> Shown {
    let mut calm_after: BTreeMap<u64, u64> = BTreeMap::new();
    let mut stretch: Option<(u64, u64)> = None;
    for (bin, row) in &rows {
        stretch = match stretch {
            Some((first, last)) if last + 1 == *bin && row.is_like(&rows[&first]) => {
                *calm_after.entry(first).or_insert(0) += 1;
                Some((first, *bin))
            }
            _ => Some((*bin, *bin)),
        };
    }
    calm_after.retain(|_, windows| *windows >= CALM_MIN);
    for (first, windows) in &calm_after {
        (1..=*windows).for_each(|offset| drop(rows.remove(&(first + offset))));
    }
    Shown { width_ms, rows, calm_after }
}

/// All instants that make a row.
fn instants(summary: &Summary) -> impl Iterator<Item = SimTime> {
    let fold = &summary.fold;
    let faults = summary.faults().iter().flat_map(|span| [Some(span.from), span.to]).flatten();
    let ops = fold.ops.ops.iter().map(|op| op.started);
    ops.chain(fold.ops.attempts.iter().map(|attempt| attempt.at)).chain(faults)
}

fn rows(summary: &Summary, width_ms: u64) -> BTreeMap<u64, Row> {
    let fold = &summary.fold;
    let mut rows: BTreeMap<u64, Row> = BTreeMap::new();
    let bin = |at: SimTime| at.as_millis() / width_ms;
    for op in &fold.ops.ops {
        add_op(rows.entry(bin(op.started)).or_default(), op, fold.now);
    }
    for attempt in &fold.ops.attempts {
        let row = rows.entry(bin(attempt.at)).or_default();
        row.attempts += 1;
        row.retries += u64::from(attempt.is_retry);
    }
    if fold.ops.attempts.iter().all(|attempt| attempt.op.is_none()) {
        rows.values_mut().for_each(|row| row.retries = row.attempts.saturating_sub(row.ops));
    }
    for span in summary.faults() {
        let begins = rows.entry(bin(span.from)).or_default();
        let short = span.to.is_some_and(|to| bin(to) == bin(span.from));
        begins.marks.push(format!("{} begins{}", span.name, if short { " and ends" } else { "" }));
        if let Some(to) = span.to.filter(|_| !short) {
            rows.entry(bin(to)).or_default().marks.push(format!("{} ends", span.name));
        }
    }
    mark_what_is_on(summary, &mut rows, width_ms);
    rows
}

fn add_op(row: &mut Row, op: &Op, run_end: SimTime) {
    row.ops += 1;
    row.took.push(op.took(run_end));
    match op.ended {
        Some((_, Outcome::Ok)) => row.ok += 1,
        Some((_, Outcome::Failed(kind))) => *row.by_kind.entry(kind).or_insert(0) += 1,
        Some((_, Outcome::FailedSilently)) => row.unreported += 1,
        None => row.hung += 1,
    }
}
