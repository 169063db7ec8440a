//! What becomes of a response.

use super::*;
use crate::pb::{core, route};
use crate::value::unread;

fn compiled(domains: &[&str]) -> Arc<VirtualHost> {
    let from = route::VirtualHost {
        domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
        ..Default::default()
    };
    Arc::new(VirtualHost::compile(&from, unread).unwrap())
}

fn changes(removed: &[&str], changed: &[(&str, &[&str])]) -> HostChanges {
    HostChanges {
        removed: removed.iter().map(|name| (*name).into()).collect(),
        changed: changed.iter().map(|(name, domains)| ((*name).into(), compiled(domains))).collect(),
    }
}

/// Applies a response and returns what is refused.
fn update(hosts: &mut VirtualHosts, removed: &[&str], changed: &[(&str, &[&str])]) -> Vec<String> {
    refused(hosts.update(None, changes(removed, changed)))
}

fn refused(refused: Vec<(Arc<str>, Invalid)>) -> Vec<String> {
    refused.into_iter().map(|(name, Invalid(reason))| format!("{name}: {reason}")).collect()
}

/// Each host with its domains.
fn held(hosts: &VirtualHosts) -> Vec<String> {
    let mut out: Vec<String> =
        hosts.by_name.iter().map(|(name, host)| format!("{name} {:?}", host.domains)).collect();
    let mut owned: Vec<String> =
        hosts.owners.iter().map(|(domain, name)| format!("{name} {domain:?}")).collect();
    owned.sort();
    let mut listed: Vec<String> = hosts
        .by_name
        .iter()
        .flat_map(|(name, host)| host.domains.iter().map(move |domain| format!("{name} {domain:?}")))
        .collect();
    listed.sort();
    assert_eq!(owned, listed, "each domain has the host that lists it");
    out.sort();
    out
}

const NONE: [&str; 0] = [];

#[test]
fn names_have_two_parts() {
    assert_eq!(resource_name("80/a.com:80"), Ok(("80", "a.com:80")));
    assert_eq!(resource_name("http.80/*:80"), Ok(("http.80", "*:80")));
    assert_eq!(resource_name("a/b/c"), Ok(("a", "b/c")));
    for bad in ["", "80", "/a", "80/"] {
        resource_name(bad).unwrap_err();
    }
}

#[test]
fn hosts_come_change_and_go() {
    let mut hosts = VirtualHosts::default();
    assert_eq!(update(&mut hosts, &[], &[("a", &["a.com"]), ("b", &["b.com"])]), NONE);
    assert_eq!(update(&mut hosts, &["b", "never"], &[("a", &["a.com", "*.a.com"])]), NONE);
    assert_eq!(held(&hosts), [r#"a ["a.com", "*.a.com"]"#]);
    assert!(hosts.has("a") && !hosts.has("b") && hosts.len() == 1);
    assert_eq!(update(&mut hosts, &["a"], &[]), NONE);
    assert!(hosts.is_empty());
}

#[test]
fn a_change_leaves_the_other_hosts_as_they_are() {
    let mut hosts = VirtualHosts::default();
    update(&mut hosts, &[], &[("a", &["a.com"]), ("b", &["b.com"])]);
    let before = hosts.by_name["b"].clone();
    update(&mut hosts, &[], &[("a", &["x.com"])]);
    assert!(Arc::ptr_eq(&before, &hosts.by_name["b"]));
}

#[test]
fn domains_move_between_hosts_in_one_response() {
    let mut hosts = VirtualHosts::default();
    update(&mut hosts, &[], &[("a", &["1", "2"]), ("b", &["3"]), ("c", &["4"])]);
    assert_eq!(update(&mut hosts, &["c"], &[("a", &["1", "3"]), ("b", &["2", "4"])]), NONE);
    assert_eq!(held(&hosts), [r#"a ["1", "3"]"#, r#"b ["2", "4"]"#]);
}

#[test]
fn of_two_new_hosts_with_one_domain_the_first_by_name_wins() {
    let mut hosts = VirtualHosts::default();
    assert_eq!(
        update(&mut hosts, &[], &[("b", &["1"]), ("a", &["1"]), ("c", &["2"])]),
        [r#"b: domain "1" is listed in virtual host "a" too"#]
    );
    assert_eq!(held(&hosts), [r#"a ["1"]"#, r#"c ["2"]"#]);
}

#[test]
fn a_host_that_the_response_does_not_name_keeps_its_domain() {
    let mut hosts = VirtualHosts::default();
    update(&mut hosts, &[], &[("b", &["1"])]);
    assert_eq!(
        update(&mut hosts, &[], &[("a", &["1"]), ("c", &["2"])]),
        [r#"a: domain "1" is listed in virtual host "b" too"#]
    );
    assert_eq!(held(&hosts), [r#"b ["1"]"#, r#"c ["2"]"#]);
}

#[test]
fn the_last_version_of_a_refused_host_stays_with_its_domains() {
    let mut hosts = VirtualHosts::default();
    update(&mut hosts, &[], &[("a", &["1"]), ("b", &["2"]), ("z", &["9"])]);
    // b's new version is refused, so what a took of its old one goes back, and so on to a's.
    assert_eq!(
        update(&mut hosts, &[], &[("a", &["2"]), ("b", &["1", "9"]), ("c", &["3"])]),
        [
            r#"b: domain "9" is listed in virtual host "z" too"#,
            r#"a: domain "2" stays with virtual host "b", whose new version is refused"#,
        ]
    );
    assert_eq!(held(&hosts), [r#"a ["1"]"#, r#"b ["2"]"#, r#"c ["3"]"#, r#"z ["9"]"#]);
}

#[test]
fn a_new_host_that_took_a_domain_of_a_refused_one_is_not_there() {
    let mut hosts = VirtualHosts::default();
    update(&mut hosts, &[], &[("b", &["2"]), ("z", &["9"])]);
    assert_eq!(update(&mut hosts, &[], &[("a", &["2"]), ("b", &["9"])]).len(), 2);
    assert_eq!(held(&hosts), [r#"b ["2"]"#, r#"z ["9"]"#]);
}

#[test]
fn domains_of_the_route_configuration_itself_are_taken() {
    let source = core::config_source::ConfigSourceSpecifier::Ads(Default::default());
    let source = core::ConfigSource { config_source_specifier: Some(source), ..Default::default() };
    let from = route::RouteConfiguration {
        virtual_hosts: vec![route::VirtualHost { domains: vec!["1".into()], ..Default::default() }],
        vhds: Some(route::Vhds { config_source: Some(source) }),
        ..Default::default()
    };
    let config = RouteConfig::compile(&from, unread).unwrap();
    let mut hosts = VirtualHosts::default();
    assert_eq!(
        refused(hosts.update(Some(&config), changes(&[], &[("a", &["1"]), ("b", &["2"])]))),
        [r#"a: domain "1" is listed in the route configuration itself too"#]
    );
    assert_eq!(held(&hosts), [r#"b ["2"]"#]);
}

mod any_sequence {
    use proptest::prelude::*;

    use super::*;

    type Response = (Vec<u8>, Vec<(u8, std::collections::BTreeSet<u8>)>);

    fn responses() -> impl Strategy<Value = Vec<Response>> {
        let host = (0..5u8, prop::collection::btree_set(0..6u8, 0..4));
        let response = (prop::collection::vec(0..5u8, 0..2), prop::collection::vec(host, 0..5));
        prop::collection::vec(response, 0..12)
    }

    proptest! {
        /// After each response every host has its new version, or is refused and has the one before; and no domain has
        /// two hosts.
        #[test]
        fn refused_hosts_keep_their_version_and_others_move_on(responses in responses()) {
            let mut hosts = VirtualHosts::default();
            for (removed, changed) in responses {
                let mut wanted = hosts.by_name.clone();
                let removed: BTreeSet<Arc<str>> = removed.iter().map(|name| name.to_string().into()).collect();
                wanted.retain(|name, _| !removed.contains(name));
                let before = wanted.clone();
                let changed: BTreeMap<Arc<str>, Arc<VirtualHost>> = changed
                    .into_iter()
                    .map(|(name, domains)| {
                        let domains: Vec<String> = domains.iter().map(u8::to_string).collect();
                        let domains: Vec<&str> = domains.iter().map(String::as_str).collect();
                        (name.to_string().into(), compiled(&domains))
                    })
                    .collect();
                wanted.extend(changed.clone());
                for (name, _) in hosts.update(None, HostChanges { removed, changed: changed.clone() }) {
                    prop_assert!(changed.contains_key(&name), "{name} is not in the response");
                    match before.get(&name) {
                        Some(host) => wanted.insert(name, host.clone()),
                        None => wanted.remove(&name),
                    };
                }
                held(&hosts);
                prop_assert_eq!(hosts.by_name.len(), wanted.len());
                for (name, host) in &hosts.by_name {
                    prop_assert!(Arc::ptr_eq(host, &wanted[name]), "{}", name);
                }
            }
        }
    }
}
