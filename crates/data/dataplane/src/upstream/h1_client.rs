//! HTTP/1.1 to upstream hosts.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use portolan_h1::{
    BodyDecoder, BodyError, BodyFraming, BodyLength, HeaderCase, Limits, ResponseParser, encode_chunk_head,
    encode_last_chunk, encode_request_head,
};

use super::config::ClusterConfig;
use super::fail::{SendFail, UpstreamFail};
use super::pool::{H1Connection, HostPool};
use crate::io::buffered::BufferedIo;
use crate::io::{BodyFail, Frame, Trailers};
use crate::message::body::{BodySource, RawConnection};
use crate::message::{Body, ResponseHead};

/// 1xx heads that are skipped before a response is taken for an attack.
pub(crate) const MAX_INFORMATIONAL: usize = 16;

/// The sending half of an exchange.
#[derive(Debug)]
pub(crate) struct H1Sender {
    io: Rc<RefCell<BufferedIo>>,
    chunked: bool,
    trailers: Trailers,
    state: Rc<Cell<SendState>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SendState {
    Body,
    Flush,
    Done,
    Broken,
}

/// The receiving half.
#[derive(Debug)]
pub(crate) struct H1Receiver {
    connection: Option<(H1Connection, Rc<HostPool>)>,
    parser: ResponseParser,
    method: Method,
    sent: Rc<Cell<SendState>>,
    max_requests: u32,
    trailers: Trailers,
    informational: usize,
    any_byte: bool,
    /// `100 Continue` and the like to be passed on.
    pub(crate) interim: VecDeque<ResponseHead>,
}

/// Starts an exchange: queues the head.
pub(crate) fn start(
    connection: H1Connection,
    pool: Rc<HostPool>,
    head: (&Method, &str, &HeaderMap),
    length: Option<u64>,
    limits: Limits,
    config: &ClusterConfig,
) -> Result<(H1Sender, H1Receiver), UpstreamFail> {
    let (method, target, headers) = head;
    let (case, trailers) = (config.header_case, config.trailers);
    let upgrade = headers.contains_key(http::header::UPGRADE);
    // A body of unknown length is chunked; GET without body has no framing field unless it says 0 itself, POST says 0.
    let silent = !headers.contains_key(http::header::CONTENT_LENGTH);
    let framing = match length {
        Some(0)
            if silent
                && (upgrade
                    || matches!(
                        *method,
                        Method::GET | Method::HEAD | Method::DELETE | Method::CONNECT | Method::TRACE
                    )) =>
        {
            BodyLength::None
        }
        Some(length) => BodyLength::Known(length),
        None => BodyLength::Chunked,
    };
    let io = connection.io.clone();
    encode_request_head(&mut io.borrow_mut().output, method, target, headers, framing, case)
        .map_err(|_| UpstreamFail::Protocol)?;
    let state = Rc::new(Cell::new(if length == Some(0) { SendState::Flush } else { SendState::Body }));
    let sender = H1Sender { io, chunked: length.is_none(), trailers, state: state.clone() };
    let receiver = H1Receiver {
        connection: Some((connection, pool)),
        parser: ResponseParser::new(limits),
        method: method.clone(),
        sent: state,
        max_requests: config.max_requests_per_connection,
        trailers,
        informational: 0,
        any_byte: false,
        interim: VecDeque::new(),
    };
    Ok((sender, receiver))
}

impl H1Sender {
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Body,
        tap: &mut dyn FnMut(&Bytes),
    ) -> Poll<Result<(), SendFail>> {
        loop {
            match self.state.get() {
                SendState::Done => return Poll::Ready(Ok(())),
                SendState::Broken => return Poll::Ready(Err(SendFail::Upstream)),
                SendState::Body | SendState::Flush => {}
            }
            if ready!(self.io.borrow_mut().poll_flush(cx)).is_err() {
                self.state.set(SendState::Broken);
                continue;
            }
            if self.state.get() == SendState::Flush {
                self.state.set(SendState::Done);
                continue;
            }
            let frame = ready!(body.poll_frame(cx)).map_err(SendFail::Downstream)?;
            let mut io = self.io.borrow_mut();
            match frame.with(self.trailers) {
                Frame::Data(data) => {
                    tap(&data);
                    if self.chunked {
                        encode_chunk_head(&mut io.output, data.len());
                        io.push(data);
                        io.output.extend_from_slice(b"\r\n");
                    } else {
                        io.push(data);
                    }
                }
                Frame::Trailers(trailers) => {
                    if self.chunked {
                        encode_last_chunk(&mut io.output, Some(&trailers), HeaderCase::Lower);
                    }
                    self.state.set(SendState::Flush);
                }
                Frame::End => {
                    if self.chunked {
                        encode_last_chunk(&mut io.output, None, HeaderCase::Lower);
                    }
                    self.state.set(SendState::Flush);
                }
            }
        }
    }
}

impl H1Receiver {
    /// Whether the connection had served a request before and closed without a byte of an answer: the race
    /// with the server's idle timeout.
    pub(crate) fn is_stale(&self) -> bool {
        !self.any_byte && self.connection.as_ref().is_some_and(|(connection, _)| connection.requests > 0)
    }

    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(ResponseHead, Body), UpstreamFail>> {
        let Some((connection, _)) = &self.connection else { return Poll::Ready(Err(UpstreamFail::Closed)) };
        let io = connection.io.clone();
        let mut io = io.borrow_mut();
        loop {
            if !io.input.is_empty() {
                self.any_byte = true;
            }
            let parsed = if io.input.is_empty() {
                None
            } else {
                self.parser.parse(&mut io.input, &self.method).map_err(|_| UpstreamFail::Protocol)?
            };
            let Some(head) = parsed else {
                if io.eof {
                    connection.cut_by_peer();
                    // Part of a head is not an answer.
                    let fail = if self.any_byte { UpstreamFail::Protocol } else { UpstreamFail::Closed };
                    return Poll::Ready(Err(fail));
                }
                if ready!(io.poll_fill(cx)).is_err() {
                    connection.cut_by_peer();
                    return Poll::Ready(Err(UpstreamFail::Closed));
                }
                continue;
            };
            let response = ResponseHead { status: head.status, headers: head.headers };
            if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
                self.informational += 1;
                if self.informational > MAX_INFORMATIONAL {
                    return Poll::Ready(Err(UpstreamFail::Protocol));
                }
                self.interim.push_back(response);
                continue;
            }
            let Some((connection, pool)) = self.connection.take() else {
                return Poll::Ready(Err(UpstreamFail::Closed));
            };
            drop(io);
            let body = H1ClientBody {
                decoder: BodyDecoder::new(head.framing),
                reusable: head.keep_alive && head.status != StatusCode::SWITCHING_PROTOCOLS,
                connection: Some((connection, pool)),
                sent: self.sent.clone(),
                max_requests: self.max_requests,
                trailers: self.trailers,
                ended: false,
            };
            let mut body = Box::new(body);
            if head.framing == BodyFraming::None && head.status != StatusCode::SWITCHING_PROTOCOLS {
                body.finish();
                return Poll::Ready(Ok((response, Body::Boxed(body))));
            }
            return Poll::Ready(Ok((response, Body::Boxed(body))));
        }
    }
}

/// A response body; gives its connection back to the pool at the end.
#[derive(Debug)]
pub(crate) struct H1ClientBody {
    connection: Option<(H1Connection, Rc<HostPool>)>,
    decoder: BodyDecoder,
    reusable: bool,
    sent: Rc<Cell<SendState>>,
    max_requests: u32,
    trailers: Trailers,
    ended: bool,
}

impl H1ClientBody {
    fn finish(&mut self) {
        self.ended = true;
        let Some((connection, pool)) = self.connection.take() else { return };
        // Unread bytes, or a request that is not wholly sent: whatever comes next could be taken for the answer to
        // somebody else's request.
        let clean =
            self.reusable && self.sent.get() == SendState::Done && connection.io.borrow().input.is_empty();
        if clean {
            pool.give_back(connection, self.max_requests);
        }
    }
}

impl BodySource for H1ClientBody {
    fn is_end(&self) -> bool {
        self.ended || self.decoder.is_done()
    }

    fn remaining(&self) -> Option<u64> {
        if self.ended { Some(0) } else { self.decoder.remaining() }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, BodyFail>> {
        let Some((connection, _)) = &self.connection else { return Poll::Ready(Ok(Frame::End)) };
        let io = connection.io.clone();
        let frame = ready!(io.borrow_mut().poll_body(cx, &mut self.decoder));
        match &frame {
            Ok(Frame::End | Frame::Trailers(_)) => self.finish(),
            Ok(Frame::Data(_)) => {}
            Err(fail) => {
                if matches!(fail, BodyFail::Reset | BodyFail::Protocol(BodyError::UnexpectedEof)) {
                    connection.cut_by_peer();
                }
                self.connection = None;
            }
        }
        Poll::Ready(frame.map(|frame| frame.with(self.trailers)))
    }

    fn into_raw(mut self: Box<Self>) -> Option<RawConnection> {
        let (connection, _) = self.connection.take()?;
        Some(RawConnection { io: connection.io.clone(), _lease: Box::new(connection) })
    }
}
