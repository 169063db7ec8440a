//! What is set is read as it was set, and setting says whether anything differs.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{Node, Pod, Service as KubeService};
use portolan_resources::{
    AuthorizationPolicy, DestinationRule, Gateway, MeshConfig, ServiceEntry, VirtualService,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{REVIEWS, SHOP, inputs, sidecar};
use crate::*;

/// An object in namespace `shop`.
fn object<T: DeserializeOwned>(name: &str, spec: Value) -> Arc<T> {
    let metadata = json!({"name": name, "namespace": "shop"});
    Arc::new(serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap())
}

fn gateway(name: &str, port: u16) -> Arc<Gateway> {
    let server = json!({"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]});
    object(name, json!({"selector": {"istio": "x"}, "servers": [server]}))
}

/// What federation adds, with one object of each kind in which `differs` is not as usual.
fn federation(differs: &[usize]) -> FederationInputs {
    let port = |kind: usize| if differs.contains(&kind) { 81_u16 } else { 80 };
    let host = |kind: usize| format!("h{}.example", port(kind));
    let endpoints = ServiceEndpoints { by_port: BTreeMap::from([(port(6), Vec::new())]) };
    FederationInputs {
        services: vec![Arc::new(Service {
            host: "s.example".to_owned(),
            ports: vec![ServicePort { number: port(5), ..ServicePort::default() }],
            ..Service::default()
        })],
        endpoints: [("s.example".to_owned(), Arc::new(endpoints))].into(),
        configs: FederationConfigs {
            gateways: vec![gateway("a", port(0))],
            virtual_services: vec![object::<VirtualService>("a", json!({"hosts": [host(1)]}))],
            destination_rules: vec![object::<DestinationRule>("a", json!({"host": host(2)}))],
            service_entries: vec![object::<ServiceEntry>("a", json!({"hosts": [host(3)]}))],
            authorization_policies: vec![object::<AuthorizationPolicy>(
                "a",
                json!({"rules": [{"to": [{"operation": {"ports": [port(4).to_string()]}}]}]}),
            )],
        },
        trust: TrustBundles { bundles: BTreeMap::new(), gateways: vec![port(7).to_string()] },
    }
}

const KINDS: usize = 8;

#[test]
fn whatever_federation_adds_is_told_when_it_differs() {
    let set = |differs: &[usize]| {
        let mut mesh = Mesh::default();
        assert!(mesh.set_federation(&federation(&[])));
        assert!(!mesh.set_federation(&federation(&[])), "the same again");
        mesh.set_federation(&federation(differs))
    };
    for one in 0..KINDS {
        for other in 0..KINDS {
            assert!(set(&[one, other]), "{one} {other}");
        }
    }
    assert!(!set(&[]));
}

#[test]
fn objects_that_are_left_out_are_gone_and_those_of_others_stay() {
    let key = |name: &str| ObjectKey::new("shop", name);
    let all = |names: &[&str]| names.iter().map(|name| (key(name), gateway(name, 80))).collect();
    let mut mesh = Mesh::default();
    let mut theirs = federation(&[]);
    theirs.configs.gateways = vec![gateway("a", 81), gateway("z", 81)];
    mesh.set_federation(&theirs);
    assert!(mesh.replace::<Gateway>(all(&["a", "b", "c"])));
    assert!(!mesh.replace::<Gateway>(all(&["a", "b", "c"])));
    let listed = |mesh: &Mesh| -> Vec<(String, u32)> {
        let all = mesh.all::<Gateway>().into_iter();
        all.map(|(key, g)| (key.name, g.spec.servers[0].port.as_ref().unwrap().number)).collect()
    };
    let expected = |pairs: &[(&str, u32)]| -> Vec<(String, u32)> {
        pairs.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect()
    };
    assert_eq!(
        listed(&mesh),
        expected(&[("a", 80), ("b", 80), ("c", 80), ("a", 81), ("z", 81)]),
        "those of federation come last"
    );
    assert!(mesh.replace::<Gateway>(all(&["b"])), "only something is gone");
    assert_eq!(listed(&mesh), expected(&[("b", 80), ("a", 81), ("z", 81)]));
    assert_eq!((mesh.get::<Gateway>(&key("a")), mesh.get(&key("b"))), (None, Some(gateway("b", 80))));
    theirs.configs.gateways.pop();
    assert!(mesh.set_federation(&theirs));
    assert_eq!(listed(&mesh), expected(&[("b", 80), ("a", 81)]));
    assert_eq!(mesh.model().gateways().len(), 2);

    assert!(mesh.set(key("b"), Some(gateway("b", 82))));
    assert!(!mesh.set(key("b"), Some(gateway("b", 82))));
    assert!(mesh.set::<Gateway>(key("b"), None));
    assert!(!mesh.set::<Gateway>(key("b"), None));
    assert_eq!(listed(&mesh), expected(&[("a", 81)]));
}

#[test]
fn settings_are_read_as_they_were_set() {
    let mut mesh = Mesh::new(ClusterContext { cluster_id: "c".to_owned(), ..ClusterContext::default() });
    assert_eq!(mesh.model().cluster().cluster_id, "c");
    assert_eq!(&*mesh.model().root_certificates(), "", "none yet");
    let config = Arc::new(MeshConfig { trust_domain: "td".to_owned(), ..MeshConfig::default() });
    let keys = [("https://keys".to_owned(), "{}".to_owned())].into();
    let set = |mesh: &mut Mesh| {
        [mesh.set_mesh_config(config.clone()), mesh.set_root_certificates("PEM"), mesh.set_jwks(&keys)]
    };
    assert_eq!(set(&mut mesh), [true; 3]);
    assert_eq!(set(&mut mesh), [false; 3]);
    let model = mesh.model();
    assert_eq!((model.mesh_config(), &*model.root_certificates()), (config.clone(), "PEM"));
    assert_eq!((model.jwks("https://keys").as_deref(), model.jwks("other")), (Some("{}"), None));
    assert_eq!(format!("{model:?}"), "Model { .. }", "not the whole mesh");
}

#[test]
fn workloads_are_found_by_name_and_by_address() {
    let mesh = Mesh::from(&inputs(SHOP));
    let model = mesh.model();
    let pod = model.workload("shop", "reviews-v1-abc-x").unwrap();
    assert_eq!(pod.pod, "reviews-v1-abc-x");
    assert_eq!(model.workload("shop", "other"), None);
    assert_eq!(model.workload_at(&"10.64.0.5".parse().unwrap()), Some(pod.clone()));
    assert_eq!(model.workload_at(&"10.64.0.6".parse().unwrap()), None);
    assert_eq!(model.workloads(), std::slice::from_ref(&pod));

    // A proxy's name counts before its address, and what it says itself only where there is no such Pod.
    let mut node = sidecar("shop", json!({"said": "itself"}));
    assert_eq!((model.workload_of(&node), model.labels_of(&node)["said"].as_str()), (None, "itself"));
    node.addresses = vec!["10.64.0.9".parse().unwrap(), "10.64.0.5".parse().unwrap()];
    assert_eq!(model.workload_of(&node), Some(pod.clone()));
    assert_eq!(model.labels_of(&node), pod.labels);
    node.addresses.clear();
    node.name = pod.pod.clone();
    assert_eq!(model.workload_of(&node), Some(pod));
}

/// It keeps its address in its status, which may have been given to another by then.
#[test]
fn a_pod_that_has_finished_is_no_workload() {
    let key = ObjectKey::new("shop", "reviews-v1-abc-x");
    for (phase, there) in [("Pending", true), ("Running", true), ("Succeeded", false), ("Failed", false)] {
        let mut mesh = Mesh::from(&inputs(SHOP));
        let mut pod = (*mesh.get::<Pod>(&key).unwrap()).clone();
        pod.status.as_mut().unwrap().phase = Some(phase.to_owned());
        mesh.set(key.clone(), Some(Arc::new(pod)));
        assert_eq!(mesh.model().workload(&key.namespace, &key.name).is_some(), there, "{phase}");
    }
}

#[test]
fn a_pod_on_its_nodes_network_is_not_found_by_address() {
    let key = ObjectKey::new("shop", "reviews-v1-abc-x");
    let mut mesh = Mesh::from(&inputs(SHOP));
    let mut pod = (*mesh.get::<Pod>(&key).unwrap()).clone();
    pod.spec.as_mut().unwrap().host_network = Some(true);
    mesh.set(key.clone(), Some(Arc::new(pod)));
    let model = mesh.model();
    assert!(model.workload_at(&"10.64.0.5".parse().unwrap()).is_none());
    assert!(model.workload(&key.namespace, &key.name).is_some());
}

#[test]
fn hosts_are_matched_by_pattern() {
    let mesh = Mesh::from(&inputs(SHOP));
    let scope = super::scope_of(&mesh, &sidecar("shop", json!({})));
    for (pattern, expected) in [(REVIEWS, true), ("*.shop.svc.cluster.local", true), ("*.bank", false)] {
        assert_eq!(scope.any_host_matches(pattern), expected, "{pattern}");
    }
    assert!(scope.model().service(REVIEWS).is_some());
}

/// A value that cannot be made, to be held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Ports;

impl portolan_derive::Derived for Ports {
    type Value = usize;
    fn derive(&self, read: &portolan_derive::Reader<'_>) -> usize {
        let service = Model::new(read).service(REVIEWS);
        assert!(service.is_some(), "no reviews");
        service.map_or(0, |s| s.ports.len())
    }
}

#[test]
fn what_is_held_is_told_and_what_is_released_is_not() {
    let mut mesh = Mesh::from(&inputs(SHOP));
    mesh.hold(&Ports);
    assert_eq!(mesh.settle().of::<Ports>().count(), 1);
    assert_eq!((mesh.held(&Ports), mesh.take_failures()), (Some(1), vec![]));
    let key = ObjectKey::new("shop", "reviews");
    let service = mesh.get::<KubeService>(&key);
    mesh.set::<KubeService>(key.clone(), None);
    assert_eq!(mesh.settle().of::<Ports>().count(), 0, "it cannot be made: it stays as it was");
    let failures = mesh.take_failures();
    assert_eq!((failures.len(), failures[0].reason.as_str()), (1, "no reviews"));
    assert_eq!((mesh.held(&Ports), mesh.take_failures()), (Some(1), vec![]));
    mesh.set(key.clone(), service.clone());
    mesh.settle();
    mesh.release(&Ports);
    mesh.set(key.clone(), None::<Arc<KubeService>>);
    mesh.settle();
    assert_eq!((mesh.held(&Ports), mesh.take_failures()), (None, vec![]));
    assert!(!mesh.set::<Node>(ObjectKey::new("", "n"), None));
}
