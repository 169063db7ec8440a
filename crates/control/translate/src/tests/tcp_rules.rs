//! TCP and TLS rules of VirtualServices, as a sidecar's listener has them.

use serde_json::{Value, json};

use super::mesh::{Mesh, filter, list};

const MESH: &str = "
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{name: tcp, port: 3306}]}
---
kind: Service
metadata: {name: other, namespace: shop}
spec: {clusterIP: 10.96.0.2, ports: [{name: tcp, port: 3306}, {name: tcp-more, port: 3307}]}
";
const DB: &str = "outbound|3306||db.shop.svc.cluster.local";
const OTHER: &str = "outbound|3306||other.shop.svc.cluster.local";

fn mesh(spec: Value) -> Mesh {
    let mut spec = spec;
    spec["hosts"] = json!(["db"]);
    spec["gateways"] = json!(["mesh", "shop/edge"]);
    Mesh::of(MESH)
        .and(json!({"kind": "VirtualService", "metadata": {"name": "v", "namespace": "shop"}, "spec": spec}))
}

fn to(host: &str) -> Value {
    json!([{"destination": {"host": host, "port": {"number": 3306}}}])
}

/// The condition of each filter chain and where it leads; the default chain comes last.
fn chains(mesh: &Mesh) -> Vec<Value> {
    let listener = mesh.seen_by_sidecar().listener("10.96.0.1_3306");
    let shown = |chain: &Value| {
        let proxy = filter(&chain["filters"], "tcp_proxy");
        let target = if proxy["cluster"].is_null() {
            &proxy["weighted_clusters"]["clusters"]
        } else {
            &proxy["cluster"]
        };
        json!([chain["filter_chain_match"], target])
    };
    let all = list(&listener["filter_chains"]).iter();
    all.chain(listener.get("default_filter_chain")).map(shown).collect()
}

#[test]
fn a_tcp_proxy_in_full() {
    let listener =
        Mesh::of(MESH).with(json!({"accessLogFile": "/log"})).seen_by_sidecar().listener("10.96.0.1_3306");
    let mut filters = listener["filter_chains"][0]["filters"].clone();
    let log = &mut filters[2]["typed_config"]["access_log"];
    assert_eq!(log[0]["typed_config"]["path"], "/log");
    *log = json!("shown elsewhere");
    assert_eq!(
        filters,
        json!([
            {"name": "istio.metadata_exchange", "typed_config": {}},
            {"name": "istio.stats", "typed_config": {}},
            {"name": "envoy.filters.network.tcp_proxy",
                "typed_config": {"stat_prefix": DB, "cluster": DB, "access_log": "shown elsewhere"}},
        ])
    );
}

#[test]
fn connections_are_divided_by_weight() {
    let weighted = |host: &str, weight: Value| json!({"destination": {"host": host, "port": {"number": 3306}}, "weight": weight});
    for (route, expected) in [
        (json!([weighted("other", json!(0))]), json!(OTHER)),
        (json!([weighted("other", json!(100)), weighted("db", json!(0))]), json!(OTHER)),
        (
            json!([weighted("other", json!(70)), weighted("db", json!(30))]),
            json!([{"name": OTHER, "weight": 70}, {"name": DB, "weight": 30}]),
        ),
        // Nothing is left of the rule.
        (json!([weighted("other", json!(0)), weighted("other", json!(0))]), json!(DB)),
    ] {
        let found = chains(&mesh(json!({"tcp": [{"route": route}]})));
        assert_eq!(found, [json!([null, expected])], "{route}");
    }
}

#[test]
fn statistics_are_counted_under_the_first_cluster() {
    let listener = mesh(json!({"tcp": [{"route": [
        {"destination": {"host": "other", "port": {"number": 3306}}, "weight": 1},
        {"destination": {"host": "db"}, "weight": 1}]}]}))
    .seen_by_sidecar()
    .listener("10.96.0.1_3306");
    let proxy = filter(&listener["filter_chains"][0]["filters"], "tcp_proxy");
    assert_eq!(proxy["stat_prefix"], OTHER);
}

#[test]
fn addresses_of_a_condition_are_the_chains() {
    let range = |address: &str, len: u32| json!({"address_prefix": address, "prefix_len": len});
    let only = |key: &str, ranges: Value| json!([{key: ranges}, OTHER]);
    for (m, expected) in [
        (json!({"destinationSubnets": ["10.0.0.0/8"]}), only("prefix_ranges", json!([range("10.0.0.0", 8)]))),
        (json!({"destinationSubnets": ["10.0.0.1"]}), only("prefix_ranges", json!([range("10.0.0.1", 32)]))),
        (json!({"destinationSubnets": ["fd00::1"]}), only("prefix_ranges", json!([range("fd00::1", 128)]))),
        (
            json!({"destinationSubnets": ["10.0.0.1/40", "x", "10.0.0.0/x"]}),
            only("prefix_ranges", json!([range("10.0.0.1", 32)])),
        ),
        (json!({"sourceSubnet": "10.0.0.0/8"}), only("source_prefix_ranges", json!([range("10.0.0.0", 8)]))),
    ] {
        let found = chains(&mesh(json!({"tcp": [{"match": [m], "route": to("other")}]})));
        assert_eq!(found, [expected, json!([null, DB])], "{m}");
    }
}

#[test]
fn conditions_that_cannot_hold_make_no_chain() {
    for (m, holds) in [
        (json!({"port": 3306}), true),
        (json!({"port": 3307}), false),
        (json!({"gateways": ["mesh"]}), true),
        (json!({"gateways": ["shop/edge"]}), false),
        (json!({"sourceLabels": {"app": "web"}}), true),
        (json!({"sourceLabels": {"app": "x"}}), false),
        (json!({"sourceNamespace": "shop"}), true),
        (json!({"sourceNamespace": "x"}), false),
    ] {
        let of_tcp = chains(&mesh(json!({"tcp": [{"match": [m], "route": to("other")}]})));
        assert_eq!(of_tcp, [json!([null, if holds { OTHER } else { DB }])], "{m}");
        let mut with_name = m.clone();
        with_name["sniHosts"] = json!(["x.example"]);
        let of_tls = chains(&mesh(json!({"tls": [{"match": [with_name], "route": to("other")}]})));
        assert_eq!(of_tls.len(), if holds { 2 } else { 1 }, "{m}");
    }
}

#[test]
fn tcp_rules_end_with_the_first_that_takes_everything() {
    let narrow = json!({"match": [{"sourceSubnet": "10.0.0.0/8"}], "route": to("other")});
    let by_address = json!({"match": [{"destinationSubnets": ["10.0.0.0/8"]}], "route": to("other")});
    let everything = json!({"match": [{"port": 3306}], "route": to("other")});
    for (first, chains_made) in
        [(&narrow, 2), (&by_address, 2), (&everything, 1), (&json!({"route": to("other")}), 1)]
    {
        let second = json!({"match": [{"sourceSubnet": "192.0.2.0/24"}], "route": to("db")});
        let found = chains(&mesh(json!({"tcp": [first, second]})));
        let matched = found.iter().filter(|c| !c[0].is_null()).count();
        assert_eq!(found.len() - usize::from(chains_made == 2), chains_made, "{first} {found:?}");
        assert_eq!(matched, if chains_made == 2 { 2 } else { 0 }, "{first}");
    }
}

#[test]
fn tls_rules_choose_by_name() {
    let range = json!([{"address_prefix": "10.0.0.0", "prefix_len": 8}]);
    for (m, expected) in [
        (
            json!({"sniHosts": ["X.example", "y.example"]}),
            json!({"server_names": ["x.example", "y.example"], "transport_protocol": "tls"}),
        ),
        (json!({"sniHosts": ["*"]}), json!({"transport_protocol": "tls"})),
        (
            json!({"sniHosts": ["x.example"], "destinationSubnets": ["10.0.0.0/8"]}),
            json!({"server_names": ["x.example"], "prefix_ranges": range, "transport_protocol": "tls"}),
        ),
    ] {
        let found = chains(&mesh(json!({"tls": [{"match": [m], "route": to("other")}]})));
        assert_eq!(found, [json!([expected, OTHER]), json!([null, DB])], "{m}");
    }
}

#[test]
fn a_name_leads_where_the_first_rule_for_it_says() {
    let rule = |names: Value, host: &str| json!({"match": [{"sniHosts": names}], "route": to(host)});
    let spec = json!({"tls": [
        rule(json!(["x.example"]), "other"),
        rule(json!(["x.example", "y.example"]), "db"),
        rule(json!(["y.example"]), "other"),
    ]});
    let names = |names: Value| json!({"server_names": names, "transport_protocol": "tls"});
    assert_eq!(
        chains(&mesh(spec)),
        [
            json!([names(json!(["x.example"])), OTHER]),
            json!([names(json!(["y.example"])), DB]),
            json!([null, DB]),
        ]
    );
}

#[test]
fn connections_are_hashed_by_source_where_the_destination_says_so() {
    for (hash, expected) in [
        (json!({"useSourceIp": true}), json!([{"source_ip": {}}])),
        (json!({"useSourceIp": false}), json!(null)),
        (json!({"httpHeaderName": "x"}), json!(null)),
    ] {
        let rule = json!({"kind": "DestinationRule", "metadata": {"name": "r", "namespace": "shop"}, "spec": {
            "host": "other", "trafficPolicy": {"loadBalancer": {"consistentHash": hash}}}});
        let seen = mesh(json!({"tcp": [{"route": to("other")}]})).and(rule).seen_by_sidecar();
        let listener = seen.listener("10.96.0.1_3306");
        let proxy = filter(&listener["filter_chains"][0]["filters"], "tcp_proxy");
        assert_eq!(proxy["hash_policy"], expected, "{hash}");
    }
}
