//! The two sides of a peering, as seen from here.

use portolan_names::names;
use portolan_resources::federation::ServiceMeshPeerSpec;

/// Facts of our own mesh that federation needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalMesh {
    /// Namespace of the control plane.
    pub namespace: String,
    /// Our trust domain.
    pub trust_domain: String,
    /// DNS domain of our cluster.
    pub cluster_domain: String,
    /// Full host name of our control plane's Service, which serves discovery.
    pub discovery_host: String,
    /// Service account of our control plane.
    pub service_account: String,
    /// Network of our own workloads; empty when it has no name.
    pub network: String,
}

/// A ServiceMeshPeer: another mesh, and the gateways that lead to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Peer {
    /// Our name for the other mesh.
    pub name: String,
    /// Namespace of the resource: the control plane's.
    pub namespace: String,
    /// Generation of the resource.
    pub generation: i64,
    /// The resource.
    pub spec: ServiceMeshPeerSpec,
}

impl Peer {
    /// The peer lives in a trust domain of its own, so that its roots have to be known here.
    pub fn is_foreign(&self, mesh: &LocalMesh) -> bool {
        let domain = &self.spec.security.trust_domain;
        !domain.is_empty() && *domain != mesh.trust_domain
    }

    /// Trust domain that the peer's identities must have.
    pub fn trust_domain<'a>(&'a self, mesh: &'a LocalMesh) -> &'a str {
        if self.is_foreign(mesh) { &self.spec.security.trust_domain } else { &mesh.trust_domain }
    }

    /// Host of the Service in front of our egress gateway for this peer: where discovery requests are sent.
    pub fn egress_host(&self, mesh: &LocalMesh) -> String {
        format!("{}.{}.svc.{}", self.spec.gateways.egress.name, self.namespace, mesh.cluster_domain)
    }

    /// Discovery host of the peer, an internal name (docs/reference/federation.md).
    pub fn discovery_host(&self) -> String {
        names::discovery_host(&self.namespace, &self.name)
    }

    /// SPIFFE id of one of our gateways for this peer.
    pub fn gateway_identity(&self, mesh: &LocalMesh, gateway: &str) -> String {
        let account = names::gateway_service_account(gateway);
        format!("spiffe://{}/ns/{}/sa/{account}", mesh.trust_domain, self.namespace)
    }
}

#[cfg(test)]
mod tests;
