//! The record of a long run stays small: ten million events take less than 500 MiB.

use std::fs;
use std::net::SocketAddr;

use halfopen_core::event::{EndReason, Event, EventSink, OpOutcome, PacketInfo, Protocol, TcpFlags, TcpState};
use halfopen_core::id::OpId;
use halfopen_core::{HostId, SimDuration, SimTime};
use halfopen_record::{Config, Recorder};

/// As many as the bound is about, where the build is fast enough for them.
const EVENTS: u64 = if cfg!(debug_assertions) { 1_000_000 } else { 10_000_000 };
/// 500 MiB for ten million events.
const BYTES_PER_EVENT_MAX: u64 = (500 << 20) / 10_000_000;
/// What allocations and the test itself may add, whatever the number of events.
const BYTES_FIXED: u64 = 8 << 20;
const CLIENT: HostId = HostId::new(0);
const SERVER: HostId = HostId::new(1);

/// Bytes of this process in the machine's memory.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it tells of the resident set");
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
    kib << 10
}

/// What one op on a connection of its own leaves in the log: the op, its attempt at the upstream, a gauge twice, twelve
/// packets at both ends, and the states of both ends from SYN to TIME-WAIT.
fn op(number: u64, at: SimTime, tell: &mut dyn FnMut(SimTime, Event)) {
    use TcpState::{
        CloseWait, Closed, Established, FinWait1, FinWait2, LastAck, Listen, SynReceived, SynSent, TimeWait,
    };
    let local = SocketAddr::from(([10, 0, 0, 1], 32_768 + (number % 28_000) as u16));
    let remote = SocketAddr::from(([10, 0, 0, 2], 80));
    let id = OpId(number + 1);
    let mut tell = |event| tell(at, event);
    let gauge = |value| Event::Gauge { host: CLIENT, name: "pool.in_use".into(), value };
    tell(Event::OpStarted { host: CLIENT, op: id, name: "get".to_owned(), deadline: None });
    tell(gauge(1));
    for (from, to) in [(Closed, SynSent), (SynSent, Established)] {
        tell(Event::TcpStateChanged { host: CLIENT, local, remote, from, to });
    }
    for (from, to) in [(Listen, SynReceived), (SynReceived, Established)] {
        tell(Event::TcpStateChanged { host: SERVER, local: remote, remote: local, from, to });
    }
    tell(Event::AttemptStarted { host: SERVER, attempt: number, op: Some(id) });
    for turn in 0..12u32 {
        let (from, to, src, dst) =
            if turn % 2 == 0 { (CLIENT, SERVER, local, remote) } else { (SERVER, CLIENT, remote, local) };
        let (protocol, flags) = (Protocol::Tcp, TcpFlags::ACK);
        let packet = PacketInfo { src, dst, protocol, size: 152, flags, seq: turn, ack: turn, payload: 100 };
        tell(Event::PacketSent { host: from, packet });
        tell(Event::PacketDelivered { host: to, packet });
    }
    tell(Event::AttemptFinished { host: SERVER, attempt: number, ok: true });
    for (from, to) in [(Established, FinWait1), (FinWait1, FinWait2), (FinWait2, TimeWait), (TimeWait, Closed)] {
        tell(Event::TcpStateChanged { host: CLIENT, local, remote, from, to });
    }
    for (from, to) in [(Established, CloseWait), (CloseWait, LastAck), (LastAck, Closed)] {
        tell(Event::TcpStateChanged { host: SERVER, local: remote, remote: local, from, to });
    }
    tell(gauge(0));
    tell(Event::OpFinished { host: CLIENT, op: id, outcome: OpOutcome::Ok });
}

#[test]
fn ten_million_events_take_less_than_500_mib() {
    let mut recorder = Recorder::new(Config::default());
    for (host, name, address) in [(CLIENT, "app", [10, 0, 0, 1]), (SERVER, "db", [10, 0, 0, 2])] {
        let (name, addresses) = (name.to_owned(), vec![address.into()]);
        recorder.event(SimTime::ZERO, &Event::HostDeclared { host, name, addresses, upstream: host == SERVER });
    }
    let before = resident();
    let mut ops = 0;
    while recorder.events() < EVENTS {
        let at = SimTime::ZERO + SimDuration::from_millis(ops);
        op(ops, at, &mut |at, event| recorder.event(at, &event));
        ops += 1;
    }
    let (events, grown) = (recorder.events(), resident().saturating_sub(before));
    println!("{events} events of {ops} ops: {} MiB, {} bytes each", grown >> 20, grown / events);
    assert!(grown <= events * BYTES_PER_EVENT_MAX + BYTES_FIXED, "{events} events take {grown} bytes");
    let end = SimTime::ZERO + SimDuration::from_millis(ops);
    recorder.event(end, &Event::RunEnded { reason: EndReason::Done });
    assert_eq!(recorder.finish().error(), None, "nothing was left out");
}
