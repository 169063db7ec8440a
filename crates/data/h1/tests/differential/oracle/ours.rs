//! The codec under test, driven as a connection drives it.

use bytes::BytesMut;
use http::{HeaderMap, Method, StatusCode};
use portolan_h1::limits::{MAX_CHUNK_LINE_BYTES, MAX_HEADERS_CEILING, MAX_TRAILER_BYTES, MAX_TRAILERS};
use portolan_h1::{
    BodyDecoder, BodyError, BodyFraming, Decoded, Limits, Reject, RequestHead, RequestParser, ResponseHead,
    ResponseParser,
};

/// A message that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<H> {
    /// Its head.
    pub head: H,
    /// Its body without framing.
    pub body: Vec<u8>,
    /// Its trailers.
    pub trailers: HeaderMap,
}

/// Why reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The input ended between two messages.
    Clean,
    /// The input ended within a message.
    Truncated,
    /// The last message was the last one of HTTP on this connection.
    Closed,
    /// A head was refused.
    Head(Reject),
    /// A body was refused.
    Body(BodyError),
}

/// All that was read from one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read<H> {
    /// Complete messages.
    pub messages: Vec<Message<H>>,
    /// Complete 1xx messages before a response.
    pub informational: Vec<Message<H>>,
    /// Why reading ended.
    pub stop: Stop,
    /// Where in the input the message starts that ended reading.
    pub message_at: usize,
    /// How many bytes of the input were taken by the codec.
    pub taken: usize,
}

/// Reads pipelined requests until something ends it.
pub fn requests(pieces: &[&[u8]], limits: Limits) -> Read<RequestHead> {
    let mut feed = Feed::new(pieces);
    let mut parser = RequestParser::new(limits);
    let mut messages: Vec<Message<RequestHead>> = Vec::new();
    let mut message_at;
    let stop = loop {
        message_at = feed.taken();
        let head = loop {
            match parser.parse(&mut feed.buf) {
                Err(reject) => break Err(Stop::Head(reject)),
                Ok(Some(head)) => break Ok(head),
                Ok(None) => {
                    assert!(feed.buf.len() <= limits.head_bytes, "a head is kept beyond the limit");
                    if !feed.more() {
                        let partial = parser.in_progress(&feed.buf);
                        break Err(if partial { Stop::Truncated } else { Stop::Clean });
                    }
                }
            }
        };
        let head = match head {
            Ok(head) => head,
            Err(stop) => break stop,
        };
        check_count(&head.headers, limits);
        assert_ne!(head.framing, BodyFraming::UntilClose, "a request never ends with the connection");
        let last = !head.keep_alive;
        match read_body(head, |head| head.framing, &mut feed) {
            Ok(message) => messages.push(message),
            Err(stop) => break stop,
        }
        if last {
            break Stop::Closed;
        }
    };
    Read { messages, informational: Vec::new(), stop, message_at, taken: feed.taken() }
}

/// Reads one response to a request with `method`, with the 1xx before it.
pub fn response(pieces: &[&[u8]], method: &Method, limits: Limits) -> Read<ResponseHead> {
    let mut feed = Feed::new(pieces);
    let mut parser = ResponseParser::new(limits);
    let (mut messages, mut informational) = (Vec::new(), Vec::new());
    let mut message_at;
    let stop = loop {
        message_at = feed.taken();
        let head = loop {
            match parser.parse(&mut feed.buf, method) {
                Err(reject) => break Err(Stop::Head(reject)),
                Ok(Some(head)) => break Ok(head),
                Ok(None) => {
                    assert!(feed.buf.len() <= limits.head_bytes, "a head is kept beyond the limit");
                    if !feed.more() {
                        break Err(if feed.buf.is_empty() { Stop::Clean } else { Stop::Truncated });
                    }
                }
            }
        };
        let head = match head {
            Ok(head) => head,
            Err(stop) => break stop,
        };
        check_count(&head.headers, limits);
        let closes = !head.keep_alive || is_tunnel(&head, method);
        match read_body(head, |head| head.framing, &mut feed) {
            Ok(message) if is_interim(&message.head) => informational.push(message),
            Ok(message) => {
                messages.push(message);
                break if closes { Stop::Closed } else { Stop::Clean };
            }
            Err(stop) => break stop,
        }
    };
    Read { messages, informational, stop, message_at, taken: feed.taken() }
}

/// Whether another head follows this one.
fn is_interim(head: &ResponseHead) -> bool {
    head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS
}

/// Whether what follows this head is no longer HTTP.
pub fn is_tunnel(head: &ResponseHead, method: &Method) -> bool {
    head.status == StatusCode::SWITCHING_PROTOCOLS || (method == Method::CONNECT && head.status.is_success())
}

fn check_count(headers: &HeaderMap, limits: Limits) {
    // An absolute-form target may add the one `Host` that an HTTP/1.0 request lacks.
    assert!(headers.len() <= limits.headers.min(MAX_HEADERS_CEILING) + 1, "more fields than the limit");
}

fn read_body<H>(head: H, framing: fn(&H) -> BodyFraming, feed: &mut Feed<'_>) -> Result<Message<H>, Stop> {
    let framing = framing(&head);
    let mut decoder = BodyDecoder::new(framing);
    let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
    loop {
        match decoder.decode(&mut feed.buf) {
            Ok(Decoded::Data(data)) => {
                assert!(!data.is_empty(), "data is never empty");
                body.extend_from_slice(&data);
            }
            Ok(Decoded::Trailers(fields)) => {
                assert!(!fields.is_empty() && fields.len() <= MAX_TRAILERS, "{} trailers", fields.len());
                trailers = fields;
            }
            Ok(Decoded::End) => break,
            Ok(Decoded::NeedMore) => {
                assert!(!decoder.is_done(), "a body that ended needs nothing");
                assert!(feed.buf.len() <= MAX_TRAILER_BYTES.max(MAX_CHUNK_LINE_BYTES + 1), "kept too much");
                if feed.more() {
                    continue;
                }
                match decoder.finish() {
                    Ok(()) => break,
                    Err(BodyError::UnexpectedEof) => return Err(Stop::Truncated),
                    Err(error) => return Err(Stop::Body(error)),
                }
            }
            Err(error) => {
                assert!(!decoder.is_done(), "a refused body is not a whole one");
                return Err(Stop::Body(error));
            }
        }
    }
    assert!(decoder.is_done() && decoder.decode(&mut feed.buf) == Ok(Decoded::End), "the end is final");
    if let BodyFraming::Length(length) = framing {
        assert_eq!(body.len() as u64, length, "the body is as long as announced");
    }
    Ok(Message { head, body, trailers })
}

/// The input, read by read.
struct Feed<'a> {
    pieces: std::slice::Iter<'a, &'a [u8]>,
    buf: BytesMut,
    given: usize,
}

impl<'a> Feed<'a> {
    fn new(pieces: &'a [&'a [u8]]) -> Self {
        Feed { pieces: pieces.iter(), buf: BytesMut::new(), given: 0 }
    }

    /// Appends the next read; false at the end of the input.
    fn more(&mut self) -> bool {
        let Some(piece) = self.pieces.next() else { return false };
        self.buf.extend_from_slice(piece);
        self.given += piece.len();
        true
    }

    /// How many bytes the codec took so far.
    fn taken(&self) -> usize {
        self.given - self.buf.len()
    }
}
