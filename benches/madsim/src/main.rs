//! The workloads on madsim: its own tokio, messages instead of segments, and no time that is not waited for.
//!
//! madsim needs a build of its own, with `--cfg madsim`; without it there is nothing here.

#[cfg(madsim)]
mod net {
    //! What the workloads take from the network.

    pub use tokio::net::{TcpListener, TcpStream};
    pub use tokio::time::{Instant, sleep};

    /// Runs a future on its own.
    pub fn spawn(future: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(future);
    }
}
#[cfg(madsim)]
mod simulation;
#[cfg(madsim)]
#[allow(clippy::disallowed_methods, reason = "madsim's clock is std's, which it makes virtual")]
#[path = "../../workloads/mod.rs"]
mod workloads;

fn main() {
    #[cfg(madsim)]
    simulation::main();
    #[cfg(not(madsim))]
    eprintln!("bench-madsim was built without `--cfg madsim`");
}
