//! What epoll tells, when, and in which order.

use crate::raw;
use crate::trace::{File, Trace, listener, local, pipe, tcp, tcp_pair, unix_pair};

const IN: i32 = libc::EPOLLIN;
const OUT: i32 = libc::EPOLLOUT;
const ET: i32 = libc::EPOLLET;
const ONESHOT: i32 = libc::EPOLLONESHOT;

fn eventfd(name: &str) -> File {
    File::new(name, raw::eventfd(0, libc::EFD_NONBLOCK).expect("an eventfd"))
}

fn ring(file: &File) {
    nix::unistd::write(&file.fd, &1_u64.to_ne_bytes()).expect("room for one");
}

fn level_triggered(t: &mut Trace) {
    let (a, b) = unix_pair("a", "b", libc::SOCK_STREAM);
    let epoll = t.epoll("epoll");
    t.add(&epoll, &b, IN);
    t.wait(&epoll, 8);
    t.write(&a, "abc");
    t.wait(&epoll, 8);
    t.wait(&epoll, 8);
    t.read(&b, 2);
    t.wait(&epoll, 8);
    t.read(&b, 2);
    t.wait(&epoll, 8);
}

/// New bytes are an edge, even if some were there already; reading some is none.
fn edge_triggered(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    let epoll = t.epoll("epoll");
    t.add(&epoll, &b, IN | ET);
    t.wait(&epoll, 8);
    t.write(&a, "abc");
    t.wait_long(&epoll, 8);
    t.wait(&epoll, 8);
    t.read(&b, 1);
    t.wait(&epoll, 8);
    t.write(&a, "d");
    t.wait_long(&epoll, 8);
    t.wait(&epoll, 8);
    t.read(&b, 10);
    t.wait(&epoll, 8);
}

fn an_edge_tells_all_that_is_ready(t: &mut Trace) {
    let (a, b) = tcp_pair("a", "b");
    let epoll = t.epoll("epoll");
    t.add(&epoll, &b, IN | OUT | ET);
    t.wait(&epoll, 8);
    t.write(&a, "abc");
    t.wait_long(&epoll, 8);
    t.read(&b, 10);
    t.write(&a, "d");
    t.wait_long(&epoll, 8);
}

fn modify_is_an_edge(t: &mut Trace) {
    let (a, b) = unix_pair("a", "b", libc::SOCK_STREAM);
    let epoll = t.epoll("epoll");
    t.write(&a, "abc");
    t.add(&epoll, &b, IN | ET);
    t.wait(&epoll, 8);
    t.wait(&epoll, 8);
    t.modify(&epoll, &b, IN | ET);
    t.wait(&epoll, 8);
    t.wait(&epoll, 8);
    t.modify(&epoll, &b, OUT | ET);
    t.wait(&epoll, 8);
}

fn what_was_ready_and_is_no_more(t: &mut Trace) {
    let (a, b) = unix_pair("a", "b", libc::SOCK_STREAM);
    let epoll = t.epoll("epoll");
    t.add(&epoll, &b, IN | ET);
    t.write(&a, "abc");
    t.read(&b, 10);
    t.wait(&epoll, 8);
    t.write(&a, "d");
    t.wait(&epoll, 8);
}

fn told_once(t: &mut Trace) {
    let (a, b) = unix_pair("a", "b", libc::SOCK_STREAM);
    let epoll = t.epoll("epoll");
    t.add(&epoll, &b, IN | ONESHOT);
    t.write(&a, "abc");
    t.wait(&epoll, 8);
    t.wait(&epoll, 8);
    t.write(&a, "def");
    t.wait(&epoll, 8);
    t.modify(&epoll, &b, IN | ONESHOT);
    t.wait(&epoll, 8);
    t.wait(&epoll, 8);
    t.close(a);
    t.wait(&epoll, 8);
    t.modify(&epoll, &b, ONESHOT);
    t.wait(&epoll, 8);
}

fn in_the_order_in_which_they_became_ready(t: &mut Trace) {
    let files: Vec<File> = ["a", "b", "c", "d"].map(eventfd).into();
    let epoll = t.epoll("epoll");
    for file in &files {
        t.add(&epoll, file, IN);
    }
    for place in [2, 0, 3, 1] {
        ring(&files[place]);
    }
    t.wait(&epoll, 8);
    t.wait(&epoll, 8);
    t.read(&files[0], 8);
    t.wait(&epoll, 8);
    ring(&files[0]);
    t.wait(&epoll, 8);
}

/// Fewer are told than are ready: the others come first the next time.
fn a_few_at_a_time(t: &mut Trace) {
    let files: Vec<File> = ["a", "b", "c", "d", "e"].map(eventfd).into();
    let epoll = t.epoll("epoll");
    for file in &files {
        t.add(&epoll, file, IN);
        ring(file);
    }
    for _ in 0..6 {
        t.wait(&epoll, 2);
    }
    t.wait(&epoll, 8);
    t.wait(&epoll, 4);
    t.wait(&epoll, 8);
}

fn a_few_edges_at_a_time(t: &mut Trace) {
    let files: Vec<File> = ["a", "b", "c", "d", "e"].map(eventfd).into();
    let epoll = t.epoll("epoll");
    for file in &files {
        t.add(&epoll, file, IN | ET);
        ring(file);
    }
    t.wait(&epoll, 2);
    ring(&files[0]);
    t.wait(&epoll, 2);
    t.wait(&epoll, 8);
    t.wait(&epoll, 8);
    ring(&files[1]);
    ring(&files[1]);
    t.wait(&epoll, 8);
    t.wait(&epoll, 8);
}

/// Every write to an eventfd is an edge; reading it is one for those who wait to write.
fn edges_of_an_eventfd(t: &mut Trace) {
    let bell = eventfd("bell");
    let epoll = t.epoll("epoll");
    t.add(&epoll, &bell, IN | OUT | ET);
    t.wait(&epoll, 8);
    ring(&bell);
    t.wait(&epoll, 8);
    ring(&bell);
    t.wait(&epoll, 8);
    let mut count = [0; 8];
    nix::unistd::read(&bell.fd, &mut count).expect("a count");
    t.note(format!("count {}", u64::from_ne_bytes(count)));
    t.wait(&epoll, 8);
    t.wait(&epoll, 8);
}

fn a_listener(t: &mut Trace) {
    let listener = listener("listener");
    let epoll = t.epoll("epoll");
    t.add(&epoll, &listener, IN | ET);
    t.wait(&epoll, 8);
    let (one, two) = (tcp("one"), tcp("two"));
    t.connect(&one, local(&listener));
    t.wait_long(&epoll, 8);
    t.wait(&epoll, 8);
    t.connect(&two, local(&listener));
    t.wait_long(&epoll, 8);
    t.accept(&listener, "server");
    t.wait(&epoll, 8);
    t.accept(&listener, "server");
    t.accept(&listener, "server");
    t.wait(&epoll, 8);
}

fn a_connection_being_made(t: &mut Trace) {
    let listener = listener("listener");
    let client = tcp("client");
    let epoll = t.epoll("epoll");
    t.add(&epoll, &client, IN | OUT | libc::EPOLLRDHUP | ET);
    t.wait(&epoll, 8);
    t.connect(&client, local(&listener));
    t.wait_long(&epoll, 8);
    t.wait(&epoll, 8);
}

fn a_connection_being_refused(t: &mut Trace) {
    let gone = local(&listener("gone"));
    let client = tcp("client");
    let epoll = t.epoll("epoll");
    t.add(&epoll, &client, IN | OUT | libc::EPOLLRDHUP | ET);
    t.wait(&epoll, 8);
    t.connect(&client, gone);
    t.wait_long(&epoll, 8);
    t.wait(&epoll, 8);
    t.error(&client);
    t.wait(&epoll, 8);
}

fn one_of_two_descriptors_is_closed(t: &mut Trace) {
    let (reader, writer) = pipe();
    let epoll = t.epoll("epoll");
    t.add(&epoll, &reader, IN);
    let second = reader.dup("second");
    t.write(&writer, "a");
    t.close(reader);
    // The description lives on, and so does what watches it.
    t.wait(&epoll, 8);
    t.delete(&epoll, &second);
    t.add(&epoll, &second, IN);
    t.wait(&epoll, 8);
    t.close(second);
    t.wait(&epoll, 8);
}

fn two_descriptors_of_one_file(t: &mut Trace) {
    let (reader, writer) = pipe();
    let epoll = t.epoll("epoll");
    let second = reader.dup("second");
    t.add(&epoll, &reader, IN);
    t.add(&epoll, &second, IN | ET);
    t.write(&writer, "a");
    t.wait(&epoll, 8);
    t.wait(&epoll, 8);
    t.delete(&epoll, &reader);
    t.wait(&epoll, 8);
    t.write(&writer, "b");
    t.wait(&epoll, 8);
}

fn a_closed_descriptor_is_forgotten(t: &mut Trace) {
    let epoll = t.epoll("epoll");
    let first = eventfd("first");
    ring(&first);
    t.add(&epoll, &first, IN);
    let number = first.number();
    t.close(first);
    t.wait(&epoll, 8);
    // The same number again is another file.
    let again = eventfd("again");
    t.note(format!("the lowest free number is used again: {}", again.number() == number));
    ring(&again);
    t.wait(&epoll, 8);
    t.modify(&epoll, &again, IN);
    t.add(&epoll, &again, IN);
    t.wait(&epoll, 8);
}

fn a_duplicate_of_the_instance(t: &mut Trace) {
    let bell = eventfd("bell");
    let epoll = t.epoll("epoll");
    let twin = epoll.dup("twin");
    t.add(&epoll, &bell, IN | ET);
    t.add(&twin, &bell, IN);
    ring(&bell);
    t.wait(&twin, 8);
    t.wait(&epoll, 8);
    t.close(epoll);
    ring(&bell);
    t.wait(&twin, 8);
    t.delete(&twin, &bell);
    t.wait(&twin, 8);
}

fn one_within_another(t: &mut Trace) {
    let bell = eventfd("bell");
    let (inner, outer) = (t.epoll("inner"), t.epoll("outer"));
    t.add(&inner, &bell, IN);
    t.add(&outer, &inner, IN);
    t.poll(&inner);
    t.wait(&outer, 8);
    ring(&bell);
    t.poll(&inner);
    t.poll(&outer);
    t.wait(&outer, 8);
    t.wait(&outer, 8);
    t.wait(&inner, 8);
    t.read(&bell, 8);
    t.wait(&outer, 8);
    t.poll(&outer);
}

fn one_within_another_by_edges(t: &mut Trace) {
    let bell = eventfd("bell");
    let (inner, outer) = (t.epoll("inner"), t.epoll("outer"));
    t.add(&inner, &bell, IN | ET);
    t.add(&outer, &inner, IN | ET);
    ring(&bell);
    t.wait(&outer, 8);
    t.wait(&outer, 8);
    ring(&bell);
    t.wait(&outer, 8);
    t.wait(&inner, 8);
    t.wait(&outer, 8);
    ring(&bell);
    t.wait(&outer, 8);
}

fn a_timer(t: &mut Trace) {
    let timer = File::new("timer", raw::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK).expect("a timer"));
    let epoll = t.epoll("epoll");
    t.add(&epoll, &timer, IN | ET);
    t.wait(&epoll, 8);
    raw::timerfd_settime(timer.number(), 0, 5_000_000, 0).expect("set");
    t.wait_long(&epoll, 8);
    t.wait(&epoll, 8);
    t.poll(&timer);
}

fn a_waiting_thread_is_woken(t: &mut Trace) {
    let bell = eventfd("bell");
    let epoll = t.epoll("epoll");
    t.add(&epoll, &bell, IN);
    std::thread::scope(|scope| {
        scope.spawn(|| ring(&bell));
        t.wait_long(&epoll, 8);
    });
}

fn a_time_passes(t: &mut Trace) {
    let bell = eventfd("bell");
    let epoll = t.epoll("epoll");
    t.add(&epoll, &bell, IN | ET);
    let mut told = Ok(0);
    let taken = crate::threads::time(|| told = raw::epoll_wait(epoll.number(), 8, 30).map(|told| told.len()));
    t.say("epoll.wait", told);
    t.note(format!("at least so long: {}, but not for ever: {}", taken.as_millis() >= 30, taken.as_secs() < 20));
}

/// What is added while a thread waits is told to it.
fn added_while_waiting(t: &mut Trace) {
    let bell = eventfd("bell");
    ring(&bell);
    let epoll = t.epoll("epoll");
    let (instance, number) = (epoll.number(), bell.number());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let tester = Trace::default();
            tester.quiet();
            raw::epoll_ctl(instance, libc::EPOLL_CTL_ADD, number, IN as u32, 77).expect("added");
        });
        let told = raw::epoll_wait(instance, 8, 10_000);
        t.say("epoll.wait", told.map(|told| format!("{told:?}")));
    });
}

#[test]
fn as_on_linux() {
    compare!(
        level_triggered,
        edge_triggered,
        an_edge_tells_all_that_is_ready,
        modify_is_an_edge,
        what_was_ready_and_is_no_more,
        told_once,
        in_the_order_in_which_they_became_ready,
        a_few_at_a_time,
        a_few_edges_at_a_time,
        edges_of_an_eventfd,
        a_listener,
        a_connection_being_made,
        a_connection_being_refused,
        one_of_two_descriptors_is_closed,
        two_descriptors_of_one_file,
        a_closed_descriptor_is_forgotten,
        a_duplicate_of_the_instance,
        one_within_another,
        one_within_another_by_edges,
        a_timer,
        a_waiting_thread_is_woken,
        a_time_passes,
        added_while_waiting,
    );
}
