//! The load of one host: a thread that asks for ops when the scenario says so and gives up on those that are late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use halfopen_core::event::{OpErrorKind, OpOutcome};
use halfopen_core::id::OpId;
use halfopen_core::{Event, HostId, SimDuration, SimTime, Stream};
use halfopen_interpose::{blocking, with_kernel};
use halfopen_scenario::plan::{Arrival, Extent, HostPlan, LoadPlan, PhasePlan, Plan, Spread};
use halfopen_scenario::value::Distribution;

use crate::mailbox::{Mailbox, Message};
use crate::op::{Op, OpError};
use crate::sample::sample;

/// Ops are numbered over the whole run, from 1. One run is one process.
static OPS: AtomicU64 = AtomicU64::new(0);

/// One phase of the load, as one host sees it.
#[derive(Clone, Debug)]
pub(crate) struct HostPhase {
    /// Its number in the scenario, from 0.
    pub(crate) index: u32,
    /// When it begins, where that does not depend on how fast clients are.
    pub(crate) start: Option<SimTime>,
    pub(crate) part: Part,
}

/// What a host does in a phase.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// Ops.
    Work(LoadPlan),
    /// Nothing, for this long.
    Idle(SimDuration),
    /// Nothing, until the hosts that have work are done with it.
    Await,
}

/// The phases of the load for one host.
pub(crate) fn phases_of(host: HostId, plan: &Plan) -> Vec<HostPhase> {
    let mut start = Some(SimTime::ZERO);
    let mut phases = Vec::new();
    for (index, phase) in plan.load.iter().enumerate() {
        let (part, span) = match phase {
            PhasePlan::Idle(span) => (Part::Idle(*span), Some(*span)),
            PhasePlan::Load(load) => {
                let span = span_of(load);
                let part = match span {
                    _ if load.hosts.contains(&host) => Part::Work(load.clone()),
                    Some(span) => Part::Idle(span),
                    None => Part::Await,
                };
                (part, span)
            }
        };
        phases.push(HostPhase { index: index as u32, start, part });
        start = start.zip(span).map(|(start, span)| start + span);
    }
    phases
}

/// How long a phase lasts; `None` where that depends on the clients, or on chance.
fn span_of(load: &LoadPlan) -> Option<SimDuration> {
    match (load.extent, load.arrival) {
        (Extent::For(span), _) => Some(span),
        (Extent::Count(count), Arrival::Rate { rate, spread: Spread::Uniform }) => Some(rate.offset(count)),
        (Extent::Count(_), _) => None,
    }
}

/// How far the whole run's load has come: a phase that lasts until its hosts are done with it ends for all at once.
///
/// Hosts wait on the kernel's board: locks and conditions of std work within one host only, as within one process. The
/// lock here is never waited for, since no thread that holds it gives way to another.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    state: Mutex<ProgressState>,
}

#[derive(Debug, Default)]
struct ProgressState {
    /// Hosts that have started at least once.
    known: BTreeSet<HostId>,
    begun: BTreeSet<u32>,
    /// By phase: the hosts that are done with it.
    done: BTreeMap<u32, BTreeSet<HostId>>,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, ProgressState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From when on this host has its share of the load: a host that was restarted has missed what came before. (One
    /// that was only paused has not, nor one that is late by what its own calls took.)
    fn join(&self, host: &HostPlan) -> SimTime {
        if self.lock().known.insert(host.id) { host.start_at } else { now() }
    }

    fn begin(&self, index: u32, op: Option<String>) {
        if self.lock().begun.insert(index) {
            with_kernel(|kernel| kernel.emit(Event::LoadPhase { index, op }));
        }
    }

    /// The host is done with the phase, as one of so many. The last one tells those that wait.
    fn finish(&self, index: u32, host: HostId, hosts: usize) {
        let mut state = self.lock();
        let done = state.done.entry(index).or_default();
        done.insert(host);
        let complete = done.len() >= hosts;
        drop(state);
        if complete {
            with_kernel(|kernel| kernel.post(&board_key(index), String::new()));
        }
    }

    /// Waits until so many hosts are done with the phase.
    fn wait(&self, index: u32, hosts: usize) {
        let key = board_key(index);
        let mut seen = 0;
        while self.lock().done.get(&index).map_or(0, BTreeSet::len) < hosts {
            seen = blocking(|kernel, call| kernel.board_wait(&key, seen, call)).map_or(seen, |(version, _)| version);
        }
    }
}

fn board_key(phase: u32) -> String {
    format!("load/{phase}")
}

/// An op and whether its outcome is written. The outcome that comes first counts.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) op: Op,
    host: HostId,
    finished: AtomicBool,
    ended: Arc<Ended>,
}

/// How many ops of this host have ended: what a closed loop waits for.
#[derive(Debug, Default)]
struct Ended {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Ticket {
    /// Writes the outcome, unless there is one already.
    pub(crate) fn finish(&self, outcome: OpOutcome) {
        if self.finished.swap(true, Ordering::Relaxed) {
            return;
        }
        let (host, op) = (self.host, self.op.id);
        with_kernel(|kernel| kernel.emit(Event::OpFinished { host, op, outcome }));
        *self.ended.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.ended.changed.notify_all();
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Relaxed)
    }
}

/// Turns what a workload returned into an outcome.
pub(crate) fn outcome<T>(result: Result<T, OpError>) -> OpOutcome {
    match result {
        Ok(_) => OpOutcome::Ok,
        Err(error) if error.silent => OpOutcome::FailedSilently,
        Err(error) => OpOutcome::Failed { kind: error.kind, message: error.message },
    }
}

/// The load's thread.
pub(crate) struct Loader {
    host: HostId,
    mailbox: Arc<Mailbox>,
    plan: Arc<Plan>,
    progress: Arc<Progress>,
    random: Stream,
    ended: Arc<Ended>,
    /// Arrivals before this instant are not this life's.
    joined: SimTime,
    /// Ops with a deadline, the earliest first; the number breaks ties.
    due: BTreeMap<(Instant, OpId), Arc<Ticket>>,
    began: u64,
}

impl Loader {
    pub(crate) fn new(host: HostId, mailbox: Arc<Mailbox>, plan: Arc<Plan>, progress: Arc<Progress>) -> Loader {
        let random = Stream::new(plan.seed, "arrivals", host.index() as u64);
        let joined = progress.join(plan.host(host));
        Loader { host, mailbox, plan, progress, random, ended: Arc::default(), joined, due: BTreeMap::new(), began: 0 }
    }

    /// Runs all phases, then waits for the last deadlines, then says that no more work will come.
    pub(crate) fn run(mut self) {
        let plan = Arc::clone(&self.plan);
        for phase in phases_of(self.host, &plan) {
            // A host that was restarted joins a phase where it stands.
            let start = phase.start.unwrap_or_else(now);
            self.wait_until(start);
            match phase.part {
                Part::Work(load) => {
                    self.progress.begin(phase.index, Some(load.op.clone()));
                    self.work(&load, start);
                    self.progress.finish(phase.index, self.host, load.hosts.len());
                    if span_of(&load).is_none() {
                        self.progress.wait(phase.index, load.hosts.len());
                    }
                }
                Part::Idle(span) => {
                    if let PhasePlan::Idle(_) = plan.load[phase.index as usize] {
                        self.progress.begin(phase.index, None);
                    }
                    self.wait_until(start + span);
                }
                Part::Await => self.progress.wait(phase.index, workers(&plan, phase.index)),
            }
        }
        self.mailbox.post(Message::End);
        while let Some((&(last, _), _)) = self.due.last_key_value() {
            self.wait_until_instant(last);
            self.expire();
        }
    }

    fn work(&mut self, load: &LoadPlan, start: SimTime) {
        let (end, count) = match load.extent {
            Extent::For(span) => (start + span, u64::MAX),
            Extent::Count(count) => (SimTime::FAR_FUTURE, count),
        };
        match load.arrival {
            Arrival::Concurrency(concurrency) => self.closed_loop(load, end, count, u64::from(concurrency)),
            Arrival::Rate { rate, spread: Spread::Uniform } => {
                self.open_loop(load, end, count, |_, n, _| start + rate.offset(n));
            }
            Arrival::Rate { rate, spread: Spread::Poisson } => {
                self.open_loop(load, end, count, |random, n, before| {
                    let mean = rate.offset(1);
                    let before = if n == 0 { start } else { before };
                    before + SimDuration::from(sample(Distribution::Exponential { mean }, random))
                });
            }
        }
        if end != SimTime::FAR_FUTURE {
            self.wait_until(end);
        }
    }

    /// Begins op after op at the instants that `arrival` gives (of the stream, its number, and the one before), however
    /// long each takes.
    fn open_loop(
        &mut self,
        load: &LoadPlan,
        end: SimTime,
        count: u64,
        arrival: impl Fn(&mut Stream, u64, SimTime) -> SimTime,
    ) {
        let mut at = SimTime::ZERO;
        for n in 0..count {
            at = arrival(&mut self.random, n, at);
            if at >= end {
                return;
            }
            if at >= self.joined {
                self.wait_until(at);
                self.begin(load);
            }
        }
    }

    fn closed_loop(&mut self, load: &LoadPlan, end: SimTime, count: u64, concurrency: u64) {
        let before = self.began;
        while now() < end && self.began - before < count {
            let ended = self.ended_count();
            if self.began - ended < concurrency {
                self.begin(load);
            } else {
                self.wait_for_an_end(ended, end);
            }
        }
        while count != u64::MAX && self.ended_count() < self.began {
            self.wait_for_an_end(self.ended_count(), SimTime::FAR_FUTURE);
        }
    }

    fn ended_count(&self) -> u64 {
        *self.ended.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until more ops than `ended` have ended, or until `limit`, giving up on late ops meanwhile.
    fn wait_for_an_end(&mut self, ended: u64, limit: SimTime) {
        self.expire();
        let due = self.due.first_key_value().map(|(&(due, _), _)| due);
        let limit = (limit != SimTime::FAR_FUTURE).then(|| instant(limit));
        let until = [due, limit].into_iter().flatten().min();
        let count = self.ended.count.lock().unwrap_or_else(PoisonError::into_inner);
        if *count != ended {
            return;
        }
        match until {
            Some(until) => {
                let span = until.saturating_duration_since(instant(now()));
                drop(self.ended.changed.wait_timeout(count, span));
            }
            None => drop(self.ended.changed.wait(count)),
        }
    }

    fn begin(&mut self, load: &LoadPlan) {
        let id = OpId(OPS.fetch_add(1, Ordering::Relaxed) + 1);
        let deadline = load.deadline;
        let op = Op { id, name: load.op.clone(), started: instant(now()), deadline: deadline.map(Duration::from) };
        let (host, name) = (self.host, load.op.clone());
        with_kernel(|kernel| kernel.emit(Event::OpStarted { host, op: id, name, deadline }));
        let deadline = op.deadline();
        let ticket = Arc::new(Ticket { op, host, finished: AtomicBool::new(false), ended: Arc::clone(&self.ended) });
        self.began += 1;
        if let Some(at) = deadline {
            self.due.insert((at, id), Arc::clone(&ticket));
        }
        self.mailbox.post(Message::Begin(ticket));
    }

    /// Gives up on every op whose deadline has come.
    fn expire(&mut self) {
        let now = instant(now());
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let ticket = entry.remove();
            if !ticket.is_finished() {
                ticket.finish(OpOutcome::Failed {
                    kind: OpErrorKind::Deadline,
                    message: format!("no answer within {:?}", ticket.op.deadline.unwrap_or_default()),
                });
                self.mailbox.post(Message::Expire(ticket));
            }
        }
    }

    fn wait_until(&mut self, at: SimTime) {
        self.wait_until_instant(instant(at));
    }

    /// Sleeps until `at`, waking for every deadline on the way.
    fn wait_until_instant(&mut self, at: Instant) {
        loop {
            self.expire();
            let now = instant(now());
            if now >= at {
                return;
            }
            let next = self.due.first_key_value().map_or(at, |(&(due, _), _)| due.min(at));
            #[expect(clippy::disallowed_methods, reason = "runs on a simulated thread: the sleep is virtual")]
            std::thread::sleep(next.saturating_duration_since(now));
        }
    }
}

fn now() -> SimTime {
    with_kernel(|kernel| kernel.now())
}

/// The reading of std's clock, on a simulated thread, at a virtual instant (which may lie ahead).
#[expect(clippy::disallowed_methods, reason = "runs on a simulated thread, where this clock is virtual")]
fn instant(at: SimTime) -> Instant {
    let (clock, now) = (Instant::now(), now());
    if at >= now { clock + Duration::from(at.since(now)) } else { clock - Duration::from(now.since(at)) }
}

/// How many hosts have work in this phase.
fn workers(plan: &Plan, index: u32) -> usize {
    match &plan.load[index as usize] {
        PhasePlan::Load(load) => load.hosts.len(),
        PhasePlan::Idle(_) => 0,
    }
}
