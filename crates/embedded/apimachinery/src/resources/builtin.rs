//! The built-in kinds: one row each, in discovery order.

use std::sync::Arc;

use super::{ALL_VERBS, REVIEW_VERBS, Resource, StorageKey, Subresource};
use crate::gvk::GroupVersionKind;
use crate::printers;
use crate::schema::Schema;

/// One row: plural, kind, short names, flags.
struct Row {
    plural: &'static str,
    kind: &'static str,
    short: &'static str,
    /// Words of: `cluster` (not namespaced), `all` (category), `review`, `status`, `scale`, `gen` (generation).
    flags: &'static str,
}

const fn row(plural: &'static str, kind: &'static str, short: &'static str, flags: &'static str) -> Row {
    Row { plural, kind, short, flags }
}

/// Group, version, prefix of the type names in the schema table, rows.
type Group = (&'static str, &'static str, &'static str, &'static [Row]);

const GROUPS: &[Group] = &[
    (
        "",
        "v1",
        "core.v1",
        &[
            row("bindings", "Binding", "", "review"),
            row("configmaps", "ConfigMap", "cm", ""),
            row("endpoints", "Endpoints", "ep", ""),
            row("events", "Event", "ev", ""),
            row("limitranges", "LimitRange", "limits", ""),
            row("namespaces", "Namespace", "ns", "cluster status"),
            row("nodes", "Node", "no", "cluster status"),
            row("persistentvolumeclaims", "PersistentVolumeClaim", "pvc", "status"),
            row("persistentvolumes", "PersistentVolume", "pv", "cluster status"),
            row("pods", "Pod", "po", "all status gen"),
            row("podtemplates", "PodTemplate", "", ""),
            row("replicationcontrollers", "ReplicationController", "rc", "all status scale gen"),
            row("resourcequotas", "ResourceQuota", "quota", "status"),
            row("secrets", "Secret", "", ""),
            row("serviceaccounts", "ServiceAccount", "sa", ""),
            row("services", "Service", "svc", "all status"),
        ],
    ),
    (
        "apiregistration.k8s.io",
        "v1",
        "apiregistration.v1",
        &[row("apiservices", "APIService", "", "cluster status")],
    ),
    (
        "apps",
        "v1",
        "apps.v1",
        &[
            row("controllerrevisions", "ControllerRevision", "", ""),
            row("daemonsets", "DaemonSet", "ds", "all status gen"),
            row("deployments", "Deployment", "deploy", "all status scale gen"),
            row("replicasets", "ReplicaSet", "rs", "all status scale gen"),
            row("statefulsets", "StatefulSet", "sts", "all status scale gen"),
        ],
    ),
    ("events.k8s.io", "v1", "events.v1", &[row("events", "Event", "ev", "")]),
    (
        "authentication.k8s.io",
        "v1",
        "authentication.v1",
        &[
            row("selfsubjectreviews", "SelfSubjectReview", "", "cluster review"),
            row("tokenreviews", "TokenReview", "", "cluster review"),
        ],
    ),
    (
        "authorization.k8s.io",
        "v1",
        "authorization.v1",
        &[
            row("localsubjectaccessreviews", "LocalSubjectAccessReview", "", "review"),
            row("selfsubjectaccessreviews", "SelfSubjectAccessReview", "", "cluster review"),
            row("selfsubjectrulesreviews", "SelfSubjectRulesReview", "", "cluster review"),
            row("subjectaccessreviews", "SubjectAccessReview", "", "cluster review"),
        ],
    ),
    (
        "autoscaling",
        "v2",
        "autoscaling.v2",
        &[row("horizontalpodautoscalers", "HorizontalPodAutoscaler", "hpa", "all status")],
    ),
    // What `kubectl autoscale` sends; stored as v2.
    (
        "autoscaling",
        "v1",
        "autoscaling.v1",
        &[row("horizontalpodautoscalers", "HorizontalPodAutoscaler", "hpa", "all status")],
    ),
    (
        "batch",
        "v1",
        "batch.v1",
        &[row("cronjobs", "CronJob", "cj", "all status gen"), row("jobs", "Job", "", "all status gen")],
    ),
    (
        "networking.k8s.io",
        "v1",
        "networking.v1",
        &[
            row("ingressclasses", "IngressClass", "", "cluster gen"),
            row("ingresses", "Ingress", "ing", "status gen"),
            row("networkpolicies", "NetworkPolicy", "netpol", "gen"),
        ],
    ),
    ("policy", "v1", "policy.v1", &[row("poddisruptionbudgets", "PodDisruptionBudget", "pdb", "status gen")]),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "rbac.v1",
        &[
            row("clusterrolebindings", "ClusterRoleBinding", "", "cluster"),
            row("clusterroles", "ClusterRole", "", "cluster"),
            row("rolebindings", "RoleBinding", "", ""),
            row("roles", "Role", "", ""),
        ],
    ),
    ("storage.k8s.io", "v1", "storage.v1", &[row("storageclasses", "StorageClass", "sc", "cluster")]),
    (
        "admissionregistration.k8s.io",
        "v1",
        "admissionregistration.v1",
        &[
            row("mutatingwebhookconfigurations", "MutatingWebhookConfiguration", "", "cluster gen"),
            row("validatingwebhookconfigurations", "ValidatingWebhookConfiguration", "", "cluster gen"),
        ],
    ),
    (
        "apiextensions.k8s.io",
        "v1",
        "apiextensions.v1",
        &[row("customresourcedefinitions", "CustomResourceDefinition", "crd crds", "cluster status gen")],
    ),
    (
        "scheduling.k8s.io",
        "v1",
        "scheduling.v1",
        &[row("priorityclasses", "PriorityClass", "pc", "cluster gen")],
    ),
    ("coordination.k8s.io", "v1", "coordination.v1", &[row("leases", "Lease", "", "")]),
    ("discovery.k8s.io", "v1", "discovery.v1", &[row("endpointslices", "EndpointSlice", "", "gen")]),
];

/// All rows as resources.
pub(super) fn all() -> Vec<Resource> {
    GROUPS.iter().flat_map(|group| group.3.iter().map(|r| resource(group, r))).collect()
}

fn resource(&(group, version, prefix, _): &Group, row: &Row) -> Resource {
    let has = |flag: &str| row.flags.split(' ').any(|f| f == flag);
    let review = has("review");
    let mut subresources = Vec::new();
    let own = GroupVersionKind::new(group, version, row.kind);
    let mut add = |name: &str, gvk: GroupVersionKind, verbs: &'static [&'static str]| {
        subresources.push(Subresource { name: name.to_owned(), gvk, verbs });
    };
    const READ_WRITE: &[&str] = &["get", "patch", "update"];
    match row.plural {
        "namespaces" => add("finalize", own.clone(), &["update"]),
        "pods" => {
            add("attach", GroupVersionKind::new("", "v1", "PodAttachOptions"), &["create", "get"]);
            add("binding", GroupVersionKind::new("", "v1", "Binding"), &["create"]);
            add("ephemeralcontainers", own.clone(), READ_WRITE);
            add("eviction", GroupVersionKind::new("policy", "v1", "Eviction"), &["create"]);
            add("exec", GroupVersionKind::new("", "v1", "PodExecOptions"), &["create", "get"]);
            add("log", own.clone(), &["get"]);
            add("portforward", GroupVersionKind::new("", "v1", "PodPortForwardOptions"), &["create", "get"]);
            add("proxy", GroupVersionKind::new("", "v1", "PodProxyOptions"), PROXY_VERBS);
        }
        "services" => add("proxy", GroupVersionKind::new("", "v1", "ServiceProxyOptions"), PROXY_VERBS),
        "nodes" => add("proxy", GroupVersionKind::new("", "v1", "NodeProxyOptions"), PROXY_VERBS),
        "serviceaccounts" => {
            add("token", GroupVersionKind::new("authentication.k8s.io", "v1", "TokenRequest"), &["create"]);
        }
        _ => {}
    }
    if has("scale") {
        add("scale", GroupVersionKind::new("autoscaling", "v1", "Scale"), READ_WRITE);
    }
    if has("status") {
        add("status", own, READ_WRITE);
    }
    let (storage_group, storage_version) = match (group, row.kind) {
        // The events of both groups are the same objects, stored in the core form.
        (_, "Event") => ("", "v1"),
        ("autoscaling", _) => ("autoscaling", "v2"),
        _ => (group, version),
    };
    Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: row.kind.to_owned(),
        list_kind: format!("{}List", row.kind),
        plural: row.plural.to_owned(),
        singular: row.kind.to_lowercase(),
        short_names: row.short.split_whitespace().map(str::to_owned).collect(),
        categories: if has("all") { vec!["all".to_owned()] } else { Vec::new() },
        namespaced: !has("cluster"),
        verbs: if review { REVIEW_VERBS } else { ALL_VERBS },
        subresources,
        storage: StorageKey {
            group: storage_group.to_owned(),
            version: storage_version.to_owned(),
            plural: row.plural.to_owned(),
        },
        schema_name: format!("{prefix}.{}", row.kind),
        schema: Arc::new(Schema::builtin(&format!("{prefix}.{}", row.kind))),
        columns: printers::builtin_columns(group, row.kind).into(),
        custom: None,
        counts_generation: has("gen"),
    }
}

const PROXY_VERBS: &[&str] = &["create", "delete", "get", "patch", "update"];
