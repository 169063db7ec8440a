//! The parts of the agent put together; the data plane is the caller's.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portolan_dataplane::config::{ConfigStore, ResourceKind};
use portolan_dns::ResolvConf;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::certificates::{self, CaOptions, CaStatus, CertificateInfo, CertificateTask, SecretHub};
use crate::dns::DnsProxy;
use crate::envoy::bootstrap::{Paths, render};
use crate::envoy::process::{self, EnvoyError};
use crate::envoy::{self, EnvoyStatus, SocketError};
use crate::serve;
use crate::settings::{self, AgentConfig};
use crate::status::{self, AppTarget, DataPlaneStatus, ProbeError, Probes, StatusState};
use crate::upstream::Upstream;
use crate::xds_client::{NameTableSink, XdsClient, XdsStatus};

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
    /// A unix socket for Envoy cannot be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The application's probes.
    #[error(transparent)]
    Probes(#[from] ProbeError),
    /// The DNS proxy's port is taken.
    #[error("cannot listen on 127.0.0.1:{0} for DNS: {1}; set DNS_PROXY_PORT to another port")]
    Dns(u16, #[source] std::io::Error),
    /// Envoy.
    #[error(transparent)]
    Envoy(#[from] EnvoyError),
}

/// An endpoint of the agent's own.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    /// Port.
    pub port: u16,
    /// Whether only this Pod may reach it.
    pub loopback: bool,
    /// What it is for, in messages.
    pub purpose: &'static str,
    /// The setting that changes the port, in messages.
    pub setting: &'static str,
}

/// A running agent: it asks for certificates, watches secrets in files and answers DNS questions. All of it ends with
/// this value.
#[derive(Debug)]
pub struct Agent {
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
    _stop_on_drop: DropGuard,
}

impl Agent {
    /// Starts what does not depend on the data plane. `quit` is cancelled when the process should begin to end.
    pub async fn start(config: AgentConfig, quit: CancellationToken) -> Result<Self, AgentError> {
        tracing::info!(
            node = config.node_id(),
            control_plane = config.xds_address,
            ca = config.ca_address,
            "agent starts"
        );
        let stop = CancellationToken::new();
        let stop_on_drop = stop.clone().drop_guard();
        let hub = SecretHub::default();
        let options = CaOptions {
            upstream: istiod(&config, &config.ca_address, &config.ca_root, &hub),
            spiffe_id: config.spiffe_id(),
            ttl: config.secret_ttl,
            grace_ratio: config.grace_ratio,
            output: config.output_certs.clone(),
        };
        let (task, certificate, ca_status) = CertificateTask::new(options, hub.clone());
        tokio::spawn(task.run(stop.clone()));
        tokio::spawn(watch_files(hub.clone(), stop.clone()));
        let dns = start_dns(&config, &stop).await?;
        Ok(Agent {
            config,
            hub,
            xds_status: Arc::default(),
            ca_status,
            certificate,
            dns,
            quit,
            stop,
            _stop_on_drop: stop_on_drop,
        })
    }

    /// Its settings.
    pub fn config(&self) -> &AgentConfig {
        &self.config
    }

    /// What is known of the connection to the control plane.
    pub fn xds_status(&self) -> &Arc<XdsStatus> {
        &self.xds_status
    }

    /// Cancelled when the process should begin to end; may be cancelled by anyone.
    pub fn quit(&self) -> &CancellationToken {
        &self.quit
    }

    /// Feeds the data path in this process: with secrets of ours, and with what the control plane says.
    pub fn feed(&self, store: &ConfigStore) {
        tokio::spawn(certificates::feed(self.hub.clone(), store.clone(), self.stop.clone()));
        let client = XdsClient {
            upstream: self.xds_upstream(),
            store: store.clone(),
            roots: Some(Arc::new(self.hub.clone())),
            names: self.names(),
            wildcards: vec![ResourceKind::Cluster, ResourceKind::Listener],
            exclude: Arc::new(|kind, name| kind == ResourceKind::Secret && certificates::is_own(name)),
            status: self.xds_status.clone(),
        };
        tokio::spawn(client.run(settings::node(&self.config), self.stop.clone()));
    }

    /// Runs Envoy as the data plane until it ends or the drain after `quit` is over.
    pub async fn run_envoy(&self, program: &Path) -> Result<(), AgentError> {
        let config = &self.config;
        let paths = Paths::new(&config.proxy.config_path);
        let feed = envoy::Feed {
            upstream: self.xds_upstream(),
            hub: self.hub.clone(),
            names: self.names(),
            status: self.xds_status.clone(),
        };
        envoy::serve(&paths, feed, &self.stop)?;
        let status = self.status(Arc::new(EnvoyStatus { admin_port: config.admin_port }))?;
        self.serve_status(status).await?;
        let file = process::write_bootstrap(Path::new(&config.proxy.config_path), &render(config, &paths))?;
        process::run(config, program, &file, self.quit.clone()).await?;
        Ok(())
    }

    /// What the status server tells, with `data_plane` as the one beside the agent.
    pub fn status(&self, data_plane: Arc<dyn DataPlaneStatus>) -> Result<StatusState, ProbeError> {
        let env = |name: &str| self.config.env.get(name).map(String::as_str);
        Ok(StatusState {
            data_plane,
            xds: self.xds_status.clone(),
            probes: Arc::new(Probes::parse(env(portolan_names::env::ISTIO_KUBE_APP_PROBERS))?),
            app: AppTarget::parse(
                env(portolan_names::env::ISTIO_PROMETHEUS_ANNOTATIONS),
                self.config.status_port,
            ),
            ca: self.ca_status.clone(),
            certificate: self.certificate.clone(),
            quit: self.quit.clone(),
        })
    }

    /// Serves the status port.
    pub async fn serve_status(&self, status: StatusState) -> Result<(), AgentError> {
        let port = self.config.status_port;
        let endpoint = Endpoint { port, loopback: false, purpose: "status", setting: "statusPort" };
        self.serve(endpoint, status::handler(status)).await
    }

    /// Serves one endpoint as long as the agent runs.
    pub async fn serve(&self, endpoint: Endpoint, handler: serve::Handler) -> Result<(), AgentError> {
        let Endpoint { port, loopback, purpose, setting } = endpoint;
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

    fn xds_upstream(&self) -> Upstream {
        istiod(&self.config, &self.config.xds_address, &self.config.xds_root, &self.hub)
    }

    fn names(&self) -> Option<Arc<dyn NameTableSink>> {
        Some(Arc::new(self.dns.clone()?))
    }
}

fn istiod(config: &AgentConfig, address: &str, roots: &Path, hub: &SecretHub) -> Upstream {
    let mut upstream = Upstream::istiod(address, roots, &config.token_path, Arc::new(hub.clone()));
    upstream.metadata.push(("clusterid".to_owned(), config.cluster_id.clone()));
    upstream
}

async fn start_dns(config: &AgentConfig, stop: &CancellationToken) -> Result<Option<DnsProxy>, AgentError> {
    let Some(port) = config.dns_port else { return Ok(None) };
    let resolv_conf = ResolvConf::parse(&tokio::fs::read_to_string(RESOLV_CONF).await.unwrap_or_default());
    let bound = DnsProxy::bind(port, &config.pod_namespace, resolv_conf).await;
    let (proxy, udp, tcp) = bound.map_err(|source| AgentError::Dns(port, source))?;
    tokio::spawn(stop.clone().run_until_cancelled_owned(proxy.clone().serve(udp, tcp)));
    Ok(Some(proxy))
}

async fn watch_files(hub: SecretHub, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(FILE_SECRETS_POLL) => hub.refresh_files(),
        }
    }
}
