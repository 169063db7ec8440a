//! A response on its way down, while the rest of the request may still go up.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::attempt::{Answered, Attempt};
use super::deadlines::{Deadlines, Expired, Running};
use super::upload::Upload;
use super::{Downstream, Target, note_gone};
use crate::io::timer::now;
use crate::io::{BodyFail, Frame};
use crate::message::{Body, Flags, ResponseHead};
use crate::serve::http::respond::Responder;
use crate::serve::http::state::RequestState;
use crate::serve::http::tunnel;
use crate::upstream::breaker::Held;
use crate::upstream::fail::SendFail;
use crate::upstream::outlier::{self, Outcome};

const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// A response of which nothing was sent on yet.
pub(crate) struct Response<'a> {
    pub(super) answered: Answered<'a>,
    pub(super) target: Target<'a>,
    /// The circuit breaker's count of the request.
    pub(super) _slot: Held,
    pub(super) upload: Upload,
    pub(super) deadlines: Deadlines,
}

/// What was sent on.
pub(crate) struct Sent {
    pub(crate) head: ResponseHead,
    pub(crate) trailers: Option<HeaderMap>,
    /// Complete, so that the connection may serve another request.
    pub(crate) whole: bool,
}

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    /// The client left.
    Gone,
    /// The host ended too early.
    Cut(BodyFail),
    Timeout,
    MaxDuration,
    Idle,
}

/// The response body on its way.
struct Download {
    body: Body,
    /// When a piece came last.
    last: Instant,
    bytes: u64,
    ended: bool,
    /// The host ended too early; what came before is still sent.
    cut: Option<BodyFail>,
    trailers: Option<HeaderMap>,
}

impl Response<'_> {
    /// Head and body as they will be sent on.
    pub(crate) fn parts_mut(&mut self) -> (&mut ResponseHead, &mut Body) {
        (&mut self.answered.head, &mut self.answered.body)
    }

    /// Whether both connections change to another protocol with this response.
    pub(crate) fn switches(&self) -> bool {
        self.answered.head.status == StatusCode::SWITCHING_PROTOCOLS
    }

    /// Takes note of the response before anything is done to its head.
    pub(crate) fn begin(&mut self, state: &mut RequestState<'_>, responder: &mut Responder) {
        let switches = self.switches();
        let Answered { head, attempt, .. } = &mut self.answered;
        let elapsed = now().saturating_duration_since(attempt.start);
        state.info.details = "via_upstream".into();
        state.info.response_code = head.status.as_u16();
        if !state.scope.hcm.suppress_envoy_headers {
            let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            head.headers.insert(SERVICE_TIME, HeaderValue::from(millis));
        }
        let times = self.target.cluster.shared.rq_time.of(state.scope.worker.id);
        times.record(elapsed.as_secs_f64() * 1000.0);
        if state.request.upgrade.is_some() && !switches {
            // The client may have sent bytes for the other protocol already.
            responder.close_after();
        }
    }

    /// Sends it on.
    pub(crate) async fn send(self, state: &mut RequestState<'_>, down: &mut Downstream<'_>) -> Sent {
        let switches = self.switches();
        let Response { answered, target, upload, deadlines, .. } = self;
        let Answered { exchange, head, body, attempt, _active } = answered;
        if switches {
            tunnel::switch(state, &head, exchange, body, down.responder).await;
            return Sent { head, trailers: None, whole: false };
        }
        let length = response_length(&head, &body, &state.request.method);
        if down.responder.start(&head, length).is_err() {
            target.stats().upstream_rq_cancelled.inc();
            note_gone(state, down.responder);
            return Sent { head, trailers: None, whole: false };
        }
        let (mut exchange, mut upload, mut download) = (exchange, upload, Download::new(body));
        let end = poll_fn(|cx| {
            if !upload.done {
                match upload.poll(&mut exchange.sender, cx) {
                    // A host that answered and reads no further did answer.
                    Poll::Ready(Ok(()) | Err(SendFail::Upstream)) => upload.done = true,
                    Poll::Ready(Err(SendFail::Downstream(_))) => return Poll::Ready(End::Gone),
                    Poll::Pending => {}
                }
            }
            if let Poll::Ready(end) = download.poll(down.responder, cx) {
                return Poll::Ready(end);
            }
            if !download.ended && down.responder.poll_gone(cx).is_ready() {
                return Poll::Ready(End::Gone);
            }
            let running = download.running(&deadlines, state.info.request_end);
            running.poll(down.alarm, cx).map(|expired| match expired {
                Expired::Request | Expired::Response => End::Timeout,
                Expired::Stream => End::MaxDuration,
                Expired::Idle => End::Idle,
            })
        })
        .await;
        state.info.bytes_sent = download.bytes;
        state.info.bytes_received = upload.bytes;
        if end != End::Complete || !upload.done {
            exchange.sender.reset();
        }
        // Its receiver holds the share of an HTTP/2 connection until the response has ended.
        drop(exchange);
        note_end(state, end, target, &attempt, down.responder);
        Sent { head, trailers: download.trailers, whole: end == End::Complete }
    }
}

impl Download {
    fn new(body: Body) -> Self {
        Download { body, last: now(), bytes: 0, ended: false, cut: None, trailers: None }
    }

    /// Moves the body on as far as the client takes it; ready when all that there is was written.
    fn poll(&mut self, responder: &mut Responder, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let mut waiting = false;
            while !(self.ended || self.cut.is_some() || waiting) && responder.has_room() {
                match self.body.poll_frame(cx) {
                    Poll::Pending => waiting = true,
                    Poll::Ready(Err(fail)) => self.cut = Some(fail),
                    Poll::Ready(Ok(frame)) => {
                        self.note(&frame);
                        if responder.send(frame).is_err() {
                            return Poll::Ready(End::Gone);
                        }
                    }
                }
            }
            match (responder.poll_ready(cx), self.cut) {
                (Poll::Pending, _) => return Poll::Pending,
                (Poll::Ready(Err(_)), _) => return Poll::Ready(End::Gone),
                (Poll::Ready(Ok(())), _) if self.ended => return Poll::Ready(End::Complete),
                (Poll::Ready(Ok(())), Some(fail)) => return Poll::Ready(End::Cut(fail)),
                (Poll::Ready(Ok(())), None) if waiting => return Poll::Pending,
                (Poll::Ready(Ok(())), None) => {}
            }
        }
    }

    fn note(&mut self, frame: &Frame) {
        self.last = now();
        match frame {
            Frame::Data(data) => self.bytes += data.len() as u64,
            Frame::Trailers(trailers) => {
                self.ended = true;
                self.trailers = Some(trailers.clone());
            }
            Frame::End => self.ended = true,
        }
    }

    fn running(&self, deadlines: &Deadlines, request_end: Option<Instant>) -> Running {
        Running {
            response: deadlines.of_route(request_end),
            stream: deadlines.until,
            idle: deadlines.idle.map(|limit| self.last + limit),
            ..Running::default()
        }
    }
}

/// Takes note of the end; a response that is not complete is cut so that the client can tell.
fn note_end(
    state: &mut RequestState<'_>,
    end: End,
    target: Target<'_>,
    attempt: &Attempt,
    responder: &mut Responder,
) {
    let stats = target.stats();
    let (flag, details) = match end {
        End::Complete => return,
        End::Gone => {
            stats.upstream_rq_tx_reset.inc();
            note_gone(state, responder);
            return;
        }
        End::Cut(fail) => {
            stats.upstream_rq_rx_reset.inc();
            outlier::report(target.cluster, &attempt.host, Outcome::LocalFailure);
            match fail {
                BodyFail::Protocol(_) => {
                    (Flags::UPSTREAM_PROTOCOL_ERROR, "upstream_reset_after_response_started{protocol_error}")
                }
                BodyFail::StreamReset => {
                    (Flags::UPSTREAM_REMOTE_RESET, "upstream_reset_after_response_started{remote_reset}")
                }
                BodyFail::Reset => (
                    Flags::UPSTREAM_CONNECTION_TERMINATION,
                    "upstream_reset_after_response_started{connection_termination}",
                ),
            }
        }
        End::Timeout => {
            stats.upstream_rq_timeout.inc();
            (Flags::UPSTREAM_REQUEST_TIMEOUT, "response_timeout")
        }
        End::MaxDuration => (Flags::DURATION_TIMEOUT, "max_duration_timeout"),
        End::Idle => {
            state.scope.stats().downstream_rq_idle_timeout.inc();
            (Flags::STREAM_IDLE_TIMEOUT, "stream_idle_timeout")
        }
    };
    state.info.flags.insert(flag);
    state.info.details = details.into();
    state.scope.stats().downstream_rq_tx_reset.inc();
    responder.abort();
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
