//! Unix-domain sockets of one host: stream, datagram and seqpacket; pairs, paths and abstract names; SCM_RIGHTS.
//!
//! What is sent waits in the receiver's inbox. Names are the kernel's alone: no file appears at a path, and the name
//! is free again once its socket is closed.

use std::collections::{BTreeMap, VecDeque};
use std::task::Poll;

use halfopen_core::{Errno, HostId};
use halfopen_netstack::Readiness;
use halfopen_netstack::socket::Shutdown;

use crate::fd::Fd;
use crate::file::{FileId, FileKind};
use crate::scheduler::{WaitFor, WaitKey};
use crate::socket::{Address, Message, MsgFlags, SocketType};
use crate::{Call, Kernel, Outcome};

/// Bytes that wait in one direction before a sender must (net.core.wmem_default). Only payload counts here; Linux also
/// counts its own overhead.
pub const UNIX_BUFFER_BYTES: usize = 212_992;
/// Datagrams that wait at a socket which is not connected to the sender (net.unix.max_dgram_qlen).
pub const UNIX_DGRAM_QUEUE_MAX: usize = 10;
/// Longest name (sizeof sun_path).
const NAME_BYTES_MAX: usize = 108;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum UnixKind {
    Stream,
    Datagram,
    Seqpacket,
}

impl UnixKind {
    fn of(kind: SocketType) -> Option<UnixKind> {
        match kind {
            SocketType::UnixStream => Some(UnixKind::Stream),
            SocketType::UnixDatagram => Some(UnixKind::Datagram),
            SocketType::UnixSeqpacket => Some(UnixKind::Seqpacket),
            SocketType::Inet(_) => None,
        }
    }
}

#[derive(Debug)]
enum Role {
    Fresh,
    Listening {
        backlog: usize,
        /// The server's ends of connections that wait to be accepted; the queue holds a reference to each.
        queue: VecDeque<FileId>,
    },
    Connected(FileId),
    /// The other end of a stream is closed.
    Orphaned,
}

/// One message in flight.
#[derive(Debug)]
struct Letter {
    bytes: Vec<u8>,
    /// Bytes of a stream that were read already.
    taken: usize,
    /// Descriptions that travel with it; it holds a reference to each.
    files: Vec<FileId>,
    from: Vec<u8>,
}

/// One socket.
#[derive(Debug)]
pub(crate) struct UnixSocket {
    kind: UnixKind,
    /// Empty: unnamed.
    name: Vec<u8>,
    peer_name: Vec<u8>,
    role: Role,
    inbox: VecDeque<Letter>,
    inbox_bytes: usize,
    /// Nothing more comes: shut down here, or by the other end.
    read_shut: bool,
    /// Nothing more may be sent.
    write_shut: bool,
    error: Option<Errno>,
    /// SO_* options that are told as they were set.
    options: BTreeMap<i32, i32>,
}

impl UnixSocket {
    fn new(kind: UnixKind) -> UnixSocket {
        UnixSocket {
            kind,
            name: Vec::new(),
            peer_name: Vec::new(),
            role: Role::Fresh,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            read_shut: false,
            write_shut: false,
            error: None,
            options: BTreeMap::new(),
        }
    }

    pub(crate) fn remember(&mut self, option: i32, value: i32) {
        self.options.insert(option, value);
    }

    pub(crate) fn remembered(&self, option: i32) -> Option<i32> {
        self.options.get(&option).copied()
    }

    fn peer(&self) -> Option<FileId> {
        match self.role {
            Role::Connected(peer) => Some(peer),
            _ => None,
        }
    }

    /// Whether as many datagrams wait as this sender may leave here: only a mutual pair has no such limit.
    fn has_full_queue_for(&self, sender: FileId) -> bool {
        self.kind == UnixKind::Datagram && self.peer() != Some(sender) && self.inbox.len() > UNIX_DGRAM_QUEUE_MAX
    }

    fn room(&self) -> usize {
        UNIX_BUFFER_BYTES.saturating_sub(self.inbox_bytes)
    }

    pub(crate) fn bytes_readable(&self) -> Result<usize, Errno> {
        match (&self.role, self.kind) {
            (Role::Listening { .. }, _) => Err(Errno::EINVAL),
            (_, UnixKind::Stream) => Ok(self.inbox_bytes),
            (_, UnixKind::Datagram | UnixKind::Seqpacket) => {
                Ok(self.inbox.front().map_or(0, |first| first.bytes.len()))
            }
        }
    }

    /// Whether it is one end of an unnamed pair (or connection).
    pub(crate) fn is_pair(&self) -> bool {
        self.name.is_empty() && self.peer_name.is_empty() && matches!(self.role, Role::Connected(_))
    }

    pub(crate) fn is_listening(&self) -> bool {
        matches!(self.role, Role::Listening { .. })
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.kind == UnixKind::Stream
    }

    /// SO_TYPE: SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET.
    pub(crate) fn type_number(&self) -> i32 {
        match self.kind {
            UnixKind::Stream => 1,
            UnixKind::Datagram => 2,
            UnixKind::Seqpacket => 5,
        }
    }

    pub(crate) fn take_error(&mut self) -> Option<Errno> {
        self.error.take()
    }

    pub(crate) fn describe(&self) -> String {
        let name = if self.name.is_empty() { &self.peer_name } else { &self.name };
        if name.is_empty() {
            "unix".to_owned()
        } else {
            format!("unix {}", String::from_utf8_lossy(name).replace('\0', "@"))
        }
    }

    fn push(&mut self, bytes: &[u8], files: Vec<FileId>, from: Vec<u8>) {
        self.inbox_bytes += bytes.len();
        self.inbox.push_back(Letter { bytes: bytes.to_vec(), taken: 0, files, from });
    }

    /// Takes bytes of a stream, up to the end of the first message that carries descriptions.
    fn read_stream(&mut self, buffer: &mut [u8], peek: bool) -> (usize, Vec<FileId>) {
        let (mut len, mut index) = (0, 0);
        while len < buffer.len()
            && let Some(letter) = self.inbox.get_mut(index)
        {
            let part = &letter.bytes[letter.taken..];
            let count = part.len().min(buffer.len() - len);
            buffer[len..len + count].copy_from_slice(&part[..count]);
            len += count;
            // What comes with descriptors is the last of one read (net/unix/af_unix.c, `unix_stream_read_generic`).
            if peek && letter.files.is_empty() {
                index += 1;
                continue;
            } else if peek {
                break;
            }
            letter.taken += count;
            self.inbox_bytes -= count;
            let files = std::mem::take(&mut letter.files);
            if letter.taken == letter.bytes.len() {
                self.inbox.pop_front();
            }
            if !files.is_empty() {
                return (len, files);
            }
        }
        (len, Vec::new())
    }
}

impl Kernel {
    fn unix(&self, file: FileId) -> &UnixSocket {
        match &self.files.get(file).kind {
            FileKind::Unix(socket) => socket,
            _ => unreachable!("the caller looked at the kind"),
        }
    }

    pub(crate) fn unix_mut(&mut self, file: FileId) -> &mut UnixSocket {
        match &mut self.files.get_mut(file).kind {
            FileKind::Unix(socket) => socket,
            _ => unreachable!("the caller looked at the kind"),
        }
    }

    pub(crate) fn unix_socket(
        &mut self,
        kind: SocketType,
        nonblocking: bool,
        close_on_exec: bool,
    ) -> Result<Fd, Errno> {
        let kind = UnixKind::of(kind).ok_or(Errno::EPROTONOSUPPORT)?;
        self.open_file(FileKind::Unix(Box::new(UnixSocket::new(kind))), nonblocking, close_on_exec)
    }

    /// socketpair(2).
    ///
    /// # Errors
    /// EMFILE; EOPNOTSUPP for TCP and UDP.
    pub fn socketpair(&mut self, kind: SocketType, nonblocking: bool, close_on_exec: bool) -> Result<(Fd, Fd), Errno> {
        self.count_call();
        let kind = UnixKind::of(kind).ok_or(Errno::EOPNOTSUPP)?;
        self.need_room(2)?;
        let one = self.new_file(FileKind::Unix(Box::new(UnixSocket::new(kind))), nonblocking);
        let other = self.new_file(FileKind::Unix(Box::new(UnixSocket::new(kind))), nonblocking);
        self.unix_mut(one).role = Role::Connected(other);
        self.unix_mut(other).role = Role::Connected(one);
        Ok((self.install(one, close_on_exec)?, self.install(other, close_on_exec)?))
    }

    pub(crate) fn unix_readiness(&self, file: FileId, socket: &UnixSocket) -> Readiness {
        let mut ready = Readiness::NONE;
        let mut set = |when: bool, bits: Readiness| {
            if when {
                ready = ready.with(bits);
            }
        };
        set(socket.error.is_some(), Readiness::ERR);
        if let Role::Listening { queue, .. } = &socket.role {
            set(!queue.is_empty(), Readiness::IN);
            return ready;
        }
        set(!socket.inbox.is_empty(), Readiness::IN);
        set(socket.read_shut, Readiness::IN.with(Readiness::RDHUP));
        set(socket.read_shut && socket.write_shut, Readiness::HUP);
        set(matches!(socket.role, Role::Fresh) && socket.kind != UnixKind::Datagram, Readiness::HUP);
        let peer = socket.peer().and_then(|peer| self.find_unix(peer));
        // Linux (unix_writable, unix_dgram_poll): up to a quarter of the buffer is taken, and the queue is not full.
        let writable = |peer: &UnixSocket| peer.inbox_bytes * 4 <= UNIX_BUFFER_BYTES && !peer.has_full_queue_for(file);
        set(peer.is_none_or(writable), Readiness::OUT);
        ready
    }

    fn find_unix(&self, file: FileId) -> Option<&UnixSocket> {
        match &self.files.find(file)?.kind {
            FileKind::Unix(socket) => Some(socket),
            _ => None,
        }
    }

    pub(crate) fn unix_bytes_unsent(&self, socket: &UnixSocket) -> usize {
        socket.peer().and_then(|peer| self.find_unix(peer)).map_or(0, |peer| peer.inbox_bytes)
    }

    pub(crate) fn bind_unix(&mut self, file: FileId, name: &[u8]) -> Result<(), Errno> {
        if !self.unix(file).name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(Errno::EINVAL);
        }
        let host = self.files.get(file).host;
        let host = &mut self.hosts[host.index()];
        let name = if name.is_empty() {
            // unix(7), autobind: NUL and five hexadecimal digits.
            host.unix_autobind += 1;
            format!("\0{:05x}", host.unix_autobind).into_bytes()
        } else {
            name.to_vec()
        };
        if host.unix_names.contains_key(&name) {
            return Err(Errno::EADDRINUSE);
        }
        host.unix_names.insert(name.clone(), file);
        self.unix_mut(file).name = name;
        Ok(())
    }

    pub(crate) fn listen_unix(&mut self, file: FileId, backlog: i32) -> Result<(), Errno> {
        let most = self.host().config.sysctls.somaxconn as usize;
        // A negative backlog is a very large one to Linux.
        let backlog = usize::try_from(backlog).unwrap_or(most).min(most);
        let socket = self.unix_mut(file);
        match &mut socket.role {
            _ if socket.kind == UnixKind::Datagram => Err(Errno::EOPNOTSUPP),
            _ if socket.name.is_empty() => Err(Errno::EINVAL),
            Role::Listening { backlog: old, .. } => {
                *old = backlog;
                Ok(())
            }
            role @ Role::Fresh => {
                *role = Role::Listening { backlog, queue: VecDeque::new() };
                Ok(())
            }
            Role::Connected(_) | Role::Orphaned => Err(Errno::EINVAL),
        }
    }

    /// The socket of this kind that owns a name on the host of this one.
    ///
    /// # Errors
    /// ENOENT or ECONNREFUSED if there is none, EPROTOTYPE if it is of another kind: of an abstract name, Linux looks
    /// only for sockets of the same kind, and finds none.
    fn find_name(&self, file: FileId, name: &[u8], kind: UnixKind) -> Result<FileId, Errno> {
        let is_abstract = name.first() == Some(&0);
        let host = self.files.get(file).host;
        match self.hosts[host.index()].unix_names.get(name) {
            Some(owner) if self.unix(*owner).kind == kind => Ok(*owner),
            _ if is_abstract => Err(Errno::ECONNREFUSED),
            Some(_) => Err(Errno::EPROTOTYPE),
            None => Err(Errno::ENOENT),
        }
    }

    pub(crate) fn connect_unix(&mut self, fd: Fd, file: FileId, name: &[u8], call: &mut Call) -> Outcome<()> {
        let (kind, fresh) = (self.unix(file).kind, matches!(self.unix(file).role, Role::Fresh));
        let target = match self.find_name(file, name, kind) {
            Ok(target) => target,
            Err(errno) => return Poll::Ready(Err(errno)),
        };
        let refusal = match &self.unix(target).role {
            _ if kind == UnixKind::Datagram => None,
            Role::Listening { .. } if self.unix(target).read_shut => Some(Errno::ECONNREFUSED),
            Role::Listening { backlog, queue } if queue.len() > *backlog => Some(Errno::EAGAIN),
            Role::Listening { .. } if !fresh => Some(Errno::EISCONN),
            Role::Listening { .. } => None,
            _ => Some(Errno::ECONNREFUSED),
        };
        match refusal {
            Some(Errno::EAGAIN) => {
                let description = self.files.get(file);
                let (may_wait, timeout) = (!description.nonblocking, description.send_timeout);
                self.wait_for_file(target, may_wait, timeout, Errno::EAGAIN, call, WaitFor::Connect(fd))
            }
            Some(errno) => Poll::Ready(Err(errno)),
            None if kind == UnixKind::Datagram => {
                let peer_name = self.unix(target).name.clone();
                let socket = self.unix_mut(file);
                socket.role = Role::Connected(target);
                socket.peer_name = peer_name;
                Poll::Ready(Ok(()))
            }
            None => {
                self.join_listener(file, target);
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Makes the server's end of a connection and puts it into the listener's queue.
    fn join_listener(&mut self, client: FileId, listener: FileId) {
        let mut socket = UnixSocket::new(self.unix(client).kind);
        socket.role = Role::Connected(client);
        socket.name = self.unix(listener).name.clone();
        socket.peer_name = self.unix(client).name.clone();
        let server = self.new_file(FileKind::Unix(Box::new(socket)), false);
        self.files.get_mut(server).references = 1;
        let name = self.unix(listener).name.clone();
        let end = self.unix_mut(client);
        end.role = Role::Connected(server);
        end.peer_name = name;
        match &mut self.unix_mut(listener).role {
            Role::Listening { queue, .. } => queue.push_back(server),
            _ => unreachable!("the caller looked at the role"),
        }
        self.notify(listener, Readiness::IN);
        self.notify(client, Readiness::OUT);
    }

    /// AF_UNSPEC on a datagram socket.
    pub(crate) fn disconnect_unix(&mut self, file: FileId) -> Result<(), Errno> {
        let socket = self.unix_mut(file);
        if socket.kind != UnixKind::Datagram {
            return Err(Errno::EINVAL);
        }
        socket.role = Role::Fresh;
        socket.peer_name.clear();
        Ok(())
    }

    pub(crate) fn accept_unix(
        &mut self,
        file: FileId,
        nonblocking: bool,
        close_on_exec: bool,
    ) -> Result<(Fd, Address), Errno> {
        let listener = self.unix_mut(file);
        let Role::Listening { queue, .. } = &mut listener.role else {
            let datagram = listener.kind == UnixKind::Datagram;
            return Err(if datagram { Errno::EOPNOTSUPP } else { Errno::EINVAL });
        };
        let server = queue.pop_front().ok_or(Errno::EAGAIN)?;
        let fd = self.install(server, close_on_exec)?;
        let description = self.files.get_mut(server);
        description.nonblocking = nonblocking;
        // The queue lets go of it.
        description.references -= 1;
        self.wake_all(WaitKey::File(file));
        Ok((fd, Address::Unix(self.unix(server).peer_name.clone())))
    }

    #[allow(clippy::too_many_arguments)]
    pub(crate) fn send_unix(
        &mut self,
        fd: Fd,
        file: FileId,
        data: &[u8],
        to: Option<&Address>,
        fds: &[Fd],
        flags: MsgFlags,
        call: &mut Call,
    ) -> Outcome<usize> {
        let files: Result<Vec<FileId>, Errno> = fds.iter().map(|fd| self.lookup(*fd)).collect();
        let (target, files) = match (self.unix_target(file, to), files) {
            (Ok(target), Ok(files)) => (target, files),
            (Err(_), _) if call.done > 0 => return Poll::Ready(Ok(call.done)),
            (Err(errno), _) | (_, Err(errno)) => return Poll::Ready(Err(errno)),
        };
        let kind = self.unix(file).kind;
        let rest = &data[call.done..];
        let room = self.unix_room(file, target);
        let description = self.files.get(file);
        let may_wait = !description.nonblocking && !flags.dont_wait;
        let timeout = description.send_timeout;
        let fits = match kind {
            UnixKind::Stream if data.is_empty() => return Poll::Ready(Ok(0)),
            UnixKind::Stream => Some(rest.len().min(room)),
            _ if rest.len() > UNIX_BUFFER_BYTES => return Poll::Ready(Err(Errno::EMSGSIZE)),
            _ => (rest.len() <= room).then_some(rest.len()),
        };
        if room > 0
            && let Some(len) = fits
        {
            // Descriptors travel with the first piece.
            let files = if call.done == 0 { files } else { Vec::new() };
            self.post_letter(file, target, &rest[..len], files);
            call.done += len;
            if call.done == data.len() || !may_wait {
                return Poll::Ready(Ok(call.done));
            }
        }
        if call.done > 0 && self.is_over(call) {
            return Poll::Ready(Ok(call.done));
        }
        let waits_at = if kind == UnixKind::Datagram { target } else { file };
        self.wait_for_file(waits_at, may_wait, timeout, Errno::EAGAIN, call, WaitFor::Send(fd))
    }

    fn post_letter(&mut self, sender: FileId, target: FileId, bytes: &[u8], files: Vec<FileId>) {
        for file in &files {
            self.files.get_mut(*file).references += 1;
        }
        let from = self.unix(sender).name.clone();
        self.unix_mut(target).push(bytes, files, from);
        self.notify(target, Readiness::IN);
    }

    /// Where a message goes.
    fn unix_target(&mut self, file: FileId, to: Option<&Address>) -> Result<FileId, Errno> {
        let socket = self.unix(file);
        if socket.write_shut || matches!(socket.role, Role::Orphaned) {
            return Err(Errno::EPIPE);
        }
        let datagram = socket.kind == UnixKind::Datagram;
        let target = match (to, socket.peer()) {
            (Some(Address::Unix(name)), _) if datagram && !name.is_empty() => {
                self.find_name(file, name, socket.kind)?
            }
            (Some(_), Some(_)) if !datagram => return Err(Errno::EISCONN),
            (Some(_), None) if !datagram => return Err(Errno::EOPNOTSUPP),
            (_, Some(peer)) => peer,
            (_, None) => return Err(Errno::ENOTCONN),
        };
        let Some(receiver) = self.find_unix(target) else {
            // The peer of a datagram socket is gone: told once, and forgotten.
            self.unix_mut(file).role = Role::Fresh;
            return Err(Errno::ECONNREFUSED);
        };
        if datagram && receiver.read_shut {
            return Err(Errno::EPIPE);
        }
        if datagram && receiver.peer().is_some_and(|peer| peer != file) {
            return Err(Errno::EPERM);
        }
        Ok(target)
    }

    /// Bytes that the receiver has room for.
    fn unix_room(&self, sender: FileId, target: FileId) -> usize {
        let receiver = self.unix(target);
        if receiver.has_full_queue_for(sender) { 0 } else { receiver.room() }
    }

    pub(crate) fn recv_unix(
        &mut self,
        fd: Fd,
        file: FileId,
        buffer: &mut [u8],
        flags: MsgFlags,
        call: &mut Call,
    ) -> Outcome<Message> {
        let socket = self.unix_mut(file);
        let stream = socket.kind == UnixKind::Stream;
        if !socket.inbox.is_empty() {
            let message = if stream {
                self.take_bytes(file, buffer, flags, call)
            } else {
                Some(self.take_letter(file, buffer, flags))
            };
            if let Some(message) = message {
                return Poll::Ready(Ok(message));
            }
        }
        let description = self.files.get(file);
        let may_wait = !description.nonblocking && !flags.dont_wait;
        let socket = self.unix_mut(file);
        let done = Message { len: call.done, full_len: call.done, from: None, fds: Vec::new() };
        if call.done == 0
            && let Some(errno) = socket.take_error()
        {
            return Poll::Ready(Err(errno));
        }
        match socket.role {
            Role::Fresh | Role::Listening { .. } if stream => return Poll::Ready(Err(Errno::EINVAL)),
            Role::Fresh | Role::Listening { .. } if socket.kind == UnixKind::Seqpacket => {
                return Poll::Ready(Err(Errno::ENOTCONN));
            }
            // Of datagrams, only those who would wait hear that no more will come (net/core/datagram.c).
            _ if socket.read_shut && (may_wait || socket.kind != UnixKind::Datagram) => return Poll::Ready(Ok(done)),
            _ => {}
        }
        let timeout = self.files.get(file).receive_timeout;
        if call.done > 0 && (!may_wait || self.is_over(call)) {
            return Poll::Ready(Ok(done));
        }
        self.wait_for_file(file, may_wait, timeout, Errno::EAGAIN, call, WaitFor::Recv(fd))
    }

    /// Reads from a stream's inbox; `None` if MSG_WAITALL wants more.
    fn take_bytes(&mut self, file: FileId, buffer: &mut [u8], flags: MsgFlags, call: &mut Call) -> Option<Message> {
        let size = buffer.len();
        let socket = self.unix_mut(file);
        let letters = socket.inbox.len();
        let (len, files) = socket.read_stream(&mut buffer[call.done..], flags.peek);
        let freed = socket.inbox.len() < letters;
        call.done += len;
        let fds = self.install_all(files, flags.close_on_exec);
        if !flags.peek {
            // Linux gives room back message by message.
            self.inbox_drained(file, freed);
        }
        let enough = !flags.wait_all || flags.peek || call.done == size || !fds.is_empty();
        enough.then_some(Message { len: call.done, full_len: call.done, from: None, fds })
    }

    /// Takes one message; what does not fit into the buffer is lost.
    fn take_letter(&mut self, file: FileId, buffer: &mut [u8], flags: MsgFlags) -> Message {
        let socket = self.unix_mut(file);
        let letter = socket.inbox.front_mut().expect("the caller looked");
        let full_len = letter.bytes.len();
        let len = full_len.min(buffer.len());
        buffer[..len].copy_from_slice(&letter.bytes[..len]);
        let from = Some(Address::Unix(letter.from.clone()));
        if flags.peek {
            return Message { len, full_len, from, fds: Vec::new() };
        }
        let files = std::mem::take(&mut letter.files);
        let was_full = socket.kind == UnixKind::Datagram && socket.inbox.len() > UNIX_DGRAM_QUEUE_MAX;
        socket.inbox.pop_front();
        socket.inbox_bytes -= full_len;
        let fds = self.install_all(files, flags.close_on_exec);
        self.inbox_drained(file, true);
        if was_full {
            // All who are connected to it may send again.
            let to_it = |kind: &FileKind| matches!(kind, FileKind::Unix(sender) if sender.peer() == Some(file));
            for sender in self.files.find_all(to_it) {
                self.notify(sender, Readiness::OUT);
            }
        }
        Message { len, full_len, from, fds }
    }

    /// Gives descriptions that came with a message their numbers, as long as there are any (else MSG_CTRUNC).
    fn install_all(&mut self, files: Vec<FileId>, close_on_exec: bool) -> Vec<Fd> {
        let mut fds = Vec::new();
        for file in files {
            fds.extend(self.install(file, close_on_exec));
            self.drop_reference(file);
        }
        fds
    }

    /// There is room in an inbox: senders look again. `edge`: epoll instances that watch the peer see it, too.
    fn inbox_drained(&mut self, file: FileId, edge: bool) {
        self.wake_all(WaitKey::File(file));
        let Some(peer) = self.unix(file).peer().filter(|peer| self.find_unix(*peer).is_some()) else { return };
        if edge {
            self.notify(peer, Readiness::OUT);
        } else {
            self.wake_all(WaitKey::File(peer));
        }
    }

    pub(crate) fn shutdown_unix(&mut self, file: FileId, how: Shutdown) -> Result<(), Errno> {
        let (read, write) = (how != Shutdown::Write, how != Shutdown::Read);
        let socket = self.unix_mut(file);
        socket.read_shut |= read;
        socket.write_shut |= write;
        let peer = socket.peer().filter(|_| socket.kind != UnixKind::Datagram);
        if let Some(peer) = peer {
            let end = self.unix_mut(peer);
            end.read_shut |= write;
            end.write_shut |= read;
            self.notify_all(peer);
        }
        self.notify_all(file);
        Ok(())
    }

    pub(crate) fn unix_name(&self, file: FileId) -> Address {
        Address::Unix(self.unix(file).name.clone())
    }

    pub(crate) fn unix_peer_name(&self, file: FileId) -> Result<Address, Errno> {
        let socket = self.unix(file);
        match socket.role {
            Role::Connected(_) | Role::Orphaned => Ok(Address::Unix(socket.peer_name.clone())),
            Role::Fresh | Role::Listening { .. } => Err(Errno::ENOTCONN),
        }
    }

    pub(crate) fn close_unix(&mut self, host: HostId, file: FileId, socket: UnixSocket) {
        let names = &mut self.hosts[host.index()].unix_names;
        if names.get(&socket.name) == Some(&file) {
            names.remove(&socket.name);
        }
        let unread = !socket.inbox.is_empty();
        for letter in socket.inbox {
            for travelling in letter.files {
                self.drop_reference(travelling);
            }
        }
        match socket.role {
            Role::Listening { queue, .. } => {
                for server in queue {
                    // Its connection was never accepted.
                    if let Some(client) = self.unix(server).peer() {
                        self.unix_mut(client).error = Some(Errno::ECONNRESET);
                    }
                    self.drop_reference(server);
                }
            }
            Role::Connected(peer) if socket.kind != UnixKind::Datagram => {
                let end = self.unix_mut(peer);
                end.role = Role::Orphaned;
                end.read_shut = true;
                end.write_shut = true;
                if unread {
                    end.error = Some(Errno::ECONNRESET);
                }
                self.notify_all(peer);
            }
            Role::Connected(_) | Role::Fresh | Role::Orphaned => {}
        }
    }
}
