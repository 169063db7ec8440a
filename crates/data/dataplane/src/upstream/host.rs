//! Hosts of a cluster and what is known of their health.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::pb;
use crate::value::NetAddress;

/// Region, zone, sub zone.
pub(crate) type Locality = (String, String, String);

/// What the control plane says about a host's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Healthy,
    Degraded,
    Unhealthy,
}

/// One upstream host in one version of a cluster's host set.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) address: NetAddress,
    /// Name that the address was resolved from, or that the endpoint carries.
    pub(crate) hostname: String,
    pub(crate) weight: u32,
    pub(crate) priority: u32,
    pub(crate) locality: Arc<Locality>,
    pub(crate) health: Health,
    pub(crate) metadata: Option<pb::core::Metadata>,
    /// Which of the cluster's transports connects to it.
    pub(crate) transport: usize,
    /// Survives updates of the host set.
    pub(crate) state: Arc<HostState>,
}

impl Host {
    pub(crate) fn available(&self) -> bool {
        self.health != Health::Unhealthy && !self.state.ejected.load(Relaxed)
    }
}

/// Counters and health that all workers write. Contention is low: one request touches one host.
#[derive(Debug, Default)]
pub(crate) struct HostState {
    pub(crate) rq_active: AtomicU64,
    pub(crate) cx_active: AtomicU64,
    pub(crate) cx_total: AtomicU64,
    pub(crate) cx_connect_fail: AtomicU64,
    pub(crate) rq_total: AtomicU64,
    pub(crate) rq_success: AtomicU64,
    pub(crate) rq_error: AtomicU64,
    pub(crate) rq_timeout: AtomicU64,
    pub(crate) consecutive_5xx: AtomicU32,
    pub(crate) consecutive_gateway: AtomicU32,
    pub(crate) consecutive_local: AtomicU32,
    pub(crate) ejected: AtomicBool,
    /// When the ejection ends, milliseconds since the process started.
    pub(crate) ejected_until: AtomicU64,
    pub(crate) ejections: AtomicU32,
}

/// Hosts of one locality in one priority.
#[derive(Debug)]
pub(crate) struct LocalityHosts {
    pub(crate) weight: u32,
    pub(crate) hosts: Vec<Arc<Host>>,
}

/// One immutable set of hosts.
#[derive(Debug, Default)]
pub(crate) struct HostSet {
    /// By priority, 0 first.
    pub(crate) priorities: Vec<Vec<LocalityHosts>>,
    /// In per cent.
    pub(crate) overprovisioning: u32,
    pub(crate) drop_overload: Vec<u32>,
}

impl HostSet {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.priorities.iter().flatten().flat_map(|locality| locality.hosts.iter())
    }

    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }

    /// The lasting state of each address, to be carried over to the next set.
    pub(crate) fn states(&self) -> HashMap<&NetAddress, &Arc<HostState>> {
        self.iter().map(|host| (&host.address, &host.state)).collect()
    }
}
