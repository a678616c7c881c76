//! Files: the few that programs must find different from the machine's own, and what `fstat` says of virtual
//! descriptors.

use std::ffi::{c_char, c_int, c_void};
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{FromRawFd, IntoRawFd};

use halfopen_core::Errno;
use libc::{stat, stat64};

use crate::abi::{In, IntoRust, Out, errno};
use crate::calls::{descriptor, kernel};
use crate::world::{in_libc, me};

/// The files whose contents are entropy.
const RANDOM: [&str; 2] = ["/dev/urandom", "/dev/random"];

/// What fstat says of the size of a block.
const BLOCK_BYTES: i64 = 4096;

/// Whether opening this path gives something else than the machine's own file. Only reading does: what a program
/// writes goes to the real file system.
pub(crate) fn is_special(path: *const c_char, flags: c_int) -> bool {
    // SAFETY: the caller of `open` vouches for its path.
    let path = unsafe { path.into_rust() };
    flags & libc::O_ACCMODE == libc::O_RDONLY
        && path.str().is_ok_and(|path| RANDOM.contains(&path) || content(path).is_some())
}

/// The access that a mode of `fopen` asks for.
pub(crate) fn open_flags(mode: *const c_char) -> c_int {
    // SAFETY: the caller of `fopen` vouches for its mode.
    let mode = unsafe { mode.into_rust() };
    let reads_only = mode.str().is_ok_and(|mode| mode.starts_with('r') && !mode.contains('+'));
    if reads_only { libc::O_RDONLY } else { libc::O_RDWR }
}

fn content(path: &str) -> Option<Vec<u8>> {
    if !path.starts_with("/etc/") && !path.starts_with("/proc/") && !path.starts_with("/sys/") {
        return None;
    }
    kernel(|kernel| kernel.virtual_file(me().host, path))
}

pub(crate) fn open(path: In<c_char>, flags: c_int) -> Result<c_int, Errno> {
    let path = path.str()?;
    if RANDOM.contains(&path) {
        return kernel(|kernel| kernel.open_random(flags & libc::O_CLOEXEC != 0)).map(|fd| fd.0);
    }
    let content = content(path).ok_or(Errno::ENOENT)?;
    in_libc(|| memory_file(&content, flags & libc::O_CLOEXEC != 0))
}

/// A real file in memory with this content, so that everything one can do with a file works on it.
fn memory_file(content: &[u8], close_on_exec: bool) -> Result<c_int, Errno> {
    let flags = if close_on_exec { libc::MFD_CLOEXEC } else { 0 };
    // SAFETY: the name is NUL-terminated.
    let fd = unsafe { libc::memfd_create(c"halfopen".as_ptr(), flags) };
    if fd < 0 {
        return Err(errno());
    }
    // SAFETY: just made, and nobody else's.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(content).and_then(|()| file.rewind()).map_err(|_| Errno::EIO)?;
    Ok(file.into_raw_fd())
}

/// `fopen` of one of these files. Only reading gets here.
pub(crate) fn fopen(path: In<c_char>, mode: In<c_char>) -> Result<*mut c_void, Errno> {
    let fd = open(path, libc::O_CLOEXEC)?;
    // SAFETY: the mode is the program's own string; the descriptor is ours to give away.
    let file = in_libc(|| unsafe { libc::fdopen(fd, mode.pointer()) });
    if file.is_null() { Err(errno()) } else { Ok(file.cast()) }
}

/// What every kind of virtual file says: its mode and a number that stands for itself.
fn describe(fd: c_int) -> Result<(u32, u64), Errno> {
    let fd = descriptor(fd)?;
    Ok((kernel(|kernel| kernel.file_mode(fd))?, fd.0 as u64))
}

pub(crate) fn fstat(fd: c_int, status: Out<stat>) -> Result<(), Errno> {
    let (mode, number) = describe(fd)?;
    // SAFETY: all zeroes is a valid stat.
    let mut answer: stat = unsafe { std::mem::zeroed() };
    answer.st_mode = mode;
    answer.st_ino = number;
    answer.st_nlink = 1;
    answer.st_blksize = BLOCK_BYTES as _;
    status.write(answer)
}

pub(crate) fn fstat64(fd: c_int, status: Out<stat64>) -> Result<(), Errno> {
    let (mode, number) = describe(fd)?;
    // SAFETY: all zeroes is a valid stat64.
    let mut answer: stat64 = unsafe { std::mem::zeroed() };
    answer.st_mode = mode;
    answer.st_ino = number;
    answer.st_nlink = 1;
    answer.st_blksize = BLOCK_BYTES as _;
    status.write(answer)
}

pub(crate) fn statx(fd: c_int, status: Out<libc::statx>) -> Result<(), Errno> {
    let (mode, number) = describe(fd)?;
    // SAFETY: all zeroes is a valid statx.
    let mut answer: libc::statx = unsafe { std::mem::zeroed() };
    answer.stx_mask = libc::STATX_TYPE | libc::STATX_MODE | libc::STATX_INO | libc::STATX_NLINK | libc::STATX_SIZE;
    answer.stx_mode = mode as u16;
    answer.stx_ino = number;
    answer.stx_nlink = 1;
    answer.stx_blksize = BLOCK_BYTES as u32;
    status.write(answer)
}
