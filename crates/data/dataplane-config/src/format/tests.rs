//! Formats as texts, and what is made of them.

use super::*;

/// What a format is, in Rust's notation: what is documented needs no second notation of its own.
fn shown(text: &str) -> String {
    format!("{:?}", Format::compile(text).unwrap().0)
}

fn command(text: &str) -> String {
    let all = shown(text);
    let inner = all.strip_prefix("[Command(").and_then(|rest| rest.strip_suffix(")]"));
    inner.unwrap_or_else(|| panic!("{text}: {all}")).to_owned()
}

#[test]
fn operators_are_those_of_envoy() {
    for (text, wanted) in [
        ("START_TIME", "StartTime(None)"),
        ("START_TIME(%s.%3f)", "StartTime(Some(\"%s.%3f\"))"),
        ("REQ(X-A)", "Req(\"x-a\", None)"),
        ("REQ(X-A?:PATH)", "Req(\"x-a\", Some(\":path\"))"),
        ("RESP(X-A?X-B)", "Resp(\"x-a\", Some(\"x-b\"))"),
        ("TRAILER(X-A)", "Trailer(\"x-a\", None)"),
        ("PROTOCOL", "Protocol"),
        ("RESPONSE_CODE", "ResponseCode"),
        ("RESPONSE_CODE_DETAILS", "ResponseCodeDetails"),
        ("CONNECTION_TERMINATION_DETAILS", "TerminationDetails"),
        ("RESPONSE_FLAGS", "ResponseFlags"),
        ("BYTES_RECEIVED", "BytesReceived"),
        ("BYTES_SENT", "BytesSent"),
        ("DURATION", "Duration"),
        ("REQUEST_DURATION", "RequestDuration"),
        ("RESPONSE_DURATION", "ResponseDuration"),
        ("RESPONSE_TX_DURATION", "ResponseTxDuration"),
        ("UPSTREAM_HOST", "UpstreamHost"),
        ("UPSTREAM_REMOTE_ADDRESS", "UpstreamRemote"),
        ("UPSTREAM_PROTOCOL", "UpstreamProtocol"),
        ("UPSTREAM_CLUSTER", "UpstreamCluster"),
        ("UPSTREAM_CLUSTER_RAW", "UpstreamCluster"),
        ("UPSTREAM_LOCAL_ADDRESS", "UpstreamLocal"),
        ("UPSTREAM_TRANSPORT_FAILURE_REASON", "UpstreamFailure"),
        ("UPSTREAM_REQUEST_ATTEMPT_COUNT", "UpstreamAttempts"),
        ("DOWNSTREAM_REMOTE_ADDRESS", "DownstreamRemote { port: true, direct: false }"),
        ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "DownstreamRemote { port: false, direct: false }"),
        ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", "DownstreamRemote { port: true, direct: true }"),
        ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", "DownstreamRemote { port: false, direct: true }"),
        ("DOWNSTREAM_LOCAL_ADDRESS", "DownstreamLocal { port: true }"),
        ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", "DownstreamLocal { port: false }"),
        ("DOWNSTREAM_LOCAL_PORT", "DownstreamLocalPort"),
        ("DOWNSTREAM_PEER_URI_SAN", "PeerUri"),
        ("DOWNSTREAM_PEER_SUBJECT", "PeerSubject"),
        ("DOWNSTREAM_PEER_SERIAL", "PeerSerial"),
        ("DOWNSTREAM_TLS_VERSION", "TlsVersion"),
        ("REQUESTED_SERVER_NAME", "Sni"),
        ("ROUTE_NAME", "RouteName"),
        ("HOSTNAME", "Hostname"),
        ("GRPC_STATUS_NUMBER", "GrpcStatus(Number)"),
        ("GRPC_STATUS", "GrpcStatus(Camel)"),
        ("GRPC_STATUS(CAMEL_STRING)", "GrpcStatus(Camel)"),
        ("GRPC_STATUS(SNAKE_STRING)", "GrpcStatus(Snake)"),
        ("GRPC_STATUS(NUMBER)", "GrpcStatus(Number)"),
        ("CONNECTION_ID", "ConnectionId"),
        ("DYNAMIC_METADATA(ns:a:b)", "DynamicMetadata([\"ns\", \"a\", \"b\"])"),
        ("FILTER_STATE(x)", "Absent"),
        ("TRACE_ID", "Absent"),
    ] {
        assert_eq!(command(&format!("%{text}%")), format!("{wanted}, None"), "{text}");
    }
}

#[test]
fn a_length_behind_an_argument_is_a_limit() {
    assert_eq!(command("%REQ(X-A):12%"), "Req(\"x-a\", None), Some(12)");
    assert_eq!(command("%DYNAMIC_METADATA(a:b):3%"), "DynamicMetadata([\"a\", \"b\"]), Some(3)");
    assert_eq!(Format::compile("%REQ(X-A):x%").unwrap_err().0, "bad length in operator %REQ(X-A):x%");
}

#[test]
fn text_stands_between_operators() {
    assert_eq!(shown("a %PROTOCOL% b"), "[Literal(\"a \"), Command(Protocol, None), Literal(\" b\")]");
    assert_eq!(shown("%PROTOCOL%%PROTOCOL%"), "[Command(Protocol, None), Command(Protocol, None)]");
    assert_eq!(shown("100%% sure"), "[Literal(\"100% sure\")]");
    assert_eq!(shown(""), "[]");
}

#[test]
fn arguments_may_contain_percent_signs_and_parentheses() {
    assert_eq!(
        shown("%START_TIME(%Y (%m))% x"),
        "[Command(StartTime(Some(\"%Y (%m)\")), None), Literal(\" x\")]"
    );
    assert_eq!(shown(")%PROTOCOL%"), "[Literal(\")\"), Command(Protocol, None)]");
}

#[test]
fn a_format_without_operators_is_a_literal() {
    let literal = |text: &str| Format::compile(text).unwrap().literal().map(str::to_owned);
    assert_eq!(literal("").as_deref(), Some(""));
    assert_eq!(literal("a").as_deref(), Some("a"));
    assert_eq!(literal("%PROTOCOL%"), None);
    assert_eq!(literal("a%PROTOCOL%"), None);
}

#[test]
fn what_is_no_operator_is_refused() {
    for (text, reason) in [
        ("%NOTHING%", "unknown operator %NOTHING%"),
        ("a%PROTOCOL", "unterminated operator in format \"a%PROTOCOL\""),
        ("%START_TIME(%", "unterminated operator in format \"%START_TIME(%\""),
        ("%REQ%", "operator %REQ% needs an argument"),
        ("%RESP()%", "operator %RESP()% needs an argument"),
        ("%GRPC_STATUS(x)%", "unknown format \"x\" in operator %GRPC_STATUS(x)%"),
    ] {
        assert_eq!(Format::compile(text).unwrap_err().0, reason);
    }
}
