//! Names of objects, containers, domains and of what a proxy asks for by name.

/// The release of Istio whose place ours takes: what nodes report, which drives compatibility switches in control planes,
/// and what tools ask the control plane for.
pub const ISTIO_VERSION: &str = "1.9.9";
/// Default namespace of the control plane, also the root namespace of configuration.
pub const ISTIO_SYSTEM: &str = "istio-system";
/// Service, Deployment and ServiceAccount of the control plane.
pub const ISTIOD: &str = "istiod";
/// Address of the control plane, unless MeshConfig's `discoveryAddress` says otherwise.
pub const DISCOVERY_ADDRESS: &str = "istiod.istio-system.svc:15012";
/// ConfigMap with key [`MESH_CONFIG_KEY`].
pub const MESH_CONFIG_MAP: &str = "istio";
/// Key of MeshConfig in [`MESH_CONFIG_MAP`].
pub const MESH_CONFIG_KEY: &str = "mesh";
/// ConfigMap with the settings of injection, as tools read them.
pub const INJECTOR_CONFIG_MAP: &str = "istio-sidecar-injector";
/// The revision of a control plane that has no other name.
pub const DEFAULT_REVISION: &str = "default";
/// ConfigMap with the root certificate, in every namespace.
pub const ROOT_CERT_CONFIG_MAP: &str = "istio-ca-root-cert";
/// Key of the root certificate in ConfigMaps.
pub const ROOT_CERT_KEY: &str = "root-cert.pem";
/// Secret of the self-signed CA.
pub const CA_SECRET: &str = "istio-ca-secret";
/// Secret of a plugged-in CA.
pub const PLUGGED_CA_SECRET: &str = "cacerts";
/// Audience of workload tokens.
pub const TOKEN_AUDIENCE: &str = "istio-ca";
/// Name of the sidecar's container.
pub const PROXY_CONTAINER: &str = "istio-proxy";
/// Name of the capture init container.
pub const INIT_CONTAINER: &str = "istio-init";
/// User and group id of the proxy; its own traffic is never captured.
pub const PROXY_UID: u32 = 1337;
/// Default domain of the cluster.
pub const CLUSTER_DOMAIN: &str = "cluster.local";
/// Default trust domain.
pub const TRUST_DOMAIN: &str = "cluster.local";
/// Default cluster id.
pub const CLUSTER_ID: &str = "Kubernetes";
/// Reserved gateway name that stands for all sidecars.
pub const MESH_GATEWAY: &str = "mesh";
/// SDS name of the workload certificate.
pub const SDS_DEFAULT: &str = "default";
/// SDS name of the validation context.
pub const SDS_ROOT_CA: &str = "ROOTCA";
/// Bootstrap cluster of the agent's SDS server (Unix socket).
pub const SDS_CLUSTER: &str = "sds-grpc";
/// Bootstrap cluster of the agent's (or istiod's) ADS.
pub const XDS_CLUSTER: &str = "xds-grpc";
/// Scheme prefix of SPIFFE ids.
pub const SPIFFE_PREFIX: &str = "spiffe://";
/// `0.0.0.0`: a service without an address of its own.
pub const UNSPECIFIED_IP: &str = "0.0.0.0";
/// Middle part of exported host names: `<name>.<ns>.svc.<peer>-exports.local`.
pub const EXPORTS_SUFFIX: &str = "-exports.local";
/// Middle part of imported host names: `<name>.<ns>.svc.<peer>-imports.local`.
const IMPORTS_SUFFIX: &str = "-imports.local";
/// Suffix of a gateway's service account: `<gw>-service-account`.
const GATEWAY_SERVICE_ACCOUNT_SUFFIX: &str = "-service-account";
/// Value of the node metadata and Pod annotation for our own data plane.
pub const PROXY_PORTOLAN: &str = "portolan";
/// Value of the node metadata and Pod annotation for a stock Envoy.
pub const PROXY_ENVOY: &str = "envoy";

/// Service account of a gateway Deployment.
pub fn gateway_service_account(gateway: &str) -> String {
    format!("{gateway}{GATEWAY_SERVICE_ACCOUNT_SUFFIX}")
}

/// Domain suffix of what we export to `peer`.
pub fn exports_domain(peer: &str) -> String {
    format!("svc.{peer}{EXPORTS_SUFFIX}")
}

/// Default domain suffix of what we import from `peer`.
pub fn imports_domain(peer: &str) -> String {
    format!("svc.{peer}{IMPORTS_SUFFIX}")
}

/// Discovery host of `peer` as seen from namespace `ns`.
pub fn discovery_host(ns: &str, peer: &str) -> String {
    format!("discovery.{ns}.svc.{peer}.local")
}

/// Network id of a peer's endpoints.
pub fn peer_network(peer: &str) -> String {
    format!("network-{peer}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_made_of_other_names() {
        assert_eq!(gateway_service_account("east-egress"), "east-egress-service-account");
        assert_eq!(exports_domain("east"), "svc.east-exports.local");
        assert_eq!(imports_domain("east"), "svc.east-imports.local");
        assert_eq!(discovery_host("istio-system", "east"), "discovery.istio-system.svc.east.local");
        assert_eq!(peer_network("east"), "network-east");
    }
}
