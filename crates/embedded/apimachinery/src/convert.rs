//! Objects between the version that is served and the version that is stored.
//!
//! Versions of a custom resource differ in `apiVersion` only (conversion strategy `None`). The two Event kinds show
//! the same objects under different field names. HorizontalPodAutoscaler v1 knows only the CPU target; what else a v2
//! object measures is kept in an annotation while it passes through v1.

use serde_json::{Value, json};

use crate::resources::Resource;

/// Names of an Event's fields in the core form and in events.k8s.io.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// From the form of `resource` to the stored form.
pub fn to_storage(resource: &Resource, mut object: Value) -> Value {
    match (resource.group.as_str(), resource.version.as_str()) {
        ("events.k8s.io", _) => rename(&mut object, |core, new| (new, core)),
        ("autoscaling", "v1") => autoscaler_to_v2(&mut object),
        _ => {}
    }
    set_version(&mut object, &resource.storage.group, &resource.storage.version);
    object
}

/// From the stored form to the form of `resource`.
pub fn from_storage(resource: &Resource, mut object: Value) -> Value {
    match (resource.group.as_str(), resource.version.as_str()) {
        ("events.k8s.io", _) => rename(&mut object, |core, new| (core, new)),
        ("autoscaling", "v1") => autoscaler_to_v1(&mut object),
        _ => {}
    }
    set_version(&mut object, &resource.group, &resource.version);
    object
}

/// Annotation in which v1 carries the metrics that it has no field for.
const METRICS_ANNOTATION: &str = "autoscaling.alpha.kubernetes.io/metrics";

fn is_cpu_utilization(metric: &Value) -> bool {
    metric.pointer("/resource/name") == Some(&json!("cpu"))
        && metric.pointer("/resource/target/averageUtilization").is_some()
}

fn autoscaler_to_v2(object: &mut Value) {
    let kept = object
        .get_mut("metadata")
        .and_then(|m| m.get_mut("annotations"))
        .and_then(Value::as_object_mut)
        .and_then(|a| a.shift_remove(METRICS_ANNOTATION));
    let kept = kept.as_ref().and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok());
    let mut metrics = match kept {
        Some(Value::Array(metrics)) => metrics,
        _ => Vec::new(),
    };
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if let Some(percent) = spec.shift_remove("targetCPUUtilizationPercentage") {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        metrics.insert(0, json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    if !metrics.is_empty() {
        spec.insert("metrics".into(), Value::Array(metrics));
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.shift_remove("currentCPUUtilizationPercentage");
    }
}

fn autoscaler_to_v1(object: &mut Value) {
    let metrics =
        object.get_mut("spec").and_then(Value::as_object_mut).and_then(|s| s.shift_remove("metrics"));
    let Some(Value::Array(mut metrics)) = metrics else { return };
    if let Some(at) = metrics.iter().position(is_cpu_utilization) {
        let cpu = metrics.remove(at);
        if let Some(percent) = cpu.pointer("/resource/target/averageUtilization") {
            object["spec"]["targetCPUUtilizationPercentage"] = percent.clone();
        }
    }
    if !metrics.is_empty() {
        object["metadata"]["annotations"][METRICS_ANNOTATION] = json!(Value::Array(metrics).to_string());
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.retain(|k, _| !matches!(k.as_str(), "currentMetrics" | "conditions"));
    }
}

fn set_version(object: &mut Value, group: &str, version: &str) {
    if let Some(map) = object.as_object_mut() {
        map.insert("apiVersion".into(), json!(crate::gvk::GroupVersion::new(group, version).to_string()));
    }
}

fn rename(object: &mut Value, direction: fn(&'static str, &'static str) -> (&'static str, &'static str)) {
    let Some(map) = object.as_object_mut() else { return };
    for (core, new) in EVENT_FIELDS {
        let (from, to) = direction(core, new);
        if let Some(value) = map.shift_remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ResourceTable;

    #[test]
    fn autoscalers_have_two_versions() {
        let table = ResourceTable::builtin();
        let v1 = table.get("autoscaling", "v1", "horizontalpodautoscalers").unwrap();
        let object = json!({"apiVersion": "autoscaling/v1", "metadata": {"name": "a"},
            "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 80}});
        let mut stored = to_storage(v1, object.clone());
        assert_eq!(stored["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
        assert_eq!(from_storage(v1, stored.clone()), object);
        let memory = json!({"type": "Resource", "resource": {"name": "memory"}});
        stored["spec"]["metrics"].as_array_mut().unwrap().push(memory);
        assert_eq!(to_storage(v1, from_storage(v1, stored.clone()))["spec"], stored["spec"]);
    }

    #[test]
    fn events_have_two_forms() {
        let table = ResourceTable::builtin();
        let new = table.get("events.k8s.io", "v1", "events").unwrap();
        let object = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "regarding": {"name": "p"}, "note": "n"});
        let stored = to_storage(new, object.clone());
        assert_eq!(
            stored,
            json!({"apiVersion": "v1", "kind": "Event", "involvedObject": {"name": "p"}, "message": "n"})
        );
        assert_eq!(from_storage(new, stored), object);
    }
}
