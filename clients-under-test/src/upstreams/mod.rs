//! The servers that clients talk to: ordinary programs, too.

pub mod http;
pub mod relay;
pub mod store;
