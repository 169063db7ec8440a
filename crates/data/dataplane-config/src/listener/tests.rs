//! Listeners as messages, and what is made of them.

use serde_json::{Value, json};

use super::*;
use crate::testing::message;
use crate::value::unread;

fn compile(fields: Value) -> Valid<Listener> {
    let mut from = json!({
        "name": "l", "address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}}, "filter_chains": [{}],
    });
    from.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    Listener::compile(&message(from), unread)
}

fn of(fields: Value) -> Listener {
    compile(fields).unwrap()
}

#[test]
fn what_is_not_set_has_envoys_default() {
    let plain = of(json!({}));
    let address = "10.0.0.1:80".parse().unwrap();
    assert_eq!((&*plain.name, plain.address, plain.stat_name.as_str()), ("l", address, "10.0.0.1:80"));
    assert_eq!(plain.bind, Some(BindOptions { address, transparent: false, freebind: false, backlog: None }));
    assert_eq!((plain.inspect_timeout, plain.continue_on_timeout), (Some(Duration::from_secs(15)), false));
    assert_eq!((plain.direction, plain.keepalive), (Direction::Unspecified, None));
    assert_eq!((plain.matches.len(), plain.chains.len(), plain.default_chain.is_some()), (1, 1, false));
    assert!(plain.access_log.is_empty() && !plain.use_original_dst);
}

#[test]
fn what_is_set_is_taken_over() {
    let set = of(json!({
        "stat_prefix": "s", "transparent": true, "freebind": true, "tcp_backlog_size": 7,
        "listener_filters_timeout": "3s", "continue_on_listener_filters_timeout": true,
        "tcp_keepalive": {"keepalive_probes": 3}, "default_filter_chain": {"name": "rest"},
    }));
    let bind = set.bind.unwrap();
    assert_eq!((bind.transparent, bind.freebind, bind.backlog), (true, true, Some(7)));
    assert_eq!((set.inspect_timeout, set.continue_on_timeout), (Some(Duration::from_secs(3)), true));
    assert_eq!((set.stat_name.as_str(), set.keepalive.unwrap().probes), ("s", Some(3)));
    assert_eq!(&*set.default_chain.unwrap().name, "rest");
    assert_eq!(of(json!({"listener_filters_timeout": "0s"})).inspect_timeout, None);
}

#[test]
fn a_listener_may_only_get_connections_handed_over() {
    assert!(of(json!({"bind_to_port": false})).bind.is_none());
    assert!(of(json!({"deprecated_v1": {"bind_to_port": false}})).bind.is_none());
    assert!(of(json!({"bind_to_port": true, "deprecated_v1": {"bind_to_port": false}})).bind.is_some());
}

#[test]
fn traffic_has_a_direction() {
    let direction = |name: &str| of(json!({ "traffic_direction": name })).direction;
    assert_eq!(direction("INBOUND"), Direction::Inbound);
    assert_eq!(direction("OUTBOUND"), Direction::Outbound);
    assert_eq!(direction("UNSPECIFIED"), Direction::Unspecified);
}

#[test]
fn destinations_are_restored_by_field_or_filter() {
    let filter = |name: &str| of(json!({"listener_filters": [{"name": name}]})).restores_destination();
    assert!(filter("envoy.filters.listener.original_dst"));
    assert!(!filter("envoy.filters.listener.tls_inspector"));
    assert!(of(json!({"use_original_dst": true})).restores_destination());
    assert!(!of(json!({})).restores_destination());
}

#[test]
fn chains_may_be_left_out() {
    let from = message(json!({
        "name": "l", "address": {"socket_address": {"address": "10.0.0.1"}}, "default_filter_chain": {},
        "filter_chains": [{"filter_chain_match": {"destination_port": 80}}],
        "traffic_direction": "INBOUND",
    }));
    let without = Listener::without_chains(&from, unread).unwrap();
    assert_eq!((without.matches.len(), without.chains.len(), without.default_chain.is_some()), (1, 0, false));
    assert_eq!(without.context(unread).direction, Direction::Inbound);
}

#[test]
fn listeners_that_cannot_be_run_are_refused() {
    let fields = "additional_addresses, filter_chain_matcher and fcds_config are not supported";
    for (json, reason) in [
        (json!({"api_listener": {}}), "only TCP listeners are supported"),
        (json!({"udp_listener_config": {}}), "only TCP listeners are supported"),
        (json!({"internal_listener": {}}), "only TCP listeners are supported"),
        (json!({"additional_addresses": [{}]}), fields),
        (json!({"filter_chain_matcher": {}}), fields),
        (json!({"fcds_config": {}}), fields),
        (json!({"address": null}), "address: missing address"),
        (json!({"address": {"pipe": {"path": "/p"}}}), "address: cannot listen on /p"),
        (json!({"filter_chains": []}), "no filter chains"),
        (
            json!({"listener_filters": [{"name": "x"}]}),
            "listener_filters \"x\": unsupported listener filter x",
        ),
        (
            json!({"listener_filters_timeout": "-1s"}),
            "listener_filters_timeout: negative or malformed duration",
        ),
        (
            json!({"filter_chains": [{"name": "c", "filter_chain_match": {"address_suffix": "x"}}]}),
            "filter chain \"c\": address_suffix is not supported",
        ),
        (
            json!({"filter_chains": [{"name": "c", "filters": [{"name": "x"}]}]}),
            "filter chain \"c\": filters \"x\": missing typed_config",
        ),
        (
            json!({"default_filter_chain": {"filters": [{"name": "x"}]}}),
            "default_filter_chain: filters \"x\": missing typed_config",
        ),
    ] {
        assert_eq!(compile(json).unwrap_err().0, reason);
    }
}
