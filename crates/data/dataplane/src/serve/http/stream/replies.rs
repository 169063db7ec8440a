//! What we answer ourselves for an upstream that fails, in Envoy's words.

use http::{HeaderName, HeaderValue, StatusCode};

use crate::message::{Flags, LocalReply};
use crate::upstream::exchange::UpstreamFail;

/// How Envoy begins the body of an answer for an upstream that failed; people search for it.
pub(super) const RESET_BODY: &str =
    "upstream connect error or disconnect/reset before headers. reset reason:";

/// The body of an answer after retries says so.
pub(super) fn tell_of_retry(reply: &mut LocalReply) {
    let (begin, end) = RESET_BODY.split_at(RESET_BODY.len() - "reset reason:".len());
    if let Some(reason) = reply.body.strip_prefix(RESET_BODY.as_bytes()) {
        let reason = String::from_utf8_lossy(reason);
        reply.body = format!("{begin}retried and the latest {end}{reason}").into();
    }
}

pub(super) fn overflow() -> LocalReply {
    LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, "upstream_reset_before_response_started{overflow}")
        .body(format!("{RESET_BODY} overflow"))
        .flag(Flags::UPSTREAM_OVERFLOW)
        .header(HeaderName::from_static("x-envoy-overloaded"), HeaderValue::from_static("true"))
}

pub(super) fn timeout_reply(details: &'static str) -> LocalReply {
    LocalReply::new(StatusCode::GATEWAY_TIMEOUT, details)
        .body("upstream request timeout")
        .flag(Flags::UPSTREAM_REQUEST_TIMEOUT)
}

pub(super) fn reset_reply(fail: UpstreamFail) -> LocalReply {
    let (reason, flag, status) = match fail {
        UpstreamFail::Closed => (
            "connection termination",
            Flags::UPSTREAM_CONNECTION_TERMINATION,
            StatusCode::SERVICE_UNAVAILABLE,
        ),
        UpstreamFail::Reset => {
            ("remote reset", Flags::UPSTREAM_REMOTE_RESET, StatusCode::SERVICE_UNAVAILABLE)
        }
        UpstreamFail::Refused => {
            ("remote refused stream reset", Flags::UPSTREAM_REMOTE_RESET, StatusCode::SERVICE_UNAVAILABLE)
        }
        UpstreamFail::Protocol => ("protocol error", Flags::UPSTREAM_PROTOCOL_ERROR, StatusCode::BAD_GATEWAY),
    };
    let details = format!("upstream_reset_before_response_started{{{}}}", reason.replace(' ', "_"));
    LocalReply::new(status, details).body(format!("{RESET_BODY} {reason}")).flag(flag)
}
