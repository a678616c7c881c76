//! The record of counts as a readable file, and what is to be said about new ones.

use std::fmt::Write;

/// By how much an operation may become dearer, in per cent, before it fails.
pub const GROWTH_MAX_PERCENT: u64 = 10;

/// Instructions of one operation, in tenths: an operation is a mean over several.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Count(pub u64);

/// Counts by name, in the order in which they are shown, and what they depend on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// The compiler and the C library.
    pub toolchain: String,
    /// Each operation's name and count.
    pub counts: Vec<(String, Count)>,
}

/// A count that must stay below a multiple of another one.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// The operation that is looked at.
    pub large: &'static str,
    /// The one that it is compared with: the same with less of something around it.
    pub small: &'static str,
    /// How many times the other it may cost, in per cent.
    pub percent_max: u64,
    /// What that shows.
    pub shows: &'static str,
}

const HEAD: &str = "\
# Instructions of one operation, as counted by `cargo bench -p halfopen-instructions`, which fails if one of them costs
# 10 % more. To put new counts here, with the change that they come from: cargo bench -p halfopen-instructions -- --renew
";
const TOOLCHAIN: &str = "# Counted with: ";

impl Counts {
    /// Reads the record: a name and a count on each line.
    ///
    /// # Errors
    /// The first line that is neither that nor a comment.
    pub fn parse(text: &str) -> Result<Counts, String> {
        let mut counts = Counts::default();
        for line in text.lines() {
            if let Some(toolchain) = line.strip_prefix(TOOLCHAIN) {
                toolchain.clone_into(&mut counts.toolchain);
            } else if !line.starts_with('#') && !line.is_empty() {
                let wrong = || format!("`{line}` is not a name and a count");
                let (name, count) = line.split_once(' ').ok_or_else(wrong)?;
                let (whole, tenths) = count.trim().split_once('.').ok_or_else(wrong)?;
                let number = |digits: &str| digits.parse::<u64>().map_err(|_| wrong());
                counts.counts.push((name.to_owned(), Count(number(whole)? * 10 + number(tenths)?)));
            }
        }
        Ok(counts)
    }

    /// The record as text.
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEAD}{TOOLCHAIN}{}\n\n", self.toolchain);
        for (name, count) in &self.counts {
            let _ = writeln!(text, "{name:36} {:>12}", count.to_string());
        }
        text
    }

    fn get(&self, name: &str) -> Option<Count> {
        self.counts.iter().find(|(known, _)| known == name).map(|&(_, count)| count)
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0 / 10, self.0 % 10)
    }
}

/// Compares new counts with the record and with each other: the table, what is to be done, and whether all is well.
/// `whole` says that every operation was counted, so that one on record that is missing is a mistake.
pub fn compare(new: &Counts, record: &Counts, bounds: &[Bound], whole: bool) -> (String, bool) {
    let mut text = format!("{:36} {:>12} {:>12} {:>8}\n", "operation", "instructions", "on record", "change");
    let mut failures = Vec::new();
    let mut advice = Vec::new();
    for (name, count) in &new.counts {
        let Some(old) = record.get(name) else {
            let _ = writeln!(text, "{name:36} {:>12} {:>12}", count.to_string(), "-");
            failures.push(format!("{name} is not on record: add it with --renew"));
            continue;
        };
        let change = change_percent(*count, old);
        let _ = writeln!(text, "{name:36} {:>12} {:>12} {change:>+7.1}%", count.to_string(), old.to_string());
        if count.0 * 100 > old.0 * (100 + GROWTH_MAX_PERCENT) {
            failures
                .push(format!("{name} costs {change:+.1} %: mend it, or say why and renew the record with --renew"));
        } else if count.0 * (100 + GROWTH_MAX_PERCENT) < old.0 * 100 {
            advice.push(format!("{name} costs {change:+.1} %: renew the record with --renew, so that it stays so"));
        }
    }
    if whole {
        let gone = record.counts.iter().filter(|(name, _)| new.get(name).is_none());
        failures.extend(gone.map(|(name, _)| format!("{name} is on record but was not counted: renew with --renew")));
    }
    for bound in bounds {
        let (Some(large), Some(small)) = (new.get(bound.large), new.get(bound.small)) else { continue };
        let percent = large.0 * 100 / small.0.max(1);
        let line = format!("{} / {} = {}.{:02}", bound.large, bound.small, percent / 100, percent % 100);
        let _ = writeln!(
            text,
            "{line} (at most {}.{:02}): {}",
            bound.percent_max / 100,
            bound.percent_max % 100,
            bound.shows
        );
        if percent > bound.percent_max {
            failures.push(format!("{line} is too much: not so that {}", bound.shows));
        }
    }
    if new.toolchain != record.toolchain {
        let (here, there) = (&new.toolchain, &record.toolchain);
        advice.push(format!("counted with {here}, but on record is {there}: differences may be the compiler's"));
    }
    for line in &advice {
        let _ = writeln!(text, "note: {line}");
    }
    for line in &failures {
        let _ = writeln!(text, "FAILED: {line}");
    }
    (text, failures.is_empty())
}

fn change_percent(new: Count, old: Count) -> f64 {
    (new.0 as f64 / old.0.max(1) as f64 - 1.0) * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(toolchain: &str, counts: &[(&str, u64)]) -> Counts {
        let counts = counts.iter().map(|&(name, count)| (name.to_owned(), Count(count))).collect();
        Counts { toolchain: toolchain.to_owned(), counts }
    }

    const BOUND: Bound = Bound { large: "many", small: "few", percent_max: 200, shows: "no sweep" };

    fn check(new: &Counts, record: &Counts, well: bool) -> String {
        let (text, verdict) = compare(new, record, &[BOUND], true);
        assert_eq!(verdict, well, "{text}");
        text.lines()
            .filter(|line| line.starts_with("note") || line.starts_with("FAILED"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = counts("a compiler", &[("one", 12_345), ("two", 7), ("nothing", 0)]);
        assert_eq!(Counts::parse(&record.to_text()), Ok(record));
        assert!(Counts::parse("one thousand\n").is_err());
    }

    #[test]
    fn ten_per_cent_more_is_well_and_more_is_not() {
        let record = counts("a", &[("x", 1_000)]);
        assert_eq!(check(&counts("a", &[("x", 1_100)]), &record, true), "");
        insta::assert_snapshot!(check(&counts("a", &[("x", 1_101)]), &record, false), @"FAILED: x costs +10.1 %: mend it, or say why and renew the record with --renew");
    }

    #[test]
    fn what_became_cheaper_should_be_recorded() {
        let record = counts("a", &[("x", 1_100)]);
        assert_eq!(check(&counts("a", &[("x", 1_000)]), &record, true), "");
        insta::assert_snapshot!(check(&counts("a", &[("x", 990)]), &record, true), @"note: x costs -10.0 %: renew the record with --renew, so that it stays so");
    }

    #[test]
    fn the_record_has_neither_too_much_nor_too_little() {
        let (one, other) = (counts("a", &[("x", 1)]), counts("a", &[("y", 1)]));
        insta::assert_snapshot!(check(&one, &other, false), @r"
        FAILED: x is not on record: add it with --renew
        FAILED: y is on record but was not counted: renew with --renew
        ");
        assert!(compare(&counts("a", &[]), &other, &[], false).1, "not all were asked for");
    }

    #[test]
    fn a_sweep_is_found() {
        let at = |many| counts("a", &[("few", 100), ("many", many)]);
        assert_eq!(check(&at(200), &at(200), true), "");
        insta::assert_snapshot!(check(&at(203), &at(203), false), @"FAILED: many / few = 2.03 is too much: not so that no sweep");
    }

    #[test]
    fn another_compiler_is_named() {
        insta::assert_snapshot!(check(&counts("new", &[("x", 1)]), &counts("old", &[("x", 1)]), true), @"note: counted with new, but on record is old: differences may be the compiler's");
    }
}
