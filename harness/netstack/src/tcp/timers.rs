//! The timers of a connection, as values.
//!
//! Linux has one retransmission timer that serves four purposes in turn (`icsk_pending`), one for delayed ACKs and one
//! for keepalive; waiting states have one more. Deadlines are nominal: nothing here rounds to jiffies.

use halfopen_core::SimTime;

/// What the transmit timer is armed for: one purpose at a time, as in Linux.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// The retransmission timeout.
    Retransmit,
    /// A tail loss probe.
    LossProbe,
    /// RACK waits for a reordered segment.
    Reordering,
    /// A zero-window probe.
    WindowProbe,
}

/// A timer that came due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Timer {
    Transmit(Purpose),
    DelayedAck,
    Keepalive,
    /// A SYN-ACK that nobody answered.
    SynAck,
    /// The end of TIME-WAIT, or of FIN-WAIT-2 without an owner.
    Expiry,
}

/// All deadlines of one connection.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Timers {
    transmit: Option<(Purpose, SimTime)>,
    pub delayed_ack: Option<SimTime>,
    pub keepalive: Option<SimTime>,
    pub syn_ack: Option<SimTime>,
    pub expiry: Option<SimTime>,
}

impl Timers {
    /// Arms the transmit timer for one purpose; whatever it was armed for before is off.
    pub fn arm(&mut self, purpose: Purpose, at: SimTime) {
        self.transmit = Some((purpose, at));
    }

    /// Turns the transmit timer off.
    pub fn disarm(&mut self) {
        self.transmit = None;
    }

    /// What the transmit timer is armed for.
    pub fn armed(&self) -> Option<Purpose> {
        self.transmit.map(|(purpose, _)| purpose)
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<SimTime> {
        let transmit = self.transmit.map(|(_, at)| at);
        let mut next = transmit;
        for timer in [self.delayed_ack, self.keepalive, self.syn_ack, self.expiry] {
            if let Some(at) = timer
                && next.is_none_or(|next| at < next)
            {
                next = timer;
            }
        }
        next
    }

    /// Takes one timer that is due, in a fixed order.
    pub fn take_due(&mut self, now: SimTime) -> Option<Timer> {
        let due = |timer: &mut Option<SimTime>| timer.take_if(|at| *at <= now).is_some();
        if due(&mut self.expiry) {
            return Some(Timer::Expiry);
        }
        if due(&mut self.syn_ack) {
            return Some(Timer::SynAck);
        }
        if due(&mut self.delayed_ack) {
            return Some(Timer::DelayedAck);
        }
        if let Some((purpose, _)) = self.transmit.take_if(|(_, at)| *at <= now) {
            return Some(Timer::Transmit(purpose));
        }
        due(&mut self.keepalive).then_some(Timer::Keepalive)
    }
}
