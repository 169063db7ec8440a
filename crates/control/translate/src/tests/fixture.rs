//! The mesh that the tests run on.

use std::{collections::BTreeMap, sync::Arc};

use portolan_mesh::{
    Endpoint, EndpointAddress, Inputs, Protocol, ProxyNode, Registry, Service, ServiceEndpoints, ServicePort,
    Visibility,
};
use portolan_resources::MeshConfig;
use serde_json::{Map, Value, json};

const IMPORTED: &str = "mongodb.bookinfo.svc.east-imports.local";
const EXPORTED: &str = "mongodb.bookinfo.svc.west-exports.local";

/// A throw-away root certificate.
pub(super) const ROOT: &str = include_str!("root.pem");

pub(super) fn inputs() -> Inputs {
    let mut inputs = Inputs { root_certificates: ROOT.to_owned(), ..Inputs::default() };
    inputs.mesh_config =
        Arc::new(MeshConfig { access_log_file: "/dev/stdout".to_owned(), ..MeshConfig::default() });
    for yaml in [include_str!("bookinfo.yaml"), include_str!("federation.yaml")] {
        let objects: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
        objects.into_iter().for_each(|o| inputs.insert(o).unwrap());
    }
    let service = |host: &str, visibility, san: &str| {
        Arc::new(Service {
            host: host.to_owned(),
            name: "mongodb".to_owned(),
            namespace: "istio-system".to_owned(),
            registry: Registry::Federation,
            ports: vec![
                ServicePort { name: "mongo".to_owned(), number: 27017, protocol: Protocol::Mongo },
                ServicePort { name: "http".to_owned(), number: 9216, protocol: Protocol::Http },
            ],
            visibility,
            subject_alt_names: [san.to_owned()].into(),
            ..Service::default()
        })
    };
    let endpoints = |ip: &str, network: &str| {
        let endpoint = Endpoint {
            address: EndpointAddress::Ip(ip.parse().unwrap()),
            port: 15443,
            labels: Arc::default(),
            identity: None,
            mesh_tls: true,
            locality: Default::default(),
            weight: 1,
            network: network.to_owned(),
            namespace: "istio-system".to_owned(),
            workload: String::new(),
        };
        let by_port = BTreeMap::from([(27017, vec![endpoint.clone()]), (9216, vec![endpoint])]);
        Arc::new(ServiceEndpoints { by_port })
    };
    let federation = &mut inputs.federation;
    federation.services = vec![
        service(
            EXPORTED,
            Visibility::only("istio-system"),
            "spiffe://east.local/ns/istio-system/sa/west-ingress-service-account",
        ),
        service(
            IMPORTED,
            Visibility::Public,
            "spiffe://cluster.local/ns/istio-system/sa/east-egress-service-account",
        ),
    ];
    federation.endpoints.insert(EXPORTED.to_owned(), endpoints("172.31.242.17", "network-east"));
    federation.endpoints.insert(IMPORTED.to_owned(), endpoints("10.64.0.22", ""));
    federation.trust.bundles.insert("east.local".to_owned(), ROOT.to_owned());
    federation.trust.gateways = vec!["east-egress".to_owned(), "east-ingress".to_owned()];
    inputs
}

pub(super) fn node(
    kind: &str,
    namespace: &str,
    pod: &str,
    ip: &str,
    labels: &[(&str, &str)],
    envoy: bool,
) -> ProxyNode {
    let labels: Map<String, Value> = labels.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    let metadata = json!({
        "NAMESPACE": namespace, "LABELS": labels, "PORTOLAN_PROXY": if envoy { "envoy" } else { "portolan" },
    });
    ProxyNode::parse(&format!("{kind}~{ip}~{pod}.{namespace}~{namespace}.svc.cluster.local"), &metadata)
        .unwrap()
}

/// One proxy of every kind.
pub(super) fn nodes() -> Vec<ProxyNode> {
    let gateway = |name: &str, ip: &str, envoy: bool| {
        let labels = [("istio", name), ("service.istio.io/canonical-name", name)];
        node("router", "istio-system", &format!("{name}-1"), ip, &labels, envoy)
    };
    let mut out = Vec::new();
    for envoy in [false, true] {
        out.push(node("sidecar", "bookinfo", "reviews-v1-1", "10.64.0.11", &[], envoy));
        out.push(node("sidecar", "bookinfo", "productpage-1", "10.64.0.10", &[], envoy));
        out.push(gateway("istio-ingressgateway", "10.64.0.20", envoy));
        out.push(gateway("east-egress", "10.64.0.22", envoy));
        out.push(gateway("east-ingress", "10.64.0.23", envoy));
    }
    out
}
