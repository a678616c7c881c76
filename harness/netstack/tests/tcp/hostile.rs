//! Any path at all: every byte in order, or an error; never a hang.

use halfopen_core::event::TcpState;
use halfopen_core::{Errno, SimTime};
use halfopen_netstack::Readiness;
use halfopen_netstack::socket::Shutdown;
use halfopen_netstack::tcp::IcmpNotice;
use proptest::prelude::*;

use crate::net::{Client, Fate, Script, Setup, ms, secs};

/// What happens to the nth segment, from a list of choices that shrinks.
fn hostile_script(choices: Vec<u8>) -> Script {
    let mut count = 0;
    Box::new(move |_, _, _| {
        // After the hostile phase comes a healed path: then everything must arrive.
        let Some(&choice) = choices.get(count) else { return Fate::Pass };
        count += 1;
        match choice {
            0..=2 => Fate::Drop,
            3 => Fate::Twice,
            4 => Fate::Delay(ms(1)),
            5 => Fate::Delay(ms(30)),
            6 => Fate::Delay(ms(400)),
            _ => Fate::Pass,
        }
    })
}

#[derive(Debug, Clone)]
struct Plan {
    choices: Vec<u8>,
    rtt: u64,
    upload: usize,
    download: usize,
    receive_buffer: Option<u32>,
    mtu: u32,
    sack: bool,
    timestamps: bool,
    scaling: bool,
    lazy_reader: bool,
    /// After so many steps the path tells of a smaller MTU.
    shrinks: Option<(usize, u32)>,
}

fn plan() -> impl Strategy<Value = Plan> {
    (
        prop::collection::vec(0u8..16, 0..400),
        0u64..120,
        0usize..200_000,
        0usize..60_000,
        prop::option::of(2_304u32..40_000),
        600u32..3_000,
        (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        prop::option::of((1usize..200, 300u32..1_400)),
    )
        .prop_map(|(choices, rtt, upload, download, receive_buffer, mtu, flags, shrinks)| {
            let (sack, timestamps, scaling, lazy_reader) = flags;
            Plan {
                choices,
                rtt,
                upload,
                download,
                receive_buffer,
                mtu,
                sack,
                timestamps,
                scaling,
                lazy_reader,
                shrinks,
            }
        })
}

fn bytes(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + n / 251 + seed) as u8).collect()
}

fn on(flag: bool) -> &'static str {
    if flag { "1" } else { "0" }
}

/// Writes, reads and closes on both sides; says how it ended.
fn transfer(plan: &Plan) -> Result<(), Errno> {
    let mut setup = Setup::rtt(plan.rtt)
        .sysctl("net.ipv4.tcp_sack", on(plan.sack))
        .sysctl("net.ipv4.tcp_timestamps", on(plan.timestamps))
        .sysctl("net.ipv4.tcp_window_scaling", on(plan.scaling))
        .server(|o| o.receive_buffer = plan.receive_buffer);
    setup.mtu = plan.mtu;
    let mut net = setup.start_with(hostile_script(plan.choices.clone()));
    let (up, down) = (bytes(plan.upload, 1), bytes(plan.download, 2));
    let (mut up_done, mut down_done) = (0, 0);
    let (mut client_closed, mut server_closed) = (false, false);
    net.server_reads = !plan.lazy_reader;
    for step in 0..20_000 {
        if plan.lazy_reader {
            net.server_reads = step % 7 == 0;
        }
        if let Some((_, path_mtu)) = plan.shrinks.filter(|&(at, _)| at == step) {
            let last = net.seen.iter().rfind(|seen| seen.from == Client).expect("the SYN at least");
            let quoted_seq = last.segment.seq; // Ignored where it is no longer in flight.
            net.client.on_icmp(net.now, IcmpNotice::TooBig { path_mtu, quoted_seq });
        }
        let now = net.now;
        if net.client.readiness().contains(Readiness::ERR) {
            return Err(net.client.take_error().unwrap());
        }
        let open = matches!(net.client.state(), TcpState::Established | TcpState::CloseWait);
        if open && !client_closed {
            while up_done < up.len() {
                match net.client.send(now, &up[up_done..]) {
                    Ok(len) => up_done += len,
                    Err(Errno::EAGAIN) => break,
                    Err(errno) => return Err(errno),
                }
            }
            if up_done == up.len() {
                net.client.shutdown(now, Shutdown::Write).unwrap();
                client_closed = true;
            }
        }
        if let Some(server) = net.server.as_mut() {
            if server.readiness().contains(Readiness::ERR) {
                return Err(server.take_error().unwrap());
            }
            let open = matches!(server.state(), TcpState::Established | TcpState::CloseWait);
            if open && !server_closed {
                while down_done < down.len() {
                    match server.send(now, &down[down_done..]) {
                        Ok(len) => down_done += len,
                        Err(Errno::EAGAIN) => break,
                        Err(errno) => return Err(errno),
                    }
                }
                if down_done == down.len() {
                    server.shutdown(now, Shutdown::Write).unwrap();
                    server_closed = true;
                }
            }
        }
        net.flush();
        let arrived = net.server_got.len() == up.len() && net.client_got.len() == down.len();
        if arrived && client_closed && server_closed {
            assert_eq!((&net.server_got, &net.client_got), (&up, &down), "in order and once");
            return Ok(());
        }
        // A reader that comes back is an event of its own.
        let pause = plan.lazy_reader.then_some(now + ms(500));
        let next = [net.next(), pause].into_iter().flatten().min().unwrap_or(SimTime::FAR_FUTURE);
        assert!(next < SimTime::ZERO + secs(7200), "it hangs:\n{}", net.trace(SimTime::ZERO));
        net.run_until(next);
    }
    let trace = net.trace(SimTime::ZERO);
    let tail = trace.len().saturating_sub(4000);
    panic!("no end of steps at {}: {}", net.now, &trace[tail..]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_arrives_in_order_or_the_connection_ends(plan in plan()) {
        match transfer(&plan) {
            Ok(()) => {}
            // So few losses kill nothing.
            Err(errno) if plan.choices.iter().filter(|&&choice| choice <= 2).count() < 40 => {
                prop_assert!(false, "{errno}");
            }
            Err(errno) => prop_assert!(matches!(errno, Errno::ETIMEDOUT | Errno::ECONNRESET), "{errno}"),
        }
    }
}
