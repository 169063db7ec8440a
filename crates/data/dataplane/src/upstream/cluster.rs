//! A cluster as workers use it: configuration, hosts, and what lasts over updates.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use portolan_balance::Balancer;
use portolan_balance::outlier::{Detector, Stats};
use tokio::sync::Notify;

use super::breaker::{Held, Limits, Usage};
use super::config::ClusterConfig;
use super::host::{Assignment, Endpoint};
use crate::stats::metrics::{ClusterStats, Histogram, PerWorker};

/// One immutable version of a cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) name: Arc<str>,
    pub(crate) config: Arc<ClusterConfig>,
    pub(crate) hosts: Arc<Assignment>,
    /// For the hosts and the health that they had when this version was made.
    pub(crate) balancer: Arc<Balancer<Endpoint>>,
    pub(crate) shared: Arc<ClusterShared>,
}

/// What all versions of a cluster and all workers share.
#[derive(Debug)]
pub(crate) struct ClusterShared {
    pub(crate) stats: PerWorker<ClusterStats>,
    pub(crate) rq_time: PerWorker<Histogram>,
    /// Default and high priority.
    pub(crate) usage: [Usage; 2],
    /// Grows when a host is ejected or returns: balancers of older epochs are to be replaced.
    pub(crate) health_epoch: AtomicU64,
    /// Decides about outliers. Locked by the thread that watches over hosts only.
    pub(crate) detector: Mutex<Detector>,
    pub(crate) outliers: Stats,
    /// Some host has failed often enough to be looked at.
    pub(crate) suspects: AtomicBool,
    /// Wakes the thread that watches over hosts.
    watcher: Arc<Notify>,
}

impl ClusterShared {
    pub(crate) fn new(workers: usize, watcher: Arc<Notify>) -> Self {
        ClusterShared {
            stats: PerWorker::new(workers),
            rq_time: PerWorker::new(workers),
            usage: Default::default(),
            health_epoch: AtomicU64::new(0),
            detector: Mutex::default(),
            outliers: Stats::default(),
            suspects: AtomicBool::new(false),
            watcher,
        }
    }

    /// Has the hosts looked at soon.
    pub(crate) fn suspect(&self) {
        if !self.suspects.swap(true, Relaxed) {
            self.watcher.notify_one();
        }
    }
}

impl Cluster {
    /// Puts a version together. What balancing needs is built here: never on a worker.
    pub(crate) fn new(
        config: Arc<ClusterConfig>,
        hosts: Arc<Assignment>,
        shared: Arc<ClusterShared>,
    ) -> Self {
        // Before health is looked at: a change that comes in between makes this version an old one.
        let epoch = shared.health_epoch.load(Relaxed);
        let balancer = Arc::new(Balancer::new(&hosts, config.balance.clone(), epoch));
        if balancer.left_out() > 0 {
            tracing::warn!(cluster = %config.name, count = balancer.left_out(), "too many subsets: some hosts are left out");
        }
        Cluster { name: config.name.clone(), config, hosts, balancer, shared }
    }

    /// Whether health has changed since the balancer was built.
    pub(crate) fn is_stale(&self) -> bool {
        self.balancer.epoch() != self.shared.health_epoch.load(Relaxed)
    }

    /// The same cluster for the health that its hosts have now.
    pub(crate) fn rebalanced(&self) -> Cluster {
        Cluster::new(self.config.clone(), self.hosts.clone(), self.shared.clone())
    }

    pub(crate) fn limits(&self, high: bool) -> &Limits {
        &self.config.limits[usize::from(high)]
    }

    pub(crate) fn usage(&self, high: bool) -> &Usage {
        &self.shared.usage[usize::from(high)]
    }

    /// Takes a request slot of the circuit breaker.
    pub(crate) fn take_request(&self, high: bool) -> Option<Held> {
        Held::take(&self.usage(high).requests, self.limits(high).requests)
    }
}
