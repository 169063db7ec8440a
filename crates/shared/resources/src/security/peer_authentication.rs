//! PeerAuthentication.

use std::collections::BTreeMap;

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PolicySelector;
use crate::{status::IstioStatus, wire_enum::wire_enum};

/// Which mTLS a workload asks of its clients.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(crates(kube_core = "::kube_core"))]
#[kube(group = "security.istio.io", version = "v1beta1", kind = "PeerAuthentication", namespaced)]
#[kube(status = "IstioStatus", shortname = "pa", category = "istio-io", category = "security-istio-io")]
#[kube(derive = "PartialEq", derive = "Default")]
#[kube(
    printcolumn = r#"{"name":"Mode","type":"string","jsonPath":".spec.mtls.mode","description":"Defines the mTLS mode used for peer authentication."}"#
)]
#[kube(printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#)]
#[serde(rename_all = "camelCase", default)]
pub struct PeerAuthenticationSpec {
    /// Workloads; none means the namespace, in the root namespace the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<PolicySelector>,
    /// Mode of all ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtls: Option<MutualTls>,
    /// Mode of single workload ports.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub port_level_mtls: BTreeMap<String, MutualTls>,
}

/// An mTLS mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MutualTls {
    /// The mode.
    pub mode: MtlsMode,
}

wire_enum! {
    /// mTLS modes of a server.
    MtlsMode {
        /// From the next wider scope; at the end PERMISSIVE.
        Unset = "UNSET",
        /// Plaintext.
        Disable = "DISABLE",
        /// Both.
        Permissive = "PERMISSIVE",
        /// Mesh mTLS only.
        Strict = "STRICT",
    }
}
