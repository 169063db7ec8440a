//! `federation.maistra.io/v1` kinds (docs/reference/federation.md).

mod exported_service_set;
mod imported_service_set;
mod service_mesh_peer;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use exported_service_set::*;
pub use imported_service_set::*;
pub use service_mesh_peer::*;

/// A service by namespace and name; `""` and `*` mean any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceName {
    /// Namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// A service by name, and the name that it gets on the other side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceNameMapping {
    /// Namespace; `""` and `*` mean any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name; `""` and `*` mean any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// New name; `""` and `*` keep the original part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<ServiceName>,
}

/// Names of a service on both sides, in the statuses of the two service sets. All fields are required: an imported set
/// lists services that no rule takes with empty text.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshServiceMapping {
    /// The service here.
    pub local_service: LocalServiceKey,
    /// Its host name in the exporting mesh's export domain.
    pub exported_name: String,
}

/// A local service.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalServiceKey {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Host name.
    pub hostname: String,
}

/// Rule type that matches by name.
pub const NAME_SELECTOR: &str = "NameSelector";
/// Rule type that matches by label (exports only).
pub const LABEL_SELECTOR: &str = "LabelSelector";
