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
mod merge;
pub mod node;
mod probes;
pub mod proxy_config;
mod sds_server;
pub mod secrets;
mod status;
mod xds_proxy;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;

use self::ca::{CaOptions, CaStatus, CertificateInfo, CertificateTask};
use self::dns::DnsProxy;
use self::env::{AgentConfig, DataPlaneChoice, Role};
use self::envoy_bootstrap::Paths;
use self::secrets::SecretHub;
use self::status::{Backend, StatusState};
use crate::admin::{self, AdminState};
use crate::bootstrap;
use crate::config::{ConfigStore, ConfigUpdate, DrainKind, Needs, ResourceKind};
use crate::dataplane::{DataPlane, DataPlaneOptions, StartError};
use crate::log::LogControl;
use crate::serve;
use crate::telemetry::StatsHandle;
use crate::xds_client::{Upstream, XdsClient, XdsStatus};

/// How often secrets in files are looked at.
const FILE_SECRETS_POLL: Duration = Duration::from_secs(2);
/// How often a drain looks whether connections are left.
const DRAIN_POLL: Duration = Duration::from_millis(100);
/// Shortest drain under `EXIT_ON_ZERO_ACTIVE_CONNECTIONS` (`MINIMUM_DRAIN_DURATION`).
const MINIMUM_DRAIN: Duration = Duration::from_secs(5);
/// Where the servers behind the DNS proxy are read from.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Clusters of the bootstrap that resources of the control plane refer to.
const BOOTSTRAP_CLUSTERS: [&str; 2] = ["zipkin", "envoy_accesslog_service"];

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
    Envoy(#[from] envoy::EnvoyError),
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
        upstream: ca_upstream(&config),
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
        DataPlaneChoice::Portolan => run_own(common, log).await,
        DataPlaneChoice::Envoy(program) => run_envoy(common, &program).await,
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

fn ca_upstream(config: &AgentConfig) -> Upstream {
    let mut upstream = Upstream::istiod(&config.ca_address, &config.ca_root, &config.token_path);
    upstream.metadata.push(("clusterid".to_owned(), config.cluster_id.clone()));
    upstream
}

fn xds_upstream(config: &AgentConfig) -> Upstream {
    let mut upstream = Upstream::istiod(&config.xds_address, &config.xds_root, &config.token_path);
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

async fn run_own(common: Common, log: LogControl) -> Result<(), AgentError> {
    let config = &common.config;
    let node = node::node(config);
    let locality = node.locality.clone().unwrap_or_default();
    let data_plane = DataPlane::start(DataPlaneOptions {
        concurrency: config.concurrency as usize,
        node_id: node.id.clone(),
        node_cluster: node.cluster.clone(),
        node_metadata: node.metadata.clone().unwrap_or_default(),
        locality: (locality.region, locality.zone, locality.sub_zone),
        drain_time: config.proxy.drain_duration,
    })?;
    let store = data_plane.config();
    let document = envoy_bootstrap::render(config, &Paths::new(&config.proxy.config_path));
    apply_bootstrap_clusters(&document, &store)?;

    let admin = Arc::new(AdminState {
        store: store.clone(),
        stats: data_plane.stats(),
        xds: Some(common.xds_status.clone()),
        bootstrap: document,
        node: node.clone(),
        options: serde_json::json!({
            "concurrency": config.concurrency,
            "service_node": node.id,
            "service_cluster": node.cluster,
            "log_level": config.proxy_log_level,
            "drain_time": format!("{}s", config.proxy.drain_duration.as_secs()),
        }),
        concurrency: workers(config.concurrency),
        started: SystemTime::now(),
        quit: common.quit.clone(),
        log,
        health_failed: AtomicBool::new(false),
    });
    let status = common.status(Backend::Own(admin.clone()))?;
    common
        .serve(config.admin_port, true, "admin endpoints", "proxyAdminPort", admin::handler(admin.clone()))
        .await?;
    common.serve(config.status_port, false, "status", "statusPort", status::handler(status.clone())).await?;
    common
        .serve(config.health_port, false, "health", "ENVOY_STATUS_PORT", status::health_handler(status))
        .await?;
    common
        .serve(
            config.prometheus_port,
            false,
            "metrics",
            "ENVOY_PROMETHEUS_PORT",
            status::prometheus_handler(admin),
        )
        .await?;

    tokio::spawn(feed_secrets(common.hub.clone(), store.clone(), common.stop.clone()));
    let client = XdsClient {
        upstream: xds_upstream(config),
        store: store.clone(),
        roots: Some(common.hub.clone()),
        names: common.dns.clone(),
        wildcards: vec![ResourceKind::Cluster, ResourceKind::Listener],
        exclude: Arc::new(|kind, name| kind == ResourceKind::Secret && secrets::is_own(name)),
        status: common.xds_status.clone(),
    };
    tokio::spawn(client.run(node, common.stop.clone()));

    common.quit.cancelled().await;
    drain_own(config, &store, &data_plane.stats()).await;
    data_plane.shutdown();
    Ok(())
}

/// Worker threads that `concurrency` stands for.
pub fn workers(concurrency: u32) -> usize {
    match concurrency {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n as usize,
    }
}

fn apply_bootstrap_clusters(document: &serde_json::Value, store: &ConfigStore) -> Result<(), AgentError> {
    use prost::Message;
    let loaded = bootstrap::from_document(Path::new("bootstrap"), document.clone())?;
    let clusters = loaded.message.static_resources.map(|resources| resources.clusters).unwrap_or_default();
    let mut update = ConfigUpdate::new(ResourceKind::Cluster).fixed();
    for cluster in clusters.iter().filter(|cluster| BOOTSTRAP_CLUSTERS.contains(&cluster.name.as_str())) {
        update = update.upsert(cluster.name.clone(), "", cluster.encode_to_vec());
    }
    if !update.upserts.is_empty() {
        for rejection in store.apply(update).err().unwrap_or_default() {
            tracing::warn!(%rejection, "cluster of the bootstrap is not usable");
        }
    }
    Ok(())
}

/// Hands the agent's secrets to the data path as it asks for them and as they change.
async fn feed_secrets(hub: SecretHub, store: ConfigStore, stop: CancellationToken) {
    let mut needs = store.needs();
    let mut changes = hub.changes();
    let mut fed: BTreeMap<String, Arc<str>> = BTreeMap::new();
    loop {
        let wanted: Needs = needs.borrow_and_update().clone();
        changes.mark_unchanged();
        let names: Vec<&String> = wanted.secrets.iter().filter(|name| secrets::is_own(name)).collect();
        for name in &names {
            if !hub.want_file(name) {
                tracing::warn!(name = name.as_str(), "too many secrets in files; this one is not served");
            }
        }
        if names.iter().any(|name| hub.get(name).is_none()) {
            hub.refresh_files();
        }
        let mut update = ConfigUpdate::new(ResourceKind::Secret);
        for name in names {
            if let Some(secret) = hub.get(name)
                && fed.get(name) != Some(&secret.version)
            {
                fed.insert(name.clone(), secret.version.clone());
                update = update.upsert(name.clone(), secret.version.to_string(), secret.body);
            }
        }
        if !update.upserts.is_empty() {
            for rejection in store.apply(update).err().unwrap_or_default() {
                tracing::warn!(%rejection, "the data path rejects a secret of the agent");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = needs.changed() => if changed.is_err() { return },
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// Lets inbound connections finish while the application can still use outbound ones; a gateway drains whole.
async fn drain_own(config: &AgentConfig, store: &ConfigStore, stats: &StatsHandle) {
    let kind = match config.role {
        Role::Sidecar => DrainKind::InboundOnly,
        Role::Router => DrainKind::All,
    };
    store.drain(kind);
    let setting = |name: &str| config.env.get(name).map(String::as_str);
    if setting("EXIT_ON_ZERO_ACTIVE_CONNECTIONS") == Some("true") {
        let minimum = setting("MINIMUM_DRAIN_DURATION").and_then(duration::parse).unwrap_or(MINIMUM_DRAIN);
        tracing::info!(at_least = ?minimum, "draining until no connection is left");
        tokio::time::sleep(minimum).await;
        wait_idle(stats, config.proxy.drain_duration).await;
    } else {
        tracing::info!(wait = ?config.proxy.termination_drain_duration, "draining");
        tokio::time::sleep(config.proxy.termination_drain_duration).await;
    }
}

/// Waits until no downstream connection is open, at most `limit`.
pub async fn wait_idle(stats: &StatsHandle, limit: Duration) {
    let deadline = tokio::time::Instant::now() + limit;
    while tokio::time::Instant::now() < deadline {
        let open: u64 = stats
            .samples()
            .iter()
            .filter(|sample| {
                sample.stat_name.starts_with("listener.")
                    && sample.stat_name.ends_with(".downstream_cx_active")
            })
            .map(|sample| match sample.value {
                crate::telemetry::SampleValue::Number(open) => open,
                crate::telemetry::SampleValue::Histogram { .. } => 0,
            })
            .sum();
        if open == 0 {
            return;
        }
        tokio::time::sleep(DRAIN_POLL).await;
    }
}

async fn run_envoy(common: Common, program: &Path) -> Result<(), AgentError> {
    let config = &common.config;
    let paths = Paths::new(&config.proxy.config_path);
    let sds =
        tonic::transport::Server::builder().add_service(sds_server::SdsServer::service(common.hub.clone()));
    let xds = tonic::transport::Server::builder().add_service(xds_proxy::XdsProxy::service(
        xds_upstream(config),
        common.hub.clone(),
        common.dns.clone(),
        common.xds_status.clone(),
    ));
    for (server, path) in [(sds, &paths.sds), (xds, &paths.xds)] {
        let incoming = UnixListenerStream::new(bind_socket(Path::new(path))?);
        let stop = common.stop.clone();
        tokio::spawn(async move {
            let ended = server.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await;
            if let Err(error) = ended {
                tracing::error!(%error, "a socket server for Envoy ended");
            }
        });
    }
    let status = common.status(Backend::Envoy { admin_port: config.admin_port })?;
    common.serve(config.status_port, false, "status", "statusPort", status::handler(status)).await?;
    let bootstrap = envoy_bootstrap::render(config, &paths);
    let file = envoy::write_bootstrap(Path::new(&config.proxy.config_path), &bootstrap)?;
    envoy::run(config, program, &file, common.quit.clone()).await?;
    Ok(())
}

/// Binds a unix socket that only this user can reach, in place of one that an earlier run left.
fn bind_socket(path: &Path) -> Result<UnixListener, AgentError> {
    use std::os::unix::fs::PermissionsExt;
    let bind = || {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    bind().map_err(|source| AgentError::Socket { path: path.to_owned(), source })
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
