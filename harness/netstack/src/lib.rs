//! Inside a host: IP, ICMP, UDP and a TCP that times out, backs off and fails as Linux does.
//!
//! **Invariant:** nothing here names a file descriptor, a thread or a clock. Time comes in as an argument; a program's
//! calls come in as methods that never block; what a program would wait for is told by [`Readiness`].
#![forbid(unsafe_code)]

mod memory;
pub mod readiness;
pub mod socket;
pub mod stack;
pub mod sysctl;
pub mod tcp;

pub use readiness::Readiness;
pub use stack::Netstack;
pub use sysctl::Sysctls;
