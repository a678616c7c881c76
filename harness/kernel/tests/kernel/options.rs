//! setsockopt and getsockopt by Linux's numbers.

use halfopen_core::event::EndReason;
use halfopen_core::{Errno, Event};
use halfopen_kernel::{Domain, Fd, SocketType};
use halfopen_netstack::socket::{Family, Kind};

use crate::world::{Sys, World, check};

fn socket(sys: &Sys, family: Family, kind: Kind) -> Fd {
    sys.k(|kernel| kernel.socket(SocketType::Inet(kind), Domain::Inet(family), true, true)).unwrap()
}

fn get(sys: &Sys, fd: Fd, level: i32, name: i32) -> Result<i32, Errno> {
    let bytes = sys.k(|kernel| kernel.getsockopt(fd, level, name, 4))?;
    Ok(i32::from_ne_bytes(bytes[..4].try_into().unwrap()))
}

fn set(sys: &Sys, fd: Fd, level: i32, name: i32, value: i32) -> Result<(), Errno> {
    sys.k(|kernel| kernel.setsockopt(fd, level, name, &value.to_ne_bytes()))
}

/// Sets and gets one option of a socket after the other: (level, name, value, what it shows afterwards or the errno).
fn check_options(family: Family, kind: Kind, table: &'static [(i32, i32, i32, Result<i32, Errno>)]) {
    check(move |sys| async move {
        let fd = socket(&sys, family, kind);
        for (level, name, value, expected) in table {
            let result = set(&sys, fd, *level, *name, *value).and_then(|()| get(&sys, fd, *level, *name));
            assert_eq!(result, *expected, "level {level} option {name} value {value}");
        }
    });
}

#[test]
fn options_show_what_was_set() {
    use Errno as E;
    check_options(
        Family::V4,
        Kind::Udp,
        &[
            (1, 2, 1, Ok(1)),                // SO_REUSEADDR
            (1, 15, 7, Ok(1)),               // SO_REUSEPORT
            (1, 6, 1, Ok(1)),                // SO_BROADCAST
            (1, 7, 10_000, Ok(20_000)),      // SO_SNDBUF doubles,
            (1, 7, 1, Ok(4_608)),            // has a least
            (1, 7, i32::MAX, Ok(8_388_608)), // and a most
            (1, 8, 10_000, Ok(20_000)),      // SO_RCVBUF
            (1, 8, 1, Ok(2_304)),
            (1, 12, 6, Ok(6)),      // SO_PRIORITY
            (1, 36, 42, Ok(42)),    // SO_MARK
            (1, 46, 50, Ok(50)),    // SO_BUSY_POLL
            (0, 1, 0x10, Ok(0x10)), // IP_TOS
            (0, 2, 9, Ok(9)),       // IP_TTL
            (0, 2, 0, Err(E::EINVAL)),
            (0, 2, 256, Err(E::EINVAL)),
            (0, 2, -1, Ok(64)),
            (0, 10, 3, Ok(3)), // IP_MTU_DISCOVER
            (0, 10, 9, Err(E::EINVAL)),
            (0, 11, 1, Ok(1)),                // IP_RECVERR
            (0, 8, 1, Ok(1)),                 // IP_PKTINFO
            (6, 1, 1, Err(E::ENOPROTOOPT)),   // TCP_NODELAY on UDP
            (41, 26, 1, Err(E::ENOPROTOOPT)), // IPV6_V6ONLY on IPv4
        ],
    );
    check_options(
        Family::V6,
        Kind::Udp,
        &[
            (41, 26, 1, Ok(1)),   // IPV6_V6ONLY
            (41, 16, 33, Ok(33)), // IPV6_UNICAST_HOPS
            (41, 23, 2, Ok(2)),   // IPV6_MTU_DISCOVER
            (41, 67, 8, Ok(8)),   // IPV6_TCLASS
            (41, 49, 1, Ok(1)),   // IPV6_RECVPKTINFO
            (41, 66, 1, Ok(1)),   // IPV6_RECVTCLASS
        ],
    );
    check_options(
        Family::V4,
        Kind::Tcp,
        &[
            (1, 9, 1, Ok(1)),       // SO_KEEPALIVE
            (6, 1, 1, Ok(1)),       // TCP_NODELAY
            (6, 2, 1000, Ok(1000)), // TCP_MAXSEG
            (6, 2, 50, Err(E::EINVAL)),
            (6, 3, 1, Ok(1)),   // TCP_CORK
            (6, 4, 60, Ok(60)), // TCP_KEEPIDLE
            (6, 4, 0, Err(E::EINVAL)),
            (6, 4, 32_768, Err(E::EINVAL)),
            (6, 5, 10, Ok(10)), // TCP_KEEPINTVL
            (6, 6, 3, Ok(3)),   // TCP_KEEPCNT
            (6, 6, 128, Err(E::EINVAL)),
            (6, 7, 2, Ok(2)),            // TCP_SYNCNT
            (6, 8, 30, Ok(30)),          // TCP_LINGER2
            (6, 9, 5, Ok(7)),            // TCP_DEFER_ACCEPT
            (6, 18, 30_000, Ok(30_000)), // TCP_USER_TIMEOUT
            (6, 18, -1, Err(E::EINVAL)),
            (6, 12, 0, Ok(0)),               // TCP_QUICKACK
            (6, 23, 16, Ok(16)),             // TCP_FASTOPEN
            (6, 25, 4096, Ok(4096)),         // TCP_NOTSENT_LOWAT
            (6, 31, 1, Err(E::ENOPROTOOPT)), // TCP_ULP
        ],
    );
}

#[test]
fn options_have_the_defaults_of_linux() {
    check(|sys| async move {
        let tcp = socket(&sys, Family::V4, Kind::Tcp);
        for (level, name, expected) in [
            (1, 3, 1),       // SO_TYPE
            (1, 4, 0),       // SO_ERROR
            (1, 38, 6),      // SO_PROTOCOL
            (1, 39, 2),      // SO_DOMAIN
            (1, 30, 0),      // SO_ACCEPTCONN
            (1, 7, 16_384),  // SO_SNDBUF
            (1, 8, 131_072), // SO_RCVBUF
            (1, 13, 0),      // SO_LINGER
            (6, 2, 536),     // TCP_MAXSEG
            (6, 4, 7200),    // TCP_KEEPIDLE
            (6, 5, 75),      // TCP_KEEPINTVL
            (6, 6, 9),       // TCP_KEEPCNT
            (6, 7, 6),       // TCP_SYNCNT
            (6, 8, 60),      // TCP_LINGER2
            (6, 12, 1),      // TCP_QUICKACK
            (6, 18, 0),      // TCP_USER_TIMEOUT
            (6, 25, 0),      // TCP_NOTSENT_LOWAT
            (1, 49, -1),     // SO_INCOMING_CPU
            (0, 2, 64),      // IP_TTL
            (0, 10, 1),      // IP_MTU_DISCOVER
        ] {
            assert_eq!(get(&sys, tcp, level, name), Ok(expected), "level {level} option {name}");
        }
        assert_eq!(sys.k(|kernel| kernel.getsockopt(tcp, 6, 13, 16)).unwrap(), b"cubic\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(get(&sys, tcp, 0, 14), Err(Errno::ENOTCONN)); // IP_MTU
        let udp = socket(&sys, Family::V6, Kind::Udp);
        for (name, expected) in [(3, 2), (38, 17), (39, 10), (7, 212_992), (8, 212_992)] {
            assert_eq!(get(&sys, udp, 1, name), Ok(expected), "option {name}");
        }
    });
}

#[test]
fn times_come_as_timevals_of_either_size() {
    check(|sys| async move {
        let fd = socket(&sys, Family::V4, Kind::Udp);
        let wide = |seconds: i64, micros: i64| [seconds.to_ne_bytes(), micros.to_ne_bytes()].concat();
        let narrow = |seconds: i32, micros: i32| [seconds.to_ne_bytes(), micros.to_ne_bytes()].concat();
        let set = |value: Vec<u8>| sys.k(|kernel| kernel.setsockopt(fd, 1, 20, &value));
        let get = |len| sys.k(|kernel| kernel.getsockopt(fd, 1, 20, len)).unwrap();
        assert_eq!(get(16), wide(0, 0));
        set(wide(2, 500_000)).unwrap();
        assert_eq!((get(16), get(8)), (wide(2, 500_000), narrow(2, 500_000)));
        set(narrow(1, 5)).unwrap();
        assert_eq!(get(16), wide(1, 5));
        assert_eq!(set(wide(0, 1_000_000)), Err(Errno(33)));
        assert_eq!(set(vec![0; 4]), Err(Errno::EINVAL));
    });
}

#[test]
fn linger_is_a_struct() {
    check(|sys| async move {
        let fd = socket(&sys, Family::V4, Kind::Tcp);
        let linger = |on: i32, seconds: i32| [on.to_ne_bytes(), seconds.to_ne_bytes()].concat();
        for (set, shown) in [(linger(1, 5), linger(1, 5)), (linger(1, 0), linger(1, 0)), (linger(0, 9), linger(0, 0))] {
            sys.k(|kernel| kernel.setsockopt(fd, 1, 13, &set)).unwrap();
            assert_eq!(sys.k(|kernel| kernel.getsockopt(fd, 1, 13, 8)).unwrap(), shown);
        }
        assert_eq!(sys.k(|kernel| kernel.setsockopt(fd, 1, 13, &[1, 0, 0, 0])), Err(Errno::EINVAL));
    });
}

#[test]
fn read_only_options_and_names() {
    check(|sys| async move {
        let fd = socket(&sys, Family::V4, Kind::Tcp);
        for name in [3, 4, 30, 38, 39] {
            assert_eq!(set(&sys, fd, 1, name, 1), Err(Errno::ENOPROTOOPT), "option {name}");
        }
        let bytes = |level, name, value: &'static [u8]| sys.k(|kernel| kernel.setsockopt(fd, level, name, value));
        assert_eq!(bytes(1, 25, b"eth0\0"), Ok(()));
        assert_eq!(bytes(1, 25, b"wlan9"), Err(Errno::ENODEV));
        assert_eq!(bytes(6, 13, b"cubic"), Ok(()));
        assert_eq!(bytes(6, 13, b"bbr"), Err(Errno::ENOENT));
        let event = sys.eventfd();
        assert_eq!(get(&sys, event, 1, 3), Err(Errno::ENOTSOCK));
    });
}

#[test]
fn unix_sockets_have_options_too() {
    check(|sys| async move {
        let (one, _) = sys.k(|kernel| kernel.socketpair(SocketType::UnixStream, true, true)).unwrap();
        for (name, expected) in [(3, 1), (4, 0), (39, 1), (7, 212_992), (17, 2)] {
            assert_eq!(get(&sys, one, 1, name), Ok(expected), "option {name}");
        }
        assert_eq!(sys.k(|kernel| kernel.getsockopt(one, 1, 17, 12)).unwrap().len(), 12);
        assert_eq!(set(&sys, one, 6, 1, 1), Err(Errno::EOPNOTSUPP));
    });
}

#[test]
fn an_unknown_option_is_told_once() {
    let mut world = World::new();
    world.host("h", "10.0.0.1", |sys| async move {
        let fd = socket(&sys, Family::V4, Kind::Udp);
        for _ in 0..2 {
            assert_eq!(set(&sys, fd, 1, 999, 1), Err(Errno::ENOPROTOOPT));
            assert_eq!(get(&sys, fd, 17, 103), Err(Errno::ENOPROTOOPT));
        }
    });
    assert_eq!(world.run(), EndReason::Done);
    let told: Vec<String> = world
        .log
        .events()
        .iter()
        .filter_map(|(_, event)| match event {
            Event::Unsupported { call, errno, .. } => Some(format!("{call}: {errno}")),
            _ => None,
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"), @"
    setsockopt level 1 option 999: ENOPROTOOPT
    getsockopt level 17 option 103: ENOPROTOOPT
    ");
}
