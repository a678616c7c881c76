//! epoll against a model that is as simple as can be: for each eventfd its counter and whether an edge is due.

use std::task::Poll;

use halfopen_core::SimDuration;
use halfopen_kernel::{Call, EPOLLET, EPOLLONESHOT, EpollEvent, EpollOp, Fd};
use proptest::prelude::*;

use crate::world::{IN, OUT, check};

const FILES: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    Write(usize),
    Read(usize),
    Add(usize, u32),
    Modify(usize, u32),
    Delete(usize),
    Wait(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let file = 0..FILES;
    let events = prop::sample::select(vec![
        IN,
        OUT,
        IN | OUT,
        IN | EPOLLET,
        IN | OUT | EPOLLET,
        IN | EPOLLONESHOT,
        IN | OUT | EPOLLONESHOT | EPOLLET,
    ]);
    prop_oneof![
        3 => file.clone().prop_map(Op::Write),
        2 => file.clone().prop_map(Op::Read),
        2 => (file.clone(), events.clone()).prop_map(|(file, events)| Op::Add(file, events)),
        1 => (file.clone(), events).prop_map(|(file, events)| Op::Modify(file, events)),
        1 => file.prop_map(Op::Delete),
        4 => (1..=FILES).prop_map(Op::Wait),
    ]
}

#[derive(Clone, Debug, Default)]
struct Model {
    counter: [u64; FILES],
    /// What is asked for, if it is watched.
    asked: [Option<u32>; FILES],
    spent: [bool; FILES],
    /// Files that may have something to tell, in the order in which they came to.
    queue: Vec<usize>,
}

impl Model {
    fn ready(&self, file: usize) -> u32 {
        OUT | if self.counter[file] > 0 { IN } else { 0 }
    }

    fn tells(&self, file: usize) -> u32 {
        match self.asked[file] {
            Some(asked) if !self.spent[file] => self.ready(file) & asked,
            _ => 0,
        }
    }

    fn edge(&mut self, file: usize, cause: u32) {
        if self.tells(file) & cause != 0 && !self.queue.contains(&file) {
            self.queue.push(file);
        }
    }

    fn set(&mut self, file: usize, asked: u32) {
        self.asked[file] = Some(asked);
        self.spent[file] = false;
        self.edge(file, IN | OUT);
    }

    fn wait(&mut self, max: usize) -> Vec<(usize, u32)> {
        let mut told = Vec::new();
        let mut again = Vec::new();
        while told.len() < max && !self.queue.is_empty() {
            let file = self.queue.remove(0);
            let events = self.tells(file);
            if events == 0 {
                continue;
            }
            told.push((file, events));
            let asked = self.asked[file].unwrap();
            if asked & EPOLLONESHOT != 0 {
                self.spent[file] = true;
            } else if asked & EPOLLET == 0 {
                again.push(file);
            }
        }
        self.queue.extend(again);
        told
    }
}

fn play(ops: Vec<Op>) {
    check(move |sys| {
        let ops = ops.clone();
        async move {
            let epoll = sys.k(|kernel| kernel.epoll_create(true)).unwrap();
            let fds: Vec<Fd> = (0..FILES).map(|_| sys.eventfd()).collect();
            let mut model = Model::default();
            for (step, op) in ops.iter().enumerate() {
                let ctl = |op, file: usize, events| {
                    let event = EpollEvent { events, data: file as u64 };
                    sys.k(|kernel| kernel.epoll_ctl(epoll, op, fds[file], event)).is_ok()
                };
                match *op {
                    Op::Write(file) => {
                        sys.write(fds[file], &1u64.to_ne_bytes()).await.unwrap();
                        model.counter[file] += 1;
                        model.edge(file, IN);
                    }
                    Op::Read(file) => {
                        let ok = sys.read(fds[file], 8).await.is_ok();
                        assert_eq!(ok, model.counter[file] > 0, "step {step}");
                        if ok {
                            model.counter[file] = 0;
                            model.edge(file, OUT);
                        }
                    }
                    Op::Add(file, events) => {
                        let ok = ctl(EpollOp::Add, file, events);
                        assert_eq!(ok, model.asked[file].is_none(), "step {step}");
                        if ok {
                            model.set(file, events);
                        }
                    }
                    Op::Modify(file, events) => {
                        let ok = ctl(EpollOp::Modify, file, events);
                        assert_eq!(ok, model.asked[file].is_some(), "step {step}");
                        if ok {
                            model.set(file, events);
                        }
                    }
                    Op::Delete(file) => {
                        assert_eq!(ctl(EpollOp::Delete, file, 0), model.asked[file].is_some(), "step {step}");
                        model.asked[file] = None;
                        model.queue.retain(|queued| *queued != file);
                    }
                    Op::Wait(max) => {
                        let mut out = Vec::new();
                        let zero = Some(SimDuration::ZERO);
                        let mut call = Call { resumed: true, ..Call::default() };
                        let told = sys.k(|kernel| kernel.epoll_wait(epoll, max, zero, &mut out, &mut call));
                        let expected = model.wait(max);
                        assert_eq!(told, Poll::Ready(Ok(expected.len())), "step {step}");
                        let told: Vec<(usize, u32)> =
                            out.iter().map(|event| (event.data as usize, event.events)).collect();
                        assert_eq!(told, expected, "step {step}");
                    }
                }
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn epoll_agrees_with_the_model(ops in prop::collection::vec(op(), 1..60)) {
        play(ops);
    }
}
