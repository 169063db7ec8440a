//! Delegates of VirtualServices, and DestinationRules for the same host.

use super::{REVIEWS, SHOP, inputs, scope_of, sidecar};
use crate::*;
use portolan_resources::networking::HttpMatchRequest;
use serde_json::json;

/// The conditions of the merged rules of a root with the condition `root` and a delegate with `delegate`.
fn merged(root: &str, delegate: &str) -> Vec<Vec<HttpMatchRequest>> {
    let yaml = format!(
        "kind: VirtualService\nmetadata: {{name: root, namespace: shop}}\n\
         spec: {{hosts: [reviews], http: [{{match: {root}, delegate: {{name: inner}}}}]}}\n\
         ---\nkind: VirtualService\nmetadata: {{name: inner, namespace: shop}}\n\
         spec: {{http: [{{match: {delegate}, route: [{{destination: {{host: reviews}}}}]}}]}}\n"
    );
    let mesh = Mesh::from(&inputs(&yaml));
    mesh.model().virtual_services()[0].spec.http.iter().map(|r| r.match_.clone()).collect()
}

#[test]
fn a_delegates_condition_narrows_that_of_its_root_or_is_dropped() {
    for (root, delegate, expected) in [
        ("[]", "[]", Some("[]")),
        ("[]", "[{uri: {prefix: /a}}]", Some("[{uri: {prefix: /a}}]")),
        ("[{uri: {prefix: /a}}]", "[]", Some("[{uri: {prefix: /a}}]")),
        ("[{uri: {prefix: /a}}]", "[{uri: {exact: /a/b}}]", Some("[{uri: {exact: /a/b}}]")),
        // A rule that would hold for everything because nothing is left of its conditions.
        ("[{uri: {prefix: /a}}]", "[{uri: {prefix: /b}}]", None),
        ("[{uri: {exact: /a}}]", "[{uri: {prefix: /}}]", None),
        ("[{port: 80}]", "[{port: 80}]", Some("[{port: 80}]")),
        ("[{port: 80}]", "[{port: 81}]", None),
        ("[{sourceNamespace: a}]", "[{sourceNamespace: a}]", Some("[{sourceNamespace: a}]")),
        ("[{sourceNamespace: a}]", "[{sourceNamespace: b}]", None),
        (
            "[{uri: {prefix: /a}, ignoreUriCase: true}]",
            "[{port: 80}]",
            Some("[{uri: {prefix: /a}, ignoreUriCase: true, port: 80}]"),
        ),
        (
            "[{uri: {prefix: /a}}]",
            "[{uri: {prefix: /a/b}, ignoreUriCase: true}]",
            Some("[{uri: {prefix: /a/b}, ignoreUriCase: true}]"),
        ),
        ("[{name: r, port: 80}]", "[{name: d}]", Some("[{name: r, port: 80}]")),
        ("[{port: 80}]", "[{name: d}]", Some("[{name: d, port: 80}]")),
        (
            "[{headers: {a: {exact: x}}, sourceLabels: {l: x}}]",
            "[{headers: {b: {exact: z}}, sourceLabels: {m: z}}]",
            Some("[{headers: {a: {exact: x}, b: {exact: z}}, sourceLabels: {l: x, m: z}}]"),
        ),
    ] {
        let expected: Vec<Vec<HttpMatchRequest>> =
            expected.iter().map(|text| serde_saphyr::from_str(text).unwrap()).collect();
        assert_eq!(merged(root, delegate), expected, "{root} {delegate}");
    }
}

#[test]
fn a_delegate_that_its_root_may_not_see_is_left_out() {
    for (export_to, expected) in [("'*'", 1), ("shop", 1), ("'.'", 0), ("'~'", 0)] {
        let yaml = format!(
            "kind: VirtualService\nmetadata: {{name: root, namespace: shop}}\n\
             spec: {{hosts: [reviews], http: [{{delegate: {{name: inner, namespace: other}}}}]}}\n\
             ---\nkind: VirtualService\nmetadata: {{name: inner, namespace: other}}\n\
             spec: {{exportTo: [{export_to}], http: [{{route: [{{destination: {{host: reviews}}}}]}}]}}\n"
        );
        let mesh = Mesh::from(&inputs(&yaml));
        assert_eq!(mesh.model().virtual_services()[0].spec.http.len(), expected, "{export_to}");
    }
}

#[test]
fn destination_rules_for_one_host_of_one_namespace_and_visibility_are_merged() {
    let rule = |name: &str, namespace: &str, host: &str, export_to: &str, subset: &str| {
        format!(
            "---\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{host: {host}, exportTo: ['{export_to}'], subsets: [{subset}]}}\n"
        )
    };
    let first = rule("a", "shop", REVIEWS, "*", "{name: v1, labels: {from: a}}");
    let subsets = |second: String| -> Vec<(String, String)> {
        let mesh = Mesh::from(&inputs(&format!("{SHOP}{first}{second}")));
        let scope = scope_of(&mesh, &sidecar("shop", json!({})));
        let found = scope.destination_rule(REVIEWS).unwrap();
        found.spec.subsets.iter().map(|s| (s.name.clone(), s.labels["from"].clone())).collect()
    };
    let v = |name: &str, from: &str| (name.to_owned(), from.to_owned());
    let both = "{name: v1, labels: {from: b}}, {name: v2, labels: {from: b}}";
    assert_eq!(subsets(rule("b", "shop", REVIEWS, "*", both)), [v("v1", "a"), v("v2", "b")]);
    assert_eq!(subsets(rule("b", "other", REVIEWS, "*", both)), [v("v1", "a")]);
    assert_eq!(subsets(rule("b", "shop", "ratings", "*", both)), [v("v1", "a")]);
    assert_eq!(subsets(rule("b", "shop", REVIEWS, ".", both)), [v("v1", "a")]);
}
