//! smoltcp as the other host.

use std::collections::VecDeque;
use std::net::IpAddr;

use halfopen_core::{SimDuration, SimTime};
use halfopen_fabric::packet::Packet;
use halfopen_fabric::wire;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{self, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint};

use crate::{Ended, Progress};

/// smoltcp's own send buffer.
const SEND_BUFFER_BYTES: usize = 65_536;

/// The two queues of a network card.
struct Card {
    mtu: usize,
    received: VecDeque<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut bytes = vec![0; len];
        let result = f(&mut bytes);
        self.0.push_back(bytes);
        result
    }
}

impl Device for Card {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        let bytes = self.received.pop_front()?;
        Some((Rx(bytes), Tx(&mut self.sent)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

pub struct Peer {
    card: Card,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    begun: bool,
}

fn instant(now: SimTime) -> Instant {
    Instant::from_micros(i64::try_from(now.as_nanos().div_ceil(1000)).expect("a run is shorter than that"))
}

fn address(text: &str) -> IpAddress {
    IpAddress::from(text.parse::<IpAddr>().unwrap())
}

impl Peer {
    pub fn new(ip: &str, mtu: usize, receive_buffer: usize, timestamps: bool, seed: u64) -> Peer {
        let mut card = Card { mtu, received: VecDeque::new(), sent: VecDeque::new() };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut card, Instant::ZERO);
        interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(address(ip), 24)).unwrap());
        let receive = tcp::SocketBuffer::new(vec![0; receive_buffer]);
        let send = tcp::SocketBuffer::new(vec![0; SEND_BUFFER_BYTES]);
        let mut socket = tcp::Socket::new(receive, send);
        // Without these smoltcp would wait for ever for one that died. Its keepalives carry a byte, so each puts off the
        // next window probe (Linux `tcp_ack_probe`): they must come less often than the 120 s of a probe.
        socket.set_keep_alive(Some(Duration::from_secs(300)));
        socket.set_timeout(Some(Duration::from_secs(1800)));
        if timestamps {
            socket.set_tsval_generator(Some(|| 1));
        }
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(socket);
        Peer { card, interface, sockets, socket, begun: false }
    }

    pub fn listen(&mut self, port: u16) {
        self.sockets.get_mut::<tcp::Socket>(self.socket).listen(port).unwrap();
    }

    pub fn connect(&mut self, to: &str, port: u16) {
        let socket = self.sockets.get_mut::<tcp::Socket>(self.socket);
        socket.connect(self.interface.context(), IpEndpoint::new(address(to), port), 50_000u16).unwrap();
    }

    pub fn on_packet(&mut self, packet: &Packet) {
        self.card.received.push_back(wire::emit(packet));
    }

    pub fn poll(&mut self, now: SimTime) {
        self.interface.poll(instant(now), &mut self.card, &mut self.sockets);
    }

    pub fn poll_transmit(&mut self) -> Option<Packet> {
        let bytes = self.card.sent.pop_front()?;
        let packet = wire::parse(&bytes).expect("smoltcp sends what is a packet");
        assert!(!packet.corrupt, "smoltcp's checksums are right");
        Some(packet)
    }

    /// Later than `now`: what is due now was done by [`Peer::poll`].
    pub fn next_deadline(&mut self, now: SimTime) -> Option<SimTime> {
        let at = self.interface.poll_at(instant(now), &self.sockets)?;
        let at = SimTime::from_nanos(at.total_micros() as u64 * 1000);
        Some(at.max(now + SimDuration::from_micros(1)))
    }

    /// Whether the handshake was ever done.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// The program: sends all, half-closes, reads to the end.
    pub fn work(&mut self, progress: &mut Progress) {
        if progress.ended.is_some() {
            return;
        }
        let socket = self.sockets.get_mut::<tcp::Socket>(self.socket);
        self.begun |= socket.may_send();
        if !self.begun {
            // Refused, or still trying.
            if socket.state() == State::Closed {
                progress.ended = Some(Ended::Error);
            }
            return;
        }
        while progress.sent < progress.to_send && socket.can_send() {
            progress.sent += socket.send_slice(&progress.next_chunk()).unwrap_or(0);
        }
        let mut buffer = [0; 16_384];
        while socket.can_recv() {
            let len = socket.recv_slice(&mut buffer).expect("it can receive");
            progress.take(&buffer[..len]);
        }
        if progress.sent == progress.to_send && !progress.shut && socket.may_send() {
            socket.close();
            progress.shut = true;
        }
        if socket.may_recv() {
            return;
        }
        match socket.state() {
            // The other side's FIN was seen. A reset leaves smoltcp in CLOSED at once.
            State::TimeWait | State::LastAck | State::Closing if progress.shut => progress.ended = Some(Ended::Orderly),
            State::Closed => progress.ended = Some(Ended::Error),
            _ => {}
        }
    }
}
