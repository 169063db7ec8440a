//! What assignments say about hosts.

use serde_json::{Value, json};

use super::super::*;
use crate::testing::message;
use crate::value::unread;

fn cluster(fields: Value) -> ClusterConfig {
    let mut from = json!({"name": "c"});
    from.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    ClusterConfig::compile(&message(from), unread).unwrap()
}

fn try_hosts(config: &ClusterConfig, assignment: Value) -> Valid<Assignment> {
    let resolved = HashMap::from([(
        "two.example".to_owned(),
        vec!["10.9.0.1".parse().unwrap(), "10.9.0.2".parse().unwrap()],
    )]);
    config.hosts(&message(assignment), None, &resolved, Moment::ZERO)
}

/// The hosts of a static cluster with these groups.
fn hosts(groups: Value) -> HostSet {
    try_hosts(&cluster(json!({})), json!({"cluster_name": "c", "endpoints": groups})).unwrap().hosts
}

fn at(address: &str, port: u32) -> Value {
    json!({"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}})
}

fn names(set: &HostSet) -> Vec<String> {
    set.iter().map(|host| host.name.to_string()).collect()
}

#[test]
fn hosts_stand_by_priority_and_locality() {
    let set = hosts(json!([
        {"priority": 2, "lb_endpoints": [at("10.0.0.3", 80)]},
        {"locality": {"region": "r", "zone": "z", "sub_zone": "s"}, "load_balancing_weight": 7,
            "lb_endpoints": [at("10.0.0.1", 80), at("10.0.0.2", 80)]},
    ]));
    assert_eq!(set.priorities.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 1]);
    let [first] = &set.priorities[0][..] else { panic!() };
    assert_eq!((first.weight, first.hosts.len()), (7, 2));
    assert_eq!(*first.hosts[0].locality, ("r".to_owned(), "z".to_owned(), "s".to_owned()));
    let last = &set.priorities[2][0];
    assert_eq!((last.weight, last.hosts[0].priority, last.hosts[0].name.as_ref()), (1, 2, "10.0.0.3:80"));
}

#[test]
fn a_locality_without_a_weight_gets_nothing_where_they_are_weighted() {
    let weighted = cluster(json!({"common_lb_config": {"locality_weighted_lb_config": {}}}));
    let set =
        try_hosts(&weighted, json!({"endpoints": [{"lb_endpoints": [at("10.0.0.1", 80)]}]})).unwrap().hosts;
    assert_eq!(set.priorities[0][0].weight, 0);
}

#[test]
fn a_host_has_the_health_that_it_is_said_to_have() {
    for (said, wanted) in [
        ("UNKNOWN", Health::Healthy),
        ("HEALTHY", Health::Healthy),
        ("DEGRADED", Health::Degraded),
        ("UNHEALTHY", Health::Unhealthy),
        ("DRAINING", Health::Unhealthy),
        ("TIMEOUT", Health::Unhealthy),
    ] {
        let mut one = at("10.0.0.1", 80);
        one["health_status"] = json!(said);
        assert_eq!(hosts(json!([{"lb_endpoints": [one]}])).iter().next().unwrap().health, wanted, "{said}");
    }
}

#[test]
fn a_host_has_a_weight_of_at_least_one() {
    let weight = |weight: Value| {
        let mut one = at("10.0.0.1", 80);
        one["load_balancing_weight"] = weight;
        hosts(json!([{"lb_endpoints": [one]}])).iter().next().unwrap().weight
    };
    assert_eq!((weight(json!(null)), weight(json!(0)), weight(json!(7))), (1, 1, 7));
}

#[test]
fn an_assignment_has_defaults_and_a_policy() {
    let of = |policy: Value| try_hosts(&cluster(json!({})), json!({ "policy": policy })).unwrap();
    let plain = of(json!({}));
    assert_eq!((plain.hosts.overprovisioning, plain.hosts.weighted_health), (140, false));
    assert!(plain.drop_overload.is_empty());
    let set = of(json!({
        "overprovisioning_factor": 200, "weighted_priority_health": true,
        "drop_overloads": [{"category": "a", "drop_percentage": {"numerator": 5}}],
    }));
    assert_eq!(
        (set.hosts.overprovisioning, set.hosts.weighted_health, set.drop_overload),
        (200, true, vec![50_000])
    );
}

#[test]
fn endpoints_may_be_named() {
    let config = cluster(json!({}));
    let named = |name: &str| {
        json!({"named_endpoints": {"a": {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}}}},
            "endpoints": [{"lb_endpoints": [{"endpoint_name": name}]}]})
    };
    assert_eq!(names(&try_hosts(&config, named("a")).unwrap().hosts), ["10.0.0.1:80"]);
    assert_eq!(try_hosts(&config, named("b")).unwrap_err().0, "no named endpoint \"b\"");
}

#[test]
fn assignments_that_cannot_be_used_are_refused() {
    let config = cluster(json!({}));
    let error = |groups: Value| try_hosts(&config, json!({ "endpoints": groups })).unwrap_err().0;
    assert_eq!(error(json!([{"priority": 129}])), "priority 129 is larger than 128");
    assert_eq!(error(json!([{"lb_endpoints": [{}]}])), "lb_endpoint without endpoint");
    assert_eq!(error(json!([{"lb_endpoints": [{"endpoint": {}}]}])), "endpoint address: missing address");
    let name = error(json!([{"lb_endpoints": [at("two.example", 80)]}]));
    assert_eq!(name, "endpoint address \"two.example\" is not an IP address");
    assert!(try_hosts(&config, json!({"endpoints": [{"priority": 128}]})).is_ok());
}

#[test]
fn names_stand_for_all_addresses_or_the_first() {
    let of = |kind: &str| {
        let config = cluster(json!({ "type": kind }));
        let groups =
            json!([{"lb_endpoints": [at("two.example", 80), at("none.example", 80), at("10.0.0.1", 80)]}]);
        try_hosts(&config, json!({ "endpoints": groups })).unwrap().hosts
    };
    let all = of("STRICT_DNS");
    assert_eq!(names(&all), ["10.9.0.1:80", "10.9.0.2:80", "10.0.0.1:80"]);
    let hostnames: Vec<_> = all.iter().map(|host| host.hostname.as_str()).collect();
    assert_eq!(hostnames, ["two.example", "two.example", ""]);
    assert_eq!(names(&of("LOGICAL_DNS")), ["10.9.0.1:80", "10.0.0.1:80"]);
}

#[test]
fn a_hostname_of_its_own_comes_before_the_resolved_name() {
    let config = cluster(json!({"type": "STRICT_DNS"}));
    let mut one = at("two.example", 80);
    one["endpoint"]["hostname"] = json!("own.example");
    let set = try_hosts(&config, json!({"endpoints": [{"lb_endpoints": [one]}]})).unwrap().hosts;
    assert!(set.iter().all(|host| host.hostname == "own.example"));
}

#[test]
fn only_names_have_to_be_resolved() {
    let groups =
        json!([{"lb_endpoints": [at("b.example", 80), at("a.example", 80), at("10.0.0.1", 80), {}]}]);
    let names = |kind: &str| {
        let config =
            cluster(json!({"type": kind, "load_assignment": {"cluster_name": "c", "endpoints": groups}}));
        config.dns_names().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(names("STRICT_DNS"), ["a.example", "b.example"]);
    assert_eq!(names("LOGICAL_DNS"), ["a.example", "b.example"]);
    assert_eq!(names("STATIC"), [""; 0]);
}

#[test]
fn a_host_is_made_for_each_destination() {
    let config = cluster(json!({"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}));
    assert!(config.is_original_dst());
    let host = config.original_dst_host("10.0.0.1:80".parse().unwrap());
    assert_eq!((host.name.as_ref(), host.hash_key.as_ref(), host.weight), ("10.0.0.1:80", "10.0.0.1:80", 1));
    assert_eq!(host.address, NetAddress::Socket("10.0.0.1:80".parse().unwrap()));
    assert_eq!(host.health, Health::Healthy);
}

#[test]
fn an_empty_hash_key_is_none() {
    let key = |key: &str| {
        let mut one = at("10.0.0.1", 80);
        one["metadata"] = json!({"filter_metadata": {"envoy.lb": {"hash_key": key}}});
        hosts(json!([{"lb_endpoints": [one]}])).iter().next().unwrap().hash_key.to_string()
    };
    assert_eq!((key("k"), key("")), ("k".to_owned(), "10.0.0.1:80".to_owned()));
}

#[test]
fn a_cluster_has_no_more_endpoints_than_allowed() {
    let one: endpoint::LbEndpoint = message(at("10.0.0.1", 80));
    let of = |count: usize| {
        let group =
            endpoint::LocalityLbEndpoints { lb_endpoints: vec![one.clone(); count], ..Default::default() };
        let from = endpoint::ClusterLoadAssignment { endpoints: vec![group], ..Default::default() };
        cluster(json!({})).hosts(&from, None, &HashMap::new(), Moment::ZERO)
    };
    assert!(of(MAX_HOSTS).is_ok());
    assert_eq!(of(MAX_HOSTS + 1).unwrap_err().0, "more than 100000 endpoints");
}
