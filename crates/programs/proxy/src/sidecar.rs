//! `portolan-proxy proxy`: the agent with our own data plane in the same process, or with Envoy as a child.

use std::path::Path;
use std::sync::Arc;

use portolan_agent::bootstrap::Loaded;
use portolan_agent::envoy::bootstrap::{Paths, render};
use portolan_agent::settings::{self, AgentConfig, DataPlaneChoice, Role};
use portolan_agent::status::{self, BoxFuture, DataPlaneStatus};
use portolan_agent::{Agent, AgentError, Endpoint, bootstrap};
use portolan_dataplane::config::{ConfigStore, ConfigUpdate, DrainKind, ResourceKind};
use portolan_dataplane::{StartError, StatsHandle};
use prost::Message;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, AdminState, ServerState, stats};
use crate::drain::wait_idle;
use crate::log::LogControl;
use crate::start::{Start, start, tracer};

/// Clusters of the bootstrap that resources of the control plane refer to.
const BOOTSTRAP_CLUSTERS: [&str; 2] = ["zipkin", "envoy_accesslog_service"];

/// Why the proxy of a workload or gateway cannot run.
#[derive(Debug, thiserror::Error)]
pub enum SidecarError {
    /// The agent.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// Our data plane.
    #[error(transparent)]
    DataPlane(#[from] StartError),
    /// The rendered bootstrap does not parse; a defect of ours.
    #[error("the bootstrap made from the environment is not valid: {0}")]
    Bootstrap(#[from] bootstrap::FileError),
}

/// Our own data plane, as the status server asks about it.
#[derive(Debug)]
struct OwnStatus(Arc<AdminState>);

impl DataPlaneStatus for OwnStatus {
    fn ready(&self) -> BoxFuture<'_, Result<(), String>> {
        let ready = match self.0.state() {
            ServerState::Live => Ok(()),
            state => Err(format!("the proxy is {}", state.as_str())),
        };
        Box::pin(std::future::ready(ready))
    }

    fn metrics(&self) -> BoxFuture<'_, String> {
        Box::pin(async { stats::prometheus(&self.0) })
    }
}

/// Runs until the drain after `quit` is over.
pub async fn run(config: AgentConfig, log: LogControl, quit: CancellationToken) -> Result<(), SidecarError> {
    let agent = Agent::start(config, quit).await?;
    match agent.config().data_plane.clone() {
        DataPlaneChoice::Portolan => run_own(&agent, log).await,
        DataPlaneChoice::Envoy(program) => Ok(agent.run_envoy(&program).await?),
    }
}

async fn run_own(agent: &Agent, log: LogControl) -> Result<(), SidecarError> {
    let config = agent.config();
    let node = settings::node(config);
    let document = render(config, &Paths::new(&config.proxy.config_path));
    let loaded = bootstrap::from_document(Path::new("bootstrap"), document.clone())?;
    let (data_plane, admin) = start(Start {
        concurrency: config.concurrency,
        drain_time: config.proxy.drain_duration,
        xds: Some(agent.xds_status().clone()),
        bootstrap: document,
        options: serde_json::json!({
            "concurrency": config.concurrency,
            "service_node": node.id,
            "service_cluster": node.cluster,
            "log_level": config.proxy_log_level,
            "drain_time": format!("{}s", config.proxy.drain_duration.as_secs()),
        }),
        node,
        quit: agent.quit().clone(),
        tracing: tracer(&loaded.message),
        log,
    })?;
    let store = data_plane.config();
    apply_bootstrap_clusters(loaded, &store);
    serve_endpoints(agent, admin).await?;
    agent.feed(&store);

    agent.quit().cancelled().await;
    drain(config, &store, &data_plane.stats()).await;
    data_plane.shutdown();
    Ok(())
}

/// Admin endpoints, status, and what Envoy itself serves where it is the data plane: health and metrics.
async fn serve_endpoints(agent: &Agent, admin: Arc<AdminState>) -> Result<(), AgentError> {
    let config = agent.config();
    let own = Arc::new(OwnStatus(admin.clone()));
    let status = agent.status(own.clone())?;
    let endpoint = Endpoint {
        port: config.admin_port,
        loopback: true,
        purpose: "admin endpoints",
        setting: "proxyAdminPort",
    };
    agent.serve(endpoint, admin::handler(admin)).await?;
    agent.serve_status(status.clone()).await?;
    let endpoint = Endpoint {
        port: config.health_port,
        loopback: false,
        purpose: "health",
        setting: portolan_names::env::ENVOY_STATUS_PORT,
    };
    agent.serve(endpoint, status::health_handler(status)).await?;
    let endpoint = Endpoint {
        port: config.prometheus_port,
        loopback: false,
        purpose: "metrics",
        setting: portolan_names::env::ENVOY_PROMETHEUS_PORT,
    };
    agent.serve(endpoint, status::metrics_handler(own)).await
}

fn apply_bootstrap_clusters(loaded: Loaded, store: &ConfigStore) {
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
}

/// Lets inbound connections finish while the application can still use outbound ones; a gateway drains whole.
async fn drain(config: &AgentConfig, store: &ConfigStore, stats: &StatsHandle) {
    store.drain(match config.role {
        Role::Sidecar => DrainKind::InboundOnly,
        Role::Router => DrainKind::All,
    });
    if let Some(minimum) = config.drain_until_idle {
        tracing::info!(at_least = ?minimum, "draining until no connection is left");
        tokio::time::sleep(minimum).await;
        wait_idle(stats, config.proxy.drain_duration).await;
    } else {
        tracing::info!(wait = ?config.proxy.termination_drain_duration, "draining");
        tokio::time::sleep(config.proxy.termination_drain_duration).await;
    }
}
