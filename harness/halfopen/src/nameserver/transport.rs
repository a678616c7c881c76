//! Sockets and threads: UDP on the calling thread, TCP on one thread for each connection.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::reply::{self, Incoming, Outcome, Question};
use super::shared::{Shared, now};
use super::{Answered, Transport};

/// How long a connection may be idle, as in unbound (tcp-idle-timeout).
const TCP_IDLE: Duration = Duration::from_secs(30);
/// Connections at a time, as in BIND (tcp-clients). One more is closed at once.
const TCP_CONNECTIONS_MAX: usize = 150;
/// The largest datagram that is read, in bytes; questions are short.
const DATAGRAM_BYTES_MAX: usize = 4096;
/// Answers that may be waiting for their time; beyond it questions are dropped, as by any full server.
const DELAYED_MAX: usize = 10_000;
/// How often a free port is looked for that is free for both UDP and TCP.
const PORT_TRIES: u32 = 16;

/// Who is told of each question. Called on the server's threads, so it must not take long.
type Observer = Arc<dyn Fn(&Answered) + Send + Sync>;

/// A server with its sockets, before it runs.
#[derive(Debug)]
pub struct Server {
    udp: UdpSocket,
    tcp: TcpListener,
    shared: Arc<Shared>,
}

/// Answers questions at `bind`, over UDP and TCP, until a socket fails. `observe` is told of each question.
pub fn serve(
    bind: SocketAddr,
    shared: Arc<Shared>,
    observe: impl Fn(&Answered) + Send + Sync + 'static,
) -> io::Result<()> {
    Server::bind(bind, shared)?.run(observe)
}

impl Server {
    /// Binds both sockets to one address. Port 0: any port that is free for both.
    pub fn bind(address: SocketAddr, shared: Arc<Shared>) -> io::Result<Server> {
        let mut tries = if address.port() == 0 { PORT_TRIES } else { 1 };
        loop {
            let tcp = TcpListener::bind(address)?;
            match UdpSocket::bind(tcp.local_addr()?) {
                Ok(udp) => return Ok(Server { udp, tcp, shared }),
                Err(error) if tries == 1 => return Err(error),
                Err(_) => tries -= 1,
            }
        }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// Answers questions until a socket fails.
    pub fn run(self, observe: impl Fn(&Answered) + Send + Sync + 'static) -> io::Result<()> {
        let Server { udp, tcp, shared } = self;
        let observe: Observer = Arc::new(observe);
        let (tcp_shared, tcp_observe) = (Arc::clone(&shared), Arc::clone(&observe));
        thread::Builder::new()
            .name("dns-tcp".to_owned())
            .spawn(move || accept_connections(&tcp, &tcp_shared, &tcp_observe))?;
        Datagrams { socket: udp, shared, observe, delayed: BTreeMap::new(), arrivals: 0 }.run()
    }
}

// ---- UDP ----

/// The UDP side: questions whose answers have a delay wait here, so that they hold nobody up.
struct Datagrams {
    socket: UdpSocket,
    shared: Arc<Shared>,
    observe: Observer,
    /// By when they are due, then by arrival.
    delayed: BTreeMap<(Instant, u64), (Question, SocketAddr)>,
    arrivals: u64,
}

impl Datagrams {
    fn run(mut self) -> io::Result<()> {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let timeout = self.answer_what_is_due();
            self.socket.set_read_timeout(timeout)?;
            match self.socket.recv_from(&mut buffer) {
                Ok((length, peer)) => self.take(&buffer[..length], peer),
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, bytes: &[u8], peer: SocketAddr) {
        let question = match reply::read(bytes, peer, Transport::Udp) {
            Incoming::Question(question) => question,
            Incoming::Reject(bytes) => return self.send(&bytes, peer),
            Incoming::Ignore => return,
        };
        let now = now();
        let wait = question.wait(&self.shared, now);
        if wait.is_zero() {
            self.answer(&question, peer, now);
        } else if self.delayed.len() < DELAYED_MAX {
            self.delayed.insert((now + wait, self.arrivals), (question, peer));
            self.arrivals += 1;
        }
    }

    /// Says how long it is until the next answer is due.
    fn answer_what_is_due(&mut self) -> Option<Duration> {
        loop {
            let entry = self.delayed.first_entry()?;
            let now = now();
            let (due, _) = *entry.key();
            if due > now {
                return Some(due - now);
            }
            let (question, peer) = entry.remove();
            self.answer(&question, peer, now);
        }
    }

    fn answer(&self, question: &Question, peer: SocketAddr, now: Instant) {
        let Outcome { bytes, answered } = question.answer(&self.shared, now);
        (self.observe)(&answered);
        if let Some(bytes) = bytes {
            self.send(&bytes, peer);
        }
    }

    /// A datagram that cannot be sent is lost, as one on the way would be.
    fn send(&self, bytes: &[u8], peer: SocketAddr) {
        let _ = self.socket.send_to(bytes, peer);
    }
}

/// Errors after which a UDP socket is as good as before: nothing came in time, or ICMP told of an earlier answer.
fn is_passing(error: &io::Error) -> bool {
    use ErrorKind::*;
    matches!(
        error.kind(),
        WouldBlock
            | TimedOut
            | Interrupted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | NetworkUnreachable
    )
}

// ---- TCP ----

fn accept_connections(listener: &TcpListener, shared: &Arc<Shared>, observe: &Observer) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        // A connection that died in the queue, or want of descriptors, is no reason to stop.
        let Ok((stream, peer)) = listener.accept() else {
            pause(Duration::from_millis(10));
            continue;
        };
        if open.load(Ordering::Relaxed) >= TCP_CONNECTIONS_MAX {
            continue;
        }
        open.fetch_add(1, Ordering::Relaxed);
        let (shared, observe, counter) = (Arc::clone(shared), Arc::clone(observe), Arc::clone(&open));
        let spawned = thread::Builder::new().name("dns-connection".to_owned()).spawn(move || {
            // The peer's mistakes and time-outs end its connection, and nobody else's.
            let _ = converse(stream, peer, &shared, &observe);
            counter.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// One connection: questions one after the other, each with its length before it (RFC 1035, section 4.2.2), until the
/// peer closes it or is idle for too long.
fn converse(mut stream: TcpStream, peer: SocketAddr, shared: &Shared, observe: &Observer) -> io::Result<()> {
    stream.set_read_timeout(Some(TCP_IDLE))?;
    stream.set_write_timeout(Some(TCP_IDLE))?;
    stream.set_nodelay(true)?;
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut bytes)?;
        let reply = match reply::read(&bytes, peer, Transport::Tcp) {
            Incoming::Question(question) => {
                pause(question.wait(shared, now()));
                let Outcome { bytes, answered } = question.answer(shared, now());
                observe(&answered);
                bytes
            }
            Incoming::Reject(bytes) => Some(bytes),
            Incoming::Ignore => None,
        };
        let Some(reply) = reply else { continue };
        let length = u16::try_from(reply.len()).map_err(|_| ErrorKind::InvalidData)?;
        stream.write_all(&[&length.to_be_bytes(), reply.as_slice()].concat())?;
    }
}

#[expect(clippy::disallowed_methods, reason = "an ordinary program: it sleeps in the time of the host it runs on")]
fn pause(span: Duration) {
    if !span.is_zero() {
        thread::sleep(span);
    }
}
