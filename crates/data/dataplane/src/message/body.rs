//! Bodies of both directions and codecs behind one type.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use portolan_h1::BodyDecoder;

use crate::io::buffered::BufferedIo;
use crate::io::{BodyFail, Frame, Trailers};

/// The body of an upstream HTTP/1 response: it gives its connection back to the pool at its end.
pub(crate) trait LeasedBody: std::fmt::Debug {
    /// True when it is known that nothing follows.
    fn is_end(&self) -> bool;
    /// Bytes that are still to come, if that is known.
    fn remaining(&self) -> Option<u64>;
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, BodyFail>>;
    /// The raw connection after a protocol switch.
    fn into_raw(self: Box<Self>) -> Option<RawConnection>;
}

/// An upstream connection that left its pool for good.
#[derive(Debug)]
pub(crate) struct RawConnection {
    pub(crate) io: Rc<RefCell<BufferedIo>>,
    /// Counts the connection as open while it lives.
    pub(crate) _lease: Box<dyn std::any::Any>,
}

/// A body that is read piece by piece. After `Trailers` or `End` it must not be polled again.
#[derive(Debug, Default)]
pub(crate) enum Body {
    #[default]
    Empty,
    /// Body of a request on a downstream HTTP/1 connection.
    H1Server(Rc<RefCell<BufferedIo>>, Rc<RefCell<BodyDecoder>>, Trailers),
    /// Body of an upstream HTTP/1 response.
    H1Client(Box<dyn LeasedBody>),
    H2(h2::RecvStream),
    /// Pieces that were read before, then the rest.
    Replay(VecDeque<Bytes>, Box<Body>),
}

impl Body {
    /// True when it is known that nothing follows.
    pub(crate) fn is_end(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::H1Server(_, decoder, _) => decoder.borrow().is_done(),
            Body::H1Client(body) => body.is_end(),
            Body::H2(stream) => stream.is_end_stream(),
            Body::Replay(data, rest) => data.is_empty() && rest.is_end(),
        }
    }

    /// Its length if it is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Body::Empty => Some(0),
            Body::H1Server(_, decoder, _) => decoder.borrow().remaining(),
            Body::H1Client(body) => body.remaining(),
            Body::H2(stream) => stream.is_end_stream().then_some(0),
            Body::Replay(data, rest) => {
                rest.length().map(|rest| rest + data.iter().map(|piece| piece.len() as u64).sum::<u64>())
            }
        }
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, BodyFail>> {
        match self {
            Body::Empty => Poll::Ready(Ok(Frame::End)),
            Body::H1Server(io, decoder, trailers) => {
                let frame = ready!(io.borrow_mut().poll_body(cx, &mut decoder.borrow_mut()))?;
                Poll::Ready(Ok(trailers.filter(frame)))
            }
            Body::H1Client(body) => body.poll_frame(cx),
            Body::H2(stream) => poll_h2(stream, cx),
            Body::Replay(data, rest) => match data.pop_front() {
                Some(piece) => Poll::Ready(Ok(Frame::Data(piece))),
                None => rest.poll_frame(cx),
            },
        }
    }
}

fn poll_h2(stream: &mut h2::RecvStream, cx: &mut Context<'_>) -> Poll<Result<Frame, BodyFail>> {
    loop {
        match ready!(stream.poll_data(cx)) {
            Some(Ok(data)) if data.is_empty() => {}
            Some(Ok(data)) => {
                // The piece goes straight on to a peer that was ready for it, so the window may open again.
                let _ = stream.flow_control().release_capacity(data.len());
                return Poll::Ready(Ok(Frame::Data(data)));
            }
            // Whatever its reason is, a reset before the end means that something is missing.
            Some(Err(error)) => return Poll::Ready(Err(h2_fail(&error))),
            None => break,
        }
    }
    Poll::Ready(match ready!(stream.poll_trailers(cx)) {
        Ok(Some(trailers)) => Ok(Frame::Trailers(trailers)),
        Ok(None) => Ok(Frame::End),
        Err(error) => Err(h2_fail(&error)),
    })
}

fn h2_fail(error: &h2::Error) -> BodyFail {
    if error.is_reset() && error.is_remote() { BodyFail::StreamReset } else { BodyFail::Reset }
}
