//! Unix-domain sockets: pairs, their ends, and descriptors that travel.

use std::io::{IoSlice, IoSliceMut};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, bind, connect, recvmsg, sendmsg, sendto,
};

use crate::raw;
use crate::trace::{File, Trace, pipe, unix_pair};

const STREAM: i32 = libc::SOCK_STREAM;
const DGRAM: i32 = libc::SOCK_DGRAM;
const SEQPACKET: i32 = libc::SOCK_SEQPACKET;

fn a_stream(t: &mut Trace) {
    let (a, b) = unix_pair("a", "b", STREAM);
    t.poll(&a);
    t.read(&a, 10);
    t.write(&a, "abc");
    t.write(&a, "def");
    t.poll(&b);
    t.recv(&b, 4, MsgFlags::MSG_PEEK);
    t.read(&b, 4);
    t.read(&b, 10);
    t.read(&b, 10);
    t.write(&a, "");
    t.poll(&b);
    t.names(&a);
}

fn a_stream_is_shut_down(t: &mut Trace) {
    let (a, b) = unix_pair("a", "b", STREAM);
    t.write(&a, "abc");
    t.shutdown(&a, libc::SHUT_WR);
    t.poll(&a);
    t.poll(&b);
    t.write(&a, "d");
    t.read(&b, 10);
    t.read(&b, 10);
    t.write(&b, "xyz");
    t.read(&a, 10);
    t.shutdown(&b, libc::SHUT_WR);
    t.poll(&a);
    t.poll(&b);
    t.read(&a, 10);
    t.shutdown(&a, libc::SHUT_RDWR);
    t.poll(&a);
}

fn a_stream_is_shut_for_reading(t: &mut Trace) {
    let (a, b) = unix_pair("a", "b", STREAM);
    t.write(&b, "abc");
    t.shutdown(&a, libc::SHUT_RD);
    t.poll(&a);
    t.poll(&b);
    t.write(&b, "d");
    t.read(&a, 10);
    t.read(&a, 10);
    t.write(&a, "x");
    t.read(&b, 10);
}

fn a_stream_is_closed(t: &mut Trace) {
    let (a, b) = unix_pair("a", "b", STREAM);
    t.write(&b, "abc");
    t.close(b);
    t.poll(&a);
    t.write(&a, "x");
    t.send(&a, "x", MsgFlags::MSG_NOSIGNAL);
    t.read(&a, 2);
    t.read(&a, 2);
    t.read(&a, 2);
    t.poll(&a);
    t.error(&a);
    t.shutdown(&a, libc::SHUT_WR);
    t.names(&a);
}

fn a_stream_is_closed_with_bytes_unread(t: &mut Trace) {
    let (a, b) = unix_pair("a", "b", STREAM);
    t.write(&a, "abc");
    t.write(&b, "xyz");
    t.close(b);
    t.poll(&a);
    t.read(&a, 10);
    t.read(&a, 10);
    t.read(&a, 10);
    t.poll(&a);
    t.write(&a, "x");
}

fn a_reset_is_told_once(t: &mut Trace) {
    let (a, b) = unix_pair("a", "b", STREAM);
    t.write(&a, "abc");
    t.close(b);
    t.error(&a);
    t.error(&a);
    t.read(&a, 1);
    t.write(&a, "x");
}

fn datagrams(t: &mut Trace) {
    let (a, b) = unix_pair("a", "b", DGRAM);
    t.poll(&a);
    t.read(&a, 1);
    t.write(&a, "abc");
    t.write(&a, "");
    t.write(&a, "defg");
    t.recv(&b, 2, MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC);
    t.read(&b, 2);
    t.read(&b, 2);
    t.poll(&b);
    t.recv(&b, 10, MsgFlags::empty());
    t.recv(&b, 10, MsgFlags::empty());
    t.write_many(&a, 300_000);
}

fn datagrams_end(t: &mut Trace) {
    let (a, b) = unix_pair("a", "b", DGRAM);
    t.write(&b, "abc");
    t.close(b);
    t.poll(&a);
    t.read(&a, 10);
    t.read(&a, 10);
    t.write(&a, "x");
    t.write(&a, "x");
    t.poll(&a);
}

fn datagrams_are_shut_down(t: &mut Trace) {
    let (a, b) = unix_pair("a", "b", DGRAM);
    t.shutdown(&a, libc::SHUT_WR);
    t.write(&a, "x");
    t.poll(&a);
    t.poll(&b);
    t.shutdown(&a, libc::SHUT_RD);
    t.poll(&a);
    t.write(&b, "x");
    t.read(&a, 1);
}

fn packets(t: &mut Trace) {
    let (a, b) = unix_pair("a", "b", SEQPACKET);
    t.write(&a, "abc");
    t.write(&a, "defg");
    t.read(&b, 2);
    t.recv(&b, 2, MsgFlags::MSG_TRUNC);
    t.read(&b, 2);
    t.write(&a, "last");
    t.close(a);
    t.poll(&b);
    t.read(&b, 10);
    t.read(&b, 10);
    t.write(&b, "x");
    t.poll(&b);
}

fn types_of_pairs(t: &mut Trace) {
    for (domain, kind, protocol) in [
        (libc::AF_UNIX, STREAM, 0),
        (libc::AF_UNIX, DGRAM, 1),
        (libc::AF_UNIX, SEQPACKET, 0),
        (libc::AF_UNIX, libc::SOCK_RDM, 0),
        (libc::AF_UNIX, STREAM, 7),
        (libc::AF_INET, STREAM, 0),
        (libc::AF_UNIX, 77, 0),
    ] {
        let made = raw::socketpair(domain, kind, protocol).map(drop);
        t.say(format_args!("socketpair({domain}, {kind}, {protocol})"), made);
    }
    for (domain, kind, protocol) in [
        (libc::AF_INET, STREAM, libc::IPPROTO_TCP),
        (libc::AF_INET, STREAM, libc::IPPROTO_UDP),
        (libc::AF_INET, DGRAM, libc::IPPROTO_TCP),
        (libc::AF_INET6, DGRAM, libc::IPPROTO_UDP),
        (libc::AF_INET, SEQPACKET, 0),
        (libc::AF_INET, 77, 0),
        (libc::AF_INET, STREAM, 300),
        (200, STREAM, 0),
    ] {
        let made = raw::socket(domain, kind, protocol).map(drop);
        t.say(format_args!("socket({domain}, {kind}, {protocol})"), made);
    }
}

fn send_file(t: &mut Trace, over: &File, text: &str, file: &File) {
    let sent = sendmsg::<()>(
        over.number(),
        &[IoSlice::new(text.as_bytes())],
        &[ControlMessage::ScmRights(&[file.number()])],
        MsgFlags::empty(),
        None,
    );
    t.say(format_args!("{}.sendmsg({text:?}, {})", over.name, file.name), sent);
}

fn receive_file(t: &mut Trace, over: &File, room: usize, name: &str) -> Option<File> {
    let mut buffer = vec![0; room];
    let mut control = nix::cmsg_space!(i32);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let received = recvmsg::<()>(over.number(), &mut parts, Some(&mut control), MsgFlags::empty());
    let (told, number) = match received {
        Ok(message) => {
            let fds = message.cmsgs().into_iter().flatten().find_map(|message| match message {
                ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
                _ => None,
            });
            (Ok(format!("{}, flags {:?}, a file: {}", message.bytes, message.flags, fds.is_some())), fds)
        }
        Err(errno) => (Err(errno), None),
    };
    t.say(format_args!("{}.recvmsg({room})", over.name), told);
    number.map(|number| File::new(name, raw::own(number)))
}

fn a_descriptor_travels(t: &mut Trace) {
    let (a, b) = unix_pair("a", "b", STREAM);
    let (reader, writer) = pipe();
    t.write(&a, "before");
    send_file(t, &a, "with", &writer);
    t.write(&a, "after");
    t.close(writer);
    t.poll(&reader);
    // A message with descriptors ends what one call reads.
    let travelled: Vec<File> = (0..3).filter_map(|_| receive_file(t, &b, 100, "travelled")).collect();
    t.note(format!("files: {}", travelled.len()));
    for travelled in travelled {
        t.write(&travelled, "hello");
        t.read(&reader, 10);
        t.close(travelled);
    }
    t.poll(&reader);
}

fn a_descriptor_on_its_way_is_open(t: &mut Trace) {
    let (a, b) = unix_pair("a", "b", STREAM);
    let (reader, writer) = pipe();
    send_file(t, &a, "x", &writer);
    t.close(writer);
    t.poll(&reader);
    // read(2) has no place for it: it is closed.
    t.read(&b, 10);
    t.poll(&reader);
}

fn a_descriptor_is_lost_on_its_way(t: &mut Trace) {
    let (a, b) = unix_pair("a", "b", DGRAM);
    let (reader, writer) = pipe();
    send_file(t, &a, "x", &writer);
    t.close(writer);
    t.poll(&reader);
    t.close(b);
    t.poll(&reader);
}

/// Who has no room for descriptors loses them, and is told so.
fn no_room_for_descriptors(t: &mut Trace) {
    let (a, b) = unix_pair("a", "b", STREAM);
    let (reader, writer) = pipe();
    send_file(t, &a, "x", &writer);
    t.close(writer);
    let mut buffer = [0; 10];
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let received = recvmsg::<()>(b.number(), &mut parts, None, MsgFlags::empty());
    t.say("recvmsg", received.map(|message| format!("{}, flags {:?}", message.bytes, message.flags)));
    t.poll(&reader);
}

/// An abstract name of our own.
fn name(text: &str) -> UnixAddr {
    UnixAddr::new_abstract(format!("halfopen-{:010}-{text}", std::process::id()).as_bytes()).expect("not too long")
}

fn fresh(name: &str, kind: i32) -> File {
    crate::trace::nonblocking(name, libc::AF_UNIX, kind)
}

fn bind_name(t: &mut Trace, file: &File, text: &str) {
    t.say(format_args!("{}.bind({text})", file.name), bind(file.number(), &name(text)));
}

fn connect_name(t: &mut Trace, file: &File, text: &str) {
    t.say(format_args!("{}.connect({text})", file.name), connect(file.number(), &name(text)));
}

fn named_streams(t: &mut Trace) {
    let listener = fresh("listener", STREAM);
    t.listen(&listener, 1);
    bind_name(t, &listener, "here");
    bind_name(t, &listener, "elsewhere");
    bind_name(t, &fresh("other", STREAM), "here");
    let client = fresh("client", STREAM);
    connect_name(t, &client, "here");
    t.listen(&listener, 1);
    t.poll(&listener);
    t.accept(&listener, "none");
    connect_name(t, &client, "nowhere");
    connect_name(t, &client, "here");
    connect_name(t, &client, "here");
    t.poll(&client);
    t.write(&client, "abc");
    t.poll(&listener);
    if let Some(server) = t.accept(&listener, "server") {
        t.read(&server, 10);
        t.names(&server);
    }
    t.names(&client);
    connect_name(t, &fresh("packets", SEQPACKET), "here");
    t.read(&listener, 1);
    t.write(&listener, "a");
    t.close(listener);
    connect_name(t, &fresh("late", STREAM), "here");
}

fn a_listener_with_a_full_queue(t: &mut Trace) {
    let listener = fresh("listener", STREAM);
    bind_name(t, &listener, "full");
    t.listen(&listener, 0);
    let clients: Vec<File> = ["first", "second", "third"].map(|name| fresh(name, STREAM)).into();
    for client in &clients {
        connect_name(t, client, "full");
    }
    t.accept(&listener, "server");
    connect_name(t, &clients[1], "full");
    // Who waits to be accepted is reset when the listener goes.
    t.close(listener);
    for client in &clients {
        t.poll(client);
        t.read(client, 1);
        t.read(client, 1);
    }
}

fn named_datagrams(t: &mut Trace) {
    let (a, b) = (fresh("a", DGRAM), fresh("b", DGRAM));
    let send = |t: &mut Trace, from: &File, text: &str, to: &str| {
        let sent = sendto(from.number(), text.as_bytes(), &name(to), MsgFlags::MSG_DONTWAIT);
        t.say(format_args!("{}.sendto({text:?}, {to})", from.name), sent);
    };
    send(t, &a, "x", "b");
    bind_name(t, &b, "b");
    t.write(&a, "x");
    send(t, &a, "abc", "b");
    t.read(&b, 10);
    connect_name(t, &a, "b");
    t.write(&a, "def");
    t.names(&a);
    t.read(&b, 10);
    t.listen(&b, 1);
    t.accept(&b, "none");
    connect_name(t, &fresh("stream", STREAM), "b");
    // A queue of ten, and one more.
    let mut sent = 0;
    while sent < 100 && nix::unistd::write(&a.fd, b"x").is_ok() {
        sent += 1;
    }
    t.note(format!("{sent} datagrams wait"));
    t.write(&a, "x");
    t.poll(&a);
    t.read(&b, 10);
    t.poll(&a);
    t.close(b);
    t.poll(&a);
    t.write(&a, "x");
    t.write(&a, "x");
}

fn one_buffer_for_both_ways(t: &mut Trace) {
    let (a, b) = unix_pair("a", "b", STREAM);
    let mut writes = 0;
    while nix::unistd::write(&a.fd, &[b'x'; 1_000]).is_ok() {
        writes += 1;
    }
    t.note(format!("some fit: {}", writes > 10));
    t.write(&a, "x");
    t.poll(&a);
    // The other way is free.
    t.poll(&b);
    t.drain(&a);
    let mut buffer = vec![0; 1_000_000];
    while let Ok(1..) = nix::unistd::read(&b.fd, &mut buffer) {}
    t.poll(&a);
    t.write(&a, "x");
}

fn edges_of_a_stream(t: &mut Trace) {
    let (a, b) = unix_pair("a", "b", STREAM);
    let epoll = t.epoll("epoll");
    t.add(&epoll, &a, libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET);
    t.wait(&epoll, 8);
    t.wait(&epoll, 8);
    t.write(&b, "abc");
    t.wait(&epoll, 8);
    t.write(&b, "def");
    t.wait(&epoll, 8);
    t.read(&a, 2);
    t.wait(&epoll, 8);
    t.read(&a, 10);
    t.wait(&epoll, 8);
    t.write(&a, "x");
    t.wait(&epoll, 8);
    t.read(&b, 10);
    t.wait(&epoll, 8);
    t.shutdown(&b, libc::SHUT_WR);
    t.wait(&epoll, 8);
    t.close(b);
    t.wait(&epoll, 8);
    t.wait(&epoll, 8);
}

#[test]
fn as_on_linux() {
    compare!(
        a_stream,
        a_stream_is_shut_down,
        a_stream_is_shut_for_reading,
        a_stream_is_closed,
        a_stream_is_closed_with_bytes_unread,
        a_reset_is_told_once,
        datagrams,
        datagrams_end,
        datagrams_are_shut_down,
        packets,
        types_of_pairs,
        a_descriptor_travels,
        a_descriptor_on_its_way_is_open,
        a_descriptor_is_lost_on_its_way,
        no_room_for_descriptors,
        named_streams,
        a_listener_with_a_full_queue,
        named_datagrams,
        one_buffer_for_both_ways,
        edges_of_a_stream,
    );
}
