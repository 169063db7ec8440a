//! ServiceEntry (Istio 1.9 reference, Service Entry and Workload Entry).

use std::collections::BTreeMap;

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Port, WorkloadEntrySpec};
use crate::{status::IstioStatus, wire_enum::wire_enum};

/// A service that Kubernetes does not know of.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(crates(kube_core = "::kube_core"))]
#[kube(
    group = "networking.istio.io",
    version = "v1beta1",
    kind = "ServiceEntry",
    plural = "serviceentries",
    namespaced
)]
#[kube(status = "IstioStatus", shortname = "se", category = "istio-io", category = "networking-istio-io")]
#[kube(derive = "PartialEq", derive = "Default")]
#[kube(
    printcolumn = r#"{"name":"Hosts","type":"string","jsonPath":".spec.hosts","description":"The hosts associated with the ServiceEntry"}"#
)]
#[kube(
    printcolumn = r#"{"name":"Location","type":"string","jsonPath":".spec.location","description":"Whether the service is part of the mesh"}"#
)]
#[kube(
    printcolumn = r#"{"name":"Resolution","type":"string","jsonPath":".spec.resolution","description":"Service discovery mode for the hosts"}"#
)]
#[kube(printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceEntrySpec {
    /// DNS names, possibly with a `*.` prefix.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Virtual addresses or CIDRs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// Inside or outside of the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// How endpoints are found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Resolution>,
    /// Endpoints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<WorkloadEntrySpec>,
    /// Selects WorkloadEntries and Pods as endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_selector: Option<WorkloadSelector>,
    /// Namespaces that see the object.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub export_to: Vec<String>,
    /// Accepted names of the servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<String>,
}

wire_enum! {
    /// Inside or outside of the mesh.
    Location {
        /// Outside: no mesh mTLS.
        MeshExternal = "MESH_EXTERNAL",
        /// Inside.
        MeshInternal = "MESH_INTERNAL",
    }
}

wire_enum! {
    /// How endpoints are found.
    Resolution {
        /// The address that the client used.
        None = "NONE",
        /// The listed endpoints.
        Static = "STATIC",
        /// DNS, done by the proxy.
        Dns = "DNS",
    }
}

/// Selects workloads by label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadSelector {
    /// Labels that must all be present.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}
