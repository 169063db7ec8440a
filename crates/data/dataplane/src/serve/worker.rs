//! One worker: a thread with its own runtime, sockets, connections, pools and statistics.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet};
use tokio_util::sync::CancellationToken;

use super::accept::accept_loop;
use crate::listener::bind::Bound;
use crate::route::RouteTable;
use crate::store::{Shared, Snapshot};
use crate::telemetry::access_log::LogBuffers;
use crate::telemetry::istio::IstioStats;
use crate::telemetry::node::WorkerNode;
use crate::upstream::{Cluster, WorkerCluster};

/// How often access logs are handed over.
const LOG_FLUSH: Duration = Duration::from_millis(200);
/// Every how many log flushes idle connections are looked at (5 s).
const SWEEP_EVERY: u32 = 25;

/// State of one worker. Only its own thread ever sees it.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: usize,
    pub(crate) shared: Arc<Shared>,
    snapshot: RefCell<Arc<Snapshot>>,
    clusters: RefCell<HashMap<Arc<str>, Rc<WorkerCluster>>>,
    pub(crate) logs: LogBuffers,
    pub(crate) istio: IstioStats,
    pub(crate) node: WorkerNode,
    next_connection: Cell<u64>,
}

impl Worker {
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

    fn take_over(&self, next: Arc<Snapshot>) {
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

    fn sweep(&self) {
        let clusters: Vec<_> = self.clusters.borrow().values().cloned().collect();
        let now = Instant::now();
        clusters.iter().for_each(|cluster| cluster.sweep(now));
    }
}

/// Runs a worker until `stop` is cancelled.
#[allow(clippy::needless_pass_by_value)]
pub(crate) fn run(
    id: usize,
    shared: Arc<Shared>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    stop: CancellationToken,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, id, "cannot start a worker's runtime");
            return;
        }
    };
    let worker = Rc::new(Worker {
        id,
        snapshot: RefCell::default(),
        clusters: RefCell::default(),
        logs: LogBuffers::default(),
        istio: IstioStats::new(shared.istio.clone()),
        node: WorkerNode::new(shared.node.clone()),
        next_connection: Cell::new(0),
        shared,
    });
    let local = LocalSet::new();
    local.block_on(&runtime, supervise(worker.clone(), snapshots, stop));
    worker.logs.flush();
}

async fn supervise(
    worker: Rc<Worker>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    stop: CancellationToken,
) {
    let mut loops: HashMap<Arc<str>, (Arc<Bound>, JoinHandle<()>)> = HashMap::new();
    let mut ticker = tokio::time::interval(LOG_FLUSH);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ticks = 0u32;
    worker.shared.started.fetch_add(1, Relaxed);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            changed = snapshots.changed() => {
                if changed.is_err() {
                    break;
                }
                let next = snapshots.borrow_and_update().clone();
                worker.take_over(next.clone());
                update_loops(&worker, &next, &mut loops);
            }
            _ = ticker.tick() => {
                worker.logs.flush();
                ticks = ticks.wrapping_add(1);
                if ticks.is_multiple_of(SWEEP_EVERY) {
                    worker.sweep();
                }
            }
        }
    }
    loops.into_values().for_each(|(_, handle)| handle.abort());
}

/// Starts accept loops for new sockets and ends those of sockets that are gone.
fn update_loops(
    worker: &Rc<Worker>,
    next: &Snapshot,
    loops: &mut HashMap<Arc<str>, (Arc<Bound>, JoinHandle<()>)>,
) {
    loops.retain(|name, (bound, handle)| {
        let kept = next.listeners.get(name).and_then(|active| active.bound.as_ref());
        let keep = kept.is_some_and(|kept| Arc::ptr_eq(kept, bound));
        if !keep {
            handle.abort();
        }
        keep
    });
    for (name, active) in &next.listeners {
        let Some(bound) = &active.bound else { continue };
        let Some(socket) = bound.take(worker.id) else { continue };
        match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => {
                let handle = tokio::task::spawn_local(accept_loop(worker.clone(), name.clone(), socket));
                loops.insert(name.clone(), (bound.clone(), handle));
            }
            Err(error) => tracing::error!(%error, listener = %name, "cannot accept connections"),
        }
    }
}
