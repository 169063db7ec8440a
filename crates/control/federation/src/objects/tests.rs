use std::net::IpAddr;

use portolan_mesh::{Endpoint, EndpointAddress, Locality, Protocol, Registry, Visibility};
use serde::Serialize;

use super::*;
use crate::fixture::{offer, peer, service, west, yaml};
use crate::{ServiceList, ServicePortMessage, imports};

const ROOTS: &str = "roots of the peer";

/// A peering without exports and imports.
fn peering(name: &str) -> PeerState {
    PeerState {
        peer: peer(name),
        exports: BTreeMap::new(),
        imports: Vec::new(),
        locality: None,
        remote_addresses: BTreeSet::from([address("192.0.2.7"), address("192.0.2.8")]),
        egress_addresses: BTreeSet::from([address("10.64.0.5")]),
        root_certificates: Some(format!("{ROOTS} {name}")),
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Exports ratings.bookinfo as stars.public.
fn with_export(mut state: PeerState) -> PeerState {
    let local = service("ratings", "bookinfo");
    let hostname = format!("stars.public.svc.{}-exports.local", state.peer.name);
    let mut message = offer("stars", "public");
    message.hostname = hostname;
    let export = Export { name: local.name, namespace: local.namespace, host: local.host.clone(), message };
    state.exports.insert(local.host, export);
    state
}

/// Imports the named offers of namespace bookinfo by `rule`.
fn with_imports(mut state: PeerState, names: &[&str], rule: &str) -> PeerState {
    let offers: Vec<_> = names.iter().map(|name| offer(name, "bookinfo")).collect();
    let set = yaml(&format!("importRules: [{{type: NameSelector, {rule}}}]"));
    state.imports = imports(&west(), &state.peer, Some(&set), &offers);
    state
}

const PLAIN: &str = "nameSelector: {}";
const LOCAL: &str = "nameSelector: {alias: {namespace: shop}}, importAsLocal: true";

fn inputs(states: &[PeerState]) -> FederationInputs {
    federation_inputs(&west(), states)
}

fn names<T: kube_core::ResourceExt>(objects: &[std::sync::Arc<T>]) -> Vec<String> {
    objects.iter().map(|object| object.name_any()).collect()
}

/// Objects as `kubectl get -o yaml` would show them.
fn documents<T: Serialize>(objects: &[std::sync::Arc<T>]) -> String {
    objects
        .iter()
        .map(|object| format!("---\n{}", serde_saphyr::to_string(object.as_ref()).unwrap()))
        .collect()
}

#[test]
fn objects_of_discovery() {
    let configs = inputs(&[peering("east")]).configs;
    insta::assert_snapshot!(
        "discovery",
        [
            documents(&configs.gateways),
            documents(&configs.virtual_services),
            documents(&configs.destination_rules),
            documents(&configs.service_entries),
            documents(&configs.authorization_policies),
        ]
        .concat()
    );
}

#[test]
fn objects_of_an_export() {
    let all = inputs(&[with_export(peering("east"))]).configs;
    let discovery = inputs(&[peering("east")]).configs;
    insta::assert_snapshot!(
        "export",
        [
            documents(&all.gateways[discovery.gateways.len()..]),
            documents(&all.virtual_services[discovery.virtual_services.len()..]),
        ]
        .concat()
    );
    assert_eq!(all.authorization_policies, discovery.authorization_policies, "one policy guards all exports");
    assert_eq!(all.destination_rules, discovery.destination_rules);
    assert_eq!(all.service_entries, discovery.service_entries);
}

#[test]
fn objects_of_an_import() {
    let all = inputs(&[with_imports(peering("east"), &["ratings"], PLAIN)]).configs;
    let discovery = inputs(&[peering("east")]).configs;
    insta::assert_snapshot!(
        "import",
        [
            documents(&all.gateways[discovery.gateways.len()..]),
            documents(&all.virtual_services[discovery.virtual_services.len()..]),
        ]
        .concat()
    );
    assert_eq!(all.authorization_policies, discovery.authorization_policies);
}

#[test]
fn a_peering_has_only_the_objects_of_the_gateways_that_it_names() {
    let with = |ingress: &str, egress: &str, addresses: &[&str]| {
        let mut state = with_export(peering("east"));
        state.peer.spec.gateways.ingress.name = ingress.into();
        state.peer.spec.gateways.egress.name = egress.into();
        state.peer.spec.remote.addresses = addresses.iter().map(|text| (*text).to_owned()).collect();
        names(&inputs(&[state]).configs.gateways)
    };
    let out = "federation-discovery-east-egress";
    let (back, export) = ("federation-discovery-east-ingress", "fed-exp-ratings-bookinfo-east");
    assert_eq!(with("in", "out", &["192.0.2.7"]), [out, back, export]);
    assert_eq!(with("", "out", &["192.0.2.7"]), [out], "nobody comes in");
    assert_eq!(with("in", "", &["192.0.2.7"]), [back, export], "nobody goes out");
    assert_eq!(with("in", "out", &[]), [back, export], "there is nowhere to go");
}

/// The rules of the policies on our ingress gateway, by port.
fn denied(client: &str) -> BTreeMap<String, serde_json::Value> {
    let mut state = peering("east");
    state.peer.spec.security.client_id = client.into();
    let policies = inputs(&[state]).configs.authorization_policies;
    policies
        .iter()
        .map(|policy| {
            let spec = serde_json::to_value(&policy.spec).unwrap();
            assert_eq!(spec["action"], "DENY");
            assert_eq!(
                spec["selector"]["matchLabels"],
                serde_json::json!({labels::CANONICAL_NAME: "east-ingress"})
            );
            assert_eq!(spec["rules"].as_array().map(Vec::len), Some(1));
            let rule = &spec["rules"][0];
            (rule["to"][0]["operation"]["ports"][0].as_str().unwrap().to_owned(), rule["from"].clone())
        })
        .collect()
}

#[test]
fn all_but_the_peers_gateway_are_denied_on_both_ports() {
    let found = denied("east.local/ns/x/sa/y");
    let expected = serde_json::json!([{"source": {"notPrincipals": ["east.local/ns/x/sa/y"]}}]);
    assert_eq!(found, BTreeMap::from([("15443".into(), expected.clone()), ("8188".into(), expected)]));
}

#[test]
fn a_peer_without_client_id_is_denied_altogether() {
    let found = denied("");
    let keys: Vec<_> = found.keys().map(String::as_str).collect();
    assert_eq!(keys, ["15443", "8188"]);
    assert!(
        found.values().all(serde_json::Value::is_null),
        "a rule without source is for everybody: {found:?}"
    );
}

#[test]
fn nothing_is_made_of_a_foreign_peer_without_roots() {
    let state = PeerState {
        root_certificates: None,
        ..with_export(with_imports(peering("east"), &["ratings"], PLAIN))
    };
    assert_eq!(inputs(&[state]), FederationInputs::default());
}

#[test]
fn a_peer_without_roots_takes_nothing_from_the_others() {
    let lost = PeerState { root_certificates: None, ..peering("east") };
    assert_eq!(inputs(&[lost, peering("north")]), inputs(&[peering("north")]));
}

#[test]
fn roots_of_each_foreign_domain_go_to_the_gateways_of_its_peering_only() {
    let trust = inputs(&[peering("north"), peering("east")]).trust;
    let bundle = |name: &str| (format!("{name}.local"), format!("{ROOTS} {name}"));
    assert_eq!(trust.bundles, BTreeMap::from([bundle("east"), bundle("north")]));
    assert_eq!(trust.gateways, ["east-egress", "east-ingress", "north-egress", "north-ingress"]);
}

#[test]
fn a_gateway_that_serves_two_peers_is_named_once() {
    let mut second = peering("north");
    second.peer.spec.gateways.egress.name = "east-egress".into();
    let trust = inputs(&[peering("east"), second]).trust;
    assert_eq!(trust.gateways, ["east-egress", "east-ingress", "north-ingress"]);
}

#[test]
fn roots_go_to_no_gateway_without_a_name() {
    let mut state = peering("east");
    state.peer.spec.gateways.egress.name.clear();
    assert_eq!(inputs(&[state]).trust.gateways, ["east-ingress"]);
}

#[test]
fn a_peer_of_our_own_trust_domain_needs_no_roots() {
    let mut state = PeerState { root_certificates: None, ..peering("east") };
    state.peer.spec.security.trust_domain = "west.local".into();
    let found = inputs(&[state]);
    assert_eq!(found.trust, portolan_mesh::TrustBundles::default());
    assert_eq!(found.configs.gateways.len(), 2);
}

#[test]
fn our_control_plane_is_named_by_one_rule_for_all_peers() {
    let rules = names(&inputs(&[peering("east"), peering("north")]).configs.destination_rules);
    assert_eq!(
        rules,
        ["federation-discovery-east-egress", "federation-discovery", "federation-discovery-north-egress"]
    );
}

#[test]
fn the_remote_header_changes_with_the_way_to_the_peer() {
    type Change = fn(&mut portolan_resources::federation::PeerRemote);
    let with = |change: Change| {
        let mut peer = peer("east");
        change(&mut peer.spec.remote);
        peer.remote_checksum()
    };
    let original = with(|_| {});
    let changes: [(&str, Change); 5] = [
        ("another address", |remote| remote.addresses[0] = "192.0.2.8".into()),
        ("one address less", |remote| remote.addresses.truncate(1)),
        ("two addresses run together", |remote| remote.addresses = vec![remote.addresses.concat()]),
        ("another discovery port", |remote| remote.discovery_port = Some(9188)),
        ("another service port", |remote| remote.service_port = Some(9443)),
    ];
    for (what, change) in changes {
        assert_ne!(with(change), original, "{what}");
    }
    assert_eq!(with(|remote| remote.service_port = Some(15443)), original, "the default, said");
    let headers = peer("east").discovery_headers();
    assert_eq!(headers[0], ("discovery-service", "discovery.istio-system.svc.east.local".to_owned()));
    assert_eq!(headers[1], ("remote", original));
}

#[test]
fn discovery_goes_to_the_port_that_the_peer_names() {
    let mut state = peering("east");
    state.peer.spec.remote.discovery_port = Some(9188);
    let configs = inputs(&[state]).configs;
    assert_eq!(configs.service_entries[0].spec.ports[0].number, 9188);
    let rule = serde_json::to_value(&configs.destination_rules[0].spec).unwrap();
    assert_eq!(rule["subsets"][0]["trafficPolicy"]["portLevelSettings"][0]["port"]["number"], 9188);
    let route = serde_json::to_value(&configs.virtual_services[0].spec.http[0]).unwrap();
    assert_eq!(route["route"][0]["destination"]["port"]["number"], 9188);
    assert_eq!(route["match"][0]["port"], 8188, "our own gateway listens where it always does");
}

/// The two services of one import, the peer's and ours.
fn services(state: PeerState) -> [(portolan_mesh::Service, Vec<Endpoint>); 2] {
    let found = inputs(&[state]);
    let with_endpoints = |service: &std::sync::Arc<portolan_mesh::Service>| {
        let by_port = &found.endpoints[&service.host].by_port;
        let numbers: Vec<u16> = service.ports.iter().map(|port| port.number).collect();
        assert_eq!(by_port.keys().copied().collect::<Vec<_>>(), numbers, "every port has endpoints");
        (service.as_ref().clone(), by_port[&9080].clone())
    };
    let both: Vec<_> = found.services.iter().map(with_endpoints).collect();
    both.try_into().unwrap()
}

#[test]
fn the_service_as_exported_is_for_gateways_only() {
    let [(service, endpoints), _] = services(with_imports(peering("east"), &["ratings"], PLAIN));
    let labels: BTreeMap<String, String> = BTreeMap::from([
        (labels::CANONICAL_NAME.to_owned(), "ratings.bookinfo.east.remote".to_owned()),
        (labels::CANONICAL_REVISION.to_owned(), "east".to_owned()),
    ]);
    assert_eq!(
        service,
        portolan_mesh::Service {
            host: "ratings.bookinfo.svc.west-exports.local".into(),
            name: "ratings.bookinfo.east.remote".into(),
            namespace: "istio-system".into(),
            registry: Registry::Federation,
            ports: vec![portolan_mesh::ServicePort {
                name: "http".into(),
                number: 9080,
                protocol: Protocol::Http
            }],
            visibility: Visibility::only("istio-system"),
            labels: labels.clone(),
            subject_alt_names: BTreeSet::from([
                "spiffe://east.local/ns/istio-system/sa/west-ingress-service-account".to_owned()
            ]),
            ..portolan_mesh::Service::default()
        }
    );
    let endpoint = |at: &str| Endpoint {
        address: EndpointAddress::Ip(address(at)),
        port: 15443,
        labels: labels.clone().into(),
        identity: None,
        mesh_tls: true,
        locality: Locality::default(),
        weight: 0,
        network: String::new(),
        namespace: "istio-system".into(),
        workload: String::new(),
    };
    assert_eq!(endpoints, [endpoint("192.0.2.7"), endpoint("192.0.2.8")]);
}

#[test]
fn the_service_as_imported_is_our_egress_gateway() {
    let [_, (service, endpoints)] = services(with_imports(peering("east"), &["ratings"], PLAIN));
    let identity = "spiffe://west.local/ns/istio-system/sa/east-egress-service-account".to_owned();
    let labels: BTreeMap<String, String> = BTreeMap::from([
        (labels::CANONICAL_NAME.to_owned(), "ratings.bookinfo.east.local".to_owned()),
        (labels::CANONICAL_REVISION.to_owned(), "east".to_owned()),
    ]);
    assert_eq!(
        service,
        portolan_mesh::Service {
            host: "ratings.bookinfo.svc.east-imports.local".into(),
            name: "ratings.bookinfo.east.local".into(),
            namespace: "istio-system".into(),
            registry: Registry::Federation,
            ports: vec![portolan_mesh::ServicePort {
                name: "http".into(),
                number: 9080,
                protocol: Protocol::Http
            }],
            wants_auto_address: true,
            visibility: Visibility::Public,
            labels: labels.clone(),
            subject_alt_names: BTreeSet::from([identity.clone()]),
            ..portolan_mesh::Service::default()
        }
    );
    assert_eq!(
        endpoints,
        [Endpoint {
            address: EndpointAddress::Ip(address("10.64.0.5")),
            port: 15443,
            labels: labels.into(),
            identity: Some(identity),
            mesh_tls: true,
            locality: Locality::default(),
            weight: 0,
            network: "west-network".into(),
            namespace: "istio-system".into(),
            workload: "east-egress".into(),
        }]
    );
}

#[test]
fn a_local_import_has_our_own_names() {
    let [_, (service, _)] = services(with_imports(peering("east"), &["ratings"], LOCAL));
    assert_eq!(service.host, "ratings.shop.svc.cluster.local");
    assert_eq!((service.name.as_str(), service.namespace.as_str()), ("ratings", "shop"));
    assert_eq!(service.labels[labels::CANONICAL_NAME], "ratings");
}

#[test]
fn imports_count_as_the_locality_of_the_set() {
    let with = |locality: &str| {
        let mut state = with_imports(peering("east"), &["ratings"], PLAIN);
        state.locality = yaml(locality);
        let [(_, remote), (_, local)] = services(state);
        assert_eq!(remote[0].locality, Locality::default());
        local[0].locality.to_string()
    };
    assert_eq!(with("{region: eu, zone: a, subzone: rack}"), "eu/a/rack");
    assert_eq!(with("{region: eu}"), "eu");
    assert_eq!(with("{zone: a}"), "", "a zone without region is not taken");
}

#[test]
fn the_peers_service_port_is_dialled() {
    let mut state = with_imports(peering("east"), &["ratings"], PLAIN);
    state.peer.spec.remote.service_port = Some(30_443);
    let [(_, remote), (_, local)] = services(state);
    assert_eq!((remote[0].port, local[0].port), (30_443, 15_443));
}

#[test]
fn a_protocol_that_we_do_not_know_is_sniffed() {
    let mut state = with_imports(peering("east"), &["ratings"], PLAIN);
    let ports = &mut state.imports[0].message.service_ports;
    ports.push(ServicePortMessage { name: "odd".into(), port: 9090, protocol: "Odd".into() });
    let [(service, _), _] = services(state);
    let protocols: Vec<_> = service.ports.iter().map(|port| (port.number, port.protocol)).collect();
    assert_eq!(protocols, [(9080, Protocol::Http), (9090, Protocol::Auto)]);
}

#[test]
fn offers_that_no_rule_imports_are_nowhere() {
    let state = with_imports(peering("east"), &["ratings", "reviews"], "nameSelector: {name: reviews}");
    let found = inputs(&[state]);
    let hosts: Vec<_> = found.services.iter().map(|service| service.host.as_str()).collect();
    let expected = ["reviews.bookinfo.svc.west-exports.local", "reviews.bookinfo.svc.east-imports.local"];
    assert_eq!(hosts, expected);
    assert_eq!(found.endpoints.keys().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(expected));
    assert_eq!(names(&found.configs.gateways)[2..], ["fed-imp-reviews-bookinfo-east"]);
}

#[test]
fn of_two_imports_with_one_local_host_the_first_has_it() {
    let rule = "nameSelector: {alias: {name: same}}";
    let found = inputs(&[with_imports(peering("east"), &["ratings", "reviews"], rule)]);
    let hosts: Vec<_> = found.services.iter().map(|service| service.host.as_str()).collect();
    assert_eq!(hosts, ["ratings.bookinfo.svc.west-exports.local", "same.bookinfo.svc.east-imports.local"]);
}

#[test]
fn of_two_peers_that_export_one_host_the_first_by_name_has_it() {
    let state = |name: &str| with_imports(peering(name), &["ratings"], PLAIN);
    let found = inputs(&[state("north"), state("east")]);
    let hosts: Vec<_> = found.services.iter().map(|service| service.host.as_str()).collect();
    assert_eq!(hosts, ["ratings.bookinfo.svc.west-exports.local", "ratings.bookinfo.svc.east-imports.local"]);
}

#[test]
fn an_accepted_list_gives_the_services_that_it_names() {
    let (taken, _) = ServiceList::new(vec![offer("ratings", "bookinfo")]).accept("east.local");
    let set = yaml("importRules: [{type: NameSelector, nameSelector: {}}]");
    let state = PeerState { imports: imports(&west(), &peer("east"), Some(&set), &taken), ..peering("east") };
    assert_eq!(inputs(&[state]), inputs(&[with_imports(peering("east"), &["ratings"], PLAIN)]));
}
