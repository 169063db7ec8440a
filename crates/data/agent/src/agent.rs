//! The agent: what pilot-agent does beside the data plane (spec/istio.md 4).
//!
//! ```text
//! environment -> AgentConfig -> node --------------------------+
//! CA (istiod) <-CSR- CertificateTask -> SecretHub -> own data path, or SDS socket -> Envoy
//!                                           ^ ROOTCA            |
//! istiod <-- delta ADS -- XdsClient (own data path), or XDS socket <- Envoy
//! status server 15020 (probes, merged metrics), health 15021, metrics 15090
//! ```

pub mod ca;
mod csr;
pub mod dns;
mod duration;
pub mod env;
mod envoy;
mod envoy_bootstrap;
pub(crate) mod envoy_process;
mod merge;
pub mod node;
pub(crate) mod own;
mod probes;
pub mod proxy_config;
mod sds_server;
pub mod secrets;
mod status;
mod xds_proxy;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::ca::{CaOptions, CaStatus, CertificateInfo, CertificateTask};
use self::dns::DnsProxy;
use self::env::{AgentConfig, DataPlaneChoice};
use self::secrets::SecretHub;
use self::status::{Backend, StatusState};
use crate::bootstrap;
use crate::log::LogControl;
use crate::serve;
use crate::xds_client::{Upstream, XdsStatus};
use portolan_dataplane::StartError;

/// How often secrets in files are looked at.
const FILE_SECRETS_POLL: Duration = Duration::from_secs(2);
/// Where the servers behind the DNS proxy are read from.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A port is taken.
    #[error("cannot listen on {address} for {purpose}: {source}; set {setting} to another port")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What for.
        purpose: &'static str,
        /// What to change.
        setting: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A unix socket cannot be made.
    #[error("cannot listen on {path}: {source}; the directory must be writable")]
    Socket {
        /// Its path.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The application's probes.
    #[error(transparent)]
    Probes(#[from] probes::ProbeError),
    /// The DNS proxy's port is taken.
    #[error("cannot listen on 127.0.0.1:{0} for DNS: {1}; set DNS_PROXY_PORT to another port")]
    Dns(u16, #[source] std::io::Error),
    /// Our data plane.
    #[error(transparent)]
    DataPlane(#[from] StartError),
    /// Envoy.
    #[error(transparent)]
    Envoy(#[from] envoy_process::EnvoyError),
    /// The rendered bootstrap does not parse; a defect of ours.
    #[error("the bootstrap made from the environment is not valid: {0}")]
    Bootstrap(#[from] bootstrap::FileError),
}

/// The parts that both data planes need.
struct Common {
    config: AgentConfig,
    hub: SecretHub,
    xds_status: Arc<XdsStatus>,
    ca_status: Arc<CaStatus>,
    certificate: watch::Receiver<Option<CertificateInfo>>,
    /// Answers the mesh's names, when DNS capture is on.
    dns: Option<DnsProxy>,
    /// Cancelled when the process should begin to end.
    quit: CancellationToken,
    /// Cancelled when everything must have ended.
    stop: CancellationToken,
}

/// Runs the agent until `quit` is cancelled and the drain is over.
pub async fn run(config: AgentConfig, log: LogControl, quit: CancellationToken) -> Result<(), AgentError> {
    tracing::info!(
        node = config.node_id(),
        control_plane = config.xds_address,
        ca = config.ca_address,
        "agent starts"
    );
    let stop = CancellationToken::new();
    let _stop_on_return = stop.clone().drop_guard();
    let hub = SecretHub::default();
    let options = CaOptions {
        upstream: ca_upstream(&config, &hub),
        spiffe_id: config.spiffe_id(),
        ttl: config.secret_ttl,
        grace_ratio: config.grace_ratio,
        output: config.output_certs.clone(),
    };
    let (task, certificate, ca_status) = CertificateTask::new(options, hub.clone());
    tokio::spawn(task.run(stop.clone()));
    tokio::spawn(watch_files(hub.clone(), stop.clone()));
    let dns = start_dns(&config, &stop).await?;
    let common = Common {
        dns,
        config,
        hub,
        xds_status: Arc::new(XdsStatus::default()),
        ca_status,
        certificate,
        quit,
        stop,
    };
    match common.config.data_plane.clone() {
        DataPlaneChoice::Portolan => own::run(common, log).await,
        DataPlaneChoice::Envoy(program) => envoy::run(common, &program).await,
    }
}

async fn start_dns(config: &AgentConfig, stop: &CancellationToken) -> Result<Option<DnsProxy>, AgentError> {
    let Some(port) = config.dns_port else { return Ok(None) };
    let resolv_conf = tokio::fs::read_to_string(RESOLV_CONF).await.unwrap_or_default();
    let proxy = DnsProxy::new(&config.pod_namespace, &resolv_conf);
    let (udp, tcp) = DnsProxy::bind(port).await.map_err(|source| AgentError::Dns(port, source))?;
    tokio::spawn(proxy.clone().serve(udp, tcp, stop.clone()));
    Ok(Some(proxy))
}

fn ca_upstream(config: &AgentConfig, hub: &SecretHub) -> Upstream {
    let mut upstream = Upstream::istiod(&config.ca_address, &config.ca_root, &config.token_path, hub);
    upstream.metadata.push(("clusterid".to_owned(), config.cluster_id.clone()));
    upstream
}

fn xds_upstream(config: &AgentConfig, hub: &SecretHub) -> Upstream {
    let mut upstream = Upstream::istiod(&config.xds_address, &config.xds_root, &config.token_path, hub);
    upstream.metadata.push(("clusterid".to_owned(), config.cluster_id.clone()));
    upstream
}

async fn watch_files(hub: SecretHub, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(FILE_SECRETS_POLL) => hub.refresh_files(),
        }
    }
}

impl Common {
    fn status(&self, backend: Backend) -> Result<StatusState, AgentError> {
        let env = |name: &str| self.config.env.get(name).map(String::as_str);
        Ok(StatusState {
            backend,
            xds: self.xds_status.clone(),
            probes: Arc::new(probes::Probes::parse(env("ISTIO_KUBE_APP_PROBERS"))?),
            app: merge::AppTarget::parse(env("ISTIO_PROMETHEUS_ANNOTATIONS"), self.config.status_port),
            ca: self.ca_status.clone(),
            certificate: self.certificate.clone(),
            quit: self.quit.clone(),
        })
    }

    async fn serve(
        &self,
        port: u16,
        loopback: bool,
        purpose: &'static str,
        setting: &'static str,
        handler: serve::Handler,
    ) -> Result<(), AgentError> {
        let ip = if loopback { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        let address = SocketAddr::from((ip, port));
        let listener = TcpListener::bind(address).await.map_err(|source| AgentError::Listen {
            address,
            purpose,
            setting,
            source,
        })?;
        tokio::spawn(serve::serve(listener, handler, self.stop.clone()));
        Ok(())
    }
}
