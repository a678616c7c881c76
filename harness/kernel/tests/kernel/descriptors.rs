//! Descriptors: numbers, duplicates, flags, limits.

use halfopen_core::Errno;
use halfopen_kernel::{FD_BASE, Fd, HostConfig};

use crate::world::{World, check, host_config, number};

#[test]
fn the_lowest_free_number_is_taken() {
    check(|sys| async move {
        let fds: Vec<Fd> = (0..4).map(|_| sys.eventfd()).collect();
        assert_eq!(fds.iter().map(|fd| number(*fd)).collect::<Vec<_>>(), [0, 1, 2, 3]);
        sys.close(fds[2]).await.unwrap();
        sys.close(fds[0]).await.unwrap();
        assert_eq!([sys.eventfd(), sys.eventfd(), sys.eventfd()].map(number), [0, 2, 4]);
    });
}

#[test]
fn closed_and_foreign_numbers_are_ebadf() {
    check(|sys| async move {
        let fd = sys.eventfd();
        sys.close(fd).await.unwrap();
        for bad in [fd, Fd(FD_BASE + 77), Fd(3), Fd(-1), Fd(i32::MIN)] {
            assert!(!sys.k(|kernel| kernel.is_open(bad)));
            assert_eq!(sys.close(bad).await, Err(Errno::EBADF));
            assert_eq!(sys.read(bad, 8).await, Err(Errno::EBADF));
            assert_eq!(sys.write(bad, &[0; 8]).await, Err(Errno::EBADF));
            assert_eq!(sys.k(|kernel| kernel.dup(bad, false)), Err(Errno::EBADF));
            assert_eq!(sys.k(|kernel| kernel.dup_onto(bad, fd, false)), Err(Errno::EBADF));
            assert_eq!(sys.k(|kernel| kernel.nonblocking(bad)), Err(Errno::EBADF));
            assert_eq!(sys.k(|kernel| kernel.set_close_on_exec(bad, true)), Err(Errno::EBADF));
            assert_eq!(sys.k(|kernel| kernel.getsockname(bad)), Err(Errno::EBADF));
        }
    });
}

#[test]
fn duplicates_share_the_description_but_not_cloexec() {
    check(|sys| async move {
        let one = sys.k(|kernel| kernel.eventfd(0, false, true, true)).unwrap();
        let other = sys.k(|kernel| kernel.dup(one, false)).unwrap();
        sys.k(|kernel| {
            assert_eq!((kernel.close_on_exec(one), kernel.close_on_exec(other)), (Ok(true), Ok(false)));
            kernel.set_close_on_exec(other, true).unwrap();
            kernel.set_close_on_exec(one, false).unwrap();
            assert_eq!((kernel.close_on_exec(one), kernel.close_on_exec(other)), (Ok(false), Ok(true)));
            assert_eq!(kernel.status_flags(other), Ok(0o4002));
            kernel.set_nonblocking(other, false).unwrap();
            assert_eq!((kernel.nonblocking(one), kernel.status_flags(one)), (Ok(false), Ok(0o2)));
        });
        sys.write(one, &7u64.to_ne_bytes()).await.unwrap();
        sys.close(one).await.unwrap();
        assert_eq!(sys.read(other, 8).await.unwrap(), 7u64.to_ne_bytes());
    });
}

#[test]
fn dup2_replaces_what_was_there() {
    check(|sys| async move {
        let (read, write) = sys.k(|kernel| kernel.pipe(false, true)).unwrap();
        let event = sys.eventfd();
        // The pipe's last writing end goes: its reader sees the end.
        assert_eq!(sys.k(|kernel| kernel.dup_onto(event, write, true)), Ok(write));
        assert_eq!(sys.read(read, 1).await.unwrap(), b"");
        assert_eq!(sys.k(|kernel| kernel.dup_onto(event, event, true)), Ok(event));
        // A number above all others: those between are free, lowest first.
        let far = Fd(FD_BASE + 9);
        assert_eq!(sys.k(|kernel| kernel.dup_onto(event, far, false)), Ok(far));
        assert_eq!([sys.eventfd(), sys.eventfd()].map(number), [3, 4]);
        for bad in [Fd(5), Fd(FD_BASE + 1024)] {
            assert_eq!(sys.k(|kernel| kernel.dup_onto(event, bad, false)), Err(Errno::EBADF));
        }
    });
}

#[test]
fn the_limit_is_emfile_for_every_call_that_opens() {
    let mut world = World::new();
    world.host_with(HostConfig { fd_limit: 3, ..host_config("h", &["10.0.0.1"]) }, |sys| async move {
        let first = sys.eventfd();
        let second = sys.eventfd();
        // One number is left: a pair does not fit and takes none.
        assert_eq!(sys.k(|kernel| kernel.pipe(false, true)), Err(Errno::EMFILE));
        let third = sys.eventfd();
        assert_eq!(sys.k(|kernel| kernel.dup(first, true)), Err(Errno::EMFILE));
        assert_eq!(sys.k(|kernel| kernel.epoll_create(true)), Err(Errno::EMFILE));
        assert_eq!(sys.k(|kernel| kernel.open_random(true)), Err(Errno::EMFILE));
        sys.close(second).await.unwrap();
        sys.close(third).await.unwrap();
        assert!(sys.k(|kernel| kernel.pipe(false, true)).is_ok());
    });
    world.run();
}

#[test]
fn kinds_of_files_are_told() {
    check(|sys| async move {
        sys.k(|kernel| {
            let (read, write) = kernel.pipe(true, true).unwrap();
            let random = kernel.open_random(true).unwrap();
            let epoll = kernel.epoll_create(true).unwrap();
            assert_eq!(kernel.file_mode(read), Ok(0o010_000));
            assert_eq!(kernel.file_mode(random), Ok(0o020_000));
            assert_eq!(kernel.file_mode(epoll), Ok(0));
            assert_eq!([read, write, epoll].map(|fd| kernel.status_flags(fd).unwrap()), [0o4000, 0o4001, 0o2]);
            assert_eq!(kernel.getsockname(read), Err(Errno::ENOTSOCK));
            assert_eq!(kernel.bytes_readable(epoll), Err(Errno::ENOTTY));
        });
    });
}
