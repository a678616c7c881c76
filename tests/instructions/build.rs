//! Tells the program which compiler built it: instruction counts are that compiler's work too.

use std::process::Command;

#[allow(clippy::disallowed_methods)] // Cargo tells a build script everything by its environment.
fn main() {
    let rustc = std::env::var_os("RUSTC").expect("cargo names the compiler");
    let output = Command::new(rustc).arg("--version").output().expect("the compiler says its version");
    let version = String::from_utf8_lossy(&output.stdout);
    let target = std::env::var("TARGET").expect("cargo names the target");
    println!("cargo::rustc-env=BUILT_BY={} for {target}", version.trim());
    println!("cargo::rerun-if-changed=build.rs");
}
