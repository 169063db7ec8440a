//! Whether a failed attempt is made again, and when.

use std::borrow::Cow;
use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::attempt::{Answered, Ended};
use super::replies::{reset_reply, tell_of_retry};
use super::{Downstream, Forwarding, Target};
use crate::io::timer::now;
use crate::message::Flags;
use crate::message::LocalReply;
use crate::route::Matched;
use crate::route::action::{RouteAction, is_idempotent};
use crate::route::retry::{Failure, RetryPolicy};
use crate::serve::http::state::RequestState;
use crate::upstream::breaker::Held;
use crate::upstream::environment::Here;
use crate::upstream::fail::UpstreamFail;

/// Times that a request is sent again because an idle connection turned out to be dead.
const MAX_STALE: u32 = 2;

/// The retries of one request.
pub(super) struct Retries<'a> {
    policy: Option<Cow<'a, RetryPolicy>>,
    target: Target<'a>,
    /// Made by the policy so far.
    made: u32,
    /// Made because an idle connection was dead.
    stale: u32,
    /// The circuit breaker's count of the retry that is under way.
    slot: Option<Held>,
}

/// What follows an attempt.
pub(super) enum Next<'a> {
    /// Its response is sent on.
    Send(Box<Answered<'a>>),
    /// An answer of our own is due.
    Answer(Box<LocalReply>),
    /// The client left.
    Gone,
    /// Another attempt, at once.
    Again,
    /// Another attempt, after a pause.
    AgainAfter(Duration),
}

/// What may be done about something that a policy could wish to repeat.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Retry,
    /// It is not wished, or not possible.
    Keep,
    /// There were enough.
    Limit,
    /// The circuit breaker is open.
    Overflow,
}

impl<'a> Retries<'a> {
    /// The policy of the route, and over it what an internal request asks for.
    pub(super) fn new(
        state: &RequestState<'_>,
        matched: &'a Matched,
        action: &'a RouteAction,
        target: Target<'a>,
    ) -> Self {
        let own = action.retry.as_ref().or(matched.host.retry.as_ref()).map(|policy| &**policy);
        let policy = if state.client.internal {
            RetryPolicy::with_headers(own, &state.request.headers)
        } else {
            own.map(Cow::Borrowed)
        };
        let policy = policy.filter(|policy| {
            let asked = &policy.request_headers;
            asked.is_empty() || asked.iter().any(|header| header.matches(&state.request))
        });
        Retries { policy, target, made: 0, stale: 0, slot: None }
    }

    pub(super) fn policy(&self) -> Option<&RetryPolicy> {
        self.policy.as_deref()
    }

    /// Whether the policy allows no further retry.
    pub(super) fn are_spent(&self) -> bool {
        self.policy().is_none_or(|policy| self.made >= policy.retries)
    }

    /// A retry counts as long as its attempt lasts.
    pub(super) fn attempt_ended(&mut self) {
        self.slot = None;
    }

    fn decide(&mut self, wanted: bool, possible: bool) -> Decision {
        let retries = self.policy().map_or(0, |policy| policy.retries);
        if !wanted || retries == 0 {
            return Decision::Keep;
        }
        if self.made >= retries {
            return Decision::Limit;
        }
        if !possible {
            return Decision::Keep;
        }
        let Target { cluster, high_priority, .. } = self.target;
        self.slot = cluster.usage(high_priority).take_retry(cluster.limits(high_priority));
        if self.slot.is_some() { Decision::Retry } else { Decision::Overflow }
    }

    fn again(&mut self) -> Duration {
        self.target.stats().upstream_rq_retry.inc();
        let pause = self.policy().map(|policy| policy.pause(self.made, &mut Here)).unwrap_or_default();
        self.made += 1;
        pause
    }

    /// Counts why there is no retry.
    fn note(&self, decision: &Decision, state: &mut RequestState<'_>) {
        let stats = self.target.stats();
        match decision {
            Decision::Limit => {
                stats.upstream_rq_retry_limit_exceeded.inc();
                state.info.flags.insert(Flags::UPSTREAM_RETRY_LIMIT);
            }
            Decision::Overflow => {
                stats.upstream_rq_retry_overflow.inc();
                state.info.flags.insert(Flags::UPSTREAM_OVERFLOW);
            }
            Decision::Retry | Decision::Keep => {}
        }
    }
}

impl<'a> Forwarding<'a> {
    /// What follows an attempt.
    pub(super) fn next(&mut self, state: &mut RequestState<'_>, ended: Ended<'a>) -> Next<'a> {
        match ended {
            Ended::Response(answered) => self.after_response(state, answered),
            Ended::Gone => Next::Gone,
            Ended::Final(reply) => Next::Answer(reply),
            Ended::Failed(failure, reply) => self.after_failure(state, failure, reply),
            Ended::Stale => {
                let repeatable = self.upload.replayable && is_idempotent(&state.request.method);
                if repeatable && self.retries.stale < MAX_STALE {
                    self.retries.stale += 1;
                    state.info.attempts -= 1;
                    return Next::Again;
                }
                self.after_failure(state, Failure::Reset, Box::new(reset_reply(UpstreamFail::Closed)))
            }
        }
    }

    fn after_response(&mut self, state: &mut RequestState<'_>, mut answered: Box<Answered<'a>>) -> Next<'a> {
        let wanted = self.retries.policy().is_some_and(|policy| policy.wants_response(&answered.head));
        let possible =
            self.upload.replayable && state.request.upgrade.is_none() && !self.deadlines.stream_is_over();
        let decision = self.retries.decide(wanted, possible);
        if decision == Decision::Retry {
            if !self.upload.done {
                answered.exchange.sender.reset();
            }
            return Next::AgainAfter(self.retries.again());
        }
        self.retries.note(&decision, state);
        if self.retries.made > 0 && !wanted {
            self.retries.target.stats().upstream_rq_retry_success.inc();
        }
        Next::Send(answered)
    }

    fn after_failure(
        &mut self,
        state: &mut RequestState<'_>,
        failure: Failure,
        mut reply: Box<LocalReply>,
    ) -> Next<'a> {
        let wanted = self.retries.policy().is_some_and(|policy| policy.wants_failure(failure));
        let decision =
            self.retries.decide(wanted && self.upload.replayable, !self.deadlines.stream_is_over());
        if decision == Decision::Retry {
            return Next::AgainAfter(self.retries.again());
        }
        self.retries.note(&decision, state);
        if self.retries.made > 0 && decision != Decision::Overflow {
            tell_of_retry(&mut reply);
        }
        Next::Answer(reply)
    }
}

/// How a pause ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Paused {
    Over,
    /// The route's time is up.
    TimedOut,
    /// The client left.
    Gone,
}

/// Waits before the next attempt, until `deadline` at most.
pub(super) async fn wait(pause: Duration, deadline: Option<Instant>, down: &mut Downstream<'_>) -> Paused {
    let wake = now() + pause;
    let late = deadline.filter(|at| *at < wake);
    poll_fn(|cx| {
        if down.responder.poll_gone(cx).is_ready() {
            return Poll::Ready(Paused::Gone);
        }
        let ended = if late.is_some() { Paused::TimedOut } else { Paused::Over };
        down.alarm.poll(cx, late.or(Some(wake))).map(|()| ended)
    })
    .await
}

#[cfg(test)]
mod tests {
    use portolan_envoy_api::pb::google::protobuf::UInt32Value;

    use super::*;
    use crate::io::timer::Alarm;
    use crate::pb::{cluster, route};
    use crate::serve::http::testing::{pair, responder};
    use crate::upstream::testing::{Backend, breakers};

    const PAUSE: Duration = Duration::from_secs(7);

    fn policy(retries: u32) -> RetryPolicy {
        RetryPolicy::compile(&route::RetryPolicy {
            retry_on: "5xx".into(),
            num_retries: Some(UInt32Value { value: retries }),
            ..Default::default()
        })
        .unwrap()
    }

    /// Calls `with` with the retries of a request whose policy allows two.
    fn retrying(change: impl FnOnce(&mut cluster::Cluster), with: impl FnOnce(&mut Retries<'_>)) {
        let backend = Backend::new(change);
        let target = Target { cluster: &backend.cluster, own: &backend.own, high_priority: false };
        let policy = Some(Cow::Owned(policy(2)));
        with(&mut Retries { policy, target, made: 0, stale: 0, slot: None });
    }

    #[tokio::test]
    async fn a_retry_holds_a_slot_until_its_attempt_has_ended() {
        retrying(
            |cluster| {
                cluster.circuit_breakers =
                    Some(breakers(|limits| limits.max_retries = Some(UInt32Value { value: 1 })));
            },
            |retries| {
                assert_eq!(retries.decide(true, true), Decision::Retry);
                let other = retries.target;
                let mut others = Retries {
                    policy: Some(Cow::Owned(policy(2))),
                    target: other,
                    made: 0,
                    stale: 0,
                    slot: None,
                };
                assert_eq!(others.decide(true, true), Decision::Overflow);
                retries.attempt_ended();
                assert_eq!(others.decide(true, true), Decision::Retry);
            },
        );
    }

    #[tokio::test]
    async fn there_are_as_many_retries_as_the_policy_says() {
        retrying(
            |_| {},
            |retries| {
                for _ in 0..2 {
                    assert_eq!(retries.decide(true, true), Decision::Retry);
                    retries.again();
                    retries.attempt_ended();
                }
                assert_eq!(retries.decide(true, true), Decision::Limit);
                assert_eq!(retries.target.stats().upstream_rq_retry.get(), 2);
            },
        );
    }

    #[tokio::test]
    async fn what_is_not_wanted_or_not_possible_is_kept() {
        retrying(
            |_| {},
            |retries| {
                assert_eq!(retries.decide(false, true), Decision::Keep);
                assert_eq!(retries.decide(true, false), Decision::Keep);
                assert!(retries.slot.is_none());
            },
        );
    }

    #[tokio::test]
    async fn without_a_policy_nothing_is_tried_again() {
        retrying(
            |_| {},
            |retries| {
                retries.policy = None;
                assert_eq!(retries.decide(true, true), Decision::Keep);
            },
        );
    }

    /// How a pause ends, and after how many seconds.
    async fn paused(deadline: Option<Duration>, leave: bool) -> (Paused, u64) {
        let (stream, client) = pair();
        let (mut responder, mut alarm) = (responder(stream), Alarm::default());
        let start = now();
        let mut down = Downstream { responder: &mut responder, alarm: &mut alarm };
        let leaving = async {
            if leave {
                tokio::time::sleep(PAUSE / 2).await;
                drop(client);
                return None;
            }
            Some(client)
        };
        let (ended, _client) =
            tokio::join!(wait(PAUSE, deadline.map(|limit| start + limit), &mut down), leaving);
        (ended, (now() - start).as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_attempt_waits_for_its_pause() {
        assert_eq!(paused(None, false).await, (Paused::Over, PAUSE.as_secs()));
        assert_eq!(paused(Some(2 * PAUSE), false).await, (Paused::Over, PAUSE.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_with_the_routes_time() {
        assert_eq!(paused(Some(PAUSE / 4), false).await, (Paused::TimedOut, PAUSE.as_secs() / 4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_ends_the_pause() {
        let (ended, after) = paused(None, true).await;
        assert_eq!(ended, Paused::Gone);
        assert!(after < PAUSE.as_secs(), "{after}");
    }
}
