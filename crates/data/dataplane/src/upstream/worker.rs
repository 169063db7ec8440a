//! A cluster in the hands of one worker: whose turn it is, and connections.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use portolan_balance::Picker;

use super::cluster::Cluster;
use super::environment::Here;
use super::host::{Endpoint, Host};
use super::pick::{LbContext, pick};
use super::pool::{self, AcquireError, Acquired, HostPool, PoolKey};
use crate::stats::metrics::ClusterStats;
use crate::tls::Offer;

/// What one worker keeps for a cluster: whose turn it is, and connections.
#[derive(Debug)]
pub(crate) struct WorkerCluster {
    pub(crate) worker: usize,
    cluster: RefCell<Arc<Cluster>>,
    picker: RefCell<Picker<Endpoint>>,
    pools: RefCell<HashMap<PoolKey, Rc<HostPool>>>,
}

impl WorkerCluster {
    pub(crate) fn new(worker: usize, cluster: Arc<Cluster>) -> Self {
        let picker = Picker::new(cluster.balancer.clone(), &mut Here);
        WorkerCluster {
            worker,
            cluster: RefCell::new(cluster),
            picker: RefCell::new(picker),
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
        let (same_config, same_hosts) = {
            let own = self.cluster.borrow();
            (Arc::ptr_eq(&own.config, &next.config), Arc::ptr_eq(&own.hosts, &next.hosts))
        };
        *self.picker.borrow_mut() = Picker::new(next.balancer.clone(), &mut Here);
        let mut pools = self.pools.borrow_mut();
        let moved = !same_hosts && next.config.close_on_host_change;
        if same_config && !moved {
            if !same_hosts && !next.config.is_original_dst() {
                let alive: std::collections::HashSet<_> =
                    next.hosts.iter().map(|host| &host.address).collect();
                pools.retain(|key, pool| {
                    let keep = alive.contains(&key.address);
                    if !keep {
                        pool.close();
                    }
                    keep
                });
            }
        } else {
            pools.drain().for_each(|(_, pool)| pool.close());
        }
        drop(pools);
        *self.cluster.borrow_mut() = next;
    }

    /// Closes idle connections, for a removed cluster.
    pub(crate) fn close(&self) {
        self.pools.borrow_mut().drain().for_each(|(_, pool)| pool.close());
    }

    /// Chooses a host.
    pub(crate) fn pick(&self, context: &LbContext<'_>) -> Option<Arc<Host>> {
        let cluster = self.cluster.borrow();
        let active = cluster.shared.usage.iter().map(|usage| usage.requests.load(Relaxed)).sum();
        let stats = self.stats_of(&cluster);
        pick(&cluster.config, &mut self.picker.borrow_mut(), context, active, stats)
    }

    /// The pool of one key.
    fn pool(&self, key: PoolKey) -> Rc<HostPool> {
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

    /// Gets a connection to a host: an idle one, a share of one, or a new one within the circuit breakers' limits.
    pub(crate) async fn acquire(
        &self,
        cluster: &Arc<Cluster>,
        host: &Arc<Host>,
        offer: Offer,
        high: bool,
    ) -> Result<Acquired, AcquireError> {
        let key = PoolKey { address: host.address.clone(), transport: host.transport, offer };
        pool::acquire(self.pool(key), self.worker, cluster, host, offer, high).await
    }
}
