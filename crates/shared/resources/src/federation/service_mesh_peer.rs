//! ServiceMeshPeer (docs/reference/federation.md).

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use portolan_names::{names, ports};

/// Another mesh that this one federates with.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(crates(kube_core = "::kube_core"))]
#[kube(
    group = "federation.maistra.io",
    version = "v1",
    kind = "ServiceMeshPeer",
    plural = "servicemeshpeers",
    namespaced
)]
#[kube(status = "ServiceMeshPeerStatus", category = "maistra-io")]
#[kube(derive = "PartialEq", derive = "Default")]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceMeshPeerSpec {
    /// How the peer is reached.
    pub remote: PeerRemote,
    /// Local gateways that serve this peer.
    pub gateways: PeerGateways,
    /// How the peer is trusted.
    pub security: PeerSecurity,
}

/// Addresses of the peer's ingress gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PeerRemote {
    /// DNS names or IPs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Port of discovery, 8188 when 0 or absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery_port: Option<i32>,
    /// Port of service traffic, 15443 when 0 or absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_port: Option<i32>,
}

impl PeerRemote {
    /// Port of discovery with its default.
    pub fn discovery_port(&self) -> u16 {
        port_or(self.discovery_port, ports::FEDERATION_DISCOVERY)
    }
    /// Port of service traffic with its default.
    pub fn service_port(&self) -> u16 {
        port_or(self.service_port, ports::FEDERATION_SERVICE)
    }
}

fn port_or(value: Option<i32>, default: u16) -> u16 {
    value.and_then(|v| u16::try_from(v).ok()).filter(|v| *v != 0).unwrap_or(default)
}

/// Local gateways that serve a peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PeerGateways {
    /// The peer's traffic comes in here.
    pub ingress: GatewayRef,
    /// Traffic to the peer goes out here.
    pub egress: GatewayRef,
}

/// A gateway by its canonical name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayRef {
    /// Name of the gateway's Service and value of its Pods' canonical-name label.
    pub name: String,
}

/// How a peer is trusted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PeerSecurity {
    /// The peer's trust domain; empty or our own: no bundle is distributed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trust_domain: String,
    /// Identity of the peer's egress gateway, without `spiffe://`.
    #[serde(rename = "clientID", skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    /// ConfigMap with the peer's roots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_chain: Option<CertificateChainRef>,
}

/// Reference to the object that holds a certificate chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateChainRef {
    /// API group, empty for ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_group: Option<String>,
    /// `ConfigMap` (or empty, which means the same).
    pub kind: String,
    /// Name.
    pub name: String,
}

/// Default name of the ConfigMap with the roots of peer `peer`.
pub fn default_root_config_map(peer: &str) -> String {
    format!("{peer}-ca-root-cert")
}

/// Key in that ConfigMap.
pub const ROOT_CERT_KEY: &str = names::ROOT_CERT_KEY;

/// Status of a peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceMeshPeerStatus {
    /// Discovery, per control plane Pod.
    pub discovery_status: PeerDiscoveryStatus,
}

/// Control plane Pods with and without a connected watch on the peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PeerDiscoveryStatus {
    /// Connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["pod"]))]
    pub active: Option<Vec<PodPeerDiscoveryStatus>>,
    /// Not connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["pod"]))]
    pub inactive: Option<Vec<PodPeerDiscoveryStatus>>,
}

/// What one control plane Pod sees of the peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodPeerDiscoveryStatus {
    /// Name of the control plane Pod.
    pub pod: String,
    /// Connections of the peer to this Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["source"]))]
    pub remotes: Option<Vec<DiscoveryRemoteStatus>>,
    /// This Pod's own connection to the peer.
    pub watch: DiscoveryConnectionStatus,
}

/// A connection between control planes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiscoveryConnectionStatus {
    /// Connected now.
    pub connected: bool,
    /// RFC 3339 time of the last connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_connected: Option<String>,
    /// RFC 3339 time of the last event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event: Option<String>,
    /// RFC 3339 time of the last full list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_full_sync: Option<String>,
    /// RFC 3339 time of the last disconnection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_disconnect: Option<String>,
    /// Why it disconnected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_disconnect_status: Option<String>,
}

/// A connection that the peer opened to this Pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiscoveryRemoteStatus {
    /// Address of the peer's egress gateway.
    pub source: String,
    /// Connected now.
    pub connected: bool,
    /// RFC 3339 time of the last connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_connected: Option<String>,
    /// RFC 3339 time of the last event sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event: Option<String>,
    /// RFC 3339 time of the last list served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_full_sync: Option<String>,
    /// RFC 3339 time of the last disconnection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_disconnect: Option<String>,
    /// Why it disconnected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_disconnect_status: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_defaults() {
        for (given, discovery, service) in [
            (None, 8188, 15443),
            (Some(0), 8188, 15443),
            (Some(-1), 8188, 15443),
            (Some(65_536), 8188, 15443),
            (Some(1), 1, 1),
            (Some(65_535), 65_535, 65_535),
        ] {
            let remote = PeerRemote { discovery_port: given, service_port: given, ..PeerRemote::default() };
            assert_eq!((remote.discovery_port(), remote.service_port()), (discovery, service), "{given:?}");
        }
    }

    #[test]
    fn roots_are_in_a_config_map_of_the_peer() {
        assert_eq!(default_root_config_map("east"), "east-ca-root-cert");
    }
}
