//! Hosts of a cluster: what load balancing needs of them, and what connecting to them needs.

use std::ops::Deref;
use std::sync::Arc;

pub(crate) use portolan_balance::{Health, HostState};

use crate::pb;
use crate::value::{NetAddress, PerMillion};

/// Region, zone, sub zone.
pub(crate) type Locality = (String, String, String);

/// One upstream host in one version of a cluster's host set.
pub(crate) type Host = portolan_balance::Host<Endpoint>;

/// One immutable set of hosts.
pub(crate) type HostSet = portolan_balance::HostSet<Endpoint>;

/// How a host is reached and described.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: NetAddress,
    /// Name that the address was resolved from, or that the endpoint carries.
    pub(crate) hostname: String,
    pub(crate) priority: u32,
    pub(crate) locality: Arc<Locality>,
    pub(crate) metadata: Option<pb::core::Metadata>,
    /// Which of the cluster's transports connects to it.
    pub(crate) transport: usize,
}

/// The hosts of a cluster and what comes with them (Envoy's `ClusterLoadAssignment`).
#[derive(Debug, Default)]
pub(crate) struct Assignment {
    pub(crate) hosts: HostSet,
    /// Shares of the requests that are dropped before anything else.
    pub(crate) drop_overload: Vec<PerMillion>,
}

impl Deref for Assignment {
    type Target = HostSet;

    fn deref(&self) -> &HostSet {
        &self.hosts
    }
}
