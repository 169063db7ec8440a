//! Clusters of the application beside the proxy.

use portolan_xds::type_url;
use serde_json::{Value, json};

use super::mesh::{Mesh, at, gateway};

const HTTP: &str = "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

#[test]
fn a_cluster_of_a_workload_port_in_full() {
    let mesh = Mesh::of(
        "{kind: Service, metadata: {name: a, namespace: shop}, spec: {clusterIP: 10.96.0.1, selector: {app: web}, \
         ports: [{name: tcp, port: 80, targetPort: 8080}]}}",
    );
    let limits = u32::MAX;
    assert_eq!(
        mesh.seen_by_sidecar().cluster("inbound|8080||"),
        json!({
            "name": "inbound|8080||",
            "type": "STATIC",
            "connect_timeout": "10s",
            "circuit_breakers": {"thresholds": [{
                "max_connections": limits, "max_pending_requests": limits, "max_requests": limits,
                "max_retries": limits, "track_remaining": true,
            }]},
            "load_assignment": {"cluster_name": "inbound|8080||", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}}}},
            ]}]},
            "metadata": {"filter_metadata": {"istio": {"services": [
                {"host": "a.shop.svc.cluster.local", "name": "a", "namespace": "shop"},
            ]}}},
        })
    );
}

#[test]
fn what_is_spoken_is_what_the_port_says() {
    let (explicit, downstream) = ("explicit_http_config", "use_downstream_protocol_config");
    for (name, expected) in [
        ("http", Some((explicit, "http_protocol_options"))),
        ("grpc", Some((explicit, "http2_protocol_options"))),
        ("x", Some((downstream, "http2_protocol_options"))),
        ("tcp", None),
    ] {
        let mesh =
            Mesh::of("").and(json!({"kind": "Service", "metadata": {"name": "a", "namespace": "shop"},
            "spec": {"clusterIP": "10.96.0.1", "selector": {"app": "web"},
                "ports": [{"name": name, "port": 80, "targetPort": 8080}]}}));
        let options = at(&mesh.seen_by_sidecar().cluster("inbound|8080||"), HTTP);
        assert_eq!(options.is_null(), expected.is_none(), "{name}");
        if let Some((config, protocol)) = expected {
            assert!(options[config][protocol].is_object(), "{name}: {options}");
        }
    }
}

#[test]
fn the_oldest_service_says_what_a_shared_port_speaks() {
    let mesh = Mesh::of(
        "
kind: Service
metadata: {name: young, namespace: shop, creationTimestamp: '2021-02-01T00:00:00Z'}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: tcp, port: 80, targetPort: 8080}]}
---
kind: Service
metadata: {name: zold, namespace: shop, creationTimestamp: '2021-01-01T00:00:00Z'}
spec: {clusterIP: 10.96.0.2, selector: {app: web}, ports: [{name: http, port: 81, targetPort: 8080}]}
",
    );
    let cluster = mesh.seen_by_sidecar().cluster("inbound|8080||");
    assert!(at(&cluster, &format!("{HTTP}/explicit_http_config")).is_object());
    let services = at(&cluster, "/metadata/filter_metadata/istio/services");
    assert_eq!((&services[0]["name"], &services[1]["name"]), (&json!("zold"), &json!("young")));
}

#[test]
fn a_sidecar_object_says_where_the_application_listens() {
    let socket =
        |address: &str, port: u16| json!({"socket_address": {"address": address, "port_value": port}});
    for (endpoint, expected) in [
        ("127.0.0.1:9000", socket("127.0.0.1", 9000)),
        ("10.0.0.9:9000", socket("10.0.0.9", 9000)),
        ("127.0.0.1:x", socket("127.0.0.1", 8080)),
        ("", socket("127.0.0.1", 8080)),
        // The application listens on the Pod's address.
        ("0.0.0.0:9000", socket("10.0.0.1", 9000)),
        ("unix:///run/app.sock", json!({"pipe": {"path": "/run/app.sock"}})),
    ] {
        let mesh =
            Mesh::of("").and(json!({"kind": "Sidecar", "metadata": {"name": "s", "namespace": "shop"},
            "spec": {"ingress": [{"port": {"number": 8080, "name": "http", "protocol": "HTTP"},
                "defaultEndpoint": endpoint}]}}));
        let cluster = mesh.seen_by_sidecar().cluster("inbound|8080||");
        let found = at(&cluster, "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address");
        assert_eq!(found, expected, "{endpoint}");
        assert!(at(&cluster, &format!("{HTTP}/explicit_http_config")).is_object(), "{endpoint}");
    }
}

#[test]
fn gateways_have_no_application() {
    let mesh = Mesh::of(
        "{kind: Service, metadata: {name: a, namespace: shop}, spec: {clusterIP: 10.96.0.1, selector: {istio: edge}, \
         ports: [{name: tcp, port: 80, targetPort: 8080}]}}",
    );
    let found = mesh.seen_by(gateway()).find(type_url::CLUSTER, "inbound|8080||");
    assert_eq!(found, Value::Null);
}
