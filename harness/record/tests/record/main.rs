//! The record over its public interface: events written as text go in, figures and outputs come out.

mod events;
mod figures;
mod fixture;
mod identity;
mod laws;
mod outputs;
mod reviews;
mod verdicts;
