//! A cluster as workers use it: configuration, hosts, and what lasts over updates.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::breaker::{Held, Limits, Usage};
use super::config::ClusterConfig;
use super::host::{Host, HostSet};
use super::lb::{Lb, LbContext};
use super::pool::{HostPool, PoolKey};
use crate::stats::metrics::{ClusterStats, Histogram, PerWorker};

/// One immutable version of a cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) name: Arc<str>,
    pub(crate) config: Arc<ClusterConfig>,
    pub(crate) hosts: Arc<HostSet>,
    pub(crate) shared: Arc<ClusterShared>,
}

/// What all versions of a cluster and all workers share.
#[derive(Debug)]
pub(crate) struct ClusterShared {
    pub(crate) stats: PerWorker<ClusterStats>,
    pub(crate) rq_time: PerWorker<Histogram>,
    /// Default and high priority.
    pub(crate) usage: [Usage; 2],
    /// Changes when a host is ejected or returns, so that workers recompute their healthy lists.
    pub(crate) health_epoch: AtomicU64,
    pub(crate) ejected: AtomicUsize,
    /// Ejections by [`crate::upstream::outlier::Kind`].
    pub(crate) ejections: [AtomicU64; 3],
}

impl ClusterShared {
    pub(crate) fn new(workers: usize) -> Self {
        ClusterShared {
            stats: PerWorker::new(workers),
            rq_time: PerWorker::new(workers),
            usage: Default::default(),
            health_epoch: AtomicU64::new(0),
            ejected: AtomicUsize::new(0),
            ejections: Default::default(),
        }
    }
}

impl Cluster {
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

/// What one worker keeps for a cluster: load balancer state and connections.
#[derive(Debug)]
pub(crate) struct WorkerCluster {
    pub(crate) worker: usize,
    cluster: RefCell<Arc<Cluster>>,
    lb: RefCell<Lb>,
    pools: RefCell<HashMap<PoolKey, Rc<HostPool>>>,
}

impl WorkerCluster {
    pub(crate) fn new(worker: usize, cluster: Arc<Cluster>) -> Self {
        let lb = Lb::new(&cluster);
        WorkerCluster {
            worker,
            cluster: RefCell::new(cluster),
            lb: RefCell::new(lb),
            pools: RefCell::default(),
        }
    }

    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        self.cluster.borrow().clone()
    }

    pub(crate) fn stats_of<'a>(&self, cluster: &'a Cluster) -> &'a ClusterStats {
        cluster.shared.stats.of(self.worker)
    }

    /// Takes over a new version. Connections to hosts that stay are kept unless the configuration changed.
    pub(crate) fn update(&self, next: Arc<Cluster>) {
        let same_config = Arc::ptr_eq(&self.cluster.borrow().config, &next.config);
        *self.lb.borrow_mut() = Lb::new(&next);
        let mut pools = self.pools.borrow_mut();
        if same_config {
            let alive: std::collections::HashSet<_> = next.hosts.iter().map(|host| &host.address).collect();
            let dynamic = next.config.is_original_dst();
            pools.retain(|key, pool| {
                let keep = dynamic || alive.contains(&key.address);
                if !keep {
                    pool.close();
                }
                keep
            });
        } else {
            pools.drain().for_each(|(_, pool)| pool.close());
        }
        *self.cluster.borrow_mut() = next;
    }

    /// Closes idle connections, for a removed cluster.
    pub(crate) fn close(&self) {
        self.pools.borrow_mut().drain().for_each(|(_, pool)| pool.close());
    }

    /// Chooses a host.
    pub(crate) fn pick(&self, context: &LbContext<'_>) -> Option<Arc<Host>> {
        let cluster = self.cluster.borrow();
        let epoch = cluster.shared.health_epoch.load(Relaxed);
        let mut lb = self.lb.borrow_mut();
        lb.refresh(&cluster, epoch);
        lb.pick(&cluster, context, self.stats_of(&cluster))
    }

    /// The pool of one key.
    pub(crate) fn pool(&self, key: PoolKey) -> Rc<HostPool> {
        if let Some(pool) = self.pools.borrow().get(&key) {
            return pool.clone();
        }
        let pool = Rc::new(HostPool::new(key.offer));
        self.pools.borrow_mut().insert(key, pool.clone());
        pool
    }

    /// Drops idle connections that are too old or were closed by the peer, and empty pools.
    pub(crate) fn sweep(&self, now: std::time::Instant) {
        let cluster = self.cluster();
        let stats = self.stats_of(&cluster);
        self.pools.borrow_mut().retain(|_, pool| {
            pool.sweep(now, cluster.config.idle_timeout, stats);
            Rc::strong_count(pool) > 1 || !pool.is_empty()
        });
    }
}
