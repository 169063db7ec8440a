//! The one request object that filters, router, policy and logs read. Nothing looks at raw bytes again after it
//! was made (spec/reliability.md 0.2).

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// Version that a peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    Http10,
    Http11,
    Http2,
}

impl Protocol {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Protocol::Http10 => "HTTP/1.0",
            Protocol::Http11 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
        }
    }
}

/// A request after normalisation.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// Host with port as sent, validated.
    pub(crate) authority: String,
    /// Normalised path with query.
    pub(crate) path: String,
    /// Fields without `host` and without those of one hop.
    pub(crate) headers: HeaderMap,
    pub(crate) protocol: Protocol,
    /// Protocol of an `Upgrade`, lower case.
    pub(crate) upgrade: Option<String>,
    pub(crate) is_grpc: bool,
    /// Whether the client waits for `100 Continue`.
    pub(crate) expect_continue: bool,
}

impl Request {
    /// The path without query.
    pub(crate) fn path_only(&self) -> &str {
        self.path.split_once('?').map_or(self.path.as_str(), |(path, _)| path)
    }

    /// The query without question mark.
    pub(crate) fn query(&self) -> Option<&str> {
        self.path.split_once('?').map(|(_, query)| query)
    }

    /// First value of a field or pseudo field, for logs and header formats.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        match name {
            ":method" => Some(self.method.as_str()),
            ":authority" | "host" => Some(&self.authority),
            ":path" => Some(self.path.as_str()).filter(|path| !path.is_empty()),
            ":scheme" => Some(self.scheme),
            name => self.headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok()),
        }
    }

    pub(crate) fn set(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }
}

/// The head of a response.
#[derive(Debug, Clone)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

impl ResponseHead {
    pub(crate) fn new(status: StatusCode) -> Self {
        ResponseHead { status, headers: HeaderMap::new() }
    }
}

/// Whether a content type is gRPC's (`application/grpc` or `application/grpc+...`).
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .and_then(|value| value.strip_prefix(b"application/grpc"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+") || rest.starts_with(b";"))
}
