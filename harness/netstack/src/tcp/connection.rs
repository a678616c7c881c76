//! The connection itself: what it is made of, how it is born, and what the program calls.

use std::collections::VecDeque;
use std::net::SocketAddr;

use halfopen_core::event::{ProbeKind, RetransmitKind, TcpState};
use halfopen_core::{Errno, Event, SimDuration, SimTime};
use halfopen_fabric::packet::TcpSegment;

use super::congestion::Congestion;
use super::handshake::Request;
use super::output::{Burst, Nagle};
use super::pmtu::SegmentSize;
use super::recovery::Recovery;
use super::recvbuf::Receiver;
use super::rtt::{RTO_INITIAL, RttEstimator};
use super::scoreboard::Rack;
use super::sendbuf::SendQueue;
use super::space::Space;
use super::timers::{Timer, Timers};
use super::{Endpoint, TcpInfo, Transmit};
use crate::readiness::Readiness;
use crate::socket::{Shutdown, SocketOptions};
use crate::sysctl::Sysctls;

/// One TCP connection, from SYN to the end of TIME-WAIT: a state machine that is told the time.
#[derive(Debug)]
pub struct Connection {
    pub(super) endpoint: Endpoint,
    pub(super) sysctls: Sysctls,
    pub(super) options: SocketOptions,
    pub(super) state: TcpState,
    /// The listener's side of a handshake (Linux's request socket), until the first segment after it is done.
    pub(super) request: Option<Box<Request>>,
    /// No program owns it.
    pub(super) orphan: bool,
    pub(super) send_shutdown: bool,
    pub(super) receive_shutdown: bool,
    /// The peer's FIN came in its turn.
    pub(super) peer_done: bool,
    pub(super) error: Option<Errno>,
    /// An ICMP error that becomes the reason if the connection times out.
    pub(super) soft_error: Option<Errno>,
    /// The timestamp that the last segment echoed.
    pub(super) last_echo: Option<u32>,
    pub(super) agreed: Agreed,
    pub(super) snd: Sender,
    pub(super) queue: SendQueue,
    pub(super) rcv: Receiver,
    pub(super) ack: AckPolicy,
    pub(super) rtt: RttEstimator,
    pub(super) congestion: Congestion,
    pub(super) usage: WindowUsage,
    pub(super) recovery: Recovery,
    pub(super) rack: Rack,
    pub(super) size: SegmentSize,
    pub(super) timers: Timers,
    pub(super) retry: Retry,
    outbox: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

/// What the handshake agreed on.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Agreed {
    pub timestamps: bool,
    pub sack: bool,
    /// The peer scales the windows that it offers by this.
    pub send_scale: u8,
    /// Newest timestamp of the peer, to echo (RFC 7323 TS.Recent), and when it came.
    pub ts_recent: Option<(u32, SimTime)>,
}

/// Sequence variables of the sender (RFC 9293, 3.3.1), as positions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub space: Space,
    pub una: u64,
    pub nxt: u64,
    pub wnd: u64,
    /// Receive position of the segment that last updated the window.
    pub wl1: u64,
    /// Largest window ever offered by the peer.
    pub max_window: u64,
    /// End of the last segment that was smaller than full (Minshall's variant of Nagle).
    pub small_end: u64,
    /// When data was last sent.
    pub last_sent: SimTime,
    /// Send buffer in bytes of memory (Linux sk_sndbuf).
    pub buffer: u64,
    /// The program found the buffer full: it may grow.
    pub no_space: bool,
}

/// When ACKs are sent (RFC 1122 4.2.3.2 and Linux's icsk_ack).
#[derive(Clone, Copy, Debug)]
pub(super) struct AckPolicy {
    /// Something is to be acknowledged.
    pub scheduled: bool,
    /// Without waiting.
    pub now: bool,
    /// A small segment came: an ACK goes out when the program has read all.
    pub pushed: bool,
    pub pushed_twice: bool,
    /// So many more ACKs go out without delay.
    pub quick: u32,
    /// The program answers what it receives: ACKs ride on its data.
    pub pingpong: bool,
    /// Estimate of the time between segments; `None` before the first.
    pub timeout: Option<SimDuration>,
    pub last_received: SimTime,
    /// When an out-of-window segment was last answered.
    pub last_challenge: Option<SimTime>,
}

/// How much of the congestion window is in use (RFC 7661's concern, Linux tcp_cwnd_validate).
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct WindowUsage {
    pub limited: bool,
    pub packets_max: u32,
    pub round_end: u64,
    pub used: u32,
    pub stamp: SimTime,
}

/// Timeouts and probes in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    /// The timeout in force, backoff included.
    pub rto: SimDuration,
    pub backoff: u32,
    pub retransmits: u32,
    pub total: u32,
    /// SYN timeouts so far, for the linear phase.
    pub syn_timeouts: u32,
    pub probes: u32,
    pub probes_since: Option<SimTime>,
    /// When anything was last acknowledged by the peer (Linux rcv_tstamp).
    pub last_ack: SimTime,
}

impl Connection {
    pub(super) fn new(
        now: SimTime,
        endpoint: Endpoint,
        sysctls: &Sysctls,
        options: &SocketOptions,
        state: TcpState,
        rcv: Receiver,
    ) -> Connection {
        let ip_header = halfopen_fabric::packet::ip_header_len(endpoint.remote.ip()) as u32;
        let space = Space::new(endpoint.iss);
        let size = SegmentSize::new(ip_header, endpoint.path_mtu, sysctls);
        Connection {
            sysctls: sysctls.clone(),
            options: options.clone(),
            state,
            request: None,
            orphan: false,
            send_shutdown: false,
            receive_shutdown: false,
            peer_done: false,
            error: None,
            soft_error: None,
            last_echo: None,
            agreed: Agreed::default(),
            snd: Sender {
                space,
                una: super::space::ORIGIN,
                nxt: super::space::ORIGIN,
                wnd: 0,
                wl1: 0,
                max_window: 0,
                small_end: 0,
                last_sent: now,
                buffer: u64::from(options.send_buffer.unwrap_or(sysctls.tcp_wmem[1])),
                no_space: false,
            },
            queue: SendQueue::default(),
            rcv,
            ack: AckPolicy {
                scheduled: false,
                now: false,
                pushed: false,
                pushed_twice: false,
                quick: 0,
                pingpong: options.quick_ack == Some(false),
                timeout: None,
                last_received: now,
                last_challenge: None,
            },
            rtt: RttEstimator::new(sysctls.tcp_rto_min, sysctls.tcp_rto_max),
            congestion: Congestion::new(),
            usage: WindowUsage { stamp: now, ..WindowUsage::default() },
            recovery: Recovery::new(sysctls.tcp_reordering),
            rack: Rack::default(),
            size,
            timers: Timers::default(),
            retry: Retry {
                rto: RTO_INITIAL,
                backoff: 0,
                retransmits: 0,
                total: 0,
                syn_timeouts: 0,
                probes: 0,
                probes_since: None,
                last_ack: now,
            },
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            endpoint,
        }
    }

    // ---- the four verbs; `on_segment` is in `input` ----

    /// Does what is due at `now`. Afterwards [`Connection::next_deadline`] is later than `now`, or `None`.
    pub fn on_timer(&mut self, now: SimTime) {
        // Each timer that fires re-arms itself later than `now` or stays off, so this ends.
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::Transmit(purpose) => self.on_transmit_timer(now, purpose),
                Timer::DelayedAck => self.on_delayed_ack_timer(now),
                Timer::Keepalive => self.on_keepalive_timer(now),
                Timer::SynAck => self.on_syn_ack_timer(now),
                Timer::Expiry => self.set_state(TcpState::Closed),
            }
        }
    }

    /// The next segment for the network, if any is ready. Everything that can be sent was decided by the call that
    /// made it possible; this only hands it out.
    pub fn poll_transmit(&mut self, now: SimTime) -> Option<Transmit> {
        let _ = now;
        self.outbox.pop_front()
    }

    /// When [`Connection::on_timer`] must be called next.
    pub fn next_deadline(&self) -> Option<SimTime> {
        self.timers.next()
    }

    // ---- the program's calls ----

    /// Queues bytes to be sent: as many as the send buffer takes, at least one.
    ///
    /// # Errors
    /// EAGAIN if the connection is not yet established or the buffer is full; the waiting error, once; EPIPE after
    /// that, and after the sending side was shut down.
    pub fn send(&mut self, now: SimTime, data: &[u8]) -> Result<usize, Errno> {
        match self.state {
            TcpState::SynSent | TcpState::SynReceived if self.error.is_none() && !self.send_shutdown => {
                return Err(Errno::EAGAIN);
            }
            _ => {}
        }
        if self.error.is_some() || self.send_shutdown {
            return Err(self.take_error().unwrap_or(Errno::EPIPE));
        }
        if data.is_empty() {
            return Ok(0);
        }
        let taken = self.fill(now, data);
        if taken == 0 {
            return Err(Errno::EAGAIN);
        }
        self.queue.set_psh(true);
        self.push(now, if taken < data.len() { Nagle::Off } else { self.nagle() });
        Ok(taken)
    }

    /// Fills buffers with what the program writes, and sends on the way what must not wait for the rest (Linux
    /// tcp_sendmsg_locked). A buffer that was begun is filled, beyond the limit too. Says how many bytes it took.
    fn fill(&mut self, now: SimTime, data: &[u8]) -> usize {
        let mss = self.current_mss();
        let goal = self.buffer_goal(mss);
        let mut pushed = self.write_end();
        let mut taken = 0;
        while taken < data.len() {
            let mut room = self.queue.tail_room(goal);
            if room == 0 {
                if !self.has_memory() {
                    self.snd.no_space = true;
                    break;
                }
                room = goal;
                self.check_idle_restart(now);
            }
            let part = &data[taken..data.len().min(taken + room)];
            self.queue.push(part, goal);
            if taken == 0 {
                self.queue.set_psh(false);
            }
            taken += part.len();
            if taken == data.len() || part.len() < room {
                continue;
            }
            if self.write_end() > pushed + self.snd.max_window / 2 {
                pushed = self.write_end();
                self.queue.set_psh(true);
                self.push(now, Nagle::Off);
            } else if self.queue.is_tail_first() {
                self.write(now, Nagle::Off, Burst::One);
            }
        }
        taken
    }

    /// Where what was written ends.
    fn write_end(&self) -> u64 {
        self.snd.nxt + self.queue.unsent_len() as u64
    }

    /// Copies received bytes, in order; 0 at the end of the stream. `peek` leaves them.
    ///
    /// # Errors
    /// EAGAIN if there is nothing yet; the waiting error, once, after all queued bytes were read.
    pub fn recv(&mut self, now: SimTime, buffer: &mut [u8], peek: bool) -> Result<usize, Errno> {
        if self.rcv.queued() == 0 {
            // The order of tcp_recvmsg_locked: the end of the stream comes before an error that followed it.
            if self.peer_done {
                return Ok(0);
            }
            if let Some(error) = self.take_error() {
                return Err(error);
            }
            if self.receive_shutdown || self.state == TcpState::Closed {
                return Ok(0);
            }
            return if buffer.is_empty() { Ok(0) } else { Err(Errno::EAGAIN) };
        }
        let len = self.rcv.read(now, buffer, peek);
        if len > 0 && !peek {
            self.after_read(now);
        }
        Ok(len)
    }

    /// Whether [`Connection::recv`] has anything to tell: bytes, an error, the end.
    pub fn has_news(&self) -> bool {
        let over = self.peer_done || self.receive_shutdown || self.state == TcpState::Closed;
        over || self.rcv.queued() > 0 || self.error.is_some()
    }

    /// Shuts one direction or both down: a FIN for the sending side, nothing on the wire for the other.
    ///
    /// # Errors
    /// ENOTCONN if there is no connection (any more).
    pub fn shutdown(&mut self, now: SimTime, how: Shutdown) -> Result<(), Errno> {
        if matches!(self.state, TcpState::Closed | TcpState::TimeWait) {
            return Err(Errno::ENOTCONN);
        }
        if matches!(how, Shutdown::Read | Shutdown::Both) {
            self.receive_shutdown = true;
        }
        if matches!(how, Shutdown::Write | Shutdown::Both) {
            self.shutdown_send(now);
        }
        Ok(())
    }

    /// New socket options; what depends on them acts at once.
    pub fn set_options(&mut self, now: SimTime, options: &SocketOptions) {
        let old = std::mem::replace(&mut self.options, options.clone());
        if let Some(bytes) = options.send_buffer {
            self.snd.buffer = u64::from(bytes);
        }
        if let Some(bytes) = options.receive_buffer.filter(|_| options.receive_buffer != old.receive_buffer) {
            self.rcv.set_buffer(bytes);
        }
        self.keepalive_options_changed(now, &old);
        if options.quick_ack != old.quick_ack {
            self.quick_ack_changed(now);
        }
        let released = (options.no_delay && !old.no_delay) || (!options.cork && old.cork);
        if released {
            self.push(now, if self.options.cork { Nagle::Corked } else { Nagle::Off });
        }
    }

    /// SO_ERROR: takes the waiting error.
    pub fn take_error(&mut self) -> Option<Errno> {
        self.error.take()
    }

    /// Takes what ICMP said of a connection that lives on. Only SO_ERROR does: reads, writes and poll do not see it.
    pub fn take_soft_error(&mut self) -> Option<Errno> {
        self.soft_error.take()
    }

    // ---- questions ----

    /// The state.
    pub fn state(&self) -> TcpState {
        self.state
    }

    /// What poll would say (Linux tcp_poll).
    pub fn readiness(&self) -> Readiness {
        let mut ready = Readiness::NONE;
        if (self.send_shutdown && self.receive_shutdown) || self.state == TcpState::Closed {
            ready = ready.with(Readiness::HUP);
        }
        if self.receive_shutdown {
            ready = ready.with(Readiness::IN).with(Readiness::RDHUP);
        }
        if !matches!(self.state, TcpState::SynSent | TcpState::SynReceived) {
            if self.rcv.queued() > 0 {
                ready = ready.with(Readiness::IN);
            }
            if self.send_shutdown || self.is_writable() {
                ready = ready.with(Readiness::OUT);
            }
        }
        if self.error.is_some() {
            ready = ready.with(Readiness::ERR);
        }
        ready
    }

    /// Whether a new buffer may be begun (Linux sk_stream_memory_free).
    fn has_memory(&self) -> bool {
        let (used, unsent) = (self.queue.memory() as u64, self.queue.unsent_len() as u64);
        used < self.snd.buffer && unsent < u64::from(self.sysctls.tcp_notsent_lowat)
    }

    /// Linux __sk_stream_is_writeable: at least a third of the buffer is free, and half of what may wait unsent.
    pub(super) fn is_writable(&self) -> bool {
        let (used, unsent) = (self.queue.memory() as u64, self.queue.unsent_len() as u64);
        self.has_memory()
            && self.snd.buffer - used >= used / 2
            && unsent * 2 < u64::from(self.sysctls.tcp_notsent_lowat)
    }

    /// Nothing is left to do: the stack may forget it. Only ever true once nobody owns it and all segments were polled.
    pub fn is_finished(&self) -> bool {
        self.orphan && self.state == TcpState::Closed && self.outbox.is_empty()
    }

    /// Whether data or a FIN is still unacknowledged: what SO_LINGER waits for.
    pub fn is_lingering(&self) -> bool {
        matches!(self.state, TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck)
    }

    /// Our address.
    pub fn local(&self) -> SocketAddr {
        self.endpoint.local
    }

    /// The peer's address.
    pub fn remote(&self) -> SocketAddr {
        self.endpoint.remote
    }

    /// Bytes that the program may read now.
    pub fn bytes_unread(&self) -> usize {
        self.rcv.queued()
    }

    /// Figures, as TCP_INFO has them.
    pub fn info(&self) -> TcpInfo {
        TcpInfo {
            rto: self.retry.rto,
            srtt: self.rtt.srtt_span(),
            rttvar: self.rtt.rttvar_span(),
            send_mss: self.size.mss,
            congestion_window_segments: self.congestion.cwnd,
            slow_start_threshold_segments: self.congestion.ssthresh,
            unacked_segments: self.queue.packets_out(),
            retransmits: self.retry.retransmits,
            total_retransmits: self.retry.total,
            path_mtu: self.size.path_mtu,
            bytes_unread: self.rcv.queued(),
            bytes_unsent: self.queue.unsent_len(),
            bytes_unacked: self.queue.len() - self.queue.unsent_len(),
        }
    }

    /// The next event for the log (state changes, retransmissions, probes, failure).
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    // ---- what the other files share ----

    pub(super) fn set_state(&mut self, to: TcpState) {
        let from = std::mem::replace(&mut self.state, to);
        if from == to {
            return;
        }
        let Endpoint { host, local, remote, .. } = self.endpoint;
        self.events.push_back(Event::TcpStateChanged { host, local, remote, from, to });
        if to == TcpState::Closed {
            self.timers = Timers::default();
            self.queue.purge();
            self.ack.scheduled = false;
            self.send_shutdown = true;
            self.receive_shutdown = true;
        }
    }

    /// The connection ends with an error (Linux: sk_err, then tcp_done).
    pub(super) fn fail(&mut self, errno: Errno) {
        let Endpoint { host, local, remote, .. } = self.endpoint;
        self.events.push_back(Event::TcpFailed { host, local, remote, errno });
        if !self.orphan {
            self.error = Some(errno);
        }
        self.set_state(TcpState::Closed);
    }

    /// It timed out: with the reason that ICMP gave, if it gave one (Linux tcp_write_err).
    pub(super) fn fail_timed_out(&mut self) {
        let errno = self.soft_error.unwrap_or(Errno::ETIMEDOUT);
        self.fail(errno);
    }

    pub(super) fn log_retransmit(&mut self, kind: RetransmitKind, start: u64, len: usize) {
        let Endpoint { host, local, remote, .. } = self.endpoint;
        let (seq, payload) = (self.snd.space.wire(start).0, len as u32);
        self.events.push_back(Event::TcpRetransmit { host, local, remote, kind, seq, payload });
    }

    pub(super) fn log_probe(&mut self, kind: ProbeKind) {
        let Endpoint { host, local, remote, .. } = self.endpoint;
        self.events.push_back(Event::TcpProbe { host, local, remote, kind });
    }

    pub(super) fn post(&mut self, segment: TcpSegment) {
        let dont_fragment = self.dont_fragment();
        self.outbox.push_back(Transmit { segment, dont_fragment });
    }

    /// Takes the place of `old`, of which more may have been reported than is true.
    pub(super) fn inherit_log(&mut self, old: &mut Connection) {
        let state = std::mem::replace(&mut self.state, old.state);
        self.events = std::mem::take(&mut old.events);
        self.set_state(state);
    }

    /// Forgets segments that were decided on but not yet polled.
    pub(super) fn clear_outbox(&mut self) {
        self.outbox.clear();
    }
}
