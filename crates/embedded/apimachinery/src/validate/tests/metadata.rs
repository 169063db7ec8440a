//! What every object has.

use super::*;

#[test]
fn faults_of_metadata() {
    let named = |fields: Value| {
        let mut metadata = json!({"name": "a"});
        metadata.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({ "metadata": metadata })
    };
    let owner = |controller: bool| json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": controller});
    each(
        "configmaps",
        &[
            (named(json!({"name": ""})), "metadata.name: Required value: name or generateName is required"),
            (named(json!({"labels": {"a": "b c"}})), "metadata.labels: Invalid value: \"b c\""),
            (named(json!({"annotations": {"a b": "c"}})), "metadata.annotations: Invalid value: \"a b\""),
            (
                named(json!({"annotations": {"a": "x".repeat(256 * 1024)}})),
                "metadata.annotations: Too long: may not be more than 262144 bytes",
            ),
            (named(json!({"finalizers": ["a/b", "a b"]})), "metadata.finalizers[1]: Invalid value: \"a b\""),
            (
                named(json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]})),
                "metadata.ownerReferences[0].uid: Invalid value: \"\": uid must not be empty",
            ),
            (
                named(json!({"ownerReferences": [owner(true), owner(true)]})),
                "metadata.ownerReferences: Invalid value: 2: Only one reference can have Controller set to true",
            ),
        ],
    );
    for body in [
        named(json!({"annotations": {"A/B": "x".repeat(256 * 1024 - 3)}})),
        named(json!({"ownerReferences": [owner(true), owner(false)]})),
        named(json!({"finalizers": ["a/b"], "labels": {"a": ""}})),
    ] {
        assert_eq!(faults("configmaps", body), [""; 0]);
    }
    let mut lost = object("configmaps", json!({}));
    lost["metadata"]["namespace"] = json!("");
    let texts = |object: &Value| {
        create(&resource("configmaps"), object).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(texts(&lost), ["metadata.namespace: Required value"]);
    lost["metadata"]["namespace"] = json!("A");
    assert!(texts(&lost)[0].starts_with("metadata.namespace: Invalid value: \"A\""));
}

#[test]
fn names_follow_the_rules_of_their_kinds() {
    for (plural, good, bad) in [
        ("namespaces", "a-1", "a.b"),
        ("services", "a-1", "1a"),
        ("clusterroles", "system:a", "a/b"),
        ("configmaps", "1a.b", "a_b"),
    ] {
        let named = |name: &str| {
            let body = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 1}]}});
            faults(plural, body).iter().any(|fault| fault.starts_with("metadata.name: "))
        };
        assert!(!named(good), "{plural} {good}");
        assert!(named(bad), "{plural} {bad}");
    }
}

#[test]
fn writes_to_sub_resources_check_metadata_only() {
    let resource = resource("deployments");
    let (old, mut new) =
        (object("deployments", deployment(json!({"a": "b"}))), object("deployments", json!({})));
    assert!(update(&resource, "status", &old, &new).is_empty());
    new["metadata"]["labels"] = json!({"a b": "c"});
    assert_eq!(update(&resource, "status", &old, &new).len(), 1);
}

#[test]
fn finalizers_may_go_while_an_object_is_deleted() {
    let going = |finalizers: Value| json!({"metadata": {"name": "a", "deletionTimestamp": "x", "finalizers": finalizers}});
    assert_eq!(changes("configmaps", going(json!(["a/b"])), going(json!([]))), [""; 0]);
    let staying = |finalizers: Value| json!({"metadata": {"name": "a", "finalizers": finalizers}});
    assert_eq!(changes("configmaps", staying(json!([])), staying(json!(["a/b"]))), [""; 0]);
}
