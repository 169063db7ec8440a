//! Forwarding: attempts, retries, timeouts, and the two bodies that stream at the same time.

mod limits;
mod mirror;
mod replies;
mod upload;

use std::borrow::Cow;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use limits::{Limits, PER_TRY_TIMEOUT, UPSTREAM_TIMEOUT, limits};
use mirror::send_mirror;
use replies::{RESET_BODY, overflow, reset_reply, tell_of_retry, timeout_reply};
use upload::{MAX_REPLAY, Upload, timeout_status, upload_length};

use crate::io::timer::Alarm;
use crate::io::{BodyFail, Frame};
use crate::message::{Body, Flags, LocalReply, Protocol, ResponseHead};
use crate::route::Matched;
use crate::route::action::{HashPolicy, HostRewrite, RouteAction, is_idempotent};
use crate::route::path::substitute;
use crate::route::retry::{
    Failure, MAX_RETRIES_ASKED, RETRY_GRPC_ON, RETRY_ON, RetryPolicy, STATUS_CODES_ASKED,
};
use crate::serve::http::manager::{Stream, weighted_of};
use crate::serve::http::respond::Responder;
use crate::serve::http::tunnel;
use crate::stats::metrics::ClusterStats;
use crate::tls::Offer;
use crate::upstream::breaker::Held;
use crate::upstream::config::UpstreamProtocol;
use crate::upstream::exchange::{Exchange, OutgoingHead, Receiver, SendFail, Sender, UpstreamFail};
use crate::upstream::lb::LbContext;
use crate::upstream::outlier::{self, Outcome};
use crate::upstream::pool::{AcquireError, acquire};
use crate::upstream::{Cluster, Host, WorkerCluster};
use crate::value::{NetAddress, drawn};

/// Fields by which a request asks the router for something; they go no further.
const ASKED: [HeaderName; 6] =
    [RETRY_ON, RETRY_GRPC_ON, MAX_RETRIES_ASKED, UPSTREAM_TIMEOUT, PER_TRY_TIMEOUT, STATUS_CODES_ASKED];
const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
const GRPC_DEADLINE_EXCEEDED: u32 = 4;
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// What came of one attempt.
enum Attempt {
    Response(Box<(Exchange, ResponseHead, Body, Arc<Host>, Instant)>),
    /// No response; whether a retry makes sense is for the policy to say.
    Failed(Failure, Box<LocalReply>),
    /// The connection had idled and died: send again without asking the policy.
    Stale,
    /// No way to answer any more.
    Gone,
    /// Answer this, whatever the policy says.
    Final(Box<LocalReply>),
}

/// Everything that the attempts of one request share.
struct Forwarding<'a> {
    matched: &'a Matched,
    action: &'a RouteAction,
    cluster: Arc<Cluster>,
    own: Rc<WorkerCluster>,
    policy: Option<Cow<'a, RetryPolicy>>,
    headers: HeaderMap,
    authority: String,
    path: String,
    hash: Option<u64>,
    subset: Vec<(String, String)>,
    tried: Vec<NetAddress>,
}

/// Forwards a request and its response. False when the downstream connection must close.
#[allow(clippy::too_many_arguments)]
pub(crate) async fn proxy(
    stream: &mut Stream<'_>,
    matched: &Matched,
    action: &RouteAction,
    cluster: Arc<Cluster>,
    own: Rc<WorkerCluster>,
    body: Body,
    responder: &mut Responder,
    alarm: &mut Alarm,
) -> bool {
    let stats = own.stats_of(&cluster);
    let high = action.high_priority;
    if cluster.hosts.drop_overload.iter().any(|share| drawn(*share)) {
        let reply =
            LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, "drop_overload").body("no healthy upstream");
        charge(stats, &reply);
        return stream.answer(reply.flag(Flags::NO_HEALTHY_UPSTREAM), responder, alarm).await;
    }
    let Some(_request_slot) = cluster.take_request(high) else {
        stats.upstream_rq_pending_overflow.inc();
        let reply = overflow();
        charge(stats, &reply);
        return stream.answer(reply, responder, alarm).await;
    };
    let own_policy = action.retry.as_ref().or(matched.host.retry.as_ref());
    let policy = if stream.client.internal {
        RetryPolicy::with_headers(own_policy.map(Arc::as_ref), &stream.request.headers)
    } else {
        own_policy.map(|policy| Cow::Borrowed(&**policy))
    };
    let asks = |policy: &Cow<'_, RetryPolicy>| {
        policy.request_headers.is_empty()
            || policy.request_headers.iter().any(|header| header.matches(&stream.request))
    };
    let policy = policy.filter(asks);
    let limits = limits(stream, action, policy.as_deref());
    let mut forwarding = prepare(stream, matched, action, cluster.clone(), own.clone(), policy);
    let mirrors: Vec<_> = action.mirrors.iter().filter(|mirror| drawn(mirror.share)).collect();
    // Attempts change the fields; a mirror gets them as they were.
    let unsent = if mirrors.is_empty() { HeaderMap::new() } else { forwarding.headers.clone() };
    let idempotent = is_idempotent(&stream.request.method);
    let record = forwarding.policy.is_some() || !mirrors.is_empty() || idempotent;
    let limit = matched.route.buffer_limit.or(matched.host.buffer_limit);
    let mut upload = Upload::new(body, record, limit.unwrap_or(MAX_REPLAY).min(MAX_REPLAY));
    if stream.request.expect_continue && !stream.scope.hcm.proxy_100_continue && !upload.body.is_end() {
        responder.interim(&ResponseHead::new(StatusCode::CONTINUE));
    }
    let retries = forwarding.policy.as_ref().map_or(0, |policy| policy.retries);
    let mut retry_slot: Option<Held> = None;
    let mut retried = 0u32;
    let mut stale = 0u32;
    loop {
        stream.info.attempts += 1;
        let attempt = attempt(stream, &mut forwarding, &mut upload, &limits, responder, alarm).await;
        drop(retry_slot.take());
        let (failure, reply) = match attempt {
            Attempt::Response(got) => {
                let wants = forwarding.policy.as_ref().is_some_and(|policy| policy.wants_response(&got.1));
                let may = retried < retries && upload.replayable && stream.request.upgrade.is_none();
                if wants && may {
                    retry_slot = cluster.usage(high).take_retry(cluster.limits(high));
                    if retry_slot.is_none() {
                        stats.upstream_rq_retry_overflow.inc();
                        stream.info.flags.insert(Flags::UPSTREAM_OVERFLOW);
                    }
                }
                if retry_slot.is_none() {
                    if wants && retried >= retries && retries > 0 {
                        stats.upstream_rq_retry_limit_exceeded.inc();
                        stream.info.flags.insert(Flags::UPSTREAM_RETRY_LIMIT);
                    }
                    if retried > 0 && !wants {
                        stats.upstream_rq_retry_success.inc();
                    }
                    for mirror in mirrors {
                        send_mirror(stream, &forwarding, &unsent, &mirror.cluster, mirror.suffix, &upload);
                    }
                    return respond(stream, &forwarding, *got, upload, &limits, responder, alarm).await;
                }
                let (mut exchange, ..) = *got;
                if !upload.done {
                    exchange.sender.reset();
                }
                (None, None)
            }
            Attempt::Stale if upload.replayable && stale < 2 && idempotent => {
                stale += 1;
                stream.info.attempts -= 1;
                upload.rewind();
                continue;
            }
            Attempt::Stale => (Some(Failure::Reset), Some(Box::new(reset_reply(UpstreamFail::Closed)))),
            Attempt::Failed(failure, reply) => (Some(failure), Some(reply)),
            Attempt::Gone => return gone(stream, stats),
            Attempt::Final(reply) => {
                charge(stats, &reply);
                return stream.answer(*reply, responder, alarm).await;
            }
        };
        // Here something failed; a response that is retried has no reply.
        let wanted = match (failure, &forwarding.policy) {
            (None, _) => true,
            (Some(failure), Some(policy)) => policy.wants_failure(failure) && upload.replayable,
            (Some(_), None) => false,
        };
        let past = limits.until.is_some_and(|until| until <= Instant::now());
        if !wanted || past || retried >= retries {
            if wanted && retries > 0 {
                stats.upstream_rq_retry_limit_exceeded.inc();
                stream.info.flags.insert(Flags::UPSTREAM_RETRY_LIMIT);
            }
            let mut reply = reply.unwrap_or_else(|| Box::new(reset_reply(UpstreamFail::Closed)));
            charge(stats, &reply);
            if retried > 0 {
                tell_of_retry(&mut reply);
            }
            return stream.answer(*reply, responder, alarm).await;
        }
        if retry_slot.is_none() {
            retry_slot = cluster.usage(high).take_retry(cluster.limits(high));
        }
        if retry_slot.is_none() {
            stats.upstream_rq_retry_overflow.inc();
            let reply = reply.unwrap_or_else(|| Box::new(overflow()));
            charge(stats, &reply);
            return stream.answer(reply.flag(Flags::UPSTREAM_OVERFLOW), responder, alarm).await;
        }
        stats.upstream_rq_retry.inc();
        let pause = forwarding.policy.as_ref().map(|policy| policy.pause(retried)).unwrap_or_default();
        retried += 1;
        upload.rewind();
        let wake = Instant::now() + pause;
        let left = poll_fn(|cx| {
            if responder.poll_gone(cx).is_ready() {
                return Poll::Ready(true);
            }
            alarm.poll(cx, Some(wake)).map(|()| false)
        })
        .await;
        if left {
            return gone(stream, stats);
        }
    }
}

fn gone(stream: &mut Stream<'_>, stats: &ClusterStats) -> bool {
    stats.upstream_rq_cancelled.inc();
    stream.scope.stats().downstream_rq_rx_reset.inc();
    stream.info.flags.insert(Flags::DOWNSTREAM_CONNECTION_TERMINATION);
    stream.info.details = "downstream_remote_disconnect".into();
    stream.finish(None, None);
    false
}

fn prepare<'a>(
    stream: &mut Stream<'_>,
    matched: &'a Matched,
    action: &'a RouteAction,
    cluster: Arc<Cluster>,
    own: Rc<WorkerCluster>,
    policy: Option<Cow<'a, RetryPolicy>>,
) -> Forwarding<'a> {
    let (hash, cookie) = HashPolicy::combine(&action.hash, &stream.request, &stream.scope.connection);
    stream.set_cookie = cookie;
    let weighted = weighted_of(matched, stream.weighted);
    let path = match &action.path_rewrite {
        Some(rewrite) => {
            let new = rewrite.apply(&matched.route.path, &stream.request.path);
            if !stream.scope.hcm.suppress_envoy_headers {
                let old = stream.request.path.clone();
                stream.request.set(HeaderName::from_static("x-envoy-original-path"), &old);
            }
            new
        }
        None => stream.request.path.clone(),
    };
    let authority = match (weighted.and_then(|weighted| weighted.host_rewrite.as_ref()), &action.host_rewrite)
    {
        (Some(literal), _) | (None, HostRewrite::Literal(literal)) => literal.clone(),
        (None, HostRewrite::Header(name)) => {
            let value = stream.request.headers.get(name).and_then(|value| value.to_str().ok());
            value.map_or_else(|| stream.request.authority.clone(), str::to_owned)
        }
        (None, HostRewrite::PathRegex(regex, text)) => substitute(regex, stream.request.path_only(), text),
        (None, HostRewrite::None | HostRewrite::Auto) => stream.request.authority.clone(),
    };
    if authority != stream.request.authority {
        let old = stream.request.authority.clone();
        if action.append_forwarded_host {
            let name = HeaderName::from_static("x-forwarded-host");
            let before = stream.request.headers.get(&name).and_then(|value| value.to_str().ok());
            let text = before.map_or_else(|| old.clone(), |before| format!("{before},{old}"));
            stream.request.set(name, &text);
        }
        if !stream.scope.hcm.suppress_envoy_headers {
            stream.request.set(ORIGINAL_HOST, &old);
        }
    }
    let mut headers = stream.request.headers.clone();
    stream.mutate_request(matched, &mut headers);
    // From here on everybody sees what is sent; the old values are in fields of their own.
    if path != stream.request.path {
        stream.request.path.clone_from(&path);
    }
    if authority != stream.request.authority {
        stream.request.authority.clone_from(&authority);
    }
    for name in &ASKED {
        headers.remove(name);
    }
    let mut subset = action.subset.clone();
    if let Some(weighted) = weighted {
        for (name, value) in &weighted.subset {
            subset.retain(|(known, _)| known != name);
            subset.push((name.clone(), value.clone()));
        }
    }
    Forwarding {
        matched,
        action,
        cluster,
        own,
        policy,
        headers,
        authority,
        path,
        hash,
        subset,
        tried: Vec::new(),
    }
}

async fn attempt(
    stream: &mut Stream<'_>,
    forwarding: &mut Forwarding<'_>,
    upload: &mut Upload,
    limits: &Limits,
    responder: &mut Responder,
    alarm: &mut Alarm,
) -> Attempt {
    let cluster = forwarding.cluster.clone();
    let own = forwarding.own.clone();
    let stats = own.stats_of(&cluster);
    let policy = forwarding.policy.as_ref();
    let retrying = stream.info.attempts > 1;
    let connection = stream.info.connection.clone();
    let context = LbContext {
        hash: forwarding.hash,
        avoid: if policy.is_some_and(|policy| policy.avoid_previous) { &forwarding.tried } else { &[] },
        attempts: if retrying { policy.map_or(0, |policy| policy.host_attempts) } else { 0 },
        original_dst: connection.restored.then_some(connection.local),
        subset: (!forwarding.subset.is_empty()).then_some(&forwarding.subset),
    };
    let Some(host) = own.pick(&context) else {
        stats.upstream_cx_none_healthy.inc();
        let reply = LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, "no_healthy_upstream");
        return Attempt::Final(Box::new(reply.body("no healthy upstream").flag(Flags::NO_HEALTHY_UPSTREAM)));
    };
    stream.info.host = Some(host.clone());
    forwarding.tried.push(host.address.clone());
    let offer = match cluster.config.protocol {
        _ if stream.request.upgrade.is_some() => Offer::Http1,
        UpstreamProtocol::Http1 => Offer::Http1,
        UpstreamProtocol::Http2 => Offer::Http2,
        UpstreamProtocol::AsDownstream if stream.request.protocol == Protocol::Http2 => Offer::Http2,
        UpstreamProtocol::AsDownstream => Offer::Http1,
        UpstreamProtocol::Auto if cluster.config.transport(host.transport).is_some() => Offer::Tcp,
        UpstreamProtocol::Auto => Offer::Http1,
    };
    let tried_at = Instant::now();
    let per_try = limits.per_try.map(|limit| tried_at + limit);
    let high = forwarding.action.high_priority;
    let acquired = {
        let mut acquiring = pin!(acquire(&own, &cluster, &host, offer, high));
        let body_done = upload.body.is_end();
        let until = [limits.until, per_try, limits.route.filter(|_| body_done).map(|limit| tried_at + limit)];
        let until = until.into_iter().flatten().min();
        let result = poll_fn(|cx| {
            if let Poll::Ready(result) = acquiring.as_mut().poll(cx) {
                return Poll::Ready(Ok(result));
            }
            if responder.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(true));
            }
            alarm.poll(cx, until).map(|()| Err(false))
        })
        .await;
        match result {
            Ok(Ok(acquired)) => acquired,
            Ok(Err(AcquireError::Overflow)) => return Attempt::Final(Box::new(overflow())),
            Ok(Err(AcquireError::Connect(error))) => {
                outlier::report(&cluster, &host, Outcome::LocalFailure, Instant::now());
                stats.upstream_rq_pending_failure_eject.inc();
                // The system's text without its number; for logs only: a client need not know our network.
                let text = error.to_string().replace(char::is_whitespace, "_");
                let text = text.split("_(os_error").next().unwrap_or_default();
                stream.info.upstream_failure = Some(text.to_owned());
                let (reason, why) = match error {
                    crate::upstream::connect::ConnectFailure::Timeout => {
                        ("connection timeout", String::new())
                    }
                    _ => ("remote connection failure", format!("|{text}")),
                };
                let details =
                    format!("upstream_reset_before_response_started{{{}{why}}}", reason.replace(' ', "_"));
                let reply = LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, details)
                    .body(format!("{RESET_BODY} {reason}"))
                    .flag(Flags::UPSTREAM_CONNECTION_FAILURE);
                return Attempt::Failed(Failure::Connect, Box::new(reply));
            }
            Err(true) => return Attempt::Gone,
            Err(false) => return timed_out(&cluster, &host, stats, per_try),
        }
    };
    let headers = &mut forwarding.headers;
    if forwarding.matched.host.attempt_count_to_upstream {
        headers.insert(ATTEMPT_COUNT, HeaderValue::from(stream.info.attempts));
    }
    let expected = match (limits.route, limits.per_try) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    if let Some(expected) = expected.filter(|_| !stream.scope.hcm.suppress_envoy_headers) {
        let millis = u64::try_from(expected.as_millis()).unwrap_or(u64::MAX);
        headers.insert(EXPECTED_TIMEOUT, HeaderValue::from(millis));
    }
    let authority = match &forwarding.action.host_rewrite {
        HostRewrite::Auto if !host.hostname.is_empty() => {
            if !stream.scope.hcm.suppress_envoy_headers
                && let Ok(old) = HeaderValue::from_str(&stream.request.authority)
            {
                headers.insert(ORIGINAL_HOST, old);
            }
            host.hostname.as_str()
        }
        _ => &forwarding.authority,
    };
    // What the route makes of the client's deadline is the one that counts for the backend.
    if let (true, Some(_), Some(limit)) =
        (stream.request.is_grpc, forwarding.action.grpc_timeout, limits.route)
        && let Ok(value) = HeaderValue::from_str(&format!("{}m", limit.as_millis().min(99_999_999)))
    {
        headers.insert("grpc-timeout", value);
    }
    headers.remove(header::CONTENT_LENGTH);
    let outgoing = OutgoingHead {
        method: &stream.request.method,
        scheme: stream.request.scheme,
        authority,
        path: &forwarding.path,
        headers,
        length: upload_length(upload, &stream.request.headers),
        upgrade: stream.request.upgrade.as_deref(),
    };
    stats.upstream_rq_total.inc();
    host.state.rq_total.fetch_add(1, Relaxed);
    let mut exchange = match Exchange::start(acquired, &cluster, outgoing) {
        Ok(exchange) => exchange,
        Err(fail) => return failed(&cluster, &host, fail),
    };
    let active = ActiveRequest::new(stats, &host);
    stream.info.upstream_local = exchange.local;
    stream.info.upstream_protocol = Some(match exchange.sender {
        Sender::H1(_) => Protocol::Http11,
        Sender::H2(_) => Protocol::Http2,
    });
    stream.info.upstream_principal = exchange.principal.clone();
    let upgrade = stream.request.upgrade.is_some();
    let got = await_head(stream, &mut exchange, upload, limits, per_try, upgrade, responder, alarm).await;
    drop(active);
    let now = Instant::now();
    match got {
        Head::Response(head, body) => {
            let outcome = outlier_status(&head);
            outlier::report(&cluster, &host, Outcome::Status(outcome), now);
            count_response(stats, &head);
            stream.info.response_first = Some(now);
            Attempt::Response(Box::new((exchange, head, body, host, tried_at)))
        }
        Head::Failed(fail) => {
            if fail == UpstreamFail::Closed && exchange.receiver.is_stale() {
                return Attempt::Stale;
            }
            if fail == UpstreamFail::Protocol {
                stats.upstream_cx_protocol_error.inc();
            }
            stats.upstream_rq_rx_reset.inc();
            failed(&cluster, &host, fail)
        }
        Head::TimedOut => {
            exchange.sender.reset();
            timed_out(&cluster, &host, stats, per_try)
        }
        Head::Idle => {
            exchange.sender.reset();
            stream.scope.stats().downstream_rq_idle_timeout.inc();
            let reply = LocalReply::new(timeout_status(upload), "stream_idle_timeout").body("stream timeout");
            Attempt::Final(Box::new(reply.flag(Flags::STREAM_IDLE_TIMEOUT)))
        }
        Head::TooSlow => {
            exchange.sender.reset();
            stream.scope.stats().downstream_rq_timeout.inc();
            let reply = LocalReply::new(StatusCode::REQUEST_TIMEOUT, "request_overall_timeout");
            Attempt::Final(Box::new(reply.body("request timeout")))
        }
        Head::MaxDuration => {
            exchange.sender.reset();
            let mut reply = LocalReply::new(timeout_status(upload), "max_duration_timeout")
                .body("downstream duration timeout");
            reply.grpc = Some(GRPC_DEADLINE_EXCEEDED);
            Attempt::Final(Box::new(reply))
        }
        Head::Gone => {
            exchange.sender.reset();
            stats.upstream_rq_tx_reset.inc();
            Attempt::Gone
        }
        Head::BadRequest(error) => {
            exchange.sender.reset();
            let reply = LocalReply::new(StatusCode::BAD_REQUEST, error.details()).body("Bad Request");
            Attempt::Final(Box::new(reply.flag(Flags::DOWNSTREAM_PROTOCOL_ERROR)))
        }
    }
}

fn outlier_status(head: &ResponseHead) -> u16 {
    // A gRPC failure of the server's kind counts like its HTTP brother.
    match head.headers.get(&GRPC_STATUS).map(HeaderValue::as_bytes) {
        Some(b"14") => 503,
        Some(b"13" | b"2") => 500,
        _ => head.status.as_u16(),
    }
}

fn count_response(stats: &ClusterStats, head: &ResponseHead) {
    count_status(stats, head.status);
}

/// A failure of the upstream that we had to answer for is a response of its cluster, as in Envoy.
fn charge(stats: &ClusterStats, reply: &LocalReply) {
    if reply.status.is_server_error() {
        count_status(stats, reply.status);
    }
}

fn count_status(stats: &ClusterStats, status: StatusCode) {
    stats.upstream_rq_completed.inc();
    match status.as_u16() / 100 {
        1 => stats.upstream_rq_1xx.inc(),
        2 => stats.upstream_rq_2xx.inc(),
        3 => stats.upstream_rq_3xx.inc(),
        4 => stats.upstream_rq_4xx.inc(),
        _ => stats.upstream_rq_5xx.inc(),
    }
}

fn failed(cluster: &Cluster, host: &Host, fail: UpstreamFail) -> Attempt {
    outlier::report(cluster, host, Outcome::LocalFailure, Instant::now());
    let failure = if fail == UpstreamFail::Refused { Failure::Refused } else { Failure::Reset };
    Attempt::Failed(failure, Box::new(reset_reply(fail)))
}

fn timed_out(cluster: &Cluster, host: &Host, stats: &ClusterStats, per_try: Option<Instant>) -> Attempt {
    outlier::report(cluster, host, Outcome::LocalFailure, Instant::now());
    host.state.rq_timeout.fetch_add(1, Relaxed);
    if per_try.is_some_and(|at| at <= Instant::now()) {
        stats.upstream_rq_per_try_timeout.inc();
        return Attempt::Failed(Failure::PerTryTimeout, Box::new(timeout_reply("upstream_per_try_timeout")));
    }
    stats.upstream_rq_timeout.inc();
    Attempt::Final(Box::new(timeout_reply("response_timeout")))
}

/// Counts a request as active while it lives.
struct ActiveRequest<'a> {
    stats: &'a ClusterStats,
    host: Arc<Host>,
}

impl<'a> ActiveRequest<'a> {
    fn new(stats: &'a ClusterStats, host: &Arc<Host>) -> Self {
        stats.upstream_rq_active.inc();
        host.state.rq_active.fetch_add(1, Relaxed);
        ActiveRequest { stats, host: host.clone() }
    }
}

impl Drop for ActiveRequest<'_> {
    fn drop(&mut self) {
        self.stats.upstream_rq_active.dec();
        self.host.state.rq_active.fetch_sub(1, Relaxed);
    }
}

enum Head {
    Response(ResponseHead, Body),
    Failed(UpstreamFail),
    TimedOut,
    Idle,
    /// The request did not come in time.
    TooSlow,
    MaxDuration,
    Gone,
    BadRequest(portolan_h1::BodyError),
}

#[allow(clippy::too_many_arguments)]
async fn await_head(
    stream: &mut Stream<'_>,
    exchange: &mut Exchange,
    upload: &mut Upload,
    limits: &Limits,
    per_try: Option<Instant>,
    upgrade: bool,
    responder: &mut Responder,
    alarm: &mut Alarm,
) -> Head {
    let mut request_end = upload.done.then_some(stream.info.request_end).flatten();
    let mut last = Instant::now();
    let mut send_failed = false;
    // After an upgrade request nothing but the tunnel follows.
    let result = poll_fn(|cx| {
        let before = upload.bytes;
        if !upload.done && !send_failed {
            match upload.poll(&mut exchange.sender, cx) {
                Poll::Ready(Ok(())) => {
                    upload.done = true;
                    request_end.get_or_insert_with(Instant::now);
                }
                Poll::Ready(Err(SendFail::Upstream)) => send_failed = true,
                Poll::Ready(Err(SendFail::Downstream(BodyFail::Reset | BodyFail::StreamReset))) => {
                    return Poll::Ready(Head::Gone);
                }
                Poll::Ready(Err(SendFail::Downstream(BodyFail::Protocol(
                    portolan_h1::BodyError::UnexpectedEof,
                )))) => {
                    return Poll::Ready(Head::Gone);
                }
                Poll::Ready(Err(SendFail::Downstream(BodyFail::Protocol(error)))) => {
                    return Poll::Ready(Head::BadRequest(error));
                }
                Poll::Pending => {}
            }
        }
        if before != upload.bytes {
            last = Instant::now();
        }
        let head = exchange.receiver.poll_head(cx);
        while let Some(interim) = exchange.receiver.take_interim() {
            // 100 was answered already unless it is to be passed on; early hints always are.
            if interim.status != StatusCode::CONTINUE || stream.scope.hcm.proxy_100_continue {
                responder.interim(&interim);
            }
        }
        match head {
            Poll::Ready(Ok((head, body))) => return Poll::Ready(Head::Response(head, body)),
            Poll::Ready(Err(fail)) => return Poll::Ready(Head::Failed(fail)),
            Poll::Pending => {}
        }
        if let Poll::Ready(Err(_)) = responder.poll_ready(cx) {
            return Poll::Ready(Head::Gone);
        }
        if !upgrade && responder.poll_gone(cx).is_ready() {
            return Poll::Ready(Head::Gone);
        }
        let overall = request_end.and_then(|at| limits.route.map(|limit| at + limit));
        let idle = limits.idle.map(|limit| last + limit);
        let slow = limits.request.filter(|_| request_end.is_none());
        let wake = [overall, idle, limits.until, per_try, slow].into_iter().flatten().min();
        if alarm.poll(cx, wake).is_ready() {
            let now = Instant::now();
            let past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            return Poll::Ready(if past(slow) {
                Head::TooSlow
            } else if past(overall) || past(per_try) {
                Head::TimedOut
            } else if past(limits.until) {
                Head::MaxDuration
            } else {
                Head::Idle
            });
        }
        Poll::Pending
    })
    .await;
    stream.info.bytes_received = upload.bytes;
    stream.info.request_end = request_end;
    result
}

/// Sends the response on, while the rest of the request may still go up.
async fn respond(
    stream: &mut Stream<'_>,
    forwarding: &Forwarding<'_>,
    got: (Exchange, ResponseHead, Body, Arc<Host>, Instant),
    mut upload: Upload,
    limits: &Limits,
    responder: &mut Responder,
    alarm: &mut Alarm,
) -> bool {
    let (mut exchange, mut head, mut body, host, tried_at) = got;
    let cluster = &forwarding.cluster;
    let stats = forwarding.own.stats_of(cluster);
    let _active = ActiveRequest::new(stats, &host);
    let switching = head.status == StatusCode::SWITCHING_PROTOCOLS;
    if switching && stream.request.upgrade.is_none() {
        let reply = LocalReply::new(StatusCode::BAD_GATEWAY, "upstream_unexpected_upgrade")
            .flag(Flags::UPSTREAM_PROTOCOL_ERROR);
        return stream.answer(reply, responder, alarm).await;
    }
    stream.info.details = "via_upstream".into();
    if !stream.scope.hcm.suppress_envoy_headers {
        let elapsed = u64::try_from(tried_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        head.headers.insert(SERVICE_TIME, HeaderValue::from(elapsed));
    }
    cluster.shared.rq_time.of(stream.scope.worker.id).record(tried_at.elapsed().as_secs_f64() * 1000.0);
    stream.info.response_code = head.status.as_u16();
    if stream.request.upgrade.is_some() && !switching {
        // The client may have sent bytes for the other protocol already.
        responder.close_after();
    }
    stream.finish_head(&mut head, switching);
    if switching {
        return tunnel::switch(stream, &head, exchange, body, upload.body, responder).await;
    }
    let length = response_length(&head, &body, &stream.request.method);
    if responder.start(&head, length).is_err() {
        return gone(stream, stats);
    }
    let (mut ended, mut cut, mut broken) = (false, false, false);
    let mut last = Instant::now();
    let mut trailers_seen: Option<HeaderMap> = None;
    let mut sent = 0u64;
    let mut by_reset = false;
    let end = poll_fn(|cx| {
        if !upload.done {
            match upload.poll(&mut exchange.sender, cx) {
                Poll::Ready(Ok(())) => upload.done = true,
                // The host answered and reads no further; the response counts.
                Poll::Ready(Err(SendFail::Upstream)) => upload.done = true,
                Poll::Ready(Err(SendFail::Downstream(_))) => return Poll::Ready(End::Gone),
                Poll::Pending => {}
            }
        }
        loop {
            let mut waiting = false;
            while !(ended || cut || waiting) && responder.has_room() {
                let frame = match body.poll_frame(cx) {
                    Poll::Pending => {
                        waiting = true;
                        continue;
                    }
                    // What came before is still sent.
                    Poll::Ready(Err(fail)) => {
                        cut = true;
                        broken = matches!(fail, BodyFail::Protocol(_));
                        by_reset = fail == BodyFail::StreamReset;
                        continue;
                    }
                    Poll::Ready(Ok(frame)) => frame,
                };
                last = Instant::now();
                match &frame {
                    Frame::Data(data) => sent += data.len() as u64,
                    Frame::Trailers(trailers) => {
                        ended = true;
                        trailers_seen = Some(trailers.clone());
                    }
                    Frame::End => ended = true,
                }
                if responder.send(frame).is_err() {
                    return Poll::Ready(End::Gone);
                }
            }
            match responder.poll_ready(cx) {
                Poll::Pending => break,
                Poll::Ready(Err(_)) => return Poll::Ready(End::Gone),
                Poll::Ready(Ok(())) if ended => return Poll::Ready(End::Complete),
                Poll::Ready(Ok(())) if cut => return Poll::Ready(End::Upstream),
                Poll::Ready(Ok(())) if waiting => break,
                Poll::Ready(Ok(())) => {}
            }
        }
        if !ended && responder.poll_gone(cx).is_ready() {
            return Poll::Ready(End::Gone);
        }
        let overall = stream.info.request_end.and_then(|at| limits.route.map(|limit| at + limit));
        let idle = limits.idle.map(|limit| last + limit);
        let wake = [overall, idle, limits.until].into_iter().flatten().min();
        if alarm.poll(cx, wake).is_ready() {
            let now = Instant::now();
            return Poll::Ready(if overall.is_some_and(|at| at <= now) {
                End::Timeout
            } else if limits.until.is_some_and(|at| at <= now) {
                End::MaxDuration
            } else {
                End::Idle
            });
        }
        Poll::Pending
    })
    .await;
    stream.info.bytes_sent = sent;
    stream.info.bytes_received = upload.bytes;
    let whole = end == End::Complete;
    if !whole || !upload.done {
        exchange.sender.reset();
    }
    drop_receiver(exchange.receiver);
    match end {
        End::Complete => {}
        End::Gone => {
            stats.upstream_rq_tx_reset.inc();
            stream.scope.stats().downstream_rq_rx_reset.inc();
            stream.info.flags.insert(Flags::DOWNSTREAM_CONNECTION_TERMINATION);
            stream.info.details = "downstream_remote_disconnect".into();
        }
        End::Upstream => {
            stats.upstream_rq_rx_reset.inc();
            outlier::report(cluster, &host, Outcome::LocalFailure, Instant::now());
            let (flag, details) = if broken {
                let details = "upstream_reset_after_response_started{protocol_error}";
                (Flags::UPSTREAM_PROTOCOL_ERROR, details)
            } else if by_reset {
                (Flags::UPSTREAM_REMOTE_RESET, "upstream_reset_after_response_started{remote_reset}")
            } else {
                let details = "upstream_reset_after_response_started{connection_termination}";
                (Flags::UPSTREAM_CONNECTION_TERMINATION, details)
            };
            stream.info.flags.insert(flag);
            stream.info.details = details.into();
            responder.abort();
        }
        End::Timeout => {
            stats.upstream_rq_timeout.inc();
            stream.info.flags.insert(Flags::UPSTREAM_REQUEST_TIMEOUT);
            stream.info.details = "response_timeout".into();
            responder.abort();
        }
        End::MaxDuration => {
            stream.info.flags.insert(Flags::DURATION_TIMEOUT);
            stream.info.details = "max_duration_timeout".into();
            responder.abort();
        }
        End::Idle => {
            stream.scope.stats().downstream_rq_idle_timeout.inc();
            stream.info.flags.insert(Flags::STREAM_IDLE_TIMEOUT);
            stream.info.details = "stream_idle_timeout".into();
            responder.abort();
        }
    }
    stream.finish(Some(&head), trailers_seen.as_ref());
    whole
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    Gone,
    Upstream,
    Timeout,
    MaxDuration,
    Idle,
}

/// The receiver holds the share of an HTTP/2 connection until the response has ended.
fn drop_receiver(receiver: Receiver) {
    drop(receiver);
}

/// Length of the response body, to be announced downstream.
fn response_length(head: &ResponseHead, body: &Body, method: &Method) -> Option<u64> {
    if *method == Method::HEAD
        || head.status == StatusCode::NO_CONTENT
        || head.status == StatusCode::NOT_MODIFIED
    {
        return Some(0);
    }
    body.length().or_else(|| head.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok())
}
