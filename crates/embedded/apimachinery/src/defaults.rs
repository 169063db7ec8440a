//! Default values of fields, as the real server fills them in: one function per kind, called after decoding and
//! after every patch, so that each must change nothing the second time.

mod pod;
mod services;
mod workloads;

use serde_json::{Map, Value, json};

use crate::resources::Resource;

pub use pod::admit_service_account;

/// Fills in the defaults of built-in kinds and of a custom resource's schema.
pub fn apply(resource: &Resource, object: &mut Value) {
    if let Some(custom) = &resource.custom {
        custom.apply_defaults(object);
        return;
    }
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => pod::pod(object),
        ("", "PodTemplate") => pod::template(object.get_mut("template")),
        ("", "ReplicationController") => workloads::replication_controller(object),
        ("apps", "Deployment") => workloads::deployment(object),
        ("apps", "ReplicaSet") => workloads::replica_set(object),
        ("apps", "StatefulSet") => workloads::stateful_set(object),
        ("apps", "DaemonSet") => workloads::daemon_set(object),
        ("batch", "Job") => workloads::job(object.get_mut("spec")),
        ("batch", "CronJob") => workloads::cron_job(object),
        ("autoscaling", _) => set(object, "/spec", "minReplicas", 1),
        ("", "Service") => services::service(object),
        ("", "Endpoints") => services::endpoints(object),
        ("discovery.k8s.io", _) => services::endpoint_slice(object),
        ("networking.k8s.io", "NetworkPolicy") => services::network_policy(object),
        ("networking.k8s.io", "Ingress") => services::ingress(object),
        ("", "Namespace") => namespace(object),
        ("", "Secret") => secret(object),
        ("", "PersistentVolumeClaim") => {
            set(object, "/spec", "volumeMode", "Filesystem");
            set(object, "/status", "phase", "Pending");
        }
        ("", "PersistentVolume") => {
            set(object, "/spec", "persistentVolumeReclaimPolicy", "Retain");
            set(object, "/spec", "volumeMode", "Filesystem");
            set(object, "/status", "phase", "Pending");
        }
        ("storage.k8s.io", _) => {
            set(object, "", "reclaimPolicy", "Delete");
            set(object, "", "volumeBindingMode", "Immediate");
        }
        ("scheduling.k8s.io", _) => set(object, "", "preemptionPolicy", "PreemptLowerPriority"),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => binding(object),
        ("admissionregistration.k8s.io", kind) => webhooks(object, kind.starts_with("Mutating")),
        ("apiextensions.k8s.io", _) => definition(object),
        _ => {}
    }
}

/// Sets `key` of the object at `pointer` unless it has a value; makes the object if `pointer` is one level deep.
fn set(object: &mut Value, pointer: &str, key: &str, value: impl Into<Value>) {
    if let Some(name) = pointer.strip_prefix('/').filter(|n| !n.contains('/'))
        && let Some(map) = object.as_object_mut()
    {
        map.entry(name).or_insert_with(|| json!({}));
    }
    if let Some(map) = object.pointer_mut(pointer).and_then(Value::as_object_mut) {
        set_in(map, key, value);
    }
}

/// Sets `key` unless it has a value; an empty text counts as none, as in Go.
fn set_in(map: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    let unset = match map.get(key) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    };
    if unset {
        map.insert(key.to_owned(), value.into());
    }
}

/// The objects in the list at `pointer`.
fn each<'a>(object: &'a mut Value, pointer: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let list = object.pointer_mut(pointer).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

fn namespace(object: &mut Value) {
    let name = object.pointer("/metadata/name").cloned().unwrap_or_default();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        let labels = metadata.entry("labels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert("kubernetes.io/metadata.name".into(), name);
        }
    }
    // A namespace that is being deleted loses its finalizer through /finalize and must not get it back.
    if object.pointer("/metadata/deletionTimestamp").is_none() {
        set(object, "/spec", "finalizers", json!(["kubernetes"]));
        set(object, "/status", "phase", "Active");
    }
}

fn secret(object: &mut Value) {
    use base64::Engine as _;
    let Some(map) = object.as_object_mut() else { return };
    set_in(map, "type", "Opaque");
    if let Some(Value::Object(texts)) = map.shift_remove("stringData") {
        let data = map.entry("data").or_insert_with(|| json!({}));
        if let Some(data) = data.as_object_mut() {
            for (key, text) in texts {
                let encoded =
                    base64::engine::general_purpose::STANDARD.encode(text.as_str().unwrap_or_default());
                data.insert(key, Value::String(encoded));
            }
        }
    }
}

fn binding(object: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    set(object, "/roleRef", "apiGroup", GROUP);
    for subject in each(object, "/subjects") {
        if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
            set_in(subject, "apiGroup", GROUP);
        }
    }
}

fn webhooks(object: &mut Value, mutating: bool) {
    for webhook in each(object, "/webhooks") {
        set_in(webhook, "matchPolicy", "Equivalent");
        set_in(webhook, "failurePolicy", "Fail");
        set_in(webhook, "namespaceSelector", json!({}));
        set_in(webhook, "objectSelector", json!({}));
        set_in(webhook, "timeoutSeconds", 10);
        if mutating {
            set_in(webhook, "reinvocationPolicy", "Never");
        }
        let rules = webhook.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten();
        for rule in rules.filter_map(Value::as_object_mut) {
            set_in(rule, "scope", "*");
        }
        let service = webhook.get_mut("clientConfig").and_then(|c| c.get_mut("service"));
        if let Some(service) = service.and_then(Value::as_object_mut) {
            set_in(service, "port", 443);
        }
    }
}

fn definition(object: &mut Value) {
    let kind = object.pointer("/spec/names/kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(names) = object.pointer_mut("/spec/names").and_then(Value::as_object_mut) {
        set_in(names, "singular", kind.to_lowercase());
        set_in(names, "listKind", format!("{kind}List"));
    }
    set(object, "/spec", "conversion", json!({"strategy": "None"}));
}

#[cfg(test)]
mod tests;
