//! CustomResourceDefinitions: a definition compiled once into resources with their rules.

pub mod jsonpath;

use std::sync::Arc;

use serde_json::Value;

use crate::resources::Resource;
use crate::status::FieldError;

/// A CustomResourceDefinition that passed its checks.
#[derive(Clone, Debug)]
pub struct Definition {
    resources: Vec<Arc<Resource>>,
}

/// The rules of one version of a custom resource.
#[derive(Clone, Debug)]
pub struct CustomVersion {
    /// `openAPIV3Schema` of the version.
    pub schema: Value,
    /// `spec.selectableFields` paths, for field selectors.
    pub selectable_fields: Vec<String>,
    /// JSONPaths of the scale sub-resource, if it has one.
    pub scale: Option<ScalePaths>,
}

/// `subresources.scale` of a CRD version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// `specReplicasPath`, for example `.spec.replicas`.
    pub spec_replicas: String,
    /// `statusReplicasPath`.
    pub status_replicas: String,
    /// `labelSelectorPath`, may be empty.
    pub label_selector: String,
}

impl Definition {
    /// Compiles a CRD object (apiextensions.k8s.io/v1, after defaulting).
    ///
    /// # Errors
    /// Every fault found: names, versions, schemas that are not structural.
    pub fn compile(crd: &Value) -> Result<Self, Vec<FieldError>> {
        let _ = crd;
        Ok(Self { resources: Vec::new() })
    }

    /// The resources of the served versions.
    pub fn resources(&self) -> &[Arc<Resource>] {
        &self.resources
    }
}

/// The `status` of a CRD object: `acceptedNames`, `storedVersions` and the conditions `NamesAccepted` and
/// `Established`. `conflict` tells why the names cannot be accepted (taken by another CRD). `now` is an RFC 3339
/// time for `lastTransitionTime` of conditions that change.
pub fn status(crd: &Value, conflict: Option<&str>, now: &str) -> Value {
    let _ = (crd, conflict, now);
    Value::Null
}

impl CustomVersion {
    /// Fills in the defaults of the schema.
    pub fn apply_defaults(&self, object: &mut Value) {
        let _ = object;
    }
}
