//! Starts and stops the data path: the worker threads and the housekeeping thread.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use portolan_envoy_api::pb::google::protobuf::Struct;
use tokio_util::sync::CancellationToken;

use super::{housekeeping, run};
use crate::pb::trace;
use crate::store::{ConfigStore, Shared, StatsHandle};
use crate::telemetry::access_log::LogWriter;
use crate::telemetry::peer::LocalNode;
use crate::telemetry::spans::TracingNode;
use crate::tracers::span::Endpoint;
use crate::value::Invalid;

/// How long connections may finish their work after a drain began, unless configured otherwise: Istio's
/// `drainDuration`.
pub const DEFAULT_DRAIN_TIME: Duration = Duration::from_secs(45);

/// Connections of one listener at a time, over all workers: what Envoy's guide for edge proxies recommends as the limit of
/// a process ("Configuring Envoy as an edge proxy", `global_downstream_max_connections`). Further ones are closed at once.
pub const DEFAULT_CONNECTIONS_PER_LISTENER: u64 = 50_000;

/// What the data path must know before it gets its first resource.
#[derive(Debug, Clone)]
pub struct DataPlaneOptions {
    /// Worker threads; 0 = one per CPU.
    pub concurrency: usize,
    /// `node.id` of the bootstrap, sent to peers as `x-envoy-peer-metadata-id`.
    pub node_id: String,
    /// `node.cluster` of the bootstrap: the service that spans are of.
    pub node_cluster: String,
    /// `node.metadata` of the bootstrap: source of metric labels and of the peer metadata exchange.
    pub node_metadata: Struct,
    /// Region, zone and sub zone of the node.
    pub locality: (String, String, String),
    /// Deadline of a drain.
    pub drain_time: Duration,
    /// Connections of one listener at a time, over all workers.
    pub connections_per_listener: u64,
    /// `tracing.http` of the bootstrap: the tracer of connection managers with `tracing` but no provider.
    pub tracing: Option<trace::tracing::Http>,
}

impl Default for DataPlaneOptions {
    fn default() -> Self {
        DataPlaneOptions {
            concurrency: 0,
            node_id: String::new(),
            node_cluster: String::new(),
            node_metadata: Struct::default(),
            locality: Default::default(),
            drain_time: DEFAULT_DRAIN_TIME,
            connections_per_listener: DEFAULT_CONNECTIONS_PER_LISTENER,
            tracing: None,
        }
    }
}

/// Why the data plane could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A thread or its runtime could not be created.
    #[error("cannot start worker thread {name}: {source}; check the limits on threads and open files")]
    Thread {
        /// Name of the thread.
        name: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The tracer of the bootstrap is not usable.
    #[error("tracing.http: {0}; mend or remove it in the bootstrap")]
    Tracer(String),
}

/// A running data plane. Dropping it stops the threads without a drain.
#[derive(Debug)]
pub struct DataPlane {
    config: ConfigStore,
    stats: StatsHandle,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
    logs: Option<LogWriter>,
}

impl DataPlane {
    /// Starts the threads. No listener exists until resources are applied to [`DataPlane::config`].
    ///
    /// # Errors
    /// When the tracer of the bootstrap is not usable, or the system refuses a thread.
    pub fn start(options: DataPlaneOptions) -> Result<Self, StartError> {
        let workers = match options.concurrency {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            count => count,
        };
        let node = LocalNode::new(&options.node_id, &options.node_metadata);
        let tracing = tracing_node(&options, workers)?;
        let shared = Arc::new(Shared::new(
            workers,
            node,
            options.drain_time,
            options.connections_per_listener,
            tracing,
        ));
        let config = ConfigStore::new(shared.clone());
        let stats = StatsHandle::new(config.clone(), shared.clone());
        let stop = CancellationToken::new();
        let logs = LogWriter::start()
            .map_err(|source| StartError::Thread { name: "ptl-access-log".to_owned(), source })?;
        let mut plane =
            DataPlane { config: config.clone(), stats, stop: stop.clone(), threads: Vec::new(), logs: None };
        for id in 0..workers {
            let (shared, snapshots, stop) = (shared.clone(), config.snapshots(), stop.clone());
            let logs = logs.buffers();
            plane.spawn(&format!("ptl-worker-{id}"), move || run::run(id, shared, snapshots, stop, logs))?;
        }
        plane.spawn("ptl-housekeeping", move || housekeeping::run(config, stop))?;
        plane.logs = Some(logs);
        Ok(plane)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        self.threads.push(spawned.map_err(|source| StartError::Thread { name: name.to_owned(), source })?);
        Ok(())
    }

    /// The configuration handle.
    pub fn config(&self) -> ConfigStore {
        self.config.clone()
    }

    /// The statistics handle.
    pub fn stats(&self) -> StatsHandle {
        self.stats.clone()
    }

    /// Stops the threads; connections that are still open are cut. Returns when the access logs are written.
    pub fn shutdown(mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        if let Some(logs) = self.logs.take() {
            logs.finish();
        }
    }
}

fn tracing_node(options: &DataPlaneOptions, workers: usize) -> Result<TracingNode, StartError> {
    let default = options.tracing.as_ref().map(crate::tracers::compile).transpose();
    Ok(TracingNode::new(
        options.node_id.clone(),
        options.locality.1.clone(),
        Endpoint { service: options.node_cluster.clone(), address: crate::external::own_address() },
        default.map_err(|Invalid(reason)| StartError::Tracer(reason))?,
        workers,
    ))
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
