//! What this cluster stores and does not act upon: no controller, no part of the node reads it. Who creates such an object
//! is told so, with the answer.

use portolan_apimachinery::resources::Resource;
use serde_json::Value;

/// Kinds that are stored and nothing more: API group, kind, and what does not happen.
const KINDS: [(&str, &str, &str); 16] = [
    ("", "LimitRange", "no default and no limit of it is applied"),
    ("", "PersistentVolume", "nothing mounts it"),
    ("", "PersistentVolumeClaim", "it stays Pending, and Pods that use it do not start"),
    ("", "ReplicationController", "no Pod is created: use a Deployment"),
    ("", "ResourceQuota", "nothing is limited by it"),
    ("apiregistration.k8s.io", "APIService", "requests are not passed on to another API server"),
    ("apps", "DaemonSet", "no Pod is created: this cluster has one node, so that a Deployment does the same"),
    ("apps", "StatefulSet", "no Pod is created: use a Deployment where names need not last"),
    ("autoscaling", "HorizontalPodAutoscaler", "nothing is scaled by it"),
    ("batch", "CronJob", "no Job is created"),
    ("batch", "Job", "no Pod is created: use a Pod, or a Deployment"),
    ("networking.k8s.io", "Ingress", "no gateway serves it: use a Gateway and a VirtualService"),
    ("networking.k8s.io", "IngressClass", "no controller serves Ingresses"),
    (
        "networking.k8s.io",
        "NetworkPolicy",
        "IT ISOLATES NOTHING: use an AuthorizationPolicy for workloads in the mesh",
    ),
    ("policy", "PodDisruptionBudget", "evictions are not held back by it"),
    ("scheduling.k8s.io", "PriorityClass", "no Pod is preferred to another"),
];

/// Warnings for an object that is being created: that its kind, or something that it asks for, has no effect here.
pub(crate) fn warnings(resource: &Resource, object: &Value) -> Vec<String> {
    let group = resource.group.as_str();
    let kind = resource.kind.as_str();
    if let Some((_, _, consequence)) = KINDS.iter().find(|known| (known.0, known.1) == (group, kind)) {
        return vec![format!(
            "this cluster has no controller for kind {kind}; the object is stored, and {consequence}"
        )];
    }
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let mut found = Vec::new();
    match (group, kind) {
        ("", "Secret") if text("/type") == "kubernetes.io/service-account-token" => found.push(
            "type: no controller of this cluster puts a token into the Secret; `kubectl create token` makes one".to_owned(),
        ),
        ("", "Service") if text("/spec/type") == "NodePort" => {
            found.push("spec.type: node ports are not served by this cluster; use LoadBalancer".to_owned());
        }
        ("rbac.authorization.k8s.io", "ClusterRole") if object.get("aggregationRule").is_some_and(|rule| !rule.is_null()) => {
            found.push("aggregationRule: no controller of this cluster gathers the rules of other roles".to_owned());
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") if has_expressions(object.pointer("/spec/versions")) => {
            found.push(
                "spec.versions: x-kubernetes-validations are not evaluated by this cluster; objects that break them are accepted"
                    .to_owned(),
            );
        }
        _ => {}
    }
    found
}

/// Whether a schema has validation expressions somewhere.
fn has_expressions(schema: Option<&Value>) -> bool {
    let mut left: Vec<&Value> = schema.into_iter().collect();
    while let Some(value) = left.pop() {
        match value {
            Value::Object(fields) => {
                if fields.get("x-kubernetes-validations").is_some_and(Value::is_array) {
                    return true;
                }
                left.extend(fields.values());
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use portolan_apimachinery::gvk::GroupVersionKind;
    use portolan_apimachinery::resources::ResourceTable;
    use serde_json::json;

    use super::*;

    fn warned(object: &Value) -> Vec<String> {
        let table = ResourceTable::builtin();
        let gvk = GroupVersionKind::of(object).expect("an object");
        warnings(table.by_kind(&gvk).expect("a kind that is served"), object)
    }

    #[test]
    fn every_kind_of_the_list_is_served() {
        let table = ResourceTable::builtin();
        for (group, kind, _) in KINDS {
            assert!(table.iter().any(|known| known.group == group && known.kind == kind), "{group}/{kind}");
        }
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let jobs = warned(&json!({"apiVersion": "batch/v1", "kind": "Job"}));
        assert_eq!(
            jobs,
            [
                "this cluster has no controller for kind Job; the object is stored, and no Pod is created: use a Pod, or a Deployment"
            ]
        );
        let node_port = json!({"apiVersion": "v1", "kind": "Service", "spec": {"type": "NodePort"}});
        assert!(warned(&node_port)[0].starts_with("spec.type: "));
        let token =
            json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token"});
        assert!(warned(&token)[0].starts_with("type: "));
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "aggregationRule": {}});
        assert!(warned(&role)[0].starts_with("aggregationRule: "));
        let schema = json!({"openAPIV3Schema": {"properties": {"a": {"x-kubernetes-validations": [{"rule": "true"}]}}}});
        let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "spec": {"versions": [{"name": "v1", "schema": schema}]}});
        assert!(warned(&crd)[0].contains("x-kubernetes-validations"));
    }

    #[test]
    fn what_works_is_not_warned_of() {
        for (version, kind) in [("v1", "Pod"), ("v1", "Service"), ("v1", "Secret"), ("apps/v1", "Deployment")]
        {
            assert!(warned(&json!({"apiVersion": version, "kind": kind})).is_empty(), "{kind}");
        }
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "aggregationRule": null});
        assert!(warned(&role).is_empty());
    }
}
