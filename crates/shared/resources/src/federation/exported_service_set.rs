//! ExportedServiceSet (docs/reference/federation.md).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MeshServiceMapping, ServiceNameMapping};

/// What this mesh offers to the peer of the same name.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(crates(kube_core = "::kube_core"))]
#[kube(
    group = "federation.maistra.io",
    version = "v1",
    kind = "ExportedServiceSet",
    plural = "exportedservicesets",
    namespaced
)]
#[kube(status = "ExportedServiceSetStatus", category = "maistra-io")]
#[kube(derive = "PartialEq", derive = "Default")]
#[serde(rename_all = "camelCase", default)]
pub struct ExportedServiceSetSpec {
    /// Ordered rules; the first that fits a service is used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub export_rules: Vec<ExportedServiceRule>,
}

/// One export rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportedServiceRule {
    /// `NameSelector` or `LabelSelector`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Match by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_selector: Option<ServiceNameMapping>,
    /// Match by label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<ExportedServiceLabelSelector>,
}

/// Match by the Service's labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExportedServiceLabelSelector {
    /// Namespace; `""` and `*` mean any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Labels; empty selects all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Renaming: the first that fits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<ServiceNameMapping>,
}

/// Status: what is really exported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExportedServiceSetStatus {
    /// Sorted by local namespace, name and exported name; `[]` when empty, never null.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["exportedName"]))]
    pub exported_services: Vec<MeshServiceMapping>,
}
