//! Plain HTTP requests from this machine, as a browser or curl would make them.

use std::time::Duration;

use anyhow::{Context, bail};
use http::Request;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Time for one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest body that is read.
const MAX_BODY: usize = 16 << 20;

/// Status and body of an answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// GETs a URL.
pub(super) async fn get(url: &str, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
    let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::new())?;
    let whole = async {
        let response = client.request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_BODY)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("the body broke off: {error}"))?
            .to_bytes();
        Ok::<_, anyhow::Error>(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
    };
    match tokio::time::timeout(TIMEOUT, whole).await {
        Ok(answer) => answer.with_context(|| format!("GET {url}")),
        Err(_) => bail!("GET {url}: no answer within {} s", TIMEOUT.as_secs()),
    }
}

/// Percent-encodes a query value (RFC 3986 2.3: everything but unreserved characters).
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_characters_are_encoded() {
        assert_eq!(encode("http://a:80/x?y=z w"), "http%3A%2F%2Fa%3A80%2Fx%3Fy%3Dz%20w");
    }
}
