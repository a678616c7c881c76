//! Scheduling, sleeping, futexes, the creep of time, and how runs end.

use halfopen_core::event::EndReason;
use halfopen_core::id::Tid;
use halfopen_core::{Errno, SimDuration, SimTime};
use halfopen_kernel::{Clock, FutexTimeout, KernelConfig, Scheduling, Step};

use crate::world::{World, check, check_deadlock, kernel_config, millis};

#[test]
fn sleepers_wake_in_order_of_time_and_ties_in_order_of_sleeping() {
    let said = check(|sys| async move {
        let threads: Vec<Tid> = [(1, 30), (2, 10), (3, 20), (4, 10), (5, 0)]
            .map(|(name, span)| {
                sys.spawn(move |sys| async move {
                    sys.sleep(millis(span)).await;
                    sys.say(name);
                })
            })
            .to_vec();
        for thread in threads {
            sys.join(thread).await;
        }
    });
    insta::assert_snapshot!(said, @"
    0.000000s 5
    0.010000s 2
    0.010000s 4
    0.020000s 3
    0.030000s 1
    ");
}

#[test]
fn a_join_waits_for_the_end_of_a_thread() {
    let said = check(|sys| async move {
        let thread = sys.spawn(|sys| async move { sys.sleep(millis(5)).await });
        assert!(sys.k(|kernel| kernel.is_thread_alive(thread)));
        sys.join(thread).await;
        assert!(!sys.k(|kernel| kernel.is_thread_alive(thread)));
        sys.join(thread).await;
        sys.say("joined twice");
        let me = sys.k(|kernel| kernel.current());
        assert_eq!(sys.now(|kernel, call| kernel.join_thread(me, call)), Err(Errno::EDEADLK));
    });
    insta::assert_snapshot!(said, @"0.005000s joined twice");
}

#[test]
fn clocks_show_what_they_are_named_for() {
    let said = check(|sys| async move {
        sys.sleep(millis(1500)).await;
        for clock in [Clock::Realtime, Clock::Monotonic, Clock::Cpu] {
            let nanos = sys.now(|kernel, call| kernel.clock_gettime(clock, call)).unwrap();
            sys.say(format!("{clock:?} {nanos}"));
        }
        // Each clock is slept on by its own numbers.
        for clock in [Clock::Realtime, Clock::Monotonic] {
            let nanos = sys.now(|kernel, call| kernel.clock_gettime(clock, call)).unwrap();
            sys.call(|kernel, call| kernel.sleep_until(clock, nanos + 250_000_000, call)).await.unwrap();
            sys.say("slept");
        }
    });
    insta::assert_snapshot!(said, @"
    1.500000s Realtime 1700000001500000000
    1.500000s Monotonic 86401500000000
    1.500000s Cpu 1500000000
    1.750000s slept
    2.000000s slept
    ");
}

#[test]
fn a_sleeper_on_the_wall_clock_wakes_when_the_clock_is_set_past_it() {
    let mut world = World::new();
    let host = world.host("h", "10.0.0.1", |sys| async move {
        let start = 1_700_000_000_000_000_000;
        sys.call(|kernel, call| kernel.sleep_until(Clock::Realtime, start + 10_000_000_000, call)).await.unwrap();
        sys.say("the wall clock shows 10 s");
        sys.call(|kernel, call| kernel.sleep_until(Clock::Realtime, start + 20_000_000_000, call)).await.unwrap();
        sys.say("the wall clock shows 20 s");
    });
    world.step(millis(2000), Step::ShiftClock { host, by_nanos: 9_000_000_000 });
    world.step(millis(3000), Step::ShiftClock { host, by_nanos: -5_000_000_000 });
    assert_eq!(world.run(), EndReason::Done);
    insta::assert_snapshot!(world.said(), @"
    2.000000s the wall clock shows 10 s
    16.000000s the wall clock shows 20 s
    ");
}

#[test]
fn a_thread_that_only_reads_the_clock_sees_time_creep() {
    check(|sys| async move {
        let mut reads = 0u64;
        while sys.k(|kernel| kernel.now()) < SimTime::from_nanos(1_000_000) {
            sys.call(|kernel, call| kernel.clock_gettime(Clock::Monotonic, call)).await.unwrap();
            reads += 1;
        }
        // 20 ns a reading.
        assert_eq!(reads, 50_000);
    });
}

#[test]
fn a_thread_that_polls_a_socket_sees_time_creep() {
    check(|sys| async move {
        let fd = sys.eventfd();
        let mut tries = 0u64;
        while sys.k(|kernel| kernel.now()) < SimTime::from_nanos(1_000_000) {
            assert_eq!(sys.read(fd, 8).await, Err(Errno::EAGAIN));
            tries += 1;
        }
        // 200 ns a try.
        assert_eq!(tries, 5_000);
    });
}

#[test]
fn a_thread_that_takes_all_there_is_sees_time_stand_still() {
    check(|sys| async move {
        let fd = sys.eventfd();
        for _ in 0..1_000 {
            sys.write(fd, &1u64.to_ne_bytes()).await.unwrap();
            sys.read(fd, 8).await.unwrap();
            assert_eq!(sys.read(fd, 8).await, Err(Errno::EAGAIN));
        }
        assert_eq!(sys.k(|kernel| kernel.now()), SimTime::ZERO);
        // The second look is polling again.
        for _ in 0..100 {
            assert_eq!(sys.read(fd, 8).await, Err(Errno::EAGAIN));
        }
        assert_eq!(sys.k(|kernel| kernel.now()).as_micros(), 20);
    });
}

#[test]
fn a_thread_that_asks_whether_it_is_connected_sees_time_creep() {
    check(|sys| async move {
        use halfopen_kernel::{Address, Domain, SocketType};
        use halfopen_netstack::socket::{Family, Kind};
        sys.k(|kernel| kernel.add_host(crate::world::host_config("dark", &["10.0.0.9"])));
        let tcp = SocketType::Inet(Kind::Tcp);
        let fd = sys.k(|kernel| kernel.socket(tcp, Domain::Inet(Family::V4), true, true)).unwrap();
        let to = Address::Inet("10.0.0.9:80".parse().unwrap());
        let mut tries = 0;
        while sys.k(|kernel| kernel.now()) < SimTime::from_nanos(1_000_000) {
            let result = sys.call(|kernel, call| kernel.connect(fd, &to, call)).await;
            let expected = if tries == 0 { Errno::EINPROGRESS } else { Errno::EALREADY };
            assert_eq!(result, Err(expected));
            tries += 1;
        }
        assert_eq!(tries, 5_001);
    });
}

#[test]
fn a_zero_sleep_and_a_zero_timeout_creep_too() {
    check(|sys| async move {
        let epoll = sys.k(|kernel| kernel.epoll_create(true)).unwrap();
        for _ in 0..100 {
            sys.sleep(SimDuration::ZERO).await;
            assert_eq!(sys.epoll_now(epoll).await, "");
            assert_eq!(sys.poll(&[(epoll, 1)], Some(SimDuration::ZERO)).await.0, 0);
        }
        assert_eq!(sys.k(|kernel| kernel.now()).as_micros(), 60);
    });
}

#[test]
fn yielding_lets_others_run_and_creeps_when_alone() {
    let said = check(|sys| async move {
        let yields = |name: &'static str| {
            sys.spawn(move |sys| async move {
                for turn in 0..3 {
                    sys.say(format!("{name}{turn}"));
                    sys.call(|kernel, call| kernel.yield_now(call)).await.unwrap();
                }
            })
        };
        let threads = [yields("a"), yields("b")];
        for thread in threads {
            sys.join(thread).await;
        }
        sys.call(|kernel, call| kernel.yield_now(call)).await.unwrap();
        sys.say("alone");
    });
    insta::assert_snapshot!(said, @"
    0.000000s a0
    0.000000s b0
    0.000000s a1
    0.000000s b1
    0.000000s a2
    0.000000s b2
    0.000001s alone
    ");
}

#[test]
fn two_threads_that_yield_to_each_other_do_not_stop_time() {
    check(|sys| async move {
        let spin = |sys: crate::world::Sys| async move {
            while sys.k(|kernel| kernel.now()) < SimTime::from_nanos(100_000) {
                sys.call(|kernel, call| kernel.yield_now(call)).await.unwrap();
            }
        };
        let other = sys.spawn(spin);
        spin(sys.clone()).await;
        sys.join(other).await;
    });
}

#[test]
fn shuffled_threads_run_in_an_order_of_the_seed() {
    let order = |seed| {
        let mut world = World::with(KernelConfig { seed, scheduling: Scheduling::Shuffle, ..kernel_config() });
        world.host("h", "10.0.0.1", |sys| async move {
            let threads: Vec<Tid> = (0..8).map(|name| sys.spawn(move |sys| async move { sys.say(name) })).collect();
            for thread in threads {
                sys.join(thread).await;
            }
        });
        assert_eq!(world.run(), EndReason::Done);
        world.said()
    };
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
}

#[test]
fn futexes_wake_in_order_by_mask_and_by_requeue() {
    let said = check(|sys| async move {
        let wait = |name: &'static str, mask| {
            sys.spawn(move |sys| async move {
                let result = sys.call(|kernel, call| kernel.futex_wait(0x1000, true, None, mask, call)).await;
                sys.say(format!("{name} {result:?}"));
            })
        };
        let threads = [wait("a", u32::MAX), wait("b", 1), wait("c", 2), wait("d", u32::MAX), wait("e", u32::MAX)];
        sys.sleep(millis(1)).await;
        sys.say(format!("wake mask 2: {}", sys.k(|kernel| kernel.futex_wake(0x1000, 1, 2))));
        sys.sleep(millis(1)).await;
        sys.say(format!("wake mask 2: {}", sys.k(|kernel| kernel.futex_wake(0x1000, 1, 2))));
        sys.sleep(millis(1)).await;
        sys.say(format!("requeue: {}", sys.k(|kernel| kernel.futex_requeue(0x1000, 1, 0x2000, 1))));
        sys.sleep(millis(1)).await;
        sys.say(format!("wake old: {}", sys.k(|kernel| kernel.futex_wake(0x1000, 9, u32::MAX))));
        sys.sleep(millis(1)).await;
        sys.say(format!("wake new: {}", sys.k(|kernel| kernel.futex_wake(0x2000, 9, u32::MAX))));
        for thread in threads {
            sys.join(thread).await;
        }
        sys.say(format!("wake nobody: {}", sys.k(|kernel| kernel.futex_wake(0x1000, 9, u32::MAX))));
    });
    insta::assert_snapshot!(said, @"
    0.001000s wake mask 2: 1
    0.001000s a Ok(())
    0.002000s wake mask 2: 1
    0.002000s c Ok(())
    0.003000s requeue: 2
    0.003000s b Ok(())
    0.004000s wake old: 1
    0.004000s e Ok(())
    0.005000s wake new: 1
    0.005000s d Ok(())
    0.005000s wake nobody: 0
    ");
}

#[test]
fn futex_waits_end_by_their_deadlines() {
    let said = check(|sys| async move {
        let wait = |matches, timeout| {
            let sys = sys.clone();
            async move { sys.call(|kernel, call| kernel.futex_wait(8, matches, timeout, u32::MAX, call)).await }
        };
        sys.say(format!("no match {:?}", wait(false, None).await));
        sys.say(format!("relative {:?}", wait(true, Some(FutexTimeout::Relative(millis(5)))).await));
        let wall = sys.now(|kernel, call| kernel.clock_gettime(Clock::Realtime, call)).unwrap();
        let until = FutexTimeout::Absolute(Clock::Realtime, wall + 7_000_000);
        sys.say(format!("absolute {:?}", wait(true, Some(until)).await));
        sys.say(format!("past {:?}", wait(true, Some(FutexTimeout::Absolute(Clock::Monotonic, 1))).await));
        let nothing = sys.call(|kernel, call| kernel.futex_wait(8, true, None, 0, call)).await;
        sys.say(format!("empty mask {nothing:?}"));
    });
    insta::assert_snapshot!(said, @"
    0.000000s no match Err(EAGAIN(11))
    0.005000s relative Err(ETIMEDOUT(110))
    0.012000s absolute Err(ETIMEDOUT(110))
    0.012000s past Err(ETIMEDOUT(110))
    0.012000s empty mask Err(EINVAL(22))
    ");
}

#[test]
fn a_futex_in_a_static_is_shared_by_all_hosts() {
    let mut world = World::new();
    world.host("a", "10.0.0.1", |sys| async move {
        let result = sys.call(|kernel, call| kernel.futex_wait(8, true, None, u32::MAX, call)).await;
        sys.say(format!("woken {result:?}"));
    });
    world.host("b", "10.0.0.2", |sys| async move {
        sys.sleep(millis(1)).await;
        assert_eq!(sys.k(|kernel| kernel.futex_wake(8, 1, u32::MAX)), 1);
    });
    assert_eq!(world.run(), EndReason::Done);
    assert_eq!(world.said(), "0.001000s woken Ok(())");
}

#[test]
fn a_deadlock_says_who_waits_for_what() {
    let waiting = check_deadlock(|sys| async move {
        let (read, _write) = sys.k(|kernel| kernel.pipe(false, true)).unwrap();
        let epoll = sys.k(|kernel| kernel.epoll_create(true)).unwrap();
        sys.spawn(move |sys| async move {
            let _ = sys.read(read, 1).await;
        });
        sys.spawn(move |sys| async move {
            let _ = sys.epoll_wait(epoll, 1, None).await;
        });
        sys.spawn(move |sys| async move {
            let _ = sys.poll(&[(read, 1), (epoll, 1)], None).await;
        });
        sys.spawn(|sys| async move {
            let _ = sys.call(|kernel, call| kernel.board_wait("zone", 0, call)).await;
        });
        let last = sys.spawn(|sys| async move {
            let _ = sys.call(|kernel, call| kernel.futex_wait(0xbeef, true, None, 1, call)).await;
        });
        sys.join(last).await;
    });
    insta::assert_snapshot!(waiting, @"
    h t0: join of t5
    h t1: read on fd 1048576 (pipe)
    h t2: epoll_wait on 1048578
    h t3: poll on 2 descriptors
    h t4: board entry `zone`
    h t5: futex 0xbeef
    ");
}

#[test]
fn a_run_ends_at_its_time_limit() {
    let mut world = World::with(KernelConfig { time_limit: SimTime::from_nanos(5_000_000), ..kernel_config() });
    world.host("h", "10.0.0.1", |sys| async move {
        loop {
            sys.sleep(millis(2)).await;
            sys.say("up");
        }
    });
    assert_eq!(world.run(), EndReason::TimeLimit);
    insta::assert_snapshot!(world.said(), @"
    0.002000s up
    0.004000s up
    ");
    assert_eq!(world.kernel(|kernel| kernel.now()).as_millis(), 5);
}

#[test]
fn a_livelock_is_a_limit() {
    let mut world = World::new();
    world.host("h", "10.0.0.1", |sys| async move {
        // Two threads that wake each other and never wait for time.
        let pass = |sys: crate::world::Sys, mine, other| async move {
            loop {
                sys.k(|kernel| kernel.futex_wake(other, 1, u32::MAX));
                let _ = sys.call(|kernel, call| kernel.futex_wait(mine, true, None, u32::MAX, call)).await;
            }
        };
        sys.spawn(move |sys| pass(sys, 1, 2));
        pass(sys, 2, 1).await;
    });
    let EndReason::Limit { message } = world.run() else { panic!("not a limit") };
    insta::assert_snapshot!(message, @"10000000 steps at 0.000000s without time moving on: a livelock");
}

#[test]
fn the_first_reason_to_end_counts() {
    let mut world = World::new();
    world.host("h", "10.0.0.1", |sys| async move {
        sys.k(|kernel| kernel.end(EndReason::Done));
        sys.k(|kernel| kernel.end(EndReason::TimeLimit));
        sys.sleep(millis(1)).await;
        sys.say("never");
    });
    assert_eq!(world.run(), EndReason::Done);
    assert_eq!(world.said(), "");
}
