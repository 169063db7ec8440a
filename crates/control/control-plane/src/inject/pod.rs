//! Edits of a Pod's JSON. The caller has read it as a Pod before, so that objects are objects and indexing is safe.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use portolan_names::annotations;
use serde_json::{Value, json};

use super::overlay::overlay;

/// Has `edit` change the list at `spec.<key>`, which is made when missing.
fn edit_list(pod: &mut Value, key: &str, edit: impl FnOnce(&mut Vec<Value>)) {
    let mut items = match pod["spec"][key].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    };
    edit(&mut items);
    pod["spec"][key] = Value::Array(items);
}

pub(super) fn set_label(pod: &mut Value, key: &str, value: &str) {
    pod["metadata"]["labels"][key] = value.into();
}

pub(super) fn set_annotation(pod: &mut Value, key: &str, value: &str) {
    pod["metadata"]["annotations"][key] = value.into();
}

pub(super) fn default_annotation(pod: &mut Value, key: &str, value: &str) {
    if pod["metadata"]["annotations"].get(key).is_none() {
        set_annotation(pod, key, value);
    }
}

/// Adds a container; one of the same name that the user wrote is kept and completed.
pub(super) fn add_container(pod: &mut Value, list: &str, container: Value, first: bool) {
    edit_list(pod, list, |containers| {
        match containers.iter_mut().find(|existing| existing["name"] == container["name"]) {
            Some(existing) => *existing = overlay(container, existing),
            None if first => containers.insert(0, container),
            None => containers.push(container),
        }
    });
}

/// Adds a volume unless there is one of that name.
pub(super) fn add_volume(pod: &mut Value, volume: Value) {
    edit_list(pod, "volumes", |volumes| {
        if !volumes.iter().any(|existing| existing["name"] == volume["name"]) {
            volumes.push(volume);
        }
    });
}

/// The projected token must be readable for the proxy's user.
pub(super) fn default_fs_group(pod: &mut Value, group: i64) {
    if pod["spec"]["securityContext"]["fsGroup"].is_null() {
        pod["spec"]["securityContext"]["fsGroup"] = group.into();
    }
}

/// The application's own Prometheus annotations, before the agent takes their place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Prometheus {
    /// As the agent gets them: `{"scrape", "path", "port"}`; nothing when the application has no metrics.
    pub(super) original: Option<Value>,
    refused: bool,
}

impl Prometheus {
    /// Annotations that make Prometheus scrape the agent.
    pub(super) fn annotations(&self, status_port: u16) -> Vec<(&'static str, String)> {
        if self.refused {
            return Vec::new();
        }
        vec![
            (annotations::PROMETHEUS_SCRAPE, "true".to_owned()),
            (annotations::PROMETHEUS_PORT, status_port.to_string()),
            (annotations::PROMETHEUS_PATH, "/stats/prometheus".to_owned()),
        ]
    }
}

pub(super) fn take_prometheus(pod: &Pod, status_port: u16) -> Prometheus {
    let get = |key: &str| pod.annotations().get(key).map(String::as_str);
    match get(annotations::PROMETHEUS_SCRAPE) {
        Some("false") => Prometheus { original: None, refused: true },
        // Points at the agent already: nothing to merge.
        Some("true") if get(annotations::PROMETHEUS_PORT) == Some(status_port.to_string().as_str()) => {
            Prometheus::default()
        }
        Some("true") => Prometheus {
            original: Some(json!({
                "scrape": "true",
                "path": get(annotations::PROMETHEUS_PATH).unwrap_or_default(),
                "port": get(annotations::PROMETHEUS_PORT).unwrap_or_default(),
            })),
            refused: false,
        },
        _ => Prometheus::default(),
    }
}
