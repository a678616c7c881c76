//! Sockets: the calls that all kinds share, and those of IPv4 and IPv6 over the host's stack.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::task::Poll;

use halfopen_core::{Errno, Event, HostId};
use halfopen_netstack::socket::{Family, Kind, Shutdown, SocketId};

use crate::fd::Fd;
use crate::file::{FileId, FileKind};
use crate::scheduler::WaitFor;
use crate::{Call, Kernel, Outcome};

/// A socket address of any family that programs use.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Address {
    /// IPv4 or IPv6.
    Inet(SocketAddr),
    /// A path or an abstract name (leading NUL); empty for an unnamed socket.
    Unix(Vec<u8>),
    /// AF_UNSPEC: dissolves a UDP association.
    Unspecified,
}

/// Address family of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Domain {
    /// AF_INET, AF_INET6.
    Inet(Family),
    /// AF_UNIX.
    Unix,
}

/// Type of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SocketType {
    /// TCP or UDP.
    Inet(Kind),
    /// SOCK_STREAM of AF_UNIX.
    UnixStream,
    /// SOCK_DGRAM of AF_UNIX.
    UnixDatagram,
    /// SOCK_SEQPACKET of AF_UNIX.
    UnixSeqpacket,
}

/// What a received message carries besides its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Bytes put into the buffer.
    pub len: usize,
    /// The datagram's whole length (MSG_TRUNC).
    pub full_len: usize,
    /// Who sent it; `None` for a stream.
    pub from: Option<Address>,
    /// Descriptors that came with SCM_RIGHTS, already installed.
    pub fds: Vec<Fd>,
}

/// Flags of send and recv that matter here (MSG_*).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MsgFlags {
    /// MSG_DONTWAIT: as if the description were non-blocking.
    pub dont_wait: bool,
    /// MSG_PEEK: what is received stays there.
    pub peek: bool,
    /// MSG_WAITALL: a stream is read until the buffer is full.
    pub wait_all: bool,
    /// MSG_NOSIGNAL: for the front end, which raises SIGPIPE.
    pub no_signal: bool,
    /// MSG_TRUNC: for the front end, which then tells [`Message::full_len`].
    pub trunc: bool,
    /// MSG_CMSG_CLOEXEC: of the descriptors that come along.
    pub close_on_exec: bool,
    /// MSG_MORE: without effect.
    pub more: bool,
}

/// A socket of the host's stack.
#[derive(Clone, Debug)]
pub(crate) struct InetSocket {
    /// Whose stack it belongs to. Usually that of the threads that use it; but hosts share the statics of one process.
    pub(crate) host: HostId,
    pub(crate) id: SocketId,
    pub(crate) family: Family,
    pub(crate) kind: Kind,
    /// Options that are remembered and told, and change nothing.
    pub(crate) remembered: BTreeMap<(i32, i32), i32>,
}

impl Kernel {
    /// Reports a call that halfopen does not support, once for each text and host, and gives back its errno.
    pub fn unsupported(&mut self, call: &str, errno: Errno) -> Errno {
        let host = self.current_host();
        if self.host_mut().unsupported.insert(call.to_owned()) {
            self.tell(&Event::Unsupported { host, call: call.to_owned().into(), errno });
        }
        errno
    }

    /// socket(2). The front end turns other families and types away, with [`Kernel::unsupported`].
    ///
    /// # Errors
    /// EMFILE; EPROTONOSUPPORT where type and family do not fit.
    pub fn socket(
        &mut self,
        kind: SocketType,
        domain: Domain,
        nonblocking: bool,
        close_on_exec: bool,
    ) -> Result<Fd, Errno> {
        self.count_call();
        match (kind, domain) {
            (SocketType::Inet(kind), Domain::Inet(family)) => {
                self.need_room(1)?;
                let id = self.host_mut().netstack.socket(family, kind)?;
                let socket = InetSocket { host: self.current_host(), id, family, kind, remembered: BTreeMap::new() };
                self.open_inet(socket, nonblocking, close_on_exec)
            }
            (SocketType::Inet(_), Domain::Unix) | (_, Domain::Inet(_)) => {
                Err(self.unsupported(&format!("socket {domain:?} {kind:?}"), Errno::EPROTONOSUPPORT))
            }
            (kind, Domain::Unix) => self.unix_socket(kind, nonblocking, close_on_exec),
        }
    }

    fn open_inet(&mut self, socket: InetSocket, nonblocking: bool, close_on_exec: bool) -> Result<Fd, Errno> {
        let (host, id) = (socket.host, socket.id);
        let file = self.new_file(FileKind::Inet(Box::new(socket)), nonblocking);
        self.hosts[host.index()].sockets.insert(id, file);
        self.install(file, close_on_exec)
    }

    /// The last reference to a socket of a stack went.
    pub(crate) fn close_inet(&mut self, host: HostId, socket: SocketId) {
        let running = self.is_running(host);
        let now = self.now;
        let entry = &mut self.hosts[host.index()];
        entry.sockets.remove(&socket);
        // The sockets of a process that is over were closed, or forgotten, as a whole.
        if running {
            entry.netstack.close(now, socket);
            self.touch(host);
        }
    }

    pub(crate) fn inet(&self, file: FileId) -> Option<&InetSocket> {
        match &self.files.get(file).kind {
            FileKind::Inet(socket) => Some(socket),
            _ => None,
        }
    }

    /// Does something with a host's stack and brings out what comes of it.
    pub(crate) fn with_stack<T>(
        &mut self,
        host: HostId,
        act: impl FnOnce(&mut halfopen_netstack::Netstack, halfopen_core::SimTime) -> T,
    ) -> T {
        let result = self.begin_with_stack(host, act);
        self.pump();
        result
    }

    /// Does something with a host's stack. What comes of it is for the caller to pump out once its thread waits, if it
    /// must: over loopback a whole handshake may come of it, and its wake-up must find the thread waiting.
    fn begin_with_stack<T>(
        &mut self,
        host: HostId,
        act: impl FnOnce(&mut halfopen_netstack::Netstack, halfopen_core::SimTime) -> T,
    ) -> T {
        let now = self.now;
        let result = act(&mut self.hosts[host.index()].netstack, now);
        self.touch(host);
        result
    }

    /// bind(2).
    ///
    /// # Errors
    /// EBADF, ENOTSOCK, EAFNOSUPPORT for an address of another family, and what the stack says.
    pub fn bind(&mut self, fd: Fd, address: &Address) -> Result<(), Errno> {
        self.count_call();
        let file = self.lookup_socket(fd)?;
        let socket = self.inet(file).map(|socket| (socket.host, socket.id));
        match (socket, address) {
            (Some((host, socket)), Address::Inet(address)) => {
                self.with_stack(host, |stack, now| stack.bind(now, socket, *address))
            }
            (None, Address::Unix(name)) => self.bind_unix(file, name),
            (Some(_), _) => Err(Errno::EAFNOSUPPORT),
            (None, _) => Err(Errno::EINVAL),
        }
    }

    /// listen(2).
    ///
    /// # Errors
    /// EBADF, ENOTSOCK, EOPNOTSUPP for datagrams, and what the stack says.
    pub fn listen(&mut self, fd: Fd, backlog: i32) -> Result<(), Errno> {
        self.count_call();
        let file = self.lookup_socket(fd)?;
        match self.inet(file) {
            Some(socket) if socket.kind == Kind::Udp => Err(Errno::EOPNOTSUPP),
            Some(socket) => {
                let (host, socket) = (socket.host, socket.id);
                self.with_stack(host, |stack, now| stack.listen(now, socket, backlog))
            }
            None => self.listen_unix(file, backlog),
        }
    }

    /// connect(2).
    ///
    /// # Errors
    /// As Linux; EINPROGRESS for a non-blocking one, and for a blocking one at the end of SO_SNDTIMEO.
    pub fn connect(&mut self, fd: Fd, address: &Address, call: &mut Call) -> Outcome<()> {
        self.count_call();
        let file = match self.lookup_socket(fd) {
            Ok(file) => file,
            Err(errno) => return Poll::Ready(Err(errno)),
        };
        match (self.inet(file), address) {
            (Some(_), Address::Inet(to)) => {
                let outcome = self.connect_inet(fd, file, Some(*to), call);
                self.pump();
                outcome
            }
            (Some(_), Address::Unspecified) => {
                let outcome = self.connect_inet(fd, file, None, call);
                self.pump();
                outcome
            }
            (Some(_), Address::Unix(_)) => Poll::Ready(Err(Errno::EAFNOSUPPORT)),
            (None, Address::Unix(name)) => self.connect_unix(fd, file, name, call),
            (None, Address::Unspecified) => Poll::Ready(self.disconnect_unix(file)),
            (None, Address::Inet(_)) => Poll::Ready(Err(Errno::EINVAL)),
        }
    }

    fn connect_inet(&mut self, fd: Fd, file: FileId, to: Option<SocketAddr>, call: &mut Call) -> Outcome<()> {
        let socket = self.inet(file).expect("the caller looked at the kind");
        let (host, socket) = (socket.host, socket.id);
        let result = self.begin_with_stack(host, |stack, now| stack.connect(now, socket, to));
        let (nonblocking, timeout) = {
            let file = self.files.get(file);
            (file.nonblocking, file.send_timeout)
        };
        match result {
            Err(errno @ (Errno::EINPROGRESS | Errno::EALREADY)) if !nonblocking => {
                // A connect that only joined one in progress says so at its time-out, too.
                call.done |= usize::from(!call.resumed && errno == Errno::EALREADY);
                let errno = if call.done > 0 { Errno::EALREADY } else { Errno::EINPROGRESS };
                self.wait_for_file(file, true, timeout, errno, call, WaitFor::Connect(fd))
            }
            // A program that asks again and again must see time move.
            Err(Errno::EALREADY) => self.idle_result(call, Err(Errno::EALREADY)),
            result => Poll::Ready(result),
        }
    }

    /// accept4(2).
    ///
    /// # Errors
    /// As Linux; EAGAIN for a non-blocking one, and for a blocking one at the end of SO_RCVTIMEO; EMFILE before it
    /// looks for a connection.
    pub fn accept(
        &mut self,
        fd: Fd,
        nonblocking: bool,
        close_on_exec: bool,
        call: &mut Call,
    ) -> Outcome<(Fd, Address)> {
        self.count_call();
        let file = match self.lookup_socket(fd) {
            Ok(file) => file,
            Err(errno) => return Poll::Ready(Err(errno)),
        };
        if let Err(errno) = self.need_room(1) {
            return Poll::Ready(Err(errno));
        }
        let accepted = match self.inet(file).cloned() {
            Some(listener) => self.accept_inet(file, &listener, nonblocking, close_on_exec),
            None => self.accept_unix(file, nonblocking, close_on_exec),
        };
        match accepted {
            Err(Errno::EAGAIN) => {
                let listener = self.files.get(file);
                let (may_wait, timeout) = (!listener.nonblocking, listener.receive_timeout);
                self.wait_for_file(file, may_wait, timeout, Errno::EAGAIN, call, WaitFor::Accept(fd))
            }
            result => Poll::Ready(result),
        }
    }

    fn accept_inet(
        &mut self,
        file: FileId,
        listener: &InetSocket,
        nonblocking: bool,
        close_on_exec: bool,
    ) -> Result<(Fd, Address), Errno> {
        if listener.kind == Kind::Udp {
            return Err(Errno::EOPNOTSUPP);
        }
        let now = self.now;
        let host = listener.host;
        let (id, from) = self.hosts[host.index()].netstack.accept(now, listener.id)?;
        // A connection inherits its listener's options, time-outs included.
        let socket = InetSocket { id, ..listener.clone() };
        let fd = self.open_inet(socket, nonblocking, close_on_exec)?;
        let listener = self.files.get(file);
        let timeouts = (listener.receive_timeout, listener.send_timeout);
        let accepted = self.lookup(fd).expect("just opened");
        let accepted = self.files.get_mut(accepted);
        (accepted.receive_timeout, accepted.send_timeout) = timeouts;
        self.touch(host);
        self.pump();
        Ok((fd, Address::Inet(from)))
    }

    /// send(2), sendto(2), sendmsg(2). A blocking one on a stream comes back once all is queued, or with what was
    /// queued before an error or the end of SO_SNDTIMEO.
    ///
    /// # Errors
    /// As Linux; EPIPE where a front end raises SIGPIPE.
    pub fn send(
        &mut self,
        fd: Fd,
        data: &[u8],
        to: Option<&Address>,
        fds: &[Fd],
        flags: MsgFlags,
        call: &mut Call,
    ) -> Outcome<usize> {
        self.count_call();
        let file = match self.lookup_socket(fd) {
            Ok(file) => file,
            Err(errno) => return Poll::Ready(Err(errno)),
        };
        let to = match (self.inet(file).is_some(), to) {
            (true, None | Some(Address::Unspecified)) => None,
            (true, Some(Address::Inet(to))) => Some(*to),
            (true, Some(Address::Unix(_))) => return Poll::Ready(Err(Errno::EAFNOSUPPORT)),
            (false, to) => return self.send_unix(fd, file, data, to, fds, flags, call),
        };
        let outcome = self.send_inet(fd, file, data, to, flags, call);
        self.pump();
        outcome
    }

    fn send_inet(
        &mut self,
        fd: Fd,
        file: FileId,
        data: &[u8],
        to: Option<SocketAddr>,
        flags: MsgFlags,
        call: &mut Call,
    ) -> Outcome<usize> {
        let socket = self.inet(file).expect("the caller looked at the kind");
        let (host, socket, kind) = (socket.host, socket.id, socket.kind);
        let description = self.files.get(file);
        let may_wait = !description.nonblocking && !flags.dont_wait;
        let timeout = description.send_timeout;
        // Where time ran out, an error of the socket still counts, room that came without a wake does not (Linux
        // sk_stream_wait_memory; measured: EAGAIN).
        let over = kind == Kind::Tcp && self.is_over(call) && self.timed_out();
        let rest = if over { &[] } else { &data[call.done.min(data.len())..] };
        match self.begin_with_stack(host, |stack, now| stack.send(now, socket, rest, to)) {
            Ok(len) => {
                call.done += len;
                if kind == Kind::Udp || call.done >= data.len() || !may_wait {
                    return Poll::Ready(Ok(call.done));
                }
            }
            Err(Errno::EAGAIN) => {}
            Err(_) if call.done > 0 => return Poll::Ready(Ok(call.done)),
            Err(errno) => return Poll::Ready(Err(errno)),
        }
        if call.done > 0 && self.is_over(call) {
            return Poll::Ready(Ok(call.done));
        }
        self.wait_for_file(file, may_wait, timeout, Errno::EAGAIN, call, WaitFor::Send(fd))
    }

    /// recv(2), recvfrom(2), recvmsg(2). An empty message is the end of a stream.
    ///
    /// # Errors
    /// As Linux; EAGAIN for a non-blocking one, and for a blocking one at the end of SO_RCVTIMEO.
    pub fn recv(&mut self, fd: Fd, buffer: &mut [u8], flags: MsgFlags, call: &mut Call) -> Outcome<Message> {
        self.count_call();
        match self.lookup_socket(fd) {
            Err(errno) => Poll::Ready(Err(errno)),
            Ok(file) if self.inet(file).is_some() => {
                let outcome = self.recv_inet(fd, file, buffer, flags, call);
                self.pump();
                outcome
            }
            Ok(file) => self.recv_unix(fd, file, buffer, flags, call),
        }
    }

    fn recv_inet(
        &mut self,
        fd: Fd,
        file: FileId,
        buffer: &mut [u8],
        flags: MsgFlags,
        call: &mut Call,
    ) -> Outcome<Message> {
        let socket = self.inet(file).expect("the caller looked at the kind");
        let (host, socket, stream) = (socket.host, socket.id, socket.kind == Kind::Tcp);
        let wait_all = stream && flags.wait_all && !flags.peek;
        let may_wait = !self.files.get(file).nonblocking && !flags.dont_wait;
        let size = buffer.len();
        // MSG_TRUNC throws a stream's bytes away (tcp(7)): the program's buffer stays as it is.
        let mut thrown_away = if stream && flags.trunc { vec![0; size] } else { Vec::new() };
        let buffer = if stream && flags.trunc { &mut thrown_away[..] } else { buffer };
        let whole = |len| Message { len, full_len: len, from: None, fds: Vec::new() };
        loop {
            let rest = &mut buffer[call.done.min(size)..];
            match self.begin_with_stack(host, |stack, now| stack.recv(now, socket, rest, flags.peek)) {
                // Nobody sends from port 0: this is how the stack tells of a socket that is shut for reading, which
                // only those who would wait hear of (net/core/datagram.c).
                Ok(received) if !stream && received.from.port() == 0 && !may_wait => break,
                Ok(received) if !stream => {
                    let from = Some(Address::Inet(received.from));
                    let (len, full_len) = (received.len, received.full_len);
                    return Poll::Ready(Ok(Message { len, full_len, from, fds: Vec::new() }));
                }
                Ok(received) => {
                    call.done += received.len;
                    if !wait_all || received.len == 0 || call.done >= size {
                        return Poll::Ready(Ok(whole(call.done)));
                    }
                }
                Err(Errno::EAGAIN) => break,
                Err(_) if call.done > 0 => return Poll::Ready(Ok(whole(call.done))),
                Err(errno) => return Poll::Ready(Err(errno)),
            }
        }
        if call.done > 0 && (!may_wait || self.is_over(call)) {
            return Poll::Ready(Ok(whole(call.done)));
        }
        let timeout = self.files.get(file).receive_timeout;
        self.wait_for_file(file, may_wait, timeout, Errno::EAGAIN, call, WaitFor::Recv(fd))
    }

    /// shutdown(2).
    ///
    /// # Errors
    /// EBADF, ENOTSOCK, ENOTCONN.
    pub fn shutdown(&mut self, fd: Fd, how: Shutdown) -> Result<(), Errno> {
        self.count_call();
        let file = self.lookup_socket(fd)?;
        match self.inet(file).map(|socket| (socket.host, socket.id)) {
            Some((host, socket)) => self.with_stack(host, |stack, now| stack.shutdown(now, socket, how)),
            None => self.shutdown_unix(file, how),
        }
    }

    /// getsockname(2).
    ///
    /// # Errors
    /// EBADF, ENOTSOCK.
    pub fn getsockname(&self, fd: Fd) -> Result<Address, Errno> {
        let file = self.lookup_socket(fd)?;
        match self.inet(file) {
            Some(socket) => Ok(Address::Inet(self.stack_of(socket).local_address(socket.id))),
            None => Ok(self.unix_name(file)),
        }
    }

    /// getpeername(2).
    ///
    /// # Errors
    /// EBADF, ENOTSOCK, ENOTCONN.
    pub fn getpeername(&self, fd: Fd) -> Result<Address, Errno> {
        let file = self.lookup_socket(fd)?;
        match self.inet(file) {
            Some(socket) => self.stack_of(socket).peer_address(socket.id).map(Address::Inet),
            None => self.unix_peer_name(file),
        }
    }

    pub(crate) fn stack_of(&self, socket: &InetSocket) -> &halfopen_netstack::Netstack {
        &self.hosts[socket.host.index()].netstack
    }

    pub(crate) fn describe_inet(&self, socket: &InetSocket) -> String {
        let stack = self.stack_of(socket);
        let kind = match socket.kind {
            Kind::Tcp => "tcp",
            Kind::Udp => "udp",
        };
        let local = stack.local_address(socket.id);
        match stack.peer_address(socket.id) {
            Ok(peer) => format!("{kind} {local} -> {peer}"),
            Err(_) => format!("{kind} {local}"),
        }
    }
}
