//! The calls that must be made with arguments no safe wrapper takes: descriptors that are closed or were never open,
//! options of a wrong length, unknown requests.

use std::ffi::c_int;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::Result;
use nix::errno::Errno;

/// accept4(2), without the address.
pub fn accept4(fd: RawFd, flags: c_int) -> Result<OwnedFd> {
    // SAFETY: no room for an address is given.
    let fd = Errno::result(unsafe { libc::accept4(fd, std::ptr::null_mut(), std::ptr::null_mut(), flags) })?;
    // SAFETY: the descriptor is new, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// close(2) of a number.
pub fn close(fd: RawFd) -> Result<()> {
    // SAFETY: cases close by number only what they hold by number.
    Errno::result(unsafe { libc::close(fd) }).map(drop)
}

/// Takes hold of a number that was given away by `into_raw_fd`, or that a call just made.
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the cases keep a number in one place only.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// dup2(2) by numbers.
pub fn dup2(fd: RawFd, onto: RawFd) -> Result<RawFd> {
    // SAFETY: no memory is involved; the caller holds `onto` as a number.
    Errno::result(unsafe { libc::dup2(fd, onto) })
}

/// dup3(2) by numbers.
pub fn dup3(fd: RawFd, onto: RawFd, flags: c_int) -> Result<RawFd> {
    // SAFETY: as for dup2.
    Errno::result(unsafe { libc::dup3(fd, onto, flags) })
}

/// fcntl(2) with a number.
pub fn fcntl(fd: RawFd, command: c_int, argument: c_int) -> Result<c_int> {
    // SAFETY: the commands that the cases use take a number or nothing.
    Errno::result(unsafe { libc::fcntl(fd, command, argument) })
}

/// ioctl(2) with an `int`: the result, and the number that is there afterwards.
pub fn ioctl(fd: RawFd, request: libc::Ioctl, argument: c_int) -> Result<(c_int, c_int)> {
    let mut number = argument;
    // SAFETY: the requests that the cases use read or write one `int`.
    Errno::result(unsafe { libc::ioctl(fd, request, &raw mut number) }).map(|code| (code, number))
}

/// poll(2) of numbers with what is asked of each: the count, and what came of each.
pub fn poll(asked: &[(RawFd, i16)], timeout_ms: c_int) -> Result<(c_int, Vec<i16>)> {
    let mut fds: Vec<libc::pollfd> =
        asked.iter().map(|(fd, events)| libc::pollfd { fd: *fd, events: *events, revents: 0x7ff }).collect();
    // SAFETY: the array is ours and as long as is said.
    let count = Errno::result(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) })?;
    Ok((count, fds.iter().map(|fd| fd.revents).collect()))
}

/// epoll_ctl(2); the data is the number by which the event is told.
pub fn epoll_ctl(epoll: RawFd, op: c_int, fd: RawFd, events: u32, data: u64) -> Result<()> {
    let mut event = libc::epoll_event { events, u64: data };
    // SAFETY: the event is ours.
    Errno::result(unsafe { libc::epoll_ctl(epoll, op, fd, &raw mut event) }).map(drop)
}

/// epoll_wait(2): events and data.
pub fn epoll_wait(epoll: RawFd, max: c_int, timeout_ms: c_int) -> Result<Vec<(u32, u64)>> {
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; usize::try_from(max).unwrap_or(0).max(1)];
    // SAFETY: there is room for `max` events.
    let count = Errno::result(unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), max, timeout_ms) })?;
    Ok(events[..count as usize].iter().map(|event| (event.events, event.u64)).collect())
}

/// setsockopt(2) with these bytes.
pub fn setsockopt(fd: RawFd, level: c_int, name: c_int, value: &[u8]) -> Result<()> {
    // SAFETY: the value is as long as is said.
    let code = unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), value.len() as libc::socklen_t) };
    Errno::result(code).map(drop)
}

/// getsockopt(2) with so much room.
pub fn getsockopt(fd: RawFd, level: c_int, name: c_int, room: usize) -> Result<Vec<u8>> {
    let mut value = vec![0; room];
    let mut len = room as libc::socklen_t;
    // SAFETY: the room is as long as is said.
    let code = unsafe { libc::getsockopt(fd, level, name, value.as_mut_ptr().cast(), &raw mut len) };
    Errno::result(code)?;
    value.truncate(len as usize);
    Ok(value)
}

/// connect(2) with an address of this family and nothing else in it.
pub fn connect_family(fd: RawFd, family: c_int, len: usize) -> Result<()> {
    // SAFETY: all zeroes is a valid sockaddr_storage.
    let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    address.ss_family = family as libc::sa_family_t;
    assert!(len <= size_of_val(&address));
    // SAFETY: `len` is no more than there is.
    Errno::result(unsafe { libc::connect(fd, (&raw const address).cast(), len as libc::socklen_t) }).map(drop)
}

/// The kind of a file: S_IFMT bits of fstat(2), and its size.
pub fn fstat(fd: RawFd) -> Result<(u32, i64)> {
    // SAFETY: all zeroes is a valid stat, and it is ours.
    let (code, status) = unsafe {
        let mut status: libc::stat = std::mem::zeroed();
        (libc::fstat(fd, &raw mut status), status)
    };
    Errno::result(code).map(|_| (status.st_mode & libc::S_IFMT, status.st_size))
}

/// eventfd(2).
pub fn eventfd(initial: u32, flags: c_int) -> Result<OwnedFd> {
    // SAFETY: no memory is involved.
    Errno::result(unsafe { libc::eventfd(initial, flags) }).map(own)
}

/// timerfd_create(2).
pub fn timerfd_create(clock: c_int, flags: c_int) -> Result<OwnedFd> {
    // SAFETY: no memory is involved.
    Errno::result(unsafe { libc::timerfd_create(clock, flags) }).map(own)
}

/// timerfd_settime(2) with times in nanoseconds: the old value and interval. A negative time goes as it is.
pub fn timerfd_settime(fd: RawFd, flags: c_int, value: i64, interval: i64) -> Result<(i64, i64)> {
    let spec = |nanos: i64| libc::timespec { tv_sec: nanos / 1_000_000_000, tv_nsec: nanos % 1_000_000_000 };
    let new = libc::itimerspec { it_interval: spec(interval), it_value: spec(value) };
    let mut old = libc::itimerspec { it_interval: spec(0), it_value: spec(0) };
    // SAFETY: both are ours.
    Errno::result(unsafe { libc::timerfd_settime(fd, flags, &raw const new, &raw mut old) })?;
    Ok((nanos(old.it_value), nanos(old.it_interval)))
}

/// timerfd_gettime(2): value and interval in nanoseconds.
pub fn timerfd_gettime(fd: RawFd) -> Result<(i64, i64)> {
    let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let mut now = libc::itimerspec { it_interval: zero, it_value: zero };
    // SAFETY: it is ours.
    Errno::result(unsafe { libc::timerfd_gettime(fd, &raw mut now) })?;
    Ok((nanos(now.it_value), nanos(now.it_interval)))
}

fn nanos(time: libc::timespec) -> i64 {
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// listen(2) with any backlog.
pub fn listen(fd: RawFd, backlog: c_int) -> Result<()> {
    // SAFETY: no memory is involved.
    Errno::result(unsafe { libc::listen(fd, backlog) }).map(drop)
}

/// socket(2) with any numbers.
pub fn socket(domain: c_int, kind: c_int, protocol: c_int) -> Result<OwnedFd> {
    // SAFETY: no memory is involved.
    Errno::result(unsafe { libc::socket(domain, kind, protocol) }).map(own)
}

/// socketpair(2) with any numbers.
pub fn socketpair(domain: c_int, kind: c_int, protocol: c_int) -> Result<(OwnedFd, OwnedFd)> {
    let mut pair = [0; 2];
    // SAFETY: there is room for two.
    Errno::result(unsafe { libc::socketpair(domain, kind, protocol, pair.as_mut_ptr()) })?;
    Ok((own(pair[0]), own(pair[1])))
}

/// shutdown(2) with any number.
pub fn shutdown(fd: RawFd, how: c_int) -> Result<()> {
    // SAFETY: no memory is involved.
    Errno::result(unsafe { libc::shutdown(fd, how) }).map(drop)
}
