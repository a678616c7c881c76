//! What was measured, kept in a file between calls.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::machine::Machine;

/// Most runs of one case.
pub const ROUNDS_MAX: usize = 9;
/// Runs of a case that takes longer than [`SHORT_S`].
const ROUNDS: usize = 5;
/// What takes less is run [`ROUNDS_MAX`] times, in seconds.
const SHORT_S: f64 = 1.0;
/// What takes more is run once, in seconds.
const LONG_S: f64 = 20.0;

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// The whole process, in seconds of real time.
    pub wall_s: f64,
    /// Processor time of all its processes in user space, in seconds.
    pub user_s: f64,
    /// And in the kernel.
    pub system_s: f64,
    /// Peak memory of the largest of its processes, in MiB.
    pub peak_mib: f64,
    /// What the peer calls its run: without process start, in seconds of real time.
    pub run_s: f64,
    /// How long it took by the slowest client's own clock, in seconds.
    pub client_s: f64,
}

/// All runs, by case.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Where the last of them were measured.
    pub machine: Machine,
    samples: BTreeMap<String, Vec<Sample>>,
    #[serde(skip)]
    file: PathBuf,
}

impl Figures {
    /// What is in the file; nothing if there is none.
    ///
    /// # Errors
    /// If something else is in it.
    pub fn load(file: &Path) -> Result<Figures, String> {
        let mut figures = match fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", file.display()))?,
            Err(_) => Figures::default(),
        };
        figures.file = file.to_owned();
        Ok(figures)
    }

    /// Adds one run, and saves.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add(&mut self, case: &str, sample: Sample) -> Result<(), String> {
        self.samples.entry(case.to_owned()).or_default().push(sample);
        let text = serde_json::to_vec_pretty(self).map_err(|error| error.to_string())?;
        fs::write(&self.file, text).map_err(|error| format!("cannot write {}: {error}", self.file.display()))
    }

    /// Forgets the runs of a case.
    pub fn forget(&mut self, case: &str) {
        self.samples.remove(case);
    }

    /// How many runs of a case there are.
    pub fn count(&self, case: &str) -> usize {
        self.samples.get(case).map_or(0, Vec::len)
    }

    /// How many runs of a case there shall be, by what the first took.
    pub fn repeats(&self, case: &str, long: bool) -> usize {
        match self.samples.get(case).and_then(|samples| samples.first()) {
            Some(first) if first.wall_s > LONG_S && !long => 1,
            Some(first) if first.wall_s > SHORT_S => ROUNDS,
            _ => ROUNDS_MAX,
        }
    }

    /// The median, least and most of something about a case; `None` if it was not run.
    pub fn spread(&self, case: &str, of: impl Fn(&Sample) -> f64) -> Option<Spread> {
        let mut values: Vec<f64> = self.samples.get(case)?.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        Some(Spread { median: median(&values), least, most })
    }

    /// The median of the real time that a case took.
    pub fn wall(&self, case: &str) -> Option<f64> {
        self.spread(case, |sample| sample.wall_s).map(|spread| spread.median)
    }
}

/// What several runs have in common.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spread {
    /// The middle one, or the mean of the middle two.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

/// Of sorted values, at least one.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Figures of runs that took so long.
    pub fn of(walls: &[(&str, &[f64])]) -> Figures {
        let sample = |wall_s: &f64| Sample {
            wall_s: *wall_s,
            user_s: *wall_s,
            system_s: 0.0,
            peak_mib: 4.0,
            run_s: wall_s / 2.0,
            client_s: 2.02,
        };
        let samples =
            walls.iter().map(|(case, walls)| ((*case).to_owned(), walls.iter().map(sample).collect())).collect();
        Figures { samples, ..Figures::default() }
    }

    #[test]
    fn medians_of_odd_and_even_counts() {
        let figures = of(&[("odd", &[3.0, 1.0, 2.0]), ("even", &[4.0, 1.0, 3.0, 2.0]), ("none", &[])]);
        let wall = |case| figures.spread(case, |sample| sample.wall_s);
        assert_eq!(wall("odd"), Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
        assert_eq!(wall("even"), Some(Spread { median: 2.5, least: 1.0, most: 4.0 }));
        assert_eq!((wall("none"), wall("unknown")), (None, None));
    }

    #[test]
    fn what_takes_long_is_run_less_often() {
        let figures = of(&[("short", &[0.9]), ("middling", &[1.1]), ("long", &[21.0])]);
        for (case, normal, long) in [("new", 9, 9), ("short", 9, 9), ("middling", 5, 5), ("long", 1, 5)] {
            assert_eq!((figures.repeats(case, false), figures.repeats(case, true)), (normal, long), "{case}");
        }
    }
}
