//! A debugger may look at a run: it attaches in the middle, prints all stacks and leaves, and the run goes on to the end
//! that it would have had. Where there is no gdb the test says that it was left out.
#![allow(clippy::disallowed_methods)] // Programs under test read clocks and sleep: that is what is tested.

mod support;

use std::hint::spin_loop;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use support::{Sim, in_children, text};

/// Exchanges before the debugger comes, and after it has gone.
const ROUNDS: u32 = 200;
/// Longer than a debugger takes to read the symbols of this program on a busy machine.
const PATIENCE: Duration = Duration::from_secs(50);

/// The run is where the debugger shall look at it.
static REACHED: AtomicBool = AtomicBool::new(false);
/// The debugger has been there.
static LOOKED: AtomicBool = AtomicBool::new(false);

/// Stands still without a system call until the debugger has looked.
#[inline(never)]
fn stand_still() {
    REACHED.store(true, Ordering::Release);
    while !LOOKED.load(Ordering::Acquire) {
        spin_loop();
    }
}

/// Threads that answer each other, and another host over the network; in the middle, `pause`.
fn run(pause: fn()) {
    let mut sim = Sim::new();
    sim.watchdog = PATIENCE;
    let server = || {
        let (mut stream, _) = TcpListener::bind("0.0.0.0:80").unwrap().accept().unwrap();
        let mut byte = [0];
        while stream.read(&mut byte).unwrap() == 1 {
            stream.write_all(&byte).unwrap();
        }
    };
    let client = move || {
        let (question, questions) = mpsc::channel::<u32>();
        let (answer, answers) = mpsc::channel::<u32>();
        let worker = thread::spawn(move || questions.iter().for_each(|asked| answer.send(asked + 1).unwrap()));
        thread::sleep(Duration::from_secs(1));
        let mut stream = TcpStream::connect("10.0.0.1:80").unwrap();
        for round in 0..2 * ROUNDS {
            if round == ROUNDS {
                pause();
            }
            question.send(round).unwrap();
            assert_eq!(answers.recv(), Ok(round + 1));
            stream.write_all(&[round as u8]).unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            assert_eq!(byte[0], round as u8);
        }
        drop(question);
        worker.join().unwrap();
    };
    println!("hash {:016x}", sim.host(server).host(client).run().done().hash());
}

/// Attaches to this process, has all stacks printed, and detaches.
fn look() -> Output {
    let pid = std::process::id().to_string();
    let orders = ["-ex", "thread apply all backtrace", "-ex", "detach"];
    Command::new("gdb").args(["-nx", "-batch", "-p", &pid]).args(orders).output().expect("gdb starts")
}

fn run_with_debugger() {
    // SAFETY: plain numbers. Where only ancestors may look at a process (Yama), anybody may look at this one.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY, 0, 0, 0) };
    let debugger = thread::spawn(|| {
        while !REACHED.load(Ordering::Acquire) {
            thread::yield_now();
        }
        let seen = look();
        LOOKED.store(true, Ordering::Release);
        seen
    });
    run(stand_still);
    println!("{}", text(&debugger.join().unwrap()));
}

#[test]
fn the_run_that_a_debugger_shall_look_at() {
    if let Some(outputs) = in_children("the_run_that_a_debugger_shall_look_at", || run(|| ())) {
        outputs.iter().for_each(|output| assert!(output.status.success(), "{}", text(output)));
    }
}

#[test]
fn a_run_goes_on_after_a_debugger_has_looked_at_it() {
    if Command::new("gdb").arg("--version").output().is_err() {
        println!("skipped: there is no gdb");
        return;
    }
    let Some(seen) = in_children("a_run_goes_on_after_a_debugger_has_looked_at_it", run_with_debugger) else { return };
    let alone = in_children("the_run_that_a_debugger_shall_look_at", || run(|| ())).expect("this is the parent");
    let hash = |output: &Output| text(output).lines().find(|line| line.starts_with("hash")).map(str::to_owned);
    for output in &seen {
        assert!(output.status.success(), "{}\n{}", output.status, text(output));
        assert!(text(output).contains("stand_still"), "the debugger shows where the run is:\n{}", text(output));
        assert!(hash(output).is_some());
        assert_eq!(hash(output), hash(&alone[0]), "the run is what it would have been");
    }
}
