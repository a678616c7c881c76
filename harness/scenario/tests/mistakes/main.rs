//! Broken scenarios and what their authors read: file, line, column, the line underlined, and a way to mend it.

#[path = "../common/mod.rs"]
mod common;
mod faults;
mod file;
mod hosts;
mod load_and_expect;
mod network;

use common::mistakes;

/// A sound scenario, which each test breaks in its own way.
const SOUND: &str = r#"scenario: two-hosts
time_limit: 10m
hosts:
  app: { run: postgres/deadpool, count: 3, with: { pool_size: 8 } }
  db: { run: upstream/postgres }
network:
  routes:
    - between: [app, db]
      via:
        - nat: { preset: aws-nat-gateway }
          name: gw
        - link: { latency: 10ms }
dns:
  records:
    - { name: db.internal, to: db, ttl: 30s }
load:
  - { on: app, op: query, rate: 20/s, for: 60s, deadline: 2s }
faults:
  - { at: 20s, blip: { between: [app, db] }, for: 2s }
expect:
  - ops.hung == 0
  - ops.failed <= 1% during blip
"#;

/// What is told about [`SOUND`] after each of these replacements, which must apply.
fn broken(replacements: &[(&str, &str)]) -> String {
    let mut text = SOUND.to_owned();
    for (sound, broken) in replacements {
        assert!(text.contains(sound), "`{sound}` is not in the scenario");
        text = text.replacen(sound, broken, 1);
    }
    mistakes(&text)
}

#[test]
fn what_is_broken_below_is_sound_at_first() {
    assert_eq!(common::plans(SOUND).len(), 1);
}

#[test]
fn colour_comes_only_when_asked_for() {
    let (_, mistakes) = halfopen_scenario::parse("bad.yaml", "- 1\n", &common::registry());
    let shown = |colour| halfopen_scenario::render("bad.yaml", "- 1\n", &mistakes, colour);
    assert!(shown(true).contains('\u{1b}'));
    assert!(!shown(false).contains('\u{1b}'));
}
