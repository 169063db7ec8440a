//! What workloads say of themselves.

use serde_json::json;

use super::*;
use crate::testing::message;

fn whole() -> PeerMetadata {
    PeerMetadata {
        workload: "reviews-v1".into(),
        namespace: "bookinfo".into(),
        app: "reviews".into(),
        version: "v1".into(),
        cluster: "west".into(),
        canonical_service: "reviews".into(),
        canonical_revision: "one".into(),
    }
}

fn fields() -> pb::Struct {
    message(json!({
        "NAME": "reviews-v1-abc", "WORKLOAD_NAME": "reviews-v1", "NAMESPACE": "bookinfo", "CLUSTER_ID": "west",
        "LABELS": {
            "app": "reviews", "version": "v1",
            "service.istio.io/canonical-name": "reviews", "service.istio.io/canonical-revision": "one",
        },
        "PRIVATE": "nobody's business",
    }))
}

#[test]
fn metadata_are_read_from_a_node() {
    assert_eq!(PeerMetadata::from_struct(&fields()), whole());
}

#[test]
fn without_labels_the_workload_is_its_own_service() {
    let read = PeerMetadata::from_struct(&message(json!({"WORKLOAD_NAME": "w"})));
    assert_eq!((read.canonical_service.as_str(), read.canonical_revision.as_str()), ("w", "latest"));
    assert!(read.namespace.is_empty() && read.app.is_empty());
}

#[test]
fn metadata_are_read_from_an_endpoint() {
    let read = PeerMetadata::from_endpoint("reviews-v1;bookinfo;reviews;one;west");
    assert_eq!(read, PeerMetadata { app: String::new(), version: String::new(), ..whole() });
    let short = PeerMetadata::from_endpoint("w;n");
    assert_eq!(short, PeerMetadata { workload: "w".into(), namespace: "n".into(), ..Default::default() });
}

#[test]
fn a_node_shows_what_peers_may_see() {
    let local = LocalNode::new("sidecar~1", &fields());
    assert_eq!(local.metadata, whole());
    let (id, metadata) = local.headers.unwrap();
    assert_eq!(id, "sidecar~1");
    let bytes = base64::engine::general_purpose::STANDARD.decode(metadata.as_bytes()).unwrap();
    let shown = pb::Struct::decode(bytes.as_slice()).unwrap();
    let names: Vec<_> = shown.fields.keys().map(String::as_str).collect();
    assert_eq!(names, ["CLUSTER_ID", "LABELS", "NAME", "NAMESPACE", "WORKLOAD_NAME"]);
    assert_eq!(*Peers::default().decode(metadata.as_bytes()).unwrap(), whole());
}

#[test]
fn an_id_that_is_no_header_value_is_not_sent() {
    assert!(LocalNode::new("a\nb", &fields()).headers.is_none());
}

#[test]
fn peers_are_remembered() {
    let peers = Peers::default();
    let first = peers.endpoint("w;n").unwrap();
    assert_eq!(*first, PeerMetadata::from_endpoint("w;n"));
    assert!(Rc::ptr_eq(&first, &peers.endpoint("w;n").unwrap()));
}

#[test]
fn what_is_no_metadata_is_nobody() {
    let peers = Peers::default();
    for value in ["*", "/w=="] {
        assert!(peers.decode(value.as_bytes()).is_none(), "{value}");
    }
}

#[test]
fn a_value_has_a_longest_length() {
    let peers = Peers::default();
    assert!(peers.endpoint(&"w".repeat(MAX_HEADER)).is_some());
    assert!(peers.endpoint(&"w".repeat(MAX_HEADER + 1)).is_none());
}

#[test]
fn no_more_peers_are_remembered_than_allowed() {
    let peers = Peers::default();
    for number in 0..MAX_PEERS {
        peers.endpoint(&number.to_string());
    }
    assert_eq!(peers.0.borrow().len(), MAX_PEERS);
    peers.endpoint("one more");
    assert_eq!(peers.0.borrow().len(), 1);
}
