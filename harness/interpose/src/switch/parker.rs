//! By futex: a thread sleeps in the kernel until another wakes it.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::symbols::real;

/// Where one thread sleeps until it is woken once.
pub(crate) struct Parker {
    /// 1 while the baton lies here, 0 otherwise.
    baton: AtomicU32,
}

impl Parker {
    pub(crate) const fn new() -> Parker {
        Parker { baton: AtomicU32::new(0) }
    }

    /// Gives the baton to the thread that parks here, now or later. What this thread wrote before is seen there.
    pub(crate) fn unpark(&self) {
        let before = self.baton.swap(1, Ordering::Release);
        assert_eq!(before, 0, "there is only one baton");
        self.futex(libc::FUTEX_WAKE, 1);
    }

    /// Waits for the baton and takes it.
    pub(crate) fn park(&self) {
        while self.baton.swap(0, Ordering::Acquire) == 0 {
            self.futex(libc::FUTEX_WAIT, 0);
        }
    }

    fn futex(&self, operation: i32, value: usize) {
        let word = &raw const self.baton as usize;
        let operation = (operation | libc::FUTEX_PRIVATE_FLAG) as usize;
        // SAFETY: a futex on a word of ours that lives as long as this borrow. It goes through libc's own `syscall`,
        // whose text the traps let pass. Errors (EAGAIN, EINTR) only mean: look again.
        unsafe { real::syscall(libc::SYS_futex, word, operation, value, 0, 0, 0) };
    }
}
