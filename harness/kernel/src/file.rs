//! Open file descriptions: what a descriptor stands for, their readiness, and who is told when it changes.

use std::task::Poll;

use halfopen_core::{Errno, HostId, SimDuration};
use halfopen_netstack::Readiness;

use crate::epoll::{Epoll, Watcher};
use crate::eventfd::EventFd;
use crate::fd::Fd;
use crate::pipe::{PipeReader, PipeWriter};
use crate::scheduler::WaitKey;
use crate::socket::{InetSocket, MsgFlags};
use crate::timerfd::TimerFd;
use crate::unix::UnixSocket;
use crate::{Call, Kernel, Outcome};

/// An open file description. Its slot is used again, but never under the same identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct FileId {
    index: u32,
    generation: u32,
}

/// One open file description.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) host: HostId,
    pub(crate) kind: FileKind,
    /// O_NONBLOCK.
    pub(crate) nonblocking: bool,
    /// Descriptors, messages in flight and accept queues that hold it.
    pub(crate) references: u32,
    /// What the epoll instances have of it, in the order in which they began to watch it. The last is told first
    /// (include/linux/wait.h: `__add_wait_queue` adds at the head).
    pub(crate) watchers: Vec<Watcher>,
    /// Whether something changed since a call last found nothing to do.
    pub(crate) changed: bool,
    /// SO_RCVTIMEO.
    pub(crate) receive_timeout: Option<SimDuration>,
    /// SO_SNDTIMEO.
    pub(crate) send_timeout: Option<SimDuration>,
}

/// What a description is.
#[derive(Debug)]
pub(crate) enum FileKind {
    Inet(Box<InetSocket>),
    Unix(Box<UnixSocket>),
    PipeReader(PipeReader),
    PipeWriter(PipeWriter),
    EventFd(EventFd),
    TimerFd(TimerFd),
    Epoll(Epoll),
    /// /dev/urandom.
    Random,
    /// A socket of a process that is over, which another host still holds: only good for being closed.
    Gone,
}

/// All open file descriptions of the run.
#[derive(Debug, Default)]
pub(crate) struct Files {
    slots: Vec<(u32, Option<File>)>,
    free: Vec<u32>,
}

impl Files {
    fn add(&mut self, file: File) -> FileId {
        match self.free.pop() {
            Some(index) => {
                let slot = &mut self.slots[index as usize];
                assert!(slot.1.is_none(), "a free slot is in use");
                slot.0 += 1;
                slot.1 = Some(file);
                FileId { index, generation: slot.0 }
            }
            None => {
                self.slots.push((0, Some(file)));
                FileId { index: self.slots.len() as u32 - 1, generation: 0 }
            }
        }
    }

    /// `None` once it is closed.
    pub(crate) fn find(&self, id: FileId) -> Option<&File> {
        let slot = &self.slots[id.index as usize];
        if slot.0 == id.generation { slot.1.as_ref() } else { None }
    }

    pub(crate) fn find_mut(&mut self, id: FileId) -> Option<&mut File> {
        let slot = &mut self.slots[id.index as usize];
        if slot.0 == id.generation { slot.1.as_mut() } else { None }
    }

    /// All that are of such a kind, by slot.
    pub(crate) fn find_all(&self, fits: impl Fn(&FileKind) -> bool) -> Vec<FileId> {
        let open = self.slots.iter().enumerate().filter(|(_, (_, file))| file.as_ref().is_some_and(|f| fits(&f.kind)));
        open.map(|(index, (generation, _))| FileId { index: index as u32, generation: *generation }).collect()
    }

    pub(crate) fn get(&self, id: FileId) -> &File {
        self.find(id).expect("the description is open")
    }

    pub(crate) fn get_mut(&mut self, id: FileId) -> &mut File {
        self.find_mut(id).expect("the description is open")
    }

    fn remove(&mut self, id: FileId) -> File {
        let slot = &mut self.slots[id.index as usize];
        assert_eq!(slot.0, id.generation, "the description is open");
        self.free.push(id.index);
        slot.1.take().expect("the description is open")
    }
}

impl Kernel {
    /// A new description of the current host, without any descriptor yet.
    pub(crate) fn new_file(&mut self, kind: FileKind, nonblocking: bool) -> FileId {
        let host = self.current_host();
        self.files.add(File {
            host,
            kind,
            nonblocking,
            references: 0,
            watchers: Vec::new(),
            changed: false,
            receive_timeout: None,
            send_timeout: None,
        })
    }

    /// A new description and its first descriptor.
    pub(crate) fn open_file(&mut self, kind: FileKind, nonblocking: bool, close_on_exec: bool) -> Result<Fd, Errno> {
        let file = self.new_file(kind, nonblocking);
        self.install(file, close_on_exec)
    }

    /// EMFILE unless `count` more descriptors fit.
    pub(crate) fn need_room(&self, count: usize) -> Result<(), Errno> {
        let host = self.host();
        if host.fds.has_room(count, host.config.fd_limit) { Ok(()) } else { Err(Errno::EMFILE) }
    }

    /// One descriptor, message or queue lets go of a description; the last one closes it.
    pub(crate) fn drop_reference(&mut self, id: FileId) {
        let file = self.files.get_mut(id);
        assert!(file.references > 0, "an open description has references");
        file.references -= 1;
        if file.references == 0 {
            self.release(id);
        }
    }

    /// The description goes: whoever watches or waits is told, and what was behind it is closed.
    pub(crate) fn release(&mut self, id: FileId) {
        let watchers = std::mem::take(&mut self.files.get_mut(id).watchers);
        for watcher in watchers {
            self.forget_item(watcher);
        }
        let file = self.files.remove(id);
        // A thread that still waits on it looks again and finds EBADF. (Linux would leave it waiting.)
        self.wake_all(WaitKey::File(id));
        match file.kind {
            FileKind::Inet(socket) => self.close_inet(socket.host, socket.id),
            FileKind::Unix(socket) => self.close_unix(file.host, id, *socket),
            FileKind::PipeReader(reader) => self.close_pipe_reader(reader),
            FileKind::PipeWriter(writer) => self.close_pipe_writer(writer),
            FileKind::TimerFd(timer) => self.close_timerfd(timer),
            FileKind::Epoll(epoll) => self.close_epoll(id, epoll),
            FileKind::EventFd(_) | FileKind::Random | FileKind::Gone => {}
        }
    }

    /// Something about a description changed (`cause`: what may have become ready): blocked threads look again, and
    /// epoll instances see an edge.
    pub(crate) fn notify(&mut self, id: FileId, cause: Readiness) {
        self.wake_all(WaitKey::File(id));
        let Some(file) = self.files.find_mut(id) else { return };
        file.changed = true;
        if file.watchers.is_empty() {
            return;
        }
        let ready = self.readiness_of(id).and(cause);
        if ready == Readiness::NONE {
            return;
        }
        for place in (0..self.files.get(id).watchers.len()).rev() {
            let watcher = self.files.get(id).watchers[place];
            self.edge(watcher, ready);
        }
    }

    /// [`Kernel::notify`] where anything may have changed.
    pub(crate) fn notify_all(&mut self, id: FileId) {
        self.notify(id, Readiness(u32::MAX));
    }

    /// What poll would say of a description.
    pub(crate) fn readiness_of(&self, id: FileId) -> Readiness {
        let file = self.files.get(id);
        match &file.kind {
            FileKind::Inet(socket) => self.stack_of(socket).readiness(socket.id),
            FileKind::Unix(socket) => self.unix_readiness(id, socket),
            FileKind::PipeReader(reader) => reader.readiness(),
            FileKind::PipeWriter(writer) => self.pipe_writer_readiness(writer),
            FileKind::EventFd(event) => event.readiness(),
            FileKind::TimerFd(timer) => timer.readiness(),
            FileKind::Epoll(epoll) => self.epoll_readiness(epoll),
            FileKind::Random => Readiness::IN.with(Readiness::OUT),
            FileKind::Gone => Readiness::ERR.with(Readiness::HUP),
        }
    }

    /// What poll would say of a descriptor, for all events at once.
    ///
    /// # Errors
    /// EBADF.
    pub fn readiness(&self, fd: Fd) -> Result<Readiness, Errno> {
        Ok(self.readiness_of(self.lookup(fd)?))
    }

    /// read(2).
    ///
    /// # Errors
    /// As Linux, by the kind of the file.
    pub fn read(&mut self, fd: Fd, buffer: &mut [u8], call: &mut Call) -> Outcome<usize> {
        let file = match self.lookup(fd) {
            Ok(file) => file,
            Err(errno) => return Poll::Ready(Err(errno)),
        };
        self.count_call();
        match &self.files.get(file).kind {
            // Takes nothing, not even an empty datagram (net/socket.c, `sock_read_iter`).
            FileKind::Inet(_) | FileKind::Unix(_) if buffer.is_empty() => Poll::Ready(Ok(0)),
            FileKind::Inet(_) | FileKind::Unix(_) => {
                let message = std::task::ready!(self.recv(fd, buffer, MsgFlags::default(), call))?;
                // read(2) has no place for descriptors that came along: they are closed.
                for fd in message.fds {
                    let _ = self.close(fd, &mut Call::default());
                }
                Poll::Ready(Ok(message.len))
            }
            FileKind::PipeReader(_) => self.read_pipe(fd, file, buffer, call),
            FileKind::PipeWriter(_) => Poll::Ready(Err(Errno::EBADF)),
            FileKind::EventFd(_) => self.read_eventfd(fd, file, buffer, call),
            FileKind::TimerFd(_) => self.read_timerfd(fd, file, buffer, call),
            FileKind::Epoll(_) => Poll::Ready(Err(Errno::EINVAL)),
            FileKind::Random => {
                self.getrandom(buffer);
                Poll::Ready(Ok(buffer.len()))
            }
            FileKind::Gone => Poll::Ready(Err(Errno::EBADF)),
        }
    }

    /// write(2). (For readv and writev the front end passes one buffer of the total length.)
    ///
    /// # Errors
    /// As Linux, by the kind of the file; EPIPE where a front end raises SIGPIPE.
    pub fn write(&mut self, fd: Fd, data: &[u8], call: &mut Call) -> Outcome<usize> {
        let file = match self.lookup(fd) {
            Ok(file) => file,
            Err(errno) => return Poll::Ready(Err(errno)),
        };
        self.count_call();
        match &self.files.get(file).kind {
            FileKind::Inet(_) | FileKind::Unix(_) => self.send(fd, data, None, &[], MsgFlags::default(), call),
            FileKind::PipeReader(_) => Poll::Ready(Err(Errno::EBADF)),
            FileKind::PipeWriter(_) => self.write_pipe(fd, file, data, call),
            FileKind::EventFd(_) => self.write_eventfd(fd, file, data, call),
            FileKind::TimerFd(_) | FileKind::Epoll(_) => Poll::Ready(Err(Errno::EINVAL)),
            FileKind::Random => Poll::Ready(Ok(data.len())),
            FileKind::Gone => Poll::Ready(Err(Errno::EBADF)),
        }
    }

    /// FIONREAD / SIOCINQ.
    ///
    /// # Errors
    /// EBADF; ENOTTY where the file has no such ioctl; EINVAL for a listening socket.
    pub fn bytes_readable(&self, fd: Fd) -> Result<usize, Errno> {
        let file = self.files.get(self.lookup(fd)?);
        match &file.kind {
            FileKind::Inet(socket) => {
                let netstack = self.stack_of(socket);
                if netstack.is_listening(socket.id) { Err(Errno::EINVAL) } else { Ok(netstack.bytes_unread(socket.id)) }
            }
            FileKind::Unix(socket) => socket.bytes_readable(),
            FileKind::PipeReader(reader) => Ok(reader.len()),
            FileKind::PipeWriter(writer) => Ok(self.pipe_writer_len(writer)),
            _ => Err(Errno::ENOTTY),
        }
    }

    /// SIOCOUTQ.
    ///
    /// # Errors
    /// EBADF; ENOTTY where the file has no such ioctl.
    pub fn bytes_unsent(&self, fd: Fd) -> Result<usize, Errno> {
        let file = self.files.get(self.lookup(fd)?);
        match &file.kind {
            FileKind::Inet(socket) => {
                let info = self.stack_of(socket).tcp_info(socket.id);
                Ok(info.map_or(0, |info| info.bytes_unsent + info.bytes_unacked))
            }
            FileKind::Unix(socket) => Ok(self.unix_bytes_unsent(socket)),
            _ => Err(Errno::ENOTTY),
        }
    }

    /// What kind of file fstat tells of: S_IFSOCK, S_IFIFO, S_IFCHR, or 0 for an anonymous inode.
    ///
    /// # Errors
    /// EBADF.
    pub fn file_mode(&self, fd: Fd) -> Result<u32, Errno> {
        // include/uapi/linux/stat.h
        const S_IFSOCK: u32 = 0o140_000;
        const S_IFIFO: u32 = 0o010_000;
        const S_IFCHR: u32 = 0o020_000;
        Ok(match self.files.get(self.lookup(fd)?).kind {
            FileKind::Inet(_) | FileKind::Unix(_) => S_IFSOCK,
            FileKind::PipeReader(_) | FileKind::PipeWriter(_) => S_IFIFO,
            FileKind::Random => S_IFCHR,
            FileKind::EventFd(_) | FileKind::TimerFd(_) | FileKind::Epoll(_) | FileKind::Gone => 0,
        })
    }

    /// How a deadlock report names a descriptor: `fd 1048579 (tcp 10.0.0.1:40000 -> 10.0.0.2:80)`.
    pub(crate) fn describe_fd(&self, fd: Fd) -> String {
        let what = match self.lookup(fd).map(|file| &self.files.get(file).kind) {
            Err(_) => "closed".to_owned(),
            Ok(FileKind::Inet(socket)) => self.describe_inet(socket),
            Ok(FileKind::Unix(socket)) => socket.describe(),
            Ok(FileKind::PipeReader(_) | FileKind::PipeWriter(_)) => "pipe".to_owned(),
            Ok(FileKind::EventFd(_)) => "eventfd".to_owned(),
            Ok(FileKind::TimerFd(_)) => "timerfd".to_owned(),
            Ok(FileKind::Epoll(_)) => "epoll".to_owned(),
            Ok(FileKind::Random) => "/dev/urandom".to_owned(),
            Ok(FileKind::Gone) => "gone".to_owned(),
        };
        format!("fd {} ({what})", fd.0)
    }

    /// A call on a description would wait: does so until its readiness changes, or gives `errno` if the description or
    /// the call must not wait, or has waited long enough.
    pub(crate) fn wait_for_file<T>(
        &mut self,
        id: FileId,
        may_wait: bool,
        timeout: Option<SimDuration>,
        errno: Errno,
        call: &mut Call,
        what: crate::scheduler::WaitFor,
    ) -> Outcome<T> {
        if !may_wait {
            // To see that one has taken all that came is no polling: it is free once after each change.
            if std::mem::take(&mut self.files.get_mut(id).changed) {
                return Poll::Ready(Err(errno));
            }
            return self.idle_result(call, Err(errno));
        }
        if self.is_over(call) {
            return Poll::Ready(Err(errno));
        }
        if !call.resumed {
            call.deadline = timeout.map(|timeout| self.now + timeout);
        }
        self.block(call, &[WaitKey::File(id)], what)
    }
}
