//! The admin endpoints of Envoy's administration interface, on loopback only.
//!
//! One file per family of endpoints; [`ENDPOINTS`] registers them all. What changes the proxy is POST only.

mod certs;
mod clusters;
mod config_dump;
mod lifecycle;
mod listeners;
mod logging;
mod server_info;
pub mod stats;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use portolan_envoy_api::pb::envoy::config::core::v3::Node;
use tokio_util::sync::CancellationToken;

use crate::log::LogControl;
use portolan_agent::serve::{Handler, method_not_allowed, text, with_type};
use portolan_agent::xds_client::XdsStatus;
use portolan_dataplane::StatsHandle;
use portolan_dataplane::config::{ConfigStore, ResourceState};

pub use server_info::ServerState;

/// A listener that still warms this long after configuration arrived no longer keeps the proxy from being
/// ready: its certificate or routes may never come, and the other listeners are needed.
const WARMING_PATIENCE: Duration = Duration::from_secs(30);

/// What the endpoints show and act on.
pub struct AdminState {
    /// Configuration.
    pub store: ConfigStore,
    /// Statistics.
    pub stats: StatsHandle,
    /// The control plane connection, if the proxy has one.
    pub xds: Option<Arc<XdsStatus>>,
    /// The bootstrap as JSON: given by file or equivalent to what the agent does.
    pub bootstrap: serde_json::Value,
    /// Who we are in the mesh.
    pub node: Node,
    /// The command line, for `/server_info`.
    pub options: serde_json::Value,
    /// Worker threads.
    pub concurrency: usize,
    /// When the process started.
    pub started: SystemTime,
    /// Ends the process gracefully.
    pub quit: CancellationToken,
    /// Log levels.
    pub log: LogControl,
    /// Set by `/healthcheck/fail`.
    pub health_failed: AtomicBool,
}

impl std::fmt::Debug for AdminState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminState").field("node", &self.node.id).finish_non_exhaustive()
    }
}

impl AdminState {
    /// Envoy's server state.
    pub fn state(&self) -> ServerState {
        let status = self.store.status();
        if status.draining || self.health_failed.load(Ordering::Relaxed) || self.quit.is_cancelled() {
            return ServerState::Draining;
        }
        if !status.workers_started {
            return ServerState::PreInitializing;
        }
        let configured = self.xds.as_ref().is_none_or(|xds| xds.is_configured());
        let warming = status.listeners.iter().any(|listener| listener.state == ResourceState::Warming);
        let patient = self.started.elapsed().unwrap_or_default() < WARMING_PATIENCE;
        if !configured || (warming && patient) { ServerState::Initializing } else { ServerState::Live }
    }
}

type Respond = fn(&AdminState, &Request<Bytes>) -> Response<Full<Bytes>>;

/// One endpoint.
struct Endpoint {
    path: &'static str,
    /// Whether it changes something and so wants POST.
    mutates: bool,
    help: &'static str,
    respond: Respond,
}

const fn get(path: &'static str, help: &'static str, respond: Respond) -> Endpoint {
    Endpoint { path, mutates: false, help, respond }
}

const fn post(path: &'static str, help: &'static str, respond: Respond) -> Endpoint {
    Endpoint { path, mutates: true, help, respond }
}

/// All endpoints, by path.
static ENDPOINTS: &[Endpoint] = &[
    get("/", "this page", home),
    get("/certs", "print certificates on the machine", certs::certs),
    get("/clusters", "upstream cluster status (format=json)", clusters::clusters),
    get(
        "/config_dump",
        "dump current configuration (include_eds, resource, mask, name_regex)",
        config_dump::config_dump,
    ),
    post("/drain_listeners", "drain listeners (inboundonly, graceful)", lifecycle::drain_listeners),
    post("/healthcheck/fail", "cause the server to fail health checks", lifecycle::healthcheck_fail),
    post("/healthcheck/ok", "cause the server to pass health checks", lifecycle::healthcheck_ok),
    get("/help", "print out the list of admin commands", help),
    get(
        "/hot_restart_version",
        "print the hot restart compatibility version",
        server_info::hot_restart_version,
    ),
    get("/init_dump", "dump what the server still waits for", server_info::init_dump),
    get("/listeners", "print listener info (format=json)", listeners::listeners),
    post("/logging", "query or change log levels (level, paths, <logger>=<level>)", logging::logging),
    get("/memory", "print current memory usage", server_info::memory),
    post("/quitquitquit", "exit the server", lifecycle::quit),
    get("/ready", "print server state, return 200 if LIVE, otherwise 503", server_info::ready),
    get("/runtime", "print runtime values", server_info::runtime),
    get("/server_info", "print server version and status information", server_info::server_info),
    get("/stats", "print server stats (filter, usedonly, format=json|prometheus)", stats::stats),
    get("/stats/prometheus", "print server stats in prometheus format", stats::stats_prometheus),
];

/// The handler to serve.
pub fn handler(state: Arc<AdminState>) -> Handler {
    Arc::new(move |request: Request<Bytes>, _peer: SocketAddr| {
        let response = respond(&state, &request);
        Box::pin(std::future::ready(response))
    })
}

fn respond(state: &AdminState, request: &Request<Bytes>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let Some(endpoint) = ENDPOINTS.iter().find(|endpoint| endpoint.path == path) else {
        return text(StatusCode::NOT_FOUND, format!("invalid path. {}", commands()));
    };
    if endpoint.mutates && request.method() != Method::POST {
        return method_not_allowed(&Method::POST);
    }
    (endpoint.respond)(state, request)
}

fn commands() -> String {
    let mut out = "admin commands are:\n".to_owned();
    for endpoint in ENDPOINTS {
        let post = if endpoint.mutates { " (POST)" } else { "" };
        out.push_str(&format!("  {}{post}: {}\n", endpoint.path, endpoint.help));
    }
    out
}

fn help(_: &AdminState, _: &Request<Bytes>) -> Response<Full<Bytes>> {
    text(StatusCode::OK, commands())
}

fn home(_: &AdminState, _: &Request<Bytes>) -> Response<Full<Bytes>> {
    let rows: String = ENDPOINTS
        .iter()
        .map(|endpoint| {
            let name = if endpoint.mutates {
                format!("<form method=post action='{0}'><button>{0}</button></form>", endpoint.path)
            } else {
                format!("<a href='{0}'>{0}</a>", endpoint.path)
            };
            format!("<tr><td>{name}</td><td>{}</td></tr>\n", endpoint.help)
        })
        .collect();
    let page = format!("<!doctype html><title>portolan-proxy admin</title><table>\n{rows}</table>\n");
    with_type(StatusCode::OK, "text/html; charset=UTF-8", page)
}

#[cfg(test)]
pub(crate) mod tests {
    use http_body_util::BodyExt;

    use super::*;

    /// State of a proxy without data plane threads.
    pub(crate) fn state(store: ConfigStore) -> AdminState {
        AdminState {
            store,
            stats: StatsHandle::default(),
            xds: None,
            bootstrap: serde_json::json!({}),
            node: Node::default(),
            options: serde_json::json!({}),
            concurrency: 1,
            started: SystemTime::now(),
            quit: CancellationToken::new(),
            log: LogControl::disabled(),
            health_failed: AtomicBool::new(false),
        }
    }

    /// Status and body of one request.
    pub(crate) async fn ask(state: &AdminState, method: Method, uri: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(uri).body(Bytes::new()).unwrap();
        let response = respond(state, &request);
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn paths_and_methods() {
        let data_plane = portolan_dataplane::DataPlane::start(portolan_dataplane::DataPlaneOptions {
            concurrency: 1,
            ..Default::default()
        })
        .unwrap();
        let state = state(data_plane.config());
        for (method, uri, status) in [
            (Method::GET, "/help", 200),
            (Method::GET, "/", 200),
            (Method::GET, "/nothing", 404),
            (Method::GET, "/quitquitquit", 405),
            (Method::GET, "/drain_listeners", 405),
            (Method::GET, "/config_dump", 200),
            (Method::GET, "/clusters?format=json", 200),
            (Method::GET, "/listeners", 200),
            (Method::GET, "/certs", 200),
            (Method::GET, "/memory", 200),
            (Method::GET, "/server_info", 200),
            (Method::GET, "/init_dump", 200),
            (Method::GET, "/stats?filter=%5Eserver%5C.&format=json", 200),
            (Method::GET, "/stats?filter=(", 400),
            (Method::POST, "/healthcheck/fail", 200),
            (Method::POST, "/quitquitquit", 200),
        ] {
            let (got, body) = ask(&state, method.clone(), uri).await;
            assert_eq!(got, status, "{method} {uri}: {body}");
        }
        assert!(state.quit.is_cancelled());
        assert_eq!(ask(&state, Method::GET, "/ready").await, (503, "DRAINING\n".into()));
    }
}
