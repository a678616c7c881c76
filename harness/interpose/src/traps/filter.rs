//! The seccomp filter: which system calls of a simulated thread are caught, and when. Classic BPF, built here and run
//! by the kernel on each system call.

use std::ffi::{c_int, c_long, c_void};
use std::ops::Range;

use halfopen_kernel::FD_BASE;
use libc::sock_filter;

/// When a system call is caught.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum When {
    /// Wherever it comes from: libc itself must not make it either.
    Always,
    /// Unless it comes from libc's own text, which makes it for our own sake or for locks of its own.
    OutsideLibc,
    /// If its first argument is a virtual descriptor, which the real kernel does not know.
    Virtual,
    /// If it does not make a thread (its first argument lacks CLONE_THREAD), or comes from outside of libc.
    NewProcess,
}

use When::{Always, NewProcess, OutsideLibc, Virtual};

/// What is caught on every platform. The most frequent first: the kernel goes through the list in order.
const RULES: &[(c_long, When)] = &[
    (libc::SYS_futex, OutsideLibc),
    (libc::SYS_read, Virtual),
    (libc::SYS_write, Virtual),
    (libc::SYS_close, Virtual),
    (libc::SYS_clock_gettime, OutsideLibc),
    // Sockets. Nothing in libc has any business with real ones on a simulated thread.
    (libc::SYS_socket, Always),
    (libc::SYS_socketpair, Always),
    (libc::SYS_bind, Always),
    (libc::SYS_listen, Always),
    (libc::SYS_connect, Always),
    (libc::SYS_accept, Always),
    (libc::SYS_accept4, Always),
    (libc::SYS_sendto, Always),
    (libc::SYS_sendmsg, Always),
    (libc::SYS_sendmmsg, Always),
    (libc::SYS_recvfrom, Always),
    (libc::SYS_recvmsg, Always),
    (libc::SYS_recvmmsg, Always),
    (libc::SYS_shutdown, Always),
    (libc::SYS_getsockname, Always),
    (libc::SYS_getpeername, Always),
    (libc::SYS_setsockopt, Always),
    (libc::SYS_getsockopt, Always),
    (libc::SYS_io_uring_setup, Always),
    (libc::SYS_io_uring_enter, Always),
    (libc::SYS_io_uring_register, Always),
    // Entropy: libc draws some for itself (its allocator, its own arc4random).
    (libc::SYS_getrandom, Always),
    // Other processes.
    (libc::SYS_clone, NewProcess),
    (libc::SYS_clone3, OutsideLibc),
    (libc::SYS_execve, Always),
    (libc::SYS_execveat, Always),
    // Descriptors.
    (libc::SYS_readv, Virtual),
    (libc::SYS_writev, Virtual),
    (libc::SYS_pread64, Virtual),
    (libc::SYS_pwrite64, Virtual),
    (libc::SYS_preadv, Virtual),
    (libc::SYS_pwritev, Virtual),
    (libc::SYS_lseek, Virtual),
    (libc::SYS_dup, Virtual),
    (libc::SYS_dup3, Virtual),
    (libc::SYS_fcntl, Virtual),
    (libc::SYS_ioctl, Virtual),
    (libc::SYS_fsync, Virtual),
    (libc::SYS_fdatasync, Virtual),
    (libc::SYS_sendfile, Virtual),
    (libc::SYS_splice, Virtual),
    (libc::SYS_copy_file_range, Virtual),
    (libc::SYS_fstat, Virtual),
    (libc::SYS_newfstatat, Virtual),
    (libc::SYS_statx, Virtual),
    (libc::SYS_timerfd_settime, Virtual),
    (libc::SYS_timerfd_gettime, Virtual),
    // Waiting and time.
    (libc::SYS_ppoll, OutsideLibc),
    (libc::SYS_pselect6, OutsideLibc),
    (libc::SYS_epoll_create1, OutsideLibc),
    (libc::SYS_epoll_ctl, OutsideLibc),
    (libc::SYS_epoll_pwait, OutsideLibc),
    (libc::SYS_epoll_pwait2, OutsideLibc),
    (libc::SYS_eventfd2, OutsideLibc),
    (libc::SYS_timerfd_create, OutsideLibc),
    (libc::SYS_pipe2, OutsideLibc),
    (libc::SYS_sched_yield, OutsideLibc),
    (libc::SYS_clock_getres, OutsideLibc),
    (libc::SYS_gettimeofday, OutsideLibc),
    (libc::SYS_nanosleep, OutsideLibc),
    (libc::SYS_clock_nanosleep, OutsideLibc),
    (libc::SYS_timer_create, OutsideLibc),
    (libc::SYS_setitimer, OutsideLibc),
    // The process and the machine.
    (libc::SYS_openat, OutsideLibc),
    (libc::SYS_getpid, OutsideLibc),
    (libc::SYS_getppid, OutsideLibc),
    (libc::SYS_gettid, OutsideLibc),
    (libc::SYS_uname, OutsideLibc),
    (libc::SYS_sched_getaffinity, OutsideLibc),
    (libc::SYS_exit_group, OutsideLibc),
];

/// What x86-64 has kept from before there were better ones.
#[cfg(target_arch = "x86_64")]
const OLDER_RULES: &[(c_long, When)] = &[
    (libc::SYS_poll, OutsideLibc),
    (libc::SYS_select, OutsideLibc),
    (libc::SYS_epoll_create, OutsideLibc),
    (libc::SYS_epoll_wait, OutsideLibc),
    (libc::SYS_eventfd, OutsideLibc),
    (libc::SYS_pipe, OutsideLibc),
    (libc::SYS_time, OutsideLibc),
    (libc::SYS_dup2, Virtual),
    (libc::SYS_alarm, OutsideLibc),
    (libc::SYS_open, OutsideLibc),
    (libc::SYS_fork, Always),
    (libc::SYS_vfork, Always),
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_RULES: &[(c_long, When)] = &[];

/// AUDIT_ARCH_* of `<linux/audit.h>`: the one way in that we know (not the 32-bit one, whose numbers differ).
const ARCHITECTURE: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
/// x32's numbers have this bit (`<asm/unistd.h>`).
const X32_BIT: u32 = 0x4000_0000;

// Where `struct seccomp_data` has what (<linux/seccomp.h>); both platforms are little-endian.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const POINTER_LOW: u32 = 8;
const POINTER_HIGH: u32 = 12;
const FIRST_ARGUMENT_LOW: u32 = 16;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_ABOVE: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const IF_ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;

fn op(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

/// A conditional jump: over so many instructions if it holds, over so many if not.
fn branch(code: u16, k: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter { code, jt: yes, jf: no, k }
}

fn allow() -> sock_filter {
    op(RETURN, libc::SECCOMP_RET_ALLOW)
}

fn trap() -> sock_filter {
    op(RETURN, libc::SECCOMP_RET_TRAP)
}

/// Builds the filter. `libc_text` is where libc's (and the dynamic loader's) instructions lie.
pub(crate) fn build(libc_text: &[Range<u64>]) -> Vec<sock_filter> {
    let outside = outside_libc(libc_text);
    let on_virtual = vec![
        op(LOAD, FIRST_ARGUMENT_LOW),
        branch(IF_AT_LEAST, FD_BASE as u32, 0, 1),
        branch(IF_ABOVE, i32::MAX as u32, 0, 1),
        allow(),
        trap(),
    ];
    let mut new_process =
        vec![op(LOAD, FIRST_ARGUMENT_LOW), branch(IF_ANY_BIT, libc::CLONE_THREAD as u32, 1, 0), trap()];
    new_process.extend(&outside);

    let rules: Vec<(c_long, When)> = RULES.iter().chain(OLDER_RULES).copied().collect();
    let mut program = vec![
        op(LOAD, ARCH),
        branch(IF_EQUAL, ARCHITECTURE, 1, 0),
        trap(),
        op(LOAD, NUMBER),
        branch(IF_ANY_BIT, X32_BIT, 0, 1),
        trap(),
    ];
    // Behind the rules (two instructions each) and the `allow` for all that no rule names lie the checks, one after the
    // other; each ends in a return on every path.
    let after_rules = program.len() + 2 * rules.len() + 1;
    let place = |when: When| {
        after_rules
            + match when {
                Always => 0,
                OutsideLibc => 1,
                Virtual => 1 + outside.len(),
                NewProcess => 1 + outside.len() + on_virtual.len(),
            }
    };
    for (number, when) in rules {
        program.push(branch(IF_EQUAL, number as u32, 0, 1));
        let next = program.len() + 1;
        program.push(op(JUMP, (place(when) - next) as u32));
    }
    program.push(allow());
    assert_eq!(program.len(), after_rules);
    program.push(trap());
    program.extend(&outside);
    program.extend(&on_virtual);
    program.extend(&new_process);
    program
}

/// Lets pass what comes from within one of the ranges, and traps everything else.
fn outside_libc(ranges: &[Range<u64>]) -> Vec<sock_filter> {
    let mut program = Vec::new();
    for range in ranges {
        let (low, high) = (|n: u64| n as u32, |n: u64| (n >> 32) as u32);
        // The address just after a system call instruction may be the end of the range. A range that lies across a
        // multiple of 4 GiB is looked at as two.
        for part in split(range.start..range.end + 1) {
            let last = part.end - 1;
            program.extend([
                op(LOAD, POINTER_HIGH),
                branch(IF_EQUAL, high(part.start), 0, 4),
                op(LOAD, POINTER_LOW),
                branch(IF_AT_LEAST, low(part.start), 0, 2),
                branch(IF_ABOVE, low(last), 1, 0),
                allow(),
            ]);
        }
    }
    program.push(trap());
    program
}

fn split(range: Range<u64>) -> Vec<Range<u64>> {
    const PIECE: u64 = 1 << 32;
    let boundary = (range.start / PIECE + 1) * PIECE;
    if range.end <= boundary { vec![range] } else { vec![range.start..boundary, boundary..range.end] }
}

/// Where the instructions of libc and of the dynamic loader lie in this process.
pub(crate) fn libc_text() -> Vec<Range<u64>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    // SAFETY: the callback gets the pointer to `found`, which outlives the call, and is done with it at its end.
    unsafe { libc::dl_iterate_phdr(Some(note_text), (&raw mut found).cast()) };
    assert!(!found.is_empty(), "a process with glibc has a libc.so.6 in it");
    found
}

unsafe extern "C" fn note_text(info: *mut libc::dl_phdr_info, _: usize, found: *mut c_void) -> c_int {
    // SAFETY: the loader's description of one object, valid during the callback, and the `Vec` from above.
    let (info, found) = unsafe { (&*info, &mut *found.cast::<Vec<Range<u64>>>()) };
    if info.dlpi_name.is_null() {
        return 0;
    }
    // SAFETY: a NUL-terminated name with the same life.
    let name = unsafe { std::ffi::CStr::from_ptr(info.dlpi_name) }.to_string_lossy();
    let file = name.rsplit('/').next().unwrap_or("");
    // libpthread is one with libc from glibc 2.34 on.
    if !["libc.so", "libc-", "ld-", "ld.so", "libpthread"].iter().any(|prefix| file.starts_with(prefix)) {
        return 0;
    }
    for index in 0..usize::from(info.dlpi_phnum) {
        // SAFETY: the loader says how many headers there are.
        let header = unsafe { &*info.dlpi_phdr.add(index) };
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0 {
            let start = info.dlpi_addr + header.p_vaddr;
            found.push(start..start + header.p_memsz);
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Verdict {
        Pass,
        Trap,
    }

    /// As much of the kernel's interpreter as the filter uses.
    fn interpret(program: &[sock_filter], number: c_long, pointer: u64, argument: u64, arch: u32) -> Verdict {
        let word = |offset: u32| match offset {
            NUMBER => number as u32,
            ARCH => arch,
            POINTER_LOW => pointer as u32,
            POINTER_HIGH => (pointer >> 32) as u32,
            FIRST_ARGUMENT_LOW => argument as u32,
            other => panic!("no field at {other}"),
        };
        let (mut at, mut a) = (0usize, 0u32);
        loop {
            let op = program[at];
            at += 1;
            let holds = match op.code {
                LOAD => {
                    a = word(op.k);
                    continue;
                }
                RETURN if op.k == libc::SECCOMP_RET_ALLOW => return Verdict::Pass,
                RETURN => return Verdict::Trap,
                JUMP => {
                    at += op.k as usize;
                    continue;
                }
                IF_EQUAL => a == op.k,
                IF_ABOVE => a > op.k,
                IF_AT_LEAST => a >= op.k,
                IF_ANY_BIT => a & op.k != 0,
                other => panic!("unknown instruction {other:#x}"),
            };
            at += usize::from(if holds { op.jt } else { op.jf });
        }
    }

    const LIBC: Range<u64> = 0x7fff_0000_1000..0x7fff_0000_9000;
    const SPLIT: Range<u64> = 0x7ffe_ffff_f000..0x7fff_0000_0800;
    const PROGRAM: u64 = 0x5555_0000_1000;

    #[test]
    fn what_is_caught_and_what_is_not() {
        use Verdict::{Pass, Trap};
        let filter = build(&[LIBC, SPLIT]);
        let fd = FD_BASE as u64;
        for (what, number, pointer, argument, expected) in [
            ("a socket from anywhere", libc::SYS_socket, PROGRAM, 2, Trap),
            ("a socket from libc", libc::SYS_socket, LIBC.start, 2, Trap),
            ("a futex from the program", libc::SYS_futex, PROGRAM, 0, Trap),
            ("a futex from libc", libc::SYS_futex, LIBC.start, 0, Pass),
            ("... its last instruction", libc::SYS_futex, LIBC.end, 0, Pass),
            ("... just behind it", libc::SYS_futex, LIBC.end + 1, 0, Trap),
            ("... just before it", libc::SYS_futex, LIBC.start - 1, 0, Trap),
            ("... below 4 GiB's multiple", libc::SYS_futex, SPLIT.start, 0, Pass),
            ("... above it", libc::SYS_futex, SPLIT.end - 1, 0, Pass),
            ("... the same low half elsewhere", libc::SYS_futex, 0x1111_0000_1000, 0, Trap),
            ("a read of a file", libc::SYS_read, PROGRAM, 3, Pass),
            ("a read of a virtual descriptor", libc::SYS_read, PROGRAM, fd, Trap),
            ("... from libc", libc::SYS_read, LIBC.start, fd + 77, Trap),
            ("... just below", libc::SYS_read, PROGRAM, fd - 1, Pass),
            ("a read of -1", libc::SYS_read, PROGRAM, u64::from(u32::MAX), Pass),
            ("a thread from libc", libc::SYS_clone, LIBC.start, libc::CLONE_THREAD as u64, Pass),
            ("a thread from the program", libc::SYS_clone, PROGRAM, libc::CLONE_THREAD as u64, Trap),
            ("a process from libc", libc::SYS_clone, LIBC.start, libc::SIGCHLD as u64, Trap),
            ("memory", libc::SYS_mmap, PROGRAM, 0, Pass),
            ("a signal mask", libc::SYS_rt_sigprocmask, PROGRAM, 0, Pass),
        ] {
            assert_eq!(interpret(&filter, number, pointer, argument, ARCHITECTURE), expected, "{what}");
        }
        assert_eq!(interpret(&filter, libc::SYS_mmap, PROGRAM, 0, 0x4000_0003), Trap, "the 32-bit way in");
        assert_eq!(interpret(&filter, i64::from(X32_BIT) + 9, PROGRAM, 0, ARCHITECTURE), Trap, "x32");
    }

    #[test]
    fn this_process_has_a_libc() {
        let text = libc_text();
        let inside = libc::getpid as *const () as u64;
        // In this test program `getpid` is our own; `getenv` is libc's.
        let of_libc = libc::getenv as *const () as u64;
        assert!(text.iter().any(|range| range.contains(&of_libc)) || of_libc == inside, "{text:x?} {of_libc:x}");
    }
}
