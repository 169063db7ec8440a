//! The API server's client: objects in JSON over one HTTP/2 connection.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::kubeconfig::Access;
use super::objects::Object;
use crate::error::BenchError;

/// Requests on their way at the same time, while the mesh is written: the store commits them in groups.
const IN_FLIGHT: usize = 64;

/// A client with the administrator's rights.
#[derive(Clone)]
pub(crate) struct Api {
    sender: SendRequest<Full<Bytes>>,
    address: Arc<str>,
}

impl Api {
    /// Connects.
    pub(crate) async fn connect(access: &Access) -> Result<Self, BenchError> {
        let failed = |error: &dyn std::fmt::Display| BenchError::Api(error.to_string());
        let mut roots = RootCertStore::empty();
        for root in certificates(&access.roots)? {
            roots.add(root).map_err(|error| failed(&error))?;
        }
        let key = PrivateKeyDer::from_pem_slice(&access.key).map_err(|error| failed(&error))?;
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(&access.certificate)?, key)
            .map_err(|error| failed(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let socket = TcpStream::connect(&access.address).await.map_err(|error| failed(&error))?;
        let name = ServerName::try_from("localhost").map_err(|error| failed(&error))?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, socket)
            .await
            .map_err(|error| failed(&error))?;
        let (sender, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        // Its end shows in the next request.
        tokio::spawn(connection);
        Ok(Api { sender, address: access.address.as_str().into() })
    }

    /// Creates an object, with its status where it has one.
    pub(crate) async fn create(&self, object: &Object) -> Result<(), BenchError> {
        self.send(Method::POST, &object.collection(), "application/json", &object.value).await?;
        if let Some(status) = object.value.get("status") {
            let path = format!("{}/status", object.path());
            self.merge(&path, &serde_json::json!({ "status": status })).await?;
        }
        Ok(())
    }

    /// Creates objects, many at a time, in no order.
    pub(crate) async fn create_all(&self, objects: &[Object]) -> Result<(), BenchError> {
        stream::iter(objects)
            .map(|object| self.create(object))
            .buffer_unordered(IN_FLIGHT)
            .try_for_each(|()| std::future::ready(Ok(())))
            .await
    }

    /// Creates an object, or makes its `spec` and the like what they are here.
    pub(crate) async fn put(&self, object: &Object) -> Result<(), BenchError> {
        let path = format!("{}?fieldManager=bench&force=true", object.path());
        self.send(Method::PATCH, &path, "application/apply-patch+yaml", &object.value).await.map(drop)
    }

    /// Reads an object.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, BenchError> {
        self.send(Method::GET, path, "application/json", &Value::Null).await
    }

    async fn merge(&self, path: &str, patch: &Value) -> Result<(), BenchError> {
        self.send(Method::PATCH, path, "application/merge-patch+json", patch).await.map(drop)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Value, BenchError> {
        let failed = |error: &dyn std::fmt::Display| BenchError::Api(format!("{path}: {error}"));
        let body = if body.is_null() { Bytes::new() } else { serde_json::to_vec(body)?.into() };
        let request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.address))
            .header(HOST, &*self.address)
            .header(CONTENT_TYPE, content_type)
            .body(Full::new(body))
            .map_err(|error| failed(&error))?;
        let mut sender = self.sender.clone();
        sender.ready().await.map_err(|error| failed(&error))?;
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let status = response.status();
        let answer = response.into_body().collect().await.map_err(|error| failed(&error))?.to_bytes();
        if status.is_success() {
            return Ok(serde_json::from_slice(&answer)?);
        }
        let said = serde_json::from_slice::<Value>(&answer).unwrap_or_default();
        let message = said["message"].as_str().unwrap_or("no reason given").to_owned();
        Err(BenchError::Refused { path: path.to_owned(), status: status.as_u16(), message })
    }
}

/// The certificates in PEM.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BenchError> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| BenchError::Api(error.to_string()))
}
