//! Behaviour of the whole codec, one table per area.

mod authority;
mod bodies;
mod connection;
mod encoding;
mod heads;
mod limits;
mod reasons;

use bytes::BytesMut;
use http::{HeaderMap, Method};

use crate::*;

/// What the first request in `input` is.
fn request(input: &[u8]) -> Result<Option<RequestHead>, Reject> {
    RequestParser::new(Limits::default()).parse(&mut BytesMut::from(input))
}

/// What the first response in `input` is, as the answer to a GET.
fn response(input: &[u8]) -> Result<Option<ResponseHead>, Reject> {
    ResponseParser::new(Limits::default()).parse(&mut BytesMut::from(input), &Method::GET)
}

/// Data and trailers of a chunked body; `None` when it has not ended.
fn chunked(input: &[u8]) -> Result<Option<(Vec<u8>, HeaderMap)>, BodyError> {
    let mut src = BytesMut::from(input);
    let mut decoder = BodyDecoder::new(BodyFraming::Chunked);
    let (mut data, mut trailers) = (Vec::new(), HeaderMap::new());
    loop {
        match decoder.decode(&mut src)? {
            Decoded::NeedMore => return Ok(None),
            Decoded::Data(bytes) => data.extend_from_slice(&bytes),
            Decoded::Trailers(fields) => trailers = fields,
            Decoded::End => return Ok(Some((data, trailers))),
        }
    }
}
