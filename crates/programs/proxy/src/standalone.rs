//! `portolan-proxy -c FILE`: the data plane on its own, configured by an Envoy bootstrap.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use portolan_agent::bootstrap::{self, FileError, FileWatcher, Loaded, SourceError};
use portolan_agent::serve;
use portolan_agent::xds_client::{XdsClient, XdsStatus};
use portolan_dataplane::config::{DrainKind, Rejection, ResourceKind};
use portolan_dataplane::{DEFAULT_DRAIN_TIME, DataPlane, DataPlaneOptions, StartError};

use crate::admin;
use crate::drain::wait_idle;
use crate::log::LogControl;
use crate::start::{Start, start, tracer};

/// How long connections may take to finish after SIGTERM.
pub const DEFAULT_SHUTDOWN_DRAIN: Duration = Duration::from_secs(5);

/// Command line of the stand-alone proxy.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Worker threads; 0 = one per CPU.
    pub concurrency: u32,
    /// Overrides `node.id`.
    pub service_node: Option<String>,
    /// Overrides `node.cluster`.
    pub service_cluster: Option<String>,
    /// File to write the admin address to, for tests that use port 0.
    pub admin_address_path: Option<PathBuf>,
    /// Longest drain after SIGTERM.
    pub shutdown_drain: Option<Duration>,
}

/// Why the proxy cannot run.
#[derive(Debug, thiserror::Error)]
pub enum StandaloneError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The control plane that the file names.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The threads.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Static resources that the data path does not take.
    #[error("static_resources are not usable: {0}")]
    Static(String),
    /// The admin address is taken.
    #[error("cannot listen on {address} for admin endpoints: {source}")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

impl StandaloneError {
    fn from_rejections(rejections: Vec<Rejection>) -> Self {
        StandaloneError::Static(rejections.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }
}

/// Checks a bootstrap without serving (`--mode validate`).
pub fn validate(loaded: &Loaded) -> Result<(), StandaloneError> {
    let options =
        DataPlaneOptions { concurrency: 1, tracing: tracer(&loaded.message), ..DataPlaneOptions::default() };
    let data_plane = DataPlane::start(options)?;
    let clusters_only = portolan_envoy_api::pb::envoy::config::bootstrap::v3::Bootstrap {
        static_resources: loaded.message.static_resources.clone().map(|mut resources| {
            // Ports stay closed: the file may belong to a proxy that runs right now.
            for listener in &mut resources.listeners {
                listener.bind_to_port =
                    Some(portolan_envoy_api::pb::google::protobuf::BoolValue { value: false });
            }
            resources
        }),
        ..Default::default()
    };
    let applied = bootstrap::apply_static(&clusters_only, &data_plane.config());
    bootstrap::ads(&loaded.message)?;
    data_plane.shutdown();
    applied.map_err(StandaloneError::from_rejections)
}

/// Runs until `quit` is cancelled and the drain is over.
pub async fn run(
    loaded: Loaded,
    options: Options,
    log: LogControl,
    quit: CancellationToken,
) -> Result<(), StandaloneError> {
    let Loaded { message, document } = loaded;
    let mut node = message.node.clone().unwrap_or_default();
    if let Some(id) = options.service_node {
        node.id = id;
    }
    if let Some(cluster) = options.service_cluster {
        node.cluster = cluster;
    }
    let ads = bootstrap::ads(&message)?;
    let xds_status = ads.as_ref().map(|ads| Arc::new(XdsStatus::expecting(ads.wildcards.clone())));
    let (data_plane, admin) = start(Start {
        concurrency: options.concurrency,
        drain_time: DEFAULT_DRAIN_TIME,
        xds: xds_status.clone(),
        bootstrap: portolan_xds::json::to_json(&message).unwrap_or(serde_json::Value::Null),
        options: serde_json::json!({
            "concurrency": options.concurrency,
            "service_node": node.id,
            "service_cluster": node.cluster,
        }),
        node: node.clone(),
        quit: quit.clone(),
        tracing: tracer(&message),
        log,
    })?;
    let store = data_plane.config();
    let stop = CancellationToken::new();
    let _stop_on_return = stop.clone().drop_guard();

    if let Some(address) = bootstrap::admin_address(&message) {
        let failed = |source| StandaloneError::Admin { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        if let Some(path) = &options.admin_address_path {
            std::fs::write(path, bound.to_string())
                .map_err(|source| FileError::Write { path: path.clone(), source })?;
        }
        tracing::info!(address = %bound, "admin endpoints");
        tokio::spawn(serve::serve(listener, admin::handler(admin), stop.clone()));
    }

    bootstrap::apply_static(&message, &store).map_err(StandaloneError::from_rejections)?;
    let mut watcher = FileWatcher::new(&message, &document, store.clone());
    watcher.poll();
    let claims = watcher.claims();
    if !watcher.is_empty() {
        tokio::spawn(watcher.run(stop.clone()));
    }
    if let (Some(ads), Some(status)) = (ads, xds_status) {
        let fixed: BTreeSet<String> = message
            .static_resources
            .iter()
            .flat_map(|resources| resources.secrets.iter().map(|secret| secret.name.clone()))
            .collect();
        let client = XdsClient {
            upstream: ads.upstream,
            store: store.clone(),
            roots: None,
            names: None,
            wildcards: ads.wildcards,
            exclude: Arc::new(move |kind, name| {
                claims.has(kind, name) || (kind == ResourceKind::Secret && fixed.contains(name))
            }),
            status,
        };
        tokio::spawn(client.run(node, stop.clone()));
    }

    quit.cancelled().await;
    let limit = options.shutdown_drain.unwrap_or(DEFAULT_SHUTDOWN_DRAIN);
    tracing::info!(at_most = ?limit, "draining");
    store.drain(DrainKind::All);
    wait_idle(&data_plane.stats(), limit).await;
    data_plane.shutdown();
    Ok(())
}
