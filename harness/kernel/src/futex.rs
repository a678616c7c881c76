//! Futexes: queues of waiting threads under an address. The front end compares the word in memory; here an address is
//! only a key.
//!
//! All hosts share one address space, and with it the statics of the program: a thread of one host may wake one of
//! another, which waits for the same `OnceLock`. So an address is a key for all hosts together.

use std::task::Poll;

use halfopen_core::id::Tid;
use halfopen_core::{Errno, SimDuration};

use crate::clock::Clock;
use crate::scheduler::{WaitFor, WaitKey};
use crate::{Call, Kernel, Outcome};

/// How long a futex wait may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FutexTimeout {
    /// FUTEX_WAIT.
    Relative(SimDuration),
    /// FUTEX_WAIT_BITSET: until this clock shows so many nanoseconds. (Setting the wall clock meanwhile does not move
    /// the deadline.)
    Absolute(Clock, u64),
}

impl Kernel {
    /// Waits on `address` if `matches` (the front end compared the word; on the first attempt only).
    ///
    /// # Errors
    /// EAGAIN where the word did not match, ETIMEDOUT, EINVAL for an empty mask.
    pub fn futex_wait(
        &mut self,
        address: usize,
        matches: bool,
        timeout: Option<FutexTimeout>,
        mask: u32,
        call: &mut Call,
    ) -> Outcome<()> {
        self.count_call();
        if mask == 0 {
            return Poll::Ready(Err(Errno::EINVAL));
        }
        if call.resumed {
            return Poll::Ready(if self.timed_out() { Err(Errno::ETIMEDOUT) } else { Ok(()) });
        }
        if !matches {
            return Poll::Ready(Err(Errno::EAGAIN));
        }
        call.deadline = timeout.map(|timeout| match timeout {
            FutexTimeout::Relative(span) => self.now + span,
            FutexTimeout::Absolute(clock, nanos) => self.when_clock_shows(clock, nanos),
        });
        self.threads.set_futex_mask(mask);
        self.block(call, &[WaitKey::Futex(address)], WaitFor::Futex(address))
    }

    /// Wakes up to `count` threads whose mask meets `mask`, those first that have waited longest; says how many.
    pub fn futex_wake(&mut self, address: usize, count: u32, mask: u32) -> u32 {
        self.count_call();
        let waiters = self.threads.waiters(WaitKey::Futex(address));
        let chosen = waiters.filter(|thread| self.threads.futex_mask(*thread) & mask != 0);
        let chosen: Vec<Tid> = chosen.take(count as usize).collect();
        for thread in &chosen {
            self.wake(*thread);
        }
        chosen.len() as u32
    }

    /// Wakes `wake` and moves `requeue` of the rest to `to`; says how many of both.
    pub fn futex_requeue(&mut self, address: usize, wake: u32, to: usize, requeue: u32) -> u32 {
        self.count_call();
        let (from, to) = (WaitKey::Futex(address), WaitKey::Futex(to));
        let waiters: Vec<Tid> = self.threads.waiters(from).take(wake as usize + requeue as usize).collect();
        let (woken, rest) = waiters.split_at(waiters.len().min(wake as usize));
        for thread in woken {
            self.wake(*thread);
        }
        let moved = if from == to { &[] } else { &rest[..rest.len().min(requeue as usize)] };
        for thread in moved {
            self.threads.requeue_waiter(*thread, from, to);
        }
        (woken.len() + moved.len()) as u32
    }
}
