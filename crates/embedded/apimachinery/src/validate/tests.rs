//! Objects that people get wrong, and the texts they see.

mod config;
mod metadata;
mod pods;
mod services;
mod workloads;

use super::*;
use crate::status::ApiStatus;
use crate::{ResourceTable, defaults};
use serde_json::json;

fn resource(plural: &str) -> std::sync::Arc<Resource> {
    ResourceTable::builtin().iter().find(|r| r.plural == plural).unwrap().clone()
}

fn object(plural: &str, mut object: Value) -> Value {
    let resource = resource(plural);
    if object.pointer("/metadata/name").is_none() {
        object["metadata"]["name"] = json!("a");
    }
    if resource.namespaced {
        object["metadata"]["namespace"] = json!("n");
    }
    defaults::apply(&resource, &mut object);
    object
}

fn faults(plural: &str, body: Value) -> Vec<String> {
    create(&resource(plural), &object(plural, body)).iter().map(ToString::to_string).collect()
}

fn changes(plural: &str, old: Value, new: Value) -> Vec<String> {
    let errors = update(&resource(plural), "", &object(plural, old), &object(plural, new));
    errors.iter().map(ToString::to_string).collect()
}

fn deployment(labels: Value) -> Value {
    json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": labels},
        "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

#[test]
fn good_objects_pass() {
    for (plural, body) in [
        ("deployments", deployment(json!({"a": "b"}))),
        (
            "pods",
            json!({"spec": {"containers": [{"name": "c", "image": "i", "volumeMounts": [
            {"name": "v", "mountPath": "/x"}]}], "volumes": [{"name": "v"}]}}),
        ),
        ("services", json!({"spec": {"ports": [{"port": 80, "targetPort": "http"}]}})),
        ("services", json!({"spec": {"clusterIP": "None"}})),
        ("configmaps", json!({"data": {"a.b": "c"}})),
        (
            "clusterroles",
            json!({"metadata": {"name": "system:x"}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}),
        ),
        ("namespaces", json!({})),
    ] {
        assert_eq!(faults(plural, body), Vec::<String>::new(), "{plural}");
    }
}

#[test]
fn common_mistakes_are_named() {
    for (plural, body, want) in [
        (
            "deployments",
            deployment(json!({"a": "x"})),
            "spec.template.metadata.labels: Invalid value: {\"a\":\"x\"}: `selector` does not match template `labels`",
        ),
        ("pods", json!({"spec": {}}), "spec.containers: Required value"),
        (
            "pods",
            json!({"spec": {"containers": [{"name": "c"}]}}),
            "spec.containers[0].image: Required value",
        ),
        (
            "pods",
            json!({"spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 70000}]}]}}),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            "pods",
            json!({"spec": {"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/"}]}]}}),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            "pods",
            json!({"spec": {"restartPolicy": "Maybe", "containers": [{"name": "c", "image": "i"}]}}),
            "spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ),
        ("services", json!({"spec": {}}), "spec.ports: Required value"),
        (
            "services",
            json!({"spec": {"ports": [{"port": 80, "nodePort": 30000}]}}),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            "secrets",
            json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}),
            "data[tls.key]: Required value",
        ),
        (
            "rolebindings",
            json!({"roleRef": {"kind": "Foo", "name": "x"}}),
            "roleRef.kind: Unsupported value: \"Foo\": supported values: \"Role\", \"ClusterRole\"",
        ),
        (
            "configmaps",
            json!({"metadata": {"name": "a", "labels": {"a b": "c"}}}),
            "metadata.labels: Invalid value: \"a b\": name part must consist of",
        ),
        (
            "configmaps",
            json!({"metadata": {"name": "A"}}),
            "metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of",
        ),
    ] {
        let got = faults(plural, body);
        assert!(got.len() == 1 && got[0].starts_with(want), "{plural}: {got:?}");
    }
}

#[test]
fn some_fields_never_change() {
    let mut other = deployment(json!({"a": "b", "x": "y"}));
    other["spec"]["selector"]["matchLabels"]["x"] = json!("y");
    let got = changes("deployments", deployment(json!({"a": "b"})), other);
    assert_eq!(
        got,
        ["spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\",\"x\":\"y\"}}: field is immutable"]
    );
    let pod = |image: &str, command: &str| json!({"spec": {"containers": [{"name": "c", "image": image, "command": [command]}]}});
    assert_eq!(changes("pods", pod("a:1", "x"), pod("b:1", "x")), Vec::<String>::new());
    assert!(
        changes("pods", pod("a:1", "x"), pod("a:1", "y"))[0]
            .starts_with("spec: Forbidden: pod updates may not")
    );
    let service = |ip: &str| json!({"spec": {"clusterIP": ip, "ports": [{"port": 1}]}});
    assert_eq!(
        changes("services", service("10.0.0.1"), service("10.0.0.2")),
        ["spec.clusterIPs[0]: Invalid value: \"10.0.0.2\": may not change once set"]
    );
    let frozen = json!({"immutable": true, "data": {"a": "1"}});
    assert_eq!(changes("configmaps", frozen, json!({"immutable": true, "data": {}})).len(), 1);
    let going = json!({"metadata": {"name": "a", "deletionTimestamp": "x", "finalizers": ["a/b"]}});
    let more = json!({"metadata": {"name": "a", "deletionTimestamp": "x", "finalizers": ["a/b", "c/d"]}});
    assert!(changes("configmaps", going, more)[0].contains("no new finalizers can be added"));
}

#[test]
fn the_status_of_an_invalid_object() {
    let resource = resource("deployments");
    let errors = create(
        &resource,
        &object("deployments", json!({"spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}})),
    );
    let status = ApiStatus::invalid(&resource, "a", &errors).to_value();
    assert_eq!(
        status,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "Deployment.apps \"a\" is invalid: [spec.selector: Required value, spec.template.spec.containers[0].image: Required value]",
            "reason": "Invalid",
            "details": {"name": "a", "group": "apps", "kind": "Deployment", "causes": [
                {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.selector"},
                {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.template.spec.containers[0].image"}]},
            "code": 422})
    );
}

/// Each object has just this one fault, which begins like this.
#[track_caller]
fn each(plural: &str, table: &[(Value, &str)]) {
    for (body, want) in table {
        let got = faults(plural, body.clone());
        assert!(got.len() == 1 && got[0].starts_with(want), "{plural} {body}: {got:?}, not {want}");
    }
}

#[test]
fn fields_that_never_change_by_kind() {
    let at = |pointer: &[&str], value: &str| {
        pointer.iter().rev().fold(json!(value), |inner, key| json!({ *key: inner }))
    };
    for (plural, pointer, why) in [
        ("replicasets", &["spec", "selector"][..], "field is immutable"),
        ("daemonsets", &["spec", "selector"], "field is immutable"),
        ("statefulsets", &["spec", "serviceName"], "field is immutable"),
        ("jobs", &["spec", "completionMode"], "field is immutable"),
        ("rolebindings", &["roleRef"], "cannot change roleRef"),
        ("clusterrolebindings", &["roleRef"], "cannot change roleRef"),
        ("secrets", &["type"], "field is immutable"),
        ("endpointslices", &["addressType"], "field is immutable"),
        ("customresourcedefinitions", &["spec", "group"], "field is immutable"),
        ("customresourcedefinitions", &["spec", "scope"], "field is immutable"),
        ("customresourcedefinitions", &["spec", "names", "plural"], "field is immutable"),
    ] {
        let mut errors = Vec::new();
        immutable(&resource(plural), &at(pointer, "a"), &at(pointer, "b"), &mut errors);
        let want = format!("{}: Invalid value: \"b\": {why}", pointer.join("."));
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [want], "{plural}");
        errors.clear();
        immutable(&resource(plural), &at(pointer, "a"), &at(pointer, "a"), &mut errors);
        immutable(&resource(plural), &json!({}), &at(pointer, "a"), &mut errors);
        assert!(errors.is_empty(), "{plural}: {errors:?}");
    }
}
