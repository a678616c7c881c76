//! eventfd(2).

use std::task::Poll;

use halfopen_core::Errno;
use halfopen_netstack::Readiness;

use crate::fd::Fd;
use crate::file::{FileId, FileKind};
use crate::scheduler::WaitFor;
use crate::{Call, Kernel, Outcome};

/// The largest value of the counter (eventfd(2): one less than the largest `u64`).
const COUNTER_MAX: u64 = u64::MAX - 1;

/// A counter.
#[derive(Debug)]
pub(crate) struct EventFd {
    counter: u64,
    /// EFD_SEMAPHORE: reads take 1.
    semaphore: bool,
}

impl EventFd {
    pub(crate) fn readiness(&self) -> Readiness {
        let readable = if self.counter > 0 { Readiness::IN } else { Readiness::NONE };
        if self.counter < COUNTER_MAX { readable.with(Readiness::OUT) } else { readable }
    }

    /// What a read takes, if there is anything.
    fn take(&mut self) -> Option<u64> {
        let taken = match (self.counter, self.semaphore) {
            (0, _) => return None,
            (_, true) => 1,
            (counter, false) => counter,
        };
        self.counter -= taken;
        Some(taken)
    }

    /// Adds, if that fits.
    fn add(&mut self, value: u64) -> bool {
        match self.counter.checked_add(value) {
            Some(sum) if sum <= COUNTER_MAX => {
                self.counter = sum;
                true
            }
            _ => false,
        }
    }
}

impl Kernel {
    /// eventfd2(2).
    ///
    /// # Errors
    /// EMFILE.
    pub fn eventfd(
        &mut self,
        initial: u64,
        semaphore: bool,
        nonblocking: bool,
        close_on_exec: bool,
    ) -> Result<Fd, Errno> {
        self.count_call();
        self.open_file(FileKind::EventFd(EventFd { counter: initial, semaphore }), nonblocking, close_on_exec)
    }

    fn eventfd_mut(&mut self, file: FileId) -> &mut EventFd {
        match &mut self.files.get_mut(file).kind {
            FileKind::EventFd(event) => event,
            _ => unreachable!("the caller looked at the kind"),
        }
    }

    pub(crate) fn read_eventfd(&mut self, fd: Fd, file: FileId, buffer: &mut [u8], call: &mut Call) -> Outcome<usize> {
        let Some(target) = buffer.first_chunk_mut::<8>() else { return Poll::Ready(Err(Errno::EINVAL)) };
        match self.eventfd_mut(file).take() {
            Some(value) => {
                *target = value.to_ne_bytes();
                self.notify(file, Readiness::OUT);
                Poll::Ready(Ok(8))
            }
            None => {
                let may_wait = !self.files.get(file).nonblocking;
                self.wait_for_file(file, may_wait, None, Errno::EAGAIN, call, WaitFor::Read(fd))
            }
        }
    }

    pub(crate) fn write_eventfd(&mut self, fd: Fd, file: FileId, data: &[u8], call: &mut Call) -> Outcome<usize> {
        let Some(value) = data.first_chunk::<8>() else { return Poll::Ready(Err(Errno::EINVAL)) };
        let value = u64::from_ne_bytes(*value);
        if value > COUNTER_MAX {
            return Poll::Ready(Err(Errno::EINVAL));
        }
        if self.eventfd_mut(file).add(value) {
            // Every write is an edge, also where the counter was not zero before.
            self.notify(file, Readiness::IN);
            return Poll::Ready(Ok(8));
        }
        let may_wait = !self.files.get(file).nonblocking;
        self.wait_for_file(file, may_wait, None, Errno::EAGAIN, call, WaitFor::Write(fd))
    }
}
