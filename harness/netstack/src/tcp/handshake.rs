//! The handshake: active, passive and simultaneous open.
//!
//! The passive side stays as light as Linux's request socket until the last ACK: its SYN-ACK is not in the send queue,
//! has a timer of its own and no linear phase, and is answered to every duplicate SYN as well.

use halfopen_core::event::{RetransmitKind, TcpFlags, TcpState};
use halfopen_core::{SimDuration, SimTime};
use halfopen_fabric::packet::{SeqNum, TcpSegment};

use super::Endpoint;
use super::congestion::{INITIAL_WINDOW, SSTHRESH_INFINITE};
use super::connection::Connection;
use super::options::TIMESTAMP_BYTES;
use super::recvbuf::{Receiver, ReceiverConfig};
use super::rtt::{RTO_FALLBACK, RTO_INITIAL};
use super::space::{ORIGIN, Space};
use super::timers::Purpose;
use crate::socket::SocketOptions;
use crate::sysctl::Sysctls;

/// How soon SYN is repeated after an answer to something else (Linux TCP_TIMEOUT_MIN: two jiffies).
const STRAY_ACK_TIMEOUT: SimDuration = SimDuration::from_millis(8);

/// The listener's side of a handshake that is not over.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// The SYN, without data: enough to begin again if the accept queue has no room.
    syn: TcpSegment,
    born: SimTime,
    /// SYN-ACKs sent again for whatever reason.
    retransmits: u32,
    /// SYN-ACKs sent again by the timer.
    timeouts: u32,
    /// When the timer would have fired next, had the last ACK not come.
    deadline: SimTime,
}

fn receiver(endpoint: &Endpoint, sysctls: &Sysctls, options: &SocketOptions, timestamps: bool) -> Receiver {
    let advertised_mss = Connection::advertised_mss(endpoint, sysctls, options.max_segment);
    Receiver::new(ReceiverConfig {
        locked_buffer: options.receive_buffer,
        rmem: sysctls.tcp_rmem,
        rmem_max: sysctls.rmem_max,
        window_scaling: sysctls.tcp_window_scaling,
        moderate: sysctls.tcp_moderate_rcvbuf,
        rounding_mss: advertised_mss - if timestamps { TIMESTAMP_BYTES } else { 0 },
        advertised_mss,
    })
}

impl Connection {
    /// Active open: SYN-SENT, with a SYN to be polled.
    pub fn connect(now: SimTime, endpoint: Endpoint, sysctls: &Sysctls, options: &SocketOptions) -> Connection {
        let rcv = receiver(&endpoint, sysctls, options, false);
        let mut connection = Connection::new(now, endpoint, sysctls, options, TcpState::Closed, rcv);
        connection.set_state(TcpState::SynSent);
        connection.size.probing = sysctls.tcp_mtu_probing > 1;
        // A later RTO measures from here: the clock of the give-up runs from the first SYN (Linux tcp_connect).
        connection.recovery.retrans_stamp = Some(now);
        connection.snd.nxt = ORIGIN + 1;
        connection.queue.launch(now, ORIGIN, bytes::Bytes::new(), usize::MAX, TcpFlags::SYN);
        connection.send_flight(now, 0);
        connection.rearm_rto(now);
        connection
    }

    /// Passive open on a SYN: SYN-RECEIVED, with a SYN-ACK to be polled. `options` are the listener's.
    pub fn accept(
        now: SimTime,
        endpoint: Endpoint,
        sysctls: &Sysctls,
        options: &SocketOptions,
        syn: &TcpSegment,
    ) -> Connection {
        assert!(syn.flags.has(TcpFlags::SYN), "a passive open begins with a SYN");
        let timestamps = sysctls.tcp_timestamps && syn.options.timestamps.is_some();
        let rcv = receiver(&endpoint, sysctls, options, timestamps);
        let mut connection = Connection::new(now, endpoint, sysctls, options, TcpState::Listen, rcv);
        connection.rcv.begin(now, Space::new(syn.seq));
        connection.snd.wnd = u64::from(syn.window);
        connection.snd.max_window = connection.snd.wnd;
        connection.agree(now, syn);
        connection.set_state(TcpState::SynReceived);
        connection.snd.nxt = ORIGIN + 1;
        let syn = TcpSegment { payload: bytes::Bytes::new(), ..syn.clone() };
        connection.request = Some(Box::new(Request { syn, born: now, retransmits: 0, timeouts: 0, deadline: now }));
        connection.send_syn_ack(now);
        connection.timers.syn_ack = Some(now + RTO_INITIAL);
        connection
    }

    fn send_syn_ack(&mut self, now: SimTime) {
        let request = self.request.as_ref().expect("a handshake is on");
        let options = self.syn_ack_options(now, request.syn.options.window_scale.is_some());
        self.post(TcpSegment {
            src_port: self.endpoint.local.port(),
            dst_port: self.endpoint.remote.port(),
            seq: self.endpoint.iss,
            ack: self.rcv.space.wire(self.rcv.nxt),
            flags: TcpFlags::SYN.with(TcpFlags::ACK),
            window: self.rcv.wnd.min(65_535) as u16,
            options,
            payload: bytes::Bytes::new(),
        });
    }

    fn repeat_syn_ack(&mut self, now: SimTime) {
        self.send_syn_ack(now);
        self.log_retransmit(RetransmitKind::Handshake, ORIGIN, 0);
        self.request.as_mut().expect("a handshake is on").retransmits += 1;
        self.retry.total += 1;
    }

    /// Nobody answered the SYN-ACK: again with twice the time, or forget the request in silence.
    pub(super) fn on_syn_ack_timer(&mut self, now: SimTime) {
        let Some(request) = self.request.as_mut() else { return };
        if request.timeouts >= self.sysctls.tcp_synack_retries {
            return self.drop_request();
        }
        request.timeouts += 1;
        self.timers.syn_ack = Some(now + self.syn_ack_timeout());
        self.repeat_syn_ack(now);
    }

    fn syn_ack_timeout(&self) -> SimDuration {
        let timeouts = self.request.as_ref().map_or(0, |request| request.timeouts);
        (RTO_INITIAL * (1 << timeouts.min(20))).min(self.sysctls.tcp_rto_max)
    }

    /// A request ends without anybody being told: no program ever knew of it.
    pub(super) fn drop_request(&mut self) {
        self.orphan = true;
        self.set_state(TcpState::Closed);
    }

    /// A segment for a handshake that is not over (Linux tcp_check_req). Says whether the connection is now
    /// established and the segment is to be processed as its first.
    pub(super) fn on_request_segment(&mut self, now: SimTime, segment: &TcpSegment) -> bool {
        let start = self.rcv.space.position(segment.seq, self.rcv.nxt);
        let flags = segment.flags;
        let old = self.is_old_by_timestamp(now, segment);
        let control = [TcpFlags::SYN, TcpFlags::ACK, TcpFlags::RST, TcpFlags::FIN].map(|flag| flags.has(flag));
        if start == ORIGIN && control == [true, false, false, false] && !old {
            if !self.is_answer_limited(now, segment) {
                self.repeat_syn_ack(now);
                self.timers.syn_ack = Some(now + self.syn_ack_timeout());
            }
            return false;
        }
        if flags.has(TcpFlags::ACK) && segment.ack != self.endpoint.iss.add(1) {
            if !flags.has(TcpFlags::RST) {
                self.send_bare_reset(segment.ack);
            }
            return false;
        }
        let end = start + u64::from(segment.sequence_len());
        let inside = end >= self.rcv.nxt && start <= self.rcv.nxt + self.rcv.wnd;
        if old || !inside {
            if !flags.has(TcpFlags::RST) && !self.is_answer_limited(now, segment) {
                self.send_ack(now);
            }
            return false;
        }
        if flags.has(TcpFlags::RST) {
            self.drop_request();
            return false;
        }
        if !flags.has(TcpFlags::ACK) {
            return false;
        }
        self.finish_passive(now, segment, start);
        true
    }

    fn finish_passive(&mut self, now: SimTime, segment: &TcpSegment, start: u64) {
        let deadline = self.timers.syn_ack.take().unwrap_or(now);
        let request = self.request.as_mut().expect("a handshake is on");
        request.deadline = deadline;
        let (born, retransmits, timeouts) = (request.born, request.retransmits, request.timeouts);
        self.snd.una = ORIGIN + 1;
        self.snd.wnd = u64::from(segment.window) << self.agreed.send_scale;
        self.snd.max_window = self.snd.max_window.max(self.snd.wnd);
        self.snd.wl1 = start;
        if retransmits == 0 {
            let rtt = now.since(born).as_micros();
            self.rtt.sample(now, rtt, self.snd.una, self.snd.nxt);
        }
        // Linux marks the child for the smaller window only if the timer fired (num_timeout).
        let punished = retransmits > 1 && timeouts > 0;
        self.establish(now, punished);
    }

    /// The handshake is over (Linux tcp_init_transfer).
    fn establish(&mut self, now: SimTime, punished: bool) {
        self.size.sync(self.size.path_mtu, self.snd.max_window);
        // Whoever accepted has sized its segments before it probes (Linux tcp_v4_syn_recv_sock calls tcp_sync_mss, and
        // only tcp_init_transfer tcp_mtup_init): it goes on with full ones until a size is worked out anew.
        self.size.probing |= self.sysctls.tcp_mtu_probing > 1;
        self.congestion.ssthresh = SSTHRESH_INFINITE;
        self.congestion.cwnd = if punished { 1 } else { INITIAL_WINDOW };
        self.congestion.cwnd_count = 0;
        self.usage.stamp = now;
        if self.rtt.has_sample() {
            self.retry.rto = self.rtt.rto();
        } else {
            self.rtt.fall_back();
            self.retry.rto = RTO_FALLBACK;
        }
        self.retry.backoff = 0;
        self.retry.retransmits = 0;
        self.retry.last_ack = now;
        self.ack.last_received = now;
        self.recovery.retrans_stamp = None;
        self.snd.last_sent = now;
        self.set_state(TcpState::Established);
        self.grow_send_buffer();
        if self.options.keepalive {
            self.timers.keepalive = Some(now + self.keepalive_idle());
        }
    }

    /// The accept queue had no room for the handshake's last ACK: forget that it came. The SYN-ACK goes on being
    /// repeated, and the client's data with it (Linux tcp_check_req, `acked`). Does nothing once the connection has
    /// processed a later segment.
    pub fn on_accept_queue_full(&mut self, now: SimTime) {
        let Some(request) = self.request.take() else { return };
        let mut fresh = Connection::accept(now, self.endpoint.clone(), &self.sysctls, &self.options, &request.syn);
        fresh.clear_outbox();
        fresh.timers.syn_ack = Some(request.deadline.max(now + SimDuration::from_nanos(1)));
        fresh.retry.total = request.retransmits;
        fresh.request = Some(request);
        fresh.inherit_log(self);
        *self = fresh;
    }

    /// The same where the host would rather end it: the caller answers the ACK with a reset (Linux tcp_check_req,
    /// `embryonic_reset`).
    pub fn on_accept_queue_refuses(&mut self, now: SimTime) {
        self.on_accept_queue_full(now);
        self.drop_request();
    }

    /// A segment in SYN-SENT (Linux tcp_rcv_synsent_state_process).
    pub(super) fn on_syn_sent_segment(&mut self, now: SimTime, segment: &TcpSegment) {
        let flags = segment.flags;
        if flags.has(TcpFlags::ACK) {
            let stray = segment.ack != self.snd.space.wire(self.snd.nxt);
            if stray && self.retry.retransmits == 0 {
                // It may be from a connection before this one: the reset ends that, and the next SYN gets through.
                self.timers.arm(Purpose::Retransmit, now + STRAY_ACK_TIMEOUT);
            }
            if stray || self.echoes_the_future_or_past(now, segment) {
                if !flags.has(TcpFlags::RST) {
                    self.send_bare_reset(segment.ack);
                }
            } else if flags.has(TcpFlags::RST) {
                self.on_reset();
            } else if flags.has(TcpFlags::SYN) {
                self.finish_active(now, segment);
            }
        } else if flags.has(TcpFlags::SYN) && !flags.has(TcpFlags::RST) {
            self.open_simultaneously(now, segment);
        }
    }

    /// The echoed timestamp is none of those that we sent since the first SYN.
    fn echoes_the_future_or_past(&self, now: SimTime, segment: &TcpSegment) -> bool {
        let (Some((_, echo)), Some(first)) = (segment.options.timestamps, self.recovery.retrans_stamp) else {
            return false;
        };
        let first = self.clock(first);
        self.sysctls.tcp_timestamps && echo.wrapping_sub(first) > self.clock(now).wrapping_sub(first)
    }

    fn finish_active(&mut self, now: SimTime, segment: &TcpSegment) {
        let first_syn = self.recovery.retrans_stamp;
        self.take_syn(now, segment);
        // If the SYN-ACK answers the first SYN, the repetitions were in vain and the network is not to blame.
        let answers_first = self.echoed(segment).is_some_and(|echo| first_syn.is_some_and(|at| echo == self.clock(at)));
        let punished = self.retry.total > 1 && self.recovery.undo_marker.is_some() && !answers_first;
        self.acknowledge_syn(now, segment);
        self.establish(now, punished);
        if self.ack.pingpong {
            self.ack.timeout = Some(super::input::DELAYED_ACK_MAX);
            self.schedule_delayed_ack(now);
        } else {
            self.send_ack(now);
        }
    }

    /// The peer's SYN, alone or with an ACK.
    fn take_syn(&mut self, now: SimTime, segment: &TcpSegment) {
        self.rcv.begin(now, Space::new(segment.seq));
        self.snd.wl1 = ORIGIN;
        self.snd.wnd = u64::from(segment.window);
        self.snd.max_window = self.snd.wnd;
        self.agree(now, segment);
    }

    /// Our SYN was acknowledged: it leaves the queue and gives an RTT sample.
    pub(super) fn acknowledge_syn(&mut self, now: SimTime, segment: &TcpSegment) {
        self.snd.una = ORIGIN + 1;
        let syn = self.queue.pop_acked(self.snd.una).expect("the SYN is in flight");
        assert!(syn.syn, "the first thing in flight is the SYN");
        let rtt = if syn.ever_retransmitted {
            // Only a timestamp tells which SYN was answered: a lost SYN-ACK makes it more than a second.
            self.echoed(segment).map(|echo| u64::from(self.clock(now).wrapping_sub(echo).max(1)) * 1000)
        } else {
            Some(now.since(syn.sent_at).as_micros())
        };
        if let Some(rtt) = rtt {
            self.rtt.sample(now, rtt, self.snd.una, self.snd.nxt);
        }
        self.timers.disarm();
        self.recovery.reset();
    }

    /// Both sides sent a SYN (RFC 9293, figure 8): ours goes out again with an ACK.
    fn open_simultaneously(&mut self, now: SimTime, segment: &TcpSegment) {
        self.take_syn(now, segment);
        self.set_state(TcpState::SynReceived);
        self.send_flight(now, 0);
    }

    /// The ACK of our SYN in a simultaneous open.
    pub(super) fn finish_simultaneous(&mut self, now: SimTime, segment: &TcpSegment, start: u64) {
        self.acknowledge_syn(now, segment);
        self.snd.wnd = u64::from(segment.window) << self.agreed.send_scale;
        self.snd.max_window = self.snd.max_window.max(self.snd.wnd);
        self.snd.wl1 = start;
        let punished = self.retry.total > 1;
        self.establish(now, punished);
        if self.send_shutdown {
            self.shutdown_established(now);
        }
    }

    /// Whether a SYN for this connection in TIME-WAIT may begin a new one in its place (Linux
    /// tcp_timewait_state_process): it lies beyond what was received, or its timestamp is newer.
    pub fn may_be_replaced_by(&self, syn: &TcpSegment) -> bool {
        let fresh = syn.flags.has(TcpFlags::SYN) && !syn.flags.has(TcpFlags::ACK) && !syn.flags.has(TcpFlags::RST);
        let beyond = self.rcv.space.position(syn.seq, self.rcv.nxt) > self.rcv.nxt;
        let newer = match (syn.options.timestamps, self.agreed.ts_recent) {
            (Some((value, _)), Some((recent, _))) => (value.wrapping_sub(recent) as i32) > 0,
            _ => false,
        };
        self.state() == TcpState::TimeWait && fresh && (beyond || newer)
    }

    /// A reset that answers a segment of no connection: its sequence number is what that segment acknowledged.
    pub(super) fn send_bare_reset(&mut self, seq: SeqNum) {
        self.post(TcpSegment {
            src_port: self.endpoint.local.port(),
            dst_port: self.endpoint.remote.port(),
            seq,
            flags: TcpFlags::RST,
            ..TcpSegment::default()
        });
    }
}
