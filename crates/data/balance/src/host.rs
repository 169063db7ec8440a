//! One upstream host and what is known of it.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::Moment;
use crate::outlier::Monitor;

/// What the control plane says about a host's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Gets requests.
    Healthy,
    /// Gets requests that healthy hosts cannot take.
    Degraded,
    /// Gets requests only in a panic.
    Unhealthy,
}

/// One host in one version of a cluster's host set. `T` is what the transport needs to reach it.
#[derive(Debug)]
pub struct Host<T> {
    /// What tells hosts apart: `address:port` or a path.
    pub name: Arc<str>,
    /// What consistent hashing places on the ring: the address, the host name or `hash_key` of the metadata.
    pub hash_key: Arc<str>,
    /// Share of the load, at least 1.
    pub weight: u32,
    /// As told by the control plane.
    pub health: Health,
    /// Labels for subsets: the key, and the values that it has (several where a list counts as alternatives). Sorted by
    /// key.
    pub labels: Vec<(String, Vec<String>)>,
    /// Outlives this version of the host set.
    pub state: Arc<HostState>,
    /// What the transport needs.
    pub endpoint: T,
}

impl<T> Host<T> {
    /// Whether requests may be sent here outside of a panic.
    pub fn available(&self) -> bool {
        self.health != Health::Unhealthy && !self.state.outlier.is_ejected()
    }

    /// The values of a label.
    pub(crate) fn label(&self, key: &str) -> Option<&[String]> {
        let at = self.labels.binary_search_by(|(known, _)| known.as_str().cmp(key)).ok()?;
        self.labels.get(at).map(|(_, values)| values.as_slice())
    }
}

/// A host stands for its endpoint: the transport reads it without a detour.
impl<T> Deref for Host<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.endpoint
    }
}

/// What lasts over versions of the host set. Written by all workers; contention is low, one request touches one host.
#[derive(Debug, Default)]
pub struct HostState {
    /// Requests that are active now.
    pub rq_active: AtomicU64,
    /// Connections that are open now.
    pub cx_active: AtomicU64,
    /// Connections so far.
    pub cx_total: AtomicU64,
    /// Connections that failed.
    pub cx_connect_fail: AtomicU64,
    /// Requests so far.
    pub rq_total: AtomicU64,
    /// Responses other than 5xx.
    pub rq_success: AtomicU64,
    /// 5xx responses and failures.
    pub rq_error: AtomicU64,
    /// Requests without a response in time.
    pub rq_timeout: AtomicU64,
    /// When the host became a member of the cluster: the beginning of its slow start.
    joined: AtomicU64,
    /// What outlier detection knows.
    pub outlier: Monitor,
}

impl HostState {
    /// The state of a host that joins now.
    pub fn new(now: Moment) -> Self {
        HostState { joined: AtomicU64::new(now.as_millis()), ..HostState::default() }
    }

    /// When the host joined.
    pub fn joined(&self) -> Moment {
        Moment::from_millis(self.joined.load(Relaxed))
    }

    /// Starts the slow start anew: the host was not healthy until now.
    pub fn rejoin(&self, now: Moment) {
        self.joined.store(now.as_millis(), Relaxed);
    }
}
