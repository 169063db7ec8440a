//! What one worker owns: its view of the configuration, its pools, logs and statistics.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::io::timer::now;
use crate::route::RouteTable;
use crate::store::{Shared, Snapshot};
use crate::telemetry::access_log::LogBuffers;
use crate::telemetry::istio::IstioStats;
use crate::telemetry::node::WorkerNode;
use crate::telemetry::spans::Spans;
use crate::upstream::{Cluster, WorkerCluster};

/// State of one worker. Only its own thread ever sees it.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: usize,
    pub(crate) shared: Arc<Shared>,
    snapshot: RefCell<Arc<Snapshot>>,
    clusters: RefCell<HashMap<Arc<str>, Rc<WorkerCluster>>>,
    pub(crate) logs: LogBuffers,
    pub(crate) istio: IstioStats,
    /// Spans that wait for their report.
    pub(crate) spans: Spans,
    pub(crate) node: WorkerNode,
    next_connection: Cell<u64>,
}

impl Worker {
    pub(crate) fn new(id: usize, shared: Arc<Shared>, logs: LogBuffers) -> Self {
        Worker {
            id,
            snapshot: RefCell::default(),
            clusters: RefCell::default(),
            logs,
            spans: Spans::default(),
            istio: IstioStats::new(id, shared.istio.clone()),
            node: WorkerNode::new(shared.node.clone()),
            next_connection: Cell::new(0),
            shared,
        }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    pub(crate) fn routes(&self, name: &str) -> Option<Arc<RouteTable>> {
        self.snapshot.borrow().routes.get(name).cloned()
    }

    /// The cluster and this worker's state for it.
    pub(crate) fn cluster(&self, name: &str) -> Option<(Arc<Cluster>, Rc<WorkerCluster>)> {
        let snapshot = self.snapshot.borrow();
        let (name, cluster) = snapshot.clusters.get_key_value(name)?;
        if let Some(own) = self.clusters.borrow().get(name) {
            return Some((cluster.clone(), own.clone()));
        }
        let own = Rc::new(WorkerCluster::new(self.id, cluster.clone()));
        self.clusters.borrow_mut().insert(name.clone(), own.clone());
        Some((cluster.clone(), own))
    }

    /// A process-wide unique connection number.
    pub(crate) fn next_connection_id(&self) -> u64 {
        let next = self.next_connection.get() + 1;
        self.next_connection.set(next);
        next * self.shared.workers as u64 + self.id as u64
    }

    /// Goes on with another snapshot; connections to clusters that are gone close.
    pub(crate) fn take_over(&self, next: Arc<Snapshot>) {
        let mut clusters = self.clusters.borrow_mut();
        clusters.retain(|name, own| match next.clusters.get(name) {
            Some(cluster) => {
                if !Arc::ptr_eq(cluster, &own.cluster()) {
                    own.update(cluster.clone());
                }
                true
            }
            None => {
                own.close();
                false
            }
        });
        *self.snapshot.borrow_mut() = next;
    }

    /// Drops idle connections that are too old.
    pub(crate) fn sweep(&self) {
        let clusters: Vec<_> = self.clusters.borrow().values().cloned().collect();
        let now = now();
        clusters.iter().for_each(|cluster| cluster.sweep(now));
    }
}
