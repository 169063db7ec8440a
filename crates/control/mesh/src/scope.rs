//! What the sidecars of one kind see: all sidecars of a namespace that the same Sidecar object holds for share a scope.

use std::{collections::BTreeMap, sync::Arc};

use portolan_names::names::MESH_GATEWAY;
use portolan_resources::networking::{OutboundTrafficPolicyMode, SidecarSpec};

use crate::{
    destination_rule::ResolvedDestinationRule,
    host::{host_matches, host_specificity},
    object::ObjectKey,
    object::Resolved,
    service::{Service, ServicePort},
    virtual_service::ResolvedVirtualService,
};

/// Which scope: everything that decides what a proxy sees of services and configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeKey {
    /// Namespace of the proxies.
    pub namespace: String,
    /// The Sidecar object that holds for them.
    pub sidecar: Option<ObjectKey>,
    /// Scope of gateways: no Sidecar object holds for them.
    pub router: bool,
}

/// Services and configuration visible to the proxies of one scope.
#[derive(Clone, Debug)]
pub(crate) struct Visible {
    /// Visible services, by host.
    pub(crate) services: Arc<BTreeMap<String, Arc<Service>>>,
    /// Their hosts, sorted.
    pub(crate) hosts: Arc<[String]>,
    /// Their hosts, oldest service first, then sorted.
    pub(crate) hosts_by_age: Arc<[String]>,
    /// Visible VirtualServices of all gateways, oldest first.
    pub(crate) virtual_services: Vec<Arc<ResolvedVirtualService>>,
    /// DestinationRules that the proxies use, by service host.
    pub(crate) destination_rules: BTreeMap<String, Arc<ResolvedDestinationRule>>,
    /// Unknown destinations are passed through.
    pub(crate) allow_any: bool,
}

impl Visible {
    /// The service of a host.
    pub(crate) fn service(&self, host: &str) -> Option<&Arc<Service>> {
        self.services.get(host).or_else(|| {
            // A ServiceEntry's wildcard covers the host.
            let mut covering: Vec<_> =
                self.services.iter().filter(|(h, _)| h.starts_with('*') && host_matches(h, host)).collect();
            covering.sort_by(|a, b| host_specificity(a.0, b.0));
            covering.first().map(|(_, s)| *s)
        })
    }

    /// VirtualServices bound to `gateway` (`mesh` or `namespace/name`).
    pub(crate) fn virtual_services_of<'a>(
        &'a self,
        gateway: &'a str,
    ) -> impl Iterator<Item = &'a Arc<ResolvedVirtualService>> + 'a {
        self.virtual_services.iter().filter(move |v| v.spec.gateways.iter().any(|g| g == gateway))
    }

    /// The VirtualService that holds for a host in the mesh: the most specific one, then the oldest.
    pub(crate) fn virtual_service_for(&self, host: &str) -> Option<&Arc<ResolvedVirtualService>> {
        let mut best: Option<(&str, &Arc<ResolvedVirtualService>)> = None;
        for vs in self.virtual_services_of(MESH_GATEWAY) {
            for pattern in vs.spec.hosts.iter().filter(|h| host_matches(h, host)) {
                let better = best.is_none_or(|(b, _)| host_specificity(pattern, b).is_lt());
                if better {
                    best = Some((pattern, vs));
                }
            }
        }
        best.map(|(_, vs)| vs)
    }

    pub(crate) fn sidecar_allow_any(sidecar: Option<&Arc<Resolved<SidecarSpec>>>, mesh: bool) -> bool {
        match sidecar.and_then(|s| s.spec.outbound_traffic_policy.as_ref()) {
            Some(policy) => policy.mode == OutboundTrafficPolicyMode::AllowAny,
            None => mesh,
        }
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
