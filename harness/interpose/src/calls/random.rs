//! Entropy: from the host's own seeded stream.

use std::ffi::c_uint;

use halfopen_core::Errno;

use crate::abi::Out;
use crate::calls::kernel;

/// What getentropy(3) gives at most, in bytes.
const GETENTROPY_MAX: usize = 256;

pub(crate) fn getrandom(mut buffer: Out<u8>, len: usize) -> Result<usize, Errno> {
    let bytes = buffer.slice(len)?;
    kernel(|kernel| kernel.getrandom(bytes));
    Ok(len)
}

pub(crate) fn getentropy(buffer: Out<u8>, len: usize) -> Result<(), Errno> {
    if len > GETENTROPY_MAX {
        return Err(Errno::EIO);
    }
    getrandom(buffer, len).map(|_| ())
}

pub(crate) fn arc4random() -> c_uint {
    let mut bytes = [0; 4];
    kernel(|kernel| kernel.getrandom(&mut bytes));
    c_uint::from_le_bytes(bytes)
}

pub(crate) fn arc4random_buf(buffer: Out<u8>, len: usize) {
    // Null with a length is the program's mistake; there is no way to say so here.
    let _ = getrandom(buffer, len);
}

/// Below `bound`, from one draw: the bias is below `bound` / 2^32.
pub(crate) fn arc4random_uniform(bound: c_uint) -> c_uint {
    ((u64::from(arc4random()) * u64::from(bound)) >> 32) as c_uint
}
