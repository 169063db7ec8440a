//! `portolan cluster`: the process that holds a cluster. `up --detach` and the demo start it; it tells them of its
//! progress through a file in the state directory.

use std::process::ExitCode;

use clap::Args;
use portolan_client::Target;
use portolan_cluster::Cluster;
use portolan_cluster::progress::Teller;

use super::up::{ClusterFlags, state_dir, stopped};

/// Flags of `portolan cluster`.
#[derive(Debug, Args)]
pub(crate) struct Supervise {
    #[command(flatten)]
    cluster: ClusterFlags,
    /// End when the process that started this one ends.
    #[arg(long)]
    die_with_parent: bool,
}

/// Runs the command.
pub(crate) async fn run(target: &Target, args: &Supervise) -> anyhow::Result<ExitCode> {
    // Ctrl-C in the terminal is for the command that started this one; it decides what happens here.
    let _ = rustix::process::setsid();
    if args.die_with_parent {
        let parent = rustix::process::getppid();
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
        // It may have ended before the signal was asked for.
        if rustix::process::getppid() != parent {
            return Ok(ExitCode::FAILURE);
        }
    }
    let state = state_dir(target);
    let config = args.cluster.config(state.clone());
    let teller = Teller::new(&state);
    let mut stop = Box::pin(stopped());
    let started = tokio::select! {
        started = Cluster::start(config, |what| teller.done(what)) => started,
        () = &mut stop => return Ok(ExitCode::FAILURE),
    };
    let cluster = match started {
        Ok(cluster) => cluster,
        Err(error) => {
            teller.failed(&error);
            return Err(error.into());
        }
    };
    teller.ready();
    tracing::info!(cluster = cluster.plan().cluster(), "up");
    stop.await;
    tracing::info!("stopping");
    cluster.stop().await?;
    Ok(ExitCode::SUCCESS)
}
