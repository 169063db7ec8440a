//! Which requests an HTTP rule of a VirtualService takes.

use serde_json::{Value, json};

use super::{
    fixture,
    mesh::{Mesh, list},
};

fn mesh(rules: Value) -> Mesh {
    Mesh::of(
        "{kind: Service, metadata: {name: a, namespace: shop}, spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}}",
    )
    .and(json!({"kind": "VirtualService", "metadata": {"name": "v", "namespace": "shop"},
        "spec": {"hosts": ["a"], "gateways": ["mesh", "shop/edge"], "http": rules}}))
}

fn to_a(rule: Value) -> Value {
    let mut rule = rule;
    rule["route"] = json!([{"destination": {"host": "a"}}]);
    rule
}

/// The routes of these rules, by name.
fn names(rules: &[Value]) -> Vec<String> {
    let found = mesh(rules.iter().cloned().map(to_a).collect()).seen_by_sidecar().routes("80");
    let routes = list(&found["virtual_hosts"][0]["routes"]);
    routes.iter().map(|r| r["name"].as_str().unwrap().to_owned()).collect()
}

/// What a condition is in the route.
fn condition(m: Value) -> Value {
    let found = mesh(json!([to_a(json!({"match": [m]}))])).seen_by_sidecar().routes("80");
    found["virtual_hosts"][0]["routes"][0]["match"].clone()
}

#[test]
fn paths_are_compared_as_the_rule_says() {
    for (m, expected) in [
        (json!({"uri": {"exact": "/a"}}), json!({"path": "/a", "case_sensitive": true})),
        (json!({"uri": {"prefix": "/a"}}), json!({"prefix": "/a", "case_sensitive": true})),
        (json!({"uri": {"regex": "/a.*"}}), json!({"safe_regex": {"regex": "/a.*"}, "case_sensitive": true})),
        (json!({"uri": {}}), json!({"prefix": "/", "case_sensitive": true})),
        (
            json!({"uri": {"prefix": "/a"}, "ignoreUriCase": true}),
            json!({"prefix": "/a", "case_sensitive": false}),
        ),
    ] {
        assert_eq!(condition(m.clone()), expected, "{m}");
    }
}

#[test]
fn headers_are_compared_as_the_rule_says() {
    let regex = |text: &str| json!({"string_match": {"safe_regex": {"regex": text}}});
    let with = |name: &str, mut value: Value| {
        value["name"] = json!(name);
        json!([value])
    };
    for (m, expected) in [
        (json!({"headers": {"X-A": {"exact": "v"}}}), with("x-a", json!({"string_match": {"exact": "v"}}))),
        (json!({"headers": {"x": {"prefix": "v"}}}), with("x", json!({"string_match": {"prefix": "v"}}))),
        (json!({"headers": {"x": {"regex": "v.*"}}}), with("x", regex("v.*"))),
        (json!({"headers": {"x": {"regex": "*"}}}), with("x", json!({"present_match": true}))),
        (json!({"headers": {"x": {}}}), with("x", json!({"present_match": true}))),
        (json!({"headers": {"x": {"exact": ""}}}), with("x", json!({"string_match": {"exact": ""}}))),
        // Envoy refuses an empty prefix or expression.
        (json!({"headers": {"x": {"prefix": ""}}}), with("x", regex(".*"))),
        (json!({"headers": {"x": {"regex": ""}}}), with("x", json!({"present_match": true}))),
        (json!({"method": {"exact": "GET"}}), with(":method", json!({"string_match": {"exact": "GET"}}))),
        (json!({"authority": {"exact": "h"}}), with(":authority", json!({"string_match": {"exact": "h"}}))),
        (json!({"scheme": {"exact": "https"}}), with(":scheme", json!({"string_match": {"exact": "https"}}))),
        // These have fields of their own.
        (
            json!({"headers": {"URI": {"exact": "v"}, "scheme": {}, "method": {}, "authority": {}}}),
            json!(null),
        ),
        (json!({"withoutHeaders": {"uri": {"exact": "v"}}}), json!(null)),
    ] {
        assert_eq!(condition(m.clone())["headers"], expected, "{m}");
    }
}

/// A header that is missing does not have the unwanted value.
#[test]
fn unwanted_headers_may_be_missing() {
    for (value, expected) in [
        (
            json!({"exact": "v"}),
            json!({"name": "x", "string_match": {"exact": "v"}, "invert_match": true,
                "treat_missing_header_as_empty": true}),
        ),
        (json!({}), json!({"name": "x", "present_match": true, "invert_match": true})),
    ] {
        assert_eq!(condition(json!({"withoutHeaders": {"X": value}}))["headers"], json!([expected]));
    }
}

#[test]
fn query_parameters_are_compared_as_the_rule_says() {
    for (value, expected) in [
        (json!({"exact": "v"}), json!([{"name": "q", "string_match": {"exact": "v"}}])),
        (json!({"regex": "*"}), json!([{"name": "q", "present_match": true}])),
    ] {
        assert_eq!(condition(json!({"queryParams": {"q": value}}))["query_parameters"], expected);
    }
}

#[test]
fn conditions_that_cannot_hold_for_the_proxy_make_no_route() {
    for (m, holds) in [
        (json!({"gateways": ["mesh"]}), true),
        (json!({"gateways": ["shop/edge", "mesh"]}), true),
        (json!({"gateways": ["shop/edge"]}), false),
        (json!({"port": 80}), true),
        (json!({"port": 81}), false),
        (json!({"sourceLabels": {"app": "web"}}), true),
        (json!({"sourceLabels": {"app": "other"}}), false),
        (json!({"sourceLabels": {"app": "web", "version": "v1"}}), false),
        (json!({"sourceNamespace": "shop"}), true),
        (json!({"sourceNamespace": ""}), true),
        (json!({"sourceNamespace": "other"}), false),
    ] {
        let mut one = m.clone();
        one["uri"] = json!({"prefix": "/a"});
        let found = names(&[json!({"name": "one", "match": [one]}), json!({"name": "last"})]);
        assert_eq!(found, if holds { vec!["one", "last"] } else { vec!["last"] }, "{m}");
    }
}

/// What is behind a route that takes everything is never reached.
#[test]
fn routes_end_with_the_first_that_takes_everything() {
    let everything = |condition: Value| json!({"name": "all", "match": [condition]});
    for (all, ends) in [
        (json!({"name": "all"}), true),
        (everything(json!({"uri": {"prefix": "/"}})), true),
        (everything(json!({})), true),
        (everything(json!({"uri": {"regex": ".*"}})), true),
        (everything(json!({"uri": {"regex": "*"}})), true),
        (everything(json!({"uri": {"regex": "/.*"}})), false),
        (everything(json!({"uri": {"prefix": "/a"}})), false),
        (everything(json!({"uri": {"exact": "/"}})), false),
        (everything(json!({"headers": {"x": {"exact": "v"}}})), false),
        (everything(json!({"queryParams": {"q": {"exact": "v"}}})), false),
    ] {
        let found = names(&[all.clone(), json!({"name": "next"})]);
        assert_eq!(found, if ends { vec!["all"] } else { vec!["all", "next"] }, "{all}");
    }
}

#[test]
fn a_rule_has_a_route_for_each_of_its_conditions() {
    let conditions = json!([{"name": "x", "uri": {"prefix": "/x"}}, {"name": "y", "uri": {"prefix": "/y"}}]);
    assert_eq!(names(&[json!({"name": "r", "match": conditions})]), ["r.x", "r.y"]);
}

#[test]
fn labels_of_the_pod_count_rather_than_those_that_the_proxy_states() {
    let rules =
        [json!({"name": "mine", "match": [{"sourceLabels": {"app": "pod"}}]}), json!({"name": "last"})];
    let mesh = mesh(rules.into_iter().map(to_a).collect()).and(json!({"kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "pod"}},
        "spec": {"containers": [{"name": "app"}]}, "status": {"podIP": "10.0.0.1"}}));
    let node = fixture::node("sidecar", "shop", "web-1", "10.0.0.1", &[("app", "stated")], false);
    let found = mesh.seen_by(node).routes("80");
    assert_eq!(found["virtual_hosts"][0]["routes"][0]["name"], "mine");
}
