//! Figures as a person reads them.

use halfopen_core::SimTime;
use halfopen_core::metric::Unit;

use crate::summary::Actual;

/// Seconds with three significant decimals of their unit: `350.2s`, `12.35ms`, `0s`.
pub(crate) fn seconds(seconds: f64) -> String {
    let (value, unit) = match seconds.abs() {
        s if s >= 1.0 || s == 0.0 => (seconds, "s"),
        s if s >= 1e-3 => (seconds * 1e3, "ms"),
        _ => (seconds * 1e6, "us"),
    };
    format!("{}{unit}", decimals(value, if value.abs() >= 100.0 { 1 } else { 2 }))
}

/// Nanoseconds as [`seconds`].
pub(crate) fn nanos(nanos: u64) -> String {
    seconds(nanos as f64 / 1e9)
}

/// An instant as [`seconds`].
pub(crate) fn instant(at: SimTime) -> String {
    seconds(at.as_secs_f64())
}

/// At most so many decimals, without trailing zeros.
pub(crate) fn decimals(value: f64, places: usize) -> String {
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// `1 op`, `2 ops`.
pub(crate) fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// What a metric came to, in its unit.
pub(crate) fn actual(actual: Actual, unit: Unit) -> String {
    match (actual, unit) {
        (Actual::Never, _) => "never".to_owned(),
        (Actual::Nothing, _) => "no data".to_owned(),
        (Actual::Figure(figure), Unit::Seconds) => seconds(figure),
        (Actual::Figure(figure), Unit::Count | Unit::Quotient) => decimals(figure, 2),
        (Actual::Figure(figure), Unit::Flag) => if figure == 0.0 { "no" } else { "yes" }.to_owned(),
    }
}

/// A share, with the numbers behind it.
pub(crate) fn share(part: f64, whole: f64) -> String {
    format!("{}% ({} of {})", decimals(part / whole * 100.0, 2), decimals(part, 2), decimals(whole, 2))
}
