//! A queue from the load's thread to whatever runs the ops: async code on any runtime, or plain threads.

use std::collections::VecDeque;
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
    wakers: Vec<Waker>,
}

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
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The next message. `End` comes once; after it only expiries come.
    pub(crate) fn poll_recv(&self, context: &mut Context<'_>) -> Poll<Message> {
        let mut inbox = self.lock();
        if let Some(message) = inbox.messages.pop_front() {
            return Poll::Ready(message);
        }
        if inbox.ended && !inbox.end_told {
            inbox.end_told = true;
            return Poll::Ready(Message::End);
        }
        if !inbox.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            inbox.wakers.push(context.waker().clone());
        }
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
