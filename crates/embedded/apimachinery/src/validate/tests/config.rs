//! Configuration, roles and webhooks.

use super::*;

#[test]
fn faults_of_configuration() {
    let most = 1024 * 1024;
    each(
        "configmaps",
        &[
            (json!({"data": {"a b": ""}}), "data[a b]: Invalid value: \"a b\""),
            (json!({"binaryData": {"a b": ""}}), "binaryData[a b]: Invalid value: \"a b\""),
            (
                json!({"data": {"a": ""}, "binaryData": {"a": ""}}),
                "data[a]: Invalid value: \"a\": duplicate of key present in binaryData",
            ),
            (json!({"data": {"a": "x".repeat(most)}}), "<nil>: Too long: may not be more than 1048576 bytes"),
        ],
    );
    assert_eq!(faults("configmaps", json!({"data": {"a": "x".repeat(most - 1)}})), [""; 0]);
    let halves = json!({"data": {"a": "x".repeat(most / 2)}, "binaryData": {"b": "x".repeat(most / 2)}});
    each("configmaps", &[(halves, "<nil>: Too long")]);
    each(
        "secrets",
        &[
            (json!({"data": {"a b": ""}}), "data[a b]: Invalid value: \"a b\""),
            (json!({"data": {"a": "x".repeat(most)}}), "data: Too long"),
            (json!({"type": "kubernetes.io/dockerconfigjson"}), "data[.dockerconfigjson]: Required value"),
            (json!({"type": "kubernetes.io/ssh-auth"}), "data[ssh-privatekey]: Required value"),
        ],
    );
}

#[test]
fn immutable_data_stay() {
    let frozen = |fields: Value| {
        let mut object = json!({"immutable": true, "data": {"a": "1"}, "binaryData": {"b": ""}});
        object.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        object
    };
    for (change, field) in [
        (json!({"immutable": false}), "immutable"),
        (json!({"data": {}}), "data"),
        (json!({"binaryData": {}}), "binaryData"),
    ] {
        let want = format!("{field}: Forbidden: field is immutable when `immutable` is set");
        assert_eq!(changes("configmaps", frozen(json!({})), frozen(change)), [want]);
    }
    assert_eq!(changes("configmaps", json!({"data": {"a": "1"}}), json!({"data": {}})), [""; 0]);
}

#[test]
fn faults_of_roles() {
    let rule = |rule: Value| json!({ "rules": [rule] });
    let urls = json!({"verbs": ["get"], "nonResourceURLs": ["/x"]});
    each(
        "roles",
        &[
            (
                rule(json!({"apiGroups": [""], "resources": ["pods"]})),
                "rules[0].verbs: Required value: verbs must contain at least one value",
            ),
            (
                rule(json!({"verbs": ["get"], "resources": ["pods"]})),
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
            ),
            (
                rule(json!({"verbs": ["get"], "apiGroups": [""]})),
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ),
            (
                rule(urls.clone()),
                "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply",
            ),
        ],
    );
    for key in ["apiGroups", "resources"] {
        let mut both = urls.clone();
        both[key] = json!(["x"]);
        each(
            "clusterroles",
            &[(rule(both), "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: rules cannot apply to both")],
        );
    }
    assert_eq!(faults("clusterroles", rule(urls)), [""; 0]);
}

#[test]
fn faults_of_role_bindings() {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let to = |role: Value| {
        let mut object = json!({"roleRef": {"kind": "ClusterRole", "name": "x", "apiGroup": GROUP}});
        object["roleRef"].as_object_mut().unwrap().extend(role.as_object().unwrap().clone());
        object
    };
    let of = |subject: Value| {
        let mut object = to(json!({}));
        object["subjects"] = json!([subject]);
        object
    };
    each(
        "rolebindings",
        &[
            (to(json!({"apiGroup": "x"})), "roleRef.apiGroup: Unsupported value: \"x\""),
            (to(json!({"name": ""})), "roleRef.name: Required value"),
            (of(json!({"kind": "User", "apiGroup": GROUP})), "subjects[0].name: Required value"),
            (
                of(json!({"kind": "User", "name": "u", "apiGroup": "x"})),
                "subjects[0].apiGroup: Unsupported value: \"x\"",
            ),
            (
                of(json!({"kind": "ServiceAccount", "name": "a", "apiGroup": GROUP})),
                "subjects[0].apiGroup: Unsupported value",
            ),
            (of(json!({"kind": "x", "name": "u"})), "subjects[0].kind: Unsupported value: \"x\""),
        ],
    );
    each(
        "clusterrolebindings",
        &[
            (
                to(json!({"kind": "Role"})),
                "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"",
            ),
            (of(json!({"kind": "ServiceAccount", "name": "a"})), "subjects[0].namespace: Required value"),
        ],
    );
    for subject in [
        json!({"kind": "User", "name": "u", "apiGroup": GROUP}),
        json!({"kind": "Group", "name": "g", "apiGroup": GROUP}),
        json!({"kind": "ServiceAccount", "name": "a", "namespace": "n"}),
    ] {
        assert_eq!(faults("clusterrolebindings", of(subject)), [""; 0]);
    }
    assert_eq!(faults("rolebindings", to(json!({"kind": "Role"}))), [""; 0]);
}

fn webhook(fields: Value) -> Value {
    let mut webhook = json!({"name": "a.b.c", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {"url": "https://x"}});
    webhook.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({ "webhooks": [webhook] })
}

#[test]
fn faults_of_webhooks() {
    let rule = |fields: Value| {
        let mut rule =
            json!({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]});
        rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        webhook(json!({ "rules": [rule] }))
    };
    let mut twice = webhook(json!({}));
    twice["webhooks"] = json!([twice["webhooks"][0], twice["webhooks"][0]]);
    for (body, want) in [
        (webhook(json!({"name": ""})), "webhooks[0].name: Required value"),
        (webhook(json!({"name": "A.b.c"})), "webhooks[0].name: Invalid value: \"A.b.c\""),
        (
            webhook(json!({"name": "a.b"})),
            "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three",
        ),
        (twice, "webhooks[1].name: Duplicate value: \"a.b.c\""),
        (
            webhook(json!({"admissionReviewVersions": []})),
            "webhooks[0].admissionReviewVersions: Required value",
        ),
        (
            webhook(json!({"admissionReviewVersions": ["v2"]})),
            "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\"]",
        ),
        (webhook(json!({"sideEffects": ""})), "webhooks[0].sideEffects: Required value"),
        (webhook(json!({"sideEffects": "Some"})), "webhooks[0].sideEffects: Unsupported value: \"Some\""),
        (webhook(json!({"failurePolicy": "x"})), "webhooks[0].failurePolicy: Unsupported value: \"x\""),
        (webhook(json!({"matchPolicy": "x"})), "webhooks[0].matchPolicy: Unsupported value: \"x\""),
        (webhook(json!({"timeoutSeconds": 0})), "webhooks[0].timeoutSeconds: Invalid value: 0"),
        (webhook(json!({"timeoutSeconds": 31})), "webhooks[0].timeoutSeconds: Invalid value: 31"),
        (
            webhook(json!({"objectSelector": {"matchExpressions": [{"key": "a", "operator": "x"}]}})),
            "webhooks[0].objectSelector: Invalid value: ",
        ),
        (
            webhook(json!({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "x"}]}})),
            "webhooks[0].namespaceSelector: Invalid value: ",
        ),
        (
            webhook(json!({"clientConfig": {}})),
            "webhooks[0].clientConfig: Required value: exactly one of url or service",
        ),
        (
            webhook(
                json!({"clientConfig": {"url": "https://x", "service": {"name": "s", "namespace": "n"}}}),
            ),
            "webhooks[0].clientConfig: Required value: exactly one of url or service",
        ),
        (
            webhook(json!({"clientConfig": {"url": "http://x"}})),
            "webhooks[0].clientConfig.url: Invalid value: \"http://x\"",
        ),
        (
            webhook(json!({"clientConfig": {"service": {"namespace": "n"}}})),
            "webhooks[0].clientConfig.service.name: Required value: service name is required",
        ),
        (
            webhook(json!({"clientConfig": {"service": {"name": "s"}}})),
            "webhooks[0].clientConfig.service.namespace: Required value: service namespace is required",
        ),
        (rule(json!({"operations": []})), "webhooks[0].rules[0].operations: Required value"),
        (rule(json!({"apiGroups": []})), "webhooks[0].rules[0].apiGroups: Required value"),
        (
            rule(json!({"operations": ["CREATE", "x"]})),
            "webhooks[0].rules[0].operations[1]: Unsupported value: \"x\"",
        ),
    ] {
        each("validatingwebhookconfigurations", &[(body, want)]);
    }
    for body in [
        webhook(
            json!({"timeoutSeconds": 1, "admissionReviewVersions": ["v2", "v1beta1"], "sideEffects": "NoneOnDryRun"}),
        ),
        webhook(json!({"timeoutSeconds": 30, "clientConfig": {"service": {"name": "s", "namespace": "n"}}})),
        rule(json!({})),
    ] {
        assert_eq!(faults("validatingwebhookconfigurations", body), [""; 0]);
    }
}
