//! FINs, resets and what the program sees of them.

use halfopen_core::event::{TcpFlags, TcpState};
use halfopen_core::{Errno, SimDuration};
use halfopen_fabric::packet::{SeqNum, TcpSegment};
use halfopen_netstack::Readiness;
use halfopen_netstack::socket::Shutdown;

use crate::net::{CLIENT_ISS, Client, Fate, SERVER_ISS, Server, Setup, ms, secs};

#[test]
fn unread_data_turns_a_close_into_a_reset() {
    // A6, M:unread_close_rst.
    let mut net = Setup::rtt(10).warm();
    net.server_reads = false;
    net.client_send(&[1; 100]);
    net.run_for(ms(100));
    let now = net.now;
    net.server().close(now);
    net.run_for(ms(100));
    let reset = net.seen.iter().rfind(|seen| seen.from == Server).unwrap();
    assert!(reset.has(TcpFlags::RST) && reset.has(TcpFlags::ACK));
    let ready = net.client.readiness();
    assert!(ready.contains(Readiness::ERR.with(Readiness::HUP).with(Readiness::IN).with(Readiness::OUT)));
    let mut buffer = [0; 10];
    assert_eq!(net.client.recv(net.now, &mut buffer, false), Err(Errno::ECONNRESET));
    assert_eq!(net.client.send(net.now, b"x"), Err(Errno::EPIPE));
    assert_eq!(net.client.recv(net.now, &mut buffer, false), Ok(0));
    assert!(net.server().is_finished() && !net.client.is_finished());
    net.client.close(net.now);
    assert!(net.client.is_finished());
}

#[test]
fn data_before_a_reset_is_still_read() {
    // A6, M:unread_close_rst (linger 0, client reads late).
    let mut net = Setup::rtt(10).server(|o| o.linger = Some(SimDuration::ZERO)).warm();
    net.client_reads = false;
    net.server_send(b"pending");
    let now = net.now;
    net.server().close(now);
    net.run_for(ms(100));
    let mut buffer = [0; 10];
    assert_eq!(net.client.recv(net.now, &mut buffer, false), Ok(7));
    assert_eq!(&buffer[..7], b"pending");
    assert_eq!(net.client.recv(net.now, &mut buffer, false), Err(Errno::ECONNRESET));
    assert_eq!(net.client.recv(net.now, &mut buffer, false), Ok(0));
}

#[test]
fn writing_to_a_closed_peer_is_epipe_the_second_time() {
    // A6: FIN, then RST: recv stays 0, the 1st send works, the 2nd is EPIPE.
    let mut net = Setup::rtt(10).warm();
    let now = net.now;
    net.server().close(now);
    net.run_for(ms(100));
    let mut buffer = [0; 10];
    assert_eq!(net.client.recv(net.now, &mut buffer, false), Ok(0));
    assert_eq!(net.client.send(net.now, b"x"), Ok(1));
    net.run_for(ms(100));
    assert_eq!(net.client.send(net.now, b"x"), Err(Errno::EPIPE));
    assert_eq!(net.client.recv(net.now, &mut buffer, false), Ok(0));
    let reset = net.seen.iter().rfind(|seen| seen.from == Server).unwrap();
    assert!(reset.has(TcpFlags::RST) && !reset.has(TcpFlags::ACK), "a bare RST");
}

#[test]
fn data_after_both_directions_were_shut_down_is_answered_with_a_reset() {
    // Fidelity case close/shutdown-both: Linux resets although the program still holds the socket.
    let mut net = Setup::rtt(10).warm();
    let now = net.now;
    net.client.shutdown(now, Shutdown::Both).unwrap();
    net.run_for(ms(100));
    net.server_send(b"late");
    net.run_for(ms(100));
    let reset = net.seen.iter().rfind(|seen| seen.from == Client).unwrap();
    assert!(reset.has(TcpFlags::RST) && !reset.has(TcpFlags::ACK), "a bare RST");
    assert_eq!(net.server().state(), TcpState::Closed);
}

#[test]
fn half_a_connection_goes_on_working() {
    let mut net = Setup::rtt(10).warm();
    let now = net.now;
    net.server().shutdown(now, Shutdown::Write).unwrap();
    net.run_for(ms(100));
    assert_eq!((net.client.state(), net.server().state()), (TcpState::CloseWait, TcpState::FinWait2));
    assert!(net.client.readiness().contains(Readiness::IN.with(Readiness::RDHUP).with(Readiness::OUT)));
    assert!(!net.client.readiness().intersects(Readiness::HUP));
    let before = net.server_got.len();
    net.client_send(&vec![8; 30_000]);
    net.run_for(secs(1));
    assert_eq!(net.server_got.len(), before + 30_000);
    assert_eq!(net.server().send(now, b"x"), Err(Errno::EPIPE));
    net.run_for(secs(300));
    assert_eq!(net.server().state(), TcpState::FinWait2, "an owned FIN-WAIT-2 has no end");
}

#[test]
fn reading_may_be_shut_down_without_anybody_noticing() {
    let mut net = Setup::rtt(10).warm();
    let now = net.now;
    net.server().shutdown(now, Shutdown::Read).unwrap();
    net.run_for(ms(50));
    assert!(net.times(Server, now, |_| true).is_empty());
    let before = net.server_got.len();
    net.client_send(b"still read");
    net.run_for(ms(50));
    assert_eq!(net.server_got.len(), before + 10);
}

#[test]
fn fins_cross() {
    let mut net = Setup::rtt(10).warm();
    let now = net.now;
    net.client.close(now);
    net.server().close(now);
    net.run_for(ms(5));
    assert_eq!((net.client.state(), net.server().state()), (TcpState::Closing, TcpState::Closing));
    net.run_for(ms(100));
    assert_eq!((net.client.state(), net.server().state()), (TcpState::TimeWait, TcpState::TimeWait));
    net.run_for(secs(61));
    assert!(net.client.is_finished() && net.server().is_finished());
}

#[test]
fn an_orphan_waits_a_minute_for_the_fin() {
    // A6, M:fin_wait2: then it is gone without a packet.
    let mut net = Setup::rtt(10).warm();
    let start = net.now;
    net.client.close(start);
    net.run_for(ms(100));
    assert_eq!(net.client.state(), TcpState::FinWait2);
    net.run_until(start + secs(59));
    assert!(!net.client.is_finished());
    net.run_until(start + secs(61));
    assert!(net.client.is_finished());
    assert_eq!(net.times(Client, start + ms(20), |_| true), Vec::<u64>::new());
}

#[test]
fn time_wait_answers_a_repeated_fin() {
    let mut net = Setup::rtt(10).warm();
    net.client.close(net.now);
    net.run_for(ms(100));
    let mut dropped = false;
    net.script(move |_, from, segment| {
        if from == Client && segment.flags == TcpFlags::ACK && !std::mem::replace(&mut dropped, true) {
            return Fate::Drop;
        }
        Fate::Pass
    });
    let start = net.now;
    net.server().close(start);
    net.run_for(secs(2));
    assert_eq!(net.client.state(), TcpState::TimeWait);
    assert!(net.server().is_finished(), "{}", net.trace(start));
    assert_eq!(net.times(Server, start, |seen| seen.has(TcpFlags::FIN)).len(), 2);
}

#[test]
fn linger_zero_resets_and_abort_too() {
    for abort in [false, true] {
        let mut net = Setup::rtt(10).client(|o| o.linger = Some(SimDuration::ZERO)).warm();
        if abort {
            net.client.abort(net.now)
        } else {
            net.client.close(net.now)
        }
        net.run_for(ms(100));
        assert_eq!(net.server().take_error(), Some(Errno::ECONNRESET));
        assert_eq!(net.client.state(), TcpState::Closed);
        assert_eq!(net.client.take_error(), abort.then_some(Errno::ECONNABORTED));
    }
}

#[test]
fn closing_before_the_handshake_is_over_sends_nothing() {
    let mut net = Setup::rtt(10).start_with(Box::new(|_, _, _| Fate::Drop));
    net.client.close(net.now);
    net.run_for(secs(5));
    assert!(net.client.is_finished());
    assert_eq!(net.seen.len(), 1, "the SYN");
}

#[test]
fn only_an_exact_reset_kills() {
    // RFC 5961: in the window but not at its edge is challenged, outside is ignored.
    for (offset, dies, answered) in
        [(0i64, true, false), (1, false, true), (1000, false, true), (-1, false, false), (1 << 20, false, false)]
    {
        let mut net = Setup::rtt(10).warm();
        net.run_for(secs(1));
        let next = SeqNum(SERVER_ISS + 1);
        let seq = SeqNum(next.0.wrapping_add(offset as u32));
        let segment = TcpSegment { seq, flags: TcpFlags::RST, ..TcpSegment::default() };
        net.seen.clear();
        net.client.on_segment(net.now, &segment);
        net.run_for(SimDuration::ZERO);
        assert_eq!(net.client.state() == TcpState::Closed, dies, "offset {offset}");
        assert_eq!(!net.seen.is_empty(), answered, "offset {offset}");
    }
}

#[test]
fn a_syn_on_a_connection_is_challenged_but_not_twice() {
    let mut net = Setup::rtt(10).warm();
    net.seen.clear();
    let seq = SeqNum(SERVER_ISS + 1);
    let segment = TcpSegment { seq, flags: TcpFlags::SYN, ..TcpSegment::default() };
    net.client.on_segment(net.now, &segment);
    net.client.on_segment(net.now, &segment);
    net.flush();
    assert_eq!(net.seen.len(), 1, "at most one answer in 500 ms");
    assert_eq!(net.client.state(), TcpState::Established);
    net.run_for(ms(501));
    net.client.on_segment(net.now, &segment);
    net.flush();
    assert_eq!(net.seen.len(), 2);
}

#[test]
fn an_old_timestamp_is_not_believed() {
    let mut net = Setup::rtt(10).warm();
    net.run_for(secs(1));
    let mut old = net.client.remote();
    old.set_port(5_000);
    let mut segment = TcpSegment {
        seq: SeqNum(SERVER_ISS + 1),
        ack: SeqNum(CLIENT_ISS + 16),
        flags: TcpFlags::ACK,
        window: 64,
        payload: bytes::Bytes::from_static(b"old"),
        ..TcpSegment::default()
    };
    segment.options.timestamps = Some((1, 1));
    let before = net.client.info().bytes_unread;
    net.client_reads = false;
    net.client.on_segment(net.now, &segment);
    assert_eq!(net.client.info().bytes_unread, before, "PAWS");
}

#[test]
fn a_reset_fault_ends_both_sides() {
    let mut net = Setup::rtt(10).warm();
    net.client.reset_both(net.now);
    net.run_for(ms(50));
    assert_eq!(net.client.take_error(), Some(Errno::ECONNRESET));
    assert_eq!(net.server().take_error(), Some(Errno::ECONNRESET));
}
