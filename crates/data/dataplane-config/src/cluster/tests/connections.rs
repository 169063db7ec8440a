//! What clusters say about connections to their hosts: discovery, transport, protocol, limits.

use serde_json::{Value, json};

use super::super::*;
use crate::testing::message;
use crate::value::unread;

const SOCKETS: &str = "type.googleapis.com/envoy.extensions.transport_sockets";

fn try_compile(fields: Value) -> Valid<ClusterConfig> {
    let mut from = json!({"name": "c"});
    from.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    ClusterConfig::compile(&message(from), unread)
}

fn compile(fields: Value) -> ClusterConfig {
    try_compile(fields).unwrap()
}

#[test]
fn what_is_not_set_has_envoys_default_or_ours() {
    let plain = compile(json!({}));
    assert_eq!((&*plain.name, plain.discovery.clone()), ("c", Discovery::Static));
    assert_eq!((plain.connect_timeout.as_secs(), plain.idle_timeout), (5, Some(Duration::from_secs(3600))));
    assert_eq!(
        (plain.max_requests_per_connection, plain.max_streams, plain.dns_refresh.as_secs()),
        (0, 1024, 5)
    );
    assert_eq!(plain.max_response_headers, portolan_h1::limits::MAX_HEADERS);
    assert_eq!(
        (plain.header_case, plain.trailers, plain.protocol),
        (HeaderCase::Lower, Trailers::Drop, UpstreamProtocol::Http1)
    );
    assert_eq!((plain.dns_v6, plain.bind_source, plain.keepalive), (None, None, None));
    assert!(plain.outlier.is_none() && plain.service.is_none() && plain.load_assignment.is_none());
    assert!(!plain.close_on_host_change && !plain.is_original_dst());
    assert!(matches!(plain.transports[..], [None]));
}

#[test]
fn what_is_set_is_taken_over() {
    let set = compile(json!({
        "connect_timeout": "3s", "dns_refresh_rate": "7s", "dns_lookup_family": "V4_ONLY",
        "common_lb_config": {"close_connections_on_host_set_change": true},
        "common_http_protocol_options": {"idle_timeout": "8s", "max_headers_count": 9},
        "max_requests_per_connection": 10,
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_probes": 3}},
        "upstream_bind_config": {"source_address": {"address": "10.0.0.9"}},
        "outlier_detection": {},
    }));
    assert_eq!((set.connect_timeout.as_secs(), set.dns_refresh.as_secs(), set.dns_v6), (3, 7, Some(false)));
    assert_eq!((set.idle_timeout, set.max_response_headers), (Some(Duration::from_secs(8)), 9));
    assert_eq!((set.max_requests_per_connection, set.keepalive.unwrap().probes), (10, Some(3)));
    assert_eq!(set.bind_source.unwrap().to_string(), "10.0.0.9:0");
    assert!(set.close_on_host_change && set.outlier.is_some());
    assert_eq!(compile(json!({"dns_lookup_family": "V6_ONLY"})).dns_v6, Some(true));
    assert_eq!(compile(json!({"dns_refresh_rate": "0.01s"})).dns_refresh.as_secs(), 1);
    assert_eq!(compile(json!({"connect_timeout": "0s"})).connect_timeout.as_secs(), 5);
    let common = json!({"idle_timeout": "0s", "max_requests_per_connection": 11});
    let common = compile(json!({"common_http_protocol_options": common, "max_requests_per_connection": 10}));
    assert_eq!((common.idle_timeout, common.max_requests_per_connection), (None, 11));
}

#[test]
fn hosts_come_from_where_the_type_says() {
    let discovery = |fields: Value| compile(fields).discovery;
    assert_eq!(discovery(json!({"type": "STRICT_DNS"})), Discovery::Dns { logical: false });
    assert_eq!(discovery(json!({"type": "LOGICAL_DNS"})), Discovery::Dns { logical: true });
    assert_eq!(
        discovery(json!({"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"})),
        Discovery::OriginalDst
    );
    let eds = |name: &str| discovery(json!({"type": "EDS", "eds_cluster_config": {"service_name": name}}));
    assert_eq!(eds(""), Discovery::Eds { service_name: "c".into() });
    assert_eq!(eds("s"), Discovery::Eds { service_name: "s".into() });
}

#[test]
fn clusters_that_cannot_be_reached_are_refused() {
    let socket = |kind: &str| json!({"name": "t", "typed_config": {"@type": format!("{SOCKETS}.{kind}")}});
    let unsupported =
        "unsupported transport socket envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
    for (fields, reason) in [
        (json!({"name": ""}), "name is empty".to_owned()),
        (json!({"cluster_type": {"name": "x"}}), "unsupported cluster_type \"x\"".into()),
        (json!({"type": "EDS"}), "EDS cluster without eds_cluster_config".into()),
        (json!({"transport_socket": {"name": "t"}}), "transport_socket: \"t\" has no typed_config".into()),
        (
            json!({"transport_socket": socket("tls.v3.DownstreamTlsContext")}),
            format!("transport_socket: {unsupported}"),
        ),
        (
            json!({"transport_socket_matches": [{"name": "m", "transport_socket": socket("tls.v3.DownstreamTlsContext")}]}),
            format!("transport_socket_matches \"m\": {unsupported}"),
        ),
        (
            json!({"upstream_bind_config": {"source_address": {"address": "a.example"}}}),
            "upstream_bind_config: source_address must be an IP address".into(),
        ),
        (
            json!({"typed_extension_protocol_options": {"x": {"@type": format!("{SOCKETS}.raw_buffer.v3.RawBuffer")}}}),
            "unsupported typed_extension_protocol_options \"x\"".into(),
        ),
    ] {
        assert_eq!(try_compile(fields).unwrap_err().0, reason);
    }
}

#[test]
fn an_endpoint_chooses_its_transport_by_its_labels() {
    let tls = |sni: &str| json!({"name": "tls", "typed_config": {"@type": format!("{SOCKETS}.tls.v3.UpstreamTlsContext"), "sni": sni}});
    let raw = json!({"name": "raw", "typed_config": {"@type": format!("{SOCKETS}.raw_buffer.v3.RawBuffer")}});
    let config = compile(json!({
        "transport_socket": raw,
        "transport_socket_matches": [
            {"name": "mutual", "match": {"tlsMode": "istio", "zone": "a"}, "transport_socket": tls("a.example")},
            {"name": "tls", "match": {"tlsMode": "istio"}, "transport_socket": tls("b.example")},
        ],
    }));
    let sni: Vec<_> = config
        .transports
        .iter()
        .map(|one| one.as_ref().map(|one| one.sni.clone().unwrap().to_str().into_owned()))
        .collect();
    assert_eq!(sni, [None, Some("a.example".to_owned()), Some("b.example".to_owned())]);
    let of = |labels: Value| {
        let metadata = message(json!({"filter_metadata": {"envoy.transport_socket_match": labels}}));
        config.transport_for(Some(&metadata))
    };
    assert_eq!(of(json!({"tlsMode": "istio", "zone": "a"})), 1);
    assert_eq!(of(json!({"tlsMode": "istio", "zone": "b"})), 2);
    assert_eq!(of(json!({"tlsMode": "disabled"})), 0);
    assert_eq!(config.transport_for(None), 0);
    let all = compile(
        json!({"transport_socket_matches": [{"name": "all", "match": {}, "transport_socket": tls("c.example")}]}),
    );
    assert_eq!(all.transport_for(None), 1);
}

fn options(fields: Value) -> ClusterConfig {
    compile(with(fields))
}

fn with(fields: Value) -> Value {
    let mut config = fields;
    config["@type"] = json!("type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions");
    json!({"typed_extension_protocol_options": {"http": config}})
}

#[test]
fn the_protocol_is_configured_in_old_fields_and_new() {
    let h1 = json!({"header_key_format": {"proper_case_words": {}}, "enable_trailers": true});
    let h2 = json!({"max_concurrent_streams": 7});
    let seen =
        |config: ClusterConfig| (config.protocol, config.header_case, config.trailers, config.max_streams);
    let (lower, proper) = (HeaderCase::Lower, HeaderCase::ProperWords);
    use Trailers::{Drop, Pass};
    use UpstreamProtocol::{AsDownstream, Auto, Http1, Http2};
    let both = json!({"http_protocol_options": h1, "http2_protocol_options": h2});
    for (config, wanted) in [
        (compile(json!({"http2_protocol_options": h2})), (Http2, lower, Drop, 7)),
        (compile(json!({"http2_protocol_options": {}})), (Http2, lower, Drop, 1024)),
        (compile(json!({"http_protocol_options": h1})), (Http1, proper, Pass, 1024)),
        (
            compile(json!({"protocol_selection": "USE_DOWNSTREAM_PROTOCOL"})),
            (AsDownstream, lower, Drop, 1024),
        ),
        (options(json!({"explicit_http_config": {"http2_protocol_options": h2}})), (Http2, lower, Drop, 7)),
        (
            options(json!({"explicit_http_config": {"http_protocol_options": h1}})),
            (Http1, proper, Pass, 1024),
        ),
        (options(json!({"explicit_http_config": {}})), (Http1, lower, Drop, 1024)),
        (options(json!({"use_downstream_protocol_config": both})), (AsDownstream, proper, Pass, 7)),
        (options(json!({"auto_config": both})), (Auto, proper, Pass, 7)),
        (options(json!({})), (Http1, lower, Drop, 1024)),
    ] {
        assert_eq!(seen(config), wanted);
    }
    let common = options(json!({"common_http_protocol_options": {"max_requests_per_connection": 3}}));
    assert_eq!(common.max_requests_per_connection, 3);
    let explicit = with(json!({"explicit_http_config": {"http3_protocol_options": {}}}));
    assert_eq!(try_compile(explicit).unwrap_err().0, "HTTP/3 is not supported");
    assert_eq!(
        try_compile(with(json!({"http_filters": [{}]}))).unwrap_err().0,
        "upstream http_filters are not supported"
    );
}

#[test]
fn a_cluster_stands_for_a_service() {
    let of = |fields: Value| {
        compile(fields).service.map(|one| format!("{} {} {}", one.host, one.name, one.namespace))
    };
    let istio = |services: Value| json!({"metadata": {"filter_metadata": {"istio": {"services": services}}}});
    let whole = json!([{"host": "h", "name": "n", "namespace": "ns"}]);
    assert_eq!(of(istio(whole)).as_deref(), Some("h n ns"));
    assert_eq!(of(istio(json!([{}]))).as_deref(), Some("unknown unknown unknown"));
    assert_eq!(of(istio(json!([]))), None);
    let named = |name: &str| of(json!({ "name": name }));
    assert_eq!(
        named("outbound|80|v1|reviews.bookinfo.svc.cluster.local").as_deref(),
        Some("reviews.bookinfo.svc.cluster.local reviews bookinfo")
    );
    assert_eq!(named("outbound|80||single").as_deref(), Some("single single unknown"));
    assert_eq!((named("outbound|80||"), named("plain")), (None, None));
}
