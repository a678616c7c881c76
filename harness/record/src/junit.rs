//! JUnit XML: one suite for each scenario file, one case for each run.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use crate::report::{Style, report};
use crate::result::{RunResult, Verdict};

/// The XML document for these runs.
///
/// # Errors
/// What the XML writer says; it has no reason to with text in memory.
pub fn document(results: &[RunResult]) -> Result<String, quick_junit::SerializeError> {
    let mut document = Report::new("halfopen");
    let mut suites: Vec<TestSuite> = Vec::new();
    for result in results {
        let file = result.identity.file.as_str();
        let index = suites.iter().position(|suite| suite.name.as_str() == file).unwrap_or_else(|| {
            suites.push(TestSuite::new(file));
            suites.len() - 1
        });
        suites[index].add_test_case(case(result));
    }
    document.add_test_suites(suites);
    document.to_string()
}

fn case(result: &RunResult) -> TestCase {
    let complaints: Vec<String> = result.expectations.iter().filter_map(|judged| judged.complaint()).collect();
    let mut status = match result.verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    if result.verdict != Verdict::Pass {
        let message = result.error.clone().unwrap_or_else(|| complaints.join("; "));
        status.set_message(message).set_description(report(result, Style::default()));
        status.set_type(if result.verdict == Verdict::Fail { "expectation" } else { "error" });
    }
    let mut case = TestCase::new(result.identity.title(), status);
    case.set_classname(result.identity.scenario.as_str());
    case.set_time(Duration::try_from_secs_f64(result.wall_s).unwrap_or(Duration::ZERO));
    case.add_property(Property::new("seed", result.identity.seed.to_string()));
    case.add_property(Property::new("fingerprint", result.fingerprint.as_str()));
    case.add_property(Property::new("replay", result.identity.replay.as_str()));
    case
}
