//! A Kubernetes API in memory, just large enough for the node runtime: list, watch, get, create, merge patch, delete,
//! bindings and tokens. It gives a `kube::Client` without a socket.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::channel::mpsc;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// Resource, namespace, name.
type Key = (String, String, String);

struct Watcher {
    resource: String,
    namespace: Option<String>,
    name: Option<String>,
    tx: mpsc::UnboundedSender<Result<Frame<Bytes>, Infallible>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Value>,
    version: u64,
    watchers: Vec<Watcher>,
}

/// The API.
#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<State>>);

struct Target {
    resource: String,
    namespace: Option<String>,
    name: Option<String>,
    sub: Option<String>,
}

/// `/api/v1/namespaces/NS/pods/NAME/status` and its relatives.
fn target(path: &str) -> Target {
    let mut parts =
        path.trim_matches('/').split('/').skip_while(|p| *p != "v1").skip(1).map(str::to_owned).peekable();
    let first = parts.next().unwrap();
    let mut rest: Vec<String> = parts.collect();
    if first == "namespaces" && rest.len() >= 2 {
        let namespace = rest.remove(0);
        let resource = rest.remove(0);
        let mut rest = rest.into_iter();
        Target { resource, namespace: Some(namespace), name: rest.next(), sub: rest.next() }
    } else {
        let mut rest = rest.into_iter();
        Target { resource: first, namespace: None, name: rest.next(), sub: rest.next() }
    }
}

fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    into.remove(key);
                } else {
                    merge(into.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (into, patch) => *into = patch.clone(),
    }
}

impl State {
    fn store(&mut self, kind: &str, key: Key, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(key.clone(), object.clone());
        self.tell(kind, &key, &object);
        object
    }

    fn tell(&mut self, kind: &str, (resource, namespace, name): &Key, object: &Value) {
        let line = format!("{}\n", json!({ "type": kind, "object": object }));
        self.watchers.retain(|w| {
            let wanted = w.resource == *resource
                && w.namespace.as_ref().is_none_or(|n| n == namespace)
                && w.name.as_ref().is_none_or(|n| n == name);
            !wanted || w.tx.unbounded_send(Ok(Frame::data(Bytes::from(line.clone())))).is_ok()
        });
    }

    fn remove(&mut self, key: &Key) {
        if let Some(mut object) = self.objects.remove(key) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.tell("DELETED", key, &object);
        }
    }
}

impl Fake {
    /// A client of this API.
    pub(crate) fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { Ok::<_, Infallible>(fake.serve(request).await) }
        });
        Client::new(service, "default")
    }

    /// An object as it is.
    pub(crate) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.0.lock().objects.get(&(resource.into(), namespace.into(), name.into())).cloned()
    }

    /// All objects of a resource.
    pub(crate) fn all(&self, resource: &str) -> Vec<Value> {
        self.0.lock().objects.iter().filter(|((r, ..), _)| r == resource).map(|(_, v)| v.clone()).collect()
    }

    /// Creates an object, or replaces it.
    pub(crate) fn put(&self, resource: &str, mut object: Value) {
        let mut state = self.0.lock();
        let meta = &object["metadata"];
        let key = (
            resource.to_owned(),
            meta["namespace"].as_str().unwrap_or_default().to_owned(),
            meta["name"].as_str().unwrap().to_owned(),
        );
        let known = state.objects.get(&key).map(|o| o["metadata"].clone());
        let kind = if known.is_some() { "MODIFIED" } else { "ADDED" };
        let version = state.version;
        object["metadata"]["uid"] = match &known {
            Some(meta) => meta["uid"].clone(),
            None => {
                json!(format!("{:08x}-0000-4000-8000-{:012x}", 0xa000_0000u64 + version, std::process::id()))
            }
        };
        object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        state.store(kind, key, object);
    }

    async fn serve(
        &self,
        request: Request<Body>,
    ) -> Response<http_body_util::combinators::BoxBody<Bytes, Infallible>> {
        let method = request.method().clone();
        let target = target(request.uri().path());
        let query: BTreeMap<String, String> = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|p| p.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.replace("%3D", "=")))
            .collect();
        let body = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let only =
            query.get("fieldSelector").and_then(|s| s.strip_prefix("metadata.name=")).map(str::to_owned);
        if method == Method::GET && query.get("watch").is_some_and(|w| w == "true" || w == "1") {
            let (tx, rx) = mpsc::unbounded();
            let mut state = self.0.lock();
            let since: u64 = query.get("resourceVersion").and_then(|v| v.parse().ok()).unwrap_or(0);
            let watcher = Watcher { resource: target.resource, namespace: target.namespace, name: only, tx };
            // What changed between list and watch; deletions in that gap do not happen in these tests.
            for ((resource, namespace, name), object) in &state.objects {
                let version: u64 = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
                let wanted = *resource == watcher.resource
                    && watcher.namespace.as_ref().is_none_or(|n| n == namespace)
                    && watcher.name.as_ref().is_none_or(|n| n == name);
                if wanted && version > since {
                    let line = format!("{}\n", json!({ "type": "ADDED", "object": object }));
                    let _ = watcher.tx.unbounded_send(Ok(Frame::data(line.into())));
                }
            }
            state.watchers.push(watcher);
            return Response::new(StreamBody::new(rx).boxed());
        }
        let (status, answer) = self.act(&method, target, only, body);
        let body = http_body_util::Full::new(Bytes::from(answer.to_string())).boxed();
        Response::builder().status(status).header("content-type", "application/json").body(body).unwrap()
    }

    fn act(&self, method: &Method, target: Target, only: Option<String>, body: Value) -> (u16, Value) {
        let mut state = self.0.lock();
        let failure = |code: u16, reason: &str| {
            (
                code,
                json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
                "message": reason }),
            )
        };
        let namespace = target.namespace.clone().unwrap_or_default();
        let Some(name) = target.name.clone() else {
            if *method == Method::POST {
                drop(state);
                let name = body["metadata"]["name"].as_str().unwrap().to_owned();
                self.put(&target.resource, body);
                return (201, self.get(&target.resource, &namespace, &name).unwrap_or_default());
            }
            let items: Vec<Value> = state
                .objects
                .iter()
                .filter(|((r, ns, n), _)| {
                    *r == target.resource
                        && target.namespace.as_ref().is_none_or(|t| t == ns)
                        && only.as_ref().is_none_or(|o| o == n)
                })
                .map(|(_, v)| v.clone())
                .collect();
            let version = state.version.to_string();
            return (
                200,
                json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": version }, "items": items }),
            );
        };
        if target.sub.as_deref() == Some("token") {
            return (
                201,
                json!({ "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
                "spec": body["spec"], "status": { "token": format!("token-of-{name}"), "expirationTimestamp": "2100-01-01T00:00:00Z" } }),
            );
        }
        let key = (target.resource, namespace, name);
        let Some(mut object) = state.objects.get(&key).cloned() else { return failure(404, "NotFound") };
        match (method, target.sub.as_deref()) {
            (&Method::GET, _) => (200, object),
            (&Method::POST, Some("binding")) => {
                object["spec"]["nodeName"] = body["target"]["name"].clone();
                state.store("MODIFIED", key, object);
                (201, json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }))
            }
            (&Method::PATCH, _) => {
                merge(&mut object, &body);
                (200, state.store("MODIFIED", key, object))
            }
            (&Method::DELETE, _) => {
                let grace = body["gracePeriodSeconds"].as_i64();
                let grace = grace.or(object["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30);
                if key.0 == "pods" && grace > 0 && object["spec"]["nodeName"].is_string() {
                    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                    object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
                    return (200, state.store("MODIFIED", key, object));
                }
                state.remove(&key);
                (200, object)
            }
            _ => failure(405, "MethodNotAllowed"),
        }
    }
}
