//! Access logs as messages, and what is made of them.

use serde_json::{Value, json};

use super::*;
use crate::testing::message;
use crate::value::unread;

const LOGGERS: &str = "type.googleapis.com/envoy.extensions.access_loggers";

fn compile(json: Value) -> Valid<AccessLog> {
    AccessLog::compile(&message(json), unread)
}

/// A log of this kind with these fields.
fn log(kind: &str, fields: Value) -> Valid<AccessLog> {
    let mut config = fields;
    config["@type"] = json!(format!("{LOGGERS}.{kind}"));
    compile(json!({"name": "l", "typed_config": config}))
}

fn file(fields: Value) -> Valid<AccessLog> {
    log("file.v3.FileAccessLog", fields)
}

fn line(fields: Value) -> String {
    format!("{:?}", file(fields).unwrap().line)
}

#[test]
fn lines_go_where_the_sink_says() {
    for (path, wanted) in [
        ("/dev/stdout", Destination::Stdout),
        ("/dev/stderr", Destination::Stderr),
        ("/log", Destination::File("/log".into())),
    ] {
        assert_eq!(file(json!({ "path": path })).unwrap().destination, wanted);
    }
    assert_eq!(log("stream.v3.StdoutAccessLog", json!({})).unwrap().destination, Destination::Stdout);
    assert_eq!(log("stream.v3.StderrAccessLog", json!({})).unwrap().destination, Destination::Stderr);
}

#[test]
fn a_text_may_be_given_in_several_fields() {
    let wanted = "Text(Format([Literal(\"x\")]))";
    for fields in [
        json!({"format": "x"}),
        json!({"log_format": {"text_format": "x"}}),
        json!({"log_format": {"text_format_source": {"inline_string": "x"}}}),
    ] {
        assert_eq!(line(fields.clone()), wanted, "{fields}");
    }
    for kind in ["stream.v3.StdoutAccessLog", "stream.v3.StderrAccessLog"] {
        let log = log(kind, json!({"log_format": {"text_format": "x"}})).unwrap();
        assert_eq!(format!("{:?}", log.line), wanted, "{kind}");
    }
}

#[test]
fn without_a_format_the_line_is_envoys() {
    let default = line(json!({}));
    assert!(default.starts_with("Text(Format([Literal(\"[\"), Command(StartTime(None), None)"), "{default}");
    assert!(default.ends_with("Command(UpstreamHost, None), Literal(\"\\\"\\n\")]))"), "{default}");
}

#[test]
fn a_json_line_keeps_its_shape_sorted_by_name() {
    let fields = json!({"b": "%PROTOCOL%", "a": {"n": 1.5, "y": true}, "c": ["x", null]});
    let wanted = |omit: bool| {
        format!(
            "Json {{ fields: [(\"a\", Object([(\"n\", Value(Format([Literal(\"1.5\")]))), \
             (\"y\", Value(Format([Literal(\"true\")])))])), \
             (\"b\", Value(Format([Command(Protocol, None)]))), \
             (\"c\", List([Value(Format([Literal(\"x\")])), Value(Format([]))]))], omit_empty: {omit} }}"
        )
    };
    assert_eq!(line(json!({ "json_format": fields })), wanted(false));
    assert_eq!(line(json!({ "typed_json_format": fields })), wanted(false));
    assert_eq!(line(json!({"log_format": {"json_format": fields}})), wanted(false));
    assert_eq!(line(json!({"log_format": {"json_format": fields, "omit_empty_values": true}})), wanted(true));
}

fn filter(json: Value) -> Valid<Filter> {
    Filter::compile(&message(json))
}

#[test]
fn filters_are_those_of_envoy() {
    let comparison =
        |op: &str, value: u32| json!({"op": op, "value": {"default_value": value, "runtime_key": "k"}});
    let status = json!({"status_code_filter": {"comparison": comparison("GE", 500)}});
    for (json, wanted) in [
        (status.clone(), "Status(1, 500)".to_owned()),
        (json!({"status_code_filter": {"comparison": {"op": "EQ"}}}), "Status(0, 0)".to_owned()),
        (json!({"duration_filter": {"comparison": comparison("LE", 7)}}), "Duration(2, 7)".into()),
        (json!({"runtime_filter": {"percent_sampled": {"numerator": 5}}}), "Runtime(50000)".into()),
        (
            json!({"and_filter": {"filters": [status, {"not_health_check_filter": {}}]}}),
            "And([Status(1, 500), Always])".into(),
        ),
        (json!({"or_filter": {"filters": [{"traceable_filter": {}}]}}), "Or([Always])".into()),
        (
            json!({"response_flag_filter": {"flags": ["UF", "UH"]}}),
            format!(
                "Flags({:?})",
                [
                    crate::message::Flags::UPSTREAM_CONNECTION_FAILURE,
                    crate::message::Flags::NO_HEALTHY_UPSTREAM
                ]
            ),
        ),
    ] {
        assert_eq!(format!("{:?}", filter(json).unwrap()), wanted);
    }
    assert!(matches!(filter(json!({"header_filter": {"header": {"name": "a"}}})), Ok(Filter::Header(_))));
}

#[test]
fn filters_that_cannot_be_used_are_refused() {
    for (json, reason) in [
        (json!({}), "empty access log filter"),
        (json!({"status_code_filter": {}}), "missing comparison"),
        (json!({"header_filter": {}}), "missing header"),
        (json!({"response_flag_filter": {"flags": ["XX"]}}), "unknown response flag \"XX\""),
        (json!({"grpc_status_filter": {}}), "unsupported access log filter"),
    ] {
        assert_eq!(filter(json).unwrap_err().0, reason);
    }
}

#[test]
fn a_log_may_have_a_filter() {
    let config = json!({"@type": format!("{LOGGERS}.stream.v3.StdoutAccessLog")});
    assert!(compile(json!({"typed_config": config})).unwrap().filter.is_none());
    let with = json!({"typed_config": config, "filter": {"not_health_check_filter": {}}});
    assert!(matches!(compile(with).unwrap().filter, Some(Filter::Always)));
    let bad = json!({"typed_config": config, "filter": {}});
    assert_eq!(compile(bad).unwrap_err().0, "filter: empty access log filter");
}

#[test]
fn logs_that_cannot_be_written_are_refused() {
    assert_eq!(compile(json!({"name": "l"})).unwrap_err().0, "missing typed_config");
    let other = json!({"@type": format!("{LOGGERS}.grpc.v3.HttpGrpcAccessLogConfig")});
    let reason = "unsupported access logger envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig";
    assert_eq!(compile(json!({"typed_config": other})).unwrap_err().0, reason);
    assert_eq!(file(json!({"log_format": {}})).unwrap_err().0, "empty log format");
    let bytes = json!({"log_format": {"text_format_source": {"inline_bytes": "/w=="}}});
    assert_eq!(file(bytes).unwrap_err().0, "format is not UTF-8");
}

#[test]
fn errors_name_the_log() {
    let logs = [message(json!({"name": "l"}))];
    assert_eq!(
        AccessLog::compile_all(&logs, unread).unwrap_err().0,
        "access_log \"l\": missing typed_config"
    );
    let config = json!({"@type": format!("{LOGGERS}.stream.v3.StdoutAccessLog")});
    let logs = [message(json!({ "typed_config": config })), message(json!({ "typed_config": config }))];
    assert_eq!(AccessLog::compile_all(&logs, unread).unwrap().len(), 2);
}
