//! A queue from the load's thread to whatever runs the ops: async code on any runtime, or plain threads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::load::Ticket;

/// What the load says to a workload.
#[derive(Debug)]
pub(crate) enum Message {
    /// Work.
    Begin(Arc<Ticket>),
    /// Nobody waits for this op any more: its outcome is written.
    Expire(Arc<Ticket>),
    /// No more work will come.
    End,
}

#[derive(Debug, Default)]
struct Inbox {
    messages: VecDeque<Message>,
    ended: bool,
    end_told: bool,
    listeners: u64,
    wakers: BTreeMap<Listener, Waker>,
}

/// One that polls for messages. Each has one waker, its last: wakers of one task need not look alike.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Listener(u64);

/// The queue. Built from std's own lock and condition, so that it waits where everybody waits: in the virtual kernel.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    inbox: Mutex<Inbox>,
    arrived: Condvar,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn post(&self, message: Message) {
        let mut inbox = self.lock();
        match message {
            Message::End => inbox.ended = true,
            message => inbox.messages.push_back(message),
        }
        let wakers = std::mem::take(&mut inbox.wakers);
        drop(inbox);
        self.arrived.notify_all();
        wakers.into_values().for_each(Waker::wake);
    }

    /// Somebody new who will poll.
    pub(crate) fn listener(&self) -> Listener {
        let mut inbox = self.lock();
        inbox.listeners += 1;
        Listener(inbox.listeners)
    }

    /// The next message. `End` comes once; after it only expiries come.
    pub(crate) fn poll_recv(&self, listener: Listener, context: &mut Context<'_>) -> Poll<Message> {
        let mut inbox = self.lock();
        if let Some(message) = inbox.messages.pop_front() {
            return Poll::Ready(message);
        }
        if inbox.ended && !inbox.end_told {
            inbox.end_told = true;
            return Poll::Ready(Message::End);
        }
        inbox.wakers.insert(listener, context.waker().clone());
        Poll::Pending
    }

    /// Waits for the next message; `End` again and again after the last, to each thread that asks.
    pub(crate) fn recv(&self) -> Message {
        let mut inbox = self.lock();
        loop {
            match inbox.messages.pop_front() {
                Some(message) => return message,
                None if inbox.ended => return Message::End,
                None => inbox = self.arrived.wait(inbox).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicU32);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_listener_is_woken_once_by_its_last_waker() {
        let mailbox = Mailbox::default();
        let (one, other) = (mailbox.listener(), mailbox.listener());
        let wakes = [(); 4].map(|()| Arc::new(Wakes::default()));
        for (listener, wakes) in [one, one, one, other].into_iter().zip(&wakes) {
            let waker = Waker::from(Arc::clone(wakes));
            assert!(mailbox.poll_recv(listener, &mut Context::from_waker(&waker)).is_pending());
        }
        mailbox.post(Message::End);
        assert_eq!(wakes.each_ref().map(|wakes| wakes.0.load(Ordering::Relaxed)), [0, 0, 1, 1]);
        // What came before a poll is not lost on it.
        let waker = Waker::noop();
        assert!(matches!(mailbox.poll_recv(one, &mut Context::from_waker(waker)), Poll::Ready(Message::End)));
    }
}
