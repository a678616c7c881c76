//! timerfd_create(2).

use std::task::Poll;

use halfopen_core::{Errno, HostId, SimDuration, SimTime};
use halfopen_netstack::Readiness;

use crate::clock::Clock;
use crate::fd::Fd;
use crate::file::{FileId, FileKind};
use crate::scheduler::WaitFor;
use crate::timeline::{Due, TimerId};
use crate::{Call, Kernel, Outcome};

/// A timer behind a descriptor. An interval timer that nobody reads costs nothing: the expirations that were missed
/// are counted at the next read, as Linux does it.
#[derive(Debug)]
pub(crate) struct TimerFd {
    clock: Clock,
    /// When it expires next; `None` is disarmed, or expired and not read.
    next: Option<SimTime>,
    interval: SimDuration,
    timer: Option<TimerId>,
    /// The instant of the first expiration that nobody has read.
    expired_at: Option<SimTime>,
    /// What it was set to, if that was an absolute time of the wall clock: setting that clock moves it.
    absolute_nanos: Option<u64>,
}

impl TimerFd {
    pub(crate) fn readiness(&self) -> Readiness {
        if self.expired_at.is_some() { Readiness::IN } else { Readiness::NONE }
    }

    /// Expirations since `expired_at`, that one included, and when it expires next.
    fn count(&self, expired_at: SimTime, now: SimTime) -> (u64, Option<SimTime>) {
        if self.interval.is_zero() {
            return (1, None);
        }
        let more = now.since(expired_at).as_nanos() / self.interval.as_nanos();
        (more + 1, Some(expired_at + self.interval * (more + 1)))
    }

    /// Nanoseconds until the next expiration, and the interval.
    fn setting(&self, now: SimTime) -> (u64, u64) {
        let next = match self.expired_at {
            Some(expired_at) => self.count(expired_at, now).1,
            None => self.next,
        };
        (next.map_or(0, |next| next.since(now).as_nanos()), self.interval.as_nanos())
    }
}

impl Kernel {
    /// timerfd_create(2).
    ///
    /// # Errors
    /// EMFILE; EINVAL for a CPU clock.
    pub fn timerfd_create(&mut self, clock: Clock, nonblocking: bool, close_on_exec: bool) -> Result<Fd, Errno> {
        self.count_call();
        if clock == Clock::Cpu {
            return Err(Errno::EINVAL);
        }
        let timer = TimerFd {
            clock,
            next: None,
            interval: SimDuration::ZERO,
            timer: None,
            expired_at: None,
            absolute_nanos: None,
        };
        self.open_file(FileKind::TimerFd(timer), nonblocking, close_on_exec)
    }

    fn find_timerfd(&self, fd: Fd) -> Result<(FileId, &TimerFd), Errno> {
        let file = self.lookup(fd)?;
        match &self.files.get(file).kind {
            FileKind::TimerFd(timer) => Ok((file, timer)),
            _ => Err(Errno::EINVAL),
        }
    }

    fn timerfd_mut(&mut self, file: FileId) -> &mut TimerFd {
        match &mut self.files.get_mut(file).kind {
            FileKind::TimerFd(timer) => timer,
            _ => unreachable!("the caller looked at the kind"),
        }
    }

    /// Sets it; says what was left and the interval before. `first_nanos` 0 disarms.
    ///
    /// # Errors
    /// EBADF; EINVAL for another kind of file.
    pub fn timerfd_settime(
        &mut self,
        fd: Fd,
        absolute: bool,
        first_nanos: u64,
        interval_nanos: u64,
    ) -> Result<(u64, u64), Errno> {
        self.count_call();
        let (file, timer) = self.find_timerfd(fd)?;
        let (before, clock) = (timer.setting(self.now), timer.clock);
        let next = match (first_nanos, absolute) {
            (0, _) => None,
            (_, true) => Some(self.when_clock_shows(clock, first_nanos)),
            (_, false) => Some(self.now + SimDuration::from_nanos(first_nanos)),
        };
        let timer = self.timerfd_mut(file);
        timer.absolute_nanos = (absolute && clock == Clock::Realtime && next.is_some()).then_some(first_nanos);
        timer.interval = SimDuration::from_nanos(interval_nanos);
        timer.expired_at = None;
        self.arm_timerfd(file, next);
        if next.is_some_and(|next| next <= self.now) {
            // It is late already: it expires before the call is over.
            self.arm_timerfd(file, None);
            self.timerfd_expired(file);
        }
        Ok(before)
    }

    /// What is left and the interval.
    ///
    /// # Errors
    /// EBADF; EINVAL for another kind of file.
    pub fn timerfd_gettime(&self, fd: Fd) -> Result<(u64, u64), Errno> {
        Ok(self.find_timerfd(fd)?.1.setting(self.now))
    }

    fn arm_timerfd(&mut self, file: FileId, next: Option<SimTime>) {
        let FileKind::TimerFd(timer) = &mut self.files.get_mut(file).kind else {
            unreachable!("the caller looked at the kind")
        };
        timer.next = next;
        self.timeline.rearm(&mut timer.timer, next, || Due::TimerFd(file));
    }

    pub(crate) fn timerfd_expired(&mut self, file: FileId) {
        let now = self.now;
        let timer = self.timerfd_mut(file);
        timer.timer = None;
        timer.next = None;
        timer.expired_at = Some(now);
        self.notify(file, Readiness::IN);
    }

    pub(crate) fn read_timerfd(&mut self, fd: Fd, file: FileId, buffer: &mut [u8], call: &mut Call) -> Outcome<usize> {
        let now = self.now;
        let Some(target) = buffer.first_chunk_mut::<8>() else { return Poll::Ready(Err(Errno::EINVAL)) };
        let timer = self.timerfd_mut(file);
        if let Some(expired_at) = timer.expired_at.take() {
            let (count, next) = timer.count(expired_at, now);
            *target = count.to_ne_bytes();
            self.arm_timerfd(file, next);
            return Poll::Ready(Ok(8));
        }
        let may_wait = !self.files.get(file).nonblocking;
        self.wait_for_file(file, may_wait, None, Errno::EAGAIN, call, WaitFor::Read(fd))
    }

    pub(crate) fn close_timerfd(&mut self, timer: TimerFd) {
        if let Some(timer) = timer.timer {
            self.timeline.cancel(timer);
        }
    }

    /// The wall clock of a host was set: timers at an absolute time of that clock move.
    pub(crate) fn rearm_realtime_timers(&mut self, host: HostId) {
        let entry = &self.hosts[host.index()];
        let shown = (self.config.epoch_nanos + self.now.as_nanos()).saturating_add_signed(entry.clock_offset_nanos);
        let files: Vec<FileId> = entry.fds.iter().map(|(_, file)| file).collect();
        for file in files {
            let FileKind::TimerFd(timer) = &self.files.get(file).kind else { continue };
            if let (Some(nanos), Some(_)) = (timer.absolute_nanos, timer.next) {
                let next = self.now + SimDuration::from_nanos(nanos.saturating_sub(shown));
                self.arm_timerfd(file, Some(next));
            }
        }
    }
}
