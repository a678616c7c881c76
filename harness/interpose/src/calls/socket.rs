//! Sockets.

use std::ffi::{c_int, c_uint};

use halfopen_core::{Errno, SimDuration};
use halfopen_kernel::{Address, Domain, Fd, Message, MsgFlags, SocketType};
use halfopen_netstack::socket::{Family, Kind, Shutdown};
use libc::{mmsghdr, msghdr, timespec};

use crate::abi::{In, Out};
use crate::calls::fd::Parts;
use crate::calls::{descriptor, identity, kernel, sockaddr, time};
use crate::world::{blocking, unsupported};

const CREATION_FLAGS: c_int = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
/// The part of a socket's type that is no flag (include/linux/net.h: SOCK_TYPE_MASK), and the first number that is none
/// (SOCK_MAX).
const TYPE_MASK: c_int = 0xf;
const TYPE_END: c_int = 11;
/// The first number that is no protocol (include/uapi/linux/in.h: IPPROTO_MAX).
const PROTOCOL_END: c_int = 263;

/// The kernel's name for a kind of socket, or the errno that Linux gives.
fn socket_type(domain: c_int, kind: c_int, protocol: c_int) -> Result<(SocketType, Domain), Errno> {
    if kind & !(TYPE_MASK | CREATION_FLAGS) != 0 || kind & TYPE_MASK >= TYPE_END {
        return Err(Errno::EINVAL);
    }
    let domain = match domain {
        libc::AF_INET => Domain::Inet(Family::V4),
        libc::AF_INET6 => Domain::Inet(Family::V6),
        libc::AF_UNIX => Domain::Unix,
        other => return Err(unsupported(format!("socket of family {other}"), Errno::EAFNOSUPPORT)),
    };
    if matches!(domain, Domain::Inet(_)) && !(0..PROTOCOL_END).contains(&protocol) {
        return Err(Errno::EINVAL);
    }
    let socket = match (domain, kind & !CREATION_FLAGS, protocol) {
        (Domain::Inet(_), libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => SocketType::Inet(Kind::Tcp),
        (Domain::Inet(_), libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => SocketType::Inet(Kind::Udp),
        (Domain::Inet(_), libc::SOCK_RAW, _) => return Err(unsupported("socket of type SOCK_RAW", Errno::EPERM)),
        (Domain::Inet(_), libc::SOCK_STREAM | libc::SOCK_DGRAM, _) => return Err(Errno::EPROTONOSUPPORT),
        (Domain::Unix, libc::SOCK_STREAM, 0 | 1) => SocketType::UnixStream,
        (Domain::Unix, libc::SOCK_DGRAM, 0 | 1) => SocketType::UnixDatagram,
        (Domain::Unix, libc::SOCK_SEQPACKET, 0 | 1) => SocketType::UnixSeqpacket,
        (Domain::Unix, _, 0 | 1) => return Err(Errno::ESOCKTNOSUPPORT),
        (Domain::Unix, ..) => return Err(Errno::EPROTONOSUPPORT),
        _ => return Err(Errno::ESOCKTNOSUPPORT),
    };
    Ok((socket, domain))
}

/// SOCK_NONBLOCK and SOCK_CLOEXEC.
fn creation(flags: c_int) -> (bool, bool) {
    (flags & libc::SOCK_NONBLOCK != 0, flags & libc::SOCK_CLOEXEC != 0)
}

pub(crate) fn socket(domain: c_int, kind: c_int, protocol: c_int) -> Result<c_int, Errno> {
    let (socket, domain) = socket_type(domain, kind, protocol)?;
    let (nonblocking, close_on_exec) = creation(kind);
    kernel(|kernel| kernel.socket(socket, domain, nonblocking, close_on_exec)).map(|fd| fd.0)
}

pub(crate) fn socketpair(domain: c_int, kind: c_int, protocol: c_int, mut pair: Out<c_int>) -> Result<(), Errno> {
    let (socket, domain) = socket_type(domain, kind, protocol)?;
    if domain != Domain::Unix {
        return Err(Errno::EOPNOTSUPP);
    }
    let room = pair.slice(2)?;
    let (nonblocking, close_on_exec) = creation(kind);
    let (a, b) = kernel(|kernel| kernel.socketpair(socket, nonblocking, close_on_exec))?;
    room.copy_from_slice(&[a.0, b.0]);
    Ok(())
}

pub(crate) fn bind(fd: c_int, address: In<u8>, len: u32) -> Result<(), Errno> {
    let (fd, address) = (descriptor(fd)?, sockaddr::read(address, len)?);
    kernel(|kernel| kernel.bind(fd, &address))
}

pub(crate) fn listen(fd: c_int, backlog: c_int) -> Result<(), Errno> {
    let fd = descriptor(fd)?;
    kernel(|kernel| kernel.listen(fd, backlog))
}

pub(crate) fn connect(fd: c_int, address: In<u8>, len: u32) -> Result<(), Errno> {
    let (fd, address) = (descriptor(fd)?, sockaddr::read(address, len)?);
    blocking(|kernel, call| kernel.connect(fd, &address, call))
}

pub(crate) fn accept4(fd: c_int, room: Out<u8>, len: Out<u32>, flags: c_int) -> Result<c_int, Errno> {
    if flags & !CREATION_FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    let fd = descriptor(fd)?;
    let (nonblocking, close_on_exec) = creation(flags);
    let (new, from) = blocking(|kernel, call| kernel.accept(fd, nonblocking, close_on_exec, call))?;
    sockaddr::store(&from, room, len)?;
    Ok(new.0)
}

/// MSG_* as the kernel takes them. Flags that change nothing here (MSG_CONFIRM, MSG_DONTROUTE) are let pass.
fn message_flags(flags: c_int) -> Result<MsgFlags, Errno> {
    if flags & libc::MSG_OOB != 0 {
        return Err(unsupported("MSG_OOB (urgent data)", Errno::EOPNOTSUPP));
    }
    let has = |flag| flags & flag != 0;
    Ok(MsgFlags {
        dont_wait: has(libc::MSG_DONTWAIT),
        peek: has(libc::MSG_PEEK),
        wait_all: has(libc::MSG_WAITALL),
        no_signal: has(libc::MSG_NOSIGNAL),
        trunc: has(libc::MSG_TRUNC),
        close_on_exec: has(libc::MSG_CMSG_CLOEXEC),
        more: has(libc::MSG_MORE),
    })
}

fn signalling(fd: Fd, flags: MsgFlags, sent: Result<usize, Errno>) -> Result<usize, Errno> {
    if flags.no_signal { sent } else { identity::signal_broken_pipe(fd, sent) }
}

pub(crate) fn send(fd: c_int, data: In<u8>, len: usize, flags: c_int) -> Result<usize, Errno> {
    let (fd, data, flags) = (descriptor(fd)?, data.slice(len)?, message_flags(flags)?);
    signalling(fd, flags, blocking(|kernel, call| kernel.send(fd, data, None, &[], flags, call)))
}

pub(crate) fn sendto(
    fd: c_int,
    data: In<u8>,
    len: usize,
    flags: c_int,
    to: In<u8>,
    to_len: u32,
) -> Result<usize, Errno> {
    if to.is_null() {
        return send(fd, data, len, flags);
    }
    let (fd, data, flags, to) = (descriptor(fd)?, data.slice(len)?, message_flags(flags)?, sockaddr::read(to, to_len)?);
    signalling(fd, flags, blocking(|kernel, call| kernel.send(fd, data, Some(&to), &[], flags, call)))
}

pub(crate) fn sendmsg(fd: c_int, message: In<msghdr>, flags: c_int) -> Result<usize, Errno> {
    let (fd, message, flags) = (descriptor(fd)?, message.read()?, message_flags(flags)?);
    // SAFETY: the program vouches for all that its msghdr points to, as for the msghdr itself.
    let (name, parts, control) = unsafe {
        (
            In::<u8>::new(message.msg_name as usize),
            In::new(message.msg_iov as usize),
            In::<u8>::new(message.msg_control as usize),
        )
    };
    let to = match name.is_null() || message.msg_namelen == 0 {
        true => None,
        false => Some(sockaddr::read(name, message.msg_namelen)?),
    };
    let data = Parts::new(parts, message.msg_iovlen)?.gather()?;
    let control_len = if control.is_null() { 0 } else { message.msg_controllen };
    let fds = control::sent_descriptors(control.slice(control_len)?)?;
    signalling(fd, flags, blocking(|kernel, call| kernel.send(fd, &data, to.as_ref(), &fds, flags, call)))
}

/// The header of message `index` of an array, by address.
fn nth(messages: Out<mmsghdr>, index: usize) -> Out<mmsghdr> {
    // SAFETY: the program vouches for the whole array; `index` is below its count.
    unsafe { Out::new(messages.address() + index * size_of::<mmsghdr>()) }
}

/// Does `one` for each message, as far as it goes: an error counts only if it is the first.
fn each(
    messages: Out<mmsghdr>,
    count: c_uint,
    mut one: impl FnMut(Out<msghdr>, bool) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let count = (count as usize).min(1024);
    for done in 0..count {
        let message = nth(messages, done);
        // SAFETY: a mmsghdr begins with its msghdr.
        let header = unsafe { Out::new(message.address()) };
        match one(header, done == 0) {
            Ok(len) => message.write(mmsghdr { msg_len: len as c_uint, ..message.read()? })?,
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => return Ok(done),
        }
    }
    Ok(count)
}

pub(crate) fn sendmmsg(fd: c_int, messages: Out<mmsghdr>, count: c_uint, flags: c_int) -> Result<usize, Errno> {
    each(messages, count, |message, _| sendmsg(fd, message.to_in(), flags))
}

/// The time-out is looked at as Linux does it: only between messages, so that it hardly ever matters.
pub(crate) fn recvmmsg(
    fd: c_int,
    messages: Out<mmsghdr>,
    count: c_uint,
    flags: c_int,
    timeout: Out<timespec>,
) -> Result<usize, Errno> {
    let span = timeout.to_in().optional().map(time::span).transpose()?;
    let start = kernel(|kernel| kernel.now());
    let late = |span: SimDuration| kernel(|kernel| kernel.now()).since(start) >= span;
    each(messages, count, |message, first| {
        if !first && span.is_some_and(late) {
            return Err(Errno::EAGAIN);
        }
        let wait_for_one = flags & libc::MSG_WAITFORONE != 0 && !first;
        let flags = flags & !libc::MSG_WAITFORONE;
        recvmsg(fd, message, if wait_for_one { flags | libc::MSG_DONTWAIT } else { flags })
    })
}

pub(crate) fn recv(fd: c_int, buffer: Out<u8>, len: usize, flags: c_int) -> Result<usize, Errno> {
    receive(fd, buffer, len, flags).map(|message| told_len(&message, flags))
}

fn receive(fd: c_int, mut buffer: Out<u8>, len: usize, flags: c_int) -> Result<Message, Errno> {
    let (fd, buffer, flags) = (descriptor(fd)?, buffer.slice(len)?, receive_flags(flags)?);
    blocking(|kernel, call| kernel.recv(fd, buffer, flags, call))
}

fn receive_flags(flags: c_int) -> Result<MsgFlags, Errno> {
    if flags & libc::MSG_ERRQUEUE != 0 {
        // Nothing ever waits there: IP_RECVERR is not supported.
        return Err(Errno::EAGAIN);
    }
    message_flags(flags)
}

/// MSG_TRUNC asks for the whole length of a datagram.
fn told_len(message: &Message, flags: c_int) -> usize {
    if flags & libc::MSG_TRUNC != 0 { message.full_len.max(message.len) } else { message.len }
}

pub(crate) fn recvfrom(
    fd: c_int,
    buffer: Out<u8>,
    len: usize,
    flags: c_int,
    from: Out<u8>,
    from_len: Out<u32>,
) -> Result<usize, Errno> {
    let message = receive(fd, buffer, len, flags)?;
    match &message.from {
        Some(address) => sockaddr::store(address, from, from_len)?,
        None if !from.is_null() => from_len.put(0),
        None => (),
    }
    Ok(told_len(&message, flags))
}

pub(crate) fn recvmsg(fd: c_int, header: Out<msghdr>, flags: c_int) -> Result<usize, Errno> {
    let (fd, mut out, kernel_flags) = (descriptor(fd)?, header.read()?, receive_flags(flags)?);
    // SAFETY: the program vouches for all that its msghdr points to, as for the msghdr itself.
    let (name, parts, control) = unsafe {
        (Out::<u8>::new(out.msg_name as usize), In::new(out.msg_iov as usize), Out::<u8>::new(out.msg_control as usize))
    };
    let parts = Parts::new(parts, out.msg_iovlen)?;
    let receive = |buffer: &mut [u8]| blocking(|kernel, call| kernel.recv(fd, buffer, kernel_flags, call));
    let message = parts.receive(receive, |message| message.len)?;
    out.msg_flags = if message.full_len > message.len { libc::MSG_TRUNC } else { 0 };
    if !name.is_null() {
        out.msg_namelen = store_name(message.from.as_ref(), name, out.msg_namelen)?;
    }
    let room = if control.is_null() { 0 } else { out.msg_controllen };
    let (used, cut) = control::store_descriptors(&message.fds, control, room)?;
    out.msg_controllen = used;
    if cut {
        out.msg_flags |= libc::MSG_CTRUNC;
    }
    header.write(out)?;
    Ok(told_len(&message, flags))
}

/// Stores the sender; says its length.
fn store_name(from: Option<&Address>, mut name: Out<u8>, room: u32) -> Result<u32, Errno> {
    let Some(address) = from else {
        return Ok(0);
    };
    let bytes = sockaddr::encode(address);
    let cut = bytes.len().min(room as usize);
    name.slice(cut)?.copy_from_slice(&bytes[..cut]);
    Ok(bytes.len() as u32)
}

pub(crate) fn shutdown(fd: c_int, how: c_int) -> Result<(), Errno> {
    let fd = descriptor(fd)?;
    let how = match how {
        libc::SHUT_RD => Shutdown::Read,
        libc::SHUT_WR => Shutdown::Write,
        libc::SHUT_RDWR => Shutdown::Both,
        _ => return Err(Errno::EINVAL),
    };
    kernel(|kernel| kernel.shutdown(fd, how))
}

pub(crate) fn getsockname(fd: c_int, room: Out<u8>, len: Out<u32>) -> Result<(), Errno> {
    let fd = descriptor(fd)?;
    sockaddr::store(&kernel(|kernel| kernel.getsockname(fd))?, room, len)
}

pub(crate) fn getpeername(fd: c_int, room: Out<u8>, len: Out<u32>) -> Result<(), Errno> {
    let fd = descriptor(fd)?;
    sockaddr::store(&kernel(|kernel| kernel.getpeername(fd))?, room, len)
}

pub(crate) fn setsockopt(fd: c_int, level: c_int, name: c_int, value: In<u8>, len: u32) -> Result<(), Errno> {
    let fd = descriptor(fd)?;
    let value = value.slice(len as usize)?;
    kernel(|kernel| kernel.setsockopt(fd, level, name, value))
}

pub(crate) fn getsockopt(fd: c_int, level: c_int, name: c_int, mut value: Out<u8>, len: Out<u32>) -> Result<(), Errno> {
    let fd = descriptor(fd)?;
    let room = len.read()?;
    if i32::try_from(room).is_err() {
        return Err(Errno::EINVAL);
    }
    let bytes = kernel(|kernel| kernel.getsockopt(fd, level, name, room as usize))?;
    let cut = bytes.len().min(room as usize);
    value.slice(cut)?.copy_from_slice(&bytes[..cut]);
    len.write(cut as u32)
}

/// Control messages (cmsg(3)), of which descriptors (SCM_RIGHTS) are the only ones here.
mod control {
    use super::*;

    /// `struct cmsghdr`: its length (8 bytes), level and type (4 each).
    const HEADER: usize = 16;
    const ALIGNMENT: usize = 8;
    const FD_BYTES: usize = 4;

    fn number(bytes: &[u8], at: usize) -> c_int {
        c_int::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]))
    }

    /// The descriptors that go along.
    ///
    /// # Errors
    /// EINVAL if the control messages are malformed or of another kind; EBADF for a real descriptor, which another host
    /// could not use.
    pub(super) fn sent_descriptors(mut bytes: &[u8]) -> Result<Vec<Fd>, Errno> {
        let mut fds = Vec::new();
        while bytes.len() >= HEADER {
            let len = usize::from_ne_bytes(std::array::from_fn(|i| bytes[i]));
            if len < HEADER || len > bytes.len() {
                return Err(Errno::EINVAL);
            }
            match (number(bytes, 8), number(bytes, 12)) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    let sent = bytes[HEADER..len].chunks_exact(FD_BYTES);
                    for fd in sent.map(|fd| number(fd, 0)) {
                        fds.push(descriptor(fd)?);
                    }
                }
                (level, kind) => {
                    return Err(unsupported(format!("control message {kind} of level {level}"), Errno::EINVAL));
                }
            }
            bytes = &bytes[len.next_multiple_of(ALIGNMENT).min(bytes.len())..];
        }
        Ok(fds)
    }

    /// Stores the descriptors that came along; says how many bytes that took and whether some did not fit (they are
    /// closed then).
    pub(super) fn store_descriptors(fds: &[Fd], mut control: Out<u8>, room: usize) -> Result<(usize, bool), Errno> {
        if fds.is_empty() {
            return Ok((0, false));
        }
        let fit = (room.saturating_sub(HEADER) / FD_BYTES).min(fds.len());
        for fd in &fds[fit..] {
            // It came in a message that the program cannot see: nobody else closes it.
            blocking(|kernel, call| kernel.close(*fd, call))?;
        }
        if fit == 0 {
            return Ok((0, true));
        }
        let len = HEADER + fit * FD_BYTES;
        let space = len.next_multiple_of(ALIGNMENT).min(room);
        let bytes = control.slice(space)?;
        bytes.fill(0);
        bytes[..8].copy_from_slice(&len.to_ne_bytes());
        bytes[8..12].copy_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
        bytes[12..16].copy_from_slice(&libc::SCM_RIGHTS.to_ne_bytes());
        for (place, fd) in bytes[HEADER..len].chunks_exact_mut(FD_BYTES).zip(fds) {
            place.copy_from_slice(&fd.0.to_ne_bytes());
        }
        Ok((space, fit < fds.len()))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn descriptors_survive_the_way_through_a_control_message() {
            let fds = [Fd(1 << 20), Fd((1 << 20) + 7)];
            let mut bytes = [0u8; 64];
            // SAFETY: a local of this test that outlives the value.
            let room = unsafe { Out::new(bytes.as_mut_ptr() as usize) };
            assert_eq!(store_descriptors(&fds, room, bytes.len()), Ok((24, false)));
            assert_eq!(sent_descriptors(&bytes[..24]), Ok(fds.to_vec()));
        }

        #[test]
        fn malformed_control_messages_are_refused() {
            let mut bytes = [0u8; 24];
            assert_eq!(sent_descriptors(&bytes), Err(Errno::EINVAL), "length 0");
            bytes[0] = 100;
            assert_eq!(sent_descriptors(&bytes), Err(Errno::EINVAL), "longer than there is");
            assert_eq!(sent_descriptors(&bytes[..8]), Ok(Vec::new()), "too short to be one");
        }
    }
}
