//! The same questions through the standard library, as most programs ask them.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use crate::trace::Trace;

const HERE: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
/// A whole number of ticks of Linux's clock, to which it rounds, whether that has 100, 250, 300 or 1000 a second.
const SHORT: Duration = Duration::from_millis(40);

/// Tells what came of a call: its value, or the kind of its error.
fn tell<T: std::fmt::Debug>(t: &mut Trace, call: &str, result: io::Result<T>) {
    match result {
        Ok(value) => t.note(format!("{call} -> {value:?}")),
        Err(error) => t.note(format!("{call} -> {:?} ({})", error.kind(), error.raw_os_error().unwrap_or(0))),
    }
}

fn streams() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(HERE).expect("a free port");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("a listener");
    (client, listener.accept().expect("a connection").0)
}

fn a_whole_exchange(t: &mut Trace) {
    let listener = TcpListener::bind(HERE).expect("a free port");
    let at = listener.local_addr().expect("bound");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut server, _) = listener.accept().expect("a connection");
            let mut asked = String::new();
            server.read_to_string(&mut asked).expect("text");
            server.write_all(asked.to_uppercase().as_bytes()).expect("somebody reads");
        });
        let mut client = TcpStream::connect_timeout(&at, Duration::from_secs(20)).expect("a listener");
        tell(t, "write_all", client.write_all(b"hello"));
        tell(t, "shutdown", client.shutdown(Shutdown::Write));
        let mut answer = String::new();
        tell(t, "read_to_string", client.read_to_string(&mut answer));
        t.note(answer);
        tell(t, "write", client.write(b"more"));
    });
}

fn nobody_listens(t: &mut Trace) {
    let gone: SocketAddr = TcpListener::bind(HERE).and_then(|listener| listener.local_addr()).expect("a free port");
    tell(t, "connect", TcpStream::connect(gone).map(drop));
    tell(t, "connect_timeout", TcpStream::connect_timeout(&gone, Duration::from_secs(20)).map(drop));
    tell(t, "of several", TcpStream::connect(&[gone, gone][..]).map(drop));
}

fn time_limits(t: &mut Trace) {
    let (mut client, mut server) = streams();
    tell(t, "limit", client.set_read_timeout(Some(SHORT)));
    tell(t, "limit of nothing", client.set_read_timeout(Some(Duration::ZERO)));
    tell(t, "read", client.read(&mut [0; 8]));
    tell(t, "what limit", client.read_timeout());
    tell(t, "write", server.write(b"abc"));
    tell(t, "peek", client.peek(&mut [0; 2]));
    tell(t, "read", client.read(&mut [0; 8]));
    tell(t, "non-blocking", client.set_nonblocking(true));
    tell(t, "read", client.read(&mut [0; 8]));
    tell(t, "options", client.set_nodelay(true).and_then(|()| Ok((client.nodelay()?, client.ttl()?))));
    tell(t, "error", client.take_error().map(|error| error.map(|error| error.kind())));
    let second = client.try_clone();
    drop(client);
    tell(t, "write", server.write(b"def"));
    tell(
        t,
        "second",
        second.and_then(|mut second| second.set_nonblocking(false).and_then(|()| second.read(&mut [0; 8]))),
    );
    let mut rest = Vec::new();
    tell(t, "the end", server.read_to_end(&mut rest));
}

/// io::copy asks the kernel to move bytes on its own where it can, and copies itself where not.
fn copying(t: &mut Trace) {
    let (mut one, mut two) = streams();
    let (mut three, mut four) = streams();
    one.write_all(b"from stream to stream").expect("room");
    drop(one);
    tell(t, "copy", io::copy(&mut two, &mut three));
    drop(three);
    let mut text = String::new();
    tell(t, "read", four.read_to_string(&mut text));
    t.note(text);
    let (mut reader, mut writer) = io::pipe().expect("a pipe");
    let (mut near, mut far) = UnixStream::pair().expect("a pair");
    near.write_all(b"from a socket to a pipe").expect("room");
    drop(near);
    tell(t, "copy", io::copy(&mut far, &mut writer));
    drop(writer);
    let (mut near, mut far) = UnixStream::pair().expect("a pair");
    tell(t, "copy", io::copy(&mut reader, &mut near));
    drop(near);
    let mut text = String::new();
    tell(t, "read", far.read_to_string(&mut text));
    t.note(text);
}

/// A real file into a socket, whole.
fn copying_a_file(t: &mut Trace) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let len = std::fs::metadata(&path).expect("it is there").len();
    let mut file = std::fs::File::open(&path).expect("it can be read");
    let (mut near, mut far) = streams();
    let copied = io::copy(&mut file, &mut near);
    tell(t, "all of it", copied.map(|copied| copied == len));
    drop(near);
    let mut text = Vec::new();
    tell(t, "arrived", far.read_to_end(&mut text).map(|read| read as u64 == len));
    t.note(format!("as it was: {}", std::fs::read(&path).is_ok_and(|content| content == text)));
}

fn datagrams(t: &mut Trace) {
    let (a, b) = (UdpSocket::bind(HERE).expect("a port"), UdpSocket::bind(HERE).expect("a port"));
    let (at_a, at_b) = (a.local_addr().expect("bound"), b.local_addr().expect("bound"));
    tell(t, "send_to", a.send_to(b"abc", at_b));
    let mut buffer = [0; 2];
    let from = b.recv_from(&mut buffer).map(|(len, from)| (len, from == at_a));
    tell(t, "recv_from", from);
    tell(t, "limit", b.set_read_timeout(Some(SHORT)));
    tell(t, "recv_from", b.recv_from(&mut buffer).map(|(len, _)| len));
    tell(t, "send", a.send(b"abc"));
    tell(t, "connect", a.connect(at_b));
    drop(b);
    tell(t, "send", a.send(b"abc"));
    tell(t, "recv", a.recv(&mut buffer));
    let (c, d) = UnixDatagram::pair().expect("a pair");
    tell(t, "send", c.send(b"abc"));
    tell(t, "recv", d.recv(&mut buffer));
    tell(t, "peer", c.peer_addr().map(|peer| peer.is_unnamed()));
    drop(d);
    tell(t, "send", c.send(b"abc"));
}

fn both_families_by_name(t: &mut Trace) {
    let listener = TcpListener::bind("[::]:0").expect("IPv6");
    let port = listener.local_addr().expect("bound").port();
    for host in ["127.0.0.1", "::1"] {
        let client = TcpStream::connect((host, port));
        tell(t, host, client.and_then(|client| Ok(client.peer_addr()?.ip())));
        tell(t, "accept", listener.accept().map(|(_, from)| from.ip()));
    }
}

#[test]
fn as_on_linux() {
    compare!(a_whole_exchange, nobody_listens, time_limits, copying, copying_a_file, datagrams, both_families_by_name,);
}
