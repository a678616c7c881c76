//! What every room shares: virtual time, identities, seeded random streams, Linux error numbers and
//! the vocabulary of the event log.
//!
//! Suggested reading order: [`time`], [`id`], [`random`], [`errno`], [`event`], [`metric`], [`index`], [`slots`],
//! [`resolver`].
//!
//! **Invariant:** nothing here reads a clock, a file or the environment, and nothing here knows what a
//! packet, a socket or a scenario file looks like inside.
#![forbid(unsafe_code)]

pub mod errno;

pub mod event;
pub mod id;
pub mod index;

pub mod metric;
pub mod random;
pub mod resolver;
pub mod slots;
pub mod time;

pub use errno::Errno;

pub use event::{Event, EventSink};
pub use id::HostId;
pub use index::Index;
pub use random::{Ratio, Stream};
pub use resolver::{ResolverConfig, StubCache};
pub use slots::Slots;
pub use time::{SimDuration, SimTime};
