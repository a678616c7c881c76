//! One processor for a thread that is made and for the one that waits until it is aboard.
//!
//! A new thread does nothing but come aboard, and its maker waits for that. On two processors each would wake the other
//! from idleness, which costs many times what there is to do; on one, the maker steps aside for a moment.

use crate::symbols::real;

/// Room for the processors of the largest machines (Linux NR_CPUS_RANGE_END on x86-64).
const PROCESSORS_MAX: usize = 8192;

/// A set of processors, as the kernel takes it.
type Set = [usize; PROCESSORS_MAX / usize::BITS as usize];

/// While this lives, the calling kernel thread stays on the processor where it is; threads that it makes stay there for
/// good. Where that is refused, all is as it was.
pub(crate) struct OneProcessor {
    before: Option<Set>,
}

impl OneProcessor {
    pub(super) fn none() -> OneProcessor {
        OneProcessor { before: None }
    }

    pub(super) fn hold() -> OneProcessor {
        let mut number: u32 = 0;
        let mut before: Set = [0; _];
        // SAFETY: a number and a set of ours, of the size that is told; the kernel writes within them.
        let asked = unsafe {
            real::syscall(libc::SYS_getcpu, &raw mut number as usize, 0, 0, 0, 0, 0) == 0
                && real::syscall(libc::SYS_sched_getaffinity, 0, size_of::<Set>(), &raw mut before as usize, 0, 0, 0)
                    > 0
        };
        let number = number as usize;
        if !asked || number >= PROCESSORS_MAX {
            return OneProcessor::none();
        }
        let mut only: Set = [0; _];
        only[number / usize::BITS as usize] = 1 << (number % usize::BITS as usize);
        OneProcessor { before: allow(&only).then_some(before) }
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            allow(before);
        }
    }
}

/// Lets the calling kernel thread run on these processors only.
fn allow(processors: &Set) -> bool {
    let set = processors.as_ptr() as usize;
    // SAFETY: the kernel reads a set of the size that is told.
    unsafe { real::syscall(libc::SYS_sched_setaffinity, 0, size_of::<Set>(), set, 0, 0, 0) == 0 }
}
