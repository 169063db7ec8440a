//! A small HTTP/1 client for the control half: Envoy's admin, the application's probes and metrics.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use portolan_identity::Unverified;
use tokio::net::TcpStream;

/// What came back.
#[derive(Debug)]
pub struct Fetched {
    /// Status code.
    pub status: StatusCode,
    /// Whole body.
    pub body: Bytes,
}

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody listens, or not in time.
    #[error("cannot connect to {0}: {1}")]
    Connect(String, std::io::Error),
    /// The TLS handshake failed.
    #[error("TLS handshake with {0} failed: {1}")]
    Tls(String, std::io::Error),
    /// The request could not be built from the given parts.
    #[error("bad request for {0}: {1}")]
    Request(String, http::Error),
    /// The answer broke off or was not HTTP.
    #[error("bad answer from {0}: {1}")]
    Answer(String, hyper::Error),
    /// The body exceeded the limit or broke off.
    #[error("the body from {0} is larger than {1} bytes or broke off")]
    Body(String, usize),
    /// The deadline passed.
    #[error("no answer from {0} within {1:?}")]
    Timeout(String, Duration),
}

/// What to fetch.
#[derive(Debug)]
pub struct Fetch {
    /// Method.
    pub method: Method,
    /// `host:port` to connect to.
    pub address: String,
    /// Value of the `host` header.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Further headers.
    pub headers: HeaderMap,
    /// Speak TLS without verification (kubelet's rule for HTTPS probes).
    pub tls: bool,
    /// Deadline of the whole exchange.
    pub timeout: Duration,
    /// Most bytes of the body.
    pub max_body: usize,
}

impl Fetch {
    /// A GET of `path` at `address`.
    pub fn get(
        address: impl Into<String>,
        path: impl Into<String>,
        timeout: Duration,
        max_body: usize,
    ) -> Self {
        let address = address.into();
        Fetch {
            method: Method::GET,
            host: address.clone(),
            address,
            path: path.into(),
            headers: HeaderMap::new(),
            tls: false,
            timeout,
            max_body,
        }
    }

    /// The same with another method.
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Runs the exchange.
    pub async fn send(self) -> Result<Fetched, FetchError> {
        let (address, timeout) = (self.address.clone(), self.timeout);
        match tokio::time::timeout(timeout, self.exchange()).await {
            Ok(result) => result,
            Err(_) => Err(FetchError::Timeout(address, timeout)),
        }
    }

    async fn exchange(self) -> Result<Fetched, FetchError> {
        let Fetch { method, address, host, path, headers, tls, max_body, .. } = self;
        let stream = TcpStream::connect(&address)
            .await
            .map_err(|error| FetchError::Connect(address.clone(), error))?;
        let mut request = Request::builder().method(method).uri(path).header(http::header::HOST, host);
        if let Some(map) = request.headers_mut() {
            for (name, value) in &headers {
                map.append(name, value.clone());
            }
        }
        let request = request
            .body(Full::<Bytes>::default())
            .map_err(|error| FetchError::Request(address.clone(), error))?;
        if tls {
            let server_name = rustls_pki_types::ServerName::try_from("localhost".to_owned())
                .map_err(|error| FetchError::Tls(address.clone(), std::io::Error::other(error)))?;
            let config = Unverified::client_config()
                .map_err(|error| FetchError::Tls(address.clone(), std::io::Error::other(error)))?;
            let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
                .connect(server_name, stream)
                .await
                .map_err(|error| FetchError::Tls(address.clone(), error))?;
            talk(TokioIo::new(stream), request, address, max_body).await
        } else {
            talk(TokioIo::new(stream), request, address, max_body).await
        }
    }
}

async fn talk<I>(
    io: I,
    request: Request<Full<Bytes>>,
    address: String,
    max_body: usize,
) -> Result<Fetched, FetchError>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let bad = |error| FetchError::Answer(address.clone(), error);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(bad)?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(bad)?;
    let (head, body) = response.into_parts();
    let body =
        Limited::new(body, max_body).collect().await.map_err(|_| FetchError::Body(address.clone(), max_body));
    driver.abort();
    Ok(Fetched { status: head.status, body: body?.to_bytes() })
}
