//! `portolan demo`: two clusters side by side, a mesh in each, one using a service of the other.
//!
//! One file per step in [`steps`]. A tick is printed when something has been observed to be true, never before;
//! what does not come true ends the run with what was seen instead. With `--check` that is a test.

#![warn(clippy::print_stdout)]

mod capture;
mod http;
mod kubectl;
mod manifests;
mod metrics;
mod report;
mod steps;
mod world;

use portolan_client::say;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use report::Report;
use world::World;

/// Which proxies the demo runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProxyChoice {
    /// Ours everywhere.
    Portolan,
    /// Envoy everywhere.
    Envoy,
    /// Both: ours and Envoy side by side on every path.
    Mixed,
}

/// Flags of `portolan demo`. `--state-dir` is where both clusters keep their state; the default is a new
/// directory under the temporary one.
#[derive(Debug, Args)]
pub struct Demo {
    /// Run the steps as a test: exit with an error on the first that does not come true, and do not stay.
    #[arg(long)]
    check: bool,
    /// Which proxies to run.
    #[arg(long, value_enum, default_value = "portolan")]
    proxy: ProxyChoice,
    /// Envoy program for --proxy envoy and mixed; otherwise `envoy` on the PATH.
    #[arg(long, env = "PORTOLAN_ENVOY", value_name = "PATH")]
    envoy: Option<PathBuf>,
    /// kubectl program; otherwise the one on the PATH, and without one the demo applies its files by itself.
    #[arg(long, env = "PORTOLAN_KUBECTL", value_name = "PATH")]
    kubectl: Option<PathBuf>,
    /// Only the first N steps.
    #[arg(long, value_name = "N", default_value_t = steps::COUNT)]
    steps: usize,
}

/// Runs the demo. Whatever happens, both clusters are down and cleaned up when this returns.
pub async fn run(args: &Demo, state_dir: Option<&Path>) -> anyhow::Result<ExitCode> {
    let mut report = Report::new();
    let mut world = World::plan(args, state_dir)?;
    let outcome = tokio::select! {
        outcome = perform(&mut world, &mut report, args) => outcome,
        () = world::interrupted() => {
            say!();
            Ok(())
        }
    };
    let failed = outcome.is_err();
    if let Err(error) = outcome {
        report.failed(&error);
        world.show_troubles().await;
    }
    world.stop().await;
    report.summary();
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn perform(world: &mut World, report: &mut Report, args: &Demo) -> anyhow::Result<()> {
    world.start(report).await?;
    steps::run(world, report, args.steps).await?;
    if args.check {
        return Ok(());
    }
    world.show_what_to_try().await;
    std::future::pending().await
}
