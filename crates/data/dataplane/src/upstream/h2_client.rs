//! HTTP/2 to upstream hosts.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future as _;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};

use super::cluster::Cluster;
use super::exchange::{SendFail, UpstreamFail};
use super::h1_client::MAX_INFORMATIONAL;
use super::pool::{H2Lease, OpenGuard};
use crate::io::Frame;
use crate::io::metered::Metered;
use crate::io::stream::Stream;
use crate::message::{Body, ResponseHead};

/// Receive window of a stream: what a slow client may make us hold per request.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Receive window of a connection.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Largest response head (Envoy: 60 KiB).
const MAX_HEADER_LIST: u32 = 60 * 1024;
/// Largest frame accepted.
const MAX_FRAME: u32 = 64 * 1024;
/// Bytes queued in a stream towards a slow peer.
const MAX_SEND_BUFFER: usize = 256 * 1024;

/// Starts a connection and its driver task. The task says by the first cell when the connection is closed; the second holds
/// the number of requests that are under way.
pub(crate) async fn handshake(
    cluster: &Cluster,
    stream: Stream,
    (closed, active): (Rc<Cell<bool>>, Rc<Cell<usize>>),
    open: OpenGuard,
) -> Result<SendRequest<Bytes>, h2::Error> {
    let stream = Metered::new(stream, open.meter());
    let handshake = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_frame_size(MAX_FRAME)
        .max_send_buffer_size(MAX_SEND_BUFFER)
        .enable_push(false)
        .handshake::<_, Bytes>(stream);
    let limit = cluster.config.connect_timeout;
    let Ok(done) = tokio::time::timeout(limit, handshake).await else {
        return Err(h2::Reason::SETTINGS_TIMEOUT.into());
    };
    let (send, connection) = done?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream HTTP/2 connection ended");
        }
        if active.get() > 0 {
            open.cut_by_peer();
        }
        closed.set(true);
    });
    Ok(send)
}

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
