//! Whatever the file holds, the parser answers: plans, or mistakes that lie inside the file; never a panic.

mod common;

use halfopen_scenario::{parse, render};
use proptest::prelude::*;

/// Scenarios with something of everything, to be broken.
const SEEDS: &[&str] = &[
    include_str!("scenarios/everything.yaml"),
    "scenario: small\nhosts: { app: { run: postgres/bb8 }, db: {} }\nload: [{ on: app, op: query, rate: 1/s, for: 1s }]\n",
];

/// Pieces that mean something, to be put where they do not belong.
const PIECES: &[&str] = &[
    "",
    " ",
    "\n",
    "\t",
    ":",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "'",
    "\"",
    "&a ",
    "*a",
    "#",
    "---\n",
    "%",
    "!",
    "|\n",
    "..",
    "0",
    "-1",
    "1e9",
    "9999999999999999999999",
    "0s",
    "2s",
    "10s..5s",
    "1/0s",
    "101%",
    "0.0000000001%",
    "none",
    "null",
    "true",
    "app",
    "app-2",
    "db",
    "dns",
    "gw",
    "blip",
    "count: 0",
    "hosts: {}",
    "ä",
    "\u{feff}",
    "\u{0}",
    "🦀",
    "<=",
    "== 5",
    "during blip",
];

/// One edit: at a place (a share of the text), so many characters are replaced by a piece.
fn edit() -> impl Strategy<Value = (f64, usize, usize)> {
    (0.0..1.0f64, 0..12usize, 0..PIECES.len())
}

fn apply(text: &mut String, (place, remove, piece): (f64, usize, usize)) {
    let boundaries: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let start = (place * boundaries.len() as f64) as usize;
    let end = (start + remove).min(boundaries.len() - 1);
    text.replace_range(boundaries[start]..boundaries[end], PIECES[piece]);
}

/// Parses and renders; every mistake must lie inside the text and say where.
fn check(text: &str) {
    let (plans, mistakes) = parse("any.yaml", text, &common::registry());
    assert_eq!(plans.is_none(), !mistakes.is_empty());
    plans.iter().flatten().for_each(common::check_network);
    for mistake in &mistakes {
        assert!(text.get(mistake.span.clone()).is_some_and(|under| !under.contains('\n')), "{mistake:?}");
        let line = text[..mistake.span.start].matches('\n').count() + 1;
        assert_eq!(mistake.line, line, "{mistake:?}");
        assert!(mistake.column >= 1 && !mistake.message.is_empty() && !mistake.help.is_empty(), "{mistake:?}");
    }
    let shown = render("any.yaml", text, &mistakes, false);
    assert_eq!(
        shown.matches("\nerror: ").count() + usize::from(shown.starts_with("error: ")),
        mistakes.len(),
        "{shown}"
    );
    render("any.yaml", text, &mistakes, true);
}

#[test]
fn the_seeds_are_sound() {
    for text in SEEDS {
        common::plans(text);
    }
}

#[test]
fn nesting_and_aliases_without_end() {
    check(&"[".repeat(100_000));
    check(&"a: ".repeat(1_000));
    check(&(0..1_000).map(|depth| " ".repeat(depth) + "a:\n").collect::<String>());
    let laughs: String = (1..40).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", n - 1)).collect();
    check(&format!("a0: &a0 x\n{laughs}"));
    check("a: &a [*a]\n");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn broken_scenarios(seed in 0..SEEDS.len(), edits in prop::collection::vec(edit(), 1..6)) {
        let mut text = SEEDS[seed].to_owned();
        edits.into_iter().for_each(|edit| apply(&mut text, edit));
        check(&text);
    }

    #[test]
    fn any_text(text in ".{0,200}") {
        check(&text);
    }

    /// Lines of a scenario in any order, some left out, some twice.
    #[test]
    fn shuffled_lines(order in prop::collection::vec(any::<prop::sample::Index>(), 1..60)) {
        let lines: Vec<&str> = SEEDS[0].lines().collect();
        let text: String = order.iter().map(|index| format!("{}\n", index.get(&lines))).collect();
        check(&text);
    }
}
