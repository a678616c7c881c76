//! Threads: who runs, who is ready, who waits for what; and the loop that moves time.
//!
//! A thread waits on a set of keys, a deadline, or both; a wake removes it from all of them. Threads that wait on one
//! key are woken in the order in which they began to wait.

use std::collections::VecDeque;
use std::task::Poll;

use halfopen_core::event::EndReason;
use halfopen_core::id::Tid;
use halfopen_core::{Errno, Event, HostId, Index, SimTime, Stream};
use halfopen_netstack::socket::SocketId;

use crate::config::Scheduling;
use crate::fd::Fd;
use crate::file::FileId;
use crate::timeline::{Due, TimerId};
use crate::{Call, Kernel, Outcome};

/// Scheduling decisions and deadlines within one instant of virtual time: more are a livelock.
pub const STEPS_PER_INSTANT_MAX: u64 = 10_000_000;

/// What the front end must do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// Give the baton to this thread.
    Run(Tid),
    /// Make a thread that runs this host's main (a start or a restart), register it with
    /// [`Kernel::register_thread`], and ask again.
    StartMain(HostId),
    /// The run is over; nothing runs any more.
    Finished,
}

/// Something that a thread can be woken by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum WaitKey {
    /// A change of an open file description's readiness.
    File(FileId),
    /// A futex.
    Futex(usize),
    /// The end of a thread.
    Join(Tid),
    /// An entry of the board.
    Board(usize),
    /// The end of a closed socket's business.
    Linger(HostId, SocketId),
    /// The wall clock of a host was set.
    ClockSet(HostId),
}

/// What a thread waits for, as a deadlock report tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WaitFor {
    Sleep,
    /// A little while, since it polls.
    Creep,
    Futex(usize),
    Join(Tid),
    Board(usize),
    Read(Fd),
    Write(Fd),
    Recv(Fd),
    Send(Fd),
    Accept(Fd),
    Connect(Fd),
    Close(Fd),
    Poll(usize),
    Epoll(Fd),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Ready,
    Running,
    Waiting(WaitFor),
    Dead,
}

#[derive(Debug)]
struct Thread {
    host: HostId,
    state: State,
    /// Where it waits: each key and its place in the queue of that key. Kept empty, not dropped, between waits.
    keys: Vec<(WaitKey, u64)>,
    timer: Option<TimerId>,
    /// Whether the last wait ended by its deadline.
    timed_out: bool,
    /// FUTEX_WAIT_BITSET's mask.
    futex_mask: u32,
    /// What it spent on polling, and in which instant.
    spent: (SimTime, u32),
}

/// Who waits on one key, in the order in which they began to, each with its number. Usually it is one thread.
#[derive(Debug)]
struct Queue {
    first: (u64, Tid),
    others: VecDeque<(u64, Tid)>,
}

/// All threads of the run.
#[derive(Debug)]
pub(crate) struct Threads {
    all: Vec<Thread>,
    ready: VecDeque<Tid>,
    waiters: Index<WaitKey, Queue>,
    sequence: u64,
    current: Tid,
    /// `None` runs them in order.
    shuffle: Option<Stream>,
}

impl Threads {
    pub(crate) fn new(scheduling: Scheduling, seed: u64) -> Threads {
        Threads {
            all: Vec::new(),
            ready: VecDeque::new(),
            waiters: Index::default(),
            sequence: 0,
            current: Tid::new(0),
            shuffle: match scheduling {
                Scheduling::Fifo => None,
                Scheduling::Shuffle => Some(Stream::new(seed, "scheduler", 0)),
            },
        }
    }

    fn get(&self, thread: Tid) -> &Thread {
        &self.all[thread.index()]
    }

    fn get_mut(&mut self, thread: Tid) -> &mut Thread {
        &mut self.all[thread.index()]
    }

    pub(crate) fn spent_mut(&mut self) -> &mut (SimTime, u32) {
        let current = self.current;
        &mut self.get_mut(current).spent
    }

    pub(crate) fn anyone_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The thread that runs goes behind all that are ready.
    pub(crate) fn requeue_current(&mut self) {
        let current = self.current;
        assert_eq!(self.get(current).state, State::Running, "only the running thread can step back");
        self.get_mut(current).state = State::Ready;
        self.ready.push_back(current);
    }

    fn add(&mut self, host: HostId) -> Tid {
        let thread = Tid::new(self.all.len() as u32);
        self.all.push(Thread {
            host,
            state: State::Ready,
            keys: Vec::new(),
            timer: None,
            timed_out: false,
            futex_mask: 0,
            spent: (SimTime::ZERO, 0),
        });
        self.ready.push_back(thread);
        thread
    }

    fn wait(&mut self, thread: Tid, keys: &[WaitKey], timer: Option<TimerId>, what: WaitFor) {
        for &key in keys {
            self.sequence += 1;
            self.enqueue(thread, key);
            let place = (key, self.sequence);
            self.get_mut(thread).keys.push(place);
        }
        let entry = self.get_mut(thread);
        assert_eq!(entry.state, State::Running, "only the running thread can wait");
        entry.state = State::Waiting(what);
        entry.timer = timer;
        entry.timed_out = false;
    }

    /// Takes the thread out of everything it waits on; its timer must still be cancelled.
    fn unwait(&mut self, thread: Tid, then: State) -> Option<TimerId> {
        let mut keys = std::mem::take(&mut self.get_mut(thread).keys);
        for place in keys.drain(..) {
            assert_eq!(self.dequeue(place), thread, "a waiter lost its place");
        }
        let entry = self.get_mut(thread);
        entry.keys = keys;
        entry.state = then;
        entry.timer.take()
    }

    /// Puts the thread at the end of a key's queue, at the place of the latest number.
    fn enqueue(&mut self, thread: Tid, key: WaitKey) {
        let waiter = (self.sequence, thread);
        match self.waiters.get_mut(&key) {
            Some(queue) => queue.others.push_back(waiter),
            None => _ = self.waiters.insert(key, Queue { first: waiter, others: VecDeque::new() }),
        }
    }

    /// Who waits at this place, from where it is taken.
    fn dequeue(&mut self, (key, number): (WaitKey, u64)) -> Tid {
        let queue = self.waiters.get_mut(&key).expect("a key that is waited on has a queue");
        if queue.first.0 == number {
            let first = queue.first.1;
            match queue.others.pop_front() {
                Some(next) => queue.first = next,
                None => _ = self.waiters.remove(&key),
            }
            first
        } else {
            let place = queue.others.binary_search_by_key(&number, |waiter| waiter.0);
            let waiter = place.ok().and_then(|place| queue.others.remove(place));
            waiter.expect("a waiter is in its queue").1
        }
    }

    /// Who waits on this key, in order.
    pub(crate) fn waiters(&self, key: WaitKey) -> impl Iterator<Item = Tid> + '_ {
        let queue = self.waiters.get(&key).into_iter();
        queue.flat_map(|queue| std::iter::once(&queue.first).chain(&queue.others)).map(|(_, thread)| *thread)
    }

    pub(crate) fn futex_mask(&self, thread: Tid) -> u32 {
        self.get(thread).futex_mask
    }

    pub(crate) fn set_futex_mask(&mut self, mask: u32) {
        let current = self.current;
        self.get_mut(current).futex_mask = mask;
    }

    /// Moves a waiter from one key to the end of another's queue.
    pub(crate) fn requeue_waiter(&mut self, thread: Tid, from: WaitKey, to: WaitKey) {
        self.sequence += 1;
        let place = (to, self.sequence);
        let slot = self.all[thread.index()].keys.iter_mut().find(|(key, _)| *key == from);
        let slot = slot.expect("a requeued thread waits on the old key");
        let old = std::mem::replace(slot, place);
        self.dequeue(old);
        self.enqueue(thread, to);
    }

    /// The next ready thread, in order or by lot.
    fn pick(&mut self) -> Option<Tid> {
        loop {
            let thread = match &mut self.shuffle {
                None => self.ready.pop_front()?,
                Some(random) => {
                    let index = random.below(self.ready.len() as u64) as usize;
                    self.ready.swap_remove_back(index)?
                }
            };
            // A thread that died while it was ready is still in the queue.
            if self.get(thread).state == State::Ready {
                return Some(thread);
            }
        }
    }
}

impl Kernel {
    /// Picks who runs next; if nobody can, moves time to the next deadline and does what is due, until somebody can
    /// or the run is over. The thread it names is [`Kernel::current`] from then on.
    pub fn schedule(&mut self) -> Next {
        self.progress += 1;
        if self.threads.all.get(self.threads.current.index()).is_some_and(|thread| thread.state == State::Running) {
            self.threads.requeue_current();
        }
        self.pump();
        loop {
            if std::mem::take(&mut self.told) && self.sink.is_full() && self.ended.is_none() {
                self.end(EndReason::Limit { message: "the event log is full".to_owned() });
            }
            if self.ended.is_some() {
                self.finish();
                return Next::Finished;
            }
            if let Some(host) = self.starts.pop_front() {
                return Next::StartMain(host);
            }
            self.steps_in_instant += 1;
            if self.steps_in_instant > STEPS_PER_INSTANT_MAX {
                let message =
                    format!("{STEPS_PER_INSTANT_MAX} steps at {} without time moving on: a livelock", self.now);
                self.end(EndReason::Limit { message });
                continue;
            }
            match self.threads.pick() {
                Some(thread) => {
                    let host = &mut self.hosts[self.threads.get(thread).host.index()];
                    if host.paused {
                        host.parked.push(thread);
                        continue;
                    }
                    self.threads.get_mut(thread).state = State::Running;
                    self.threads.current = thread;
                    return Next::Run(thread);
                }
                None => self.advance(),
            }
        }
    }

    /// Nobody can run: moves to the next instant at which something is due, and does all of it.
    fn advance(&mut self) {
        let Some(at) = self.next_due() else {
            let waiting = self.who_waits();
            let reason = if waiting.is_empty() { EndReason::Done } else { EndReason::Deadlock { waiting } };
            return self.end(reason);
        };
        if at >= self.config.time_limit {
            self.now = self.now.max(self.config.time_limit);
            return self.end(EndReason::TimeLimit);
        }
        assert!(at >= self.now, "time goes back");
        if at > self.now {
            self.now = at;
            self.steps_in_instant = 0;
        }
        while self.ended.is_none()
            && let Some(due) = self.timeline.pop_due(at)
        {
            self.steps_in_instant += 1;
            self.carry_out(due);
            self.pump();
            if self.steps_in_instant > STEPS_PER_INSTANT_MAX {
                return;
            }
        }
    }

    fn carry_out(&mut self, due: Due) {
        match due {
            Due::Thread(thread) => {
                // The timer is no longer in the timeline: there is nothing to cancel.
                self.threads.get_mut(thread).timer = None;
                self.threads.get_mut(thread).timed_out = true;
                self.wake(thread);
            }
            Due::TimerFd(file) => self.timerfd_expired(file),
            Due::Step(step) => self.do_step(*step),
            Due::Netstack(host) => {
                let entry = &mut self.hosts[host.index()];
                entry.timer = None;
                entry.netstack.on_timer(self.now);
                self.touch(host);
            }
            Due::Fabric => self.fabric_due(),
        }
    }

    /// Makes a waiting thread ready.
    pub(crate) fn wake(&mut self, thread: Tid) {
        let State::Waiting(_) = self.threads.get(thread).state else { return };
        if let Some(timer) = self.threads.unwait(thread, State::Ready) {
            self.timeline.cancel(timer);
        }
        self.threads.ready.push_back(thread);
    }

    pub(crate) fn wake_all(&mut self, key: WaitKey) {
        while self.wake_one(key) {}
    }

    /// Wakes the one that has waited longest; whether there was one.
    pub(crate) fn wake_one(&mut self, key: WaitKey) -> bool {
        let first = self.threads.waiters(key).next();
        if let Some(thread) = first {
            self.wake(thread);
        }
        first.is_some()
    }

    /// The current thread waits for one of these keys, or for the call's deadline.
    pub(crate) fn block<T>(&mut self, call: &mut Call, keys: &[WaitKey], what: WaitFor) -> Outcome<T> {
        call.resumed = true;
        let current = self.threads.current;
        let timer = call.deadline.map(|at| self.timeline.add(at.max(self.now), Due::Thread(current)));
        self.threads.wait(current, keys, timer, what);
        Poll::Pending
    }

    /// Whether the call has waited as long as it may.
    pub(crate) fn is_over(&self, call: &Call) -> bool {
        call.resumed && call.deadline.is_some_and(|deadline| deadline <= self.now)
    }

    /// Whether the current thread's last wait ended by its deadline, not by a wake.
    pub(crate) fn timed_out(&self) -> bool {
        self.threads.get(self.threads.current).timed_out
    }

    /// The thread that has the baton.
    pub fn current(&self) -> Tid {
        self.threads.current
    }

    pub(crate) fn current_host(&self) -> HostId {
        self.host_of(self.threads.current)
    }

    /// The host that a thread belongs to.
    pub fn host_of(&self, thread: Tid) -> HostId {
        self.threads.get(thread).host
    }

    /// A new thread of `host`, ready to run.
    pub fn register_thread(&mut self, host: HostId) -> Tid {
        self.count_call();
        let thread = self.threads.add(host);
        self.hosts[host.index()].threads.insert(thread);
        thread
    }

    /// The current thread is over (after its thread-local destructors).
    pub fn exit_thread(&mut self) {
        self.count_call();
        self.end_thread(self.threads.current);
    }

    pub(crate) fn end_thread(&mut self, thread: Tid) {
        let host = self.host_of(thread);
        if let Some(timer) = self.threads.unwait(thread, State::Dead) {
            self.timeline.cancel(timer);
        }
        self.hosts[host.index()].threads.remove(&thread);
        self.wake_all(WaitKey::Join(thread));
    }

    /// Puts threads that became ready while their host was paused back into the queue.
    pub(crate) fn unpark(&mut self, threads: Vec<Tid>) {
        self.threads.ready.extend(threads);
    }

    /// Whether the thread has not ended yet. Threads of a crashed host have.
    pub fn is_thread_alive(&self, thread: Tid) -> bool {
        self.threads.get(thread).state != State::Dead
    }

    /// Waits for the end of a thread.
    ///
    /// # Errors
    /// EDEADLK for oneself.
    pub fn join_thread(&mut self, thread: Tid, call: &mut Call) -> Outcome<()> {
        self.count_call();
        if thread == self.current() {
            return Poll::Ready(Err(Errno::EDEADLK));
        }
        if !self.is_thread_alive(thread) {
            return Poll::Ready(Ok(()));
        }
        self.block(call, &[WaitKey::Join(thread)], WaitFor::Join(thread))
    }

    /// Ends the run: `schedule` says `Finished` from now on. Only the first reason counts.
    pub fn end(&mut self, reason: EndReason) {
        self.ended.get_or_insert(reason);
    }

    /// How the run ended, once it has.
    pub fn end_reason(&self) -> Option<&EndReason> {
        self.ended.as_ref()
    }

    /// Counts every scheduling decision and every call: a watchdog in real time sees from it whether a run goes on.
    pub fn progress(&self) -> u64 {
        self.progress
    }

    pub(crate) fn count_call(&mut self) {
        self.progress += 1;
    }

    /// Closes the books, once.
    fn finish(&mut self) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        self.pump();
        self.fabric.close(self.now);
        while let Some(event) = self.fabric.poll_event() {
            self.tell(&event);
        }
        let reason = self.ended.clone().expect("only a run that ended is finished");
        self.tell(&Event::RunEnded { reason });
    }

    /// A line for each thread that waits, in the order of the threads.
    fn who_waits(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (index, thread) in self.threads.all.iter().enumerate() {
            let host = &self.hosts[thread.host.index()];
            let what = match thread.state {
                State::Waiting(what) => self.describe_wait(what),
                State::Ready if host.paused => "paused".to_owned(),
                State::Ready | State::Running | State::Dead => continue,
            };
            lines.push(format!("{} {}: {what}", host.config.name, Tid::new(index as u32)));
        }
        lines
    }

    fn describe_wait(&self, what: WaitFor) -> String {
        let on = |verb: &str, fd: Fd| format!("{verb} {}", self.describe_fd(fd));
        match what {
            WaitFor::Sleep | WaitFor::Creep => "sleep".to_owned(),
            WaitFor::Futex(address) => format!("futex {address:#x}"),
            WaitFor::Join(thread) => format!("join of {thread}"),
            WaitFor::Board(index) => format!("board entry `{}`", self.board.key(index)),
            WaitFor::Read(fd) => on("read on", fd),
            WaitFor::Write(fd) => on("write on", fd),
            WaitFor::Recv(fd) => on("recv on", fd),
            WaitFor::Send(fd) => on("send on", fd),
            WaitFor::Accept(fd) => on("accept on", fd),
            WaitFor::Connect(fd) => on("connect on", fd),
            WaitFor::Close(fd) => format!("close of fd {} (SO_LINGER)", fd.0),
            WaitFor::Poll(count) => format!("poll on {count} descriptors"),
            WaitFor::Epoll(fd) => format!("epoll_wait on {}", fd.0),
        }
    }
}
