//! What filters of connections make of one.

use serde_json::json;

use super::*;
use crate::testing::{connection, message};
use crate::value::{Direction, unread};

fn filter(name: &str) -> Arc<dyn NetworkFilter> {
    let typed =
        json!({"@type": "type.googleapis.com/envoy.extensions.filters.network.sni_cluster.v3.SniCluster"});
    let from = match name {
        "sni_cluster" => json!({"name": "sni_cluster", "typed_config": typed}),
        name => json!({ "name": name }),
    };
    let context = Compile { direction: Direction::Inbound, load: unread };
    match compile(&message(from), context) {
        Ok(Compiled::Filter(filter)) => filter,
        _ => panic!("{name} is no filter"),
    }
}

/// Cluster of a connection, and whether it is counted, after a filter has seen it.
fn seen(name: &str, sni: Option<&str>) -> (Option<Arc<str>>, bool) {
    let connection = ConnectionFacts { sni: sni.map(str::to_owned), ..connection() };
    let mut view = ConnectionView { connection: &connection, cluster: None, counts: false };
    filter(name).on_connection(&mut view).unwrap();
    (view.cluster, view.counts)
}

#[test]
fn the_server_name_is_the_cluster() {
    assert_eq!(seen("sni_cluster", Some("outbound_.9080_._.a")), (Some("outbound_.9080_._.a".into()), false));
    assert_eq!(seen("sni_cluster", None), (None, false));
}

#[test]
fn connections_with_istios_filter_are_counted() {
    assert_eq!(seen("istio.stats", None), (None, true));
}

#[test]
fn metadata_exchange_is_known_by_name_and_does_nothing() {
    let context = Compile { direction: Direction::Inbound, load: unread };
    let from = message(json!({"name": "istio.metadata_exchange"}));
    assert!(matches!(compile(&from, context), Ok(Compiled::Nothing)));
}

#[test]
fn a_filter_needs_its_message() {
    let error = configured::<crate::pb::net_rbac::Rbac>(&message(json!({"name": "x"}))).unwrap_err().0;
    assert_eq!(error, "missing typed_config");
}
