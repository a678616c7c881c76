//! What each call does: from C's arguments to the kernel's methods and back, errno by errno.

pub(crate) mod fd;
pub(crate) mod file;
pub(crate) mod identity;
pub(crate) mod poll;
pub(crate) mod random;
pub(crate) mod sockaddr;
pub(crate) mod socket;
pub(crate) mod sync;
pub(crate) mod time;

use std::ffi::c_int;

use halfopen_core::Errno;
use halfopen_kernel::{FD_BASE, Fd, Kernel};

use crate::world::{enter, unsupported};

/// Whether this number belongs to the virtual kernel.
pub(crate) fn is_virtual(fd: c_int) -> bool {
    fd >= FD_BASE
}

/// The descriptor; EBADF for a real one, which the virtual kernel does not know.
pub(crate) fn descriptor(fd: c_int) -> Result<Fd, Errno> {
    if is_virtual(fd) { Ok(Fd(fd)) } else { Err(Errno::EBADF) }
}

/// A system call that does not wait.
pub(crate) fn kernel<R>(f: impl FnOnce(&mut Kernel) -> R) -> R {
    enter(|world| f(&mut world.kernel))
}

/// A call that is not there, and says so.
pub(crate) fn refused(call: &'static str) -> Result<(), Errno> {
    Err(unsupported(call, Errno::ENOSYS))
}
