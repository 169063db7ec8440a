//! The one request object that filters, router, policy and logs read. Nothing looks at raw bytes again after it
//! was made.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// Version that a peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// As logs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Http10 => "HTTP/1.0",
            Protocol::Http11 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
        }
    }
}

/// A request after normalisation.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Host with port as sent, validated.
    pub authority: String,
    /// Normalised path with query.
    pub path: String,
    /// Fields without `host` and without those of one hop.
    pub headers: HeaderMap,
    /// What the client speaks.
    pub protocol: Protocol,
    /// Protocol of an `Upgrade`, lower case.
    pub upgrade: Option<String>,
    /// Whether it is gRPC by its content type.
    pub is_grpc: bool,
    /// Whether the client waits for `100 Continue`.
    pub expect_continue: bool,
}

impl Request {
    /// The path without query.
    pub fn path_only(&self) -> &str {
        self.path.split_once('?').map_or(self.path.as_str(), |(path, _)| path)
    }

    /// The query without question mark.
    pub fn query(&self) -> Option<&str> {
        self.path.split_once('?').map(|(_, query)| query)
    }

    /// First value of a field or pseudo field, for logs and header formats.
    pub fn get(&self, name: &str) -> Option<&str> {
        match name {
            ":method" => Some(self.method.as_str()),
            ":authority" | "host" => Some(&self.authority),
            ":path" => Some(self.path.as_str()).filter(|path| !path.is_empty()),
            ":scheme" => Some(self.scheme),
            name => self.headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok()),
        }
    }

    /// Sets a field; a text that is no header value changes nothing.
    pub fn set(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }
}

/// The head of a response.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub headers: HeaderMap,
}

impl ResponseHead {
    /// A head without fields.
    pub fn new(status: StatusCode) -> Self {
        ResponseHead { status, headers: HeaderMap::new() }
    }
}

/// Whether a content type is gRPC's (`application/grpc` or `application/grpc+...`).
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .and_then(|value| value.strip_prefix(b"application/grpc"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+") || rest.starts_with(b";"))
}
