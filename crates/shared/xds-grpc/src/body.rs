//! A stream of responses as the body of an HTTP response (gRPC over HTTP/2): messages are written piece by piece as the
//! connection takes them.
//!
//! tonic's own encoder writes a message as a whole and keeps the buffer for the next one: a stream that has once sent its
//! proxy everything would hold two megabytes for good. Here a stream that says nothing holds nothing.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::Frame;
use portolan_xds::wire::WriteMessage;
use tonic::{Code, Status, codegen::tokio_stream::Stream};

/// A stream of responses.
pub type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Bytes of a message that are written at a time, but for a longer part of it.
const PIECE: usize = 64 * 1024;

/// What precedes a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The body.
pub(super) struct ResponseBody<T> {
    messages: BoxStream<T>,
    writing: Option<Writing<T>>,
    ended: bool,
}

struct Writing<T> {
    message: T,
    next_part: usize,
    /// Bytes that have not been written.
    left: usize,
}

impl<T> ResponseBody<T> {
    pub(super) fn new(messages: BoxStream<T>) -> Self {
        Self { messages, writing: None, ended: false }
    }
}

impl<T: WriteMessage> Writing<T> {
    fn begin(message: T) -> Result<Self, Status> {
        let left = message.len();
        if u32::try_from(left).is_err() {
            return Err(Status::out_of_range(format!(
                "a response of {left} bytes is longer than gRPC has a number for"
            )));
        }
        Ok(Self { message, next_part: 0, left })
    }

    /// The next piece, and whether it was the last.
    fn piece(&mut self) -> (Bytes, bool) {
        let mut piece = BytesMut::with_capacity(self.left.saturating_add(PREFIX).min(PIECE));
        if self.next_part == 0 {
            piece.put_u8(0);
            piece.put_u32(u32::try_from(self.left).unwrap_or(u32::MAX));
            self.left += PREFIX;
        }
        let mut more = true;
        while more && piece.len() < PIECE {
            more = self.message.write_part(self.next_part, &mut piece);
            self.next_part += 1;
        }
        self.left = self.left.saturating_sub(piece.len());
        (piece.freeze(), !more || self.left == 0)
    }
}

impl<T: WriteMessage + Unpin> http_body::Body for ResponseBody<T> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if let Some(writing) = &mut self.writing {
                let (piece, last) = writing.piece();
                if last {
                    self.writing = None;
                }
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let status = match ready!(self.messages.as_mut().poll_next(cx)) {
                Some(Ok(message)) => match Writing::begin(message) {
                    Ok(writing) => {
                        self.writing = Some(writing);
                        continue;
                    }
                    Err(status) => status,
                },
                Some(Err(status)) => status,
                None => Status::new(Code::Ok, ""),
            };
            self.ended = true;
            let mut trailers = tonic::codegen::http::HeaderMap::new();
            status.add_header(&mut trailers)?;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.writing.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::Arc};

    use http_body::Body as _;
    use portolan_xds::{Resource, type_url, wire::DeltaResponse};
    use tonic::codegen::tokio_stream;

    use super::*;

    fn response(bodies: &[usize]) -> DeltaResponse {
        let resource = |(i, len): (usize, &usize)| {
            Arc::new(Resource::new(format!("r{i}"), type_url::CLUSTER, vec![7; *len].into()))
        };
        DeltaResponse {
            system_version: "1".to_owned(),
            type_url: type_url::CLUSTER.into(),
            nonce: "n".to_owned(),
            resources: bodies.iter().enumerate().map(resource).collect(),
            removed: vec!["gone".into()],
        }
    }

    /// The pieces of a body, and its trailers.
    async fn written(
        messages: Vec<Result<DeltaResponse, Status>>,
    ) -> (Vec<Bytes>, tonic::codegen::http::HeaderMap) {
        let mut body = ResponseBody::new(Box::pin(tokio_stream::iter(messages)));
        let mut pieces = Vec::new();
        loop {
            let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
            match frame.into_data() {
                Ok(piece) => pieces.push(piece),
                Err(frame) => {
                    assert!(body.is_end_stream());
                    assert!(poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.is_none());
                    return (pieces, frame.into_trailers().unwrap());
                }
            }
        }
    }

    fn whole(message: &DeltaResponse) -> Vec<u8> {
        let mut out = vec![0];
        out.put_u32(u32::try_from(message.len()).unwrap());
        message.write(&mut out);
        out
    }

    #[tokio::test]
    async fn messages_are_written_in_pieces_that_are_those_of_the_whole() {
        for bodies in [&[][..], &[10], &[0, 0], &[PIECE - 100, 1], &[PIECE; 3], &[1000; 500], &[5 * PIECE, 1]]
        {
            let message = response(bodies);
            let (pieces, trailers) = written(vec![Ok(message.clone()), Ok(message.clone())]).await;
            assert_eq!(pieces.concat(), [whole(&message), whole(&message)].concat(), "{bodies:?}");
            let longest = bodies.iter().max().copied().unwrap_or_default();
            assert!(pieces.iter().all(|p| !p.is_empty() && p.len() < 2 * PIECE + longest), "{bodies:?}");
            assert_eq!(trailers["grpc-status"], "0");
        }
    }

    #[tokio::test]
    async fn a_stream_that_breaks_says_why() {
        let failed = Err(Status::unavailable("going"));
        let (pieces, trailers) = written(vec![Ok(response(&[1])), failed, Ok(response(&[2]))]).await;
        assert_eq!(pieces.len(), 1);
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-message"]),
            (&"14".parse().unwrap(), &"going".parse().unwrap())
        );
    }
}
