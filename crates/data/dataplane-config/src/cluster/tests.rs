//! What clusters say about load balancing, read.

mod connections;
mod edges;
mod hosts;

use std::collections::HashMap;
use std::time::Duration;

use portolan_balance::outlier::Kind;
use portolan_balance::{HashFunction, HashSettings, KeyFallback, Policy, SlowStart, SubsetFallback};
use portolan_envoy_api::pb::google::protobuf;
use prost::Name as _;

use super::*;
use crate::pb::lb;
use crate::testing::Beginning;
use crate::value::unread;

fn base() -> cluster::Cluster {
    cluster::Cluster { name: "c".to_owned(), ..Default::default() }
}

fn compile(from: &cluster::Cluster) -> Valid<ClusterConfig> {
    ClusterConfig::compile(from, unread)
}

fn policy(from: &cluster::Cluster) -> Policy {
    compile(from).unwrap().balance.policy.clone()
}

fn refusal(from: &cluster::Cluster) -> String {
    compile(from).err().map(|Invalid(reason)| reason).unwrap_or_default()
}

fn u32v(value: u32) -> Option<protobuf::UInt32Value> {
    Some(protobuf::UInt32Value { value })
}

fn u64v(value: u64) -> Option<protobuf::UInt64Value> {
    Some(protobuf::UInt64Value { value })
}

fn seconds(seconds: i64) -> Option<protobuf::Duration> {
    Some(protobuf::Duration { seconds, nanos: 0 })
}

fn percent(value: f64) -> Option<pb::types::Percent> {
    Some(pb::types::Percent { value })
}

fn with_policy(policy: cluster::cluster::LbPolicy, config: cluster::cluster::LbConfig) -> cluster::Cluster {
    cluster::Cluster { lb_policy: policy as i32, lb_config: Some(config), ..base() }
}

#[test]
fn the_policy_is_round_robin_unless_set() {
    assert_eq!(policy(&base()), Policy::RoundRobin { slow_start: None });
    assert_eq!(compile(&base()).unwrap().balance.panic_threshold, 50);
}

#[test]
fn slow_start_is_read_for_round_robin_and_least_request() {
    use cluster::cluster::{
        LbConfig as C, LbPolicy as P, LeastRequestLbConfig, RoundRobinLbConfig, SlowStartConfig,
    };
    let slow = SlowStartConfig {
        slow_start_window: seconds(60),
        aggression: Some(core::RuntimeDouble { default_value: 2.0, ..Default::default() }),
        min_weight_percent: percent(25.0),
    };
    let wanted = Some(SlowStart { window: Duration::from_secs(60), aggression: 2.0, min_weight: 0.25 });
    let round = C::RoundRobinLbConfig(RoundRobinLbConfig { slow_start_config: Some(slow.clone()) });
    assert_eq!(policy(&with_policy(P::RoundRobin, round)), Policy::RoundRobin { slow_start: wanted });
    let least = C::LeastRequestLbConfig(LeastRequestLbConfig {
        choice_count: u32v(5),
        active_request_bias: Some(core::RuntimeDouble { default_value: 0.5, ..Default::default() }),
        slow_start_config: Some(slow),
    });
    assert_eq!(
        policy(&with_policy(P::LeastRequest, least)),
        Policy::LeastRequest { choices: 5, bias: 0.5, full_scan: false, slow_start: wanted }
    );
}

#[test]
fn ring_and_maglev_are_read_whole() {
    use cluster::cluster::{LbConfig as C, LbPolicy as P, MaglevLbConfig, RingHashLbConfig};
    let hashing = cluster::cluster::common_lb_config::ConsistentHashingLbConfig {
        use_hostname_for_hashing: true,
        hash_balance_factor: u32v(125),
    };
    let hash = HashSettings { balance_factor: Some(125) };
    let common = Some(cluster::cluster::CommonLbConfig {
        consistent_hashing_lb_config: Some(hashing),
        ..Default::default()
    });
    let ring = C::RingHashLbConfig(RingHashLbConfig {
        minimum_ring_size: u64v(10),
        maximum_ring_size: u64v(20),
        hash_function: 1,
    });
    let ring = cluster::Cluster { common_lb_config: common.clone(), ..with_policy(P::RingHash, ring) };
    let wanted = Policy::RingHash { minimum: 10, maximum: 20, function: HashFunction::Murmur2, hash };
    assert_eq!(policy(&ring), wanted);
    assert!(compile(&ring).unwrap().hash_hostnames);
    let maglev = C::MaglevLbConfig(MaglevLbConfig { table_size: u64v(1009) });
    let maglev = cluster::Cluster { common_lb_config: common, ..with_policy(P::Maglev, maglev) };
    assert_eq!(policy(&maglev), Policy::Maglev { table_size: 1009, hash });
    assert_eq!(policy(&cluster::Cluster { lb_policy: P::Maglev as i32, ..base() }), Policy::maglev());
}

#[test]
fn sizes_out_of_range_are_refused() {
    use cluster::cluster::{LbConfig as C, LbPolicy as P, MaglevLbConfig, RingHashLbConfig};
    for (minimum, maximum) in [(20, 10), (1, u64::MAX)] {
        let config = RingHashLbConfig {
            minimum_ring_size: u64v(minimum),
            maximum_ring_size: u64v(maximum),
            ..Default::default()
        };
        let reason = refusal(&with_policy(P::RingHash, C::RingHashLbConfig(config)));
        assert!(reason.contains("ring sizes"), "{reason}");
    }
    for size in [0, 1, 1000, 5_000_077] {
        let config = MaglevLbConfig { table_size: u64v(size) };
        let reason = refusal(&with_policy(P::Maglev, C::MaglevLbConfig(config)));
        assert!(reason.contains("prime"), "{size}: {reason}");
    }
}

#[test]
fn numbers_that_are_none_are_refused() {
    use cluster::cluster::{LbConfig as C, LbPolicy as P, LeastRequestLbConfig};
    for bias in [-1.0, f64::NAN, f64::INFINITY] {
        let bias = Some(core::RuntimeDouble { default_value: bias, ..Default::default() });
        let config = LeastRequestLbConfig { active_request_bias: bias, ..Default::default() };
        let reason = refusal(&with_policy(P::LeastRequest, C::LeastRequestLbConfig(config)));
        assert!(reason.contains("active_request_bias"), "{reason}");
    }
    let threshold = |value| cluster::Cluster {
        common_lb_config: Some(cluster::cluster::CommonLbConfig {
            healthy_panic_threshold: percent(value),
            ..Default::default()
        }),
        ..base()
    };
    let read = |value| compile(&threshold(value)).unwrap().balance.panic_threshold;
    assert_eq!([0.0, 33.4, 33.5, 1e9, -5.0, f64::NAN].map(read), [0, 33, 34, 100, 0, 0]);
}

fn extension<M: prost::Name>(message: &M) -> cluster::LoadBalancingPolicy {
    let any = pb::Any { type_url: M::type_url(), value: message.encode_to_vec() };
    cluster::LoadBalancingPolicy {
        policies: vec![cluster::load_balancing_policy::Policy {
            typed_extension_config: Some(core::TypedExtensionConfig {
                name: "p".to_owned(),
                typed_config: Some(any),
            }),
        }],
    }
}

fn by_extension(policy: cluster::LoadBalancingPolicy) -> cluster::Cluster {
    cluster::Cluster { load_balancing_policy: Some(policy), ..base() }
}

#[test]
fn extensions_are_read() {
    let least = lb::least_request::v3::LeastRequest { selection_method: 1, ..Default::default() };
    let wanted = Policy::LeastRequest { choices: 2, bias: 1.0, full_scan: true, slow_start: None };
    assert_eq!(policy(&by_extension(extension(&least))), wanted);
    assert_eq!(policy(&by_extension(extension(&lb::random::v3::Random::default()))), Policy::Random);
    assert_eq!(policy(&by_extension(extension(&lb::maglev::v3::Maglev::default()))), Policy::maglev());
    let ring = lb::ring_hash::v3::RingHash { minimum_ring_size: u64v(7), ..Default::default() };
    assert!(matches!(policy(&by_extension(extension(&ring))), Policy::RingHash { minimum: 7, .. }));
    let inner = extension(&lb::round_robin::v3::RoundRobin::default());
    let wrr = lb::wrr_locality::v3::WrrLocality { endpoint_picking_policy: Some(inner) };
    let balance = compile(&by_extension(extension(&wrr))).unwrap().balance;
    assert!(balance.locality_weighted);
    assert_eq!(balance.policy, Policy::RoundRobin { slow_start: None });
}

#[test]
fn the_first_known_extension_counts() {
    let mut policies = extension(&lb::pick_first::v3::PickFirst::default());
    policies.policies.extend(extension(&lb::random::v3::Random::default()).policies);
    assert_eq!(policy(&by_extension(policies)), Policy::Random);
    let reason = refusal(&by_extension(extension(&lb::pick_first::v3::PickFirst::default())));
    assert!(reason.contains(lb::pick_first::v3::PickFirst::NAME), "{reason}");
}

#[test]
fn endlessly_nested_extensions_are_refused() {
    let mut policy = extension(&lb::random::v3::Random::default());
    for _ in 0..50 {
        policy = extension(&lb::wrr_locality::v3::WrrLocality { endpoint_picking_policy: Some(policy) });
    }
    assert!(refusal(&by_extension(policy)).contains("nested"));
}

fn labels(pairs: &[(&str, pb::Kind)]) -> pb::Struct {
    let value = |kind: &pb::Kind| pb::Value { kind: Some(kind.clone()) };
    pb::Struct { fields: pairs.iter().map(|(key, kind)| ((*key).to_owned(), value(kind))).collect() }
}

fn text(text: &str) -> pb::Kind {
    pb::Kind::StringValue(text.to_owned())
}

type Selector = cluster::cluster::lb_subset_config::LbSubsetSelector;

fn selector(keys: &[&str]) -> Selector {
    Selector { keys: keys.iter().map(|key| (*key).to_owned()).collect(), ..Default::default() }
}

fn with_subsets(selectors: Vec<Selector>) -> cluster::Cluster {
    let config = cluster::cluster::LbSubsetConfig {
        fallback_policy: 2,
        default_subset: Some(labels(&[("v", text("1"))])),
        subset_selectors: selectors,
        panic_mode_any: true,
        ..Default::default()
    };
    cluster::Cluster { lb_subset_config: Some(config), ..base() }
}

#[test]
fn subsets_are_read() {
    let keys = Selector {
        fallback_policy: 4,
        fallback_keys_subset: vec!["a".to_owned()],
        ..selector(&["b", "a", "b"])
    };
    let subsets = compile(&with_subsets(vec![keys])).unwrap().balance.subsets.clone().unwrap();
    assert_eq!(subsets.fallback, SubsetFallback::Default);
    assert_eq!(subsets.default_subset, [("v".to_owned(), "\"1\"".to_owned())]);
    assert!(subsets.panic_mode_any);
    assert_eq!(subsets.selectors[0].keys, ["a", "b"]);
    assert_eq!(subsets.selectors[0].fallback, KeyFallback::Keys(vec!["a".to_owned()]));
    assert_eq!(compile(&with_subsets(Vec::new())).unwrap().balance.subsets, None);
}

#[test]
fn subsets_that_cannot_work_are_refused() {
    let same =
        Selector { fallback_policy: 4, fallback_keys_subset: vec!["a".to_owned()], ..selector(&["a"]) };
    let two = Selector { single_host_per_subset: true, ..selector(&["a", "b"]) };
    for (selector, wanted) in
        [(same, "fallback_keys_subset"), (two, "exactly one key"), (selector(&[]), "keys")]
    {
        let reason = refusal(&with_subsets(vec![selector]));
        assert!(reason.contains(wanted), "{reason}");
    }
    let mut fallback = with_subsets(vec![selector(&["a"])]);
    fallback.lb_subset_config.as_mut().unwrap().metadata_fallback_policy = 1;
    assert!(refusal(&fallback).contains("metadata_fallback_policy"));
}

fn assignment(endpoints: Vec<endpoint::LbEndpoint>) -> endpoint::ClusterLoadAssignment {
    let group = endpoint::LocalityLbEndpoints { lb_endpoints: endpoints, ..Default::default() };
    endpoint::ClusterLoadAssignment { endpoints: vec![group], ..Default::default() }
}

fn lb_endpoint(port: u32, labels: Option<pb::Struct>) -> endpoint::LbEndpoint {
    let address = core::address::Address::SocketAddress(core::SocketAddress {
        address: "10.0.0.1".to_owned(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
        ..Default::default()
    });
    let endpoint = endpoint::Endpoint {
        address: Some(core::Address { address: Some(address) }),
        hostname: "name".to_owned(),
        ..Default::default()
    };
    endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        metadata: labels.map(|labels| core::Metadata {
            filter_metadata: [("envoy.lb".to_owned(), labels)].into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[test]
fn a_host_is_hashed_by_its_key_its_name_or_its_address() {
    let keys = |from: &cluster::Cluster| -> Vec<String> {
        let config = compile(from).unwrap();
        let endpoints = vec![
            lb_endpoint(1, None),
            lb_endpoint(2, Some(labels(&[("hash_key", text("key"))]))),
            lb_endpoint(3, Some(labels(&[("hash_key", pb::Kind::NumberValue(1.0))]))),
        ];
        let hosts = config.hosts(&assignment(endpoints), None, &HashMap::new(), Moment::ZERO).unwrap();
        hosts.iter().map(|host| host.hash_key.to_string()).collect()
    };
    assert_eq!(keys(&base()), ["10.0.0.1:1", "key", "10.0.0.1:3"]);
    let mut named = base();
    named
        .common_lb_config
        .get_or_insert_default()
        .consistent_hashing_lb_config
        .get_or_insert_default()
        .use_hostname_for_hashing = true;
    assert_eq!(keys(&named), ["name", "key", "name"]);
}

#[test]
fn labels_are_equal_exactly_when_values_are() {
    let list = pb::Kind::ListValue(protobuf::ListValue {
        values: ["1", "2"].map(|one| pb::Value { kind: Some(text(one)) }).into(),
    });
    let host = |list_as_any| {
        let mut from = with_subsets(vec![selector(&["a"])]);
        from.lb_subset_config.as_mut().unwrap().list_as_any = list_as_any;
        let labels = labels(&[("l", list.clone()), ("t", text("true")), ("b", pb::Kind::BoolValue(true))]);
        let hosts = compile(&from).unwrap().hosts(
            &assignment(vec![lb_endpoint(1, Some(labels))]),
            None,
            &HashMap::new(),
            Moment::ZERO,
        );
        hosts.unwrap().iter().next().unwrap().labels.clone()
    };
    let of = |key: &str, values: &[&str]| {
        (key.to_owned(), values.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(host(true), [of("b", &["true"]), of("l", &["\"1\"", "\"2\""]), of("t", &["\"true\""])]);
    assert_eq!(host(false)[1], of("l", &["[\"1\",\"2\"]"]));
}

#[test]
fn a_host_that_stays_keeps_its_state() {
    let config = compile(&base()).unwrap();
    let first =
        config.hosts(&assignment(vec![lb_endpoint(1, None)]), None, &HashMap::new(), Moment::ZERO).unwrap();
    let next = assignment(vec![lb_endpoint(2, None), lb_endpoint(1, None)]);
    let second = config.hosts(&next, Some(&first.hosts), &HashMap::new(), Moment::ZERO).unwrap();
    let (old, new): (Vec<_>, Vec<_>) = (first.iter().collect(), second.iter().collect());
    assert!(Arc::ptr_eq(&old[0].state, &new[1].state));
    assert!(!Arc::ptr_eq(&old[0].state, &new[0].state));
}

#[test]
fn circuit_breakers_are_read_by_priority() {
    use cluster::circuit_breakers::{Thresholds, thresholds::RetryBudget};
    let thresholds = |priority, most, budget| Thresholds {
        priority,
        max_requests: u32v(most),
        retry_budget: budget,
        ..Default::default()
    };
    let budget =
        RetryBudget { budget_percent: percent(50.0), min_retry_concurrency: u32v(7), ..Default::default() };
    let breakers = cluster::CircuitBreakers {
        thresholds: vec![thresholds(1, 5, Some(budget)), thresholds(0, 6, None), thresholds(0, 9, None)],
        per_host_thresholds: vec![Thresholds { max_connections: u32v(2), ..Default::default() }],
    };
    let config = compile(&cluster::Cluster { circuit_breakers: Some(breakers), ..base() }).unwrap();
    let [default, high] = config.limits;
    assert_eq!((default.requests, default.connections, default.connections_per_host), (6, 1024, 2));
    assert_eq!(
        (high.requests, high.retry_budget.map(|budget| (budget.percent, budget.minimum))),
        (5, Some((50.0, 7)))
    );
}

fn with_outlier(outlier: cluster::OutlierDetection) -> cluster::Cluster {
    cluster::Cluster { outlier_detection: Some(outlier), ..base() }
}

#[test]
fn outlier_detection_has_envoys_defaults() {
    let settings = compile(&with_outlier(Default::default())).unwrap().outlier.unwrap();
    // But for what Envoy always did when the field did not exist.
    let wanted = portolan_balance::outlier::Settings { always_eject_one_host: true, ..Default::default() };
    assert_eq!(settings, wanted);
}

#[test]
fn outlier_detection_is_read_whole() {
    let outlier = cluster::OutlierDetection {
        consecutive_5xx: u32v(1),
        interval: seconds(2),
        base_ejection_time: seconds(3),
        max_ejection_percent: u32v(4),
        enforcing_consecutive_5xx: u32v(5),
        enforcing_success_rate: u32v(6),
        success_rate_minimum_hosts: u32v(7),
        success_rate_request_volume: u32v(8),
        success_rate_stdev_factor: u32v(900),
        consecutive_gateway_failure: u32v(10),
        enforcing_consecutive_gateway_failure: u32v(11),
        split_external_local_origin_errors: true,
        consecutive_local_origin_failure: u32v(12),
        enforcing_consecutive_local_origin_failure: u32v(13),
        enforcing_local_origin_success_rate: u32v(14),
        failure_percentage_threshold: u32v(15),
        enforcing_failure_percentage: u32v(16),
        enforcing_failure_percentage_local_origin: u32v(17),
        failure_percentage_minimum_hosts: u32v(18),
        failure_percentage_request_volume: u32v(19),
        max_ejection_time: seconds(20),
        max_ejection_time_jitter: seconds(21),
        always_eject_one_host: Some(protobuf::BoolValue { value: false }),
        ..Default::default()
    };
    let read = compile(&with_outlier(outlier)).unwrap().outlier.unwrap();
    assert_eq!(
        [read.consecutive_5xx, read.consecutive_gateway_failure, read.consecutive_local_origin_failure],
        [1, 10, 12]
    );
    let times =
        [read.interval, read.base_ejection_time, read.max_ejection_time, read.max_ejection_time_jitter];
    assert_eq!(times.map(|time| time.as_secs()), [2, 3, 20, 21]);
    assert_eq!(
        (read.max_ejection_percent, read.always_eject_one_host, read.split_local_origin),
        (4, false, true)
    );
    assert_eq!(
        (read.success_rate.minimum_hosts, read.success_rate.request_volume, read.success_rate.stdev_factor),
        (7, 8, 0.9)
    );
    let percentage = read.failure_percentage;
    assert_eq!((percentage.threshold, percentage.minimum_hosts, percentage.request_volume), (15, 18, 19));
    let enforcing = Kind::ALL.map(|kind| read.enforcing(kind));
    assert_eq!(enforcing, [5, 11, 13, 6, 14, 16, 17]);
}

#[test]
fn outlier_detection_that_envoy_refuses_is_refused() {
    for (outlier, wanted) in [
        (cluster::OutlierDetection { interval: seconds(0), ..Default::default() }, "interval"),
        (
            cluster::OutlierDetection { max_ejection_percent: u32v(101), ..Default::default() },
            "max_ejection_percent",
        ),
        (
            cluster::OutlierDetection {
                base_ejection_time: seconds(10),
                max_ejection_time: seconds(9),
                ..Default::default()
            },
            "max_ejection_time",
        ),
        (cluster::OutlierDetection { monitors: vec![Default::default()], ..Default::default() }, "monitors"),
    ] {
        let reason = refusal(&with_outlier(outlier));
        assert!(reason.contains(wanted), "{reason}");
    }
}

/// The longest duration that a message can say must not overflow anything.
#[test]
fn the_longest_durations_are_taken() {
    let longest = seconds(315_576_000_000);
    let outlier = cluster::OutlierDetection {
        interval: longest,
        base_ejection_time: longest,
        max_ejection_time: longest,
        max_ejection_time_jitter: longest,
        ..Default::default()
    };
    let settings = compile(&with_outlier(outlier)).unwrap().outlier.unwrap();
    let config = compile(&base()).unwrap();
    let hosts =
        config.hosts(&assignment(vec![lb_endpoint(1, None)]), None, &HashMap::new(), Moment::ZERO).unwrap();
    hosts
        .iter()
        .next()
        .unwrap()
        .state
        .outlier
        .report(&settings, portolan_balance::outlier::Outcome::Status(500));
    let stats = portolan_balance::outlier::Stats::default();
    let mut detector = portolan_balance::outlier::Detector::default();
    detector.judge(&hosts.hosts, Some(&settings), &stats, &mut Beginning);
    detector.judge(&hosts.hosts, Some(&settings), &stats, &mut Beginning);
}
