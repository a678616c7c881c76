//! A finished run as a value: its verdict and its figures, to be asserted on.

use halfopen_record::report::{Style, report};
use halfopen_record::{RunResult, Verdict};

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run(RunResult);

impl Run {
    pub(crate) fn new(result: RunResult) -> Run {
        Run(result)
    }

    /// The name of the variant; `None` if the scenario has none.
    pub fn variant(&self) -> Option<&str> {
        self.0.identity.variant.as_deref()
    }

    /// Whether all expectations came out as they should.
    pub fn verdict(&self) -> Verdict {
        self.0.verdict
    }

    /// Why the run could not be completed, if it could not.
    pub fn error(&self) -> Option<&str> {
        self.0.error.as_deref()
    }

    /// The figure of a metric over the whole run; `None` if there was nothing to measure.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.0.metric(name)
    }

    /// 16 hexadecimal digits, a hash over the whole event log: equal for equal seed, scenario, variant and binary.
    pub fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    /// What happened window by window, as a table to read or to snapshot.
    pub fn table(&self) -> &str {
        &self.0.table
    }

    /// The report that the command line prints.
    pub fn report(&self) -> String {
        report(&self.0, Style { colour: false, table: true })
    }
}
