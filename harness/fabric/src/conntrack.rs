//! What a middlebox makes of a TCP connection that passes through it.
//!
//! States, transitions and the choice of timeouts are those of Linux (net/netfilter/nf_conntrack_proto_tcp.c): the most
//! common box there is, and what RFC 5382 asks of the others. Windows are not checked (`nf_conntrack_tcp_be_liberal`).

use halfopen_core::SimDuration;

use crate::config::Timeouts;
use crate::packet::{SeqNum, TcpFlags, TcpSegment};

/// A connection as a middlebox sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum State {
    SynSent,
    /// SYNs from both sides.
    SynSent2,
    SynRecv,
    Established,
    FinWait,
    CloseWait,
    LastAck,
    TimeWait,
    Close,
}

/// What a segment means by its flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
    /// None of these: never part of a connection.
    Nothing,
}

impl Kind {
    pub(crate) fn of(flags: TcpFlags) -> Kind {
        let has = |flag| flags.has(flag);
        match () {
            () if has(TcpFlags::RST) => Kind::Rst,
            () if has(TcpFlags::SYN) && has(TcpFlags::ACK) => Kind::SynAck,
            () if has(TcpFlags::SYN) => Kind::Syn,
            () if has(TcpFlags::FIN) => Kind::Fin,
            () if has(TcpFlags::ACK) => Kind::Ack,
            () => Kind::Nothing,
        }
    }
}

/// What a segment does to the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    To(State),
    /// A connection begins anew in the entry of an old one.
    Reopen,
    /// Passes, but counts for nothing: it is no sign of life.
    Ignore,
}

/// The transitions: `original` is the direction of the packet that made the entry.
fn step(state: State, original: bool, kind: Kind) -> Step {
    use State as S;
    match (kind, original, state) {
        (Kind::Rst, ..) => Step::To(S::Close),
        (Kind::Nothing, ..) => Step::Ignore,

        (Kind::Syn, true, S::SynSent | S::SynSent2) => Step::To(state),
        (Kind::Syn, true, S::TimeWait | S::Close) => Step::Reopen,
        (Kind::Syn, false, S::SynSent | S::SynSent2) => Step::To(S::SynSent2),
        (Kind::Syn, ..) => Step::Ignore,

        (Kind::SynAck, true, S::SynRecv | S::SynSent2) => Step::To(S::SynRecv),
        (Kind::SynAck, false, S::SynSent | S::SynSent2) => Step::To(S::SynRecv),
        (Kind::SynAck, ..) => Step::Ignore,

        (Kind::Fin, _, S::SynRecv | S::Established) => Step::To(S::FinWait),
        (Kind::Fin, _, S::FinWait | S::CloseWait | S::LastAck) => Step::To(S::LastAck),
        (Kind::Fin, _, S::TimeWait | S::Close) => Step::To(state),
        (Kind::Fin, ..) => Step::Ignore,

        (Kind::Ack, true, S::SynRecv) => Step::To(S::Established),
        (Kind::Ack, false, S::SynRecv) => Step::To(S::SynRecv),
        (Kind::Ack, _, S::Established | S::TimeWait | S::Close | S::CloseWait) => Step::To(state),
        (Kind::Ack, _, S::FinWait) => Step::To(S::CloseWait),
        (Kind::Ack, _, S::LastAck) => Step::To(S::TimeWait),
        (Kind::Ack, ..) => Step::Ignore,
    }
}

/// What is known of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Half {
    /// The highest sequence number sent, plus one: what the other end expects next, or will.
    pub end: SeqNum,
    /// The last acknowledgement sent.
    pub ack: SeqNum,
    /// Anything was seen.
    pub seen: bool,
    /// Data was sent that is not acknowledged.
    unacknowledged: bool,
}

/// The segment that came last, to tell a retransmission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Last {
    original: bool,
    seq: SeqNum,
    ack: SeqNum,
    end: SeqNum,
    window: u16,
}

/// One connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Connection {
    state: State,
    /// Picked up in mid-stream.
    picked_up: bool,
    /// By direction: original first.
    halves: [Half; 2],
    last: Option<Last>,
    retransmissions: u8,
}

/// `nf_conntrack_tcp_max_retrans`: after this many copies of one segment the connection is held to be in trouble.
const MAX_RETRANSMISSIONS: u8 = 3;

impl Connection {
    /// The connection that this segment, the first one seen, begins or continues.
    pub(crate) fn new(first: &TcpSegment) -> Connection {
        let picked_up = Kind::of(first.flags) != Kind::Syn;
        let state = if picked_up { State::Established } else { State::SynSent };
        let mut connection =
            Connection { state, picked_up, halves: [Half::default(); 2], last: None, retransmissions: 0 };
        connection.note(true, first);
        connection
    }

    /// A segment of the connection passes: whether it counts as a sign of life.
    pub(crate) fn on_segment(&mut self, original: bool, segment: &TcpSegment) -> bool {
        match step(self.state, original, Kind::of(segment.flags)) {
            Step::Ignore => return false,
            Step::Reopen => {
                *self = Connection::new(segment);
                return true;
            }
            Step::To(state) => self.state = state,
        }
        self.note(original, segment);
        true
    }

    /// Whether it has ended, one way or another.
    pub(crate) fn is_closing(&self) -> bool {
        self.state >= State::FinWait
    }

    /// What is known of the original direction, or of the other.
    pub(crate) fn half(&self, original: bool) -> &Half {
        &self.halves[usize::from(!original)]
    }

    /// Follows sequence numbers.
    fn note(&mut self, original: bool, segment: &TcpSegment) {
        let end = segment.seq.add(segment.sequence_len());
        let [ours, theirs] = match original {
            true => self.halves.each_mut(),
            false => {
                let [first, second] = self.halves.each_mut();
                [second, first]
            }
        };
        if !ours.seen || end.after(ours.end) {
            ours.unacknowledged = segment.sequence_len() > 0;
            ours.end = end;
        }
        if segment.flags.has(TcpFlags::ACK) {
            ours.ack = segment.ack;
            if segment.ack == theirs.end {
                theirs.unacknowledged = false;
            }
        }
        ours.seen = true;
        let (seq, ack, window) = (segment.seq, segment.ack, segment.window);
        let this = Some(Last { original, seq, ack, end, window });
        self.retransmissions = if self.last == this { self.retransmissions.saturating_add(1) } else { 0 };
        self.last = this;
    }

    /// How long it may now be idle.
    pub(crate) fn timeout(&self, timeouts: &Timeouts) -> SimDuration {
        let by_state = match self.state {
            State::SynSent | State::SynSent2 => timeouts.tcp_syn_sent,
            State::SynRecv => timeouts.tcp_syn_recv,
            State::Established => timeouts.tcp_established,
            State::FinWait => timeouts.tcp_fin_wait,
            State::CloseWait => timeouts.tcp_close_wait,
            State::LastAck => timeouts.tcp_last_ack,
            State::TimeWait => timeouts.tcp_time_wait,
            State::Close => timeouts.tcp_close,
        };
        let unanswered = self.picked_up && !self.halves[1].seen;
        let open_data = self.halves.iter().any(|half| half.unacknowledged);
        if self.retransmissions >= MAX_RETRANSMISSIONS {
            by_state.min(timeouts.tcp_max_retrans)
        } else if (open_data || unanswered) && self.state >= State::Established {
            by_state.min(timeouts.tcp_unacknowledged)
        } else if self.last.is_some_and(|last| last.window == 0) && !self.is_closing() {
            by_state.min(timeouts.tcp_max_retrans)
        } else {
            by_state
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(flags: TcpFlags, seq: u32, ack: u32, len: usize) -> TcpSegment {
        let payload = vec![0; len].into();
        TcpSegment { flags, seq: SeqNum(seq), ack: SeqNum(ack), window: 1000, payload, ..TcpSegment::default() }
    }

    const SYN: TcpFlags = TcpFlags::SYN;
    const ACK: TcpFlags = TcpFlags::ACK;
    const SYN_ACK: TcpFlags = TcpFlags::SYN.with(ACK);
    const FIN_ACK: TcpFlags = TcpFlags::FIN.with(ACK);
    const RST: TcpFlags = TcpFlags::RST;

    /// The timeouts, in seconds, after each segment of a trace: (original direction, flags, seq, ack, bytes).
    fn check(trace: &[(bool, TcpFlags, u32, u32, usize)], expected: &[(State, u64)]) {
        let mut connection: Option<Connection> = None;
        let mut seen = Vec::new();
        for &(original, flags, seq, ack, len) in trace {
            let segment = segment(flags, seq, ack, len);
            match &mut connection {
                None => connection = Some(Connection::new(&segment)),
                Some(connection) => {
                    connection.on_segment(original, &segment);
                }
            }
            let connection = connection.as_ref().unwrap();
            let timeout = connection.timeout(&Timeouts::LINUX).as_nanos() / 1_000_000_000;
            seen.push((connection.state, timeout));
        }
        assert_eq!(seen, expected);
    }

    /// The table of transitions, as a reviewer compares it with Linux's `tcp_conntracks`: `-` passes without effect.
    #[test]
    fn transitions() {
        use State::*;
        let states = [SynSent, SynSent2, SynRecv, Established, FinWait, CloseWait, LastAck, TimeWait, Close];
        let mut table = String::new();
        for original in [true, false] {
            for kind in [Kind::Syn, Kind::SynAck, Kind::Fin, Kind::Ack, Kind::Rst] {
                let cells = states.map(|state| match step(state, original, kind) {
                    Step::To(next) if next == state => "=".to_owned(),
                    Step::To(next) => format!("{next:?}"),
                    Step::Reopen => "SynSent".to_owned(),
                    Step::Ignore => "-".to_owned(),
                });
                let side = if original { "original" } else { "reply" };
                let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:11}")).collect();
                table += format!("{side:8} {:6} {}", format!("{kind:?}"), cells.join(" ")).trim_end();
                table += "\n";
            }
        }
        let head: Vec<String> = states.iter().map(|state| format!("{:11}", format!("{state:?}"))).collect();
        insta::assert_snapshot!(format!("when            {}\n{table}", head.join(" ").trim_end()), @r"
        when            SynSent     SynSent2    SynRecv     Established FinWait     CloseWait   LastAck     TimeWait    Close
        original Syn    =           =           -           -           -           -           -           SynSent     SynSent
        original SynAck -           SynRecv     =           -           -           -           -           -           -
        original Fin    -           -           FinWait     FinWait     LastAck     LastAck     =           =           =
        original Ack    -           -           Established =           CloseWait   =           TimeWait    =           =
        original Rst    Close       Close       Close       Close       Close       Close       Close       Close       =
        reply    Syn    SynSent2    =           -           -           -           -           -           -           -
        reply    SynAck SynRecv     SynRecv     -           -           -           -           -           -           -
        reply    Fin    -           -           FinWait     FinWait     LastAck     LastAck     =           =           =
        reply    Ack    -           -           =           =           CloseWait   =           TimeWait    =           =
        reply    Rst    Close       Close       Close       Close       Close       Close       Close       Close       =
        ");
    }

    #[test]
    fn a_whole_connection_goes_through_all_states() {
        check(
            &[
                (true, SYN, 100, 0, 0),
                (false, SYN_ACK, 500, 101, 0),
                (true, ACK, 101, 501, 0),
                (true, ACK, 101, 501, 10),
                (false, ACK, 501, 111, 0),
                (true, FIN_ACK, 111, 501, 0),
                (false, ACK, 501, 112, 0),
                (false, FIN_ACK, 501, 112, 0),
                (true, ACK, 112, 502, 0),
            ],
            &[
                (State::SynSent, 120),
                (State::SynRecv, 60),
                (State::Established, 432_000),
                (State::Established, 300), // Data that is not acknowledged.
                (State::Established, 432_000),
                (State::FinWait, 120),
                (State::CloseWait, 60),
                (State::LastAck, 30),
                (State::TimeWait, 120),
            ],
        );
    }

    #[test]
    fn an_rst_closes_and_a_syn_reopens() {
        check(
            &[
                (true, SYN, 100, 0, 0),
                (false, SYN_ACK, 500, 101, 0),
                (true, ACK, 101, 501, 0),
                (false, RST, 501, 0, 0),
                (true, SYN, 900, 0, 0),
            ],
            &[
                (State::SynSent, 120),
                (State::SynRecv, 60),
                (State::Established, 432_000),
                (State::Close, 10),
                (State::SynSent, 120),
            ],
        );
    }

    #[test]
    fn a_flow_in_mid_stream_is_in_doubt_until_it_is_answered() {
        check(
            &[(true, ACK, 100, 500, 0), (false, ACK, 500, 100, 0)],
            &[(State::Established, 300), (State::Established, 432_000)],
        );
    }

    #[test]
    fn a_segment_sent_four_times_means_trouble() {
        let timeouts = Timeouts { tcp_max_retrans: SimDuration::from_secs(7), ..Timeouts::LINUX };
        let mut connection = Connection::new(&segment(ACK, 100, 500, 0));
        connection.on_segment(false, &segment(ACK, 500, 100, 0));
        for (copy, seconds) in [(1, 300), (2, 300), (3, 300), (4, 7)] {
            connection.on_segment(true, &segment(ACK, 100, 500, 10));
            assert_eq!(connection.timeout(&timeouts), SimDuration::from_secs(seconds), "copy {copy}");
        }
    }

    #[test]
    fn a_syn_in_an_open_connection_is_no_sign_of_life() {
        let mut connection = Connection::new(&segment(ACK, 100, 500, 0));
        assert!(!connection.on_segment(true, &segment(SYN, 900, 0, 0)));
        assert!(connection.on_segment(true, &segment(ACK, 100, 500, 0)));
    }
}
