//! Being on time, and knowing how late one was.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use halfopen_core::{SimDuration, SimTime};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// Above every thread without a real-time priority, below the kernel's own (sched(7)).
const PRIORITY: u8 = 10;

/// How often the machine is asked for a moment on the processor.
const BEAT: Duration = Duration::from_millis(2);

/// Puts the calling thread, and those that it will start, before all ordinary threads of the machine. Without the
/// privilege for that, all stays as it is: whoever is late is told so.
pub(crate) fn hurry() {
    let priority = ThreadPriorityValue::try_from(PRIORITY).expect("a priority that there is");
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(priority), policy);
}

/// By how much a run was late at worst.
#[derive(Clone, Default)]
pub(crate) struct Late(Arc<AtomicU64>);

impl Late {
    /// What was due then, if anything, is done now.
    pub(crate) fn note(&self, due: Option<SimTime>, now: SimTime) {
        if let Some(due) = due {
            self.0.fetch_max(now.as_nanos().saturating_sub(due.as_nanos()), Ordering::Relaxed);
        }
    }

    /// The worst so far.
    pub(crate) fn worst(&self) -> SimDuration {
        SimDuration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    /// Starts a thread that notes when the machine does not let it run. It sees what nobody else notes: that the
    /// processor was taken away while the kernel had something to do.
    pub(crate) fn watch_machine(&self) {
        let late = self.clone();
        std::thread::spawn(move || {
            loop {
                let asleep = Instant::now();
                std::thread::sleep(BEAT);
                let over = asleep.elapsed().saturating_sub(BEAT);
                late.0.fetch_max(u64::try_from(over.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
    }
}
