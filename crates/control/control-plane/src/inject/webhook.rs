//! The mutating webhook's request and answer.

use json_patch::Patch;
use k8s_openapi::api::core::v1::Pod;
use portolan_names::annotations;
use portolan_resources::{support, validation::Finding};
use serde_json::Value;

use super::{Decision, InjectError, InjectSettings, NamespaceLabels, Skip, decide, inject};

/// What the webhook answers for one Pod.
#[derive(Debug)]
pub enum Outcome {
    /// The Pod is left alone.
    Skipped(Skip),
    /// The Pod is changed.
    Injected {
        /// How.
        patch: Patch,
        /// What of its annotations and labels has no effect.
        warnings: Vec<Finding>,
    },
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
        Decision::Inject(template) => {
            let warnings = advise(object)?;
            Ok(Outcome::Injected { patch: inject(object, namespace, template, settings)?, warnings })
        }
    }
}

/// What the support table says to a Pod: its warnings, or the first thing that it refuses.
fn advise(object: &Value) -> Result<Vec<Finding>, InjectError> {
    let metadata = &object["metadata"];
    let mut report = support::judge_metadata(metadata, support::On::Pod);
    let config = metadata["annotations"][annotations::PROXY_CONFIG].as_str();
    // What is no YAML is refused by injection, with the reason.
    if let Some(config) = config.and_then(|text| serde_saphyr::from_str::<Value>(text).ok()) {
        let place = format!("metadata.annotations[{}]", annotations::PROXY_CONFIG);
        report.extend(support::judge_pod_proxy_config(&config, &place));
    }
    match report.errors.into_iter().next() {
        Some(refused) => Err(InjectError::Unsupported(refused)),
        None => Ok(report.warnings),
    }
}
