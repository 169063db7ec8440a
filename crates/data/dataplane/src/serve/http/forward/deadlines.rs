//! How long a forwarded request may take, by its route, its policy and what it asks for itself.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::HeaderName;

use crate::io::timer::Alarm;
use crate::io::timer::now;
use crate::route::action::RouteAction;
use crate::route::retry::RetryPolicy;
use crate::serve::http::state::RequestState;

pub(super) const UPSTREAM_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-timeout-ms");
pub(super) const PER_TRY_TIMEOUT: HeaderName =
    HeaderName::from_static("x-envoy-upstream-rq-per-try-timeout-ms");

/// What limits a forwarded request in time.
pub(super) struct Deadlines {
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

impl Deadlines {
    pub(super) fn new(state: &RequestState<'_>, action: &RouteAction, policy: Option<&RetryPolicy>) -> Self {
        let headers = &state.request.headers;
        let millis =
            |name: &HeaderName| headers.get(name)?.to_str().ok()?.parse().ok().map(Duration::from_millis);
        let mut route = action.timeout;
        if let (true, Some(max)) = (state.request.is_grpc, action.grpc_timeout)
            && let Some(asked) = headers.get("grpc-timeout").and_then(|value| grpc_timeout(value.as_bytes()))
        {
            route = Some(max.map_or(asked, |max| asked.min(max)));
        }
        if state.client.internal
            && let Some(asked) = millis(&UPSTREAM_TIMEOUT)
        {
            route = Some(asked).filter(|asked| !asked.is_zero());
        }
        let mut per_try = policy.and_then(|policy| policy.per_try_timeout);
        if state.client.internal
            && let Some(asked) = millis(&PER_TRY_TIMEOUT)
        {
            per_try = Some(asked).filter(|asked| !asked.is_zero());
        }
        // One that is not shorter says nothing.
        per_try = per_try.filter(|limit| route.is_none_or(|route| *limit < route));
        let mut own = action.max_stream_duration.map(|limit| state.info.start + limit);
        if let (true, Some(max)) = (state.request.is_grpc, action.grpc_duration)
            && let Some(asked) = headers.get("grpc-timeout").and_then(|value| grpc_timeout(value.as_bytes()))
        {
            own = Some(state.info.start + max.map_or(asked, |max| asked.min(max)));
            route = None;
        }
        let until = match (own, state.deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let idle = action.idle_timeout.unwrap_or(state.scope.hcm.stream_idle_timeout);
        let request = state.scope.hcm.request_timeout.map(|limit| state.info.start + limit);
        Deadlines { route, per_try, idle, until, request }
    }

    /// By when an attempt that begins now must have its response.
    pub(super) fn of_attempt(&self, now: Instant) -> Option<Instant> {
        self.per_try.map(|limit| now + limit)
    }

    /// By when there must be a response to a request that was complete at `end`, whatever number of attempts it takes.
    pub(super) fn of_route(&self, end: Option<Instant>) -> Option<Instant> {
        Some(end? + self.route?)
    }

    /// Whether the stream's time is up.
    pub(super) fn stream_is_over(&self) -> bool {
        self.until.is_some_and(|at| at <= now())
    }

    /// What the route lets a host know to have at most: one attempt's time, or what is left of all of it.
    pub(super) fn expected(&self, again: bool, end: Option<Instant>) -> Option<Duration> {
        earliest([self.left(again, end), self.per_try])
    }

    /// What is left of the route's time, in whole milliseconds, for an attempt (another one: `again`) at a request that
    /// was complete at `end`. Never nothing, which would mean no limit.
    pub(super) fn left(&self, again: bool, end: Option<Instant>) -> Option<Duration> {
        let gone = end.filter(|_| again).map_or(Duration::ZERO, |end| now().saturating_duration_since(end));
        let gone = Duration::from_secs(gone.as_secs()) + Duration::from_millis(gone.subsec_millis().into());
        self.route.map(|route| route.saturating_sub(gone).max(Duration::from_millis(1)))
    }
}

/// The earlier of those that there are.
pub(super) fn earliest<T: Ord>(all: impl IntoIterator<Item = Option<T>>) -> Option<T> {
    all.into_iter().flatten().min()
}

/// The deadlines that run at one moment.
#[derive(Debug, Default)]
pub(super) struct Running {
    /// Of the request's arrival.
    pub(super) request: Option<Instant>,
    /// Of the response, counted from the end of the request.
    pub(super) response: Option<Instant>,
    /// Of this attempt.
    pub(super) attempt: Option<Instant>,
    /// Of the stream as a whole.
    pub(super) stream: Option<Instant>,
    /// Since something last moved.
    pub(super) idle: Option<Instant>,
}

/// Which deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    Request,
    /// Of the response or of the attempt.
    Response,
    Stream,
    Idle,
}

impl Running {
    /// Ready when one of them has passed; of several the first in the order of the fields counts.
    pub(super) fn poll(&self, alarm: &mut Alarm, cx: &mut Context<'_>) -> Poll<Expired> {
        let next = earliest([self.request, self.response, self.attempt, self.stream, self.idle]);
        alarm.poll(cx, next).map(|()| self.expired(now()))
    }

    fn expired(&self, now: Instant) -> Expired {
        let past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if past(self.request) {
            Expired::Request
        } else if past(self.response) || past(self.attempt) {
            Expired::Response
        } else if past(self.stream) {
            Expired::Stream
        } else {
            Expired::Idle
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_have_a_number_and_a_unit() {
        for (text, wanted) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("250m", Some(Duration::from_millis(250))),
            ("5u", Some(Duration::from_micros(5))),
            ("7n", Some(Duration::from_nanos(7))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("100000000S", None),
            ("S", None),
            ("1", None),
            ("1x", None),
            ("-1S", None),
            ("", None),
        ] {
            assert_eq!(grpc_timeout(text.as_bytes()), wanted, "{text:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_deadline_rings_and_says_which_it_was() {
        let start = now();
        let at = |seconds| Some(start + Duration::from_secs(seconds));
        for (running, wanted, after) in [
            (Running { request: at(1), idle: at(2), ..Running::default() }, Expired::Request, 1),
            (Running { response: at(5), attempt: at(4), ..Running::default() }, Expired::Response, 4),
            (Running { stream: at(8), idle: at(9), ..Running::default() }, Expired::Stream, 8),
            (Running { stream: at(12), idle: at(11), ..Running::default() }, Expired::Idle, 11),
        ] {
            let mut alarm = Alarm::default();
            let expired = std::future::poll_fn(|cx| running.poll(&mut alarm, cx)).await;
            assert_eq!((expired, (now() - start).as_secs()), (wanted, after));
        }
    }
}
