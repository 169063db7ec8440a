//! What a DestinationRule's traffic policy makes of a cluster.

use serde_json::{Value, json};

use super::mesh::{Mesh, at};

const SERVICE: &str = "
kind: Service
metadata: {name: a, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}, {name: tcp, port: 81}, {name: auto, port: 82}]}
---
kind: ServiceEntry
metadata: {name: anywhere, namespace: shop}
spec: {hosts: [anywhere.example], ports: [{number: 80, name: tcp, protocol: TCP}], location: MESH_EXTERNAL}
---
kind: ServiceEntry
metadata: {name: named, namespace: shop}
spec: {hosts: [named.example], ports: [{number: 80, name: tcp, protocol: TCP}], resolution: DNS, location: MESH_EXTERNAL}
";
const HTTP: &str = "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const UNLIMITED: u32 = u32::MAX;

fn mesh_with_rule(host: &str, policy: &Value) -> Mesh {
    Mesh::of(SERVICE).and(json!({
        "kind": "DestinationRule", "metadata": {"name": "r", "namespace": "shop"},
        "spec": {"host": host, "trafficPolicy": policy},
    }))
}

/// The cluster of a port of the service `a` with this policy.
fn on_port(port: u16, policy: &Value) -> Value {
    let name = format!("outbound|{port}||a.shop.svc.cluster.local");
    mesh_with_rule("a", policy).seen_by_sidecar().cluster(&name)
}

/// The same with these settings of the mesh.
fn in_mesh(settings: Value, policy: &Value) -> Value {
    let mesh = mesh_with_rule("a", policy).with(settings);
    mesh.seen_by_sidecar().cluster("outbound|80||a.shop.svc.cluster.local")
}

#[test]
fn limits_are_the_ones_of_the_pool_and_zero_is_no_limit() {
    for (pool, [connections, pending, requests, retries]) in [
        (json!({}), [UNLIMITED; 4]),
        (
            json!({"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 2, "http2MaxRequests": 3, "maxRetries": 4}}),
            [1, 2, 3, 4],
        ),
        (
            json!({"tcp": {"maxConnections": 0}, "http": {"http1MaxPendingRequests": 0, "http2MaxRequests": 0, "maxRetries": 0}}),
            [UNLIMITED; 4],
        ),
        (json!({"tcp": {"maxConnections": -1}}), [UNLIMITED; 4]),
    ] {
        let cluster = on_port(80, &json!({"connectionPool": pool}));
        let expected = json!({"thresholds": [{
            "max_connections": connections, "max_pending_requests": pending, "max_requests": requests,
            "max_retries": retries, "track_remaining": true,
        }]});
        assert_eq!(cluster["circuit_breakers"], expected, "{pool}");
    }
}

#[test]
fn the_time_to_connect_is_the_pools_then_the_meshs() {
    let own = json!({"connectionPool": {"tcp": {"connectTimeout": "3s"}}});
    for (settings, policy, expected) in [
        (json!({}), json!({}), "10s"),
        (json!({"connectTimeout": "4s"}), json!({}), "4s"),
        (json!({"connectTimeout": "4s"}), json!({"connectionPool": {"tcp": {"maxConnections": 1}}}), "4s"),
        (json!({"connectTimeout": "4s"}), own, "3s"),
    ] {
        assert_eq!(in_mesh(settings, &policy)["connect_timeout"], expected, "{policy}");
    }
}

#[test]
fn connections_end_by_idle_time_and_number_of_requests() {
    for (http, expected) in [
        (json!({}), json!(null)),
        (json!({"maxRequestsPerConnection": 0}), json!(null)),
        (json!({"maxRequestsPerConnection": 4}), json!({"max_requests_per_connection": 4})),
        (json!({"idleTimeout": "5s"}), json!({"idle_timeout": "5s"})),
        (
            json!({"idleTimeout": "5s", "maxRequestsPerConnection": 4}),
            json!({"idle_timeout": "5s", "max_requests_per_connection": 4}),
        ),
    ] {
        let cluster = on_port(80, &json!({"connectionPool": {"http": http}}));
        assert_eq!(at(&cluster, &format!("{HTTP}/common_http_protocol_options")), expected, "{http}");
    }
}

#[test]
fn keep_alive_is_the_pools_then_the_meshs_and_zero_is_the_systems() {
    let mesh = json!({"tcpKeepalive": {"probes": 9}});
    let of_pool = |keepalive: Value| json!({"connectionPool": {"tcp": {"tcpKeepalive": keepalive}}});
    for (settings, policy, expected) in [
        (json!({}), json!({}), json!(null)),
        (mesh.clone(), json!({}), json!({"tcp_keepalive": {"keepalive_probes": 9}})),
        (
            mesh.clone(),
            of_pool(json!({"probes": 3, "time": "7200s", "interval": "75s"})),
            json!({"tcp_keepalive": {
                "keepalive_probes": 3, "keepalive_time": 7200, "keepalive_interval": 75}}),
        ),
        (mesh, of_pool(json!({"probes": 0, "time": "0s", "interval": "0s"})), json!({"tcp_keepalive": {}})),
    ] {
        assert_eq!(in_mesh(settings, &policy)["upstream_connection_options"], expected, "{policy}");
    }
}

#[test]
fn http_2_is_spoken_where_the_rule_or_else_the_mesh_upgrades() {
    let policy = |upgrade: &str| json!({"connectionPool": {"http": {"h2UpgradePolicy": upgrade}}});
    let mesh = |upgrade: &str| json!({"h2UpgradePolicy": upgrade});
    for (settings, policy, http2) in [
        (json!({}), json!({}), false),
        (mesh("UPGRADE"), json!({}), true),
        (mesh("UPGRADE"), policy("DEFAULT"), true),
        (mesh("UPGRADE"), policy("DO_NOT_UPGRADE"), false),
        (mesh("DO_NOT_UPGRADE"), policy("DEFAULT"), false),
        (mesh("DO_NOT_UPGRADE"), policy("UPGRADE"), true),
    ] {
        let expected = if http2 {
            json!({"http2_protocol_options": {"max_concurrent_streams": 1_073_741_824}})
        } else {
            json!({"http_protocol_options": {}})
        };
        let cluster = in_mesh(settings.clone(), &policy);
        assert_eq!(at(&cluster, &format!("{HTTP}/explicit_http_config")), expected, "{settings} {policy}");
    }
}

#[test]
fn the_clients_protocol_is_kept_on_http_ports_only() {
    let downstream = json!({"use_downstream_protocol_config": {
        "http_protocol_options": {},
        "http2_protocol_options": {"max_concurrent_streams": 1_073_741_824},
    }});
    let http1 = json!({"explicit_http_config": {"http_protocol_options": {}}});
    for (port, keep, expected) in [
        (80, true, &downstream),
        (80, false, &http1),
        (81, true, &json!(null)),
        (82, true, &downstream),
        (82, false, &downstream),
    ] {
        let policy = json!({"connectionPool": {"http": {"useClientProtocol": keep}}});
        assert_eq!(at(&on_port(port, &policy), HTTP), *expected, "{port} {keep}");
    }
}

#[test]
fn errors_eject_a_host_and_zero_errors_never_do() {
    for (settings, expected) in [
        (json!({}), json!({})),
        (json!({"consecutive5xxErrors": 5}), json!({"consecutive_5xx": 5, "enforcing_consecutive_5xx": 100})),
        (json!({"consecutive5xxErrors": 0}), json!({"consecutive_5xx": 0, "enforcing_consecutive_5xx": 0})),
        (
            json!({"consecutiveGatewayErrors": 1}),
            json!({"consecutive_gateway_failure": 1, "enforcing_consecutive_gateway_failure": 100}),
        ),
        (
            json!({"consecutiveErrors": 7}),
            json!({"consecutive_gateway_failure": 7, "enforcing_consecutive_gateway_failure": 100}),
        ),
        (json!({"consecutiveErrors": 0}), json!({})),
        (json!({"consecutiveErrors": -1}), json!({})),
        (
            json!({"consecutiveErrors": 7, "consecutiveGatewayErrors": 0}),
            json!({"consecutive_gateway_failure": 0, "enforcing_consecutive_gateway_failure": 0}),
        ),
    ] {
        let mut expected = expected;
        expected["enforcing_success_rate"] = json!(0);
        let cluster = on_port(80, &json!({"outlierDetection": settings}));
        assert_eq!(cluster["outlier_detection"], expected, "{settings}");
    }
}

#[test]
fn ejection_lasts_as_long_as_the_rule_says() {
    for (settings, expected) in [
        (json!({"interval": "7s"}), json!({"interval": "7s"})),
        (json!({"baseEjectionTime": "300s"}), json!({"base_ejection_time": "300s"})),
        (
            json!({"baseEjectionTime": "301s"}),
            json!({"base_ejection_time": "301s", "max_ejection_time": "301s"}),
        ),
        (json!({"maxEjectionPercent": 1}), json!({"max_ejection_percent": 1})),
        (json!({"maxEjectionPercent": 150}), json!({"max_ejection_percent": 100})),
        (json!({"maxEjectionPercent": 0}), json!({})),
        (json!({"maxEjectionPercent": -1}), json!({})),
    ] {
        let mut expected = expected;
        expected["enforcing_success_rate"] = json!(0);
        let cluster = on_port(80, &json!({"outlierDetection": settings}));
        assert_eq!(cluster["outlier_detection"], expected, "{settings}");
    }
}

/// 0 turns panic off, which is what users of outlier detection expect.
#[test]
fn a_cluster_panics_below_the_share_that_the_rule_names() {
    for (policy, expected) in [
        (json!({}), json!(null)),
        (json!({"outlierDetection": {}}), json!({})),
        (json!({"outlierDetection": {"minHealthPercent": 40}}), json!({"value": 40.0})),
        (json!({"outlierDetection": {"minHealthPercent": 101}}), json!({"value": 100.0})),
        (json!({"outlierDetection": {"minHealthPercent": -1}}), json!({})),
    ] {
        let cluster = on_port(80, &policy);
        assert_eq!(at(&cluster, "/common_lb_config/healthy_panic_threshold"), expected, "{policy}");
    }
}

#[test]
fn hosts_are_chosen_as_the_rule_says() {
    let ring = |minimum: &str| json!({"minimum_ring_size": minimum});
    let hash = |mut settings: Value| {
        settings["httpHeaderName"] = json!("x");
        settings
    };
    for (load_balancer, policy, config) in [
        (json!({}), json!(null), json!(null)),
        (json!({"simple": "ROUND_ROBIN"}), json!(null), json!(null)),
        (json!({"simple": "LEAST_CONN"}), json!("LEAST_REQUEST"), json!(null)),
        (json!({"simple": "LEAST_REQUEST"}), json!("LEAST_REQUEST"), json!(null)),
        (json!({"simple": "RANDOM"}), json!("RANDOM"), json!(null)),
        (json!({"consistentHash": hash(json!({}))}), json!("RING_HASH"), ring("1024")),
        (
            json!({"simple": "RANDOM", "consistentHash": hash(json!({"minimumRingSize": 1}))}),
            json!("RING_HASH"),
            ring("1"),
        ),
        (json!({"consistentHash": hash(json!({"minimumRingSize": 0}))}), json!("RING_HASH"), ring("1024")),
        (
            json!({"consistentHash": hash(json!({"minimumRingSize": 9_000_000}))}),
            json!("RING_HASH"),
            ring("8388608"),
        ),
    ] {
        let cluster = on_port(80, &json!({"loadBalancer": load_balancer}));
        assert_eq!(cluster["lb_policy"], policy, "{load_balancer}");
        assert_eq!(cluster["ring_hash_lb_config"], config, "{load_balancer}");
    }
}

/// Shares of localities are weights, which Envoy leaves out of account unless it is told.
#[test]
fn localities_are_weighted_where_the_rule_distributes() {
    let distribute = json!({"distribute": [{"from": "r", "to": {"r": 100}}]});
    for (load_balancer, weighted) in [
        (json!({"localityLbSetting": distribute}), true),
        (json!({"simple": "RANDOM", "localityLbSetting": distribute}), true),
        (json!({"localityLbSetting": {"failover": [{"from": "r", "to": "q"}]}}), false),
        (json!({"consistentHash": {"useSourceIp": true}, "localityLbSetting": distribute}), false),
    ] {
        let cluster = on_port(80, &json!({"loadBalancer": load_balancer}));
        let found = at(&cluster, "/common_lb_config/locality_weighted_lb_config");
        assert_eq!(found == json!({}), weighted, "{load_balancer}");
    }
}

#[test]
fn pass_through_sends_to_the_address_that_the_client_meant() {
    let policy = json!({"loadBalancer": {"simple": "PASSTHROUGH"}});
    for (host, name) in
        [("a", "outbound|80||a.shop.svc.cluster.local"), ("named.example", "outbound|80||named.example")]
    {
        let cluster = mesh_with_rule(host, &policy).seen_by_sidecar().cluster(name);
        let found = ["type", "lb_policy", "eds_cluster_config", "load_assignment"].map(|key| &cluster[key]);
        assert_eq!(found, [&json!("ORIGINAL_DST"), &json!("CLUSTER_PROVIDED"), &json!(null), &json!(null)]);
    }
}

#[test]
fn nothing_is_balanced_where_the_client_chooses_the_address() {
    for load_balancer in [json!({"simple": "RANDOM"}), json!({"consistentHash": {"useSourceIp": true}})] {
        let mesh = mesh_with_rule("anywhere.example", &json!({"loadBalancer": load_balancer}));
        let cluster = mesh.seen_by_sidecar().cluster("outbound|80||anywhere.example");
        let found = ["type", "lb_policy", "ring_hash_lb_config"].map(|key| &cluster[key]);
        assert_eq!(found, [&json!("ORIGINAL_DST"), &json!("CLUSTER_PROVIDED"), &json!(null)]);
    }
}

/// A port's settings replace those of all ports; a subset's come before both.
#[test]
fn the_narrowest_policy_holds() {
    let connections = |n: u32| json!({"tcp": {"maxConnections": n}});
    let of_port = |port: u16, policy: Value| {
        let mut policy = policy;
        policy["port"] = json!({"number": port});
        json!([policy])
    };
    let all = json!({
        "connectionPool": connections(1), "loadBalancer": {"simple": "RANDOM"},
        "outlierDetection": {"consecutive5xxErrors": 1}, "tls": {"mode": "SIMPLE"},
    });
    let with = |mut policy: Value, key: &str, value: Value| {
        policy[key] = value;
        policy
    };
    let shown = |c: &Value| {
        json!([
            at(c, "/circuit_breakers/thresholds/0/max_connections"),
            c["lb_policy"],
            at(c, "/outlier_detection/consecutive_5xx"),
            c["transport_socket"]["name"],
        ])
    };
    let tls = "envoy.transport_sockets.tls";
    let own = json!({
        "connectionPool": connections(2), "loadBalancer": {"simple": "LEAST_CONN"},
        "outlierDetection": {"consecutive5xxErrors": 2}, "tls": {"mode": "DISABLE"},
    });
    for (policy, of_subset, expected) in [
        (&all, json!({}), json!([1, "RANDOM", 1, tls])),
        (&all, own.clone(), json!([2, "LEAST_REQUEST", 2, null])),
        (
            &with(all.clone(), "portLevelSettings", of_port(80, json!({"connectionPool": connections(3)}))),
            json!({}),
            json!([3, null, null, null]),
        ),
        (
            &with(all.clone(), "portLevelSettings", of_port(81, json!({"connectionPool": connections(3)}))),
            json!({}),
            json!([1, "RANDOM", 1, tls]),
        ),
        (
            &with(json!({}), "portLevelSettings", of_port(80, own.clone())),
            json!({}),
            json!([2, "LEAST_REQUEST", 2, null]),
        ),
        (
            &with(json!({}), "portLevelSettings", of_port(80, all.clone())),
            json!({}),
            json!([1, "RANDOM", 1, tls]),
        ),
        (
            &all,
            json!({"portLevelSettings": of_port(80, json!({"connectionPool": connections(4)}))}),
            json!([4, null, null, null]),
        ),
        (
            &all,
            json!({"portLevelSettings": of_port(81, json!({"connectionPool": connections(4)}))}),
            json!([1, "RANDOM", 1, tls]),
        ),
    ] {
        let rule = json!({
            "kind": "DestinationRule", "metadata": {"name": "r", "namespace": "shop"},
            "spec": {"host": "a", "trafficPolicy": policy, "subsets": [
                {"name": "other", "trafficPolicy": {"connectionPool": connections(9)}},
                {"name": "v1", "trafficPolicy": of_subset},
            ]},
        });
        let seen = Mesh::of(SERVICE).and(rule).seen_by_sidecar();
        let found = shown(&seen.cluster("outbound|80|v1|a.shop.svc.cluster.local"));
        assert_eq!(found, expected, "{policy} {of_subset}");
    }
}
