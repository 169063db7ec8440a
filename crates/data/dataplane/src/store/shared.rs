//! What all threads of a data plane share.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::Notify;

use crate::telemetry::istio::IstioRegistry;
use crate::telemetry::node::Node;
use crate::telemetry::peer::LocalNode;
use crate::telemetry::spans::TracingNode;

/// What all threads share. Written rarely, read without locks on the request path.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) workers: usize,
    pub(crate) node: Arc<Node>,
    pub(crate) drain_time: Duration,
    /// Connections of one listener at a time, over all workers.
    pub(crate) connections_per_listener: u64,
    /// Workers that took over a snapshot.
    pub(crate) started: AtomicUsize,
    pub(crate) istio: Arc<IstioRegistry>,
    /// What spans say of this node, and how many there were.
    pub(crate) tracing: TracingNode,
    /// Wakes the thread that watches over hosts.
    pub(crate) watcher: Arc<Notify>,
}

impl Shared {
    pub(crate) fn new(
        workers: usize,
        local: LocalNode,
        drain_time: Duration,
        connections_per_listener: u64,
        tracing: TracingNode,
    ) -> Self {
        Shared {
            workers,
            node: Arc::new(Node::new(local)),
            drain_time,
            connections_per_listener,
            started: AtomicUsize::new(0),
            istio: Arc::new(IstioRegistry::new(workers)),
            tracing,
            watcher: Arc::default(),
        }
    }
}
