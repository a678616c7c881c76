//! The end of a connection: FINs in every order, resets, and the waiting that follows.

use halfopen_core::event::TcpState;
use halfopen_core::{Errno, SimDuration, SimTime};

use super::connection::Connection;
use super::output::Nagle;

/// How long TIME-WAIT lasts (Linux TCP_TIMEWAIT_LEN; no sysctl changes it).
const TIME_WAIT: SimDuration = SimDuration::from_secs(60);

impl Connection {
    /// No more data from us: a FIN follows what is queued.
    pub(super) fn shutdown_send(&mut self, now: SimTime) {
        match self.state {
            TcpState::SynSent => self.fail(Errno::ECONNRESET),
            TcpState::SynReceived => self.send_shutdown = true,
            _ => self.shutdown_established(now),
        }
    }

    pub(super) fn shutdown_established(&mut self, now: SimTime) {
        self.send_shutdown = true;
        match self.state {
            TcpState::Established => self.set_state(TcpState::FinWait1),
            TcpState::CloseWait => self.set_state(TcpState::LastAck),
            _ => return,
        }
        self.queue.fin_waiting = true;
        self.push(now, Nagle::Off);
    }

    /// The program let go of it (`close`, exit, kill): FIN, or RST if data is unread or linger is 0. From now on an
    /// orphan; the stack keeps it until [`Connection::is_finished`]. For a handshake that no program has seen: it is
    /// dropped in silence.
    pub fn close(&mut self, now: SimTime) {
        if self.orphan {
            return;
        }
        self.orphan = true;
        self.error = None;
        self.receive_shutdown = true;
        let unread = self.rcv.queued() > 0;
        self.rcv.discard();
        match self.state {
            TcpState::Closed => {}
            TcpState::SynSent | TcpState::Listen => self.set_state(TcpState::Closed),
            TcpState::SynReceived if self.request.is_some() => self.set_state(TcpState::Closed),
            TcpState::TimeWait => self.send_shutdown = true,
            _ if unread => self.end_by_reset(now),
            TcpState::Closing | TcpState::LastAck if self.options.linger == Some(SimDuration::ZERO) => {
                self.set_state(TcpState::Closed);
            }
            _ if self.options.linger == Some(SimDuration::ZERO) => self.end_by_reset(now),
            TcpState::SynReceived => self.set_state(TcpState::Closed),
            TcpState::FinWait2 => self.wait_for_fin_as_orphan(now),
            _ => self.shutdown_established(now),
        }
    }

    fn end_by_reset(&mut self, now: SimTime) {
        self.send_reset(now);
        self.set_state(TcpState::Closed);
    }

    /// Ends it at once with a RST; a program that still holds it sees ECONNABORTED.
    pub fn abort(&mut self, now: SimTime) {
        self.end_abruptly(now, Errno::ECONNABORTED);
    }

    /// As if a middlebox had reset the connection towards both ends: a RST goes out, and the program sees what it
    /// would see had one come in.
    pub fn reset_both(&mut self, now: SimTime) {
        if !matches!(self.state, TcpState::Closed | TcpState::TimeWait) {
            self.send_reset(now);
            self.on_reset();
        }
    }

    fn end_abruptly(&mut self, now: SimTime, errno: Errno) {
        if self.state == TcpState::Closed {
            return;
        }
        if !matches!(self.state, TcpState::SynSent | TcpState::TimeWait) {
            self.send_reset(now);
        }
        if self.request.is_some() && self.state == TcpState::SynReceived {
            return self.drop_request();
        }
        self.fail(errno);
    }

    /// A valid RST came (Linux tcp_reset).
    pub(super) fn on_reset(&mut self) {
        match self.state {
            TcpState::Closed => {}
            TcpState::TimeWait => self.set_state(TcpState::Closed),
            TcpState::SynReceived if self.request.is_some() => self.drop_request(),
            TcpState::SynSent => self.fail(Errno::ECONNREFUSED),
            TcpState::CloseWait => self.fail(Errno::EPIPE),
            _ => self.fail(Errno::ECONNRESET),
        }
    }

    /// The peer's FIN is in its turn: it will send no more (Linux tcp_fin).
    pub(super) fn on_fin(&mut self, now: SimTime) {
        self.ack.scheduled = true;
        self.receive_shutdown = true;
        self.peer_done = true;
        match self.state {
            TcpState::SynReceived | TcpState::Established => {
                self.set_state(TcpState::CloseWait);
                self.ack.pingpong = true;
            }
            TcpState::FinWait1 => {
                // Their FIN crossed ours.
                self.send_ack(now);
                self.set_state(TcpState::Closing);
            }
            TcpState::FinWait2 => {
                self.send_ack(now);
                self.enter_time_wait(now);
            }
            _ => {}
        }
    }

    /// Our FIN was acknowledged.
    pub(super) fn on_fin_acked(&mut self, now: SimTime) {
        match self.state {
            TcpState::FinWait1 => {
                self.set_state(TcpState::FinWait2);
                if self.orphan {
                    self.wait_for_fin_as_orphan(now);
                }
            }
            TcpState::Closing => self.enter_time_wait(now),
            TcpState::LastAck => self.set_state(TcpState::Closed),
            _ => {}
        }
    }

    /// Nobody will read what the peer may still send: wait for its FIN, but not for ever (Linux tcp_fin_time).
    fn wait_for_fin_as_orphan(&mut self, now: SimTime) {
        let patience = self.sysctls.tcp_fin_timeout.max(self.retry.rto * 7 / 2);
        self.timers.disarm();
        self.timers.keepalive = None;
        self.timers.expiry = Some(now + patience);
    }

    pub(super) fn enter_time_wait(&mut self, now: SimTime) {
        self.set_state(TcpState::TimeWait);
        self.timers.disarm();
        self.timers.delayed_ack = None;
        self.timers.keepalive = None;
        self.extend_time_wait(now);
    }

    pub(super) fn extend_time_wait(&mut self, now: SimTime) {
        self.timers.expiry = Some(now + TIME_WAIT);
    }
}
