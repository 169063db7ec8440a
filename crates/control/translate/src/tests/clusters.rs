//! Clusters of services: how their endpoints are found, what they speak, and with which TLS.

use portolan_mesh::ProxyNode;
use portolan_xds::type_url;
use serde_json::{Value, json};

use super::mesh::{Mesh, at, gateway, list, sidecar};

const HTTP: &str = "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

const SERVICES: &str = "
kind: Service
metadata: {name: a, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}
---
kind: Service
metadata: {name: peers, namespace: shop}
spec: {clusterIP: None, ports: [{name: tcp, port: 80}]}
---
kind: ServiceEntry
metadata: {name: anywhere, namespace: shop}
spec: {hosts: [anywhere.example], ports: [{number: 80, name: tcp, protocol: TCP}]}
---
kind: ServiceEntry
metadata: {name: named, namespace: shop}
spec: {hosts: [named.example, '*.wild.example'], ports: [{number: 80, name: tcp, protocol: TCP}], resolution: DNS}
";

fn rule(host: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["host"] = json!(host);
    json!({"kind": "DestinationRule", "metadata": {"name": "r", "namespace": "shop"}, "spec": spec})
}

#[test]
fn a_cluster_of_a_service_in_full() {
    let tls = |kind: &str| json!({"name": "envoy.transport_sockets.tls", "typed_config": kind});
    let mut found = Mesh::of(SERVICES).seen_by_sidecar().cluster("outbound|80||a.shop.svc.cluster.local");
    // What is in the TLS context is shown by other tests.
    found["transport_socket_matches"][0]["transport_socket"]["typed_config"] = json!("mesh");
    let limits = u32::MAX;
    assert_eq!(
        found,
        json!({
            "name": "outbound|80||a.shop.svc.cluster.local",
            "type": "EDS",
            "eds_cluster_config": {
                "eds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
                "service_name": "outbound|80||a.shop.svc.cluster.local",
            },
            "connect_timeout": "10s",
            "circuit_breakers": {"thresholds": [{
                "max_connections": limits, "max_pending_requests": limits, "max_requests": limits,
                "max_retries": limits, "track_remaining": true,
            }]},
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions":
                    {"explicit_http_config": {"http_protocol_options": {}}},
            },
            "transport_socket_matches": [
                {"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transport_socket": tls("mesh")},
                {"name": "tlsMode-disabled", "match": {}, "transport_socket":
                    {"name": "envoy.transport_sockets.raw_buffer", "typed_config": {}}},
            ],
            "metadata": {"filter_metadata": {"istio": {"services": [
                {"host": "a.shop.svc.cluster.local", "name": "a", "namespace": "shop"},
            ]}}},
        })
    );
}

#[test]
fn clusters_name_the_rule_and_the_subset_that_made_them() {
    let subset = rule("a", json!({"subsets": [{"name": "v1"}]}));
    let seen = Mesh::of(SERVICES).and(subset).seen_by_sidecar();
    for (name, subset) in [("", Value::Null), ("v1", json!("v1"))] {
        let cluster = seen.cluster(&format!("outbound|80|{name}|a.shop.svc.cluster.local"));
        let istio = at(&cluster, "/metadata/filter_metadata/istio");
        assert_eq!(istio["subset"], subset);
        assert_eq!(istio["config"], "/apis/networking.istio.io/v1alpha3/namespaces/shop/destination-rule/r");
    }
}

#[test]
fn proxies_have_the_clusters_that_stand_for_no_service() {
    let original = |name: &str| {
        let limits = u32::MAX;
        json!({
            "name": name, "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "10s",
            "circuit_breakers": {"thresholds": [{
                "max_connections": limits, "max_pending_requests": limits, "max_requests": limits,
                "max_retries": limits, "track_remaining": true,
            }]},
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"use_downstream_protocol_config": {
                    "http_protocol_options": {},
                    "http2_protocol_options": {"max_concurrent_streams": 1_073_741_824},
                }},
            },
        })
    };
    let black_hole = json!({"name": "BlackHoleCluster", "type": "STATIC", "connect_timeout": "10s"});
    let mut inbound = original("InboundPassthroughClusterIpv4");
    inbound["upstream_bind_config"] = json!({"source_address": {"address": "127.0.0.6", "port_value": 0}});
    for (node, expected) in [
        (sidecar(), vec![black_hole.clone(), original("PassthroughCluster"), inbound]),
        (gateway(), vec![black_hole]),
    ] {
        let seen = Mesh::of("").seen_by(node);
        let found: Vec<Value> = seen.names(type_url::CLUSTER).iter().map(|name| seen.cluster(name)).collect();
        let typed = |c: &Value| {
            let mut c = c.clone();
            // STATIC is the default, which is left out.
            c.as_object_mut().unwrap().entry("type").or_insert(json!("STATIC"));
            c
        };
        assert_eq!(found.iter().map(typed).collect::<Vec<_>>(), expected);
    }
}

/// A gateway has no original destination, so it balances over the Pods of a headless service.
#[test]
fn endpoints_are_found_as_the_service_says() {
    for (node, name, expected) in [
        (sidecar(), "outbound|80||a.shop.svc.cluster.local", "EDS"),
        (sidecar(), "outbound|80||peers.shop.svc.cluster.local", "ORIGINAL_DST"),
        (sidecar(), "outbound|80||anywhere.example", "ORIGINAL_DST"),
        (sidecar(), "outbound|80||named.example", "STRICT_DNS"),
        (gateway(), "outbound|80||peers.shop.svc.cluster.local", "EDS"),
        (gateway(), "outbound|80||anywhere.example", "ORIGINAL_DST"),
    ] {
        let cluster = Mesh::of(SERVICES).seen_by(node).cluster(name);
        assert_eq!(cluster["type"], expected, "{name}");
        assert_eq!(cluster["eds_cluster_config"].is_null(), expected != "EDS", "{name}");
        let provided = cluster["lb_policy"] == "CLUSTER_PROVIDED";
        assert_eq!(provided, expected == "ORIGINAL_DST", "{name}");
    }
}

#[test]
fn a_host_that_dns_cannot_know_has_no_cluster() {
    let found = Mesh::of(SERVICES).seen_by_sidecar().find(type_url::CLUSTER, "outbound|80||*.wild.example");
    assert_eq!(found, Value::Null);
}

#[test]
fn a_cluster_by_dns_carries_its_endpoints() {
    let cluster = Mesh::of(SERVICES).seen_by_sidecar().cluster("outbound|80||named.example");
    assert_eq!(cluster["dns_lookup_family"], "V4_ONLY");
    assert_eq!(
        at(&cluster, "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address"),
        json!({"address": "named.example", "port_value": 80})
    );
}

/// Envoy logs a warning for each cluster that sets the rate.
#[test]
fn the_rate_of_dns_is_set_where_it_is_not_the_default() {
    for (rate, expected) in [
        (json!("5s"), json!(null)),
        (json!("0s"), json!(null)),
        (json!("0.0005s"), json!(null)),
        (json!("0.001s"), json!("0.001s")),
        (json!("60s"), json!("60s")),
    ] {
        let mesh = Mesh::of(SERVICES).with(json!({"dnsRefreshRate": rate}));
        let cluster = mesh.seen_by_sidecar().cluster("outbound|80||named.example");
        assert_eq!(cluster["dns_refresh_rate"], expected, "{rate}");
    }
}

#[test]
fn what_is_spoken_is_what_the_port_says() {
    let http1 = json!({"http_protocol_options": {}});
    let http2 = json!({"http2_protocol_options": {"max_concurrent_streams": 1_073_741_824}});
    let none = Value::Null;
    for (protocol, tls, expected, alpn) in [
        ("HTTP", None, &http1, "istio-http/1.1"),
        ("HTTP2", None, &http2, "istio-h2"),
        ("GRPC", None, &http2, "istio-h2"),
        ("TCP", None, &none, "istio-peer-exchange"),
        ("HTTPS", None, &none, "istio-peer-exchange"),
        ("HTTPS", Some("DISABLE"), &none, ""),
        ("HTTPS", Some("SIMPLE"), &http1, ""),
        ("GRPC", Some("SIMPLE"), &http2, "h2"),
        ("TCP", Some("SIMPLE"), &none, ""),
    ] {
        let entry = json!({"kind": "ServiceEntry", "metadata": {"name": "s", "namespace": "shop"}, "spec": {
            "hosts": ["s.example"], "ports": [{"number": 80, "name": "p", "protocol": protocol}],
            "resolution": "STATIC", "location": "MESH_INTERNAL"}});
        let policy = tls.map_or(json!({}), |mode| json!({"tls": {"mode": mode}}));
        let mesh = Mesh::of("").and(entry).and(rule("s.example", json!({"trafficPolicy": policy})));
        let cluster = mesh.seen_by_sidecar().cluster("outbound|80||s.example");
        let case = format!("{protocol} {tls:?}");
        assert_eq!(at(&cluster, &format!("{HTTP}/explicit_http_config")), *expected, "{case}");
        let socket = match tls {
            None => &cluster["transport_socket_matches"][0]["transport_socket"],
            Some(_) => &cluster["transport_socket"],
        };
        let found = &socket["typed_config"]["common_tls_context"]["alpn_protocols"][0];
        assert_eq!(found.as_str().unwrap_or_default(), alpn, "{case}");
    }
}

#[test]
fn undeclared_protocols_are_kept_as_the_client_speaks() {
    let mesh = Mesh::of(
        "{kind: Service, metadata: {name: a, namespace: shop}, spec: {clusterIP: 10.96.0.1, ports: [{name: x, port: 80}]}}",
    );
    let cluster = mesh.seen_by_sidecar().cluster("outbound|80||a.shop.svc.cluster.local");
    assert!(at(&cluster, HTTP)["use_downstream_protocol_config"].is_object(), "{cluster:#}");
    let socket = &cluster["transport_socket_matches"][0]["transport_socket"]["typed_config"];
    assert_eq!(socket["common_tls_context"]["alpn_protocols"], json!(["istio-peer-exchange", "istio"]));
}

/// SNI, accepted names and whether a client certificate is shown, of a cluster that has one TLS for all endpoints.
fn always(cluster: &Value) -> Value {
    let context = &cluster["transport_socket"]["typed_config"];
    let common = &context["common_tls_context"];
    let names: Vec<Value> = list(
        &common["combined_validation_context"]["default_validation_context"]["match_typed_subject_alt_names"],
    )
    .iter()
    .map(|name| name["matcher"]["exact"].clone())
    .collect();
    let own = !common["tls_certificate_sds_secret_configs"].is_null();
    json!([context["sni"], names, own])
}

#[test]
fn tls_is_as_the_rule_has_it() {
    let entry = json!({"kind": "ServiceEntry", "metadata": {"name": "s", "namespace": "shop"}, "spec": {
        "hosts": ["s.example", "*.s.example"], "ports": [{"number": 80, "name": "p", "protocol": "TCP"}],
        "resolution": "STATIC", "location": "MESH_INTERNAL", "subjectAltNames": ["spiffe://known"]}});
    for (host, tls, expected) in [
        ("s.example", json!({"mode": "DISABLE"}), json!([null, [], false])),
        (
            "s.example",
            json!({"mode": "ISTIO_MUTUAL"}),
            json!(["outbound_.80_._.s.example", ["spiffe://known"], true]),
        ),
        (
            "s.example",
            json!({"mode": "ISTIO_MUTUAL", "sni": "", "subjectAltNames": []}),
            json!(["outbound_.80_._.s.example", ["spiffe://known"], true]),
        ),
        (
            "s.example",
            json!({"mode": "ISTIO_MUTUAL", "sni": "x", "subjectAltNames": ["spiffe://other"]}),
            json!(["x", ["spiffe://other"], true]),
        ),
        ("s.example", json!({"mode": "SIMPLE"}), json!(["s.example", [], false])),
        ("*.s.example", json!({"mode": "SIMPLE"}), json!([null, [], false])),
        ("s.example", json!({"mode": "MUTUAL", "credentialName": "c"}), json!(["s.example", [], true])),
    ] {
        let mesh = Mesh::of("").and(entry.clone()).and(rule(host, json!({"trafficPolicy": {"tls": tls}})));
        let cluster = mesh.seen_by_sidecar().cluster(&format!("outbound|80||{host}"));
        assert_eq!(always(&cluster), expected, "{host} {tls}");
        assert_eq!(cluster["transport_socket"].is_null(), tls["mode"] == "DISABLE", "{tls}");
        assert_eq!(cluster["transport_socket_matches"], Value::Null, "{tls}");
    }
}

#[test]
fn tls_of_the_mesh_is_automatic_inside_of_the_mesh_unless_it_is_off() {
    for (location, automatic, expected) in [
        ("MESH_INTERNAL", true, 2),
        ("MESH_INTERNAL", false, 0),
        ("MESH_EXTERNAL", true, 0),
        ("MESH_EXTERNAL", false, 0),
    ] {
        let entry = json!({"kind": "ServiceEntry", "metadata": {"name": "s", "namespace": "shop"}, "spec": {
            "hosts": ["s.example"], "ports": [{"number": 80, "name": "p", "protocol": "TCP"}],
            "resolution": "STATIC", "location": location}});
        let mesh = Mesh::of("").and(entry).with(json!({"enableAutoMtls": automatic}));
        let cluster = mesh.seen_by_sidecar().cluster("outbound|80||s.example");
        let found = list(&cluster["transport_socket_matches"]).len();
        assert_eq!(found, expected, "{location} {automatic}");
        assert_eq!(cluster["transport_socket"], Value::Null, "{location} {automatic}");
    }
}

/// An original destination carries no metadata to choose a socket by.
#[test]
fn original_destinations_get_mesh_tls_when_all_of_them_take_it() {
    let mesh = json!({"security.istio.io/tlsMode": "istio"});
    for (endpoints, expected) in [
        (json!([]), false),
        (json!([{"address": "10.1.0.1", "labels": mesh}]), true),
        (json!([{"address": "10.1.0.1", "labels": mesh}, {"address": "10.1.0.2", "labels": mesh}]), true),
        (json!([{"address": "10.1.0.1", "labels": mesh}, {"address": "10.1.0.2"}]), false),
    ] {
        let entry = json!({"kind": "ServiceEntry", "metadata": {"name": "s", "namespace": "shop"}, "spec": {
            "hosts": ["s.example"], "ports": [{"number": 80, "name": "p", "protocol": "TCP"}],
            "resolution": "NONE", "location": "MESH_INTERNAL", "endpoints": endpoints}});
        let cluster = Mesh::of("").and(entry).seen_by_sidecar().cluster("outbound|80||s.example");
        assert_eq!(always(&cluster)[2], expected, "{endpoints}");
        assert_eq!(cluster["transport_socket_matches"], Value::Null, "{endpoints}");
    }
}

/// Clusters that an AUTO_PASSTHROUGH server looks up by SNI carry the client's own TLS.
#[test]
fn gateways_that_ask_for_them_get_clusters_by_sni_without_tls() {
    let with_mode = |mut node: ProxyNode| {
        node.metadata.sni_dnat = true;
        node
    };
    let name = "outbound_.80_._.a.shop.svc.cluster.local";
    for (node, expected) in [(gateway(), false), (with_mode(gateway()), true), (with_mode(sidecar()), false)]
    {
        let found = Mesh::of(SERVICES).seen_by(node).find(type_url::CLUSTER, name);
        assert_eq!(!found.is_null(), expected);
        assert_eq!(
            (&found["transport_socket"], &found["transport_socket_matches"]),
            (&json!(null), &json!(null))
        );
    }
}
