//! What one proxy may see.

use std::sync::Arc;

use portolan_resources::MeshConfig;
use serde_json::json;

use super::{REVIEWS, SHOP, inputs, scope_of, sidecar};
use crate::*;

/// A mesh of the shop and what `yaml` adds.
fn shop(yaml: &str) -> Mesh {
    Mesh::from(&inputs(&format!("{SHOP}---\n{yaml}")))
}

fn gateway(namespace: &str, labels: serde_json::Value) -> ProxyNode {
    let metadata = json!({"NAMESPACE": namespace, "LABELS": labels});
    let id = format!("router~10.64.0.9~gw.{namespace}~{namespace}.svc.cluster.local");
    ProxyNode::parse(&id, &metadata).unwrap()
}

/// A Kubernetes Service with the ports 80 and 81.
fn service(namespace: &str, name: &str, annotations: &str) -> String {
    format!(
        "kind: Service\nmetadata: {{name: \"{name}\", namespace: {namespace}, annotations: {{{annotations}}}}}\n\
         spec: {{clusterIP: 10.96.1.1, ports: [{{name: http, port: 80}}, {{name: http-b, port: 81}}]}}\n---\n"
    )
}

/// Services that a sidecar in `namespace` sees, each with its ports.
fn seen(mesh: &Mesh, namespace: &str) -> Vec<String> {
    let scope = scope_of(mesh, &sidecar(namespace, json!({})));
    let ports = |s: &Service| s.ports.iter().map(|p| p.number.to_string()).collect::<Vec<_>>().join(",");
    scope.services().values().map(|s| format!("{}.{}:{}", s.name, s.namespace, ports(s))).collect()
}

#[test]
fn services_are_seen_where_they_are_exported_to() {
    let mut yaml = String::new();
    for (name, export_to) in [("private", "."), ("hidden", "~"), ("public", "*"), ("shared", "client, .")] {
        yaml += &service("a", name, &format!("networking.istio.io/exportTo: \"{export_to}\""));
    }
    let mesh = Mesh::from(&inputs(&yaml));
    assert_eq!(seen(&mesh, "a"), ["private.a:80,81", "public.a:80,81", "shared.a:80,81"]);
    assert_eq!(seen(&mesh, "client"), ["public.a:80,81", "shared.a:80,81"]);
    assert_eq!(seen(&mesh, "third"), ["public.a:80,81"]);
}

#[test]
fn the_mesh_decides_who_sees_services_that_say_nothing() {
    let mut inputs = inputs(&service("a", "quiet", ""));
    let mesh = MeshConfig { default_service_export_to: vec![".".to_owned()], ..MeshConfig::default() };
    inputs.mesh_config = Arc::new(mesh);
    let mesh = Mesh::from(&inputs);
    assert_eq!(seen(&mesh, "a"), ["quiet.a:80,81"]);
    assert!(seen(&mesh, "client").is_empty());
}

#[test]
fn egress_hosts_let_through_what_they_name_and_nothing_else() {
    let services: String =
        [("a", "x"), ("a", "y"), ("b", "x"), ("client", "z")].map(|(ns, n)| service(ns, n, "")).concat();
    let (ax, ay, bx, cz) = ("x.a:80,81", "y.a:80,81", "x.b:80,81", "z.client:80,81");
    for (egress, expected) in [
        ("[{hosts: ['*/*']}]", vec![ax, bx, ay, cz]),
        ("[{hosts: ['./*']}]", vec![cz]),
        ("[{hosts: ['a/*']}]", vec![ax, ay]),
        ("[{hosts: ['a/x.a.svc.cluster.local']}]", vec![ax]),
        ("[{hosts: ['b/x.a.svc.cluster.local']}]", vec![]),
        ("[{hosts: ['*/x.a.svc.cluster.local', 'b/*']}]", vec![ax, bx]),
        ("[{hosts: ['~/*']}]", vec![]),
        ("[{hosts: ['A/*', 'a/X.a.svc.cluster.local']}]", vec![ax]),
        ("[{hosts: ['no-slash']}]", vec![]),
        ("[]", vec![ax, bx, ay, cz]),
        // A listener with a port lets only that port through, another listener adds its own.
        ("[{port: {number: 81, protocol: HTTP, name: b}, hosts: ['a/*']}]", vec!["x.a:81", "y.a:81"]),
        (
            "[{port: {number: 81, protocol: HTTP, name: b}, hosts: ['a/*']}, {hosts: ['a/y.a.svc.cluster.local']}]",
            vec!["x.a:81", ay],
        ),
        (
            "[{port: {number: 81, protocol: HTTP, name: b}, hosts: ['a/*']}, \
              {port: {number: 80, protocol: HTTP, name: a}, hosts: ['a/y.a.svc.cluster.local']}]",
            vec!["x.a:81", ay],
        ),
    ] {
        let yaml = format!(
            "{services}kind: Sidecar\nmetadata: {{name: default, namespace: client}}\nspec: {{egress: {egress}}}\n"
        );
        let mesh = Mesh::from(&inputs(&yaml));
        assert_eq!(seen(&mesh, "client"), expected, "{egress}");
        assert_eq!(seen(&mesh, "third"), [ax, bx, ay, cz], "{egress}: another namespace");
    }
}

#[test]
fn a_service_that_is_let_through_whole_is_the_one_of_the_mesh() {
    let yaml = "kind: Sidecar\nmetadata: {name: default, namespace: client}\nspec: {egress: [{hosts: ['shop/*']}]}\n";
    let mesh = shop(yaml);
    let scope = scope_of(&mesh, &sidecar("client", json!({})));
    assert!(Arc::ptr_eq(&scope.services()[REVIEWS], &scope.model().services()[REVIEWS]));
}

#[test]
fn an_exported_service_is_not_seen_where_the_egress_hosts_leave_it_out() {
    let yaml = service("a", "hidden", "networking.istio.io/exportTo: \"~\"")
        + "kind: Sidecar\nmetadata: {name: default, namespace: client}\nspec: {egress: [{hosts: ['*/*']}]}\n";
    assert!(seen(&Mesh::from(&inputs(&yaml)), "client").is_empty());
}

#[test]
fn the_nearest_sidecar_object_holds() {
    let object = |name: &str, namespace: &str, selector: &str, host: &str| {
        format!(
            "---\nkind: Sidecar\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{{selector}egress: [{{hosts: ['{host}']}}]}}\n"
        )
    };
    let yaml = object("selected", "client", "workloadSelector: {labels: {app: a, tier: x}}, ", "s/*")
        + &object("default", "client", "", "d/*")
        + &object("root", "istio-system", "", "r/*")
        + &object("root-selected", "istio-system", "workloadSelector: {labels: {app: a}}, ", "n/*");
    let mesh = Mesh::from(&inputs(yaml.trim_start_matches("---\n")));
    let holds = |namespace: &str, labels| {
        let scope = scope_of(&mesh, &sidecar(namespace, labels));
        scope.key().sidecar.as_ref().map(ToString::to_string)
    };
    for (namespace, labels, expected) in [
        ("client", json!({"app": "a", "tier": "x"}), "client/selected"),
        ("client", json!({"app": "a"}), "client/default"),
        ("client", json!({"app": "b", "tier": "x"}), "client/default"),
        ("client", json!({}), "client/default"),
        ("other", json!({"app": "a", "tier": "x"}), "istio-system/root"),
        ("istio-system", json!({"app": "a"}), "istio-system/root-selected"),
        ("istio-system", json!({}), "istio-system/root"),
    ] {
        assert_eq!(holds(namespace, labels.clone()).as_deref(), Some(expected), "{namespace} {labels}");
    }
    assert!(scope_of(&Mesh::from(&Inputs::default()), &sidecar("a", json!({}))).key().sidecar.is_none());
}

#[test]
fn sidecar_objects_do_not_hold_for_gateways() {
    let yaml =
        "kind: Sidecar\nmetadata: {name: default, namespace: client}\nspec: {egress: [{hosts: ['./*']}]}\n";
    let mesh = shop(yaml);
    assert!(scope_of(&mesh, &sidecar("client", json!({}))).services().is_empty());
    let scope = scope_of(&mesh, &gateway("client", json!({})));
    assert!(scope.visible_exact(REVIEWS).is_some() && scope.key().sidecar.is_none());
}

#[test]
fn a_virtual_service_that_is_seen_brings_its_destinations_along() {
    let sidecar_object = "---\nkind: Sidecar\nmetadata: {name: default, namespace: client}\nspec: {egress: [{hosts: ['./*']}]}\n";
    for (rule, expected) in [
        ("http: [{route: [{destination: {host: x.a.svc.cluster.local}}]}]", true),
        ("http: [{route: [{destination: {host: other}}], mirror: {host: x.a.svc.cluster.local}}]", true),
        ("tcp: [{route: [{destination: {host: x.a.svc.cluster.local}}]}]", true),
        ("tls: [{match: [{sniHosts: [s]}], route: [{destination: {host: x.a.svc.cluster.local}}]}]", true),
        ("http: [{route: [{destination: {host: y.a.svc.cluster.local}}]}]", false),
    ] {
        for (namespace, export_to, visible) in
            [("client", "*", true), ("a", "*", false), ("client", "~", false)]
        {
            let virtual_service = format!(
                "kind: VirtualService\nmetadata: {{name: v, namespace: {namespace}}}\n\
                 spec: {{hosts: [front.example], exportTo: ['{export_to}'], {rule}}}\n"
            );
            let yaml = format!("{}{virtual_service}{sidecar_object}", service("a", "x", ""));
            let mesh = Mesh::from(&inputs(&yaml));
            let scope = scope_of(&mesh, &sidecar("client", json!({})));
            let found = scope.visible_exact("x.a.svc.cluster.local");
            assert_eq!(found.is_some(), expected && visible, "{namespace} {export_to} {rule}");
            assert_eq!(
                scope.virtual_services_of("mesh").len(),
                usize::from(visible),
                "{namespace} {export_to}"
            );
            // All ports of it: the destination may name any.
            assert!(found.is_none_or(|s| s.ports.len() == 2), "{rule}");
        }
    }
}

#[test]
fn virtual_services_are_bound_to_the_gateways_that_they_name() {
    let mesh = shop(
        "kind: VirtualService\nmetadata: {name: v, namespace: shop}\n\
         spec: {hosts: [reviews], gateways: [gw, other/gw], http: []}\n",
    );
    let scope = scope_of(&mesh, &sidecar("shop", json!({})));
    let bound = |gateway: &str| scope.virtual_services_of(gateway).len();
    assert_eq!([bound("shop/gw"), bound("other/gw"), bound("mesh"), bound("third/gw")], [1, 1, 0, 0]);
    assert!(scope.virtual_service_for(REVIEWS).is_none(), "it is not bound to the mesh");
}

#[test]
fn a_wildcard_service_stands_for_its_hosts() {
    let entry = |name: &str, host: &str| {
        format!(
            "---\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{hosts: ['{host}'], ports: [{{number: 80, name: http, protocol: HTTP}}], resolution: NONE}}\n"
        )
    };
    let yaml = entry("wide", "*.example") + &entry("narrow", "*.a.example") + &entry("exact", "x.a.example");
    let mesh = Mesh::from(&inputs(yaml.trim_start_matches("---\n")));
    let scope = scope_of(&mesh, &sidecar("shop", json!({})));
    let found = |host: &str| scope.visible_service(host).map(|s| s.host.clone());
    assert_eq!(found("y.example").as_deref(), Some("*.example"));
    assert_eq!(found("y.a.example").as_deref(), Some("*.a.example"));
    assert_eq!(found("x.a.example").as_deref(), Some("x.a.example"));
    assert_eq!(found("example"), None);
}

#[test]
fn a_destination_rule_is_used_where_it_is_exported_to() {
    let rule = |namespace: &str, host: &str, export_to: &str| {
        format!(
            "---\nkind: DestinationRule\nmetadata: {{name: d, namespace: {namespace}}}\n\
             spec: {{host: {host}, exportTo: ['{export_to}']}}\n"
        )
    };
    let used = |yaml: &str, client: &str| {
        let mesh = Mesh::from(&inputs(&format!("{SHOP}{yaml}")));
        let scope = scope_of(&mesh, &sidecar(client, json!({})));
        scope.destination_rule(REVIEWS).map(|d| d.meta.key.namespace.clone())
    };
    let shop_only = rule("shop", "reviews", ".");
    assert_eq!(used(&shop_only, "shop").as_deref(), Some("shop"));
    assert_eq!(used(&shop_only, "client"), None);
    let for_client = rule("shop", "reviews", "client");
    assert_eq!(used(&for_client, "client").as_deref(), Some("shop"));
    assert_eq!(used(&for_client, "third"), None);
    // The owner's namespace counts even where the rule is exported to others only.
    assert_eq!(used(&for_client, "shop").as_deref(), Some("shop"));
    // A client's own rule, and none of other clients.
    let own = rule("client", REVIEWS, "~");
    assert_eq!(used(&own, "client").as_deref(), Some("client"));
    assert_eq!(used(&rule("client", REVIEWS, "*"), "third"), None);
    // The most specific host of a namespace.
    let both =
        rule("client", "'*.local'", ".").replace("name: d,", "name: wide,") + &rule("client", REVIEWS, ".");
    let mesh = Mesh::from(&inputs(&format!("{SHOP}{both}")));
    let found = mesh.model().destination_rule("client", &mesh.model().services()[REVIEWS]).unwrap();
    assert_eq!(found.meta.key.name, "d");
    // A rule for another host is none for this one.
    assert_eq!(used(&rule("shop", "ratings", "*"), "shop"), None);
}

#[test]
fn unknown_destinations_are_as_the_sidecar_object_says_else_as_the_mesh_says() {
    let object = |policy: &str| {
        format!("kind: Sidecar\nmetadata: {{name: default, namespace: client}}\nspec: {{{policy}}}\n")
    };
    for (policy, of_mesh, expected) in [
        ("", true, true),
        ("", false, false),
        ("outboundTrafficPolicy: {mode: ALLOW_ANY}", false, true),
        ("outboundTrafficPolicy: {mode: REGISTRY_ONLY}", true, false),
    ] {
        let mut inputs = inputs(&object(policy));
        let mut mesh = MeshConfig::default();
        if !of_mesh {
            mesh.outbound_traffic_policy.mode =
                portolan_resources::networking::OutboundTrafficPolicyMode::RegistryOnly;
        }
        inputs.mesh_config = Arc::new(mesh);
        let mesh = Mesh::from(&inputs);
        assert_eq!(
            scope_of(&mesh, &sidecar("client", json!({}))).allow_any(),
            expected,
            "{policy} {of_mesh}"
        );
        assert_eq!(scope_of(&mesh, &sidecar("other", json!({}))).allow_any(), of_mesh, "{policy} {of_mesh}");
    }
}

#[test]
fn gateways_are_selected_by_all_of_their_labels() {
    let mesh = shop(
        "kind: Gateway\nmetadata: {name: gw, namespace: shop}\n\
         spec: {selector: {app: a, tier: x}, servers: [{port: {number: 80, name: h, protocol: HTTP}, hosts: ['*']}, \
         {port: {number: 0, name: z, protocol: HTTP}, hosts: ['*']}]}\n",
    );
    let servers = |labels| mesh.model().gateways_of(&gateway("other", labels));
    let found = servers(json!({"app": "a", "tier": "x", "more": "y"}));
    assert_eq!(found.len(), 1, "a server without a port is none");
    assert_eq!((found[0].gateway.to_string().as_str(), found[0].port), ("shop/gw", 80));
    assert!(servers(json!({"app": "a"})).is_empty());
    assert!(servers(json!({"app": "a", "tier": "y"})).is_empty());
}

#[test]
fn only_federation_gateways_get_the_roots_of_other_trust_domains() {
    let mut all = Inputs::default();
    let none = Mesh::from(&all);
    all.federation.trust.bundles.insert("east.local".to_owned(), "PEM".to_owned());
    all.federation.trust.gateways = vec!["east-egress".to_owned()];
    let mesh = Mesh::from(&all);
    let name = |name: &str| json!({"service.istio.io/canonical-name": name});
    let cases = [
        (gateway("istio-system", name("east-egress")), true),
        (gateway("istio-system", name("ingress")), false),
        (gateway("istio-system", json!({})), false),
        (gateway("client", name("east-egress")), false),
        (sidecar("istio-system", name("east-egress")), false),
    ];
    for (node, expected) in cases {
        assert_eq!(mesh.model().gets_trust_bundles(&node), expected, "{node:?}");
        assert!(!none.model().gets_trust_bundles(&node), "there are none");
    }
}

#[test]
fn hosts_are_listed_sorted_and_by_age() {
    let service = |name: &str, year: u16| {
        format!(
            "---\nkind: Service\nmetadata: {{name: {name}, namespace: a, creationTimestamp: \
             \"{year}-01-01T00:00:00Z\"}}\nspec: {{clusterIP: 10.96.0.5, ports: [{{port: 80}}]}}\n"
        )
    };
    let yaml = [("b", 2022), ("d", 2021), ("a", 2023), ("c", 2021)].map(|(name, year)| service(name, year));
    let mesh = Mesh::from(&inputs(yaml.concat().trim_start_matches("---\n")));
    let scope = scope_of(&mesh, &sidecar("client", json!({})));
    let names =
        |hosts: &[String]| hosts.iter().map(|h| h.split('.').next().unwrap().to_owned()).collect::<String>();
    assert_eq!((names(&scope.hosts()), names(&scope.hosts_by_age())), ("abcd".into(), "cdba".into()));
    assert!(scope.any_host_matches("*.a.svc.cluster.local") && !scope.any_host_matches("*.example"));
    assert_eq!(scope.key().namespace, "client");
}

#[test]
fn destination_rules_are_listed_oldest_first() {
    let rule = |name: &str, namespace: &str, year: u16| {
        format!(
            "---\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: {namespace}, creationTimestamp: \
             \"{year}-01-01T00:00:00Z\"}}\nspec: {{host: {name}.example}}\n"
        )
    };
    let yaml = [rule("young", "a", 2023), rule("old", "b", 2021), rule("middle", "a", 2022)].concat();
    let mesh = Mesh::from(&inputs(yaml.trim_start_matches("---\n")));
    let names: Vec<String> =
        mesh.model().destination_rules().iter().map(|rule| rule.meta.key.to_string()).collect();
    assert_eq!(names, ["b/old", "a/middle", "a/young"]);
}
