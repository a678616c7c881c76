//! On what the figures were measured, and of what.

use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::root;

/// Packages whose versions matter.
const PACKAGES: [&str; 9] =
    ["turmoil", "turmoil-net", "madsim", "madsim-tokio", "tokio", "hyper", "hyper-util", "axum", "reqwest"];

/// Where and when, and of what.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The day, in UTC.
    pub date: String,
    /// halfopen's commit.
    pub commit: String,
    /// Processors, kernel, load.
    pub hardware: String,
    /// Compiler and packages.
    pub versions: String,
}

/// This one, now.
pub fn describe() -> Machine {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default().trim().to_owned();
    let model = read("/proc/cpuinfo").lines().find_map(|line| Some(line.strip_prefix("model name")?.to_owned()));
    let model = model.unwrap_or_default().trim_matches([' ', '\t', ':']).to_owned();
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    Machine {
        date: time::OffsetDateTime::now_utc().date().to_string(),
        commit: said("git", &["describe", "--always", "--dirty"]),
        hardware: format!(
            "{processors} x {model}, Linux {}, load average at the start {load}",
            read("/proc/sys/kernel/osrelease")
        ),
        versions: format!("{}; {}", said("rustc", &["--version"]), versions(&read_lock())),
    }
}

fn read_lock() -> String {
    fs::read_to_string(root().join("Cargo.lock")).unwrap_or_default()
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// What a lock file says of [`PACKAGES`].
fn versions(lock: &str) -> String {
    let lines: Vec<&str> = lock.lines().collect();
    let version = |package: &&str| {
        let name = format!("name = \"{package}\"");
        let pair = lines.windows(2).find(|pair| pair[0] == name)?;
        Some(format!("{package} {}", pair[1].strip_prefix("version = ")?.trim_matches('"')))
    };
    PACKAGES.iter().filter_map(version).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_lock_file() {
        let lock = "[[package]]\nname = \"turmoil-net\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"tokio\"\nversion = \"1.2.3\"\n";
        assert_eq!(versions(lock), "turmoil-net 0.1.0, tokio 1.2.3");
        assert_eq!(versions(&read_lock()).matches(", ").count(), PACKAGES.len() - 1);
    }
}
