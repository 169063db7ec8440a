//! The tasks themselves.

use std::process::Command;

use crate::run::{self, Result};
use crate::{layers, packages, tools};

/// Environment of everything that tests or demonstrates: where the foreign programs are.
fn with_tools(command: &mut Command) -> Result<&mut Command> {
    let (kubectl, envoy) = (tools::kubectl()?, tools::envoy()?);
    Ok(command.env("PORTOLAN_KUBECTL", kubectl).env("PORTOLAN_ENVOY", envoy))
}

/// Fetches what the other tasks need.
pub(crate) fn tools() -> Result<()> {
    packages::ensure(packages::TESTS)?;
    println!("kubectl: {}", tools::kubectl()?.display());
    println!("envoy:   {}", tools::envoy()?.display());
    Ok(())
}

/// Builds, then runs the demo.
pub(crate) fn demo(arguments: &[String]) -> Result<()> {
    packages::ensure(packages::TESTS)?;
    run::step("build", &mut run::cargo(&["build", "--workspace", "--bins"]))?;
    let program = run::target().join("debug/portolan");
    let mut demo = run::command(&program.display().to_string(), &["demo"]);
    with_tools(demo.args(arguments))?;
    // The demo has the terminal from here on: Ctrl-C is its to handle, and its exit is ours.
    run::step("demo", &mut demo)
}

/// Everything that has to hold before a change lands.
pub(crate) fn test(arguments: &[String]) -> Result<()> {
    packages::ensure(packages::TESTS)?;
    run::step("format", &mut run::cargo(&["fmt", "--all", "--check"]))?;
    println!("\n==> layers");
    layers::layers()?;
    let lints = ["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    run::step("lints", &mut run::cargo(&lints))?;
    run::step("build", &mut run::cargo(&["build", "--workspace", "--bins"]))?;
    let mut tests = run::cargo(&["test", "--workspace"]);
    with_tools(tests.args(arguments))?;
    run::step("tests", &mut tests)
}

/// Builds what is measured and what measures, as it is shipped, and runs the measurement.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    packages::ensure(packages::BENCH)?;
    let (envoy, nginx) = (tools::envoy()?, tools::nginx()?);
    let build = ["build", "--release", "-p", "portolan-proxy", "-p", "portolan-bench", "--bins"];
    run::step("build", &mut run::cargo(&build))?;
    let program = run::target().join("release/portolan-bench");
    let mut bench = run::command(&program.display().to_string(), &[]);
    bench.args(arguments).env("PORTOLAN_ENVOY", envoy).env("PORTOLAN_NGINX", nginx);
    run::step("bench", &mut bench)
}
