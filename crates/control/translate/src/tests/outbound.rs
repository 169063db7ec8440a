//! Listeners of a sidecar's outbound traffic.

use portolan_xds::type_url;
use serde_json::{Value, json};

use super::mesh::{Mesh, Seen, at, filter, list, sidecar};

fn service(name: &str, address: &str, ports: Value) -> Value {
    json!({"kind": "Service", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"clusterIP": address, "ports": ports}})
}

fn entry(name: &str, addresses: Value, port: Value) -> Value {
    json!({"kind": "ServiceEntry", "metadata": {"name": name, "namespace": "shop"}, "spec": {
        "hosts": [format!("{name}.example")], "addresses": addresses, "ports": [port], "location": "MESH_EXTERNAL"}})
}

fn port(number: u16, protocol: &str) -> Value {
    json!({"number": number, "name": "p", "protocol": protocol})
}

/// Where a chain leads: a cluster or `rds` and the name of the routes.
fn target(chain: &Value) -> String {
    let last = list(&chain["filters"]).last().unwrap();
    let config = &last["typed_config"];
    match config["cluster"].as_str() {
        Some(cluster) => cluster.to_owned(),
        None => format!("rds {}", config["rds"]["route_config_name"].as_str().unwrap()),
    }
}

/// The chains of a listener as condition and target, the default chain, the listener filters.
fn shown(listener: &Value) -> Value {
    let chains: Vec<Value> = list(&listener["filter_chains"])
        .iter()
        .map(|c| json!([c["filter_chain_match"], target(c)]))
        .collect();
    let default = listener.get("default_filter_chain").map(target);
    let filters: Vec<&str> = list(&listener["listener_filters"])
        .iter()
        .map(|f| f["name"].as_str().unwrap().rsplit('.').next().unwrap())
        .collect();
    json!([chains, default, filters])
}

fn plain_http() -> Value {
    json!({"transport_protocol": "raw_buffer", "application_protocols": ["http/1.0", "http/1.1", "h2c"]})
}

fn only(mesh: &Mesh, name: &str) -> Value {
    shown(&mesh.seen_by_sidecar().listener(name))
}

fn names(seen: &Seen) -> Vec<String> {
    let all = seen.names(type_url::LISTENER);
    all.into_iter().filter(|n| !n.starts_with("virtual")).collect()
}

#[test]
fn the_listener_of_captured_connections_in_full() {
    for (tproxy, mode, target) in
        [(false, "ALLOW_ANY", "PassthroughCluster"), (true, "REGISTRY_ONLY", "BlackHoleCluster")]
    {
        let mut node = sidecar();
        node.metadata.tproxy = tproxy;
        let settings = json!({"proxyListenPort": 16001, "outboundTrafficPolicy": {"mode": mode}});
        let found = Mesh::of("").with(settings).seen_by(node).listener("virtualOutbound");
        let filters = |cluster: &str| {
            json!([
                {"name": "istio.metadata_exchange", "typed_config": {}},
                {"name": "istio.stats", "typed_config": {}},
                {"name": "envoy.filters.network.tcp_proxy",
                    "typed_config": {"stat_prefix": cluster, "cluster": cluster}},
            ])
        };
        let mut expected = json!({
            "name": "virtualOutbound",
            "address": {"socket_address": {"address": "0.0.0.0", "port_value": 16001}},
            "filter_chains": [
                {"name": "virtualOutbound-blackhole", "filter_chain_match": {"destination_port": 16001},
                    "filters": filters("BlackHoleCluster")},
                {"name": "virtualOutbound-catchall-tcp", "filters": filters(target)},
            ],
            "traffic_direction": "OUTBOUND",
            "use_original_dst": true,
        });
        if tproxy {
            expected["transparent"] = json!(true);
        }
        assert_eq!(found, expected);
    }
}

#[test]
fn a_listener_of_a_service_in_full() {
    let mesh = Mesh::of("").and(service("db", "10.96.0.1", json!([{"name": "tcp", "port": 3306}])));
    let mut found = mesh.seen_by_sidecar().listener("10.96.0.1_3306");
    found["filter_chains"] = json!("shown elsewhere");
    assert_eq!(
        found,
        json!({
            "name": "10.96.0.1_3306",
            "address": {"socket_address": {"address": "10.96.0.1", "port_value": 3306}},
            "filter_chains": "shown elsewhere",
            "traffic_direction": "OUTBOUND",
            "bind_to_port": false,
        })
    );
}

#[test]
fn http_services_share_the_listener_of_their_port() {
    let ports = json!([{"name": "http", "port": 80}, {"name": "grpc", "port": 81}]);
    let mesh =
        Mesh::of("").and(service("a", "10.96.0.1", ports.clone())).and(service("b", "10.96.0.2", ports));
    assert_eq!(names(&mesh.seen_by_sidecar()), ["0.0.0.0_80", "0.0.0.0_81"]);
    assert_eq!(only(&mesh, "0.0.0.0_80"), json!([[[null, "rds 80"]], null, []]));
    assert_eq!(mesh.seen_by_sidecar().names(type_url::ROUTE), ["80", "81"]);
}

#[test]
fn a_sniffed_port_is_http_or_opaque_by_what_comes() {
    let mesh = Mesh::of("").and(service("a", "10.96.0.1", json!([{"name": "x", "port": 80}])));
    let host = "a.shop.svc.cluster.local";
    assert_eq!(
        only(&mesh, "10.96.0.1_80"),
        json!([
            [[plain_http(), format!("rds {host}:80")]],
            format!("outbound|80||{host}"),
            ["tls_inspector", "http_inspector"],
        ])
    );
    assert_eq!(mesh.seen_by_sidecar().names(type_url::ROUTE), [format!("{host}:80")]);
}

#[test]
fn a_sniffed_port_without_an_address_shares_the_routes_of_the_port() {
    let mesh = Mesh::of("").and(service("a", "None", json!([{"name": "x", "port": 80}])));
    assert_eq!(
        only(&mesh, "0.0.0.0_80"),
        json!([
            [[plain_http(), "rds 80"]],
            "outbound|80||a.shop.svc.cluster.local",
            ["tls_inspector", "http_inspector"],
        ])
    );
}

/// The wait for bytes that tell the protocol is the mesh's; a connection that sends none goes on.
#[test]
fn sniffing_takes_as_long_as_the_mesh_allows() {
    let sniffed = service("a", "10.96.0.1", json!([{"name": "x", "port": 80}, {"name": "tcp", "port": 81}]));
    let mesh = Mesh::of("").and(sniffed).with(json!({"protocolDetectionTimeout": "3s"}));
    for (name, timeout, goes_on) in
        [("10.96.0.1_80", json!("3s"), json!(true)), ("10.96.0.1_81", json!(null), json!(null))]
    {
        let found = mesh.seen_by_sidecar().listener(name);
        assert_eq!(found["listener_filters_timeout"], timeout, "{name}");
        assert_eq!(found["continue_on_listener_filters_timeout"], goes_on, "{name}");
    }
}

/// Two services cannot have one address and port: the older one keeps it.
#[test]
fn the_older_service_keeps_an_address() {
    let aged = |name: &str, created: &str, protocol: &str| {
        let mut out = entry(name, json!(["192.0.2.1"]), port(80, protocol));
        out["metadata"]["creationTimestamp"] = json!(created);
        out
    };
    for protocol in ["TCP", "x"] {
        let mesh = Mesh::of("").and(aged("a-young", "2021-02-01T00:00:00Z", protocol)).and(aged(
            "z-old",
            "2021-01-01T00:00:00Z",
            protocol,
        ));
        let found = mesh.seen_by_sidecar().listener("192.0.2.1_80");
        let chain = found.get("default_filter_chain").unwrap_or(&found["filter_chains"][0]);
        assert_eq!(target(chain), "outbound|80||z-old.example", "{protocol}");
    }
}

#[test]
fn services_of_one_age_are_taken_by_name() {
    let mesh =
        Mesh::of("").and(entry("b", json!([]), port(80, "TCP"))).and(entry("a", json!([]), port(80, "TCP")));
    assert_eq!(only(&mesh, "0.0.0.0_80")[0][0][1], "outbound|80||a.example");
}

#[test]
fn tls_without_an_address_is_told_apart_by_name() {
    let named = |host: &str| json!({"server_names": [host], "transport_protocol": "tls"});
    let mesh = Mesh::of("").and(entry("a", json!([]), port(443, "TLS"))).and(entry(
        "b",
        json!([]),
        port(443, "HTTPS"),
    ));
    assert_eq!(
        only(&mesh, "0.0.0.0_443"),
        json!([
            [
                [named("a.example"), "outbound|443||a.example"],
                [named("b.example"), "outbound|443||b.example"]
            ],
            "PassthroughCluster",
            ["tls_inspector"],
        ])
    );
    let mesh = mesh.with(json!({"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}));
    assert_eq!(only(&mesh, "0.0.0.0_443")[1], "BlackHoleCluster");
}

#[test]
fn tls_to_any_host_takes_what_is_left() {
    let mut any = entry("any", json!([]), port(443, "TLS"));
    any["spec"]["hosts"] = json!(["*"]);
    assert_eq!(only(&Mesh::of("").and(any), "0.0.0.0_443"), json!([[[null, "outbound|443||*"]], null, []]));
    let mut short = entry("short", json!([]), port(443, "TLS"));
    short["spec"]["hosts"] = json!(["*.example"]);
    assert_eq!(only(&Mesh::of("").and(short), "0.0.0.0_443")[0][0][0]["server_names"], json!(["*.example"]));
}

#[test]
fn networks_are_conditions_on_the_listener_of_the_port() {
    let range = json!([{"address_prefix": "192.0.2.0", "prefix_len": 24}]);
    for (protocol, conditions, filters) in [
        ("TCP", json!({"prefix_ranges": range}), json!([])),
        (
            "TLS",
            json!({"prefix_ranges": range, "server_names": ["net.example"], "transport_protocol": "tls"}),
            json!(["tls_inspector"]),
        ),
    ] {
        let mesh = Mesh::of("").and(entry("net", json!(["192.0.2.0/24"]), port(80, protocol)));
        assert_eq!(
            only(&mesh, "0.0.0.0_80"),
            json!([[[conditions, "outbound|80||net.example"]], "PassthroughCluster", filters]),
            "{protocol}"
        );
    }
}

#[test]
fn a_service_without_an_address_takes_the_port() {
    let mesh = Mesh::of("").and(entry("a", json!([]), port(80, "TCP")));
    assert_eq!(only(&mesh, "0.0.0.0_80"), json!([[[null, "outbound|80||a.example"]], null, []]));
}

#[test]
fn http_and_opaque_services_share_a_port_by_what_comes() {
    let mesh = Mesh::of("").and(entry("a", json!([]), port(80, "TCP"))).and(service(
        "b",
        "10.96.0.1",
        json!([{"name": "http", "port": 80}]),
    ));
    assert_eq!(
        only(&mesh, "0.0.0.0_80"),
        json!([[[plain_http(), "rds 80"]], "outbound|80||a.example", ["tls_inspector", "http_inspector"],])
    );
}

/// With conditions but without an opaque service the rest goes where unknown traffic goes.
#[test]
fn http_beside_a_network_leaves_the_rest_to_the_policy_of_the_mesh() {
    let range = json!([{"address_prefix": "192.0.2.0", "prefix_len": 24}]);
    let mesh = Mesh::of("").and(entry("net", json!(["192.0.2.0/24"]), port(80, "TCP"))).and(service(
        "b",
        "10.96.0.1",
        json!([{"name": "http", "port": 80}]),
    ));
    assert_eq!(
        only(&mesh, "0.0.0.0_80"),
        json!([
            [[{"prefix_ranges": range}, "outbound|80||net.example"], [plain_http(), "rds 80"]],
            "PassthroughCluster", ["tls_inspector", "http_inspector"],
        ])
    );
}

fn headless(pods: usize) -> Mesh {
    let address = |n: usize| format!("10.2.{}.{}", n / 250, n % 250 + 1);
    let endpoints: Vec<Value> = (0..pods).map(|n| json!({"addresses": [address(n)]})).collect();
    Mesh::of("").and(service("peers", "None", json!([{"name": "tcp", "port": 7000}]))).and(json!({
        "kind": "EndpointSlice",
        "metadata": {"name": "peers-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "peers"}},
        "addressType": "IPv4", "ports": [{"name": "tcp", "port": 7000}], "endpoints": endpoints}))
}

#[test]
fn each_pod_of_a_headless_service_has_a_listener_but_the_own_one() {
    let mut node = sidecar();
    node.addresses = vec!["10.2.0.2".parse().unwrap()];
    let seen = headless(3).seen_by(node);
    assert_eq!(names(&seen), ["10.2.0.1_7000", "10.2.0.3_7000"]);
    let cluster = "outbound|7000||peers.shop.svc.cluster.local";
    assert_eq!(shown(&seen.listener("10.2.0.1_7000")), json!([[[null, cluster]], null, []]));
}

#[test]
fn a_headless_service_with_many_pods_has_a_limited_number_of_listeners() {
    assert_eq!(names(&headless(129).seen_by_sidecar()).len(), 128);
}

/// A second listener at the address of the proxy's own would not start.
#[test]
fn ports_of_the_proxy_itself_have_no_listener_for_all_addresses() {
    for (number, expected) in [
        (15001, false),
        (15006, false),
        (15021, false),
        (15090, false),
        (15000, false),
        (15020, false),
        (15002, true),
    ] {
        let mesh = Mesh::of("").and(service(
            "a",
            "10.96.0.1",
            json!([
            {"name": "http", "port": number}, {"name": "tcp", "port": 80}]),
        ));
        let found = names(&mesh.seen_by_sidecar());
        assert_eq!(found.contains(&format!("0.0.0.0_{number}")), expected, "{number}");
    }
    let opaque = Mesh::of("").and(service("a", "10.96.0.1", json!([{"name": "tcp", "port": 15001}])));
    assert_eq!(names(&opaque.seen_by_sidecar()), ["10.96.0.1_15001"]);
}

#[test]
fn statistics_of_http_are_counted_under_the_listener() {
    let mesh = Mesh::of("").and(service("a", "10.96.0.1", json!([{"name": "http", "port": 80}])));
    let listener = mesh.seen_by_sidecar().listener("0.0.0.0_80");
    let manager = filter(&listener["filter_chains"][0]["filters"], "http_connection_manager");
    assert_eq!(at(manager, "/stat_prefix"), "outbound_0.0.0.0_80");
}
