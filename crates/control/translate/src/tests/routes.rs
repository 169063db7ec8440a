//! What the HTTP rules of a VirtualService do with a request.

use serde_json::{Value, json};

use super::mesh::{Mesh, at, list};

const SERVICES: &str = "
kind: Service
metadata: {name: a, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}
---
kind: Service
metadata: {name: b, namespace: shop}
spec: {clusterIP: 10.96.0.2, ports: [{name: http, port: 80}, {name: http-other, port: 81}]}
";
const A: &str = "outbound|80||a.shop.svc.cluster.local";
const B: &str = "outbound|81||b.shop.svc.cluster.local";

fn mesh(rules: Value) -> Mesh {
    Mesh::of(SERVICES).and(json!({"kind": "VirtualService", "metadata": {"name": "v", "namespace": "shop"},
        "spec": {"hosts": ["a"], "http": rules}}))
}

/// The routes for requests to the service `a`.
fn routes_in(mesh: &Mesh) -> Vec<Value> {
    let found = mesh.seen_by_sidecar().routes("80");
    let host = list(&found["virtual_hosts"]).iter().find(|h| h["name"] == "a.shop.svc.cluster.local:80");
    list(&host.unwrap()["routes"]).to_vec()
}

/// The route of a rule that goes to `a`, with these fields besides.
fn route(rule: Value) -> Value {
    let mut rule = rule;
    if rule["route"].is_null() {
        rule["route"] = json!([{"destination": {"host": "a"}}]);
    }
    routes_in(&mesh(json!([rule]))).remove(0)
}

/// What a route without any wish is in full, which is also what a service without rules gets.
fn plain(name: Option<&str>) -> Value {
    let mut out = json!({
        "match": {"prefix": "/"},
        "route": {
            "cluster": A,
            "timeout": "0s",
            "max_grpc_timeout": "0s",
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
                "num_retries": 2,
                "retry_host_predicate": [
                    {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {}}],
                "host_selection_retry_max_attempts": "5",
                "retriable_status_codes": [503],
            },
        },
        "decorator": {"operation": "a.shop.svc.cluster.local:80/*"},
    });
    match name {
        Some(name) => out["name"] = json!(name),
        None => {
            out["metadata"] = json!({"filter_metadata": {"istio": {
                "config": "/apis/networking.istio.io/v1alpha3/namespaces/shop/virtual-service/v"}}});
        }
    }
    out
}

#[test]
fn the_route_of_a_rule_in_full() {
    assert_eq!(route(json!({})), plain(None));
}

#[test]
fn a_service_without_rules_has_a_route_of_the_same_form() {
    assert_eq!(routes_in(&Mesh::of(SERVICES)), [plain(Some("default"))]);
}

#[test]
fn a_route_is_named_after_rule_and_condition() {
    for (rule, condition, expected) in [
        (json!(null), json!(null), json!(null)),
        (json!("r"), json!(null), json!("r")),
        (json!("r"), json!(""), json!("r")),
        (json!(null), json!("c"), json!("c")),
        (json!("r"), json!("c"), json!("r.c")),
    ] {
        let found = route(json!({"name": rule, "match": [{"name": condition, "uri": {"prefix": "/a"}}]}));
        assert_eq!(found["name"], expected, "{rule} {condition}");
    }
}

#[test]
fn redirects_say_where_to_and_with_which_status() {
    for (redirect, expected) in [
        (json!({"uri": "/new"}), json!({"path_redirect": "/new"})),
        (json!({"authority": "x.example"}), json!({"host_redirect": "x.example"})),
        (json!({"uri": "/", "redirectCode": 301}), json!({"path_redirect": "/"})),
        (json!({"uri": "/", "redirectCode": 302}), json!({"path_redirect": "/", "response_code": "FOUND"})),
        (
            json!({"uri": "/", "redirectCode": 303}),
            json!({"path_redirect": "/", "response_code": "SEE_OTHER"}),
        ),
        (
            json!({"uri": "/", "redirectCode": 307}),
            json!({"path_redirect": "/", "response_code": "TEMPORARY_REDIRECT"}),
        ),
        (
            json!({"uri": "/", "redirectCode": 308}),
            json!({"path_redirect": "/", "response_code": "PERMANENT_REDIRECT"}),
        ),
    ] {
        assert_eq!(route(json!({"redirect": redirect}))["redirect"], expected, "{redirect}");
    }
}

#[test]
fn a_timeout_holds_for_grpc_too() {
    let found = route(json!({"timeout": "3s"}));
    assert_eq!(
        (&found["route"]["timeout"], &found["route"]["max_grpc_timeout"]),
        (&json!("3s"), &json!("3s"))
    );
}

#[test]
fn rewrites_replace_what_the_condition_matched() {
    let regex = json!({"regex": "/a/.*"});
    let substitution = |text: &str| json!({"pattern": {"regex": "/a/.*"}, "substitution": text});
    for (uri, rewrite, expected) in [
        (json!({"prefix": "/a"}), json!({"uri": "/b"}), json!(["/b", null, null])),
        (json!(null), json!({"uri": "/b"}), json!(["/b", null, null])),
        (regex.clone(), json!({"uri": "/b"}), json!([null, substitution("/b"), null])),
        (regex, json!({"uri": "/\\1"}), json!([null, substitution("/\\\\1"), null])),
        (json!({"prefix": "/a"}), json!({"authority": "x"}), json!([null, null, "x"])),
        (json!({"prefix": "/a"}), json!({"uri": "/b", "authority": "x"}), json!(["/b", null, "x"])),
    ] {
        let found = route(json!({"match": [{"uri": uri}], "rewrite": rewrite}));
        let action = &found["route"];
        let shown =
            json!([action["prefix_rewrite"], action["regex_rewrite"], action["host_rewrite_literal"]]);
        assert_eq!(shown, expected, "{uri} {rewrite}");
    }
}

#[test]
fn a_share_of_requests_is_mirrored() {
    let policy = |millionths: u32| {
        let mut share = json!({"denominator": "MILLION"});
        if millionths > 0 {
            share["numerator"] = json!(millionths);
        }
        json!([{"cluster": B, "runtime_fraction": {"default_value": share}, "trace_sampled": false}])
    };
    for (fields, expected) in [
        (json!({}), policy(1_000_000)),
        (json!({"mirror_percent": 50}), policy(500_000)),
        (json!({"mirrorPercentage": {"value": 0.5}}), policy(5_000)),
        (json!({"mirrorPercentage": {"value": 0.5}, "mirror_percent": 50}), policy(5_000)),
        (json!({"mirrorPercentage": {"value": 0.0}}), json!(null)),
        (json!({"mirror_percent": 0}), json!(null)),
        (json!({"mirrorPercentage": {"value": 200.0}}), policy(1_000_000)),
    ] {
        let mut rule = fields.clone();
        rule["mirror"] = json!({"host": "b", "port": {"number": 81}});
        assert_eq!(route(rule)["route"]["request_mirror_policies"], expected, "{fields}");
    }
}

#[test]
fn requests_are_divided_by_weight() {
    let to = |host: &str, weight: Value| json!({"destination": {"host": host, "port": {"number": 80}}, "weight": weight});
    let b = "outbound|80||b.shop.svc.cluster.local";
    for (destinations, expected) in [
        (json!([to("a", json!(null))]), json!([A, null])),
        (json!([to("a", json!(0))]), json!([A, null])),
        (json!([to("a", json!(100)), to("b", json!(0))]), json!([A, null])),
        (
            json!([to("a", json!(1)), to("b", json!(99))]),
            json!([null, [{"name": A, "weight": 1}, {"name": b, "weight": 99}]]),
        ),
    ] {
        let found = route(json!({"route": destinations}));
        let action = &found["route"];
        assert_eq!(
            json!([action["cluster"], action["weighted_clusters"]["clusters"]]),
            expected,
            "{destinations}"
        );
    }
}

#[test]
fn a_rule_whose_destinations_have_no_weight_at_all_is_left_out() {
    let none = json!({"route": [
        {"destination": {"host": "a"}, "weight": 0}, {"destination": {"host": "b"}, "weight": 0}]});
    let last = json!({"name": "last", "route": [{"destination": {"host": "a"}}]});
    let found = routes_in(&mesh(json!([none, last])));
    assert_eq!(found.iter().map(|r| r["name"].clone()).collect::<Vec<_>>(), ["last"]);
}

#[test]
fn headers_are_edited_on_the_route_and_for_each_destination() {
    let edits = json!({
        "request": {"set": {"s": "1"}, "add": {"t": "2"}, "remove": ["u", ":path", "Host", "host"]},
        "response": {"set": {"v": "3"}, "add": {"w": "4"}, "remove": ["x"]},
    });
    let set = |key: &str, value: &str| json!({"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"});
    let add = |key: &str, value: &str| json!({"header": {"key": key, "value": value}});
    let expected = json!([[set("s", "1"), add("t", "2")], ["u"], [set("v", "3"), add("w", "4")], ["x"],]);
    let shown = |v: &Value| {
        json!([
            v["request_headers_to_add"],
            v["request_headers_to_remove"],
            v["response_headers_to_add"],
            v["response_headers_to_remove"]
        ])
    };
    assert_eq!(shown(&route(json!({"headers": edits}))), expected);
    let found = route(json!({"route": [{"destination": {"host": "a"}, "headers": edits}]}));
    let clusters = &found["route"]["weighted_clusters"]["clusters"];
    assert_eq!(list(clusters).len(), 1);
    assert_eq!((&clusters[0]["name"], &clusters[0]["weight"]), (&json!(A), &json!(100)));
    assert_eq!(shown(&clusters[0]), expected);
}

#[test]
fn a_destination_without_a_port_is_the_only_port_or_the_one_of_the_listener() {
    for (destination, expected) in [
        (json!({"host": "a"}), A),
        (json!({"host": "a", "port": {"number": 0}}), A),
        (json!({"host": "b"}), "outbound|80||b.shop.svc.cluster.local"),
        (json!({"host": "b", "port": {"number": 81}}), B),
        (
            json!({"host": "b", "subset": "v1", "port": {"number": 81}}),
            "outbound|81|v1|b.shop.svc.cluster.local",
        ),
        (json!({"host": "unknown.example"}), "outbound|80||unknown.example"),
    ] {
        let found = route(json!({"route": [{"destination": destination}]}));
        assert_eq!(found["route"]["cluster"], expected, "{destination}");
        let operation = expected.split('|').collect::<Vec<_>>();
        let expected = format!("{}:{}/*", operation[3], operation[1]);
        assert_eq!(found["decorator"]["operation"], expected, "{destination}");
    }
}

fn hashed_by(hash: &Value) -> Value {
    json!({"kind": "DestinationRule", "metadata": {"name": "r", "namespace": "shop"}, "spec": {
        "host": "a", "trafficPolicy": {"loadBalancer": {"consistentHash": hash}}}})
}

#[test]
fn routes_hash_what_the_destination_balances_by() {
    for (hash, expected) in [
        (json!({"httpHeaderName": "x"}), json!([{"header": {"header_name": "x"}}])),
        (
            json!({"httpCookie": {"name": "c", "path": "/p", "ttl": "5s"}}),
            json!([{"cookie": {"name": "c", "path": "/p", "ttl": "5s"}}]),
        ),
        (json!({"httpCookie": {"name": "c"}}), json!([{"cookie": {"name": "c"}}])),
        (json!({"httpQueryParameterName": "q"}), json!([{"query_parameter": {"name": "q"}}])),
        (json!({"useSourceIp": true}), json!([{"connection_properties": {"source_ip": true}}])),
        (json!({"useSourceIp": false}), json!(null)),
    ] {
        let plain = Mesh::of(SERVICES).and(hashed_by(&hash));
        let by_rule = mesh(json!([{"route": [{"destination": {"host": "a"}}]}])).and(hashed_by(&hash));
        for mesh in [plain, by_rule] {
            let found = routes_in(&mesh).remove(0);
            assert_eq!(at(&found, "/route/hash_policy"), expected, "{hash}");
        }
    }
}
