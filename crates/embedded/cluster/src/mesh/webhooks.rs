//! Webhook configurations. istiod writes its certificate's authority into `caBundle` when it is up.

use portolan_names::{labels, names, ports};
use serde_json::{Value, json};

/// Label with the name of a namespace, which Kubernetes sets.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Seconds that the API server waits for an answer.
const TIMEOUT: u32 = 10;
/// Seconds that the API server waits for advice on objects that are not ours.
const ADVICE_TIMEOUT: u32 = 2;

pub(super) fn objects() -> Vec<Value> {
    vec![injector(), validator()]
}

fn client(path: &str) -> Value {
    json!({"service": {
        "name": names::ISTIOD, "namespace": names::ISTIO_SYSTEM, "path": path, "port": ports::WEBHOOK_SERVICE,
    }})
}

/// One way of asking for injection: by the namespace's label, or by the Pod's own.
fn injection(name: &str, namespaces: &Value, pods: &Value) -> Value {
    json!({
        "name": name,
        "clientConfig": client("/inject"),
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
                   "scope": "*"}],
        "namespaceSelector": namespaces,
        "objectSelector": pods,
        // A Pod without its sidecar would talk past every policy: better none.
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "reinvocationPolicy": "Never",
        "admissionReviewVersions": ["v1", "v1beta1"],
        "timeoutSeconds": TIMEOUT,
    })
}

fn injector() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "istio-sidecar-injector",
                     "labels": {"app": "sidecar-injector", (labels::REVISION): names::DEFAULT_REVISION}},
        "webhooks": [
            injection(
                "namespace.sidecar-injector.istio.io",
                &json!({"matchExpressions": [{"key": labels::INJECTION, "operator": "In", "values": ["enabled"]}]}),
                &json!({"matchExpressions": [{"key": labels::SIDECAR_INJECT, "operator": "NotIn", "values": ["false"]}]}),
            ),
            injection(
                "object.sidecar-injector.istio.io",
                &json!({"matchExpressions": [
                    {"key": labels::INJECTION, "operator": "DoesNotExist"},
                    {"key": NAMESPACE_NAME, "operator": "NotIn", "values": ["kube-system", "kube-public"]},
                ]}),
                &json!({"matchExpressions": [{"key": labels::SIDECAR_INJECT, "operator": "In", "values": ["true"]}]}),
            ),
        ],
    })
}

fn validator() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "istiod-istio-system", "labels": {"app": names::ISTIOD}},
        "webhooks": [
            {
                "name": "validation.istio.io",
                "clientConfig": client("/validate"),
                "rules": [{
                    "operations": ["CREATE", "UPDATE"],
                    "apiGroups": ["networking.istio.io", "security.istio.io", "federation.maistra.io"],
                    "apiVersions": ["*"],
                    "resources": ["*"],
                    "scope": "*",
                }],
                // istiod sets Fail once it has seen a bad object refused (Istio 1.9, `pkg/webhooks/validation/controller`).
                "failurePolicy": "Ignore",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1", "v1beta1"],
                "timeoutSeconds": TIMEOUT,
            },
            advice("settings.advice.istio.io", "configmaps", &json!({"matchExpressions": [
                {"key": NAMESPACE_NAME, "operator": "In", "values": [names::ISTIO_SYSTEM]},
            ]})),
            advice("services.advice.istio.io", "services", &json!({})),
        ],
    })
}

/// What istiod has to say about objects that are not the mesh's own: they are taken without it, too.
fn advice(name: &str, resource: &str, namespaces: &Value) -> Value {
    json!({
        "name": name,
        "clientConfig": client("/validate"),
        "rules": [{
            "operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": [resource],
            "scope": "Namespaced",
        }],
        "namespaceSelector": namespaces,
        "failurePolicy": "Ignore",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1", "v1beta1"],
        "timeoutSeconds": ADVICE_TIMEOUT,
    })
}
