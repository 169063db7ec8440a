//! Route configurations of sidecars: which hosts they know, under which names, and what happens to others.

use portolan_xds::type_url;
use serde_json::{Value, json};

use super::mesh::{Mesh, Seen, list};

const SERVICES: &str = "
kind: Service
metadata: {name: a, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}
---
kind: Service
metadata: {name: tcp, namespace: shop}
spec: {clusterIP: 10.96.0.3, ports: [{name: tcp, port: 80}]}
---
kind: Service
metadata: {name: sniffed, namespace: shop}
spec: {clusterIP: 10.96.0.4, ports: [{name: x, port: 80}]}
";

/// Names and domains of the hosts of a route configuration, but the last one, which takes the rest. None where no listener
/// asks for it.
fn hosts(seen: &Seen, name: &str) -> Vec<(String, Vec<String>)> {
    let found = seen.find(type_url::ROUTE, name);
    if found.is_null() {
        return Vec::new();
    }
    let all = list(&found["virtual_hosts"]);
    let shown = |host: &Value| {
        let domains = list(&host["domains"]).iter().map(|d| d.as_str().unwrap().to_owned());
        (host["name"].as_str().unwrap().to_owned(), domains.collect())
    };
    all[..all.len() - 1].iter().map(shown).collect()
}

fn names(seen: &Seen, name: &str) -> Vec<String> {
    hosts(seen, name).into_iter().map(|(name, _)| name).collect()
}

fn domains(mesh: &Mesh, host: &str) -> Vec<String> {
    let found = hosts(&mesh.seen_by_sidecar(), "80");
    found.into_iter().find(|(name, _)| name == host).unwrap().1
}

#[test]
fn a_route_configuration_in_full() {
    let mut found = Mesh::of(SERVICES).seen_by_sidecar().routes("80");
    found["virtual_hosts"][0]["routes"] = json!("shown elsewhere");
    assert_eq!(
        found,
        json!({
            "name": "80",
            "virtual_hosts": [
                {
                    "name": "a.shop.svc.cluster.local:80",
                    "domains": ["a.shop.svc.cluster.local", "a.shop.svc.cluster.local:80", "a", "a:80", "a.shop",
                        "a.shop:80", "a.shop.svc", "a.shop.svc:80", "10.96.0.1", "10.96.0.1:80"],
                    "routes": "shown elsewhere",
                    "include_request_attempt_count": true,
                },
                {
                    "name": "allow_any",
                    "domains": ["*"],
                    "routes": [{
                        "name": "allow_any", "match": {"prefix": "/"},
                        "route": {"cluster": "PassthroughCluster", "timeout": "0s", "max_grpc_timeout": "0s"},
                    }],
                    "include_request_attempt_count": true,
                },
            ],
            "validate_clusters": false,
        })
    );
}

#[test]
fn unknown_hosts_are_refused_where_only_the_registry_is_allowed() {
    let mesh = Mesh::of(SERVICES).with(json!({"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}));
    let found = mesh.seen_by_sidecar().routes("80");
    assert_eq!(
        list(&found["virtual_hosts"]).last().unwrap(),
        &json!({
            "name": "block_all",
            "domains": ["*"],
            "routes": [{"name": "block_all", "match": {"prefix": "/"}, "direct_response": {"status": 502}}],
            "include_request_attempt_count": true,
        })
    );
}

/// Sniffed ports with an address have a listener and routes of their own; opaque ones have none.
#[test]
fn services_are_known_where_their_protocol_puts_them() {
    let headless = json!({"kind": "Service", "metadata": {"name": "nowhere", "namespace": "shop"},
        "spec": {"clusterIP": "None", "ports": [{"name": "x", "port": 80}]}});
    let seen = Mesh::of(SERVICES).and(headless).seen_by_sidecar();
    let nowhere = "nowhere.shop.svc.cluster.local:80";
    assert_eq!(names(&seen, "80"), ["a.shop.svc.cluster.local:80", nowhere]);
    let sniffed = "sniffed.shop.svc.cluster.local:80";
    assert_eq!(names(&seen, sniffed), [sniffed]);
    assert_eq!(names(&seen, "81"), [""; 0]);
    for name in ["x", "http.80", "a:x"] {
        assert_eq!(seen.find(type_url::ROUTE, name), Value::Null, "{name}");
    }
}

#[test]
fn pods_of_a_headless_service_have_names_of_their_own() {
    let mesh = Mesh::of(
        "{kind: Service, metadata: {name: a, namespace: other}, spec: {clusterIP: None, ports: [{name: http, port: 80}]}}",
    );
    let full = "a.other.svc.cluster.local";
    let expected: Vec<String> = [full, "a.other", "a.other.svc"]
        .iter()
        .flat_map(|name| {
            [name.to_string(), format!("{name}:80"), format!("*.{name}"), format!("*.{name}:80")]
        })
        .collect();
    assert_eq!(domains(&mesh, &format!("{full}:80")), expected);
}

#[test]
fn addresses_are_names_as_they_are_written_in_urls() {
    let entry = json!({"kind": "ServiceEntry", "metadata": {"name": "s", "namespace": "shop"}, "spec": {
        "hosts": ["s.example"], "addresses": ["fd00::1", "192.0.2.1", "198.51.100.0/24"],
        "ports": [{"number": 80, "name": "p", "protocol": "HTTP"}], "resolution": "STATIC"}});
    assert_eq!(
        domains(&Mesh::of("").and(entry), "s.example:80"),
        ["s.example", "s.example:80", "[fd00::1]", "[fd00::1]:80", "192.0.2.1", "192.0.2.1:80"]
    );
}

/// A domain stands in one host only: whole names come before wildcards, then the older service.
#[test]
fn a_name_belongs_to_the_most_specific_and_oldest_service() {
    let entry = |name: &str, hosts: Value, created: &str| {
        json!({"kind": "ServiceEntry",
            "metadata": {"name": name, "namespace": "shop", "creationTimestamp": created},
            "spec": {"hosts": hosts, "addresses": ["192.0.2.1"],
                "ports": [{"number": 80, "name": "p", "protocol": "HTTP"}], "resolution": "STATIC"}})
    };
    let mesh = Mesh::of("")
        .and(entry("wild", json!(["*.example"]), "2021-01-01T00:00:00Z"))
        .and(entry("young", json!(["a.example"]), "2021-03-01T00:00:00Z"))
        .and(entry("old", json!(["b.example"]), "2021-02-01T00:00:00Z"));
    let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        hosts(&mesh.seen_by_sidecar(), "80"),
        [
            ("*.example:80".to_owned(), owned(&["*.example", "*.example:80"])),
            ("a.example:80".to_owned(), owned(&["a.example", "a.example:80"])),
            ("b.example:80".to_owned(), owned(&["b.example", "b.example:80", "192.0.2.1", "192.0.2.1:80"])),
        ]
    );
}

fn rules_for(hosts: Value, m: Value) -> Value {
    json!({"kind": "VirtualService", "metadata": {"name": "v", "namespace": "shop"}, "spec": {
        "hosts": hosts, "http": [{"name": "mine", "match": m, "route": [{"destination": {"host": "a"}}]}]}})
}

#[test]
fn hosts_that_are_no_service_are_served_on_the_port_of_http() {
    for (host, port, expected) in [
        ("other.example", "80", true),
        ("other.example", "81", false),
        ("other.example", "sniffed.shop.svc.cluster.local:80", false),
        ("*.other.example", "80", true),
        // That would also take hosts of outside.
        ("*.cluster.local", "80", false),
        ("*", "80", false),
    ] {
        let mesh = Mesh::of(SERVICES).and(rules_for(json!([host]), json!([])));
        let found = names(&mesh.seen_by_sidecar(), port);
        assert_eq!(found.contains(&format!("{host}:80")), expected, "{host} {port}");
    }
}

#[test]
fn a_host_without_rules_that_hold_is_not_served() {
    let never = json!([{"sourceLabels": {"app": "other"}}]);
    let mesh = Mesh::of(SERVICES).and(rules_for(json!(["other.example"]), never));
    assert_eq!(names(&mesh.seen_by_sidecar(), "80"), ["a.shop.svc.cluster.local:80"]);
}

#[test]
fn a_service_without_rules_that_hold_is_reached_as_if_it_had_none() {
    let route = |m: Value| {
        let found = Mesh::of(SERVICES).and(rules_for(json!(["a"]), m)).seen_by_sidecar().routes("80");
        found["virtual_hosts"][0]["routes"][0]["name"].clone()
    };
    assert_eq!(route(json!([])), "mine");
    assert_eq!(route(json!([{"sourceLabels": {"app": "other"}}])), "default");
}
