//! Startup, liveness and readiness probes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use portolan_identity::Unverified;
use rustls::pki_types::ServerName;

use crate::network::NetnsHandle;

/// Bytes of an answer that are read (the kubelet's limit).
const MAX_BODY: usize = 10 << 10;
/// Text of a failed answer in an event.
const MAX_EVENT_TEXT: usize = 200;

/// A probe's numbers, with their defaults.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) delay: Duration,
    pub(crate) period: Duration,
    pub(crate) timeout: Duration,
    pub(crate) success: i32,
    pub(crate) failure: i32,
}

pub(crate) fn timing(probe: &Probe) -> Timing {
    let seconds = |value: Option<i32>, default: u64| {
        let value = value.filter(|v| *v > 0).and_then(|v| u64::try_from(v).ok());
        Duration::from_secs(value.unwrap_or(default))
    };
    Timing {
        delay: seconds(probe.initial_delay_seconds, 0),
        period: seconds(probe.period_seconds, 10),
        timeout: seconds(probe.timeout_seconds, 1),
        success: probe.success_threshold.unwrap_or(1).max(1),
        failure: probe.failure_threshold.unwrap_or(3).max(1),
    }
}

/// Runs an exec action in the container; gives the exit code and the output.
pub(crate) trait Exec {
    fn exec(&self, action: &ExecAction) -> impl Future<Output = Result<(i32, String), String>> + Send;
}

/// One probe. `Err` says why it failed.
pub(crate) async fn probe(
    probe: &Probe,
    container: &Container,
    pod: Ipv4Addr,
    network: &NetnsHandle,
    exec: &impl Exec,
) -> Result<(), String> {
    let limit = timing(probe).timeout;
    let run = async {
        if let Some(action) = &probe.http_get {
            http_get(action, container, pod, network).await
        } else if let Some(action) = &probe.tcp_socket {
            let address = target(action.host.as_deref(), &action.port, container, pod)?;
            network.connect(address).await.map(drop).map_err(|e| e.to_string())
        } else if let Some(action) = &probe.grpc {
            // Without the health protocol: a server that takes connections counts as healthy.
            let port = u16::try_from(action.port).map_err(|_| "grpc port out of range".to_owned())?;
            network.connect((pod, port).into()).await.map(drop).map_err(|e| e.to_string())
        } else if let Some(action) = &probe.exec {
            match exec.exec(action).await? {
                (0, _) => Ok(()),
                (code, output) => Err(format!("command exited with {code}: {}", cut(&output))),
            }
        } else {
            Err("the probe has no action".to_owned())
        }
    };
    match tokio::time::timeout(limit, run).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
    }
}

fn target(
    host: Option<&str>,
    port: &IntOrString,
    container: &Container,
    pod: Ipv4Addr,
) -> Result<SocketAddr, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|p| p.name.as_deref() == Some(name))
            .map(|p| p.container_port)
            .or_else(|| name.parse().ok()),
    };
    let port = number
        .and_then(|n| u16::try_from(n).ok())
        .ok_or_else(|| format!("container {} has no port {port:?}", container.name))?;
    let address = match host.filter(|h| !h.is_empty()) {
        None => pod,
        Some(host) => host.parse().map_err(|_| format!("probe host {host} is not an IPv4 address"))?,
    };
    Ok((address, port).into())
}

async fn http_get(
    action: &HTTPGetAction,
    container: &Container,
    pod: Ipv4Addr,
    network: &NetnsHandle,
) -> Result<(), String> {
    let address = target(action.host.as_deref(), &action.port, container, pod)?;
    let path = action.path.as_deref().filter(|p| !p.is_empty()).unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut request =
        http::Request::get(&path).header("user-agent", "kube-probe/1.33").header("accept", "*/*");
    let mut host = address.to_string();
    for header in action.http_headers.iter().flatten() {
        if header.name.eq_ignore_ascii_case("host") {
            host.clone_from(&header.value);
        } else {
            request = request.header(&header.name, &header.value);
        }
    }
    let request = request
        .header("host", host)
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| format!("bad probe: {e}"))?;
    let stream = network.connect(address).await.map_err(|e| e.to_string())?;
    let response = if action.scheme.as_deref() == Some("HTTPS") {
        let name = ServerName::from(address.ip());
        let config = Unverified::client_config().map_err(|e| e.to_string())?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, stream).await.map_err(|e| format!("TLS with {address}: {e}"))?;
        send(TokioIo::new(stream), request).await
    } else {
        send(TokioIo::new(stream), request).await
    };
    let (status, body) = response.map_err(|e| format!("Get \"{address}{path}\": {e}"))?;
    if (200..400).contains(&status) {
        Ok(())
    } else if body.is_empty() {
        Err(format!("HTTP probe failed with statuscode: {status}"))
    } else {
        Err(format!("HTTP probe failed with statuscode: {status}: {}", cut(&body)))
    }
}

async fn send<IO>(io: IO, request: http::Request<Empty<Bytes>>) -> Result<(u16, String), hyper::Error>
where
    IO: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let body = body.map(|b| b.to_bytes()).unwrap_or_default();
        Ok((status, String::from_utf8_lossy(&body).trim().to_owned()))
    };
    tokio::pin!(exchange);
    tokio::pin!(connection);
    tokio::select! {
        result = &mut exchange => result,
        // The connection may end before the answer has been handed over.
        _ = &mut connection => exchange.await,
    }
}

fn cut(text: &str) -> &str {
    let end = text.char_indices().map(|(i, _)| i).find(|i| *i >= MAX_EVENT_TEXT).unwrap_or(text.len());
    text.get(..end).unwrap_or(text)
}
