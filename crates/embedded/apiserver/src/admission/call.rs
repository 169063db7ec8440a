//! Calling one webhook over HTTPS.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio_rustls::TlsConnector;

use super::rules::Webhook;
use crate::config::Dialer;
use crate::endpoints::ready_endpoint;
use crate::limits;
use crate::store::Store;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Where a webhook is.
struct Target {
    address: SocketAddr,
    host: String,
    path: String,
}

/// Sends a review and waits for the answer, no longer than the webhook's timeout.
pub(super) async fn call(
    store: &Store,
    dial: &Dialer,
    hook: &Webhook,
    review: &Value,
) -> Result<Value, AnyError> {
    match tokio::time::timeout(hook.timeout, exchange(store, dial, hook, review)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", hook.timeout.as_secs()).into()),
    }
}

async fn exchange(store: &Store, dial: &Dialer, hook: &Webhook, review: &Value) -> Result<Value, AnyError> {
    let target = target(store, hook).await?;
    let stream = dial(target.address).await?;
    let _ = stream.set_nodelay(true);
    let name = ServerName::try_from(target.host.clone())?;
    let stream = TlsConnector::from(tls(hook)?).connect(name, stream).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::post(&target.path)
        .header(header::HOST, &target.host)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .body(Full::new(Bytes::from(review.to_string())))?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), limits::MAX_WEBHOOK_ANSWER).collect().await?.to_bytes();
    if !status.is_success() {
        let text: String = String::from_utf8_lossy(&body).chars().take(200).collect();
        return Err(format!("it answered {status}: {text}").into());
    }
    Ok(serde_json::from_slice(&body)?)
}

async fn target(store: &Store, hook: &Webhook) -> Result<Target, AnyError> {
    if let Some(service) = hook.client.get("service").filter(|service| service.is_object()) {
        let text = |key: &str| service.get(key).and_then(Value::as_str).unwrap_or_default();
        let (namespace, name) = (text("namespace"), text("name"));
        let port = service.get("port").and_then(Value::as_u64).unwrap_or(443);
        let address = ready_endpoint(store, namespace, name, Some(&port.to_string())).ok_or_else(|| {
            format!(
                "Post \"https://{name}.{namespace}.svc:{port}\": no endpoints available for service {name:?}"
            )
        })?;
        let path = if text("path").is_empty() { "/".to_owned() } else { text("path").to_owned() };
        return Ok(Target { address, host: format!("{name}.{namespace}.svc"), path });
    }
    let url = hook.client.get("url").and_then(Value::as_str).unwrap_or_default();
    let url = url::Url::parse(url)?;
    let host = url.host_str().ok_or("clientConfig has neither service nor a url with a host")?.to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let address =
        tokio::net::lookup_host((host.as_str(), port)).await?.next().ok_or("the host has no address")?;
    let mut path = url.path().to_owned();
    if let Some(query) = url.query() {
        path = format!("{path}?{query}");
    }
    Ok(Target { address, host, path })
}

/// Trusts `caBundle` and nothing else.
fn tls(hook: &Webhook) -> Result<Arc<rustls::ClientConfig>, AnyError> {
    let bundle = hook.client.get("caBundle").and_then(Value::as_str).unwrap_or_default();
    let bundle = STANDARD.decode(bundle)?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bundle) {
        roots.add(certificate?)?;
    }
    if roots.is_empty() {
        return Err("clientConfig.caBundle is empty: nobody would be trusted to answer".into());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
