//! What a process knows of itself and of the machine, and how it would end or beget others.

use std::ffi::{c_int, c_long, c_void};
use std::mem::MaybeUninit;

use halfopen_core::Errno;
use halfopen_core::event::EndReason;
use halfopen_kernel::Fd;
use libc::{pid_t, utsname};

use crate::abi::{Out, errno};
use crate::calls::kernel;
use crate::symbols::real;
use crate::threads;
use crate::world::{in_libc, me, unsupported};

/// The process id of host 0; the others follow. Real numbers would differ from run to run.
const FIRST_PID: pid_t = 1000;

/// The thread id of thread 0. Above all process ids: a run has far fewer hosts.
const FIRST_TID: pid_t = 1_000_000;

pub(crate) fn getpid() -> pid_t {
    FIRST_PID + me().host.index() as pid_t
}

pub(crate) fn getppid() -> pid_t {
    1
}

/// A host's main has the number of its process, as the first thread of a process has on Linux.
pub(crate) fn gettid() -> pid_t {
    if me().main { getpid() } else { FIRST_TID + me().tid.index() as pid_t }
}

/// A process can signal itself only: there is no other in its host.
pub(crate) fn kill(pid: pid_t, signal: c_int) -> Result<(), Errno> {
    if pid != getpid() && pid != 0 {
        return Err(Errno::ESRCH);
    }
    // SAFETY: a signal to this process, as the program asked for.
    match in_libc(|| unsafe { real::kill(real::getpid(), signal) }) {
        0 => Ok(()),
        _ => Err(errno()),
    }
}

/// tgkill and tkill: `tid` must be the calling thread (abort and raise), others cannot be addressed.
pub(crate) fn kill_thread(tid: pid_t, signal: c_int) -> Result<(), Errno> {
    let me = me();
    if tid != gettid() && tid != me.real {
        return Err(unsupported("tgkill to another thread", Errno::ESRCH));
    }
    let signal = signal as usize;
    // SAFETY: a signal to the kernel thread that runs the calling thread, as the program asked for.
    let code = in_libc(|| unsafe {
        real::syscall(libc::SYS_tgkill, real::getpid() as usize, real::gettid() as usize, signal, 0, 0, 0)
    });
    if code == 0 { Ok(()) } else { Err(errno()) }
}

/// `pthread_kill`: as tgkill, `thread` must be the calling thread. (A handler on another would run without the baton.)
pub(crate) fn kill_pthread(thread: libc::pthread_t, signal: c_int) -> Result<(), Errno> {
    // SAFETY: takes nothing.
    if thread != unsafe { libc::pthread_self() } {
        return Err(unsupported("pthread_kill of another thread", Errno::ESRCH));
    }
    // SAFETY: a signal to the calling thread, as the program asked for.
    match in_libc(|| unsafe { real::pthread_kill(thread, signal) }) {
        0 => Ok(()),
        code => Err(Errno(code)),
    }
}

/// EPIPE comes with SIGPIPE to the thread that wrote (pipe(7), send(2)), if the program handles it. By default it would
/// end the process, and with it every other host: then EPIPE is all.
pub(crate) fn signal_broken_pipe(fd: Fd, written: Result<usize, Errno>) -> Result<usize, Errno> {
    if written == Err(Errno::EPIPE) && kernel(|kernel| kernel.signals_broken_pipe(fd)) && handles(libc::SIGPIPE) {
        let _ = kill_thread(gettid(), libc::SIGPIPE);
    }
    written
}

/// Whether the program has a handler for this signal.
fn handles(signal: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: asks only; `action` has room for the answer, and is read only if there is one.
    in_libc(|| unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && !matches!(action.assume_init().sa_sigaction, libc::SIG_DFL | libc::SIG_IGN)
    })
}

fn host_name() -> String {
    kernel(|kernel| kernel.host_name(me().host).to_owned())
}

pub(crate) fn gethostname(mut name: Out<u8>, len: usize) -> Result<(), Errno> {
    let own = host_name();
    let room = name.slice(len)?;
    fill(room, own.as_bytes());
    if own.len() < len { Ok(()) } else { Err(Errno(libc::ENAMETOOLONG)) }
}

/// As much of `text` as fits, with a NUL if one fits.
fn fill(room: &mut [u8], text: &[u8]) {
    let len = text.len().min(room.len());
    room[..len].copy_from_slice(&text[..len]);
    if let Some(end) = room.get_mut(len) {
        *end = 0;
    }
}

/// Fixed names: the machine's own would differ from machine to machine.
pub(crate) fn uname(names: Out<utsname>) -> Result<(), Errno> {
    let machine = if cfg!(target_arch = "x86_64") { "x86_64" } else { "aarch64" };
    let host = host_name();
    let fields = [b"Linux".as_slice(), host.as_bytes(), b"6.12.0", b"#1 SMP", machine.as_bytes(), b"(none)"];
    const FIELD: usize = 65;
    assert_eq!(size_of::<utsname>(), FIELD * fields.len(), "utsname is six fields of 65 bytes");
    let mut bytes = [0u8; FIELD * 6];
    for (room, text) in bytes.chunks_mut(FIELD).zip(fields) {
        fill(&mut room[..FIELD - 1], text);
    }
    // SAFETY: utsname is made of arrays of characters, of the same size as `bytes`.
    names.write(unsafe { std::mem::transmute::<[u8; FIELD * 6], utsname>(bytes) })
}

pub(crate) fn is_cpu_count(name: c_int) -> bool {
    name == libc::_SC_NPROCESSORS_ONLN || name == libc::_SC_NPROCESSORS_CONF
}

pub(crate) fn cpus() -> c_int {
    kernel(|kernel| kernel.cpus()) as c_int
}

pub(crate) fn cpus_long() -> c_long {
    c_long::from(cpus())
}

/// The mask of the processors that the scenario has.
pub(crate) fn sched_getaffinity(len: usize, mask: Out<u8>) -> Result<(), Errno> {
    affinity(len, mask).map(|_| ())
}

/// The same; says how many bytes of the mask the kernel has, as the system call does.
pub(crate) fn affinity(len: usize, mut mask: Out<u8>) -> Result<usize, Errno> {
    const WORD: usize = 8;
    let cpus = cpus() as usize;
    if !len.is_multiple_of(WORD) || len * 8 < cpus {
        return Err(Errno::EINVAL);
    }
    let bytes = mask.slice(len)?;
    bytes.fill(0);
    for cpu in 0..cpus {
        bytes[cpu / 8] |= 1 << (cpu % 8);
    }
    Ok(len.min(cpus.div_ceil(64) * WORD))
}

/// A program that ends its process ends the run: nobody outside of it would go on.
pub(crate) fn exit(function: &'static str, status: c_int) -> ! {
    kernel(|kernel| {
        let message = format!("host `{}` called {function}({status})", kernel.host_name(me().host));
        kernel.end(EndReason::Aborted { message });
    });
    threads::hand_over_for_ever()
}

/// The same for the table of symbols, where C has no word for "does not return".
pub(crate) fn exit_of(function: &'static str, status: c_int) {
    exit(function, status)
}

pub(crate) fn no_process(call: &'static str) -> Result<c_int, Errno> {
    Err(unsupported(call, Errno::EPERM))
}

pub(crate) fn no_process_stream(call: &'static str) -> Result<*mut c_void, Errno> {
    Err(unsupported(call, Errno::EPERM))
}

pub(crate) fn no_spawn(call: &'static str) -> Result<(), Errno> {
    Err(unsupported(call, Errno::EPERM))
}
