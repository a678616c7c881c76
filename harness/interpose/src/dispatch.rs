//! The same calls by system call number: for programs that use `syscall(2)` (std's futexes do) and for system call
//! instructions that the traps caught.

use std::ffi::{c_char, c_int, c_long, c_uint};

use halfopen_core::Errno;

use crate::abi::{In, Out, errno};
use crate::calls::sync::Futex;
use crate::calls::{fd, file, identity, is_virtual, poll, random, refused, socket, sync, time};
use crate::symbols::real;
use crate::world::{in_libc, unsupported};

/// The six arguments of a system call.
pub(crate) type Arguments = [usize; 6];

/// What became of a system call.
pub(crate) enum Served {
    /// The virtual kernel answered.
    Answer(Result<usize, Errno>),
    /// It is none of the virtual kernel's business.
    Real,
}

/// What libc's `syscall` does, on a simulated thread.
pub(crate) fn syscall(number: c_long, arguments: Arguments) -> Result<isize, Errno> {
    match serve(number, arguments) {
        Served::Answer(result) => result.map(|value| value as isize),
        Served::Real => {
            let [a, b, c, d, e, f] = arguments;
            // SAFETY: the program's own system call with its own arguments.
            match in_libc(|| unsafe { real::syscall(number, a, b, c, d, e, f) }) {
                -1 => Err(errno()),
                value => Ok(value as isize),
            }
        }
    }
}

/// An argument of any type of C's.
trait Argument: Copy {
    fn of(word: usize) -> Self;
}

macro_rules! argument {
    ($($type:ty)*) => { $(impl Argument for $type {
        fn of(word: usize) -> $type {
            word as $type
        }
    })* };
}
argument!(c_int c_uint usize u64);

impl<T> Argument for In<T> {
    fn of(word: usize) -> In<T> {
        // SAFETY: whoever makes a system call vouches for the memory that it names, as with the C function.
        unsafe { In::new(word) }
    }
}

impl<T> Argument for Out<T> {
    fn of(word: usize) -> Out<T> {
        // SAFETY: as above.
        unsafe { Out::new(word) }
    }
}

/// Results as a system call returns them.
trait Word {
    fn word(self) -> Result<usize, Errno>;
}

impl Word for Result<(), Errno> {
    fn word(self) -> Result<usize, Errno> {
        self.map(|()| 0)
    }
}

impl Word for Result<c_int, Errno> {
    fn word(self) -> Result<usize, Errno> {
        self.map(|value| value as usize)
    }
}

impl Word for Result<usize, Errno> {
    fn word(self) -> Result<usize, Errno> {
        self
    }
}

impl Word for c_int {
    fn word(self) -> Result<usize, Errno> {
        Ok(self as usize)
    }
}

/// Calls `function` with the first so many words, each as the type that the function takes.
macro_rules! call {
    ($words:expr, $function:path, $($index:literal)*) => {
        $function($(Argument::of($words[$index])),*).word()
    };
}

/// Serves a system call if it belongs to the virtual kernel.
pub(crate) fn serve(number: c_long, w: Arguments) -> Served {
    let answer = by_descriptor(number, w)
        .or_else(|| sockets(number, w))
        .or_else(|| waiting(number, w))
        .or_else(|| time_and_entropy(number, w))
        .or_else(|| process(number, w))
        .or_else(|| older(number, w));
    answer.map_or(Served::Real, Served::Answer)
}

/// Calls that belong to the virtual kernel if their descriptor does.
fn by_descriptor(number: c_long, w: Arguments) -> Option<Result<usize, Errno>> {
    let fd = w[0] as c_int;
    if number == libc::SYS_openat {
        let (path, flags) = (w[1] as *const c_char, w[2] as c_int);
        return file::is_special(path, flags).then(|| call!(w, file::open, 1 2));
    }
    if !is_virtual(fd) {
        return None;
    }
    Some(match number {
        libc::SYS_close => call!(w, fd::close, 0),
        libc::SYS_read => call!(w, fd::read, 0 1 2),
        libc::SYS_write => call!(w, fd::write, 0 1 2),
        libc::SYS_readv => call!(w, fd::readv, 0 1 2),
        libc::SYS_writev => call!(w, fd::writev, 0 1 2),
        libc::SYS_pread64 | libc::SYS_pwrite64 | libc::SYS_preadv | libc::SYS_pwritev => call!(w, fd::no_seek, 0),
        libc::SYS_lseek => call!(w, fd::no_seek, 0),
        libc::SYS_dup => call!(w, fd::dup, 0),
        libc::SYS_dup3 => call!(w, fd::dup3, 0 1 2),
        libc::SYS_fcntl => call!(w, fd::fcntl, 0 1 2),
        libc::SYS_ioctl => call!(w, fd::ioctl, 0 1 2),
        libc::SYS_fsync | libc::SYS_fdatasync => call!(w, fd::no_sync, 0),
        libc::SYS_sendfile | libc::SYS_splice | libc::SYS_copy_file_range => fd::no_splice(),
        libc::SYS_fstat => call!(w, file::fstat, 0 1),
        libc::SYS_newfstatat => call!(w, file::fstat, 0 2),
        libc::SYS_statx => call!(w, file::statx, 0 4),
        libc::SYS_timerfd_settime => call!(w, fd::timerfd_settime, 0 1 2 3),
        libc::SYS_timerfd_gettime => call!(w, fd::timerfd_gettime, 0 1),
        _ => return None,
    })
}

fn sockets(number: c_long, w: Arguments) -> Option<Result<usize, Errno>> {
    let accept = |s, address, len| socket::accept4(s, address, len, 0);
    Some(match number {
        libc::SYS_socket => call!(w, socket::socket, 0 1 2),
        libc::SYS_socketpair => call!(w, socket::socketpair, 0 1 2 3),
        libc::SYS_bind => call!(w, socket::bind, 0 1 2),
        libc::SYS_listen => call!(w, socket::listen, 0 1),
        libc::SYS_connect => call!(w, socket::connect, 0 1 2),
        libc::SYS_accept => call!(w, accept, 0 1 2),
        libc::SYS_accept4 => call!(w, socket::accept4, 0 1 2 3),
        libc::SYS_sendto => call!(w, socket::sendto, 0 1 2 3 4 5),
        libc::SYS_sendmsg => call!(w, socket::sendmsg, 0 1 2),
        libc::SYS_sendmmsg => call!(w, socket::sendmmsg, 0 1 2 3),
        libc::SYS_recvfrom => call!(w, socket::recvfrom, 0 1 2 3 4 5),
        libc::SYS_recvmsg => call!(w, socket::recvmsg, 0 1 2),
        libc::SYS_recvmmsg => call!(w, socket::recvmmsg, 0 1 2 3 4),
        libc::SYS_shutdown => call!(w, socket::shutdown, 0 1),
        libc::SYS_getsockname => call!(w, socket::getsockname, 0 1 2),
        libc::SYS_getpeername => call!(w, socket::getpeername, 0 1 2),
        libc::SYS_setsockopt => call!(w, socket::setsockopt, 0 1 2 3 4),
        libc::SYS_getsockopt => call!(w, socket::getsockopt, 0 1 2 3 4),
        libc::SYS_io_uring_setup => refused("io_uring_setup").word(),
        libc::SYS_io_uring_enter | libc::SYS_io_uring_register => Err(Errno::EBADF),
        _ => return None,
    })
}

fn waiting(number: c_long, w: Arguments) -> Option<Result<usize, Errno>> {
    Some(match number {
        libc::SYS_futex => {
            let futex = Futex {
                word: Argument::of(w[0]),
                operation: Argument::of(w[1]),
                value: Argument::of(w[2]),
                timeout: w[3],
                second: Argument::of(w[4]),
                value3: Argument::of(w[5]),
            };
            sync::futex(futex)
        }
        libc::SYS_ppoll => call!(w, poll::ppoll, 0 1 2),
        libc::SYS_pselect6 => call!(w, poll::pselect, 0 1 2 3 4),
        libc::SYS_epoll_create1 => call!(w, poll::epoll_create1, 0),
        libc::SYS_epoll_ctl => call!(w, poll::epoll_ctl, 0 1 2 3),
        libc::SYS_epoll_pwait => call!(w, poll::epoll_wait, 0 1 2 3),
        libc::SYS_epoll_pwait2 => call!(w, poll::epoll_pwait2, 0 1 2 3),
        libc::SYS_eventfd2 => call!(w, fd::eventfd, 0 1),
        libc::SYS_timerfd_create => call!(w, fd::timerfd_create, 0 1),
        libc::SYS_pipe2 => call!(w, fd::pipe2, 0 1),
        libc::SYS_sched_yield => sync::sched_yield().word(),
        _ => return None,
    })
}

fn time_and_entropy(number: c_long, w: Arguments) -> Option<Result<usize, Errno>> {
    Some(match number {
        libc::SYS_clock_gettime => call!(w, time::clock_gettime, 0 1),
        libc::SYS_clock_getres => call!(w, time::clock_getres, 0 1),
        libc::SYS_gettimeofday => call!(w, time::gettimeofday, 0),
        libc::SYS_nanosleep => call!(w, time::nanosleep, 0),
        libc::SYS_clock_nanosleep => call!(w, time::clock_nanosleep, 0 1 2),
        libc::SYS_getrandom => call!(w, random::getrandom, 0 1),
        libc::SYS_timer_create => refused("timer_create").word(),
        libc::SYS_setitimer => refused("setitimer").word(),
        _ => return None,
    })
}

fn process(number: c_long, w: Arguments) -> Option<Result<usize, Errno>> {
    Some(match number {
        libc::SYS_getpid => identity::getpid().word(),
        libc::SYS_getppid => identity::getppid().word(),
        libc::SYS_gettid => identity::gettid().word(),
        libc::SYS_kill => call!(w, identity::kill, 0 1),
        libc::SYS_tgkill => call!(w, identity::kill_thread, 1 2),
        libc::SYS_tkill => call!(w, identity::kill_thread, 0 1),
        libc::SYS_uname => call!(w, identity::uname, 0),
        libc::SYS_sched_getaffinity => call!(w, identity::affinity, 1 2),
        libc::SYS_exit_group => identity::exit("exit_group", w[0] as c_int),
        // Not through libc's pthread_create, so nobody would know of the thread; or another process.
        libc::SYS_clone | libc::SYS_clone3 => Err(unsupported("clone", Errno::EPERM)),
        libc::SYS_execve | libc::SYS_execveat => identity::no_process("execve").word(),
        _ => return None,
    })
}

/// Calls that x86-64 has kept from before there were better ones.
#[cfg(target_arch = "x86_64")]
fn older(number: c_long, w: Arguments) -> Option<Result<usize, Errno>> {
    let eventfd = |initial| fd::eventfd(initial, 0);
    let pipe = |ends| fd::pipe2(ends, 0);
    let time = |now| Ok::<usize, Errno>(time::time(now) as usize);
    Some(match number {
        libc::SYS_poll => call!(w, poll::poll, 0 1 2),
        libc::SYS_select => call!(w, poll::select, 0 1 2 3 4),
        libc::SYS_epoll_create => call!(w, poll::epoll_create, 0),
        libc::SYS_epoll_wait => call!(w, poll::epoll_wait, 0 1 2 3),
        libc::SYS_eventfd => call!(w, eventfd, 0),
        libc::SYS_pipe => call!(w, pipe, 0),
        libc::SYS_time => call!(w, time, 0),
        libc::SYS_dup2 if is_virtual(w[0] as c_int) || is_virtual(w[1] as c_int) => call!(w, fd::dup2, 0 1),
        libc::SYS_alarm => refused("alarm").word(),
        libc::SYS_open if file::is_special(w[0] as *const c_char, w[1] as c_int) => call!(w, file::open, 0 1),
        libc::SYS_fork | libc::SYS_vfork => identity::no_process("fork").word(),
        _ => return None,
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn older(_: c_long, _: Arguments) -> Option<Result<usize, Errno>> {
    None
}
