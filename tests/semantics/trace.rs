//! What a case writes down, and the calls whose answers it writes.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::Result;
use nix::errno::Errno;
use nix::sys::socket::{self, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrLike, SockaddrStorage};

use crate::raw;

/// For how long an awaited event may take on a busy machine.
const PATIENCE_MS: i32 = 10_000;
/// How long nothing must happen for us to believe that nothing will.
const QUIET: Duration = Duration::from_millis(20);
/// Received bytes are shown up to this many, beyond it only counted.
const SHOWN_BYTES: usize = 24;

/// A descriptor and what the trace calls it.
#[derive(Debug)]
pub struct File {
    pub name: String,
    pub fd: OwnedFd,
}

impl File {
    pub fn new(name: impl Into<String>, fd: OwnedFd) -> File {
        File { name: name.into(), fd }
    }

    pub fn number(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// The number alone: whoever has it closes it.
    pub fn into_number(self) -> RawFd {
        self.fd.into_raw_fd()
    }

    pub fn dup(&self, name: &str) -> File {
        File::new(name, self.fd.try_clone().expect("room for a descriptor"))
    }
}

/// What a successful call gives, as the trace shows it.
pub trait Told {
    fn told(&self) -> String;
}

impl Told for () {
    fn told(&self) -> String {
        "ok".to_owned()
    }
}

impl Told for OwnedFd {
    fn told(&self) -> String {
        "a descriptor".to_owned()
    }
}

macro_rules! told_as_is {
    ($($type:ty),*) => {$(
        impl Told for $type {
            fn told(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
told_as_is!(bool, i32, i64, u32, u64, usize, String, &str);

/// Bytes as text, if they are few.
impl Told for Vec<u8> {
    fn told(&self) -> String {
        match self.len() {
            0 => "end".to_owned(),
            len if len <= SHOWN_BYTES => format!("{len} {:?}", String::from_utf8_lossy(self)),
            len => format!("{len} bytes"),
        }
    }
}

/// The answer of a call: what it gave, or its errno's name.
pub fn answer<T: Told>(result: &Result<T>) -> String {
    match result {
        Ok(value) => value.told(),
        Err(errno) => format!("{errno:?}"),
    }
}

/// Poll and epoll bits by name: the first bits are the same in both.
pub fn events(bits: u32) -> String {
    const NAMES: [(u32, &str); 8] = [
        (libc::EPOLLIN as u32, "IN"),
        (libc::EPOLLPRI as u32, "PRI"),
        (libc::EPOLLOUT as u32, "OUT"),
        (libc::EPOLLRDHUP as u32, "RDHUP"),
        (libc::EPOLLHUP as u32, "HUP"),
        (libc::EPOLLERR as u32, "ERR"),
        (libc::POLLNVAL as u32, "NVAL"),
        (1 << 28, "EXCLUSIVE"),
    ];
    let known: u32 = NAMES.iter().map(|(bit, _)| bit).sum();
    let mut names: Vec<String> =
        NAMES.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| (*name).to_owned()).collect();
    if bits & !known != 0 {
        names.push(format!("{:#x}", bits & !known));
    }
    if names.is_empty() { "nothing".to_owned() } else { names.join(" ") }
}

/// All that poll can be asked for here.
pub const ALL: i16 = libc::POLLIN | libc::POLLPRI | libc::POLLOUT | libc::POLLRDHUP;

/// The lines that a case tells, and the names of what may differ.
#[derive(Debug, Default)]
pub struct Trace {
    lines: Vec<String>,
    ports: BTreeMap<u16, String>,
    /// What events of epoll are called; the index is the event's data.
    labels: Vec<String>,
}

impl Trace {
    pub fn into_lines(self) -> Vec<String> {
        self.lines
    }

    pub fn note(&mut self, line: impl Into<String>) {
        let line = line.into();
        assert!(!line.contains('\n'), "a line is a line: {line:?}");
        self.lines.push(line);
    }

    /// Writes down a call and its answer; gives on what it gave.
    pub fn say<T: Told>(&mut self, call: impl Display, result: Result<T>) -> Option<T> {
        let answer = answer(&result);
        self.note(format!("{call} -> {answer}"));
        result.ok()
    }

    /// An address by names of its own: ports are numbered as they appear.
    pub fn address(&mut self, address: SocketAddr) -> String {
        let count = self.ports.len();
        let port = match address.port() {
            0 => "0".to_owned(),
            port => self.ports.entry(port).or_insert_with(|| format!("port{count}")).clone(),
        };
        if address.is_ipv6() { format!("[{}]:{port}", address.ip()) } else { format!("{}:{port}", address.ip()) }
    }

    // ---- reading and writing ----

    pub fn read(&mut self, file: &File, room: usize) {
        let mut buffer = vec![0; room];
        let result = nix::unistd::read(&file.fd, &mut buffer).map(|len| buffer[..len].to_vec());
        self.say(format_args!("{}.read({room})", file.name), result);
    }

    pub fn write(&mut self, file: &File, text: &str) {
        let result = nix::unistd::write(&file.fd, text.as_bytes());
        self.say(format_args!("{}.write({text:?})", file.name), result);
    }

    /// Writes so many bytes at once.
    pub fn write_many(&mut self, file: &File, len: usize) {
        let result = nix::unistd::write(&file.fd, &vec![b'x'; len]);
        self.say(format_args!("{}.write({len} bytes)", file.name), result);
    }

    pub fn send(&mut self, file: &File, text: &str, flags: MsgFlags) {
        let result = socket::send(file.number(), text.as_bytes(), flags);
        self.say(format_args!("{}.send({text:?}, {flags:?})", file.name), result);
    }

    pub fn recv(&mut self, file: &File, room: usize, flags: MsgFlags) {
        let mut buffer = vec![0; room];
        let result = socket::recv(file.number(), &mut buffer, flags);
        let shown = match result {
            // With MSG_TRUNC the length may be more than what is there.
            Ok(len) if len > room => Ok(format!("{len}, of which {:?}", String::from_utf8_lossy(&buffer))),
            Ok(len) => Ok(buffer[..len].to_vec().told()),
            Err(errno) => Err(errno),
        };
        self.say(format_args!("{}.recv({room}, {flags:?})", file.name), shown);
    }

    /// Reads until there is no more: how much, and why it ended.
    pub fn drain(&mut self, file: &File) {
        let mut buffer = vec![0; 1 << 16];
        let mut total = 0;
        let end = loop {
            match nix::unistd::read(&file.fd, &mut buffer) {
                Ok(0) => break "end".to_owned(),
                Ok(len) => total += len,
                Err(errno) => break format!("{errno:?}"),
            }
        };
        self.note(format!("{} drained -> {total}, then {end}", file.name));
    }

    pub fn close(&mut self, file: File) {
        let name = file.name.clone();
        let result = raw::close(file.into_number());
        self.say(format_args!("{name}.close"), result);
    }

    // ---- readiness ----

    /// What poll says of all events at this moment.
    pub fn poll(&mut self, file: &File) {
        let result = raw::poll(&[(file.number(), ALL)], 0).map(|(_, revents)| events(revents[0] as u16 as u32));
        self.say(format_args!("{}.poll", file.name), result);
    }

    /// Waits until there is one of these events. Only a failure to become so is told.
    pub fn until(&mut self, file: &File, wanted: i16) {
        let result = raw::poll(&[(file.number(), wanted)], PATIENCE_MS);
        if !matches!(&result, Ok((1, revents)) if revents[0] & wanted != 0) {
            self.note(format!("{} did not become {}: {result:?}", file.name, events(wanted as u16 as u32)));
        }
    }

    /// Waits until something can be read, and says what poll says then.
    pub fn poll_readable(&mut self, file: &File) {
        self.until(file, libc::POLLIN);
        self.poll(file);
    }

    /// Gives whatever is under way time to happen: for what is expected not to.
    #[expect(clippy::disallowed_methods, reason = "the real side of a case lives in real time")]
    pub fn quiet(&self) {
        std::thread::sleep(QUIET);
    }

    // ---- epoll ----

    pub fn epoll(&self, name: &str) -> File {
        File::new(name, nix::sys::epoll::Epoll::new(nix::sys::epoll::EpollCreateFlags::empty()).expect("epoll").0)
    }

    fn label(&mut self, name: &str) -> u64 {
        let known = self.labels.iter().position(|label| label == name);
        known.unwrap_or_else(|| {
            self.labels.push(name.to_owned());
            self.labels.len() - 1
        }) as u64
    }

    fn control(&mut self, epoll: &File, op: i32, file: &File, asked: u32) -> Result<()> {
        let label = self.label(&file.name);
        raw::epoll_ctl(epoll.number(), op, file.number(), asked, label)
    }

    pub fn add(&mut self, epoll: &File, file: &File, asked: i32) {
        let result = self.control(epoll, libc::EPOLL_CTL_ADD, file, asked as u32);
        self.say(format_args!("{}.add({}, {})", epoll.name, file.name, asked_of(asked)), result);
    }

    pub fn modify(&mut self, epoll: &File, file: &File, asked: i32) {
        let result = self.control(epoll, libc::EPOLL_CTL_MOD, file, asked as u32);
        self.say(format_args!("{}.modify({}, {})", epoll.name, file.name, asked_of(asked)), result);
    }

    pub fn delete(&mut self, epoll: &File, file: &File) {
        let result = self.control(epoll, libc::EPOLL_CTL_DEL, file, 0);
        self.say(format_args!("{}.delete({})", epoll.name, file.name), result);
    }

    /// What epoll_wait tells without waiting.
    pub fn wait(&mut self, epoll: &File, max: i32) {
        self.wait_for(epoll, max, 0);
    }

    /// What epoll_wait tells of the first event to come.
    pub fn wait_long(&mut self, epoll: &File, max: i32) {
        self.wait_for(epoll, max, PATIENCE_MS);
    }

    fn wait_for(&mut self, epoll: &File, max: i32, timeout_ms: i32) {
        let result = raw::epoll_wait(epoll.number(), max, timeout_ms);
        let label = |data: u64| {
            let index = usize::try_from(data).ok();
            index.and_then(|index| self.labels.get(index)).map_or("?", String::as_str)
        };
        let shown = result.map(|told| {
            let told: Vec<String> =
                told.iter().map(|(bits, data)| format!("{}: {}", label(*data), events(*bits))).collect();
            format!("[{}]", told.join(", "))
        });
        self.say(format_args!("{}.wait({max})", epoll.name), shown);
    }

    // ---- sockets ----

    pub fn bind(&mut self, file: &File, address: &str) -> bool {
        let result = socket::bind(file.number(), &*inet(address));
        self.say(format_args!("{}.bind({address})", file.name), result).is_some()
    }

    /// Binds to the address and port of another socket.
    pub fn bind_beside(&mut self, file: &File, ip: &str, other: &File) {
        let address = SocketAddr::new(ip.parse().expect("an address"), local(other).port());
        let result = socket::bind(file.number(), &*sockaddr(address));
        let shown = self.address(address);
        self.say(format_args!("{}.bind({shown})", file.name), result);
    }

    pub fn listen(&mut self, file: &File, backlog: i32) {
        let result = raw::listen(file.number(), backlog);
        self.say(format_args!("{}.listen({backlog})", file.name), result);
    }

    pub fn connect(&mut self, file: &File, address: SocketAddr) {
        let result = socket::connect(file.number(), &*sockaddr(address));
        let shown = self.address(address);
        self.say(format_args!("{}.connect({shown})", file.name), result);
    }

    pub fn accept(&mut self, file: &File, name: &str) -> Option<File> {
        let result = raw::accept4(file.number(), libc::SOCK_NONBLOCK);
        self.say(format_args!("{}.accept", file.name), result).map(|fd| File::new(name, fd))
    }

    pub fn shutdown(&mut self, file: &File, how: i32) {
        let shown = ["RD", "WR", "RDWR"].get(how as usize).copied().unwrap_or("?");
        self.say(format_args!("{}.shutdown({shown})", file.name), raw::shutdown(file.number(), how));
    }

    /// SO_ERROR, which is told once.
    pub fn error(&mut self, file: &File) {
        let result = option(file, libc::SOL_SOCKET, libc::SO_ERROR).map(|error| match error {
            0 => "none".to_owned(),
            error => format!("{:?}", Errno::from_raw(error)),
        });
        self.say(format_args!("{}.error", file.name), result);
    }

    pub fn names(&mut self, file: &File) {
        let own = socket::getsockname::<SockaddrStorage>(file.number());
        let own = own.map(|address| self.shown(&address));
        self.say(format_args!("{}.getsockname", file.name), own);
        let peer = socket::getpeername::<SockaddrStorage>(file.number());
        let peer = peer.map(|address| self.shown(&address));
        self.say(format_args!("{}.getpeername", file.name), peer);
    }

    fn shown(&mut self, address: &SockaddrStorage) -> String {
        match std_address(address) {
            Some(address) => self.address(address),
            None => format!("family {:?}, {} bytes", address.family(), address.len()),
        }
    }

    // ---- options ----

    pub fn set(&mut self, file: &File, name: &str, (level, number): (i32, i32), value: i32) {
        let result = raw::setsockopt(file.number(), level, number, &value.to_ne_bytes());
        self.say(format_args!("{}.set({name}, {value})", file.name), result);
    }

    pub fn get(&mut self, file: &File, name: &str, (level, number): (i32, i32)) {
        let result = option(file, level, number);
        self.say(format_args!("{}.get({name})", file.name), result);
    }
}

fn asked_of(asked: i32) -> String {
    let asked = asked as u32;
    let modes = [(libc::EPOLLET as u32, "ET"), (libc::EPOLLONESHOT as u32, "ONESHOT")];
    let mut text = events(asked & !(libc::EPOLLET as u32 | libc::EPOLLONESHOT as u32));
    for (_, mode) in modes.iter().filter(|(bit, _)| asked & bit != 0) {
        text = format!("{text} {mode}");
    }
    text
}

/// An `int` option.
pub fn option(file: &File, level: i32, number: i32) -> Result<i32> {
    raw::getsockopt(file.number(), level, number, 4).map(|value| match value[..] {
        [a, b, c, d] => i32::from_ne_bytes([a, b, c, d]),
        ref other => panic!("an int option of {} bytes", other.len()),
    })
}

/// The address as C has it, of its family's own length.
pub fn sockaddr(address: SocketAddr) -> Box<dyn SockaddrLike> {
    match address {
        SocketAddr::V4(v4) => Box::new(SockaddrIn::from(v4)),
        SocketAddr::V6(v6) => Box::new(SockaddrIn6::from(v6)),
    }
}

pub fn inet(address: &str) -> Box<dyn SockaddrLike> {
    sockaddr(address.parse().expect("an address"))
}

fn std_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::from((v4.ip(), v4.port())));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port()))))
}

/// Where a socket is bound.
pub fn local(file: &File) -> SocketAddr {
    let address = socket::getsockname::<SockaddrStorage>(file.number()).expect("a socket has a name");
    std_address(&address).expect("an internet socket")
}

/// A socket that does not block.
pub fn nonblocking(name: &str, domain: i32, kind: i32) -> File {
    File::new(name, raw::socket(domain, kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0).expect("a socket"))
}

pub fn tcp(name: &str) -> File {
    nonblocking(name, libc::AF_INET, libc::SOCK_STREAM)
}

pub fn udp(name: &str) -> File {
    nonblocking(name, libc::AF_INET, libc::SOCK_DGRAM)
}

/// A TCP listener on a free port of 127.0.0.1.
pub fn listener(name: &str) -> File {
    let file = tcp(name);
    socket::bind(file.number(), &*inet("127.0.0.1:0")).expect("a free port");
    raw::listen(file.number(), 16).expect("a listener");
    file
}

/// Both ends of a connection over loopback: the one that connected, and the one that was accepted.
pub fn tcp_pair(client: &str, server: &str) -> (File, File) {
    let listener = listener("listener");
    let client = tcp(client);
    let began = socket::connect(client.number(), &*sockaddr(local(&listener)));
    assert_eq!(began, Err(Errno::EINPROGRESS));
    raw::poll(&[(listener.number(), libc::POLLIN)], PATIENCE_MS).expect("poll");
    let server = File::new(server, raw::accept4(listener.number(), libc::SOCK_NONBLOCK).expect("a connection"));
    raw::poll(&[(client.number(), libc::POLLOUT)], PATIENCE_MS).expect("poll");
    assert_eq!(option(&client, libc::SOL_SOCKET, libc::SO_ERROR), Ok(0));
    (client, server)
}

/// A pair of connected Unix sockets that do not block.
pub fn unix_pair(a: &str, b: &str, kind: i32) -> (File, File) {
    let (one, two) = raw::socketpair(libc::AF_UNIX, kind | libc::SOCK_NONBLOCK, 0).expect("a pair");
    (File::new(a, one), File::new(b, two))
}

/// The reading and the writing end of a pipe that does not block.
pub fn pipe() -> (File, File) {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_NONBLOCK).expect("a pipe");
    (File::new("reader", reader), File::new("writer", writer))
}
