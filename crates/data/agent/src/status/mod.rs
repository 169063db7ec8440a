//! The status server (15020), and for our own data plane the health (15021) and metrics (15090) ports, which
//! Envoy serves itself.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::ca::{CaStatus, CertificateInfo};
use super::merge::AppTarget;
use super::probes::{PREFIX, Probes};
use crate::admin::{AdminState, ServerState, stats};
use crate::fetch::Fetch;
use crate::serve::{Handler, method_not_allowed, text, with_type};
use crate::xds_client::XdsStatus;

/// How long Envoy may take to answer on loopback.
const ENVOY_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest metrics answer of Envoy.
const MAX_ENVOY_METRICS: usize = 64 * 1024 * 1024;
/// Media type of the Prometheus text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Where the application is reached: in the same network namespace.
const APPLICATION: &str = "127.0.0.1";

/// The data plane that the agent looks after.
#[derive(Debug, Clone)]
pub(super) enum Backend {
    /// Ours.
    Own(Arc<AdminState>),
    /// Envoy with its admin port.
    Envoy {
        /// Loopback port of its admin endpoints.
        admin_port: u16,
    },
}

/// What the status server needs.
#[derive(Debug, Clone)]
pub(super) struct StatusState {
    /// Data plane.
    pub backend: Backend,
    /// Control plane connection.
    pub xds: Arc<XdsStatus>,
    /// The application's probes.
    pub probes: Arc<Probes>,
    /// The application's metrics.
    pub app: Option<AppTarget>,
    /// Certificate requests.
    pub ca: Arc<CaStatus>,
    /// The present certificate.
    pub certificate: watch::Receiver<Option<CertificateInfo>>,
    /// Ends the process gracefully.
    pub quit: CancellationToken,
}

impl StatusState {
    /// `Ok` when traffic can be taken, else what is missing.
    pub(super) async fn ready(&self) -> Result<(), String> {
        if self.quit.is_cancelled() {
            return Err("shutting down".into());
        }
        if !self.xds.is_configured() {
            return Err("no listeners and clusters from the control plane yet".into());
        }
        match &self.backend {
            Backend::Own(admin) => match admin.state() {
                ServerState::Live => Ok(()),
                state => Err(format!("the proxy is {}", state.as_str())),
            },
            Backend::Envoy { admin_port } => envoy_ready(*admin_port).await,
        }
    }

    async fn metrics(&self) -> String {
        let mut out = match &self.backend {
            Backend::Own(admin) => stats::prometheus(admin),
            Backend::Envoy { admin_port } => {
                let address = format!("127.0.0.1:{admin_port}");
                match Fetch::get(address, "/stats/prometheus", ENVOY_TIMEOUT, MAX_ENVOY_METRICS).send().await
                {
                    Ok(answer) => String::from_utf8_lossy(&answer.body).into_owned(),
                    Err(error) => {
                        tracing::warn!(%error, "Envoy's metrics are left out");
                        String::new()
                    }
                }
            }
        };
        if let Some(app) = &self.app {
            out.push_str(&app.scrape(APPLICATION).await);
        }
        self.agent_metrics(&mut out);
        out
    }

    fn agent_metrics(&self, out: &mut String) {
        let mut metric = |name: &str, kind: &str, value: f64| {
            let _ = writeln!(out, "# TYPE {name} {kind}\n{name} {value}");
        };
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
        metric("istio_agent_num_outgoing_requests", "counter", count(&self.ca.requests));
        metric("istio_agent_num_failed_outgoing_requests", "counter", count(&self.ca.failures));
        metric("istio_agent_istiod_connection_failures", "counter", count(&self.xds.connection_failures));
        metric("istio_agent_istiod_connections", "counter", count(&self.xds.connections));
        metric("istio_agent_istiod_connected", "gauge", if self.xds.is_connected() { 1.0 } else { 0.0 });
        if let Some(info) = &*self.certificate.borrow() {
            let left = info.not_after.duration_since(SystemTime::now()).unwrap_or_default();
            metric("istio_agent_cert_expiry_seconds", "gauge", left.as_secs_f64());
        }
    }
}

/// Envoy is ready when it is live and its workers run; that is later than `/ready` of its admin endpoint says.
async fn envoy_ready(admin_port: u16) -> Result<(), String> {
    const FILTER: &str = "/stats?filter=%5E(server.state%7Clistener_manager.workers_started)%24";
    let address = format!("127.0.0.1:{admin_port}");
    let answer = Fetch::get(address, FILTER, ENVOY_TIMEOUT, MAX_ENVOY_METRICS)
        .send()
        .await
        .map_err(|e| e.to_string())?;
    let body = String::from_utf8_lossy(&answer.body);
    let value = |name: &str| {
        body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.trim().parse::<u64>().ok())
    };
    match (value("server.state"), value("listener_manager.workers_started")) {
        (Some(0), Some(1)) => Ok(()),
        (state, workers) => Err(format!("Envoy's state is {state:?}, its workers started: {workers:?}")),
    }
}

/// Everything of the status port.
pub(super) fn handler(state: StatusState) -> Handler {
    Arc::new(move |request: Request<Bytes>, peer: SocketAddr| {
        let state = state.clone();
        Box::pin(async move { respond(&state, request, peer).await })
    })
}

/// Only `/healthz/ready`, for the kubelet.
pub(super) fn health_handler(state: StatusState) -> Handler {
    Arc::new(move |request: Request<Bytes>, _| {
        let state = state.clone();
        Box::pin(async move {
            match request.uri().path() {
                "/healthz/ready" => ready(&state).await,
                _ => text(StatusCode::NOT_FOUND, ""),
            }
        })
    })
}

/// Only `/stats/prometheus` of our own proxy.
pub(super) fn prometheus_handler(admin: Arc<AdminState>) -> Handler {
    Arc::new(move |request: Request<Bytes>, _| {
        let response = match request.uri().path() {
            "/stats/prometheus" => with_type(StatusCode::OK, PROMETHEUS, stats::prometheus(&admin)),
            _ => text(StatusCode::NOT_FOUND, ""),
        };
        Box::pin(std::future::ready(response))
    })
}

async fn ready(state: &StatusState) -> Response<Full<Bytes>> {
    match state.ready().await {
        Ok(()) => text(StatusCode::OK, ""),
        Err(reason) => {
            tracing::debug!(reason, "not ready");
            text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n"))
        }
    }
}

async fn respond(state: &StatusState, request: Request<Bytes>, peer: SocketAddr) -> Response<Full<Bytes>> {
    match request.uri().path() {
        "/healthz/ready" => ready(state).await,
        "/stats/prometheus" | "/metrics" => with_type(StatusCode::OK, PROMETHEUS, state.metrics().await),
        "/quitquitquit" if !peer.ip().is_loopback() => {
            text(StatusCode::FORBIDDEN, "only requests from the same Pod are allowed\n")
        }
        "/quitquitquit" if request.method() != Method::POST => method_not_allowed(&Method::POST),
        "/quitquitquit" => {
            tracing::info!("asked to quit on the status port");
            state.quit.cancel();
            text(StatusCode::OK, "OK\n")
        }
        path if path.starts_with(PREFIX) => state.probes.run(path, APPLICATION, request.headers()).await,
        _ => text(StatusCode::NOT_FOUND, ""),
    }
}
