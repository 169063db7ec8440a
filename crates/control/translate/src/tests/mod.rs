//! The book shop and a federation with a peer `east`, generated for every kind of proxy: golden files of a compact text
//! form, the data plane's own compiler, a real Envoy's own validation, and what policies mean. And one file for each thing
//! that is made, with small meshes of its own.

mod access_logs;
mod audiences;
mod authz;
mod cluster_policy;
mod clusters;
mod connection_manager;
mod contract;
mod endpoints;
mod envoy;
mod fixture;
mod gateway_listeners;
mod gateway_routes;
mod given;
mod golden;
mod inbound;
mod inbound_clusters;
mod mesh;
mod outbound;
mod route_extras;
mod route_matches;
mod routes;
mod sidecar_routes;
mod summary;
mod tcp_rules;
mod tokens;
mod trust;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portolan_xds::{Resource, type_url};

use given::sent;

/// Two models made from equal inputs give equal bytes, and equal resources are one allocation.
#[test]
fn equal_resources_are_encoded_once() {
    let (first, second) =
        (portolan_mesh::Mesh::from(&fixture::inputs()), portolan_mesh::Mesh::from(&fixture::inputs()));
    for node in fixture::nodes() {
        for url in [
            type_url::CLUSTER,
            type_url::ENDPOINT,
            type_url::LISTENER,
            type_url::ROUTE,
            type_url::VIRTUAL_HOST,
            type_url::SECRET,
        ] {
            let (a, b) = (sent(&first, &node, url), sent(&second, &node, url));
            assert_eq!(a.len(), b.len());
            for (a, b) in a.iter().zip(&b) {
                assert!(Arc::ptr_eq(a, b), "{} {}", url, a.name);
            }
        }
    }
}

/// Our own proxies get virtual hosts one by one, others the table whole.
#[test]
fn virtual_hosts_come_by_themselves_for_our_proxies_only() {
    let mesh = portolan_mesh::Mesh::from(&fixture::inputs());
    for (envoy, apart) in [(false, true), (true, false)] {
        let node = fixture::node("sidecar", "bookinfo", "reviews-v1-1", "10.64.0.11", &[], envoy);
        let hosts = sent(&mesh, &node, type_url::VIRTUAL_HOST);
        let names: Vec<&str> = hosts.iter().map(|host| &*host.name).collect();
        assert_eq!(names.contains(&"9080/reviews.bookinfo.svc.cluster.local:9080"), apart, "{names:?}");
        assert_eq!(names.contains(&"9080/allow_any"), apart, "{names:?}");
        assert_eq!(names.is_empty(), !apart);
    }
}

/// Whole or one by one: both kinds of proxies have the same virtual hosts in the end.
#[test]
fn a_table_has_the_virtual_hosts_that_come_by_themselves() {
    use prost::Message as _;
    let mesh = portolan_mesh::Mesh::from(&fixture::inputs());
    let tables = |envoy: bool| -> BTreeMap<String, BTreeSet<String>> {
        let node = fixture::node("sidecar", "bookinfo", "reviews-v1-1", "10.64.0.11", &[], envoy);
        let decode =
            |r: &Arc<Resource>| crate::pb::route::RouteConfiguration::decode(r.body.clone()).unwrap();
        let all = given::given(&mesh, &node, type_url::ROUTE);
        let hosts = all
            .iter()
            .map(decode)
            .map(|table| (table.name, table.virtual_hosts.into_iter().map(|host| host.name).collect()));
        hosts.collect()
    };
    let whole = tables(true);
    assert!(whole["9080"].contains("reviews.bookinfo.svc.cluster.local:9080"), "{whole:?}");
    assert_eq!(whole, tables(false));
}
