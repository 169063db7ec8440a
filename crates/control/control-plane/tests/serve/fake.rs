//! A Kubernetes API server that is just enough for the control plane: objects by path, lists, watches, token reviews.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::broadcast, task::JoinHandle};

/// Collections by path without namespace (`/api/v1/pods`), objects by `namespace/name`.
type Store = BTreeMap<String, BTreeMap<String, Value>>;

pub(crate) struct Fake {
    store: Mutex<(u64, Store)>,
    events: broadcast::Sender<(String, Value)>,
}

/// A running fake.
pub(crate) struct Running {
    pub(crate) fake: Arc<Fake>,
    pub(crate) address: SocketAddr,
    server: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start() -> Self {
        let fake = Arc::new(Fake { store: Mutex::default(), events: broadcast::channel(1000).0 });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(handle).with_state(fake.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { fake, address, server }
    }

    pub(crate) fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": format!("http://{}", self.address)}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
            "users": [{"name": "fake", "user": {}}],
        })
        .to_string()
    }

    /// No new connections; open watches hang until their clients give up.
    pub(crate) fn stop(&self) {
        self.server.abort();
        let _ = self.fake.events.send(("stop".into(), Value::Null));
    }
}

impl Fake {
    pub(crate) fn apply(&self, collection: &str, mut object: Value) -> Value {
        let mut guard = self.store.lock().unwrap();
        guard.0 += 1;
        object["metadata"]["resourceVersion"] = guard.0.to_string().into();
        let key = key(&object);
        let known = guard.1.entry(collection.into()).or_default().insert(key, object.clone()).is_some();
        drop(guard);
        let kind = if known { "MODIFIED" } else { "ADDED" };
        let _ = self.events.send((collection.into(), json!({"type": kind, "object": object})));
        object
    }

    pub(crate) fn delete(&self, collection: &str, key: &str) {
        let gone = self.store.lock().unwrap().1.get_mut(collection).and_then(|objects| objects.remove(key));
        if let Some(object) = gone {
            let _ = self.events.send((collection.into(), json!({"type": "DELETED", "object": object})));
        }
    }

    pub(crate) fn get(&self, collection: &str, key: &str) -> Option<Value> {
        self.store.lock().unwrap().1.get(collection)?.get(key).cloned()
    }
}

fn key(object: &Value) -> String {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    format!("{}/{}", text("namespace"), text("name"))
}

/// Splits a path into collection, namespace and name.
fn parse(path: &str) -> (String, Option<String>, Option<String>) {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (base, rest) = parts.split_at(if parts[0] == "api" { 2 } else { 3 });
    let prefix = format!("/{}", base.join("/"));
    match rest {
        ["namespaces", ns, resource, tail @ ..] => (
            format!("{prefix}/{resource}"),
            Some((*ns).to_owned()),
            tail.first().map(|name| (*name).to_owned()),
        ),
        [resource, tail @ ..] => {
            (format!("{prefix}/{resource}"), None, tail.first().map(|name| (*name).to_owned()))
        }
        [] => (prefix, None, None),
    }
}

async fn handle(State(fake): State<Arc<Fake>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let (collection, namespace, name) = parse(head.uri.path());
    let query = head.uri.query().unwrap_or_default();
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    let full = |name: &str| format!("{}/{name}", namespace.clone().unwrap_or_default());
    match (head.method, name) {
        (Method::POST, None) if collection.ends_with("tokenreviews") => {
            axum::Json(token_review(json)).into_response()
        }
        (Method::POST, None) if collection.ends_with("subjectaccessreviews") => {
            let mut review = json;
            review["status"] = json!({"allowed": true});
            axum::Json(review).into_response()
        }
        (Method::POST, None) => {
            let mut object = json;
            if let Some(namespace) = &namespace {
                object["metadata"]["namespace"] = namespace.as_str().into();
            }
            (StatusCode::CREATED, axum::Json(fake.apply(&collection, object))).into_response()
        }
        (Method::GET, Some(name)) => match fake.get(&collection, &full(&name)) {
            Some(object) => axum::Json(object).into_response(),
            None => not_found(),
        },
        (Method::PATCH, Some(name)) => match fake.get(&collection, &full(&name)) {
            Some(mut object) => {
                if json.is_array() {
                    let patch: json_patch::Patch = serde_json::from_value(json).unwrap();
                    json_patch::patch(&mut object, &patch).unwrap();
                } else {
                    json_patch::merge(&mut object, &json);
                }
                axum::Json(fake.apply(&collection, object)).into_response()
            }
            None => not_found(),
        },
        (Method::GET, None) if query.contains("watch=true") => watch(&fake, collection, namespace, query),
        (Method::GET, None) => {
            let guard = fake.store.lock().unwrap();
            let only = query
                .split('&')
                .find_map(|part| part.strip_prefix("fieldSelector=metadata.name%3D"))
                .map(str::to_owned);
            let items: Vec<Value> = guard
                .1
                .get(&collection)
                .into_iter()
                .flat_map(|objects| objects.values())
                .filter(|o| namespace.as_ref().is_none_or(|ns| o["metadata"]["namespace"] == ns.as_str()))
                .filter(|o| only.as_ref().is_none_or(|name| o["metadata"]["name"] == name.as_str()))
                .cloned()
                .collect();
            let version = guard.0.to_string();
            axum::Json(json!({"metadata": {"resourceVersion": version}, "items": items})).into_response()
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

fn not_found() -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound",
        "message": "not found", "code": 404});
    (StatusCode::NOT_FOUND, axum::Json(status)).into_response()
}

fn watch(fake: &Fake, collection: String, namespace: Option<String>, query: &str) -> Response {
    let only = query
        .split('&')
        .find_map(|part| part.strip_prefix("fieldSelector=metadata.name%3D"))
        .map(str::to_owned);
    let mut events = fake.events.subscribe();
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(16);
    tokio::spawn(async move {
        loop {
            let Ok((changed, event)) = events.recv().await else { return };
            if changed == "stop" {
                tokio::time::sleep(Duration::from_millis(10)).await;
                return;
            }
            let object = &event["object"];
            if changed != collection
                || namespace.as_ref().is_some_and(|ns| object["metadata"]["namespace"] != ns.as_str())
                || only.as_ref().is_some_and(|name| object["metadata"]["name"] != name.as_str())
            {
                continue;
            }
            if sender.send(Ok(format!("{event}\n").into())).await.is_err() {
                return;
            }
        }
    });
    Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receiver)).into_response()
}

/// Tokens are `ns:sa`.
fn token_review(mut review: Value) -> Value {
    let token = review["spec"]["token"].as_str().unwrap_or_default().to_owned();
    review["status"] = match token.split_once(':') {
        Some((namespace, account)) => json!({
            "authenticated": true,
            "audiences": ["istio-ca"],
            "user": {"username": format!("system:serviceaccount:{namespace}:{account}")},
        }),
        None => json!({"authenticated": false}),
    };
    review
}
