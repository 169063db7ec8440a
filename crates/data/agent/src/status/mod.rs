//! The status server (15020), and for our own data plane the health (15021) and metrics (15090) ports, which
//! Envoy serves itself.

mod app_metrics;
mod probes;

use std::fmt::Write as _;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::app_metrics::AppTarget;
pub use self::probes::{ProbeError, Probes};
use crate::certificates::{CaStatus, CertificateInfo};
use crate::serve::{Handler, method_not_allowed, text, with_type};
use crate::xds_client::XdsStatus;

/// Media type of the Prometheus text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Where the application is reached: in the same network namespace.
const APPLICATION: &str = "127.0.0.1";

/// A future of a [`DataPlaneStatus`].
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the status server asks of the data plane beside it.
pub trait DataPlaneStatus: std::fmt::Debug + Send + Sync {
    /// `Ok` when it can take traffic, else what is missing.
    fn ready(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Its metrics in the Prometheus text format; what cannot be had is left out.
    fn metrics(&self) -> BoxFuture<'_, String>;
}

/// What the status server needs.
#[derive(Debug, Clone)]
pub struct StatusState {
    /// Data plane.
    pub data_plane: Arc<dyn DataPlaneStatus>,
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
    pub async fn ready(&self) -> Result<(), String> {
        if self.quit.is_cancelled() {
            return Err("shutting down".into());
        }
        if !self.xds.is_configured() {
            return Err("no listeners and clusters from the control plane yet".into());
        }
        self.data_plane.ready().await
    }

    async fn metrics(&self) -> String {
        let mut out = self.data_plane.metrics().await;
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

/// Everything of the status port.
pub fn handler(state: StatusState) -> Handler {
    Arc::new(move |request: Request<Bytes>, peer: SocketAddr| {
        let state = state.clone();
        Box::pin(async move { respond(&state, request, peer).await })
    })
}

/// Only `/healthz/ready`, for the kubelet.
pub fn health_handler(state: StatusState) -> Handler {
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

/// Only `/stats/prometheus` of the data plane.
pub fn metrics_handler(data_plane: Arc<dyn DataPlaneStatus>) -> Handler {
    Arc::new(move |request: Request<Bytes>, _| {
        let data_plane = data_plane.clone();
        Box::pin(async move {
            match request.uri().path() {
                "/stats/prometheus" => with_type(StatusCode::OK, PROMETHEUS, data_plane.metrics().await),
                _ => text(StatusCode::NOT_FOUND, ""),
            }
        })
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
    // istioctl asks for `//stats/prometheus`, and Go's servers take that.
    match request.uri().path().replace("//", "/").as_str() {
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
        path if path.starts_with(probes::PREFIX) => {
            state.probes.run(path, APPLICATION, request.headers()).await
        }
        _ => text(StatusCode::NOT_FOUND, ""),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    /// A data plane that is what it says.
    #[derive(Debug)]
    struct Said(Result<(), &'static str>);

    impl DataPlaneStatus for Said {
        fn ready(&self) -> BoxFuture<'_, Result<(), String>> {
            Box::pin(async { self.0.map_err(str::to_owned) })
        }

        fn metrics(&self) -> BoxFuture<'_, String> {
            Box::pin(async { "data_plane 1\n".to_owned() })
        }
    }

    fn state(data_plane: Result<(), &'static str>) -> StatusState {
        StatusState {
            data_plane: Arc::new(Said(data_plane)),
            // Nothing is expected from the control plane.
            xds: Arc::new(XdsStatus::expecting(Vec::new())),
            probes: Arc::default(),
            app: None,
            ca: Arc::default(),
            certificate: watch::channel(None).1,
            quit: CancellationToken::new(),
        }
    }

    async fn ask(state: &StatusState, method: Method, path: &str, peer: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).body(Bytes::new()).unwrap();
        let response = respond(state, request, peer.parse().unwrap()).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    const LOOPBACK: &str = "127.0.0.1:1";

    #[tokio::test]
    async fn ready_is_what_the_data_plane_says() {
        let answer = ask(&state(Ok(())), Method::GET, "/healthz/ready", LOOPBACK).await;
        assert_eq!(answer, (200, String::new()));
        let answer = ask(&state(Err("warming")), Method::GET, "/healthz/ready", LOOPBACK).await;
        assert_eq!(answer, (503, "not ready: warming\n".to_owned()));
    }

    #[tokio::test]
    async fn before_the_first_configuration_nothing_is_ready() {
        let mut state = state(Ok(()));
        state.xds = Arc::default();
        assert_eq!(ask(&state, Method::GET, "/healthz/ready", LOOPBACK).await.0, 503);
    }

    #[tokio::test]
    async fn only_the_pod_itself_may_end_the_process() {
        let state = state(Ok(()));
        assert_eq!(ask(&state, Method::POST, "/quitquitquit", "10.0.0.1:1").await.0, 403);
        assert_eq!(ask(&state, Method::GET, "/quitquitquit", LOOPBACK).await.0, 405);
        assert!(!state.quit.is_cancelled());
        assert_eq!(ask(&state, Method::POST, "/quitquitquit", LOOPBACK).await.0, 200);
        assert!(state.quit.is_cancelled());
        assert_eq!(ask(&state, Method::GET, "/healthz/ready", LOOPBACK).await.0, 503);
    }

    #[tokio::test]
    async fn metrics_of_the_agent_follow_those_of_the_data_plane() {
        let (status, body) = ask(&state(Ok(())), Method::GET, "/stats/prometheus", LOOPBACK).await;
        assert_eq!(status, 200);
        assert!(body.starts_with("data_plane 1\n"), "{body}");
        assert!(body.contains("\nistio_agent_istiod_connected 0\n"), "{body}");
    }

    #[tokio::test]
    async fn unknown_paths_and_probes_are_not_found() {
        assert_eq!(ask(&state(Ok(())), Method::GET, "/", LOOPBACK).await.0, 404);
        assert_eq!(ask(&state(Ok(())), Method::GET, "/app-health/a/livez", LOOPBACK).await.0, 404);
    }
}
