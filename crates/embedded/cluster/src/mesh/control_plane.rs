//! istiod: account, rights, settings, Deployment and Service, as Istio's istiod chart has them.

use portolan_names::{env, labels, names, ports};
use serde_json::{Value, json};

use super::{CONTROL_PLANE_IMAGE, Options, port, probe};

/// Name of istiod's cluster-wide role.
const CLUSTER_ROLE: &str = "istiod-istio-system";

pub(super) fn objects(options: &Options) -> Vec<Value> {
    vec![
        account(),
        cluster_role(),
        cluster_role_binding(),
        role(),
        role_binding(),
        mesh_config(options),
        injector_config(),
        service(),
        deployment(options),
    ]
}

fn account() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": names::ISTIOD, "namespace": names::ISTIO_SYSTEM, "labels": {"app": names::ISTIOD}},
    })
}

/// What istiod reads in the whole cluster, and the little that it writes.
fn cluster_role() -> Value {
    let read = json!(["get", "list", "watch"]);
    let write = json!(["get", "list", "watch", "create", "update", "patch"]);
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": CLUSTER_ROLE, "labels": {"app": names::ISTIOD}},
        "rules": [
            {"apiGroups": [""], "verbs": read,
             "resources": ["pods", "nodes", "services", "namespaces", "endpoints", "serviceaccounts"]},
            {"apiGroups": ["discovery.k8s.io"], "verbs": read, "resources": ["endpointslices"]},
            {"apiGroups": ["apiextensions.k8s.io"], "verbs": read, "resources": ["customresourcedefinitions"]},
            {"apiGroups": ["networking.istio.io", "security.istio.io"], "verbs": read, "resources": ["*"]},
            {"apiGroups": ["networking.istio.io", "security.istio.io"], "verbs": ["get", "update", "patch"],
             "resources": ["*/status"]},
            {"apiGroups": ["federation.maistra.io"], "verbs": read, "resources": ["*"]},
            {"apiGroups": ["federation.maistra.io"], "verbs": ["get", "update", "patch"], "resources": ["*/status"]},
            // The root certificate goes into every namespace.
            {"apiGroups": [""], "verbs": write, "resources": ["configmaps"]},
            // Certificates of Gateway servers (credentialName).
            {"apiGroups": [""], "verbs": read, "resources": ["secrets"]},
            {"apiGroups": ["admissionregistration.k8s.io"], "verbs": ["get", "list", "watch", "update", "patch"],
             "resources": ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]},
            {"apiGroups": ["authentication.k8s.io"], "verbs": ["create"], "resources": ["tokenreviews"]},
            {"apiGroups": ["authorization.k8s.io"], "verbs": ["create"], "resources": ["subjectaccessreviews"]},
        ],
    })
}

fn cluster_role_binding() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": CLUSTER_ROLE, "labels": {"app": names::ISTIOD}},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": CLUSTER_ROLE},
        "subjects": [{"kind": "ServiceAccount", "name": names::ISTIOD, "namespace": names::ISTIO_SYSTEM}],
    })
}

/// What istiod may change in its own namespace only: its CA's Secret, leases, events.
fn role() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": names::ISTIOD, "namespace": names::ISTIO_SYSTEM, "labels": {"app": names::ISTIOD}},
        "rules": [
            {"apiGroups": [""], "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"],
             "resources": ["secrets"]},
            {"apiGroups": ["coordination.k8s.io"], "verbs": ["get", "list", "watch", "create", "update", "patch"],
             "resources": ["leases"]},
            {"apiGroups": ["", "events.k8s.io"], "verbs": ["create", "patch"], "resources": ["events"]},
        ],
    })
}

fn role_binding() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": names::ISTIOD, "namespace": names::ISTIO_SYSTEM, "labels": {"app": names::ISTIOD}},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": names::ISTIOD},
        "subjects": [{"kind": "ServiceAccount", "name": names::ISTIOD, "namespace": names::ISTIO_SYSTEM}],
    })
}

fn mesh_config(options: &Options) -> Value {
    // JSON is YAML: what a user then edits is up to the user.
    let mut mesh = json!({
        "trustDomain": options.trust_domain,
        "rootNamespace": names::ISTIO_SYSTEM,
        "enablePrometheusMerge": true,
        "defaultConfig": {
            "discoveryAddress": format!("{}.{}.svc:{}", names::ISTIOD, names::ISTIO_SYSTEM, ports::XDS_TLS),
            "meshId": options.trust_domain,
            "proxyMetadata": {
                // Imported services have no address of their own but the one that the mesh gives them.
                "ISTIO_META_DNS_AUTO_ALLOCATE": "true",
            },
        },
    });
    if options.access_log {
        mesh["accessLogFile"] = json!("/dev/stdout");
    }
    let text = serde_saphyr::to_string(&mesh).unwrap_or_else(|_| mesh.to_string());
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": names::MESH_CONFIG_MAP, "namespace": names::ISTIO_SYSTEM, "labels": {"app": names::ISTIOD}},
        "data": {names::MESH_CONFIG_KEY: text},
    })
}

/// What istioctl and Kiali read of injection. The templates are not in it: they are the control plane's own.
fn injector_config() -> Value {
    let values = json!({
        "global": {
            "istioNamespace": names::ISTIO_SYSTEM,
            "hub": "portolan",
            "tag": names::ISTIO_VERSION,
            "network": "",
            "proxy": {"image": "proxy", "logLevel": "warning"},
        },
        "revision": "",
        "sidecarInjectorWebhook": {"enableNamespacesByDefault": false, "rewriteAppHTTPProbe": true},
    });
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": names::INJECTOR_CONFIG_MAP, "namespace": names::ISTIO_SYSTEM,
                     "labels": {"app": names::ISTIOD, (labels::REVISION): names::DEFAULT_REVISION}},
        "data": {"config": "policy: disabled\n", "values": values.to_string()},
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": names::ISTIOD, "namespace": names::ISTIO_SYSTEM,
                     "labels": {"app": names::ISTIOD, "istio": "pilot", (labels::REVISION): names::DEFAULT_REVISION}},
        "spec": {
            "selector": {"app": names::ISTIOD, "istio": "pilot"},
            "ports": [
                port("grpc-xds", ports::XDS_PLAINTEXT, ports::XDS_PLAINTEXT),
                port("https-dns", ports::XDS_TLS, ports::XDS_TLS),
                port("https-webhook", ports::WEBHOOK_SERVICE, ports::WEBHOOK),
                port("http-monitoring", ports::MONITORING, ports::MONITORING),
                port("http-discovery", ports::FEDERATION_DISCOVERY, ports::FEDERATION_DISCOVERY),
            ],
        },
    })
}

fn deployment(options: &Options) -> Value {
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": names::ISTIOD, "namespace": names::ISTIO_SYSTEM,
                     "labels": {"app": names::ISTIOD, "istio": "pilot", (labels::REVISION): names::DEFAULT_REVISION}},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": {"app": names::ISTIOD, "istio": "pilot"}},
            "template": {
                "metadata": {
                    "labels": {
                        "app": names::ISTIOD, "istio": "pilot",
                        (labels::REVISION): names::DEFAULT_REVISION,
                        (labels::SIDECAR_INJECT): "false",
                    },
                    "annotations": {
                        "prometheus.io/scrape": "true",
                        "prometheus.io/port": ports::MONITORING.to_string(),
                    },
                },
                "spec": {
                    "serviceAccountName": names::ISTIOD,
                    "securityContext": {"runAsUser": names::PROXY_UID, "runAsNonRoot": true},
                    "containers": [{
                        "name": "discovery",
                        "image": CONTROL_PLANE_IMAGE,
                        "env": [
                            {"name": env::POD_NAME, "valueFrom": field("metadata.name")},
                            {"name": env::POD_NAMESPACE, "valueFrom": field("metadata.namespace")},
                            {"name": env::SERVICE_ACCOUNT, "valueFrom": field("spec.serviceAccountName")},
                            {"name": "CLUSTER_ID", "value": options.cluster_id},
                            {"name": "PILOT_ENABLE_FEDERATION", "value": "true"},
                        ],
                        "ports": [
                            {"name": "grpc-xds", "containerPort": ports::XDS_PLAINTEXT},
                            {"name": "https-xds", "containerPort": ports::XDS_TLS},
                            {"name": "monitoring", "containerPort": ports::MONITORING},
                            {"name": "webhook", "containerPort": ports::WEBHOOK},
                            {"name": "discovery", "containerPort": ports::FEDERATION_DISCOVERY},
                        ],
                        "readinessProbe": probe("/ready", ports::MONITORING),
                    }],
                },
            },
        },
    })
}
