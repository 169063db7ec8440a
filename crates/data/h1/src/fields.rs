//! Header fields: parsed tables into `HeaderMap`, and the few fields that the codec itself understands.

use std::net::Ipv6Addr;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::error::Reject;
use crate::limits::MAX_AUTHORITY_BYTES;

/// Turns httparse's table into a `HeaderMap`. Values share the memory of `head`.
pub(crate) fn collect(head: &Bytes, parsed: &[httparse::Header<'_>]) -> Result<HeaderMap, Reject> {
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Reject::HeaderName)?;
        let value = field.value.trim_ascii();
        let value = if value.is_empty() { Bytes::new() } else { head.slice_ref(value) };
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| Reject::HeaderValue)?;
        headers.try_append(name, value).map_err(|_| Reject::TooManyHeaders)?;
    }
    Ok(headers)
}

/// Maps httparse's complaint to ours.
pub(crate) fn reject(error: httparse::Error) -> Reject {
    match error {
        httparse::Error::HeaderName => Reject::HeaderName,
        httparse::Error::HeaderValue => Reject::HeaderValue,
        httparse::Error::NewLine => Reject::BareCr,
        httparse::Error::Status => Reject::Status,
        httparse::Error::Token => Reject::StartLine,
        httparse::Error::TooManyHeaders => Reject::TooManyHeaders,
        httparse::Error::Version => Reject::Version,
    }
}

/// Whether a field line in the head begins with white space: obsolete folding (RFC 9112 5.2), or white space
/// between the start line and the first field (2.2).
pub(crate) fn has_fold(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).any(|at| matches!(head.get(at + 1), Some(b' ' | b'\t')))
}

/// The tokens of all `Connection` fields, in order. One that is not text hides none of the others.
pub fn connection_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|token| std::str::from_utf8(token.trim_ascii()).ok())
        .filter(|token| !token.is_empty())
}

/// Whether `Connection` lists `token` (in any case).
pub fn connection_has(headers: &HeaderMap, token: &str) -> bool {
    connection_tokens(headers).any(|listed| listed.eq_ignore_ascii_case(token))
}

/// Whether a persistent connection is wanted (RFC 9112 9.3).
pub(crate) fn keep_alive(version: crate::Version, headers: &HeaderMap) -> bool {
    match version {
        crate::Version::Http11 => !connection_has(headers, "close"),
        // Here staying open has to be asked for, and a field that is not text asks for nothing that we can know.
        crate::Version::Http10 => {
            let text = headers.get_all(header::CONNECTION).iter().all(|value| value.to_str().is_ok());
            text && connection_has(headers, "keep-alive") && !connection_has(headers, "close")
        }
    }
}

/// Whether `authority` is `host` or `host:port` by RFC 3986 3.2.2 without user information: a name of
/// unreserved or sub-delimiter bytes, or an IPv6 address in brackets. An empty authority is not valid, and none
/// with percent-encoded bytes: who decodes them sees another host than who does not.
pub fn is_valid_authority(authority: &[u8]) -> bool {
    if authority.is_empty() || authority.len() > MAX_AUTHORITY_BYTES {
        return false;
    }
    let (host, rest): (&[u8], &[u8]) = if authority.first() == Some(&b'[') {
        let Some(end) = memchr::memchr(b']', authority) else { return false };
        let (literal, rest) = authority.split_at(end + 1);
        let inner = &literal[1..end];
        if !std::str::from_utf8(inner).is_ok_and(|inner| inner.parse::<Ipv6Addr>().is_ok()) {
            return false;
        }
        (literal, rest)
    } else {
        authority.split_at(memchr::memchr(b':', authority).unwrap_or(authority.len()))
    };
    let host_ok = host.first() == Some(&b'[')
        || (!host.is_empty()
            && host.iter().all(|byte| {
                byte.is_ascii_alphanumeric()
                    || matches!(
                        byte,
                        b'-' | b'.'
                            | b'_'
                            | b'~'
                            | b'!'
                            | b'$'
                            | b'&'
                            | b'\''
                            | b'('
                            | b')'
                            | b'*'
                            | b'+'
                            | b','
                            | b';'
                            | b'='
                    )
            }));
    let port_ok = match rest.split_first() {
        None => true,
        Some((b':', [])) => true,
        Some((b':', digits)) => {
            let number = digits.iter().try_fold(0u16, |number, digit| {
                let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
                number.checked_mul(10)?.checked_add(digit)
            });
            digits.len() <= 5 && number.is_some()
        }
        Some(_) => false,
    };
    host_ok && port_ok
}

/// Fields that must not arrive as trailers because they frame, route or authorise (RFC 9110 6.5.1). They are
/// dropped silently, as merging them could redefine what was decided on the head.
pub fn is_forbidden_trailer(name: &HeaderName) -> bool {
    const FORBIDDEN: [HeaderName; 24] = [
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
        header::HOST,
        header::CONNECTION,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        header::EXPECT,
        header::MAX_FORWARDS,
        header::CACHE_CONTROL,
        header::PRAGMA,
        header::RANGE,
        header::AUTHORIZATION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::WWW_AUTHENTICATE,
        header::COOKIE,
        header::SET_COOKIE,
        header::CONTENT_ENCODING,
        header::CONTENT_TYPE,
        header::CONTENT_RANGE,
        header::AGE,
        header::DATE,
        header::LOCATION,
    ];
    FORBIDDEN.contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
        || name.as_str().starts_with("x-forwarded-")
        || name.as_str().starts_with("x-envoy-")
}
