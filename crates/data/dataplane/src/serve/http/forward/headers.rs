//! The head of a request as it goes up: rewritten by its route once, and completed for each attempt.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::deadlines::{Deadlines, PER_TRY_TIMEOUT, UPSTREAM_TIMEOUT};
use super::{Forwarding, Target};
use crate::message::{Protocol, Request};
use crate::route::Matched;
use crate::route::action::{HostRewrite, RouteAction};
use crate::route::path::substitute;
use crate::route::retry::{MAX_RETRIES_ASKED, RETRY_GRPC_ON, RETRY_ON, STATUS_CODES_ASKED};
use crate::serve::http::state::{RequestState, weighted_of};
use crate::tls::Offer;
use crate::upstream::Host;
use crate::upstream::config::UpstreamProtocol;

/// Fields by which a request asks the router for something; they go no further.
const ASKED: [HeaderName; 6] =
    [RETRY_ON, RETRY_GRPC_ON, MAX_RETRIES_ASKED, UPSTREAM_TIMEOUT, PER_TRY_TIMEOUT, STATUS_CODES_ASKED];
const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Largest number in a `grpc-timeout` (eight digits).
const MAX_GRPC_TIMEOUT: u128 = 99_999_999;

/// What goes up.
pub(super) struct Outgoing {
    pub(super) headers: HeaderMap,
    pub(super) authority: String,
    pub(super) path: String,
}

impl Outgoing {
    /// Applies what the route changes. From then on filters and logs see the request as it is sent; the old values are
    /// in fields of their own.
    pub(super) fn new(state: &mut RequestState<'_>, matched: &Matched, action: &RouteAction) -> Self {
        let path = rewrite_path(state, matched, action);
        let authority = rewrite_authority(state, matched, action);
        let mut headers = state.request.headers.clone();
        state.mutate_request(matched, &mut headers);
        if path != state.request.path {
            state.request.path.clone_from(&path);
        }
        if authority != state.request.authority {
            state.request.authority.clone_from(&authority);
        }
        for name in &ASKED {
            headers.remove(name);
        }
        Outgoing { headers, authority, path }
    }
}

fn rewrite_path(state: &mut RequestState<'_>, matched: &Matched, action: &RouteAction) -> String {
    let Some(rewrite) = &action.path_rewrite else { return state.request.path.clone() };
    let new = rewrite.apply(&matched.route.path, &state.request.path);
    if !state.scope.hcm.suppress_envoy_headers {
        let old = state.request.path.clone();
        state.request.set(ORIGINAL_PATH, &old);
    }
    new
}

fn rewrite_authority(state: &mut RequestState<'_>, matched: &Matched, action: &RouteAction) -> String {
    let request = &state.request;
    let weighted = weighted_of(matched, state.weighted).and_then(|weighted| weighted.host_rewrite.as_ref());
    let authority = match (weighted, &action.host_rewrite) {
        (Some(literal), _) | (None, HostRewrite::Literal(literal)) => literal.clone(),
        (None, HostRewrite::Header(name)) => {
            text(&request.headers, name).map_or_else(|| request.authority.clone(), str::to_owned)
        }
        (None, HostRewrite::PathRegex(regex, text)) => substitute(regex, request.path_only(), text),
        (None, HostRewrite::None | HostRewrite::Auto) => request.authority.clone(),
    };
    if authority != request.authority {
        let old = request.authority.clone();
        if action.append_forwarded_host {
            let before = text(&request.headers, &FORWARDED_HOST);
            let all = before.map_or_else(|| old.clone(), |before| format!("{before},{old}"));
            state.request.set(FORWARDED_HOST, &all);
        }
        if !state.scope.hcm.suppress_envoy_headers {
            state.request.set(ORIGINAL_HOST, &old);
        }
    }
    authority
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Labels that a host must have: the route's, and over these those of the weighted cluster.
pub(super) fn subset(
    state: &RequestState<'_>,
    matched: &Matched,
    action: &RouteAction,
) -> Vec<(String, String)> {
    let mut subset = action.subset.clone();
    let weighted = weighted_of(matched, state.weighted);
    for (name, value) in weighted.into_iter().flat_map(|weighted| &weighted.subset) {
        subset.retain(|(known, _)| known != name);
        subset.push((name.clone(), value.clone()));
    }
    subset
}

/// What is offered to a host, before it is known what it speaks.
pub(super) fn offer(request: &Request, target: Target<'_>, host: &Host) -> Offer {
    let config = &target.cluster.config;
    match config.protocol {
        _ if request.upgrade.is_some() => Offer::Upgrade,
        UpstreamProtocol::Http1 => Offer::Http1,
        UpstreamProtocol::Http2 => Offer::Http2,
        UpstreamProtocol::AsDownstream if request.protocol == Protocol::Http2 => Offer::Http2,
        UpstreamProtocol::AsDownstream => Offer::Http1,
        UpstreamProtocol::Auto if config.transport(host.transport).is_some() => Offer::Tcp,
        UpstreamProtocol::Auto => Offer::Http1,
    }
}

/// Fields that depend on the attempt or on the host.
pub(super) fn complete(state: &RequestState<'_>, forwarding: &mut Forwarding<'_>, host: &Host) {
    let Forwarding { matched, action, deadlines, outgoing, .. } = forwarding;
    let headers = &mut outgoing.headers;
    let suppress = state.scope.hcm.suppress_envoy_headers;
    if matched.host.attempt_count_to_upstream {
        headers.insert(ATTEMPT_COUNT, HeaderValue::from(state.info.attempts));
    }
    if let Some(expected) =
        deadlines.expected(state.info.attempts > 1, state.info.request_end).filter(|_| !suppress)
    {
        let millis = u64::try_from(expected.as_millis()).unwrap_or(u64::MAX);
        headers.insert(EXPECTED_TIMEOUT, HeaderValue::from(millis));
    }
    if host_names(action, host).is_some()
        && !suppress
        && let Ok(old) = HeaderValue::from_str(&state.request.authority)
    {
        headers.insert(ORIGINAL_HOST, old);
    }
    if let Some(value) = grpc_deadline(state, action, deadlines) {
        headers.insert(GRPC_TIMEOUT, value);
    }
    headers.remove(header::CONTENT_LENGTH);
}

/// The authority that the host itself decides.
pub(super) fn host_names<'h>(action: &RouteAction, host: &'h Host) -> Option<&'h str> {
    let auto = matches!(action.host_rewrite, HostRewrite::Auto) && !host.hostname.is_empty();
    auto.then_some(host.hostname.as_str())
}

/// What the route makes of the client's deadline is the one that counts for the backend.
fn grpc_deadline(
    state: &RequestState<'_>,
    action: &RouteAction,
    deadlines: &Deadlines,
) -> Option<HeaderValue> {
    let left = deadlines.left(state.info.attempts > 1, state.info.request_end);
    let limit = left.filter(|_| state.request.is_grpc && action.grpc_timeout.is_some())?;
    HeaderValue::from_str(&format!("{}m", limit.as_millis().min(MAX_GRPC_TIMEOUT))).ok()
}
