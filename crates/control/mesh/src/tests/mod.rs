//! The model over small meshes written in YAML.

mod changes;
mod facts;
mod policies;
mod registries;
mod virtual_services;
mod visibility;
mod workloads;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn inputs(yaml: &str) -> Inputs {
    let mut inputs = Inputs::default();
    let objects: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    objects.into_iter().for_each(|o| inputs.insert(o).unwrap());
    inputs
}

fn sidecar(namespace: &str, labels: Value) -> ProxyNode {
    let metadata = json!({"NAMESPACE": namespace, "LABELS": labels});
    let id = format!("sidecar~10.64.9.9~unknown.{namespace}~{namespace}.svc.cluster.local");
    ProxyNode::parse(&id, &metadata).unwrap()
}

/// What a proxy sees.
fn scope_of<'a>(mesh: &'a Mesh, node: &ProxyNode) -> Scope<'a> {
    let model = mesh.model();
    model.scope(model.scope_of(node))
}

const SHOP: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {clusterIP: 10.96.0.5, selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: web}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: reviews-v1-abc-x
  namespace: shop
  labels: {app: reviews, version: v1, security.istio.io/tlsMode: istio, pod-template-hash: abc}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: reviews-v1-abc, uid: u, controller: true}]
spec: {serviceAccountName: reviews, containers: [{name: app, ports: [{name: web, containerPort: 9080}]}]}
status: {podIP: 10.64.0.5}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, namespace: shop, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 9080}]
endpoints:
- {addresses: [10.64.0.5], conditions: {ready: true}, targetRef: {kind: Pod, name: reviews-v1-abc-x, namespace: shop}}
- {addresses: [10.64.0.6], conditions: {ready: false}}
"#;

const REVIEWS: &str = "reviews.shop.svc.cluster.local";

#[test]
fn services_and_endpoints() {
    let mesh = Mesh::from(&inputs(SHOP));
    let service = mesh.model().service(REVIEWS).unwrap();
    assert_eq!(service.ports[0].protocol, Protocol::Http);
    let endpoints = mesh.model().endpoints_of(REVIEWS).unwrap();
    let endpoints = endpoints.port(80);
    assert_eq!(endpoints.len(), 1);
    let endpoint = &endpoints[0];
    assert!(endpoint.mesh_tls && endpoint.port == 9080);
    assert_eq!(endpoint.workload, "reviews-v1");
    assert_eq!(endpoint.identity.as_deref(), Some("spiffe://cluster.local/ns/shop/sa/reviews"));

    let mut node = sidecar("shop", json!({}));
    node.name = "reviews-v1-abc-x".to_owned();
    let instances = mesh.model().instances_of(&node);
    assert_eq!((instances.len(), instances[0].target), (1, 9080));
}

#[test]
fn virtual_services_by_specificity_and_age() {
    let yaml = r#"
kind: VirtualService
metadata: {name: wide, namespace: shop, creationTimestamp: "2020-01-01T00:00:00Z"}
spec: {hosts: ["*.svc.cluster.local"], http: []}
---
kind: VirtualService
metadata: {name: younger, namespace: shop, creationTimestamp: "2022-01-01T00:00:00Z"}
spec: {hosts: [reviews], http: []}
---
kind: VirtualService
metadata: {name: older, namespace: shop, creationTimestamp: "2021-01-01T00:00:00Z"}
spec: {hosts: [reviews], http: []}
---
kind: VirtualService
metadata: {name: hidden, namespace: other, creationTimestamp: "2019-01-01T00:00:00Z"}
spec: {hosts: [reviews.shop.svc.cluster.local], exportTo: ["."], http: []}
"#;
    let mesh = Mesh::from(&inputs(&format!("{SHOP}---{yaml}")));
    let scope = scope_of(&mesh, &sidecar("shop", json!({})));
    assert_eq!(scope.virtual_service_for(REVIEWS).unwrap().meta.key.name, "older");
    assert_eq!(scope.virtual_service_for("x.svc.cluster.local").unwrap().meta.key.name, "wide");
    let other = scope_of(&mesh, &sidecar("other", json!({})));
    assert_eq!(other.virtual_service_for(REVIEWS).unwrap().meta.key.name, "hidden");
}

#[test]
fn delegates_are_merged() {
    let yaml = r#"
kind: VirtualService
metadata: {name: root, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - match: [{uri: {prefix: /a}}]
    delegate: {name: inner}
  - match: [{uri: {prefix: /b}}]
    delegate: {name: missing}
  - route: [{destination: {host: reviews}}]
---
kind: VirtualService
metadata: {name: inner, namespace: shop}
spec:
  http:
  - match: [{uri: {prefix: /a/x}}, {uri: {prefix: /z}}, {headers: {h: {exact: v}}}]
    route: [{destination: {host: reviews}}]
"#;
    let mesh = Mesh::from(&inputs(&format!("{SHOP}---{yaml}")));
    let scope = scope_of(&mesh, &sidecar("shop", json!({})));
    let vs = scope.virtual_service_for(REVIEWS).unwrap();
    assert_eq!(vs.spec.http.len(), 2);
    let matches = &vs.spec.http[0].match_;
    assert_eq!(matches.len(), 2);
    assert_eq!(matches[0].uri.as_ref().unwrap().prefix.as_deref(), Some("/a/x"));
    assert_eq!(matches[1].uri.as_ref().unwrap().prefix.as_deref(), Some("/a"));
}

#[test]
fn destination_rule_lookup_order() {
    let rule = |ns: &str, host: &str| {
        format!(
            "---\nkind: DestinationRule\nmetadata: {{name: d, namespace: {ns}}}\nspec: {{host: {host}}}\n"
        )
    };
    let all = format!(
        "{SHOP}{}{}{}",
        rule("istio-system", "'*.local'"),
        rule("shop", "reviews"),
        rule("client", "'*.svc.cluster.local'")
    );
    let mesh = Mesh::from(&inputs(&all));
    for (client, expected) in [("shop", "shop"), ("client", "client"), ("third", "shop")] {
        let rule = mesh.model().destination_rule(client, &mesh.model().services()[REVIEWS]).unwrap();
        assert_eq!(rule.meta.key.namespace, expected, "{client}");
    }
}

#[test]
fn peer_authentication_scopes() {
    let yaml = r#"
kind: PeerAuthentication
metadata: {name: mesh, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
kind: PeerAuthentication
metadata: {name: ns, namespace: shop}
spec: {mtls: {mode: PERMISSIVE}}
---
kind: PeerAuthentication
metadata: {name: workload, namespace: shop}
spec: {selector: {matchLabels: {app: reviews}}, portLevelMtls: {9080: {mode: DISABLE}}}
"#;
    let mesh = Mesh::from(&inputs(yaml));
    let labels = std::sync::Arc::new([("app".to_owned(), "reviews".to_owned())].into());
    use portolan_resources::security::MtlsMode::*;
    let modes = mesh.model().mtls_modes("shop", &labels);
    assert_eq!((modes.port(9080), modes.port(1)), (Disable, Permissive));
    assert_eq!(mesh.model().mtls_modes("shop", &Default::default()).default, Permissive);
    assert_eq!(mesh.model().mtls_modes("other", &labels).default, Strict);
    assert_eq!(Mesh::from(&Inputs::default()).model().mtls_modes("x", &labels).default, Permissive);
}

#[test]
fn sidecar_objects_narrow_the_scope() {
    let yaml = r#"
kind: Sidecar
metadata: {name: default, namespace: client}
spec: {egress: [{hosts: ["istio-system/*", "./*"]}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
---
kind: Sidecar
metadata: {name: one, namespace: client}
spec: {workloadSelector: {labels: {app: a}}, egress: [{hosts: ["shop/*"]}]}
"#;
    let mesh = Mesh::from(&inputs(&format!("{SHOP}---{yaml}")));
    let narrow = scope_of(&mesh, &sidecar("client", json!({})));
    assert!(narrow.visible_service(REVIEWS).is_none() && !narrow.allow_any());
    let selected = scope_of(&mesh, &sidecar("client", json!({"app": "a"})));
    assert!(selected.visible_service(REVIEWS).is_some() && selected.allow_any());
    assert!(scope_of(&mesh, &sidecar("third", json!({}))).visible_service(REVIEWS).is_some());
}

#[test]
fn federation_is_a_second_registry() {
    let mut all = inputs(SHOP);
    let import = |host: &str, visibility| {
        std::sync::Arc::new(Service {
            host: host.to_owned(),
            name: "ratings".to_owned(),
            namespace: "istio-system".to_owned(),
            registry: Registry::Federation,
            ports: vec![ServicePort { name: "http".into(), number: 9080, protocol: Protocol::Http }],
            visibility,
            subject_alt_names: ["spiffe://east.local/ns/istio-system/sa/gw".to_owned()].into(),
            ..Service::default()
        })
    };
    let local = "ratings.shop.svc.east-imports.local";
    let exported = "ratings.shop.svc.east-exports.local";
    all.federation.services = vec![
        import(local, Visibility::Public),
        import(exported, Visibility::only("istio-system")),
        import(REVIEWS, Visibility::Public),
    ];
    let mesh = Mesh::from(&all);
    let table = mesh.model().dns_table();
    assert_eq!(table.keys().collect::<Vec<_>>(), [local]);
    let scope = scope_of(&mesh, &sidecar("shop", json!({})));
    assert!(scope.visible_service(local).is_some() && scope.visible_service(exported).is_none());
    // Imported as local: the Kubernetes Service stays, its accepted identities are united.
    let merged = mesh.model().service(REVIEWS).unwrap();
    assert_eq!(merged.registry, Registry::Kubernetes);
    let identities = mesh.model().accepted_identities(&merged);
    assert!(identities.contains("spiffe://east.local/ns/istio-system/sa/gw"));
    assert!(identities.contains("spiffe://cluster.local/ns/shop/sa/reviews"));
}

#[test]
fn gateway_servers_bind_the_narrower_host() {
    let yaml = r#"
kind: Gateway
metadata: {name: gw, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["shop/*.example.com", "other.com"]}]
"#;
    let mesh = Mesh::from(&inputs(yaml));
    let metadata = json!({"NAMESPACE": "istio-system", "LABELS": {"istio": "ingressgateway"}});
    let node = ProxyNode::parse("router~10.64.0.9~gw.istio-system~istio-system.svc.cluster.local", &metadata)
        .unwrap();
    let servers = mesh.model().gateways_of(&node);
    assert_eq!(servers.len(), 1);
    assert_eq!(servers[0].bound_hosts("shop", &["*".into()]), ["*.example.com", "other.com"]);
    assert_eq!(servers[0].bound_hosts("other", &["*".into()]), ["other.com"]);
    assert_eq!(servers[0].bound_hosts("shop", &["a.example.com".into()]), ["a.example.com"]);
}

proptest! {
    /// A host is covered by itself and by every wildcard above it; a more specific pattern sorts first.
    #[test]
    fn host_match_specificity(labels in proptest::collection::vec("[a-z]{1,4}", 2..5)) {
        let host = labels.join(".");
        let mut patterns = vec![host.clone(), "*".to_owned()];
        patterns.extend((1..labels.len()).map(|i| format!("*.{}", labels[i..].join("."))));
        for pattern in &patterns {
            prop_assert!(host_matches(pattern, &host));
        }
        patterns.sort_by(|a, b| host_specificity(a, b));
        prop_assert_eq!(&patterns[0], &host);
        prop_assert_eq!(patterns.last().map(String::as_str), Some("*"));
        for pair in patterns.windows(2) {
            prop_assert!(host_matches(&pair[1], &pair[0]));
        }
    }
}
