//! The downstream side of a response, whatever the codec.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderValue, StatusCode, header};
use portolan_h1::{
    BodyDecoder, BodyLength, HeaderCase, encode_chunk_head, encode_last_chunk, encode_response_head,
};

use crate::io::buffered::{BufferedIo, MAX_READ_AHEAD};
use crate::io::{Frame, Trailers};
use crate::message::{Protocol, ResponseHead};
use crate::upstream::h2_client::poll_data;

/// Where a response goes.
pub(crate) enum Responder {
    H1(H1Responder),
    H2(H2Responder),
}

/// A response on an HTTP/1 connection.
pub(crate) struct H1Responder {
    pub(crate) io: Rc<RefCell<BufferedIo>>,
    pub(crate) decoder: Rc<RefCell<BodyDecoder>>,
    pub(crate) protocol: Protocol,
    pub(crate) is_head: bool,
    /// Whether the connection may serve another request.
    pub(crate) keep_alive: bool,
    pub(crate) case: HeaderCase,
    trailers: Trailers,
    chunked: bool,
    started: bool,
    /// No body may follow (HEAD, 204, 304).
    mute: bool,
}

/// A response on an HTTP/2 stream.
pub(crate) struct H2Responder {
    send: SendResponse<Bytes>,
    stream: Option<SendStream<Bytes>>,
    pending: Bytes,
    ended: bool,
}

/// The client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

impl Responder {
    pub(crate) fn h1(
        io: Rc<RefCell<BufferedIo>>,
        decoder: Rc<RefCell<BodyDecoder>>,
        protocol: Protocol,
        is_head: bool,
        keep_alive: bool,
        case: HeaderCase,
        trailers: Trailers,
    ) -> Self {
        Responder::H1(H1Responder {
            io,
            decoder,
            protocol,
            is_head,
            keep_alive,
            case,
            trailers,
            chunked: false,
            started: false,
            mute: false,
        })
    }

    pub(crate) fn h2(send: SendResponse<Bytes>) -> Self {
        Responder::H2(H2Responder { send, stream: None, pending: Bytes::new(), ended: false })
    }

    /// Queues a 1xx head.
    pub(crate) fn interim(&mut self, head: &ResponseHead) {
        match self {
            Responder::H1(h1) if h1.protocol == Protocol::Http11 && !h1.started => {
                let mut io = h1.io.borrow_mut();
                encode_response_head(&mut io.output, head.status, &head.headers, BodyLength::None, h1.case);
            }
            Responder::H1(_) => {}
            Responder::H2(h2) => {
                let mut response = http::Response::new(());
                *response.status_mut() = head.status;
                *response.headers_mut() = head.headers.clone();
                let _ = h2.send.send_informational(response);
            }
        }
    }

    /// Queues the head. `length` is the body's if known; 0 ends the response.
    pub(crate) fn start(&mut self, head: &ResponseHead, length: Option<u64>) -> Result<(), Gone> {
        match self {
            Responder::H1(h1) => {
                h1.start(head, length);
                Ok(())
            }
            Responder::H2(h2) => h2.start(head, length),
        }
    }

    /// Ready when what was queued is written and more may be queued.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        match self {
            Responder::H1(h1) => h1.io.borrow_mut().poll_flush(cx).map_err(|_| Gone),
            Responder::H2(h2) => match &mut h2.stream {
                Some(stream) => poll_data(stream, &mut h2.pending, cx).map_err(|()| Gone),
                None => Poll::Ready(Ok(())),
            },
        }
    }

    /// Whether a piece may be queued although what is queued already is not written yet.
    pub(crate) fn has_room(&self) -> bool {
        match self {
            Responder::H1(h1) => h1.io.borrow().has_room(),
            Responder::H2(h2) => h2.pending.is_empty(),
        }
    }

    /// Queues a piece of the body. Call when ready, or when there is room.
    pub(crate) fn send(&mut self, frame: Frame) -> Result<(), Gone> {
        match self {
            Responder::H1(h1) => {
                h1.send(frame);
                Ok(())
            }
            Responder::H2(h2) => h2.send(frame),
        }
    }

    /// Ready when the client went away. Polled while there is nothing to read from it.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Responder::H1(h1) => {
                let mut io = h1.io.borrow_mut();
                if io.is_aborted() {
                    return Poll::Ready(());
                }
                if !h1.decoder.borrow().is_done() {
                    return Poll::Pending;
                }
                while !io.eof && io.input.len() < MAX_READ_AHEAD {
                    match io.poll_fill(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(count)) if count > 0 => {}
                        Poll::Ready(_) => return Poll::Ready(()),
                    }
                }
                if io.eof { Poll::Ready(()) } else { Poll::Pending }
            }
            Responder::H2(h2) => {
                let reset = match &mut h2.stream {
                    Some(stream) => ready!(stream.poll_reset(cx)),
                    None => ready!(h2.send.poll_reset(cx)),
                };
                match reset {
                    Ok(Reason::NO_ERROR) => Poll::Pending,
                    _ => Poll::Ready(()),
                }
            }
        }
    }

    /// Whether the connection was given up from our side.
    pub(crate) fn is_aborted(&self) -> bool {
        match self {
            Responder::H1(h1) => h1.io.borrow().is_aborted(),
            Responder::H2(_) => false,
        }
    }

    /// The response can not be finished: cut it so that the client can tell.
    pub(crate) fn abort(&mut self) {
        match self {
            Responder::H1(h1) => h1.keep_alive = false,
            Responder::H2(h2) => {
                if let Some(stream) = &mut h2.stream {
                    stream.send_reset(Reason::INTERNAL_ERROR);
                } else {
                    h2.send.send_reset(Reason::INTERNAL_ERROR);
                }
            }
        }
    }

    /// Closes the connection after this response.
    pub(crate) fn close_after(&mut self) {
        if let Responder::H1(h1) = self {
            h1.keep_alive = false;
        }
    }
}

impl H1Responder {
    fn start(&mut self, head: &ResponseHead, length: Option<u64>) {
        self.started = true;
        let status = head.status;
        let mut headers = Cow::Borrowed(&head.headers);
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let mut io = self.io.borrow_mut();
            encode_response_head(&mut io.output, status, &headers, BodyLength::None, self.case);
            return;
        }
        self.mute = self.is_head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        let framing = if status == StatusCode::NO_CONTENT {
            BodyLength::None
        } else if self.mute {
            BodyLength::AsIs
        } else {
            match (length, self.protocol) {
                (Some(length), _) => BodyLength::Known(length),
                (None, Protocol::Http10) => {
                    self.keep_alive = false;
                    BodyLength::UntilClose
                }
                (None, _) => {
                    self.chunked = true;
                    BodyLength::Chunked
                }
            }
        };
        // A request that is not wholly read would be taken for the next one.
        if !self.decoder.borrow().is_done() {
            self.keep_alive = false;
        }
        match (self.keep_alive, self.protocol) {
            (false, _) => {
                headers.to_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            (true, Protocol::Http10) => {
                headers.to_mut().insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
            }
            _ => {}
        }
        let mut io = self.io.borrow_mut();
        encode_response_head(&mut io.output, status, &headers, framing, self.case);
    }

    fn send(&mut self, frame: Frame) {
        if self.mute {
            return;
        }
        let mut io = self.io.borrow_mut();
        match frame.with(self.trailers) {
            Frame::Data(data) if self.chunked => {
                encode_chunk_head(&mut io.output, data.len());
                io.push(data);
                io.output.extend_from_slice(b"\r\n");
            }
            Frame::Data(data) => io.push(data),
            Frame::Trailers(trailers) if self.chunked => {
                encode_last_chunk(&mut io.output, Some(&trailers), self.case)
            }
            Frame::End if self.chunked => encode_last_chunk(&mut io.output, None, self.case),
            Frame::Trailers(_) | Frame::End => {}
        }
    }
}

impl H2Responder {
    fn start(&mut self, head: &ResponseHead, length: Option<u64>) -> Result<(), Gone> {
        let mut response = http::Response::new(());
        *response.status_mut() = head.status;
        *response.version_mut() = http::Version::HTTP_2;
        *response.headers_mut() = head.headers.clone();
        let end = length == Some(0);
        if let (Some(length), false) = (length, end) {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        self.ended = end;
        self.stream = Some(self.send.send_response(response, end).map_err(|_| Gone)?);
        Ok(())
    }

    fn send(&mut self, frame: Frame) -> Result<(), Gone> {
        let Some(stream) = self.stream.as_mut().filter(|_| !self.ended) else { return Ok(()) };
        match frame {
            Frame::Data(data) => self.pending = data,
            Frame::Trailers(trailers) => {
                self.ended = true;
                stream.send_trailers(trailers).map_err(|_| Gone)?;
            }
            Frame::End => {
                self.ended = true;
                stream.send_data(Bytes::new(), true).map_err(|_| Gone)?;
            }
        }
        Ok(())
    }
}
