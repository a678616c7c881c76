//! Many runs: which seeds, which plan with which of them, and what came of all in short.

use std::fmt::Write;
use std::time::Duration;

use halfopen_record::{RunResult, Verdict};
use halfopen_scenario::Plan;

/// Most seeds that can be asked for at once.
const SEEDS_MAX: u64 = 100_000;
/// Most failing seeds of a scenario, or of a variant, that are reported in full.
const REPORTS_MAX: usize = 10;
/// Most failing seeds of a scenario, or of a variant, that are named at the end.
const NAMED_MAX: usize = 100;

/// Seeds are whole numbers, decimal or hexadecimal (`0x5eed`).
pub(super) fn seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "a seed is a whole number from 0 to 18446744073709551615, or hexadecimal as 0x5eed".to_owned())
}

/// The seeds from one to before another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seeds {
    first: u64,
    end: u64,
}

/// `A..B`, as Rust's ranges: without B.
pub(super) fn seeds(text: &str) -> Result<Seeds, String> {
    let (first, end) = text
        .split_once("..")
        .filter(|(first, end)| !first.is_empty() && !end.is_empty() && !end.starts_with(['=', '.']))
        .ok_or("seeds are a range without its end: `0..1000` are the thousand seeds from 0 to 999")?;
    let (first, end) = (seed(first)?, seed(end)?);
    match end.checked_sub(first) {
        None | Some(0) => Err(format!("there are no seeds from {first} to before {end}")),
        Some(count) if count > SEEDS_MAX => {
            Err(format!("these are {count} seeds; at most {SEEDS_MAX} can be run at once"))
        }
        Some(_) => Ok(Seeds { first, end }),
    }
}

/// The runs to do, in the order of their results: each plan with its own seed, or with each of these.
#[derive(Clone, Copy, Debug)]
pub(super) struct Todo<'a> {
    pub(super) plans: &'a [Plan],
    pub(super) seeds: Option<Seeds>,
}

impl Todo<'_> {
    fn runs_of_a_plan(&self) -> usize {
        self.seeds.map_or(1, |seeds| (seeds.end - seeds.first) as usize)
    }

    pub(super) fn len(&self) -> usize {
        self.plans.len() * self.runs_of_a_plan()
    }

    /// The plan of a run.
    pub(super) fn plan(&self, index: usize) -> Plan {
        let plan = self.plans[index / self.runs_of_a_plan()].clone();
        match self.seeds {
            Some(seeds) => plan.with_seed(seeds.first + (index % self.runs_of_a_plan()) as u64),
            None => plan,
        }
    }
}

/// Whether a result is shown as soon as it is there: of many seeds, only what went wrong, and not all of that.
pub(super) fn is_shown(result: &RunResult, before: &[RunResult]) -> bool {
    let reported = |other: &&RunResult| is_of_one_plan(other, result) && other.verdict != Verdict::Pass;
    result.verdict != Verdict::Pass && before.iter().rev().filter(reported).take(REPORTS_MAX).count() < REPORTS_MAX
}

fn is_of_one_plan(one: &RunResult, other: &RunResult) -> bool {
    (&one.identity.file, &one.identity.variant) == (&other.identity.file, &other.identity.variant)
}

/// A result without its figures: what is kept of the many that are only counted.
pub(super) fn counted(result: RunResult) -> RunResult {
    let nothing = RunResult::failed(result.identity, String::new(), Duration::ZERO);
    RunResult { verdict: result.verdict, ..nothing }
}

/// Results whose titles say the seed, for JUnit: it tells cases apart by their names alone.
pub(super) fn named(mut results: Vec<RunResult>) -> Vec<RunResult> {
    for identity in results.iter_mut().map(|result| &mut result.identity) {
        let variant = identity.variant.take().map(|variant| format!("{variant}, ")).unwrap_or_default();
        identity.variant = Some(format!("{variant}seed {}", identity.seed));
    }
    results
}

/// What came of every plan: how often it passed, failed and broke, and with which seeds.
pub(super) fn summary(results: &[RunResult]) -> String {
    let mut text = String::new();
    for runs in results.chunk_by(is_of_one_plan) {
        line(&mut text, &format!("{}: {}", runs[0].identity.title(), counts(runs)));
        let wrong: Vec<&RunResult> = runs.iter().filter(|run| run.verdict != Verdict::Pass).collect();
        for run in wrong.iter().take(NAMED_MAX) {
            let word = if run.verdict == Verdict::Fail { "failed" } else { "broke" };
            line(&mut text, &format!("  {word:6}  {}", run.identity.replay));
        }
        if wrong.len() > NAMED_MAX {
            line(&mut text, &format!("  and {} more", wrong.len() - NAMED_MAX));
        }
    }
    text
}

/// `3 passed, 1 failed`, and what else there was.
pub(super) fn counts(results: &[RunResult]) -> String {
    let count = |verdict| results.iter().filter(|result| result.verdict == verdict).count();
    let broken = match count(Verdict::Error) {
        0 => String::new(),
        errors => format!(", {errors} could not be completed"),
    };
    format!("{} passed, {} failed{broken}", count(Verdict::Pass), count(Verdict::Fail))
}

/// What the runs cost in real time.
pub(super) fn cost(runs: usize, wall: Duration, jobs: usize) -> String {
    let each = wall.as_secs_f64() * 1e3 / runs.max(1) as f64;
    format!("{runs} runs in {:.2}s, {each:.2}ms for each with {jobs} at once", wall.as_secs_f64())
}

fn line(text: &mut String, content: &str) {
    writeln!(text, "{content}").expect("a string takes all text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_half_open_and_of_one_form() {
        assert_eq!(seeds("7..8"), Ok(Seeds { first: 7, end: 8 }));
        assert_eq!(seeds("0x10..0x20"), Ok(Seeds { first: 16, end: 32 }));
        assert_eq!(seeds("0..100000").map(|seeds| seeds.end), Ok(SEEDS_MAX));
        for (text, says) in [
            ("8", "without its end"),
            ("1..", "without its end"),
            ("..9", "without its end"),
            ("1..=9", "without its end"),
            ("1...9", "without its end"),
            ("a..b", "a seed is a whole number"),
            ("1..-2", "a seed is a whole number"),
            ("8..8", "there are no seeds from 8 to before 8"),
            ("9..8", "there are no seeds from 9 to before 8"),
            ("1..100002", "these are 100001 seeds; at most 100000"),
            ("0..18446744073709551615", "at most 100000"),
        ] {
            let error = seeds(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
