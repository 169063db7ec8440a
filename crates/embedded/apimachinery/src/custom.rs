//! The rules of a custom resource: defaults and checks by its schema.

mod defaulting;
mod validation;

use serde_json::Value;

use crate::status::FieldError;

pub(crate) use validation::Rules;

/// The rules of one version of a custom resource.
#[derive(Clone, Debug)]
pub struct CustomVersion {
    /// `openAPIV3Schema` of the version.
    pub schema: Value,
    /// `spec.selectableFields` paths, for field selectors.
    pub selectable_fields: Vec<String>,
    /// JSONPaths of the scale sub-resource, if it has one.
    pub scale: Option<ScalePaths>,
    pub(crate) rules: Rules,
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

impl CustomVersion {
    /// Fills in the defaults of the schema.
    pub fn apply_defaults(&self, object: &mut Value) {
        defaulting::apply_root(&self.schema, object);
    }

    /// Checks an object against the schema.
    pub fn validate(&self, object: &Value) -> Vec<FieldError> {
        self.rules.check(object)
    }
}
