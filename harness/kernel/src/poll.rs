//! poll(2), and select(2) through it.

use std::task::Poll;

use halfopen_core::{Errno, SimDuration};
use halfopen_netstack::Readiness;

use crate::fd::Fd;
use crate::scheduler::{WaitFor, WaitKey};
use crate::{Call, Kernel, Outcome};

/// POLLNVAL: not an open descriptor (include/uapi/asm-generic/poll.h).
pub const POLLNVAL: u32 = 0x20;
/// POLLRDNORM (EPOLLRDNORM): ordinary data may be read.
pub const POLLRDNORM: u32 = 0x40;
/// POLLWRNORM (EPOLLWRNORM): ordinary data may be written.
pub const POLLWRNORM: u32 = 0x100;

/// `poll`'s question about one descriptor; `revents` is the answer.
#[derive(Clone, Copy, Debug)]
pub struct PollFd {
    /// `None` is skipped (a negative number).
    pub fd: Option<Fd>,
    /// POLL* bits that are asked for.
    pub events: u32,
    /// POLL* bits that hold, POLLERR, POLLHUP and POLLNVAL unasked.
    pub revents: u32,
}

/// Which of these events hold: those asked for, and errors and hang-ups always.
pub(crate) fn events_of(ready: Readiness, asked: u32) -> u32 {
    let mut offered = ready.0;
    if ready.intersects(Readiness::IN) {
        offered |= POLLRDNORM;
    }
    if ready.intersects(Readiness::OUT) {
        offered |= POLLWRNORM;
    }
    offered & (asked | Readiness::ERR.0 | Readiness::HUP.0)
}

impl Kernel {
    /// poll(2): how many descriptors have something to tell; 0 at the timeout (`None` waits for ever).
    ///
    /// # Errors
    /// None; a descriptor that is not open is told by POLLNVAL.
    pub fn poll(&mut self, fds: &mut [PollFd], timeout: Option<SimDuration>, call: &mut Call) -> Outcome<usize> {
        self.count_call();
        let mut count = 0;
        let mut keys = Vec::new();
        for entry in fds.iter_mut() {
            entry.revents = 0;
            let Some(fd) = entry.fd else { continue };
            match self.lookup(fd) {
                Ok(file) => {
                    entry.revents = events_of(self.readiness_of(file), entry.events);
                    keys.push(WaitKey::File(file));
                }
                Err(_) => entry.revents = POLLNVAL,
            }
            count += usize::from(entry.revents != 0);
        }
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        if timeout.is_some_and(SimDuration::is_zero) {
            return self.idle_result(call, Ok(0));
        }
        if self.is_over(call) {
            return Poll::Ready(Ok(0));
        }
        if !call.resumed {
            call.deadline = timeout.map(|timeout| self.now + timeout);
        }
        self.block(call, &keys, WaitFor::Poll(fds.len()))
    }

    /// A descriptor that is not open, as the calls on sockets tell it from one that is no socket.
    pub(crate) fn lookup_socket(&self, fd: Fd) -> Result<crate::file::FileId, Errno> {
        use crate::file::FileKind;
        let file = self.lookup(fd)?;
        match self.files.get(file).kind {
            FileKind::Inet(_) | FileKind::Unix(_) => Ok(file),
            FileKind::Gone => Err(Errno::EBADF),
            _ => Err(Errno::ENOTSOCK),
        }
    }
}
