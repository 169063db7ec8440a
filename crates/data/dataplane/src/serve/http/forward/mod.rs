//! Forwarding: attempts at the hosts of a cluster until one answers, and the two bodies that stream at the same time.
//!
//! [`forward`] makes the attempts and ends with an [`Outcome`]; [`Response::send`] passes a response on. What becomes of
//! heads, and what is logged, is the connection manager's business.

mod attempt;
mod await_head;
mod counts;
mod deadlines;
mod headers;
mod mirror;
mod replies;
mod response;
mod retry;
mod upload;

use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;

pub(crate) use self::attempt::GRPC_DEADLINE_EXCEEDED;
use self::attempt::{Answered, attempt};
use self::counts::charge;
use self::deadlines::Deadlines;
use self::headers::Outgoing;
use self::mirror::Mirrors;
pub(crate) use self::replies::reset_reply;
use self::replies::{overflow, timeout_reply};
pub(crate) use self::response::Response;
use self::retry::{Next, Paused, Retries};
use self::upload::{MAX_REPLAY, Upload};
use super::respond::Responder;
use super::state::{Downstream, RequestState};
use crate::message::Flags;
use crate::message::{Body, LocalReply, ResponseHead};
use crate::route::Matched;
use crate::route::action::{HashPolicy, RouteAction, is_idempotent};
use crate::stats::metrics::ClusterStats;
use crate::upstream::breaker::Held;
use crate::upstream::{Cluster, WorkerCluster};
use crate::value::{NetAddress, drawn};

/// Where a request goes.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) cluster: &'a Arc<Cluster>,
    /// This worker's share of the cluster.
    pub(crate) own: &'a Rc<WorkerCluster>,
    /// Which circuit breakers count it.
    pub(crate) high_priority: bool,
}

impl<'a> Target<'a> {
    fn stats(self) -> &'a ClusterStats {
        self.own.stats_of(self.cluster)
    }
}

/// What came of forwarding a request.
pub(crate) enum Outcome<'a> {
    /// A host answered; nothing of it was sent on yet.
    Response(Box<Response<'a>>),
    /// An answer of our own is due.
    Answer(Box<LocalReply>),
    /// The client left.
    Gone,
}

/// Everything that the attempts of one request share.
struct Forwarding<'a> {
    matched: &'a Matched,
    action: &'a RouteAction,
    target: Target<'a>,
    /// The circuit breaker's count of this request.
    slot: Held,
    outgoing: Outgoing,
    upload: Upload,
    deadlines: Deadlines,
    retries: Retries<'a>,
    mirrors: Mirrors<'a>,
    hash: Option<u64>,
    subset: Vec<(String, String)>,
    tried: Vec<NetAddress>,
}

/// Forwards a request until there is a response, or none to be had.
pub(crate) async fn forward<'a>(
    state: &mut RequestState<'_>,
    matched: &'a Matched,
    action: &'a RouteAction,
    target: Target<'a>,
    body: Body,
    down: &mut Downstream<'_>,
) -> Outcome<'a> {
    let stats = target.stats();
    if target.cluster.hosts.drop_overload.iter().any(|share| drawn(*share)) {
        stats.upstream_rq_drop_overload.inc();
        let reply = LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, "drop_overload");
        return answer(stats, reply.body("no healthy upstream").flag(Flags::NO_HEALTHY_UPSTREAM));
    }
    let Some(slot) = target.cluster.take_request(target.high_priority) else {
        stats.upstream_rq_pending_overflow.inc();
        return answer(stats, overflow());
    };
    let mut forwarding = Forwarding::new(state, matched, action, target, slot, body);
    let expects = state.request.expect_continue && !state.scope.hcm.proxy_100_continue;
    if expects && !forwarding.upload.body.is_end() {
        down.responder.interim(&ResponseHead::new(StatusCode::CONTINUE));
    }
    loop {
        state.info.attempts += 1;
        let ended = attempt(state, &mut forwarding, down).await;
        forwarding.retries.attempt_ended();
        match forwarding.next(state, ended) {
            Next::Send(answered) => return forwarding.respond(state, *answered),
            Next::Answer(reply) => return answer(stats, *reply),
            Next::Gone => return gone(state, stats, down),
            Next::Again => forwarding.upload.rewind(),
            Next::AgainAfter(pause) => {
                forwarding.upload.rewind();
                let deadline = forwarding.deadlines.of_route(state.info.request_end);
                match retry::wait(pause, deadline, down).await {
                    Paused::Over => {}
                    Paused::TimedOut => {
                        stats.upstream_rq_timeout.inc();
                        return answer(stats, timeout_reply("response_timeout"));
                    }
                    Paused::Gone => return gone(state, stats, down),
                }
            }
        }
    }
}

/// An answer in place of the cluster's counts as the cluster's.
fn answer(stats: &ClusterStats, reply: LocalReply) -> Outcome<'static> {
    charge(stats, &reply);
    Outcome::Answer(Box::new(reply))
}

fn gone(state: &mut RequestState<'_>, stats: &ClusterStats, down: &Downstream<'_>) -> Outcome<'static> {
    stats.upstream_rq_cancelled.inc();
    note_gone(state, down.responder);
    Outcome::Gone
}

/// The client left before its response was complete, or was left.
pub(crate) fn note_gone(state: &mut RequestState<'_>, responder: &Responder) {
    state.scope.stats().downstream_rq_rx_reset.inc();
    state.info.flags.insert(Flags::DOWNSTREAM_CONNECTION_TERMINATION);
    let left = responder.is_aborted();
    state.info.details =
        if left { "downstream_local_disconnect" } else { "downstream_remote_disconnect" }.into();
}

impl<'a> Forwarding<'a> {
    fn new(
        state: &mut RequestState<'_>,
        matched: &'a Matched,
        action: &'a RouteAction,
        target: Target<'a>,
        slot: Held,
        body: Body,
    ) -> Self {
        let retries = Retries::new(state, matched, action, target);
        let deadlines = Deadlines::new(state, action, retries.policy());
        let (hash, cookie) = HashPolicy::combine(&action.hash, &state.request, &state.scope.connection);
        state.set_cookie = cookie;
        let outgoing = Outgoing::new(state, matched, action);
        let mirrors = Mirrors::draw(action, &outgoing);
        let record =
            retries.policy().is_some() || !mirrors.is_empty() || is_idempotent(&state.request.method);
        let limit = matched.route.buffer_limit.or(matched.host.buffer_limit).unwrap_or(MAX_REPLAY);
        Forwarding {
            matched,
            action,
            target,
            slot,
            outgoing,
            upload: Upload::new(body, record, limit.min(MAX_REPLAY)),
            deadlines,
            retries,
            mirrors,
            hash,
            subset: headers::subset(state, matched, action),
            tried: Vec::new(),
        }
    }

    /// The end of the attempts: this response is sent on.
    fn respond(self, state: &RequestState<'_>, answered: Answered<'a>) -> Outcome<'a> {
        self.mirrors.send(state, &self);
        if answered.head.status == StatusCode::SWITCHING_PROTOCOLS && state.request.upgrade.is_none() {
            let reply = LocalReply::new(StatusCode::BAD_GATEWAY, "upstream_unexpected_upgrade");
            return Outcome::Answer(Box::new(reply.flag(Flags::UPSTREAM_PROTOCOL_ERROR)));
        }
        let Forwarding { target, slot, upload, deadlines, .. } = self;
        Outcome::Response(Box::new(Response { answered, target, _slot: slot, upload, deadlines }))
    }
}
