//! The hosts of a cluster by priority and locality.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{Host, HostState};

/// Envoy's `overprovisioning_factor`, in per cent.
const DEFAULT_OVERPROVISIONING: u32 = 140;

/// Hosts of one locality in one priority.
#[derive(Debug)]
pub struct Locality<T> {
    /// Share of the priority's load, where localities are weighted; 0 gets nothing.
    pub weight: u32,
    /// Its hosts, in the order of the configuration (which a ring depends on).
    pub hosts: Vec<Arc<Host<T>>>,
}

/// One immutable set of hosts.
#[derive(Debug)]
pub struct HostSet<T> {
    /// By priority, 0 first.
    pub priorities: Vec<Vec<Locality<T>>>,
    /// How much more than its share a host can take, in per cent: 140 means that a priority takes all of its load as
    /// long as 72 per cent of its hosts are available.
    pub overprovisioning: u32,
    /// Whether availability of a priority is counted by weight and not by hosts (`weighted_priority_health`).
    pub weighted_health: bool,
}

impl<T> Default for HostSet<T> {
    fn default() -> Self {
        HostSet { priorities: Vec::new(), overprovisioning: DEFAULT_OVERPROVISIONING, weighted_health: false }
    }
}

impl<T> HostSet<T> {
    /// All hosts.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Host<T>>> {
        self.priorities.iter().flatten().flat_map(|locality| locality.hosts.iter())
    }

    /// Number of hosts.
    pub fn len(&self) -> usize {
        self.priorities.iter().flatten().map(|locality| locality.hosts.len()).sum()
    }

    /// Whether there is no host.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lasting state of each address, to be carried over to the next set.
    pub fn states(&self) -> HashMap<&str, &Arc<HostState>> {
        self.iter().map(|host| (&*host.name, &host.state)).collect()
    }
}
