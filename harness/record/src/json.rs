//! One object on one line for each run: the output of `--format json`, whose keys and their order are a promise.

use serde::Serialize;

use crate::expect::Judged;
use crate::result::{Figures, RunResult, Verdict};
use crate::review::Answer;
use crate::summary::{Actual, number};

#[derive(Serialize)]
struct Line<'a> {
    scenario: &'a str,
    variant: Option<&'a str>,
    file: &'a str,
    seed: u64,
    verdict: Verdict,
    fingerprint: &'a str,
    virtual_s: serde_json::Value,
    wall_s: serde_json::Value,
    expectations: Vec<Expectation<'a>>,
    metrics: &'a Figures,
    review: &'a [Answer],
    error: Option<&'a str>,
}

impl<'a> From<&'a Judged> for Expectation<'a> {
    fn from(judged: &'a Judged) -> Expectation<'a> {
        let Judged { expr, actual, holds, must_fail, shown: _, line: _ } = judged;
        Expectation { expr, actual: *actual, holds: *holds, must_fail: *must_fail }
    }
}

#[derive(Serialize)]
struct Expectation<'a> {
    expr: &'a str,
    /// A number; or `"never"`, or `"no data"`.
    actual: Actual,
    holds: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    must_fail: bool,
}

/// The line for one run, without a line break.
///
/// # Panics
/// Never: every part of a result can be written.
pub fn line(result: &RunResult) -> String {
    let RunResult {
        identity,
        verdict,
        fingerprint,
        virtual_s,
        wall_s,
        expectations,
        metrics,
        review,
        error,
        notes: _,
        table: _,
    } = result;
    let line = Line {
        scenario: &identity.scenario,
        variant: identity.variant.as_deref(),
        file: &identity.file,
        seed: identity.seed,
        verdict: *verdict,
        fingerprint,
        virtual_s: number(*virtual_s),
        wall_s: number(*wall_s),
        expectations: expectations.iter().map(Expectation::from).collect(),
        metrics,
        review,
        error: error.as_deref(),
    };
    serde_json::to_string(&line).expect("a result is plain data")
}
