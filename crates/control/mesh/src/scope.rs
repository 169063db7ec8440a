//! Which scope a proxy has, and what its workload serves.

use std::sync::Arc;

use crate::{
    object::ObjectKey,
    service::{Service, ServicePort},
};

/// Which scope: everything that decides what a proxy sees of services and configuration. All sidecars of a namespace that
/// the same Sidecar object holds for share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeKey {
    /// Namespace of the proxies.
    pub namespace: String,
    /// The Sidecar object that holds for them.
    pub sidecar: Option<ObjectKey>,
    /// Scope of gateways: no Sidecar object holds for them.
    pub router: bool,
}

impl ScopeKey {
    /// The scope of a namespace that nobody has: it sees what all namespaces see, and nothing else. Scopes that no Sidecar
    /// object restricts see the same but for little ([`crate::Scope::apart`]). Nothing for others, for gateways, and for
    /// itself.
    pub fn common(&self) -> Option<Self> {
        let has = self.sidecar.is_none() && !self.router && !self.namespace.is_empty();
        has.then(Self::of_nobody)
    }

    /// The scope of a namespace that nobody has.
    pub(crate) fn of_nobody() -> Self {
        Self { namespace: String::new(), sidecar: None, router: false }
    }
}

/// A service that a proxy's own workload serves.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceInstance {
    /// The service.
    pub service: Arc<Service>,
    /// Its port.
    pub port: ServicePort,
    /// Port of the workload.
    pub target: u16,
}

/// An inbound listener that a Sidecar object describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarIngress {
    /// The Sidecar.
    pub sidecar: ObjectKey,
    /// Port of the workload.
    pub port: ServicePort,
    /// Where the application listens; empty means the same port on loopback.
    pub default_endpoint: String,
}
