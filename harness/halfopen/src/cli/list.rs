//! `list` and `schema`: what scenarios can name.

use std::fmt::Write;

use halfopen_core::metric::{METRICS, Unit};
use halfopen_fabric::preset::presets;
use halfopen_scenario::registry::{Kind, Param};

use crate::program::Client;
use crate::single;

/// The clients, upstreams, presets, faults and metrics that scenarios can name.
pub(super) fn list(clients: &[Client]) -> String {
    let mut text = String::new();
    for (title, kind) in [("CLIENTS", Kind::Client), ("UPSTREAMS", Kind::Upstream)] {
        heading(&mut text, title);
        for registration in clients.iter().map(|client| client.registration).filter(|found| found.kind == kind) {
            item(&mut text, 2, registration.name, registration.summary);
            for op in registration.ops {
                item(&mut text, 6, &format!("op: {}", op.name), op.doc);
            }
            for Param { name, default, doc, .. } in registration.params {
                item(&mut text, 6, &format!("{name}: {default}"), doc);
            }
        }
    }
    heading(&mut text, "PRESETS");
    for preset in presets() {
        item(&mut text, 2, preset.name, preset.summary);
    }
    heading(&mut text, "FAULTS");
    for (name, meaning) in halfopen_scenario::schema::faults() {
        item(&mut text, 2, name, meaning);
    }
    heading(&mut text, "METRICS");
    for metric in METRICS {
        let unit = match metric.unit {
            Unit::Count => "",
            Unit::Seconds => " [s]",
            Unit::Quotient => " [x]",
            Unit::Flag => " [0/1]",
        };
        item(&mut text, 2, &format!("{}{unit}", metric.name), metric.meaning);
    }
    text
}

/// The JSON Schema of the scenario language.
pub(super) fn schema(clients: &[Client]) -> String {
    let schema = halfopen_scenario::schema(&single::registry(clients));
    format!("{schema:#}\n")
}

fn heading(text: &mut String, title: &str) {
    let gap = if text.is_empty() { "" } else { "\n" };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{gap}{title}");
}

fn item(text: &mut String, indent: usize, name: &str, meaning: &str) {
    let _ = writeln!(text, "{:indent$}{name:<width$} {meaning}", "", width = 36 - indent);
}
