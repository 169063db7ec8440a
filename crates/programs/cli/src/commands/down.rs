//! `portolan down`: stops a cluster and removes everything that it has on the machine, also after its process was killed.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use portolan_cluster::state::{NameLock, StateDir, StateError};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::up::state_dir;
use portolan_client::{Target, say, terminal::quoted};

/// Time for the process to stop by itself.
const GRACE: Duration = Duration::from_secs(30);
/// Time for the system to end a killed process.
const KILLED: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// Flags of `portolan down`.
#[derive(Debug, Args)]
pub(crate) struct Down {
    /// Also remove the cluster's objects, keys and logs.
    #[arg(long)]
    purge: bool,
}

/// Runs the command.
pub(crate) async fn run(target: &Target, args: &Down) -> anyhow::Result<ExitCode> {
    let state = state_dir(target);
    let record = state.record()?.ok_or_else(|| StateError::Missing(state.root().to_owned()))?;
    portolan_node::network::check_privilege()?;
    let pid = state.holder();
    if let Some(pid) = pid {
        stop(&state, pid).await?;
    }
    // Nobody may start a cluster while its remains are being removed.
    let lock = state.lock()?;
    let name_lock = NameLock::take(&record.name)?;
    let name = record.name.clone();
    tokio::task::spawn_blocking(move || portolan_node::network::cleanup(&name)).await??;
    match pid {
        Some(pid) => say!("cluster {} stopped (process {pid})", record.name),
        None => say!("cluster {} was not running; nothing of it is left on this machine", record.name),
    }
    if args.purge {
        state.purge()?;
        say!("removed its state in {}", quoted(state.root()));
    }
    drop((lock, name_lock));
    Ok(ExitCode::SUCCESS)
}

async fn stop(state: &StateDir, pid: u32) -> anyhow::Result<()> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .with_context(|| format!("{} names no process", state.root().display()))?;
    for (signal, time) in [(Signal::TERM, GRACE), (Signal::KILL, KILLED)] {
        if kill_process(pid, signal).is_err() && state.holder().is_some() {
            bail!("process {} cannot be signalled", pid.as_raw_nonzero());
        }
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            if state.holder().is_none() {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }
    bail!("process {} does not end", pid.as_raw_nonzero())
}
