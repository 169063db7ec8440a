//! Sidecar and gateway injection: what the mutating webhook does to a Pod (docs/reference/istiod.md).
//!
//! Pure: a Pod's JSON and the mesh's settings in, a JSON patch out. Pods are edited as JSON, so that fields which our
//! Kubernetes types do not know survive. A Pod that has been injected is left alone.

mod decide;
mod overlay;
mod pod;
mod probes;
mod proxy;
mod settings;
mod webhook;
mod workload;

#[cfg(test)]
mod tests;

use json_patch::Patch;
use k8s_openapi::api::core::v1::Pod;
use portolan_resources::validation::Finding;
use serde_json::{Value, json};

pub use decide::{Decision, NamespaceLabels, Skip, Template, decide};
pub use settings::InjectSettings;
pub use webhook::{Outcome, review};

use portolan_names::{annotations, labels, names};

/// Why a Pod can't be injected.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// The Pod is not what the API server would send.
    #[error("the Pod can't be read: {0}")]
    Pod(serde_json::Error),
    /// A generated part can't be written.
    #[error("the injected part can't be written: {0}")]
    Write(serde_json::Error),
    /// A bad annotation.
    #[error("annotation {annotation}: {reason}; correct the annotation of the Pod template")]
    Annotation {
        /// Its key.
        annotation: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Something that this mesh does not do, and that would be missed.
    #[error("{0}")]
    Unsupported(Finding),
    /// Capture in a way that this mesh does not know.
    #[error(
        "interceptionMode {0:?} is not supported: traffic is captured by REDIRECT only; correct defaultConfig in ConfigMap istio"
    )]
    Interception(String),
    /// A gateway template without a place to go.
    #[error(
        "the gateway template needs a container named {} in the Pod (image: auto); add it to the Pod template",
        names::PROXY_CONTAINER
    )]
    NoGatewayContainer,
}

/// Injects into a Pod. `namespace` is the one that it is created in, which the Pod itself may not say.
pub fn inject(
    original: &Value,
    namespace: &str,
    template: Template,
    settings: &InjectSettings,
) -> Result<Patch, InjectError> {
    let pod: Pod = serde_json::from_value(original.clone()).map_err(InjectError::Pod)?;
    let plan = workload::Plan::new(&pod, namespace, template, settings)?;

    let mut edited = original.clone();
    let mut containers = Vec::new();
    let mut init_containers = Vec::new();
    let mut rewritten = probes::AppProbes::default();

    if plan.rewrite_probes {
        rewritten = probes::rewrite(&mut edited, plan.status_port)?;
    }
    let prometheus = plan.merge_prometheus.then(|| pod::take_prometheus(&pod, plan.status_port));

    if let Some(init) = proxy::init_container(&plan, settings) {
        init_containers.push(init.name.clone());
        pod::add_container(&mut edited, "initContainers", to_json(&init)?, false);
    }
    let container = proxy::container(&plan, settings, &rewritten, prometheus.as_ref())?;
    containers.push(container.name.clone());
    pod::add_container(&mut edited, "containers", to_json(&container)?, plan.hold_application);

    let mut volumes = Vec::new();
    for volume in proxy::volumes() {
        volumes.push(volume.name.clone());
        pod::add_volume(&mut edited, to_json(&volume)?);
    }
    pod::default_fs_group(&mut edited, i64::from(names::PROXY_UID));

    pod::set_label(&mut edited, labels::TLS_MODE, labels::TLS_MODE_ISTIO);
    pod::set_label(&mut edited, labels::CANONICAL_NAME, &plan.canonical_name);
    pod::set_label(&mut edited, labels::CANONICAL_REVISION, &plan.canonical_revision);
    pod::set_label(&mut edited, labels::REVISION, &settings.revision);
    if let Some(prometheus) = &prometheus {
        for (key, value) in prometheus.annotations(plan.status_port) {
            pod::set_annotation(&mut edited, key, &value);
        }
    }
    if let Some(first) = plan.app_containers.first() {
        pod::default_annotation(&mut edited, "kubectl.kubernetes.io/default-container", first);
        pod::default_annotation(&mut edited, "kubectl.kubernetes.io/default-logs-container", first);
    }
    let status = json!({
        "initContainers": init_containers,
        "containers": containers,
        "volumes": volumes,
        "imagePullSecrets": null,
        "revision": settings.revision,
    });
    pod::set_annotation(&mut edited, annotations::SIDECAR_STATUS, &status.to_string());

    Ok(json_patch::diff(original, &edited))
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<Value, InjectError> {
    serde_json::to_value(value).map_err(InjectError::Write)
}
