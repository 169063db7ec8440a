use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use proptest::prelude::*;

use super::{about, exactly, shares, shares_of};
use crate::testing::{Seeded, host, localities, set, weighted};
use crate::{Balancer, HashSettings, Host, HostSet, Moment, Picker, Policy, Request, Settings, SlowStart};

fn settings(policy: Policy) -> Settings {
    Settings { policy, ..Settings::default() }
}

fn least_request(bias: f64, full_scan: bool) -> Settings {
    settings(Policy::LeastRequest { choices: 2, bias, full_scan, slow_start: None })
}

fn three() -> HostSet<()> {
    set(vec![weighted("a", 1), weighted("b", 2), weighted("c", 5)])
}

#[test]
fn round_robin_takes_turns() {
    let hosts = set(vec![host("a"), host("b"), host("c")]);
    assert_eq!(shares(&hosts, &Settings::default(), 30), exactly(&[("a", 10), ("b", 10), ("c", 10)]));
}

#[test]
fn round_robin_takes_turns_by_weight() {
    assert_eq!(shares(&three(), &Settings::default(), 80), exactly(&[("a", 10), ("b", 20), ("c", 50)]));
}

#[test]
fn random_does_not_look_at_weights() {
    let third = 1.0 / 3.0;
    let seen = shares(&three(), &settings(Policy::Random), 3000);
    assert!(about(&seen, &[("a", third), ("b", third), ("c", third)]), "{seen:?}");
}

/// With two choices, the busy host is taken only when both draws are it.
#[test]
fn least_request_prefers_idle_hosts() {
    let hosts = set(vec![host("a"), host("b"), host("c")]);
    hosts.iter().next().unwrap().state.rq_active.store(9, Relaxed);
    let seen = shares(&hosts, &least_request(1.0, false), 3000);
    assert!(about(&seen, &[("a", 1.0 / 9.0), ("b", 4.0 / 9.0), ("c", 4.0 / 9.0)]), "{seen:?}");
}

#[test]
fn a_full_scan_never_takes_a_busy_host_and_is_fair_to_the_others() {
    let hosts = set(vec![host("a"), host("b"), host("c")]);
    hosts.iter().nth(1).unwrap().state.rq_active.store(1, Relaxed);
    let seen = shares(&hosts, &least_request(1.0, true), 2000);
    assert!(about(&seen, &[("a", 0.5), ("c", 0.5)]), "{seen:?}");
}

#[test]
fn least_request_divides_weights_by_active_requests() {
    let hosts = three();
    hosts.iter().nth(2).unwrap().state.rq_active.store(4, Relaxed);
    // 1, 2 and 5 / (4 + 1).
    assert_eq!(
        shares(&hosts, &least_request(1.0, false), 400),
        exactly(&[("a", 100), ("b", 200), ("c", 100)])
    );
}

#[test]
fn a_bias_of_zero_is_round_robin() {
    let hosts = three();
    hosts.iter().nth(2).unwrap().state.rq_active.store(4, Relaxed);
    assert_eq!(shares(&hosts, &least_request(0.0, false), 80), exactly(&[("a", 10), ("b", 20), ("c", 50)]));
}

#[test]
fn a_hash_always_finds_the_same_host_and_hashes_spread_by_weight() {
    for policy in [Policy::ring_hash(), Policy::maglev()] {
        let settings = settings(policy);
        let owner = |hash| {
            let seen =
                shares_of(&three(), &settings, 20, |_| Request { hash: Some(hash), ..Request::default() });
            assert_eq!(seen.len(), 1);
            seen.into_keys().next().unwrap()
        };
        assert_eq!((0..50).map(|at| owner(at * 0x0123_4567_89ab_cdef)).collect::<BTreeSet<_>>().len(), 3);
        let seen = shares(&three(), &settings, 8000);
        for (name, wanted) in [("a", 1000usize), ("b", 2000), ("c", 5000)] {
            assert!(seen[name].abs_diff(wanted) <= wanted / 5, "{seen:?}");
        }
    }
}

#[test]
fn a_repeated_pick_looks_elsewhere() {
    for policy in
        [Policy::ring_hash(), Policy::maglev(), Policy::RoundRobin { slow_start: None }, Policy::Random]
    {
        let avoid = |host: &Host<()>| &*host.name == "c";
        let request = |hash| Request { hash: Some(hash), avoid: &avoid, attempts: 20, ..Request::default() };
        let seen = shares_of(&three(), &settings(policy.clone()), 100, request);
        assert_eq!(seen.get("c"), None, "{policy:?}: {seen:?}");
    }
}

#[test]
fn an_avoided_host_is_better_than_none() {
    let request = |_| Request { avoid: &|_| true, attempts: 3, ..Request::default() };
    assert_eq!(shares_of(&set(vec![host("a")]), &Settings::default(), 5, request), exactly(&[("a", 5)]));
}

#[test]
fn weights_of_localities_move_hashes_but_not_stickiness() {
    let hosts = localities(vec![(3, vec![host("a"), host("b")]), (1, vec![host("c")])]);
    let settings = Settings { locality_weighted: true, ..settings(Policy::maglev()) };
    let seen = shares(&hosts, &settings, 8000);
    assert!(about(&seen, &[("a", 0.375), ("b", 0.375), ("c", 0.25)]), "{seen:?}");
    let one = shares_of(&hosts, &settings, 50, |_| Request { hash: Some(99), ..Request::default() });
    assert_eq!(one.len(), 1);
}

#[test]
fn an_overloaded_owner_passes_requests_on() {
    let hosts = set(vec![host("a"), host("b"), host("c")]);
    let hash = HashSettings { balance_factor: Some(120) };
    let settings = settings(Policy::Maglev { table_size: 65_537, hash });
    let request = |_| Request { hash: Some(5), active: 30, ..Request::default() };
    let owner = shares_of(&hosts, &settings, 10, request).into_keys().next().unwrap();
    hosts.iter().find(|host| *host.name == *owner).unwrap().state.rq_active.store(30, Relaxed);
    let other = shares_of(&hosts, &settings, 10, request);
    assert!(other.len() == 1 && !other.contains_key(&owner), "{owner}: {other:?}");
}

#[test]
fn localities_share_by_weight() {
    let hosts = localities(vec![(3, vec![host("a"), host("b")]), (1, vec![host("c")]), (0, vec![host("d")])]);
    let settings = Settings { locality_weighted: true, ..Settings::default() };
    assert_eq!(shares(&hosts, &settings, 80), exactly(&[("a", 30), ("b", 30), ("c", 20)]));
}

#[test]
fn without_any_weight_localities_do_not_count() {
    let hosts = localities(vec![(0, vec![host("a")]), (0, vec![host("b")])]);
    let settings = Settings { locality_weighted: true, ..Settings::default() };
    assert_eq!(shares(&hosts, &settings, 10), exactly(&[("a", 5), ("b", 5)]));
}

/// Three hosts of which the last joins an hour after the others; picks at a time after that.
fn after_joining(policy: Policy, since: Duration) -> Vec<usize> {
    let hosts = set(vec![host("a"), host("b"), host("c")]);
    let joined = Moment::from_millis(3_600_000);
    hosts.iter().last().unwrap().state.rejoin(joined);
    let mut environment = Seeded::new(1);
    environment.now = joined;
    let balancer = Arc::new(Balancer::new(&hosts, Arc::new(settings(policy)), 0));
    let mut picker = Picker::new(balancer, &mut environment);
    environment.now = joined.after(since);
    let mut seen = vec![0; 3];
    // The schedule was laid out for the beginning: let it come round once.
    for at in 0..300 + 2100 {
        let picked = picker.pick(&Request::default(), &mut environment).host.unwrap();
        seen[usize::from(picked.name.as_bytes()[0] - b'a')] += usize::from(at >= 300);
    }
    seen
}

#[test]
fn a_new_host_starts_slowly() {
    let slow = Some(SlowStart { window: Duration::from_secs(60), aggression: 1.0, min_weight: 0.1 });
    for policy in [
        Policy::RoundRobin { slow_start: slow },
        Policy::LeastRequest { choices: 2, bias: 1.0, full_scan: false, slow_start: slow },
    ] {
        // A tenth, half and all of its weight.
        assert_eq!(after_joining(policy.clone(), Duration::ZERO), [1000, 1000, 100], "{policy:?}");
        assert_eq!(after_joining(policy.clone(), Duration::from_secs(30)), [840, 840, 420], "{policy:?}");
        let full = after_joining(policy.clone(), Duration::from_secs(60));
        assert!(full.iter().all(|count| (550..850).contains(count)), "{policy:?}: {full:?}");
    }
    let full = after_joining(Policy::RoundRobin { slow_start: slow }, Duration::from_secs(60));
    assert_eq!(full, [700, 700, 700]);
}

#[test]
fn workers_do_not_begin_with_the_same_host() {
    let balancer = Arc::new(Balancer::new(&three(), Arc::new(Settings::default()), 0));
    let first = |seed| {
        let mut environment = Seeded::new(seed);
        let mut picker = Picker::new(balancer.clone(), &mut environment);
        picker.pick(&Request::default(), &mut environment).host.unwrap().name.to_string()
    };
    assert!((0..20).map(first).collect::<BTreeSet<_>>().len() > 1);
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let slow = Some(SlowStart { window: Duration::from_secs(60), aggression: 2.0, min_weight: 0.1 });
    prop_oneof![
        Just(Policy::RoundRobin { slow_start: None }),
        Just(Policy::RoundRobin { slow_start: slow }),
        Just(Policy::Random),
        (0u32..10, 0.0f64..3.0, any::<bool>()).prop_map(move |(choices, bias, full_scan)| {
            Policy::LeastRequest { choices, bias, full_scan, slow_start: slow }
        }),
        (1u64..100, 0u64..200).prop_map(|(minimum, more)| Policy::RingHash {
            minimum,
            maximum: minimum + more,
            function: Default::default(),
            hash: HashSettings { balance_factor: Some(110) },
        }),
        (2u64..500).prop_map(|table_size| Policy::Maglev { table_size, hash: HashSettings::default() }),
    ]
}

proptest! {
    #[test]
    fn every_pick_is_a_host_that_may_be_picked(
        policy in any_policy(),
        levels in prop::collection::vec(
            prop::collection::vec((0u32..4, prop::collection::vec((1u32..9, 0u8..4, 0u64..5), 0..4)), 0..3), 0..4),
        locality_weighted in any::<bool>(),
        panic_threshold in 0u32..=100,
        fail_on_panic in any::<bool>(),
        hash in prop::option::of(any::<u64>()),
        seed in any::<u64>(),
    ) {
        let mut name = 0;
        let priorities = levels.into_iter().map(|level| {
            level.into_iter().map(|(weight, hosts)| {
                let hosts = hosts.into_iter().map(|(weight, health, active)| {
                    name += 1;
                    let health = [crate::Health::Healthy, crate::Health::Healthy, crate::Health::Degraded, crate::Health::Unhealthy][usize::from(health)];
                    let one = Host { weight, health, ..host(&format!("h{name}")) };
                    one.state.rq_active.store(active, Relaxed);
                    Arc::new(one)
                });
                crate::Locality { weight, hosts: hosts.collect() }
            }).collect()
        }).collect();
        let hosts = HostSet { priorities, ..HostSet::default() };
        let settings = Settings { policy, locality_weighted, panic_threshold, fail_on_panic, subsets: None };
        let mut environment = Seeded::new(seed);
        let mut picker = Picker::new(Arc::new(Balancer::new(&hosts, Arc::new(settings), 0)), &mut environment);
        for _ in 0..50 {
            let request = Request { hash, attempts: 2, avoid: &|host| &*host.name == "h1", ..Request::default() };
            let picked = picker.pick(&request, &mut environment);
            if let Some(picked_host) = picked.host {
                prop_assert!(hosts.iter().any(|host| Arc::ptr_eq(host, &picked_host)));
                prop_assert!(picked.panic || picked_host.available());
                prop_assert!(!(picked.panic && fail_on_panic));
            }
        }
    }
}
