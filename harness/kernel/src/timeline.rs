//! The one queue of everything that is due at some instant, ordered by (time, sequence); and what the scenario's
//! timeline does.

use std::collections::BTreeMap;

use halfopen_core::event::{EndReason, OpOutcome};
use halfopen_core::id::{FaultId, Tid};
use halfopen_core::{Event, HostId, SimDuration, SimTime};
use halfopen_fabric::fault::NetFault;

use crate::Kernel;
use crate::file::FileId;

/// Something that the timeline does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Only tells the log (FaultStarted, FaultEnded, LoadPhase, ...).
    Tell(Event),
    /// A fault of the network begins.
    ApplyNetFault(FaultId, NetFault),
    /// A fault of the network ends.
    LiftNetFault(FaultId),
    /// A host's main begins to run.
    StartHost(HostId),
    /// A host stops.
    Crash {
        /// Which.
        host: HostId,
        /// Power loss: the kernel forgets, and sends nothing. Otherwise the process is killed and its kernel closes
        /// its sockets.
        power_loss: bool,
    },
    /// A host's main begins anew; a host that still runs is killed first.
    Restart(HostId),
    /// A host's threads are not scheduled from now on; its kernel works on.
    Pause(HostId),
    /// A paused host's threads are scheduled again.
    Resume(HostId),
    /// Sets the wall clock of a host off by so much more.
    ShiftClock {
        /// Which.
        host: HostId,
        /// Nanoseconds; negative sets it back.
        by_nanos: i64,
    },
    /// RST into the established flows of `host` (with `remote`, if given).
    ResetFlows {
        /// The host whose flows they are.
        host: HostId,
        /// Only those to this host.
        remote: Option<HostId>,
    },
    /// Puts a value on the board, which the programs of halfopen itself (upstreams, the DNS server) read.
    Post {
        /// The entry's name.
        key: String,
        /// Its new value.
        value: String,
    },
    /// Ends the run.
    End(EndReason),
}

/// Steps that wait for a counter instead of a time. Each trigger fires once.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// `ops.started`, `ops.ok`, `ops.failed`, `attempts.started`, or a gauge's name (its latest value, of any host).
    pub counter: String,
    /// It fires when the counter reaches this.
    pub at_least: i64,
    /// Each step and how long after the trigger.
    pub steps: Vec<(SimDuration, Step)>,
}

/// What is due.
#[derive(Debug)]
pub(crate) enum Due {
    /// The deadline of a thread's wait.
    Thread(Tid),
    TimerFd(FileId),
    Step(Box<Step>),
    Netstack(HostId),
    /// The fabric's next deadline; see [`Timeline::rearm_fabric`].
    Fabric,
}

/// Names an entry of the timeline until it is due or cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TimerId {
    pub(crate) at: SimTime,
    turn: Turn,
    sequence: u64,
}

/// Who comes first of what is due at one instant. Timers of the stacks come last: Linux's timer wheel fires them at the
/// instant that was asked for or a little later, never before, so a packet that comes at that instant comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Turn {
    First,
    Last,
}

impl Due {
    const fn turn(&self) -> Turn {
        match self {
            Due::Netstack(_) => Turn::Last,
            Due::Thread(_) | Due::TimerFd(_) | Due::Step(_) | Due::Fabric => Turn::First,
        }
    }
}

/// Everything that is due, in order. Cancelled entries leave at once: nothing here grows with calls that came and went.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    entries: BTreeMap<(SimTime, Turn, u64), Due>,
    /// The one entry of the fabric, which moves with every packet: when, and its number.
    fabric: Option<(SimTime, u64)>,
    sequence: u64,
}

impl Timeline {
    pub(crate) fn add(&mut self, at: SimTime, due: Due) -> TimerId {
        self.sequence += 1;
        let turn = due.turn();
        self.entries.insert((at, turn, self.sequence), due);
        TimerId { at, turn, sequence: self.sequence }
    }

    pub(crate) fn cancel(&mut self, timer: TimerId) {
        let removed = self.entries.remove(&(timer.at, timer.turn, timer.sequence));
        assert!(removed.is_some(), "a timer was cancelled twice");
    }

    pub(crate) fn next_at(&self) -> Option<SimTime> {
        let entry = self.entries.first_key_value().map(|((at, ..), _)| *at);
        match (entry, self.fabric) {
            (Some(entry), Some((fabric, _))) => Some(entry.min(fabric)),
            (entry, fabric) => entry.or(fabric.map(|(at, _)| at)),
        }
    }

    /// The first of the stacks, if nothing but stacks is due next.
    pub(crate) fn first_stack(&self) -> Option<HostId> {
        let (&(at, ..), due) = self.entries.first_key_value()?;
        match due {
            Due::Netstack(host) if self.fabric.is_none_or(|(fabric, _)| at < fabric) => Some(*host),
            _ => None,
        }
    }

    /// The next entry if it is due at `now`.
    pub(crate) fn pop_due(&mut self, now: SimTime) -> Option<Due> {
        let entry = self.entries.first_key_value().map(|(&place, _)| place);
        if let Some((at, number)) = self.fabric
            && at <= now
            && entry.is_none_or(|entry| (at, Due::Fabric.turn(), number) < entry)
        {
            self.fabric = None;
            return Some(Due::Fabric);
        }
        if entry?.0 > now {
            return None;
        }
        self.entries.pop_first().map(|(_, due)| due)
    }

    /// Moves the fabric's entry to `deadline`. It keeps its place where nothing changed.
    pub(crate) fn rearm_fabric(&mut self, deadline: Option<SimTime>) {
        if self.fabric.map(|(at, _)| at) != deadline {
            self.sequence += 1;
            self.fabric = deadline.map(|at| (at, self.sequence));
        }
    }

    /// Moves `timer` so that it stands for `deadline`, keeping its place where nothing changed.
    pub(crate) fn rearm(&mut self, timer: &mut Option<TimerId>, deadline: Option<SimTime>, due: impl FnOnce() -> Due) {
        if timer.map(|timer| timer.at) == deadline {
            return;
        }
        if let Some(old) = timer.take() {
            self.cancel(old);
        }
        *timer = deadline.map(|at| self.add(at, due()));
    }
}

/// The counters that triggers wait for, and the triggers that have not fired.
#[derive(Debug, Default)]
pub(crate) struct Triggers {
    counters: BTreeMap<&'static str, i64>,
    waiting: BTreeMap<String, Vec<Trigger>>,
}

impl Triggers {
    /// Which counter an event moves, and its value from now on.
    fn value_after<'a>(&mut self, event: &'a Event) -> Option<(&'a str, i64)> {
        let name = match event {
            Event::OpStarted { .. } => "ops.started",
            Event::OpFinished { outcome: OpOutcome::Ok, .. } => "ops.ok",
            Event::OpFinished { .. } => "ops.failed",
            Event::AttemptStarted { .. } => "attempts.started",
            Event::Gauge { name, value, .. } => return Some((name, *value)),
            _ => return None,
        };
        let counter = self.counters.entry(name).or_insert(0);
        *counter += 1;
        Some((name, *counter))
    }

    /// Counts an event; the triggers that it sets off, in the order in which they were added.
    fn count(&mut self, event: &Event) -> Vec<Trigger> {
        let Some((name, value)) = self.value_after(event) else { return Vec::new() };
        let Some(waiting) = self.waiting.get_mut(name) else { return Vec::new() };
        waiting.extract_if(.., |trigger| trigger.at_least <= value).collect()
    }
}

impl Kernel {
    /// Adds a step of the timeline. Steps of one instant are done in the order in which they were added.
    pub fn add_step(&mut self, at: SimTime, step: Step) {
        self.timeline.add(at.max(self.now), Due::Step(Box::new(step)));
    }

    /// Adds steps that wait for a counter.
    pub fn add_trigger(&mut self, trigger: Trigger) {
        self.triggers.waiting.entry(trigger.counter.clone()).or_default().push(trigger);
    }

    /// Stamps an event with virtual time, sets off the triggers that wait for it, and hands it to the sink.
    pub fn emit(&mut self, event: Event) {
        self.tell(&event);
        for trigger in self.triggers.count(&event) {
            for (after, step) in trigger.steps {
                self.add_step(self.now + after, step);
            }
        }
    }

    /// Hands an event that no trigger can wait for to the sink.
    pub(crate) fn tell(&mut self, event: &Event) {
        self.told = true;
        self.sink.event(self.now, event);
    }

    pub(crate) fn do_step(&mut self, step: Step) {
        match step {
            Step::Tell(event) => self.emit(event),
            Step::ApplyNetFault(id, fault) => {
                self.fabric.apply(self.now, id, &fault);
                self.fabric_touched = true;
            }
            Step::LiftNetFault(id) => {
                self.fabric.lift(self.now, id);
                self.fabric_touched = true;
            }
            Step::StartHost(host) => self.start_host(host, false),
            Step::Crash { host, power_loss } => self.crash_host(host, power_loss),
            Step::Restart(host) => self.restart_host(host),
            Step::Pause(host) => self.pause_host(host),
            Step::Resume(host) => self.resume_host(host),
            Step::ShiftClock { host, by_nanos } => self.shift_clock(host, by_nanos),
            Step::ResetFlows { host, remote } => self.reset_flows(host, remote),
            Step::Post { key, value } => self.post(&key, value),
            Step::End(reason) => self.end(reason),
        }
    }
}
