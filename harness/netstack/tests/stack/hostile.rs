//! Two of our stacks on a wire that loses, delays, doubles and cuts: whatever programs do, nothing panics, nothing is
//! forgotten, and each byte arrives once and in order or its connection ends with an error.

use halfopen_core::{Errno, SimDuration, Stream};
use halfopen_fabric::packet::IcmpError;
use halfopen_netstack::Sysctls;
use halfopen_netstack::socket::{Shutdown, SocketId, SocketOptions};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngSeed};

use crate::common::Side::{A, B};
use crate::common::*;

fn config(cases: u32) -> ProptestConfig {
    #[allow(clippy::disallowed_methods)] // How long to search is not what is searched.
    let times = std::env::var("HALFOPEN_CASES_TIMES").ok().and_then(|text| text.parse::<u32>().ok()).unwrap_or(1);
    ProptestConfig {
        cases: cases * times,
        rng_seed: RngSeed::Fixed(1),
        max_shrink_iters: 2_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/stack.proptest-regressions"
        )))),
        ..ProptestConfig::default()
    }
}

#[derive(Clone, Debug)]
struct Wire {
    seed: u64,
    loss_permille: u64,
    double_permille: u64,
    jitter_us: u64,
    latency_us: u64,
    mtu: u32,
    /// Too large is lost without a word: a black hole for who does not probe.
    silent: bool,
}

fn wires() -> impl Strategy<Value = Wire> {
    (
        any::<u64>(),
        prop_oneof![3 => Just(0u64), 3 => 1..50u64, 2 => 50..200u64, 1 => 300..700u64],
        prop_oneof![Just(0u64), 1..100u64],
        prop_oneof![Just(0u64), 1..100_000u64],
        0..200_000u64,
        prop_oneof![Just(1500u32), 576..1500u32],
        prop::bool::weighted(0.2),
    )
        .prop_map(|(seed, loss_permille, double_permille, jitter_us, latency_us, mtu, silent)| Wire {
            silent,
            seed,
            loss_permille,
            double_permille,
            jitter_us,
            latency_us,
            mtu,
        })
}

fn hostile(net: &mut Net, wire: &Wire) {
    let Wire { seed, loss_permille, double_permille, jitter_us, latency_us, mtu, silent } = *wire;
    let mut random = Stream::new(seed, "wire", 0);
    net.set_latency(SimDuration::from_micros(latency_us));
    net.on_wire(move |_, packet| {
        let [loss, double, jitter] = [1000, 1000, jitter_us + 1].map(|bound| random.below(bound));
        let jitter = SimDuration::from_micros(jitter);
        match () {
            () if loss < loss_permille => Fate::Drop,
            () if packet.wire_len() > mtu as usize && packet.dont_fragment && silent => Fate::Drop,
            () if packet.wire_len() > mtu as usize && packet.dont_fragment => {
                Fate::Answer(about(packet, IcmpError::TooBig { mtu }))
            }
            () if double < double_permille => Fate::Twice(jitter),
            () => Fate::Delay(jitter),
        }
    });
}

// ---- a transfer ----

/// What one end of a transfer has done.
#[derive(Debug)]
struct End {
    side: Side,
    socket: SocketId,
    to_send: Vec<u8>,
    sent: usize,
    shut: bool,
    received: Vec<u8>,
    ended: Option<Result<(), Errno>>,
}

impl End {
    fn new(side: Side, socket: SocketId, len: usize) -> End {
        let salt = side as usize * 7 + 1;
        let to_send = (0..len).map(|i| ((i * 31 + i / 251 * salt) % 256) as u8).collect();
        End { side, socket, to_send, sent: 0, shut: false, received: Vec::new(), ended: None }
    }

    fn work(&mut self, net: &mut Net) {
        if self.ended.is_none() {
            match self.step(net) {
                Ok(false) => {}
                Ok(true) => self.ended = Some(Ok(())),
                Err(error) => self.ended = Some(Err(error)),
            }
            if self.ended.is_some() {
                net.close(self.side, self.socket);
            }
        }
    }

    /// SIOCOUTQ is 0: an orphan would be given up sooner than a connection that a program holds.
    fn is_acknowledged(&self, net: &mut Net) -> bool {
        let info = net.stack(self.side).tcp_info(self.socket).expect("a connection");
        info.bytes_unacked + info.bytes_unsent == 0
    }

    /// Gives whether all is done.
    fn step(&mut self, net: &mut Net) -> Result<bool, Errno> {
        while self.sent < self.to_send.len() {
            match net.send(self.side, self.socket, &self.to_send[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(Errno::EAGAIN) => break,
                Err(error) => return Err(error),
            }
        }
        if self.sent == self.to_send.len() && !self.shut && net.stack(self.side).peer_address(self.socket).is_ok() {
            let now = net.now;
            net.stack(self.side).shutdown(now, self.socket, Shutdown::Write)?;
            self.shut = true;
            net.drain();
        }
        loop {
            match net.recv(self.side, self.socket) {
                Ok(data) if data.is_empty() => return Ok(self.shut && self.is_acknowledged(net)),
                Ok(data) => self.received.extend(data),
                Err(Errno::EAGAIN) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

/// The program looks at its sockets this often.
const LOOK_EVERY: SimDuration = SimDuration::from_millis(20);
/// From here on the wire is perfect.
const HEALED: SimDuration = SimDuration::from_secs(1800);
const TIME_LIMIT: SimDuration = SimDuration::from_secs(3600);

/// What a host may have turned off or on.
fn sysctls() -> impl Strategy<Value = Sysctls> {
    let likely = || prop::bool::weighted(0.8);
    (likely(), likely(), likely(), likely(), prop::bool::weighted(0.1)).prop_map(
        |(tcp_sack, tcp_timestamps, tcp_window_scaling, tcp_moderate_rcvbuf, always)| Sysctls {
            tcp_sack,
            tcp_timestamps,
            tcp_window_scaling,
            tcp_moderate_rcvbuf,
            tcp_mtu_probing: if always { 2 } else { 1 },
            ..Sysctls::default()
        },
    )
}

fn check_transfer(wire: &Wire, hosts: [Sysctls; 2], a_sends: usize, b_sends: usize, buffers: [Option<u32>; 2]) {
    let [a, b] = hosts;
    let mut net = Net::with(a, b);
    hostile(&mut net, wire);
    // A keepalive tells one end that the other gave up.
    let options = buffers.map(|receive_buffer| SocketOptions {
        keepalive: true,
        keepalive_idle: Some(SimDuration::from_secs(60)),
        keepalive_interval: Some(SimDuration::from_secs(30)),
        receive_buffer,
        ..SocketOptions::default()
    });
    let now = net.now;
    let listener = net.tcp(B);
    net.stack(B).set_options(now, listener, options[1].clone());
    net.bind(B, listener, "0.0.0.0:80").unwrap();
    net.listen(B, listener, 8).unwrap();
    let client = net.tcp(A);
    net.stack(A).set_options(now, client, options[0].clone());
    assert_eq!(net.connect(A, client, "10.0.0.2:80"), Err(Errno::EINPROGRESS));
    let mut here = End::new(A, client, a_sends);
    let mut there: Option<End> = None;
    let mut healed = false;
    while net.now.as_nanos() < TIME_LIMIT.as_nanos() {
        net.run(LOOK_EVERY);
        if !healed && net.now.as_nanos() > HEALED.as_nanos() {
            net.on_wire(|_, _| Fate::Pass);
            healed = true;
        }
        here.work(&mut net);
        match &mut there {
            Some(end) => end.work(&mut net),
            None => there = net.accept(B, listener).ok().map(|(socket, _)| End::new(B, socket, b_sends)),
        }
        let there_done = there.as_ref().map_or(matches!(here.ended, Some(Err(_))), |end| end.ended.is_some());
        if here.ended.is_some() && there_done {
            break;
        }
    }
    let there = there.unwrap_or_else(|| End { ended: Some(Err(Errno::ETIMEDOUT)), ..End::new(B, listener, b_sends) });
    let story = format!(
        "at {}: A {:?} sent {} got {}, B {:?} sent {} got {}",
        net.now,
        here.ended,
        here.sent,
        here.received.len(),
        there.ended,
        there.sent,
        there.received.len()
    );
    for (reader, writer) in [(&here, &there), (&there, &here)] {
        assert!(writer.to_send.starts_with(&reader.received), "bytes out of place {story}");
        match reader.ended {
            None => panic!("hangs {story}"),
            Some(Ok(())) => assert_eq!(reader.received.len(), writer.to_send.len(), "{story}"),
            Some(Err(_)) => assert!(wire.loss_permille > 200, "an error on a path that is not that bad {story}"),
        }
    }
    // Neither stack keeps anything of it.
    net.close(B, listener);
    net.run(SimDuration::from_secs(2000));
    assert_eq!(net.stack(A).next_deadline(), None);
    assert_eq!(net.stack(B).next_deadline(), None);
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn every_byte_arrives_or_there_is_an_error(
        wire in wires(),
        hosts in [sysctls(), sysctls()],
        a_sends in prop_oneof![Just(0usize), 1..3_000usize, 1_000..200_000usize],
        b_sends in prop_oneof![Just(0usize), 1..3_000usize, 1_000..200_000usize],
        buffers in [prop::option::of(2_304..65_536u32), prop::option::of(2_304..65_536u32)],
    ) {
        check_transfer(&wire, hosts, a_sends, b_sends, buffers);
    }
}

// ---- anything at all ----

/// One call or happening. Indices are taken modulo what there is.
#[derive(Clone, Debug)]
enum Deed {
    Open {
        udp: bool,
        v6: bool,
    },
    /// Opens, binds and listens.
    Serve {
        port: u16,
        backlog: i32,
    },
    /// Opens and connects.
    Dial {
        address: usize,
        port: u16,
    },
    Options {
        socket: usize,
        reuse: bool,
        linger: bool,
        small: bool,
        no_delay: bool,
    },
    Bind {
        socket: usize,
        address: usize,
        port: u16,
    },
    Listen {
        socket: usize,
        backlog: i32,
    },
    Connect {
        socket: usize,
        address: usize,
        port: u16,
    },
    Disconnect {
        socket: usize,
    },
    Accept {
        socket: usize,
    },
    Send {
        socket: usize,
        len: usize,
        to: Option<(usize, u16)>,
    },
    Recv {
        socket: usize,
        len: usize,
        peek: bool,
    },
    Shutdown {
        socket: usize,
        how: usize,
    },
    Close {
        socket: usize,
    },
    Wait {
        ms: u64,
    },
    Kill,
    PowerLoss,
    Reset,
}

fn deeds() -> impl Strategy<Value = (bool, Deed)> {
    let port = || prop_oneof![4 => 80..83u16, 1 => Just(0u16)];
    let socket = || 0..40usize;
    let deed = prop_oneof![
        6 => (prop::bool::weighted(0.25), any::<bool>()).prop_map(|(udp, v6)| Deed::Open { udp, v6 }),
        4 => (80..83u16, 0..4i32).prop_map(|(port, backlog)| Deed::Serve { port, backlog }),
        12 => (0..8usize, 80..83u16).prop_map(|(address, port)| Deed::Dial { address, port }),
        2 => (socket(), any::<bool>(), prop::bool::weighted(0.2), any::<bool>(), any::<bool>())
            .prop_map(|(socket, reuse, linger, small, no_delay)| Deed::Options { socket, reuse, linger, small, no_delay }),
        5 => (socket(), 0..7usize, port()).prop_map(|(socket, address, port)| Deed::Bind { socket, address, port }),
        5 => (socket(), -1..4i32).prop_map(|(socket, backlog)| Deed::Listen { socket, backlog }),
        8 => (socket(), 0..8usize, port()).prop_map(|(socket, address, port)| Deed::Connect { socket, address, port }),
        1 => socket().prop_map(|socket| Deed::Disconnect { socket }),
        6 => socket().prop_map(|socket| Deed::Accept { socket }),
        8 => (socket(), prop_oneof![0..3_000usize, 0..100_000usize], prop::option::of((0..8usize, port())))
            .prop_map(|(socket, len, to)| Deed::Send { socket, len, to }),
        8 => (socket(), 0..100_000usize, any::<bool>()).prop_map(|(socket, len, peek)| Deed::Recv { socket, len, peek }),
        3 => (socket(), 0..3usize).prop_map(|(socket, how)| Deed::Shutdown { socket, how }),
        4 => socket().prop_map(|socket| Deed::Close { socket }),
        8 => prop_oneof![0..50u64, 0..70_000u64].prop_map(|ms| Deed::Wait { ms }),
        1 => prop_oneof![Just(Deed::Kill), Just(Deed::PowerLoss), Just(Deed::Reset)],
    ];
    (any::<bool>(), deed)
}

const ADDRESSES: [&str; 8] =
    ["0.0.0.0", "127.0.0.1", "10.0.0.1", "10.0.0.2", "[::]", "[::1]", "[::ffff:10.0.0.1]", "[fd00::2]"];

fn perform(net: &mut Net, open: &mut [Vec<SocketId>; 2], side: Side, deed: &Deed) {
    let now = net.now;
    let sockets = &mut open[side as usize];
    let pick = |sockets: &Vec<SocketId>, index: usize| sockets.get(index % sockets.len().max(1)).copied();
    let target = |address: usize, port: u16| format!("{}:{port}", ADDRESSES[address]);
    // Every result is fine here: what each call says is the other tests' business.
    match *deed {
        Deed::Open { udp, v6 } => sockets.push(match (udp, v6) {
            (true, true) => net.udp6(side),
            (true, false) => net.udp(side),
            (false, true) => net.tcp6(side),
            (false, false) => net.tcp(side),
        }),
        Deed::Serve { port, backlog } => {
            let socket = net.tcp6(side);
            let _ = net.bind(side, socket, &format!("[::]:{port}"));
            let _ = net.listen(side, socket, backlog);
            sockets.push(socket);
        }
        Deed::Dial { address, port } => {
            let target = target(address, port);
            let socket = if at(&target).is_ipv4() { net.tcp(side) } else { net.tcp6(side) };
            let _ = net.connect(side, socket, &target);
            sockets.push(socket);
        }
        Deed::Wait { ms: n } => net.run(ms(n)),
        Deed::Kill => {
            net.stack(side).kill_all(now);
            sockets.clear();
        }
        Deed::PowerLoss => {
            net.stack(side).power_loss();
            sockets.clear();
        }
        Deed::Reset => net.stack(side).reset_flows(now, None),
        Deed::Close { socket } => {
            if !sockets.is_empty() {
                let socket = sockets.swap_remove(socket % sockets.len());
                net.close(side, socket);
            }
        }
        Deed::Accept { socket } => {
            if let Some(listener) = pick(sockets, socket)
                && let Ok((accepted, _)) = net.accept(side, listener)
            {
                sockets.push(accepted);
            }
        }
        Deed::Options { socket, reuse, linger, small, no_delay } => {
            if let Some(socket) = pick(sockets, socket) {
                let options = SocketOptions {
                    reuse_addr: reuse,
                    reuse_port: reuse,
                    linger: linger.then_some(SimDuration::ZERO),
                    receive_buffer: small.then_some(2_304),
                    no_delay,
                    ..net.stack(side).options(socket).clone()
                };
                net.stack(side).set_options(now, socket, options);
            }
        }
        Deed::Bind { socket, address, port } => {
            if let Some(socket) = pick(sockets, socket) {
                let _ = net.bind(side, socket, &target(address, port));
            }
        }
        Deed::Listen { socket, backlog } => {
            if let Some(socket) = pick(sockets, socket) {
                let _ = net.listen(side, socket, backlog);
            }
        }
        Deed::Connect { socket, address, port } => {
            if let Some(socket) = pick(sockets, socket) {
                let _ = net.connect(side, socket, &target(address, port));
            }
        }
        Deed::Disconnect { socket } => {
            if let Some(socket) = pick(sockets, socket) {
                let _ = net.stack(side).connect(now, socket, None);
            }
        }
        Deed::Send { socket, len, to } => {
            if let Some(socket) = pick(sockets, socket) {
                let to = to.map(|(address, port)| at(&target(address, port)));
                let _ = net.stack(side).send(now, socket, &vec![1; len], to);
            }
        }
        Deed::Recv { socket, len, peek } => {
            if let Some(socket) = pick(sockets, socket) {
                let _ = net.recv_into(side, socket, &mut vec![0; len], peek);
            }
        }
        Deed::Shutdown { socket, how } => {
            if let Some(socket) = pick(sockets, socket) {
                let how = [Shutdown::Read, Shutdown::Write, Shutdown::Both][how];
                let _ = net.stack(side).shutdown(now, socket, how);
            }
        }
    }
    for &socket in &open[side as usize] {
        let stack = net.stack(side);
        let _ =
            (stack.readiness(socket), stack.local_address(socket), stack.peer_address(socket), stack.path_mtu(socket));
    }
    net.drain();
}

/// A stack that holds nothing lets a new socket have any port, and waits for nothing.
fn assert_empty(net: &mut Net, side: Side) {
    assert_eq!(net.stack(side).next_deadline(), None, "{side:?} still waits for something");
    for port in 80..83 {
        for socket in [net.tcp(side), net.udp(side)] {
            assert_eq!(net.bind(side, socket, &format!("0.0.0.0:{port}")), Ok(()), "{side:?} keeps port {port}");
            net.close(side, socket);
        }
    }
}

/// Everything of `deeds` happens, then all is closed and dies.
fn live(wire: &Wire, deeds: &[(bool, Deed)]) -> Net {
    let mut net = Net::new();
    hostile(&mut net, wire);
    let mut open = [Vec::new(), Vec::new()];
    for (on_a, deed) in deeds {
        perform(&mut net, &mut open, if *on_a { A } else { B }, deed);
    }
    for side in [A, B] {
        for socket in std::mem::take(&mut open[side as usize]) {
            net.close(side, socket);
        }
    }
    net.run(DEATH);
    net
}

/// How long the last connection may take to die: ten backed-off retransmissions, and what was learned of a path.
const DEATH: SimDuration = SimDuration::from_secs(3000);

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn whatever_programs_do_nothing_is_left_when_all_is_closed(
        wire in wires(),
        deeds in prop::collection::vec(deeds(), 1..120),
    ) {
        let mut net = live(&wire, &deeds);
        for side in [A, B] {
            assert_empty(&mut net, side);
        }
    }

    #[test]
    fn the_same_again_is_the_same(wire in wires(), deeds in prop::collection::vec(deeds(), 1..60)) {
        let [first, second] = [(); 2].map(|()| live(&wire, &deeds));
        assert_eq!(first.trace, second.trace);
        assert_eq!(first.events, second.events);
        assert_eq!(first.woken, second.woken);
    }
}
