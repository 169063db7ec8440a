//! Sidecar (Istio 1.9 reference, Sidecar).

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Destination, Port, WorkloadSelector};
use crate::{status::IstioStatus, wire_enum::wire_enum};

/// What the proxies of some workloads listen on and see.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(crates(kube_core = "::kube_core"))]
#[kube(group = "networking.istio.io", version = "v1beta1", kind = "Sidecar", namespaced)]
#[kube(status = "IstioStatus", category = "istio-io", category = "networking-istio-io")]
#[kube(derive = "PartialEq", derive = "Default")]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarSpec {
    /// Workloads; none means all of the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_selector: Option<WorkloadSelector>,
    /// Inbound listeners.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<IstioIngressListener>,
    /// Outbound listeners and the hosts they serve.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<IstioEgressListener>,
    /// What happens to unknown destinations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
}

wire_enum! {
    /// How traffic comes to a listener.
    CaptureMode {
        /// As the Pod is set up.
        Default = "DEFAULT",
        /// Captured.
        Iptables = "IPTABLES",
        /// Not captured: the listener binds its port.
        None = "NONE",
    }
}

/// Inbound listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IstioIngressListener {
    /// Port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// Address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind: Option<String>,
    /// Capture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture_mode: Option<CaptureMode>,
    /// Where the application listens: `127.0.0.1:p`, `0.0.0.0:p` or `unix://path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_endpoint: Option<String>,
}

/// Outbound listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IstioEgressListener {
    /// Port; none means all ports of the hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// Address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind: Option<String>,
    /// Capture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture_mode: Option<CaptureMode>,
    /// `namespace/host`, namespace possibly `.`, `*` or `~`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

wire_enum! {
    /// What happens to unknown destinations.
    OutboundTrafficPolicyMode {
        /// Refused.
        RegistryOnly = "REGISTRY_ONLY",
        /// Passed through.
        AllowAny = "ALLOW_ANY",
    }
}

/// What happens to unknown destinations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OutboundTrafficPolicy {
    /// Mode.
    pub mode: OutboundTrafficPolicyMode,
    /// Service that takes such traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_proxy: Option<Destination>,
}
