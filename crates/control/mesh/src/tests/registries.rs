//! Services and endpoints of Kubernetes and of ServiceEntries.

use std::{collections::BTreeMap, sync::Arc};

use portolan_resources::MeshConfig;
use serde_json::{Value, json};

use super::{REVIEWS, SHOP, inputs, sidecar};
use crate::*;

fn mesh(yaml: &str) -> Mesh {
    Mesh::from(&inputs(yaml))
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn port(name: &str, number: u16, protocol: Protocol) -> ServicePort {
    ServicePort { name: name.to_owned(), number, protocol }
}

#[test]
fn a_kubernetes_service_is_taken_over_with_all_that_it_says() {
    let yaml = r#"
kind: Service
metadata:
  name: web
  namespace: shop
  creationTimestamp: "2021-01-01T00:00:00Z"
  labels: {team: a}
  annotations:
    networking.istio.io/exportTo: "."
    alpha.istio.io/canonical-serviceaccounts: "a.local/ns/x/sa/y, spiffe://b.local/ns/x/sa/z, "
    alpha.istio.io/kubernetes-serviceaccounts: builder
spec:
  clusterIP: 10.96.0.5
  clusterIPs: [10.96.0.5, "fd00::5"]
  selector: {app: web}
  ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]
"#;
    let expected = Service {
        host: "web.shop.svc.cluster.local".to_owned(),
        name: "web".to_owned(),
        namespace: "shop".to_owned(),
        registry: Registry::Kubernetes,
        addresses: vec!["10.96.0.5".to_owned(), "fd00::5".to_owned()],
        ports: vec![port("http", 80, Protocol::Http)],
        resolution: Resolution::ClientSide,
        visibility: Visibility::only("shop"),
        labels: map(&[("team", "a")]),
        selector: map(&[("app", "web")]),
        subject_alt_names: [
            "spiffe://a.local/ns/x/sa/y".to_owned(),
            "spiffe://b.local/ns/x/sa/z".to_owned(),
            "spiffe://cluster.local/ns/shop/sa/builder".to_owned(),
        ]
        .into(),
        age: Age(1_609_459_200),
        ..Service::default()
    };
    assert_eq!(*mesh(yaml).model().services()["web.shop.svc.cluster.local"], expected);
}

#[test]
fn how_a_kubernetes_service_is_resolved() {
    for (spec, addresses, resolution, headless, external_name) in [
        ("clusterIP: 10.96.0.5", vec!["10.96.0.5"], Resolution::ClientSide, false, None),
        ("clusterIP: 10.96.0.5, clusterIPs: []", vec!["10.96.0.5"], Resolution::ClientSide, false, None),
        ("clusterIP: None", vec![], Resolution::Passthrough, true, None),
        ("type: ExternalName, externalName: a.example", vec![], Resolution::Dns, false, Some("a.example")),
        // The name counts for Services of that type only.
        (
            "clusterIP: 10.96.0.5, externalName: a.example",
            vec!["10.96.0.5"],
            Resolution::ClientSide,
            false,
            None,
        ),
    ] {
        let yaml = format!(
            "kind: Service\nmetadata: {{name: web, namespace: shop}}\nspec: {{{spec}, ports: [{{port: 80}}]}}\n"
        );
        let service = mesh(&yaml).model().services()["web.shop.svc.cluster.local"].clone();
        assert_eq!(service.addresses, addresses, "{spec}");
        assert_eq!((service.resolution, service.headless), (resolution, headless), "{spec}");
        assert_eq!(service.external_name.as_deref(), external_name, "{spec}");
        assert_eq!(service.mesh_external, external_name.is_some(), "{spec}");
    }
}

/// A Pod in the host's network shares its address with others: only its name says which one is meant.
#[test]
fn endpoints_know_their_pod_by_name_else_by_address() {
    let pod = |name: &str, ip: &str, host: bool| {
        format!(
            "kind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{is: {name}}}}}\n\
             spec: {{hostNetwork: {host}, containers: []}}\nstatus: {{podIP: {ip}}}\n---\n"
        )
    };
    let yaml = pod("plain", "10.64.0.5", false)
        + &pod("host", "192.0.2.1", true)
        + "kind: Service\nmetadata: {name: web, namespace: shop}\nspec: {clusterIP: 10.96.0.5, ports: [{port: 80}]}\n\
           ---\nkind: EndpointSlice\n\
           metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}\n\
           addressType: IPv4\nports: [{port: 80}]\nendpoints:\n\
           - {addresses: [10.64.0.5]}\n\
           - {addresses: [192.0.2.1], targetRef: {kind: Pod, name: host}}\n\
           - {addresses: [192.0.2.2], targetRef: {kind: Node, name: host}}\n";
    let mesh = mesh(&yaml);
    let endpoints = mesh.model().endpoints_of("web.shop.svc.cluster.local").unwrap();
    let found: Vec<_> = endpoints
        .port(80)
        .iter()
        .map(|e| (e.address.to_string(), e.labels.get("is").map(String::as_str), e.identity.is_some()))
        .collect();
    assert_eq!(
        found,
        [
            ("10.64.0.5".to_owned(), Some("plain"), true),
            ("192.0.2.1".to_owned(), Some("host"), true),
            ("192.0.2.2".to_owned(), None, false)
        ]
    );
    assert_eq!(
        mesh.model().workload_at(&"10.64.0.5".parse().unwrap()).map(|w| w.pod.clone()).as_deref(),
        Some("plain")
    );
    assert!(mesh.model().workload_at(&"192.0.2.1".parse().unwrap()).is_none());
}

fn entry(name: &str, spec: &str) -> String {
    format!("kind: ServiceEntry\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{{spec}}}\n")
}

#[test]
fn a_service_entry_is_taken_over_with_all_that_it_says() {
    let yaml = r#"
kind: ServiceEntry
metadata: {name: e, namespace: shop, creationTimestamp: "2021-01-01T00:00:00Z", labels: {team: a}}
spec:
  hosts: [Api.example]
  addresses: [192.0.2.0/24]
  location: MESH_INTERNAL
  resolution: STATIC
  exportTo: ["."]
  subjectAltNames: [spiffe://a.local/ns/x/sa/y]
  workloadSelector: {labels: {app: api}}
  ports:
  - {number: 80, name: web, protocol: HTTP}
  - {number: 81, name: http-x, protocol: what}
  - {number: 53, name: dns, protocol: UDP}
  - {number: 0, name: zero, protocol: HTTP}
"#;
    let expected = Service {
        host: "api.example".to_owned(),
        name: "api.example".to_owned(),
        namespace: "shop".to_owned(),
        registry: Registry::ServiceEntry,
        addresses: vec!["192.0.2.0/24".to_owned()],
        ports: vec![port("web", 80, Protocol::Http), port("http-x", 81, Protocol::Http)],
        resolution: Resolution::ClientSide,
        visibility: Visibility::only("shop"),
        labels: map(&[("team", "a")]),
        selector: map(&[("app", "api")]),
        subject_alt_names: ["spiffe://a.local/ns/x/sa/y".to_owned()].into(),
        age: Age(1_609_459_200),
        ..Service::default()
    };
    assert_eq!(*mesh(yaml).model().services()["api.example"], expected);
}

#[test]
fn service_entries_are_outside_of_the_mesh_unless_they_say_otherwise() {
    for (spec, external, resolution) in [
        ("", true, Resolution::Passthrough),
        ("location: MESH_EXTERNAL, resolution: NONE", true, Resolution::Passthrough),
        ("location: MESH_INTERNAL, resolution: DNS", false, Resolution::Dns),
        ("location: MESH_INTERNAL, resolution: STATIC", false, Resolution::ClientSide),
    ] {
        let spec = format!("hosts: [a.example], ports: [{{number: 80, name: h, protocol: HTTP}}], {spec}");
        let service = mesh(&entry("e", spec.trim_end_matches(", "))).model().services()["a.example"].clone();
        assert_eq!((service.mesh_external, service.resolution), (external, resolution), "{spec}");
    }
}

#[test]
fn hosts_that_nobody_else_resolves_get_an_address_and_are_in_the_table_of_dns() {
    for (spec, expected) in [
        ("hosts: [a.example], resolution: STATIC", true),
        ("hosts: [a.example], resolution: DNS", false),
        ("hosts: [a.example], resolution: NONE", false),
        ("hosts: ['*.example'], resolution: STATIC", false),
        ("hosts: [a.example], resolution: STATIC, exportTo: ['.']", false),
    ] {
        let mesh = mesh(&entry("e", spec));
        assert_eq!(mesh.model().dns_table().contains_key("a.example"), expected, "{spec}");
    }
    let with_addresses = mesh(&entry("e", "hosts: [a.example], addresses: [192.0.2.1], resolution: STATIC"));
    let found = &with_addresses.model().dns_table()["a.example"];
    assert_eq!(found.addresses, ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(with_addresses.model().services()["a.example"].auto_address, None);
}

#[test]
fn listed_endpoints_are_taken_over_with_all_that_they_say() {
    let spec = "hosts: [a.example], location: MESH_INTERNAL, resolution: STATIC, \
        ports: [{number: 80, name: h, protocol: HTTP, targetPort: 8080}], endpoints: [\
        {address: 10.0.0.1, ports: {h: 9090}, labels: {security.istio.io/tlsMode: istio, topology.istio.io/network: net}, \
         locality: r/z/s, weight: 3, serviceAccount: acc}, \
        {address: 'unix:///run/s', serviceAccount: ''}, \
        {address: Api.example, network: m, labels: {security.istio.io/tlsMode: disabled}}]";
    let of = |spec: &str| mesh(&entry("e", spec)).model().endpoints()["a.example"].port(80).to_vec();
    let blank = Endpoint {
        address: EndpointAddress::Unix("/run/s".to_owned()),
        port: 8080,
        labels: Arc::default(),
        identity: None,
        mesh_tls: false,
        locality: Locality::default(),
        weight: 0,
        network: String::new(),
        namespace: "shop".to_owned(),
        workload: String::new(),
    };
    let mesh = Endpoint {
        address: EndpointAddress::Ip("10.0.0.1".parse().unwrap()),
        port: 9090,
        labels: Arc::new(map(&[
            ("security.istio.io/tlsMode", "istio"),
            ("topology.istio.io/network", "net"),
        ])),
        identity: Some("spiffe://cluster.local/ns/shop/sa/acc".to_owned()),
        mesh_tls: true,
        locality: Locality { region: "r".to_owned(), zone: "z".to_owned(), subzone: "s".to_owned() },
        weight: 3,
        network: "net".to_owned(),
        ..blank.clone()
    };
    let name = Endpoint {
        address: EndpointAddress::Dns("api.example".to_owned()),
        labels: Arc::new(map(&[("security.istio.io/tlsMode", "disabled")])),
        network: "m".to_owned(),
        ..blank.clone()
    };
    assert_eq!(of(spec), [mesh, name, blank]);
    // What is outside of the mesh takes no mesh mTLS, whatever its labels say.
    let outside = of(&spec.replace("MESH_INTERNAL", "MESH_EXTERNAL"));
    assert!(outside.iter().all(|e| !e.mesh_tls));
}

#[test]
fn a_workload_entry_says_what_a_listed_endpoint_would() {
    let port = "ports: [{number: 80, name: h, protocol: HTTP, targetPort: 8080}]";
    let own = "address: 10.0.0.1, ports: {h: 9090}, labels: {app: a, security.istio.io/tlsMode: istio}, network: net, \
        locality: r/z/s, weight: 3, serviceAccount: acc";
    let entry = |more: &str| {
        entry(
            "e",
            &format!("hosts: [a.example], location: MESH_INTERNAL, resolution: STATIC, {port}, {more}"),
        )
    };
    let of = |yaml: &str| mesh(yaml).model().endpoints()["a.example"].port(80).to_vec();
    let listed = of(&entry(&format!("endpoints: [{{{own}}}]")));
    let selected = of(&format!(
        "{}---\nkind: WorkloadEntry\nmetadata: {{name: w, namespace: shop}}\nspec: {{{own}}}\n",
        entry("workloadSelector: {labels: {app: a}}")
    ));
    assert_eq!((listed[0].port, listed[0].weight, listed[0].network.as_str()), (9090, 3, "net"));
    let named = Endpoint { workload: "w".to_owned(), ..listed[0].clone() };
    assert_eq!(selected, [named]);
}

#[test]
fn a_selector_takes_workload_entries_and_pods_of_its_namespace_with_all_of_its_labels() {
    let workload = |kind: &str, namespace: &str, name: &str, ip: &str, labels: &str| {
        let labels = format!("security.istio.io/tlsMode: istio{labels}");
        match kind {
            "Pod" => format!(
                "---\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}\n\
                 spec: {{containers: []}}\nstatus: {{podIP: {ip}}}\n"
            ),
            _ => format!(
                "---\nkind: WorkloadEntry\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
                 spec: {{address: {ip}, labels: {{{labels}}}}}\n"
            ),
        }
    };
    let mut objects = String::new();
    for (kind, net) in [("Pod", 1), ("WorkloadEntry", 2)] {
        let both = ", app: a, tier: x";
        objects += &workload(kind, "shop", &format!("yes-{net}"), &format!("10.0.{net}.1"), both);
        objects += &workload(kind, "shop", &format!("half-{net}"), &format!("10.0.{net}.2"), ", app: a");
        objects += &workload(kind, "shop", &format!("no-{net}"), &format!("10.0.{net}.3"), "");
        objects += &workload(kind, "other", &format!("far-{net}"), &format!("10.0.{net}.4"), both);
    }
    let found = |location: &str, selector: &str| -> Vec<(String, String, bool)> {
        let spec = format!(
            "hosts: [a.example], location: {location}, resolution: STATIC, workloadSelector: {{labels: {{{selector}}}}}, \
             ports: [{{number: 80, name: h, protocol: HTTP}}]"
        );
        let mesh = mesh(&(entry("e", &spec) + &objects));
        let endpoints = mesh.model().endpoints_of("a.example").unwrap();
        let endpoints = endpoints.port(80);
        endpoints.iter().map(|e| (e.address.to_string(), e.workload.clone(), e.mesh_tls)).collect()
    };
    let expected = |tls| {
        [("10.0.1.1", "yes-1"), ("10.0.2.1", "yes-2")].map(|(ip, name)| (ip.to_owned(), name.to_owned(), tls))
    };
    assert_eq!(found("MESH_INTERNAL", "app: a, tier: x"), expected(true));
    assert_eq!(found("MESH_EXTERNAL", "app: a, tier: x"), expected(false));
    assert!(found("MESH_INTERNAL", "").is_empty(), "no labels select nothing");
}

#[test]
fn of_services_with_one_host_kubernetes_keeps_its_ports_and_others_unite_theirs() {
    let ports = |yaml: &str, host: &str| -> Vec<(String, u16)> {
        mesh(yaml).model().services()[host].ports.iter().map(|p| (p.name.clone(), p.number)).collect()
    };
    let of = |name: &str, host: &str, ports: &str| {
        "---\n".to_owned() + &entry(name, &format!("hosts: [{host}], ports: [{ports}]"))
    };
    let second = "{number: 80, name: b, protocol: TCP}, {number: 81, name: c, protocol: TCP}";
    let two = of("a", "x.example", "{number: 80, name: a, protocol: TCP}") + &of("b", "x.example", second);
    assert_eq!(
        ports(two.trim_start_matches("---\n"), "x.example"),
        [("a".to_owned(), 80), ("c".to_owned(), 81)]
    );
    let kubernetes = SHOP.to_owned() + &of("b", REVIEWS, second);
    assert_eq!(ports(&kubernetes, REVIEWS), [("http".to_owned(), 80)]);
}

#[test]
fn endpoints_of_services_with_one_host_are_united_in_order_of_address() {
    let of = |name: &str, ip: &str| {
        let spec = "hosts: [x.example], resolution: STATIC, ports: [{number: 80, name: a, protocol: TCP}]";
        "---\n".to_owned() + &entry(name, &format!("{spec}, endpoints: [{{address: {ip}}}]"))
    };
    let yaml = of("a", "10.0.0.2") + &of("b", "10.0.0.1");
    let mesh = mesh(yaml.trim_start_matches("---\n"));
    let addresses: Vec<_> =
        mesh.model().endpoints()["x.example"].port(80).iter().map(|e| e.address.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.1", "10.0.0.2"]);
}

#[test]
fn every_kind_of_the_model_is_taken_in_and_no_other() {
    let mut inputs = Inputs::default();
    let object = |kind: &str, spec: Value| json!({"kind": kind, "metadata": {"name": "x"}, "spec": spec});
    for kind in ["Service", "Pod", "Namespace", "Node", "VirtualService", "DestinationRule", "Gateway"]
        .into_iter()
        .chain(["ServiceEntry", "WorkloadEntry", "Sidecar", "PeerAuthentication", "AuthorizationPolicy"])
        .chain(["RequestAuthentication"])
    {
        let spec = match kind {
            "Pod" => json!({"containers": []}),
            "DestinationRule" => json!({"host": "x"}),
            "WorkloadEntry" => json!({"address": "10.0.0.1"}),
            _ => json!({}),
        };
        inputs.insert(object(kind, spec)).unwrap();
    }
    let slice = json!({"addressType": "IPv4", "endpoints": []});
    let mut slice = slice.as_object().unwrap().clone();
    slice.extend(object("EndpointSlice", json!({})).as_object().unwrap().clone());
    inputs.insert(slice.into()).unwrap();
    let key = ObjectKey::new("", "x");
    let there = [
        inputs.services.contains_key(&key),
        inputs.pods.contains_key(&key),
        inputs.endpoint_slices.contains_key(&key),
        inputs.namespaces.contains_key(&key),
        inputs.nodes.contains_key(&key),
        inputs.virtual_services.contains_key(&key),
        inputs.destination_rules.contains_key(&key),
        inputs.gateways.contains_key(&key),
        inputs.service_entries.contains_key(&key),
        inputs.workload_entries.contains_key(&key),
        inputs.sidecars.contains_key(&key),
        inputs.peer_authentications.contains_key(&key),
        inputs.authorization_policies.contains_key(&key),
        inputs.request_authentications.contains_key(&key),
    ];
    assert_eq!(there, [true; 14]);
    assert!(
        matches!(inputs.insert(object("Secret", json!({}))), Err(InsertError::UnknownKind(kind)) if kind == "Secret")
    );
    let malformed = inputs.insert(object("Sidecar", json!({"egress": 1})));
    assert!(matches!(malformed, Err(InsertError::Malformed { kind, .. }) if kind == "Sidecar"));
}

#[test]
fn a_workload_serves_the_services_that_select_it() {
    let pod = "kind: Pod\nmetadata: {name: p, namespace: shop, labels: {app: a}}\n\
               spec: {containers: [{name: c, ports: [{name: web, containerPort: 9080}]}]}\n\
               status: {podIP: 10.64.9.9}\n";
    let service = |name: &str, namespace: &str, selector: &str, target: &str| {
        format!(
            "---\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{clusterIP: 10.96.0.5, {selector} ports: [{{port: 80{target}}}]}}\n"
        )
    };
    let yaml = pod.to_owned()
        + &service("named", "shop", "selector: {app: a},", ", targetPort: web")
        + &service("number", "shop", "selector: {app: a},", ", targetPort: 81")
        + &service("same", "shop", "selector: {app: a},", "")
        + &service("zero", "shop", "selector: {app: a},", ", targetPort: 0")
        + &service("unknown", "shop", "selector: {app: a},", ", targetPort: nowhere")
        + &service("stranger", "shop", "selector: {app: b},", "")
        + &service("narrower", "shop", "selector: {app: a, tier: x},", "")
        + &service("everybody", "shop", "", "")
        + &service("far", "other", "selector: {app: a},", "")
        + "---\nkind: ServiceEntry\nmetadata: {name: e, namespace: shop}\nspec: {hosts: [e.example], resolution: STATIC, \
           workloadSelector: {labels: {app: a}}, ports: [{number: 90, name: h, protocol: HTTP, targetPort: 99}]}\n";
    let node = sidecar("shop", json!({}));
    let served: Vec<_> = mesh(&yaml)
        .model()
        .instances_of(&node)
        .into_iter()
        .map(|i| (i.target, i.service.name.clone()))
        .collect();
    let expected = [(80, "same"), (80, "zero"), (81, "number"), (99, "e.example"), (9080, "named")];
    assert_eq!(served, expected.map(|(target, name)| (target, name.to_owned())));
}

#[test]
fn listeners_of_the_sidecar_object_are_the_workloads() {
    let yaml = "kind: Sidecar\nmetadata: {name: s, namespace: shop}\nspec: {ingress: [\
                {port: {number: 80, name: web, protocol: HTTP}, defaultEndpoint: '127.0.0.1:8080'}, \
                {port: {number: 0, name: zero, protocol: HTTP}}, {port: {number: 81, name: tcp-x, protocol: what}}]}\n";
    let mesh = mesh(yaml);
    let of = |number, name: &str, protocol, endpoint: &str| SidecarIngress {
        sidecar: ObjectKey::new("shop", "s"),
        port: port(name, number, protocol),
        default_endpoint: endpoint.to_owned(),
    };
    assert_eq!(
        mesh.model().sidecar_ingress(&sidecar("shop", json!({}))),
        [of(80, "web", Protocol::Http, "127.0.0.1:8080"), of(81, "tcp-x", Protocol::Tcp, "")]
    );
    assert!(mesh.model().sidecar_ingress(&sidecar("other", json!({}))).is_empty());
}

#[test]
fn the_mesh_decides_who_sees_service_entries_that_say_nothing() {
    let mut all = inputs(&entry("e", "hosts: [a.example]"));
    all.mesh_config =
        Arc::new(MeshConfig { default_service_export_to: vec![".".to_owned()], ..MeshConfig::default() });
    let mesh = Mesh::from(&all);
    assert_eq!(mesh.model().services()["a.example"].visibility, Visibility::only("shop"));
}
