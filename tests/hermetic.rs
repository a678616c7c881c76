//! No packet leaves the simulation, by whatever way a program tries: the listeners of the process outside hear nothing.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use halfopen::{Env, OpError, Run, Verdict};

/// Real sockets on the real loopback interface, of the process that waits for the run.
struct Outside {
    tcp: TcpListener,
    udp: UdpSocket,
    file: PathBuf,
}

/// Where they are. The run happens in a child of this process, which does the same up to its start: it finds the file
/// that its parent left for it, and opens nothing.
fn outside(test: &str) -> (Option<Outside>, SocketAddr, SocketAddr) {
    let file = |process: u32| Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hermetic-{test}-{process}"));
    if let Ok(text) = fs::read_to_string(file(parent_id())) {
        let (tcp, udp) = text.split_once(' ').expect("two addresses");
        return (None, tcp.parse().expect("an address"), udp.parse().expect("an address"));
    }
    let (tcp, udp) = (TcpListener::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
    let (tcp, udp) = (tcp.expect("a listener"), udp.expect("a socket"));
    tcp.set_nonblocking(true).expect("non-blocking");
    udp.set_nonblocking(true).expect("non-blocking");
    let (at, also_at) = (tcp.local_addr().expect("its address"), udp.local_addr().expect("its address"));
    let file = file(std::process::id());
    fs::write(&file, format!("{at} {also_at}")).expect("a file can be written");
    (Some(Outside { tcp, udp, file }), at, also_at)
}

/// Asserts that the program's one op went as it asserts itself, and that nothing arrived outside.
#[track_caller]
fn check(outside: Option<Outside>, runs: &[Run]) {
    assert_eq!(runs[0].verdict(), Verdict::Pass, "{}", runs[0].report());
    assert_eq!(runs[0].metric("ops.ok"), Some(1.0));
    let Outside { tcp, udp, file } = outside.expect("only the process outside comes here");
    fs::remove_file(file).expect("the file is there");
    assert_eq!(tcp.accept().expect_err("nobody connects").kind(), ErrorKind::WouldBlock);
    assert_eq!(udp.recv(&mut [0; 16]).expect_err("nobody sends").kind(), ErrorKind::WouldBlock);
    // They do hear what is really sent.
    let mut there = TcpStream::connect(tcp.local_addr().expect("its address")).expect("a real connection");
    there.write_all(b"x").expect("a real packet");
    assert!((0..1000).any(|_| {
        std::thread::yield_now();
        tcp.accept().is_ok()
    }));
}

/// Runs the block as the program's one op. (A macro, since the scenario takes the name of the test it stands in.)
macro_rules! run {
    (|$tcp:ident, $udp:ident| $body:block) => {{
        fn here() {}
        let test = std::any::type_name_of_val(&here).replace("::", "-");
        let (outside, $tcp, $udp) = outside(&test);
        let program = halfopen::program::run_blocking(move |env: Env| {
            env.drive_blocking(1, |_| -> Result<(), OpError> {
                $body
                Ok(())
            });
        });
        let runs = halfopen::scenario!("scenarios/alone.yaml").program("app", program).run();
        check(outside, &runs);
        runs
    }};
}

#[test]
fn a_listener_of_the_machine_is_not_there() {
    run!(|tcp, _udp| {
        let error = TcpStream::connect(tcp).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = TcpStream::connect_timeout(&tcp, Duration::from_secs(1)).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn datagrams_go_nowhere() {
    run!(|_tcp, udp| {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        assert_eq!(socket.send_to(b"hello?", udp)?, 6);
        socket.connect(udp)?;
        socket.send(b"hello?")?;
        // The virtual loopback interface says that nobody is there.
        let error = socket.recv(&mut [0; 16]).expect_err("no answer");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn an_address_of_the_wide_world_leads_nowhere() {
    run!(|_tcp, _udp| {
        let somewhere = SocketAddr::from(([192, 0, 2, 1], 80));
        let error = TcpStream::connect(somewhere).expect_err("no route");
        assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
    });
}

#[test]
fn system_calls_past_libc_are_served_inside() {
    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SendFlags, SocketType, connect, sendto, socket};

    run!(|tcp, udp| {
        // rustix makes its calls by instructions of its own, not through libc.
        let stream = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        assert_eq!(connect(&stream, &tcp), Err(Errno::CONNREFUSED));
        let datagrams = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        assert_eq!(sendto(&datagrams, b"hello?", SendFlags::empty(), &udp), Ok(6));
    });
}

#[test]
fn io_uring_is_refused_by_name() {
    let runs = run!(|_tcp, _udp| {
        let error = io_uring::IoUring::new(8).map(drop).expect_err("refused");
        assert_eq!(error.raw_os_error(), Some(libc::ENOSYS));
    });
    assert!(runs[0].report().contains("io_uring_setup"), "{}", runs[0].report());
}

#[test]
fn another_program_is_refused_by_name() {
    let runs = run!(|tcp, _udp| {
        let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{}", tcp.port());
        let error = Command::new("bash").args(["-c", &connect]).status().expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    });
    let report = runs[0].report();
    assert!(report.contains("is not supported and was refused"), "{report}");
}
