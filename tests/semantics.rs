//! What system calls give: each case runs on the real Linux of this machine and on the virtual kernel, from one source,
//! and both must tell the same story, errno by errno and readiness by readiness.
//!
//! A case is an ordinary function that makes system calls and has a [`Trace`](trace::Trace) write down each answer.
//! Numbers that may differ (descriptors, ports) get names in the order in which they appear. Where the two are known to
//! differ, the case says so, with the reason ([`compare::Known`]); anything else fails, and so does a known difference
//! that is gone.

#[macro_use]
#[path = "semantics/compare.rs"]
mod compare;
#[path = "semantics/raw.rs"]
mod raw;
#[path = "semantics/trace.rs"]
mod trace;

#[path = "semantics/addresses.rs"]
mod addresses;
#[path = "semantics/counters.rs"]
mod counters;
#[path = "semantics/datagrams.rs"]
mod datagrams;
#[path = "semantics/descriptors.rs"]
mod descriptors;
#[path = "semantics/epoll.rs"]
mod epoll;
#[path = "semantics/epoll_control.rs"]
mod epoll_control;
#[path = "semantics/options.rs"]
mod options;
#[path = "semantics/pipes.rs"]
mod pipes;
#[path = "semantics/poll.rs"]
mod poll;
#[path = "semantics/standard.rs"]
mod standard;
#[path = "semantics/tcp.rs"]
mod tcp;
#[path = "semantics/tcp_close.rs"]
mod tcp_close;
#[path = "semantics/threads.rs"]
mod threads;
#[path = "semantics/timers.rs"]
mod timers;
#[path = "semantics/unix.rs"]
mod unix;
