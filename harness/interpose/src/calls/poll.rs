//! Readiness: poll, select, epoll.

use std::ffi::c_int;

use halfopen_core::{Errno, SimDuration};
use halfopen_kernel::{EpollEvent, EpollOp, PollFd};
use libc::{epoll_event, fd_set, pollfd, timespec, timeval};

use crate::abi::{In, Out};
use crate::calls::{descriptor, is_virtual, kernel, time};
use crate::symbols::real;
use crate::world::{blocking, in_libc, unsupported};

/// epoll_wait(2): the kernel refuses more events than fit its arithmetic.
const MAX_EVENTS: c_int = (i32::MAX as usize / size_of::<epoll_event>()) as c_int;

/// A time in milliseconds as poll and epoll_wait take it: negative is for ever.
fn millis(timeout: c_int) -> Option<SimDuration> {
    u64::try_from(timeout).ok().map(SimDuration::from_millis)
}

fn optional_span(timeout: In<timespec>) -> Result<Option<SimDuration>, Errno> {
    timeout.optional().map(time::span).transpose()
}

pub(crate) fn poll(fds: Out<pollfd>, count: u64, timeout_ms: c_int) -> Result<usize, Errno> {
    wait(fds, count as usize, millis(timeout_ms))
}

pub(crate) fn ppoll(fds: Out<pollfd>, count: u64, timeout: In<timespec>) -> Result<usize, Errno> {
    wait(fds, count as usize, optional_span(timeout)?)
}

fn wait(mut fds: Out<pollfd>, count: usize, timeout: Option<SimDuration>) -> Result<usize, Errno> {
    let fds = fds.slice(count)?;
    let real_ready = poll_real(fds)?;
    let timeout = if real_ready > 0 { Some(SimDuration::ZERO) } else { timeout };
    let question = |fd: &pollfd| PollFd { fd: descriptor(fd.fd).ok(), events: u32::from(fd.events as u16), revents: 0 };
    let mut asked: Vec<PollFd> = fds.iter().map(question).collect();
    let ready = blocking(|kernel, call| kernel.poll(&mut asked, timeout, call))?;
    for (fd, answer) in fds.iter_mut().zip(&asked) {
        match answer.fd {
            Some(_) => fd.revents = answer.revents as i16,
            // Left out, but told so.
            None if fd.fd < 0 => fd.revents = 0,
            None => {}
        }
    }
    Ok(ready + real_ready)
}

/// Asks libc about the real files among them, without waiting: whether a terminal or a file of the machine becomes
/// ready later is not part of the simulation.
fn poll_real(fds: &mut [pollfd]) -> Result<usize, Errno> {
    let mut ready = 0;
    for fd in fds.iter_mut().filter(|fd| fd.fd >= 0 && !is_virtual(fd.fd)) {
        // SAFETY: one entry, which is ours.
        let code = in_libc(|| unsafe { real::poll(&raw mut *fd, 1, 0) });
        ready += usize::try_from(code).unwrap_or(0);
    }
    Ok(ready)
}

pub(crate) fn select(
    count: c_int,
    read: Out<fd_set>,
    write: Out<fd_set>,
    except: Out<fd_set>,
    timeout: Out<timeval>,
) -> Result<usize, Errno> {
    let to_spec = |t: timeval| timespec { tv_sec: t.tv_sec, tv_nsec: t.tv_usec.saturating_mul(1_000) };
    let timeout = timeout.to_in().optional().map(|t| time::span(to_spec(t))).transpose()?;
    select_for(count, [read, write, except], timeout)
}

pub(crate) fn pselect(
    count: c_int,
    read: Out<fd_set>,
    write: Out<fd_set>,
    except: Out<fd_set>,
    timeout: In<timespec>,
) -> Result<usize, Errno> {
    select_for(count, [read, write, except], optional_span(timeout)?)
}

/// An `fd_set` has 1024 bits: no virtual descriptor fits in, so there is only the waiting, and an error for the rest.
fn select_for(count: c_int, sets: [Out<fd_set>; 3], timeout: Option<SimDuration>) -> Result<usize, Errno> {
    if count > 0 && sets.iter().any(|set| !set.is_null()) {
        return Err(unsupported("select with descriptors (use poll)", Errno::EINVAL));
    }
    blocking(|kernel, call| kernel.poll(&mut [], timeout, call))
}

pub(crate) fn epoll_create(size: c_int) -> Result<c_int, Errno> {
    if size <= 0 { Err(Errno::EINVAL) } else { epoll_create1(0) }
}

pub(crate) fn epoll_create1(flags: c_int) -> Result<c_int, Errno> {
    if flags & !libc::EPOLL_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    kernel(|kernel| kernel.epoll_create(flags != 0)).map(|fd| fd.0)
}

pub(crate) fn epoll_ctl(epoll: c_int, op: c_int, fd: c_int, event: Out<epoll_event>) -> Result<(), Errno> {
    let epoll = descriptor(epoll)?;
    let op = match op {
        libc::EPOLL_CTL_ADD => EpollOp::Add,
        libc::EPOLL_CTL_MOD => EpollOp::Modify,
        libc::EPOLL_CTL_DEL => EpollOp::Delete,
        _ => return Err(Errno::EINVAL),
    };
    let event = match op {
        EpollOp::Delete => EpollEvent { events: 0, data: 0 },
        _ => event.read().map(|event| EpollEvent { events: event.events, data: event.u64 })?,
    };
    if fd >= 0 && !is_virtual(fd) {
        // What Linux says of a file that cannot be waited for.
        return Err(unsupported("epoll_ctl with a real file", Errno::EPERM));
    }
    let fd = descriptor(fd)?;
    kernel(|kernel| kernel.epoll_ctl(epoll, op, fd, event))
}

pub(crate) fn epoll_wait(
    epoll: c_int,
    events: Out<epoll_event>,
    max: c_int,
    timeout_ms: c_int,
) -> Result<usize, Errno> {
    wait_events(epoll, events, max, millis(timeout_ms))
}

pub(crate) fn epoll_pwait2(
    epoll: c_int,
    events: Out<epoll_event>,
    max: c_int,
    timeout: In<timespec>,
) -> Result<usize, Errno> {
    wait_events(epoll, events, max, optional_span(timeout)?)
}

fn wait_events(
    epoll: c_int,
    mut events: Out<epoll_event>,
    max: c_int,
    timeout: Option<SimDuration>,
) -> Result<usize, Errno> {
    if max <= 0 || max > MAX_EVENTS {
        return Err(Errno::EINVAL);
    }
    let epoll = descriptor(epoll)?;
    let max = max as usize;
    let mut found = Vec::new();
    blocking(|kernel, call| {
        found.clear();
        kernel.epoll_wait(epoll, max, timeout, &mut found, call)
    })?;
    assert!(found.len() <= max, "the kernel keeps to the limit");
    let room = events.slice(found.len())?;
    for (place, event) in room.iter_mut().zip(&found) {
        *place = epoll_event { events: event.events, u64: event.data };
    }
    Ok(found.len())
}
