//! Keepalive, alone and with a user timeout.

use halfopen_core::Errno;
use halfopen_core::event::{TcpFlags, TcpState};
use halfopen_fabric::packet::SeqNum;
use halfopen_netstack::socket::SocketOptions;

use crate::black_holes::write_into_black_hole;
use crate::net::{CLIENT_ISS, Client, Seen, Server, Setup, check_schedule, has_data, ms, secs};

fn keepalive(options: &mut SocketOptions) {
    options.keepalive = true;
    options.keepalive_idle = Some(secs(5));
    options.keepalive_interval = Some(secs(2));
    options.keepalive_count = Some(3);
}

#[test]
fn keepalive_ends_a_dead_connection() {
    // A5: M:keepalive_5_2_3*. Times count from the last packet received.
    for (what, uto, probes, end) in [
        ("5/2/3", 0, vec![5, 7, 9], 11),
        ("user timeout 7 s", 7, vec![5], 7),
        ("user timeout 30 s replaces the count", 30, (0..13).map(|n| 5 + 2 * n).collect(), 31),
        ("user timeout 2 s still needs a probe", 2, vec![5], 7),
    ] {
        let mut net = Setup::default().client(keepalive).client(|o| o.user_timeout = secs(uto)).start();
        net.run_for(secs(1));
        net.client_send(b"hello");
        let last = net.now;
        net.run_for(ms(10));
        net.seen.clear();
        net.black_hole();
        let (at, errno) = net.client_error_by(last + secs(200)).expect(what);
        assert_eq!((at.since(last), errno), (secs(end), Errno::ETIMEDOUT), "{what}");
        let probe = |seen: &Seen| !seen.has(TcpFlags::RST);
        assert_eq!(net.times(Client, last, probe), probes.iter().map(|s| s * 1000).collect::<Vec<_>>(), "{what}");
        let next = SeqNum(CLIENT_ISS).add(1 + net.server_got.len() as u32);
        for seen in net.seen.iter().filter(|seen| probe(seen)) {
            assert_eq!((seen.segment.seq, seen.len()), (next.sub(1), 0), "{what}: a probe lies below the window");
        }
        let last_seen = net.seen.last().unwrap();
        assert!(last_seen.has(TcpFlags::RST) && last_seen.has(TcpFlags::ACK), "{what}: ends with RST");
    }
}

#[test]
fn keepalive_probes_are_answered_by_the_living() {
    // A5, M:keepalive_ok: a probe every `idle`, not every `interval`.
    let mut net = Setup::rtt(10).client(keepalive).warm();
    let start = net.now;
    net.run_for(secs(60));
    assert_eq!(net.client.state(), TcpState::Established);
    let times = net.times(Client, start, |_| true);
    assert!((11..=13).contains(&times.len()), "{times:?}");
    assert_eq!(net.times(Server, start, |seen| seen.len() == 0).len(), times.len());
}

#[test]
fn keepalive_is_silent_while_data_is_in_flight() {
    // A5, M:keepalive_with_data, M:keepalive_with_data_uto8.
    let (times, end, net) = write_into_black_hole(Setup::default().client(keepalive), 100);
    assert!(end.unwrap().0 > 900_000, "data has fifteen minutes, whatever keepalive says");
    assert!(!times.is_empty() && net.seen.iter().all(has_data));
    let (_, end, _) =
        write_into_black_hole(Setup::default().client(keepalive).client(|o| o.user_timeout = secs(8)), 100);
    check_schedule("with a user timeout of 8 s", &[end.unwrap().0], &[8_430]);
}

#[test]
fn keepalive_can_be_turned_on_and_off_later() {
    let mut net = Setup::default().warm();
    net.black_hole();
    let mut options = SocketOptions::default();
    keepalive(&mut options);
    net.client.set_options(net.now, &options);
    assert!(net.next().is_some());
    options.keepalive = false;
    net.client.set_options(net.now, &options);
    assert_eq!(net.next(), None);
    options.keepalive = true;
    net.client.set_options(net.now, &options);
    let start = net.now;
    let (at, _) = net.client_error_by(start + secs(100)).unwrap();
    assert_eq!(at.since(start), secs(11));
}
