//! A program that panics, spins for ever, deadlocks, exits or aborts ends only its own run, with a verdict that says so.

use std::sync::{Arc, Mutex};

use halfopen::{Env, Run, Verdict};

/// Runs `program` alone and says what the run's error was.
macro_rules! error_of {
    ($program:expr) => {{
        let program = halfopen::program::run_blocking($program);
        let runs = halfopen::scenario!("scenarios/alone.yaml").program("app", program).run();
        error(&runs)
    }};
}

fn error(runs: &[Run]) -> String {
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].verdict(), Verdict::Error, "{}", runs[0].report());
    runs[0].error().unwrap_or_default().to_owned()
}

fn check(error: &str, says: &[&str]) {
    for part in says {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

#[test]
fn a_panic_names_its_host_and_its_place() {
    fn main(_: Env) {
        panic!("out of cheese");
    }
    let error = error_of!(main);
    check(&error, &["host `app` panicked", "out of cheese", "misbehaviour.rs"]);
}

#[test]
fn an_endless_loop_is_told_with_its_stack() {
    #[inline(never)]
    fn spins_for_ever() -> ! {
        let mut number = 0_u64;
        loop {
            number = std::hint::black_box(number.wrapping_add(1));
        }
    }
    fn main(_: Env) {
        spins_for_ever();
    }
    let error = error_of!(main);
    check(&error, &["host `app`", "endless loop", "spins_for_ever"]);
}

#[test]
fn a_deadlock_names_who_waits_for_what() {
    let program = halfopen::program::run_blocking(|_: Env| {
        let (first, second) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
        let (one, two) = (Arc::clone(&first), Arc::clone(&second));
        let barrier = Arc::new(std::sync::Barrier::new(2));
        let other_barrier = Arc::clone(&barrier);
        let thread = std::thread::spawn(move || {
            let _second = two.lock();
            other_barrier.wait();
            let _first = one.lock();
        });
        let _first = first.lock();
        barrier.wait();
        let _second = second.lock();
        drop(thread.join());
    });
    let runs = halfopen::scenario!("scenarios/alone.yaml").program("app", program).run();
    // Nobody can tell it from a client that waits for an answer which never comes: the op hung, and that is judged.
    assert_eq!(runs[0].verdict(), Verdict::Fail);
    assert_eq!(runs[0].metric("ops.hung"), Some(1.0));
    check(&runs[0].report(), &["nobody could ever run again", "app", "futex"]);
}

#[test]
fn an_exit_names_its_status() {
    fn main(_: Env) {
        std::process::exit(3);
    }
    let error = error_of!(main);
    check(&error, &["host `app`", "exit", "3"]);
}

#[test]
fn an_abort_is_told() {
    fn main(_: Env) {
        std::process::abort();
    }
    let error = error_of!(main);
    check(&error, &["abort", "SIGABRT"]);
}

#[test]
fn a_stack_overflow_is_told() {
    #[expect(unconditional_recursion, reason = "that is the point")]
    fn descend(depth: u64) -> u64 {
        std::hint::black_box([depth; 64]);
        descend(depth + 1) + 1
    }
    let error = error_of!(|_: Env| {
        std::hint::black_box(descend(0));
    });
    check(&error, &["stack"]);
}

#[test]
fn an_error_that_main_returns_is_told() {
    let error = error_of!(|_: Env| Err::<(), _>(std::io::Error::other("no configuration")));
    check(&error, &["host `app` failed", "no configuration"]);
}
