//! What escapes the symbols is caught: system call instructions, rustix's raw backend, the vDSO, the time stamp counter.
#![allow(clippy::disallowed_methods)] // Programs under test read clocks and sleep: that is what is tested.

mod support;

use std::arch::asm;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use halfopen_kernel::FD_BASE;
use support::{EPOCH_NANOS, Sim, isolated};

/// A system call instruction in this program's own text.
fn raw(number: i64, arguments: [usize; 4]) -> isize {
    let result: isize;
    // SAFETY: the callers below pass valid arguments for their calls.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") arguments[0], in("rsi") arguments[1], in("rdx") arguments[2], in("r10") arguments[3],
            lateout("rcx") _, lateout("r11") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") arguments[0] as isize => result,
            in("x1") arguments[1], in("x2") arguments[2], in("x3") arguments[3],
        );
    }
    result
}

#[test]
fn raw_system_calls_are_served() {
    isolated("raw_system_calls_are_served", || {
        let main = || {
            let socket = raw(libc::SYS_socket, [libc::AF_INET as usize, libc::SOCK_STREAM as usize, 0, 0]);
            assert!(socket >= FD_BASE as isize, "{socket}");
            assert_eq!(raw(libc::SYS_listen, [socket as usize, 1, 0, 0]), 0);
            assert_eq!(raw(libc::SYS_close, [socket as usize, 0, 0, 0]), 0);
            assert_eq!(raw(libc::SYS_close, [socket as usize, 0, 0, 0]), -(libc::EBADF as isize));

            let span = libc::timespec { tv_sec: 5, tv_nsec: 0 };
            let start = Instant::now();
            assert_eq!(raw(libc::SYS_nanosleep, [&raw const span as usize, 0, 0, 0]), 0);
            assert_eq!(start.elapsed().as_secs(), 5);
            assert_eq!(raw(libc::SYS_getpid, [0; 4]), 1000);
            let mut bytes = [0u8; 8];
            assert_eq!(raw(libc::SYS_getrandom, [bytes.as_mut_ptr() as usize, 8, 0, 0]), 8);
            assert_ne!(bytes, [0; 8]);
        };
        Sim::new().host(main).run().done();
    });
}

#[test]
fn what_cannot_be_served_is_refused_by_name() {
    isolated("what_cannot_be_served_is_refused_by_name", || {
        let main = || {
            assert_eq!(raw(libc::SYS_io_uring_setup, [8, 0, 0, 0]), -(libc::ENOSYS as isize));
            let flags = libc::SIGCHLD as usize;
            assert_eq!(raw(libc::SYS_clone, [flags, 0, 0, 0]), -(libc::EPERM as isize));
            assert_eq!(raw(libc::SYS_socket, [libc::AF_NETLINK as usize, 3, 0, 0]), -(libc::EAFNOSUPPORT as isize));
        };
        let report = Sim::new().host(main).run().done();
        assert_eq!(report.unsupported(), ["io_uring_setup", "clone", "socket of family 16"]);
    });
}

#[test]
fn files_are_read_past_the_symbols_as_well() {
    isolated("files_are_read_past_the_symbols_as_well", || {
        let main = || {
            let open = |path: &std::ffi::CStr| {
                raw(libc::SYS_openat, [libc::AT_FDCWD as usize, path.as_ptr() as usize, libc::O_RDONLY as usize, 0])
            };
            let fd = open(c"/etc/hostname");
            let mut name = [0u8; 8];
            assert_eq!(raw(libc::SYS_read, [fd as usize, name.as_mut_ptr() as usize, 8, 0]), 2);
            assert_eq!(&name[..2], b"a\n");
            assert!(open(c"/proc/self/exe") >= 0, "a file of the machine");
        };
        Sim::new().host(main).run().done();
    });
}

#[test]
fn rustix_lives_on_the_virtual_kernel() {
    use rustix::event::epoll;
    use rustix::net::{AddressFamily, SocketType};
    isolated("rustix_lives_on_the_virtual_kernel", || {
        let main = || {
            let start = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            let wall = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
            assert_eq!(wall.tv_sec, (EPOCH_NANOS / 1_000_000_000) as i64);
            let _ = rustix::thread::nanosleep(&rustix::time::Timespec { tv_sec: 100, tv_nsec: 0 });
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            assert_eq!(now.tv_sec - start.tv_sec, 100);

            let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            rustix::net::bind(&socket, &"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap()).unwrap();
            rustix::net::listen(&socket, 8).unwrap();
            let there: std::net::SocketAddr = rustix::net::getsockname(&socket).unwrap().try_into().unwrap();
            let other = thread::spawn(move || drop(std::net::TcpStream::connect(there).unwrap()));

            let queue = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
            epoll::add(&queue, &socket, epoll::EventData::new_u64(7), epoll::EventFlags::IN).unwrap();
            let mut events = Vec::with_capacity(4);
            epoll::wait(&queue, rustix::buffer::spare_capacity(&mut events), None).unwrap();
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].data.u64(), 7);
            let accepted = rustix::net::accept(&socket).unwrap();
            assert_eq!(rustix::io::read(&accepted, &mut [0u8; 4]).unwrap(), 0);
            other.join().unwrap();

            let (reader, writer) = rustix::pipe::pipe().unwrap();
            rustix::io::write(&writer, b"pipe").unwrap();
            let mut bytes = [0; 4];
            rustix::io::read(&reader, &mut bytes).unwrap();
            assert_eq!(&bytes, b"pipe");
            rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap();
        };
        Sim::new().host(main).run().done();
    });
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_time_stamp_counter_is_virtual() {
    isolated("the_time_stamp_counter_is_virtual", || {
        let main = || {
            // SAFETY: reads a counter.
            let read = || unsafe { std::arch::x86_64::_rdtsc() };
            let start = read();
            assert!(read() > start, "it never stands still");
            thread::sleep(Duration::from_secs(3600));
            let passed = read() - start;
            assert!((3_600_000_000_000..3_600_000_001_000).contains(&passed), "{passed}");
            let mut processor = 7;
            // SAFETY: as above.
            assert!(unsafe { std::arch::x86_64::__rdtscp(&mut processor) } > start);
            assert_eq!(processor, 0);
        };
        Sim::new().host(main).run().done();
    });
}

#[test]
fn the_process_outside_keeps_its_own_kernel() {
    isolated("the_process_outside_keeps_its_own_kernel", || {
        Sim::new().host(|| thread::sleep(Duration::from_secs(3600))).run().done();
        let real = Instant::now();
        thread::sleep(Duration::from_millis(20));
        assert!((20..2000).contains(&real.elapsed().as_millis()));
        assert!(TcpListener::bind("127.0.0.1:0").is_ok());
        assert_ne!(std::process::id(), 1000);
    });
}
