//! Label keys: Istio 1.9's and Kubernetes', and Service Mesh's for membership and federation.

/// Workload that can terminate mesh mTLS (value [`TLS_MODE_ISTIO`]).
pub const TLS_MODE: &str = "security.istio.io/tlsMode";
/// Value of [`TLS_MODE`] of an injected workload.
pub const TLS_MODE_ISTIO: &str = "istio";
/// Canonical service name of a workload; gateways of federation are selected by it.
pub const CANONICAL_NAME: &str = "service.istio.io/canonical-name";
/// Canonical revision of a workload.
pub const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";
/// Application name, fallback of the canonical name.
pub const APP: &str = "app";
/// Kubernetes' recommended application name label, fallback of the canonical name.
pub const APP_KUBERNETES_NAME: &str = "app.kubernetes.io/name";
/// Application version, fallback of the canonical revision.
pub const VERSION: &str = "version";
/// Kubernetes' recommended version label.
pub const APP_KUBERNETES_VERSION: &str = "app.kubernetes.io/version";
/// Selects the gateway Pods (`istio: ingressgateway`).
pub const ISTIO: &str = "istio";
/// Control plane revision.
pub const REVISION: &str = "istio.io/rev";
/// Namespace label that turns injection on or off.
pub const INJECTION: &str = "istio-injection";
/// Pod label that asks for or refuses injection.
pub const SIDECAR_INJECT: &str = "sidecar.istio.io/inject";
/// Network of a workload.
pub const NETWORK: &str = "topology.istio.io/network";
/// Sub-zone of a node.
pub const SUBZONE: &str = "topology.istio.io/subzone";
/// Region of a node.
pub const REGION: &str = "topology.kubernetes.io/region";
/// Zone of a node.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// Region of a node, old name.
pub const REGION_LEGACY: &str = "failure-domain.beta.kubernetes.io/region";
/// Zone of a node, old name.
pub const ZONE_LEGACY: &str = "failure-domain.beta.kubernetes.io/zone";
/// Locality of a Pod, dots for slashes.
pub const LOCALITY: &str = "istio-locality";
/// Name of the Service that an EndpointSlice belongs to.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Hash of the Pod template, cut off to find the Deployment's name.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// Namespace that is never injected.
pub const IGNORE_NAMESPACE: &str = "maistra.io/ignore-namespace";
/// Service of an egress gateway, the peer that it serves.
pub const FEDERATION_EGRESS_FOR: &str = "federation.maistra.io/egress-for";
/// Service of an ingress gateway, the peer that it serves.
pub const FEDERATION_INGRESS_FOR: &str = "federation.maistra.io/ingress-for";
/// Marks the ConfigMaps with the mesh's root certificate.
pub const CONFIG: &str = "istio.io/config";
