//! The log, the triggers that wait for it, and the steps of the timeline.

use halfopen_core::event::{EndReason, OpErrorKind, OpOutcome};
use halfopen_core::id::{FaultId, OpId};
use halfopen_core::{Event, HostId, SimDuration};
use halfopen_kernel::{Step, Trigger};

use crate::world::{World, millis};

fn tell(name: &str) -> Step {
    Step::Tell(Event::FaultStarted { fault: FaultId::new(0), name: name.to_owned() })
}

fn trigger(counter: &str, at_least: i64, steps: &[(u64, &str)]) -> Trigger {
    let steps = steps.iter().map(|(after, name)| (millis(*after), tell(name))).collect();
    Trigger { counter: counter.to_owned(), at_least, steps }
}

/// When each fault began.
fn faults(world: &World) -> String {
    let begun = |(at, event)| match event {
        Event::FaultStarted { name, .. } => Some(format!("{at} {name}")),
        _ => None,
    };
    world.log.events().into_iter().filter_map(begun).collect::<Vec<_>>().join("\n")
}

#[test]
fn steps_of_one_instant_keep_their_order() {
    let mut world = World::new();
    for (at, name) in [(20, "late"), (10, "first"), (10, "second")] {
        world.step(millis(at), tell(name));
    }
    assert_eq!(world.run(), EndReason::Done);
    insta::assert_snapshot!(faults(&world), @"
    0.010000s first
    0.010000s second
    0.020000s late
    ");
}

#[test]
fn triggers_wait_for_counters_and_fire_once() {
    let mut world = World::new();
    world.kernel(|kernel| {
        kernel.add_trigger(trigger("ops.started", 3, &[(0, "3 started"), (25, "25 ms later")]));
        kernel.add_trigger(trigger("ops.started", 2, &[(0, "2 started")]));
        kernel.add_trigger(trigger("ops.ok", 1, &[(0, "1 ok")]));
        kernel.add_trigger(trigger("ops.failed", 2, &[(0, "2 failed")]));
        kernel.add_trigger(trigger("attempts.started", 4, &[(0, "4 attempts")]));
        kernel.add_trigger(trigger("transfer.progress", 50, &[(5, "half way")]));
        kernel.add_trigger(trigger("pool.idle", 1, &[(0, "never")]));
    });
    world.host("app", "10.0.0.1", |sys| async move {
        let host = sys.host;
        for turn in 1..=4u64 {
            sys.sleep(millis(10)).await;
            let op = OpId(turn);
            let outcome = match turn % 2 {
                0 => OpOutcome::Ok,
                _ => OpOutcome::Failed { kind: OpErrorKind::Reset, message: String::new() },
            };
            sys.k(|kernel| {
                kernel.emit(Event::OpStarted { host, op, name: "get".into(), deadline: None });
                kernel.emit(Event::AttemptStarted { host, attempt: turn, op: Some(op) });
                kernel.emit(Event::OpFinished { host, op, outcome });
                kernel.emit(Event::Gauge { host, name: "transfer.progress".into(), value: 20 * turn as i64 });
            });
        }
        sys.sleep(millis(50)).await;
    });
    assert_eq!(world.run(), EndReason::Done);
    insta::assert_snapshot!(faults(&world), @"
    0.020000s 2 started
    0.020000s 1 ok
    0.030000s 3 started
    0.030000s 2 failed
    0.035000s half way
    0.040000s 4 attempts
    0.055000s 25 ms later
    ");
}

#[test]
fn a_run_begins_and_ends_in_the_log() {
    let mut world = World::new();
    let host = world.host("app", "10.0.0.1", |sys| async move {
        sys.sleep(millis(1)).await;
        let refused = sys.k(|kernel| kernel.unsupported("socket AF_PACKET", halfopen_core::Errno::EAFNOSUPPORT));
        assert_eq!(refused, halfopen_core::Errno::EAFNOSUPPORT);
        sys.k(|kernel| kernel.unsupported("socket AF_PACKET", refused));
    });
    assert_eq!(host, HostId::new(0));
    world.step(millis(5), Step::End(EndReason::Aborted { message: "enough".into() }));
    let end = world.run();
    assert_eq!(end, EndReason::Aborted { message: "enough".into() });
    let log: Vec<String> = world.log.events().iter().map(|(at, event)| format!("{at} {event:?}")).collect();
    insta::assert_snapshot!(log.join("\n"), @r#"
    0.000000s HostStarted { host: HostId(0), restart: false }
    0.001000s Unsupported { host: HostId(0), call: "socket AF_PACKET", errno: EAFNOSUPPORT(97) }
    0.001000s HostExited { host: HostId(0), error: None }
    0.005000s RunEnded { reason: Aborted { message: "enough" } }
    "#);
    // A second question finds the same end, and tells the log nothing more.
    world.run();
    assert_eq!(world.log.events().len(), log.len());
}

#[test]
fn an_end_at_zero_is_an_end() {
    let mut world = World::new();
    world.host("app", "10.0.0.1", |sys| async move { sys.say("never") });
    world.kernel(|kernel| kernel.end(EndReason::Done));
    assert_eq!(world.run(), EndReason::Done);
    assert_eq!(
        (world.said().as_str(), world.kernel(|kernel| kernel.now().since(Default::default()))),
        ("", SimDuration::ZERO)
    );
}
