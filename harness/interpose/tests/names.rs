//! Names and interfaces: what `getaddrinfo` and `getifaddrs` say on a simulated thread.
#![allow(clippy::disallowed_methods)] // Programs under test read clocks and sleep: that is what is tested.

mod support;

use std::ffi::CStr;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use support::{Sim, address, isolated};

fn resolve(name: &str) -> std::io::Result<Vec<SocketAddr>> {
    (name, 80).to_socket_addrs().map(Iterator::collect)
}

#[test]
fn numbers_and_the_hosts_file_need_no_server() {
    isolated("numbers_and_the_hosts_file_need_no_server", || {
        let main = || {
            assert_eq!(resolve("10.9.8.7").unwrap(), ["10.9.8.7:80".parse().unwrap()]);
            assert_eq!(resolve("fd00::7").unwrap(), ["[fd00::7]:80".parse().unwrap()]);
            assert_eq!(resolve("myself").unwrap(), [SocketAddr::new(address(0), 80)]);
            assert!(resolve("localhost").unwrap().iter().all(|found| found.ip().is_loopback()));
        };
        Sim::new().host(main).run().done();
    });
}

/// Answers each question for an address of version 4 with 10.7.7.7, and others with nothing.
fn serve(questions: usize) {
    let socket = UdpSocket::bind(SocketAddr::new(address(0), 53)).unwrap();
    for _ in 0..questions {
        let mut query = [0; 512];
        let (len, from) = socket.recv_from(&mut query).unwrap();
        let is_v4 = query[..len].ends_with(&[0, 1, 0, 1]);
        let mut answer = query[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_v4), 0, 0, 0, 0]);
        answer.extend(&query[12..len]);
        if is_v4 {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 7, 7, 7]);
        }
        socket.send_to(&answer, from).unwrap();
    }
}

#[test]
fn names_are_asked_for_over_the_network() {
    isolated("names_are_asked_for_over_the_network", || {
        let client = || {
            thread::sleep(Duration::from_millis(10));
            let start = Instant::now();
            assert_eq!(resolve("db.internal").unwrap(), ["10.7.7.7:80".parse().unwrap()]);
            assert_eq!(start.elapsed().as_millis(), 2, "one round trip");
        };
        let mut sim = Sim::new().host(|| serve(2)).host(client);
        sim.nameservers = vec![address(0)];
        sim.run().done();
    });
}

#[test]
fn a_silent_server_takes_the_time_that_glibc_gives_it() {
    isolated("a_silent_server_takes_the_time_that_glibc_gives_it", || {
        let silent = || {
            let _socket = UdpSocket::bind(SocketAddr::new(address(0), 53)).unwrap();
            thread::sleep(Duration::from_secs(60));
        };
        let client = || {
            thread::sleep(Duration::from_millis(10));
            let start = Instant::now();
            let error = resolve("db.internal").unwrap_err();
            assert!(error.to_string().contains("Temporary failure in name resolution"), "{error}");
            assert_eq!(start.elapsed().as_secs(), 10, "two attempts of 5 s");
        };
        let mut sim = Sim::new().host(silent).host(client);
        sim.nameservers = vec![address(0)];
        sim.run().done();
    });
}

#[test]
fn interfaces_are_the_hosts_own() {
    isolated("interfaces_are_the_hosts_own", || {
        let main = || {
            let mut found = Vec::new();
            // SAFETY: the list is walked while it lives, and given back once.
            unsafe {
                let mut list = std::ptr::null_mut();
                assert_eq!(libc::getifaddrs(&mut list), 0);
                let mut entry = list;
                while !entry.is_null() {
                    let name = CStr::from_ptr((*entry).ifa_name).to_str().unwrap().to_owned();
                    let family = i32::from((*(*entry).ifa_addr).sa_family);
                    if family == libc::AF_INET {
                        let v4 = (*entry).ifa_addr.cast::<libc::sockaddr_in>();
                        found.push((name, IpAddr::from((*v4).sin_addr.s_addr.to_ne_bytes())));
                    }
                    entry = (*entry).ifa_next;
                }
                libc::freeifaddrs(list);
                assert_eq!(libc::if_nametoindex(c"eth0".as_ptr()), 2);
            }
            let expected = [("lo".to_owned(), "127.0.0.1".parse().unwrap()), ("eth0".to_owned(), address(0))];
            assert_eq!(found, expected);
        };
        Sim::new().host(main).run().done();
    });
}
