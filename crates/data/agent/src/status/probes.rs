//! The application's probes, run on behalf of the kubelet.
//!
//! Injection rewrites a container's probes to `/app-health/<container>/{livez,readyz,startupz}` on the status
//! port, because the kubelet has no mesh certificate, and hands the original ones over in
//! `ISTIO_KUBE_APP_PROBERS`.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::Value;

use crate::fetch::Fetch;
use crate::serve::text;

/// Longest probe answer that is read; only the status counts.
const MAX_BODY: usize = 64 * 1024;
/// Kubernetes' default for `timeoutSeconds`.
const DEFAULT_TIMEOUT: u64 = 1;
/// Longest timeout that is honoured.
const MAX_TIMEOUT: u64 = 60;

/// Path prefix of rewritten probes.
pub(super) const PREFIX: &str = "/app-health/";

/// All probes by their path on the status port.
#[derive(Debug, Clone, Default)]
pub struct Probes(BTreeMap<String, Probe>);

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    http_get: Option<HttpGet>,
    tcp_socket: Option<TcpSocket>,
    #[serde(default)]
    timeout_seconds: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpGet {
    #[serde(default)]
    path: String,
    port: Value,
    #[serde(default)]
    scheme: String,
    #[serde(default)]
    http_headers: Vec<Header>,
}

#[derive(Debug, Clone, Deserialize)]
struct Header {
    name: String,
    value: String,
}

#[derive(Debug, Clone, Deserialize)]
struct TcpSocket {
    port: Value,
}

/// `ISTIO_KUBE_APP_PROBERS` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Not the expected JSON.
    #[error("ISTIO_KUBE_APP_PROBERS is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// The port is a name; the injector resolves names.
    #[error("ISTIO_KUBE_APP_PROBERS: probe {0} has no numeric port")]
    Port(String),
}

impl Probes {
    /// Parses the variable; an empty one means no probes.
    pub fn parse(text: Option<&str>) -> Result<Self, ProbeError> {
        let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return Ok(Probes::default()) };
        let probes: BTreeMap<String, Probe> = serde_json::from_str(text)?;
        for (path, probe) in &probes {
            if probe.port().is_none() {
                return Err(ProbeError::Port(path.clone()));
            }
        }
        Ok(Probes(probes))
    }

    /// Runs the probe behind `path`; `host` is the address that the application listens on. `agent` are the
    /// kubelet's request headers, of which the user agent is passed on.
    pub async fn run(&self, path: &str, host: &str, agent: &HeaderMap) -> Response<Full<Bytes>> {
        let Some(probe) = self.0.get(path) else {
            return text(StatusCode::NOT_FOUND, format!("no probe is registered for {path}\n"));
        };
        let Some(port) = probe.port() else {
            return text(StatusCode::NOT_FOUND, "the probe has no port\n");
        };
        let seconds = probe.timeout_seconds.unwrap_or(DEFAULT_TIMEOUT).clamp(1, MAX_TIMEOUT);
        let timeout = Duration::from_secs(seconds);
        let address = format!("{host}:{port}");
        match &probe.http_get {
            Some(get) => http_probe(get, address, timeout, agent).await,
            None => match tokio::time::timeout(timeout, tokio::net::TcpStream::connect(&address)).await {
                Ok(Ok(_)) => text(StatusCode::OK, "OK\n"),
                Ok(Err(error)) => {
                    text(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot connect to {address}: {error}\n"))
                }
                Err(_) => text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    format!("no connection to {address} in {timeout:?}\n"),
                ),
            },
        }
    }
}

impl Probe {
    fn port(&self) -> Option<u16> {
        let port = match (&self.http_get, &self.tcp_socket) {
            (Some(get), _) => &get.port,
            (None, Some(socket)) => &socket.port,
            (None, None) => return None,
        };
        match port {
            Value::Number(number) => number.as_u64().and_then(|port| u16::try_from(port).ok()),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }
}

async fn http_probe(
    get: &HttpGet,
    address: String,
    timeout: Duration,
    agent: &HeaderMap,
) -> Response<Full<Bytes>> {
    let path = if get.path.starts_with('/') { get.path.clone() } else { format!("/{}", get.path) };
    let mut fetch = Fetch::get(address, path, timeout, MAX_BODY);
    fetch.tls = get.scheme.eq_ignore_ascii_case("https");
    for Header { name, value } in &get.http_headers {
        if name.eq_ignore_ascii_case("host") {
            fetch.host.clone_from(value);
        } else if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()))
        {
            fetch.headers.append(name, value);
        }
    }
    if let (None, Some(value)) = (fetch.headers.get(header::USER_AGENT), agent.get(header::USER_AGENT)) {
        fetch.headers.insert(header::USER_AGENT, value.clone());
    }
    match fetch.send().await {
        Ok(answer) => text(answer.status, answer.body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn http_probe_reaches_the_application() {
        let app = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = app.local_addr().unwrap().port();
        let seen = tokio::spawn(async move {
            let (mut stream, _) = app.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let n = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nbusy").await.unwrap();
            String::from_utf8(request[..n].to_vec()).unwrap()
        });
        let text = format!(
            r#"{{"/app-health/shop/readyz":{{"httpGet":{{"path":"/ok","port":{port},"scheme":"HTTP",
            "httpHeaders":[{{"name":"Host","value":"shop"}},{{"name":"X-A","value":"1"}}]}},"timeoutSeconds":2}}}}"#
        );
        let probes = Probes::parse(Some(&text)).unwrap();
        let answer = probes.run("/app-health/shop/readyz", "127.0.0.1", &HeaderMap::new()).await;
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "busy");
        let request = seen.await.unwrap();
        assert!(request.starts_with("GET /ok HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("host: shop\r\n") && request.contains("x-a: 1\r\n"), "{request}");
    }

    #[tokio::test]
    async fn failures_are_answers() {
        let probes = Probes::parse(Some(r#"{"/app-health/a/livez":{"tcpSocket":{"port":"1"}}}"#)).unwrap();
        let headers = HeaderMap::new();
        assert_eq!(probes.run("/app-health/a/livez", "127.0.0.1", &headers).await.status(), 500);
        assert_eq!(probes.run("/app-health/b/livez", "127.0.0.1", &headers).await.status(), 404);
        assert!(Probes::parse(Some(r#"{"/x":{"httpGet":{"port":"http"}}}"#)).is_err());
        assert!(Probes::parse(Some("")).unwrap().0.is_empty());
    }
}
