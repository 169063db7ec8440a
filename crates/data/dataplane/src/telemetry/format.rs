//! The values of command operators: renders access logs and header formats.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use http::HeaderMap;
pub(crate) use portolan_dataplane_config::format::{Command, Format, GrpcFormat, Op, Render};

use super::stream_info::StreamInfo;
use crate::message::{Protocol, Request, ResponseHead};
use crate::pb;
use crate::value::NetAddress;

/// What a format may read.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) info: &'a StreamInfo,
    pub(crate) request: Option<&'a Request>,
    pub(crate) response: Option<&'a ResponseHead>,
    pub(crate) trailers: Option<&'a HeaderMap>,
    pub(crate) now: Instant,
}

impl Render for Context<'_> {
    fn text(&self, format: &Format) -> String {
        let mut out = String::new();
        write(format, self, "", &mut out);
        out
    }
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

/// Appends the text; what has no value is written as `absent`.
pub(crate) fn write(format: &Format, context: &Context<'_>, absent: &str, out: &mut String) {
    for op in &format.0 {
        match op {
            Op::Literal(text) => out.push_str(text),
            Op::Command(command, limit) => match value(command, context) {
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

/// Appends a JSON value: a lone operator keeps its type and is null when absent. False when it is null.
pub(crate) fn write_json(format: &Format, context: &Context<'_>, out: &mut Vec<u8>) -> bool {
    let value = match format.0.as_slice() {
        [Op::Command(command, limit)] => match value(command, context) {
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
            write(format, context, "-", &mut text);
            Cow::Owned(text)
        }
    };
    // Text cannot fail to be JSON.
    let _ = serde_json::to_writer(&mut *out, &*value);
    true
}

fn cut(text: &str, limit: Option<usize>) -> &str {
    let Some(limit) = limit.filter(|limit| *limit < text.len()) else { return text };
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn value<'a>(command: &'a Command, context: &Context<'a>) -> Option<Val<'a>> {
    let info = context.info;
    let text = |text: &'a str| Some(Val::Text(Cow::Borrowed(text)));
    let owned = |text: String| Some(Val::Text(Cow::Owned(text)));
    let millis = |from: Instant, to: Instant| {
        Some(Val::Number(u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX)))
    };
    let address = |address: SocketAddr, port: bool| Some(Val::Address(address, port));
    match command {
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
