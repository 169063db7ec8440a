//! What both forms of the proxy start with: the data plane, and the state behind its admin endpoints.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use portolan_agent::xds_client::XdsStatus;
use portolan_dataplane::{DataPlane, DataPlaneOptions, StartError};
use portolan_envoy_api::pb::envoy::config::bootstrap::v3::Bootstrap;
use portolan_envoy_api::pb::envoy::config::core::v3::Node;
use portolan_envoy_api::pb::envoy::config::trace::v3::tracing;
use tokio_util::sync::CancellationToken;

use crate::admin::AdminState;
use crate::log::LogControl;

/// What the two forms of the proxy say about themselves.
pub(crate) struct Start {
    /// Who we are in the mesh.
    pub(crate) node: Node,
    /// Worker threads; 0 = one per CPU.
    pub(crate) concurrency: u32,
    /// How long listeners that go away may drain.
    pub(crate) drain_time: Duration,
    /// The control plane connection, if there will be one.
    pub(crate) xds: Option<Arc<XdsStatus>>,
    /// The bootstrap as JSON.
    pub(crate) bootstrap: serde_json::Value,
    /// The command line, for `/server_info`.
    pub(crate) options: serde_json::Value,
    /// Ends the process gracefully.
    pub(crate) quit: CancellationToken,
    /// The tracer of connection managers without one of their own.
    pub(crate) tracing: Option<tracing::Http>,
    /// Log levels.
    pub(crate) log: LogControl,
}

/// Starts the data plane's threads, without any listener yet.
pub(crate) fn start(start: Start) -> Result<(DataPlane, Arc<AdminState>), StartError> {
    let Start { node, concurrency, drain_time, xds, bootstrap, options, quit, tracing, log } = start;
    let locality = node.locality.clone().unwrap_or_default();
    let data_plane = DataPlane::start(DataPlaneOptions {
        concurrency: concurrency as usize,
        node_id: node.id.clone(),
        node_cluster: node.cluster.clone(),
        node_metadata: node.metadata.clone().unwrap_or_default(),
        locality: (locality.region, locality.zone, locality.sub_zone),
        drain_time,
        tracing,
        ..DataPlaneOptions::default()
    })?;
    let admin = Arc::new(AdminState {
        store: data_plane.config(),
        stats: data_plane.stats(),
        xds,
        bootstrap,
        node,
        options,
        concurrency: workers(concurrency),
        started: SystemTime::now(),
        quit,
        log,
        health_failed: AtomicBool::new(false),
    });
    Ok((data_plane, admin))
}

/// The tracer that a bootstrap names (`tracing.http`): newer files have one in each connection manager.
#[expect(deprecated, reason = "Istio 1.9 has its tracer there")]
pub(crate) fn tracer(bootstrap: &Bootstrap) -> Option<tracing::Http> {
    bootstrap.tracing.as_ref()?.http.clone()
}

/// Worker threads that `concurrency` stands for.
fn workers(concurrency: u32) -> usize {
    match concurrency {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n as usize,
    }
}
