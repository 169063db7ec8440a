//! HTTP connection managers on each side of the mesh.

use portolan_mesh::ProxyNode;
use serde_json::{Value, json};

use super::mesh::{Mesh, filter, gateway, list, sidecar};

const MESH: &str = "
kind: Service
metadata: {name: a, namespace: shop}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
kind: Gateway
metadata: {name: g, namespace: shop}
spec: {selector: {istio: edge}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Outbound,
    Inbound,
    Gateway,
}

fn manager_of(side: Side, settings: Value, change: impl FnOnce(&mut ProxyNode)) -> Value {
    let mut node = if side == Side::Gateway { gateway() } else { sidecar() };
    change(&mut node);
    let seen = Mesh::of(MESH).with(settings).seen_by(node);
    let listener = seen.listener(if side == Side::Inbound { "virtualInbound" } else { "0.0.0.0_80" });
    let chains = list(&listener["filter_chains"]);
    let served = |c: &&Value| side != Side::Inbound || c["filter_chain_match"]["destination_port"] == 8080;
    filter(&chains.iter().find(served).unwrap()["filters"], "http_connection_manager").clone()
}

fn manager(side: Side, settings: Value) -> Value {
    manager_of(side, settings, |_| ())
}

fn names(manager: &Value) -> Vec<&str> {
    let names = list(&manager["http_filters"]).iter().filter_map(|f| f["name"].as_str());
    names.map(|n| n.trim_start_matches("envoy.filters.http.")).collect()
}

#[test]
fn the_connection_manager_of_a_gateway_in_full() {
    let mut found = manager(Side::Gateway, json!({}));
    assert_eq!(
        names(&found),
        ["istio.metadata_exchange", "istio.alpn", "cors", "fault", "istio.stats", "router"]
    );
    found["http_filters"] = json!("shown above");
    assert_eq!(
        found,
        json!({
            "stat_prefix": "outbound_0.0.0.0_80",
            "rds": {
                "config_source": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
                "route_config_name": "http.80",
            },
            "http_filters": "shown above",
            "tracing": {
                "client_sampling": {"value": 100.0},
                "random_sampling": {"value": 1.0},
                "overall_sampling": {"value": 100.0},
                "max_path_tag_length": 256,
            },
            "server_name": "istio-envoy",
            "use_remote_address": true,
            "forward_client_cert_details": "SANITIZE_SET",
            "set_current_client_cert_details": {"subject": true, "cert": true, "uri": true},
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "stream_idle_timeout": "0s",
            "normalize_path": true,
            "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        })
    );
}

#[test]
fn each_side_treats_the_clients_certificate_and_address_in_its_way() {
    for (side, expected) in [
        (Side::Outbound, json!(["outbound_0.0.0.0_80", null, false, null, null])),
        (
            Side::Inbound,
            json!(["inbound_0.0.0.0_8080", "istio-envoy", false, "APPEND_FORWARD",
                {"subject": true, "dns": true, "uri": true}]),
        ),
        (
            Side::Gateway,
            json!(["outbound_0.0.0.0_80", "istio-envoy", true, "SANITIZE_SET",
                {"subject": true, "cert": true, "uri": true}]),
        ),
    ] {
        let m = manager(side, json!({}));
        let found = json!([
            m["stat_prefix"],
            m["server_name"],
            m["use_remote_address"],
            m["forward_client_cert_details"],
            m["set_current_client_cert_details"]
        ]);
        assert_eq!(found, expected, "{side:?}");
    }
}

/// ALPN is chosen for requests that leave; a stock Envoy has none of Istio's filters.
#[test]
fn filters_are_those_of_the_side_and_the_data_plane() {
    let envoy = |node: &mut ProxyNode| node.metadata.dialect = portolan_mesh::Dialect::Envoy;
    let ours = ["istio.metadata_exchange", "istio.alpn", "cors", "fault", "istio.stats", "router"];
    let inbound = ["istio.metadata_exchange", "cors", "fault", "istio.stats", "router"];
    assert_eq!(names(&manager(Side::Outbound, json!({}))), ours);
    assert_eq!(names(&manager(Side::Inbound, json!({}))), inbound);
    for side in [Side::Outbound, Side::Inbound, Side::Gateway] {
        assert_eq!(names(&manager_of(side, json!({}), envoy)), ["cors", "fault", "router"], "{side:?}");
    }
}

#[test]
fn a_gateway_is_told_what_stands_in_front_of_it() {
    for (topology, hops, details) in [
        (json!({}), json!(null), "SANITIZE_SET"),
        (json!({"numTrustedProxies": 2}), json!(2), "SANITIZE_SET"),
        (json!({"forwardClientCertDetails": "SANITIZE_SET"}), json!(null), "SANITIZE_SET"),
        (json!({"forwardClientCertDetails": "FORWARD_ONLY"}), json!(null), "FORWARD_ONLY"),
        (json!({"forwardClientCertDetails": "APPEND_FORWARD"}), json!(null), "APPEND_FORWARD"),
        (json!({"forwardClientCertDetails": "ALWAYS_FORWARD_ONLY"}), json!(null), "ALWAYS_FORWARD_ONLY"),
        (json!({"forwardClientCertDetails": "SANITIZE"}), json!(null), "SANITIZE"),
    ] {
        let found = manager(Side::Gateway, json!({"defaultConfig": {"gatewayTopology": topology}}));
        assert_eq!(found["xff_num_trusted_hops"], hops, "{topology}");
        // SANITIZE is Envoy's default, which is left out.
        let shown = found["forward_client_cert_details"].as_str().unwrap_or("SANITIZE");
        assert_eq!(shown, details, "{topology}");
    }
}

#[test]
fn paths_are_normalized_as_far_as_the_mesh_wants() {
    for (normalization, expected) in [
        ("DEFAULT", json!([true, null, "KEEP_UNCHANGED"])),
        ("NONE", json!([false, null, "KEEP_UNCHANGED"])),
        ("BASE", json!([true, null, "KEEP_UNCHANGED"])),
        ("MERGE_SLASHES", json!([true, true, "KEEP_UNCHANGED"])),
        ("DECODE_AND_MERGE_SLASHES", json!([true, true, "UNESCAPE_AND_FORWARD"])),
    ] {
        let m = manager(Side::Inbound, json!({"pathNormalization": {"normalization": normalization}}));
        let found = json!([m["normalize_path"], m["merge_slashes"], m["path_with_escaped_slashes_action"]]);
        assert_eq!(found, expected, "{normalization}");
    }
}

#[test]
fn old_http_is_accepted_where_the_proxy_asks_for_it() {
    for http10 in [false, true] {
        let m = manager_of(Side::Inbound, json!({}), |node| node.metadata.http10 = http10);
        let expected = if http10 { json!({"accept_http_10": true}) } else { Value::Null };
        assert_eq!(m["http_protocol_options"], expected);
    }
}

#[test]
fn traces_are_sampled_as_the_mesh_wants() {
    for (settings, sampling, longest) in [
        (json!({}), json!(1.0), json!(256)),
        (json!({"defaultConfig": {"tracing": {}}}), json!(1.0), json!(256)),
        (
            json!({"defaultConfig": {"tracing": {"sampling": 50.5, "maxPathTagLength": 9}}}),
            json!(50.5),
            json!(9),
        ),
        (json!({"defaultConfig": {"tracing": {"sampling": 101.0}}}), json!(100.0), json!(256)),
        (json!({"enableTracing": false}), json!(null), json!(null)),
    ] {
        let tracing = &manager(Side::Outbound, settings.clone())["tracing"];
        let found = (&tracing["random_sampling"]["value"], &tracing["max_path_tag_length"]);
        assert_eq!(found, (&sampling, &longest), "{settings}");
        assert_eq!(tracing.is_null(), sampling.is_null(), "{settings}");
    }
}

#[test]
fn requests_are_logged() {
    let m = manager(Side::Outbound, json!({"accessLogFile": "/log"}));
    assert_eq!(m["access_log"][0]["typed_config"]["path"], "/log");
}
