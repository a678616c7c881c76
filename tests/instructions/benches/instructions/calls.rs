//! What a program pays: a call of libc that the virtual kernel answers, and a switch from one thread to another.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use halfopen_instructions::count::counted;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;

use crate::{Operation, operation, run};

pub const OPERATIONS: &[Operation] = &[
    operation("interpose/clock_gettime", TIMES, || run::run(vec![run::main(clock_gettime)])),
    operation("interpose/recv", TIMES, recv),
    operation("interpose/epoll_wait", TIMES, || run::run(vec![run::main(epoll_wait)])),
    operation("interpose/hand-over", 2 * TIMES, || run::run(vec![run::main(hand_over)])),
    operation("interpose/wake-and-hand-over", 2 * TIMES, || run::run(vec![run::main(wake)])),
];

const TIMES: u64 = 32;

#[allow(clippy::disallowed_methods)] // This is the call that is counted, and its time is virtual.
fn clock_gettime() {
    black_box(Instant::now());
    counted(|| {
        for _ in 0..TIMES {
            black_box(Instant::now());
        }
    });
}

/// Reads a hundred bytes at a time of what has arrived.
fn recv() {
    const PIECE: [u8; 100] = [b'x'; 100];
    let server = || {
        let listener = TcpListener::bind(("0.0.0.0", 80)).expect("nobody has that port");
        let (mut stream, _) = listener.accept().expect("somebody comes");
        for _ in 0..=TIMES {
            stream.write_all(&PIECE).expect("the client reads");
        }
        pause(Duration::from_secs(10));
    };
    let client = || {
        pause(Duration::from_secs(1));
        let mut stream = TcpStream::connect(SocketAddr::new(run::address(0), 80)).expect("the server listens");
        pause(Duration::from_secs(1));
        let mut buffer = PIECE;
        stream.read_exact(&mut buffer).expect("there is data");
        counted(|| {
            for _ in 0..TIMES {
                assert_eq!(stream.read(&mut buffer).ok(), Some(PIECE.len()));
            }
        });
    };
    run::run(vec![run::main(server), run::main(client)]);
}

/// One descriptor of two is readable, and stays so.
fn epoll_wait() {
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("there is room for a descriptor");
    let events = [0, 1].map(|value| EventFd::from_value(value).expect("there is room for a descriptor"));
    for (number, event) in (0..).zip(&events) {
        epoll.add(event, EpollEvent::new(EpollFlags::EPOLLIN, number)).expect("it can be waited for");
    }
    let mut ready = [EpollEvent::empty(); 8];
    assert_eq!(epoll.wait(&mut ready, EpollTimeout::NONE), Ok(1));
    counted(|| {
        for _ in 0..TIMES {
            assert_eq!(epoll.wait(&mut ready, EpollTimeout::NONE), Ok(1));
        }
    });
}

/// Two threads that give way to each other.
fn hand_over() {
    let other = thread::spawn(|| (0..2 * TIMES).for_each(|_| thread::yield_now()));
    thread::yield_now();
    counted(|| (0..TIMES).for_each(|_| thread::yield_now()));
    other.join().expect("it does not panic");
}

/// Two threads, each of which wakes the other and waits for it.
fn wake() {
    let first = thread::current();
    let second = thread::spawn(move || {
        for _ in 0..TIMES + 2 {
            thread::park();
            first.unpark();
        }
    });
    let turn = || {
        second.thread().unpark();
        thread::park();
    };
    turn();
    counted(|| (0..TIMES).for_each(|_| turn()));
    // It ends after this.
    turn();
    second.join().expect("it does not panic");
}

#[allow(clippy::disallowed_methods)] // On a simulated thread, time is virtual.
fn pause(span: Duration) {
    thread::sleep(span);
}
