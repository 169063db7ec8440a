use std::collections::BTreeMap;
use std::sync::Arc;

use super::{exactly, shares_of};
use crate::limits::MAX_SUBSETS;
use crate::testing::{host, labelled, localities, set};
use crate::{
    Balancer, Health, Host, HostSet, KeyFallback, Policy, Request, Settings, SubsetFallback, SubsetSelector,
    SubsetSettings,
};

fn selector(keys: &[&str]) -> SubsetSelector {
    SubsetSelector { keys: keys.iter().map(|key| (*key).to_owned()).collect(), ..SubsetSelector::default() }
}

/// Hosts by stage and version, as in the example of Envoy's documentation.
fn fleet() -> HostSet<()> {
    let one = |name, stage, version| labelled(name, &[("stage", &[stage]), ("version", &[version])]);
    set(vec![
        one("e1", "prod", "1.0"),
        one("e2", "prod", "1.0"),
        one("e3", "prod", "1.1"),
        one("e4", "dev", "1.2"),
        host("e5"),
    ])
}

fn by(selectors: Vec<SubsetSelector>) -> SubsetSettings {
    SubsetSettings { selectors, ..SubsetSettings::default() }
}

/// Who gets twelve requests with these criteria.
fn ask(hosts: &HostSet<()>, subsets: &SubsetSettings, criteria: &[(&str, &str)]) -> BTreeMap<String, usize> {
    let criteria: Vec<_> =
        criteria.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let settings = Settings { subsets: Some(subsets.clone()), ..Settings::default() };
    shares_of(hosts, &settings, 12, |_| Request { criteria: &criteria, ..Request::default() })
}

#[test]
fn a_subset_is_found_by_all_keys_of_a_selector() {
    let subsets = by(vec![selector(&["stage", "version"]), selector(&["version"])]);
    let find = |criteria: &[(&str, &str)]| ask(&fleet(), &subsets, criteria);
    assert_eq!(find(&[("stage", "prod"), ("version", "1.0")]), exactly(&[("e1", 6), ("e2", 6)]));
    assert_eq!(find(&[("version", "1.1")]), exactly(&[("e3", 12)]));
    assert_eq!(
        find(&[("version", "1.0"), ("stage", "prod")]),
        exactly(&[("e1", 6), ("e2", 6)]),
        "in any order"
    );
    assert_eq!(find(&[("stage", "dev")]), exactly(&[("none", 12)]), "no selector has this key alone");
    assert_eq!(find(&[("version", "9")]), exactly(&[("none", 12)]));
    assert_eq!(find(&[]), exactly(&[("none", 12)]));
}

#[test]
fn the_cluster_has_a_fallback() {
    let all = exactly(&[("e1", 4), ("e2", 4), ("e3", 4)]);
    let mut subsets = by(vec![selector(&["version"])]);
    subsets.fallback = SubsetFallback::Default;
    subsets.default_subset = vec![("stage".to_owned(), "prod".to_owned())];
    assert_eq!(ask(&fleet(), &subsets, &[("version", "9")]), all);
    assert_eq!(ask(&fleet(), &subsets, &[]), all);
    subsets.fallback = SubsetFallback::Any;
    assert_eq!(ask(&fleet(), &subsets, &[("version", "9")]).len(), 5);
}

#[test]
fn an_empty_default_subset_is_no_host_unless_any_will_do() {
    let mut subsets = by(vec![selector(&["version"])]);
    subsets.fallback = SubsetFallback::Default;
    subsets.default_subset = vec![("stage".to_owned(), "test".to_owned())];
    assert_eq!(ask(&fleet(), &subsets, &[("version", "9")]), exactly(&[("none", 12)]));
    subsets.panic_mode_any = true;
    assert_eq!(ask(&fleet(), &subsets, &[("version", "9")]).len(), 5);
}

#[test]
fn a_selector_has_a_fallback_of_its_own() {
    let mut subsets = by(vec![
        SubsetSelector { fallback: KeyFallback::To(SubsetFallback::Any), ..selector(&["version"]) },
        SubsetSelector {
            fallback: KeyFallback::Keys(vec!["stage".to_owned()]),
            ..selector(&["stage", "version"])
        },
        SubsetSelector { fallback: KeyFallback::To(SubsetFallback::None), ..selector(&["stage"]) },
    ]);
    subsets.fallback = SubsetFallback::Any;
    let find = |criteria: &[(&str, &str)]| ask(&fleet(), &subsets, criteria);
    assert_eq!(find(&[("version", "9")]).len(), 5);
    assert_eq!(find(&[("stage", "dev"), ("version", "9")]), exactly(&[("e4", 12)]), "without the version");
    assert_eq!(find(&[("stage", "test"), ("version", "9")]), exactly(&[("none", 12)]));
}

#[test]
fn fallbacks_in_a_circle_end() {
    let keys = |key: &str, to: &str| SubsetSelector {
        fallback: KeyFallback::Keys(vec![to.to_owned()]),
        ..selector(&[key])
    };
    let subsets = by(vec![keys("stage", "stage")]);
    assert_eq!(ask(&fleet(), &subsets, &[("stage", "test")]), exactly(&[("none", 12)]));
}

#[test]
fn redundant_keys_can_be_ignored() {
    let mut subsets = by(vec![selector(&["version"])]);
    let criteria = [("color", "red"), ("version", "1.1")];
    assert_eq!(ask(&fleet(), &subsets, &criteria), exactly(&[("none", 12)]));
    subsets.allow_redundant_keys = true;
    assert_eq!(ask(&fleet(), &subsets, &criteria), exactly(&[("e3", 12)]));
}

#[test]
fn a_host_can_have_several_values() {
    let hosts = set(vec![labelled("a", &[("v", &["1", "2"])]), labelled("b", &[("v", &["2"])])]);
    let subsets = by(vec![selector(&["v"])]);
    assert_eq!(ask(&hosts, &subsets, &[("v", "1")]), exactly(&[("a", 12)]));
    assert_eq!(ask(&hosts, &subsets, &[("v", "2")]), exactly(&[("a", 6), ("b", 6)]));
}

#[test]
fn a_single_host_is_the_first_one_whatever_its_health() {
    let ill = |name| Host { health: Health::Unhealthy, ..labelled(name, &[("shard", &["7"])]) };
    let subsets = by(vec![SubsetSelector { single_host: true, ..selector(&["shard"]) }]);
    let hosts = set(vec![ill("a"), labelled("b", &[("shard", &["7"])])]);
    assert_eq!(ask(&hosts, &subsets, &[("shard", "7")]), exactly(&[("a", 12)]));
}

#[test]
fn health_is_judged_within_the_subset() {
    let ill = |name| Host { health: Health::Unhealthy, ..labelled(name, &[("v", &["1"])]) };
    let hosts = set(vec![
        labelled("a", &[("v", &["1"])]),
        ill("b"),
        ill("c"),
        host("d"),
        host("e"),
        host("f"),
        host("g"),
    ]);
    // Five of seven are well, but only one of three with this label: a panic.
    let found = ask(&hosts, &by(vec![selector(&["v"])]), &[("v", "1")]);
    assert_eq!(found, exactly(&[("a", 4), ("b", 4), ("c", 4)]));
}

#[test]
fn localities_count_in_a_subset_where_that_is_set() {
    let v1 = |name| labelled(name, &[("v", &["1"])]);
    let hosts = localities(vec![
        (1, vec![v1("a"), host("x"), host("y"), host("z")]),
        (1, vec![v1("b"), v1("c"), v1("d"), v1("e")]),
    ]);
    let find = |aware, scale| {
        let subsets = SubsetSettings {
            locality_weight_aware: aware,
            scale_locality_weight: scale,
            ..by(vec![selector(&["v"])])
        };
        let criteria = [("v".to_owned(), "1".to_owned())];
        let settings = Settings { subsets: Some(subsets), locality_weighted: true, ..Settings::default() };
        shares_of(&hosts, &settings, 200, |_| Request { criteria: &criteria, ..Request::default() })["a"]
    };
    assert_eq!(find(false, false), 40, "five hosts alike");
    assert_eq!(find(true, false), 100, "two localities alike");
}

#[test]
fn a_scaled_weight_follows_the_members() {
    let v1 = |name| labelled(name, &[("v", &["1"])]);
    let hosts = localities(vec![
        (100, vec![v1("a"), host("x"), host("y"), host("z")]),
        (100, vec![v1("b"), v1("c")]),
    ]);
    let subsets = SubsetSettings {
        locality_weight_aware: true,
        scale_locality_weight: true,
        ..by(vec![selector(&["v"])])
    };
    let criteria = [("v".to_owned(), "1".to_owned())];
    let settings = Settings { subsets: Some(subsets), locality_weighted: true, ..Settings::default() };
    let seen = shares_of(&hosts, &settings, 125, |_| Request { criteria: &criteria, ..Request::default() });
    assert_eq!(seen, exactly(&[("a", 25), ("b", 50), ("c", 50)]));
}

#[test]
fn too_many_subsets_are_left_out_and_counted() {
    let hosts = (0..MAX_SUBSETS + 5).map(|at| labelled(&format!("h{at}"), &[("id", &[&format!("{at:08}")])]));
    let settings = Settings { subsets: Some(by(vec![selector(&["id"])])), ..Settings::default() };
    assert_eq!(Balancer::new(&set(hosts.collect()), Arc::new(settings), 0).left_out(), 5);
}

#[test]
fn tables_of_all_subsets_together_are_bounded() {
    let count = 64;
    let hosts =
        set((0..count).map(|at| labelled(&format!("h{at}"), &[("id", &[&at.to_string()])])).collect());
    let large = 20_000;
    let policy = Policy::RingHash {
        minimum: large,
        maximum: large,
        function: Default::default(),
        hash: Default::default(),
    };
    let settings = Settings { policy, subsets: Some(by(vec![selector(&["id"])])), ..Settings::default() };
    let balancer = Balancer::with_limit(&hosts, Arc::new(settings), 0, 10_000);
    let entries: usize = balancer
        .pools()
        .flat_map(|pool| &pool.levels)
        .filter_map(|level| level.table.as_ref())
        .map(|table| table.len())
        .sum();
    assert!(entries <= 10_000 && entries > 9_000, "{entries}");
}
