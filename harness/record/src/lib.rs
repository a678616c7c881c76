//! From the event log to what a person or a machine wants to know about a run.
//!
//! A [`Recorder`] is the run's [`EventSink`](halfopen_core::EventSink): it hashes every event into the run's
//! fingerprint, writes log and capture if asked, and folds the rest into a compact record. When the run is over it
//! becomes a [`Summary`], which answers for any metric of the catalogue, any hosts and any phase. [`expect`] judges
//! with it, [`review`] and [`table`] tell the story, and a [`RunResult`] carries all of that from the process of the
//! run to whoever prints it: as text ([`report`]), [`json`], [`junit`] or annotations for GitHub ([`github`]).
//!
//! Suggested reading order: [`recorder`], [`summary`], [`phase`], [`expect`], [`recovery`], [`result`].
//!
//! **Invariant:** the only input is the event vocabulary of `halfopen_core::event`; nothing here knows a packet's
//! bytes, a scenario file, a clock or a thread. Whole numbers inside, floating point only in a final figure.
#![forbid(unsafe_code)]

pub mod capture;
mod connections;
mod counts;
pub mod expect;
mod figures;
pub mod fingerprint;
mod fold;
mod gauges;
pub mod github;
pub mod json;
pub mod junit;
pub mod log;
mod names;
mod ops;
mod percentile;
pub mod phase;
pub mod recorder;
pub mod recovery;
pub mod report;
pub mod result;
pub mod review;
pub mod summary;
pub mod table;

pub use expect::{Check, Comparison, Judged, Threshold};
pub use phase::{Phase, Scope};
pub use recorder::{Config, Recorder, SharedRecorder};
pub use result::{RunResult, Verdict};
pub use review::Answer;
pub use summary::{Actual, Summary};
