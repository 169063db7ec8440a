//! Where the codec is stricter than hyper on purpose: what it refuses, by which rule, and how one sees in the bytes
//! that the reason it gives is the true one. Anything else that hyper accepts and the codec refuses is a bug.

use http::{Method, Version};
use portolan_h1::limits::{
    MAX_AUTHORITY_BYTES, MAX_CHUNK_EXTENSION_BYTES, MAX_CHUNK_LINE_BYTES, MAX_CHUNK_SIZE_DIGITS,
    MAX_HEAD_BYTES, MAX_HEADERS, MAX_LEADING_EMPTY_LINES, MAX_METHOD_BYTES, MAX_TRAILER_BYTES, MAX_TRAILERS,
};
use portolan_h1::{BodyError, Reject};

use super::ours::Stop;
use super::seen::Seen;

/// What is known of a message that only hyper accepted.
pub struct Evidence<'a> {
    /// The input from the start of the message.
    pub message: &'a [u8],
    /// The input from where the codec stopped taking bytes.
    pub refused: &'a [u8],
    /// As hyper read it.
    pub seen: &'a Seen,
}

/// One deliberate strictness.
pub struct Stricter {
    /// The reason that the codec gives.
    pub stop: Stop,
    /// The rule.
    pub rule: &'static str,
    /// Whether the message really breaks it.
    pub holds: fn(&Evidence<'_>) -> bool,
}

/// All of them.
pub const STRICTER: &[Stricter] = &[
    Stricter {
        stop: Stop::Head(Reject::BareLf),
        rule: "RFC 9112 2.2: a recipient MAY take a lone LF for a line end; two readings, so we do not",
        holds: |evidence| has_bare_lf(evidence.message),
    },
    Stricter {
        stop: Stop::Head(Reject::StartLine),
        rule: "RFC 9112 2.2: servers SHOULD skip at least one empty line; we skip four, and clients none",
        holds: |evidence| {
            let empty = if is_response(evidence.seen) { 1 } else { MAX_LEADING_EMPTY_LINES + 1 };
            evidence.message.starts_with(&b"\r\n".repeat(empty))
                || (is_response(evidence.seen) && evidence.message.starts_with(b"\n"))
        },
    },
    Stricter {
        stop: Stop::Head(Reject::Method),
        rule: "RFC 9112 3: a server SHOULD refuse a method longer than any that it implements",
        holds: |evidence| evidence.seen.word.len() > MAX_METHOD_BYTES,
    },
    Stricter {
        stop: Stop::Head(Reject::Target),
        rule: "RFC 9112 3.2: four forms, each for its methods; RFC 3986: no fragment, no bytes above 7e",
        holds: |evidence| {
            let target = raw_target(evidence.message);
            let bad_byte = target.iter().any(|byte| *byte == b'#' || !byte.is_ascii());
            let origin = target.starts_with(b"/");
            let asterisk = target == b"*" && evidence.seen.word == "OPTIONS";
            let absolute = ["http://", "https://"]
                .iter()
                .any(|scheme| target.to_ascii_lowercase().starts_with(scheme.as_bytes()));
            let port = target.rsplit(|byte| *byte == b':').next().unwrap_or_default();
            let port = port.len() < target.len() && port.iter().all(u8::is_ascii_digit) && !port.is_empty();
            let authority = port && !is_odd_host(target);
            let connect = evidence.seen.word == Method::CONNECT.as_str();
            bad_byte || if connect { !authority } else { !origin && !asterisk && !absolute }
        },
    },
    Stricter {
        stop: Stop::Head(Reject::HostMissing),
        rule: "RFC 9112 3.2: a server MUST answer 400 to an HTTP/1.1 request without Host",
        holds: |evidence| evidence.seen.version == Version::HTTP_11 && !has_field(evidence.message, "host"),
    },
    Stricter {
        stop: Stop::Head(Reject::HostRepeated),
        rule: "RFC 9112 3.2: a server MUST answer 400 to a request with more than one Host",
        holds: |evidence| count_field(evidence.message, "host") > 1,
    },
    Stricter {
        stop: Stop::Head(Reject::Host),
        rule: "RFC 9112 3.2: a server MUST answer 400 to an invalid Host; RFC 9110 4.2.4: no user information",
        holds: |evidence| {
            let target = raw_target(evidence.message);
            let given = raw_hosts(evidence.message);
            given.iter().any(|host| is_odd_host(host)) || is_odd_host(authority_of(target))
        },
    },
    Stricter {
        stop: Stop::Head(Reject::ContentLength),
        rule: "RFC 9112 6.3: one decimal number (hyper takes `5, 5` in responses and zeros without end, and \
               does not look where there is no body); RFC 9110 9.3.6: a body of CONNECT has no meaning",
        holds: |evidence| {
            let connect = evidence.seen.word == Method::CONNECT.as_str();
            connect
                || raw_values(evidence.message, "content-length").iter().any(|value| !is_short_number(value))
        },
    },
    Stricter {
        stop: Stop::Head(Reject::ContentLengthRepeated),
        rule: "RFC 9110 8.6: a recipient MAY refuse equal lengths or take them for one; two readings, so we refuse",
        holds: |evidence| count_field(evidence.message, "content-length") > 1,
    },
    Stricter {
        stop: Stop::Head(Reject::TransferEncoding),
        rule: "RFC 9112 6.1: a server SHOULD answer 501 to a coding that it does not understand, chunked MUST NOT \
               come twice; a response that ends with the connection for that reason is not relayed either",
        holds: |evidence| {
            let values = raw_values(evidence.message, "transfer-encoding");
            values.len() > 1 || values.iter().any(|value| !value.eq_ignore_ascii_case(b"chunked"))
        },
    },
    Stricter {
        stop: Stop::Head(Reject::TransferEncodingHttp10),
        rule: "RFC 9112 6.1: framing of an HTTP/1.0 message with Transfer-Encoding is faulty (hyper does not look \
               where there is no body)",
        holds: |evidence| {
            evidence.seen.version == Version::HTTP_10 && has_field(evidence.message, "transfer-encoding")
        },
    },
    Stricter {
        stop: Stop::Head(Reject::LengthAndEncoding),
        rule: "RFC 9112 6.3: ought to be handled as an error",
        holds: |evidence| {
            has_field(evidence.message, "transfer-encoding") && has_field(evidence.message, "content-length")
        },
    },
    Stricter {
        stop: Stop::Head(Reject::Status),
        rule: "RFC 9110 15: values outside of 100..599 are invalid",
        holds: |evidence| evidence.seen.word.as_str() > "599",
    },
    Stricter {
        stop: Stop::Head(Reject::HeadTooLarge),
        rule: "limit of a head; RFC 9110 5.4: a server MUST answer 4xx to more than it wishes to process",
        holds: |evidence| evidence.message.len() > MAX_HEAD_BYTES,
    },
    Stricter {
        stop: Stop::Head(Reject::TooManyHeaders),
        rule: "limit of field lines; RFC 9110 5.4",
        // Lines are counted: hyper leaves out some of the fields that it read.
        holds: |evidence| head_lines(evidence.message).skip(1).count() > MAX_HEADERS,
    },
    Stricter {
        stop: Stop::Closed,
        rule: "RFC 9110 7.6.1: `close` counts, whatever stands beside it (hyper skips a field with bytes above 7e)",
        holds: |evidence| raw_values(evidence.message, "connection").iter().any(|value| !value.is_ascii()),
    },
    Stricter {
        stop: Stop::Body(BodyError::ChunkSize),
        rule: "RFC 9112 7.1: nothing but digits before `;` (hyper takes blanks behind them and zeros without end), \
               no controls in extensions",
        holds: |evidence| {
            let line = first_line(evidence.refused);
            let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            let behind = line.get(digits..).unwrap_or_default();
            digits > MAX_CHUNK_SIZE_DIGITS
                || matches!(behind.first(), Some(b' ' | b'\t'))
                || behind.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t')
        },
    },
    Stricter {
        stop: Stop::Body(BodyError::ChunkLineTooLarge),
        rule: "limit; RFC 9112 7.1.1: a recipient ought to limit the length of extensions",
        holds: |evidence| {
            first_line(evidence.refused).len() > MAX_CHUNK_LINE_BYTES
                || evidence.message.len() > MAX_CHUNK_EXTENSION_BYTES
        },
    },
    Stricter {
        stop: Stop::Body(BodyError::Trailer),
        rule: "RFC 9112 2.2: no lone LF in trailers either",
        holds: |evidence| has_bare_lf(evidence.refused),
    },
    Stricter {
        stop: Stop::Body(BodyError::TrailerTooLarge),
        rule: "limits of trailers; RFC 9110 5.4",
        holds: |evidence| {
            let lines = evidence.message.split(|byte| *byte == b'\n').count();
            lines > MAX_TRAILERS || evidence.message.len() > MAX_TRAILER_BYTES
        },
    },
];

fn is_response(seen: &Seen) -> bool {
    seen.target.is_empty()
}

fn has_bare_lf(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().any(|(at, byte)| *byte == b'\n' && (at == 0 || bytes[at - 1] != b'\r'))
}

fn first_line(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == b'\r').next().unwrap_or_default()
}

/// The lines of the head, whatever ends them.
fn head_lines(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    message
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .skip_while(|line| line.is_empty())
        .take_while(|line| !line.is_empty())
}

fn raw_target(message: &[u8]) -> &[u8] {
    head_lines(message).next().and_then(|line| line.split(|byte| *byte == b' ').nth(1)).unwrap_or_default()
}

fn raw_values<'a>(message: &'a [u8], name: &str) -> Vec<&'a [u8]> {
    head_lines(message)
        .skip(1)
        .filter_map(|line| line.split_at_checked(line.iter().position(|byte| *byte == b':')?))
        .filter(|(given, _)| given.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| value.get(1..).unwrap_or_default().trim_ascii())
        .collect()
}

fn raw_hosts(message: &[u8]) -> Vec<&[u8]> {
    raw_values(message, "host")
}

fn count_field(message: &[u8], name: &str) -> usize {
    raw_values(message, name).len()
}

fn has_field(message: &[u8], name: &str) -> bool {
    count_field(message, name) > 0
}

fn is_short_number(value: &[u8]) -> bool {
    !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit)
}

/// The authority of an absolute-form target; a plain name for the other forms.
fn authority_of(target: &[u8]) -> &[u8] {
    let Some(at) = target.windows(3).position(|window| window == b"://") else { return b"x" };
    let rest = target.get(at + 3..).unwrap_or_default();
    rest.split(|byte| matches!(byte, b'/' | b'?' | b'#')).next().unwrap_or_default()
}

/// By another rule than the codec's own: letters, digits and a few marks, one colon with a port, or brackets that
/// hold what the standard library takes for an IPv6 address.
fn is_odd_host(host: &[u8]) -> bool {
    let text = String::from_utf8_lossy(host);
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (text.as_ref(), ""),
    };
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let good_name = match literal {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !name.is_empty()
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c))
        }
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let good_port = port.is_empty() || (digits && port.len() <= 5 && port.parse::<u16>().is_ok());
    !good_name || !good_port || host.len() > MAX_AUTHORITY_BYTES
}
