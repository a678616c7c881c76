//! libc's own functions, behind ours.

use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

/// One function of libc, looked up at its first use: `dlsym(RTLD_NEXT)` finds what comes after this program's own
/// symbol of the same name. Two threads that look it up at once find the same.
pub(crate) struct Slot {
    name: &'static CStr,
    address: AtomicUsize,
}

/// Looked up, and not there.
const ABSENT: usize = usize::MAX;

impl Slot {
    pub(crate) const fn new(name: &'static CStr) -> Slot {
        Slot { name, address: AtomicUsize::new(0) }
    }

    /// Where the function is; `None` if this libc does not have it.
    pub(crate) fn get(&self) -> Option<*const c_void> {
        let known = match self.address.load(Ordering::Relaxed) {
            0 => self.look_up(),
            known => known,
        };
        (known != ABSENT).then_some(known as *const c_void)
    }

    #[cold]
    fn look_up(&self) -> usize {
        // SAFETY: the name is NUL-terminated; dlsym keeps nothing of it and calls none of our overrides.
        let mut found = unsafe { versioned(self.name) };
        if found.is_null() {
            // SAFETY: as above.
            found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        }
        let address = if found.is_null() { ABSENT } else { found as usize };
        self.address.store(address, Ordering::Relaxed);
        address
    }
}

/// glibc on x86-64 keeps two generations of condition variables under one name, and `dlsym` may find the old one
/// (LinuxThreads, GLIBC_2.2.5), which takes the new one's bytes for a pointer.
///
/// # Safety
/// `name` outlives the call, which it does by its type: unsafe only as `dlvsym` is.
#[cfg(target_arch = "x86_64")]
unsafe fn versioned(name: &CStr) -> *mut c_void {
    let is_condition = name.to_bytes().starts_with(b"pthread_cond_") && name.to_bytes() != b"pthread_cond_clockwait";
    if !is_condition {
        return std::ptr::null_mut();
    }
    // SAFETY: both names are NUL-terminated.
    unsafe { libc::dlvsym(libc::RTLD_NEXT, name.as_ptr(), c"GLIBC_2.3.2".as_ptr()) }
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn versioned(_: &CStr) -> *mut c_void {
    std::ptr::null_mut()
}
