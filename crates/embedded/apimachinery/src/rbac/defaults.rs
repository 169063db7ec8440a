//! The roles and bindings that every cluster starts with.

use serde_json::{Value, json};

use super::policy::SUPERUSERS;

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Resources of a namespace that its viewers may read, by group. Secrets are not among them.
const VIEWED: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "bindings",
            "configmaps",
            "endpoints",
            "events",
            "limitranges",
            "namespaces",
            "namespaces/status",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "pods",
            "pods/log",
            "pods/status",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "replicationcontrollers/status",
            "resourcequotas",
            "resourcequotas/status",
            "serviceaccounts",
            "services",
            "services/status",
        ],
    ),
    (
        "apps",
        &[
            "controllerrevisions",
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "statefulsets",
            "statefulsets/scale",
            "statefulsets/status",
        ],
    ),
    ("autoscaling", &["horizontalpodautoscalers", "horizontalpodautoscalers/status"]),
    ("batch", &["cronjobs", "cronjobs/status", "jobs", "jobs/status"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ("events.k8s.io", &["events"]),
    ("networking.k8s.io", &["ingresses", "ingresses/status", "networkpolicies"]),
    ("policy", &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
];

/// Resources of a namespace that its editors may change, by group.
const EDITED: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "configmaps",
            "endpoints",
            "events",
            "persistentvolumeclaims",
            "pods",
            "pods/attach",
            "pods/exec",
            "pods/eviction",
            "pods/portforward",
            "pods/proxy",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "secrets",
            "serviceaccounts",
            "services",
            "services/proxy",
        ],
    ),
    (
        "apps",
        &[
            "daemonsets",
            "deployments",
            "deployments/rollback",
            "deployments/scale",
            "replicasets",
            "replicasets/scale",
            "statefulsets",
            "statefulsets/scale",
        ],
    ),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("batch", &["cronjobs", "jobs"]),
    ("coordination.k8s.io", &["leases"]),
    ("networking.k8s.io", &["ingresses", "networkpolicies"]),
    ("policy", &["poddisruptionbudgets"]),
];

/// The objects that a new cluster starts with: ClusterRoles and ClusterRoleBindings, without uid and times.
pub fn default_objects() -> Vec<Value> {
    let everything = [
        json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}),
        json!({"nonResourceURLs": ["*"], "verbs": ["*"]}),
    ];
    let mut edit = rules(EDITED, WRITE);
    edit.push(json!({"apiGroups": [""], "verbs": READ, "resources":
        ["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"]}));
    edit.push(json!({"apiGroups": [""], "verbs": ["impersonate"], "resources": ["serviceaccounts"]}));
    edit.push(json!({"apiGroups": [""], "verbs": ["create"], "resources": ["serviceaccounts/token"]}));
    edit.push(json!({"apiGroups": ["coordination.k8s.io"], "verbs": READ, "resources": ["leases"]}));
    let admin = vec![
        json!({"apiGroups": ["rbac.authorization.k8s.io"], "verbs": ALL, "resources": ["roles", "rolebindings"]}),
        json!({"apiGroups": ["authorization.k8s.io"], "verbs": ["create"], "resources": ["localsubjectaccessreviews"]}),
    ];
    let review = |group: &str, resources: &[&str]| json!({"apiGroups": [group], "verbs": ["create"], "resources": resources});
    let paths = |paths: &[&str]| vec![json!({"nonResourceURLs": paths, "verbs": ["get"]})];
    vec![
        role("cluster-admin", &[], everything.to_vec()),
        aggregated("admin", &[], "admin"),
        aggregated("edit", &["admin"], "edit"),
        aggregated("view", &["edit"], "view"),
        role("system:aggregate-to-admin", &["admin"], admin),
        role("system:aggregate-to-edit", &["edit"], edit),
        role("system:aggregate-to-view", &["view"], rules(VIEWED, READ)),
        role(
            "system:basic-user",
            &[],
            vec![
                review("authorization.k8s.io", &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
                review("authentication.k8s.io", &["selfsubjectreviews"]),
            ],
        ),
        role(
            "system:discovery",
            &[],
            paths(&[
                "/api",
                "/api/*",
                "/apis",
                "/apis/*",
                "/healthz",
                "/livez",
                "/openapi",
                "/openapi/*",
                "/readyz",
                "/version",
                "/version/",
            ]),
        ),
        role(
            "system:public-info-viewer",
            &[],
            paths(&["/healthz", "/livez", "/readyz", "/version", "/version/"]),
        ),
        role(
            "system:service-account-issuer-discovery",
            &[],
            paths(&[
                "/.well-known/openid-configuration",
                "/.well-known/openid-configuration/",
                "/openid/v1/jwks",
                "/openid/v1/jwks/",
            ]),
        ),
        role(
            "system:auth-delegator",
            &[],
            vec![
                review("authentication.k8s.io", &["tokenreviews"]),
                review("authorization.k8s.io", &["subjectaccessreviews"]),
            ],
        ),
        binding("cluster-admin", &[SUPERUSERS]),
        binding("system:basic-user", &["system:authenticated"]),
        binding("system:discovery", &["system:authenticated"]),
        binding("system:public-info-viewer", &["system:authenticated", "system:unauthenticated"]),
        binding("system:service-account-issuer-discovery", &["system:serviceaccounts"]),
    ]
}

fn rules(table: &[(&str, &[&str])], verbs: &[&str]) -> Vec<Value> {
    table
        .iter()
        .map(|(group, resources)| json!({"apiGroups": [group], "resources": resources, "verbs": verbs}))
        .collect()
}

fn metadata(name: &str, aggregate_to: &[&str]) -> Value {
    let mut labels = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    for target in aggregate_to {
        labels[format!("rbac.authorization.k8s.io/aggregate-to-{target}")] = json!("true");
    }
    json!({"name": name, "labels": labels})
}

fn role(name: &str, aggregate_to: &[&str], rules: Vec<Value>) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": metadata(name, aggregate_to), "rules": rules,
    })
}

fn aggregated(name: &str, aggregate_to: &[&str], label: &str) -> Value {
    let selector =
        json!({"matchLabels": {format!("rbac.authorization.k8s.io/aggregate-to-{label}"): "true"}});
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": metadata(name, aggregate_to),
        "aggregationRule": {"clusterRoleSelectors": [selector]}, "rules": [],
    })
}

fn binding(role: &str, groups: &[&str]) -> Value {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let subjects: Vec<Value> =
        groups.iter().map(|g| json!({"kind": "Group", "apiGroup": GROUP, "name": g})).collect();
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRoleBinding", "metadata": metadata(role, &[]),
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role}, "subjects": subjects,
    })
}
