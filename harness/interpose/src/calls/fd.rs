//! Descriptors: reading, writing, copying, and the kinds that are no sockets.

use std::ffi::{c_int, c_long, c_uint};

use halfopen_core::Errno;
use halfopen_kernel::Fd;
use libc::{iovec, itimerspec};

use crate::abi::{In, Out};
use crate::calls::identity::signal_broken_pipe;
use crate::calls::{descriptor, is_virtual, kernel, time};
use crate::world::{blocking, unsupported};

/// UIO_MAXIOV of `<linux/uio.h>`.
const MAX_PARTS: usize = 1024;

/// What a pipe holds, as F_GETPIPE_SZ tells it: 16 pages.
const PIPE_BYTES: c_int = 65536;

pub(crate) fn close(fd: c_int) -> Result<(), Errno> {
    let fd = descriptor(fd)?;
    blocking(|kernel, call| kernel.close(fd, call))
}

pub(crate) fn read(fd: c_int, mut buffer: Out<u8>, len: usize) -> Result<usize, Errno> {
    let fd = descriptor(fd)?;
    let buffer = buffer.slice(len)?;
    blocking(|kernel, call| kernel.read(fd, buffer, call))
}

pub(crate) fn write(fd: c_int, data: In<u8>, len: usize) -> Result<usize, Errno> {
    let fd = descriptor(fd)?;
    let data = data.slice(len)?;
    signal_broken_pipe(fd, blocking(|kernel, call| kernel.write(fd, data, call)))
}

/// The parts of a scattered buffer.
pub(crate) struct Parts(Vec<(usize, usize)>);

impl Parts {
    pub(crate) fn new(parts: In<iovec>, count: usize) -> Result<Parts, Errno> {
        if count > MAX_PARTS {
            return Err(Errno::EINVAL);
        }
        let parts = parts.slice(count)?.iter().map(|part| (part.iov_base as usize, part.iov_len));
        let parts = Parts(parts.filter(|(_, len)| *len > 0).collect());
        if parts.len() > isize::MAX as usize { Err(Errno::EINVAL) } else { Ok(parts) }
    }

    /// Bytes in all.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().fold(0, |sum: usize, (_, len)| sum.saturating_add(*len))
    }

    /// Everything in one piece.
    pub(crate) fn gather(&self) -> Result<Vec<u8>, Errno> {
        let mut data = Vec::with_capacity(self.len());
        for (address, len) in &self.0 {
            // SAFETY: the program vouches for each part of its iovec, as for any buffer.
            let part: In<u8> = unsafe { In::new(*address) };
            data.extend_from_slice(part.slice(*len)?);
        }
        Ok(data)
    }

    /// Puts `data` into the parts, one after the other.
    pub(crate) fn scatter(&self, mut data: &[u8]) -> Result<(), Errno> {
        for (address, len) in &self.0 {
            let (now, rest) = data.split_at(data.len().min(*len));
            // SAFETY: as in `gather`.
            let mut part: Out<u8> = unsafe { Out::new(*address) };
            part.slice(now.len())?.copy_from_slice(now);
            data = rest;
        }
        Ok(())
    }

    /// Lends one buffer of all the parts' length to `read` and scatters what it says it put there: the one part itself
    /// where there is but one.
    pub(crate) fn receive<T>(
        &self,
        read: impl FnOnce(&mut [u8]) -> Result<T, Errno>,
        len: impl Fn(&T) -> usize,
    ) -> Result<T, Errno> {
        if let [(address, whole)] = self.0[..] {
            // SAFETY: as in `gather`.
            let mut part: Out<u8> = unsafe { Out::new(address) };
            return read(part.slice(whole)?);
        }
        let mut buffer = vec![0; self.len()];
        let result = read(&mut buffer)?;
        self.scatter(&buffer[..len(&result).min(buffer.len())])?;
        Ok(result)
    }
}

fn count(count: c_int) -> Result<usize, Errno> {
    usize::try_from(count).map_err(|_| Errno::EINVAL)
}

pub(crate) fn readv(fd: c_int, parts: In<iovec>, parts_count: c_int) -> Result<usize, Errno> {
    let fd = descriptor(fd)?;
    let parts = Parts::new(parts, count(parts_count)?)?;
    parts.receive(|buffer| blocking(|kernel, call| kernel.read(fd, buffer, call)), |len| *len)
}

pub(crate) fn writev(fd: c_int, parts: In<iovec>, parts_count: c_int) -> Result<usize, Errno> {
    let fd = descriptor(fd)?;
    let data = Parts::new(parts, count(parts_count)?)?.gather()?;
    signal_broken_pipe(fd, blocking(|kernel, call| kernel.write(fd, &data, call)))
}

/// pread, pwrite: nothing virtual has a position.
pub(crate) fn no_seek(fd: c_int) -> Result<usize, Errno> {
    let fd = descriptor(fd)?;
    Err(if kernel(|kernel| kernel.is_open(fd)) { Errno::ESPIPE } else { Errno::EBADF })
}

/// lseek: what is not even a socket or a pipe (S_IFMT of 0: eventfd, timerfd, epoll) takes it and stays where it is, as
/// Linux's `noop_llseek` does.
pub(crate) fn no_seek_long(fd: c_int) -> Result<c_long, Errno> {
    let number = descriptor(fd)?;
    match kernel(|kernel| kernel.file_mode(number))? {
        0 => Ok(0),
        _ => Err(Errno::ESPIPE),
    }
}

/// sendfile, splice, copy_file_range.
pub(crate) fn no_splice() -> Result<usize, Errno> {
    Err(Errno::EINVAL)
}

/// fsync of something that is no file.
pub(crate) fn no_sync(fd: c_int) -> Result<(), Errno> {
    let fd = descriptor(fd)?;
    Err(if kernel(|kernel| kernel.is_open(fd)) { Errno::EINVAL } else { Errno::EBADF })
}

pub(crate) fn dup(fd: c_int) -> Result<c_int, Errno> {
    let fd = descriptor(fd)?;
    kernel(|kernel| kernel.dup(fd, false)).map(|fd| fd.0)
}

pub(crate) fn dup2(fd: c_int, onto: c_int) -> Result<c_int, Errno> {
    if fd == onto {
        let open = descriptor(fd).is_ok_and(|fd| kernel(|kernel| kernel.is_open(fd)));
        return if open { Ok(fd) } else { Err(Errno::EBADF) };
    }
    duplicate(fd, onto, false)
}

pub(crate) fn dup3(fd: c_int, onto: c_int, flags: c_int) -> Result<c_int, Errno> {
    if fd == onto || flags & !libc::O_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    duplicate(fd, onto, flags != 0)
}

fn duplicate(fd: c_int, onto: c_int, close_on_exec: bool) -> Result<c_int, Errno> {
    if is_virtual(fd) != is_virtual(onto) {
        return Err(unsupported("dup2 between a virtual and a real descriptor", Errno::EBADF));
    }
    kernel(|kernel| kernel.dup_onto(Fd(fd), Fd(onto), close_on_exec)).map(|fd| fd.0)
}

pub(crate) fn fcntl(fd: c_int, command: c_int, argument: usize) -> Result<c_int, Errno> {
    let fd = descriptor(fd)?;
    let flag = |on: bool, flag: c_int| if on { flag } else { 0 };
    match command {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => {
            let close_on_exec = command == libc::F_DUPFD_CLOEXEC;
            kernel(|kernel| kernel.dup_from(fd, argument as c_int, close_on_exec)).map(|fd| fd.0)
        }
        libc::F_GETFD => kernel(|kernel| kernel.close_on_exec(fd)).map(|on| flag(on, libc::FD_CLOEXEC)),
        libc::F_SETFD => {
            let on = argument as c_int & libc::FD_CLOEXEC != 0;
            kernel(|kernel| kernel.set_close_on_exec(fd, on)).map(|()| 0)
        }
        libc::F_GETFL => kernel(|kernel| kernel.status_flags(fd)),
        libc::F_SETFL => {
            let on = argument as c_int & libc::O_NONBLOCK != 0;
            kernel(|kernel| kernel.set_nonblocking(fd, on)).map(|()| 0)
        }
        libc::F_GETPIPE_SZ => Ok(PIPE_BYTES),
        _ => Err(unsupported(format!("fcntl command {command}"), Errno::EINVAL)),
    }
}

// <asm-generic/ioctls.h>, <linux/sockios.h>.
const TCGETS: usize = 0x5401;
const TIOCOUTQ: usize = 0x5411;
const FIONREAD: usize = 0x541b;
const FIONBIO: usize = 0x5421;
const FIONCLEX: usize = 0x5450;
const FIOCLEX: usize = 0x5451;

pub(crate) fn ioctl(fd: c_int, request: usize, argument: Out<c_int>) -> Result<c_int, Errno> {
    let fd = descriptor(fd)?;
    let number = |n: usize| c_int::try_from(n).unwrap_or(c_int::MAX);
    // Only the low 32 bits count: some callers pass a sign-extended int.
    match request & 0xffff_ffff {
        FIONBIO => {
            let on = argument.read()? != 0;
            kernel(|kernel| kernel.set_nonblocking(fd, on))?;
        }
        FIONREAD => argument.write(number(kernel(|kernel| kernel.bytes_readable(fd))?))?,
        TIOCOUTQ => argument.write(number(kernel(|kernel| kernel.bytes_unsent(fd))?))?,
        FIOCLEX => kernel(|kernel| kernel.set_close_on_exec(fd, true))?,
        FIONCLEX => kernel(|kernel| kernel.set_close_on_exec(fd, false))?,
        // isatty: nothing virtual is a terminal.
        TCGETS => return Err(Errno::ENOTTY),
        other => return Err(unsupported(format!("ioctl request {other:#x}"), Errno::ENOTTY)),
    }
    Ok(0)
}

pub(crate) fn pipe2(mut ends: Out<c_int>, flags: c_int) -> Result<(), Errno> {
    if flags & !(libc::O_NONBLOCK | libc::O_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let room = ends.slice(2)?;
    let (nonblocking, close_on_exec) = (flags & libc::O_NONBLOCK != 0, flags & libc::O_CLOEXEC != 0);
    let (read, write) = kernel(|kernel| kernel.pipe(nonblocking, close_on_exec))?;
    room.copy_from_slice(&[read.0, write.0]);
    Ok(())
}

pub(crate) fn eventfd(initial: c_uint, flags: c_int) -> Result<c_int, Errno> {
    if flags & !(libc::EFD_SEMAPHORE | libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let has = |flag| flags & flag != 0;
    let (semaphore, nonblocking, cloexec) = (has(libc::EFD_SEMAPHORE), has(libc::EFD_NONBLOCK), has(libc::EFD_CLOEXEC));
    kernel(|kernel| kernel.eventfd(u64::from(initial), semaphore, nonblocking, cloexec)).map(|fd| fd.0)
}

pub(crate) fn eventfd_read(fd: c_int, value: Out<u64>) -> Result<(), Errno> {
    let fd = descriptor(fd)?;
    let mut bytes = [0; 8];
    blocking(|kernel, call| kernel.read(fd, &mut bytes, call))?;
    value.write(u64::from_ne_bytes(bytes))
}

pub(crate) fn eventfd_write(fd: c_int, value: u64) -> Result<(), Errno> {
    let fd = descriptor(fd)?;
    blocking(|kernel, call| kernel.write(fd, &value.to_ne_bytes(), call)).map(|_| ())
}

pub(crate) fn timerfd_create(clock: c_int, flags: c_int) -> Result<c_int, Errno> {
    if flags & !(libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let clock = time::clock(clock)?;
    let (nonblocking, cloexec) = (flags & libc::TFD_NONBLOCK != 0, flags & libc::TFD_CLOEXEC != 0);
    kernel(|kernel| kernel.timerfd_create(clock, nonblocking, cloexec)).map(|fd| fd.0)
}

fn timer((left, interval): (u64, u64)) -> itimerspec {
    itimerspec { it_interval: time::spec(interval), it_value: time::spec(left) }
}

pub(crate) fn timerfd_settime(fd: c_int, flags: c_int, new: In<itimerspec>, old: Out<itimerspec>) -> Result<(), Errno> {
    if flags & !(libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL);
    }
    let fd = descriptor(fd)?;
    let new = new.read()?;
    let (first, interval) = (time::nanos(new.it_value)?, time::nanos(new.it_interval)?);
    let absolute = flags & libc::TFD_TIMER_ABSTIME != 0;
    old.put(timer(kernel(|kernel| kernel.timerfd_settime(fd, absolute, first, interval))?));
    Ok(())
}

pub(crate) fn timerfd_gettime(fd: c_int, now: Out<itimerspec>) -> Result<(), Errno> {
    let fd = descriptor(fd)?;
    now.write(timer(kernel(|kernel| kernel.timerfd_gettime(fd))?))
}
