//! Metrics, health and what the control plane knows, for people and tools (docs/reference/istiod.md).
//!
//! Metrics, version and readiness are open. What `/debug` shows is the mesh's whole configuration, so that callers off
//! loopback need a token of a service account, unless the operator opened it.

mod config;
mod dump;
mod registry;
mod state;
mod sync;

use std::sync::{Arc, atomic::Ordering};

use axum::{
    Extension, Json, Router,
    extract::{Query, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use portolan_mesh::Model;
use portolan_names::names;
use serde::Deserialize;
use serde_json::{Value, json};

pub use state::Debug;

use crate::{metrics::Metric, tls::Peer};

type Shared = State<Arc<Debug>>;

/// Parameters of all endpoints.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameters {
    #[serde(rename = "proxyID")]
    proxy_id: Option<String>,
    push: Option<String>,
    brief: Option<String>,
}

/// Paths with what they show.
const INDEX: [(&str, &str); 10] = [
    ("/debug/syncz", "Synchronization status of all proxies"),
    (
        "/debug/adsz",
        "Connected proxies and what they watch; with push=true compares all of it with what they were sent",
    ),
    ("/debug/registryz", "Services of the mesh"),
    ("/debug/endpointz", "Endpoints of the mesh; brief=1 for text"),
    ("/debug/configz", "Configuration objects"),
    ("/debug/config_dump", "Configuration of the proxy proxyID, in the form of Envoy's admin endpoint"),
    ("/debug/edsz", "Endpoints of the proxy proxyID"),
    ("/debug/ndsz", "Names that agents resolve"),
    ("/debug/mesh", "Settings of the mesh"),
    ("/debug/derivez", "Work on the model, by kind of value"),
];

/// Routes of the monitoring port.
pub fn router(debug: Arc<Debug>) -> Router {
    let guarded = Router::new()
        .route("/debug", get(index))
        .route("/debug/list", get(list))
        .route("/debug/syncz", get(syncz))
        .route("/debug/adsz", get(adsz))
        .route("/debug/registryz", get(registryz))
        .route("/debug/endpointz", get(endpointz))
        .route("/debug/configz", get(configz))
        .route("/debug/config_dump", get(config_dump))
        .route("/debug/edsz", get(edsz))
        .route("/debug/ndsz", get(ndsz))
        .route("/debug/mesh", get(mesh))
        .route("/debug/derivez", get(derivez))
        .layer(middleware::from_fn_with_state(debug.clone(), guard));
    open_routes().merge(guarded).with_state(debug)
}

/// Routes of the plain HTTP port: health only.
pub fn health_router(debug: Arc<Debug>) -> Router {
    open_routes().with_state(debug)
}

fn open_routes() -> Router<Arc<Debug>> {
    Router::new().route("/metrics", get(metrics)).route("/version", get(version)).route("/ready", get(ready))
}

/// Lets loopback through, and service accounts.
async fn guard(
    State(debug): Shared,
    peer: Option<Extension<Peer>>,
    request: Request,
    next: Next,
) -> Response {
    let local = peer.is_some_and(|Extension(peer)| peer.address.ip().to_canonical().is_loopback());
    if debug.open || local {
        return next.run(request).await;
    }
    let token = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .map(str::to_owned);
    let Some(token) = token else {
        let text = "the debug endpoints need a bearer token (a service account's, audience istio-ca) or a port-forward\n";
        return (StatusCode::UNAUTHORIZED, text).into_response();
    };
    match debug.authenticator.by_token(&token).await {
        // What proxies may know of each other is little: only the control plane's namespace may see all.
        Ok(caller) if caller.namespace() == debug.settings.cluster().control_plane_namespace => {
            next.run(request).await
        }
        Ok(caller) => {
            let text = format!(
                "service account {}/{} may not use the debug endpoints\n",
                caller.namespace(),
                caller.service_account()
            );
            (StatusCode::FORBIDDEN, text).into_response()
        }
        Err(status) => (StatusCode::UNAUTHORIZED, format!("{}\n", status.message())).into_response(),
    }
}

async fn metrics(State(debug): Shared) -> Response {
    for (kind, counts) in debug.publisher.counts() {
        let labels = [("kind", kind)];
        debug.metrics.total(Metric::DerivedMade, &labels, counts.made);
        debug.metrics.total(Metric::DerivedUnchanged, &labels, counts.unchanged);
        debug.metrics.total(Metric::DerivedFailed, &labels, counts.failed);
        debug.metrics.set(Metric::DerivedLive, &labels, counts.live);
    }
    ([(header::CONTENT_TYPE, crate::metrics::CONTENT_TYPE)], debug.metrics.page()).into_response()
}

/// The release of Istio that this is in the place of, and ours, in the form `RELEASE-REVISION-STATUS` that istioctl and
/// Kiali take apart.
pub(crate) fn istio_version() -> String {
    format!("{}-portolan-{}", names::ISTIO_VERSION, env!("CARGO_PKG_VERSION"))
}

async fn version() -> String {
    istio_version()
}

async fn ready(State(debug): Shared) -> Response {
    if !debug.serving.load(Ordering::Acquire) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the servers are starting\n").into_response();
    }
    if !debug.publisher.is_ready() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the cluster's state is being read\n").into_response();
    }
    "ready\n".into_response()
}

async fn index() -> Html<String> {
    let rows: String = INDEX
        .iter()
        .map(|(path, what)| format!("<tr><td><a href=\"{path}\">{path}</a></td><td>{what}</td></tr>\n"))
        .collect();
    Html(format!("<!doctype html><title>Debug</title><table>\n{rows}</table>\n"))
}

async fn list() -> Json<Value> {
    Json(INDEX.iter().map(|(path, what)| json!({"href": path, "name": path, "help": what})).collect())
}

async fn syncz(State(debug): Shared) -> Json<Value> {
    Json(sync::syncz(&debug.connections))
}

async fn adsz(State(debug): Shared, Query(parameters): Query<Parameters>) -> Response {
    if parameters.push.as_deref() == Some("true") {
        debug.connections.compare_all();
        return format!("Pushed to {} servers\n", debug.connections.len()).into_response();
    }
    Json(sync::adsz(&debug.connections)).into_response()
}

/// Reads the model, for a page.
async fn read<T: Send + 'static>(
    debug: &Debug,
    look: impl FnOnce(Model<'_>) -> T + Send + 'static,
) -> Result<T, Response> {
    debug.publisher.blocking(|publisher| publisher.read(look)).await.ok_or_else(broken)
}

fn broken() -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, "this can't be shown; see the control plane's log\n").into_response()
}

async fn registryz(State(debug): Shared) -> Result<Json<Value>, Response> {
    if !debug.publisher.is_ready() {
        return Ok(Json(json!([{}])));
    }
    read(&debug, registry::registryz).await.map(Json)
}

async fn endpointz(State(debug): Shared, Query(parameters): Query<Parameters>) -> Result<Response, Response> {
    if !debug.publisher.is_ready() {
        return Ok(Json(json!([{}])).into_response());
    }
    if parameters.brief.is_some_and(|brief| !brief.is_empty()) {
        return read(&debug, registry::endpointz_brief).await.map(IntoResponse::into_response);
    }
    read(&debug, registry::endpointz).await.map(|all| Json(all).into_response())
}

async fn configz(State(debug): Shared) -> Result<Json<Value>, Response> {
    let list = debug.publisher.blocking(|publisher| config::configz(publisher.facts(config::objects)));
    list.await.map(Json).ok_or_else(broken)
}

async fn mesh(State(debug): Shared) -> Json<Value> {
    Json(serde_json::to_value(&*debug.settings.mesh_config()).unwrap_or_default())
}

async fn derivez(State(debug): Shared) -> Result<Json<Value>, Response> {
    let shown = |counts: portolan_derive::Counts| json!({"made": counts.made, "unchanged": counts.unchanged, "failed": counts.failed, "live": counts.live});
    let counts = debug.publisher.counts().into_iter().map(|(kind, counts)| (kind.to_owned(), shown(counts)));
    let work: serde_json::Map<String, Value> = counts.collect();
    let refused = debug.publisher.blocking(|publisher| publisher.refusals()).await.ok_or_else(broken)?;
    let refused: Vec<Value> = refused
        .iter()
        .map(|refusal| json!({"type": refusal.type_url, "name": &*refusal.name, "reason": &*refusal.reason}))
        .collect();
    Ok(Json(json!({"work": work, "refused": refused})))
}

async fn config_dump(State(debug): Shared, Query(parameters): Query<Parameters>) -> Response {
    match dump::subject(&debug, parameters.proxy_id.as_deref()) {
        Ok(subject) => Json(subject.config_dump()).into_response(),
        Err(refusal) => refusal,
    }
}

async fn edsz(State(debug): Shared, Query(parameters): Query<Parameters>) -> Response {
    match dump::subject(&debug, parameters.proxy_id.as_deref()) {
        Ok(subject) => Json(subject.endpoints()).into_response(),
        Err(refusal) => refusal,
    }
}

async fn ndsz(State(debug): Shared) -> Result<Json<Value>, Response> {
    if !debug.publisher.is_ready() {
        return Ok(Json(Value::Null));
    }
    read(&debug, registry::ndsz).await.map(Json)
}
