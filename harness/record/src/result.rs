//! The result of one run as a value: what the process of a run sends to the one that asked for it, and what every
//! output shows.

use std::time::Duration;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::expect::{Check, Judged, judge};
use crate::review::Answer;
use crate::summary::{Summary, number};

/// The fingerprint of a run that left no event log.
pub(crate) const NO_FINGERPRINT: &str = "0000000000000000";

/// How a run came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every expectation is as it should be.
    Pass,
    /// Some expectation is not.
    Fail,
    /// The run could not be completed or judged.
    Error,
}

/// Which run it was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// The scenario's name.
    pub scenario: String,
    /// The variant, if the scenario has any.
    pub variant: Option<String>,
    /// The scenario file, as the user would name it.
    pub file: String,
    /// The seed.
    pub seed: u64,
    /// The command that runs it again.
    pub replay: String,
}

impl Identity {
    /// `scenario` or `scenario [variant]`.
    pub fn title(&self) -> String {
        match &self.variant {
            Some(variant) => format!("{} [{variant}]", self.scenario),
            None => self.scenario.clone(),
        }
    }
}

/// Metrics with their figures, in the order of the catalogue; on the wire an object in that order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Figures(pub Vec<(String, f64)>);

impl Serialize for Figures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, figure) in &self.0 {
            map.serialize_entry(name, &number(*figure))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Figures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Figures, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Figures;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of figures")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Figures, A::Error> {
                let mut figures = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    figures.push(entry);
                }
                Ok(Figures(figures))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// The result of one run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RunResult {
    /// Which run.
    pub identity: Identity,
    /// How it came out, `must_fail` taken into account.
    pub verdict: Verdict,
    /// 16 hexadecimal digits; all zeros if the run left no event log.
    pub fingerprint: String,
    /// Seconds of virtual time.
    pub virtual_s: f64,
    /// Seconds of real time.
    pub wall_s: f64,
    /// What came of each expectation.
    pub expectations: Vec<Judged>,
    /// Every metric that has a figure.
    pub metrics: Figures,
    /// The outage review.
    pub review: Vec<Answer>,
    /// Why the run could not be completed or judged.
    pub error: Option<String>,
    /// What a reader should know beside the figures.
    pub notes: Vec<String>,
    /// The table of what happened window by window.
    pub table: String,
}

impl RunResult {
    /// Judges a run by its expectations.
    pub fn judged(identity: Identity, summary: &Summary, checks: &[Check], wall: Duration) -> RunResult {
        let expectations: Vec<Judged> = checks.iter().map(|check| judge(summary, check)).collect();
        let error = summary.error();
        let verdict = match (&error, expectations.iter().all(Judged::is_as_expected)) {
            (Some(_), _) => Verdict::Error,
            (None, true) => Verdict::Pass,
            (None, false) => Verdict::Fail,
        };
        let metrics = summary.metrics().into_iter().map(|(name, figure)| (name.to_owned(), figure));
        RunResult {
            identity,
            verdict,
            fingerprint: summary.fingerprint(),
            virtual_s: summary.run_end().as_secs_f64(),
            wall_s: wall.as_secs_f64(),
            expectations,
            metrics: Figures(metrics.collect()),
            review: summary.review(),
            error,
            notes: summary.notes(),
            table: summary.table(),
        }
    }

    /// A run that left nothing to judge: its process died, spun for ever or was stopped.
    pub fn failed(identity: Identity, error: String, wall: Duration) -> RunResult {
        RunResult {
            identity,
            verdict: Verdict::Error,
            fingerprint: NO_FINGERPRINT.to_owned(),
            virtual_s: 0.0,
            wall_s: wall.as_secs_f64(),
            expectations: Vec::new(),
            metrics: Figures::default(),
            review: Vec::new(),
            error: Some(error),
            notes: Vec::new(),
            table: String::new(),
        }
    }

    /// The figure of a metric over the whole run.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.0.iter().find(|(known, _)| known == name).map(|(_, figure)| *figure)
    }

    /// All of it as one line of JSON, for the process that asked for the run. What users get is [`crate::json`].
    ///
    /// # Panics
    /// Never: every part of a result can be written.
    pub fn to_wire(&self) -> String {
        serde_json::to_string(self).expect("a result is plain data")
    }

    /// The result that [`RunResult::to_wire`] wrote.
    ///
    /// # Errors
    /// The text is not such a result.
    pub fn from_wire(text: &str) -> Result<RunResult, serde_json::Error> {
        serde_json::from_str(text)
    }
}
