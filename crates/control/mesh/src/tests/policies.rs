//! Policies that hold for a workload.

use std::{collections::BTreeMap, sync::Arc};

use portolan_resources::{
    MeshConfig,
    security::MtlsMode::{Disable, Permissive, Strict},
};
use serde_json::json;

use super::{REVIEWS, SHOP, inputs};
use crate::*;

fn labels(pairs: &[(&str, &str)]) -> Arc<BTreeMap<String, String>> {
    Arc::new(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
}

fn policy(kind: &str, namespace: &str, name: &str, spec: &str) -> String {
    format!("kind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n---\n")
}

fn build(yaml: &str) -> Mesh {
    Mesh::from(&inputs(yaml.trim_end_matches("---\n")))
}

/// Names of policies, by the list in which they stand.
fn names(found: &WorkloadPolicies) -> Vec<String> {
    let of = |list: &[Arc<Resolved<portolan_resources::security::AuthorizationPolicySpec>>], name: &str| {
        list.iter().map(|p| format!("{name} {}", p.meta.key)).collect::<Vec<_>>()
    };
    let mut out = of(&found.custom, "custom");
    out.extend(of(&found.deny, "deny"));
    out.extend(of(&found.allow, "allow"));
    out.extend(of(&found.audit, "audit"));
    out.extend(found.requests.iter().map(|p| format!("request {}", p.meta.key)));
    out
}

#[test]
fn a_workload_has_the_policies_of_the_root_namespace_and_its_own() {
    let kind = "AuthorizationPolicy";
    let yaml = policy(kind, "istio-system", "root", "action: DENY")
        + &policy(kind, "shop", "own", "")
        + &policy(kind, "shop", "selected", "selector: {matchLabels: {app: a, tier: x}}, action: DENY")
        + &policy(kind, "other", "foreign", "action: DENY")
        + &policy("RequestAuthentication", "istio-system", "root", "")
        + &policy("RequestAuthentication", "shop", "jwt", "selector: {matchLabels: {app: a}}")
        + &policy("RequestAuthentication", "other", "foreign", "");
    let mesh = build(&yaml);
    let of =
        |namespace: &str, pairs: &[(&str, &str)]| names(&mesh.model().policies(namespace, &labels(pairs)));
    let everybody = ["deny istio-system/root", "allow shop/own", "request istio-system/root"];
    assert_eq!(of("shop", &[]), everybody);
    assert_eq!(of("shop", &[("app", "b"), ("tier", "x")]), everybody);
    assert_eq!(
        of("shop", &[("app", "a"), ("tier", "x")]),
        [
            "deny istio-system/root",
            "deny shop/selected",
            "allow shop/own",
            "request istio-system/root",
            "request shop/jwt"
        ]
    );
    assert_eq!(of("third", &[("app", "a")]), ["deny istio-system/root", "request istio-system/root"]);
    assert_eq!(of("istio-system", &[]), ["deny istio-system/root", "request istio-system/root"], "once");
}

#[test]
fn each_action_has_its_list_and_no_action_allows() {
    let kind = "AuthorizationPolicy";
    for (action, expected) in [
        ("action: ALLOW", "allow shop/p"),
        ("", "allow shop/p"),
        ("action: DENY", "deny shop/p"),
        ("action: AUDIT", "audit shop/p"),
        ("action: CUSTOM", "custom shop/p"),
    ] {
        let found = build(&policy(kind, "shop", "p", action)).model().policies("shop", &Arc::default());
        assert_eq!(names(&found), [expected], "{action}");
        assert!(!found.is_empty(), "{action}");
    }
    let found =
        build(&policy("RequestAuthentication", "shop", "p", "")).model().policies("shop", &Arc::default());
    assert!(!found.is_empty());
    assert!(build("").model().policies("shop", &Arc::default()).is_empty());
}

#[test]
fn the_narrowest_peer_authentication_that_says_something_holds() {
    let kind = "PeerAuthentication";
    let root = policy(kind, "istio-system", "root", "mtls: {mode: STRICT}");
    let selected =
        |spec: &str| policy(kind, "shop", "w", &format!("selector: {{matchLabels: {{app: a}}}}, {spec}"));
    let cases = [
        // What there is, and what holds for ports 1 and 2 of the workload.
        (String::new(), (Permissive, Permissive)),
        (root.clone(), (Strict, Strict)),
        (policy(kind, "istio-system", "root", "mtls: {mode: UNSET}"), (Permissive, Permissive)),
        (root.clone() + &policy(kind, "shop", "ns", "mtls: {mode: DISABLE}"), (Disable, Disable)),
        (root.clone() + &policy(kind, "shop", "ns", "mtls: {mode: UNSET}"), (Strict, Strict)),
        (root.clone() + &policy(kind, "shop", "ns", ""), (Strict, Strict)),
        (root.clone() + &policy(kind, "other", "ns", "mtls: {mode: DISABLE}"), (Strict, Strict)),
        (root.clone() + &selected("mtls: {mode: PERMISSIVE}"), (Permissive, Permissive)),
        (root.clone() + &selected("portLevelMtls: {1: {mode: DISABLE}}"), (Disable, Strict)),
        (
            root.clone() + &selected("mtls: {mode: PERMISSIVE}, portLevelMtls: {1: {mode: UNSET}}"),
            (Permissive, Permissive),
        ),
        // Modes of ports need a selector.
        (root.clone() + &policy(kind, "shop", "ns", "portLevelMtls: {1: {mode: DISABLE}}"), (Strict, Strict)),
        // Another workload's.
        (
            root.clone()
                + &policy(kind, "shop", "w", "selector: {matchLabels: {app: b}}, mtls: {mode: DISABLE}"),
            (Strict, Strict),
        ),
        (
            root.clone()
                + &policy(
                    kind,
                    "shop",
                    "w",
                    "selector: {matchLabels: {app: a, tier: x}}, mtls: {mode: DISABLE}",
                ),
            (Strict, Strict),
        ),
        // A selector without labels selects the namespace.
        (
            root.clone() + &policy(kind, "shop", "ns", "selector: {matchLabels: {}}, mtls: {mode: DISABLE}"),
            (Disable, Disable),
        ),
        // A selector in the root namespace is for workloads there.
        (
            policy(kind, "istio-system", "w", "selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}"),
            (Permissive, Permissive),
        ),
    ];
    for (yaml, expected) in cases {
        let modes = build(&yaml).model().mtls_modes("shop", &labels(&[("app", "a")]));
        assert_eq!((modes.port(1), modes.port(2)), expected, "{yaml}");
    }
}

#[test]
fn in_the_root_namespace_its_own_policy_is_the_meshs() {
    let kind = "PeerAuthentication";
    let yaml = policy(kind, "istio-system", "root", "mtls: {mode: STRICT}")
        + &policy(kind, "istio-system", "w", "selector: {matchLabels: {app: a}}, mtls: {mode: DISABLE}");
    let mesh = build(&yaml);
    assert_eq!(mesh.model().mtls_modes("istio-system", &labels(&[])).default, Strict);
    assert_eq!(mesh.model().mtls_modes("istio-system", &labels(&[("app", "a")])).default, Disable);
}

#[test]
fn the_oldest_peer_authentication_of_a_scope_holds() {
    let old = |name: &str, year: u32, mode: &str| {
        format!(
            "kind: PeerAuthentication\nmetadata: {{name: {name}, namespace: shop, \
             creationTimestamp: \"{year}-01-01T00:00:00Z\"}}\nspec: {{mtls: {{mode: {mode}}}}}\n---\n"
        )
    };
    let mesh = build(&(old("a", 2022, "DISABLE") + &old("b", 2021, "STRICT")));
    assert_eq!(mesh.model().mtls_modes("shop", &labels(&[])).default, Strict);
}

#[test]
fn identities_of_endpoints_and_of_the_service_are_accepted_in_all_our_trust_domains() {
    let mut all = inputs(SHOP);
    all.insert(json!({"kind": "Service", "metadata": {"name": "named", "namespace": "shop", "annotations": {
        "alpha.istio.io/canonical-serviceaccounts": "other.domain/ns/a/sa/b"}},
        "spec": {"clusterIP": "10.96.0.7", "ports": [{"port": 1}]}}))
        .unwrap();
    all.mesh_config =
        Arc::new(MeshConfig { trust_domain_aliases: vec!["old.local".to_owned()], ..MeshConfig::default() });
    let mesh = Mesh::from(&all);
    let accepted = |host: &str| -> Vec<String> {
        mesh.model().accepted_identities(&mesh.model().services()[host]).into_iter().collect()
    };
    assert_eq!(
        accepted(REVIEWS),
        ["spiffe://cluster.local/ns/shop/sa/reviews", "spiffe://old.local/ns/shop/sa/reviews"]
    );
    // Nobody else's trust domain has aliases.
    assert_eq!(accepted("named.shop.svc.cluster.local"), ["spiffe://other.domain/ns/a/sa/b"]);
}
