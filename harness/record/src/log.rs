//! The event log as text: one line for each event, after its time.
//!
//! `12.034567s  app  tcp 10.0.0.1:40000 > 10.0.0.2:80 SYN-SENT -> ESTABLISHED`

use std::fmt::Display;

use halfopen_core::HostId;
use halfopen_core::event::{
    DnsSource, EndReason, Event, EvictReason, LinkBooks, OpOutcome, PacketInfo, ProbeKind, Protocol, RetransmitKind,
    TcpFlags, TcpState,
};

/// The groups of events that a filter can name.
const GROUPS: [&str; 10] = ["packets", "tcp", "nat", "dns", "hosts", "faults", "load", "ops", "gauges", "logs"];
/// Levels of `tracing`, the least severe last.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Which events go into the text log.
///
/// A filter is a list of terms with commas between: a group (`packets`, `tcp`, `nat`, `dns`, `hosts`, `faults`,
/// `load`, `ops`, `gauges`, `logs`), `all`, a host (`@app`), or a level of log lines, alone (`debug`) or for one target
/// and what is below it (`reqwest=trace`). An event must be in one of the groups named, and at one of the hosts, if
/// any is named; events of no host pass. With hosts only, all groups pass.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LogFilter {
    groups: Vec<&'static str>,
    hosts: Vec<String>,
    /// Target (empty: any) and the index of the least severe level shown.
    levels: Vec<(String, usize)>,
}

impl LogFilter {
    /// Everything.
    pub fn all() -> LogFilter {
        LogFilter { groups: GROUPS.to_vec(), ..LogFilter::default() }
    }

    /// Reads a filter.
    ///
    /// # Errors
    /// A sentence that names the term that is not understood and what could stand there.
    pub fn parse(text: &str) -> Result<LogFilter, String> {
        let mut filter = LogFilter::default();
        let level = |name: &str| LEVELS.iter().position(|level| *level == name.to_ascii_lowercase());
        for term in text.split(',').map(str::trim).filter(|term| !term.is_empty()) {
            if let Some(host) = term.strip_prefix('@') {
                filter.hosts.push(host.to_owned());
            } else if let Some((target, name)) = term.split_once('=') {
                let index = level(name)
                    .ok_or_else(|| format!("`{name}` in `{term}` is not a level; levels are {}", LEVELS.join(", ")))?;
                filter.levels.push((target.to_owned(), index));
            } else if let Some(index) = level(term) {
                filter.levels.push((String::new(), index));
            } else if term == "all" {
                filter.groups = GROUPS.to_vec();
            } else {
                let group = GROUPS.iter().find(|group| **group == term).ok_or_else(|| {
                    let groups = GROUPS.join(", ");
                    format!("`{term}` is neither `all`, nor one of {groups}, nor a level, nor a `@host`")
                })?;
                filter.groups.push(group);
            }
        }
        if filter.groups.is_empty() && filter.levels.is_empty() {
            filter.groups = GROUPS.to_vec();
        }
        if !filter.levels.is_empty() && !filter.groups.contains(&"logs") {
            filter.groups.push("logs");
        }
        Ok(filter)
    }

    /// The terms that select `tracing` output, as pairs of target (empty: any) and level name.
    pub fn levels(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.levels.iter().map(|(target, level)| (target.as_str(), LEVELS[*level]))
    }

    /// Whether the log shows this event.
    pub fn wants(&self, event: &Event, host_name: &dyn Fn(HostId) -> String) -> bool {
        let group = self.groups.contains(&group(event));
        let host = self.hosts.is_empty()
            || host_of(event).is_none_or(|host| {
                let name = host_name(host);
                self.hosts.iter().any(|wanted| crate::phase::is_instance_of(&name, wanted))
            });
        group && host && self.wants_level(event)
    }

    fn wants_level(&self, event: &Event) -> bool {
        let Event::Log { host: _, level, target, message: _ } = event else { return true };
        let index = LEVELS.iter().position(|name| name.eq_ignore_ascii_case(level)).unwrap_or(LEVELS.len());
        let below = |wanted: &str| {
            let rest = target.strip_prefix(wanted);
            wanted.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let most_specific =
            self.levels.iter().filter(|(target, _)| below(target)).max_by_key(|(target, _)| target.len());
        most_specific.map_or(self.levels.is_empty(), |(_, least)| index <= *least)
    }
}

fn group(event: &Event) -> &'static str {
    match event {
        Event::PacketSent { .. }
        | Event::PacketDelivered { .. }
        | Event::PacketDropped { .. }
        | Event::PacketDuplicated { .. }
        | Event::PacketCorrupted { .. }
        | Event::LinkClosed { .. } => "packets",
        Event::NatCreated { .. } | Event::NatEvicted { .. } => "nat",
        Event::TcpStateChanged { .. }
        | Event::TcpRetransmit { .. }
        | Event::TcpProbe { .. }
        | Event::TcpFailed { .. }
        | Event::PathMtu { .. }
        | Event::Listening { .. }
        | Event::ListenOverflow { .. } => "tcp",
        Event::NameResolved { .. } | Event::DnsRecord { .. } | Event::DnsAnswered { .. } => "dns",
        Event::Unsupported { .. }
        | Event::HostStarted { .. }
        | Event::HostCrashed { .. }
        | Event::HostPaused { .. }
        | Event::HostResumed { .. }
        | Event::HostExited { .. }
        | Event::HostPanicked { .. }
        | Event::HostDeclared { .. } => "hosts",
        Event::FaultStarted { .. } | Event::FaultEnded { .. } => "faults",
        Event::LoadPhase { .. } | Event::RunEnded { .. } => "load",
        Event::OpStarted { .. }
        | Event::OpFinished { .. }
        | Event::AttemptStarted { .. }
        | Event::AttemptFinished { .. }
        | Event::Effect { .. } => "ops",
        Event::Gauge { .. } | Event::PoolWait { .. } => "gauges",
        Event::Log { .. } => "logs",
    }
}

/// The host at which an event happened, if at any.
fn host_of(event: &Event) -> Option<HostId> {
    match event {
        Event::PacketSent { host, .. }
        | Event::PacketDelivered { host, .. }
        | Event::TcpStateChanged { host, .. }
        | Event::TcpRetransmit { host, .. }
        | Event::TcpProbe { host, .. }
        | Event::TcpFailed { host, .. }
        | Event::PathMtu { host, .. }
        | Event::Listening { host, .. }
        | Event::ListenOverflow { host, .. }
        | Event::NameResolved { host, .. }
        | Event::Unsupported { host, .. }
        | Event::HostStarted { host, .. }
        | Event::HostCrashed { host, .. }
        | Event::HostPaused { host }
        | Event::HostResumed { host }
        | Event::HostExited { host, .. }
        | Event::HostPanicked { host, .. }
        | Event::Log { host, .. }
        | Event::HostDeclared { host, .. }
        | Event::DnsAnswered { host, .. }
        | Event::OpStarted { host, .. }
        | Event::OpFinished { host, .. }
        | Event::AttemptStarted { host, .. }
        | Event::AttemptFinished { host, .. }
        | Event::Effect { host, .. }
        | Event::Gauge { host, .. }
        | Event::PoolWait { host, .. } => Some(*host),
        Event::PacketDropped { .. }
        | Event::PacketDuplicated { .. }
        | Event::PacketCorrupted { .. }
        | Event::NatCreated { .. }
        | Event::NatEvicted { .. }
        | Event::LinkClosed { .. }
        | Event::DnsRecord { .. }
        | Event::LoadPhase { .. }
        | Event::FaultStarted { .. }
        | Event::FaultEnded { .. }
        | Event::RunEnded { .. } => None,
    }
}

/// One event as text, without its time: host (or `-`), what it is about, and the rest. Line breaks in messages are
/// escaped, so that it stays one line.
pub fn line(event: &Event, host_name: &dyn Fn(HostId) -> String) -> String {
    let host = host_of(event).map_or_else(|| "-".to_owned(), host_name);
    let what = network(event).or_else(|| inside(event)).or_else(|| scenario(event)).unwrap_or_else(|| workload(event));
    format!("{host}  {what}").replace('\n', "\\n").replace('\r', "\\r")
}

fn network(event: &Event) -> Option<String> {
    let at = |element: &dyn Display| format!(" at {element}");
    Some(match event {
        Event::PacketSent { host: _, packet } => format!("sent {}", shown(packet)),
        Event::PacketDelivered { host: _, packet } => format!("received {}", shown(packet)),
        Event::PacketDropped { element, direction: _, reason, packet } => {
            let place = element.map_or_else(String::new, |element| at(&element));
            format!("dropped ({}){place} {}", reason.name(), shown(packet))
        }
        Event::PacketDuplicated { element, packet } => format!("duplicated{} {}", at(element), shown(packet)),
        Event::PacketCorrupted { element, packet } => format!("corrupted{} {}", at(element), shown(packet)),
        Event::NatCreated { element, protocol, inner, outer, remote } => {
            format!("nat {element} {} {inner} as {outer} > {remote} created", protocol_name(*protocol))
        }
        Event::NatEvicted { element, protocol, inner, outer, remote, reason, idle } => {
            let protocol = protocol_name(*protocol);
            let reason = match reason {
                EvictReason::Idle => "idle",
                EvictReason::Closed => "closed",
                EvictReason::Evicted => "evicted",
                EvictReason::Flushed => "flushed",
            };
            format!("nat {element} {protocol} {inner} as {outer} > {remote} forgotten: {reason}, idle for {idle}")
        }
        Event::LinkClosed { element, route, direction, books } => {
            let LinkBooks { offered, duplicated, delivered, dropped, in_flight } = books;
            let dropped: Vec<String> =
                dropped.iter().map(|(reason, count)| format!(" {} {count}", reason.name())).collect();
            format!(
                "link {element} of {route} {direction:?}: offered {offered} duplicated {duplicated} delivered \
                 {delivered} dropped [{}] in flight {in_flight}",
                dropped.concat().trim_start()
            )
        }
        _ => return None,
    })
}

fn inside(event: &Event) -> Option<String> {
    Some(match event {
        Event::TcpStateChanged { host: _, local, remote, from, to } => {
            format!("tcp {local} > {remote} {} -> {}", state_name(*from), state_name(*to))
        }
        Event::TcpRetransmit { host: _, local, remote, kind, seq, payload } => {
            let kind = match kind {
                RetransmitKind::Handshake => "handshake",
                RetransmitKind::Timeout => "timeout",
                RetransmitKind::Fast => "fast",
                RetransmitKind::TailLossProbe => "tail-loss-probe",
                RetransmitKind::PathMtu => "path-mtu",
            };
            format!("tcp {local} > {remote} retransmit ({kind}) seq {seq} len {payload}")
        }
        Event::TcpProbe { host: _, local, remote, kind } => {
            let kind = match kind {
                ProbeKind::Keepalive => "keepalive",
                ProbeKind::ZeroWindow => "zero-window",
            };
            format!("tcp {local} > {remote} {kind} probe")
        }
        Event::TcpFailed { host: _, local, remote, errno } => format!("tcp {local} > {remote} failed: {errno}"),
        Event::PathMtu { host: _, remote, mtu } => format!("path MTU to {remote} is {mtu}"),
        Event::Listening { host: _, local } => format!("tcp {local} listens"),
        Event::ListenOverflow { host: _, local } => format!("tcp {local} accept queue overflow"),
        Event::NameResolved { host: _, name, addresses, source, took, error } => {
            let source = match source {
                DnsSource::Server => "server",
                DnsSource::StubCache => "stub cache",
                DnsSource::HostsFile => "hosts file",
                DnsSource::Literal => "literal",
            };
            let answer = error.map_or_else(|| list(addresses), str::to_owned);
            format!("dns {name} is {answer} ({source}, took {took})")
        }
        Event::Unsupported { host: _, call, errno } => format!("unsupported call {call} refused with {errno}"),
        Event::HostStarted { host: _, restart } => if *restart { "restarted" } else { "started" }.to_owned(),
        Event::HostCrashed { host: _, power_loss } => {
            if *power_loss { "crashed: power loss" } else { "crashed: killed" }.to_owned()
        }
        Event::HostPaused { host: _ } => "paused".to_owned(),
        Event::HostResumed { host: _ } => "resumed".to_owned(),
        Event::HostExited { host: _, error } => {
            error.as_ref().map_or_else(|| "exited".to_owned(), |error| format!("exited: {error}"))
        }
        Event::HostPanicked { host: _, main, message } => {
            format!("panicked ({}): {message}", if *main { "main" } else { "thread" })
        }
        Event::Log { host: _, level, target, message } => format!("{level} {target}: {message}"),
        _ => return None,
    })
}

fn scenario(event: &Event) -> Option<String> {
    Some(match event {
        Event::HostDeclared { host, name: _, addresses, upstream } => {
            format!("is {host} with {}{}", list(addresses), if *upstream { " (upstream)" } else { "" })
        }
        Event::DnsRecord { name, addresses, ttl } => format!("dns record {name} is {} ttl {ttl}", list(addresses)),
        Event::DnsAnswered { host: _, name, code } => format!("dns answered {name}: {code}"),
        Event::LoadPhase { index, op } => {
            format!("load phase {index}: {}", op.as_deref().unwrap_or("idle"))
        }
        Event::FaultStarted { fault, name } => format!("fault {fault} {name} begins"),
        Event::FaultEnded { fault, name } => format!("fault {fault} {name} ends"),
        Event::RunEnded { reason } => match reason {
            EndReason::Done => "run ended: done".to_owned(),
            EndReason::TimeLimit => "run ended: time limit".to_owned(),
            EndReason::Deadlock { waiting } => format!("run ended: deadlock: {}", waiting.join("; ")),
            EndReason::Aborted { message } | EndReason::Limit { message } => format!("run ended: {message}"),
        },
        _ => return None,
    })
}

fn workload(event: &Event) -> String {
    match event {
        Event::OpStarted { host: _, op, name, deadline } => {
            let deadline = deadline.map_or_else(String::new, |span| format!(" deadline {span}"));
            format!("{op} {name} begins{deadline}")
        }
        Event::OpFinished { host: _, op, outcome } => match outcome {
            OpOutcome::Ok => format!("{op} ok"),
            OpOutcome::Failed { kind, message } => format!("{op} failed: {}: {message}", kind.name()),
            OpOutcome::FailedSilently => format!("{op} failed silently"),
        },
        Event::AttemptStarted { host: _, attempt, op } => {
            format!("attempt {attempt}{} begins", op.map_or_else(String::new, |op| format!(" of {op}")))
        }
        Event::AttemptFinished { host: _, attempt, ok } => {
            format!("attempt {attempt} {}", if *ok { "ok" } else { "failed" })
        }
        Event::Effect { host: _, op } => format!("effect of {op}"),
        Event::Gauge { host: _, name, value } => format!("{name} = {value}"),
        Event::PoolWait { host: _, waited } => format!("waited {waited} for the pool"),
        // Everything else is shown above; this stands for an event that has no words yet.
        other => format!("{other:?}"),
    }
}

fn list(addresses: &[std::net::IpAddr]) -> String {
    match addresses {
        [] => "nothing".to_owned(),
        addresses => addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Icmp => "icmp",
    }
}

/// The names of RFC 9293.
fn state_name(state: TcpState) -> &'static str {
    match state {
        TcpState::Closed => "CLOSED",
        TcpState::Listen => "LISTEN",
        TcpState::SynSent => "SYN-SENT",
        TcpState::SynReceived => "SYN-RECEIVED",
        TcpState::Established => "ESTABLISHED",
        TcpState::FinWait1 => "FIN-WAIT-1",
        TcpState::FinWait2 => "FIN-WAIT-2",
        TcpState::CloseWait => "CLOSE-WAIT",
        TcpState::Closing => "CLOSING",
        TcpState::LastAck => "LAST-ACK",
        TcpState::TimeWait => "TIME-WAIT",
    }
}

/// A packet in the manner of tcpdump.
fn shown(packet: &PacketInfo) -> String {
    let PacketInfo { src, dst, protocol, size, flags, seq, ack, payload } = packet;
    let ends = match protocol {
        Protocol::Icmp => format!("{} > {}", src.ip(), dst.ip()),
        Protocol::Tcp | Protocol::Udp => format!("{src} > {dst}"),
    };
    let tcp = if *protocol == Protocol::Tcp {
        let letters = [
            (TcpFlags::SYN, 'S'),
            (TcpFlags::FIN, 'F'),
            (TcpFlags::RST, 'R'),
            (TcpFlags::PSH, 'P'),
            (TcpFlags::ACK, '.'),
        ];
        let set: String = letters.iter().filter(|(flag, _)| flags.has(*flag)).map(|(_, letter)| *letter).collect();
        format!(" [{set}] seq {seq} ack {ack}")
    } else {
        String::new()
    };
    format!("{} {ends}{tcp} len {payload} size {size}", protocol_name(*protocol))
}
