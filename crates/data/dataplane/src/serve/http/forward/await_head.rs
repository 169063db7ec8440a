//! Sends the request while it waits for the response head.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Instant;

use http::StatusCode;
use portolan_h1::BodyError;

use super::deadlines::{Deadlines, Expired, Running};
use super::upload::Upload;
use super::{Downstream, Forwarding};
use crate::io::BodyFail;
use crate::io::timer::now;
use crate::message::{Body, ResponseHead};
use crate::serve::http::state::RequestState;
use crate::upstream::exchange::{Exchange, Sender};
use crate::upstream::fail::{SendFail, UpstreamFail};

/// How the wait for a response head ended.
pub(super) enum Head {
    Response(ResponseHead, Body),
    Failed(UpstreamFail),
    TimedOut,
    /// Nothing moved.
    Idle,
    /// The request did not come in time.
    TooSlow,
    MaxDuration,
    Gone,
    BadRequest(BodyError),
}

/// The request's side of the wait.
struct Sending {
    /// When the request was complete.
    end: Option<Instant>,
    /// When something was sent last.
    last: Instant,
    /// The host reads no further.
    failed: bool,
}

/// Waits until there is a head, or a reason why there will be none.
pub(super) async fn await_head(
    state: &mut RequestState<'_>,
    forwarding: &mut Forwarding<'_>,
    exchange: &mut Exchange,
    until: Option<Instant>,
    down: &mut Downstream<'_>,
) -> Head {
    let Forwarding { upload, deadlines, .. } = forwarding;
    let pass_continue = state.scope.hcm.proxy_100_continue;
    // After an upgrade request nothing but the tunnel follows.
    let upgrade = state.request.upgrade.is_some();
    // The request ends once, however often it is sent.
    let mut sending = Sending { end: state.info.request_end, last: now(), failed: false };
    let result = poll_fn(|cx| {
        if let Poll::Ready(ended) = sending.poll(upload, &mut exchange.sender, cx) {
            return Poll::Ready(ended);
        }
        let head = exchange.receiver.poll_head(cx);
        while let Some(interim) = exchange.receiver.take_interim() {
            // 100 was answered already unless it is to be passed on; early hints always are.
            if interim.status != StatusCode::CONTINUE || pass_continue {
                down.responder.interim(&interim);
            }
        }
        match head {
            Poll::Ready(Ok((head, body))) => return Poll::Ready(Head::Response(head, body)),
            Poll::Ready(Err(fail)) => return Poll::Ready(Head::Failed(fail)),
            Poll::Pending => {}
        }
        if let Poll::Ready(Err(_)) = down.responder.poll_ready(cx) {
            return Poll::Ready(Head::Gone);
        }
        if !upgrade && down.responder.poll_gone(cx).is_ready() {
            return Poll::Ready(Head::Gone);
        }
        sending.running(deadlines, until).poll(down.alarm, cx).map(|expired| match expired {
            Expired::Request => Head::TooSlow,
            Expired::Response => Head::TimedOut,
            Expired::Stream => Head::MaxDuration,
            Expired::Idle => Head::Idle,
        })
    })
    .await;
    state.info.bytes_received = upload.bytes;
    state.info.request_end = sending.end;
    result
}

impl Sending {
    /// Sends what there is to send; ready when that ends the attempt.
    fn poll(&mut self, upload: &mut Upload, sender: &mut Sender, cx: &mut Context<'_>) -> Poll<Head> {
        if upload.done || self.failed {
            return Poll::Pending;
        }
        let before = upload.bytes;
        match upload.poll(sender, cx) {
            Poll::Ready(Ok(())) => {
                upload.done = true;
                self.end.get_or_insert_with(now);
            }
            Poll::Ready(Err(SendFail::Upstream)) => self.failed = true,
            Poll::Ready(Err(SendFail::Downstream(fail))) => {
                return Poll::Ready(match fail {
                    BodyFail::Protocol(error) if error != BodyError::UnexpectedEof => Head::BadRequest(error),
                    _ => Head::Gone,
                });
            }
            Poll::Pending => {}
        }
        if before != upload.bytes {
            self.last = now();
        }
        Poll::Pending
    }

    fn running(&self, deadlines: &Deadlines, until: Option<Instant>) -> Running {
        Running {
            request: deadlines.request.filter(|_| self.end.is_none()),
            response: deadlines.of_route(self.end),
            attempt: until,
            stream: deadlines.until,
            idle: deadlines.idle.map(|limit| self.last + limit),
        }
    }
}
