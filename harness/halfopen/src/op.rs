//! Ops: the pieces of work that the load asks a client for, and how they end.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use halfopen_core::id::OpId;

pub use halfopen_core::event::OpErrorKind;

/// One piece of work that the load asks for.
#[derive(Clone, Debug)]
pub struct Op {
    pub(crate) id: OpId,
    pub(crate) name: String,
    pub(crate) started: Instant,
    pub(crate) deadline: Option<Duration>,
}

impl Op {
    /// Its number in the run, from 1. Upstreams tell by it which work they did (`x-op-id` over HTTP).
    pub fn id(&self) -> u64 {
        self.id.0
    }

    /// The name in the scenario: `op: query`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A key that is the same for every attempt at this op, as idempotency keys are.
    pub fn key(&self) -> String {
        format!("op-{}", self.id.0)
    }

    /// When the load asked for it.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// When whoever asked will have given up, if the scenario says so (`deadline: 2s`).
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.map(|span| self.started + span)
    }

    /// How much of the deadline is left; zero once it has passed.
    #[expect(clippy::disallowed_methods, reason = "runs on a simulated thread, where this clock is virtual")]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline().map(|at| at.saturating_duration_since(Instant::now()))
    }
}

/// Why an op failed: a kind, told apart always, and a message.
///
/// Every standard error turns into one by its chain of sources, so `?` works in a workload. A workload that knows
/// better says so with [`OpError::new`].
#[derive(Clone, Debug)]
pub struct OpError {
    pub(crate) kind: OpErrorKind,
    pub(crate) message: String,
    pub(crate) silent: bool,
}

impl OpError {
    /// A failure of this kind.
    pub fn new(kind: OpErrorKind, message: impl fmt::Display) -> OpError {
        OpError { kind, message: message.to_string(), silent: false }
    }

    /// A failure that the program told nobody about: an upload script that dies before it writes its log line.
    pub fn silent(message: impl fmt::Display) -> OpError {
        OpError { kind: OpErrorKind::Other, message: message.to_string(), silent: true }
    }

    /// Its kind.
    pub fn kind(&self) -> OpErrorKind {
        self.kind
    }

    /// The same failure under another kind, for a workload that knows more than the error says.
    #[must_use]
    pub fn with_kind(mut self, kind: OpErrorKind) -> OpError {
        self.kind = kind;
        self
    }
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.message)
    }
}

impl<E: Error + 'static> From<E> for OpError {
    fn from(error: E) -> OpError {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Many errors already end with their source's text.
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        OpError { kind: classify(&error, &message), message, silent: false }
    }
}

/// The kind of an error by the deepest `io::Error` of its chain, else by what it says.
fn classify(error: &(dyn Error + 'static), message: &str) -> OpErrorKind {
    let lower = message.to_lowercase();
    let connecting = lower.contains("connect");
    if lower.contains("dns error") || lower.contains("failed to lookup address") {
        return OpErrorKind::Dns;
    }
    let mut deepest = None;
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            deepest = Some(io.kind());
            // An `io::Error` hides the error it wraps from `source` of its wrapper.
            next = io.get_ref().map(|inner| inner as &(dyn Error + 'static));
            continue;
        }
        next = cause.source();
    }
    match deepest {
        Some(io::ErrorKind::ConnectionRefused) => OpErrorKind::Refused,
        Some(
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof,
        ) => OpErrorKind::Reset,
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => OpErrorKind::Unreachable,
        Some(io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) if connecting => OpErrorKind::ConnectTimeout,
        Some(io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => OpErrorKind::ReadTimeout,
        Some(io::ErrorKind::InvalidData) => OpErrorKind::Protocol,
        _ if lower.contains("deadline has elapsed") => OpErrorKind::Deadline,
        _ if (lower.contains("timed out") || lower.contains("timeout")) && connecting => OpErrorKind::ConnectTimeout,
        _ if lower.contains("timed out") || lower.contains("timeout") => OpErrorKind::ReadTimeout,
        _ if lower.contains("connection closed") || lower.contains("connection reset") => OpErrorKind::Reset,
        _ => OpErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(io::Error);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("error trying to connect")
        }
    }
    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn errors_are_told_apart_by_their_deepest_cause() {
        let io = |kind| io::Error::new(kind, "x");
        for (error, kind) in [
            (OpError::from(Outer(io(io::ErrorKind::TimedOut))), OpErrorKind::ConnectTimeout),
            (OpError::from(Outer(io(io::ErrorKind::ConnectionRefused))), OpErrorKind::Refused),
            (OpError::from(io(io::ErrorKind::TimedOut)), OpErrorKind::ReadTimeout),
            (OpError::from(io::Error::other(io(io::ErrorKind::ConnectionReset))), OpErrorKind::Reset),
            (OpError::from(io(io::ErrorKind::HostUnreachable)), OpErrorKind::Unreachable),
            (OpError::from(io::Error::other("dns error: no record")), OpErrorKind::Dns),
            (OpError::from(io::Error::other("well")), OpErrorKind::Other),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
        }
    }

    #[test]
    fn the_message_names_every_cause_once() {
        let error =
            OpError::from(Outer(io::Error::new(io::ErrorKind::TimedOut, "Connection timed out (os error 110)")));
        assert_eq!(error.message, "error trying to connect: Connection timed out (os error 110)");
    }
}
