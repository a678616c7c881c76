//! Handing over: by futex and in user space a program sees the same, and what belongs to a thread stays its own. Each
//! test runs both ways.
#![allow(clippy::disallowed_methods)] // Programs under test read clocks and sleep: that is what is tested.

mod support;

use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::panic::catch_unwind;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use halfopen_core::{Event, HostId, SimDuration, SimTime};
use halfopen_interpose::{current_host, with_kernel};
use halfopen_kernel::{Scheduling, Step};
use support::{Sim, in_children, isolated, text};

/// Another thread runs meanwhile, if there is one.
fn pause() {
    thread::sleep(Duration::from_micros(10));
}

fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().expect("the last error of the system is one")
}

fn set_errno(value: c_int) {
    // SAFETY: libc's own place for it.
    unsafe { *libc::__errno_location() = value };
}

/// Tells the log, and so the hash.
fn tell(message: String) {
    let host = current_host().expect("a simulated thread");
    with_kernel(|kernel| kernel.emit(Event::Log { host, level: "INFO", target: "test".to_owned(), message }));
}

/// Runs the simulation to its end, and tells the parent what the log was.
fn run_and_tell(sim: Sim) {
    println!("hash {:016x}", sim.run().done().hash());
}

/// Counts how often it was dropped, and on which thread.
struct Dropped(u32, Arc<Mutex<Vec<(u32, String)>>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        pause();
        let name = thread::current().name().unwrap_or("?").to_owned();
        self.1.lock().unwrap().push((self.0, name));
    }
}

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(0) };
    static DROPPED: RefCell<Option<Dropped>> = const { RefCell::new(None) };
}

#[test]
fn thread_locals_are_each_threads_own() {
    isolated("thread_locals_are_each_threads_own", || {
        run_and_tell(Sim::new().host(|| {
            let dropped = Arc::new(Mutex::new(Vec::new()));
            let worker = |number: u32| {
                let dropped = dropped.clone();
                let body = move || {
                    NUMBER.set(number);
                    DROPPED.set(Some(Dropped(number, dropped)));
                    for round in 0..50 {
                        set_errno(1000 + number as c_int);
                        // What is freed here goes through the thread's own cache of the allocator.
                        let text = format!("{number} {round}");
                        pause();
                        assert_eq!(text, format!("{number} {round}"));
                        assert_eq!(thread::current().name(), Some(format!("w{number}").as_str()));
                        assert_eq!(NUMBER.get(), number);
                        set_errno(1000 + number as c_int);
                        thread::yield_now();
                        assert_eq!(errno(), 1000 + number as c_int);
                    }
                };
                thread::Builder::new().name(format!("w{number}")).spawn(body).unwrap()
            };
            let workers: Vec<_> = (0..10).map(worker).collect();
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            let mut dropped = std::mem::take(&mut *dropped.lock().unwrap());
            dropped.sort();
            let expected: Vec<_> = (0..10).map(|number| (number, format!("w{number}"))).collect();
            assert_eq!(dropped, expected, "each destructor ran once, on its own thread");
        }));
    });
}

#[inline(never)]
fn innermost(depth: u32) -> String {
    pause();
    if depth == 0 { Backtrace::force_capture().to_string() } else { innermost(depth - 1) + "\n" }
}

#[test]
fn panics_unwind_and_backtraces_are_whole() {
    isolated("panics_unwind_and_backtraces_are_whole", || {
        run_and_tell(Sim::new().host(|| {
            let worker = |number: u32| {
                thread::spawn(move || {
                    let stack = innermost(number);
                    assert_eq!(stack.matches("innermost").count(), number as usize + 1, "{stack}");
                    let dropped = Arc::new(Mutex::new(Vec::new()));
                    let guard = dropped.clone();
                    let caught = catch_unwind(move || {
                        let _guard = Dropped(number, guard);
                        pause();
                        panic!("worker {number}");
                    });
                    assert_eq!(*caught.unwrap_err().downcast::<String>().unwrap(), format!("worker {number}"));
                    assert_eq!(dropped.lock().unwrap().len(), 1);
                    assert!(!thread::panicking());
                })
            };
            let workers: Vec<_> = (0..4).map(worker).collect();
            workers.into_iter().for_each(|worker| worker.join().unwrap());
        }));
    });
}

#[test]
fn threads_end_in_any_order() {
    isolated("threads_end_in_any_order", || {
        run_and_tell(Sim::new().host(|| {
            let (ended, order) = mpsc::channel();
            let worker = |number: u64| {
                let ended = ended.clone();
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(number * 7 % 10));
                    ended.send(number).unwrap();
                    number
                })
            };
            let mut workers: Vec<_> = (0..10).map(worker).collect();
            // Every third is left to itself; the others are joined from the last to the first.
            for number in [9, 6, 3, 0] {
                drop(workers.remove(number));
            }
            let joined: Vec<u64> = workers.into_iter().rev().map(|worker| worker.join().unwrap()).collect();
            assert_eq!(joined, [8, 7, 5, 4, 2, 1]);
            thread::sleep(Duration::from_millis(20));
            drop(ended);
            assert_eq!(order.iter().collect::<Vec<_>>(), [0, 3, 6, 9, 2, 5, 8, 1, 4, 7]);
            // One after the other, each on the stack that the one before left.
            for number in 0..200u64 {
                assert_eq!(thread::spawn(move || number).join().unwrap(), number);
            }
        }));
    });
}

#[test]
fn two_thousand_threads_take_turns() {
    const THREADS: u32 = 2000;
    isolated("two_thousand_threads_take_turns", || {
        let mut sim = Sim::new().host(|| {
            let sum = Arc::new(parking_lot::Mutex::new(0));
            let worker = |number: u32| {
                let sum = sum.clone();
                let body = move || {
                    for _ in 0..5 {
                        let mut sum = sum.lock();
                        let before = *sum;
                        if number.is_multiple_of(16) {
                            pause();
                        }
                        *sum = before + 1;
                        drop(sum);
                        pause();
                    }
                };
                thread::Builder::new().stack_size(64 << 10).spawn(body).unwrap()
            };
            let workers: Vec<_> = (0..THREADS).map(worker).collect();
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            assert_eq!(*sum.lock(), 5 * THREADS);
        });
        sim.scheduling = Scheduling::Shuffle;
        run_and_tell(sim);
    });
}

#[test]
fn addresses_and_order_are_the_same_both_ways() {
    fn main() {
        let total = Arc::new(AtomicU32::new(0));
        let worker = |number: u32| {
            let total = total.clone();
            thread::spawn(move || {
                for round in 0..20 {
                    let (local, heap) = (round, Box::new(number));
                    let (stack, own) = (&raw const local as usize, NUMBER.with(|number| &raw const *number as usize));
                    let total = total.fetch_add(1, Ordering::Relaxed);
                    tell(format!("{number} {total} {stack:x} {own:x} {:x}", &raw const *heap as usize));
                    pause();
                }
            })
        };
        let workers: Vec<_> = (0..8).map(worker).collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    }
    isolated("addresses_and_order_are_the_same_both_ways", || {
        let mut sim = Sim::new().host(main).host(main).host(|| {
            loop {
                let _room = vec![0u8; 1000];
                thread::spawn(pause).join().unwrap();
                thread::sleep(Duration::from_millis(1));
                if with_kernel(|kernel| kernel.now()) > SimTime::ZERO + SimDuration::from_millis(50) {
                    break;
                }
            }
        });
        let at = |millis| SimTime::ZERO + SimDuration::from_millis(millis);
        sim.steps = vec![
            (at(10), Step::Crash { host: HostId::new(2), power_loss: true }),
            (at(20), Step::Restart(HostId::new(2))),
        ];
        sim.scheduling = Scheduling::Shuffle;
        run_and_tell(sim);
    });
}

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    if depth == 0 { 0 } else { recurse(depth + 1) + room[63] }
}

#[test]
fn a_stack_overflow_is_told_after_other_threads_have_ended() {
    let outputs = in_children("a_stack_overflow_is_told_after_other_threads_have_ended", || {
        Sim::new()
            .host(|| {
                // std puts up a signal stack for each thread and takes it away at the end.
                (0..3).for_each(|_| thread::spawn(pause).join().unwrap());
                let deep = || {
                    pause();
                    recurse(1);
                };
                let _ = thread::Builder::new().name("deep".to_owned()).spawn(deep).unwrap().join();
            })
            .run();
    });
    use std::os::unix::process::ExitStatusExt;
    for output in outputs.into_iter().flatten() {
        let said = text(&output);
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{said}");
        assert!(said.contains("thread 'deep'") && said.contains("has overflowed its stack"), "{said}");
    }
}

#[inline(never)]
fn go_round_in_circles() {
    // Not at the very beginning of the function: std looks a frame's name up one byte before where it is.
    let mut turns = 0u64;
    loop {
        turns = std::hint::black_box(turns + 1);
        std::hint::spin_loop();
    }
}

#[test]
fn a_spin_of_any_thread_is_told_with_its_own_stack() {
    let outputs = in_children("a_spin_of_any_thread_is_told_with_its_own_stack", || {
        let mut sim = Sim::new().host(|| thread::sleep(Duration::from_secs(9))).host(|| {
            let _other = thread::spawn(|| thread::sleep(Duration::from_secs(9)));
            let spinning = thread::spawn(|| {
                thread::sleep(Duration::from_secs(1));
                go_round_in_circles();
            });
            spinning.join().unwrap();
        });
        sim.watchdog = Duration::from_millis(300);
        sim.run_watched(|report| println!("stuck in host {} {}\n{}", report.host, report.thread, report.stack));
    });
    for output in outputs.into_iter().flatten() {
        let said = text(&output);
        assert_eq!(output.status.code(), Some(halfopen_interpose::STUCK_STATUS), "{said}");
        assert!(said.contains("stuck in host h1 t3"), "{said}");
        assert!(said.contains("go_round_in_circles"), "{said}");
    }
}

/// Whether this machine lets programs write the thread pointer (HWCAP2_FSGSBASE): otherwise futexes take over.
fn has_user_space() -> bool {
    // SAFETY: a number or 0.
    cfg!(target_arch = "x86_64") && unsafe { libc::getauxval(libc::AT_HWCAP2) } & 2 != 0
}

#[test]
fn a_hand_over_in_user_space_leaves_the_kernel_alone() {
    const TURNS: i64 = 5_000;
    let outputs = in_children("a_hand_over_in_user_space_leaves_the_kernel_alone", || {
        let take_turns = || (0..TURNS).for_each(|_| thread::yield_now());
        Sim::new().host(take_turns).host(take_turns).run().done();
        // SAFETY: a description of ours to be filled.
        let usage = unsafe {
            let mut usage = MaybeUninit::<libc::rusage>::zeroed();
            assert_eq!(libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()), 0);
            usage.assume_init()
        };
        println!("the kernel switched {}", usage.ru_nvcsw + usage.ru_nivcsw);
    });
    let Some([futex, user_space]) = outputs else { return };
    let switches = |output| -> i64 {
        let said = text(output);
        let number = said.split("the kernel switched ").nth(1).and_then(|rest| rest.lines().next());
        number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{said}"))
    };
    assert!(switches(&futex) > TURNS, "by futex each hand-over is a switch of the kernel's");
    assert!(!has_user_space() || switches(&user_space) < TURNS / 5, "{}", text(&user_space));
}

thread_local! {
    static SIGNALS: Cell<u32> = const { Cell::new(0) };
}

extern "C" fn count_signal(_: c_int) {
    SIGNALS.set(SIGNALS.get() + 1);
}

/// Blocks or unblocks SIGUSR1 for the calling thread.
fn mask(how: c_int) {
    // SAFETY: a set of ours.
    unsafe {
        let mut set = MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGUSR1);
        assert_eq!(libc::pthread_sigmask(how, set.as_ptr(), ptr::null_mut()), 0);
    }
}

fn raise() {
    // SAFETY: `count_signal` handles it.
    assert_eq!(unsafe { libc::raise(libc::SIGUSR1) }, 0);
}

#[test]
fn signals_and_their_masks_are_the_threads_own() {
    isolated("signals_and_their_masks_are_the_threads_own", || {
        run_and_tell(Sim::new().host(|| {
            // SAFETY: all zeroes is a valid sigaction; the handler has the signature that goes with flags of 0.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = count_signal as *const () as usize;
                assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, ptr::null_mut()), 0);
            }
            let early = thread::spawn(|| {
                thread::sleep(Duration::from_millis(5));
                raise();
                assert_eq!(SIGNALS.get(), 1, "another thread's mask is not this one's");
            });
            let blocked = thread::spawn(|| {
                mask(libc::SIG_BLOCK);
                let heir = thread::spawn(|| {
                    mask(libc::SIG_UNBLOCK);
                    raise();
                    assert_eq!(SIGNALS.get(), 1);
                });
                thread::sleep(Duration::from_millis(10));
                raise();
                assert_eq!(SIGNALS.get(), 0, "it is blocked here");
                mask(libc::SIG_UNBLOCK);
                assert_eq!(SIGNALS.get(), 1, "it waited");
                heir.join().unwrap();
            });
            raise();
            early.join().unwrap();
            blocked.join().unwrap();
            raise();
            assert_eq!(SIGNALS.get(), 2);
        }));
    });
}

#[test]
fn alternate_signal_stacks_are_the_threads_own() {
    fn own() -> (usize, usize) {
        // SAFETY: a description of ours to be filled.
        unsafe {
            let mut stack: libc::stack_t = std::mem::zeroed();
            assert_eq!(libc::sigaltstack(ptr::null(), &raw mut stack), 0);
            (stack.ss_sp as usize, stack.ss_size)
        }
    }
    isolated("alternate_signal_stacks_are_the_threads_own", || {
        run_and_tell(Sim::new().host(|| {
            let worker = |_| {
                thread::spawn(|| {
                    let room = vec![0u8; 64 << 10].leak();
                    let stack = libc::stack_t { ss_sp: room.as_mut_ptr().cast(), ss_flags: 0, ss_size: room.len() };
                    // SAFETY: memory that lives for ever.
                    assert_eq!(unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) }, 0);
                    pause();
                    assert_eq!(own(), (room.as_ptr() as usize, room.len()));
                })
            };
            let workers: Vec<_> = (0..3).map(worker).collect();
            workers.into_iter().for_each(|worker| worker.join().unwrap());
        }));
    });
}

#[test]
fn a_mutex_knows_its_owner() {
    isolated("a_mutex_knows_its_owner", || {
        run_and_tell(Sim::new().host(|| {
            struct Shared(std::cell::UnsafeCell<libc::pthread_mutex_t>);
            // SAFETY: a mutex is made to be shared.
            unsafe impl Sync for Shared {}
            // SAFETY: as above.
            unsafe impl Send for Shared {}
            for (kind, again) in [(libc::PTHREAD_MUTEX_RECURSIVE, 0), (libc::PTHREAD_MUTEX_ERRORCHECK, libc::EDEADLK)] {
                let shared = Arc::new(Shared(libc::PTHREAD_MUTEX_INITIALIZER.into()));
                // SAFETY: attributes of ours, and the mutex, which nobody has locked.
                unsafe {
                    let mut attributes = MaybeUninit::uninit();
                    libc::pthread_mutexattr_init(attributes.as_mut_ptr());
                    libc::pthread_mutexattr_settype(attributes.as_mut_ptr(), kind);
                    assert_eq!(libc::pthread_mutex_init(shared.0.get(), attributes.as_ptr()), 0);
                }
                let worker = |_| {
                    let shared = shared.clone();
                    thread::spawn(move || {
                        let mutex = shared.0.get();
                        for _ in 0..10 {
                            // SAFETY: the mutex is initialised and lives as long as `shared`.
                            unsafe {
                                assert_eq!(libc::pthread_mutex_lock(mutex), 0);
                                pause();
                                assert_eq!(libc::pthread_mutex_lock(mutex), again);
                                if again == 0 {
                                    assert_eq!(libc::pthread_mutex_unlock(mutex), 0);
                                }
                                assert_eq!(libc::pthread_mutex_unlock(mutex), 0);
                            }
                        }
                    })
                };
                let workers: Vec<_> = (0..3).map(worker).collect();
                workers.into_iter().for_each(|worker| worker.join().unwrap());
            }
        }));
    });
}
