//! Apply as its users see it: conflicts, force, giving up fields, sharing lists, and laws that must always hold.

use std::sync::Arc;

use super::*;
use crate::ResourceTable;
use proptest::prelude::*;

const T1: &str = "2024-01-01T00:00:01Z";
const T2: &str = "2024-01-01T00:00:02Z";

fn resource(plural: &str) -> Arc<Resource> {
    ResourceTable::builtin().iter().find(|r| r.plural == plural).unwrap().clone()
}

fn by<'a>(manager: &'a str, time: &'a str) -> Writer<'a> {
    Writer { manager, subresource: "", time }
}

fn deployment(replicas: Option<i64>, containers: Value) -> Value {
    let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "spec": {"template": {"spec": {"containers": containers}}}});
    if let Some(n) = replicas {
        object["spec"]["replicas"] = json!(n);
    }
    object
}

fn fields(object: &Value, manager: &str) -> Value {
    let list = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    list.into_iter().find(|e| e["manager"] == manager).map_or(Value::Null, |e| e["fieldsV1"].clone())
}

#[test]
fn an_applier_owns_what_it_states() {
    let r = resource("deployments");
    let config = deployment(Some(2), json!([{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]));
    let live = apply(&r, None, &config, by("kubectl", T1), false).unwrap();
    assert_eq!(
        fields(&live, "kubectl"),
        json!({"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
            ".": {}, "f:image": {}, "f:name": {},
            "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}}}})
    );
    let again = apply(&r, Some(&live), &config, by("kubectl", T2), false).unwrap();
    assert_eq!(again, live, "applying twice changes nothing");
}

#[test]
fn conflicts_name_the_manager_and_the_field() {
    let r = resource("deployments");
    let mut live = deployment(Some(1), json!([{"name": "c", "image": "i"}]));
    track_update(&r, None, &mut live, by("kubectl-create", T1));
    let config = deployment(Some(2), json!([{"name": "c", "image": "i"}]));
    let status = apply(&r, Some(&live), &config, by("kubectl", T2), false).unwrap_err();
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"kubectl-create\" using apps/v1 at 2024-01-01T00:00:01Z: .spec.replicas"
    );
    assert_eq!(status.code, 409);
    let causes = &status.details.unwrap().causes;
    assert_eq!(
        (causes[0].reason.as_str(), causes[0].field.as_str()),
        ("FieldManagerConflict", ".spec.replicas")
    );

    let forced = apply(&r, Some(&live), &config, by("kubectl", T2), true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 2);
    assert!(fields(&forced, "kubectl-create").pointer("/f:spec/f:replicas").is_none());
    // An equal value is shared, not a conflict.
    assert!(fields(&forced, "kubectl-create")["f:spec"]["f:template"].is_object());
}

#[test]
fn given_up_fields_are_removed_unless_shared() {
    let r = resource("deployments");
    let full = deployment(
        Some(2),
        json!([{"name": "c", "image": "i", "env": [{"name": "E", "value": "1"}]},
        {"name": "d", "image": "i"}]),
    );
    let mut live = apply(&r, None, &full, by("kubectl", T1), false).unwrap();
    let shared = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": {"replicas": 2}});
    live = apply(&r, Some(&live), &shared, by("scaler", T1), false).unwrap();
    live["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
    let less = deployment(None, json!([{"name": "c", "image": "i"}]));
    let after = apply(&r, Some(&live), &less, by("kubectl", T2), false).unwrap();
    assert_eq!(after["spec"]["replicas"], 2, "the scaler still owns it");
    assert_eq!(
        after["spec"]["template"]["spec"]["containers"],
        json!([{"name": "c", "image": "i", "imagePullPolicy": "Always"}]),
        "own items and fields go, what nobody owns (a default) stays"
    );
}

#[test]
fn a_removed_struct_goes_with_its_defaults() {
    let r = resource("deployments");
    let with =
        deployment(None, json!([{"name": "c", "livenessProbe": {"httpGet": {"path": "/", "port": 1}}}]));
    let mut live = apply(&r, None, &with, by("kubectl", T1), false).unwrap();
    live["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["periodSeconds"] = json!(10);
    let without = deployment(None, json!([{"name": "c"}]));
    let after = apply(&r, Some(&live), &without, by("kubectl", T2), false).unwrap();
    assert_eq!(after["spec"]["template"]["spec"]["containers"], json!([{"name": "c"}]));
}

#[test]
fn maps_and_sets_are_shared_by_key() {
    let r = resource("configmaps");
    let map = |data: Value| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m",
        "finalizers": ["x/y"], "labels": {"l": "1"}}, "data": data})
    };
    let live = apply(&r, None, &map(json!({"a": "1"})), by("one", T1), false).unwrap();
    let live = apply(&r, Some(&live), &map(json!({"b": "2"})), by("two", T1), false).unwrap();
    assert_eq!(live["data"], json!({"a": "1", "b": "2"}));
    assert_eq!(live["metadata"]["finalizers"], json!(["x/y"]));
    let live = apply(&r, Some(&live), &json!({"metadata": {"name": "m"}, "data": {}}), by("one", T2), false)
        .unwrap();
    assert_eq!(live["data"], json!({"b": "2"}));
    assert_eq!(live["metadata"]["labels"], json!({"l": "1"}), "still owned by two");
}

#[test]
fn updates_take_fields_and_drop_removed_ones() {
    let r = resource("configmaps");
    let config = json!({"metadata": {"name": "m"}, "data": {"a": "1", "b": "1"}});
    let live = apply(&r, None, &config, by("one", T1), false).unwrap();
    let mut new = live.clone();
    new["data"] = json!({"a": "2"});
    track_update(&r, Some(&live), &mut new, by("editor", T2));
    assert_eq!(fields(&new, "editor"), json!({"f:data": {"f:a": {}}}));
    assert_eq!(fields(&new, "one"), Value::Null, "b is gone and a is the editor's");
    let status = apply(&r, Some(&new), &config, by("one", T2), false).unwrap_err();
    assert!(status.message.contains("conflict with \"editor\" using v1"), "{}", status.message);
    let mut reset = new.clone();
    reset["metadata"]["managedFields"] = json!([{}]);
    track_update(&r, Some(&new), &mut reset, by("editor", T2));
    assert!(reset["metadata"].get("managedFields").is_none());
}

#[test]
fn status_has_owners_of_its_own() {
    let r = resource("deployments");
    let live =
        apply(&r, None, &deployment(Some(1), json!([{"name": "c"}])), by("kubectl", T1), false).unwrap();
    let mut new = live.clone();
    new["status"] = json!({"readyReplicas": 1});
    let writer = Writer { manager: "controller", subresource: "status", time: T2 };
    track_update(&r, Some(&live), &mut new, writer);
    assert_eq!(fields(&new, "controller"), json!({"f:status": {"f:readyReplicas": {}}}));
    let entry =
        new["metadata"]["managedFields"].as_array().unwrap().iter().find(|e| e["manager"] == "controller");
    assert_eq!(entry.unwrap()["subresource"], "status");
    let after = apply(&r, Some(&new), &deployment(Some(1), json!([{"name": "c"}])), by("kubectl", T2), false)
        .unwrap();
    assert_eq!(after["status"], json!({"readyReplicas": 1}));
}

#[test]
fn untracked_objects_get_an_owner_before_the_first_apply() {
    let r = resource("configmaps");
    let live = json!({"metadata": {"name": "m"}, "data": {"a": "1"}});
    let config = json!({"metadata": {"name": "m"}, "data": {"a": "2"}});
    let status = apply(&r, Some(&live), &config, by("one", T2), false).unwrap_err();
    assert!(status.message.contains("before-first-apply"), "{}", status.message);
    let config = json!({"metadata": {"name": "m", "managedFields": [{"manager": "x"}]}});
    assert_eq!(apply(&r, None, &config, by("one", T1), false).unwrap_err().code, 400);
}

fn config_map() -> impl Strategy<Value = Value> {
    let map = || proptest::collection::btree_map("[a-d]", "[0-2]", 0..4);
    (map(), map()).prop_map(|(data, labels)| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "labels": labels}, "data": data})
    })
}

proptest! {
    #[test]
    fn the_laws_of_apply(first in config_map(), second in config_map(), other in config_map()) {
        let r = resource("configmaps");
        let live = apply(&r, None, &first, by("one", T1), false).unwrap();
        let live = apply(&r, Some(&live), &other, by("two", T1), true).unwrap();
        let after = apply(&r, Some(&live), &second, by("one", T2), true).unwrap();
        // Everything applied is there; applying again changes nothing.
        for (key, value) in second["data"].as_object().unwrap() {
            prop_assert_eq!(&after["data"][key], value);
        }
        prop_assert_eq!(&apply(&r, Some(&after), &second, by("one", T2), false).unwrap(), &after);
        // Nothing that nobody stated is left.
        for key in after["data"].as_object().into_iter().flatten().map(|(k, _)| k) {
            prop_assert!(second["data"].get(key).is_some() || other["data"].get(key).is_some());
        }
        // Alone, an applier makes exactly its configuration.
        let alone = apply(&r, None, &first, by("one", T1), false).unwrap();
        let alone = apply(&r, Some(&alone), &second, by("one", T2), false).unwrap();
        prop_assert_eq!(alone["data"].as_object().map_or(0, |m| m.len()), second["data"].as_object().unwrap().len());
    }
}
