//! Command operators of access logs and header formats (spec/dataplane.md 78).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use http::HeaderMap;

use super::stream_info::StreamInfo;
use crate::message::{Protocol, Request, ResponseHead};
use crate::pb;
use crate::value::{Invalid, NetAddress, Valid};

/// What a format may read.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) info: &'a StreamInfo,
    pub(crate) request: Option<&'a Request>,
    pub(crate) response: Option<&'a ResponseHead>,
    pub(crate) trailers: Option<&'a HeaderMap>,
    pub(crate) now: Instant,
}

/// A compiled text format.
#[derive(Debug, Clone, Default)]
pub(crate) struct Format(Vec<Op>);

#[derive(Debug, Clone)]
enum Op {
    Literal(String),
    Command(Command, Option<usize>),
}

#[derive(Debug, Clone)]
enum Command {
    StartTime(Option<String>),
    Req(String, Option<String>),
    Resp(String, Option<String>),
    Trailer(String, Option<String>),
    Protocol,
    ResponseCode,
    ResponseCodeDetails,
    TerminationDetails,
    ResponseFlags,
    BytesReceived,
    BytesSent,
    Duration,
    RequestDuration,
    ResponseDuration,
    ResponseTxDuration,
    UpstreamHost,
    /// The host as far as there was a connection to it.
    UpstreamRemote,
    UpstreamProtocol,
    UpstreamCluster,
    UpstreamLocal,
    UpstreamFailure,
    UpstreamAttempts,
    DownstreamRemote {
        port: bool,
        direct: bool,
    },
    DownstreamLocal {
        port: bool,
    },
    DownstreamLocalPort,
    PeerUri,
    PeerSubject,
    PeerSerial,
    TlsVersion,
    Sni,
    RouteName,
    Hostname,
    GrpcStatus(GrpcFormat),
    ConnectionId,
    DynamicMetadata(Vec<String>),
    /// Known to Envoy, without a value here.
    Absent,
}

/// How `%GRPC_STATUS%` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GrpcFormat {
    Camel,
    Snake,
    Number,
}

/// The names of gRPC's status codes, by number.
const GRPC_NAMES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

enum Val<'a> {
    Text(Cow<'a, str>),
    Number(u64),
    /// With or without its port.
    Address(SocketAddr, bool),
}

impl Format {
    /// Compiles a text with `%OPERATOR%`s; `%%` is a percent sign.
    pub(crate) fn compile(text: &str) -> Valid<Format> {
        let mut ops = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            literal.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            if let Some(tail) = after.strip_prefix('%') {
                literal.push('%');
                rest = tail;
                continue;
            }
            let end = operator_end(after)
                .ok_or_else(|| Invalid(format!("unterminated operator in format {text:?}")))?;
            if !literal.is_empty() {
                ops.push(Op::Literal(std::mem::take(&mut literal)));
            }
            ops.push(command(&after[..end])?);
            rest = &after[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            ops.push(Op::Literal(literal));
        }
        Ok(Format(ops))
    }

    /// The text if there is no operator.
    pub(crate) fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Op::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the text; what has no value is written as `absent`.
    pub(crate) fn write(&self, context: &Context<'_>, absent: &str, out: &mut String) {
        for op in &self.0 {
            match op {
                Op::Literal(text) => out.push_str(text),
                Op::Command(command, limit) => match command.value(context) {
                    None => out.push_str(absent),
                    Some(Val::Number(number)) => {
                        let _ = write!(out, "{number}");
                    }
                    Some(Val::Text(text)) => out.push_str(cut(&text, *limit)),
                    Some(Val::Address(address, true)) => {
                        let _ = write!(out, "{address}");
                    }
                    Some(Val::Address(address, false)) => {
                        let _ = write!(out, "{}", address.ip());
                    }
                },
            }
        }
    }

    /// The text of a header value.
    pub(crate) fn text(&self, context: &Context<'_>) -> String {
        let mut out = String::new();
        self.write(context, "", &mut out);
        out
    }

    /// Appends a JSON value: a lone operator keeps its type and is null when absent. False when it is null.
    pub(crate) fn write_json(&self, context: &Context<'_>, out: &mut Vec<u8>) -> bool {
        let value = match self.0.as_slice() {
            [Op::Command(command, limit)] => match command.value(context) {
                None => {
                    out.extend_from_slice(b"null");
                    return false;
                }
                Some(Val::Number(number)) => {
                    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
                    return true;
                }
                // Nothing in an address needs escaping. Writing to a Vec cannot fail.
                Some(Val::Address(address, true)) => {
                    let _ = write!(out, "\"{address}\"");
                    return true;
                }
                Some(Val::Address(address, false)) => {
                    let _ = write!(out, "\"{}\"", address.ip());
                    return true;
                }
                Some(Val::Text(text)) => match limit {
                    Some(_) => Cow::Owned(cut(&text, *limit).to_owned()),
                    None => text,
                },
            },
            [Op::Literal(text)] => Cow::Borrowed(text.as_str()),
            _ => {
                let mut text = String::new();
                self.write(context, "-", &mut text);
                Cow::Owned(text)
            }
        };
        // Text cannot fail to be JSON.
        let _ = serde_json::to_writer(&mut *out, &*value);
        true
    }
}

/// Position of the percent sign that ends an operator; arguments in parentheses may contain percent signs.
fn operator_end(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '%' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

fn cut(text: &str, limit: Option<usize>) -> &str {
    let Some(limit) = limit.filter(|limit| *limit < text.len()) else { return text };
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn command(text: &str) -> Valid<Op> {
    let (body, limit) = match text.rsplit_once(':') {
        Some((body, digits)) if body.ends_with(')') && !digits.is_empty() => {
            (body, Some(digits.parse().map_err(|_| Invalid(format!("bad length in operator %{text}%")))?))
        }
        _ => (text, None),
    };
    let (name, argument) = match body.split_once('(') {
        Some((name, rest)) => (name, Some(rest.strip_suffix(')').unwrap_or(rest))),
        None => (body, None),
    };
    let pair = |argument: Option<&str>| -> Valid<(String, Option<String>)> {
        let argument = argument
            .filter(|argument| !argument.is_empty())
            .ok_or_else(|| Invalid(format!("operator %{text}% needs an argument")))?;
        let (main, other) = match argument.split_once('?') {
            Some((main, other)) => (main, Some(other.to_ascii_lowercase())),
            None => (argument, None),
        };
        Ok((main.to_ascii_lowercase(), other))
    };
    let command = match name {
        "START_TIME" => Command::StartTime(argument.map(str::to_owned)),
        "REQ" => pair(argument).map(|(main, other)| Command::Req(main, other))?,
        "RESP" => pair(argument).map(|(main, other)| Command::Resp(main, other))?,
        "TRAILER" => pair(argument).map(|(main, other)| Command::Trailer(main, other))?,
        "PROTOCOL" => Command::Protocol,
        "RESPONSE_CODE" => Command::ResponseCode,
        "RESPONSE_CODE_DETAILS" => Command::ResponseCodeDetails,
        "CONNECTION_TERMINATION_DETAILS" => Command::TerminationDetails,
        "RESPONSE_FLAGS" => Command::ResponseFlags,
        "BYTES_RECEIVED" => Command::BytesReceived,
        "BYTES_SENT" => Command::BytesSent,
        "DURATION" => Command::Duration,
        "REQUEST_DURATION" => Command::RequestDuration,
        "RESPONSE_DURATION" => Command::ResponseDuration,
        "RESPONSE_TX_DURATION" => Command::ResponseTxDuration,
        "UPSTREAM_HOST" => Command::UpstreamHost,
        "UPSTREAM_REMOTE_ADDRESS" => Command::UpstreamRemote,
        "UPSTREAM_PROTOCOL" => Command::UpstreamProtocol,
        "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => Command::UpstreamCluster,
        "UPSTREAM_LOCAL_ADDRESS" => Command::UpstreamLocal,
        "UPSTREAM_TRANSPORT_FAILURE_REASON" => Command::UpstreamFailure,
        "UPSTREAM_REQUEST_ATTEMPT_COUNT" => Command::UpstreamAttempts,
        "DOWNSTREAM_REMOTE_ADDRESS" => Command::DownstreamRemote { port: true, direct: false },
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Command::DownstreamRemote { port: false, direct: false },
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Command::DownstreamRemote { port: true, direct: true },
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => {
            Command::DownstreamRemote { port: false, direct: true }
        }
        "DOWNSTREAM_LOCAL_ADDRESS" => Command::DownstreamLocal { port: true },
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => Command::DownstreamLocal { port: false },
        "DOWNSTREAM_LOCAL_PORT" => Command::DownstreamLocalPort,
        "DOWNSTREAM_PEER_URI_SAN" => Command::PeerUri,
        "DOWNSTREAM_PEER_SUBJECT" => Command::PeerSubject,
        "DOWNSTREAM_PEER_SERIAL" => Command::PeerSerial,
        "DOWNSTREAM_TLS_VERSION" => Command::TlsVersion,
        "REQUESTED_SERVER_NAME" => Command::Sni,
        "ROUTE_NAME" => Command::RouteName,
        "HOSTNAME" => Command::Hostname,
        "GRPC_STATUS_NUMBER" => Command::GrpcStatus(GrpcFormat::Number),
        "GRPC_STATUS" => Command::GrpcStatus(match argument {
            None | Some("CAMEL_STRING") => GrpcFormat::Camel,
            Some("SNAKE_STRING") => GrpcFormat::Snake,
            Some("NUMBER") => GrpcFormat::Number,
            Some(other) => return Err(Invalid(format!("unknown format {other:?} in operator %{text}%"))),
        }),
        "CONNECTION_ID" => Command::ConnectionId,
        "DYNAMIC_METADATA" => {
            Command::DynamicMetadata(argument.unwrap_or_default().split(':').map(str::to_owned).collect())
        }
        "FILTER_STATE"
        | "UPSTREAM_METADATA"
        | "CLUSTER_METADATA"
        | "METADATA"
        | "TRACE_ID"
        | "STREAM_ID"
        | "DOWNSTREAM_LOCAL_URI_SAN"
        | "DOWNSTREAM_LOCAL_SUBJECT"
        | "DOWNSTREAM_PEER_ISSUER"
        | "DOWNSTREAM_PEER_CERT"
        | "DOWNSTREAM_PEER_FINGERPRINT_256"
        | "DOWNSTREAM_TLS_CIPHER"
        | "DOWNSTREAM_TLS_SESSION_ID"
        | "VIRTUAL_CLUSTER_NAME"
        | "FILTER_CHAIN_NAME"
        | "UPSTREAM_WIRE_BYTES_SENT"
        | "UPSTREAM_WIRE_BYTES_RECEIVED"
        | "DOWNSTREAM_WIRE_BYTES_SENT"
        | "DOWNSTREAM_WIRE_BYTES_RECEIVED"
        | "ENVIRONMENT" => Command::Absent,
        name => return Err(Invalid(format!("unknown operator %{name}%"))),
    };
    Ok(Op::Command(command, limit))
}

impl Command {
    fn value<'a>(&'a self, context: &Context<'a>) -> Option<Val<'a>> {
        let info = context.info;
        let text = |text: &'a str| Some(Val::Text(Cow::Borrowed(text)));
        let owned = |text: String| Some(Val::Text(Cow::Owned(text)));
        let millis = |from: Instant, to: Instant| {
            Some(Val::Number(
                u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX),
            ))
        };
        let address = |address: SocketAddr, port: bool| Some(Val::Address(address, port));
        match self {
            Command::StartTime(None) => owned(start_time(info.start_time)),
            Command::StartTime(Some(format)) => owned(formatted_time(info.start_time, format)),
            Command::Req(name, other) => {
                let request = context.request?;
                request.get(name).or_else(|| request.get(other.as_deref()?)).and_then(text)
            }
            Command::Resp(name, other) => {
                field(&context.response?.headers, name, other.as_deref()).and_then(text)
            }
            Command::Trailer(name, other) => field(context.trailers?, name, other.as_deref()).and_then(text),
            Command::Protocol => info.protocol.map(|protocol| protocol.as_str()).and_then(text),
            Command::ResponseCode => Some(Val::Number(u64::from(info.response_code))),
            Command::ResponseCodeDetails => some(&info.details).and_then(text),
            Command::TerminationDetails => info.termination_details.as_deref().and_then(some).and_then(text),
            Command::ResponseFlags => owned(info.flags.text()),
            Command::BytesReceived => Some(Val::Number(info.bytes_received)),
            Command::BytesSent => Some(Val::Number(info.bytes_sent)),
            Command::Duration => millis(info.start, context.now),
            Command::RequestDuration => millis(info.start, info.request_end?),
            Command::ResponseDuration => millis(info.start, info.response_first?),
            Command::ResponseTxDuration => millis(info.response_first?, context.now),
            Command::UpstreamRemote if info.upstream_local.is_none() => None,
            Command::UpstreamProtocol => info.upstream_protocol.map(Protocol::as_str).and_then(text),
            Command::UpstreamHost | Command::UpstreamRemote => match &info.host.as_ref()?.address {
                NetAddress::Socket(host) => address(*host, true),
                other => owned(other.to_string()),
            },
            Command::UpstreamCluster => info.cluster_name.as_deref().and_then(text),
            Command::UpstreamLocal => address(info.upstream_local?, true),
            Command::UpstreamFailure => info.upstream_failure.as_deref().and_then(text),
            Command::UpstreamAttempts => Some(Val::Number(u64::from(info.attempts))),
            Command::DownstreamRemote { port, direct } => {
                address(if *direct { info.connection.remote } else { info.remote }, *port)
            }
            Command::DownstreamLocal { port } => address(info.connection.local, *port),
            Command::DownstreamLocalPort => Some(Val::Number(u64::from(info.connection.local.port()))),
            Command::PeerUri => info.connection.peer()?.facts.uris.first().map(String::as_str).and_then(text),
            Command::PeerSubject => text(&info.connection.peer()?.facts.subject),
            Command::PeerSerial => text(&info.connection.peer()?.facts.serial),
            Command::TlsVersion => text(info.connection.tls.as_ref()?.version),
            Command::Sni => info.connection.sni.as_deref().and_then(text),
            Command::RouteName => info.route_name.as_deref().and_then(some).and_then(text),
            Command::Hostname => std::env::var("HOSTNAME").ok().and_then(owned),
            Command::GrpcStatus(format) => {
                let status = info.grpc_status?;
                let name = usize::try_from(status).ok().and_then(|at| GRPC_NAMES.get(at));
                match (format, name) {
                    (GrpcFormat::Camel, Some((camel, _))) => text(camel),
                    (GrpcFormat::Snake, Some((_, snake))) => text(snake),
                    _ => Some(Val::Number(u64::from(status))),
                }
            }
            Command::ConnectionId => Some(Val::Number(info.connection.id)),
            Command::DynamicMetadata(path) => {
                let (namespace, keys) = path.split_first()?;
                metadata_text(info.metadata.get(namespace)?, keys).and_then(owned)
            }
            Command::Absent => None,
        }
    }
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn field<'a>(headers: &'a HeaderMap, name: &str, other: Option<&str>) -> Option<&'a str> {
    headers
        .get(name)
        .or_else(|| headers.get(other?))
        .and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

fn metadata_text(fields: &pb::Struct, keys: &[String]) -> Option<String> {
    let (key, rest) = keys.split_first()?;
    match fields.fields.get(key)?.kind.as_ref()? {
        pb::Kind::StructValue(inner) => metadata_text(inner, rest),
        pb::Kind::StringValue(text) => Some(text.clone()),
        pb::Kind::NumberValue(number) => Some(number.to_string()),
        pb::Kind::BoolValue(value) => Some(value.to_string()),
        _ => None,
    }
}

/// Envoy's default: `2021-01-31T23:59:59.123Z`.
fn start_time(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map(|at| format!("{at:.3}")).unwrap_or_default()
}

fn formatted_time(at: SystemTime, format: &str) -> String {
    let Ok(at) = jiff::Timestamp::try_from(at) else { return String::new() };
    // Envoy's %f has all nine digits; without a width jiff drops zeros at the end.
    let mut wide = String::with_capacity(format.len());
    let mut percent = false;
    for c in format.chars() {
        if percent && c == 'f' {
            wide.push('9');
        }
        percent = c == '%' && !percent;
        wide.push(c);
    }
    at.strftime(&wide).to_string()
}
