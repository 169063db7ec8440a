//! Connection managers as messages, and what is made of them.

use serde_json::{Value, json};

use super::*;
use crate::testing::message;
use crate::value::unread;

fn compile(fields: Value) -> Valid<Hcm> {
    let router = json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"});
    let mut from = json!({
        "route_config": {}, "http_filters": [{"name": "router", "typed_config": router}],
    });
    from.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    Hcm::compile(&message(from), Compile { direction: Direction::Inbound, load: unread })
}

fn of(fields: Value) -> Hcm {
    compile(fields).unwrap()
}

#[test]
fn what_is_not_set_has_envoys_default_or_ours() {
    let plain = of(json!({}));
    assert_eq!((plain.codec, plain.direction), (Codec::Auto, Direction::Inbound));
    assert_eq!(
        (&plain.server_name, plain.server_header),
        (&HeaderValue::from_static("envoy"), ServerHeader::Overwrite)
    );
    assert_eq!((plain.limits.head_bytes, plain.limits.headers), (60 * 1024, 100));
    assert_eq!((plain.max_streams, plain.max_requests, plain.trusted_hops), (1024, 0, 0));
    let seconds = |limit: Option<Duration>| limit.map(|limit| limit.as_secs());
    assert_eq!((seconds(plain.idle_timeout), plain.head_timeout.as_secs()), (Some(3600), 60));
    assert_eq!((plain.request_timeout, plain.max_stream_duration), (None, None));
    assert_eq!(seconds(plain.stream_idle_timeout), Some(300));
    assert_eq!((plain.underscores, plain.escaped_slashes), (Underscores::Allow, EscapedSlashes::Keep));
    assert_eq!((plain.forward_cert, plain.strip_port), (ForwardCert::Sanitize, StripPort::None));
    assert_eq!((plain.trailers, plain.via), (Trailers::Drop, None));
    assert!(plain.generate_request_id);
    for flag in [
        plain.accept_http10,
        plain.use_remote_address,
        plain.skip_xff_append,
        plain.preserve_request_id,
        plain.return_request_id,
        plain.cert_subject,
        plain.cert_uri,
        plain.cert_dns,
        plain.proxy_100_continue,
        plain.normalize_path,
        plain.merge_slashes,
        plain.strip_trailing_dot,
        plain.suppress_envoy_headers,
    ] {
        assert!(!flag);
    }
    assert!(plain.upgrades.is_empty() && plain.internal.is_empty() && plain.access_log.is_empty());
}

#[test]
fn switches_are_taken_over() {
    type Switch = fn(&Hcm) -> bool;
    let switches: [(Value, Switch); 12] = [
        (json!({"http_protocol_options": {"accept_http_10": true}}), |hcm| hcm.accept_http10),
        (json!({"use_remote_address": true}), |hcm| hcm.use_remote_address),
        (json!({"skip_xff_append": true}), |hcm| hcm.skip_xff_append),
        (json!({"preserve_external_request_id": true}), |hcm| hcm.preserve_request_id),
        (json!({"always_set_request_id_in_response": true}), |hcm| hcm.return_request_id),
        (json!({"set_current_client_cert_details": {"subject": true}}), |hcm| hcm.cert_subject),
        (json!({"set_current_client_cert_details": {"uri": true}}), |hcm| hcm.cert_uri),
        (json!({"set_current_client_cert_details": {"dns": true}}), |hcm| hcm.cert_dns),
        (json!({"proxy_100_continue": true}), |hcm| hcm.proxy_100_continue),
        (json!({"normalize_path": true}), |hcm| hcm.normalize_path),
        (json!({"merge_slashes": true}), |hcm| hcm.merge_slashes),
        (json!({"strip_trailing_host_dot": true}), |hcm| hcm.strip_trailing_dot),
    ];
    for (at, (json, _)) in switches.iter().enumerate() {
        let hcm = of(json.clone());
        for (other, (_, switch)) in switches.iter().enumerate() {
            assert_eq!(switch(&hcm), at == other, "{json}");
        }
    }
    assert!(!of(json!({"generate_request_id": false})).generate_request_id);
}

#[test]
fn limits_are_taken_over_within_bounds() {
    let hcm = of(json!({
        "max_request_headers_kb": 7,
        "common_http_protocol_options": {
            "max_headers_count": 8, "max_requests_per_connection": 9, "idle_timeout": "10s", "max_stream_duration": "11s",
        },
        "http2_protocol_options": {"max_concurrent_streams": 12},
        "request_headers_timeout": "13s", "request_timeout": "14s", "stream_idle_timeout": "15s",
        "xff_num_trusted_hops": 16,
    }));
    let seconds = |limit: Option<Duration>| limit.map_or(0, |limit| limit.as_secs());
    assert_eq!((hcm.limits.head_bytes, hcm.limits.headers, hcm.max_requests), (7 * 1024, 8, 9));
    assert_eq!((seconds(hcm.idle_timeout), seconds(hcm.max_stream_duration), hcm.max_streams), (10, 11, 12));
    assert_eq!((hcm.head_timeout.as_secs(), seconds(hcm.request_timeout)), (13, 14));
    assert_eq!((seconds(hcm.stream_idle_timeout), hcm.trusted_hops), (15, 16));
    let many = of(json!({"http2_protocol_options": {"max_concurrent_streams": 2_147_483_647}}));
    assert_eq!(many.max_streams, 1024);
    assert_eq!(of(json!({"max_request_headers_kb": 8193})).limits.head_bytes, 8192 * 1024);
}

#[test]
fn zero_means_no_limit_but_for_heads() {
    let hcm = of(json!({
        "common_http_protocol_options": {"idle_timeout": "0s", "max_stream_duration": "0s"},
        "request_headers_timeout": "0s", "request_timeout": "0s", "stream_idle_timeout": "0s",
    }));
    assert_eq!((hcm.idle_timeout, hcm.max_stream_duration), (None, None));
    assert_eq!((hcm.request_timeout, hcm.stream_idle_timeout), (None, None));
    assert_eq!(hcm.head_timeout, Duration::from_secs(60));
}

#[test]
fn enums_are_read_by_name() {
    let codec = |name: &str| of(json!({ "codec_type": name })).codec;
    assert_eq!((codec("HTTP1"), codec("HTTP2"), codec("AUTO")), (Codec::Http1, Codec::Http2, Codec::Auto));
    for (name, wanted) in [
        ("SANITIZE", ForwardCert::Sanitize),
        ("FORWARD_ONLY", ForwardCert::ForwardOnly),
        ("APPEND_FORWARD", ForwardCert::AppendForward),
        ("SANITIZE_SET", ForwardCert::SanitizeSet),
        ("ALWAYS_FORWARD_ONLY", ForwardCert::AlwaysForwardOnly),
    ] {
        assert_eq!(of(json!({ "forward_client_cert_details": name })).forward_cert, wanted);
    }
    for (name, wanted) in [
        ("OVERWRITE", ServerHeader::Overwrite),
        ("APPEND_IF_ABSENT", ServerHeader::AppendIfAbsent),
        ("PASS_THROUGH", ServerHeader::PassThrough),
    ] {
        assert_eq!(of(json!({ "server_header_transformation": name })).server_header, wanted);
    }
    for (name, wanted) in [
        ("ALLOW", Underscores::Allow),
        ("REJECT_REQUEST", Underscores::Reject),
        ("DROP_HEADER", Underscores::Drop),
    ] {
        let json = json!({"common_http_protocol_options": {"headers_with_underscores_action": name}});
        assert_eq!(of(json).underscores, wanted);
    }
    for (name, wanted) in [
        ("IMPLEMENTATION_SPECIFIC_DEFAULT", EscapedSlashes::Keep),
        ("KEEP_UNCHANGED", EscapedSlashes::Keep),
        ("REJECT_REQUEST", EscapedSlashes::Reject),
        ("UNESCAPE_AND_REDIRECT", EscapedSlashes::UnescapeAndRedirect),
        ("UNESCAPE_AND_FORWARD", EscapedSlashes::UnescapeAndForward),
    ] {
        assert_eq!(of(json!({ "path_with_escaped_slashes_action": name })).escaped_slashes, wanted);
    }
}

#[test]
fn ports_are_cut_off_as_configured() {
    let strip = |json: Value| of(json).strip_port;
    assert_eq!(strip(json!({"strip_any_host_port": true})), StripPort::Any);
    assert_eq!(strip(json!({"strip_any_host_port": false})), StripPort::None);
    assert_eq!(strip(json!({"strip_matching_host_port": true})), StripPort::Matching);
}

#[test]
fn texts_and_lists_are_taken_over() {
    let hcm = of(json!({
        "stat_prefix": "inbound", "server_name": "me", "via": "us",
        "http_protocol_options": {"default_host_for_http_10": "old.example", "enable_trailers": true},
        "upgrade_configs": [{"upgrade_type": "WebSocket"}, {"upgrade_type": "off", "enabled": false}],
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]},
    }));
    assert_eq!((hcm.stat_prefix.as_str(), hcm.default_host_http10.as_str()), ("inbound", "old.example"));
    assert_eq!(
        (&hcm.server_name, hcm.via.as_ref().unwrap()),
        (&HeaderValue::from_static("me"), &HeaderValue::from_static("us"))
    );
    assert_eq!(
        (hcm.trailers, hcm.upgrades, hcm.internal.len()),
        (Trailers::Pass, vec!["websocket".to_owned()], 1)
    );
}

#[test]
fn routes_stand_inside_or_have_a_name() {
    assert_eq!(of(json!({})).route_name(), None);
    let named = of(json!({"route_config": null, "rds": {"route_config_name": "80"}}));
    assert_eq!(named.route_name(), Some("80"));
}

#[test]
fn managers_that_cannot_be_run_are_refused() {
    for (fields, reason) in [
        (json!({"route_config": null}), "no routes"),
        (json!({"route_config": null, "scoped_routes": {"name": "x"}}), "scoped_routes is not supported"),
        (json!({"local_reply_config": {}}), "local_reply_config is not supported"),
        (json!({"codec_type": "HTTP3"}), "HTTP/3 is not supported"),
        (json!({"server_name": "a\nb"}), "server_name: \"a\\nb\" is no header value"),
        (json!({"via": "a\nb"}), "via: \"a\\nb\" is no header value"),
        (json!({"http_filters": []}), "http_filters: the last filter must be the router"),
        (
            json!({"internal_address_config": {"cidr_ranges": [{"address_prefix": "x"}]}}),
            "internal_address_config: \"x\" is not an IP address",
        ),
    ] {
        assert_eq!(compile(fields).unwrap_err().0, reason);
    }
}
