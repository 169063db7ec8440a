//! Load balancing settings at the edge of what is taken.

use portolan_balance::{HashSettings, Policy};
use serde_json::{Value, json};

use super::super::*;
use crate::testing::message;
use crate::value::unread;

const POLICIES: &str = "type.googleapis.com/envoy.extensions.load_balancing_policies";

fn compile(fields: Value) -> Valid<ClusterConfig> {
    let mut from = json!({"name": "c"});
    from.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    ClusterConfig::compile(&message(from), unread)
}

/// A policy of `load_balancing_policy`.
fn policy(kind: &str, fields: Value) -> Value {
    let mut config = fields;
    config["@type"] = json!(format!("{POLICIES}.{kind}"));
    json!({"policies": [{"typed_extension_config": {"name": "p", "typed_config": config}}]})
}

fn extension(kind: &str, fields: Value) -> Valid<ClusterConfig> {
    compile(json!({"load_balancing_policy": policy(kind, fields)}))
}

fn refusal(compiled: Valid<ClusterConfig>) -> String {
    compiled.err().map(|Invalid(reason)| reason).unwrap_or_default()
}

#[test]
fn breakers_take_over_what_is_set() {
    let of = |fields: Value| compile(json!({"circuit_breakers": {"thresholds": [fields]}}));
    let set = json!({"max_connections": 1, "max_pending_requests": 2, "max_requests": 3, "max_retries": 4});
    let limits = of(set).unwrap().limits[0];
    assert_eq!((limits.connections, limits.pending, limits.requests, limits.retries), (1, 2, 3, 4));
    let budget = |interval: &str| of(json!({"retry_budget": {"budget_interval": interval}}));
    assert!(budget("0s").unwrap().limits[0].retry_budget.is_some());
    assert_eq!(refusal(budget("1s")), "circuit_breakers: budget_interval is not supported");
}

#[test]
fn one_host_is_ejected_unless_none_may_be() {
    let always = |fields: Value| {
        compile(json!({ "outlier_detection": fields })).unwrap().outlier.unwrap().always_eject_one_host
    };
    assert!(always(json!({})) && always(json!({"max_ejection_percent": 1})));
    assert!(!always(json!({"max_ejection_percent": 0})));
    assert!(always(json!({"max_ejection_percent": 0, "always_eject_one_host": true})));
}

#[test]
fn numbers_at_the_edge_are_taken() {
    let least = |bias: f64| {
        extension(
            "least_request.v3.LeastRequest",
            json!({"active_request_bias": {"default_value": bias, "runtime_key": "k"}}),
        )
    };
    assert!(least(0.0).is_ok());
    assert!(refusal(least(-0.5)).ends_with("active_request_bias -0.5 is not a number from 0"));
    let ring = |minimum: u64, maximum: u64| {
        extension(
            "ring_hash.v3.RingHash",
            json!({"minimum_ring_size": minimum, "maximum_ring_size": maximum}),
        )
    };
    assert!(ring(8, 8).is_ok() && ring(1, 8 << 20).is_ok());
    assert!(
        refusal(ring(9, 8)).contains("out of range")
            && refusal(ring(1, (8 << 20) + 1)).contains("out of range")
    );
    let maglev = |size: u64| extension("maglev.v3.Maglev", json!({ "table_size": size }));
    assert!(maglev(5_000_011).is_ok());
    assert!(refusal(maglev(5_000_021)).contains("is not a prime number of at most"));
    let factor = |factor: u32| {
        extension(
            "maglev.v3.Maglev",
            json!({"consistent_hashing_lb_config": {"hash_balance_factor": factor}}),
        )
    };
    let Policy::Maglev { hash, .. } = factor(100).unwrap().balance.policy.clone() else {
        panic!("another policy")
    };
    assert_eq!(hash, HashSettings { balance_factor: Some(100) });
    for bad in [0, 99] {
        assert!(refusal(factor(bad)).ends_with("hash_balance_factor is less than 100"), "{bad}");
    }
    let slow = |aggression: f64| {
        let config = json!({"slow_start_window": "1s", "aggression": {"default_value": aggression, "runtime_key": "k"}});
        extension("round_robin.v3.RoundRobin", json!({ "slow_start_config": config }))
    };
    assert!(slow(0.5).is_ok());
    for bad in [0.0, -1.0] {
        assert!(refusal(slow(bad)).ends_with("is not more than 0"), "{bad}");
    }
}

#[test]
fn policies_may_weigh_localities_or_fail_in_a_panic() {
    for kind in ["round_robin.v3.RoundRobin", "least_request.v3.LeastRequest", "random.v3.Random"] {
        let of =
            |locality: Value| extension(kind, json!({ "locality_lb_config": locality })).unwrap().balance;
        assert!(of(json!({"locality_weighted_lb_config": {}})).locality_weighted, "{kind}");
        assert!(of(json!({"zone_aware_lb_config": {"fail_traffic_on_panic": true}})).fail_on_panic, "{kind}");
        let plain = of(json!({}));
        assert!(!plain.locality_weighted && !plain.fail_on_panic, "{kind}");
    }
    for kind in ["ring_hash.v3.RingHash", "maglev.v3.Maglev"] {
        let weighted = extension(kind, json!({"locality_weighted_lb_config": {}})).unwrap();
        assert!(weighted.balance.locality_weighted, "{kind}");
    }
    let inner = policy("random.v3.Random", json!({}));
    let wrapped =
        extension("wrr_locality.v3.WrrLocality", json!({ "endpoint_picking_policy": inner })).unwrap();
    assert!(wrapped.balance.locality_weighted && wrapped.balance.policy == Policy::Random);
}

#[test]
fn hash_policies_stand_on_routes_only() {
    for kind in ["ring_hash.v3.RingHash", "maglev.v3.Maglev"] {
        let of =
            |hash: Value| extension(kind, json!({"consistent_hashing_lb_config": {"hash_policy": hash}}));
        assert!(of(json!([])).is_ok(), "{kind}");
        let reason = refusal(of(json!([{"header": {"header_name": "a"}}])));
        assert!(reason.ends_with("hash_policy is not supported here; use the route's"), "{kind}: {reason}");
    }
}

#[test]
fn a_cluster_may_provide_its_own_policy() {
    assert!(extension("cluster_provided.v3.ClusterProvided", json!({})).is_ok());
    let reason = refusal(extension("pick_first.v3.PickFirst", json!({})));
    assert!(
        reason.contains("no supported policy among [envoy.extensions.load_balancing_policies.pick_first"),
        "{reason}"
    );
}

/// The settings of subsets of both messages that say them.
fn subsets(fields: &Value) -> [Valid<ClusterConfig>; 2] {
    let mut with = fields.clone();
    with["subset_lb_policy"] = policy("random.v3.Random", json!({}));
    [compile(json!({ "lb_subset_config": fields })), extension("subset.v3.Subset", with)]
}

#[test]
fn switches_of_subsets_are_taken_over() {
    let switches = ["locality_weight_aware", "scale_locality_weight", "panic_mode_any"];
    for field in switches {
        for on in [true, false] {
            let fields = json!({"subset_selectors": [{"keys": ["a"]}], field: on});
            for compiled in subsets(&fields) {
                let compiled = compiled.unwrap();
                let seen = compiled.balance.subsets.as_ref().unwrap();
                let all = [seen.locality_weight_aware, seen.scale_locality_weight, seen.panic_mode_any];
                assert_eq!(all, switches.map(|other| other == field && on), "{field}");
            }
        }
    }
    let redundant = json!({"subset_selectors": [{"keys": ["a"]}], "allow_redundant_keys": true,
        "subset_lb_policy": policy("random.v3.Random", json!({}))});
    let redundant = extension("subset.v3.Subset", redundant).unwrap();
    assert!(redundant.balance.subsets.as_ref().unwrap().allow_redundant_keys);
}

#[test]
fn subsets_have_no_more_selectors_and_keys_than_allowed() {
    let selectors = |count: usize| json!({"subset_selectors": vec![json!({"keys": ["a"]}); count]});
    let keys = |count: usize| {
        let keys: Vec<String> = (0..count).map(|at| format!("k{at}")).collect();
        json!({"subset_selectors": [{ "keys": keys }]})
    };
    for (good, bad) in [(selectors(64), selectors(65)), (keys(32), keys(33))] {
        assert!(subsets(&good).iter().all(Result::is_ok));
        assert!(subsets(&bad).iter().all(Result::is_err));
    }
}
