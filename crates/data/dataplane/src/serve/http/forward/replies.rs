//! What we answer ourselves for an upstream that fails, in Envoy's words.

use http::{HeaderName, HeaderValue, StatusCode};

use crate::message::{Flags, LocalReply};
use crate::upstream::connect::ConnectFailure;
use crate::upstream::fail::UpstreamFail;

/// How Envoy begins the body of an answer for an upstream that failed; people search for it.
const RESET_BODY: &str = "upstream connect error or disconnect/reset before headers. reset reason:";

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

pub(crate) fn reset_reply(fail: UpstreamFail) -> LocalReply {
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

pub(super) fn no_host() -> LocalReply {
    LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, "no_healthy_upstream")
        .body("no healthy upstream")
        .flag(Flags::NO_HEALTHY_UPSTREAM)
}

/// The answer when there is no connection, and what logs say of it.
pub(super) fn connect_reply(error: &ConnectFailure) -> (String, LocalReply) {
    // The system's text without its number; for logs only: a client need not know our network.
    let text = error.to_string().replace(char::is_whitespace, "_");
    let text = text.split("_(os_error").next().unwrap_or_default().to_owned();
    let (reason, why) = match error {
        ConnectFailure::Timeout => ("connection timeout", String::new()),
        _ => ("remote connection failure", format!("|{text}")),
    };
    let details = format!("upstream_reset_before_response_started{{{}{why}}}", reason.replace(' ', "_"));
    let reply = LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, details)
        .body(format!("{RESET_BODY} {reason}"))
        .flag(Flags::UPSTREAM_CONNECTION_FAILURE);
    (text, reply)
}
