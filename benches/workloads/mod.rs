//! The workloads: one source for every peer, included by each binary.
//!
//! The including crate has a module `net` with the five names that differ between simulators: `TcpListener`, `TcpStream`,
//! `spawn`, `sleep` and `Instant`. On halfopen and on real loopback they are tokio's own.

mod bulk;
mod churn;
mod echo;
mod http;
mod idle;
mod scale;

use std::time::Duration;

use crate::net::Instant;

/// Where every server listens.
pub const PORT: u16 = 9000;

/// What a client does, and with it what its server does.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// W1: so many request-response pairs over one connection.
    Echo { requests: u64 },
    /// W2: so many HTTP requests over one connection.
    Http { requests: u64 },
    /// W3: one request-response pair, a silence, and another.
    Idle { gap: Duration },
    /// W4: so many bytes one way, in writes of `chunk` bytes.
    Bulk { bytes: u64, chunk: usize },
    /// W5: so many connections, one after another.
    Churn { connections: u64 },
    /// W6: one request-response pair a second, so often.
    Scale { beats: u64 },
}

impl Work {
    /// The work of this name, with the figures that `figure` knows by theirs: `requests`, `gap_s`, `mib`, `chunk`.
    /// `None` if there is no such work.
    pub fn named(name: &str, figure: impl Fn(&str) -> u64) -> Option<Work> {
        let requests = || figure("requests");
        Some(match name {
            "echo" => Work::Echo { requests: requests() },
            "http" => Work::Http { requests: requests() },
            "idle" => Work::Idle { gap: Duration::from_secs(figure("gap_s")) },
            "bulk" => Work::Bulk { bytes: figure("mib") << 20, chunk: figure("chunk") as usize },
            "churn" => Work::Churn { connections: requests() },
            "scale" => Work::Scale { beats: requests() },
            _ => return None,
        })
    }
}

/// The server for this work. Does not return.
pub async fn server(work: Work) {
    match work {
        Work::Echo { .. } | Work::Idle { .. } | Work::Scale { .. } => echo::server(PORT).await,
        Work::Http { .. } => http::server(PORT).await,
        Work::Bulk { .. } => bulk::server(PORT).await,
        Work::Churn { .. } => churn::server(PORT).await,
    }
}

/// Does the work at the server with this address; says how long that took by the client's clock.
pub async fn client(work: Work, server: &str) -> Duration {
    let began = Instant::now();
    match work {
        Work::Echo { requests } => echo::client(server, requests).await,
        Work::Http { requests } => http::client(server, requests).await,
        Work::Idle { gap } => idle::client(server, gap).await,
        Work::Bulk { bytes, chunk } => bulk::client(server, bytes, chunk).await,
        Work::Churn { connections } => churn::client(server, connections).await,
        Work::Scale { beats } => scale::client(server, beats).await,
    }
    began.elapsed()
}

/// A host that listens and is never called. Does not return.
pub async fn idle_host() {
    idle::host(PORT).await;
}
