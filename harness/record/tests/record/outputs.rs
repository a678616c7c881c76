//! Every output, on the same runs.

use halfopen_record::report::{Style, report};
use halfopen_record::{RunResult, github, json, junit};

use crate::fixture::{died, failed, passed, summary};

#[test]
fn table_shows_the_storm() {
    insta::assert_snapshot!("table", summary().table());
}

#[test]
fn table_leaves_out_what_is_calm_and_idle() {
    insta::assert_snapshot!("table-calm", crate::events::run(&crate::fixture::blip()).table());
}

#[test]
fn the_table_of_nothing_is_empty() {
    assert_eq!(crate::events::run("0s host app 10.0.0.1\n5s end done").table(), "");
}

#[test]
fn report_of_a_run_that_failed() {
    insta::assert_snapshot!("report-failed", report(&failed(), Style::default()));
}

#[test]
fn report_of_a_run_that_passed_is_short() {
    insta::assert_snapshot!("report-passed", report(&passed(), Style::default()));
}

#[test]
fn report_of_a_run_that_died() {
    insta::assert_snapshot!("report-died", report(&died(), Style::default()));
}

#[test]
fn colour_is_all_that_colour_adds() {
    let coloured = report(&failed(), Style { colour: true, table: false });
    assert_ne!(coloured, report(&failed(), Style::default()));
    let plain = ["\u{1b}[32m", "\u{1b}[31;1m", "\u{1b}[0m"].iter().fold(coloured, |text, code| text.replace(code, ""));
    assert_eq!(plain, report(&failed(), Style::default()));
}

#[test]
fn json_keeps_its_keys_and_their_order() {
    insta::assert_snapshot!("json-failed", json::line(&failed()));
    insta::assert_snapshot!("json-died", json::line(&died()));
    for result in [failed(), passed(), died()] {
        let line = json::line(&result);
        assert!(!line.contains('\n'));
        serde_json::from_str::<serde_json::Value>(&line).expect("JSON");
    }
}

#[test]
fn junit_document() {
    insta::assert_snapshot!("junit", junit::document(&[failed(), passed(), died()]).expect("XML"));
}

#[test]
fn github_annotations() {
    let text: String = [failed(), passed(), died()].iter().map(github::annotations).collect();
    insta::assert_snapshot!("github", text);
}

#[test]
fn a_result_survives_the_way_to_the_parent_process() {
    for result in [failed(), passed(), died()] {
        let there = RunResult::from_wire(&result.to_wire()).expect("a result");
        // What is rounded on the wire is rounded once: a second trip changes nothing, and no output differs.
        assert_eq!(RunResult::from_wire(&there.to_wire()).expect("a result"), there);
        assert_eq!(json::line(&there), json::line(&result));
        assert_eq!(report(&there, Style::default()), report(&result, Style::default()));
    }
    assert!(RunResult::from_wire("{}").is_err());
}
