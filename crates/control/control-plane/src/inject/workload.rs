//! What a Pod and its annotations say about the proxy that it gets.

use std::str::FromStr;

use k8s_openapi::api::core::v1::{ContainerPort, Pod};
use kube::ResourceExt;
use portolan_names::{annotations, labels, names, ports};
use serde_json::{Value, json};

use super::{InjectError, InjectSettings, Template};

/// Longest name of a workload that is taken from a Pod.
const POD_NAME_SUFFIX_SEPARATOR: char = '-';

/// How traffic is captured.
const REDIRECT: &str = "REDIRECT";

/// Everything that the template depends on.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) template: Template,
    pub(super) namespace: String,
    pub(super) workload: String,
    pub(super) owner: String,
    pub(super) canonical_name: String,
    pub(super) canonical_revision: String,
    pub(super) app_containers: Vec<String>,
    pub(super) pod_ports: String,
    pub(super) interception_mode: String,
    pub(super) status_port: u16,
    pub(super) rewrite_probes: bool,
    pub(super) merge_prometheus: bool,
    pub(super) hold_application: bool,
    pub(super) concurrency: Option<u64>,
    pub(super) proxy_config: Value,
    pub(super) envoy: bool,
    pub(super) pod_annotations: std::collections::BTreeMap<String, String>,
}

impl Plan {
    pub(super) fn new(
        pod: &Pod,
        namespace: &str,
        template: Template,
        settings: &InjectSettings,
    ) -> Result<Self, InjectError> {
        let annotation = |key: &str| pod.annotations().get(key).map(String::as_str);
        let proxy_config = proxy_config(annotation(annotations::PROXY_CONFIG), settings)?;
        let interception_mode = annotation(annotations::INTERCEPTION_MODE)
            .or_else(|| proxy_config["interceptionMode"].as_str())
            .unwrap_or(REDIRECT)
            .to_owned();
        // Nothing of a gateway is captured.
        if template == Template::Sidecar && interception_mode != REDIRECT {
            return Err(InjectError::Interception(interception_mode));
        }
        let (workload, owner) = owner(pod, namespace);
        let label = |keys: [&str; 3]| keys.iter().find_map(|key| pod.labels().get(*key).cloned());
        let canonical_name = label([labels::CANONICAL_NAME, labels::APP_KUBERNETES_NAME, labels::APP])
            .unwrap_or_else(|| workload.clone());
        let canonical_revision =
            label([labels::CANONICAL_REVISION, labels::APP_KUBERNETES_VERSION, labels::VERSION])
                .unwrap_or_else(|| "latest".to_owned());
        let spec = pod.spec.clone().unwrap_or_default();
        let apps: Vec<_> = spec.containers.iter().filter(|c| c.name != names::PROXY_CONTAINER).collect();
        let gateway = template == Template::Gateway;
        if gateway && !spec.containers.iter().any(|c| c.name == names::PROXY_CONTAINER) {
            return Err(InjectError::NoGatewayContainer);
        }
        let merge = settings.mesh.enable_prometheus_merge.unwrap_or(true)
            && annotation(annotations::MERGE_METRICS) != Some("false");
        Ok(Self {
            template,
            namespace: namespace.to_owned(),
            workload,
            owner,
            canonical_name,
            canonical_revision,
            app_containers: apps.iter().map(|c| c.name.clone()).collect(),
            pod_ports: pod_ports(apps.iter().flat_map(|c| c.ports.iter().flatten())),
            interception_mode,
            status_port: match annotation(annotations::STATUS_PORT) {
                Some(text) => number(annotations::STATUS_PORT, text)?,
                None => proxy_config["statusPort"]
                    .as_u64()
                    .and_then(|port| u16::try_from(port).ok())
                    .unwrap_or(ports::AGENT_STATUS),
            },
            rewrite_probes: !gateway && annotation(annotations::REWRITE_APP_HTTP_PROBERS) != Some("false"),
            merge_prometheus: merge,
            hold_application: !gateway && proxy_config["holdApplicationUntilProxyStarts"] == true,
            concurrency: proxy_config["concurrency"].as_u64(),
            envoy: annotation(annotations::PORTOLAN_PROXY) == Some(names::PROXY_ENVOY),
            proxy_config,
            pod_annotations: pod.annotations().clone(),
        })
    }

    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.pod_annotations.get(key).map(String::as_str)
    }

    /// A numeric annotation.
    pub(super) fn numeric<T: FromStr>(&self, key: &'static str, default: T) -> Result<T, InjectError> {
        self.annotation(key).map_or(Ok(default), |text| number(key, text))
    }
}

fn number<T: FromStr>(annotation: &'static str, text: &str) -> Result<T, InjectError> {
    text.trim().parse().map_err(|_| InjectError::Annotation {
        annotation,
        reason: format!("{text:?} is not a valid number"),
    })
}

/// The mesh's `defaultConfig` with the Pod's on top, object by object.
fn proxy_config(annotation: Option<&str>, settings: &InjectSettings) -> Result<Value, InjectError> {
    let mut config = match &*settings.default_config {
        config @ Value::Object(_) => config.clone(),
        _ => json!({}),
    };
    if config.get("discoveryAddress").is_none() {
        config["discoveryAddress"] = settings.mesh.default_config.discovery_address.clone().into();
    }
    if config.get("concurrency").is_none()
        && let Some(concurrency) = settings.mesh.default_config.concurrency
    {
        config["concurrency"] = concurrency.into();
    }
    if let Some(text) = annotation {
        let own: Value = serde_saphyr::from_str(text).map_err(|error| InjectError::Annotation {
            annotation: annotations::PROXY_CONFIG,
            reason: format!("not valid YAML: {error}"),
        })?;
        if !own.is_object() && !own.is_null() {
            return Err(InjectError::Annotation {
                annotation: annotations::PROXY_CONFIG,
                reason: "expected an object, for example {\"concurrency\": 1}".to_owned(),
            });
        }
        json_patch::merge(&mut config, &own);
        if !config.is_object() {
            config = json!({});
        }
    }
    Ok(config)
}

/// Name of the workload and its URL form: the Deployment behind a ReplicaSet, otherwise the controller, otherwise the
/// Pod itself.
fn owner(pod: &Pod, namespace: &str) -> (String, String) {
    let name = pod.metadata.name.clone().unwrap_or_else(|| {
        let generated = pod.metadata.generate_name.clone().unwrap_or_default();
        generated.trim_end_matches(POD_NAME_SUFFIX_SEPARATOR).to_owned()
    });
    let controller = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
    let Some(controller) = controller else {
        let url = format!("kubernetes://apis/v1/namespaces/{namespace}/pods/{name}");
        return (name, url);
    };
    let (kind, workload) = match (controller.kind.as_str(), pod.labels().get(labels::POD_TEMPLATE_HASH)) {
        ("ReplicaSet", Some(hash)) => match controller.name.strip_suffix(&format!("-{hash}")) {
            Some(deployment) => ("Deployment", deployment),
            None => ("ReplicaSet", controller.name.as_str()),
        },
        (kind, _) => (kind, controller.name.as_str()),
    };
    let url = format!(
        "kubernetes://apis/{}/namespaces/{namespace}/{}s/{workload}",
        controller.api_version,
        kind.to_ascii_lowercase()
    );
    (workload.to_owned(), url)
}

fn pod_ports<'a>(ports: impl Iterator<Item = &'a ContainerPort>) -> String {
    let ports: Vec<Value> = ports.filter_map(|port| serde_json::to_value(port).ok()).collect();
    Value::Array(ports).to_string()
}
