//! One TCP connection as a state machine that behaves as Linux 6.18 does.
//!
//! It is sans-IO: [`Connection`] is *told* the time with every call, *asked* for its next deadline, and hands out
//! segments one by one. Four verbs drive it: [`Connection::on_segment`], [`Connection::on_timer`],
//! [`Connection::poll_transmit`] and [`Connection::next_deadline`].
//!
//! Reading order: `connection` (birth, the four verbs, the program's calls), `handshake`, `input` (a segment comes),
//! `recovery` (an ACK comes: what it means for the congestion
//! window), `scoreboard` (what arrived, what is lost), `repair` (sending again), `output` (what is sent when), `timeouts` (what each timer does),
//! `close`. Beside them stand the parts that know no connection: `rtt`, `congestion`, `sendbuf`, `recvbuf`,
//! `reassembly`, `pmtu`, `timers`, `space`.
//!
//! Where a rule is Linux's and not an RFC's, the comment names the Linux function; what was measured is in docs/fidelity.md.
//! Timers use nominal values: Linux rounds them up to its timer wheel, by at most 6.25 %.
//!
//! Left out on purpose: urgent data, ECN, Fast Open, ACK compression, and the deferral of small TSO bundles.

mod close;
mod congestion;
mod connection;
mod handshake;
mod input;
mod options;
mod output;
mod pmtu;
mod reassembly;
mod recovery;
mod recvbuf;
mod repair;
mod rtt;
mod scoreboard;
mod sendbuf;
mod space;
mod timeouts;
mod timers;

use std::net::SocketAddr;

pub use connection::Connection;
use halfopen_core::{HostId, SimDuration};
use halfopen_fabric::packet::{SeqNum, TcpSegment};

/// What a connection is told once, at its birth.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Whose it is, for the event log.
    pub host: HostId,
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// Initial sequence number.
    pub iss: SeqNum,
    /// Offset added to the timestamp clock (milliseconds), as Linux randomises it for each destination.
    pub timestamp_offset: u32,
    /// MTU of the way out as now known (interface or learned path MTU), in bytes: what the MSS option advertises, too.
    pub path_mtu: u32,
}

/// A segment to send, and how the IP layer must send it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// The segment.
    pub segment: TcpSegment,
    /// Whether DF is set.
    pub dont_fragment: bool,
}

/// An ICMP error that concerns this connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IcmpNotice {
    /// Destination unreachable. The code has its IPv4 meaning; see `IcmpError::Unreachable`.
    Unreachable {
        /// IPv4 code of type 3.
        code: u8,
        /// Sequence number of the segment that the error is about.
        quoted_seq: SeqNum,
    },
    /// The path MTU, as the routing table now has it after its own checks.
    TooBig {
        /// The learned MTU in bytes. At or below `min_pmtu` the route is locked: DF is cleared from now on.
        path_mtu: u32,
        /// Sequence number of the segment that the error is about.
        quoted_seq: SeqNum,
    },
    /// The time to live ran out on the way.
    TimeExceeded {
        /// Sequence number of the segment that the error is about.
        quoted_seq: SeqNum,
    },
}

impl IcmpNotice {
    fn quoted_seq(self) -> SeqNum {
        match self {
            IcmpNotice::Unreachable { quoted_seq, .. }
            | IcmpNotice::TooBig { quoted_seq, .. }
            | IcmpNotice::TimeExceeded { quoted_seq } => quoted_seq,
        }
    }
}

/// What TCP_INFO and the sockets' other questions tell.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TcpInfo {
    /// Retransmission timeout, backoff included.
    pub rto: SimDuration,
    /// Smoothed RTT; zero before the first sample.
    pub srtt: SimDuration,
    /// RTT deviation as TCP_INFO shows it (Linux's `mdev`, without the floor).
    pub rttvar: SimDuration,
    /// Payload of a full segment in bytes.
    pub send_mss: u32,
    /// Congestion window in segments.
    pub congestion_window_segments: u32,
    /// Slow-start threshold in segments.
    pub slow_start_threshold_segments: u32,
    /// Segments sent and not acknowledged.
    pub unacked_segments: u32,
    /// Timeouts in a row without progress.
    pub retransmits: u32,
    /// Segments sent again over the connection's life.
    pub total_retransmits: u32,
    /// Path MTU in bytes.
    pub path_mtu: u32,
    /// Bytes received in order that the program has not read.
    pub bytes_unread: usize,
    /// Bytes written that were never sent.
    pub bytes_unsent: usize,
    /// Bytes sent that are not acknowledged.
    pub bytes_unacked: usize,
}
