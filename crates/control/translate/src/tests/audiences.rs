//! Who has the same: which facts about a proxy set it apart from others, and which pieces are whose.

use std::{
    cmp::Ordering,
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use portolan_derive::Derived;
use portolan_mesh::{Dialect, Locality, Mesh, NodeKind, ProxyNode};
use portolan_xds::type_url;
use serde_json::json;

use super::fixture;
use crate::{Audience, AudiencesOf, Piece, Pieces, is_hidden_from};

/// A mesh with a VirtualService that asks clients for the label `asked`.
fn mesh() -> Mesh {
    let mut inputs = fixture::inputs();
    let destination = json!([{"destination": {"host": "reviews"}}]);
    inputs
        .insert(json!({"kind": "VirtualService", "metadata": {"name": "asks", "namespace": "bookinfo"},
            "spec": {"hosts": ["reviews"], "http": [
                {"match": [{"sourceLabels": {"asked": "x"}}], "route": destination},
                {"route": destination}]}}))
        .unwrap();
    Mesh::from(&inputs)
}

fn sidecar() -> ProxyNode {
    fixture::node("sidecar", "bookinfo", "nobody-1", "10.64.0.99", &[], false)
}

fn audiences(mesh: &Mesh, node: &ProxyNode) -> Vec<Audience> {
    mesh.model().reader().get(&AudiencesOf(Arc::new(node.clone()))).to_vec()
}

fn view(mesh: &Mesh, node: &ProxyNode) -> Audience {
    audiences(mesh, node).into_iter().find(|a| matches!(a, Audience::View(_))).unwrap()
}

type Change = fn(&mut ProxyNode);

fn label(node: &mut ProxyNode, key: &str) {
    node.metadata.labels.insert(key.to_owned(), "x".to_owned());
}

#[test]
fn what_routes_and_endpoints_look_at_sets_proxies_apart() {
    let mesh = mesh();
    let changes: [(&str, Change); 11] = [
        ("kind", |n| n.kind = NodeKind::Router),
        ("namespace", |n| n.namespace = "other".to_owned()),
        ("domain", |n| n.dns_domain = "bookinfo.svc.other".to_owned()),
        ("networks", |n| n.metadata.requested_network_view.push("east".to_owned())),
        ("sni-dnat", |n| n.metadata.sni_dnat = true),
        ("tproxy", |n| n.metadata.tproxy = true),
        ("no capture", |n| n.metadata.no_capture = true),
        ("HTTP/1.0", |n| n.metadata.http10 = true),
        ("unprivileged", |n| n.metadata.unprivileged = true),
        ("dialect", |n| n.metadata.dialect = Dialect::Envoy),
        ("a label that is asked for", |n| label(n, "asked")),
    ];
    let usual = view(&mesh, &sidecar());
    let hashes = RandomState::new();
    for (what, change) in changes {
        let mut node = sidecar();
        change(&mut node);
        let other = view(&mesh, &node);
        assert_ne!(usual, other, "{what}");
        assert_ne!(usual.cmp(&other), Ordering::Equal, "{what}");
        assert_eq!(usual.partial_cmp(&other), Some(usual.cmp(&other)), "{what}");
        assert_ne!(hashes.hash_one(&usual), hashes.hash_one(&other), "{what}");
        let again = view(&mesh, &node);
        assert_eq!((&again, again.cmp(&other)), (&other, Ordering::Equal), "{what}");
        assert_eq!(hashes.hash_one(&again), hashes.hash_one(&other), "{what}");
    }
}

#[test]
fn what_nothing_looks_at_sets_no_proxies_apart() {
    let mesh = mesh();
    let changes: [(&str, Change); 5] = [
        ("id", |n| n.id = "other".to_owned()),
        ("name", |n| n.name = "other".to_owned()),
        ("address", |n| n.addresses = vec!["10.64.0.98".parse().unwrap()]),
        ("place", |n| n.locality = Locality::parse("r/z")),
        ("a label that nobody asks for", |n| label(n, "other")),
    ];
    for (what, change) in changes {
        let mut node = sidecar();
        change(&mut node);
        assert_eq!(view(&mesh, &sidecar()), view(&mesh, &node), "{what}");
    }
    // Of gateways all labels count: they choose the Gateways.
    let gateway = |labels: &[(&str, &str)]| {
        view(&mesh, &fixture::node("router", "bookinfo", "gw-1", "10.64.0.99", labels, false))
    };
    assert_ne!(gateway(&[]), gateway(&[("other", "x")]));
}

#[test]
fn pieces_are_ours_or_an_envoys_and_of_a_kind() {
    let mesh = mesh();
    let read = mesh.model().reader();
    for (kind, expected) in [
        ("sidecar", vec!["cds", "eds", "lds", "nds", "rds", "sds"]),
        ("router", vec!["cds", "eds", "gateway", "nds", "sds"]),
    ] {
        for envoy in [false, true] {
            let labels = [("istio", "ingressgateway")];
            let node = fixture::node(kind, "bookinfo", "nobody-1", "10.64.0.99", &labels, envoy);
            let mut kinds = BTreeSet::new();
            for audience in audiences(&mesh, &node) {
                for piece in read.get(&Pieces(audience)).iter() {
                    assert_eq!(piece.is_ours(), !envoy && *piece != Piece::NameTable, "{piece:?}");
                    kinds.insert(piece.kind());
                }
            }
            let mut expected = expected.clone();
            // Virtual hosts come by themselves for our own sidecars only.
            expected.extend((kind == "sidecar" && !envoy).then_some("vhds"));
            assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected, "{kind} {envoy}");
        }
    }
}

#[test]
fn a_proxy_has_no_listener_at_an_address_of_its_own() {
    for (url, name, hidden) in [
        (type_url::LISTENER, "10.64.0.99_80", true),
        (type_url::LISTENER, "10.64.0.9_80", false),
        (type_url::LISTENER, "virtualInbound", false),
        (type_url::LISTENER, "x_80", false),
        (type_url::CLUSTER, "10.64.0.99_80", false),
    ] {
        assert_eq!(is_hidden_from(&sidecar(), url, name), hidden, "{url} {name}");
    }
}
