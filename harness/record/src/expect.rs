//! Expectations: a metric compared with a figure, and what came of it.

use halfopen_core::metric::{self, Unit};
use serde::{Deserialize, Serialize};

use crate::figures;
use crate::phase::{Phase, Scope};
use crate::summary::{Actual, Summary};

/// How a figure is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Comparison {
    Less,
    AtMost,
    Equal,
    NotEqual,
    AtLeast,
    More,
}

impl Comparison {
    fn holds(self, actual: f64, threshold: f64) -> bool {
        match self {
            Comparison::Less => actual < threshold,
            Comparison::AtMost => actual <= threshold,
            Comparison::Equal => actual == threshold,
            Comparison::NotEqual => actual != threshold,
            Comparison::AtLeast => actual >= threshold,
            Comparison::More => actual > threshold,
        }
    }
}

/// What a metric is compared with.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Threshold {
    /// A figure in the metric's unit (seconds for times).
    Figure(f64),
    /// A share of the metric's whole, from 0 to 1 (`1%` is 0.01), for the same hosts and phase.
    Share(f64),
}

/// One expectation of a scenario.
#[derive(Clone, PartialEq, Debug)]
pub struct Check {
    /// As it stands in the scenario.
    pub text: String,
    /// The line of the scenario file, if known.
    pub line: Option<u32>,
    /// The name of a metric of the catalogue.
    pub metric: String,
    /// Whose figure.
    pub scope: Scope,
    /// When.
    pub phase: Phase,
    /// How it compares.
    pub comparison: Comparison,
    /// With what.
    pub threshold: Threshold,
    /// The variant is known to be bad, and this is where it must be caught.
    pub must_fail: bool,
}

/// What came of an expectation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Judged {
    /// As it stands in the scenario.
    pub expr: String,
    /// The metric's figure, or the share of its whole if it was compared with a share.
    pub actual: Actual,
    /// Whether the comparison holds. `never` counts as more than any figure; nothing measured never holds.
    pub holds: bool,
    /// Whether it was to fail.
    pub must_fail: bool,
    /// The actual figure for people, with its unit and whole.
    pub shown: String,
    /// The line of the scenario file, if known.
    pub line: Option<u32>,
}

impl Judged {
    /// Whether the run passes by this expectation: it holds, or it fails where it must. Where nothing was measured
    /// nothing was shown either way, so that neither passes.
    pub fn is_as_expected(&self) -> bool {
        self.actual != Actual::Nothing && self.holds != self.must_fail
    }

    /// What is wrong, in a sentence; `None` if it is as expected.
    pub fn complaint(&self) -> Option<String> {
        let Judged { expr, shown, .. } = self;
        if self.is_as_expected() {
            None
        } else if self.actual == Actual::Nothing {
            Some(format!("{expr}: there was nothing to measure"))
        } else if self.must_fail {
            Some(format!("{expr}: must fail for this variant, but holds: {shown}"))
        } else {
            Some(format!("{expr}: it was {shown}"))
        }
    }
}

/// Judges one expectation by what a run came to.
pub fn judge(summary: &Summary, check: &Check) -> Judged {
    let metric = metric::find(&check.metric);
    let unit = metric.map_or(Unit::Quotient, |metric| metric.unit);
    let measured = summary.measure(&check.metric, &check.scope, &check.phase);
    let whole = metric.and_then(|metric| metric.whole);
    let (actual, threshold, shown) = match (check.threshold, whole) {
        (Threshold::Share(share), Some(whole)) => {
            let whole = summary.metric(whole, &check.scope, &check.phase).filter(|whole| *whole > 0.0);
            match measured.figure().zip(whole) {
                Some((part, whole)) => (Actual::Figure(part / whole), share, figures::share(part, whole)),
                None => (Actual::Nothing, share, figures::actual(Actual::Nothing, unit)),
            }
        }
        (Threshold::Share(figure) | Threshold::Figure(figure), _) => {
            (measured, figure, figures::actual(measured, unit))
        }
    };
    let holds = match actual {
        Actual::Figure(figure) => check.comparison.holds(figure, threshold),
        Actual::Never => check.comparison.holds(f64::INFINITY, threshold),
        Actual::Nothing => false,
    };
    let Check { text, line, must_fail, .. } = check;
    Judged { expr: text.clone(), actual, holds, must_fail: *must_fail, shown, line: *line }
}
