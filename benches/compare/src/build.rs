//! Builds the peers, each by itself: what one asks of a common dependency (turmoil, a clock for tests in tokio) must not
//! slow the others.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::peer::Peer;
use crate::root;

/// The folder into which this program itself was built.
///
/// # Errors
/// If this program is not where cargo puts it.
pub fn target() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = program.parent().and_then(Path::parent);
    folder.map(Path::to_owned).ok_or_else(|| format!("{} is in no target folder", program.display()))
}

/// Builds the binaries of these peers, release.
///
/// # Errors
/// If one does not build.
pub fn all(target: &Path, peers: &[Peer]) -> Result<(), String> {
    let mut built = Vec::new();
    for peer in peers {
        if built.contains(&peer.package()) {
            continue;
        }
        println!("building {}", peer.package());
        let mut command = Command::new(env!("CARGO"));
        command.args(["build", "--quiet", "--release", "--locked", "--package", peer.package()]);
        command.arg("--target-dir").arg(peer.target(target)).current_dir(root());
        if let Some(flags) = peer.flags() {
            command.env("RUSTFLAGS", flags);
        }
        let status = command.status().map_err(|error| format!("cannot start cargo: {error}"))?;
        if !status.success() {
            return Err(format!("{} does not build", peer.package()));
        }
        built.push(peer.package());
    }
    Ok(())
}
