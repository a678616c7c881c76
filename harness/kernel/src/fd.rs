//! Descriptors: small numbers of a host that stand for open file descriptions.
//!
//! `dup` makes a second number for the same description. FD_CLOEXEC belongs to the number, O_NONBLOCK and all else to
//! the description, which goes when its last number (or message in flight, SCM_RIGHTS) goes.

use std::collections::BTreeSet;
use std::task::Poll;

use halfopen_core::{Errno, HostId, SimDuration};
use halfopen_netstack::socket::{Kind, SocketId};

use crate::file::{FileId, FileKind};
use crate::scheduler::WaitKey;
use crate::{Call, Kernel, Outcome};

/// The first number of a virtual descriptor. Smaller numbers are the process's own real files, which the virtual
/// kernel never sees. Above any real RLIMIT_NOFILE (Linux's fs.nr_open is 2^20 by default).
pub const FD_BASE: i32 = 1 << 20;

/// Descriptors of one host, and so the most that [`HostConfig::fd_limit`](crate::HostConfig::fd_limit) allows. Each host
/// has a range of numbers of its own: statics of the program that hold a descriptor (tokio's signal pipe) are shared by
/// all hosts, and must mean the same file to each.
pub const FDS_PER_HOST: u32 = 1 << 16;

/// A virtual file descriptor, at least [`FD_BASE`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Fd(pub i32);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Descriptor {
    file: FileId,
    close_on_exec: bool,
}

/// The host whose range this number is in, and its place there.
fn place(fd: Fd) -> Option<(usize, u32)> {
    let offset = u32::try_from(fd.0.checked_sub(FD_BASE)?).ok()?;
    Some(((offset / FDS_PER_HOST) as usize, offset % FDS_PER_HOST))
}

/// The descriptors of one host.
#[derive(Debug)]
pub(crate) struct FdTable {
    /// The first number.
    base: i32,
    slots: Vec<Option<Descriptor>>,
    /// Free numbers below `slots.len()`.
    free: BTreeSet<u32>,
    /// Descriptors that former processes left behind; they do not count against the limit.
    inherited: u32,
}

impl FdTable {
    /// The empty table of the host with this number.
    ///
    /// # Panics
    /// If there are more hosts than there are numbers for.
    pub(crate) fn new(host: usize) -> FdTable {
        let hosts_max = ((i32::MAX - FD_BASE) as u32 / FDS_PER_HOST) as usize;
        assert!(host < hosts_max, "more than {hosts_max} hosts have no descriptors");
        FdTable {
            base: FD_BASE + (host as u32 * FDS_PER_HOST) as i32,
            slots: Vec::new(),
            free: BTreeSet::new(),
            inherited: 0,
        }
    }

    fn get(&self, index: u32) -> Option<Descriptor> {
        *self.slots.get(index as usize)?
    }

    fn get_mut(&mut self, index: u32) -> Option<&mut Descriptor> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    /// Whether `count` more descriptors fit under `limit`.
    pub(crate) fn has_room(&self, count: usize, limit: u32) -> bool {
        let most = limit.saturating_add(self.inherited).min(FDS_PER_HOST) as usize;
        self.free.len() + most.saturating_sub(self.slots.len()) >= count
    }

    /// The process is over: what is still open is nobody's.
    pub(crate) fn inherit(&mut self) {
        self.inherited = (self.slots.len() - self.free.len()) as u32;
    }

    /// Takes the lowest free number.
    pub(crate) fn install(&mut self, file: FileId, close_on_exec: bool, limit: u32) -> Result<Fd, Errno> {
        if !self.has_room(1, limit) {
            return Err(Errno::EMFILE);
        }
        let index = match self.free.pop_first() {
            Some(index) => index as usize,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        assert!(self.slots[index].is_none(), "a free descriptor is in use");
        self.slots[index] = Some(Descriptor { file, close_on_exec });
        Ok(Fd(self.base + index as i32))
    }

    /// The lowest free place at `least` or above.
    fn first_free(&self, least: u32) -> u32 {
        (least..).find(|&index| self.get(index).is_none()).expect("places do not end")
    }

    /// Takes this very place, which must be free.
    fn install_at(&mut self, index: u32, file: FileId, close_on_exec: bool) {
        while self.slots.len() <= index as usize {
            self.free.insert(self.slots.len() as u32);
            self.slots.push(None);
        }
        assert!(self.free.remove(&index), "a free descriptor is in use");
        self.slots[index as usize] = Some(Descriptor { file, close_on_exec });
    }

    fn remove(&mut self, index: u32) -> Option<FileId> {
        let descriptor = self.slots.get_mut(index as usize)?.take()?;
        self.free.insert(index);
        Some(descriptor.file)
    }

    /// Every open descriptor, lowest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Fd, FileId)> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| slot.map(|descriptor| (Fd(self.base + index as i32), descriptor.file)))
    }
}

impl Kernel {
    /// The description behind a descriptor, usually of the current host.
    pub(crate) fn lookup(&self, fd: Fd) -> Result<FileId, Errno> {
        self.descriptor(fd).map(|descriptor| descriptor.file)
    }

    fn descriptor(&self, fd: Fd) -> Result<Descriptor, Errno> {
        let (host, index) = place(fd).ok_or(Errno::EBADF)?;
        self.hosts.get(host).and_then(|host| host.fds.get(index)).ok_or(Errno::EBADF)
    }

    /// Frees a number; what it stood for.
    pub(crate) fn remove_descriptor(&mut self, fd: Fd) -> Result<FileId, Errno> {
        let (host, index) = place(fd).ok_or(Errno::EBADF)?;
        self.hosts.get_mut(host).and_then(|host| host.fds.remove(index)).ok_or(Errno::EBADF)
    }

    /// Gives a new description its first number, or forgets it.
    pub(crate) fn install(&mut self, file: FileId, close_on_exec: bool) -> Result<Fd, Errno> {
        let host = self.host_mut();
        let limit = host.config.fd_limit;
        let installed = host.fds.install(file, close_on_exec, limit);
        match installed {
            Ok(_) => self.files.get_mut(file).references += 1,
            Err(_) if self.files.get(file).references == 0 => self.release(file),
            Err(_) => {}
        }
        installed
    }

    /// Whether this is an open descriptor of the current host.
    pub fn is_open(&self, fd: Fd) -> bool {
        self.lookup(fd).is_ok()
    }

    /// Whether EPIPE on this descriptor comes with SIGPIPE: streams and pipes, not datagrams (Linux sk_stream_error,
    /// unix_stream_sendmsg, pipe_write).
    pub fn signals_broken_pipe(&self, fd: Fd) -> bool {
        self.lookup(fd).is_ok_and(|file| match &self.files.get(file).kind {
            FileKind::Inet(socket) => socket.kind == Kind::Tcp,
            FileKind::Unix(socket) => socket.is_stream(),
            FileKind::PipeWriter(_) => true,
            _ => false,
        })
    }

    /// close(2). With SO_LINGER on a blocking TCP socket it waits until all data is acknowledged or the time is over.
    ///
    /// # Errors
    /// EBADF.
    pub fn close(&mut self, fd: Fd, call: &mut Call) -> Outcome<()> {
        self.count_call();
        if call.resumed {
            // It waited for a lingering socket: woken or timed out, the descriptor is long gone.
            return Poll::Ready(Ok(()));
        }
        let file = match self.remove_descriptor(fd) {
            Ok(file) => file,
            Err(errno) => return Poll::Ready(Err(errno)),
        };
        let linger = self.lingering_close(file);
        self.drop_reference(file);
        self.pump();
        if let Some((host, socket, span)) = linger
            && self.hosts[host.index()].netstack.is_lingering(socket)
        {
            self.hosts[host.index()].lingering.push(socket);
            call.deadline = Some(self.now + span);
            return self.block(call, &[WaitKey::Linger(host, socket)], crate::scheduler::WaitFor::Close(fd));
        }
        Poll::Ready(Ok(()))
    }

    /// If closing the last reference of this description must wait: for which socket and how long.
    fn lingering_close(&self, file: FileId) -> Option<(HostId, SocketId, SimDuration)> {
        let file = self.files.get(file);
        let FileKind::Inet(socket) = &file.kind else { return None };
        if file.references > 1 || file.nonblocking {
            return None;
        }
        let linger = self.stack_of(socket).options(socket.id).linger?;
        (!linger.is_zero()).then_some((socket.host, socket.id, linger))
    }

    /// F_DUPFD and F_DUPFD_CLOEXEC: the lowest free number that is `least` or more.
    ///
    /// # Errors
    /// EBADF, EMFILE; EINVAL where `least` is negative or no number of this process.
    pub fn dup_from(&mut self, fd: Fd, least: i32, close_on_exec: bool) -> Result<Fd, Errno> {
        let file = self.lookup(fd)?;
        let (base, limit) = (self.host().fds.base, self.host().config.fd_limit);
        let first = u32::try_from(least.saturating_sub(base)).unwrap_or(0);
        if least < 0 || first >= limit {
            return Err(Errno::EINVAL);
        }
        if first == 0 {
            return self.dup(fd, close_on_exec);
        }
        self.count_call();
        let index = self.host().fds.first_free(first);
        if index >= limit {
            return Err(Errno::EMFILE);
        }
        self.files.get_mut(file).references += 1;
        self.host_mut().fds.install_at(index, file, close_on_exec);
        Ok(Fd(base + index as i32))
    }

    /// dup(2).
    ///
    /// # Errors
    /// EBADF, EMFILE.
    pub fn dup(&mut self, fd: Fd, close_on_exec: bool) -> Result<Fd, Errno> {
        self.count_call();
        let file = self.lookup(fd)?;
        self.install(file, close_on_exec)
    }

    /// dup2/dup3 onto a virtual number.
    ///
    /// # Errors
    /// EBADF also where `onto` is outside of the virtual numbers that RLIMIT_NOFILE allows.
    pub fn dup_onto(&mut self, fd: Fd, onto: Fd, close_on_exec: bool) -> Result<Fd, Errno> {
        self.count_call();
        let file = self.lookup(fd)?;
        if fd == onto {
            return Ok(onto);
        }
        let (host, index) = place(onto).ok_or(Errno::EBADF)?;
        if self.hosts.get(host).is_none_or(|host| index >= host.config.fd_limit) {
            return Err(Errno::EBADF);
        }
        self.files.get_mut(file).references += 1;
        let old = self.remove_descriptor(onto);
        self.hosts[host].fds.install_at(index, file, close_on_exec);
        if let Ok(old) = old {
            self.drop_reference(old);
            self.pump();
        }
        Ok(onto)
    }

    /// O_NONBLOCK of the open file description.
    ///
    /// # Errors
    /// EBADF.
    pub fn nonblocking(&self, fd: Fd) -> Result<bool, Errno> {
        Ok(self.files.get(self.lookup(fd)?).nonblocking)
    }

    /// Sets O_NONBLOCK of the open file description: every `dup` of it sees the change.
    ///
    /// # Errors
    /// EBADF.
    pub fn set_nonblocking(&mut self, fd: Fd, on: bool) -> Result<(), Errno> {
        self.count_call();
        let file = self.lookup(fd)?;
        self.files.get_mut(file).nonblocking = on;
        Ok(())
    }

    /// FD_CLOEXEC of this number.
    ///
    /// # Errors
    /// EBADF.
    pub fn close_on_exec(&self, fd: Fd) -> Result<bool, Errno> {
        Ok(self.descriptor(fd)?.close_on_exec)
    }

    /// Sets FD_CLOEXEC of this number.
    ///
    /// # Errors
    /// EBADF.
    pub fn set_close_on_exec(&mut self, fd: Fd, on: bool) -> Result<(), Errno> {
        self.count_call();
        let (host, index) = place(fd).ok_or(Errno::EBADF)?;
        let host = self.hosts.get_mut(host).ok_or(Errno::EBADF)?;
        host.fds.get_mut(index).ok_or(Errno::EBADF)?.close_on_exec = on;
        Ok(())
    }

    /// O_RDONLY / O_WRONLY / O_RDWR and O_NONBLOCK as F_GETFL tells them.
    ///
    /// # Errors
    /// EBADF.
    pub fn status_flags(&self, fd: Fd) -> Result<i32, Errno> {
        /// O_NONBLOCK of x86-64 and aarch64 alike (include/uapi/asm-generic/fcntl.h).
        const O_NONBLOCK: i32 = 0o4000;
        let file = self.files.get(self.lookup(fd)?);
        let access = match file.kind {
            FileKind::PipeReader(_) | FileKind::Random => 0,
            FileKind::PipeWriter(_) => 1,
            _ => 2,
        };
        Ok(access | if file.nonblocking { O_NONBLOCK } else { 0 })
    }
}
