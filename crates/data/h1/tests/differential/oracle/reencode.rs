//! What was read is written, and must be read again as the same. This is what a proxy does with every message.

use bytes::BytesMut;
use http::{HeaderMap, Method, StatusCode, header};
use portolan_h1::{
    BodyFraming, BodyLength, HeaderCase, Limits, RequestHead, ResponseHead, Version, encode_chunk_head,
    encode_last_chunk, encode_request_head, encode_response_head,
};

use super::ours::{self, Message, Read, Stop};
use super::seen::{self, Fields};

/// Writing puts a blank behind each colon, so a head may become longer than the limit that it was read with.
const ROOM: Limits = Limits { head_bytes: 128 * 1024, headers: 256 };

/// Writes a request and reads it again.
pub fn request(message: &Message<RequestHead>) {
    let head = &message.head;
    // We write HTTP/1.1, which needs a host; who forwards such a request has to bring one.
    if head.authority.is_none() {
        return;
    }
    for case in [HeaderCase::Lower, HeaderCase::ProperWords] {
        let mut written = BytesMut::new();
        let target = seen::target_text(&head.target);
        let length = body_length(head.framing).unwrap_or(BodyLength::None);
        encode_request_head(&mut written, &head.method, target, &head.headers, length, case)
            .expect("a target that was read can be written");
        put_body(&mut written, message, head.framing, case);
        let again = ours::requests(&[&written], ROOM);
        let again = only(&again, &written);
        assert_eq!(again.head.version, Version::Http11);
        assert_eq!(again.head.method, head.method);
        assert_eq!(again.head.target, head.target);
        assert_eq!(again.head.authority, head.authority);
        same_rest(message, again, (&head.headers, head.framing), (&again.head.headers, again.head.framing));
    }
}

/// Writes a response to a request with `method` and reads it again.
pub fn response(message: &Message<ResponseHead>, method: &Method) {
    let head = &message.head;
    let length = match body_length(head.framing) {
        Some(length) => length,
        None if *method == Method::HEAD || head.status == StatusCode::NOT_MODIFIED => BodyLength::AsIs,
        None if head.status.is_informational() || head.status == StatusCode::NO_CONTENT => BodyLength::None,
        None if ours::is_tunnel(head, method) => BodyLength::None,
        None => BodyLength::Known(0),
    };
    for case in [HeaderCase::Lower, HeaderCase::ProperWords] {
        let mut written = BytesMut::new();
        encode_response_head(&mut written, head.status, &head.headers, length, case);
        put_body(&mut written, message, head.framing, case);
        let again = ours::response(&[&written], method, ROOM);
        let again = match again.informational.as_slice() {
            [again] if again.head.status == head.status && again.head.status.is_informational() => again,
            _ => only(&again, &written),
        };
        assert_eq!(again.head.version, Version::Http11);
        assert_eq!(again.head.status, head.status);
        if length == BodyLength::AsIs {
            let lengths =
                [&head.headers, &again.head.headers].map(|headers| headers.get(header::CONTENT_LENGTH));
            assert_eq!(lengths[0], lengths[1], "the length of a body that does not follow is kept");
        }
        same_rest(message, again, (&head.headers, head.framing), (&again.head.headers, again.head.framing));
    }
}

fn body_length(framing: BodyFraming) -> Option<BodyLength> {
    match framing {
        BodyFraming::None => None,
        BodyFraming::Length(length) => Some(BodyLength::Known(length)),
        BodyFraming::Chunked => Some(BodyLength::Chunked),
        BodyFraming::UntilClose => Some(BodyLength::UntilClose),
    }
}

fn put_body<H>(written: &mut BytesMut, message: &Message<H>, framing: BodyFraming, case: HeaderCase) {
    if framing != BodyFraming::Chunked {
        written.extend_from_slice(&message.body);
        return;
    }
    for chunk in message.body.chunks(700) {
        encode_chunk_head(written, chunk.len());
        written.extend_from_slice(chunk);
        written.extend_from_slice(b"\r\n");
    }
    encode_last_chunk(written, Some(&message.trailers), case);
}

/// The one message of `read`, which must have been taken to the last byte.
fn only<'a, H: std::fmt::Debug>(read: &'a Read<H>, written: &[u8]) -> &'a Message<H> {
    let whole = matches!(read.stop, Stop::Clean | Stop::Closed) && read.taken == written.len();
    match read.messages.as_slice() {
        [message] if whole && read.informational.is_empty() => message,
        _ => panic!("written {:?}, read again {read:?}", written.escape_ascii().to_string()),
    }
}

fn same_rest<H>(
    before: &Message<H>,
    after: &Message<H>,
    (headers_before, framing_before): (&HeaderMap, BodyFraming),
    (headers_after, framing_after): (&HeaderMap, BodyFraming),
) {
    assert_eq!(framing_after, framing_before);
    assert_eq!(but_framing(headers_after), but_framing(headers_before));
    assert_eq!(after.body, before.body);
    assert_eq!(seen::fields(&after.trailers), seen::fields(&before.trailers));
}

/// Fields without those that the encoder writes by itself.
fn but_framing(headers: &HeaderMap) -> Fields {
    let mut kept = headers.clone();
    kept.remove(header::CONTENT_LENGTH);
    kept.remove(header::TRANSFER_ENCODING);
    seen::fields(&kept)
}
