//! From events to metrics.

use std::borrow::Cow;
use std::net::SocketAddr;

use halfopen_core::event::{EndReason, EventSink, OpOutcome, PacketInfo, Protocol, TcpFlags, TcpState};
use halfopen_core::id::OpId;
use halfopen_core::{Event, HostId, SimDuration, SimTime};
use halfopen_instructions::count::counted;
use halfopen_record::{Config, Recorder};

use crate::{Operation, operation};

pub const OPERATIONS: &[Operation] = &[
    operation("record/event-10000", SAMPLES * EVENTS_PER_OP, || fold(10_000)),
    operation("record/event-1000000", SAMPLES * EVENTS_PER_OP, || fold(1_000_000)),
    operation("record/metrics-1000-events", 1, || metrics(1_000)),
    operation("record/metrics-2000-events", 1, || metrics(2_000)),
];

/// How many ops have their events counted, evenly spread over all.
const SAMPLES: u64 = 64;

const EVENTS_PER_OP: u64 = 10;

const CLIENT: HostId = HostId::new(0);
const SERVER: HostId = HostId::new(1);

/// Pooled connections over which ops go in turn.
const CONNECTIONS: u64 = 16;

fn client(connection: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 40_000 + connection as u16))
}

fn server() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 2], 80))
}

/// A recorder that has heard of both hosts and of all connections.
fn begin() -> Recorder {
    let mut recorder = Recorder::new(Config::default());
    for (host, name, address) in [(CLIENT, "app", client(0)), (SERVER, "api", server())] {
        let (name, addresses) = (name.to_owned(), vec![address.ip()]);
        recorder.event(SimTime::ZERO, &Event::HostDeclared { host, name, addresses, upstream: host == SERVER });
    }
    let (from, to) = (TcpState::SynSent, TcpState::Established);
    for connection in 0..CONNECTIONS {
        let (local, remote) = (client(connection), server());
        recorder.event(SimTime::ZERO, &Event::TcpStateChanged { host: CLIENT, local, remote, from, to });
        let (local, remote, from) = (remote, local, TcpState::SynReceived);
        recorder.event(SimTime::ZERO, &Event::TcpStateChanged { host: SERVER, local, remote, from, to });
    }
    recorder
}

/// All that happens for one op: ten milliseconds each, ops in turn.
fn events_of(number: u64) -> [(SimTime, Event); EVENTS_PER_OP as usize] {
    let op = OpId(number + 1);
    let (client, server) = (client(number % CONNECTIONS), server());
    let packet = |src, dst, payload: u32| PacketInfo {
        src,
        dst,
        protocol: Protocol::Tcp,
        size: payload + 52,
        flags: TcpFlags::PSH.with(TcpFlags::ACK),
        seq: number as u32,
        ack: number as u32,
        payload,
    };
    let (request, answer) = (packet(client, server, 120), packet(server, client, 400));
    let gauge = |value| Event::Gauge { host: CLIENT, name: Cow::Borrowed("pool.in_use"), value };
    let events = [
        Event::OpStarted { host: CLIENT, op, name: "get".to_owned(), deadline: None },
        gauge(1),
        Event::PacketSent { host: CLIENT, packet: request },
        Event::PacketDelivered { host: SERVER, packet: request },
        Event::AttemptStarted { host: SERVER, attempt: number, op: Some(op) },
        Event::AttemptFinished { host: SERVER, attempt: number, ok: true },
        Event::PacketSent { host: SERVER, packet: answer },
        Event::PacketDelivered { host: CLIENT, packet: answer },
        gauge(0),
        Event::OpFinished { host: CLIENT, op, outcome: OpOutcome::Ok },
    ];
    let mut at = SimTime::ZERO + SimDuration::from_millis(10 * number);
    // Latencies vary, so that there is something to sort.
    let step = SimDuration::from_micros(500 + number * 7919 % 400);
    events.map(|event| {
        at += step;
        (at, event)
    })
}

fn fold(events: u64) {
    let mut recorder = begin();
    let ops = events / EVENTS_PER_OP;
    let stride = ops / SAMPLES;
    for number in 0..ops {
        let events = events_of(number);
        let mut tell = || events.iter().for_each(|(at, event)| recorder.event(*at, event));
        // The last of each stretch, so that the last sample comes after (nearly) all events.
        if number % stride == stride - 1 && number / stride < SAMPLES { counted(tell) } else { tell() }
    }
}

/// Everything that the run's result has in figures.
fn metrics(events: u64) {
    let mut recorder = begin();
    for number in 0..events / EVENTS_PER_OP {
        events_of(number).iter().for_each(|(at, event)| recorder.event(*at, event));
    }
    recorder.event(SimTime::ZERO + SimDuration::from_secs(3600), &Event::RunEnded { reason: EndReason::Done });
    let metrics = counted(|| recorder.finish().metrics());
    assert!(!metrics.is_empty(), "there is something to tell");
}
