//! Counts the instructions of an operation, and compares the counts with those on record.
//!
//! Time on a shared machine says little about a change of some per cent; the number of instructions says it at the
//! first run, for it is the same every time. `cargo bench -p halfopen-instructions` counts every operation in
//! `benches/instructions` and compares with `counts.txt`. How counting works, and why so: `docs/decisions/011`.
//!
//! Suggested reading order: [`count`] (one operation in a process of its own, step by step), [`table`] (what is said
//! about the counts), then the operations.
#![forbid(unsafe_code)]

pub mod count;
pub mod table;
