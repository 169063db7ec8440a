//! WorkloadEntry (Istio 1.9 reference, Service Entry and Workload Entry).

use std::collections::BTreeMap;

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::status::IstioStatus;

/// One endpoint that no Pod stands for.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(crates(kube_core = "::kube_core"))]
#[kube(
    group = "networking.istio.io",
    version = "v1beta1",
    kind = "WorkloadEntry",
    plural = "workloadentries",
    namespaced
)]
#[kube(status = "IstioStatus", shortname = "we", category = "istio-io", category = "networking-istio-io")]
#[kube(derive = "PartialEq", derive = "Default")]
#[kube(printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#)]
#[kube(
    printcolumn = r#"{"name":"Address","type":"string","jsonPath":".spec.address","description":"Address associated with the network endpoint"}"#
)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadEntrySpec {
    /// IP, `unix://` path or DNS name.
    pub address: String,
    /// Port name to port number.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, u32>,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// `region/zone/subzone`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
    /// Load balancing weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Service account, gives the identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
}
