//! TCP proxies as messages, and what is made of them.

use serde_json::{Value, json};

use super::*;
use crate::testing::message;
use crate::value::unread;

fn compile(json: Value) -> Valid<TcpProxy> {
    TcpProxy::compile(&message(json), Compile { direction: Direction::Outbound, load: unread })
}

fn labels(pairs: Value) -> Value {
    json!({"filter_metadata": {"envoy.lb": pairs}})
}

#[test]
fn what_is_not_set_has_envoys_default() {
    let plain = compile(json!({"cluster": "c"})).unwrap();
    assert_eq!((plain.clusters, plain.total, plain.max_attempts), (vec![("c".into(), 1)], 1, 1));
    assert_eq!((plain.idle_timeout, plain.hash_source), (Some(Duration::from_secs(3600)), false));
    assert_eq!((plain.stat_prefix.as_str(), plain.direction), ("", Direction::Outbound));
}

#[test]
fn what_is_set_is_taken_over_within_bounds() {
    let of = |json: Value| {
        let mut json = json;
        json["cluster"] = json!("c");
        compile(json).unwrap()
    };
    assert_eq!(of(json!({"idle_timeout": "7s"})).idle_timeout, Some(Duration::from_secs(7)));
    assert_eq!(of(json!({"idle_timeout": "0s"})).idle_timeout, None);
    assert_eq!(of(json!({"max_connect_attempts": 3})).max_attempts, 3);
    assert_eq!(of(json!({"max_connect_attempts": 0})).max_attempts, 1);
    assert_eq!(of(json!({"max_connect_attempts": 99})).max_attempts, 16);
    assert!(of(json!({"hash_policy": [{"source_ip": {}}]})).hash_source);
    assert!(!of(json!({"hash_policy": [{"filter_state": {"key": "x"}}]})).hash_source);
    assert_eq!(of(json!({"stat_prefix": "tcp"})).stat_prefix, "tcp");
}

#[test]
fn clusters_are_drawn_by_weight() {
    let clusters =
        json!([{"name": "a", "weight": 1}, {"name": "b", "weight": 0}, {"name": "c", "weight": 3}]);
    let proxy = compile(json!({"weighted_clusters": { "clusters": clusters }})).unwrap();
    assert_eq!(proxy.total, 4);
    let drawn = (0..4000).filter(|_| {
        let name = proxy.choose().unwrap();
        assert_ne!(&*name, "b");
        &*name == "a"
    });
    // 1000; six standard deviations are 164.
    let drawn = drawn.count();
    assert!((836..=1164).contains(&drawn), "{drawn}");
}

#[test]
fn a_clusters_labels_come_before_those_of_all() {
    let proxy = compile(json!({
        "metadata_match": labels(json!({"version": "v0", "zone": "z"})),
        "weighted_clusters": {"clusters": [
            {"name": "a", "weight": 1, "metadata_match": labels(json!({"version": "v1"}))},
            {"name": "b", "weight": 1},
        ]},
    }))
    .unwrap();
    let subset = |name: &str| {
        let pairs = proxy.subset(name).iter();
        pairs.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    };
    let value = |text: &str| subset("b").split(' ').find(|pair| pair.starts_with(text)).map(str::to_owned);
    let (zone, version) = (value("zone").unwrap(), value("version").unwrap());
    assert_eq!(subset("b"), format!("{version} {zone}"));
    assert_eq!(subset("a"), format!("{} {zone}", version.replace("v0", "v1")));
    assert_eq!(subset("c"), "");
    let single = compile(json!({"cluster": "c", "metadata_match": labels(json!({"zone": "z"}))})).unwrap();
    assert_eq!(single.subset("c").len(), 1);
}

#[test]
fn proxies_that_lead_nowhere_are_refused() {
    for (json, reason) in [
        (json!({}), "no cluster"),
        (json!({"weighted_clusters": {}}), "the sum of weights is 0"),
        (json!({"cluster": "c", "tunneling_config": {"hostname": "x"}}), "tunneling_config is not supported"),
    ] {
        assert_eq!(compile(json).unwrap_err().0, reason);
    }
}
