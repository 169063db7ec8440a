//! Answers that the proxy gives itself.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{Flags, Request, ResponseHead};

/// An answer without an upstream.
#[derive(Debug, Clone)]
pub struct LocalReply {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: Cow<'static, str>,
    /// What logs show.
    pub flags: Flags,
    /// Its fields.
    pub headers: HeaderMap,
    /// Overrides the status that gRPC callers see.
    pub grpc: Option<u32>,
}

impl LocalReply {
    /// An answer without a body.
    pub fn new(status: StatusCode, details: impl Into<Cow<'static, str>>) -> Self {
        LocalReply {
            status,
            body: Bytes::new(),
            details: details.into(),
            flags: Flags::default(),
            headers: HeaderMap::new(),
            grpc: None,
        }
    }

    /// With a body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// With a response flag.
    pub fn flag(mut self, flag: Flags) -> Self {
        self.flags.insert(flag);
        self
    }

    /// Says by its body only that the request was refused as broken.
    pub fn refusal(self) -> Self {
        let reason = self.status.canonical_reason().unwrap_or_default();
        self.body(reason).flag(Flags::DOWNSTREAM_PROTOCOL_ERROR)
    }

    /// With a field.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// A redirect, or a refusal if the location is no header value.
    pub fn redirect(status: StatusCode, location: &str, details: &'static str) -> Self {
        let reply = LocalReply::new(status, details);
        match HeaderValue::from_str(location) {
            Ok(location) => reply.header(header::LOCATION, location),
            Err(_) => LocalReply::new(StatusCode::BAD_REQUEST, details),
        }
    }

    /// Head and body for this request: gRPC callers get their status in the head.
    pub fn into_response(self, request: Option<&Request>) -> (ResponseHead, Bytes, Option<u32>) {
        let mut head = ResponseHead { status: self.status, headers: self.headers };
        if request.is_some_and(|request| request.is_grpc) {
            let code = self.grpc.unwrap_or(grpc_code(self.status));
            head.status = StatusCode::OK;
            head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            head.headers.insert("grpc-status", HeaderValue::from(code));
            if !self.body.is_empty()
                && let Ok(message) = HeaderValue::from_bytes(&percent_encoded(&self.body))
            {
                head.headers.insert("grpc-message", message);
            }
            return (head, Bytes::new(), Some(code));
        }
        if !self.body.is_empty() && !head.headers.contains_key(header::CONTENT_TYPE) {
            head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        (head, self.body, None)
    }
}

/// gRPC's message encoding: bytes outside of printable ASCII, and the percent sign, are escaped.
fn percent_encoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            0x20..=0x7e if *byte != b'%' => out.push(*byte),
            other => out.extend_from_slice(format!("%{other:02X}").as_bytes()),
        }
    }
    out
}

fn grpc_code(status: StatusCode) -> u32 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}
