//! How far a change reaches, so that a stream regenerates only what it must.

use std::{collections::BTreeSet, sync::Arc};

use portolan_mesh::Snapshot;

use crate::watch::Kind;

/// The reach of one or more changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// No proxy sees a difference.
    Nothing,
    /// Only the endpoints of these hosts, and nothing that listeners, routes or clusters are made from.
    Endpoints(Arc<BTreeSet<String>>),
    /// Anything.
    Everything,
}

impl Changed {
    /// Both changes.
    pub fn and(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Everything, _) | (_, Self::Everything) => Self::Everything,
            (Self::Nothing, other) => other.clone(),
            (this, Self::Nothing) => this,
            (Self::Endpoints(a), Self::Endpoints(b)) => {
                Self::Endpoints(Arc::new(a.union(b).cloned().collect()))
            }
        }
    }

    /// Compares two models that differ in objects of these kinds.
    pub fn between(before: Option<&Snapshot>, after: &Snapshot, kinds: &BTreeSet<Kind>) -> Self {
        let Some(before) = before else { return Self::Everything };
        if kinds.iter().any(|kind| *kind != Kind::EndpointSlice) {
            return Self::Everything;
        }
        if before.services.len() != after.services.len() || before.endpoints.len() != after.endpoints.len() {
            return Self::Everything;
        }
        let mut hosts = BTreeSet::new();
        for (host, service) in &after.services {
            if !before.services.get(host).is_some_and(|old| Arc::ptr_eq(old, service)) {
                return Self::Everything;
            }
            let (Some(old), Some(new)) = (before.endpoints.get(host), after.endpoints.get(host)) else {
                continue;
            };
            if Arc::ptr_eq(old, new) {
                continue;
            }
            // Clusters list the identities of their endpoints; headless services have a listener per endpoint.
            if service.headless || old.identities() != new.identities() {
                return Self::Everything;
            }
            hosts.insert(host.clone());
        }
        if hosts.is_empty() { Self::Nothing } else { Self::Endpoints(Arc::new(hosts)) }
    }
}

/// The reason of a push as the metric names it.
pub(super) fn trigger(kind: Kind) -> &'static str {
    match kind {
        Kind::EndpointSlice => "endpoint",
        Kind::Service => "service",
        Kind::Pod | Kind::Namespace => "proxy",
        Kind::MeshConfig => "global",
        _ => "config",
    }
}
