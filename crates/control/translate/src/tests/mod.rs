//! The book shop and a federation with a peer `east`, generated for every kind of proxy: golden files of a compact text
//! form, the data plane's own compiler, a real Envoy's own validation, and what policies mean. And one file for each thing
//! that is made, with small meshes of its own.

mod access_logs;
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

use std::sync::Arc;

use portolan_xds::type_url;

use crate::Generator;

/// Two models made from equal inputs give equal bytes, and equal resources are one allocation.
#[test]
fn equal_resources_are_encoded_once() {
    let generator = Generator::new();
    let (first, second) =
        (portolan_mesh::Mesh::from(&fixture::inputs()), portolan_mesh::Mesh::from(&fixture::inputs()));
    for node in fixture::nodes() {
        for url in
            [type_url::CLUSTER, type_url::ENDPOINT, type_url::LISTENER, type_url::ROUTE, type_url::SECRET]
        {
            let a = generator.generate(first.model(), &node, url, None);
            let b = generator.generate(second.model(), &node, url, None);
            assert_eq!(a.len(), b.len());
            for (a, b) in a.iter().zip(&b) {
                assert!(Arc::ptr_eq(a, b), "{} {}", url, a.name);
            }
        }
    }
}

/// Resources are found by name, unknown names are left out.
#[test]
fn by_name() {
    let generator = Generator::new();
    let mesh = portolan_mesh::Mesh::from(&fixture::inputs());
    let node = fixture::node("sidecar", "bookinfo", "reviews-v1-1", "10.64.0.11", &[], false);
    let get = |url: &str, names: &[&str]| -> Vec<String> {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        generator
            .generate(mesh.model(), &node, url, Some(&names))
            .iter()
            .map(|r| r.name.to_string())
            .collect()
    };
    let reviews = "outbound|9080|v2|reviews.bookinfo.svc.cluster.local";
    assert_eq!(get(type_url::ENDPOINT, &[reviews, "outbound|1||nowhere", "x"]), [reviews]);
    assert_eq!(get(type_url::ROUTE, &["9080", "http.80"]), ["9080"]);
    assert_eq!(get(type_url::CLUSTER, &["BlackHoleCluster"]), ["BlackHoleCluster"]);
}
