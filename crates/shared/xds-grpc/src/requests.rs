//! The body of an HTTP request (gRPC over HTTP/2) as a stream of requests.
//!
//! tonic's own decoder gathers a message in a buffer and keeps it for the next one: a stream whose client has once asked for
//! everything by name would hold a quarter of a megabyte for good. Here a message is read out of the pieces in which it
//! arrived, and a stream that says nothing holds nothing.

use std::{
    collections::VecDeque,
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use prost::Message;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Body as HttpBody, StdError},
};

/// What precedes a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Requests as they come. Who waits for one may give up waiting: nothing is lost.
pub struct Requests<Q> {
    body: Body,
    arrived: Pieces,
    /// Length of the message that is arriving.
    wanted: Option<usize>,
    max: usize,
    ended: bool,
    message: PhantomData<fn() -> Q>,
}

impl<Q> std::fmt::Debug for Requests<Q> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Requests").field("arrived", &self.arrived.len).field("ended", &self.ended).finish()
    }
}

impl<Q: Message + Default> Requests<Q> {
    /// The requests in a body; one of more than `max` bytes ends the stream.
    pub fn new<B>(body: B, max: usize) -> Self
    where
        B: HttpBody + Send + 'static,
        B::Error: Into<StdError> + Send + 'static,
    {
        let body = Body::new(body_with_bytes(body));
        Self { body, arrived: Pieces::default(), wanted: None, max, ended: false, message: PhantomData }
    }

    /// The next request; nothing when the client has ended its side.
    ///
    /// # Errors
    /// When the connection breaks, or what arrives is no such message. The stream is over then.
    pub async fn message(&mut self) -> Result<Option<Q>, Status> {
        let outcome = poll_fn(|cx| self.poll_message(cx)).await;
        if outcome.is_err() {
            self.ended = true;
            self.wanted = None;
            self.arrived = Pieces::default();
        }
        outcome
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Q>, Status>> {
        loop {
            if let Some(message) = self.take()? {
                return Poll::Ready(Ok(Some(message)));
            }
            if self.ended {
                return Poll::Ready(if self.arrived.len == 0 && self.wanted.is_none() {
                    Ok(None)
                } else {
                    Err(Status::internal("the stream ended in the middle of a message"))
                });
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => self.ended = true,
                Some(Err(status)) => return Poll::Ready(Err(status)),
                // Trailers say nothing to a server.
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        self.arrived.push(piece);
                    }
                }
            }
        }
    }

    /// The first message, if all of it has arrived.
    fn take(&mut self) -> Result<Option<Q>, Status> {
        let length = match self.wanted {
            Some(length) => length,
            None if self.arrived.len < PREFIX => return Ok(None),
            None => {
                let flag = self.arrived.get_u8();
                let length = self.arrived.get_u32();
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                match flag {
                    0 => {}
                    1 => {
                        return Err(Status::internal("the message is compressed, and no encoding was named"));
                    }
                    flag => return Err(Status::internal(format!("{flag} is no flag of a message"))),
                }
                if length > self.max {
                    let text = format!("a message of {length} bytes; at most {} are read", self.max);
                    return Err(Status::new(Code::OutOfRange, text));
                }
                *self.wanted.insert(length)
            }
        };
        if self.arrived.len < length {
            return Ok(None);
        }
        self.wanted = None;
        let message = Q::decode((&mut self.arrived).take(length))
            .map_err(|error| Status::internal(format!("the message can't be read: {error}")))?;
        self.arrived.shrink();
        Ok(Some(message))
    }
}

/// Any data as [`Bytes`]; those of an HTTP/2 connection are that already.
fn body_with_bytes<B>(body: B) -> impl HttpBody<Data = Bytes, Error = B::Error> + Send + 'static
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    Whole(Box::pin(body))
}

struct Whole<B>(Pin<Box<B>>);

impl<B: HttpBody> HttpBody for Whole<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, B::Error>>> {
        let whole = |mut data: B::Data| data.copy_to_bytes(data.remaining());
        self.0.as_mut().poll_frame(cx).map_ok(|frame| frame.map_data(whole))
    }
}

/// Bytes that lie in several places.
#[derive(Debug, Default)]
struct Pieces {
    pieces: VecDeque<Bytes>,
    len: usize,
}

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Gives memory back when nothing is left.
    fn shrink(&mut self) {
        if self.pieces.is_empty() {
            self.pieces = VecDeque::new();
        }
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn advance(&mut self, mut count: usize) {
        self.len -= count;
        while count > 0 {
            let Some(first) = self.pieces.front_mut() else { return };
            let step = count.min(first.len());
            first.advance(step);
            if first.is_empty() {
                self.pieces.pop_front();
            }
            count -= step;
        }
    }
}

#[cfg(test)]
mod tests {
    use portolan_envoy_api::pb::envoy::service::discovery::v3::DiscoveryRequest;
    use tokio::sync::mpsc;

    use super::*;

    const MAX: usize = 1000;

    struct Body(mpsc::UnboundedReceiver<Bytes>);

    impl HttpBody for Body {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
            self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(http_body::Frame::data(piece))))
        }
    }

    fn stream() -> (mpsc::UnboundedSender<Bytes>, Requests<DiscoveryRequest>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, Requests::new(Body(receiver), MAX))
    }

    fn request(names: &[&str]) -> DiscoveryRequest {
        DiscoveryRequest {
            type_url: "t".into(),
            resource_names: names.iter().map(ToString::to_string).collect(),
            ..Default::default()
        }
    }

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        let mut out = vec![flag];
        out.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        out.extend(message);
        out
    }

    #[tokio::test]
    async fn messages_are_read_in_whatever_pieces_they_arrive() {
        let requests =
            [request(&["a", "b"]), request(&[]), DiscoveryRequest::default(), request(&["c"; 100])];
        let bytes: Vec<u8> = requests.iter().flat_map(|r| framed(0, &r.encode_to_vec())).collect();
        for size in [1, 2, 3, 4, 5, 6, 7, 100, bytes.len()] {
            let (sender, mut stream) = stream();
            bytes.chunks(size).for_each(|piece| sender.send(Bytes::copy_from_slice(piece)).unwrap());
            drop(sender);
            for expected in &requests {
                assert_eq!(stream.message().await.unwrap().as_ref(), Some(expected), "pieces of {size}");
            }
            assert!(stream.message().await.unwrap().is_none());
            assert!(stream.message().await.unwrap().is_none());
            assert_eq!((stream.arrived.len, stream.arrived.pieces.capacity()), (0, 0));
        }
    }

    #[tokio::test]
    async fn who_gives_up_waiting_loses_nothing() {
        let (sender, mut stream) = stream();
        let bytes = framed(0, &request(&["a"]).encode_to_vec());
        for piece in bytes.chunks(3) {
            sender.send(Bytes::copy_from_slice(piece)).unwrap();
            let soon = std::time::Duration::ZERO;
            if let Ok(message) = tokio::time::timeout(soon, stream.message()).await {
                assert_eq!(message.unwrap(), Some(request(&["a"])));
                return;
            }
        }
        panic!("the message never came");
    }

    #[tokio::test]
    async fn what_is_no_request_ends_the_stream() {
        let long = framed(0, &vec![0; MAX + 1])[..PREFIX].to_vec();
        let cut = framed(0, &request(&["a"]).encode_to_vec())[..8].to_vec();
        let head = framed(0, b"abc")[..PREFIX].to_vec();
        for (bytes, code, says) in [
            (framed(1, b""), Code::Internal, "compressed"),
            (framed(7, b""), Code::Internal, "7 is no flag"),
            (framed(0, b"\xff\xff"), Code::Internal, "can't be read"),
            (long, Code::OutOfRange, "1001 bytes; at most 1000"),
            (cut, Code::Internal, "in the middle"),
            (head, Code::Internal, "in the middle"),
            (vec![0, 0], Code::Internal, "in the middle"),
        ] {
            let (sender, mut stream) = stream();
            sender.send(bytes.into()).unwrap();
            drop(sender);
            let status = stream.message().await.unwrap_err();
            assert_eq!(status.code(), code, "{status}");
            assert!(status.message().contains(says), "{status}");
            assert!(stream.message().await.unwrap().is_none(), "it is over");
        }
    }
}
