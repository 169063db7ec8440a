//! Request heads.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap};
use http::{HeaderValue, Method};

use crate::Version;
use crate::error::Reject;
use crate::fields;
use crate::framing::{BodyFraming, Declared, declared};
use crate::limits::{Limits, MAX_HEADERS_CEILING, MAX_LEADING_EMPTY_LINES, MAX_METHOD_BYTES};
use crate::scan::HeadScanner;

/// The four forms of a request target (RFC 9112 3.2), reduced to what a proxy needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Path and query; for absolute-form the path of the URL ("/" when it has none).
    Path(String),
    /// `CONNECT host:port`.
    Authority(String),
    /// `OPTIONS *`.
    Asterisk,
}

/// A parsed request head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// Method.
    pub method: Method,
    /// Target without scheme and authority.
    pub target: Target,
    /// Scheme of an absolute-form target, lower case.
    pub scheme: Option<String>,
    /// Authority: of the absolute-form target, of CONNECT, else the `Host` field. `None` only in HTTP/1.0.
    pub authority: Option<String>,
    /// Version.
    pub version: Version,
    /// Fields. `Host` always equals `authority`: RFC 9112 3.2.2 lets an absolute-form target win.
    pub headers: HeaderMap,
    /// How to read the body.
    pub framing: BodyFraming,
    /// Whether the client keeps the connection open.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue`.
    pub expect_continue: bool,
}

/// Reads request heads from a growing buffer.
#[derive(Debug, Default)]
pub struct RequestParser {
    limits: Limits,
    scanner: HeadScanner,
    empty_lines: usize,
}

impl RequestParser {
    /// A parser for one connection.
    pub fn new(limits: Limits) -> Self {
        RequestParser { limits, ..Default::default() }
    }

    /// Takes the next head from the front of `buf`, or returns `None` when it is not complete yet; then call
    /// again with more bytes appended to the same buffer. After an error the connection must be closed.
    pub fn parse(&mut self, buf: &mut BytesMut) -> Result<Option<RequestHead>, Reject> {
        while !self.scanner.first_line_complete() && buf.starts_with(b"\r\n") {
            self.empty_lines += 1;
            if self.empty_lines > MAX_LEADING_EMPTY_LINES {
                return Err(Reject::StartLine);
            }
            let _ = buf.split_to(2);
            self.scanner.reset();
        }
        if !self.scanner.first_line_complete() {
            check_method_prefix(buf)?;
        }
        let Some(length) = self.scanner.find_end(buf, self.limits.head_bytes)? else { return Ok(None) };
        let head = buf.split_to(length).freeze();
        self.scanner.reset();
        self.empty_lines = 0;
        parse_complete(&head, &self.limits).map(Some)
    }

    /// Whether a part of a head has been seen: an end of input now is an error of the peer, not a clean close.
    pub fn in_progress(&self, buf: &BytesMut) -> bool {
        !buf.is_empty() && !buf.as_ref().iter().all(|byte| matches!(byte, b'\r' | b'\n'))
    }
}

/// Refuses input that can not become a request line as early as possible, so that somebody who speaks another
/// protocol gets an answer rather than a timeout.
fn check_method_prefix(buf: &[u8]) -> Result<(), Reject> {
    for (at, &byte) in buf.iter().take(MAX_METHOD_BYTES + 1).enumerate() {
        match byte {
            b' ' if at > 0 => return Ok(()),
            // Line ends are judged by the scanner.
            b'\r' | b'\n' if at == 0 => return Ok(()),
            _ if !is_token_byte(byte) => return Err(Reject::Method),
            _ if at == MAX_METHOD_BYTES => return Err(Reject::Method),
            _ => {}
        }
    }
    Ok(())
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

fn parse_complete(head: &Bytes, limits: &Limits) -> Result<RequestHead, Reject> {
    if fields::has_fold(head) {
        return Err(Reject::ObsFold);
    }
    let mut table = [MaybeUninit::<httparse::Header<'_>>::uninit(); MAX_HEADERS_CEILING];
    let table = &mut table[..limits.headers.min(MAX_HEADERS_CEILING)];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, table) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Reject::StartLine),
        Err(error) => return Err(fields::reject(error)),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Reject::StartLine);
    };
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Reject::Method)?;
    let mut headers = fields::collect(head, parsed.headers)?;

    let (target, scheme, authority) = split_target(&method, target)?;
    let authority = check_host(version, &mut headers, authority)?;
    let framing = match declared(version, &headers)? {
        Declared::Nothing | Declared::Length(0) => BodyFraming::None,
        // A body of CONNECT has no meaning (RFC 9110 9.3.6); what follows belongs to the tunnel.
        _ if method == Method::CONNECT => return Err(Reject::ContentLength),
        Declared::Length(length) => BodyFraming::Length(length),
        Declared::Chunked => BodyFraming::Chunked,
    };
    let keep_alive = fields::keep_alive(version, &headers);
    let expect_continue = version == Version::Http11
        && headers
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    Ok(RequestHead {
        method,
        target,
        scheme,
        authority,
        version,
        headers,
        framing,
        keep_alive,
        expect_continue,
    })
}

type SplitTarget = (Target, Option<String>, Option<String>);

fn split_target(method: &Method, target: &str) -> Result<SplitTarget, Reject> {
    if !is_valid_target(target.as_bytes()) {
        return Err(Reject::Target);
    }
    if *method == Method::CONNECT {
        let has_port =
            target.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && !port.ends_with(']'));
        if !has_port || !fields::is_valid_authority(target.as_bytes()) {
            return Err(Reject::Target);
        }
        return Ok((Target::Authority(target.to_owned()), None, Some(target.to_owned())));
    }
    if target.starts_with('/') {
        return Ok((Target::Path(target.to_owned()), None, None));
    }
    if target == "*" {
        return if *method == Method::OPTIONS {
            Ok((Target::Asterisk, None, None))
        } else {
            Err(Reject::Target)
        };
    }
    let (scheme, rest) = target.split_once("://").ok_or(Reject::Target)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Reject::Target);
    }
    let path_at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(path_at);
    if !fields::is_valid_authority(authority.as_bytes()) {
        return Err(Reject::Host);
    }
    let target = match path {
        // For a whole server; the last proxy has to say it so (RFC 9112 3.2.4).
        "" if *method == Method::OPTIONS => Target::Asterisk,
        path if path.starts_with('/') => Target::Path(path.to_owned()),
        path => Target::Path(format!("/{path}")),
    };
    Ok((target, Some(scheme.to_ascii_lowercase()), Some(authority.to_owned())))
}

/// Whether a target has only bytes that HTTP/2 can carry on as a `:path`: a little more than RFC 3986 allows,
/// as browsers and people send it. Fragments are never sent (RFC 9112 3.2.1); a path that has one is read
/// differently by different servers (CVE-2021-39156).
fn is_valid_target(target: &[u8]) -> bool {
    let visible = |byte: u8| (0x21..0x7f).contains(&byte) && !matches!(byte, b'#' | b'<' | b'>');
    let (path, query) = target.split_at(memchr::memchr(b'?', target).unwrap_or(target.len()));
    path.iter().all(|&byte| visible(byte) && byte != b'`')
        && query.iter().all(|&byte| visible(byte) && byte != b'"')
}

fn check_host(
    version: Version,
    headers: &mut HeaderMap,
    authority: Option<String>,
) -> Result<Option<String>, Reject> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Reject::HostRepeated);
    }
    let host = match host {
        None if version == Version::Http11 => return Err(Reject::HostMissing),
        None => None,
        Some(value) if fields::is_valid_authority(value.as_bytes()) => {
            Some(value.to_str().map_err(|_| Reject::Host)?.to_owned())
        }
        // RFC 9112 3.2 allows an empty Host when the target has no authority; we can not route it.
        Some(_) => return Err(Reject::Host),
    };
    match authority {
        None => Ok(host),
        Some(authority) => {
            let value = HeaderValue::from_str(&authority).map_err(|_| Reject::Host)?;
            headers.insert(header::HOST, value);
            Ok(Some(authority))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: &str) -> Result<Option<RequestHead>, Reject> {
        RequestParser::new(Limits::default()).parse(&mut BytesMut::from(input.as_bytes()))
    }

    fn accepted(input: &str) -> RequestHead {
        parse(input).unwrap().unwrap()
    }

    #[test]
    fn plain_get() {
        let head = accepted("GET /a?b=c HTTP/1.1\r\nHost: x.example:80\r\nX-A:  1 \r\n\r\n");
        assert_eq!(head.method, Method::GET);
        assert_eq!(head.target, Target::Path("/a?b=c".into()));
        assert_eq!(head.authority.as_deref(), Some("x.example:80"));
        assert_eq!(head.headers["x-a"], "1");
        assert_eq!(head.framing, BodyFraming::None);
        assert!(head.keep_alive);
    }

    #[test]
    fn absolute_form_wins_over_host() {
        let head = accepted("GET http://a.example?x HTTP/1.1\r\nHost: b.example\r\n\r\n");
        assert_eq!(head.authority.as_deref(), Some("a.example"));
        assert_eq!(head.headers["host"], "a.example");
        assert_eq!(head.target, Target::Path("/?x".into()));
    }

    #[test]
    fn framing_is_strict() {
        let post = |fields: &str| {
            parse(&format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n"))
                .map(|head| head.unwrap().framing)
        };
        assert_eq!(post("Content-Length: 5"), Ok(BodyFraming::Length(5)));
        assert_eq!(post("Content-Length: 0"), Ok(BodyFraming::None));
        assert_eq!(post("Transfer-Encoding: Chunked"), Ok(BodyFraming::Chunked));
        for (fields, reason) in [
            ("Content-Length: +5", Reject::ContentLength),
            ("Content-Length: -5", Reject::ContentLength),
            ("Content-Length: 0x5", Reject::ContentLength),
            ("Content-Length:", Reject::ContentLength),
            ("Content-Length: 5, 5", Reject::ContentLength),
            ("Content-Length: 5\r\nContent-Length: 5", Reject::ContentLengthRepeated),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked", Reject::LengthAndEncoding),
            ("Content-Length: 5\r\nTransfer-Encoding: nothing", Reject::LengthAndEncoding),
            ("Transfer-Encoding: gzip, chunked", Reject::TransferEncoding),
            ("Transfer-Encoding: ,chunked", Reject::TransferEncoding),
            ("Transfer-Encoding: identity", Reject::TransferEncoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Reject::TransferEncoding),
            ("Transfer-Encoding: \x0bchunked", Reject::HeaderValue),
            ("Content-Length : 5", Reject::HeaderName),
            ("X: a\r\n b", Reject::ObsFold),
            ("X: a\rb", Reject::BareCr),
            ("X: a\nb: c", Reject::BareLf),
            ("X: a\0b", Reject::HeaderValue),
            (": a", Reject::HeaderName),
            ("X", Reject::HeaderName),
            ("Host: y", Reject::HostRepeated),
        ] {
            assert_eq!(post(fields), Err(reason), "{fields:?}");
        }
    }

    #[test]
    fn bad_start_lines() {
        for (line, reason) in [
            ("GET  / HTTP/1.1", None),
            ("GET / HTTP/1.2", Some(Reject::Version)),
            ("GET / HTTP/2.0", Some(Reject::Version)),
            ("GET / http/1.1", None),
            ("GET /a b HTTP/1.1", None),
            ("GET /\u{e9} HTTP/1.1", None),
            ("GET /#a HTTP/1.1", Some(Reject::Target)),
            ("G(T / HTTP/1.1", Some(Reject::Method)),
            ("GET", None),
            ("GET * HTTP/1.1", Some(Reject::Target)),
            ("CONNECT / HTTP/1.1", Some(Reject::Target)),
            ("CONNECT x HTTP/1.1", Some(Reject::Target)),
            ("GET ftp://x/ HTTP/1.1", Some(Reject::Target)),
            ("GET http://u@x/ HTTP/1.1", Some(Reject::Host)),
            ("GET http://x%2ey/ HTTP/1.1", Some(Reject::Host)),
            ("GET http://[1:2:3:4:5:6:7:8:9]/ HTTP/1.1", Some(Reject::Host)),
            ("GET /<a> HTTP/1.1", Some(Reject::Target)),
            ("GET /`a HTTP/1.1", Some(Reject::Target)),
            ("GET /?a=\"b\" HTTP/1.1", Some(Reject::Target)),
            ("GET http://x?<a> HTTP/1.1", Some(Reject::Target)),
            ("\nGET / HTTP/1.1", Some(Reject::BareLf)),
        ] {
            let error = parse(&format!("{line}\r\nHost: x\r\n\r\n")).err();
            assert!(error.is_some(), "{line}");
            if let Some(reason) = reason {
                assert_eq!(error, Some(reason), "{line}");
            }
        }
    }

    #[test]
    fn options_for_a_whole_server() {
        for (target, expected) in [
            ("*", Target::Asterisk),
            ("http://a", Target::Asterisk),
            ("http://a/", Target::Path("/".into())),
            ("http://a?b", Target::Path("/?b".into())),
        ] {
            let head = accepted(&format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!(head.target, expected, "{target}");
        }
    }

    #[test]
    fn targets_that_a_uri_can_hold() {
        for target in ["/{a}|^\\", "/\"a\"", "/?`a`{}", "/a?b?c", "/%zz"] {
            accepted(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        }
    }

    #[test]
    fn garbage_in_connection_keeps_nothing_open() {
        for input in [
            &b"GET / HTTP/1.1\r\nHost: x\r\nConnection: \xff, close\r\n\r\n"[..],
            b"GET / HTTP/1.0\r\nHost: x\r\nConnection: \xff, keep-alive\r\n\r\n",
            b"GET / HTTP/1.0\r\nHost: x\r\nConnection: \xff\r\nConnection: keep-alive\r\n\r\n",
        ] {
            let mut buf = BytesMut::from(input);
            let head = RequestParser::new(Limits::default()).parse(&mut buf).unwrap().unwrap();
            assert!(!head.keep_alive, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn the_reason_does_not_depend_on_reads() {
        let limits = Limits { head_bytes: 40, headers: 4 };
        let line = "GET / HTTP/1.1\r\nHost: x\r\nX-Long: aaaaaaaaaaaaaaa";
        for rest in ["\nX: b", "\rX: b", "\r\n\r\n"] {
            let input = format!("{line}{rest}");
            let whole = RequestParser::new(limits).parse(&mut BytesMut::from(input.as_bytes())).err();
            let (mut parser, mut buf) = (RequestParser::new(limits), BytesMut::new());
            let split = input.bytes().find_map(|byte| {
                buf.extend_from_slice(&[byte]);
                parser.parse(&mut buf).err()
            });
            assert_eq!((whole, split), (Some(Reject::HeadTooLarge), Some(Reject::HeadTooLarge)), "{rest:?}");
        }
    }

    #[test]
    fn hosts() {
        for host in ["", "a b", "[::1", "u@h", "h:99999999", "h:8a", "h:65536", "a/b", "[x]", "a%41", "[1:2]"]
        {
            let error = parse(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).err();
            assert_eq!(error, Some(Reject::Host), "{host:?}");
        }
        for host in ["a", "a.b:1", "[::1]", "[::1]:80", "127.0.0.1"] {
            accepted(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        }
        assert_eq!(parse("GET / HTTP/1.1\r\n\r\n").err(), Some(Reject::HostMissing));
        assert!(accepted("GET / HTTP/1.0\r\n\r\n").authority.is_none());
    }

    #[test]
    fn limits_hold() {
        let many = "A: b\r\n".repeat(101);
        assert_eq!(parse(&format!("GET / HTTP/1.1\r\n{many}\r\n")).err(), Some(Reject::TooManyHeaders));
        let long = "a".repeat(61 * 1024);
        assert_eq!(parse(&format!("GET / HTTP/1.1\r\nX: {long}")).err(), Some(Reject::HeadTooLarge));
        assert_eq!(parse(&"\r\n".repeat(5)).err(), Some(Reject::StartLine));
        assert_eq!(parse("\x16\x03\x01").err(), Some(Reject::Method));
    }

    #[test]
    fn pipelined_requests_come_one_by_one() {
        let mut buf = BytesMut::from("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut parser = RequestParser::new(Limits::default());
        assert_eq!(parser.parse(&mut buf).unwrap().unwrap().target, Target::Path("/1".into()));
        assert_eq!(parser.parse(&mut buf).unwrap().unwrap().target, Target::Path("/2".into()));
        assert!(parser.parse(&mut buf).unwrap().is_none());
        assert!(!parser.in_progress(&buf));
    }
}
