//! Random changes: what a proxy holds that hears of nothing but what its boards say differs is what a control plane would
//! send that has just started.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use portolan_mesh::{Mesh, ObjectKey, ProxyNode};
use portolan_resources::{
    AuthorizationPolicy, DestinationRule, Gateway, MeshConfig, PeerAuthentication, ServiceEntry, Sidecar,
    VirtualService,
};
use portolan_translate::{AudiencesOf, Pieces, is_hidden_from};
use portolan_xds::{Version, server::Source, type_url};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Board, Boards, Difference, Publisher, Subscription, vet::vet};

const TYPES: [&str; 7] = [
    type_url::CLUSTER,
    type_url::ENDPOINT,
    type_url::LISTENER,
    type_url::ROUTE,
    type_url::VIRTUAL_HOST,
    type_url::SECRET,
    type_url::NAME_TABLE,
];

/// One step of the game.
#[derive(Clone, Debug)]
enum Step {
    /// An object is set (or, without a variant, taken away).
    Set { kind: u8, name: u8, variant: Option<u8> },
    /// What was set is published.
    Publish,
    /// A proxy connects or goes.
    Proxy(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..11_u8, 0..3_u8, prop::option::weighted(0.8, 0..6_u8))
            .prop_map(|(kind, name, variant)| Step::Set { kind, name, variant }),
        3 => Just(Step::Publish),
        2 => (0..PROXIES).prop_map(Step::Proxy),
    ]
}

const PROXIES: usize = 4;

/// Two of our sidecars, a foreign one, and a gateway.
fn proxy(number: usize) -> Arc<ProxyNode> {
    let (kind, namespace, ip, dialect, labels) = [
        ("sidecar", "shop", "10.64.0.1", "portolan", json!({"app": "reviews"})),
        ("sidecar", "bank", "10.64.0.2", "portolan", json!({"app": "ratings"})),
        ("sidecar", "shop", "10.64.0.3", "envoy", json!({"app": "other"})),
        ("router", "shop", "10.64.0.9", "portolan", json!({"istio": "edge"})),
    ][number]
        .clone();
    let metadata = json!({"NAMESPACE": namespace, "LABELS": labels, "PORTOLAN_PROXY": dialect});
    let id = format!("{kind}~{ip}~p{number}.{namespace}~{namespace}.svc.cluster.local");
    Arc::new(ProxyNode::parse(&id, &metadata).unwrap())
}

fn set(mesh: &mut Mesh, kind: u8, name: u8, variant: Option<u8>) {
    let (name, v) = (["reviews", "ratings", "details"][usize::from(name)], variant.unwrap_or_default());
    let pick = |choices: [Value; 3]| choices[usize::from(v) % 3].clone();
    let namespace = if v < 3 { "shop" } else { "bank" };
    // Taken away in both places.
    let keys: Vec<ObjectKey> = match variant {
        Some(_) => vec![ObjectKey::new(namespace, name)],
        None => ["shop", "bank"].map(|ns| ObjectKey::new(ns, name)).to_vec(),
    };
    let host = format!("{name}.shop.svc.cluster.local");
    let meta = json!({"name": name, "namespace": namespace, "labels": {"app": name}});
    let mode = ["STRICT", "DISABLE", "PERMISSIVE"][usize::from(v) % 3];
    macro_rules! put {
        ($type:ty, $object:expr) => {
            for key in keys {
                let mut object = $object;
                object["metadata"] = meta.clone();
                let typed = variant.map(|_| Arc::new(serde_json::from_value::<$type>(object).unwrap()));
                mesh.set::<$type>(key, typed);
            }
        };
    }
    let export = pick([json!(["*"]), json!(["."]), json!([])]);
    let port = pick([
        json!([{"name": "http", "port": 80}]),
        json!([{"name": "tcp", "port": 81}, {"name": "http", "port": 80}]),
        json!([{"name": "sniffed", "port": 82}]),
    ]);
    match kind {
        0 => put!(
            Service,
            json!({"spec": {"clusterIP": pick([json!("10.96.0.1"), json!("None"), json!("10.96.0.3")]),
            "selector": {"app": name}, "ports": port.clone()}})
        ),
        1 => {
            let mut slice = json!({"addressType": "IPv4", "ports": port.clone(), "endpoints": [
                {"addresses": [format!("10.64.0.{}", v % 3 + 1)], "conditions": {"ready": v != 5}}]});
            for key in keys {
                slice["metadata"] = json!({"name": name, "namespace": key.namespace,
                    "labels": {"kubernetes.io/service-name": name}});
                let typed = variant
                    .map(|_| Arc::new(serde_json::from_value::<EndpointSlice>(slice.clone()).unwrap()));
                mesh.set(key, typed);
            }
        }
        2 => put!(
            VirtualService,
            json!({"spec": {
            "hosts": pick([json!([host.clone()]), json!(["*.shop.svc.cluster.local"]), json!(["outside.example"])]),
            "gateways": pick([json!([]), json!(["mesh", "shop/reviews"]), json!(["shop/reviews"])]),
            "exportTo": export, "http": [
                {"match": [pick([json!({}), json!({"sourceLabels": {"app": "reviews"}}), json!({"sourceNamespace": "bank"})])],
                    "route": [{"destination": {"host": "ratings.shop.svc.cluster.local", "subset": "v1"}}]},
                {"route": [{"destination": {"host": host}}], "timeout": format!("{v}s")}]}})
        ),
        3 => put!(
            DestinationRule,
            json!({"spec": {"host": pick([json!(host), json!("*.cluster.local"), json!("x")]),
            "exportTo": export, "subsets": [{"name": "v1", "labels": {"app": name}}],
            "trafficPolicy": pick([json!({}), json!({"outlierDetection": {"consecutive5xxErrors": 3}}),
                json!({"tls": {"mode": "SIMPLE"}})])}})
        ),
        4 => put!(
            ServiceEntry,
            json!({"spec": {"hosts": pick([json!(["a.example"]), json!(["*.example"]), json!([host, name])]),
            "exportTo": export, "location": "MESH_INTERNAL", "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "addresses": pick([json!([]), json!(["192.0.2.1"]), json!(["192.0.2.0/24"])]),
            "endpoints": [{"address": "198.51.100.1"}]}})
        ),
        5 => put!(
            Sidecar,
            json!({"spec": {"egress": [{"hosts": pick([json!(["./*"]), json!(["shop/reviews.shop.svc.cluster.local"]),
            json!(["*/*"])])}]}})
        ),
        6 => put!(PeerAuthentication, json!({"spec": {"mtls": {"mode": mode}}})),
        7 => put!(
            AuthorizationPolicy,
            json!({"spec": {"selector": {"matchLabels": {"app": name}},
            "action": pick([json!("ALLOW"), json!("DENY"), json!("ALLOW")]), "rules": [{"to": [{"operation": {"methods": ["GET"]}}]}]}})
        ),
        8 => put!(
            Gateway,
            json!({"spec": {"selector": {"istio": "edge"}, "servers": [
            {"port": {"number": 80 + u16::from(v % 3), "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]}})
        ),
        9 => {
            // A proxy's own Pod: its labels, address and place are what it is seen by.
            let number = usize::from(v) % PROXIES;
            let node = proxy(number);
            let labels = json!({"app": name, "security.istio.io/tlsMode": "istio"});
            let pod = json!({"metadata": {"name": node.name, "namespace": node.namespace, "labels": labels},
                "spec": {"containers": [], "nodeName": "n1", "serviceAccountName": name},
                "status": {"phase": "Running", "podIP": node.addresses[0]}});
            let typed = variant.map(|_| Arc::new(serde_json::from_value::<Pod>(pod).unwrap()));
            mesh.set(ObjectKey::new(&node.namespace, &node.name), typed);
        }
        _ => {
            let labels = json!({"topology.kubernetes.io/region": format!("r{}", v % 2)});
            let node = json!({"metadata": {"name": "n1", "labels": labels}});
            let typed = variant.map(|_| Arc::new(serde_json::from_value::<Node>(node).unwrap()));
            mesh.set(ObjectKey::new("", "n1"), typed);
            let policy = if v % 2 == 0 { "REGISTRY_ONLY" } else { "ALLOW_ANY" };
            let config: MeshConfig =
                serde_json::from_value(json!({"outboundTrafficPolicy": {"mode": policy}})).unwrap();
            mesh.set_mesh_config(Arc::new(config));
        }
    }
}

type Held = BTreeMap<(&'static str, Arc<str>), Version>;

/// A proxy that takes in what differs, and nothing else.
struct Client {
    node: Arc<ProxyNode>,
    subscription: Subscription,
    boards: Arc<[Arc<Board>]>,
    seen: Vec<u64>,
    held: Held,
}

impl Client {
    fn connect(publisher: &Arc<Publisher>, number: usize) -> Self {
        let node = proxy(number);
        let subscription = publisher.subscribe(node.clone()).expect("everything can be made");
        let mut client =
            Self { node, subscription, boards: Arc::default(), seen: Vec::new(), held: Held::new() };
        client.look();
        client
    }

    /// Takes in what differs.
    fn look(&mut self) {
        let boards = self.subscription.boards();
        if !Arc::ptr_eq(&boards, &self.boards) {
            self.seen = boards.iter().map(|board| board.generation()).collect();
            self.boards = boards;
            self.held = all(&self.node, &self.boards);
            return;
        }
        for (board, seen) in self.boards.iter().zip(&mut self.seen) {
            let (generation, differing) = board.since(*seen);
            *seen = generation;
            for (url, difference) in differing {
                let Difference::Names(names) = difference else {
                    panic!("the log is too short for this game")
                };
                let hidden = |name: &str| is_hidden_from(&self.node, url, name);
                let source = Boards { boards: &self.boards, type_url: url, own: &[], hidden: &hidden };
                for name in names {
                    match source.get(&name) {
                        Some(resource) => drop(self.held.insert((url, name), resource.version)),
                        None => drop(self.held.remove(&(url, name))),
                    }
                }
            }
        }
    }
}

fn all(node: &ProxyNode, boards: &[Arc<Board>]) -> Held {
    let mut held = Held::new();
    for url in TYPES {
        let hidden = |name: &str| is_hidden_from(node, url, name);
        let source = Boards { boards, type_url: url, own: &[], hidden: &hidden };
        source.all(&mut |resource| {
            let before = held.insert((url, resource.name.clone()), resource.version);
            assert!(before.is_none(), "{} twice", resource.name);
        });
    }
    held
}

/// What a proxy would hold if nothing were shared between namespaces.
fn alone(mesh: &Mesh, node: &Arc<ProxyNode>) -> Held {
    let read = mesh.model().reader();
    let audiences = read.get(&AudiencesOf(node.clone()));
    let own = audiences.iter().filter(|audience| !audience.is_common());
    let pieces = own.flat_map(|audience| (*read.get(&Pieces(audience.alone()))).clone());
    let made =
        pieces.map(|piece| if piece.is_ours() { vet(&[], read.get(&piece)).0 } else { read.get(&piece) });
    let resources = made.flat_map(|made| made.resources.to_vec());
    let seen = resources.filter(|r| !is_hidden_from(node, r.type_url, &r.name));
    seen.map(|r| ((r.type_url, r.name.clone()), r.version)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn proxies_hold_what_a_new_control_plane_would_send(steps in prop::collection::vec(step(), 1..40)) {
        let publisher = Arc::new(Publisher::new(Mesh::default(), Arc::default()));
        let mut facts: Vec<(u8, u8, Option<u8>)> = Vec::new();
        let mut clients: BTreeMap<usize, Client> = BTreeMap::new();
        for step in steps.into_iter().chain([Step::Publish]) {
            match step {
                Step::Set { kind, name, variant } => {
                    facts.push((kind, name, variant));
                    publisher.change(|mesh| set(mesh, kind, name, variant));
                }
                Step::Proxy(number) => {
                    if clients.remove(&number).is_none() {
                        clients.insert(number, Client::connect(&publisher, number));
                    }
                }
                Step::Publish => {
                    publisher.publish(None);
                    let mut mesh = Mesh::default();
                    facts.iter().for_each(|(kind, name, variant)| set(&mut mesh, *kind, *name, *variant));
                    let fresh = Arc::new(Publisher::new(mesh, Arc::default()));
                    for (number, client) in &mut clients {
                        client.look();
                        let new = Client::connect(&fresh, *number);
                        prop_assert_eq!(&client.held, &new.held, "{}", client.node.id);
                        let alone = fresh.facts(|mesh| alone(mesh, &client.node));
                        prop_assert_eq!(&client.held, &alone, "{}", client.node.id);
                    }
                }
            }
        }
    }
}
