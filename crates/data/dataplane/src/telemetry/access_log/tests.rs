use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use tokio_util::sync::CancellationToken;

use portolan_dataplane_config::access_log::{Filter, Line};
use portolan_dataplane_config::message::ConnectionFacts;
use portolan_dataplane_config::value::unread;

use super::*;
use crate::message::{ConnectionInfo, Flags, Protocol, Request, ResponseHead};
use crate::pb::{self, Kind, accesslog, core, file_log, types};
use crate::telemetry::StreamInfo;

fn connection() -> Rc<ConnectionInfo> {
    Rc::new(ConnectionInfo {
        facts: ConnectionFacts {
            id: 7,
            remote: "192.0.2.1:1000".parse().unwrap(),
            local: "192.0.2.2:80".parse().unwrap(),
            restored: false,
            sni: None,
            tls: None,
            own_principal: None,
        },
        drain: CancellationToken::new(),
    })
}

fn request() -> Request {
    let mut headers = HeaderMap::new();
    headers.insert("user-agent", "test".parse().unwrap());
    headers.insert("x-request-id", "id-1".parse().unwrap());
    Request {
        method: Method::GET,
        scheme: "http",
        authority: "shop.example".into(),
        path: "/cart?item=1".into(),
        headers,
        protocol: Protocol::Http11,
        upgrade: None,
        is_grpc: false,
        expect_continue: false,
    }
}

/// Calls `with` with a request that took `elapsed`.
fn finished<T>(code: u16, flags: Flags, elapsed: Duration, with: impl FnOnce(&Context<'_>) -> T) -> T {
    let start = Instant::now();
    let mut info = StreamInfo::new(connection(), start);
    info.start_time = std::time::UNIX_EPOCH + Duration::from_millis(1_600_000_000_123);
    info.protocol = Some(Protocol::Http11);
    info.response_code = code;
    info.flags = flags;
    info.bytes_sent = 12;
    let response = ResponseHead::new(http::StatusCode::from_u16(code).unwrap());
    with(&Context {
        info: &info,
        request: Some(&request()),
        response: Some(&response),
        trailers: None,
        now: start + elapsed,
    })
}

fn written(line: &Line) -> String {
    finished(200, Flags::default(), Duration::from_millis(25), |context| {
        let mut out = Vec::new();
        line::write(line, context, &mut out);
        String::from_utf8(out).unwrap()
    })
}

fn text(value: &str) -> pb::Value {
    pb::Value { kind: Some(Kind::StringValue(value.into())) }
}

fn object(fields: &[(&str, pb::Value)]) -> pb::Struct {
    pb::Struct { fields: fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect() }
}

#[test]
fn the_default_line_is_envoys() {
    assert_eq!(
        written(&Line::optional(None, unread).unwrap()),
        "[2020-09-13T12:26:40.123Z] \"GET /cart?item=1 HTTP/1.1\" 200 - 0 12 25 - \"-\" \"test\" \"id-1\" \
         \"shop.example\" \"-\"\n"
    );
}

#[test]
fn a_json_line_is_sorted_and_typed() {
    let fields = object(&[
        ("path", text("%REQ(:PATH)%")),
        ("code", text("%RESPONSE_CODE%")),
        ("both", text("%PROTOCOL% %RESPONSE_CODE%")),
        ("missing", text("%REQ(X-NONE)%")),
    ]);
    assert_eq!(
        written(&Line::json(&fields, false).unwrap()),
        "{\"both\":\"HTTP/1.1 200\",\"code\":200,\"missing\":null,\"path\":\"/cart?item=1\"}\n"
    );
}

#[test]
fn empty_values_are_left_out_when_asked() {
    let fields = object(&[("code", text("%RESPONSE_CODE%")), ("missing", text("%REQ(X-NONE)%"))]);
    assert_eq!(written(&Line::json(&fields, true).unwrap()), "{\"code\":200}\n");
}

#[test]
fn json_values_nest() {
    let inner = object(&[("method", text("%REQ(:METHOD)%"))]);
    let list = pb::Value {
        kind: Some(Kind::ListValue(portolan_envoy_api::pb::google::protobuf::ListValue {
            values: vec![text("a"), text("%PROTOCOL%")],
        })),
    };
    let fields = object(&[("in", pb::Value { kind: Some(Kind::StructValue(inner)) }), ("list", list)]);
    assert_eq!(
        written(&Line::json(&fields, false).unwrap()),
        "{\"in\":{\"method\":\"GET\"},\"list\":[\"a\",\"HTTP/1.1\"]}\n"
    );
}

#[test]
fn text_in_json_is_escaped() {
    let fields = object(&[("quote", text("a \"b\"\n%PROTOCOL%"))]);
    assert_eq!(written(&Line::json(&fields, false).unwrap()), "{\"quote\":\"a \\\"b\\\"\\nHTTP/1.1\"}\n");
}

type Specifier = accesslog::access_log_filter::FilterSpecifier;

fn filter(specifier: Specifier) -> accesslog::AccessLogFilter {
    accesslog::AccessLogFilter { filter_specifier: Some(specifier) }
}

fn comparison(op: i32, value: u32) -> Option<accesslog::ComparisonFilter> {
    let value = core::RuntimeUInt32 { default_value: value, runtime_key: String::new() };
    Some(accesslog::ComparisonFilter { op, value: Some(value) })
}

fn status(op: accesslog::comparison_filter::Op, code: u32) -> accesslog::AccessLogFilter {
    filter(Specifier::StatusCodeFilter(accesslog::StatusCodeFilter {
        comparison: comparison(op as i32, code),
    }))
}

fn passes(from: &accesslog::AccessLogFilter, code: u16, flags: Flags, elapsed: Duration) -> bool {
    let filter = Filter::compile(from).unwrap();
    finished(code, flags, elapsed, |context| filter::passes(&filter, context))
}

#[test]
fn a_status_filter_compares() {
    use accesslog::comparison_filter::Op;
    for (op, code, logged) in [
        (Op::Eq, 400, false),
        (Op::Eq, 500, true),
        (Op::Ge, 499, false),
        (Op::Ge, 500, true),
        (Op::Ge, 503, true),
        (Op::Le, 500, true),
        (Op::Le, 501, false),
    ] {
        let from = status(op, 500);
        assert_eq!(passes(&from, code, Flags::default(), Duration::ZERO), logged, "{op:?} {code}");
    }
}

#[test]
fn a_duration_filter_compares_milliseconds() {
    let from =
        filter(Specifier::DurationFilter(accesslog::DurationFilter { comparison: comparison(1, 100) }));
    assert!(!passes(&from, 200, Flags::default(), Duration::from_micros(99_999)));
    assert!(passes(&from, 200, Flags::default(), Duration::from_millis(100)));
}

#[test]
fn a_flag_filter_takes_any_of_its_flags() {
    let from = |flags: &[&str]| {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        filter(Specifier::ResponseFlagFilter(accesslog::ResponseFlagFilter { flags }))
    };
    for (names, flags, logged) in [
        (&["UF", "NR"][..], Flags::NO_ROUTE, true),
        (&["UF", "NR"], Flags::UPSTREAM_OVERFLOW, false),
        (&[], Flags::UPSTREAM_OVERFLOW, true),
        (&[], Flags::default(), false),
    ] {
        assert_eq!(passes(&from(names), 503, flags, Duration::ZERO), logged, "{names:?} {flags:?}");
    }
}

#[test]
fn an_unknown_flag_is_refused() {
    let flags = vec!["XX".to_owned()];
    let from = filter(Specifier::ResponseFlagFilter(accesslog::ResponseFlagFilter { flags }));
    assert_eq!(Filter::compile(&from).unwrap_err().0, "unknown response flag \"XX\"");
}

#[test]
fn filters_combine() {
    use accesslog::comparison_filter::Op;
    let both = vec![status(Op::Ge, 400), status(Op::Le, 499)];
    let and = filter(Specifier::AndFilter(accesslog::AndFilter { filters: both }));
    let either = vec![status(Op::Eq, 200), status(Op::Eq, 404)];
    let or = filter(Specifier::OrFilter(accesslog::OrFilter { filters: either }));
    for (code, in_and, in_or) in [(200, false, true), (404, true, true), (500, false, false)] {
        assert_eq!(passes(&and, code, Flags::default(), Duration::ZERO), in_and, "and {code}");
        assert_eq!(passes(&or, code, Flags::default(), Duration::ZERO), in_or, "or {code}");
    }
}

#[test]
fn a_share_of_nothing_logs_nothing() {
    let percent = |numerator| {
        let percent = types::FractionalPercent { numerator, denominator: 0 };
        let runtime = accesslog::RuntimeFilter { percent_sampled: Some(percent), ..Default::default() };
        filter(Specifier::RuntimeFilter(runtime))
    };
    assert!(!passes(&percent(0), 200, Flags::default(), Duration::ZERO));
    assert!(passes(&percent(100), 200, Flags::default(), Duration::ZERO));
}

fn logger<M: prost::Message + prost::Name>(message: &M) -> accesslog::AccessLog {
    let any = pb::Any { type_url: M::type_url(), value: message.encode_to_vec() };
    accesslog::AccessLog {
        name: "log".into(),
        config_type: Some(accesslog::access_log::ConfigType::TypedConfig(any)),
        ..Default::default()
    }
}

#[test]
fn each_sink_has_its_destination() {
    use crate::pb::stream_log::{StderrAccessLog, StdoutAccessLog};
    let file = |path: &str| logger(&file_log::FileAccessLog { path: path.into(), ..Default::default() });
    for (log, destination) in [
        (file("/var/log/access.log"), Destination::File(Arc::from("/var/log/access.log"))),
        (file("/dev/stdout"), Destination::Stdout),
        (file("/dev/stderr"), Destination::Stderr),
        (logger(&StdoutAccessLog::default()), Destination::Stdout),
        (logger(&StderrAccessLog::default()), Destination::Stderr),
    ] {
        assert_eq!(AccessLog::compile(&log, unread).unwrap().destination, destination);
    }
}

#[test]
fn an_unknown_sink_is_refused_by_name() {
    let mut log = logger(&file_log::FileAccessLog::default());
    let any = pb::Any { type_url: "type.googleapis.com/some.Logger".into(), value: Vec::new() };
    log.config_type = Some(accesslog::access_log::ConfigType::TypedConfig(any));
    let error = AccessLog::compile_all(&[log], unread).unwrap_err();
    assert_eq!(error.0, "access_log \"log\": unsupported access logger some.Logger");
}
