//! Runs Envoy as a child process: start, signals, end.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::fetch::Fetch;
use crate::settings::AgentConfig;

/// Time that Envoy gets between SIGTERM and SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(5);
/// How long Envoy may take to answer the drain request.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Name of the rendered bootstrap in the configuration directory.
const BOOTSTRAP_FILE: &str = "envoy-rev0.json";
/// One line per event, with the time in UTC, as istio-agent sets it.
const LOG_FORMAT: &str = "%Y-%m-%dT%T.%fZ\t%l\tenvoy %n\t%v";

/// Hidden command of this program that becomes another program, tied to the life of its parent.
pub const TIED: &str = "exec-tied";

/// Replaces this process by `program`, which the kernel kills when `parent` dies. Envoy must not outlive its
/// agent, however that ends: it would serve with certificates that nobody renews. The setting survives the
/// replacement (PR_SET_PDEATHSIG(2const)). Returns only if it fails.
pub fn exec_tied(parent: u32, program: &Path, arguments: &[String]) -> std::io::Error {
    use std::os::unix::process::CommandExt;
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    // The parent may have died before the line above; then nobody would kill us.
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if now.and_then(|pid| u32::try_from(pid).ok()) != Some(parent) {
        return std::io::Error::other("the agent is gone");
    }
    std::process::Command::new(program).args(arguments).exec()
}

/// Why Envoy does not run.
#[derive(Debug, thiserror::Error)]
pub enum EnvoyError {
    /// The bootstrap could not be written.
    #[error("cannot write Envoy's bootstrap to {path}: {source}")]
    Bootstrap {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The program could not be started.
    #[error("cannot start Envoy {path}: {source}; set ENVOY_PATH or --envoy to its program")]
    Start {
        /// The program.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Waiting for it failed.
    #[error("cannot wait for Envoy: {0}")]
    Wait(#[source] std::io::Error),
    /// It ended by itself.
    #[error("Envoy ended unexpectedly: {0}")]
    Ended(std::process::ExitStatus),
}

/// Writes the bootstrap; returns its path.
pub fn write_bootstrap(directory: &Path, bootstrap: &serde_json::Value) -> Result<PathBuf, EnvoyError> {
    let path = directory.join(BOOTSTRAP_FILE);
    let write = || {
        std::fs::create_dir_all(directory)?;
        std::fs::write(&path, serde_json::to_vec_pretty(bootstrap)?)
    };
    write().map_err(|source| EnvoyError::Bootstrap { path: path.clone(), source })?;
    Ok(path)
}

/// Runs Envoy until it ends or `quit` is cancelled, and then drains and stops it.
pub async fn run(
    config: &AgentConfig,
    program: &Path,
    bootstrap: &Path,
    quit: CancellationToken,
) -> Result<(), EnvoyError> {
    let mut child = std::env::current_exe()
        .and_then(|own| {
            Command::new(own)
                .arg(TIED)
                .arg(std::process::id().to_string())
                .arg(program)
                .args(arguments(config, bootstrap))
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .spawn()
        })
        .map_err(|source| EnvoyError::Start { path: program.to_owned(), source })?;
    tracing::info!(pid = child.id(), program = %program.display(), "Envoy started");
    tokio::select! {
        ended = child.wait() => Err(EnvoyError::Ended(ended.map_err(EnvoyError::Wait)?)),
        () = quit.cancelled() => stop(config, child).await,
    }
}

fn arguments(config: &AgentConfig, bootstrap: &Path) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "-c",
        &bootstrap.display().to_string(),
        // Several Envoys may share one host's shared memory; hot restart is not used.
        "--disable-hot-restart",
        "--drain-time-s",
        &config.proxy.drain_duration.as_secs().to_string(),
        "--drain-strategy",
        "immediate",
        "--parent-shutdown-time-s",
        &config.proxy.parent_shutdown_duration.as_secs().to_string(),
        "--local-address-ip-version",
        "v4",
        "--file-flush-interval-msec",
        "1000",
        "--log-format",
        LOG_FORMAT,
        "-l",
        &config.proxy_log_level,
    ]
    .map(str::to_owned)
    .into();
    if !config.proxy_component_log_level.is_empty() {
        arguments.extend(["--component-log-level".to_owned(), config.proxy_component_log_level.clone()]);
    }
    if config.concurrency > 0 {
        arguments.extend(["--concurrency".to_owned(), config.concurrency.to_string()]);
    }
    arguments
}

/// Inbound connections drain, the application gets its time to finish outbound ones, then Envoy ends.
async fn stop(config: &AgentConfig, mut child: Child) -> Result<(), EnvoyError> {
    let address = format!("127.0.0.1:{}", config.admin_port);
    let drain = Fetch::get(address, "/drain_listeners?inboundonly&graceful", DRAIN_TIMEOUT, 4096)
        .method(http::Method::POST);
    if let Err(error) = drain.send().await {
        tracing::warn!(%error, "cannot tell Envoy to drain");
    }
    let wait = config.proxy.termination_drain_duration;
    tracing::info!(?wait, "draining Envoy");
    if let Ok(ended) = tokio::time::timeout(wait, child.wait()).await {
        ended.map_err(EnvoyError::Wait)?;
        return Ok(());
    }
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
    match tokio::time::timeout(TERM_GRACE, child.wait()).await {
        Ok(ended) => ended.map(drop).map_err(EnvoyError::Wait),
        Err(_) => child.kill().await.map_err(EnvoyError::Wait),
    }
}
