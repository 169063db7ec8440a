//! The tasks themselves.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{self, Result};
use crate::{dependencies, docs, layers, packages, tools};

/// The profile of the proxy as it is shipped (Cargo.toml).
const PROXY_PROFILE: &str = "proxy";

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
    dependencies::check()?;
    docs::check()?;
    let lints = ["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    run::step("lints", &mut run::cargo(&lints))?;
    run::step("build", &mut run::cargo(&["build", "--workspace", "--bins"]))?;
    let mut tests = run::cargo(&["test", "--workspace"]);
    with_tools(tests.args(arguments))?;
    run::step("tests", &mut tests)
}

/// Where programs go unless `--prefix` says otherwise: where the shell of root, or of anybody else, finds them.
fn prefix(arguments: &[String]) -> Result<PathBuf> {
    match arguments {
        [] if run::is_root() => Ok("/usr/local".into()),
        [] => std::env::home_dir()
            .map(|home| home.join(".local"))
            .ok_or_else(|| "there is no home directory: say where to with --prefix".to_owned()),
        [flag, folder] if flag == "--prefix" => Ok(folder.into()),
        _ => Err("install takes --prefix DIRECTORY, or nothing".to_owned()),
    }
}

/// Builds the programs as they are shipped and puts them where the shell finds them.
pub(crate) fn install(arguments: &[String]) -> Result<()> {
    let bin = prefix(arguments)?.join("bin");
    packages::ensure(packages::PROGRAMS)?;
    let shipped = ["build", "--release", "-p", "portolan", "-p", "portolan-bookinfo", "--bins"];
    run::step("build", &mut run::cargo(&shipped))?;
    run::step(
        "build the proxy",
        &mut run::cargo(&["build", "--profile", PROXY_PROFILE, "-p", "portolan-proxy"]),
    )?;
    let built = [("release", "portolan"), ("release", "bookinfo"), (PROXY_PROFILE, "portolan-proxy")];
    for (folder, program) in built {
        let from = run::target().join(folder).join(program);
        let mut copy = run::command("install", &["-D", "-m", "755"]);
        run::quiet(copy.arg(&from).arg(bin.join(program)))?;
        println!("{}", bin.join(program).display());
    }
    let found = run::find("portolan");
    if found.as_deref().and_then(Path::parent) != Some(&bin) {
        println!("The shell does not look there yet: export PATH={}:$PATH", bin.display());
    }
    Ok(())
}

/// Builds what is measured and what measures, as it is shipped, and runs the measurement.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    if arguments.first().is_some_and(|first| first == "control-plane") {
        return bench_control_plane(arguments);
    }
    packages::ensure(packages::BENCH)?;
    let (envoy, nginx) = (tools::envoy()?, tools::nginx()?);
    let build =
        ["build", "--profile", PROXY_PROFILE, "-p", "portolan-proxy", "-p", "portolan-bench", "--bins"];
    run::step("build", &mut run::cargo(&build))?;
    let program = run::target().join(PROXY_PROFILE).join("portolan-bench");
    let mut bench = run::command(&program.display().to_string(), &[]);
    bench.args(arguments).env("PORTOLAN_ENVOY", envoy).env("PORTOLAN_NGINX", nginx);
    run::step("bench", &mut bench)
}

/// The same for the control plane, which is measured as it is shipped too.
fn bench_control_plane(arguments: &[String]) -> Result<()> {
    packages::ensure(packages::BENCH_CONTROL_PLANE)?;
    let build = ["build", "--release", "-p", "portolan", "-p", "portolan-bench", "--bins"];
    run::step("build", &mut run::cargo(&build))?;
    let program = run::target().join("release").join("portolan-bench");
    let mut bench = run::command(&program.display().to_string(), &[]);
    run::step("bench", bench.args(arguments))
}
