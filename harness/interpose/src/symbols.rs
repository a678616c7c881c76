//! The table of overridden libc functions.
//!
//! Each line is one function with its C signature, `if` a condition beyond "called by simulated code" (mostly: the
//! descriptor is a virtual one), and what serves it. In all other cases libc's own function is called, which is also to
//! be had as `real::NAME`.

use std::ffi::{c_char, c_int, c_long, c_uint, c_void};

use libc::{
    addrinfo, clockid_t, epoll_event, fd_set, hostent, ifaddrs, iovec, itimerspec, mmsghdr, mode_t, msghdr, nfds_t,
    off_t, pid_t, pollfd, pthread_attr_t, pthread_cond_t, pthread_condattr_t, pthread_mutex_t, pthread_once_t,
    pthread_rwlock_t, pthread_t, sem_t, sigset_t, size_t, socklen_t, ssize_t, stack_t, stat, stat64, time_t, timespec,
    timeval, utsname,
};

use crate::abi::{Answer, Code, Direct, IntoRust, Missing, OnceRoutine, StartRoutine};
use crate::calls::{fd, file, identity, poll, random, refused, socket, sync, time};
use crate::{dispatch, resolve, switch, threads, world};

macro_rules! overrides {
    ($(fn $name:ident($($arg:ident: $type:ty),*) -> $ret:ty $(, if $condition:expr)? => $body:expr;)*) => {
        $(
            // Some arguments are there for the condition or the signature only.
            #[allow(unused_variables, non_snake_case)]
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($arg: $type),*) -> $ret {
                if !world::intercepts() $(|| !$condition)? {
                    // SAFETY: the caller's arguments, as they came.
                    return unsafe { real::$name($($arg),*) };
                }
                // SAFETY: the caller keeps the contract of the C function of this name.
                $(let $arg = unsafe { IntoRust::into_rust($arg) };)*
                Answer::<$ret>::into_c($body)
            }
        )*

        /// libc's own functions.
        pub(crate) mod real {
            use super::*;

            $(
                /// # Safety
                /// The contract of the C function of this name.
                #[allow(dead_code, non_snake_case)]
                pub(crate) unsafe fn $name($($arg: $type),*) -> $ret {
                    let Some(function) = slot::$name.get() else {
                        return Missing::missing();
                    };
                    // SAFETY: libc's function of this name has this signature. (Functions with `...` take these
                    // arguments in the same registers on both platforms.)
                    let function: unsafe extern "C" fn($($type),*) -> $ret = unsafe { std::mem::transmute(function) };
                    // SAFETY: the caller keeps the contract.
                    unsafe { function($($arg),*) }
                }
            )*

            /// Where they are.
            #[allow(non_upper_case_globals)]
            mod slot {
                use crate::real::Slot;

                $(
                    pub(super) static $name: Slot = {
                        const NAME: &str = concat!(stringify!($name), "\0");
                        match std::ffi::CStr::from_bytes_with_nul(NAME.as_bytes()) {
                            Ok(name) => Slot::new(name),
                            Err(_) => unreachable!(),
                        }
                    };
                )*

                /// Looks all of them up, so that no signal handler has to.
                pub(super) fn look_all_up() {
                    $($name.get();)*
                }
            }

            pub(super) fn look_all_up() {
                slot::look_all_up();
            }
        }

        /// One of each, so that the linker takes every override into whatever binary contains a run.
        #[used]
        static LINKED: Linked<{ [$(stringify!($name)),*].len() }> = Linked([$($name as *const ()),*]);
    };
}

/// Addresses of functions, which may be shared as all code may.
struct Linked<const N: usize>([*const (); N]);

// SAFETY: the pointers are never followed.
unsafe impl<const N: usize> Sync for Linked<N> {}

/// Makes sure that every override is part of this binary and that libc's own functions are known.
pub(crate) fn link() {
    assert!(std::hint::black_box(&LINKED).0.iter().all(|function| !function.is_null()));
    real::look_all_up();
}

use crate::calls::is_virtual as virt;

overrides! {
    // ---- sockets ----
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int => socket::socket(domain, kind, protocol);
    fn socketpair(domain: c_int, kind: c_int, protocol: c_int, pair: *mut c_int) -> c_int
        => socket::socketpair(domain, kind, protocol, pair);
    fn bind(s: c_int, address: *const u8, len: socklen_t) -> c_int, if virt(s) => socket::bind(s, address, len);
    fn listen(s: c_int, backlog: c_int) -> c_int, if virt(s) => socket::listen(s, backlog);
    fn connect(s: c_int, address: *const u8, len: socklen_t) -> c_int, if virt(s) => socket::connect(s, address, len);
    fn accept(s: c_int, address: *mut u8, len: *mut socklen_t) -> c_int, if virt(s)
        => socket::accept4(s, address, len, 0);
    fn accept4(s: c_int, address: *mut u8, len: *mut socklen_t, flags: c_int) -> c_int, if virt(s)
        => socket::accept4(s, address, len, flags);
    fn send(s: c_int, data: *const u8, len: size_t, flags: c_int) -> ssize_t, if virt(s)
        => socket::send(s, data, len, flags);
    fn sendto(s: c_int, data: *const u8, len: size_t, flags: c_int, to: *const u8, to_len: socklen_t) -> ssize_t,
        if virt(s) => socket::sendto(s, data, len, flags, to, to_len);
    fn sendmsg(s: c_int, message: *const msghdr, flags: c_int) -> ssize_t, if virt(s)
        => socket::sendmsg(s, message, flags);
    fn sendmmsg(s: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int, if virt(s)
        => socket::sendmmsg(s, messages, count, flags);
    fn recv(s: c_int, buffer: *mut u8, len: size_t, flags: c_int) -> ssize_t, if virt(s)
        => socket::recv(s, buffer, len, flags);
    fn __recv_chk(s: c_int, buffer: *mut u8, len: size_t, room: size_t, flags: c_int) -> ssize_t, if virt(s)
        => socket::recv(s, buffer, len.min(room), flags);
    fn recvfrom(s: c_int, buffer: *mut u8, len: size_t, flags: c_int, from: *mut u8, from_len: *mut socklen_t)
        -> ssize_t, if virt(s) => socket::recvfrom(s, buffer, len, flags, from, from_len);
    fn recvmsg(s: c_int, message: *mut msghdr, flags: c_int) -> ssize_t, if virt(s)
        => socket::recvmsg(s, message, flags);
    fn recvmmsg(s: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int, timeout: *mut timespec) -> c_int,
        if virt(s) => socket::recvmmsg(s, messages, count, flags, timeout);
    fn shutdown(s: c_int, how: c_int) -> c_int, if virt(s) => socket::shutdown(s, how);
    fn getsockname(s: c_int, address: *mut u8, len: *mut socklen_t) -> c_int, if virt(s)
        => socket::getsockname(s, address, len);
    fn getpeername(s: c_int, address: *mut u8, len: *mut socklen_t) -> c_int, if virt(s)
        => socket::getpeername(s, address, len);
    fn setsockopt(s: c_int, level: c_int, name: c_int, value: *const u8, len: socklen_t) -> c_int, if virt(s)
        => socket::setsockopt(s, level, name, value, len);
    fn getsockopt(s: c_int, level: c_int, name: c_int, value: *mut u8, len: *mut socklen_t) -> c_int, if virt(s)
        => socket::getsockopt(s, level, name, value, len);

    // ---- descriptors ----
    fn close(f: c_int) -> c_int, if virt(f) => fd::close(f);
    fn read(f: c_int, buffer: *mut u8, len: size_t) -> ssize_t, if virt(f) => fd::read(f, buffer, len);
    fn __read_chk(f: c_int, buffer: *mut u8, len: size_t, room: size_t) -> ssize_t, if virt(f)
        => fd::read(f, buffer, len.min(room));
    fn write(f: c_int, data: *const u8, len: size_t) -> ssize_t, if virt(f) => fd::write(f, data, len);
    fn readv(f: c_int, parts: *const iovec, count: c_int) -> ssize_t, if virt(f) => fd::readv(f, parts, count);
    fn writev(f: c_int, parts: *const iovec, count: c_int) -> ssize_t, if virt(f) => fd::writev(f, parts, count);
    fn pread(f: c_int, _b: *mut u8, _n: size_t, _at: off_t) -> ssize_t, if virt(f) => fd::no_seek(f);
    fn pread64(f: c_int, _b: *mut u8, _n: size_t, _at: off_t) -> ssize_t, if virt(f) => fd::no_seek(f);
    fn pwrite(f: c_int, _b: *const u8, _n: size_t, _at: off_t) -> ssize_t, if virt(f) => fd::no_seek(f);
    fn pwrite64(f: c_int, _b: *const u8, _n: size_t, _at: off_t) -> ssize_t, if virt(f) => fd::no_seek(f);
    fn lseek(f: c_int, _at: off_t, _whence: c_int) -> c_long, if virt(f) => fd::no_seek_long(f);
    fn lseek64(f: c_int, _at: off_t, _whence: c_int) -> c_long, if virt(f) => fd::no_seek_long(f);
    fn dup(f: c_int) -> c_int, if virt(f) => fd::dup(f);
    fn dup2(f: c_int, onto: c_int) -> c_int, if (virt(f) || virt(onto)) => fd::dup2(f, onto);
    fn dup3(f: c_int, onto: c_int, flags: c_int) -> c_int, if (virt(f) || virt(onto)) => fd::dup3(f, onto, flags);
    fn fcntl(f: c_int, command: c_int, argument: usize) -> c_int, if virt(f) => fd::fcntl(f, command, argument);
    fn fcntl64(f: c_int, command: c_int, argument: usize) -> c_int, if virt(f) => fd::fcntl(f, command, argument);
    fn ioctl(f: c_int, request: usize, argument: *mut c_int) -> c_int, if virt(f) => fd::ioctl(f, request, argument);
    fn pipe(ends: *mut c_int) -> c_int => fd::pipe2(ends, 0);
    fn pipe2(ends: *mut c_int, flags: c_int) -> c_int => fd::pipe2(ends, flags);
    fn eventfd(initial: c_uint, flags: c_int) -> c_int => fd::eventfd(initial, flags);
    fn eventfd_read(f: c_int, value: *mut u64) -> c_int, if virt(f) => fd::eventfd_read(f, value);
    fn eventfd_write(f: c_int, value: u64) -> c_int, if virt(f) => fd::eventfd_write(f, value);
    fn timerfd_create(clock: c_int, flags: c_int) -> c_int => fd::timerfd_create(clock, flags);
    fn timerfd_settime(f: c_int, flags: c_int, new: *const itimerspec, old: *mut itimerspec) -> c_int, if virt(f)
        => fd::timerfd_settime(f, flags, new, old);
    fn timerfd_gettime(f: c_int, now: *mut itimerspec) -> c_int, if virt(f) => fd::timerfd_gettime(f, now);
    // std and others copy in user space where these say EINVAL, as Linux does for pairs that it cannot splice.
    fn sendfile(to: c_int, from: c_int, _at: *mut off_t, _n: size_t) -> ssize_t, if (virt(to) || virt(from))
        => fd::no_splice();
    fn sendfile64(to: c_int, from: c_int, _at: *mut off_t, _n: size_t) -> ssize_t, if (virt(to) || virt(from))
        => fd::no_splice();
    fn splice(from: c_int, _a: *mut off_t, to: c_int, _b: *mut off_t, _n: size_t, _flags: c_uint) -> ssize_t,
        if (virt(to) || virt(from)) => fd::no_splice();
    fn copy_file_range(from: c_int, _a: *mut off_t, to: c_int, _b: *mut off_t, _n: size_t, _flags: c_uint) -> ssize_t,
        if (virt(to) || virt(from)) => fd::no_splice();
    fn fsync(f: c_int) -> c_int, if virt(f) => fd::no_sync(f);
    fn fdatasync(f: c_int) -> c_int, if virt(f) => fd::no_sync(f);

    // ---- readiness ----
    fn poll(fds: *mut pollfd, count: nfds_t, timeout_ms: c_int) -> c_int => poll::poll(fds, count, timeout_ms);
    fn __poll_chk(fds: *mut pollfd, count: nfds_t, timeout_ms: c_int, _room: size_t) -> c_int
        => poll::poll(fds, count, timeout_ms);
    fn ppoll(fds: *mut pollfd, count: nfds_t, timeout: *const timespec, _mask: *const sigset_t) -> c_int
        => poll::ppoll(fds, count, timeout);
    fn select(count: c_int, r: *mut fd_set, w: *mut fd_set, e: *mut fd_set, timeout: *mut timeval) -> c_int
        => poll::select(count, r, w, e, timeout);
    fn pselect(count: c_int, r: *mut fd_set, w: *mut fd_set, e: *mut fd_set, timeout: *const timespec,
        _mask: *const sigset_t) -> c_int => poll::pselect(count, r, w, e, timeout);
    fn epoll_create(size: c_int) -> c_int => poll::epoll_create(size);
    fn epoll_create1(flags: c_int) -> c_int => poll::epoll_create1(flags);
    fn epoll_ctl(epoll: c_int, op: c_int, f: c_int, event: *mut epoll_event) -> c_int, if virt(epoll)
        => poll::epoll_ctl(epoll, op, f, event);
    fn epoll_wait(epoll: c_int, events: *mut epoll_event, max: c_int, timeout_ms: c_int) -> c_int, if virt(epoll)
        => poll::epoll_wait(epoll, events, max, timeout_ms);
    fn epoll_pwait(epoll: c_int, events: *mut epoll_event, max: c_int, timeout_ms: c_int, _mask: *const sigset_t)
        -> c_int, if virt(epoll) => poll::epoll_wait(epoll, events, max, timeout_ms);
    fn epoll_pwait2(epoll: c_int, events: *mut epoll_event, max: c_int, timeout: *const timespec,
        _mask: *const sigset_t) -> c_int, if virt(epoll) => poll::epoll_pwait2(epoll, events, max, timeout);

    // ---- time ----
    fn clock_gettime(clock: clockid_t, now: *mut timespec) -> c_int => time::clock_gettime(clock, now);
    fn clock_getres(clock: clockid_t, resolution: *mut timespec) -> c_int => time::clock_getres(clock, resolution);
    fn gettimeofday(now: *mut timeval, _zone: *mut c_void) -> c_int => time::gettimeofday(now);
    fn time(now: *mut time_t) -> time_t => Direct(time::time(now));
    fn nanosleep(span: *const timespec, _left: *mut timespec) -> c_int => time::nanosleep(span);
    fn clock_nanosleep(clock: clockid_t, flags: c_int, at: *const timespec, _left: *mut timespec) -> c_int
        => Code(time::clock_nanosleep(clock, flags, at));
    fn usleep(micros: c_uint) -> c_int => time::usleep(micros);
    fn sleep(seconds: c_uint) -> c_uint => Direct(time::sleep(seconds));
    fn timer_create(_clock: clockid_t, _event: *mut c_void, _timer: *mut c_void) -> c_int => refused("timer_create");
    fn alarm(_seconds: c_uint) -> c_uint => Direct(refused("alarm").map_or(0, |()| 0));
    fn setitimer(_which: c_int, _new: *const c_void, _old: *mut c_void) -> c_int => refused("setitimer");

    fn clock_settime(_clock: clockid_t, _now: *const timespec) -> c_int => time::set("clock_settime");
    fn settimeofday(_now: *const timeval, _zone: *const c_void) -> c_int => time::set("settimeofday");

    // ---- entropy ----
    fn getrandom(buffer: *mut u8, len: size_t, _flags: c_uint) -> ssize_t => random::getrandom(buffer, len);
    fn getentropy(buffer: *mut u8, len: size_t) -> c_int => random::getentropy(buffer, len);
    fn arc4random() -> c_uint => Direct(random::arc4random());
    fn arc4random_buf(buffer: *mut u8, len: size_t) -> () => random::arc4random_buf(buffer, len);
    fn arc4random_uniform(bound: c_uint) -> c_uint => Direct(random::arc4random_uniform(bound));

    // ---- threads ----
    fn pthread_create(handle: *mut pthread_t, attributes: *const pthread_attr_t, routine: StartRoutine,
        argument: *mut c_void) -> c_int => Code(threads::create(handle, attributes, routine, argument));
    fn pthread_join(handle: pthread_t, value: *mut *mut c_void) -> c_int => Code(threads::join(handle, value));
    fn pthread_detach(handle: pthread_t) -> c_int => Code(threads::detach(handle));
    fn pthread_kill(thread: pthread_t, signal: c_int) -> c_int => Code(identity::kill_pthread(thread, signal));
    fn pthread_sigmask(how: c_int, new: *const sigset_t, old: *mut sigset_t) -> c_int, if switch::in_user_space()
        => Code(switch::change_mask(how, new, old));
    fn sigprocmask(how: c_int, new: *const sigset_t, old: *mut sigset_t) -> c_int, if switch::in_user_space()
        => switch::change_mask(how, new, old);
    fn sigaltstack(new: *const stack_t, old: *mut stack_t) -> c_int, if switch::in_user_space()
        => switch::alternate_stack(new, old);
    fn sched_yield() -> c_int => sync::sched_yield();
    fn pthread_yield() -> c_int => sync::sched_yield();

    // ---- locks ----
    fn pthread_mutex_lock(mutex: *mut pthread_mutex_t) -> c_int => Code(sync::mutex_lock(mutex, None));
    fn pthread_mutex_timedlock(mutex: *mut pthread_mutex_t, until: *const timespec) -> c_int
        => Code(sync::mutex_timedlock(mutex, libc::CLOCK_REALTIME, until));
    fn pthread_mutex_clocklock(mutex: *mut pthread_mutex_t, clock: clockid_t, until: *const timespec) -> c_int
        => Code(sync::mutex_timedlock(mutex, clock, until));
    fn pthread_mutex_trylock(mutex: *mut pthread_mutex_t) -> c_int => Code(sync::mutex_trylock(mutex));
    fn pthread_mutex_unlock(mutex: *mut pthread_mutex_t) -> c_int => Code(sync::mutex_unlock(mutex));
    fn pthread_cond_init(condition: *mut pthread_cond_t, attributes: *const pthread_condattr_t) -> c_int
        => Code(sync::condition_init(condition, attributes));
    fn pthread_cond_destroy(condition: *mut pthread_cond_t) -> c_int => Code(sync::condition_destroy(condition));
    fn pthread_cond_wait(condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t) -> c_int
        => Code(sync::condition_wait(condition, mutex, None));
    fn pthread_cond_timedwait(condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t, until: *const timespec)
        -> c_int => Code(sync::condition_timedwait(condition, mutex, until));
    fn pthread_cond_clockwait(condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t, clock: clockid_t,
        until: *const timespec) -> c_int => Code(sync::condition_clockwait(condition, mutex, clock, until));
    fn pthread_cond_signal(condition: *mut pthread_cond_t) -> c_int => Code(sync::condition_wake(condition, 1));
    fn pthread_cond_broadcast(condition: *mut pthread_cond_t) -> c_int
        => Code(sync::condition_wake(condition, u32::MAX));
    fn pthread_rwlock_rdlock(lock: *mut pthread_rwlock_t) -> c_int => Code(sync::rwlock_lock(lock, false, None));
    fn pthread_rwlock_wrlock(lock: *mut pthread_rwlock_t) -> c_int => Code(sync::rwlock_lock(lock, true, None));
    fn pthread_rwlock_tryrdlock(lock: *mut pthread_rwlock_t) -> c_int => Code(sync::rwlock_try(lock, false));
    fn pthread_rwlock_trywrlock(lock: *mut pthread_rwlock_t) -> c_int => Code(sync::rwlock_try(lock, true));
    fn pthread_rwlock_timedrdlock(lock: *mut pthread_rwlock_t, until: *const timespec) -> c_int
        => Code(sync::rwlock_timedlock(lock, false, until));
    fn pthread_rwlock_timedwrlock(lock: *mut pthread_rwlock_t, until: *const timespec) -> c_int
        => Code(sync::rwlock_timedlock(lock, true, until));
    fn pthread_rwlock_unlock(lock: *mut pthread_rwlock_t) -> c_int => Code(sync::rwlock_unlock(lock));
    fn pthread_once(control: *mut pthread_once_t, routine: OnceRoutine) -> c_int => Code(sync::once(control, routine));
    fn sem_wait(semaphore: *mut sem_t) -> c_int => sync::sem_wait(semaphore, None);
    fn sem_trywait(semaphore: *mut sem_t) -> c_int => sync::sem_trywait(semaphore);
    fn sem_timedwait(semaphore: *mut sem_t, until: *const timespec) -> c_int
        => sync::sem_clockwait(semaphore, libc::CLOCK_REALTIME, until);
    fn sem_clockwait(semaphore: *mut sem_t, clock: clockid_t, until: *const timespec) -> c_int
        => sync::sem_clockwait(semaphore, clock, until);
    fn sem_post(semaphore: *mut sem_t) -> c_int => sync::sem_post(semaphore);

    // ---- files that are different here ----
    fn open(path: *const c_char, flags: c_int, _mode: mode_t) -> c_int, if file::is_special(path, flags)
        => file::open(path, flags);
    fn open64(path: *const c_char, flags: c_int, _mode: mode_t) -> c_int, if file::is_special(path, flags)
        => file::open(path, flags);
    fn openat(_at: c_int, path: *const c_char, flags: c_int, _mode: mode_t) -> c_int, if file::is_special(path, flags)
        => file::open(path, flags);
    fn openat64(_at: c_int, path: *const c_char, flags: c_int, _mode: mode_t) -> c_int,
        if file::is_special(path, flags) => file::open(path, flags);
    fn fopen(path: *const c_char, mode: *const c_char) -> *mut c_void, if file::is_special(path, file::open_flags(mode))
        => file::fopen(path, mode);
    fn fopen64(path: *const c_char, mode: *const c_char) -> *mut c_void, if file::is_special(path, file::open_flags(mode))
        => file::fopen(path, mode);
    fn fstat(f: c_int, status: *mut stat) -> c_int, if virt(f) => file::fstat(f, status);
    fn fstat64(f: c_int, status: *mut stat64) -> c_int, if virt(f) => file::fstat64(f, status);
    fn fstatat(f: c_int, _path: *const c_char, status: *mut stat, _flags: c_int) -> c_int, if virt(f)
        => file::fstat(f, status);
    fn fstatat64(f: c_int, _path: *const c_char, status: *mut stat64, _flags: c_int) -> c_int, if virt(f)
        => file::fstat64(f, status);
    fn statx(f: c_int, _path: *const c_char, _flags: c_int, _mask: c_uint, status: *mut libc::statx) -> c_int, if virt(f)
        => file::statx(f, status);

    // ---- who and where the process is ----
    fn getpid() -> pid_t => Direct(identity::getpid());
    fn getppid() -> pid_t => Direct(identity::getppid());
    fn gettid() -> pid_t => Direct(identity::gettid());
    fn kill(pid: pid_t, signal: c_int) -> c_int => identity::kill(pid, signal);
    fn gethostname(name: *mut u8, len: size_t) -> c_int => identity::gethostname(name, len);
    fn uname(names: *mut utsname) -> c_int => identity::uname(names);
    fn sysconf(name: c_int) -> c_long, if identity::is_cpu_count(name) => Direct(identity::cpus_long());
    fn get_nprocs() -> c_int => Direct(identity::cpus());
    fn get_nprocs_conf() -> c_int => Direct(identity::cpus());
    fn sched_getcpu() -> c_int => Direct(0);
    fn sched_getaffinity(_pid: pid_t, len: size_t, mask: *mut u8) -> c_int => identity::sched_getaffinity(len, mask);
    fn pthread_getaffinity_np(_thread: pthread_t, len: size_t, mask: *mut u8) -> c_int
        => Code(identity::sched_getaffinity(len, mask));

    // ---- names ----
    fn getaddrinfo(node: *const c_char, service: *const c_char, hints: *const addrinfo, list: *mut *mut addrinfo)
        -> c_int => Direct(resolve::getaddrinfo(node, service, hints, list));
    fn getnameinfo(address: *const u8, len: socklen_t, host: *mut u8, host_len: socklen_t, service: *mut u8,
        service_len: socklen_t, flags: c_int) -> c_int
        => Direct(resolve::getnameinfo(address, len, (host, host_len), (service, service_len), flags));
    fn gethostbyname(name: *const c_char) -> *mut hostent => resolve::gethostbyname(name, libc::AF_INET);
    fn gethostbyname2(name: *const c_char, family: c_int) -> *mut hostent => resolve::gethostbyname(name, family);
    fn gethostbyname_r(name: *const c_char, entry: *mut hostent, buffer: *mut u8, len: size_t,
        result: *mut *mut hostent, error: *mut c_int) -> c_int
        => Direct(resolve::gethostbyname_r(name, libc::AF_INET, entry, (buffer, len), result, error));
    fn gethostbyname2_r(name: *const c_char, family: c_int, entry: *mut hostent, buffer: *mut u8, len: size_t,
        result: *mut *mut hostent, error: *mut c_int) -> c_int
        => Direct(resolve::gethostbyname_r(name, family, entry, (buffer, len), result, error));
    fn getifaddrs(list: *mut *mut ifaddrs) -> c_int => resolve::getifaddrs(list);
    fn if_nametoindex(name: *const c_char) -> c_uint => Direct(resolve::if_nametoindex(name));
    fn if_indextoname(index: c_uint, name: *mut u8) -> *mut c_char => resolve::if_indextoname(index, name);

    // ---- the end, and other processes ----
    fn exit(status: c_int) -> () => identity::exit_of("exit", status);
    fn _exit(status: c_int) -> () => identity::exit_of("_exit", status);
    fn _Exit(status: c_int) -> () => identity::exit_of("_Exit", status);
    fn quick_exit(status: c_int) -> () => identity::exit_of("quick_exit", status);
    fn fork() -> pid_t => identity::no_process("fork");
    fn vfork() -> pid_t => identity::no_process("vfork");
    fn _Fork() -> pid_t => identity::no_process("_Fork");
    fn daemon(_nochdir: c_int, _noclose: c_int) -> c_int => identity::no_process("daemon");
    fn system(_command: *const c_char) -> c_int => identity::no_process("system");
    fn popen(_command: *const c_char, _mode: *const c_char) -> *mut c_void => identity::no_process_stream("popen");
    fn posix_spawn(_pid: *mut pid_t, _path: *const c_char, _actions: *const c_void, _attributes: *const c_void,
        _argv: *const *mut c_char, _envp: *const *mut c_char) -> c_int => Code(identity::no_spawn("posix_spawn"));
    fn posix_spawnp(_pid: *mut pid_t, _path: *const c_char, _actions: *const c_void, _attributes: *const c_void,
        _argv: *const *mut c_char, _envp: *const *mut c_char) -> c_int => Code(identity::no_spawn("posix_spawnp"));
    fn execve(_path: *const c_char, _argv: *const *const c_char, _envp: *const *const c_char) -> c_int
        => identity::no_process("execve");
    fn execv(_path: *const c_char, _argv: *const *const c_char) -> c_int => identity::no_process("execv");
    fn execvp(_path: *const c_char, _argv: *const *const c_char) -> c_int => identity::no_process("execvp");
    fn execvpe(_path: *const c_char, _argv: *const *const c_char, _envp: *const *const c_char) -> c_int
        => identity::no_process("execvpe");

    // ---- anything by its number ----
    fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long
        => dispatch::syscall(number, [a, b, c, d, e, f]);
}
