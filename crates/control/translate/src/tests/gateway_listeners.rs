//! Listeners of gateways: one for each port of their Gateway objects.

use portolan_xds::type_url;
use serde_json::{Value, json};

use super::mesh::{Mesh, Seen, at, gateway, list};

const SERVICES: &str = "
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{name: tcp, port: 3306}, {name: tcp-admin, port: 3307}]}
---
kind: Service
metadata: {name: cache, namespace: shop}
spec: {clusterIP: 10.96.0.2, ports: [{name: tcp, port: 6379}]}
";

fn server(number: u16, protocol: &str, hosts: Value, tls: Value) -> Value {
    json!({"port": {"number": number, "name": format!("p-{number}"), "protocol": protocol}, "hosts": hosts, "tls": tls})
}

fn mesh(servers: Value) -> Mesh {
    Mesh::of(SERVICES).and(json!({"kind": "Gateway", "metadata": {"name": "g", "namespace": "shop"},
        "spec": {"selector": {"istio": "edge"}, "servers": servers}}))
}

/// Rules bound to the Gateway.
fn rules(name: &str, hosts: Value, spec: Value) -> Value {
    let mut spec = spec;
    spec["hosts"] = hosts;
    spec["gateways"] = json!(["shop/g"]);
    let metadata = json!({"name": name, "namespace": "shop", "creationTimestamp": format!("2021-01-01T00:00:0{}Z", name.len())});
    json!({"kind": "VirtualService", "metadata": metadata, "spec": spec})
}

fn to(host: &str, port: Option<u16>) -> Value {
    let mut destination = json!({"host": host});
    if let Some(port) = port {
        destination["port"] = json!({"number": port});
    }
    json!([{"destination": destination}])
}

/// Of each chain: its condition, whether TLS ends here, where it leads.
fn chains(seen: &Seen, listener: &str) -> Vec<Value> {
    let found = seen.listener(listener);
    let shown = |c: &Value| {
        let config = &list(&c["filters"]).last().unwrap()["typed_config"];
        let routes = &config["rds"]["route_config_name"];
        let target = if routes.is_null() { &config["cluster"] } else { routes };
        json!([c["filter_chain_match"], !c["transport_socket"].is_null(), target])
    };
    list(&found["filter_chains"]).iter().map(shown).collect()
}

fn names(names: Value) -> Value {
    json!({"server_names": names})
}

#[test]
fn a_listener_of_plain_http_in_full() {
    let mut found =
        mesh(json!([server(80, "HTTP", json!(["*"]), json!(null))])).seen_by_gateway().listener("0.0.0.0_80");
    found["filter_chains"] = json!("shown elsewhere");
    assert_eq!(
        found,
        json!({
            "name": "0.0.0.0_80",
            "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}},
            "filter_chains": "shown elsewhere",
            "traffic_direction": "OUTBOUND",
        })
    );
}

#[test]
fn servers_of_plain_http_share_one_chain() {
    let seen = mesh(json!([
        server(80, "HTTP", json!(["a.example"]), json!(null)),
        server(80, "HTTP", json!(["b.example"]), json!(null)),
    ]))
    .seen_by_gateway();
    assert_eq!(chains(&seen, "0.0.0.0_80"), [json!([null, false, "http.80"])]);
}

/// The oldest server decides what a port speaks.
#[test]
fn a_port_is_plain_http_or_not() {
    let tls = server(80, "HTTPS", json!(["a.example"]), json!({"mode": "SIMPLE", "credentialName": "c"}));
    let plain = server(80, "HTTP", json!(["b.example"]), json!(null));
    let https = json!([names(json!(["a.example"])), true, "https.80.p-80.g.shop"]);
    for (servers, expected) in
        [(json!([tls, plain]), https), (json!([plain, tls]), json!([null, false, "http.80"]))]
    {
        assert_eq!(chains(&mesh(servers).seen_by_gateway(), "0.0.0.0_80"), [expected]);
    }
}

#[test]
fn servers_of_https_are_told_apart_by_name() {
    let simple = json!({"mode": "SIMPLE", "credentialName": "c"});
    let seen = mesh(json!([
        server(443, "HTTPS", json!(["a.example", "shop/b.example"]), simple.clone()),
        server(443, "HTTPS", json!(["c.example", "a.example"]), json!({"mode": "ISTIO_MUTUAL"})),
        server(443, "HTTPS", json!(["*", "d.example"]), simple),
        // Without a certificate there is nothing to answer with.
        server(443, "HTTPS", json!(["e.example"]), json!({"mode": "SIMPLE"})),
    ]))
    .seen_by_gateway();
    let routes = "https.443.p-443.g.shop";
    assert_eq!(
        chains(&seen, "0.0.0.0_443"),
        [
            json!([names(json!(["a.example", "b.example"])), true, routes]),
            json!([names(json!(["c.example"])), true, routes]),
            json!([null, true, routes]),
        ]
    );
    let listener = seen.listener("0.0.0.0_443");
    let filters: Vec<&Value> = list(&listener["listener_filters"]).iter().map(|f| &f["name"]).collect();
    assert_eq!(filters, ["envoy.filters.listener.tls_inspector"]);
}

#[test]
fn a_server_without_anything_to_do_has_no_listener() {
    let seen = mesh(json!([
        server(443, "HTTPS", json!(["*"]), json!({"mode": "SIMPLE"})),
        server(3306, "TCP", json!(["*"]), json!(null)),
    ]))
    .seen_by_gateway();
    assert_eq!(seen.names(type_url::LISTENER), [""; 0]);
}

#[test]
fn opaque_tcp_follows_the_rules_for_it() {
    let tcp = json!({"tcp": [{"match": [{"port": 3306}], "route": to("db", Some(3306))}]});
    let seen = mesh(json!([server(3306, "TCP", json!(["*"]), json!(null))]))
        .and(rules("v", json!(["a.example"]), tcp.clone()))
        .seen_by_gateway();
    let db = "outbound|3306||db.shop.svc.cluster.local";
    assert_eq!(chains(&seen, "0.0.0.0_3306"), [json!([null, false, db])]);
    assert_eq!(seen.listener("0.0.0.0_3306")["listener_filters"], Value::Null);
    let elsewhere = mesh(json!([server(3306, "TCP", json!(["b.example"]), json!(null))]))
        .and(rules("v", json!(["a.example"]), tcp))
        .seen_by_gateway();
    assert_eq!(elsewhere.names(type_url::LISTENER), [""; 0]);
}

#[test]
fn passed_on_tls_follows_the_rules_by_name() {
    let passed = json!([server(443, "TLS", json!(["*.example"]), json!({"mode": "PASSTHROUGH"}))]);
    let tls = |hosts: Value| json!({"match": [{"sniHosts": hosts}], "route": to("db", Some(3306))});
    let seen = mesh(passed.clone())
        .and(rules(
            "v",
            json!(["a.example", "b.example"]),
            json!({"tls": [tls(json!(["a.example"]))], "tcp": [{"route": to("cache", None)}]}),
        ))
        .seen_by_gateway();
    let tls_to = |name: Value| json!({"server_names": name, "transport_protocol": "tls"});
    let cache = "outbound|6379||cache.shop.svc.cluster.local";
    assert_eq!(
        chains(&seen, "0.0.0.0_443"),
        [
            json!([tls_to(json!(["a.example"])), false, "outbound|3306||db.shop.svc.cluster.local"]),
            // A rule that names no host holds for those of its VirtualService.
            json!([names(json!(["a.example", "b.example"])), false, cache]),
        ]
    );
    let listener = seen.listener("0.0.0.0_443");
    assert_eq!(list(&listener["listener_filters"]).len(), 1);
    let any = mesh(json!([server(443, "TLS", json!(["*"]), json!({"mode": "PASSTHROUGH"}))]))
        .and(rules("v", json!(["*"]), json!({"tcp": [{"route": to("cache", None)}]})))
        .seen_by_gateway();
    assert_eq!(chains(&any, "0.0.0.0_443"), [json!([{}, false, cache])]);
}

/// `sni_cluster` takes the cluster from the SNI; what names none goes nowhere.
#[test]
fn auto_passthrough_goes_to_the_cluster_that_the_client_names() {
    let auto = json!({"mode": "AUTO_PASSTHROUGH"});
    for (hosts, condition) in [(json!(["*"]), json!(null)), (json!(["*.local"]), names(json!(["*.local"])))] {
        let seen = mesh(json!([server(15443, "TLS", hosts, auto.clone())])).seen_by_gateway();
        assert_eq!(chains(&seen, "0.0.0.0_15443"), [json!([condition, false, "BlackHoleCluster"])]);
        let filters = at(&seen.listener("0.0.0.0_15443"), "/filter_chains/0/filters");
        assert_eq!(filters[0]["name"], "envoy.filters.network.sni_cluster");
    }
}

fn terminated(hosts: Value, rule: Value) -> Mesh {
    mesh(json!([server(15443, "TLS", json!(["*.example"]), json!({"mode": "ISTIO_MUTUAL"}))])).and(rules(
        "v",
        hosts,
        json!({"tcp": [rule]}),
    ))
}

/// Services with several ports work across federation: the port in the SNI chooses it.
#[test]
fn terminated_tls_goes_to_the_port_in_the_name() {
    let seen = terminated(json!(["a.example"]), json!({"route": to("db", None)})).seen_by_gateway();
    let db = |port: u16| format!("outbound|{port}||db.shop.svc.cluster.local");
    let sni = |port: u16| names(json!([format!("outbound_.{port}_._.a.example")]));
    assert_eq!(
        chains(&seen, "0.0.0.0_15443"),
        [json!([sni(3306), true, db(3306)]), json!([sni(3307), true, db(3307)])]
    );
}

#[test]
fn terminated_tls_without_a_port_in_the_name_goes_to_the_only_one() {
    let seen = terminated(json!(["a.example"]), json!({"route": to("cache", None)})).seen_by_gateway();
    let cache = "outbound|6379||cache.shop.svc.cluster.local";
    assert_eq!(
        chains(&seen, "0.0.0.0_15443"),
        [
            json!([names(json!(["outbound_.6379_._.a.example"])), true, cache]),
            json!([names(json!(["a.example"])), true, cache]),
            json!([names(json!(["*.example"])), true, cache]),
        ]
    );
}

#[test]
fn terminated_tls_goes_to_the_port_that_the_rule_names() {
    let seen = terminated(json!(["a.example"]), json!({"route": to("db", Some(3307))})).seen_by_gateway();
    let db = "outbound|3307||db.shop.svc.cluster.local";
    assert_eq!(
        chains(&seen, "0.0.0.0_15443"),
        [json!([names(json!(["a.example"])), true, db]), json!([names(json!(["*.example"])), true, db])]
    );
}

#[test]
fn terminated_tls_goes_nowhere_without_a_rule_that_holds() {
    for rule in [
        json!({"match": [{"port": 1}], "route": to("cache", None)}),
        json!({"route": to("db", Some(1))}),
        json!({"route": []}),
    ] {
        let seen = terminated(json!(["a.example"]), rule.clone()).seen_by_gateway();
        assert_eq!(seen.names(type_url::LISTENER), [""; 0], "{rule}");
    }
}

#[test]
fn a_wildcard_has_no_port_in_its_name() {
    let seen =
        terminated(json!(["*.a.example"]), json!({"match": [{"port": 15443}], "route": to("cache", None)}))
            .seen_by_gateway();
    let cache = "outbound|6379||cache.shop.svc.cluster.local";
    assert_eq!(
        chains(&seen, "0.0.0.0_15443"),
        [
            json!([names(json!(["*.a.example"])), true, cache]),
            json!([names(json!(["*.example"])), true, cache])
        ]
    );
}

/// The oldest rules have the server's own hosts.
#[test]
fn each_host_of_a_terminating_server_has_its_own_destination() {
    let tls = json!({"mode": "ISTIO_MUTUAL"});
    let rule = |host: &str, port: u16| json!({"tcp": [{"route": to(host, Some(port))}]});
    let mesh = mesh(json!([server(15443, "TLS", json!(["*"]), tls)]))
        .and(rules("v", json!(["a.example"]), rule("db", 3306)))
        .and(rules("vv", json!(["b.example"]), rule("cache", 6379)))
        .and(rules("vvv", json!(["*"]), rule("db", 3307)));
    let (db, cache) =
        ("outbound|3306||db.shop.svc.cluster.local", "outbound|6379||cache.shop.svc.cluster.local");
    assert_eq!(
        chains(&mesh.seen_by_gateway(), "0.0.0.0_15443"),
        [
            json!([names(json!(["a.example"])), true, db]),
            json!([names(json!(["b.example"])), true, cache]),
            json!([null, true, db]),
        ]
    );
}

#[test]
fn every_opaque_chain_of_a_gateway_asks_for_authorization_first() {
    let mode = |mode: &str| json!({"mode": mode});
    let mesh = mesh(json!([
        server(1001, "TCP", json!(["*"]), json!(null)),
        server(1002, "TLS", json!(["*"]), mode("PASSTHROUGH")),
        server(1003, "TLS", json!(["*"]), mode("AUTO_PASSTHROUGH")),
        server(1004, "TLS", json!(["*"]), mode("ISTIO_MUTUAL")),
    ]))
    .and(rules("v", json!(["a.example"]), json!({"tcp": [{"route": to("cache", None)}]})))
    .and(json!({"kind": "AuthorizationPolicy", "metadata": {"name": "p", "namespace": "shop"},
        "spec": {"action": "DENY", "rules": [{"to": [{"operation": {"ports": ["1"]}}]}]}}));
    let seen = mesh.seen_by_gateway();
    let listeners = seen.names(type_url::LISTENER);
    assert_eq!(listeners.len(), 4);
    for name in listeners {
        for chain in list(&seen.listener(&name)["filter_chains"]) {
            assert_eq!(chain["filters"][0]["name"], "envoy.filters.network.rbac", "{name}");
        }
    }
}

#[test]
fn a_listener_is_where_the_server_and_the_service_say() {
    let bound = |mut server: Value, bind: &str| {
        server["bind"] = json!(bind);
        server
    };
    let http = |number: u16| server(number, "HTTP", json!(["*"]), json!(null));
    let mesh = mesh(json!([
        http(80),
        http(1023),
        http(1024),
        bound(http(2000), "127.0.0.1"),
        bound(http(3000), "")
    ]))
    .and(json!({"kind": "Service", "metadata": {"name": "edge", "namespace": "shop"}, "spec": {
        "clusterIP": "10.96.0.9", "selector": {"istio": "edge"},
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}}));
    let all = ["0.0.0.0_1023", "0.0.0.0_1024", "127.0.0.1_2000", "0.0.0.0_3000", "0.0.0.0_8080"];
    assert_eq!(mesh.seen_by_gateway().names(type_url::LISTENER), all);
    let mut node = gateway();
    node.metadata.unprivileged = true;
    assert_eq!(mesh.seen_by(node).names(type_url::LISTENER), all[1..]);
    let address = at(&mesh.seen_by_gateway().listener("127.0.0.1_2000"), "/address/socket_address");
    assert_eq!(address, json!({"address": "127.0.0.1", "port_value": 2000}));
}
