//! Route configurations of gateways.

use portolan_xds::type_url;
use serde_json::{Value, json};

use super::mesh::{Mesh, Seen, list};

fn gateway(servers: Value) -> Value {
    json!({"kind": "Gateway", "metadata": {"name": "g", "namespace": "shop"},
        "spec": {"selector": {"istio": "edge"}, "servers": servers}})
}

fn http(hosts: Value) -> Value {
    json!({"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": hosts})
}

fn https(number: u16, name: &str, tls: Value) -> Value {
    json!({"port": {"number": number, "name": name, "protocol": "HTTPS"}, "hosts": ["*"], "tls": tls})
}

/// Rules for hosts, made in this order by name.
fn rules(name: &str, namespace: &str, hosts: Value, http: Value) -> Value {
    json!({"kind": "VirtualService",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": format!("2021-01-01T00:00:0{}Z", name.len())},
        "spec": {"hosts": hosts, "gateways": ["shop/g"], "http": http}})
}

fn to(name: &str, m: Value) -> Value {
    json!({"name": name, "match": m, "route": [{"destination": {"host": "a.example"}}]})
}

/// Each host with its domains and the names of its routes.
fn hosts(seen: &Seen, name: &str) -> Vec<Value> {
    let found = seen.routes(name);
    let shown = |host: &Value| {
        let routes: Vec<&Value> = list(&host["routes"]).iter().map(|r| &r["name"]).collect();
        json!([host["name"], host["domains"], routes, host["require_tls"]])
    };
    list(&found["virtual_hosts"]).iter().map(shown).collect()
}

#[test]
fn a_route_configuration_in_full() {
    let mesh = Mesh::of("").and(gateway(json!([http(json!(["a.example"]))]))).and(rules(
        "v",
        "shop",
        json!(["a.example"]),
        json!([to("r", json!([]))]),
    ));
    let mut found = mesh.seen_by_gateway().routes("http.80");
    found["virtual_hosts"][0]["routes"] = json!("shown elsewhere");
    assert_eq!(
        found,
        json!({
            "name": "http.80",
            "virtual_hosts": [{
                "name": "a.example:80", "domains": ["a.example", "a.example:80"],
                "routes": "shown elsewhere", "include_request_attempt_count": true,
            }],
            "validate_clusters": false,
        })
    );
}

#[test]
fn a_port_without_rules_knows_no_host() {
    let seen = Mesh::of("").and(gateway(json!([http(json!(["a.example"]))]))).seen_by_gateway();
    assert_eq!(hosts(&seen, "http.80"), [json!(["blackhole:80", ["*"], [], null])]);
    assert_eq!(seen.find(type_url::ROUTE, "http.81"), Value::Null);
}

#[test]
fn the_names_of_route_configurations_say_port_and_server() {
    let servers = json!([
        http(json!(["a.example"])),
        http(json!(["b.example"])),
        https(443, "simple", json!({"mode": "SIMPLE", "credentialName": "c"})),
        https(444, "mutual", json!({"mode": "MUTUAL", "credentialName": "c"})),
        https(445, "mesh", json!({"mode": "ISTIO_MUTUAL"})),
        https(446, "passed", json!({"mode": "PASSTHROUGH"})),
        {"port": {"number": 447, "name": "tls", "protocol": "TLS"}, "hosts": ["*"],
            "tls": {"mode": "SIMPLE", "credentialName": "c"}},
        {"port": {"number": 448, "name": "bare", "protocol": "HTTPS"}, "hosts": ["*"]},
        {"port": {"number": 449, "name": "grpc", "protocol": "GRPC"}, "hosts": ["*"]},
    ]);
    let seen = Mesh::of("").and(gateway(servers)).seen_by_gateway();
    assert_eq!(
        seen.names(type_url::ROUTE),
        [
            "http.449",
            "http.80",
            "https.443.simple.g.shop",
            "https.444.mutual.g.shop",
            "https.445.mesh.g.shop"
        ]
    );
}

#[test]
fn rules_of_one_host_are_put_together_until_one_takes_everything() {
    let x = json!([{"uri": {"prefix": "/x"}}]);
    let mesh = Mesh::of("")
        .and(gateway(json!([http(json!(["*"]))])))
        .and(rules("v", "shop", json!(["a.example"]), json!([to("first", x.clone())])))
        .and(rules("vv", "shop", json!(["a.example"]), json!([to("second", json!([]))])))
        .and(rules("vvv", "shop", json!(["a.example"]), json!([to("third", x)])));
    assert_eq!(
        hosts(&mesh.seen_by_gateway(), "http.80"),
        [json!(["a.example:80", ["a.example", "a.example:80"], ["first", "second"], null])]
    );
}

#[test]
fn more_specific_hosts_come_first() {
    let all = json!([to("r", json!([]))]);
    let mesh = Mesh::of("").and(gateway(json!([http(json!(["*"]))]))).and(rules(
        "v",
        "shop",
        json!(["*", "*.example", "b.example", "*.a.example"]),
        all,
    ));
    let found: Vec<Value> =
        hosts(&mesh.seen_by_gateway(), "http.80").into_iter().map(|h| h[1][0].clone()).collect();
    assert_eq!(found, ["b.example", "*.a.example", "*.example", "*"]);
}

#[test]
fn a_server_serves_the_hosts_that_it_names_to_the_namespaces_that_it_names() {
    let all = json!([to("r", json!([]))]);
    for (server, namespace, host, expected) in [
        ("a.example", "shop", "a.example", "a.example:80"),
        ("*.example", "shop", "a.example", "a.example:80"),
        ("a.example", "shop", "*", "a.example:80"),
        ("b.example", "shop", "a.example", "blackhole:80"),
        ("shop/a.example", "shop", "a.example", "a.example:80"),
        ("./a.example", "shop", "a.example", "a.example:80"),
        ("./a.example", "other", "a.example", "blackhole:80"),
        ("other/a.example", "shop", "a.example", "blackhole:80"),
    ] {
        let mesh = Mesh::of("").and(gateway(json!([http(json!([server]))]))).and(rules(
            "v",
            namespace,
            json!([host]),
            all.clone(),
        ));
        let found = hosts(&mesh.seen_by_gateway(), "http.80");
        assert_eq!(found[0][0], expected, "{server} {namespace} {host}");
    }
}

/// A host that only redirects needs no rules.
#[test]
fn plain_requests_are_sent_to_https_where_the_server_says_so() {
    let mut secure = http(json!(["*.a.example"]));
    secure["tls"] = json!({"httpsRedirect": true});
    let mut not = http(json!(["c.example"]));
    not["tls"] = json!({"httpsRedirect": false});
    let mesh = Mesh::of("").and(gateway(json!([secure, http(json!(["b.example"])), not]))).and(rules(
        "v",
        "shop",
        json!(["x.a.example", "b.example", "c.example"]),
        json!([to("r", json!([]))]),
    ));
    assert_eq!(
        hosts(&mesh.seen_by_gateway(), "http.80"),
        [
            json!(["x.a.example:80", ["x.a.example", "x.a.example:80"], ["r"], "ALL"]),
            json!(["b.example:80", ["b.example", "b.example:80"], ["r"], null]),
            json!(["c.example:80", ["c.example", "c.example:80"], ["r"], null]),
            json!(["*.a.example:80", ["*.a.example", "*.a.example:80"], [], "ALL"]),
        ]
    );
}

#[test]
fn rules_that_never_hold_at_the_gateway_serve_no_host() {
    let elsewhere = json!([to("r", json!([{"gateways": ["mesh"]}]))]);
    let mesh = Mesh::of("").and(gateway(json!([http(json!(["*"]))]))).and(rules(
        "v",
        "shop",
        json!(["a.example"]),
        elsewhere,
    ));
    assert_eq!(hosts(&mesh.seen_by_gateway(), "http.80")[0][0], "blackhole:80");
}

/// Clients use the port of the gateway's Service, the Pod listens on another.
#[test]
fn hosts_are_named_with_the_port_that_clients_use() {
    let mesh = Mesh::of(
        "{kind: Service, metadata: {name: edge, namespace: shop}, spec: {clusterIP: 10.96.0.9, selector: {istio: edge}, \
         ports: [{name: http, port: 80, targetPort: 8080}]}}",
    )
    .and(gateway(json!([http(json!(["*"]))])))
    .and(rules("v", "shop", json!(["a.example"]), json!([to("r", json!([{"port": 80}]))])));
    let seen = mesh.seen_by_gateway();
    assert_eq!(seen.names(type_url::LISTENER), ["0.0.0.0_8080"]);
    assert_eq!(hosts(&seen, "http.80")[0][0], "a.example:80");
}
