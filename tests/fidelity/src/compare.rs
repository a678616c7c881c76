//! Where two traces of one case differ.
//!
//! Call by call and packet by packet within each column of each host: the same calls with the same results, the same
//! packets up to pure ACKs, and times that agree. A time is taken as the gap to an event that came shortly before at the
//! same host, since it is from there that timers run: it agrees if for one of those the gaps are within [`tolerance`].

use halfopen_core::{SimDuration, SimTime};

use crate::case::HOSTS;
use crate::trace::{Column, Entry, Trace};

/// How many earlier events at the same host a time may be measured from.
const ANCHORS_MAX: usize = 12;

/// By how much gaps of about this length may differ: the grid of the kernel's timer wheel at HZ=250 (kernel/time/timer.c:
/// levels of 64 slots, each 8 times coarser), with a jiffy for the one that has begun; or 5 %, if that is more.
pub fn tolerance(gap: SimDuration) -> SimDuration {
    let millis = gap.as_millis();
    let grid = match millis {
        0..256 => 4,
        256..2_048 => 32,
        2_048..16_384 => 256,
        16_384..131_072 => 2_048,
        _ => 16_384,
    };
    (SimDuration::from_millis(grid) + JIFFY).max(gap / 20)
}

/// A tick of the kernel's clock at HZ=250.
const JIFFY: SimDuration = SimDuration::from_millis(4);

/// A place where two traces differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// In a few words.
    pub what: String,
    /// The traces around it, side by side: expected on the left.
    pub context: String,
}

/// The first difference in each column, if any; `expected` is the real kernel's, or the recording.
pub fn differences(expected: &Trace, actual: &Trace) -> Vec<Difference> {
    let mut found = Vec::new();
    for (host, name) in HOSTS.iter().enumerate() {
        // Events of this host that both have, whatever their column.
        let mut pairs: Vec<(&Entry, &Entry)> = Vec::new();
        for column in Column::ALL {
            let [left, right] = [expected, actual].map(|trace| kept(trace, host, column));
            let common = left.iter().zip(&right).take_while(|(left, right)| left.what == right.what).count();
            if common < left.len() || common < right.len() {
                let what = format!("host {name}, {column:?}: not the same from number {common} on");
                found.push(Difference { what, context: side_by_side(&left, &right, common) });
            }
            pairs.extend(left.into_iter().zip(right).take(common));
        }
        pairs.sort_by_key(|(left, _)| left.at);
        found.extend(first_late(host, &pairs));
    }
    found
}

fn kept(trace: &Trace, host: usize, column: Column) -> Vec<&Entry> {
    trace.column(host, column).filter(|entry| !entry.is_pure_ack()).collect()
}

/// The first event that is out of time.
fn first_late(host: usize, pairs: &[(&Entry, &Entry)]) -> Option<Difference> {
    let start = (SimTime::ZERO, SimTime::ZERO);
    for (index, (left, right)) in pairs.iter().enumerate() {
        let anchors = pairs[index.saturating_sub(ANCHORS_MAX)..index].iter().map(|(left, right)| (left.at, right.at));
        let start = (index < ANCHORS_MAX).then_some(start);
        if !anchors.chain(start).any(|anchor| agree(anchor, (left.at, right.at))) {
            let what = format!("host {}: out of time: {}", HOSTS[host], left.what);
            let before = &pairs[index.saturating_sub(4)..=index];
            let lines: Vec<String> = before.iter().map(|(left, right)| row(Some(left), Some(right))).collect();
            return Some(Difference { what, context: lines.join("\n") });
        }
    }
    None
}

/// Whether two events, one in each trace, are as far from an earlier one.
fn agree(anchor: (SimTime, SimTime), event: (SimTime, SimTime)) -> bool {
    let (left, right) = (event.0.since(anchor.0), event.1.since(anchor.1));
    let apart = left.max(right).saturating_sub(left.min(right));
    apart <= tolerance(left.max(right)) && (event.1 >= anchor.1 || apart <= JIFFY)
}

fn side_by_side(left: &[&Entry], right: &[&Entry], at: usize) -> String {
    let from = at.saturating_sub(3);
    let rows = (from..at + 4).filter(|index| *index < left.len().max(right.len()));
    let mark = |index: usize| if index == at { "> " } else { "  " };
    let row = |index: usize| format!("{}{}", mark(index), row(left.get(index).copied(), right.get(index).copied()));
    rows.map(row).collect::<Vec<_>>().join("\n")
}

fn row(left: Option<&Entry>, right: Option<&Entry>) -> String {
    let cell = |entry: Option<&Entry>| match entry {
        Some(Entry { at, what, .. }) => format!("{:10.3} {what}", at.as_secs_f64()),
        None => format!("{:>10} (nothing)", ""),
    };
    format!("{:60} | {}", cell(left), cell(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINUX: &str = "\
        0.100000 a out SYN seq 0 len 0 mss 1460 ; win 64240\n\
        1.123000 a out SYN seq 0 len 0 mss 1460 ; win 64240\n\
        1.143000 a in SYN,ACK seq 0 len 0 mss 1460 ; win 65160\n\
        1.143100 a out ACK seq 1 len 0 ; win 63\n\
        1.143200 a call connect c b:7000 = ok ; made at 0.100000\n";

    fn differ(from: &str, to: &str) -> Vec<String> {
        let expected = Trace::parse(LINUX).unwrap();
        let actual = Trace::parse(&LINUX.replace(from, to)).unwrap();
        differences(&expected, &actual).into_iter().map(|difference| difference.what).collect()
    }

    #[test]
    fn what_differs_is_told_and_what_may_is_not() {
        for (from, to, told) in [
            // Nothing.
            ("win 63", "win 64", None),
            // The timer's grid: a nominal second.
            ("1.123000", "1.100000", None),
            // Pure ACKs do not count.
            ("1.143100 a out ACK seq 1 len 0 ; win 63\n", "", None),
            ("1.123000", "1.050000", Some("host a: out of time: SYN seq 0 len 0 mss 1460")),
            ("= ok", "= ETIMEDOUT", Some("host a, Call: not the same from number 0 on")),
            ("a in SYN,ACK seq 0", "a in SYN,ACK seq 1", Some("host a, In: not the same from number 0 on")),
            (
                "1.123000 a out SYN seq 0 len 0 mss 1460 ; win 64240\n",
                "",
                Some("host a, Out: not the same from number 1 on"),
            ),
        ] {
            let found = differ(from, to);
            assert_eq!(found.first().map(String::as_str), told, "{from} -> {to}: {found:?}");
        }
    }

    #[test]
    fn a_trace_reads_what_it_prints() {
        assert_eq!(Trace::parse(LINUX).unwrap().to_string(), LINUX);
    }
}
