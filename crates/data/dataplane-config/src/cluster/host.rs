//! Hosts of a cluster: what load balancing needs of them, and what connecting to them needs.

use std::ops::Deref;
use std::sync::Arc;

pub use portolan_balance::{Health, HostState};

use crate::pb;
use crate::value::{NetAddress, PerMillion};

/// Region, zone, sub zone.
pub type Locality = (String, String, String);

/// One upstream host in one version of a cluster's host set.
pub type Host = portolan_balance::Host<Endpoint>;

/// One immutable set of hosts.
pub type HostSet = portolan_balance::HostSet<Endpoint>;

/// How a host is reached and described.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it is connected to.
    pub address: NetAddress,
    /// Name that the address was resolved from, or that the endpoint carries.
    pub hostname: String,
    /// 0 is the most wanted.
    pub priority: u32,
    /// Where it runs.
    pub locality: Arc<Locality>,
    /// As the endpoint carries them.
    pub metadata: Option<pb::core::Metadata>,
    /// Which of the cluster's transports connects to it.
    pub transport: usize,
}

/// The hosts of a cluster and what comes with them (Envoy's `ClusterLoadAssignment`).
#[derive(Debug, Default)]
pub struct Assignment {
    /// Where requests go.
    pub hosts: HostSet,
    /// Shares of the requests that are dropped before anything else.
    pub drop_overload: Vec<PerMillion>,
}

impl Deref for Assignment {
    type Target = HostSet;

    fn deref(&self) -> &HostSet {
        &self.hosts
    }
}
