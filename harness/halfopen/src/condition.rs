//! What the timeline does to an upstream: read from the kernel's board, where the faults of the scenario are posted.

use halfopen_core::Ratio;
use halfopen_interpose::{blocking, with_kernel};
use halfopen_scenario::plan::{self, FaultKind, FaultPlan};
use halfopen_scenario::value::Distribution;

/// The state of an upstream's health as the scenario's faults have it now. Healthy by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Condition {
    /// `slow`: this share of requests takes this much longer.
    pub slow: Option<(Distribution, Ratio)>,
    /// `hang`: this share of requests is taken and never answered.
    pub hang: Ratio,
    /// `refuse`: connections are refused.
    pub refuse: bool,
    /// `error`: this share of requests is answered with this (HTTP) status at once.
    pub error: Option<(Ratio, u16)>,
    /// `capacity`: at most this many requests at once; `None` leaves what the upstream was set up with.
    pub capacity: Option<u32>,
}

/// The board's keys for the conditions of one host: one for each kind, which holds the number of the fault that is on,
/// or nothing; and one that changes with each of them.
pub(crate) fn key(host: &str, kind: &str) -> String {
    format!("condition/{host}/{kind}")
}

/// The key that changes whenever any condition does.
pub(crate) const CHANGED: &str = "changed";

/// The kind of a condition, as in the scenario language.
pub(crate) fn kind(condition: &plan::Condition) -> &'static str {
    match condition {
        plan::Condition::Slow { .. } => "slow",
        plan::Condition::Refuse => "refuse",
        plan::Condition::Hang { .. } => "hang",
        plan::Condition::Error { .. } => "error",
        plan::Condition::Capacity { .. } => "capacity",
    }
}

const KINDS: [&str; 5] = ["slow", "refuse", "hang", "error", "capacity"];

impl Condition {
    pub(crate) fn read(host: &str, faults: &[FaultPlan]) -> Condition {
        let mut condition = Condition::default();
        for kind in KINDS {
            let posted = with_kernel(|kernel| kernel.board(&key(host, kind)).1);
            let fault = posted.and_then(|number| number.parse::<usize>().ok()).and_then(|number| faults.get(number));
            let Some(FaultKind::Upstream { condition: on, .. }) = fault.map(|fault| &fault.kind) else { continue };
            match *on {
                plan::Condition::Slow { by, share } => condition.slow = Some((by, share)),
                plan::Condition::Refuse => condition.refuse = true,
                plan::Condition::Hang { share } => condition.hang = share,
                plan::Condition::Error { share, status } => condition.error = Some((share, status)),
                plan::Condition::Capacity { workers } => condition.capacity = Some(workers),
            }
        }
        condition
    }

    pub(crate) fn wait(host: &str, seen: u64) -> u64 {
        let key = key(host, CHANGED);
        blocking(|kernel, call| kernel.board_wait(&key, seen, call)).map_or(seen, |(version, _)| version)
    }
}
