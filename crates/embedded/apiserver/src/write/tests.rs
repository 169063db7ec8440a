//! What a write leaves behind when it ends before its time.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use portolan_apimachinery::{ApiStatus, managed};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Deleted, Mode, create, delete, update};
use crate::addresses::Addresses;
use crate::api::{Api, Parts};
use crate::authn::Tokens;
use crate::config::{Dialer, no_pods};
use crate::definition_cleanup;
use crate::keys::CRDS;
use crate::logs::NoLogs;
use crate::pki::Pki;
use crate::store::{Store, Window};
use crate::writing::{Writing, Written};

/// A server without sockets. Whoever dials tells `dialled`, and never gets through.
struct Bed {
    api: Api,
    dialled: Arc<Notify>,
    directory: TempDir,
}

impl Bed {
    async fn new() -> Bed {
        let directory = tempfile::tempdir().unwrap();
        let bed = Bed::at(directory);
        bed.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}}))
            .await
            .unwrap();
        bed
    }

    fn at(directory: TempDir) -> Bed {
        let store = Store::open(&directory.path().join("store.db"), Window::default()).unwrap();
        let pki = Pki::load(&directory.path().join("pki"), &[], &[]).unwrap();
        let dialled = Arc::new(Notify::new());
        let told = dialled.clone();
        let dial: Dialer = Arc::new(move |_| {
            told.notify_one();
            std::future::pending().boxed()
        });
        let api = Api::new(Parts {
            addresses: Addresses::new(&store, "10.96.0.0/24".parse().unwrap(), 30000..=30100),
            store,
            tokens: Tokens::new(&pki.token_key, "cluster.local").unwrap(),
            dial,
            dial_pod: no_pods(),
            logs: Arc::new(NoLogs),
            address: "127.0.0.1:1".into(),
            stop: CancellationToken::new(),
        });
        Bed { api, dialled, directory }
    }

    /// The same server after a crash: what was in memory only is gone.
    async fn restarted(self) -> Bed {
        self.api.store.close().await;
        Bed::at(self.directory)
    }

    fn writing(&self, object: &Value, internal: bool) -> Writing {
        let mut writing = Writing::internal(&self.api, object, "test").unwrap();
        writing.internal = internal;
        writing
    }

    async fn create(&self, object: Value) -> Result<Written, ApiStatus> {
        create(&self.api, &self.writing(&object, true), object).await
    }

    /// As a client would, past webhooks.
    async fn create_admitted(&self, object: Value) -> Result<Written, ApiStatus> {
        create(&self.api, &self.writing(&object, false), object).await
    }

    /// As a user of these groups would.
    async fn create_by(&self, user: &str, groups: &[&str], object: Value) -> Result<Written, ApiStatus> {
        let mut writing = self.writing(&object, false);
        writing.user.name = user.to_owned();
        writing.user.groups = groups.iter().map(|group| (*group).to_owned()).collect();
        create(&self.api, &writing, object).await
    }

    /// Server-side apply.
    async fn apply(&self, object: Value) -> Result<Value, ApiStatus> {
        let writing = self.writing(&object, true);
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap();
        let change = |current: Option<&Value>| {
            let writer = writing.writer("2020-01-01T00:00:00Z");
            Ok((managed::apply(&writing.resource, current, &object, writer, false)?, Vec::new()))
        };
        update(&self.api, &writing, name, true, Mode::Apply, &change).await.map(|written| written.object)
    }

    async fn delete(&self, object: &Value) -> Result<Deleted, ApiStatus> {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap();
        delete(&self.api, &self.writing(object, true), name, &json!({}), &mut Vec::new()).await
    }
}

fn service(name: &str, address: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "ns"},
        "spec": {"clusterIP": address, "ports": [{"port": 80}]}})
}

fn webhook() -> Value {
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "slow"},
        "webhooks": [{
            "name": "slow.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://127.0.0.1:1/", "caBundle": STANDARD.encode(authority.pem())},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["services"]}],
        }],
    })
}

fn definition(name: &str, plural: &str, kind: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": plural, "kind": kind},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    })
}

fn widgets() -> Value {
    definition("widgets.example.com", "widgets", "Widget")
}

fn widget(name: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name, "namespace": "ns"}})
}

const WIDGETS: &str = "example.com/widgets";

/// Waits until `done`, watching the store's changes of a resource.
async fn until(store: &Store, resource: &str, done: impl Fn() -> bool) {
    let wait = async {
        let (_, mut cursor) = store.list_and_watch(resource, None);
        while !done() {
            cursor.changed().await.unwrap();
            cursor.take().unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it never came about");
}

#[tokio::test]
async fn a_write_that_is_dropped_during_a_webhook_gives_its_address_back() {
    let bed = Bed::new().await;
    bed.create(webhook()).await.unwrap();
    {
        let write = bed.create_admitted(service("first", "10.96.0.50"));
        tokio::select! {
            _ = write => panic!("the webhook let it through"),
            () = bed.dialled.notified() => {}
        }
    }
    bed.create(service("second", "10.96.0.50")).await.expect("the address is free again");
}

#[tokio::test]
async fn a_write_that_is_dropped_on_its_way_into_the_store_keeps_its_address() {
    let bed = Bed::new().await;
    {
        let mut write = Box::pin(bed.create(service("first", "10.96.0.50")));
        assert!((&mut write).now_or_never().is_none());
        let store = &bed.api.store;
        until(store, "/services", || store.get("/services", "ns", "first").is_some()).await;
    }
    assert!(bed.create(service("second", "10.96.0.50")).await.is_err(), "two Services have one address");
}

#[tokio::test]
async fn a_write_that_the_store_refuses_gives_its_address_back() {
    let bed = Bed::new().await;
    bed.create(service("first", "10.96.0.50")).await.unwrap();
    assert!(bed.create(service("first", "10.96.0.51")).await.is_err());
    bed.create(service("second", "10.96.0.51")).await.unwrap();
}

#[tokio::test]
async fn of_definitions_that_want_one_name_at_the_same_time_one_is_established() {
    let bed = Bed::new().await;
    let names: Vec<String> = (0..8).map(|n| format!("things{n}")).collect();
    let writes = names.iter().map(|plural| {
        bed.create(definition(&format!("{plural}.example.com"), plural, "Thing")).map(Result::unwrap)
    });
    futures::future::join_all(writes).await;
    let established = |crd: &Value| {
        let conditions = crd.pointer("/status/conditions").unwrap().as_array().unwrap();
        conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True")
    };
    let definitions = bed.api.store.list(CRDS, None).1;
    assert_eq!(definitions.iter().filter(|crd| established(&crd.value)).count(), 1);
}

#[tokio::test]
async fn a_deleted_definition_waits_for_its_objects() {
    let bed = Bed::new().await;
    bed.create(widgets()).await.unwrap();
    bed.create(widget("one")).await.unwrap();
    let Ok(Deleted::Pending(crd)) = bed.delete(&widgets()).await else { panic!("it went at once") };
    assert_eq!(crd["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    let refused = bed.create(widget("two")).await.err().expect("an object was added below it");
    assert_eq!(refused.code, 405, "{refused}");

    let (store, stop) = (bed.api.store.clone(), CancellationToken::new());
    let cleanup = tokio::spawn(definition_cleanup::run(store.clone(), stop.clone()));
    until(&store, CRDS, || store.count(CRDS) == 0).await;
    assert_eq!(store.count(WIDGETS), 0);
    stop.cancel();
    cleanup.await.unwrap();
}

#[tokio::test]
async fn a_crash_leaves_no_objects_for_the_next_definition() {
    let bed = Bed::new().await;
    bed.create(widgets()).await.unwrap();
    bed.create(widget("one")).await.unwrap();
    bed.delete(&widgets()).await.unwrap();
    // Nothing has cleaned up yet.
    let bed = bed.restarted().await;
    assert!(bed.create(widgets()).await.is_err(), "the old definition is still there");
    let store = bed.api.store.clone();
    let cleanup = tokio::spawn(definition_cleanup::run(store.clone(), bed.api.stop.clone()));
    until(&store, CRDS, || store.count(CRDS) == 0).await;
    bed.create(widgets()).await.unwrap();
    assert_eq!(store.count(WIDGETS), 0, "an object rose from the dead");
    bed.api.stop.cancel();
    cleanup.await.unwrap();
}

#[tokio::test]
async fn an_object_with_a_finalizer_holds_its_deleted_definition() {
    let bed = Bed::new().await;
    bed.create(widgets()).await.unwrap();
    let mut held = widget("held");
    held["metadata"]["finalizers"] = json!(["example.com/mine"]);
    bed.create(held).await.unwrap();
    bed.delete(&widgets()).await.unwrap();
    let store = bed.api.store.clone();
    let cleanup = tokio::spawn(definition_cleanup::run(store.clone(), bed.api.stop.clone()));
    let terminating = || {
        let held = store.get(WIDGETS, "ns", "held").unwrap();
        held.value.pointer("/metadata/deletionTimestamp").is_some()
    };
    until(&store, WIDGETS, terminating).await;
    assert_eq!(store.count(CRDS), 1);
    let held = store.get(WIDGETS, "ns", "held").unwrap();
    store.delete(WIDGETS, "ns", "held", held.revision).await.unwrap();
    until(&store, CRDS, || store.count(CRDS) == 0).await;
    bed.api.stop.cancel();
    cleanup.await.unwrap();
}

#[tokio::test]
async fn who_applies_an_object_into_being_may_apply_it_again() {
    let bed = Bed::new().await;
    let map = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "ns"}, "data": data});
    let made = bed.apply(map(json!({"a": "1", "b": "1"}))).await.unwrap();
    let owners = made["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(owners.len(), 1);
    assert_eq!(owners[0]["operation"], "Apply");
    assert_eq!(owners[0]["fieldsV1"], json!({"f:data": {"f:a": {}, "f:b": {}}}));
    // No conflict with itself, and what it gives up goes.
    let changed = bed.apply(map(json!({"a": "2"}))).await.unwrap();
    assert_eq!(changed["data"], json!({"a": "2"}));
}

fn binding(role: &str) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": format!("to-{role}"), "namespace": "ns"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"}]})
}

#[tokio::test]
async fn nobody_grants_what_he_does_not_have() {
    let bed = Bed::new().await;
    let role = |name: &str, resource: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
            "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]})
    };
    bed.create(role("pods", "pods")).await.unwrap();
    bed.create(role("secrets", "secrets")).await.unwrap();
    bed.create(binding("pods")).await.unwrap();
    let refused = bed
        .create_by("eve", &[], binding("secrets"))
        .await
        .err()
        .expect("eve made herself a reader of Secrets");
    assert_eq!(refused.code, 403);
    assert!(refused.message.contains("attempting to grant RBAC permissions not currently held"), "{refused}");
    assert_eq!(bed.create_by("eve", &[], binding("none")).await.err().unwrap().code, 404);
    let mut own = binding("pods");
    own["metadata"]["name"] = json!("again");
    bed.create_by("eve", &[], own).await.unwrap();
    let mut local = role("r", "secrets");
    local["kind"] = json!("Role");
    local["metadata"] = json!({"name": "r", "namespace": "ns"});
    assert_eq!(bed.create_by("eve", &[], local.clone()).await.err().unwrap().code, 403);
    local["rules"][0]["resources"] = json!(["pods"]);
    bed.create_by("eve", &[], local.clone()).await.unwrap();
    bed.create_by("root", &["system:masters"], binding("secrets")).await.unwrap();

    // Changing is granting, too; what garbage collection does is not.
    local["rules"][0]["verbs"] = json!(["get", "delete"]);
    let mut writing = bed.writing(&local, false);
    writing.user.name = "eve".into();
    let to = |new: Value| move |_: Option<&Value>| Ok((new.clone(), Vec::new()));
    let refused = update(&bed.api, &writing, "r", false, Mode::Put, &to(local)).await.err().unwrap();
    assert_eq!(refused.code, 403);
    let stored = bed.api.store.get("rbac.authorization.k8s.io/rolebindings", "ns", "to-secrets").unwrap();
    let mut owned = stored.value.clone();
    owned["metadata"]["finalizers"] = json!(["example.com/x"]);
    let mut writing = bed.writing(&owned, false);
    writing.user.name = "eve".into();
    update(&bed.api, &writing, "to-secrets", false, Mode::Put, &to(owned)).await.unwrap();
}

#[tokio::test]
async fn the_namespaces_of_the_server_itself_stay() {
    let bed = Bed::new().await;
    for name in ["default", "kube-system", "kube-public"] {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        bed.create(namespace.clone()).await.unwrap();
        let writing = bed.writing(&namespace, false);
        let refused = delete(&bed.api, &writing, name, &json!({}), &mut Vec::new()).await.err().unwrap();
        assert_eq!(refused.code, 403);
        assert_eq!(
            refused.message,
            format!("namespaces {name:?} is forbidden: this namespace may not be deleted")
        );
    }
    bed.delete(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}})).await.unwrap();
}
