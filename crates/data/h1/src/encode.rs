//! Serialises heads and chunks. The codec writes the framing fields itself, so that a head can never carry
//! two of them.

use bytes::{BufMut, BytesMut};
use http::header::{self, HeaderMap, HeaderName};
use http::{Method, StatusCode};

/// How the body that follows a head is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// No body and no framing field (GET without body, 204, 304, 1xx).
    None,
    /// `content-length`.
    Known(u64),
    /// `transfer-encoding: chunked`.
    Chunked,
    /// Response only: ends with the connection.
    UntilClose,
    /// The answer to HEAD, or a 304: whatever length field the head has is kept, no body follows.
    AsIs,
}

/// How field names are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderCase {
    /// `content-type`
    #[default]
    Lower,
    /// `Content-Type` (Envoy's `proper_case_words`).
    ProperWords,
}

/// A head that can not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("request target has bytes that can not be sent")]
pub struct EncodeError;

/// Writes a request head. `target` is checked, everything else is safe by type.
pub fn encode_request_head(
    dst: &mut BytesMut,
    method: &Method,
    target: &str,
    headers: &HeaderMap,
    length: BodyLength,
    case: HeaderCase,
) -> Result<(), EncodeError> {
    if target.is_empty() || !target.bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
        return Err(EncodeError);
    }
    dst.reserve(estimate(headers) + target.len());
    dst.put_slice(method.as_str().as_bytes());
    dst.put_u8(b' ');
    dst.put_slice(target.as_bytes());
    dst.put_slice(b" HTTP/1.1\r\n");
    // Host first, as RFC 9110 7.2 recommends.
    if let Some(host) = headers.get(header::HOST) {
        put_field(dst, &header::HOST, host.as_bytes(), case);
    }
    put_fields(dst, headers, length, case, true);
    Ok(())
}

/// Writes a response head with the reason phrase of the status registry.
pub fn encode_response_head(
    dst: &mut BytesMut,
    status: StatusCode,
    headers: &HeaderMap,
    length: BodyLength,
    case: HeaderCase,
) {
    dst.reserve(estimate(headers));
    dst.put_slice(b"HTTP/1.1 ");
    dst.put_slice(status.as_str().as_bytes());
    dst.put_u8(b' ');
    dst.put_slice(status.canonical_reason().unwrap_or("Unknown").as_bytes());
    dst.put_slice(b"\r\n");
    put_fields(dst, headers, length, case, false);
}

fn estimate(headers: &HeaderMap) -> usize {
    128 + headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>()
}

fn put_fields(
    dst: &mut BytesMut,
    headers: &HeaderMap,
    length: BodyLength,
    case: HeaderCase,
    skip_host: bool,
) {
    for (name, value) in headers {
        let framing = *name == header::CONTENT_LENGTH || *name == header::TRANSFER_ENCODING;
        let kept = length == BodyLength::AsIs && *name == header::CONTENT_LENGTH;
        if (framing && !kept) || (skip_host && *name == header::HOST) {
            continue;
        }
        put_field(dst, name, value.as_bytes(), case);
    }
    match length {
        BodyLength::Known(length) => {
            put_name(dst, &header::CONTENT_LENGTH, case);
            put_decimal(dst, length);
            dst.put_slice(b"\r\n");
        }
        BodyLength::Chunked => put_field(dst, &header::TRANSFER_ENCODING, b"chunked", case),
        BodyLength::None | BodyLength::UntilClose | BodyLength::AsIs => {}
    }
    dst.put_slice(b"\r\n");
}

fn put_field(dst: &mut BytesMut, name: &HeaderName, value: &[u8], case: HeaderCase) {
    put_name(dst, name, case);
    dst.put_slice(value);
    dst.put_slice(b"\r\n");
}

fn put_name(dst: &mut BytesMut, name: &HeaderName, case: HeaderCase) {
    match case {
        HeaderCase::Lower => dst.put_slice(name.as_str().as_bytes()),
        HeaderCase::ProperWords => {
            let mut start = true;
            for byte in name.as_str().bytes() {
                dst.put_u8(if start { byte.to_ascii_uppercase() } else { byte });
                start = !byte.is_ascii_alphanumeric();
            }
        }
    }
    dst.put_slice(b": ");
}

fn put_decimal(dst: &mut BytesMut, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    dst.put_slice(&digits[at..]);
}

/// Writes the size line of a chunk of `length` bytes; the data and CRLF follow. A chunk of zero bytes would
/// end the body, so nothing is written for it and the caller must write nothing either.
pub fn encode_chunk_head(dst: &mut BytesMut, length: usize) {
    if length == 0 {
        return;
    }
    let mut digits = [0u8; 16];
    let mut at = digits.len();
    let mut rest = length;
    while rest > 0 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[rest % 16];
        rest /= 16;
    }
    dst.put_slice(&digits[at..]);
    dst.put_slice(b"\r\n");
}

/// Writes the last chunk and the trailers.
pub fn encode_last_chunk(dst: &mut BytesMut, trailers: Option<&HeaderMap>, case: HeaderCase) {
    dst.put_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        if !crate::fields::is_forbidden_trailer(name) {
            put_field(dst, name, value.as_bytes(), case);
        }
    }
    dst.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn framing_fields_are_ours() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("7"));
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("a/b"));
        headers.insert(header::HOST, HeaderValue::from_static("x"));
        let mut dst = BytesMut::new();
        encode_request_head(
            &mut dst,
            &Method::POST,
            "/",
            &headers,
            BodyLength::Chunked,
            HeaderCase::ProperWords,
        )
        .unwrap();
        assert_eq!(
            &dst[..],
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        let mut dst = BytesMut::new();
        encode_response_head(
            &mut dst,
            StatusCode::OK,
            &HeaderMap::new(),
            BodyLength::Known(120),
            HeaderCase::Lower,
        );
        assert_eq!(&dst[..], b"HTTP/1.1 200 OK\r\ncontent-length: 120\r\n\r\n");
    }

    #[test]
    fn targets_are_checked() {
        for target in ["", "/a b", "/\r\nx", "/\u{e9}"] {
            let result = encode_request_head(
                &mut BytesMut::new(),
                &Method::GET,
                target,
                &HeaderMap::new(),
                BodyLength::None,
                HeaderCase::Lower,
            );
            assert_eq!(result, Err(EncodeError), "{target:?}");
        }
    }

    #[test]
    fn chunk_heads() {
        let mut dst = BytesMut::new();
        encode_chunk_head(&mut dst, 0);
        encode_chunk_head(&mut dst, 255);
        encode_chunk_head(&mut dst, 4096);
        encode_last_chunk(&mut dst, None, HeaderCase::Lower);
        assert_eq!(&dst[..], b"ff\r\n1000\r\n0\r\n\r\n");
    }
}
