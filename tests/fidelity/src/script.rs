//! The one interpreter of scripts: each line is one socket call through libc, on whichever kernel the thread runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use halfopen_core::{Errno, SimDuration, SimTime};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{setsockopt, sockopt};
use signal_hook::consts::SIGPIPE;
use socket2::{Domain, Socket, TcpKeepalive, Type};

use crate::case::{Line, address, duration};
use crate::sockopt::{Ipv4MtuDiscover, Ipv6Mtu, Ipv6MtuDiscover};

/// A call that was made.
#[derive(Clone, Debug)]
pub struct Call {
    /// The call as the script has it.
    pub text: String,
    /// When it was made.
    pub since: SimTime,
    /// When it returned, and with what; `None` if it never did.
    pub result: Option<(SimTime, String)>,
}

/// What a host's script has called so far. Shared with whoever looks when the run is over.
#[derive(Clone, Default, Debug)]
pub struct CallLog(Arc<Mutex<Vec<Call>>>);

impl CallLog {
    /// The calls, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn with(&self, change: impl FnOnce(&mut Vec<Call>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Linux flags for `send` and `recv`, which `socket2` takes as numbers (include/linux/socket.h).
const MSG_DONTWAIT: i32 = 0x40;
const MSG_NOSIGNAL: i32 = 0x4000;

/// include/uapi/asm-generic/poll.h.
const POLLRDHUP: i16 = 0x2000;

/// The congestion control that halfopen has. A machine's default may be another, and a namespace may not choose one that
/// the machine does not allow to everybody; a socket of a privileged process may.
const CONGESTION_CONTROL: &[u8] = b"cubic";

/// The largest single receive: more than any case transfers at once.
const RECV_BYTES_MAX: usize = 4 << 20;

/// What a script has open.
#[derive(Default)]
struct Open {
    sockets: BTreeMap<String, Socket>,
    epolls: BTreeMap<String, Epoll>,
}

/// Runs a script from the instant `zero` on. Then waits until `until` has passed: a process that ends closes what it
/// has open, which is a call of its own (`exit`).
///
/// # Panics
/// If a line of the script makes no sense: the case is wrong.
pub fn run(lines: &[Line], zero: Instant, until: SimTime, log: &CallLog) {
    let mut open = Open::default();
    let now = || SimTime::from_nanos(zero.elapsed().as_nanos() as u64);
    let sleep_until = |at: SimTime| std::thread::sleep(Duration::from(at.since(now())));
    for line in lines {
        sleep_until(line.at);
        let text = line.words.join(" ");
        let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
        let since = now();
        log.with(|calls| calls.push(Call { text: text.clone(), since, result: None }));
        let result = open.call(&words).unwrap_or_else(|wrong| panic!("`{text}`: {wrong}"));
        let result = result.unwrap_or_else(|error| error_name(&error));
        let at = now();
        log.with(|calls| calls.last_mut().expect("a call was made").result = Some((at, result)));
    }
    sleep_until(until + SimDuration::from_secs(1));
}

/// By how much a script that began at `from` was late at worst: each call is due at its time, or when the one before it
/// has returned.
pub fn lateness(from: SimTime, lines: &[Line], calls: &[Call]) -> SimDuration {
    let mut returned = from;
    let mut worst = SimDuration::ZERO;
    for (line, call) in lines.iter().zip(calls) {
        let due = line.at.max(returned);
        worst = worst.max(SimDuration::from_nanos(call.since.as_nanos().saturating_sub(due.as_nanos())));
        returned = call.result.as_ref().map_or(returned, |(at, _)| *at);
    }
    worst
}

/// `ECONNREFUSED` and so on.
fn error_name(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) if Errno(number).name() != "E?" => Errno(number).name().to_owned(),
        _ => format!("{error}"),
    }
}

/// What a call gave; outside it, what is wrong with the line.
type Outcome = Result<io::Result<String>, String>;

fn done(result: io::Result<()>) -> Outcome {
    Ok(result.map(|()| "ok".to_owned()))
}

fn count(result: io::Result<usize>) -> Outcome {
    Ok(result.map(|count| count.to_string()))
}

impl Open {
    fn call(&mut self, words: &[&str]) -> Outcome {
        match *words {
            ["socket", name] => done(self.new_socket(name, "tcp")?),
            ["socket", name, kind] => done(self.new_socket(name, kind)?),
            ["listen", name, port, ref rest @ ..] => self.listen(name, port, rest),
            ["accept", listener, name] => {
                let accepted = self.get(listener)?.accept();
                done(accepted.map(|(socket, _)| drop(self.sockets.insert(name.to_owned(), socket))))
            }
            ["bind", name, port] => {
                let socket = self.socket(name, Domain::IPV4)?;
                done(socket.bind(&any(socket, parse(port)?)?.into()))
            }
            ["connect", name, to] => {
                let to = destination(to)?;
                done(self.socket(name, Domain::for_address(to))?.connect(&to.into()))
            }
            ["set", name, option] => {
                let (option, value) = option.split_once('=').ok_or("set NAME OPTION=VALUE")?;
                set(self.socket(name, Domain::IPV4)?, option, value)
            }
            ["sendto", name, bytes, to] => {
                let data = vec![b'x'; parse(bytes)?];
                count(self.get(name)?.send_to(&data, &destination(to)?.into()))
            }
            ["send", name, bytes, ref rest @ ..] => {
                let data = vec![b'x'; parse(bytes)?];
                match rest {
                    ["signal"] => self.send_signalled(name, &data),
                    _ => count(self.get(name)?.send_with_flags(&data, MSG_NOSIGNAL | flags(rest)?)),
                }
            }
            ["recv", name, bytes, ref rest @ ..] => {
                let mut buffer = room(parse(bytes)?)?;
                count(self.get(name)?.recv_with_flags(&mut buffer, flags(rest)?))
            }
            ["recvall", name, bytes] => self.receive_all(name, parse(bytes)?),
            ["poll", name, wanted, timeout] => self.poll(name, wanted, timeout),
            ["epoll", epoll, name, wanted] => self.epoll(epoll, name, wanted),
            ["epoll-wait", epoll, timeout] => self.epoll_wait(epoll, timeout),
            ["peer", name] => {
                let peer = self.get(name)?.peer_addr();
                Ok(peer.map(|peer| peer.as_socket().map_or("?".to_owned(), |peer| peer.ip().to_string())))
            }
            ["mtu", name] => {
                let socket = self.get(name)?;
                Ok(path_mtu(socket).map(|mtu| mtu.to_string()))
            }
            ["error", name] => {
                let pending = self.get(name)?.take_error();
                Ok(pending.map(|error| error.map_or("none".to_owned(), |error| error_name(&error))))
            }
            ["shutdown", name, how] => {
                let how = match how {
                    "rd" => Shutdown::Read,
                    "wr" => Shutdown::Write,
                    _ => Shutdown::Both,
                };
                done(self.get(name)?.shutdown(how))
            }
            ["close", name] => {
                drop(self.sockets.remove(name).ok_or_else(|| format!("there is no `{name}`"))?);
                done(Ok(()))
            }
            ["exit"] => {
                self.sockets.clear();
                done(Ok(()))
            }
            _ => Err("no such call".to_owned()),
        }
    }

    fn get(&self, name: &str) -> Result<&Socket, String> {
        self.sockets.get(name).ok_or_else(|| format!("there is no `{name}`"))
    }

    /// The socket of this name; a new TCP one of this family if there is none yet.
    fn socket(&mut self, name: &str, domain: Domain) -> Result<&Socket, String> {
        if !self.sockets.contains_key(name) {
            let kind = if domain == Domain::IPV6 { "tcp6" } else { "tcp" };
            self.new_socket(name, kind)?.map_err(|error| error.to_string())?;
        }
        self.get(name)
    }

    fn new_socket(&mut self, name: &str, kind: &str) -> Result<io::Result<()>, String> {
        let (domain, kind) = match kind {
            "tcp" => (Domain::IPV4, Type::STREAM),
            "tcp6" => (Domain::IPV6, Type::STREAM),
            "udp" => (Domain::IPV4, Type::DGRAM),
            "udp6" => (Domain::IPV6, Type::DGRAM),
            _ => return Err(format!("no such kind of socket: {kind}")),
        };
        let made = Socket::new(domain, kind, None).and_then(|socket| {
            if kind == Type::STREAM {
                socket.set_tcp_congestion(CONGESTION_CONTROL)?;
            }
            Ok(socket)
        });
        Ok(made.map(|socket| drop(self.sockets.insert(name.to_owned(), socket))))
    }

    /// Sends as programs do that do not ask to be spared SIGPIPE, and says whether it came.
    fn send_signalled(&mut self, name: &str, data: &[u8]) -> Outcome {
        let came = Arc::new(AtomicBool::new(false));
        let handler = signal_hook::flag::register(SIGPIPE, Arc::clone(&came)).map_err(|error| error.to_string())?;
        let sent = self.get(name)?.send(data);
        signal_hook::low_level::unregister(handler);
        Ok(match sent {
            Err(error) if came.load(Ordering::Relaxed) => Ok(format!("{}, SIGPIPE", error_name(&error))),
            sent => sent.map(|count| count.to_string()),
        })
    }

    fn listen(&mut self, name: &str, port: &str, rest: &[&str]) -> Outcome {
        let backlog = match rest {
            [] => 128,
            [backlog] => parse(backlog)?,
            _ => return Err("listen NAME PORT [BACKLOG]".to_owned()),
        };
        let socket = self.socket(name, Domain::IPV4)?;
        let bound = socket.bind(&any(socket, parse(port)?)?.into());
        done(bound.and_then(|()| socket.listen(backlog)))
    }

    /// Receives until all is there, the end or an error.
    fn receive_all(&mut self, name: &str, bytes: usize) -> Outcome {
        let socket = self.get(name)?;
        let mut buffer = room(bytes)?;
        let mut total = 0;
        while total < bytes {
            match socket.recv(&mut buffer[total..]) {
                Ok(0) => return Ok(Ok(format!("{total}, then the end"))),
                Ok(count) => total += count,
                Err(error) => return Ok(Ok(format!("{total}, then {}", error_name(&error)))),
            }
        }
        Ok(Ok(total.to_string()))
    }

    fn poll(&self, name: &str, wanted: &str, timeout: &str) -> Outcome {
        let rdhup = PollFlags::from_bits_retain(POLLRDHUP);
        let mut events = PollFlags::empty();
        for word in wanted.split(',') {
            events |= match word {
                "in" => PollFlags::POLLIN,
                "out" => PollFlags::POLLOUT,
                "rdhup" => rdhup,
                "none" => PollFlags::empty(),
                _ => return Err(format!("poll for `{word}`?")),
            };
        }
        let timeout = PollTimeout::try_from(duration(timeout)?.as_millis()).map_err(|_| "too long")?;
        let once = |events: PollFlags, timeout: PollTimeout| {
            let mut fds = [PollFd::new(self.get(name)?.as_fd(), events)];
            let result = poll(&mut fds, timeout);
            Ok::<_, String>(result.map(|_| fds[0].revents()))
        };
        // `nix` knows no POLLRDHUP, and gives nothing at all where it is among the bits: the others are asked for anew.
        let bits = match once(events, timeout)? {
            Err(error) => return Ok(Err(error.into())),
            Ok(Some(known)) => known.bits(),
            Ok(None) => {
                let others = once(events.difference(rdhup), PollTimeout::ZERO)?;
                rdhup.bits() | others.ok().flatten().map_or(0, |others| others.bits())
            }
        };
        Ok(Ok(event_names(bits as u32)))
    }

    fn epoll(&mut self, epoll: &str, name: &str, wanted: &str) -> Outcome {
        let mut events = EpollFlags::empty();
        for word in wanted.split(',') {
            events |= match word {
                "in" => EpollFlags::EPOLLIN,
                "out" => EpollFlags::EPOLLOUT,
                "rdhup" => EpollFlags::EPOLLRDHUP,
                "et" => EpollFlags::EPOLLET,
                _ => return Err(format!("epoll for `{word}`?")),
            };
        }
        if !self.epolls.contains_key(epoll) {
            let created = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|error| error.to_string())?;
            self.epolls.insert(epoll.to_owned(), created);
        }
        let added = self.epolls[epoll].add(self.get(name)?, EpollEvent::new(events, 0));
        done(added.map_err(io::Error::from))
    }

    fn epoll_wait(&self, epoll: &str, timeout: &str) -> Outcome {
        let epoll = self.epolls.get(epoll).ok_or_else(|| format!("there is no `{epoll}`"))?;
        let timeout = u16::try_from(duration(timeout)?.as_millis()).map_err(|_| "too long")?;
        let mut events = [EpollEvent::empty()];
        let count = epoll.wait(&mut events, timeout);
        let bits = events[0].events().bits() as u32;
        Ok(count
            .map(|count| if count == 0 { "nothing".to_owned() } else { event_names(bits) })
            .map_err(io::Error::from))
    }
}

/// Every address of the socket's family.
fn any(socket: &Socket, port: u16) -> Result<SocketAddr, String> {
    let ip: IpAddr = match is_ipv6(socket) {
        Ok(true) => Ipv6Addr::UNSPECIFIED.into(),
        Ok(false) => Ipv4Addr::UNSPECIFIED.into(),
        Err(error) => return Err(error.to_string()),
    };
    Ok(SocketAddr::new(ip, port))
}

fn is_ipv6(socket: &Socket) -> io::Result<bool> {
    Ok(socket.domain()? == Domain::IPV6)
}

fn destination(text: &str) -> Result<SocketAddr, String> {
    let (address, port) = address(text)?;
    Ok(SocketAddr::new(address, port))
}

/// IP_MTU.
fn path_mtu(socket: &Socket) -> io::Result<i32> {
    let mtu = match is_ipv6(socket)? {
        true => nix::sys::socket::getsockopt(socket, Ipv6Mtu),
        false => nix::sys::socket::getsockopt(socket, sockopt::IpMtu),
    };
    mtu.map_err(io::Error::from)
}

/// IP_MTU_DISCOVER (include/uapi/linux/in.h).
fn set_mtu_discover(socket: &Socket, value: &str) -> Result<io::Result<()>, String> {
    let value = match value {
        "dont" => 0,
        "want" => 1,
        "do" => 2,
        "probe" => 3,
        _ => return Err(format!("no such path-MTU discovery: {value}")),
    };
    let set = match is_ipv6(socket) {
        Ok(true) => setsockopt(socket, Ipv6MtuDiscover, &value),
        Ok(false) => setsockopt(socket, Ipv4MtuDiscover, &value),
        Err(error) => return Ok(Err(error)),
    };
    Ok(set.map_err(io::Error::from))
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn room(bytes: usize) -> Result<Vec<MaybeUninit<u8>>, String> {
    if bytes > RECV_BYTES_MAX {
        return Err(format!("at most {RECV_BYTES_MAX} bytes at once"));
    }
    Ok(vec![MaybeUninit::uninit(); bytes])
}

fn flags(words: &[&str]) -> Result<i32, String> {
    match words {
        [] => Ok(0),
        ["dontwait"] => Ok(MSG_DONTWAIT),
        _ => Err(format!("no such flags: {words:?}")),
    }
}

/// Names of poll(2) and epoll(7) bits, which are the same.
fn event_names(bits: u32) -> String {
    let names = [(1, "in"), (4, "out"), (8, "err"), (0x10, "hup"), (0x2000, "rdhup")];
    let mut text = String::new();
    for (bit, name) in names {
        if bits & bit != 0 {
            let _ = write!(text, "{}{name}", if text.is_empty() { "" } else { "," });
        }
    }
    if text.is_empty() { "nothing".to_owned() } else { text }
}

fn set(socket: &Socket, option: &str, value: &str) -> Outcome {
    let span = || duration(value).map(Duration::from);
    done(match option {
        "nonblock" => socket.set_nonblocking(value == "1"),
        "nodelay" => socket.set_tcp_nodelay(value == "1"),
        "cork" => socket.set_tcp_cork(value == "1"),
        "reuse" => socket.set_reuse_address(value == "1"),
        "rcvbuf" => socket.set_recv_buffer_size(parse(value)?),
        "sndbuf" => socket.set_send_buffer_size(parse(value)?),
        "maxseg" => socket.set_tcp_mss(parse(value)?),
        "user-timeout" => socket.set_tcp_user_timeout(Some(span()?)),
        "sndtimeo" => socket.set_write_timeout(Some(span()?)),
        "rcvtimeo" => socket.set_read_timeout(Some(span()?)),
        "ttl" => socket.set_ttl_v4(parse(value)?),
        "v6only" => socket.set_only_v6(value == "1"),
        "mtu-discover" => set_mtu_discover(socket, value)?,
        "linger" => socket.set_linger(Some(span()?)),
        // IDLE/INTERVAL/COUNT, in seconds.
        "keepalive" => {
            let parts: Vec<u32> = value.split('/').map(parse).collect::<Result<_, _>>()?;
            let [idle, interval, probes] = parts[..] else { return Err("keepalive=IDLE/INTERVAL/COUNT".to_owned()) };
            let seconds = |n: u32| Duration::from_secs(u64::from(n));
            let keepalive = TcpKeepalive::new().with_time(seconds(idle)).with_interval(seconds(interval));
            socket.set_tcp_keepalive(&keepalive.with_retries(probes))
        }
        _ => return Err(format!("no such option: {option}")),
    })
}
