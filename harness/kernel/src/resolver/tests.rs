//! Name resolution in virtual time against scripted name servers. The tables are what glibc 2.36 was measured to do,
//! query by query.

mod fake;
mod glibc;
mod hints;
mod stub_cache;

use halfopen_core::{SimDuration, SimTime};

use super::numbers::*;
use super::*;
use crate::StubCache;
use fake::{FakeSystem, Reaction, Server};

fn secs(n: u64) -> SimDuration {
    SimDuration::from_secs(n)
}

fn at(seconds: u64) -> SimTime {
    SimTime::ZERO + secs(seconds)
}

fn stream_query(host: &str, family: i32) -> Query<'_> {
    Query { host: Some(host), service: None, flags: 0, family, socktype: SOCK_STREAM, protocol: 0 }
}

/// `93.184.215.14 2001:db8::1`, or the name of the error.
fn show(result: &Result<Vec<AddrInfo>, GaiError>) -> String {
    match result {
        Ok(entries) => entries.iter().map(|entry| entry.address.ip().to_string()).collect::<Vec<_>>().join(" "),
        Err(error) => error.name().to_owned(),
    }
}
