//! How long a body is (RFC 9112 6.3).

use http::header::{self, HeaderMap};

use crate::Version;
use crate::error::Reject;

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is none.
    None,
    /// So many bytes follow (more than zero).
    Length(u64),
    /// Chunked coding.
    Chunked,
    /// Up to the end of the connection; responses only.
    UntilClose,
}

/// What the two framing fields say, whatever the kind of message.
pub(crate) enum Declared {
    Nothing,
    Length(u64),
    Chunked,
}

pub(crate) fn declared(version: Version, headers: &HeaderMap) -> Result<Declared, Reject> {
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if let Some(encoding) = encodings.next() {
        if lengths.next().is_some() {
            return Err(Reject::LengthAndEncoding);
        }
        if version == Version::Http10 {
            return Err(Reject::TransferEncodingHttp10);
        }
        if encodings.next().is_some() || !encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Reject::TransferEncoding);
        }
        return Ok(Declared::Chunked);
    }
    let Some(length) = lengths.next() else { return Ok(Declared::Nothing) };
    if lengths.next().is_some() {
        return Err(Reject::ContentLengthRepeated);
    }
    let digits = length.as_bytes();
    // 18 digits can not overflow; signs, blanks, lists and the empty value are all refused here.
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Reject::ContentLength);
    }
    let value = digits.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Ok(Declared::Length(value))
}
