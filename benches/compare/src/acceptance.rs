//! The marks that halfopen is to reach, and whether it does.

use crate::figures::Figures;
use crate::peer::Peer;
use crate::workload::{Scaling, Workload, key_of};

/// A mark.
#[derive(Clone, Copy)]
enum Mark {
    /// At most so many times the peer's time.
    AtMost(f64),
    /// At least so many times faster than the peer.
    Faster(f64),
}

const MARKS: &[(Workload, Peer, Mark)] = &[
    (Workload::Echo100, Peer::Loopback, Mark::AtMost(2.0)),
    (Workload::Echo100, Peer::Turmoil, Mark::Faster(25.0)),
    (Workload::Web, Peer::Loopback, Mark::AtMost(2.0)),
    (Workload::Idle, Peer::Turmoil, Mark::Faster(1_000.0)),
    (Workload::Idle, Peer::TurmoilNet, Mark::Faster(200.0)),
    (Workload::Bulk, Peer::Loopback, Mark::AtMost(3.0)),
    (Workload::Bulk, Peer::TurmoilNet, Mark::Faster(1.2)),
    (Workload::Churn, Peer::Loopback, Mark::AtMost(1.0)),
    (Workload::Churn, Peer::Turmoil, Mark::Faster(3.0)),
    (Workload::Churn, Peer::TurmoilNet, Mark::Faster(1.3)),
    (Workload::Scale, Peer::TurmoilNet, Mark::Faster(5.0)),
];

/// W1's virtual time in seconds: a handshake and 100 requests, each a round trip of 20 ms.
const ECHO_S: f64 = 2.02;
/// How much W6's run phase may grow with twice the idle hosts.
const IDLE_GROWTH_MAX: f64 = 1.05;
/// How much W6's run phase may grow with twice the active hosts: twice, plus 10 %.
const ACTIVE_GROWTH_MAX: f64 = 2.2;

/// A mark and what became of it.
#[derive(Debug, PartialEq)]
pub struct Row {
    /// What shall hold.
    pub mark: String,
    /// What was measured.
    pub measured: String,
    /// Whether it holds; `None` if it was not measured.
    pub met: Option<bool>,
}

/// All marks.
pub fn rows(figures: &Figures) -> Vec<Row> {
    let mut rows: Vec<Row> =
        MARKS.iter().map(|&(workload, peer, mark)| beside(figures, workload, peer, mark)).collect();
    rows.extend([Workload::Echo10, Workload::Echo100].map(|workload| virtual_time(figures, workload)));
    rows.push(growth(figures, Scaling::Idle, "idle", IDLE_GROWTH_MAX));
    rows.push(growth(figures, Scaling::Active, "active", ACTIVE_GROWTH_MAX));
    rows
}

fn beside(figures: &Figures, workload: Workload, peer: Peer, mark: Mark) -> Row {
    let wall = |peer| figures.wall(&key_of(workload, peer));
    let pair = wall(Peer::Halfopen).zip(wall(peer));
    let (name, of) = (workload.name(), peer.name());
    match mark {
        Mark::AtMost(most) => {
            let ratio = pair.map(|(ours, theirs)| ours / theirs);
            row(format!("{name}: at most {most:.1}x {of}"), ratio, |ratio| ratio <= most)
        }
        Mark::Faster(least) => {
            let ratio = pair.map(|(ours, theirs)| theirs / ours);
            row(format!("{name}: at least {least}x faster than {of}"), ratio, |ratio| ratio >= least)
        }
    }
}

fn row(mark: String, ratio: Option<f64>, holds: impl Fn(f64) -> bool) -> Row {
    let measured = ratio.map_or("not measured".to_owned(), |ratio| format!("{ratio:.2}x"));
    Row { mark, measured, met: ratio.map(holds) }
}

fn virtual_time(figures: &Figures, workload: Workload) -> Row {
    let spread = figures.spread(&key_of(workload, Peer::Halfopen), |sample| sample.client_s);
    Row {
        mark: format!("{}: exactly {ECHO_S:.3} s of virtual time", workload.name()),
        measured: spread.map_or("not measured".to_owned(), |spread| format!("{} s", spread.most)),
        met: spread.map(|spread| spread.least == ECHO_S && spread.most == ECHO_S),
    }
}

/// Processor time of W6's run phase in user space, in seconds: what many beats cost more than few, with the same hosts.
/// The kernel's share is that of starting threads, and nothing but noise here.
pub fn run_phase(figures: &Figures, scaling: Scaling) -> Option<f64> {
    let [few, many] = scaling.keys().map(|key| figures.spread(&key, |sample| sample.user_s));
    Some(many?.median - few?.median)
}

fn growth(figures: &Figures, scaling: Scaling, which: &str, most: f64) -> Row {
    let ratio = run_phase(figures, scaling).zip(run_phase(figures, Scaling::Base)).map(|(more, base)| more / base);
    row(format!("W6's run phase with twice the {which} hosts: at most {most}x"), ratio, |ratio| ratio <= most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::of;

    #[test]
    fn marks_are_met_missed_or_not_measured() {
        let figures = of(&[
            ("W1-100 halfopen", &[0.1, 0.1]),
            ("W1-100 loopback", &[0.04]),
            ("W1-100 turmoil", &[3.0]),
            ("scaling halfopen scaling short", &[1.0]),
            ("scaling halfopen scaling long", &[2.0]),
            ("scaling halfopen scaling-idle short", &[2.0]),
            ("scaling halfopen scaling-idle long", &[3.0]),
        ]);
        let rows = rows(&figures);
        let text: Vec<String> =
            rows.iter().map(|row| format!("{} | {} | {:?}", row.mark, row.measured, row.met)).collect();
        insta::assert_snapshot!(text.join("\n"), @r"
    W1-100: at most 2.0x loopback | 2.50x | Some(false)
    W1-100: at least 25x faster than turmoil | 30.00x | Some(true)
    W2r: at most 2.0x loopback | not measured | None
    W3: at least 1000x faster than turmoil | not measured | None
    W3: at least 200x faster than turmoil-net | not measured | None
    W4: at most 3.0x loopback | not measured | None
    W4: at least 1.2x faster than turmoil-net | not measured | None
    W5: at most 1.0x loopback | not measured | None
    W5: at least 3x faster than turmoil | not measured | None
    W5: at least 1.3x faster than turmoil-net | not measured | None
    W6: at least 5x faster than turmoil-net | not measured | None
    W1-10: exactly 2.020 s of virtual time | not measured | None
    W1-100: exactly 2.020 s of virtual time | 2.02 s | Some(true)
    W6's run phase with twice the idle hosts: at most 1.05x | 1.00x | Some(true)
    W6's run phase with twice the active hosts: at most 2.2x | not measured | None
    ");
    }
}
