//! SIGSYS: a system call that the filter caught.

use std::borrow::Cow;
use std::ffi::{c_int, c_long, c_void};

use halfopen_core::Errno;
use libc::{siginfo_t, ucontext_t};

use crate::abi::{errno, set_errno};
use crate::dispatch::{self, Arguments, Served};
use crate::symbols::real;
use crate::world::{self, in_libc, unsupported};

/// Installs the handler, for the whole process.
pub(crate) fn listen() {
    // SAFETY: all zeroes is a valid sigaction; the handler has the signature that goes with SA_SIGINFO. SA_NODEFER: a
    // call that it serves may wait, and meanwhile the thread's next one must be caught as well.
    let code = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_sigsys as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
        libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut())
    };
    assert_eq!(code, 0, "SIGSYS can be handled");
}

/// The registers of a system call.
struct Registers<'a>(&'a mut ucontext_t);

#[cfg(target_arch = "x86_64")]
impl Registers<'_> {
    fn number(&self) -> c_long {
        self.0.uc_mcontext.gregs[libc::REG_RAX as usize]
    }

    fn arguments(&self) -> Arguments {
        let order = [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX, libc::REG_R10, libc::REG_R8, libc::REG_R9];
        order.map(|register| self.0.uc_mcontext.gregs[register as usize] as usize)
    }

    fn answer(&mut self, value: isize) {
        self.0.uc_mcontext.gregs[libc::REG_RAX as usize] = value as i64;
    }
}

#[cfg(target_arch = "aarch64")]
impl Registers<'_> {
    fn number(&self) -> c_long {
        self.0.uc_mcontext.regs[8] as c_long
    }

    fn arguments(&self) -> Arguments {
        std::array::from_fn(|index| self.0.uc_mcontext.regs[index] as usize)
    }

    fn answer(&mut self, value: isize) {
        self.0.uc_mcontext.regs[0] = value as u64;
    }
}

unsafe extern "C" fn on_sigsys(_: c_int, _: *mut siginfo_t, context: *mut c_void) {
    let errno_before = errno();
    // SAFETY: with SA_SIGINFO the third argument is the interrupted thread's context, ours until we return.
    let mut registers = Registers(unsafe { &mut *context.cast() });
    let (number, arguments) = (registers.number(), registers.arguments());
    // Our own code on a simulated thread gets no entropy and no sockets; those who ask know what to do without.
    let result = if world::intercepts() { serve(number, arguments) } else { Err(Errno::ENOSYS) };
    registers.answer(match result {
        Ok(value) => value as isize,
        Err(errno) => -(errno.0 as isize),
    });
    set_errno(errno_before);
}

fn serve(number: c_long, arguments: Arguments) -> Result<usize, Errno> {
    match dispatch::serve(number, arguments) {
        Served::Answer(result) => result,
        // Caught only because of where it came from: it can be made from libc's text. (`openat` of a real file.)
        Served::Real if is_harmless(number) => again(number, arguments),
        Served::Real => Err(unsupported(Cow::Owned(format!("system call {number}")), Errno::ENOSYS)),
    }
}

/// Calls that the filter catches in case they belong to the virtual kernel, and that may as well not.
fn is_harmless(number: c_long) -> bool {
    #[cfg(target_arch = "x86_64")]
    if number == libc::SYS_open {
        return true;
    }
    number == libc::SYS_openat
}

fn again(number: c_long, [a, b, c, d, e, f]: Arguments) -> Result<usize, Errno> {
    // SAFETY: the program's own system call with its own arguments.
    match in_libc(|| unsafe { real::syscall(number, a, b, c, d, e, f) }) {
        -1 => Err(errno()),
        value => Ok(value as usize),
    }
}
