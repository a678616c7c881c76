//! Sockets: std's, tokio's and C's, on the simulated network.
#![allow(clippy::disallowed_methods)] // Programs under test read clocks and sleep: that is what is tested.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use halfopen_kernel::FD_BASE;
use support::{Sim, address, in_child, isolated, text};

/// Where host `a` listens.
fn server() -> SocketAddr {
    SocketAddr::new(address(0), 80)
}

fn echo_once() {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).unwrap();
    let (mut stream, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip(), address(1));
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    stream.write_all(&all).unwrap();
}

#[test]
fn std_streams_reach_another_host() {
    isolated("std_streams_reach_another_host", || {
        let client = || {
            thread::sleep(Duration::from_millis(10));
            let start = Instant::now();
            let mut stream = TcpStream::connect(server()).unwrap();
            assert_eq!(start.elapsed().as_millis(), 2, "one round trip of 1 ms each way");
            assert!(stream.as_raw_fd() >= FD_BASE);
            assert_eq!((stream.peer_addr().unwrap(), stream.local_addr().unwrap().ip()), (server(), address(1)));
            stream.set_nodelay(true).unwrap();
            assert!(stream.nodelay().unwrap());
            let sent: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
            stream.write_all(&sent).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).unwrap();
            assert_eq!(back, sent);
        };
        Sim::new().host(echo_once).host(client).run().done();
    });
}

#[test]
fn a_read_times_out_in_virtual_time() {
    isolated("a_read_times_out_in_virtual_time", || {
        let silent = || {
            let listener = TcpListener::bind(server()).unwrap();
            let _held = listener.accept().unwrap();
            thread::sleep(Duration::from_secs(100));
        };
        let client = || {
            thread::sleep(Duration::from_millis(10));
            let mut stream = TcpStream::connect(server()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(7))).unwrap();
            let start = Instant::now();
            let error = stream.read(&mut [0; 8]).unwrap_err();
            assert_eq!((error.kind(), start.elapsed().as_secs()), (ErrorKind::WouldBlock, 7));
        };
        Sim::new().host(silent).host(client).run().done();
    });
}

#[test]
fn nobody_listening_refuses() {
    isolated("nobody_listening_refuses", || {
        let client = || {
            let error = TcpStream::connect(server()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        };
        Sim::new().host(|| ()).host(|| thread::sleep(Duration::from_secs(1))).host(client).run();
        // Host `a` has ended but its kernel still answers.
    });
}

#[test]
fn loopback_stays_inside() {
    isolated("loopback_stays_inside", || {
        let main = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let there = listener.local_addr().unwrap();
            let other = thread::spawn(move || TcpStream::connect(there).unwrap().write_all(b"hello").unwrap());
            let mut said = String::new();
            listener.accept().unwrap().0.read_to_string(&mut said).unwrap();
            other.join().unwrap();
            assert_eq!(said, "hello");
        };
        Sim::new().host(main).run().done();
    });
}

#[test]
fn datagrams_reach_another_host() {
    isolated("datagrams_reach_another_host", || {
        let echo = || {
            let socket = UdpSocket::bind(SocketAddr::new(address(0), 53)).unwrap();
            let mut buffer = [0; 100];
            let (len, from) = socket.recv_from(&mut buffer).unwrap();
            socket.send_to(&buffer[..len], from).unwrap();
        };
        let client = || {
            thread::sleep(Duration::from_millis(10));
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect(SocketAddr::new(address(0), 53)).unwrap();
            socket.send(b"anybody?").unwrap();
            let mut buffer = [0; 100];
            let len = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..len], b"anybody?");
        };
        Sim::new().host(echo).host(client).run().done();
    });
}

#[test]
fn unix_pairs_carry_bytes_and_vectors() {
    isolated("unix_pairs_carry_bytes_and_vectors", || {
        let main = || {
            let (mut a, mut b) = UnixStream::pair().unwrap();
            let parts = [std::io::IoSlice::new(b"scat"), std::io::IoSlice::new(b"tered")];
            assert_eq!(a.write_vectored(&parts).unwrap(), 9);
            let (mut first, mut second) = ([0; 5], [0; 10]);
            let mut room = [std::io::IoSliceMut::new(&mut first), std::io::IoSliceMut::new(&mut second)];
            assert_eq!(b.read_vectored(&mut room).unwrap(), 9);
            assert_eq!((&first, &second[..4]), (b"scatt", &b"ered"[..]));
            drop(a);
            assert_eq!(b.read(&mut [0; 1]).unwrap(), 0);
        };
        Sim::new().host(main).run().done();
    });
}

/// An echo server and clients on multi-threaded tokio runtimes.
fn tokio_echo() -> Sim {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let serve = move || {
        runtime().block_on(async {
            let listener = tokio::net::TcpListener::bind(server()).await.unwrap();
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..10 {
                let (mut stream, _) = listener.accept().await.unwrap();
                tasks.spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await.unwrap();
                });
            }
            tasks.join_all().await;
        });
    };
    let client = move || {
        runtime().block_on(async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let mut tasks = tokio::task::JoinSet::new();
            for number in 0..10u32 {
                tasks.spawn(async move {
                    let mut stream = tokio::net::TcpStream::connect(server()).await.unwrap();
                    for round in 0..20u32 {
                        let sent = (number * 1000 + round).to_be_bytes();
                        stream.write_all(&sent).await.unwrap();
                        let mut back = [0; 4];
                        stream.read_exact(&mut back).await.unwrap();
                        assert_eq!(back, sent);
                        tokio::time::sleep(Duration::from_secs(60)).await;
                    }
                    let slept = tokio::task::spawn_blocking(|| {
                        let start = Instant::now();
                        thread::sleep(Duration::from_secs(1));
                        start.elapsed().as_secs()
                    });
                    assert_eq!(slept.await.unwrap(), 1);
                });
            }
            tasks.join_all().await;
        });
    };
    Sim::new().host(serve).host(client)
}

#[test]
fn tokio_echoes_on_many_threads_the_same_way_each_time() {
    let run = || println!("hash {:016x}", tokio_echo().run().done().hash());
    let hash = || {
        let output = in_child("tokio_echoes_on_many_threads_the_same_way_each_time", run)?;
        let said = text(&output);
        assert!(output.status.success(), "{said}");
        let hash = said.lines().find_map(|line| line.split("hash ").nth(1)).map(str::to_owned);
        Some(hash.unwrap_or_else(|| panic!("no hash in {said}")))
    };
    let Some(first) = hash() else { return };
    for _ in 0..2 {
        assert_eq!(hash().as_ref(), Some(&first));
    }
}

#[test]
fn nothing_reaches_a_real_listener_outside() {
    isolated("nothing_reaches_a_real_listener_outside", || {
        // Made by a thread that is not simulated: a real one.
        let outside = TcpListener::bind("127.0.0.1:0").unwrap();
        outside.set_nonblocking(true).unwrap();
        let there = outside.local_addr().unwrap();
        let udp_outside = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp_outside.set_nonblocking(true).unwrap();
        let udp_there = udp_outside.local_addr().unwrap();
        let main = move || {
            assert_eq!(TcpStream::connect(there).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.send_to(b"out?", udp_there).unwrap();
        };
        Sim::new().host(main).run().done();
        assert_eq!(outside.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(udp_outside.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}
