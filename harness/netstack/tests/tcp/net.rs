//! The two-ended harness: two connections, a scripted path, and a trace of what passed.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use halfopen_core::event::{TcpFlags, TcpState};
use halfopen_core::{Errno, Event, HostId, SimDuration, SimTime};
use halfopen_fabric::packet::{SeqNum, TcpSegment};
use halfopen_netstack::socket::SocketOptions;
use halfopen_netstack::tcp::{Connection, Endpoint};
use halfopen_netstack::{Readiness, Sysctls};

pub const CLIENT_ISS: u32 = 0xffff_f000; // The sequence space wraps early.
pub const SERVER_ISS: u32 = 7_000;
/// More steps than any test needs: a livelock ends here.
pub const STEPS_MAX: usize = 3_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Client,
    Server,
}
pub use Side::{Client, Server};

pub fn ms(n: u64) -> SimDuration {
    SimDuration::from_millis(n)
}

pub fn secs(n: u64) -> SimDuration {
    SimDuration::from_secs(n)
}

/// What the path does with one segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Pass,
    Drop,
    /// Later than it would have come.
    Delay(SimDuration),
    Twice,
}

/// A segment as the path saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: SimTime,
    pub from: Side,
    pub segment: TcpSegment,
    pub dont_fragment: bool,
    pub dropped: bool,
}

impl Seen {
    pub fn has(&self, flag: TcpFlags) -> bool {
        self.segment.flags.has(flag)
    }

    pub fn len(&self) -> usize {
        self.segment.payload.len()
    }
}

pub type Script = Box<dyn FnMut(SimTime, Side, &TcpSegment) -> Fate>;

pub struct Net {
    pub now: SimTime,
    pub one_way: SimDuration,
    pub client: Connection,
    pub server: Option<Connection>,
    pub server_setup: (Endpoint, Sysctls, SocketOptions),
    pub wire: BTreeMap<(SimTime, u64), (Side, TcpSegment)>,
    pub sequence: u64,
    pub script: Script,
    pub seen: Vec<Seen>,
    pub events: Vec<(SimTime, Side, Event)>,
    /// The server's program reads at once.
    pub server_reads: bool,
    pub client_reads: bool,
    pub server_got: Vec<u8>,
    pub client_got: Vec<u8>,
}

#[derive(Clone)]
pub struct Setup {
    pub rtt: SimDuration,
    pub client: SocketOptions,
    pub server: SocketOptions,
    pub sysctls: Sysctls,
    pub server_sysctls: Sysctls,
    pub mtu: u32,
    pub v6: bool,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            rtt: SimDuration::ZERO,
            client: SocketOptions::default(),
            server: SocketOptions::default(),
            sysctls: Sysctls::default(),
            server_sysctls: Sysctls::default(),
            mtu: 1500,
            v6: false,
        }
    }
}

impl Setup {
    pub fn rtt(ms_: u64) -> Setup {
        Setup { rtt: ms(ms_), ..Setup::default() }
    }

    pub fn sysctl(mut self, name: &str, value: &str) -> Setup {
        self.sysctls.set(name, value).unwrap();
        self
    }

    pub fn client(mut self, set: impl FnOnce(&mut SocketOptions)) -> Setup {
        set(&mut self.client);
        self
    }

    pub fn server(mut self, set: impl FnOnce(&mut SocketOptions)) -> Setup {
        set(&mut self.server);
        self
    }

    pub fn start(self) -> Net {
        self.start_with(Box::new(|_, _, _| Fate::Pass))
    }

    pub fn start_with(self, script: Script) -> Net {
        let address = |host: u8, port: u16| match self.v6 {
            false => SocketAddr::from(([10, 0, 0, host], port)),
            true => SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(host)], port)),
        };
        let endpoint = |number: u32, local, remote, iss| Endpoint {
            host: HostId::new(number),
            local,
            remote,
            iss: SeqNum(iss),
            timestamp_offset: number * 1_000_000,
            path_mtu: self.mtu,
        };
        let (here, there) = (address(1, 40_000), address(2, 5_000));
        let client =
            Connection::connect(SimTime::ZERO, endpoint(0, here, there, CLIENT_ISS), &self.sysctls, &self.client);
        let mut net = Net {
            now: SimTime::ZERO,
            one_way: self.rtt / 2,
            client,
            server: None,
            server_setup: (endpoint(1, there, here, SERVER_ISS), self.server_sysctls, self.server),
            wire: BTreeMap::new(),
            sequence: 0,
            script,
            seen: Vec::new(),
            events: Vec::new(),
            server_reads: true,
            client_reads: true,
            server_got: Vec::new(),
            client_got: Vec::new(),
        };
        net.flush();
        net
    }

    /// A connection after a conversation, as before the measured losses: five questions of 100 bytes, each answered.
    pub fn conversed(self) -> Net {
        let rtt = self.rtt;
        let mut net = self.start();
        net.run_for(rtt);
        for _ in 0..5 {
            net.client_send(&[1; 100]);
            net.run_for(rtt / 2);
            net.server_send(b"1");
            net.run_for(rtt / 2);
        }
        net.run_for(ms(500));
        net.seen.clear();
        net
    }

    /// A connection that has exchanged a few bytes and is idle; time starts anew from the trace's view.
    pub fn warm(self) -> Net {
        let mut net = self.start();
        net.run_for(secs(1));
        for _ in 0..3 {
            net.client_send(b"hello");
            net.run_for(secs(1));
        }
        assert_eq!(net.client.state(), TcpState::Established);
        net.seen.clear();
        net.events.clear();
        net
    }
}

impl Net {
    pub fn side(&mut self, side: Side) -> Option<&mut Connection> {
        match side {
            Client => Some(&mut self.client),
            Server => self.server.as_mut(),
        }
    }

    pub fn server(&mut self) -> &mut Connection {
        self.server.as_mut().expect("the server has seen a SYN")
    }

    pub fn script(&mut self, script: impl FnMut(SimTime, Side, &TcpSegment) -> Fate + 'static) {
        self.script = Box::new(script);
    }

    pub fn black_hole(&mut self) {
        self.script(|_, _, _| Fate::Drop);
    }

    /// Takes everything that both ends have to say.
    pub fn flush(&mut self) {
        for side in [Client, Server] {
            let now = self.now;
            self.read(side);
            while let Some(transmit) = self.side(side).and_then(|end| end.poll_transmit(now)) {
                let fate = (self.script)(now, side, &transmit.segment);
                self.seen.push(Seen {
                    at: now,
                    from: side,
                    segment: transmit.segment.clone(),
                    dont_fragment: transmit.dont_fragment,
                    dropped: fate == Fate::Drop,
                });
                let arrival = now + self.one_way;
                let copies: &[SimTime] = match fate {
                    Fate::Pass => &[arrival],
                    Fate::Drop => &[],
                    Fate::Delay(more) => &[arrival + more],
                    Fate::Twice => &[arrival, arrival],
                };
                for &at in copies {
                    self.sequence += 1;
                    self.wire.insert((at, self.sequence), (side, transmit.segment.clone()));
                }
            }
            while let Some(event) = self.side(side).and_then(Connection::poll_event) {
                self.events.push((now, side, event));
            }
        }
    }

    pub fn read(&mut self, side: Side) {
        let reads = if side == Client { self.client_reads } else { self.server_reads };
        let now = self.now;
        let Some(end) = self.side(side).filter(|_| reads) else { return };
        let unread = end.info().bytes_unread;
        if unread == 0 {
            return;
        }
        let mut got = vec![0; unread];
        assert_eq!(end.recv(now, &mut got, false), Ok(unread));
        match side {
            Client => self.client_got.extend(got),
            Server => self.server_got.extend(got),
        }
    }

    pub fn deliver(&mut self, from: Side, segment: &TcpSegment) {
        let now = self.now;
        match from {
            Server => self.client.on_segment(now, segment),
            Client => match &mut self.server {
                Some(server) => server.on_segment(now, segment),
                None if segment.flags == TcpFlags::SYN => {
                    let (endpoint, sysctls, options) = &self.server_setup;
                    self.server = Some(Connection::accept(now, endpoint.clone(), sysctls, options, segment));
                }
                None => {}
            },
        }
    }

    pub fn next(&self) -> Option<SimTime> {
        let wire = self.wire.first_key_value().map(|(&(at, _), _)| at);
        let server = self.server.as_ref().and_then(Connection::next_deadline);
        [wire, self.client.next_deadline(), server].into_iter().flatten().min()
    }

    /// Does all that is due up to and including `end`.
    pub fn run_until(&mut self, end: SimTime) {
        self.flush();
        let mut steps = 0;
        while let Some(at) = self.next().filter(|&at| at <= end) {
            steps += 1;
            assert!(steps < STEPS_MAX, "no end of steps at {}", self.now);
            assert!(at >= self.now, "time goes forward");
            self.now = at;
            while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= at) {
                let (from, segment) = entry.remove();
                self.deliver(from, &segment);
                self.flush();
            }
            for side in [Client, Server] {
                let Some(end) = self.side(side) else { continue };
                end.on_timer(at);
                assert!(end.next_deadline().is_none_or(|next| next > at), "{side:?} stands still at {at}: {end:#?}");
            }
            self.flush();
        }
        self.now = end;
        self.flush();
    }

    pub fn run_for(&mut self, span: SimDuration) {
        self.run_until(self.now + span);
    }

    pub fn client_send(&mut self, data: &[u8]) -> usize {
        let sent = self.client.send(self.now, data).unwrap();
        self.flush();
        sent
    }

    pub fn server_send(&mut self, data: &[u8]) -> usize {
        let now = self.now;
        let sent = self.server().send(now, data).unwrap();
        self.flush();
        sent
    }

    /// When a program that polls would first see an error, and which.
    pub fn client_error_by(&mut self, end: SimTime) -> Option<(SimTime, Errno)> {
        while self.now < end && !self.client.readiness().intersects(Readiness::ERR) {
            let next = self.next().filter(|&at| at <= end)?;
            self.run_until(next);
        }
        self.client.take_error().map(|errno| (self.now, errno))
    }

    /// Times, in milliseconds after `since`, at which a side sent segments that `want` picks.
    pub fn times(&self, side: Side, since: SimTime, want: impl Fn(&Seen) -> bool) -> Vec<u64> {
        let mine = self.seen.iter().filter(|seen| seen.from == side && seen.at >= since && want(seen));
        mine.map(|seen| seen.at.since(since).as_micros().div_ceil(1000)).collect()
    }

    /// The trace as text: time in ms, who, flags, relative sequence numbers.
    pub fn trace(&self, since: SimTime) -> String {
        let mut text = String::new();
        for seen in self.seen.iter().filter(|seen| seen.at >= since) {
            let (iss, peer, name) =
                if seen.from == Client { (CLIENT_ISS, SERVER_ISS, "C") } else { (SERVER_ISS, CLIENT_ISS, "S") };
            let mut flags = String::new();
            for (flag, letter) in [
                (TcpFlags::SYN, 'S'),
                (TcpFlags::FIN, 'F'),
                (TcpFlags::RST, 'R'),
                (TcpFlags::PSH, 'P'),
                (TcpFlags::ACK, 'A'),
            ] {
                if seen.has(flag) {
                    flags.push(letter);
                }
            }
            let start = seen.segment.seq.0.wrapping_sub(iss);
            text += &format!("{:>7} {name} [{flags}] {start}", seen.at.since(since).as_millis());
            if seen.len() > 0 {
                text += &format!("+{}", seen.len());
            }
            if seen.has(TcpFlags::ACK) {
                text += &format!(" ack {}", seen.segment.ack.0.wrapping_sub(peer));
            }
            for (from, to) in seen.segment.options.sack_blocks() {
                text += &format!(" sack {}-{}", from.0.wrapping_sub(peer), to.0.wrapping_sub(peer));
            }
            text += if seen.dropped { " lost\n" } else { "\n" };
        }
        text
    }
}

/// Compares nominal times with measured ones: never later, earlier by at most the timer wheel's rounding at each step.
#[track_caller]
pub fn check_schedule(what: &str, nominal_ms: &[u64], measured_ms: &[u64]) {
    assert_eq!(nominal_ms.len(), measured_ms.len(), "{what}: {nominal_ms:?} against measured {measured_ms:?}");
    for (&nominal, &measured) in nominal_ms.iter().zip(measured_ms) {
        let step = match nominal {
            0..256 => 8,
            256..2_048 => 36,
            2_048..16_384 => 260,
            _ => 2_052,
        };
        let slack = nominal / 16 + step;
        assert!(
            nominal <= measured + 2 && measured <= nominal + slack,
            "{what}: nominal {nominal} ms against measured {measured} ms; all: {nominal_ms:?} against {measured_ms:?}"
        );
    }
}

pub fn is_syn(seen: &Seen) -> bool {
    seen.has(TcpFlags::SYN)
}

pub fn has_data(seen: &Seen) -> bool {
    seen.len() > 0
}
