//! `portolan up`: starts a cluster, in the foreground or detached.

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use portolan_cluster::mesh::{FederationGateways, Options};
use portolan_cluster::progress::wait_ready;
use portolan_cluster::state::StateDir;
use portolan_cluster::{Cluster, Config};
use portolan_identity::SpiffeId;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use portolan_client::{Target, say, terminal::quoted};

/// Where a cluster keeps its state if nothing is said.
const DEFAULT_STATE_DIR: &str = "/var/lib/portolan";
/// Longest value of a label, and longest name of a Service.
const MAX_LABEL: usize = 63;
/// Time for a detached start.
const TIMEOUT: Duration = Duration::from_secs(300);

/// What to start. `up` and the process that `up --detach` starts take the same flags.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterFlags {
    /// Name of the cluster.
    #[arg(long, default_value = "portolan")]
    pub(crate) name: String,
    /// Port of the API server on 127.0.0.1; a free one if not given.
    #[arg(long)]
    pub(crate) api_port: Option<u16>,
    /// Start without a mesh.
    #[arg(long)]
    pub(crate) no_mesh: bool,
    /// Trust domain of the mesh.
    #[arg(long, default_value = "cluster.local", value_parser = trust_domain)]
    pub(crate) trust_domain: String,
    /// Name of the cluster in the mesh; the cluster's own name if not given.
    #[arg(long)]
    pub(crate) cluster_id: Option<String>,
    /// Have gateways for a federation with this peer: PEER-ingress and PEER-egress. May be repeated.
    #[arg(long = "federation-peer", value_name = "PEER", value_parser = peer)]
    pub(crate) federation_peers: Vec<String>,
    /// Proxy that the gateways run.
    #[arg(long, value_parser = ["portolan", "envoy"], default_value = "portolan")]
    pub(crate) gateway_proxy: String,
    /// Envoy program, for Pods and gateways that run it.
    #[arg(long, env = "PORTOLAN_ENVOY", value_name = "PATH")]
    pub(crate) envoy: Option<PathBuf>,
    /// Write no access logs.
    #[arg(long)]
    pub(crate) no_access_log: bool,
}

/// A trust domain, as the mesh's certificates can have it.
fn trust_domain(text: &str) -> Result<String, String> {
    match SpiffeId::workload(text, "default", "default") {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The name of a peer: those of its gateways begin with it, and are values of labels.
fn peer(text: &str) -> Result<String, String> {
    let longest = MAX_LABEL - "-ingress".len();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let good = edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
    if good && bytes.len() <= longest {
        return Ok(text.to_owned());
    }
    Err(format!(
        "use 1 to {longest} lower-case letters, digits and `-`, starting and ending with a letter or digit"
    ))
}

/// Flags of `portolan up`.
#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    cluster: ClusterFlags,
    /// Leave the cluster running in the background.
    #[arg(long, short)]
    detach: bool,
}

/// The state directory that the user means.
pub(crate) fn state_dir(target: &Target) -> StateDir {
    StateDir::new(&target.state_dir.clone().unwrap_or_else(|| DEFAULT_STATE_DIR.into()))
}

impl ClusterFlags {
    /// The configuration for a start.
    pub(crate) fn config(&self, state: StateDir) -> Config {
        let mesh = (!self.no_mesh).then(|| Options {
            cluster_id: self.cluster_id.clone().unwrap_or_else(|| self.name.clone()),
            trust_domain: self.trust_domain.clone(),
            gateway_proxy: self.gateway_proxy.clone(),
            federation: self
                .federation_peers
                .iter()
                .map(|peer| FederationGateways { peer: peer.clone() })
                .collect(),
            access_log: !self.no_access_log,
        });
        Config { state, name: self.name.clone(), api_port: self.api_port, mesh, envoy: self.envoy.clone() }
    }

    /// The same flags as arguments for another process.
    fn arguments(&self) -> Vec<String> {
        let mut out = vec![format!("--name={}", self.name), format!("--trust-domain={}", self.trust_domain)];
        out.push(format!("--gateway-proxy={}", self.gateway_proxy));
        out.extend(self.api_port.map(|port| format!("--api-port={port}")));
        out.extend(self.no_mesh.then(|| "--no-mesh".to_owned()));
        out.extend(self.cluster_id.as_ref().map(|id| format!("--cluster-id={id}")));
        out.extend(self.federation_peers.iter().map(|peer| format!("--federation-peer={peer}")));
        out.extend(self.envoy.as_ref().map(|path| format!("--envoy={}", path.display())));
        out.extend(self.no_access_log.then(|| "--no-access-log".to_owned()));
        out
    }
}

/// Runs the command.
pub(crate) async fn run(target: &Target, args: &Up) -> anyhow::Result<ExitCode> {
    let state = state_dir(target);
    if args.detach { detached(&state, &args.cluster).await } else { foreground(state, &args.cluster).await }
}

/// Prints a phase that is done.
fn tick(start: &Instant, what: &str) {
    say!("\u{2713} {what}  ({:.1} s)", start.elapsed().as_secs_f64());
}

fn show_what_to_try(state: &StateDir, with_mesh: bool) {
    let kubeconfig = state.kubeconfig();
    say!("\nThe cluster is up. Try:\n");
    say!("   export KUBECONFIG={}", quoted(&kubeconfig));
    say!("   kubectl get pods -A");
    if with_mesh {
        say!("   portolan proxy-status");
    }
    say!("   portolan status --state-dir {}", quoted(state.root()));
}

async fn foreground(state: StateDir, flags: &ClusterFlags) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let mut stop = Box::pin(stopped());
    let cluster = tokio::select! {
        cluster = Cluster::start(flags.config(state.clone()), |what| tick(&start, what)) => cluster?,
        () = &mut stop => bail!("stopped before the cluster was up; nothing was left behind"),
    };
    show_what_to_try(&state, !flags.no_mesh);
    say!("\nIt stays up until Ctrl-C.");
    stop.await;
    say!("\nstopping");
    cluster.stop().await?;
    Ok(ExitCode::SUCCESS)
}

async fn detached(state: &StateDir, flags: &ClusterFlags) -> anyhow::Result<ExitCode> {
    // The same checks as the start makes, but here they can still be answered at once.
    portolan_node::network::check_privilege()?;
    state.create()?;
    drop(state.lock()?);
    let _ = std::fs::remove_file(state.progress());
    let log = std::fs::File::create(state.log()).with_context(|| state.log().display().to_string())?;
    let mut child = Command::new(std::env::current_exe().context("finding this program")?)
        .arg("cluster")
        .arg("--state-dir")
        .arg(state.root())
        .args(flags.arguments())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("starting the cluster process")?;
    let start = Instant::now();
    tokio::select! {
        outcome = wait_ready(state, &mut child, TIMEOUT, |what| tick(&start, what)) => outcome?,
        () = stopped() => {
            if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            let _ = child.wait().await;
            bail!("stopped before the cluster was up; nothing was left behind");
        }
    }
    show_what_to_try(state, !flags.no_mesh);
    say!("   portolan down --state-dir {}", quoted(state.root()));
    Ok(ExitCode::SUCCESS)
}

/// Returns when the process is told to stop.
pub(crate) async fn stopped() {
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        cluster: ClusterFlags,
    }

    #[test]
    fn names_that_no_mesh_can_have_are_refused_before_anything_starts() {
        let refusal = |flag: &str, value: &str| {
            Flags::try_parse_from(["x", &format!("{flag}={value}")]).expect_err(value).to_string()
        };
        assert!(refusal("--trust-domain", "bad domain").contains("lower-case letters, digits, dots"));
        assert!(refusal("--trust-domain", "").contains("not valid"));
        for name in ["Bad_Peer", "", "-east", "east-", &"e".repeat(64)] {
            assert!(
                refusal("--federation-peer", name).contains("lower-case letters, digits and `-`"),
                "{name}"
            );
        }
    }

    #[test]
    fn flags_survive_the_way_to_the_detached_process() {
        let typed = [
            "x",
            "--name",
            "west",
            "--api-port",
            "7000",
            "--federation-peer",
            "east",
            "--no-access-log",
            "--trust-domain",
            "west.local",
            "--gateway-proxy",
            "envoy",
            "--envoy",
            "/opt/envoy",
        ];
        let flags = Flags::parse_from(typed).cluster;
        let again = Flags::parse_from(std::iter::once("x".to_owned()).chain(flags.arguments())).cluster;
        assert_eq!(format!("{flags:?}"), format!("{again:?}"));
        let mesh = flags.config(StateDir::new("/tmp/x".as_ref())).mesh.unwrap();
        assert_eq!(mesh.cluster_id, "west");
        assert!(!mesh.access_log);
        assert_eq!(mesh.federation[0].ingress(), "east-ingress");
    }
}
