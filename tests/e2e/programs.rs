//! Running the shipped programs.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Clusters share the machine's network and its two cores: one test at a time has them.
pub(crate) fn machine() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    // A test that failed has taken its clusters down all the same.
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The `portolan` program that was built beside this test.
pub(crate) fn portolan() -> PathBuf {
    let here = std::env::current_exe().expect("a running program has a path");
    let folder = here.parent().and_then(|deps| deps.parent()).expect("tests are in target/<profile>/deps");
    let program = folder.join("portolan");
    assert!(program.is_file(), "{} is missing: run `cargo xtask test`", program.display());
    program
}

/// Runs `portolan` to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(portolan());
    command.args(arguments).stdin(Stdio::null());
    command.output().expect("portolan runs")
}

/// Both outputs, for what a person would see.
pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
