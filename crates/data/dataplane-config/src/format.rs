//! Command operators of access logs and header formats, compiled.

#[cfg(test)]
mod tests;

use crate::value::{Invalid, Valid};

/// A compiled text format.
#[derive(Debug, Clone, Default)]
pub struct Format(pub Vec<Op>);

/// A part of a format.
#[derive(Debug, Clone)]
pub enum Op {
    /// Text as it stands.
    Literal(String),
    /// An operator, and the number of bytes that are written of its value at most.
    Command(Command, Option<usize>),
}

/// An operator; named as Envoy documents them under "Command Operators".
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each is the operator of that name")]
pub enum Command {
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
pub enum GrpcFormat {
    /// `DeadlineExceeded`.
    Camel,
    /// `DEADLINE_EXCEEDED`.
    Snake,
    /// `4`.
    Number,
}

impl Format {
    /// Compiles a text with `%OPERATOR%`s; `%%` is a percent sign.
    pub fn compile(text: &str) -> Valid<Format> {
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
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Op::Literal(text)] => Some(text),
            _ => None,
        }
    }
}

/// Renders formats: knows the values of their operators.
pub trait Render {
    /// The text of a header value; what has no value is empty.
    fn text(&self, format: &Format) -> String;
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
