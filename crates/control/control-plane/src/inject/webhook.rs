//! The mutating webhook's request and answer.

use json_patch::Patch;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::{Decision, InjectError, InjectSettings, NamespaceLabels, Skip, decide, inject};

/// What the webhook answers for one Pod.
#[derive(Debug)]
pub enum Outcome {
    /// The Pod is left alone.
    Skipped(Skip),
    /// The Pod is changed.
    Injected(Patch),
}

/// Decides about and injects one Pod. `namespace_labels` are looked up by the caller.
pub fn review(
    object: &Value,
    namespace: &str,
    namespace_labels: &NamespaceLabels,
    settings: &InjectSettings,
) -> Result<Outcome, InjectError> {
    let pod: Pod = serde_json::from_value(object.clone()).map_err(InjectError::Pod)?;
    match decide(&pod, namespace, namespace_labels, &settings.revision) {
        Decision::Skip(skip) => Ok(Outcome::Skipped(skip)),
        Decision::Inject(template) => inject(object, namespace, template, settings).map(Outcome::Injected),
    }
}
