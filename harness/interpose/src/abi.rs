//! How the arguments of C functions become Rust values, and Rust's results C's.
//!
//! The pointers that a program hands to a libc function are valid by that function's contract: the caller of `read`
//! vouches for `count` bytes at `buffer`. [`IntoRust::into_rust`] is the one place where we take it at its word; from there
//! on [`In`] and [`Out`] are ordinary values.

use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_void};

use halfopen_core::Errno;

/// Memory of the program that a call reads: null, or as many `T` as the call's contract says.
pub(crate) struct In<T>(*const T);

/// Memory of the program that a call writes (and may read): null, or as many `T` as the call's contract says.
pub(crate) struct Out<T>(*mut T);

impl<T> Clone for In<T> {
    fn clone(&self) -> In<T> {
        *self
    }
}
impl<T> Copy for In<T> {}
impl<T> Clone for Out<T> {
    fn clone(&self) -> Out<T> {
        *self
    }
}
impl<T> Copy for Out<T> {}

impl<T> In<T> {
    /// # Safety
    /// For the duration of the call that it belongs to, `address` is null or points to as many readable `T` as the
    /// call's contract says.
    pub(crate) unsafe fn new(address: usize) -> In<T> {
        In(address as *const T)
    }

    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    pub(crate) fn pointer(self) -> *const T {
        self.0
    }
}

impl<T: Copy> In<T> {
    /// The value, or EFAULT for null.
    pub(crate) fn read(self) -> Result<T, Errno> {
        self.optional().ok_or(Errno::EFAULT)
    }

    /// The value, if there is one.
    pub(crate) fn optional(self) -> Option<T> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: not null, so readable by the contract of `In`; C does not promise alignment here.
        Some(unsafe { self.0.read_unaligned() })
    }

    /// The first `len` values; EFAULT for null (unless `len` is 0).
    pub(crate) fn slice(&self, len: usize) -> Result<&[T], Errno> {
        if len == 0 {
            return Ok(&[]);
        }
        if self.0.is_null() {
            return Err(Errno::EFAULT);
        }
        // SAFETY: not null, so `len` values are readable by the contract of `In`, and the program leaves them alone
        // until its call returns. Arrays are aligned in C as in Rust.
        Ok(unsafe { std::slice::from_raw_parts(self.0, len) })
    }
}

impl In<c_char> {
    /// The text up to its NUL; EFAULT for null.
    pub(crate) fn text(&self) -> Result<&CStr, Errno> {
        if self.0.is_null() {
            return Err(Errno::EFAULT);
        }
        // SAFETY: not null, so a NUL-terminated string by the contract of the call.
        Ok(unsafe { CStr::from_ptr(self.0) })
    }

    /// The text as UTF-8; EINVAL if it is not.
    pub(crate) fn str(&self) -> Result<&str, Errno> {
        self.text()?.to_str().map_err(|_| Errno::EINVAL)
    }
}

impl<T> Out<T> {
    /// # Safety
    /// For the duration of the call that it belongs to, `address` is null or points to as many writable `T` as the
    /// call's contract says.
    pub(crate) unsafe fn new(address: usize) -> Out<T> {
        Out(address as *mut T)
    }

    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    pub(crate) fn address(self) -> usize {
        self.0 as usize
    }

    pub(crate) fn pointer(self) -> *mut T {
        self.0
    }

    /// The same memory, to be read.
    pub(crate) fn to_in(self) -> In<T> {
        In(self.0)
    }
}

impl<T: Copy> Out<T> {
    /// Stores the value, or EFAULT for null.
    pub(crate) fn write(self, value: T) -> Result<(), Errno> {
        if self.0.is_null() {
            return Err(Errno::EFAULT);
        }
        self.put(value);
        Ok(())
    }

    /// Stores the value unless the program did not ask for it (null).
    pub(crate) fn put(self, value: T) {
        if !self.0.is_null() {
            // SAFETY: not null, so writable by the contract of `Out`; C does not promise alignment here.
            unsafe { self.0.write_unaligned(value) }
        }
    }

    /// The value that is there now, or EFAULT for null.
    pub(crate) fn read(self) -> Result<T, Errno> {
        self.to_in().read()
    }

    /// The first `len` values; EFAULT for null (unless `len` is 0).
    pub(crate) fn slice(&mut self, len: usize) -> Result<&mut [T], Errno> {
        if len == 0 {
            return Ok(&mut []);
        }
        if self.0.is_null() {
            return Err(Errno::EFAULT);
        }
        // SAFETY: not null, so `len` values are ours to write by the contract of `Out` until the call returns. They
        // may be uninitialised; all `T` used here are plain integers and structs of them, and are written before read.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.0, len) })
    }
}

/// An argument of a C function, and what it is for us.
pub(crate) trait IntoRust: Copy {
    type Value;
    /// # Safety
    /// Pointers keep the promise of [`In::new`] and [`Out::new`].
    unsafe fn into_rust(self) -> Self::Value;
}

macro_rules! as_it_is {
    ($($type:ty)*) => { $(impl IntoRust for $type {
        type Value = $type;
        unsafe fn into_rust(self) -> $type {
            self
        }
    })* };
}
as_it_is!(c_int c_uint c_long usize isize u64 u16 StartRoutine OnceRoutine);

impl<T> IntoRust for *const T {
    type Value = In<T>;
    unsafe fn into_rust(self) -> In<T> {
        In(self)
    }
}

impl<T> IntoRust for *mut T {
    type Value = Out<T>;
    unsafe fn into_rust(self) -> Out<T> {
        Out(self)
    }
}

/// What `pthread_create` runs.
pub(crate) type StartRoutine = extern "C" fn(*mut c_void) -> *mut c_void;

/// What `pthread_once` runs.
pub(crate) type OnceRoutine = extern "C" fn();

/// A result, as the C function that returns `R` tells it.
pub(crate) trait Answer<R> {
    fn into_c(self) -> R;
}

/// Sets `errno`.
pub(crate) fn set_errno(errno: Errno) {
    // SAFETY: glibc says where the calling thread's errno is; it is always valid.
    unsafe { *libc::__errno_location() = errno.0 }
}

/// The calling thread's `errno`.
pub(crate) fn errno() -> Errno {
    // SAFETY: as above.
    Errno(unsafe { *libc::__errno_location() })
}

macro_rules! minus_one_and_errno {
    ($($ok:ty => $c:ty),*) => { $(impl Answer<$c> for Result<$ok, Errno> {
        fn into_c(self) -> $c {
            match self {
                Ok(value) => value as $c,
                Err(errno) => {
                    set_errno(errno);
                    -1
                }
            }
        }
    })* };
}
minus_one_and_errno!(c_int => c_int, usize => c_int, usize => isize, c_long => c_long, isize => c_long);

impl Answer<c_int> for Result<(), Errno> {
    fn into_c(self) -> c_int {
        self.map(|()| 0).into_c()
    }
}

/// A function that returns its error number itself (pthread_*, clock_nanosleep).
pub(crate) struct Code(pub(crate) Result<(), Errno>);

impl Answer<c_int> for Code {
    fn into_c(self) -> c_int {
        self.0.map_or_else(|errno| errno.0, |()| 0)
    }
}

/// A value that is the answer as it is.
pub(crate) struct Direct<T>(pub(crate) T);

impl<T> Answer<T> for Direct<T> {
    fn into_c(self) -> T {
        self.0
    }
}

/// A function that returns nothing.
impl Answer<()> for () {
    fn into_c(self) {}
}

/// A null pointer with `errno` where the call failed.
impl<T> Answer<*mut T> for Result<*mut T, Errno> {
    fn into_c(self) -> *mut T {
        self.unwrap_or_else(|errno| {
            set_errno(errno);
            std::ptr::null_mut()
        })
    }
}

/// What a function says that this libc does not have.
pub(crate) trait Missing {
    fn missing() -> Self;
}

macro_rules! missing {
    ($($type:ty => $value:expr),*) => { $(impl Missing for $type {
        fn missing() -> $type {
            set_errno(Errno::ENOSYS);
            $value
        }
    })* };
}
missing!(c_int => -1, isize => -1, c_long => -1, c_uint => 0, () => (), usize => 0);

impl<T> Missing for *mut T {
    fn missing() -> *mut T {
        set_errno(Errno::ENOSYS);
        std::ptr::null_mut()
    }
}
