//! The same small script of socket calls on the real kernel and on halfopen's, and where they differ.
//!
//! Suggested reading order: [`case`](mod@case) (what a case is, and how it is written), [`script`] (the one interpreter
//! of socket calls; [`sockopt`]: what it sets), [`world`] (the two sides on which it runs), [`trace`] (what is recorded), [`compare`] (where two
//! traces differ), [`page`] (docs/fidelity.md).
#![forbid(unsafe_code)]
// This suite lives in real time too; no run reads what it reads.
#![allow(clippy::disallowed_methods)]

pub mod case;
pub mod compare;
pub mod page;
pub mod script;
pub mod sockopt;
pub mod trace;
pub mod world;
