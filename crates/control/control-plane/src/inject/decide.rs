//! Whether a Pod is injected, and with which template.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use portolan_names::{annotations, labels};

/// Labels of the Pod's namespace.
pub type NamespaceLabels = BTreeMap<String, String>;

/// Namespaces of the cluster itself.
const IGNORED_NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];

/// What is put into the Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// A sidecar with traffic capture.
    Sidecar,
    /// A gateway, into the Pod's own container `istio-proxy`.
    Gateway,
}

/// Why a Pod is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// The host's network can't be captured.
    HostNetwork,
    /// A namespace of the cluster itself, or one that opted out for good.
    IgnoredNamespace,
    /// Was injected before.
    AlreadyInjected,
    /// The Pod says no.
    PodRefuses,
    /// The namespace says no.
    NamespaceRefuses,
    /// Nobody asked for it.
    NotRequested,
}

impl Skip {
    /// For logs and answers.
    pub fn reason(self) -> &'static str {
        match self {
            Self::HostNetwork => "the Pod uses the host's network",
            Self::IgnoredNamespace => "the namespace is excluded from injection",
            Self::AlreadyInjected => "the Pod has been injected already",
            Self::PodRefuses => "sidecar.istio.io/inject is false on the Pod",
            Self::NamespaceRefuses => "istio-injection is disabled on the namespace",
            Self::NotRequested => "neither the Pod nor its namespace asks for injection",
        }
    }
}

/// The decision about one Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Leave it alone.
    Skip(Skip),
    /// Inject.
    Inject(Template),
}

/// Decides. The Pod's label wins over its annotation, that over the namespace; nobody asking means no
/// (docs/reference/istiod.md, "Injection").
pub fn decide(pod: &Pod, namespace: &str, namespace_labels: &NamespaceLabels, revision: &str) -> Decision {
    if pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true) {
        return Decision::Skip(Skip::HostNetwork);
    }
    if IGNORED_NAMESPACES.contains(&namespace) || namespace_labels.contains_key(labels::IGNORE_NAMESPACE) {
        return Decision::Skip(Skip::IgnoredNamespace);
    }
    if pod.annotations().contains_key(annotations::SIDECAR_STATUS) {
        return Decision::Skip(Skip::AlreadyInjected);
    }
    let wish =
        pod.labels().get(labels::SIDECAR_INJECT).and_then(|value| yes_or_no(value)).or_else(|| {
            pod.annotations().get(annotations::SIDECAR_INJECT).and_then(|value| yes_or_no(value))
        });
    match wish {
        Some(true) => {}
        Some(false) => return Decision::Skip(Skip::PodRefuses),
        None => {
            let revision_matches = |set: &BTreeMap<String, String>| {
                set.get(labels::REVISION).is_some_and(|value| value == revision)
            };
            match namespace_labels.get(labels::INJECTION).map(String::as_str) {
                Some("disabled") => return Decision::Skip(Skip::NamespaceRefuses),
                Some("enabled") => {}
                _ if revision_matches(namespace_labels) || revision_matches(pod.labels()) => {}
                _ => return Decision::Skip(Skip::NotRequested),
            }
        }
    }
    let gateway = pod
        .annotations()
        .get(annotations::INJECT_TEMPLATES)
        .is_some_and(|names| names.split(',').any(|name| name.trim() == "gateway"));
    Decision::Inject(if gateway { Template::Gateway } else { Template::Sidecar })
}

/// YAML 1.1's ways to say it, which is what Istio accepts.
fn yes_or_no(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" | "true" | "on" => Some(true),
        "n" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}
