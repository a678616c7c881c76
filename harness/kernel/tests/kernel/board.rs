//! The board.

use halfopen_core::event::EndReason;
use halfopen_kernel::Step;

use crate::world::{World, millis};

#[test]
fn readers_wait_for_what_they_have_not_seen() {
    let mut world = World::new();
    world.host("dns", "10.0.0.53", |sys| async move {
        assert_eq!(sys.k(|kernel| kernel.board("zone")), (0, None));
        let mut seen = 0;
        for _ in 0..3 {
            let (version, value) = sys.call(|kernel, call| kernel.board_wait("zone", seen, call)).await.unwrap();
            sys.say(format!("{version} {value}"));
            seen = version;
            sys.sleep(millis(15)).await;
        }
    });
    for (at, value) in [(10, "a"), (20, "b"), (24, "c"), (60, "d")] {
        world.step(millis(at), Step::Post { key: "zone".to_owned(), value: value.to_owned() });
    }
    assert_eq!(world.run(), EndReason::Done);
    insta::assert_snapshot!(world.said(), @"
    0.010000s 1 a
    0.025000s 3 c
    0.060000s 4 d
    ");
}
