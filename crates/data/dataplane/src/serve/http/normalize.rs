//! Makes the one normalised request of what a codec read (Envoy: "HTTP header sanitizing", path
//! normalization; RFC 9110, 7.2).

use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use portolan_h1::{connection_tokens, is_valid_authority};

use super::incoming::Incoming;
use crate::listener::{EscapedSlashes, Hcm, StripPort, Underscores};
use crate::message::is_grpc;
use crate::message::{ConnectionInfo, LocalReply, Protocol, Request};

/// Fields of one hop (RFC 9110 7.6.1); what `Connection` names comes on top.
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Fields that `Connection` must not remove: they say who asks for what, and policy reads them.
fn is_protected(name: &HeaderName) -> bool {
    *name == header::HOST
        || *name == header::CONTENT_LENGTH
        // gRPC depends on it; anything but `trailers` is cut off below.
        || *name == header::TE
        || *name == header::AUTHORIZATION
        || *name == header::COOKIE
        || name.as_str().starts_with("x-forwarded-")
        || name.as_str().starts_with("x-envoy-")
        || name.as_str().starts_with("x-request-")
}

/// Removes the fields of one hop.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = connection_tokens(headers)
            .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
            .filter(|name| !is_protected(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if headers.get(header::TE).is_some_and(|te| !te.as_bytes().eq_ignore_ascii_case(b"trailers")) {
        headers.remove(header::TE);
    }
}

fn bad(details: &'static str) -> LocalReply {
    LocalReply::new(StatusCode::BAD_REQUEST, details)
}

/// A head that breaks the protocol or a limit of it.
fn broken(status: StatusCode, details: &'static str) -> LocalReply {
    LocalReply::new(status, details).refusal()
}

/// Builds the request, or returns it as far as it is usable for logs with the answer that refuses it.
pub(crate) fn normalize(
    hcm: &Hcm,
    connection: &ConnectionInfo,
    incoming: Incoming,
) -> Result<Request, Box<(LocalReply, Request)>> {
    let authority = incoming.authority;
    let mut request = Request {
        method: incoming.method,
        // The URL's scheme is what the client claims; the connection says what is true unless a proxy in front of
        // us speaks for it (x-forwarded-proto, see `forwarded`).
        scheme: if connection.tls.is_some() { "https" } else { "http" },
        authority: String::new(),
        path: incoming.path,
        headers: incoming.headers,
        protocol: incoming.protocol,
        upgrade: None,
        is_grpc: false,
        expect_continue: incoming.expect_continue,
    };
    match fix(hcm, connection, authority, &mut request) {
        Ok(()) => Ok(request),
        Err(reply) => Err(Box::new((reply, request))),
    }
}

fn fix(
    hcm: &Hcm,
    connection: &ConnectionInfo,
    authority: Option<String>,
    request: &mut Request,
) -> Result<(), LocalReply> {
    request.is_grpc = is_grpc(&request.headers);
    if request.protocol == Protocol::Http10 && !hcm.accept_http10 {
        return Err(broken(StatusCode::UPGRADE_REQUIRED, "low_version"));
    }
    request.authority = match authority {
        Some(authority) if is_valid_authority(authority.as_bytes()) => authority,
        Some(_) => return Err(broken(StatusCode::BAD_REQUEST, "http.invalid_authority")),
        None if request.protocol == Protocol::Http10 && !hcm.default_host_http10.is_empty() => {
            hcm.default_host_http10.clone()
        }
        None => return Err(bad("missing_host_header")),
    };
    if request.headers.len() > hcm.limits.headers {
        return Err(broken(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "http2.too_many_headers"));
    }
    request.upgrade = upgrade(&request.headers, request.protocol);
    let headers = &mut request.headers;
    strip_hop_by_hop(headers);
    headers.remove(header::HOST);
    if request.expect_continue && !hcm.proxy_100_continue {
        headers.remove(header::EXPECT);
    }
    match hcm.underscores {
        Underscores::Reject if headers.keys().any(|name| name.as_str().contains('_')) => {
            return Err(broken(StatusCode::BAD_REQUEST, "http1.unexpected_underscore"));
        }
        Underscores::Drop => {
            let names: Vec<_> = headers.keys().filter(|name| name.as_str().contains('_')).cloned().collect();
            names.iter().for_each(|name| {
                headers.remove(name);
            });
        }
        _ => {}
    }
    if hcm.strip_trailing_dot {
        strip_trailing_dot(&mut request.authority);
    }
    strip_port(hcm, connection, &mut request.authority);
    if request.method != Method::CONNECT {
        request.path = normalize_path(hcm, &request.path)?;
    }
    Ok(())
}

/// What the request wants to switch to. Whether it may is for the route to say.
fn upgrade(headers: &HeaderMap, protocol: Protocol) -> Option<String> {
    if protocol != Protocol::Http11 || !portolan_h1::connection_has(headers, "upgrade") {
        return None;
    }
    let wanted = headers.get(header::UPGRADE)?.to_str().ok()?.trim().to_ascii_lowercase();
    // An offer of h2c is optional: the request is served as it is.
    (wanted != "h2c").then_some(wanted)
}

fn strip_trailing_dot(authority: &mut String) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(']') => (host.to_owned(), Some(port.to_owned())),
        _ => (authority.clone(), None),
    };
    if let Some(bare) = host.strip_suffix('.') {
        *authority = match port {
            Some(port) => format!("{bare}:{port}"),
            None => bare.to_owned(),
        };
    }
}

fn strip_port(hcm: &Hcm, connection: &ConnectionInfo, authority: &mut String) {
    let bare = crate::message::without_port(authority);
    let port = authority.get(bare.len() + 1..).and_then(|port| port.parse::<u16>().ok());
    let strip = match hcm.strip_port {
        StripPort::None => false,
        StripPort::Any => port.is_some(),
        StripPort::Matching => port == Some(connection.local.port()),
    };
    if strip {
        *authority = bare.to_owned();
    }
}

/// The path that everything downstream of here sees.
pub(crate) fn normalize_path(hcm: &Hcm, path: &str) -> Result<String, LocalReply> {
    if path == "*" {
        return Ok(path.to_owned());
    }
    if !path.starts_with('/') || path.contains('#') || !path.bytes().all(|byte| (0x21..0x7f).contains(&byte))
    {
        return Err(bad("path_normalization_failed"));
    }
    let (raw, query) = match path.split_once('?') {
        Some((raw, query)) => (raw, Some(query)),
        None => (path, None),
    };
    let mut out = raw.to_owned();
    let mut redirect = false;
    if hcm.normalize_path {
        if has_encoded(raw, b'\0') {
            return Err(bad("path_normalization_failed"));
        }
        match hcm.escaped_slashes {
            EscapedSlashes::Reject if has_encoded(raw, b'/') || has_encoded(raw, b'\\') => {
                return Err(bad("path_normalization_failed"));
            }
            EscapedSlashes::UnescapeAndRedirect | EscapedSlashes::UnescapeAndForward => {
                let plain = unescape_slashes(&out);
                redirect = hcm.escaped_slashes == EscapedSlashes::UnescapeAndRedirect && plain != out;
                out = plain;
            }
            _ => {}
        }
        out = decode_unreserved(&out).replace('\\', "/");
        out = remove_dot_segments(&out).ok_or_else(|| bad("path_normalization_failed"))?;
    }
    if hcm.merge_slashes {
        while out.contains("//") {
            out = out.replace("//", "/");
        }
    }
    if let Some(query) = query {
        out.push('?');
        out.push_str(query);
    }
    if redirect {
        let status = StatusCode::TEMPORARY_REDIRECT;
        return Err(LocalReply::redirect(status, &out, "path_normalization_failed"));
    }
    Ok(out)
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// Percent-encoded bytes with their positions.
fn encoded(path: &str) -> impl Iterator<Item = (usize, u8)> {
    path.bytes().enumerate().filter(|(_, byte)| *byte == b'%').filter_map(|(at, _)| {
        let high = hex(*path.as_bytes().get(at + 1)?)?;
        let low = hex(*path.as_bytes().get(at + 2)?)?;
        Some((at, high << 4 | low))
    })
}

fn has_encoded(path: &str, wanted: u8) -> bool {
    encoded(path).any(|(_, byte)| byte == wanted)
}

fn decode(path: &str, wanted: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(path.len());
    let mut last = 0;
    for (at, byte) in encoded(path) {
        if at >= last && wanted(byte) {
            out.push_str(&path[last..at]);
            out.push(char::from(byte));
            last = at + 3;
        }
    }
    out.push_str(&path[last..]);
    out
}

fn unescape_slashes(path: &str) -> String {
    decode(path, |byte| matches!(byte, b'/' | b'\\'))
}

/// RFC 3986 6.2.2.2: an encoded unreserved byte means the same as the plain one.
fn decode_unreserved(path: &str) -> String {
    decode(path, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
}

/// RFC 3986 5.2.4; `None` when the path leaves its root.
fn remove_dot_segments(path: &str) -> Option<String> {
    if !path.contains("/.") {
        return Some(path.to_owned());
    }
    let mut out: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    out.pop();
                }
                if last {
                    out.push("");
                }
            }
            segment => out.push(segment),
        }
    }
    Some(format!("/{}", out.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments() {
        for (path, wanted) in [
            ("/a/b/../c", "/a/c"),
            ("/a/./b", "/a/b"),
            ("/..", "/"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/../../etc", "/etc"),
            ("/a/.b", "/a/.b"),
            ("/a//../b", "/a/b"),
        ] {
            assert_eq!(remove_dot_segments(path).as_deref(), Some(wanted), "{path}");
        }
    }

    #[test]
    fn decoding() {
        assert_eq!(decode_unreserved("/%61%2e%2E/%2f%zz%4"), "/a../%2f%zz%4");
        assert_eq!(unescape_slashes("/a%2fb%5Cc"), "/a/b\\c");
        assert_eq!(decode_unreserved("/%2561"), "/%2561");
        assert!(has_encoded("/a%00b", 0));
    }

    #[test]
    fn hop_by_hop_fields() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-mine, content-length, x-forwarded-for"),
            ("x-mine", "1"),
            ("content-length", "5"),
            ("x-forwarded-for", "1.2.3.4"),
            ("keep-alive", "5"),
            ("te", "gzip"),
            ("accept", "*/*"),
        ] {
            headers.insert(HeaderName::from_static(name), http::HeaderValue::from_static(value));
        }
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "x-forwarded-for"]);
    }
}
