//! Events as text, one a line: a time, a word, and its arguments. See [`Script::event`] for the words.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use halfopen_core::event::{
    Direction, DnsSource, DropReason, EndReason, Event, EventSink, EvictReason, LinkBooks, OpErrorKind, OpOutcome,
    PacketInfo, ProbeKind, Protocol, RetransmitKind, TcpFlags, TcpState,
};
use halfopen_core::id::{ElementId, FaultId, OpId, RouteId};
use halfopen_core::{Errno, HostId, SimDuration, SimTime};
use halfopen_record::{Actual, Config, Phase, Recorder, Scope, Summary};

/// What the words so far have declared.
#[derive(Default)]
struct Script {
    hosts: Vec<String>,
    faults: Vec<String>,
}

/// The events that a text stands for.
pub fn parse(text: &str) -> Vec<(SimTime, Event)> {
    let mut script = Script::default();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (SimTime::ZERO + span(words[0]), script.event(&words[1..]))
        })
        .collect()
}

/// The summary of the run that a text stands for.
pub fn run(text: &str) -> Summary {
    let mut recorder = Recorder::new(Config::default());
    for (at, event) in parse(text) {
        recorder.event(at, &event);
    }
    recorder.finish()
}

/// Runs the events and compares figures: `[host: ]metric[ before|during|after fault]` with a number of at most four
/// decimals, `never` or `no data`.
#[track_caller]
pub fn check(text: &str, expected: &[(&str, &str)]) {
    let summary = run(text);
    let measured = expected.iter().map(|(question, _)| (*question, measure(&summary, question)));
    let measured: Vec<(&str, String)> = measured.collect();
    let expected: Vec<(&str, String)> = expected.iter().map(|(name, figure)| (*name, (*figure).to_owned())).collect();
    assert_eq!(measured, expected);
}

fn measure(summary: &Summary, question: &str) -> String {
    let (scope, rest) = match question.split_once(": ") {
        Some((host, rest)) => (Scope::Hosts(vec![host.to_owned()]), rest),
        None => (Scope::All, question),
    };
    let mut words = rest.split_whitespace();
    let metric = words.next().expect("a metric");
    assert!(halfopen_core::metric::find(metric).is_some(), "{metric} is not in the catalogue");
    let phase = match (words.next(), words.next()) {
        (None, _) => Phase::Whole,
        (Some("before"), Some(fault)) => Phase::Before(fault.to_owned()),
        (Some("during"), Some(fault)) => Phase::During(fault.to_owned()),
        (Some("after"), Some(fault)) => Phase::After(fault.to_owned()),
        other => panic!("not a phase: {other:?}"),
    };
    match summary.measure(metric, &scope, &phase) {
        Actual::Figure(figure) => {
            let text = format!("{figure:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        Actual::Never => "never".to_owned(),
        Actual::Nothing => "no data".to_owned(),
    }
}

impl Script {
    fn host(&self, name: &str) -> HostId {
        let index = self.hosts.iter().position(|known| known == name);
        HostId::new(index.unwrap_or_else(|| panic!("no host {name}")) as u32)
    }

    fn event(&mut self, words: &[&str]) -> Event {
        match *words {
            ["host", name, addresses] | ["host", name, addresses, "upstream"] => {
                self.hosts.push(name.to_owned());
                let addresses = ips(addresses);
                let (host, name) = (self.host(name), name.to_owned());
                Event::HostDeclared { host, name, addresses, upstream: words.len() == 4 }
            }
            ["op", number, "ok"] => self.finished(number, OpOutcome::Ok),
            ["op", number, "silent"] => self.finished(number, OpOutcome::FailedSilently),
            ["op", number, "failed", kind] => {
                let kind = OpErrorKind::ALL.into_iter().find(|known| known.name() == kind).expect("an error kind");
                self.finished(number, OpOutcome::Failed { kind, message: format!("{} at last", kind.name()) })
            }
            ["op", number, host, name] => {
                Event::OpStarted { host: self.host(host), op: op(number), name: name.to_owned(), deadline: None }
            }
            ["attempt", number, host, "ok"] => self.attempt_finished(number, host, true),
            ["attempt", number, host, "failed"] => self.attempt_finished(number, host, false),
            ["attempt", number, host] => {
                Event::AttemptStarted { host: self.host(host), attempt: whole(number), op: None }
            }
            ["attempt", number, host, "of", of] => {
                Event::AttemptStarted { host: self.host(host), attempt: whole(number), op: Some(op(of)) }
            }
            ["effect", number, host] => Event::Effect { host: self.host(host), op: op(number) },
            ["gauge", host, name, value] => {
                let value = value.parse().expect("a value");
                Event::Gauge { host: self.host(host), name: Cow::Owned(name.to_owned()), value }
            }
            ["wait", host, waited] => Event::PoolWait { host: self.host(host), waited: span(waited) },
            ["fault", name, "begins"] => {
                let fault = FaultId::new(self.faults.len() as u32);
                self.faults.push(name.to_owned());
                Event::FaultStarted { fault, name: name.to_owned() }
            }
            ["fault", name, "ends"] => {
                let last = self.faults.iter().rposition(|known| known == name).expect("a fault that began");
                Event::FaultEnded { fault: FaultId::new(last as u32), name: name.to_owned() }
            }
            ["load", op] => Event::LoadPhase { index: 0, op: Some(op.to_owned()).filter(|op| op != "idle") },
            ["crash", host] => Event::HostCrashed { host: self.host(host), power_loss: true },
            ["kill", host] => Event::HostCrashed { host: self.host(host), power_loss: false },
            ["restart", host] => Event::HostStarted { host: self.host(host), restart: true },
            ["panic", host] => {
                let message = "index out of bounds".to_owned();
                Event::HostPanicked { host: self.host(host), main: false, message }
            }
            ["unsupported", host, call] => {
                let call = Cow::Owned(call.to_owned());
                Event::Unsupported { host: self.host(host), call, errno: Errno::ENOSYS }
            }
            ["pause", host] => Event::HostPaused { host: self.host(host) },
            ["resume", host] => Event::HostResumed { host: self.host(host) },
            ["exit", host] => Event::HostExited { host: self.host(host), error: None },
            ["exit", host, error] => Event::HostExited { host: self.host(host), error: Some(error.to_owned()) },
            ["log", host, level, target, message] => {
                let level = if level == "warn" { "warn" } else { "trace" };
                let (target, message) = (target.to_owned(), message.to_owned());
                Event::Log { host: self.host(host), level, target, message }
            }
            ["end", reason] => Event::RunEnded { reason: end(reason) },
            _ => self.network(words),
        }
    }

    fn network(&self, words: &[&str]) -> Event {
        match *words {
            ["tcp", host, local, remote, from, to] => Event::TcpStateChanged {
                host: self.host(host),
                local: address(local),
                remote: address(remote),
                from: state(from),
                to: state(to),
            },
            ["nat", number, inner, outer, remote] => Event::NatCreated {
                element: ElementId::new(whole(number) as u32),
                protocol: Protocol::Tcp,
                inner: address(inner),
                outer: address(outer),
                remote: address(remote),
            },
            ["nat", number, inner, outer, remote, reason, idle] => Event::NatEvicted {
                element: ElementId::new(whole(number) as u32),
                protocol: Protocol::Tcp,
                inner: address(inner),
                outer: address(outer),
                remote: address(remote),
                reason: match reason {
                    "idle" => EvictReason::Idle,
                    "closed" => EvictReason::Closed,
                    "evicted" => EvictReason::Evicted,
                    "flushed" => EvictReason::Flushed,
                    other => panic!("no eviction for being {other}"),
                },
                idle: span(idle),
            },
            ["record", name, addresses, ttl] => {
                Event::DnsRecord { name: name.to_owned(), addresses: ips(addresses), ttl: span(ttl) }
            }
            ["resolved", host, name, addresses, source] => Event::NameResolved {
                host: self.host(host),
                name: name.to_owned(),
                addresses: ips(addresses),
                source: match source {
                    "server" => DnsSource::Server,
                    "cache" => DnsSource::StubCache,
                    "hosts" => DnsSource::HostsFile,
                    other => panic!("no answer comes from {other}"),
                },
                took: SimDuration::ZERO,
                error: (addresses == "-").then_some("EAI_AGAIN"),
            },
            ["sent", host, src, dst, size] => {
                Event::PacketSent { host: self.host(host), packet: packet(src, dst, size) }
            }
            ["asks", host] => {
                let packet = packet("10.0.0.1:5353", "10.0.0.53:53", "60");
                Event::PacketSent { host: self.host(host), packet: PacketInfo { protocol: Protocol::Udp, ..packet } }
            }
            ["received", host, src, dst, size] => {
                Event::PacketDelivered { host: self.host(host), packet: packet(src, dst, size) }
            }
            ["dropped", reason, src, dst, size] => {
                let reason = DropReason::ALL.into_iter().find(|known| known.name() == reason).expect("a reason");
                Event::PacketDropped { element: None, direction: None, reason, packet: packet(src, dst, size) }
            }
            ["retransmit", host, local, remote] => Event::TcpRetransmit {
                host: self.host(host),
                local: address(local),
                remote: address(remote),
                kind: RetransmitKind::Timeout,
                seq: 1,
                payload: 100,
            },
            ["keepalive", host, local, remote] => {
                let (local, remote) = (address(local), address(remote));
                Event::TcpProbe { host: self.host(host), local, remote, kind: ProbeKind::Keepalive }
            }
            ["listening", host, local] => Event::Listening { host: self.host(host), local: address(local) },
            ["overflow", host, local] => Event::ListenOverflow { host: self.host(host), local: address(local) },
            ["answered", host, name, "SERVFAIL"] => {
                Event::DnsAnswered { host: self.host(host), name: name.to_owned(), code: "SERVFAIL" }
            }
            ["duplicated", number, src, dst, size] => Event::PacketDuplicated {
                element: ElementId::new(whole(number) as u32),
                packet: packet(src, dst, size),
            },
            ["corrupted", number, src, dst, size] => {
                Event::PacketCorrupted { element: ElementId::new(whole(number) as u32), packet: packet(src, dst, size) }
            }
            ["link", number, offered, delivered, lost] => Event::LinkClosed {
                element: ElementId::new(whole(number) as u32),
                route: RouteId::new(0),
                direction: Direction::Backward,
                books: LinkBooks {
                    offered: whole(offered),
                    delivered: whole(delivered),
                    dropped: vec![(DropReason::Loss, whole(lost))],
                    ..LinkBooks::default()
                },
            },
            ["mtu", host, remote, mtu] => {
                Event::PathMtu { host: self.host(host), remote: ips(remote)[0], mtu: whole(mtu) as u32 }
            }
            _ => panic!("not an event: {words:?}"),
        }
    }

    fn finished(&self, number: &str, outcome: OpOutcome) -> Event {
        Event::OpFinished { host: HostId::new(0), op: op(number), outcome }
    }

    fn attempt_finished(&self, number: &str, host: &str, ok: bool) -> Event {
        Event::AttemptFinished { host: self.host(host), attempt: whole(number), ok }
    }
}

fn whole(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("not a number: {text}"))
}

fn op(text: &str) -> OpId {
    OpId(whole(text))
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| panic!("not an address and port: {text}"))
}

/// Addresses with commas between; `-` for none.
fn ips(text: &str) -> Vec<IpAddr> {
    let parts = text.split(',').filter(|part| *part != "-");
    parts.map(|part| part.parse().unwrap_or_else(|_| panic!("not an address: {part}"))).collect()
}

/// `2s`, `1.5s`, `20ms`, `2m`.
fn span(text: &str) -> SimDuration {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let per_ns = match &text[digits.len()..] {
        "m" => 60_000_000_000,
        "s" => 1_000_000_000,
        "ms" => 1_000_000,
        unit => panic!("no unit of time: {unit}"),
    };
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = whole(&format!("{fraction:0<9}"));
    SimDuration::from_nanos(whole(integer) * per_ns + fraction * (per_ns / 1_000_000) / 1_000)
}

fn packet(src: &str, dst: &str, size: &str) -> PacketInfo {
    let size = whole(size) as u32;
    let (flags, payload) = if size > 40 { (TcpFlags::ACK, size - 40) } else { (TcpFlags::SYN, 0) };
    let (src, dst, protocol) = (address(src), address(dst), Protocol::Tcp);
    PacketInfo { src, dst, protocol, size, flags, seq: 1, ack: 0, payload }
}

fn state(text: &str) -> TcpState {
    match text {
        "CLOSED" => TcpState::Closed,
        "LISTEN" => TcpState::Listen,
        "SYN-SENT" => TcpState::SynSent,
        "SYN-RECEIVED" => TcpState::SynReceived,
        "ESTABLISHED" => TcpState::Established,
        "FIN-WAIT-1" => TcpState::FinWait1,
        "FIN-WAIT-2" => TcpState::FinWait2,
        "CLOSE-WAIT" => TcpState::CloseWait,
        "CLOSING" => TcpState::Closing,
        "LAST-ACK" => TcpState::LastAck,
        "TIME-WAIT" => TcpState::TimeWait,
        other => panic!("no state {other}"),
    }
}

fn end(reason: &str) -> EndReason {
    match reason {
        "done" => EndReason::Done,
        "limit" => EndReason::TimeLimit,
        "deadlock" => EndReason::Deadlock { waiting: vec!["app t3: futex".to_owned()] },
        "abort" => EndReason::Aborted { message: "app called exit(3)".to_owned() },
        other => panic!("no run ends for {other}"),
    }
}
