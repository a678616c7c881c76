//! What a run leaves behind: each host's calls and the packets at its interface, as lines of text.
//!
//! ```text
//! 0.000131 a out SYN seq 0 len 0 mss 1460 ; ack 0 win 64240
//! 0.020512 a in RST,ACK seq 0 len 0 ; ack 1 win 0
//! 0.020601 a call connect c b:7000 = ECONNREFUSED ; made at 0.000098
//! ```
//!
//! What stands before the semicolon is compared, what stands behind it is for the reader. Sequence numbers count from
//! the SYN of their direction; `?` where no SYN was seen, `far` for one that has nothing to do with it. Flows after a
//! host's first are marked `#2`, `#3`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use halfopen_core::SimTime;
use halfopen_core::event::TcpFlags;
use halfopen_fabric::packet::{Body, IcmpError, IcmpMessage, Packet, TcpSegment};
use halfopen_fabric::wire;

use crate::case::{ADDRESSES, ADDRESSES_V6, HOSTS};
use crate::script::Call;

/// In which of a host's three columns an event stands. Order within a column means something; between columns of one
/// host, and between hosts, it depends on who looked first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Column {
    Call,
    Out,
    In,
}

impl Column {
    /// All of them.
    pub const ALL: [Column; 3] = [Column::Call, Column::Out, Column::In];

    const fn name(self) -> &'static str {
        match self {
            Column::Call => "call",
            Column::Out => "out",
            Column::In => "in",
        }
    }
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// When, since the start of the run.
    pub at: SimTime,
    /// Which host.
    pub host: usize,
    /// In which column.
    pub column: Column,
    /// What is compared.
    pub what: String,
    /// What is not.
    pub note: String,
}

impl Entry {
    /// An acknowledgement and nothing else: how many there are is the receiver's business.
    pub fn is_pure_ack(&self) -> bool {
        self.column != Column::Call && self.what.trim_start_matches(['#', '1', '2', '3', '4', ' ']).starts_with("ACK ")
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { at, host, column, what, note } = self;
        let (seconds, micros) = (at.as_nanos() / 1_000_000_000, at.as_nanos() % 1_000_000_000 / 1_000);
        write!(f, "{seconds}.{micros:06} {} {} {what} ; {note}", HOSTS[*host], column.name())
    }
}

/// A whole run, in the order of times.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Trace(pub Vec<Entry>);

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|entry| writeln!(f, "{entry}"))
    }
}

impl Trace {
    /// Reads what [`Trace`] prints; lines that begin with `#` are left out.
    ///
    /// # Errors
    /// The line that makes no sense.
    pub fn parse(text: &str) -> Result<Trace, String> {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let entries = lines.map(|line| parse_entry(line).ok_or_else(|| format!("no line of a trace: {line}")));
        entries.collect::<Result<_, _>>().map(Trace)
    }

    /// The entries of one column of one host.
    pub fn column(&self, host: usize, column: Column) -> impl Iterator<Item = &Entry> {
        self.0.iter().filter(move |entry| entry.host == host && entry.column == column)
    }
}

fn parse_entry(line: &str) -> Option<Entry> {
    let (head, note) = line.split_once(" ; ").or_else(|| line.strip_suffix(" ;").map(|head| (head, "")))?;
    let mut words = head.splitn(4, ' ');
    let (seconds, micros) = words.next()?.split_once('.')?;
    let nanos = seconds.parse::<u64>().ok()? * 1_000_000_000 + micros.parse::<u64>().ok()? * 1_000;
    let host = words.next()?;
    let host = HOSTS.iter().position(|name| *name == host)?;
    let column = words.next()?;
    let column = Column::ALL.into_iter().find(|known| known.name() == column)?;
    Some(Entry { at: SimTime::from_nanos(nanos), host, column, what: words.next()?.to_owned(), note: note.to_owned() })
}

/// Makes a trace of raw packets (when, at which host, bytes from the IP header on) and of each host's calls.
pub fn assemble(packets: &[(SimTime, usize, Vec<u8>)], calls: [Vec<Call>; 2], until: SimTime) -> Trace {
    let mut entries = Vec::new();
    let mut readers = [Reader::new(0), Reader::new(1)];
    for (at, host, bytes) in packets.iter().filter(|(at, ..)| *at < until) {
        if let Ok(packet) = wire::parse(bytes) {
            let (column, what, note) = readers[*host].read(&packet);
            entries.push(Entry { at: *at, host: *host, column, what, note });
        }
    }
    for (host, calls) in calls.into_iter().enumerate() {
        for Call { text, since, result } in calls {
            let (at, result) = match result {
                Some((at, result)) if at < until => (at, result),
                _ => (until, "still waiting".to_owned()),
            };
            let (what, note) = (format!("{text} = {result}"), format!("made at {:.6}", since.as_secs_f64()));
            entries.push(Entry { at, host, column: Column::Call, what, note });
        }
    }
    entries.sort_by_key(|entry| entry.at);
    Trace(entries)
}

/// Sequence numbers that lie further apart than this belong to two connections, of which each began with a random one.
const FAR: u32 = 1 << 24;

/// What a host's interface has shown of one direction of a flow.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// The sequence number of its SYN.
    start: Option<u32>,
    /// The one of the SYN before, where a connection took the place of another.
    start_before: Option<u32>,
    /// How far it has come, from there.
    end: u32,
}

impl Seen {
    /// Counts from the SYN that is nearest.
    fn relative(&self, seq: u32) -> Option<u32> {
        let starts = [self.start, self.start_before].into_iter().flatten();
        starts.map(|start| seq.wrapping_sub(start)).min_by_key(|relative| (*relative as i32).unsigned_abs())
    }
}

/// Reads one host's packets.
struct Reader {
    host: usize,
    /// By source and destination.
    seen: BTreeMap<(SocketAddr, SocketAddr), Seen>,
    /// Local and remote end of each flow, in the order in which they were first seen.
    flows: Vec<(SocketAddr, SocketAddr)>,
}

impl Reader {
    fn new(host: usize) -> Reader {
        Reader { host, seen: BTreeMap::new(), flows: Vec::new() }
    }

    fn read(&mut self, packet: &Packet) -> (Column, String, String) {
        let (src_port, dst_port) = packet.ports();
        let (src, dst) = (SocketAddr::new(packet.src, src_port), SocketAddr::new(packet.dst, dst_port));
        let own = packet.src == ADDRESSES[self.host] || packet.src == ADDRESSES_V6[self.host];
        let column = if own { Column::Out } else { Column::In };
        let flow = if column == Column::Out { (src, dst) } else { (dst, src) };
        let (what, note) = match &packet.body {
            Body::Tcp(segment) => {
                let what = format!("{}{}", self.segment(src, dst, flow, segment), may_fragment(packet));
                (what, segment_note(segment, packet.corrupt))
            }
            Body::Udp(datagram) => {
                (format!("UDP len {}{}", datagram.payload.len(), may_fragment(packet)), String::new())
            }
            Body::Icmp(message) => (icmp(message), String::new()),
            Body::Fragment(piece) => (format!("FRAGMENT at {} len {}", piece.offset, piece.data.len()), String::new()),
        };
        (column, what, note)
    }

    fn segment(
        &mut self,
        src: SocketAddr,
        dst: SocketAddr,
        flow: (SocketAddr, SocketAddr),
        segment: &TcpSegment,
    ) -> String {
        let number = self.flows.iter().position(|known| *known == flow).unwrap_or_else(|| {
            self.flows.push(flow);
            self.flows.len() - 1
        });
        let mark = if number == 0 { String::new() } else { format!("#{} ", number + 1) };
        let seen = self.seen.entry((src, dst)).or_default();
        if segment.flags.has(TcpFlags::SYN) && seen.start != Some(segment.seq.0) {
            *seen = Seen { start: Some(segment.seq.0), start_before: seen.start, end: 0 };
        }
        let len = segment.payload.len();
        let relative = seen.relative(segment.seq.0);
        let is_far = relative.is_some_and(|relative| (relative.wrapping_sub(seen.end) as i32).unsigned_abs() > FAR);
        let is_probe = len == 0
            && segment.flags.0 & !TcpFlags::PSH.0 == TcpFlags::ACK.0
            && relative.is_some_and(|relative| relative.wrapping_add(1) == seen.end);
        if let Some(relative) = relative {
            let end = relative.wrapping_add(segment.sequence_len());
            // What lies far off (a stray RST) is no progress.
            if !is_far && end.wrapping_sub(seen.end) < FAR {
                seen.end = end;
            }
        }
        let kind = if is_probe { "PROBE".to_owned() } else { kind(segment) };
        let seq = match relative {
            None => "?".to_owned(),
            Some(_) if is_far => "far".to_owned(),
            Some(relative) => (relative as i32).to_string(),
        };
        let mss = segment.options.mss.map_or(String::new(), |mss| format!(" mss {mss}"));
        format!("{mark}{kind} seq {seq} len {len}{mss}")
    }
}

/// Routers may cut what goes out without DF.
fn may_fragment(packet: &Packet) -> &'static str {
    if packet.dont_fragment { "" } else { " may-fragment" }
}

/// The control bits without PSH, or DATA.
fn kind(segment: &TcpSegment) -> String {
    let names = [(TcpFlags::SYN, "SYN"), (TcpFlags::FIN, "FIN"), (TcpFlags::RST, "RST"), (TcpFlags::ACK, "ACK")];
    let set: Vec<&str> = names.iter().filter(|(flag, _)| segment.flags.has(*flag)).map(|(_, name)| *name).collect();
    match &set[..] {
        ["ACK"] if !segment.payload.is_empty() => "DATA".to_owned(),
        set => set.join(","),
    }
}

fn segment_note(segment: &TcpSegment, corrupt: bool) -> String {
    let sack = if segment.options.sack_count > 0 { " sack" } else { "" };
    let push = if segment.flags.has(TcpFlags::PSH) { " push" } else { "" };
    let corrupt = if corrupt { " corrupt" } else { "" };
    format!("win {}{push}{sack}{corrupt}", segment.window)
}

fn icmp(message: &IcmpMessage) -> String {
    match message {
        IcmpMessage::EchoRequest { .. } => "ICMP echo request".to_owned(),
        IcmpMessage::EchoReply { .. } => "ICMP echo reply".to_owned(),
        IcmpMessage::Error { error: IcmpError::Unreachable { code }, .. } => format!("ICMP unreachable {code}"),
        IcmpMessage::Error { error: IcmpError::TooBig { mtu }, .. } => format!("ICMP too big {mtu}"),
        IcmpMessage::Error { error: IcmpError::TimeExceeded, .. } => "ICMP time exceeded".to_owned(),
    }
}
