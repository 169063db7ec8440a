//! `virtualInbound`: filter chains of every workload port, by what is spoken there and which TLS is asked for.

use portolan_mesh::Dialect;
use serde_json::{Value, json};

use super::mesh::{Mesh, at, filter, list, sidecar};

/// A workload with one port of this name.
fn workload(port: &str) -> Mesh {
    Mesh::of("").and(json!({"kind": "Service", "metadata": {"name": "a", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.1", "selector": {"app": "web"},
            "ports": [{"name": port, "port": 80, "targetPort": 8080}]}}))
}

/// With this PeerAuthentication of the workload.
fn with_modes(mesh: Mesh, spec: Value) -> Mesh {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    mesh.and(
        json!({"kind": "PeerAuthentication", "metadata": {"name": "p", "namespace": "shop"}, "spec": spec}),
    )
}

/// Of each chain for a port (`None`: of all others): transport, ALPN, whether it speaks HTTP, whether TLS ends here.
fn chains(mesh: &Mesh, port: Option<u16>) -> Vec<Value> {
    let listener = mesh.seen_by_sidecar().listener("virtualInbound");
    let of_port = |c: &&Value| {
        let of = &c["filter_chain_match"]["destination_port"];
        port.map_or(of.is_null(), |port| *of == port)
    };
    let shown = |c: &Value| {
        let m = &c["filter_chain_match"];
        let http = list(&c["filters"]).iter().any(|f| f["name"].as_str().unwrap().ends_with("manager"));
        let alpn: Vec<&str> = list(&m["application_protocols"]).iter().map(|a| a.as_str().unwrap()).collect();
        json!([
            m["transport_protocol"],
            alpn.join(" "),
            if http { "http" } else { "tcp" },
            !c["transport_socket"].is_null()
        ])
    };
    list(&listener["filter_chains"]).iter().filter(of_port).map(shown).collect()
}

const ISTIO_HTTP: &str = "istio-http/1.0 istio-http/1.1 istio-h2";
const ISTIO_TCP: &str = "istio-peer-exchange istio";
const ISTIO: &str = "istio-peer-exchange istio istio-http/1.0 istio-http/1.1 istio-h2";
const PLAIN_HTTP: &str = "http/1.0 http/1.1 h2c";

fn strict(port: &str) -> Vec<Value> {
    match port {
        "http" => vec![json!(["tls", "", "http", true])],
        "tcp" => vec![json!(["tls", "", "tcp", true])],
        _ => vec![json!(["tls", ISTIO_HTTP, "http", true]), json!(["tls", "", "tcp", true])],
    }
}

fn permissive(port: &str) -> Vec<Value> {
    match port {
        "http" => vec![json!(["tls", ISTIO, "http", true]), json!(["raw_buffer", "", "http", false])],
        "tcp" => vec![
            json!(["tls", ISTIO, "tcp", true]),
            json!(["raw_buffer", "", "tcp", false]),
            json!(["tls", "", "tcp", false]),
        ],
        _ => vec![
            json!(["tls", ISTIO_HTTP, "http", true]),
            json!(["raw_buffer", PLAIN_HTTP, "http", false]),
            json!(["tls", ISTIO_TCP, "tcp", true]),
            json!(["raw_buffer", "", "tcp", false]),
            json!(["tls", "", "tcp", false]),
        ],
    }
}

fn disabled(port: &str) -> Vec<Value> {
    match port {
        "http" => vec![json!([null, "", "http", false])],
        "tcp" => vec![json!([null, "", "tcp", false])],
        _ => vec![json!([null, PLAIN_HTTP, "http", false]), json!([null, "", "tcp", false])],
    }
}

#[test]
fn a_port_takes_the_tls_that_its_mode_asks_for() {
    for port in ["http", "grpc", "tcp", "x"] {
        let kind = if port == "grpc" { "http" } else { port };
        for (mode, expected) in [
            ("STRICT", strict(kind)),
            ("PERMISSIVE", permissive(kind)),
            ("UNSET", permissive(kind)),
            ("DISABLE", disabled(kind)),
        ] {
            let mesh = with_modes(workload(port), json!({"mtls": {"mode": mode}}));
            assert_eq!(chains(&mesh, Some(8080)), expected, "{port} {mode}");
        }
    }
}

#[test]
fn a_port_with_a_mode_of_its_own_takes_that() {
    let modes = json!({"mtls": {"mode": "STRICT"}, "portLevelMtls": {"8080": {"mode": "DISABLE"}}});
    let mesh = with_modes(workload("tcp"), modes);
    assert_eq!(chains(&mesh, Some(8080)), disabled("tcp"));
    assert_eq!(chains(&mesh, None), strict("x"));
}

/// A port that no service names may have a mode all the same.
#[test]
fn a_mode_holds_for_ports_that_no_service_names() {
    let modes = json!({"mtls": {"mode": "STRICT"}, "portLevelMtls": {"9000": {"mode": "DISABLE"}}});
    let mesh = with_modes(workload("tcp"), modes);
    assert_eq!(chains(&mesh, Some(9000)), disabled("x"));
    assert_eq!(chains(&Mesh::of(""), None), permissive("x"));
}

/// The names and targets of all chains of a workload.
#[test]
fn chains_lead_to_the_application_and_never_back_to_the_proxy() {
    let listener = with_modes(
        workload("http"),
        json!({"mtls": {"mode": "STRICT"}, "portLevelMtls": {"9000": {"mode": "STRICT"}}}),
    )
    .seen_by_sidecar()
    .listener("virtualInbound");
    let shown = |c: &Value| {
        let filters = list(&c["filters"]);
        let config = &filters.last().unwrap()["typed_config"];
        let cluster = match config["cluster"].as_str() {
            Some(cluster) => json!(cluster),
            None => at(config, "/route_config/virtual_hosts/0/routes/0/route/cluster"),
        };
        json!([c["name"], c["filter_chain_match"]["destination_port"], config["stat_prefix"], cluster])
    };
    let passthrough = "InboundPassthroughClusterIpv4";
    let found: Vec<Value> = list(&listener["filter_chains"]).iter().map(shown).collect();
    assert_eq!(
        found,
        [
            json!(["virtualInbound-blackhole", 15006, "BlackHoleCluster", "BlackHoleCluster"]),
            json!(["10.0.0.1_8080", 8080, "inbound_0.0.0.0_8080", "inbound|8080||"]),
            json!(["virtualInbound-catchall-http", 9000, "inbound_0.0.0.0_9000", passthrough]),
            json!(["virtualInbound", 9000, passthrough, passthrough]),
            json!(["virtualInbound-catchall-http", null, passthrough, passthrough]),
            json!(["virtualInbound", null, passthrough, passthrough]),
        ]
    );
}

#[test]
fn the_routes_of_a_workload_port_in_full() {
    let listener = workload("http").seen_by_sidecar().listener("virtualInbound");
    let manager = filter(&listener["filter_chains"][1]["filters"], "http_connection_manager");
    assert_eq!(
        manager["route_config"],
        json!({
            "name": "inbound|8080||",
            "virtual_hosts": [{
                "name": "inbound|http|8080",
                "domains": ["*"],
                "routes": [{
                    "name": "default",
                    "match": {"prefix": "/"},
                    "route": {"cluster": "inbound|8080||", "timeout": "0s", "max_grpc_timeout": "0s"},
                    "decorator": {"operation": "a.shop.svc.cluster.local:80/*"},
                }],
                "include_request_attempt_count": true,
            }],
            "validate_clusters": false,
        })
    );
}

#[test]
fn the_listener_in_full() {
    let mut found = workload("x").seen_by_sidecar().listener("virtualInbound");
    found["filter_chains"] = json!("shown elsewhere");
    let inspector =
        |name: &str| json!({"name": format!("envoy.filters.listener.{name}"), "typed_config": {}});
    assert_eq!(
        found,
        json!({
            "name": "virtualInbound",
            "address": {"socket_address": {"address": "0.0.0.0", "port_value": 15006}},
            "filter_chains": "shown elsewhere",
            "listener_filters": [inspector("original_dst"), inspector("tls_inspector"), inspector("http_inspector")],
            "listener_filters_timeout": "1s",
            "continue_on_listener_filters_timeout": true,
            "traffic_direction": "INBOUND",
        })
    );
}

/// A client of a server-first protocol sends nothing that tells the protocol: it is not waited for for ever.
#[test]
fn sniffing_is_waited_for_one_second_unless_the_mesh_says_otherwise() {
    let modes = json!({"portLevelMtls": {"9000": {"mode": "DISABLE"}}});
    for (mesh, timeout, expected) in [
        (workload("x"), "0s", "1s"),
        (workload("x"), "3s", "3s"),
        (workload("x"), "0.5s", "0.500s"),
        (workload("tcp"), "0s", "0s"),
        (workload("tcp"), "3s", "3s"),
        (with_modes(workload("tcp"), modes), "0s", "1s"),
    ] {
        let mesh = mesh.with(json!({"protocolDetectionTimeout": timeout}));
        let found = mesh.seen_by_sidecar().listener("virtualInbound");
        assert_eq!(found["listener_filters_timeout"], expected, "{timeout}");
    }
}

#[test]
fn ports_whose_protocol_is_declared_are_not_sniffed() {
    let service = |ports: Value| {
        Mesh::of("").and(json!({"kind": "Service", "metadata": {"name": "a", "namespace": "shop"},
            "spec": {"clusterIP": "10.96.0.1", "selector": {"app": "web"}, "ports": ports}}))
    };
    let range = |start: u16, end: u16| json!({"destination_port_range": {"start": start, "end": end}});
    for (ports, expected) in [
        (json!([{"name": "x", "port": 80}]), json!(null)),
        (json!([{"name": "http", "port": 80}, {"name": "x", "port": 82}]), range(80, 81)),
        (
            json!([{"name": "http", "port": 80}, {"name": "tcp", "port": 90}]),
            json!({"or_match": {"rules": [range(80, 81), range(90, 91)]}}),
        ),
    ] {
        let found = service(ports.clone()).seen_by_sidecar().listener("virtualInbound");
        assert_eq!(found["listener_filters"][2]["filter_disabled"], expected, "{ports}");
    }
}

/// Our own proxy does not know the filter for the original source.
#[test]
fn a_proxy_behind_tproxy_keeps_the_source_where_it_can() {
    for (tproxy, dialect, filters, transparent) in [
        (false, Dialect::Envoy, 3, json!(null)),
        (true, Dialect::Portolan, 3, json!(true)),
        (true, Dialect::Envoy, 4, json!(true)),
    ] {
        let mut node = sidecar();
        node.metadata.tproxy = tproxy;
        node.metadata.dialect = dialect;
        let found = Mesh::of("").seen_by(node).listener("virtualInbound");
        let all = list(&found["listener_filters"]);
        assert_eq!((all.len(), &found["transparent"]), (filters, &transparent), "{tproxy} {dialect:?}");
        if filters == 4 {
            assert_eq!(
                all[1],
                json!({"name": "envoy.filters.listener.original_src", "typed_config": {"mark": 1337}})
            );
        }
    }
}

#[test]
fn a_sidecar_object_says_which_ports_are_served() {
    let mesh = workload("http")
        .and(json!({"kind": "Sidecar", "metadata": {"name": "s", "namespace": "shop"},
        "spec": {"ingress": [{"port": {"number": 9000, "name": "web", "protocol": "HTTP"}}]}}));
    assert_eq!(chains(&mesh, Some(8080)), [Value::Null; 0]);
    assert_eq!(chains(&mesh, Some(9000)), permissive("http"));
    let listener = mesh.seen_by_sidecar().listener("virtualInbound");
    let manager = filter(&listener["filter_chains"][1]["filters"], "http_connection_manager");
    let operation = at(manager, "/route_config/virtual_hosts/0/routes/0/decorator/operation");
    assert_eq!(operation, "web:9000/*");
}

#[test]
fn authorization_comes_before_the_application_on_opaque_ports() {
    let mesh = workload("tcp")
        .and(json!({"kind": "AuthorizationPolicy", "metadata": {"name": "p", "namespace": "shop"},
        "spec": {"action": "DENY", "rules": [{"to": [{"operation": {"ports": ["8080"]}}]}]}}));
    let listener = mesh.seen_by_sidecar().listener("virtualInbound");
    let filters = &listener["filter_chains"][1]["filters"];
    let names: Vec<&Value> = list(filters).iter().map(|f| &f["name"]).collect();
    assert_eq!(names[0], "envoy.filters.network.rbac");
    assert_eq!(filter(filters, "network.rbac")["stat_prefix"], "tcp.");
    assert_eq!(names.len(), 4);
}
