//! Inside a host: what a segment costs on its way out of a stack and into one.

use std::net::{IpAddr, SocketAddr};

use halfopen_core::{Errno, HostId, SimDuration, SimTime, Stream};
use halfopen_instructions::count::counted;
use halfopen_netstack::socket::{Family, Kind, SocketId};
use halfopen_netstack::stack::StackConfig;
use halfopen_netstack::{Netstack, Sysctls};

use crate::{Operation, operation};

pub const OPERATIONS: &[Operation] = &[
    operation("netstack/segment-out", TIMES, || segments(1, Count::Out)),
    operation("netstack/segment-in", TIMES, || segments(1, Count::In)),
    operation("netstack/segment-in-10000-flows", TIMES, || segments(10_000, Count::In)),
    operation("netstack/read", TIMES, || segments(1, Count::Read)),
];

/// How many segments are counted.
const TIMES: u64 = 16;

/// A full segment of Ethernet, with timestamps.
const PAYLOAD: [u8; 1448] = [b'x'; 1448];

/// Which part of a segment's life is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    /// `send`, and the segment to the network.
    Out,
    /// The segment from the network, until the program is woken.
    In,
    /// `recv`.
    Read,
}

/// Two stacks on a wire without latency.
struct Pair {
    now: SimTime,
    client: Netstack,
    server: Netstack,
}

fn address(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

fn stack(number: u8) -> Netstack {
    Netstack::new(StackConfig {
        host: HostId::new(number.into()),
        addresses: vec![address(number)],
        interface_mtu: 1500,
        sysctls: Sysctls::default(),
        random: Stream::new(1, "netstack", number.into()),
    })
}

/// Wakes the program and tells the log.
fn drain(stack: &mut Netstack) {
    while stack.poll_wakeup().is_some() {}
    while stack.poll_event().is_some() {}
}

impl Pair {
    /// Lets both sides say all that they have to say.
    fn exchange(&mut self) {
        self.now += SimDuration::from_millis(1);
        loop {
            let mut quiet = true;
            while let Some(packet) = self.client.poll_transmit(self.now) {
                self.server.on_packet(self.now, packet);
                quiet = false;
            }
            while let Some(packet) = self.server.poll_transmit(self.now) {
                self.client.on_packet(self.now, packet);
                quiet = false;
            }
            if quiet {
                break;
            }
        }
        drain(&mut self.client);
        drain(&mut self.server);
    }

    /// One more connection: its two ends.
    fn connect(&mut self, listener: SocketId) -> (SocketId, SocketId) {
        let (client, server) = (&mut self.client, SocketAddr::new(address(2), 80));
        let socket = client.socket(Family::V4, Kind::Tcp).expect("there is room for a socket");
        assert_eq!(client.connect(self.now, socket, Some(server)), Err(Errno::EINPROGRESS));
        self.exchange();
        let (accepted, _) = self.server.accept(self.now, listener).expect("the handshake is over");
        (socket, accepted)
    }
}

/// One segment at a time on the last of so many connections, each acknowledged and read before the next.
fn segments(connections: u32, count: Count) {
    let mut pair = Pair { now: SimTime::ZERO, client: stack(1), server: stack(2) };
    let listener = pair.server.socket(Family::V4, Kind::Tcp).expect("there is room for a socket");
    pair.server.bind(pair.now, listener, SocketAddr::new(address(2), 80)).expect("nobody has that port");
    pair.server.listen(pair.now, listener, 16).expect("it is bound");
    let mut ends = Vec::new();
    for _ in 0..connections {
        ends.push(pair.connect(listener));
    }
    let (client, server) = ends[ends.len() / 2];
    // Counting begins on a connection that is warm.
    for round in 0..2 * TIMES {
        one_segment(&mut pair, client, server, (round >= TIMES).then_some(count));
    }
}

fn one_segment(pair: &mut Pair, client: SocketId, server: SocketId, count: Option<Count>) {
    let now = pair.now;
    let out = |stack: &mut Netstack| {
        assert_eq!(stack.send(now, client, &PAYLOAD, None), Ok(PAYLOAD.len()));
        let packet = stack.poll_transmit(now);
        drain(stack);
        packet
    };
    let packet = only(count, Count::Out, || out(&mut pair.client)).expect("the window is open");
    only(count, Count::In, || {
        pair.server.on_packet(now, packet);
        drain(&mut pair.server);
    });
    let mut buffer = [0; 2 * PAYLOAD.len()];
    let received = only(count, Count::Read, || pair.server.recv(now, server, &mut buffer, false));
    assert_eq!(received.map(|received| received.len), Ok(PAYLOAD.len()));
    pair.exchange();
    // Beyond the delayed acknowledgement (200 ms at most).
    pair.now += SimDuration::from_secs(1);
    pair.server.on_timer(pair.now);
    pair.exchange();
}

/// Does it, counted if it is what is to be counted.
fn only<T>(count: Option<Count>, part: Count, act: impl FnOnce() -> T) -> T {
    if count == Some(part) { counted(act) } else { act() }
}
