use std::sync::Arc;

use super::{about, exactly, shares};
use crate::testing::{Script, Seeded, host, ill, localities, priorities, set};
use crate::{Balancer, Health, HostSet, Picker, Policy, Request, Settings, outlier};

fn calm() -> Settings {
    Settings { panic_threshold: 0, ..Settings::default() }
}

#[test]
fn half_of_a_priority_takes_seventy_per_cent() {
    let hosts = priorities(vec![vec![host("a"), ill("b", Health::Unhealthy)], vec![host("c")]]);
    let seen = shares(&hosts, &calm(), 3000);
    assert!(about(&seen, &[("a", 0.7), ("c", 0.3)]), "{seen:?}");
}

#[test]
fn degraded_hosts_wait_until_they_are_needed() {
    let hosts = set(vec![host("a"), host("b"), host("c"), ill("d", Health::Degraded)]);
    assert_eq!(shares(&hosts, &calm(), 9), exactly(&[("a", 3), ("b", 3), ("c", 3)]));
    let hosts = set(vec![ill("a", Health::Degraded), ill("b", Health::Unhealthy)]);
    assert_eq!(shares(&hosts, &calm(), 5), exactly(&[("a", 5)]));
}

#[test]
fn degraded_hosts_are_reached_by_hashes_too() {
    let hosts = set(vec![ill("a", Health::Degraded), ill("b", Health::Unhealthy)]);
    for policy in [Policy::ring_hash(), Policy::maglev()] {
        assert_eq!(shares(&hosts, &Settings { policy, ..calm() }, 5), exactly(&[("a", 5)]));
    }
}

#[test]
fn in_a_panic_health_is_not_believed() {
    let hosts = set(vec![host("a"), ill("b", Health::Unhealthy), ill("c", Health::Unhealthy)]);
    assert_eq!(shares(&hosts, &Settings::default(), 9), exactly(&[("a", 3), ("b", 3), ("c", 3)]));
    assert_eq!(shares(&hosts, &calm(), 9), exactly(&[("a", 9)]));
    let failing = Settings { fail_on_panic: true, ..Settings::default() };
    assert_eq!(shares(&hosts, &failing, 9), exactly(&[("none", 9)]));
}

#[test]
fn a_pick_tells_of_a_panic() {
    let panics = |hosts: &HostSet<()>| {
        let balancer = Arc::new(Balancer::new(hosts, Arc::default(), 0));
        let mut environment = Seeded::new(0);
        Picker::new(balancer, &mut environment).pick(&Request::default(), &mut environment).panic
    };
    assert!(panics(&set(vec![ill("a", Health::Unhealthy)])));
    assert!(!panics(&set(vec![host("a")])));
}

#[test]
fn nobody_is_picked_of_nobody() {
    for hosts in [HostSet::default(), priorities(vec![vec![], vec![]])] {
        for policy in
            [Policy::RoundRobin { slow_start: None }, Policy::Random, Policy::ring_hash(), Policy::maglev()]
        {
            assert_eq!(
                shares(&hosts, &Settings { policy, ..Settings::default() }, 3),
                exactly(&[("none", 3)])
            );
        }
    }
}

#[test]
fn a_locality_that_lost_half_keeps_seventy_per_cent_of_its_weight() {
    let half = vec![host("a"), ill("b", Health::Unhealthy)];
    let hosts = localities(vec![(1, half), (1, vec![host("c")])]);
    let settings = Settings { locality_weighted: true, ..calm() };
    assert_eq!(shares(&hosts, &settings, 170), exactly(&[("a", 70), ("c", 100)]));
}

#[test]
fn a_new_balancer_leaves_ejected_hosts_out() {
    let hosts = set(vec![host("a"), host("b"), host("c")]);
    let settings = outlier::Settings { consecutive_5xx: 1, max_ejection_percent: 50, ..Default::default() };
    hosts.iter().next().unwrap().state.outlier.report(&settings, outlier::Outcome::Status(500));
    let (stats, mut environment) = (outlier::Stats::default(), Script::new([0]));
    let changes = outlier::Detector::default().judge(&hosts, Some(&settings), &stats, &mut environment);
    assert_eq!(changes.len(), 1);
    assert_eq!(shares(&hosts, &Settings::default(), 10), exactly(&[("b", 5), ("c", 5)]));
}

#[test]
fn priorities_can_count_weights() {
    let level = |weight| vec![crate::Host { weight, ..host("a") }, ill("b", Health::Unhealthy)];
    let hosts = |weighted_health| HostSet { weighted_health, ..priorities(vec![level(3), vec![host("c")]]) };
    assert_eq!(shares(&hosts(true), &calm(), 20), exactly(&[("a", 20)]), "three quarters are enough");
    let seen = shares(&hosts(false), &calm(), 2000);
    assert!(about(&seen, &[("a", 0.7), ("c", 0.3)]), "{seen:?}");
}

#[test]
fn a_balancer_knows_its_epoch() {
    let epoch = |epoch| Balancer::new(&set(vec![host("a")]), Arc::default(), epoch).epoch();
    assert_eq!([0, 1, 7].map(epoch), [0, 1, 7]);
}
