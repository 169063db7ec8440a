//! For the tests of this crate: the mesh `west`, its peer `east`, and what they offer each other.

use portolan_mesh::{Protocol, Service, ServicePort};
use portolan_resources::federation::ServiceMeshPeerSpec;

use crate::{LocalMesh, Peer, ServiceMessage, ServicePortMessage};

/// Reads YAML.
pub(crate) fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

pub(crate) fn west() -> LocalMesh {
    LocalMesh {
        namespace: "istio-system".into(),
        trust_domain: "west.local".into(),
        cluster_domain: "cluster.local".into(),
        discovery_host: "istiod.istio-system.svc.cluster.local".into(),
        service_account: "istiod".into(),
        network: "west-network".into(),
    }
}

pub(crate) fn peer(name: &str) -> Peer {
    let spec: ServiceMeshPeerSpec = yaml(&format!(
        "
        remote: {{addresses: [192.0.2.7, {name}.example]}}
        gateways: {{ingress: {{name: {name}-ingress}}, egress: {{name: {name}-egress}}}}
        security:
          trustDomain: {name}.local
          clientID: {name}.local/ns/istio-system/sa/west-egress-service-account
        "
    ));
    Peer { name: name.into(), namespace: "istio-system".into(), generation: 3, spec }
}

/// A Kubernetes Service of ours with one HTTP port.
pub(crate) fn service(name: &str, namespace: &str) -> Service {
    Service {
        host: format!("{name}.{namespace}.svc.cluster.local"),
        name: name.into(),
        namespace: namespace.into(),
        ports: vec![ServicePort { name: "http".into(), number: 9080, protocol: Protocol::Http }],
        ..Service::default()
    }
}

/// What the peer east, which calls us west, offers.
pub(crate) fn offer(name: &str, namespace: &str) -> ServiceMessage {
    ServiceMessage {
        name: name.into(),
        namespace: namespace.into(),
        hostname: format!("{name}.{namespace}.svc.west-exports.local"),
        service_ports: vec![ServicePortMessage { name: "http".into(), port: 9080, protocol: "HTTP".into() }],
        service_accounts: vec!["spiffe://east.local/ns/istio-system/sa/west-ingress-service-account".into()],
    }
}
