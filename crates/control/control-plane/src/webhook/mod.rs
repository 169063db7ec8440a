//! The webhooks' HTTPS server: `/inject` and `/validate` (docs/reference/istiod.md).

mod ca_bundle;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    inject::{self, InjectSettings, NamespaceLabels, Outcome},
    metrics::{Metric, Metrics},
    settings::Settings,
    validate,
};

pub use ca_bundle::keep_ca_bundles;

/// Largest review that is read: objects are at most 1.5 MiB in etcd, a review may hold two.
const MAX_REVIEW_BYTES: usize = 4 * 1024 * 1024;

/// Reviews that are judged at the same time: what they cost is the callers' choice, and the rest of the control plane has
/// to go on.
const MAX_REVIEWS: usize = 4;

/// Longest wait for a turn. The API server gives up after ten seconds.
const TURN_TIMEOUT: Duration = Duration::from_secs(8);

/// What the handlers need.
pub struct Webhooks {
    /// Namespaces and settings.
    pub settings: Arc<Settings>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Image that is injected.
    pub proxy_image: String,
    /// Revision of this control plane.
    pub revision: String,
    /// Turns of reviews.
    pub turns: Turns,
}

/// Bounds the reviews that are judged at the same time.
#[derive(Debug)]
pub struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_REVIEWS)))
    }
}

impl Webhooks {
    fn inject_settings(&self) -> InjectSettings {
        let cluster = self.settings.cluster();
        InjectSettings {
            proxy_image: self.proxy_image.clone(),
            revision: self.revision.clone(),
            cluster_id: cluster.cluster_id.clone(),
            cluster_domain: cluster.domain.clone(),
            mesh: self.settings.mesh_config(),
            default_config: self.settings.default_config(),
        }
    }

    fn namespace_labels(&self, namespace: &str) -> NamespaceLabels {
        let namespace = self.settings.namespace(namespace);
        namespace.and_then(|namespace| namespace.metadata.labels.clone()).unwrap_or_default()
    }
}

/// The routes.
pub fn router(webhooks: Arc<Webhooks>) -> Router {
    Router::new()
        .route("/inject", post(inject_pod))
        .route("/inject/{*settings}", post(inject_pod))
        .route("/validate", post(validate_object))
        .route("/httpsReady", get(|| async { "ready" }))
        .layer(DefaultBodyLimit::max(MAX_REVIEW_BYTES))
        .with_state(webhooks)
}

type Answer = Result<Json<Value>, (StatusCode, String)>;

/// Judges a review off the threads that everything else runs on, when it is its turn.
async fn in_turn(
    webhooks: Arc<Webhooks>,
    body: Bytes,
    judge: impl FnOnce(&Webhooks, &Bytes) -> Answer + Send + 'static,
) -> Answer {
    let unavailable = |text: &str| (StatusCode::SERVICE_UNAVAILABLE, text.to_owned());
    let turn = tokio::time::timeout(TURN_TIMEOUT, webhooks.turns.0.clone().acquire_owned());
    let Ok(Ok(turn)) = turn.await else {
        return Err(unavailable("too many reviews are being judged; try again"));
    };
    let judged = tokio::task::spawn_blocking(move || {
        let answer = judge(&webhooks, &body);
        drop(turn);
        answer
    });
    judged.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a review could not be judged for a defect");
        Err((
            StatusCode::INTERNAL_SERVER_ERROR,
            "the review could not be judged; see the control plane's log".to_owned(),
        ))
    })
}

/// The request in a review, and the review's version, which the answer repeats.
fn read(body: &Bytes) -> Result<(Value, Value), (StatusCode, String)> {
    let mut review: Value = serde_json::from_slice(body)
        .map_err(|error| (StatusCode::BAD_REQUEST, format!("not an AdmissionReview: {error}")))?;
    let request = review["request"].take();
    if !request["uid"].is_string() {
        return Err((StatusCode::BAD_REQUEST, "not an AdmissionReview: request.uid is missing".to_owned()));
    }
    Ok((review["apiVersion"].take(), request))
}

fn answer(version: &Value, response: Value) -> Json<Value> {
    Json(json!({"apiVersion": version, "kind": "AdmissionReview", "response": response}))
}

async fn inject_pod(State(webhooks): State<Arc<Webhooks>>, body: Bytes) -> Answer {
    in_turn(webhooks, body, inject_one).await
}

fn inject_one(webhooks: &Webhooks, body: &Bytes) -> Answer {
    webhooks.metrics.count(Metric::InjectionRequests, &[]);
    let (version, request) = read(body).inspect_err(|_| {
        webhooks.metrics.count(Metric::InjectionFailure, &[]);
    })?;
    let uid = &request["uid"];
    let namespace = request["namespace"]
        .as_str()
        .or_else(|| request["object"]["metadata"]["namespace"].as_str())
        .unwrap_or("default");
    let labels = webhooks.namespace_labels(namespace);
    let name = ["name", "generateName"]
        .iter()
        .find_map(|key| request["object"]["metadata"][*key].as_str())
        .unwrap_or_default();
    let response = match inject::review(&request["object"], namespace, &labels, &webhooks.inject_settings()) {
        Ok(Outcome::Skipped(skip)) => {
            webhooks.metrics.count(Metric::InjectionSkip, &[]);
            tracing::debug!(namespace, pod = name, reason = skip.reason(), "not injected");
            json!({"uid": uid, "allowed": true})
        }
        Ok(Outcome::Injected { patch, warnings }) => {
            webhooks.metrics.count(Metric::InjectionSuccess, &[]);
            tracing::info!(namespace, pod = name, "injected");
            let patch = serde_json::to_vec(&patch)
                .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
            let patch = STANDARD.encode(patch);
            let warnings = validate::warnings(&warnings);
            // A Deployment's Pods are made by a controller, which shows warnings to nobody.
            for warning in &warnings {
                tracing::warn!(namespace, pod = name, "{warning}");
            }
            json!({"uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": patch, "warnings": warnings})
        }
        Err(error) => {
            webhooks.metrics.count(Metric::InjectionFailure, &[]);
            tracing::warn!(namespace, pod = name, %error, "injection refused");
            refusal(uid, &error.to_string(), 400)
        }
    };
    Ok(answer(&version, response))
}

async fn validate_object(State(webhooks): State<Arc<Webhooks>>, body: Bytes) -> Answer {
    in_turn(webhooks, body, validate_one).await
}

fn validate_one(webhooks: &Webhooks, body: &Bytes) -> Answer {
    let (version, request) = read(body).inspect_err(|_| {
        webhooks.metrics.count(Metric::ValidationHttpError, &[("status", "400")]);
    })?;
    let kind = request["kind"]["kind"].as_str().unwrap_or_default();
    let labels = [("resource", kind)];
    let uid = &request["uid"];
    let object = &request["object"];
    if object.is_null() {
        // A deletion.
        return Ok(answer(&version, json!({"uid": uid, "allowed": true})));
    }
    let verdict = validate::validate(&request);
    let mut response = match &verdict.refused {
        None => {
            webhooks.metrics.count(Metric::ValidationPassed, &labels);
            json!({"uid": uid, "allowed": true})
        }
        Some(reason) => {
            webhooks.metrics.count(Metric::ValidationFailed, &labels);
            refusal(uid, reason, 422)
        }
    };
    if !verdict.warnings.is_empty() {
        response["warnings"] = json!(verdict.warnings);
    }
    Ok(answer(&version, response))
}

fn refusal(uid: &Value, message: &str, code: u16) -> Value {
    json!({
        "uid": uid,
        "allowed": false,
        "status": {"status": "Failure", "message": message, "reason": "Invalid", "code": code},
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn post(path: &str, review: Value) -> (StatusCode, Value) {
        let webhooks = Webhooks {
            settings: Arc::default(),
            metrics: Arc::default(),
            proxy_image: "portolan/proxy".into(),
            revision: "default".into(),
            turns: Turns::default(),
        };
        let request = http::Request::post(path).body(Body::from(review.to_string())).unwrap();
        let response = router(Arc::new(webhooks)).oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    fn review(object: Value) -> Value {
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "u-1", "namespace": "bookinfo", "kind": {"kind": object["kind"]}, "object": object},
        })
    }

    /// Thousands of expressions, and one that would be a huge automaton, are judged by their text.
    #[tokio::test]
    async fn what_is_dear_to_judge_is_refused_at_once() {
        let with = |matches: Vec<Value>| {
            json!({"kind": "VirtualService", "apiVersion": "networking.istio.io/v1beta1", "metadata": {"name": "a"},
                "spec": {"hosts": ["a"], "http": [{"match": matches, "route": [{"destination": {"host": "b"}}]}]}})
        };
        let regex = |text: &str| json!({"uri": {"regex": text}});
        for (matches, says) in [
            (vec![regex("/a.*"); 20_000], "divide it"),
            (vec![regex(&format!("(?i)[{}]", r"\p{L}".repeat(3_000)))], "too large an automaton"),
            (vec![regex(r"[\p{L}]{50}"); 1_000], "too large an automaton"),
        ] {
            let (status, answer) = post("/validate", review(with(matches))).await;
            assert_eq!(status, StatusCode::OK);
            assert_eq!(answer["response"]["allowed"], false);
            let message = answer["response"]["status"]["message"].as_str().unwrap();
            assert!(message.contains(says), "{message}");
        }
    }

    #[tokio::test]
    async fn reviews_take_turns() {
        let webhooks = Arc::new(Webhooks {
            settings: Arc::default(),
            metrics: Arc::default(),
            proxy_image: String::new(),
            revision: String::new(),
            turns: Turns::default(),
        });
        let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
        let (go, stop) = std::sync::mpsc::channel::<()>();
        let stop = Arc::new(std::sync::Mutex::new(stop));
        let judged: Vec<_> = (0..=MAX_REVIEWS)
            .map(|_| {
                let (started, stop) = (started.clone(), stop.clone());
                let judge = move |_: &Webhooks, _: &Bytes| {
                    started.send(()).unwrap();
                    stop.lock().unwrap().recv().unwrap();
                    Ok(Json(Value::Null))
                };
                tokio::spawn(in_turn(webhooks.clone(), Bytes::new(), judge))
            })
            .collect();
        for _ in 0..MAX_REVIEWS {
            starts.recv().await.unwrap();
        }
        assert_eq!(webhooks.turns.0.available_permits(), 0);
        assert!(starts.try_recv().is_err(), "one waits");
        (0..=MAX_REVIEWS).for_each(|_| go.send(()).unwrap());
        for one in judged {
            assert!(one.await.unwrap().is_ok());
        }
        assert_eq!(webhooks.turns.0.available_permits(), MAX_REVIEWS);
    }

    #[tokio::test]
    async fn a_pod_is_patched() {
        let pod = json!({
            "kind": "Pod", "metadata": {"name": "a", "labels": {"sidecar.istio.io/inject": "true"}},
            "spec": {"containers": [{"name": "a", "image": "x"}]},
        });
        let (status, answer) = post("/inject", review(pod)).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(
            (&answer["response"]["uid"], &answer["response"]["allowed"]),
            (&json!("u-1"), &json!(true))
        );
        let patch = STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
        assert!(String::from_utf8(patch).unwrap().contains("istio-proxy"));
        let plain = json!({"kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": []}});
        let (_, answer) = post("/inject", review(plain)).await;
        assert!(answer["response"].get("patch").is_none());
    }

    #[tokio::test]
    async fn what_a_pod_does_not_get_is_in_the_answer() {
        let asking = |annotation: &str, value: &str| {
            review(json!({
                "kind": "Pod",
                "metadata": {"name": "a", "labels": {"sidecar.istio.io/inject": "true"}, "annotations": {annotation: value}},
                "spec": {"containers": [{"name": "a", "image": "x"}]},
            }))
        };
        let (_, answer) = post("/inject", asking("sidecar.istio.io/userVolume", "[]")).await;
        assert_eq!(answer["response"]["allowed"], true);
        assert!(answer["response"]["warnings"][0].as_str().unwrap().contains("userVolume"), "{answer}");
        let (_, answer) = post("/inject", asking("sidecar.istio.io/interceptionMode", "NONE")).await;
        assert_eq!(answer["response"]["allowed"], false);
        assert!(
            answer["response"]["status"]["message"].as_str().unwrap().contains("interceptionMode"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn a_bad_object_is_refused() {
        let gateway = json!({
            "apiVersion": "networking.istio.io/v1beta1", "kind": "Gateway",
            "metadata": {"name": "g", "namespace": "a"}, "spec": {"servers": []},
        });
        let (_, answer) = post("/validate", review(gateway)).await;
        assert_eq!(answer["response"]["allowed"], false);
        assert!(answer["response"]["status"]["message"].as_str().unwrap().contains("servers"), "{answer}");
        let (status, _) = post("/validate", json!({"a": 1})).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
}
