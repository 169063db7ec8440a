//! What is refused, what is ignored, and that nothing is dropped in silence.

use prost::Message as _;

use super::*;
use crate::ignored::Ignored;
use crate::pb::{Any, hcm};

fn fields(kind: Kind, message: &[u8]) -> Vec<&'static str> {
    check(kind, message).unwrap().ignored.iter().map(|Ignored { field, .. }| *field).collect()
}

fn manager(edit: impl FnOnce(&mut hcm::HttpConnectionManager)) -> listener::Listener {
    let mut manager = hcm::HttpConnectionManager {
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(Default::default())),
        http_filters: vec![hcm::HttpFilter {
            name: "router".into(),
            config_type: Some(hcm::http_filter::ConfigType::TypedConfig(Any {
                type_url: "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router".into(),
                ..Default::default()
            })),
            ..Default::default()
        }],
        ..Default::default()
    };
    edit(&mut manager);
    let config = Any {
        type_url: "/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager".into(),
        value: manager.encode_to_vec(),
    };
    listener::Listener {
        name: "l".into(),
        address: Some(crate::pb::core::Address {
            address: Some(crate::pb::core::address::Address::SocketAddress(crate::pb::core::SocketAddress {
                address: "127.0.0.1".into(),
                ..Default::default()
            })),
        }),
        filter_chains: vec![listener::FilterChain {
            filters: vec![listener::Filter {
                name: "http".into(),
                config_type: Some(listener::filter::ConfigType::TypedConfig(config)),
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn verbose_spans_and_retry_priorities_are_listed_as_ignored() {
    let tracing = hcm::http_connection_manager::Tracing { verbose: true, ..Default::default() };
    let message = manager(|manager| manager.tracing = Some(tracing));
    assert_eq!(fields(Kind::Listener, &message.encode_to_vec()), ["HttpConnectionManager.Tracing.verbose"]);
    let policy = route::RetryPolicy { retry_priority: Some(Default::default()), ..Default::default() };
    let host = route::VirtualHost { retry_policy: Some(policy), ..Default::default() };
    let message = route::RouteConfiguration { virtual_hosts: vec![host], ..Default::default() };
    assert_eq!(fields(Kind::Routes, &message.encode_to_vec()), ["RetryPolicy.retry_priority"]);
}

#[test]
fn what_an_authorization_server_is_not_told_is_listed() {
    let authz = crate::pb::ext_authz::ExtAuthz {
        services: Some(crate::pb::ext_authz::ext_authz::Services::HttpService(
            crate::pb::ext_authz::HttpService {
                server_uri: Some(crate::pb::core::HttpUri {
                    http_upstream_type: Some(crate::pb::core::http_uri::HttpUpstreamType::Cluster(
                        "a".into(),
                    )),
                    timeout: Some(Default::default()),
                    ..Default::default()
                }),
                ..Default::default()
            },
        )),
        include_peer_certificate: true,
        ..Default::default()
    };
    let config = Any {
        type_url: "/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz".into(),
        value: authz.encode_to_vec(),
    };
    let filter = hcm::HttpFilter {
        name: "authz".into(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    };
    let message = manager(|manager| manager.http_filters.insert(0, filter));
    assert_eq!(fields(Kind::Listener, &message.encode_to_vec()), ["ExtAuthz.include_peer_certificate"]);
}

#[test]
fn what_is_plain_ignores_nothing() {
    assert!(fields(Kind::Listener, &manager(|_| {}).encode_to_vec()).is_empty());
}

#[test]
fn what_changes_who_a_client_is_taken_for_is_refused() {
    let message = manager(|manager| manager.original_ip_detection_extensions = vec![Default::default()]);
    let error = check(Kind::Listener, &message.encode_to_vec()).unwrap_err().0;
    assert!(error.ends_with("original_ip_detection_extensions is not supported"), "{error}");
    let mut message = manager(|_| {});
    message.filter_chains[0].use_proxy_proto = Some(Default::default());
    let error = check(Kind::Listener, &message.encode_to_vec()).unwrap_err().0;
    assert!(error.ends_with("use_proxy_proto is not supported"), "{error}");
}

#[test]
fn numbers_that_no_enum_has_are_refused() {
    for edit in [
        (|manager| manager.server_header_transformation = 9) as fn(&mut hcm::HttpConnectionManager),
        |manager| manager.path_with_escaped_slashes_action = 9,
        |manager| {
            manager.common_http_protocol_options.get_or_insert_default().headers_with_underscores_action = 9;
        },
    ] {
        let error = check(Kind::Listener, &manager(edit).encode_to_vec()).unwrap_err().0;
        assert!(error.ends_with("9 is unknown"), "{error}");
    }
}

#[test]
fn kinds_have_type_urls() {
    for kind in Kind::ALL {
        assert_eq!(Kind::of_type_url(&format!("type.googleapis.com/{}", kind.message())), Some(kind));
    }
    assert_eq!(Kind::of_type_url("type.googleapis.com/google.protobuf.Struct"), None);
}

#[test]
fn fields_that_are_set_to_nothing_are_not_ignored() {
    let fields = |json: serde_json::Value| {
        let from: crate::pb::cluster::Cluster = crate::testing::message(json);
        fields(Kind::Cluster, &from.encode_to_vec())
    };
    use serde_json::json;
    assert_eq!(fields(json!({"name": "c"})), [""; 0]);
    assert_eq!(fields(json!({"name": "c", "alt_stat_name": "x"})), ["Cluster.alt_stat_name"]);
    assert_eq!(fields(json!({"name": "c", "respect_dns_ttl": true})), ["Cluster.respect_dns_ttl"]);
    assert_eq!(fields(json!({"name": "c", "health_checks": [{}, {}]})), ["Cluster.health_checks"]);
    let options = json!({"name": "c", "common_http_protocol_options": {"max_connection_duration": "1s"}});
    assert_eq!(fields(options), ["HttpProtocolOptions.max_connection_duration"]);
}

#[test]
fn what_tcp_proxies_and_inline_routes_ignore_is_listed() {
    let listener = |filter: serde_json::Value| {
        let from: listener::Listener = crate::testing::message(serde_json::json!({
            "name": "l", "address": {"socket_address": {"address": "127.0.0.1"}}, "drain_type": "MODIFY_ONLY",
            "filter_chains": [{"filters": [{"name": "f", "typed_config": filter}]}],
        }));
        fields(Kind::Listener, &from.encode_to_vec())
    };
    let network = "type.googleapis.com/envoy.extensions.filters.network";
    let tcp = serde_json::json!({
        "@type": format!("{network}.tcp_proxy.v3.TcpProxy"), "stat_prefix": "t", "cluster": "c", "on_demand": {},
    });
    assert_eq!(listener(tcp), ["Listener.drain_type", "TcpProxy.on_demand"]);
    let router =
        serde_json::json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"});
    let http = serde_json::json!({
        "@type": format!("{network}.http_connection_manager.v3.HttpConnectionManager"),
        "route_config": {"validate_clusters": true},
        "http_filters": [{"name": "router", "typed_config": router}],
    });
    assert_eq!(listener(http), ["Listener.drain_type", "RouteConfiguration.validate_clusters"]);
}

#[test]
fn what_is_ignored_is_shown_with_its_reason() {
    let one = Ignored { field: "A.b", reason: "why" };
    assert_eq!(one.to_string(), "A.b: why");
}
