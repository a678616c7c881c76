//! Real clients and the servers that they talk to, as workloads for scenarios.
//!
//! **Invariant:** not one line here knows that the network is simulated. Clients and servers are built from published
//! crates as anybody would build them; all they tell are ops, gauges, attempts and effects.
#![forbid(unsafe_code)]

pub mod http;
pub mod transfer;
pub mod upstreams;

/// Every client and upstream here, for the command line and for tests.
pub fn all() -> Vec<halfopen::Client> {
    vec![
        http::reqwest::client(),
        http::ureq::client(),
        transfer::upload(),
        upstreams::http::server(),
        upstreams::relay::relay(),
        upstreams::store::store(),
    ]
}
