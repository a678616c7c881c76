//! eventfd, timerfd, pipes, randomness, virtual files.

use std::net::IpAddr;

use halfopen_core::Errno;
use halfopen_core::event::EndReason;
use halfopen_kernel::{Clock, Fd, PIPE_CAPACITY_BYTES, Step};

use crate::world::{IN, OUT, Sys, World, check, host_config, millis};

fn counter(bytes: &[u8]) -> u64 {
    u64::from_ne_bytes(bytes.try_into().unwrap())
}

#[test]
fn an_eventfd_counts() {
    check(|sys| async move {
        let fd = sys.eventfd();
        for value in [3u64, 4] {
            assert_eq!(sys.write(fd, &value.to_ne_bytes()).await, Ok(8));
        }
        assert_eq!(counter(&sys.read(fd, 8).await.unwrap()), 7);
        assert_eq!(sys.read(fd, 8).await, Err(Errno::EAGAIN));
        assert_eq!(sys.read(fd, 7).await, Err(Errno::EINVAL));
        assert_eq!(sys.write(fd, &[1; 4]).await, Err(Errno::EINVAL));
        assert_eq!(sys.write(fd, &u64::MAX.to_ne_bytes()).await, Err(Errno::EINVAL));
        assert_eq!(sys.write(fd, &(u64::MAX - 1).to_ne_bytes()).await, Ok(8));
        assert_eq!(sys.poll(&[(fd, IN | OUT)], None).await, (1, "IN".to_owned()));
        assert_eq!(sys.write(fd, &1u64.to_ne_bytes()).await, Err(Errno::EAGAIN));
        assert_eq!(sys.write(fd, &0u64.to_ne_bytes()).await, Ok(8));
    });
}

#[test]
fn a_semaphore_eventfd_gives_one_at_a_time() {
    check(|sys| async move {
        let fd = sys.k(|kernel| kernel.eventfd(2, true, true, true)).unwrap();
        assert_eq!(counter(&sys.read(fd, 8).await.unwrap()), 1);
        assert_eq!(counter(&sys.read(fd, 8).await.unwrap()), 1);
        assert_eq!(sys.read(fd, 8).await, Err(Errno::EAGAIN));
    });
}

#[test]
fn a_blocking_eventfd_waits_both_ways() {
    let said = check(|sys| async move {
        let fd = sys.k(|kernel| kernel.eventfd(0, false, false, true)).unwrap();
        sys.spawn(move |sys| async move {
            sys.sleep(millis(1)).await;
            sys.write(fd, &(u64::MAX - 1).to_ne_bytes()).await.unwrap();
            sys.write(fd, &5u64.to_ne_bytes()).await.unwrap();
            sys.say("wrote 5 once there was room");
        });
        sys.say(format!("read {}", counter(&sys.read(fd, 8).await.unwrap())));
        sys.say(format!("read {}", counter(&sys.read(fd, 8).await.unwrap())));
    });
    insta::assert_snapshot!(said, @"
    0.001000s read 18446744073709551614
    0.001000s wrote 5 once there was room
    0.001000s read 5
    ");
}

async fn timer(sys: &Sys, clock: Clock) -> Fd {
    sys.k(|kernel| kernel.timerfd_create(clock, false, true)).unwrap()
}

#[test]
fn a_timerfd_expires_once_or_at_intervals() {
    let said = check(|sys| async move {
        let fd = timer(&sys, Clock::Monotonic).await;
        let set = |absolute, first: u64, interval: u64| {
            sys.k(|kernel| kernel.timerfd_settime(fd, absolute, first * 1_000_000, interval * 1_000_000)).unwrap()
        };
        assert_eq!(set(false, 10, 0), (0, 0));
        sys.say(format!("once {}", counter(&sys.read(fd, 8).await.unwrap())));
        set(false, 10, 4);
        sys.say(format!("first {}", counter(&sys.read(fd, 8).await.unwrap())));
        sys.say(format!("next {}", counter(&sys.read(fd, 8).await.unwrap())));
        sys.sleep(millis(9)).await;
        sys.say(format!("left {:?}", sys.k(|kernel| kernel.timerfd_gettime(fd)).unwrap()));
        sys.say(format!("missed {}", counter(&sys.read(fd, 8).await.unwrap())));
        sys.say(format!("on the grid {}", counter(&sys.read(fd, 8).await.unwrap())));
        sys.say(format!("before {:?}", set(false, 0, 0)));
        assert_eq!(sys.poll(&[(fd, IN)], Some(millis(50))).await, (0, "-".to_owned()));
        let now = sys.now(|kernel, call| kernel.clock_gettime(Clock::Monotonic, call)).unwrap() / 1_000_000;
        set(true, now + 3, 0);
        assert_eq!(sys.poll(&[(fd, IN)], None).await, (1, "IN".to_owned()));
        sys.say("absolute");
        set(true, 1, 0);
        sys.say(format!("past {}", counter(&sys.read(fd, 8).await.unwrap())));
    });
    insta::assert_snapshot!(said, @"
    0.010000s once 1
    0.020000s first 1
    0.024000s next 1
    0.033000s left (3000000, 4000000)
    0.033000s missed 2
    0.036000s on the grid 1
    0.036000s before (4000000, 4000000)
    0.089000s absolute
    0.089000s past 1
    ");
}

#[test]
fn a_timerfd_on_the_wall_clock_moves_with_it() {
    let mut world = World::new();
    let host = world.host("h", "10.0.0.1", |sys| async move {
        let fd = timer(&sys, Clock::Realtime).await;
        let wall = 1_700_000_000_000_000_000 + 10_000_000_000;
        sys.k(|kernel| kernel.timerfd_settime(fd, true, wall, 0)).unwrap();
        sys.read(fd, 8).await.unwrap();
        sys.say("the wall clock shows 10 s");
    });
    world.step(millis(1000), Step::ShiftClock { host, by_nanos: 5_000_000_000 });
    assert_eq!(world.run(), EndReason::Done);
    insta::assert_snapshot!(world.said(), @"5.000000s the wall clock shows 10 s");
}

#[test]
fn a_pipe_carries_bytes_until_an_end_closes() {
    check(|sys| async move {
        let (read, write) = sys.k(|kernel| kernel.pipe(true, true)).unwrap();
        assert_eq!(sys.read(read, 10).await, Err(Errno::EAGAIN));
        assert_eq!(sys.read(write, 10).await, Err(Errno::EBADF));
        assert_eq!(sys.write(read, b"x").await, Err(Errno::EBADF));
        assert_eq!(sys.write(write, b"hello").await, Ok(5));
        assert_eq!(sys.k(|kernel| kernel.bytes_readable(read)), Ok(5));
        assert_eq!(sys.read(read, 3).await.unwrap(), b"hel");
        sys.close(write).await.unwrap();
        assert_eq!(sys.poll(&[(read, IN)], None).await, (1, "IN|HUP".to_owned()));
        assert_eq!(sys.read(read, 10).await.unwrap(), b"lo");
        assert_eq!(sys.poll(&[(read, IN)], None).await, (1, "HUP".to_owned()));
        assert_eq!(sys.read(read, 10).await.unwrap(), b"");
        let (read, write) = sys.k(|kernel| kernel.pipe(true, true)).unwrap();
        sys.close(read).await.unwrap();
        assert_eq!(sys.poll(&[(write, OUT)], None).await, (1, "OUT|ERR".to_owned()));
        assert_eq!(sys.write(write, b"x").await, Err(Errno::EPIPE));
    });
}

#[test]
fn a_full_pipe_splits_long_writes_only() {
    check(|sys| async move {
        let (read, write) = sys.k(|kernel| kernel.pipe(true, true)).unwrap();
        assert_eq!(sys.write(write, &vec![1; PIPE_CAPACITY_BYTES + 10]).await, Ok(PIPE_CAPACITY_BYTES));
        assert_eq!(sys.write(write, b"x").await, Err(Errno::EAGAIN));
        // What was read of a page is not free before all of it was.
        sys.read(read, 100).await.unwrap();
        assert_eq!(sys.write(write, &[2; 100]).await, Err(Errno::EAGAIN));
        sys.read(read, 3_996).await.unwrap();
        assert_eq!(sys.write(write, &[2; 4_000]).await, Ok(4_000));
        // Up to PIPE_BUF: all or nothing, and what fits joins the last page.
        assert_eq!(sys.write(write, &[2; 97]).await, Err(Errno::EAGAIN));
        assert_eq!(sys.write(write, &[2; 96]).await, Ok(96));
        sys.read(read, 4_096).await.unwrap();
        // Above it: what fits.
        assert_eq!(sys.write(write, &[2; 5_000]).await, Ok(4_096));
        assert_eq!(sys.poll(&[(write, OUT)], Some(millis(0))).await.0, 0);
        assert_eq!(sys.k(|kernel| kernel.bytes_readable(read)), Ok(PIPE_CAPACITY_BYTES));
    });
}

#[test]
fn a_blocking_write_to_a_pipe_moves_everything() {
    let said = check(|sys| async move {
        let (read, write) = sys.k(|kernel| kernel.pipe(false, true)).unwrap();
        let writer = sys.spawn(move |sys| async move {
            let len = sys.write(write, &vec![7; 150_000]).await.unwrap();
            sys.say(format!("wrote {len}"));
            sys.close(write).await.unwrap();
        });
        let mut total = 0;
        loop {
            sys.sleep(millis(1)).await;
            let bytes = sys.read(read, 60_000).await.unwrap();
            sys.say(format!("read {}", bytes.len()));
            total += bytes.len();
            if bytes.is_empty() {
                break;
            }
        }
        assert_eq!(total, 150_000);
        sys.join(writer).await;
    });
    insta::assert_snapshot!(said, @"
    0.001000s read 60000
    0.002000s read 60000
    0.002000s wrote 150000
    0.003000s read 30000
    0.004000s read 0
    ");
}

#[test]
fn randomness_is_a_stream_for_each_host() {
    let draw = |hosts: usize| {
        let mut world = World::new();
        for index in 0..hosts {
            world.host(&format!("h{index}"), &format!("10.0.0.{}", index + 1), |sys| async move {
                let mut bytes = [0; 16];
                sys.k(|kernel| kernel.getrandom(&mut bytes));
                let fd = sys.k(|kernel| kernel.open_random(true)).unwrap();
                sys.say(format!("{bytes:x?} {:x?}", sys.read(fd, 16).await.unwrap()));
            });
        }
        world.run();
        world.said().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (two, three) = (draw(2), draw(3));
    assert_eq!(two[..], three[..2]);
    assert_ne!(two[0], two[1]);
}

#[test]
fn names_and_addresses_are_found_as_the_hosts_file_tells_them() {
    let mut config = host_config("app", &["10.0.0.1", "fd00::1"]);
    let line = |address: &str, name: &str| (address.parse().unwrap(), name.to_owned());
    let lines = [line("10.0.0.9", "Db"), line("10.0.0.8", "db"), line("10.0.0.9", "store"), line("127.0.0.1", "self")];
    config.hosts_file = lines.into();
    let world = World::new();
    let host = world.kernel(|kernel| kernel.add_host(config));
    let text = world.kernel(|kernel| String::from_utf8(kernel.virtual_file(host, "/etc/hosts").unwrap()).unwrap());
    let mut pairs: Vec<(IpAddr, &str)> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let address = words.next().unwrap().parse().unwrap();
        pairs.extend(words.map(|name| (address, name)));
    }
    assert_eq!(pairs.len(), 10);
    for name in ["localhost", "ip6-loopback", "app", "APP", "db", "DB", "store", "self", "nobody"] {
        let expected = pairs.iter().filter(|(_, other)| other.eq_ignore_ascii_case(name)).map(|(address, _)| *address);
        let found = world.kernel(|kernel| kernel.hosts_by_name(host, name));
        assert_eq!(found, expected.collect::<Vec<_>>(), "{name}");
    }
    for address in ["127.0.0.1", "::1", "10.0.0.1", "fd00::1", "10.0.0.8", "10.0.0.9", "10.0.0.7"] {
        let address = address.parse::<IpAddr>().unwrap();
        let expected = pairs.iter().find(|(other, _)| *other == address).map(|(_, name)| (*name).to_owned());
        let found = world.kernel(|kernel| kernel.hosts_by_address(host, address).map(str::to_owned));
        assert_eq!(found, expected, "{address}");
    }
}

#[test]
fn virtual_files_describe_the_simulated_machine() {
    let mut config = host_config("app", &["10.0.0.1", "fd00::1"]);
    config.hosts_file = [("10.0.0.9".parse().unwrap(), "db.internal".to_owned())].into();
    config.resolver.rotate = true;
    let world = World::new();
    let host = world.kernel(|kernel| kernel.add_host(config));
    let text = |path: &str| {
        let file = world.kernel(|kernel| kernel.virtual_file(host, path));
        file.map(|bytes| String::from_utf8(bytes).unwrap())
    };
    insta::assert_snapshot!(text("/etc/resolv.conf").unwrap(), @"
    nameserver 10.0.0.53
    search internal
    options ndots:1 timeout:5 attempts:2 rotate
    ");
    insta::assert_snapshot!(text("/etc/hosts").unwrap(), @"
    127.0.0.1	localhost
    ::1	localhost ip6-localhost ip6-loopback
    10.0.0.1	app
    fd00::1	app
    10.0.0.9	db.internal
    ");
    for (path, expected) in [
        ("/etc/hostname", Some("app\n")),
        ("/etc/gai.conf", Some("")),
        ("/proc/sys/net/ipv4/tcp_retries2", Some("15\n")),
        ("/proc/sys/net/core/somaxconn", Some("4096\n")),
        ("/proc/sys/net/ipv4/ip_local_port_range", Some("32768\t60999\n")),
        ("/sys/devices/system/cpu/online", Some("0-1\n")),
        ("/sys/fs/cgroup/cpu.max", Some("max 100000\n")),
        ("/proc/sys/net/ipv4/no_such", None),
        ("/proc/meminfo", None),
        ("/etc/passwd", None),
    ] {
        assert_eq!(text(path).as_deref(), expected, "{path}");
    }
    assert_eq!(text("/proc/cpuinfo").unwrap().matches("processor").count(), 2);
}
