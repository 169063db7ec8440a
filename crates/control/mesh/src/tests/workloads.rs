//! Pods as workloads.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::*;

fn workload(pod: Value) -> Workload {
    Workload::of(&serde_json::from_value(pod).unwrap(), "cluster.local")
}

fn labelled(labels: Value) -> Workload {
    workload(json!({"metadata": {"name": "p", "namespace": "shop", "labels": labels}}))
}

#[test]
fn all_addresses_of_a_pod_count_each_once() {
    for (status, expected) in [
        (json!({}), vec![]),
        (json!({"podIP": "10.64.0.5"}), vec!["10.64.0.5"]),
        (json!({"podIPs": [{"ip": "10.64.0.5"}, {"ip": "fd00::5"}]}), vec!["10.64.0.5", "fd00::5"]),
        (
            json!({"podIP": "10.64.0.5", "podIPs": [{"ip": "10.64.0.5"}, {"ip": "fd00::5"}]}),
            vec!["10.64.0.5", "fd00::5"],
        ),
        (json!({"podIP": "10.64.0.5", "podIPs": [{"ip": "fd00::5"}]}), vec!["10.64.0.5", "fd00::5"]),
    ] {
        let found = workload(json!({"metadata": {"name": "p"}, "status": status.clone()})).addresses;
        let expected: Vec<IpAddr> = expected.iter().map(|ip| ip.parse().unwrap()).collect();
        assert_eq!(found, expected, "{status}");
    }
}

#[test]
fn canonical_names_are_those_of_the_labels_in_their_order() {
    for (labels, name, revision) in [
        (json!({}), "p", "latest"),
        (json!({"app": "a", "version": "1"}), "a", "1"),
        (
            json!({"app": "a", "version": "1", "app.kubernetes.io/name": "b", "app.kubernetes.io/version": "2"}),
            "b",
            "2",
        ),
        (
            json!({"app.kubernetes.io/name": "b", "app.kubernetes.io/version": "2",
                "service.istio.io/canonical-name": "c", "service.istio.io/canonical-revision": "3"}),
            "c",
            "3",
        ),
    ] {
        let workload = labelled(labels.clone());
        assert_eq!((workload.canonical_name(), workload.canonical_revision()), (name, revision), "{labels}");
    }
}

#[test]
fn where_a_pod_runs_stands_in_its_label_else_in_those_of_its_node() {
    for (labels, expected) in [
        (json!({}), ""),
        (json!({"istio-locality": "r.z.s", "topology.kubernetes.io/region": "x"}), "r/z/s"),
        (json!({"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z"}), "r/z"),
        (
            json!({"failure-domain.beta.kubernetes.io/region": "r", "failure-domain.beta.kubernetes.io/zone": "z",
                "topology.istio.io/subzone": "s"}),
            "r/z/s",
        ),
    ] {
        assert_eq!(labelled(labels.clone()).locality.to_string(), expected, "{labels}");
    }
}

#[test]
fn a_workload_is_named_after_what_made_its_pod() {
    let owner = |kind: &str, name: &str, controller: bool| json!({"apiVersion": "v1", "uid": "u", "kind": kind, "name": name, "controller": controller});
    for (owners, expected) in [
        (json!([]), "p"),
        (json!([owner("Job", "job", true)]), "job"),
        (json!([owner("Job", "job", false)]), "job"),
        (json!([owner("Job", "first", false), owner("StatefulSet", "set", true)]), "set"),
        (json!([owner("ReplicaSet", "web-abc", true)]), "web"),
        (json!([owner("ReplicaSet", "web-def", true)]), "web-def"),
        (json!([owner("Job", "web-abc", true)]), "web-abc"),
    ] {
        let pod = json!({"metadata": {"name": "p", "labels": {"pod-template-hash": "abc"},
            "ownerReferences": owners.clone()}});
        assert_eq!(workload(pod).name, expected, "{owners}");
    }
}
