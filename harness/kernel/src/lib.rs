//! The virtual kernel: virtual time, threads that run one at a time, file descriptors, epoll, futex, timers, entropy,
//! name resolution. System calls are methods that never block: one that would block registers what it waits for and
//! says [`Poll::Pending`]; the front end then hands the baton on ([`Kernel::schedule`]) and calls again with the same
//! [`Call`] once the thread runs again.
//!
//! Suggested reading order: `config`, `timeline` (what is due when), `scheduler` (who runs), `host` (the life of hosts,
//! and the way of packets), `fd` and `file` (descriptors and what is behind them), then one file for each subject.
//!
//! **Invariant:** nothing here is a thread, a lock or a real descriptor, and no program's memory is touched here: a
//! front end (`interpose`) does that. So all of it can be tested as a plain value.
//!
//! **Invariant:** no sweep. A call costs the logarithm of what exists; hosts, threads, sockets and timers that do
//! nothing cost nothing.
#![forbid(unsafe_code)]

mod board;
mod clock;
mod config;
mod entropy;
mod epoll;
mod eventfd;
mod fd;
mod file;
mod futex;
mod host;
mod hosts_file;
mod pipe;
mod poll;
pub mod resolver;
mod scheduler;
mod socket;
mod sockopt;
mod timeline;
mod timerfd;
mod unix;
mod vfile;

use std::collections::VecDeque;
use std::task::Poll;

use halfopen_core::event::{EndReason, EventSink};
use halfopen_core::{Errno, HostId, SimTime};
use halfopen_fabric::fabric::Fabric;

pub use clock::{CREEP, CREEP_UNITS_CALL, CREEP_UNITS_MAX, Clock, UPTIME_AT_START_NANOS, YIELD};
pub use config::{HostConfig, KernelConfig, Scheduling};
pub use epoll::{EPOLL_NESTS_MAX, EPOLLET, EPOLLEXCLUSIVE, EPOLLONESHOT, EpollEvent, EpollOp};
pub use fd::{FD_BASE, FDS_PER_HOST, Fd};
pub use futex::FutexTimeout;
pub use halfopen_core::{ResolverConfig, StubCache};
pub use hosts_file::HostsFile;
pub use pipe::{PIPE_BUF_BYTES, PIPE_CAPACITY_BYTES};
pub use poll::{POLLNVAL, POLLRDNORM, POLLWRNORM, PollFd};
pub use scheduler::{Next, STEPS_PER_INSTANT_MAX};
pub use socket::{Address, Domain, Message, MsgFlags, SocketType};
pub use timeline::{Step, Trigger};
pub use unix::{UNIX_BUFFER_BYTES, UNIX_DGRAM_QUEUE_MAX};

/// The result of a call that may have to wait.
pub type Outcome<T> = Poll<Result<T, Errno>>;

/// One system call in progress: made anew for each call from a program, kept while it waits.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// When the call gives up; set by the kernel at its first attempt.
    pub deadline: Option<SimTime>,
    /// Whether this is not the first attempt.
    pub resumed: bool,
    /// Bytes already transferred by a call that must move them all (a blocking send).
    pub done: usize,
}

/// The virtual kernel of one run: all hosts, the network between them, and time.
pub struct Kernel {
    config: KernelConfig,
    now: SimTime,
    threads: scheduler::Threads,
    timeline: timeline::Timeline,
    triggers: timeline::Triggers,
    hosts: Vec<host::Host>,
    files: file::Files,
    board: board::Board,
    fabric: Fabric,
    /// Something was put into the fabric since its deadline was looked at.
    fabric_touched: bool,
    /// Hosts whose stacks were touched since they were last pumped.
    dirty: VecDeque<HostId>,
    /// Hosts whose main must be started by the front end.
    starts: VecDeque<HostId>,
    sink: Box<dyn EventSink>,
    /// Whether the sink has had an event since it was asked whether it is full.
    told: bool,
    progress: u64,
    steps_in_instant: u64,
    ended: Option<EndReason>,
    finished: bool,
}

impl Kernel {
    /// A run that has not begun, without hosts.
    pub fn new(config: KernelConfig, fabric: Fabric, sink: Box<dyn EventSink>) -> Kernel {
        Kernel {
            now: SimTime::ZERO,
            threads: scheduler::Threads::new(config.scheduling, config.seed),
            timeline: timeline::Timeline::default(),
            triggers: timeline::Triggers::default(),
            hosts: Vec::new(),
            files: file::Files::default(),
            board: board::Board::default(),
            fabric,
            // A fabric may have deadlines of its own from the start.
            fabric_touched: true,
            dirty: VecDeque::new(),
            starts: VecDeque::new(),
            sink,
            told: true,
            progress: 0,
            steps_in_instant: 0,
            ended: None,
            finished: false,
            config,
        }
    }

    /// Takes the event sink back after the run.
    pub fn into_sink(self) -> Box<dyn EventSink> {
        self.sink
    }
}
