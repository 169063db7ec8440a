//! HTTP/2 to upstream hosts.

use std::collections::VecDeque;
use std::future::Future as _;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use h2::client::ResponseFuture;

use super::fail::{SendFail, UpstreamFail};
use super::h1_client::MAX_INFORMATIONAL;
use super::pool::H2Lease;
use crate::io::Frame;
use crate::message::{Body, ResponseHead};

/// The sending half of an exchange.
#[derive(Debug)]
pub(crate) struct H2Sender {
    pub(crate) stream: SendStream<Bytes>,
    pending: Bytes,
    done: bool,
}

impl H2Sender {
    pub(crate) fn new(stream: SendStream<Bytes>, done: bool) -> Self {
        H2Sender { stream, pending: Bytes::new(), done }
    }

    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Body,
        tap: &mut dyn FnMut(&Bytes),
    ) -> Poll<Result<(), SendFail>> {
        while !self.done {
            ready!(poll_data(&mut self.stream, &mut self.pending, cx)).map_err(|()| SendFail::Upstream)?;
            match ready!(body.poll_frame(cx)).map_err(SendFail::Downstream)? {
                Frame::Data(data) => {
                    tap(&data);
                    self.pending = data;
                }
                Frame::Trailers(trailers) => {
                    self.done = true;
                    self.stream.send_trailers(trailers).map_err(|_| SendFail::Upstream)?;
                }
                Frame::End => {
                    self.done = true;
                    self.stream.send_data(Bytes::new(), true).map_err(|_| SendFail::Upstream)?;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Sends `pending` as the peer's windows allow. Shared by both directions.
pub(crate) fn poll_data(
    stream: &mut SendStream<Bytes>,
    pending: &mut Bytes,
    cx: &mut Context<'_>,
) -> Poll<Result<(), ()>> {
    while !pending.is_empty() {
        stream.reserve_capacity(pending.len());
        let mut capacity = stream.capacity();
        if capacity == 0 {
            capacity = match ready!(stream.poll_capacity(cx)) {
                Some(Ok(capacity)) => capacity,
                Some(Err(_)) | None => return Poll::Ready(Err(())),
            };
        }
        let piece = pending.split_to(capacity.min(pending.len()));
        if piece.is_empty() {
            continue;
        }
        stream.send_data(piece, false).map_err(|_| ())?;
    }
    Poll::Ready(Ok(()))
}

/// The receiving half.
#[derive(Debug)]
pub(crate) struct H2Receiver {
    response: ResponseFuture,
    /// 1xx heads to be passed on.
    pub(crate) interim: VecDeque<ResponseHead>,
    informational: usize,
    /// The stream counts until the response was read.
    _lease: H2Lease,
}

impl H2Receiver {
    pub(crate) fn new(response: ResponseFuture, lease: H2Lease) -> Self {
        H2Receiver { response, interim: VecDeque::new(), informational: 0, _lease: lease }
    }

    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(ResponseHead, Body), UpstreamFail>> {
        while let Poll::Ready(Some(Ok(head))) = self.response.poll_informational(cx) {
            self.informational += 1;
            if self.informational > MAX_INFORMATIONAL {
                return Poll::Ready(Err(UpstreamFail::Protocol));
            }
            let (parts, ()) = head.into_parts();
            self.interim.push_back(ResponseHead { status: parts.status, headers: parts.headers });
        }
        let response = match ready!(std::pin::Pin::new(&mut self.response).poll(cx)) {
            Ok(response) => response,
            Err(error) => {
                return Poll::Ready(Err(match error.reason() {
                    Some(h2::Reason::REFUSED_STREAM) => UpstreamFail::Refused,
                    // A stream above the last one that the host will serve was not begun (RFC 9113, 6.8).
                    _ if error.is_go_away() && error.is_remote() => UpstreamFail::Refused,
                    Some(h2::Reason::PROTOCOL_ERROR) if !error.is_remote() => UpstreamFail::Protocol,
                    Some(_) if error.is_reset() => UpstreamFail::Reset,
                    _ => UpstreamFail::Closed,
                }));
            }
        };
        let (parts, stream) = response.into_parts();
        let head = ResponseHead { status: parts.status, headers: parts.headers };
        Poll::Ready(Ok((head, Body::H2(stream))))
    }
}
