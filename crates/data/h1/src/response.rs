//! Response heads.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};

use crate::Version;
use crate::error::Reject;
use crate::fields;
use crate::framing::{BodyFraming, Declared, declared};
use crate::limits::{Limits, MAX_HEADERS_CEILING};
use crate::scan::HeadScanner;

/// A parsed response head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// Status; 1xx heads are returned like others and are followed by another head (except 101).
    pub status: StatusCode,
    /// Version.
    pub version: Version,
    /// Fields.
    pub headers: HeaderMap,
    /// How to read the body.
    pub framing: BodyFraming,
    /// Whether the server keeps the connection open.
    pub keep_alive: bool,
}

/// Reads response heads from a growing buffer.
#[derive(Debug, Default)]
pub struct ResponseParser {
    limits: Limits,
    scanner: HeadScanner,
}

impl ResponseParser {
    /// A parser for one connection.
    pub fn new(limits: Limits) -> Self {
        ResponseParser { limits, scanner: HeadScanner::default() }
    }

    /// Takes the next head from the front of `buf`; `method` is that of the request it answers. `None` means
    /// that more bytes are needed.
    pub fn parse(&mut self, buf: &mut BytesMut, method: &Method) -> Result<Option<ResponseHead>, Reject> {
        const START: &[u8] = b"HTTP/1.";
        let seen = buf.len().min(START.len());
        if buf[..seen] != START[..seen] {
            return Err(Reject::StartLine);
        }
        let Some(length) = self.scanner.find_end(buf, self.limits.head_bytes)? else { return Ok(None) };
        let head = buf.split_to(length).freeze();
        self.scanner.reset();
        parse_complete(&head, &self.limits, method).map(Some)
    }
}

fn parse_complete(head: &Bytes, limits: &Limits, method: &Method) -> Result<ResponseHead, Reject> {
    if fields::has_fold(head) {
        return Err(Reject::ObsFold);
    }
    let mut table = [MaybeUninit::<httparse::Header<'_>>::uninit(); MAX_HEADERS_CEILING];
    let table = &mut table[..limits.headers.min(MAX_HEADERS_CEILING)];
    let mut parsed = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    match parser.parse_response_with_uninit_headers(&mut parsed, head, table) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Reject::StartLine),
        Err(error) => return Err(fields::reject(error)),
    }
    let (Some(code), Some(minor)) = (parsed.code, parsed.version) else { return Err(Reject::StartLine) };
    let status = StatusCode::from_u16(code).ok().filter(|_| code < 600).ok_or(Reject::Status)?;
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let headers = fields::collect(head, parsed.headers)?;
    let bodiless = status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || method == Method::HEAD
        || (method == Method::CONNECT && status.is_success());
    // The fields are checked even when there is no body: they are forwarded, for HEAD as they are.
    let framing = match declared(version, &headers)? {
        _ if bodiless => BodyFraming::None,
        Declared::Nothing => BodyFraming::UntilClose,
        Declared::Length(0) => BodyFraming::None,
        Declared::Length(length) => BodyFraming::Length(length),
        Declared::Chunked => BodyFraming::Chunked,
    };
    let keep_alive = framing != BodyFraming::UntilClose && fields::keep_alive(version, &headers);
    Ok(ResponseHead { status, version, headers, framing, keep_alive })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: &str, method: Method) -> Result<Option<ResponseHead>, Reject> {
        ResponseParser::new(Limits::default()).parse(&mut BytesMut::from(input.as_bytes()), &method)
    }

    #[test]
    fn framings() {
        for (input, method, framing) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Method::GET, BodyFraming::Length(3)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Method::HEAD, BodyFraming::None),
            ("HTTP/1.1 200\r\n\r\n", Method::GET, BodyFraming::UntilClose),
            ("HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n", Method::GET, BodyFraming::None),
            ("HTTP/1.1 304 \r\n\r\n", Method::GET, BodyFraming::None),
            ("HTTP/1.1 100 Continue\r\n\r\n", Method::GET, BodyFraming::None),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::GET, BodyFraming::Chunked),
        ] {
            assert_eq!(parse(input, method).unwrap().unwrap().framing, framing, "{input:?}");
        }
    }

    #[test]
    fn refused() {
        for input in [
            "HTTP/1.1 99 x\r\n\r\n",
            "HTTP/1.1 600 x\r\n\r\n",
            "HTTP/1.1 +20 x\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\nA: b\r\n\r\n",
        ] {
            assert!(parse(input, Method::GET).is_err(), "{input:?}");
        }
    }

    #[test]
    fn http10_closes_unless_asked() {
        let head = parse("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", Method::GET).unwrap().unwrap();
        assert!(!head.keep_alive);
        let head =
            parse("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\n", Method::GET);
        assert!(head.unwrap().unwrap().keep_alive);
    }
}
