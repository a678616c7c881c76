//! halfopen runs real, unmodified client code against a deterministic simulated network, breaks that network the way
//! production does, and says what the client did about it.
//!
//! Add it as a dev-dependency, write a scenario, and hand it your client:
//!
//! ```ignore
//! #[halfopen::test("scenarios/nat-idle-eviction.yaml", host = "app")]
//! async fn survives_nat_eviction(env: halfopen::Env) {
//!     let client = my_client::Client::new("http://api.internal");
//!     env.drive(|op| client.get(op.key())).await;
//! }
//! ```
//!
//! Nothing in the client may be changed for it: halfopen overrides the libc functions through which every program
//! reaches the kernel, and a virtual kernel answers.
#![forbid(unsafe_code)]

mod checks;
mod child;
pub mod cli;
mod condition;
mod dns;
mod env;
mod load;
mod logs;
mod lower;
mod mailbox;
pub mod nameserver;
mod op;
pub mod program;
mod run;
mod sample;
mod single;
mod testing;
mod zygote;

pub use condition::Condition;
pub use env::{Attempt, Env};
pub use halfopen_macros::{client, test};
pub use halfopen_record::Verdict;
pub use halfopen_scenario::registry::{Kind as RegistrationKind, OpSpec, Param, ParamKind, Registration};
pub use halfopen_scenario::value::Params;
pub use op::{Op, OpError, OpErrorKind};
pub use program::{Client, Program};
pub use run::Run;
pub use testing::Scenario;

/// The scenario in a file (which counts from the crate's own folder), for the test function in which this stands.
///
/// ```ignore
/// #[test]
/// fn jitter_keeps_the_storm_away() {
///     let runs = halfopen::scenario!("scenarios/storm.yaml").clients(my_clients()).run();
///     assert!(runs[0].metric("attempts.peak").unwrap() < 4.0);
/// }
/// ```
#[macro_export]
macro_rules! scenario {
    ($file:expr) => {{
        fn here() {}
        let name = ::std::any::type_name_of_val(&here);
        // Within a closure, or in an async test, the test is what is around it.
        let test = name.strip_suffix("::here").unwrap_or(name).split("::{{closure}}").next().unwrap_or(name);
        $crate::Scenario::new(test, ::core::env!("CARGO_MANIFEST_DIR"), $file)
    }};
}
