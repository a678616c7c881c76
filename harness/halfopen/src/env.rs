//! What a workload knows of its world: its parameters, the ops it is asked for, and a line each to tell what only it
//! can know.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::{FuturesUnordered, StreamExt};
use halfopen_core::id::OpId;
use halfopen_core::{Event, HostId, Ratio, Stream};
use halfopen_interpose::with_kernel;
use halfopen_scenario::plan::{HostPlan, Plan};
use halfopen_scenario::value::{Distribution, Params};

use crate::condition::Condition;
use crate::load::{Ticket, outcome};
use crate::mailbox::{Mailbox, Message};
use crate::op::{Op, OpError};
use crate::sample::sample;

/// Attempts are numbered over the whole run. One run is one process.
static ATTEMPTS: AtomicU64 = AtomicU64::new(0);

/// The world of one program on one host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Env {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    host: HostId,
    name: String,
    params: Params,
    mailbox: Arc<Mailbox>,
    gauges: Mutex<BTreeMap<Cow<'static, str>, i64>>,
    samples: Mutex<Stream>,
    plan: Arc<Plan>,
}

impl Env {
    pub(crate) fn new(host: &HostPlan, plan: Arc<Plan>, mailbox: Arc<Mailbox>) -> Env {
        let samples = Mutex::new(Stream::new(plan.seed, "samples", host.id.index() as u64));
        let (name, params) = (host.name.clone(), host.params.clone());
        Env { inner: Arc::new(Inner { host: host.id, name, params, mailbox, gauges: Mutex::default(), samples, plan }) }
    }

    /// The host's name in the scenario: `app`, or `app-3` where there are several.
    pub fn host(&self) -> &str {
        &self.inner.name
    }

    /// The parameters from the scenario's `with:`, defaults filled in.
    pub fn params(&self) -> &Params {
        &self.inner.params
    }

    /// Runs every op that the load asks for through `work`, as many at once as there are, until the load is over and
    /// the last op has ended. An op whose deadline passes is dropped.
    ///
    /// Works on any async runtime: it spawns nothing and sleeps on nothing of its own.
    pub async fn drive<T, E, W, F>(&self, mut work: W)
    where
        W: FnMut(Op) -> F,
        F: Future<Output = Result<T, E>>,
        E: Into<OpError>,
    {
        let mut running = FuturesUnordered::new();
        let mut handles: BTreeMap<OpId, AbortHandle> = BTreeMap::new();
        let listener = self.inner.mailbox.listener();
        let mut ended = false;
        while !(ended && running.is_empty()) {
            let turn = poll_fn(|context| {
                if let Poll::Ready(message) = self.inner.mailbox.poll_recv(listener, context) {
                    return Poll::Ready(Turn::Message(message));
                }
                match running.poll_next_unpin(context) {
                    Poll::Ready(Some(id)) => Poll::Ready(Turn::Ended(id)),
                    Poll::Ready(None) | Poll::Pending => Poll::Pending,
                }
            });
            match turn.await {
                Turn::Message(Message::Begin(ticket)) => {
                    let (handle, registration) = AbortHandle::new_pair();
                    let id = ticket.op.id;
                    handles.insert(id, handle);
                    let job = Abortable::new(work(ticket.op.clone()), registration);
                    running.push(async move {
                        if let Ok(result) = job.await {
                            ticket.finish(outcome(result.map_err(Into::into)));
                        }
                        id
                    });
                }
                Turn::Message(Message::Expire(ticket)) => {
                    if let Some(handle) = handles.remove(&ticket.op.id) {
                        handle.abort();
                    }
                }
                Turn::Message(Message::End) => ended = true,
                Turn::Ended(id) => drop(handles.remove(&id)),
            }
        }
    }

    /// Runs every op that the load asks for through `work` on `threads` threads, until the load is over and the last
    /// op has ended. An op whose deadline passes counts as failed, but a blocking call cannot be taken back: its
    /// thread stays busy.
    pub fn drive_blocking<T, E, W>(&self, threads: usize, work: W)
    where
        W: Fn(Op) -> Result<T, E> + Sync,
        E: Into<OpError>,
    {
        let run = || {
            loop {
                match self.inner.mailbox.recv() {
                    Message::Begin(ticket) if ticket.is_finished() => {}
                    Message::Begin(ticket) => run_blocking(&ticket, &work),
                    Message::Expire(_) => {}
                    Message::End => return,
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(run);
            }
        });
    }

    /// Tells the value of a gauge: `pool.in_use`, `pool.idle`, `pool.waiting`, `pool.size`, `breaker.open`,
    /// `transfer.progress` (percent). Told only when it changes.
    pub fn gauge(&self, name: impl Into<Cow<'static, str>>, value: i64) {
        let name = name.into();
        let mut gauges = self.inner.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        if gauges.insert(name.clone(), value) != Some(value) {
            let host = self.inner.host;
            with_kernel(|kernel| kernel.emit(Event::Gauge { host, name, value }));
        }
    }

    /// Changes a gauge by so much; it starts at 0.
    pub fn gauge_add(&self, name: impl Into<Cow<'static, str>>, by: i64) {
        let name = name.into();
        let mut gauges = self.inner.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        let value = gauges.entry(name.clone()).or_insert(0);
        *value += by;
        let (host, value) = (self.inner.host, *value);
        with_kernel(|kernel| kernel.emit(Event::Gauge { host, name, value }));
    }

    /// Tells that somebody waited this long for a pool.
    pub fn pool_wait(&self, waited: Duration) {
        let (host, waited) = (self.inner.host, waited.into());
        with_kernel(|kernel| kernel.emit(Event::PoolWait { host, waited }));
    }

    /// For upstreams: a request arrived, which serves this op if it says so. Finished when the value is: as failed,
    /// unless [`Attempt::succeed`] was called.
    pub fn attempt(&self, op: Option<u64>) -> Attempt {
        let number = ATTEMPTS.fetch_add(1, Ordering::Relaxed) + 1;
        let host = self.inner.host;
        with_kernel(|kernel| kernel.emit(Event::AttemptStarted { host, attempt: number, op: op.map(OpId) }));
        Attempt { host, number, ok: false }
    }

    /// For upstreams: the work of this op is done (stored, committed). Twice for one op is a duplicate.
    pub fn effect(&self, op: u64) {
        let host = self.inner.host;
        with_kernel(|kernel| kernel.emit(Event::Effect { host, op: OpId(op) }));
    }

    /// For upstreams: what the timeline does to them now (`slow`, `hang`, `refuse`, `error`, `capacity`).
    pub fn condition(&self) -> Condition {
        Condition::read(&self.inner.name, &self.inner.plan.faults)
    }

    /// For upstreams: waits until the condition has changed since version `seen` (0: never seen); says the new
    /// version. Blocks its thread.
    pub fn wait_condition(&self, seen: u64) -> u64 {
        Condition::wait(&self.inner.name, seen)
    }

    /// Draws how long something takes, from this host's own stream of the scenario's seed.
    pub fn sample(&self, distribution: Distribution) -> Duration {
        let mut samples = self.inner.samples.lock().unwrap_or_else(PoisonError::into_inner);
        sample(distribution, &mut samples)
    }

    /// Draws whether something of this share happens, from this host's own stream of the scenario's seed.
    pub fn chance(&self, share: Ratio) -> bool {
        self.inner.samples.lock().unwrap_or_else(PoisonError::into_inner).chance(share)
    }
}

enum Turn {
    Message(Message),
    Ended(OpId),
}

fn run_blocking<T, E: Into<OpError>>(ticket: &Ticket, work: impl Fn(Op) -> Result<T, E>) {
    let result = work(ticket.op.clone());
    ticket.finish(outcome(result.map_err(Into::into)));
}

/// A request at an upstream.
#[derive(Debug)]
pub struct Attempt {
    host: HostId,
    number: u64,
    ok: bool,
}

impl Attempt {
    /// The request was answered with success.
    pub fn succeed(mut self) {
        self.ok = true;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let (host, attempt, ok) = (self.host, self.number, self.ok);
        with_kernel(|kernel| kernel.emit(Event::AttemptFinished { host, attempt, ok }));
    }
}
