//! The agent with our own data plane in the same process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use prost::Message;
use tokio_util::sync::CancellationToken;

use super::env::{AgentConfig, Role};
use super::envoy_bootstrap::{self, Paths};
use super::secrets::{self, SecretHub};
use super::status::{self, Backend};
use super::{AgentError, Common, duration, node, xds_upstream};
use crate::admin::{self, AdminState};
use crate::bootstrap;
use crate::log::LogControl;
use crate::xds_client::XdsClient;
use portolan_dataplane::config::{ConfigStore, ConfigUpdate, DrainKind, Needs, ResourceKind};
use portolan_dataplane::{DataPlane, DataPlaneOptions};
use portolan_dataplane::{StatsHandle, stats::SampleValue};

/// How often a drain looks whether connections are left.
const DRAIN_POLL: Duration = Duration::from_millis(100);
/// Shortest drain under `EXIT_ON_ZERO_ACTIVE_CONNECTIONS` (`MINIMUM_DRAIN_DURATION`).
const MINIMUM_DRAIN: Duration = Duration::from_secs(5);
/// Clusters of the bootstrap that resources of the control plane refer to.
const BOOTSTRAP_CLUSTERS: [&str; 2] = ["zipkin", "envoy_accesslog_service"];

/// Runs until the drain after `quit` is over.
pub(super) async fn run(common: Common, log: LogControl) -> Result<(), AgentError> {
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
        ..DataPlaneOptions::default()
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
        upstream: xds_upstream(config, &common.hub),
        store: store.clone(),
        roots: Some(common.hub.clone()),
        names: common.dns.clone(),
        wildcards: vec![ResourceKind::Cluster, ResourceKind::Listener],
        exclude: Arc::new(|kind, name| kind == ResourceKind::Secret && secrets::is_own(name)),
        status: common.xds_status.clone(),
    };
    tokio::spawn(client.run(node, common.stop.clone()));

    common.quit.cancelled().await;
    drain(config, &store, &data_plane.stats()).await;
    data_plane.shutdown();
    Ok(())
}

/// Worker threads that `concurrency` stands for.
pub(crate) fn workers(concurrency: u32) -> usize {
    match concurrency {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n as usize,
    }
}

fn apply_bootstrap_clusters(document: &serde_json::Value, store: &ConfigStore) -> Result<(), AgentError> {
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
async fn drain(config: &AgentConfig, store: &ConfigStore, stats: &StatsHandle) {
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
pub(crate) async fn wait_idle(stats: &StatsHandle, limit: Duration) {
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
                SampleValue::Number(open) => open,
                SampleValue::Histogram { .. } => 0,
            })
            .sum();
        if open == 0 {
            return;
        }
        tokio::time::sleep(DRAIN_POLL).await;
    }
}
