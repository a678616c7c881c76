//! setsockopt(2) and getsockopt(2), by Linux's numbers.
//!
//! Three kinds of options: those that change what the stack does ([`SocketOptions`]), those that the kernel itself
//! keeps (timeouts), and those that are remembered and told but change nothing here ([`REMEMBERED`]). Anything else is
//! ENOPROTOOPT and one line in the log that names it.
//!
//! Fast open (TCP_FASTOPEN, TCP_FASTOPEN_CONNECT) is among the remembered: without a cookie Linux falls back to the
//! ordinary handshake, and here nobody ever has one.

use halfopen_core::{Errno, SimDuration};
use halfopen_netstack::socket::{Family, Kind, MtuDiscover, SocketOptions};
use halfopen_netstack::tcp::TcpInfo;

use crate::Kernel;
use crate::fd::Fd;
use crate::file::{FileId, FileKind};
use crate::socket::InetSocket;
use crate::unix::UNIX_BUFFER_BYTES;

/// Option levels (include/linux/socket.h).
mod level {
    pub const SOCKET: i32 = 1;
    pub const IP: i32 = 0;
    pub const TCP: i32 = 6;
    pub const UDP: i32 = 17;
    pub const IPV6: i32 = 41;
}

/// SO_* (include/uapi/asm-generic/socket.h: x86-64 and aarch64 alike).
mod so {
    pub const DEBUG: i32 = 1;
    pub const REUSEADDR: i32 = 2;
    pub const TYPE: i32 = 3;
    pub const ERROR: i32 = 4;
    pub const DONTROUTE: i32 = 5;
    pub const BROADCAST: i32 = 6;
    pub const SNDBUF: i32 = 7;
    pub const RCVBUF: i32 = 8;
    pub const KEEPALIVE: i32 = 9;
    pub const OOBINLINE: i32 = 10;
    pub const NO_CHECK: i32 = 11;
    pub const PRIORITY: i32 = 12;
    pub const LINGER: i32 = 13;
    pub const REUSEPORT: i32 = 15;
    pub const PASSCRED: i32 = 16;
    pub const PEERCRED: i32 = 17;
    pub const RCVLOWAT: i32 = 18;
    pub const RCVTIMEO: i32 = 20;
    pub const SNDTIMEO: i32 = 21;
    pub const BINDTODEVICE: i32 = 25;
    pub const TIMESTAMP: i32 = 29;
    pub const ACCEPTCONN: i32 = 30;
    pub const TIMESTAMPNS: i32 = 35;
    pub const MARK: i32 = 36;
    pub const PROTOCOL: i32 = 38;
    pub const DOMAIN: i32 = 39;
    pub const RXQ_OVFL: i32 = 40;
    pub const BUSY_POLL: i32 = 46;
    pub const MAX_PACING_RATE: i32 = 47;
    pub const INCOMING_CPU: i32 = 49;
    pub const COOKIE: i32 = 57;
    pub const RCVTIMEO_NEW: i32 = 66;
    pub const SNDTIMEO_NEW: i32 = 67;
    pub const PREFER_BUSY_POLL: i32 = 69;
}

/// TCP_* (include/uapi/linux/tcp.h).
mod tcp {
    pub const NODELAY: i32 = 1;
    pub const MAXSEG: i32 = 2;
    pub const CORK: i32 = 3;
    pub const KEEPIDLE: i32 = 4;
    pub const KEEPINTVL: i32 = 5;
    pub const KEEPCNT: i32 = 6;
    pub const SYNCNT: i32 = 7;
    pub const LINGER2: i32 = 8;
    pub const DEFER_ACCEPT: i32 = 9;
    pub const WINDOW_CLAMP: i32 = 10;
    pub const INFO: i32 = 11;
    pub const QUICKACK: i32 = 12;
    pub const CONGESTION: i32 = 13;
    pub const THIN_LINEAR_TIMEOUTS: i32 = 16;
    pub const USER_TIMEOUT: i32 = 18;
    pub const FASTOPEN: i32 = 23;
    pub const NOTSENT_LOWAT: i32 = 25;
    pub const FASTOPEN_CONNECT: i32 = 30;
    pub const FASTOPEN_NO_COOKIE: i32 = 34;
}

/// IP_* (include/uapi/linux/in.h).
mod ip {
    pub const TOS: i32 = 1;
    pub const TTL: i32 = 2;
    pub const RECVOPTS: i32 = 6;
    pub const PKTINFO: i32 = 8;
    pub const MTU_DISCOVER: i32 = 10;
    pub const RECVERR: i32 = 11;
    pub const RECVTTL: i32 = 12;
    pub const RECVTOS: i32 = 13;
    pub const MTU: i32 = 14;
    pub const FREEBIND: i32 = 15;
    pub const TRANSPARENT: i32 = 19;
    pub const BIND_ADDRESS_NO_PORT: i32 = 24;
    pub const MULTICAST_TTL: i32 = 33;
    pub const MULTICAST_LOOP: i32 = 34;
}

/// IPV6_* (include/uapi/linux/in6.h).
mod ipv6 {
    pub const UNICAST_HOPS: i32 = 16;
    pub const MULTICAST_HOPS: i32 = 18;
    pub const MULTICAST_LOOP: i32 = 19;
    pub const MTU_DISCOVER: i32 = 23;
    pub const MTU: i32 = 24;
    pub const RECVERR: i32 = 25;
    pub const V6ONLY: i32 = 26;
    pub const RECVPKTINFO: i32 = 49;
    pub const RECVHOPLIMIT: i32 = 51;
    pub const DONTFRAG: i32 = 62;
    pub const RECVTCLASS: i32 = 66;
    pub const TCLASS: i32 = 67;
}

/// Options that are remembered and told, and change nothing: level, number, value before it is set (Linux's).
const REMEMBERED: &[(i32, i32, i32)] = &[
    (level::SOCKET, so::DEBUG, 0),
    (level::SOCKET, so::DONTROUTE, 0),
    (level::SOCKET, so::OOBINLINE, 0),
    (level::SOCKET, so::NO_CHECK, 0),
    (level::SOCKET, so::PRIORITY, 0),
    (level::SOCKET, so::PASSCRED, 0),
    (level::SOCKET, so::RCVLOWAT, 1),
    (level::SOCKET, so::TIMESTAMP, 0),
    (level::SOCKET, so::TIMESTAMPNS, 0),
    (level::SOCKET, so::MARK, 0),
    (level::SOCKET, so::RXQ_OVFL, 0),
    (level::SOCKET, so::BUSY_POLL, 0),
    (level::SOCKET, so::PREFER_BUSY_POLL, 0),
    (level::SOCKET, so::MAX_PACING_RATE, -1),
    (level::SOCKET, so::INCOMING_CPU, -1),
    (level::TCP, tcp::LINGER2, 60),
    (level::TCP, tcp::DEFER_ACCEPT, 0),
    (level::TCP, tcp::WINDOW_CLAMP, 0),
    (level::TCP, tcp::THIN_LINEAR_TIMEOUTS, 0),
    (level::TCP, tcp::FASTOPEN, 0),
    (level::TCP, tcp::FASTOPEN_CONNECT, 0),
    (level::TCP, tcp::FASTOPEN_NO_COOKIE, 0),
    (level::TCP, tcp::NOTSENT_LOWAT, 0),
    (level::IP, ip::TOS, 0),
    (level::IP, ip::RECVOPTS, 0),
    (level::IP, ip::PKTINFO, 0),
    (level::IP, ip::RECVERR, 0),
    (level::IP, ip::RECVTTL, 0),
    (level::IP, ip::RECVTOS, 0),
    (level::IP, ip::FREEBIND, 0),
    (level::IP, ip::TRANSPARENT, 0),
    (level::IP, ip::BIND_ADDRESS_NO_PORT, 0),
    (level::IP, ip::MULTICAST_TTL, 1),
    (level::IP, ip::MULTICAST_LOOP, 1),
    (level::IPV6, ipv6::MULTICAST_HOPS, 1),
    (level::IPV6, ipv6::MULTICAST_LOOP, 1),
    (level::IPV6, ipv6::RECVERR, 0),
    (level::IPV6, ipv6::RECVPKTINFO, 0),
    (level::IPV6, ipv6::RECVHOPLIMIT, 0),
    (level::IPV6, ipv6::DONTFRAG, 0),
    (level::IPV6, ipv6::RECVTCLASS, 0),
    (level::IPV6, ipv6::TCLASS, 0),
];

/// Least SO_SNDBUF and SO_RCVBUF that Linux gives (SOCK_MIN_SNDBUF, SOCK_MIN_RCVBUF with a 256-byte sk_buff).
const SNDBUF_MIN_BYTES: u32 = 4_608;
const RCVBUF_MIN_BYTES: u32 = 2_304;
/// MSS of a connection that is not (include/net/tcp.h: TCP_MSS_DEFAULT).
const MSS_DEFAULT_BYTES: u32 = 536;
/// The one congestion control there is here.
const CONGESTION: &[u8; 16] = b"cubic\0\0\0\0\0\0\0\0\0\0\0";
/// EDOM of include/uapi/asm-generic/errno-base.h: microseconds out of range.
const EDOM: Errno = Errno(33);

/// An `int` option's value.
fn int(value: &[u8]) -> Result<i32, Errno> {
    value.first_chunk::<4>().map(|bytes| i32::from_ne_bytes(*bytes)).ok_or(Errno::EINVAL)
}

/// An `int` between two bounds.
fn bounded(value: &[u8], least: i32, most: i32) -> Result<u32, Errno> {
    let value = int(value)?;
    if (least..=most).contains(&value) { Ok(value as u32) } else { Err(Errno::EINVAL) }
}

/// A byte-sized or `int` option of the IP level: Linux takes both.
fn byte_or_int(value: &[u8]) -> Result<i32, Errno> {
    match value {
        [] => Err(Errno::EINVAL),
        [byte, ..] if value.len() < 4 => Ok(i32::from(*byte)),
        _ => int(value),
    }
}

/// A `struct timeval` with fields of 64 or 32 bits; zero is no time-out.
fn timeval(value: &[u8]) -> Result<Option<SimDuration>, Errno> {
    let (seconds, micros) = if let Some(bytes) = value.first_chunk::<16>() {
        let (seconds, micros) = bytes.split_at(8);
        let number = |half: &[u8]| i64::from_ne_bytes(half.try_into().expect("half of 16 bytes"));
        (number(seconds), number(micros))
    } else {
        let bytes = value.first_chunk::<8>().ok_or(Errno::EINVAL)?;
        (i64::from(int(&bytes[..4])?), i64::from(int(&bytes[4..])?))
    };
    if !(0..1_000_000).contains(&micros) {
        return Err(EDOM);
    }
    // Linux takes a negative time for one that is over at once; nobody waits for no time, so: the least there is.
    let seconds = u64::try_from(seconds).unwrap_or(0);
    let span = SimDuration::from_secs(seconds) + SimDuration::from_micros(micros as u64);
    Ok((!span.is_zero()).then_some(span))
}

fn timeval_bytes(span: Option<SimDuration>, len: usize) -> Vec<u8> {
    let micros = span.unwrap_or(SimDuration::ZERO).as_micros();
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    if !(8..16).contains(&len) {
        [(seconds as i64).to_ne_bytes(), (micros as i64).to_ne_bytes()].concat()
    } else {
        [(seconds as i32).to_ne_bytes(), (micros as i32).to_ne_bytes()].concat()
    }
}

fn mtu_discover(value: i32) -> Result<MtuDiscover, Errno> {
    Ok(match value {
        0 => MtuDiscover::Dont,
        1 => MtuDiscover::Want,
        2 => MtuDiscover::Do,
        // IP_PMTUDISC_INTERFACE and IP_PMTUDISC_OMIT also use the interface's MTU and ignore what was learned.
        3..=5 => MtuDiscover::Probe,
        _ => return Err(Errno::EINVAL),
    })
}

fn mtu_discover_number(value: MtuDiscover) -> i32 {
    match value {
        MtuDiscover::Dont => 0,
        MtuDiscover::Want => 1,
        MtuDiscover::Do => 2,
        MtuDiscover::Probe => 3,
    }
}

/// Those of them that are on or off: told as 1 or 0.
const SWITCHES: &[(i32, i32)] = &[
    (level::SOCKET, so::DEBUG),
    (level::SOCKET, so::DONTROUTE),
    (level::SOCKET, so::OOBINLINE),
    (level::SOCKET, so::NO_CHECK),
    (level::SOCKET, so::PASSCRED),
    (level::SOCKET, so::TIMESTAMP),
    (level::SOCKET, so::TIMESTAMPNS),
    (level::SOCKET, so::RXQ_OVFL),
    (level::IP, ip::RECVOPTS),
    (level::IP, ip::PKTINFO),
    (level::IP, ip::RECVERR),
    (level::IP, ip::RECVTTL),
    (level::IP, ip::RECVTOS),
    (level::IP, ip::FREEBIND),
    (level::IP, ip::TRANSPARENT),
    (level::IP, ip::BIND_ADDRESS_NO_PORT),
    (level::IP, ip::MULTICAST_LOOP),
    (level::IPV6, ipv6::MULTICAST_LOOP),
    (level::IPV6, ipv6::RECVERR),
    (level::IPV6, ipv6::RECVPKTINFO),
    (level::IPV6, ipv6::RECVHOPLIMIT),
    (level::IPV6, ipv6::DONTFRAG),
    (level::IPV6, ipv6::RECVTCLASS),
];

/// What is kept of a remembered option that is set to these bytes, where `before` is its value so far.
fn remembered_value(level: i32, name: i32, value: &[u8], before: i32, kind: Kind) -> Result<i32, Errno> {
    // A stream's ECN bits are TCP's own (INET_ECN_MASK).
    let traffic_class = |class: i32| match kind {
        Kind::Tcp => class & 0xfc | before & 3,
        Kind::Udp => class & 0xff,
    };
    match (level, name) {
        (level::IP, ip::TOS) if value.is_empty() => Ok(traffic_class(0)),
        (level::IP, ip::TOS) => byte_or_int(value).map(traffic_class),
        (level::IPV6, ipv6::TCLASS) => match int(value)? {
            -1 => Ok(traffic_class(0)),
            class @ 0..=255 => Ok(traffic_class(class)),
            _ => Err(Errno::EINVAL),
        },
        // Kept as a number of SYN-ACKs, which go out 1, 2, 4, ... seconds after each other.
        (level::TCP, tcp::DEFER_ACCEPT) => Ok(match int(value)? {
            seconds @ 1.. => (seconds as u32 + 1).next_power_of_two().min(1 << 30) as i32 - 1,
            _ => 0,
        }),
        (level, name) => {
            let number = if level == level::IP { byte_or_int(value)? } else { int(value)? };
            Ok(if SWITCHES.contains(&(level, name)) { i32::from(number != 0) } else { number })
        }
    }
}

/// Whether a socket of this kind has options of this level at all (an IPv6 socket has those of IPv4, too). A level that
/// no socket has is left to be reported with its option.
fn has_level(socket: &InetSocket, level: i32) -> bool {
    match level {
        level::TCP => socket.kind == Kind::Tcp,
        level::IPV6 => socket.family == Family::V6,
        _ => true,
    }
}

/// What a set option asks for.
enum Change {
    /// The stack's options, changed.
    Stack,
    /// Nothing beyond what was done.
    Done,
    /// There is no such option for this kind of socket.
    Unknown,
}

impl Kernel {
    /// `level` and `name` are Linux's numbers, `value` is the bytes as C lays them out.
    ///
    /// # Errors
    /// EBADF, ENOTSOCK, EINVAL; ENOPROTOOPT for an option that is unknown here.
    pub fn setsockopt(&mut self, fd: Fd, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        self.count_call();
        let file = self.lookup_socket(fd)?;
        if self.set_timeout(file, level, name, value)? {
            return Ok(());
        }
        let Some(socket) = self.inet(file).cloned() else {
            return self.set_unix_option(file, level, name, value);
        };
        if !has_level(&socket, level) {
            return Err(Errno::ENOPROTOOPT);
        }
        if let Some(remembered) = self.remember(file, level, name, value) {
            return remembered;
        }
        let bound = self.stack_of(&socket).local_address(socket.id).port() != 0;
        if (level, name) == (level::IPV6, ipv6::V6ONLY) && bound {
            return Err(Errno::EINVAL);
        }
        let mut options = self.stack_of(&socket).options(socket.id).clone();
        let change = match level {
            level::SOCKET => self.set_socket_level(&mut options, name, value)?,
            level::TCP => set_tcp_level(&mut options, name, value)?,
            level::IP => set_ip_level(&mut options, name, value)?,
            level::IPV6 => set_ipv6_level(&mut options, name, value)?,
            _ => Change::Unknown,
        };
        match change {
            Change::Stack => self.with_stack(socket.host, |stack, now| stack.set_options(now, socket.id, options)),
            Change::Done => {}
            Change::Unknown => {
                return Err(self.unsupported(&format!("setsockopt level {level} option {name}"), Errno::ENOPROTOOPT));
            }
        }
        Ok(())
    }

    /// SO_RCVTIMEO and SO_SNDTIMEO of any socket; whether it was one of them.
    fn set_timeout(&mut self, file: FileId, level: i32, name: i32, value: &[u8]) -> Result<bool, Errno> {
        if level != level::SOCKET {
            return Ok(false);
        }
        let file = self.files.get_mut(file);
        match name {
            so::RCVTIMEO | so::RCVTIMEO_NEW => file.receive_timeout = timeval(value)?,
            so::SNDTIMEO | so::SNDTIMEO_NEW => file.send_timeout = timeval(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Keeps an option that changes nothing; `None` if it is not one of those.
    fn remember(&mut self, file: FileId, level: i32, name: i32, value: &[u8]) -> Option<Result<(), Errno>> {
        let (.., first) = REMEMBERED.iter().find(|(known, number, _)| (*known, *number) == (level, name))?;
        let FileKind::Inet(socket) = &mut self.files.get_mut(file).kind else { return None };
        let before = socket.remembered.get(&(level, name)).copied().unwrap_or(*first);
        let kept = remembered_value(level, name, value, before, socket.kind);
        Some(kept.map(|value| _ = socket.remembered.insert((level, name), value)))
    }

    fn set_socket_level(&self, options: &mut SocketOptions, name: i32, value: &[u8]) -> Result<Change, Errno> {
        let sysctls = &self.host().config.sysctls;
        match name {
            so::REUSEADDR => options.reuse_addr = int(value)? != 0,
            so::REUSEPORT => options.reuse_port = int(value)? != 0,
            so::BROADCAST => options.broadcast = int(value)? != 0,
            so::KEEPALIVE => options.keepalive = int(value)? != 0,
            // Linux doubles what is asked for, within the limit, to allow for its own overhead.
            so::SNDBUF => {
                let size = (int(value)?.max(0) as u32).min(sysctls.wmem_max);
                options.send_buffer = Some((size * 2).max(SNDBUF_MIN_BYTES));
            }
            so::RCVBUF => {
                let size = (int(value)?.max(0) as u32).min(sysctls.rmem_max);
                options.receive_buffer = Some((size * 2).max(RCVBUF_MIN_BYTES));
            }
            so::LINGER => {
                let on = int(value)? != 0;
                let seconds = int(value.get(4..).ok_or(Errno::EINVAL)?)?;
                options.linger = on.then_some(SimDuration::from_secs(seconds.max(0) as u64));
            }
            // There is one interface, and a socket that is bound to it is as free as before.
            so::BINDTODEVICE => {
                let device = value.split(|byte| *byte == 0).next().unwrap_or_default();
                return if [&b""[..], b"eth0", b"lo"].contains(&device) {
                    Ok(Change::Done)
                } else {
                    Err(Errno::ENODEV)
                };
            }
            so::TYPE | so::ERROR | so::PROTOCOL | so::DOMAIN | so::ACCEPTCONN => return Err(Errno::ENOPROTOOPT),
            _ => return Ok(Change::Unknown),
        }
        Ok(Change::Stack)
    }

    fn set_unix_option(&mut self, file: FileId, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        let asked = int(value);
        let doubled = |most: u32, least: u32| asked.map(|size| ((size.max(0) as u32).min(most) * 2).max(least) as i32);
        let sysctls = &self.host().config.sysctls;
        let kept = match (level, name) {
            (level::SOCKET, so::REUSEADDR | so::BROADCAST | so::KEEPALIVE | so::OOBINLINE | so::PASSCRED) => {
                asked.map(|on| i32::from(on != 0))
            }
            // What is told, as for other sockets; how much fits into the inbox stays as it is.
            (level::SOCKET, so::SNDBUF) => doubled(sysctls.wmem_max, SNDBUF_MIN_BYTES),
            (level::SOCKET, so::RCVBUF) => doubled(sysctls.rmem_max, RCVBUF_MIN_BYTES),
            (level::SOCKET, so::PRIORITY | so::MARK | so::RCVLOWAT) => asked,
            (level::SOCKET, so::LINGER) => return asked.map(|_| ()),
            (level::SOCKET, so::REUSEPORT) => {
                return if asked? == 0 { Ok(()) } else { Err(Errno::EOPNOTSUPP) };
            }
            (level::SOCKET, so::TYPE | so::ERROR | so::PROTOCOL | so::DOMAIN | so::ACCEPTCONN) => {
                return Err(Errno::ENOPROTOOPT);
            }
            // Linux: no such level for AF_UNIX.
            (level, _) if level != level::SOCKET => return Err(Errno::EOPNOTSUPP),
            _ => {
                return Err(self.unsupported(&format!("setsockopt level {level} option {name}"), Errno::ENOPROTOOPT));
            }
        };
        self.unix_mut(file).remember(name, kept?);
        Ok(())
    }

    /// The option's bytes; the front end cuts them to the caller's length (`len`).
    ///
    /// # Errors
    /// EBADF, ENOTSOCK; ENOPROTOOPT for an option that is unknown here.
    pub fn getsockopt(&mut self, fd: Fd, level: i32, name: i32, len: usize) -> Result<Vec<u8>, Errno> {
        self.count_call();
        let file = self.lookup_socket(fd)?;
        let description = self.files.get(file);
        match (level, name) {
            (level::SOCKET, so::RCVTIMEO | so::RCVTIMEO_NEW) => {
                return Ok(timeval_bytes(description.receive_timeout, len));
            }
            (level::SOCKET, so::SNDTIMEO | so::SNDTIMEO_NEW) => {
                return Ok(timeval_bytes(description.send_timeout, len));
            }
            _ => {}
        }
        let value = match self.inet(file).cloned() {
            Some(socket) => self.get_inet_option(&socket, level, name),
            None => self.get_unix_option(file, level, name),
        };
        match value? {
            Some(value) => Ok(value),
            None => Err(self.unsupported(&format!("getsockopt level {level} option {name}"), Errno::ENOPROTOOPT)),
        }
    }

    fn get_inet_option(&mut self, socket: &InetSocket, level: i32, name: i32) -> Result<Option<Vec<u8>>, Errno> {
        // Linux: ENOPROTOOPT for setting what is not there, EOPNOTSUPP for asking, where not even the level is.
        let known = [level::SOCKET, level::IP, level::IPV6, level::TCP].contains(&level);
        let udp = level == level::UDP && socket.kind == Kind::Udp;
        if !(udp || known && has_level(socket, level)) {
            return Err(Errno::EOPNOTSUPP);
        }
        if let Some((.., before)) = REMEMBERED.iter().find(|(known, number, _)| (*known, *number) == (level, name)) {
            let value = socket.remembered.get(&(level, name)).copied().unwrap_or(*before);
            return Ok(Some(value.to_ne_bytes().to_vec()));
        }
        match level {
            level::SOCKET => Ok(self.get_socket_level(socket, name)),
            level::TCP => Ok(self.get_tcp_level(socket, name)),
            level::IP | level::IPV6 => self.get_ip_level(socket, level, name),
            _ => Ok(None),
        }
    }

    fn get_socket_level(&mut self, socket: &InetSocket, name: i32) -> Option<Vec<u8>> {
        let tcp = socket.kind == Kind::Tcp;
        if name == so::ERROR {
            let error = self.with_stack(socket.host, |stack, _| stack.take_error(socket.id));
            return Some(error.map_or(0, |errno| errno.0).to_ne_bytes().to_vec());
        }
        let host = &self.hosts[socket.host.index()];
        let options = host.netstack.options(socket.id);
        let sysctls = &host.config.sysctls;
        let value: i32 = match name {
            so::REUSEADDR => options.reuse_addr.into(),
            so::REUSEPORT => options.reuse_port.into(),
            so::BROADCAST => options.broadcast.into(),
            so::KEEPALIVE => options.keepalive.into(),
            so::TYPE => {
                if tcp {
                    1
                } else {
                    2
                }
            }
            so::PROTOCOL => {
                if tcp {
                    6
                } else {
                    17
                }
            }
            so::DOMAIN => match socket.family {
                Family::V4 => 2,
                Family::V6 => 10,
            },
            so::ACCEPTCONN => host.netstack.is_listening(socket.id).into(),
            so::SNDBUF => {
                options.send_buffer.unwrap_or(if tcp { sysctls.tcp_wmem[1] } else { sysctls.wmem_default }) as i32
            }
            so::RCVBUF => {
                options.receive_buffer.unwrap_or(if tcp { sysctls.tcp_rmem[1] } else { sysctls.rmem_default }) as i32
            }
            so::LINGER => {
                let seconds = options.linger.map_or(0, |span| span.as_millis() / 1000) as i32;
                let on = i32::from(options.linger.is_some());
                return Some([on.to_ne_bytes(), seconds.to_ne_bytes()].concat());
            }
            so::BINDTODEVICE => return Some(Vec::new()),
            so::COOKIE => return Some((socket.id.serial() + 1).to_ne_bytes().to_vec()),
            _ => return None,
        };
        Some(value.to_ne_bytes().to_vec())
    }

    fn get_tcp_level(&self, socket: &InetSocket, name: i32) -> Option<Vec<u8>> {
        let host = &self.hosts[socket.host.index()];
        let options = host.netstack.options(socket.id);
        let sysctls = &host.config.sysctls;
        let seconds = |span: SimDuration| (span.as_millis() / 1000) as i32;
        let value: i32 = match name {
            tcp::NODELAY => options.no_delay.into(),
            tcp::CORK => options.cork.into(),
            tcp::MAXSEG => {
                let established = host.netstack.tcp_info(socket.id).map_or(0, |info| info.send_mss);
                let asked = options.max_segment.map_or(MSS_DEFAULT_BYTES, u32::from);
                (if established > 0 { established } else { asked }) as i32
            }
            tcp::KEEPIDLE => seconds(options.keepalive_idle.unwrap_or(sysctls.tcp_keepalive_time)),
            tcp::KEEPINTVL => seconds(options.keepalive_interval.unwrap_or(sysctls.tcp_keepalive_intvl)),
            tcp::KEEPCNT => options.keepalive_count.unwrap_or(sysctls.tcp_keepalive_probes) as i32,
            tcp::SYNCNT => options.syn_count.unwrap_or(sysctls.tcp_syn_retries) as i32,
            tcp::USER_TIMEOUT => options.user_timeout.as_millis() as i32,
            tcp::QUICKACK => options.quick_ack.unwrap_or(true).into(),
            tcp::CONGESTION => return Some(CONGESTION.to_vec()),
            tcp::INFO => {
                let info = host.netstack.tcp_info(socket.id).unwrap_or_default();
                return Some(tcp_info_bytes(self.tcp_state_number(socket), &info));
            }
            _ => return None,
        };
        Some(value.to_ne_bytes().to_vec())
    }

    /// The state in `struct tcp_info`, as far as sockets tell it (include/net/tcp_states.h).
    fn tcp_state_number(&self, socket: &InetSocket) -> u8 {
        const ESTABLISHED: u8 = 1;
        const CLOSE: u8 = 7;
        const LISTEN: u8 = 10;
        let stack = self.stack_of(socket);
        match stack.is_listening(socket.id) {
            true => LISTEN,
            false if stack.peer_address(socket.id).is_ok() => ESTABLISHED,
            false => CLOSE,
        }
    }

    fn get_ip_level(&self, socket: &InetSocket, level: i32, name: i32) -> Result<Option<Vec<u8>>, Errno> {
        let stack = self.stack_of(socket);
        let options = stack.options(socket.id);
        let value: i32 = match (level, name) {
            (level::IP, ip::TTL) | (level::IPV6, ipv6::UNICAST_HOPS) => options.ttl.into(),
            (level::IP, ip::MTU_DISCOVER) | (level::IPV6, ipv6::MTU_DISCOVER) => {
                mtu_discover_number(options.mtu_discover)
            }
            (level::IP, ip::MTU) | (level::IPV6, ipv6::MTU) => stack.path_mtu(socket.id).ok_or(Errno::ENOTCONN)? as i32,
            (level::IPV6, ipv6::V6ONLY) => options.only_v6.into(),
            _ => return Ok(None),
        };
        Ok(Some(value.to_ne_bytes().to_vec()))
    }

    fn get_unix_option(&mut self, file: FileId, level: i32, name: i32) -> Result<Option<Vec<u8>>, Errno> {
        if level != level::SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        let host = self.current_host();
        let socket = self.unix_mut(file);
        let value: i32 = match name {
            _ if socket.remembered(name).is_some() => socket.remembered(name).unwrap_or_default(),
            so::TYPE => socket.type_number(),
            so::ERROR => socket.take_error().map_or(0, |errno| errno.0),
            so::DOMAIN => 1,
            so::PROTOCOL => 0,
            so::ACCEPTCONN => socket.is_listening().into(),
            so::SNDBUF | so::RCVBUF => UNIX_BUFFER_BYTES as i32,
            so::REUSEADDR | so::REUSEPORT | so::BROADCAST | so::KEEPALIVE | so::OOBINLINE => 0,
            so::PASSCRED | so::PRIORITY | so::MARK => 0,
            so::RCVLOWAT => 1,
            so::LINGER => return Ok(Some(vec![0; 8])),
            // struct ucred: a process number that depends on the host alone, and root.
            so::PEERCRED => {
                let process = host.index() as i32 + 2;
                return Ok(Some([process.to_ne_bytes(), [0; 4], [0; 4]].concat()));
            }
            _ => return Ok(None),
        };
        Ok(Some(value.to_ne_bytes().to_vec()))
    }
}

fn set_tcp_level(options: &mut SocketOptions, name: i32, value: &[u8]) -> Result<Change, Errno> {
    // Bounds: net/ipv4/tcp.c, MAX_TCP_KEEPIDLE and so on.
    match name {
        tcp::NODELAY => options.no_delay = int(value)? != 0,
        tcp::CORK => options.cork = int(value)? != 0,
        tcp::MAXSEG => {
            let segment = bounded(value, 0, 32_767)? as u16;
            if segment != 0 && segment < 88 {
                return Err(Errno::EINVAL);
            }
            options.max_segment = (segment != 0).then_some(segment);
        }
        tcp::KEEPIDLE => options.keepalive_idle = Some(SimDuration::from_secs(bounded(value, 1, 32_767)?.into())),
        tcp::KEEPINTVL => options.keepalive_interval = Some(SimDuration::from_secs(bounded(value, 1, 32_767)?.into())),
        tcp::KEEPCNT => options.keepalive_count = Some(bounded(value, 1, 127)?),
        tcp::SYNCNT => options.syn_count = Some(bounded(value, 1, 127)?),
        tcp::USER_TIMEOUT => options.user_timeout = SimDuration::from_millis(bounded(value, 0, i32::MAX)?.into()),
        tcp::QUICKACK => options.quick_ack = Some(int(value)? != 0),
        tcp::CONGESTION => {
            let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
            return if name == b"cubic" { Ok(Change::Done) } else { Err(Errno::ENOENT) };
        }
        tcp::INFO => return Err(Errno::ENOPROTOOPT),
        _ => return Ok(Change::Unknown),
    }
    Ok(Change::Stack)
}

/// A time to live: -1 is the default.
fn hops(value: i32) -> Result<u8, Errno> {
    match value {
        -1 => Ok(SocketOptions::default().ttl),
        1..=255 => Ok(value as u8),
        _ => Err(Errno::EINVAL),
    }
}

fn set_ip_level(options: &mut SocketOptions, name: i32, value: &[u8]) -> Result<Change, Errno> {
    match name {
        ip::TTL => options.ttl = hops(byte_or_int(value)?)?,
        ip::MTU_DISCOVER => options.mtu_discover = mtu_discover(byte_or_int(value)?)?,
        _ => return Ok(Change::Unknown),
    }
    Ok(Change::Stack)
}

fn set_ipv6_level(options: &mut SocketOptions, name: i32, value: &[u8]) -> Result<Change, Errno> {
    match name {
        ipv6::V6ONLY => options.only_v6 = int(value)? != 0,
        ipv6::UNICAST_HOPS => options.ttl = hops(int(value)?)?,
        ipv6::MTU_DISCOVER => options.mtu_discover = mtu_discover(int(value)?)?,
        _ => return Ok(Change::Unknown),
    }
    Ok(Change::Stack)
}

/// `struct tcp_info` (include/uapi/linux/tcp.h of 6.12): what is not known here is zero.
fn tcp_info_bytes(state: u8, info: &TcpInfo) -> Vec<u8> {
    const SIZE: usize = 248;
    let mut bytes = vec![0; SIZE];
    bytes[0] = state;
    bytes[2] = info.retransmits.min(255) as u8;
    let micros = |span: SimDuration| span.as_micros().min(u64::from(u32::MAX)) as u32;
    for (offset, value) in [
        (8, micros(info.rto)),
        (16, info.send_mss),
        (24, info.unacked_segments),
        (60, info.path_mtu),
        (68, micros(info.srtt)),
        (72, micros(info.rttvar)),
        (76, info.slow_start_threshold_segments),
        (80, info.congestion_window_segments),
        (100, info.total_retransmits),
        (144, info.bytes_unsent.min(u32::MAX as usize) as u32),
    ] {
        bytes[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    }
    bytes
}
