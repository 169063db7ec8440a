//! When a table is there, and what is in it.

use super::*;
use crate::external::load;
use crate::pb::{core, route};
use crate::route::VirtualHost;

/// A route configuration with `vhds` and one virtual host of its own.
fn config(vhds: bool, own: &str) -> RouteConfig {
    let source = core::config_source::ConfigSourceSpecifier::Ads(core::AggregatedConfigSource::default());
    let source = core::ConfigSource { config_source_specifier: Some(source), ..Default::default() };
    let from = route::RouteConfiguration {
        virtual_hosts: vec![route::VirtualHost { domains: vec![own.to_owned()], ..Default::default() }],
        vhds: vhds.then_some(route::Vhds { config_source: Some(source) }),
        ..Default::default()
    };
    RouteConfig::compile(&from, load).unwrap()
}

fn host(domain: &str) -> Arc<VirtualHost> {
    let from = route::VirtualHost { domains: vec![domain.to_owned()], ..Default::default() };
    Arc::new(VirtualHost::compile(&from, load).unwrap())
}

/// Virtual hosts named like their domains.
fn new(names: &[&str]) -> HostChanges {
    let changed = names.iter().map(|name| ((*name).into(), host(name)));
    HostChanges { changed: changed.collect(), ..Default::default() }
}

fn gone(names: &[&str]) -> HostChanges {
    HostChanges { removed: names.iter().map(|name| (*name).into()).collect(), ..Default::default() }
}

/// Which of these domains the table in force has; `None` without a table.
fn serves<'a>(routes: &Routes, domains: &[&'a str]) -> Option<Vec<&'a str>> {
    let table = routes.tables().get("80")?;
    Some(domains.iter().copied().filter(|domain| table.virtual_host(domain).is_some()).collect())
}

#[test]
fn a_route_configuration_warms_until_its_first_virtual_host_comes() {
    let mut routes = Routes::default();
    assert_eq!(routes.lacks("80").unwrap(), "route configuration 80");
    routes.set("80", config(true, "own"));
    assert!(routes.want_virtual_hosts() && routes.is_warming("80"));
    assert_eq!(routes.lacks("80").unwrap(), "virtual hosts of route configuration 80");
    assert_eq!(serves(&routes, &[]), None);
    assert_eq!(routes.update_hosts("80", new(&["a", "b"])), []);
    assert_eq!(serves(&routes, &["own", "a", "b"]).unwrap(), ["own", "a", "b"]);
    assert_eq!((routes.lacks("80"), routes.is_warming("80")), (None, false));
}

#[test]
fn virtual_hosts_may_come_before_their_route_configuration() {
    let mut routes = Routes::default();
    routes.update_hosts("80", new(&["a"]));
    assert!(!routes.want_virtual_hosts());
    assert_eq!(routes.lacks("80").unwrap(), "route configuration 80");
    routes.set("80", config(true, "own"));
    assert_eq!(serves(&routes, &["own", "a"]).unwrap(), ["own", "a"]);
}

#[test]
fn a_route_configuration_without_vhds_is_there_at_once_and_takes_no_others() {
    let mut routes = Routes::default();
    routes.update_hosts("80", new(&["a"]));
    routes.set("80", config(false, "own"));
    assert!(!routes.want_virtual_hosts());
    assert_eq!(serves(&routes, &["own", "a"]).unwrap(), ["own"]);
}

#[test]
fn the_whole_table_serves_until_virtual_hosts_take_its_place() {
    let mut routes = Routes::default();
    routes.set("80", config(false, "whole"));
    routes.set("80", config(true, "own"));
    assert!(routes.is_warming("80"));
    assert_eq!(serves(&routes, &["whole", "own"]).unwrap(), ["whole"]);
    routes.update_hosts("80", new(&["a"]));
    assert_eq!(serves(&routes, &["whole", "own", "a"]).unwrap(), ["own", "a"]);
}

#[test]
fn virtual_hosts_go_one_by_one_and_a_table_that_was_there_stays() {
    let mut routes = Routes::default();
    routes.set("80", config(true, "own"));
    routes.update_hosts("80", new(&["a", "b"]));
    routes.update_hosts("80", gone(&["a"]));
    assert_eq!(serves(&routes, &["own", "a", "b"]).unwrap(), ["own", "b"]);
    routes.update_hosts("80", gone(&["b"]));
    assert_eq!(serves(&routes, &["own", "a", "b"]).unwrap(), ["own"]);
    routes.set("80", config(true, "other"));
    assert_eq!(serves(&routes, &["own", "other"]).unwrap(), ["other"]);
}

#[test]
fn a_changed_route_configuration_keeps_its_virtual_hosts() {
    let mut routes = Routes::default();
    routes.set("80", config(true, "own"));
    routes.update_hosts("80", new(&["a"]));
    routes.set("80", config(true, "other"));
    assert_eq!(serves(&routes, &["own", "other", "a"]).unwrap(), ["other", "a"]);
}

#[test]
fn a_route_configuration_that_comes_back_finds_its_virtual_hosts() {
    let mut routes = Routes::default();
    routes.set("80", config(true, "own"));
    routes.update_hosts("80", new(&["a"]));
    routes.remove("80");
    assert!(!routes.want_virtual_hosts() && serves(&routes, &[]).is_none());
    routes.set("80", config(true, "own"));
    assert_eq!(serves(&routes, &["own", "a"]).unwrap(), ["own", "a"]);
}

#[test]
fn virtual_hosts_of_other_route_configurations_are_others() {
    let mut routes = Routes::default();
    routes.set("80", config(true, "own"));
    assert_eq!(routes.update_hosts("81", new(&["a"])), []);
    assert!(routes.is_warming("80"));
    assert_eq!(routes.update_hosts("80", new(&["a"])), []);
    assert_eq!(serves(&routes, &["own", "a"]).unwrap(), ["own", "a"]);
}

#[test]
fn what_waits_for_a_route_configuration_is_bounded() {
    let mut routes = Routes::default();
    routes.set("80", config(true, "own"));
    // Without domains: only how many there are matters.
    let empty = Arc::new(VirtualHost::compile(&route::VirtualHost::default(), load).unwrap());
    let names = (0..MAX_WAITING_HOSTS).map(|number| number.to_string().into());
    let many =
        HostChanges { changed: names.map(|name| (name, empty.clone())).collect(), ..Default::default() };
    assert_eq!(routes.update_hosts("x", many).len(), 0);
    let refused = routes.update_hosts("y", new(&["one more"]));
    assert_eq!(refused.len(), 1);
    assert!(refused[0].1.0.contains("wait for route configurations"), "{refused:?}");
    assert_eq!(routes.update_hosts("x", new(&["0"])), [], "a new version of one that is there");
    assert_eq!(routes.update_hosts("80", new(&["a"])), [], "one that waits for nothing");
    routes.update_hosts("x", gone(&["0"]));
    assert_eq!(routes.update_hosts("y", new(&["one more"])), []);
}
