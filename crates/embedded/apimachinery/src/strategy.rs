//! What the server itself decides about an object on its way to the store: metadata that clients may not set,
//! which half of the object a write may change, and `metadata.generation`.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::resources::Resource;
use crate::status::{ApiStatus, FieldError};

/// Facts that only the impure caller knows.
#[derive(Clone, Copy, Debug)]
pub struct Fresh<'a> {
    /// A new random UUID.
    pub uid: &'a str,
    /// RFC 3339 time.
    pub now: &'a str,
    /// Five or more random characters of [`NAME_ALPHABET`] for `generateName`.
    pub suffix: &'a str,
}

/// Characters of the suffix that `generateName` gets: no vowels, nothing that looks alike.
pub const NAME_ALPHABET: &str = "bcdfghjklmnpqrstvwxz2456789";

/// Names are at most this long, so that a generated one is cut before its suffix.
const MAX_GENERATED_PREFIX: usize = 58;

/// Metadata that only the server writes.
const SERVER_METADATA: &[&str] = &[
    "resourceVersion",
    "selfLink",
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// Makes a decoded object ready to be created: namespace from the path, name from `generateName`, uid,
/// creationTimestamp, generation 1; drops `status` where it is a sub-resource, and `resourceVersion`, `selfLink`,
/// deletion times.
///
/// # Errors
/// 400 when the namespaces of path and object differ, 422 when there is no name.
pub fn prepare_for_create(
    resource: &Resource,
    namespace: &str,
    object: &mut Value,
    fresh: Fresh<'_>,
) -> Result<(), ApiStatus> {
    let metadata = metadata_mut(object)?;
    if metadata.get("resourceVersion").and_then(Value::as_str).is_some_and(|v| !v.is_empty() && v != "0") {
        return Err(ApiStatus::bad_request("resourceVersion should not be set on objects to be created"));
    }
    for key in SERVER_METADATA {
        metadata.shift_remove(*key);
    }
    set_namespace(resource, namespace, metadata)?;
    let text =
        |key: &str| metadata.get(key).and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned);
    match (text("name"), text("generateName")) {
        (Some(_), _) => {}
        (None, Some(prefix)) => {
            let cut = prefix.char_indices().nth(MAX_GENERATED_PREFIX).map_or(prefix.len(), |(i, _)| i);
            let suffix: String = fresh.suffix.chars().take(5).collect();
            metadata.insert("name".into(), json!(format!("{}{suffix}", &prefix[..cut])));
        }
        (None, None) => {
            let error = FieldError::required("metadata.name", "name or generateName is required");
            return Err(ApiStatus::invalid(resource, "", &[error]));
        }
    }
    metadata.insert("uid".into(), json!(fresh.uid));
    metadata.insert("creationTimestamp".into(), json!(fresh.now));
    if resource.counts_generation || resource.custom.is_some() {
        metadata.insert("generation".into(), json!(1));
    }
    if resource.group == "batch" && resource.kind == "Job" {
        select_own_pods(object, fresh.uid);
    }
    if resource.has_status()
        && let Some(object) = object.as_object_mut()
    {
        object.shift_remove("status");
    }
    Ok(())
}

/// A Job finds its Pods by its uid unless it says `manualSelector`: the selector is made here.
fn select_own_pods(object: &mut Value, uid: &str) {
    const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
    const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
    let name = text_at(object, "name").to_owned();
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if spec.get("manualSelector") == Some(&Value::Bool(true)) {
        return;
    }
    spec.insert("selector".into(), json!({"matchLabels": {UID_LABEL: uid}}));
    let template = spec.get_mut("template").and_then(Value::as_object_mut);
    let metadata = template.map(|t| t.entry("metadata").or_insert_with(|| json!({})));
    let labels =
        metadata.and_then(Value::as_object_mut).map(|m| m.entry("labels").or_insert_with(|| json!({})));
    if let Some(labels) = labels.and_then(Value::as_object_mut) {
        for (label, value) in
            [(UID_LABEL, uid), (NAME_LABEL, &name), ("controller-uid", uid), ("job-name", &name)]
        {
            labels.insert(label.into(), json!(value));
        }
    }
}

/// Makes `new` ready to replace `old`: keeps immutable metadata, the half that the write may not touch
/// (`subresource` empty: status; `status`: everything else), sets `generation`.
///
/// # Errors
/// 409 when `new` states another uid or resourceVersion than `old` has; 400 for another name or namespace.
pub fn prepare_for_update(
    resource: &Resource,
    subresource: &str,
    old: &Value,
    new: &mut Value,
) -> Result<(), ApiStatus> {
    let name = text_at(old, "name").to_owned();
    let namespace = text_at(old, "namespace").to_owned();
    let old_metadata = old.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    let metadata = metadata_mut(new)?;
    match metadata.get("name").and_then(Value::as_str) {
        None | Some("") => {
            metadata.insert("name".into(), json!(name));
        }
        Some(given) if given != name => {
            return Err(ApiStatus::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({name})"
            )));
        }
        Some(_) => {}
    }
    set_namespace(resource, &namespace, metadata)?;
    let given_uid = metadata.get("uid").and_then(Value::as_str).unwrap_or_default();
    let uid = old_metadata.get("uid").and_then(Value::as_str).unwrap_or_default();
    if !given_uid.is_empty() && given_uid != uid {
        let why = format!("Precondition failed: UID in precondition: {given_uid}, UID in object meta: {uid}");
        return Err(ApiStatus::conflict(resource, &name, &why));
    }
    let given_version = metadata.get("resourceVersion").and_then(Value::as_str).unwrap_or_default();
    let version = old_metadata.get("resourceVersion").and_then(Value::as_str).unwrap_or_default();
    if !given_version.is_empty() && given_version != version {
        return Err(ApiStatus::stale(resource, &name));
    }
    for key in SERVER_METADATA {
        match old_metadata.get(*key) {
            Some(value) => metadata.insert((*key).to_owned(), value.clone()),
            None => metadata.shift_remove(*key),
        };
    }
    if let Some(value) = old_metadata.get("generateName") {
        metadata.insert("generateName".into(), value.clone());
    }
    keep_other_half(resource, subresource, old, new);
    if resource.group.is_empty() && resource.kind == "Service" {
        drop_allocations(old, new);
        keep_allocations(old, new);
    }
    bump_generation(resource, old, new);
    Ok(())
}

/// Whether a write changes anything: everything but resourceVersion and the times of `managedFields` is compared.
/// An unchanged object is not stored, so that its resourceVersion stays.
pub fn is_unchanged(old: &Value, new: &Value) -> bool {
    comparable(old) == comparable(new)
}

fn comparable(object: &Value) -> Value {
    let mut copy = object.clone();
    if let Some(metadata) = copy.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("resourceVersion");
        for entry in metadata.get_mut("managedFields").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(entry) = entry.as_object_mut() {
                entry.shift_remove("time");
            }
        }
    }
    copy
}

fn metadata_mut(object: &mut Value) -> Result<&mut Map<String, Value>, ApiStatus> {
    let Some(object) = object.as_object_mut() else {
        return Err(ApiStatus::bad_request("the body must be an object"));
    };
    let metadata = object.entry("metadata").or_insert_with(|| json!({}));
    metadata.as_object_mut().ok_or_else(|| ApiStatus::bad_request("metadata must be an object"))
}

fn set_namespace(
    resource: &Resource,
    namespace: &str,
    metadata: &mut Map<String, Value>,
) -> Result<(), ApiStatus> {
    let given = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
    if !resource.namespaced {
        metadata.shift_remove("namespace");
        return Ok(());
    }
    if !given.is_empty() && given != namespace {
        return Err(ApiStatus::bad_request(format!(
            "the namespace of the provided object does not match the namespace sent on the request ({given} and {namespace})"
        )));
    }
    metadata.insert("namespace".into(), json!(namespace));
    Ok(())
}

fn text_at<'a>(object: &'a Value, key: &str) -> &'a str {
    object.pointer("/metadata").and_then(|m| m.get(key)).and_then(Value::as_str).unwrap_or_default()
}

fn keep_other_half(resource: &Resource, subresource: &str, old: &Value, new: &mut Value) {
    let (Some(old), Some(map)) = (old.as_object(), new.as_object_mut()) else { return };
    if subresource == "status" {
        // Only status and a few pieces of metadata come from the writer.
        let mut kept = old.clone();
        match map.get("status") {
            Some(status) => kept.insert("status".into(), status.clone()),
            None => kept.shift_remove("status"),
        };
        let mut metadata = old.get("metadata").cloned().unwrap_or_else(|| json!({}));
        for key in ["labels", "annotations", "finalizers", "managedFields"] {
            // Custom resources take no metadata through /status; built-in kinds do.
            let takes = resource.custom.is_none() || key == "managedFields";
            match (takes, map.get("metadata").and_then(|m| m.get(key)), metadata.as_object_mut()) {
                (true, Some(value), Some(metadata)) => {
                    metadata.insert(key.into(), value.clone());
                }
                (true, None, Some(metadata)) => {
                    metadata.shift_remove(key);
                }
                _ => {}
            }
        }
        kept.insert("metadata".into(), metadata);
        *map = kept;
    } else if subresource.is_empty() && resource.has_status() {
        match old.get("status") {
            Some(status) => map.insert("status".into(), status.clone()),
            None => map.shift_remove("status"),
        };
    }
}

/// A Service that changes its type gives up what the new type has no use for, if the client has left it as it was: a
/// patch of the type alone is enough.
fn drop_allocations(old: &Value, new: &mut Value) {
    let kind = |spec: &Map<String, Value>| {
        spec.get("type")
            .and_then(Value::as_str)
            .filter(|kind| !kind.is_empty())
            .unwrap_or("ClusterIP")
            .to_owned()
    };
    let (Some(old), Some(new)) =
        (old.get("spec").and_then(Value::as_object), new.get_mut("spec").and_then(Value::as_object_mut))
    else {
        return;
    };
    let (before, after) = (kind(old), kind(new));
    if before != "ExternalName" && after == "ExternalName" && old.get("clusterIP") == new.get("clusterIP") {
        new.retain(|key, _| {
            !matches!(key.as_str(), "clusterIP" | "clusterIPs" | "ipFamilies" | "ipFamilyPolicy")
        });
    }
    let has_node_ports = |kind: &str| matches!(kind, "NodePort" | "LoadBalancer");
    if !has_node_ports(&before) || has_node_ports(&after) {
        return;
    }
    let ports = |spec: &Map<String, Value>| spec.get("ports").and_then(Value::as_array).cloned();
    let node_ports = |list: Option<Vec<Value>>| -> Vec<Option<i64>> {
        list.iter().flatten().map(|port| port.as_object().and_then(node_port)).collect()
    };
    if node_ports(ports(old)) == node_ports(ports(new)) {
        for port in new.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(port) = port.as_object_mut() {
                port.shift_remove("nodePort");
            }
        }
    }
    if before == "LoadBalancer" {
        new.shift_remove("allocateLoadBalancerNodePorts");
    }
}

/// A Service that is replaced without saying its addresses and node ports keeps those it was given.
fn keep_allocations(old: &Value, new: &mut Value) {
    let has_ip = |kind: Option<&Value>| kind.and_then(Value::as_str) != Some("ExternalName");
    let (old_spec, Some(spec)) = (old.get("spec"), new.get_mut("spec").and_then(Value::as_object_mut)) else {
        return;
    };
    let before = |key: &str| old_spec.and_then(|s| s.get(key)).cloned();
    if !has_ip(spec.get("type")) || !has_ip(before("type").as_ref()) {
        return;
    }
    let same_type = spec.get("type").is_none_or(|t| Some(t) == before("type").as_ref());
    if spec.get("clusterIP").and_then(Value::as_str).unwrap_or_default().is_empty() {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if let Some(value) = before(key) {
                spec.insert(key.into(), value);
            }
        }
    }
    let old_ports = before("ports").and_then(|p| p.as_array().cloned()).unwrap_or_default();
    let mut node_ports = HashMap::new();
    for port in old_ports.iter().filter_map(Value::as_object) {
        if let Some(number) = node_port(port) {
            node_ports.entry(served_port(port)).or_insert(number);
        }
    }
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten();
    for port in ports.filter_map(Value::as_object_mut).filter(|_| same_type) {
        if node_port(port).is_none()
            && let Some(number) = node_ports.get(&served_port(port))
        {
            port.insert("nodePort".into(), json!(number));
        }
    }
}

/// What tells the ports of a Service apart.
fn served_port(port: &Map<String, Value>) -> (Option<i64>, String) {
    let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
    (port.get("port").and_then(Value::as_i64), protocol.to_owned())
}

/// The node port of a Service's port, if it has one.
fn node_port(port: &Map<String, Value>) -> Option<i64> {
    port.get("nodePort").and_then(Value::as_i64).filter(|number| *number != 0)
}

/// `generation` rises when anything but metadata and status changes.
fn bump_generation(resource: &Resource, old: &Value, new: &mut Value) {
    if !(resource.counts_generation || resource.custom.is_some()) {
        return;
    }
    let body = |object: &Value| {
        let mut map = object.as_object().cloned().unwrap_or_default();
        map.retain(|k, _| !matches!(k.as_str(), "metadata" | "apiVersion" | "kind"));
        if resource.has_status() {
            map.shift_remove("status");
        }
        map
    };
    let generation = old.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(1);
    let changed = body(old) != body(new);
    if let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("generation".into(), json!(generation + i64::from(changed)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ResourceTable;

    const FRESH: Fresh<'_> = Fresh { uid: "u1", now: "2024-01-01T00:00:00Z", suffix: "bcdfg" };

    fn resource(plural: &str) -> std::sync::Arc<Resource> {
        ResourceTable::builtin().iter().find(|r| r.plural == plural).unwrap().clone()
    }

    #[test]
    fn create_fills_metadata() {
        let deployments = resource("deployments");
        let mut object = json!({"metadata": {"generateName": "web-"}, "spec": {}, "status": {"replicas": 3}});
        prepare_for_create(&deployments, "ns", &mut object, FRESH).unwrap();
        let metadata = json!({"generateName": "web-", "namespace": "ns", "name": "web-bcdfg", "uid": "u1",
            "creationTimestamp": "2024-01-01T00:00:00Z", "generation": 1});
        assert_eq!(object, json!({"metadata": metadata, "spec": {}}));
        let mut elsewhere = json!({"metadata": {"name": "a", "namespace": "other"}});
        assert_eq!(prepare_for_create(&deployments, "ns", &mut elsewhere, FRESH).unwrap_err().code, 400);
        assert_eq!(prepare_for_create(&deployments, "ns", &mut json!({}), FRESH).unwrap_err().code, 422);
    }

    #[test]
    fn services_keep_what_they_were_given() {
        let old = json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "clusterIP": "10.0.0.1",
            "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30001}]}});
        let mut new = json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]}});
        prepare_for_update(&resource("services"), "", &old, &mut new).unwrap();
        assert_eq!(new["spec"]["clusterIP"], "10.0.0.1");
        assert_eq!(new["spec"]["ports"], json!([{"port": 80, "nodePort": 30001}, {"port": 81}]));
    }

    #[test]
    fn services_give_up_what_their_new_type_has_no_use_for() {
        let old = json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "clusterIP": "10.0.0.1",
            "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"], "ports": [{"port": 80, "nodePort": 30001}]}});
        let patched = |spec: Value| {
            let mut new = old.clone();
            for (key, value) in spec.as_object().unwrap() {
                new["spec"][key] = value.clone();
            }
            prepare_for_update(&resource("services"), "", &old, &mut new).unwrap();
            new["spec"].clone()
        };
        let spec = patched(json!({"type": "ExternalName", "externalName": "example.com"}));
        assert_eq!(
            spec,
            json!({"type": "ExternalName", "externalName": "example.com", "ports": [{"port": 80}]})
        );
        let spec = patched(json!({"type": "ClusterIP"}));
        assert_eq!(spec["clusterIP"], "10.0.0.1");
        assert_eq!(spec["ports"], json!([{"port": 80}]));
        // What the client has set itself is for validation to refuse.
        let spec = patched(json!({"type": "ClusterIP", "ports": [{"port": 80, "nodePort": 30002}]}));
        assert_eq!(spec["ports"], json!([{"port": 80, "nodePort": 30002}]));
    }

    #[test]
    fn jobs_select_their_pods() {
        let mut job = json!({"metadata": {"name": "j"}, "spec": {"template": {"spec": {}}}});
        prepare_for_create(&resource("jobs"), "ns", &mut job, FRESH).unwrap();
        assert_eq!(job["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"], "u1");
        assert_eq!(job["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
    }

    #[test]
    fn update_keeps_the_other_half() {
        let deployments = resource("deployments");
        let old = json!({"metadata": {"name": "a", "namespace": "ns", "uid": "u1", "generation": 1},
            "spec": {"replicas": 1}, "status": {"replicas": 1}});
        let mut new = json!({"metadata": {"name": "a"}, "spec": {"replicas": 2}, "status": {"replicas": 9}});
        prepare_for_update(&deployments, "", &old, &mut new).unwrap();
        assert_eq!(new["status"]["replicas"], 1);
        assert_eq!(new["metadata"]["generation"], 2);
        let mut new = json!({"metadata": {"name": "a"}, "spec": {"replicas": 2}, "status": {"replicas": 9}});
        prepare_for_update(&deployments, "status", &old, &mut new).unwrap();
        assert_eq!((&new["spec"]["replicas"], &new["status"]["replicas"]), (&json!(1), &json!(9)));
        assert_eq!(new["metadata"]["generation"], 1);
        let mut other = json!({"metadata": {"name": "a", "uid": "u2"}});
        assert_eq!(prepare_for_update(&deployments, "", &old, &mut other).unwrap_err().code, 409);
        let mut stale = json!({"metadata": {"name": "a", "resourceVersion": "1"}});
        assert_eq!(prepare_for_update(&deployments, "", &old, &mut stale).unwrap_err().reason, "Conflict");
        let mut renamed = json!({"metadata": {"name": "b"}});
        assert_eq!(prepare_for_update(&deployments, "", &old, &mut renamed).unwrap_err().code, 400);
    }
}
