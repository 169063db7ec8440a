//! One attempt: a host, a connection to it, the request sent, and the head of its response.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Instant;

use http::StatusCode;

use super::await_head::{Head, await_head};
use super::counts::{ActiveRequest, count_status, outlier_status};
use super::deadlines::earliest;
use super::replies::{connect_reply, no_host, overflow, reset_reply, timeout_reply};
use super::upload::{timeout_status, upload_length};
use super::{Downstream, Forwarding, Target, headers};
use crate::io::timer::now;
use crate::message::Flags;
use crate::message::LocalReply;
use crate::message::{Body, Protocol, ResponseHead};
use crate::route::retry::Failure;
use crate::serve::http::state::RequestState;
use crate::upstream::Host;
use crate::upstream::exchange::{Exchange, OutgoingHead, Sender};
use crate::upstream::fail::UpstreamFail;
use crate::upstream::outlier::{self, Outcome};
use crate::upstream::pick::LbContext;
use crate::upstream::pool::{AcquireError, Acquired};

pub(crate) const GRPC_DEADLINE_EXCEEDED: u32 = 4;

/// What came of one attempt.
pub(super) enum Ended<'a> {
    Response(Box<Answered<'a>>),
    /// No response; whether a retry makes sense is for the policy to say.
    Failed(Failure, Box<LocalReply>),
    /// The connection had idled and died: send again without asking the policy.
    Stale,
    /// No way to answer any more.
    Gone,
    /// Answer this, whatever the policy says.
    Final(Box<LocalReply>),
}

/// A response head, with all that its body needs.
pub(super) struct Answered<'a> {
    pub(super) exchange: Exchange,
    pub(super) head: ResponseHead,
    pub(super) body: Body,
    pub(super) attempt: Attempt,
    /// The request counts as active until its response was read.
    pub(super) _active: ActiveRequest<'a>,
}

/// At which host an attempt is made, since when, and until when at most.
pub(super) struct Attempt {
    pub(super) host: Arc<Host>,
    pub(super) start: Instant,
    until: Option<Instant>,
}

/// Makes one attempt.
pub(super) async fn attempt<'a>(
    state: &mut RequestState<'_>,
    forwarding: &mut Forwarding<'a>,
    down: &mut Downstream<'_>,
) -> Ended<'a> {
    let target = forwarding.target;
    let Some(host) = choose_host(state, forwarding) else {
        target.stats().upstream_cx_none_healthy.inc();
        return Ended::Final(Box::new(no_host()));
    };
    let start = now();
    state.trace_attempt(&mut forwarding.outgoing.headers);
    let attempt = Attempt { host, start, until: forwarding.deadlines.of_attempt(start) };
    let acquired = match connection(state, forwarding, &attempt, down).await {
        Ok(acquired) => acquired,
        Err(ended) => return ended,
    };
    headers::complete(state, forwarding, &attempt.host);
    let mut exchange = match start_exchange(state, forwarding, acquired, &attempt.host) {
        Ok(exchange) => exchange,
        Err(fail) => return failed(target, &attempt.host, fail),
    };
    let active = ActiveRequest::new(target.stats(), &attempt.host);
    match await_head(state, forwarding, &mut exchange, attempt.until, down).await {
        Head::Response(head, body) => {
            let now = now();
            let status = Outcome::Status(outlier_status(&head));
            outlier::report(target.cluster, &attempt.host, status);
            count_status(target.stats(), head.status);
            state.trace_answer(&head);
            state.info.response_first = Some(now);
            Ended::Response(Box::new(Answered { exchange, head, body, attempt, _active: active }))
        }
        without => no_response(state, forwarding, without, exchange, &attempt),
    }
}

fn choose_host(state: &mut RequestState<'_>, forwarding: &mut Forwarding<'_>) -> Option<Arc<Host>> {
    let policy = forwarding.retries.policy();
    let retrying = state.info.attempts > 1;
    let connection = &state.info.connection;
    let context = LbContext {
        hash: forwarding.hash,
        avoid: if policy.is_some_and(|policy| policy.avoid_previous) { &forwarding.tried } else { &[] },
        attempts: if retrying { policy.map_or(0, |policy| policy.host_attempts) } else { 0 },
        original_dst: connection.restored.then_some(connection.local),
        subset: (!forwarding.subset.is_empty()).then_some(&forwarding.subset),
    };
    let host = forwarding.target.own.pick(&context)?;
    state.info.host = Some(host.clone());
    forwarding.tried.push(host.address.clone());
    Some(host)
}

/// Waits for a connection as long as the client stays and time is left.
async fn connection<'a>(
    state: &mut RequestState<'_>,
    forwarding: &Forwarding<'a>,
    attempt: &Attempt,
    down: &mut Downstream<'_>,
) -> Result<Acquired, Ended<'a>> {
    let target = forwarding.target;
    let deadlines = &forwarding.deadlines;
    let offer = headers::offer(&state.request, target, &attempt.host);
    let acquiring = target.own.acquire(target.cluster, &attempt.host, offer, target.high_priority);
    let mut acquiring = pin!(acquiring);
    let until = earliest([deadlines.until, attempt.until, deadlines.of_route(state.info.request_end)]);
    poll_fn(|cx| {
        if let Poll::Ready(result) = acquiring.as_mut().poll(cx) {
            return Poll::Ready(result.map_err(|error| not_connected(state, target, &attempt.host, &error)));
        }
        if down.responder.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Ended::Gone));
        }
        down.alarm.poll(cx, until).map(|()| Err(timed_out(target, attempt)))
    })
    .await
}

fn not_connected<'a>(
    state: &mut RequestState<'_>,
    target: Target<'a>,
    host: &Host,
    error: &AcquireError,
) -> Ended<'a> {
    match error {
        AcquireError::Overflow => Ended::Final(Box::new(overflow())),
        AcquireError::Connect(error) => {
            outlier::report(target.cluster, host, Outcome::LocalFailure);
            target.stats().upstream_rq_pending_failure_eject.inc();
            let (text, reply) = connect_reply(error);
            state.info.upstream_failure = Some(text);
            Ended::Failed(Failure::Connect, Box::new(reply))
        }
    }
}

fn start_exchange(
    state: &mut RequestState<'_>,
    forwarding: &mut Forwarding<'_>,
    acquired: Acquired,
    host: &Host,
) -> Result<Exchange, UpstreamFail> {
    let last = forwarding.retries.are_spent();
    let Forwarding { target, action, outgoing, upload, .. } = forwarding;
    let request = &state.request;
    let head = OutgoingHead {
        method: &request.method,
        scheme: request.scheme,
        authority: headers::host_names(action, host).unwrap_or(&outgoing.authority),
        path: &outgoing.path,
        headers: &mut outgoing.headers,
        last,
        length: upload_length(upload, &request.headers),
        upgrade: request.upgrade.as_deref(),
    };
    target.stats().upstream_rq_total.inc();
    host.state.rq_total.fetch_add(1, Relaxed);
    let exchange = Exchange::start(acquired, target.cluster, head)?;
    state.info.upstream_local = exchange.local;
    state.info.upstream_protocol = Some(match exchange.sender {
        Sender::H1(_) => Protocol::Http11,
        Sender::H2(_) => Protocol::Http2,
    });
    state.info.upstream_principal.clone_from(&exchange.principal);
    Ok(exchange)
}

/// What an attempt without a response comes to.
fn no_response<'a>(
    state: &RequestState<'_>,
    forwarding: &Forwarding<'a>,
    head: Head,
    mut exchange: Exchange,
    attempt: &Attempt,
) -> Ended<'a> {
    let target = forwarding.target;
    let stats = target.stats();
    if let Head::Failed(fail) = head {
        if fail == UpstreamFail::Closed && exchange.receiver.is_stale() {
            return Ended::Stale;
        }
        if fail == UpstreamFail::Protocol {
            stats.upstream_cx_protocol_error.inc();
        }
        stats.upstream_rq_rx_reset.inc();
        return failed(target, &attempt.host, fail);
    }
    exchange.sender.reset();
    let late = timeout_status(&forwarding.upload);
    let reply = match head {
        Head::Response(..) | Head::Failed(_) | Head::TimedOut => return timed_out(target, attempt),
        Head::Gone => {
            stats.upstream_rq_tx_reset.inc();
            return Ended::Gone;
        }
        Head::Idle => {
            state.scope.stats().downstream_rq_idle_timeout.inc();
            let reply = LocalReply::new(late, "stream_idle_timeout").body("stream timeout");
            reply.flag(Flags::STREAM_IDLE_TIMEOUT)
        }
        Head::TooSlow => {
            state.scope.stats().downstream_rq_timeout.inc();
            LocalReply::new(StatusCode::REQUEST_TIMEOUT, "request_overall_timeout").body("request timeout")
        }
        Head::MaxDuration => {
            let mut reply = LocalReply::new(late, "max_duration_timeout").body("downstream duration timeout");
            reply.grpc = Some(GRPC_DEADLINE_EXCEEDED);
            reply
        }
        Head::BadRequest(error) => LocalReply::new(StatusCode::BAD_REQUEST, error.details())
            .body("Bad Request")
            .flag(Flags::DOWNSTREAM_PROTOCOL_ERROR),
    };
    Ended::Final(Box::new(reply))
}

fn failed<'a>(target: Target<'a>, host: &Host, fail: UpstreamFail) -> Ended<'a> {
    outlier::report(target.cluster, host, Outcome::LocalFailure);
    let failure = if fail == UpstreamFail::Refused { Failure::Refused } else { Failure::Reset };
    Ended::Failed(failure, Box::new(reset_reply(fail)))
}

fn timed_out<'a>(target: Target<'a>, attempt: &Attempt) -> Ended<'a> {
    let now = now();
    outlier::report(target.cluster, &attempt.host, Outcome::LocalFailure);
    attempt.host.state.rq_timeout.fetch_add(1, Relaxed);
    if attempt.until.is_some_and(|at| at <= now) {
        target.stats().upstream_rq_per_try_timeout.inc();
        let reply = timeout_reply("upstream_per_try_timeout");
        return Ended::Failed(Failure::PerTryTimeout, Box::new(reply));
    }
    target.stats().upstream_rq_timeout.inc();
    Ended::Final(Box::new(timeout_reply("response_timeout")))
}
