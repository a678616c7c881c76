//! From paths to checked plans: finds the files, reads and checks all of them, and tells every mistake.

use std::fs;
use std::path::{Path, PathBuf};

use halfopen_scenario::{Plan, Registry, parse, render};

/// Deepest folder that is looked into.
const DEPTH_MAX: usize = 16;

/// Everything that was found, or everything that is wrong with it.
pub(super) fn load(paths: &[PathBuf], registry: &Registry, colour: bool) -> Result<Vec<Plan>, String> {
    let mut mistakes = String::new();
    let mut files = Vec::new();
    for path in paths {
        if let Err(mistake) = find(path, 0, &mut files) {
            mistakes.push_str(&mistake);
        }
    }
    let mut plans = Vec::new();
    for file in &files {
        let name = file.display().to_string();
        match fs::read_to_string(file) {
            Err(error) => mistakes.push_str(&format!("error: cannot read {name}: {error}\n")),
            Ok(text) => match parse(&name, &text, registry) {
                (Some(found), diagnostics) if diagnostics.is_empty() => plans.extend(found),
                (_, diagnostics) => mistakes.push_str(&render(&name, &text, &diagnostics, colour)),
            },
        }
    }
    if mistakes.is_empty() { Ok(plans) } else { Err(mistakes) }
}

/// Adds the file, or all scenario files below the folder in the order of their names. A folder named by the user must
/// have some.
fn find(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let shown = path.display();
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = fs::read_dir(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!(
            "error: {shown} does not exist\n  help: name a scenario file or a folder of them, for example `halfopen run scenarios`\n"
        ),
        _ => format!("error: cannot read {shown}: {error}\n"),
    })?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let before = files.len();
    for path in paths {
        let is_scenario = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
        if path.is_dir() && depth < DEPTH_MAX {
            find(&path, depth + 1, files)?;
        } else if is_scenario && path.is_file() {
            files.push(path);
        }
    }
    if depth == 0 && files.len() == before {
        return Err(format!("error: {shown} has no scenarios (files that end in .yaml or .yml)\n"));
    }
    Ok(())
}
