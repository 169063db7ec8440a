//! Bodies that are small enough to be taken, made to cost as much as they can. Each of them took minutes when work grew
//! with the square of what is sent; now all take well under a second, and the limit here is for slow machines.

use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::body::{self, FieldValidation};
use crate::managed::{self, Writer};
use crate::patch::{self, PatchKind};
use crate::strategy::{self, Fresh};
use crate::{Resource, ResourceTable, defaults, validate};

/// Does the work in a thread of its own: what does not end must not hold the test.
fn ends(what: &str, work: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        work();
        // Nobody listens when the limit is over.
        let _ = done.send(());
    });
    match wait.recv_timeout(Duration::from_secs(15)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what} takes too long"),
        _ => worker.join().unwrap(),
    }
}

fn resource(plural: &str) -> std::sync::Arc<Resource> {
    ResourceTable::builtin().iter().find(|r| r.plural == plural).unwrap().clone()
}

fn numbered(n: usize, value: Value) -> Map<String, Value> {
    (0..n).map(|i| (format!("k{i}"), value.clone())).collect()
}

fn decoded(plural: &str, body: &Value) -> body::Decoded {
    let text = body.to_string();
    body::decode(&resource(plural), None, "application/json", text.as_bytes(), FieldValidation::Warn).unwrap()
}

const WRITER: Writer<'static> = Writer { manager: "m", subresource: "", time: "2020-01-01T00:00:00Z" };

/// What a write does with an object, but for webhooks and the store.
fn created(plural: &str, mut object: Value) -> Value {
    let resource = resource(plural);
    let fresh = Fresh { uid: "u", now: "2020-01-01T00:00:00Z", suffix: "abcde" };
    strategy::prepare_for_create(&resource, "ns", &mut object, fresh).unwrap();
    defaults::apply(&resource, &mut object);
    let _ = validate::create(&resource, &object);
    managed::track_update(&resource, None, &mut object, WRITER);
    object
}

/// A second version of what [`created`] made.
fn updated(plural: &str, before: &Value, mut new: Value) {
    let resource = resource(plural);
    strategy::prepare_for_update(&resource, "", before, &mut new).unwrap();
    defaults::apply(&resource, &mut new);
    let _ = validate::update(&resource, "", before, &new);
    managed::track_update(&resource, Some(before), &mut new, WRITER);
}

#[test]
fn unknown_fields() {
    ends("a review with 30,000 unknown fields", || {
        let mut body = numbered(30_000, json!(1));
        body.insert("spec".into(), json!({}));
        let review = decoded("selfsubjectaccessreviews", &Value::Object(body));
        assert_eq!(review.warnings.len(), 100);
        assert_eq!(review.object.as_object().unwrap().len(), 3);
    });
}

#[test]
fn long_keys_above_many_values() {
    ends("a long key above a long list", || {
        let key = "x".repeat(512 << 10);
        let list: Vec<Value> = vec![json!(1); 50_000];
        let review = decoded("selfsubjectaccessreviews", &json!({ key.clone(): list }));
        assert_eq!(review.warnings.len(), 1);
        assert!(review.warnings[0].len() < 1 << 10, "a report is short");
        let strings: Vec<Value> = vec![json!("v"); 50_000];
        let mut labels = json!({"metadata": {"name": "x", "labels": {}, "finalizers": strings}});
        labels["metadata"]["labels"][key] = json!("v");
        decoded("configmaps", &labels);
    });
}

#[test]
fn more_values_than_a_body_may_have() {
    let list = format!("{{\"x\":[{}1]}}", "1,".repeat(crate::json::MAX_VALUES));
    let parsed = crate::json::parse(list.as_bytes());
    assert!(parsed.unwrap_err().to_string().contains("values"));
}

#[test]
fn maps_with_many_keys() {
    ends("a ConfigMap with 30,000 keys", || {
        let map = json!({"metadata": {"name": "x"}, "data": numbered(30_000, json!("v"))});
        let before = created("configmaps", decoded("configmaps", &map).object);
        updated("configmaps", &before, before.clone());
        let configmaps = resource("configmaps");
        let nulls = json!({"data": numbered(30_000, Value::Null)}).to_string();
        for kind in [PatchKind::Merge, PatchKind::Strategic] {
            let patched = patch::patch(&configmaps, kind, &before, nulls.as_bytes()).unwrap();
            assert_eq!(patched["data"], json!({}));
        }
        let orders: Map<String, Value> =
            (0..30_000).map(|i| (format!("$setElementOrder/k{i}"), json!([]))).collect();
        let body = json!({"data": orders}).to_string();
        patch::patch(&configmaps, PatchKind::Strategic, &before, body.as_bytes()).unwrap();
        let keys: Vec<String> = (0..30_000).map(|i| format!("k{i}")).collect();
        let body = json!({"data": {"$retainKeys": keys}}).to_string();
        let kept = patch::patch(&configmaps, PatchKind::Strategic, &before, body.as_bytes()).unwrap();
        assert_eq!(kept["data"].as_object().unwrap().len(), 30_000);
        managed::apply(&configmaps, Some(&before), &map, WRITER, true).unwrap();
    });
}

fn items(n: usize, item: impl Fn(String) -> Value) -> Vec<Value> {
    (0..n).map(|i| item(format!("n{i}"))).collect()
}

#[test]
fn lists_that_merge_by_a_key() {
    ends("a Pod with 3,000 containers", || {
        let pod = |image: &str| {
            let containers = items(3_000, |name| json!({"name": name, "image": image}));
            json!({"metadata": {"name": "x"}, "spec": {"containers": containers}})
        };
        let before = created("pods", decoded("pods", &pod("a")).object);
        updated("pods", &before, before.clone());
        let pods = resource("pods");
        let mut change = pod("b");
        change["spec"]["$setElementOrder/containers"] =
            Value::from(items(3_000, |name| json!({"name": name})));
        let body = change.to_string();
        let patched = patch::patch(&pods, PatchKind::Strategic, &before, body.as_bytes()).unwrap();
        assert_eq!(patched["spec"]["containers"][2_999]["image"], "b");
        let gone = items(3_000, |name| json!({"name": name, "$patch": "delete"}));
        let body = json!({"spec": {"containers": gone}}).to_string();
        let patched = patch::patch(&pods, PatchKind::Strategic, &before, body.as_bytes()).unwrap();
        assert_eq!(patched["spec"]["containers"], json!([]));
        managed::apply(&pods, Some(&before), &pod("c"), WRITER, true).unwrap();
    });
}

#[test]
fn lists_of_texts() {
    ends("many finalizers", || {
        let names = Value::from(items(5_000, |name| json!(format!("example.com/{name}"))));
        let map = json!({"metadata": {"name": "x", "finalizers": names}});
        let before = created("configmaps", decoded("configmaps", &map).object);
        updated("configmaps", &before, before.clone());
        let configmaps = resource("configmaps");
        for body in [
            json!({"metadata": {"finalizers": names}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": names}}),
            json!({"metadata": {"$setElementOrder/finalizers": names, "finalizers": names}}),
        ] {
            patch::patch(&configmaps, PatchKind::Strategic, &before, body.to_string().as_bytes()).unwrap();
        }
        managed::apply(&configmaps, Some(&before), &map, WRITER, true).unwrap();
    });
}

#[test]
fn managers_that_a_client_made_up() {
    ends("5,000 managers", || {
        let entry = |name: String| {
            json!({"manager": name, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:data": {format!("f:{name}"): {}}}, "time": "2020-01-01T00:00:00Z"})
        };
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"},
            "metadata": {"name": "x", "managedFields": items(5_000, entry)}});
        let before = object.clone();
        managed::track_update(&resource("configmaps"), Some(&before), &mut object, WRITER);
        let kept = object["metadata"]["managedFields"].as_array().unwrap().len();
        assert!(kept < 20, "{kept} managers");
    });
}

#[test]
fn other_kinds_with_long_lists() {
    ends("a Service with 5,000 ports", || {
        let ports: Vec<Value> =
            (0..5_000).map(|i| json!({"name": format!("p{i}"), "port": i + 1, "protocol": "TCP"})).collect();
        let service = json!({"metadata": {"name": "x"}, "spec": {"ports": ports}});
        let before = created("services", decoded("services", &service).object);
        updated("services", &before, before.clone());
    });
    ends("a Pod whose container has 5,000 of each list", || {
        let container = json!({"name": "c", "image": "i",
            "env": items(5_000, |n| json!({"name": n, "value": "v"})),
            "volumeMounts": items(5_000, |n| json!({"name": n.clone(), "mountPath": format!("/{n}")})),
            "ports": (0..5_000).map(|i| json!({"containerPort": i + 1})).collect::<Vec<_>>()});
        let pod = json!({"metadata": {"name": "x"}, "spec": {"containers": [container],
            "volumes": items(5_000, |n| json!({"name": n, "emptyDir": {}})),
            "tolerations": items(5_000, |n| json!({"key": n, "operator": "Exists"}))}});
        let before = created("pods", decoded("pods", &pod).object);
        updated("pods", &before, before.clone());
    });
}
