//! Threads, time, locks, entropy: std's and C's, on the virtual kernel.
#![allow(clippy::disallowed_methods)] // Programs under test read clocks and sleep: that is what is tested.

mod support;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use halfopen_core::event::EndReason;
use halfopen_core::{Event, HostId, SimDuration};
use halfopen_kernel::Scheduling;
use support::{EPOCH_NANOS, Sim, in_child, in_children, isolated, text};

#[test]
fn two_hours_of_sleep_take_no_time() {
    isolated("two_hours_of_sleep_take_no_time", || {
        let real = Instant::now();
        let report = Sim::new().host(|| {
            let start = Instant::now();
            for _ in 0..7200 {
                thread::sleep(Duration::from_secs(1));
            }
            assert_eq!(start.elapsed().as_secs(), 7200);
        });
        let report = report.run().done();
        assert_eq!(report.end.as_millis(), 7_200_000);
        assert!(real.elapsed() < Duration::from_secs(5), "{:?}", real.elapsed());
    });
}

#[test]
fn the_wall_clock_starts_at_the_epoch() {
    isolated("the_wall_clock_starts_at_the_epoch", || {
        let main = || {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(since.as_nanos(), u128::from(EPOCH_NANOS));
        };
        Sim::new().host(main).run().done();
    });
}

#[test]
fn threads_play_ping_pong_over_channels() {
    isolated("threads_play_ping_pong_over_channels", || {
        let main = || {
            let (to, ball) = mpsc::channel::<u32>();
            let (back, answer) = mpsc::channel::<u32>();
            let player = thread::spawn(move || {
                for hit in ball {
                    thread::sleep(Duration::from_millis(1));
                    back.send(hit + 1).unwrap();
                }
            });
            let start = Instant::now();
            let mut hit = 0;
            while hit < 1000 {
                to.send(hit).unwrap();
                hit = answer.recv().unwrap();
            }
            drop(to);
            player.join().unwrap();
            assert_eq!(start.elapsed().as_millis(), 1000);
        };
        Sim::new().host(main).run().done();
    });
}

#[test]
fn std_locks_work() {
    isolated("std_locks_work", || {
        let main = || {
            let sum = Arc::new(Mutex::new(0));
            let seen = Arc::new(RwLock::new(0));
            let barrier = Arc::new(Barrier::new(4));
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    let (sum, seen, barrier) = (sum.clone(), seen.clone(), barrier.clone());
                    thread::spawn(move || {
                        barrier.wait();
                        for _ in 0..100 {
                            let mut guard = sum.lock().unwrap();
                            thread::sleep(Duration::from_micros(1));
                            *guard += 1;
                            drop(guard);
                            *seen.write().unwrap() += *seen.clone().read().map(|_| &1).unwrap_or(&1);
                        }
                    })
                })
                .collect();
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            assert_eq!((*sum.lock().unwrap(), *seen.read().unwrap()), (400, 400));
        };
        Sim::new().host(main).run().done();
    });
}

#[test]
fn a_condition_variable_times_out_in_virtual_time() {
    isolated("a_condition_variable_times_out_in_virtual_time", || {
        let main = || {
            let pair = (Mutex::new(()), Condvar::new());
            let start = Instant::now();
            let guard = pair.0.lock().unwrap();
            let (_guard, result) = pair.1.wait_timeout(guard, Duration::from_secs(3600)).unwrap();
            assert!(result.timed_out());
            assert_eq!(start.elapsed().as_secs(), 3600);
        };
        Sim::new().host(main).run().done();
    });
}

#[test]
fn parking_lot_waits_in_the_kernel() {
    isolated("parking_lot_waits_in_the_kernel", || {
        let main = || {
            let shared = Arc::new((parking_lot::Mutex::new(0), parking_lot::Condvar::new()));
            let other = shared.clone();
            let worker = thread::spawn(move || {
                let mut value = other.0.lock();
                while *value != 1 {
                    other.1.wait(&mut value);
                }
                *value = 2;
                other.1.notify_all();
            });
            thread::sleep(Duration::from_secs(10));
            let mut value = shared.0.lock();
            *value = 1;
            shared.1.notify_all();
            while *value != 2 {
                assert!(!shared.1.wait_for(&mut value, Duration::from_secs(1)).timed_out());
            }
            drop(value);
            worker.join().unwrap();
        };
        Sim::new().host(main).run().done();
    });
}

#[test]
fn pthread_locks_and_conditions_work() {
    isolated("pthread_locks_and_conditions_work", || {
        Sim::new().host(c_style).run().done();
    });
}

/// What a C library does with the locks of pthreads.
fn c_style() {
    struct Shared {
        mutex: libc::pthread_mutex_t,
        condition: libc::pthread_cond_t,
        turns: u32,
    }
    extern "C" fn player(argument: *mut libc::c_void) -> *mut libc::c_void {
        let shared = argument.cast::<Shared>();
        // SAFETY: `shared` outlives the threads, and its mutex guards `turns`.
        unsafe {
            for _ in 0..100 {
                libc::pthread_mutex_lock(&raw mut (*shared).mutex);
                let turn = (*shared).turns;
                (*shared).turns += 1;
                libc::pthread_cond_broadcast(&raw mut (*shared).condition);
                while (*shared).turns == turn + 1 && turn < 198 {
                    libc::pthread_cond_wait(&raw mut (*shared).condition, &raw mut (*shared).mutex);
                }
                libc::pthread_mutex_unlock(&raw mut (*shared).mutex);
            }
        }
        std::ptr::null_mut()
    }
    let mut shared =
        Shared { mutex: libc::PTHREAD_MUTEX_INITIALIZER, condition: libc::PTHREAD_COND_INITIALIZER, turns: 0 };
    let address = &raw mut shared;
    // SAFETY: plain use of the pthreads interface on locals that outlive the threads, which are joined.
    unsafe {
        let mut handles = [0; 2];
        for handle in &mut handles {
            assert_eq!(libc::pthread_create(handle, std::ptr::null(), player, address.cast()), 0);
        }
        for handle in handles {
            assert_eq!(libc::pthread_join(handle, std::ptr::null_mut()), 0);
        }
        assert_eq!((*address).turns, 200);

        // A timed wait on the real-time clock: until 5 s past the epoch.
        let until = libc::timespec { tv_sec: (EPOCH_NANOS / 1_000_000_000) as i64 + 5, tv_nsec: 0 };
        libc::pthread_mutex_lock(&raw mut (*address).mutex);
        let (condition, mutex) = (&raw mut (*address).condition, &raw mut (*address).mutex);
        assert_eq!(libc::pthread_cond_timedwait(condition, mutex, &raw const until), libc::ETIMEDOUT);
        assert_eq!(libc::time(std::ptr::null_mut()), until.tv_sec);
        assert_eq!(libc::pthread_mutex_trylock(mutex), libc::EBUSY, "it is held again after the wait");
        assert_eq!(libc::pthread_mutex_unlock(mutex), 0);

        let mut semaphore: libc::sem_t = std::mem::zeroed();
        assert_eq!(libc::sem_init(&raw mut semaphore, 0, 1), 0);
        assert_eq!(libc::sem_wait(&raw mut semaphore), 0);
        let until = libc::timespec { tv_sec: until.tv_sec + 5, tv_nsec: 0 };
        assert_eq!(libc::sem_timedwait(&raw mut semaphore, &raw const until), -1);
        assert_eq!(*libc::__errno_location(), libc::ETIMEDOUT);
        assert_eq!(libc::time(std::ptr::null_mut()), until.tv_sec);
    }
}

/// What a thread's destructors saw, in order.
struct Witness(mpsc::Sender<&'static str>, &'static str);

impl Drop for Witness {
    fn drop(&mut self) {
        // A destructor may wait, and still be the thread that it was.
        thread::sleep(Duration::from_millis(5));
        self.0.send(self.1).unwrap();
    }
}

thread_local! {
    static FIRST: Cell<Option<Witness>> = const { Cell::new(None) };
    static SECOND: Cell<Option<Witness>> = const { Cell::new(None) };
}

#[test]
fn thread_local_destructors_run_before_the_baton_goes_on() {
    isolated("thread_local_destructors_run_before_the_baton_goes_on", || {
        let main = || {
            let (told, order) = mpsc::channel();
            let start = Instant::now();
            let worker = thread::spawn(move || {
                FIRST.set(Some(Witness(told.clone(), "first")));
                SECOND.set(Some(Witness(told.clone(), "second")));
                told.send("body").unwrap();
            });
            worker.join().unwrap();
            assert_eq!(start.elapsed().as_millis(), 10, "join waits for the destructors");
            let seen: Vec<_> = order.iter().collect();
            assert_eq!(seen.len(), 3, "{seen:?}");
            assert_eq!(seen[0], "body");
        };
        Sim::new().host(main).run().done();
    });
}

#[test]
fn entropy_follows_the_seed() {
    fn draw(seed: u64) -> Vec<u8> {
        static DRAWN: Mutex<Vec<u8>> = Mutex::new(Vec::new());
        let mut sim = Sim::new().host(|| {
            let mut bytes = [0u8; 16];
            // SAFETY: the buffers are as long as told.
            unsafe {
                assert_eq!(libc::getrandom(bytes.as_mut_ptr().cast(), 16, 0), 16);
                DRAWN.lock().unwrap().extend(bytes);
                assert_eq!(libc::getentropy(bytes.as_mut_ptr().cast(), 16), 0);
            }
            DRAWN.lock().unwrap().extend(bytes);
            let file = std::fs::read("/etc/hostname").unwrap();
            assert_eq!(file, b"a\n");
            use std::io::Read;
            std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
            DRAWN.lock().unwrap().extend(bytes);
        });
        sim.seed = seed;
        sim.run().done();
        std::mem::take(&mut *DRAWN.lock().unwrap())
    }
    isolated("entropy_follows_the_seed", || {
        let (one, again, other) = (draw(1), draw(1), draw(2));
        assert_eq!(one, again);
        assert_ne!(one, other);
        assert_eq!(one.len(), 48);
        assert!(one[..16] != one[16..32] && one[16..32] != one[32..], "each draw is new");
    });
}

#[test]
fn the_machine_is_the_scenarios() {
    isolated("the_machine_is_the_scenarios", || {
        let main = || {
            assert_eq!(thread::available_parallelism().unwrap().get(), 2);
            assert_eq!(std::process::id(), 1000);
            let mut name = [0u8; 64];
            // SAFETY: the buffer is as long as told.
            assert_eq!(unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) }, 0);
            assert_eq!(&name[..2], b"a\0");
        };
        Sim::new().host(main).run().done();
    });
}

#[test]
fn a_panic_of_a_main_ends_the_run() {
    isolated("a_panic_of_a_main_ends_the_run", || {
        let report = Sim::new().host(|| panic!("no more {}", 42)).host(|| thread::sleep(Duration::from_secs(9))).run();
        let EndReason::Aborted { message } = &report.reason else { panic!("{:?}", report.reason) };
        assert!(message.starts_with("host `a` panicked: no more 42 at "), "{message}");
        assert!(message.contains("threads.rs:"), "{message}");
        let told = |(_, event): &(_, Event)| matches!(event, Event::HostPanicked { host, main: true, .. } if *host == HostId::new(0));
        assert!(report.log.iter().any(told), "{:?}", report.log);
    });
}

#[test]
fn a_panic_of_another_thread_is_told_and_no_more() {
    isolated("a_panic_of_another_thread_is_told_and_no_more", || {
        let report = Sim::new().host(|| assert!(thread::spawn(|| panic!("oh")).join().is_err())).run().done();
        let told = |(_, event): &(_, Event)| matches!(event, Event::HostPanicked { main: false, message, .. } if message.starts_with("oh at "));
        assert_eq!(report.log.iter().filter(|entry| told(entry)).count(), 1, "{:?}", report.log);
    });
}

#[test]
fn exit_ends_the_run_and_not_the_process() {
    isolated("exit_ends_the_run_and_not_the_process", || {
        let report = Sim::new().host(|| std::process::exit(3)).run();
        assert_eq!(report.reason, EndReason::Aborted { message: "host `a` called exit(3)".to_owned() });
    });
}

#[test]
fn abort_kills_the_process() {
    let outputs = in_children("abort_kills_the_process", || {
        Sim::new().host(|| std::process::abort()).run();
    });
    use std::os::unix::process::ExitStatusExt;
    for output in outputs.into_iter().flatten() {
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{}", text(&output));
    }
}

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    if depth == 0 { 0 } else { recurse(depth + 1) + room[63] }
}

#[test]
fn a_stack_overflow_is_told_as_rust_tells_it() {
    let outputs = in_children("a_stack_overflow_is_told_as_rust_tells_it", || {
        Sim::new()
            .host(|| {
                recurse(1);
            })
            .run();
    });
    use std::os::unix::process::ExitStatusExt;
    for output in outputs.into_iter().flatten() {
        let said = text(&output);
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{said}");
        assert!(said.contains("thread 'a'") && said.contains("has overflowed its stack"), "{said}");
    }
}

#[test]
fn other_processes_are_refused() {
    isolated("other_processes_are_refused", || {
        let main = || {
            let error = std::process::Command::new("/bin/true").status().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EPERM));
            // SAFETY: refused; otherwise the child would end at once.
            assert_eq!(unsafe { libc::fork() }, -1);
            // SAFETY: refused; otherwise only a command that does nothing.
            assert_eq!(unsafe { libc::system(c"true".as_ptr()) }, -1);
        };
        let calls = Sim::new().host(main).run().done().unsupported();
        assert_eq!(&calls[calls.len() - 2..], ["fork", "system"], "{calls:?}");
        assert_eq!(calls.len(), 3, "and what Command tried: {calls:?}");
    });
}

#[test]
fn a_deadlock_is_told() {
    isolated("a_deadlock_is_told", || {
        let report = Sim::new().host(|| {
            let mutex = Mutex::new(());
            let _held = mutex.lock().unwrap();
            let _again = mutex.lock();
        });
        let reason = report.run().reason;
        let EndReason::Deadlock { waiting } = &reason else { panic!("{reason:?}") };
        assert_eq!(waiting.len(), 1, "{waiting:?}");
        assert!(waiting[0].starts_with("a t0: futex"), "{waiting:?}");
    });
}

static SPINNING: AtomicBool = AtomicBool::new(true);

#[inline(never)]
fn spin_for_ever_and_a_day() {
    // Not at the very beginning of the function: std looks a frame's name up one byte before where it is.
    let mut turns = 0u64;
    while SPINNING.load(Ordering::Relaxed) {
        turns = std::hint::black_box(turns + 1);
        std::hint::spin_loop();
    }
}

#[test]
fn a_spin_is_caught_with_its_stack() {
    let outputs = in_children("a_spin_is_caught_with_its_stack", || {
        let mut sim = Sim::new().host(|| {
            thread::sleep(Duration::from_secs(1));
            spin_for_ever_and_a_day();
        });
        sim.watchdog = Duration::from_millis(300);
        sim.run_watched(|report| println!("stuck in host {} {}\n{}", report.host, report.thread, report.stack));
    });
    for output in outputs.into_iter().flatten() {
        let said = text(&output);
        assert_eq!(output.status.code(), Some(halfopen_interpose::STUCK_STATUS), "{said}");
        assert!(said.contains("stuck in host h0 t0"), "{said}");
        assert!(said.contains("spin_for_ever_and_a_day"), "{said}");
    }
}

#[test]
fn polling_the_clock_moves_it() {
    isolated("polling_the_clock_moves_it", || {
        let main = || {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(1) {}
        };
        let report = Sim::new().host(main).run().done();
        assert!(report.end.as_millis() >= 1, "{}", report.end);
    });
}

#[test]
fn the_same_seed_gives_the_same_log() {
    fn busy() {
        let count = Arc::new(AtomicU32::new(0));
        let workers: Vec<_> = (0..8)
            .map(|_| {
                let count = count.clone();
                thread::spawn(move || {
                    for _ in 0..50 {
                        let mut byte = [0u8; 1];
                        // SAFETY: one byte, as told.
                        unsafe { libc::getrandom(byte.as_mut_ptr().cast(), 1, 0) };
                        thread::sleep(Duration::from_micros(u64::from(byte[0])));
                        let told = format!("{:?} {}", thread::current().id(), count.fetch_add(1, Ordering::Relaxed));
                        let host = halfopen_interpose::current_host().unwrap();
                        let (level, target) = ("INFO", "test".to_owned());
                        halfopen_interpose::with_kernel(|kernel| {
                            kernel.emit(Event::Log { host, level, target, message: told });
                        });
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    }
    let hash = |seed| {
        let mut sim = Sim::new().host(busy).host(busy);
        sim.seed = seed;
        sim.scheduling = Scheduling::Shuffle;
        sim.run().done().hash()
    };
    let hashes = || {
        let name = "the_same_seed_gives_the_same_log";
        let output = in_child(name, || println!("hashes {:016x} {:016x}", hash(1), hash(2)))?;
        let said = text(&output);
        assert!(output.status.success(), "{said}");
        let hashes = said.split("hashes ").nth(1).expect("the child tells them").trim();
        let (one, two) = hashes.split_once(' ').expect("two of them");
        Some((one.to_owned(), two.to_owned()))
    };
    let Some(first) = hashes() else { return };
    assert_ne!(first.0, first.1, "another seed, another log");
    for _ in 0..2 {
        assert_eq!(hashes().as_ref(), Some(&first));
    }
}

#[test]
fn a_static_lock_is_shared_by_all_hosts() {
    static SHARED: Mutex<u32> = Mutex::new(0);
    isolated("a_static_lock_is_shared_by_all_hosts", || {
        let holder = || {
            let mut value = SHARED.lock().unwrap();
            thread::sleep(Duration::from_secs(10));
            *value = 1;
        };
        let waiter = || {
            thread::sleep(Duration::from_secs(1));
            let start = Instant::now();
            assert_eq!((*SHARED.lock().unwrap(), start.elapsed().as_secs()), (1, 9));
        };
        Sim::new().host(holder).host(waiter).run().done();
    });
}

#[test]
fn a_restarted_host_runs_its_main_again() {
    use halfopen_core::SimTime;
    use halfopen_kernel::Step;
    static STARTS: AtomicU32 = AtomicU32::new(0);
    isolated("a_restarted_host_runs_its_main_again", || {
        let mut sim = Sim::new().host(|| {
            STARTS.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_secs(10));
        });
        let at = |seconds| SimTime::ZERO + SimDuration::from_secs(seconds);
        sim.steps = vec![
            (at(5), Step::Crash { host: HostId::new(0), power_loss: true }),
            (at(7), Step::Restart(HostId::new(0))),
        ];
        let report = sim.run().done();
        assert_eq!((STARTS.load(Ordering::Relaxed), report.end.as_millis()), (2, 17_000));
    });
}
