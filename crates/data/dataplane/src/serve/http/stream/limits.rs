//! How long a forwarded request may take, by its route, its policy and what it asks for itself.

use std::time::{Duration, Instant};

use http::HeaderName;

use crate::route::action::RouteAction;
use crate::route::retry::RetryPolicy;
use crate::serve::http::manager::Stream;

pub(super) const UPSTREAM_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-timeout-ms");
pub(super) const PER_TRY_TIMEOUT: HeaderName =
    HeaderName::from_static("x-envoy-upstream-rq-per-try-timeout-ms");

/// Deadlines of a forwarded request.
pub(super) struct Limits {
    /// From the end of the request.
    pub(super) route: Option<Duration>,
    /// Of one attempt.
    pub(super) per_try: Option<Duration>,
    pub(super) idle: Option<Duration>,
    /// Of the stream as a whole.
    pub(super) until: Option<Instant>,
    /// By when the request must be complete.
    pub(super) request: Option<Instant>,
}

pub(super) fn limits(stream: &Stream<'_>, action: &RouteAction, policy: Option<&RetryPolicy>) -> Limits {
    let headers = &stream.request.headers;
    let millis =
        |name: &HeaderName| headers.get(name)?.to_str().ok()?.parse().ok().map(Duration::from_millis);
    let mut route = action.timeout;
    if let (true, Some(max)) = (stream.request.is_grpc, action.grpc_timeout)
        && let Some(asked) = headers.get("grpc-timeout").and_then(|value| grpc_timeout(value.as_bytes()))
    {
        route = Some(max.map_or(asked, |max| asked.min(max)));
    }
    if stream.client.internal
        && let Some(asked) = millis(&UPSTREAM_TIMEOUT)
    {
        route = Some(asked).filter(|asked| !asked.is_zero());
    }
    let mut per_try = policy.and_then(|policy| policy.per_try_timeout);
    if stream.client.internal
        && let Some(asked) = millis(&PER_TRY_TIMEOUT)
    {
        per_try = Some(asked).filter(|asked| !asked.is_zero());
    }
    // One that is not shorter says nothing.
    per_try = per_try.filter(|limit| route.is_none_or(|route| *limit < route));
    let mut own = action.max_stream_duration.map(|limit| stream.info.start + limit);
    if let (true, Some(max)) = (stream.request.is_grpc, action.grpc_duration)
        && let Some(asked) = headers.get("grpc-timeout").and_then(|value| grpc_timeout(value.as_bytes()))
    {
        own = Some(stream.info.start + max.map_or(asked, |max| asked.min(max)));
        route = None;
    }
    let until = match (own, stream.deadline) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let idle = action.idle_timeout.unwrap_or(stream.scope.hcm.stream_idle_timeout);
    let request = stream.scope.hcm.request_timeout.map(|limit| stream.info.start + limit);
    Limits { route, per_try, idle, until, request }
}

/// `grpc-timeout`: up to 8 digits and a unit.
fn grpc_timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}
