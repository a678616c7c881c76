//! The life of hosts: start, exit, crash, restart, pause.

use halfopen_core::event::{DropReason, EndReason};
use halfopen_core::{Errno, Event, HostId, SimTime};
use halfopen_kernel::{Address, Domain, Fd, FutexTimeout, Kernel, MsgFlags, Next, SocketType, Step};
use halfopen_netstack::socket::{Family, Kind};

use crate::world::{Sys, World, millis, number};

/// A UDP socket on port 7.
fn udp(sys: &Sys) -> Fd {
    let fd = sys.k(|kernel| kernel.socket(SocketType::Inet(Kind::Udp), Domain::Inet(Family::V4), false, true)).unwrap();
    sys.k(|kernel| kernel.bind(fd, &address("0.0.0.0:7"))).unwrap();
    fd
}

fn address(text: &str) -> Address {
    Address::Inet(text.parse().unwrap())
}

/// Says what arrives, for ever.
async fn listen(sys: Sys) {
    let fd = udp(&sys);
    sys.say(format!("up fd {}", number(fd)));
    loop {
        let (bytes, _) = sys.recv(fd, 99, MsgFlags::default()).await.unwrap();
        sys.say(String::from_utf8(bytes).unwrap());
    }
}

/// Sends a numbered datagram to 10.0.0.2 each 10 ms.
async fn send(sys: Sys) {
    let fd = udp(&sys);
    for number in 0..8 {
        let result = sys.send(fd, format!("{number}").as_bytes(), Some(&address("10.0.0.2:7"))).await;
        if let Err(errno) = result {
            sys.say(format!("{number}: {errno}"));
        }
        sys.sleep(millis(10)).await;
    }
}

/// What the log says of hosts, and of packets that found nobody.
fn life(world: &World) -> String {
    let tell = |(at, event): &(SimTime, Event)| match event {
        Event::HostStarted { .. }
        | Event::HostExited { .. }
        | Event::HostCrashed { .. }
        | Event::HostPaused { .. }
        | Event::HostResumed { .. } => Some(format!("{at} {event:?}")),
        Event::PacketDropped { reason: DropReason::HostDown, .. } => Some(format!("{at} host down")),
        _ => None,
    };
    world.log.events().iter().filter_map(tell).collect::<Vec<_>>().join("\n")
}

/// What a timeline does to the listening host.
type MakeStep = fn(HostId) -> Step;

fn check(steps: &[(u64, MakeStep)]) -> (String, String) {
    let mut world = World::new();
    world.host("a", "10.0.0.1", send);
    let b = world.host("b", "10.0.0.2", listen);
    for (at, step) in steps {
        world.step(millis(*at), step(b));
    }
    world.step(millis(100), Step::End(EndReason::Done));
    assert_eq!(world.run(), EndReason::Done);
    (world.said(), life(&world))
}

#[test]
fn a_power_loss_is_silent_and_a_restart_begins_anew() {
    let (said, life) = check(&[
        (15, |host| Step::Crash { host, power_loss: true }),
        (18, |host| Step::Crash { host, power_loss: true }),
        (35, Step::Restart),
    ]);
    insta::assert_snapshot!(said, @"
    0.000000s up fd 0
    0.001000s 0
    0.011000s 1
    0.035000s up fd 0
    0.041000s 4
    0.051000s 5
    0.061000s 6
    0.071000s 7
    ");
    insta::assert_snapshot!(life, @"
    0.000000s HostStarted { host: HostId(0), restart: false }
    0.000000s HostStarted { host: HostId(1), restart: false }
    0.015000s HostCrashed { host: HostId(1), power_loss: true }
    0.021000s host down
    0.031000s host down
    0.035000s HostStarted { host: HostId(1), restart: true }
    0.080000s HostExited { host: HostId(0), error: None }
    ");
}

#[test]
fn the_kernel_of_a_killed_process_answers() {
    let (said, life) = check(&[(15, |host| Step::Crash { host, power_loss: false }), (45, Step::Restart)]);
    insta::assert_snapshot!(said, @"
    0.000000s up fd 0
    0.001000s 0
    0.011000s 1
    0.045000s up fd 0
    0.051000s 5
    0.061000s 6
    0.071000s 7
    ");
    insta::assert_snapshot!(life, @"
    0.000000s HostStarted { host: HostId(0), restart: false }
    0.000000s HostStarted { host: HostId(1), restart: false }
    0.015000s HostCrashed { host: HostId(1), power_loss: false }
    0.045000s HostStarted { host: HostId(1), restart: true }
    0.080000s HostExited { host: HostId(0), error: None }
    ");
}

#[test]
fn a_paused_host_hears_everything_later() {
    let (said, life) = check(&[(15, Step::Pause), (16, Step::Pause), (45, Step::Resume), (46, Step::Resume)]);
    insta::assert_snapshot!(said, @"
    0.000000s up fd 0
    0.001000s 0
    0.011000s 1
    0.045000s 2
    0.045000s 3
    0.045000s 4
    0.051000s 5
    0.061000s 6
    0.071000s 7
    ");
    insta::assert_snapshot!(life, @"
    0.000000s HostStarted { host: HostId(0), restart: false }
    0.000000s HostStarted { host: HostId(1), restart: false }
    0.015000s HostPaused { host: HostId(1) }
    0.045000s HostResumed { host: HostId(1) }
    0.080000s HostExited { host: HostId(0), error: None }
    ");
}

#[test]
fn a_restart_of_a_running_host_kills_it_first() {
    let (_, life) = check(&[(15, Step::Restart)]);
    insta::assert_snapshot!(life, @"
    0.000000s HostStarted { host: HostId(0), restart: false }
    0.000000s HostStarted { host: HostId(1), restart: false }
    0.015000s HostCrashed { host: HostId(1), power_loss: false }
    0.015000s HostStarted { host: HostId(1), restart: true }
    0.080000s HostExited { host: HostId(0), error: None }
    ");
}

#[test]
fn a_crashed_host_that_was_paused_is_not_paused_after_its_restart() {
    let (said, _) =
        check(&[(5, Step::Pause), (15, |host| Step::Crash { host, power_loss: false }), (55, Step::Restart)]);
    insta::assert_snapshot!(said, @"
    0.000000s up fd 0
    0.001000s 0
    0.055000s up fd 0
    0.061000s 6
    0.071000s 7
    ");
}

#[test]
fn a_deadline_that_passes_in_a_pause_is_seen_after_it() {
    let mut world = World::new();
    let host = world.host("h", "10.0.0.1", |sys| async move {
        sys.sleep(millis(10)).await;
        sys.say("slept 10 ms");
        let timeout = Some(FutexTimeout::Relative(millis(10)));
        let result = sys.call(|kernel, call| kernel.futex_wait(8, true, timeout, u32::MAX, call)).await;
        assert_eq!(result, Err(Errno::ETIMEDOUT));
        sys.say("waited 10 ms");
    });
    world.step(millis(5), Step::Pause(host));
    world.step(millis(50), Step::Resume(host));
    assert_eq!(world.run(), EndReason::Done);
    insta::assert_snapshot!(world.said(), @"
    0.050000s slept 10 ms
    0.060000s waited 10 ms
    ");
}

#[test]
fn the_threads_of_a_crashed_host_never_run_again() {
    let mut world = World::new();
    let host = world.host("h", "10.0.0.1", |sys| async move {
        for name in ["a", "b"] {
            sys.spawn(move |sys| async move {
                loop {
                    sys.sleep(millis(4)).await;
                    sys.say(name);
                }
            });
        }
        sys.sleep(millis(1000)).await;
    });
    world.step(millis(10), Step::Crash { host, power_loss: false });
    assert_eq!(world.run(), EndReason::Done);
    insta::assert_snapshot!(world.said(), @"
    0.004000s a
    0.004000s b
    0.008000s a
    0.008000s b
    ");
    for thread in 0..3 {
        assert!(!world.kernel(|kernel| kernel.is_thread_alive(halfopen_core::id::Tid::new(thread))));
    }
}

#[test]
fn the_end_of_main_is_the_end_of_the_process() {
    let mut world = World::new();
    world.host("h", "10.0.0.1", |sys| async move {
        let (read, write) = sys.k(|kernel| kernel.pipe(false, true)).unwrap();
        sys.spawn(move |sys| async move {
            let _ = sys.read(read, 1).await;
            sys.say("never");
        });
        sys.sleep(millis(1)).await;
        assert!(sys.k(|kernel| kernel.is_open(write)));
    });
    assert_eq!(world.run(), EndReason::Done);
    assert_eq!(world.said(), "");
    insta::assert_snapshot!(life(&world), @"
    0.000000s HostStarted { host: HostId(0), restart: false }
    0.001000s HostExited { host: HostId(0), error: None }
    ");
}

#[test]
fn a_crash_before_main_began_takes_its_start_back() {
    let mut world = World::new();
    let host = world.host("h", "10.0.0.1", |sys| async move { sys.say("never") });
    world.step(millis(0), Step::Crash { host, power_loss: true });
    assert_eq!(world.run(), EndReason::Done);
    assert_eq!(world.said(), "");
}

/// Plays a host `a` that makes a descriptor and a host `b` that uses it, as programs do that keep one in a static; `a`
/// is killed at 10 ms.
fn check_shared<F: Future<Output = ()> + 'static>(make: fn(&Sys) -> Fd, using: fn(Sys, Fd) -> F) -> String {
    let mut world = World::new();
    let shared = std::rc::Rc::new(std::cell::Cell::new(None));
    let made = shared.clone();
    let a = world.host("a", "10.0.0.1", move |sys| {
        let made = made.clone();
        async move {
            made.set(Some(make(&sys)));
            sys.sleep(millis(1000)).await;
        }
    });
    world.host("b", "10.0.0.2", move |sys| {
        let shared = shared.clone();
        async move {
            sys.sleep(millis(1)).await;
            using(sys, shared.get().unwrap()).await;
        }
    });
    world.step(millis(10), Step::Crash { host: a, power_loss: false });
    assert_eq!(world.run(), EndReason::Done, "{}", world.said());
    world.said()
}

#[test]
fn a_descriptor_in_a_static_means_the_same_to_all_hosts() {
    let said = check_shared(Sys::eventfd, |sys, fd| async move {
        // Its own first descriptor is another.
        assert_ne!(sys.eventfd(), fd);
        let twin = sys.k(|kernel| kernel.dup(fd, true)).unwrap();
        sys.write(fd, &7u64.to_ne_bytes()).await.unwrap();
        sys.sleep(millis(20)).await;
        // What connects threads only outlives the process that made it: the static is still there.
        sys.say(format!("{:?}", sys.read(twin, 8).await.map(|bytes| bytes[0])));
        sys.say(format!("{:?}", sys.k(|kernel| kernel.dup(fd, true)).is_ok()));
    });
    insta::assert_snapshot!(said, @"
    0.021000s Ok(7)
    0.021000s true
    ");
}

#[test]
fn a_socket_in_a_static_is_the_socket_of_the_host_that_made_it() {
    let said = check_shared(udp, |sys, fd| async move {
        let kept = sys.k(|kernel| kernel.dup(fd, true)).unwrap();
        let own = udp(&sys);
        sys.send(fd, b"from a", Some(&address("10.0.0.2:7"))).await.unwrap();
        let (_, message) = sys.recv(own, 9, MsgFlags::default()).await.unwrap();
        sys.say(format!("{:?}", message.from.unwrap()));
        // The process is killed under the waiting thread.
        sys.say(format!("{:?}", sys.recv(kept, 9, MsgFlags::default()).await.unwrap_err()));
        sys.say(format!("{:?}", sys.send(fd, b"x", Some(&address("10.0.0.2:7"))).await.unwrap_err()));
        sys.say(format!("{:?}", sys.poll(&[(kept, 1)], None).await));
        sys.close(kept).await.unwrap();
    });
    insta::assert_snapshot!(said, @r#"
    0.002000s Inet(10.0.0.1:7)
    0.010000s EBADF(9)
    0.010000s EBADF(9)
    0.010000s (1, "ERR|HUP")
    "#);
}

#[test]
fn progress_moves_with_every_decision_and_call() {
    let world = World::new();
    world.kernel(|kernel: &mut Kernel| {
        let host = kernel.add_host(crate::world::host_config("h", &["10.0.0.1"]));
        kernel.add_step(SimTime::ZERO, Step::StartHost(host));
        assert_eq!(kernel.schedule(), Next::StartMain(host));
        let thread = kernel.register_thread(host);
        assert_eq!(kernel.schedule(), Next::Run(thread));
        let before = kernel.progress();
        kernel.getrandom(&mut [0; 4]);
        assert!(kernel.progress() > before);
        assert_eq!(kernel.host_of(thread), host);
        assert_eq!(kernel.host_by_name("h"), Some(host));
        assert_eq!(kernel.host_by_name("i"), None);
        assert_eq!((kernel.host_name(host), kernel.cpus()), ("h", 2));
    });
}
