//! Services, endpoints and what routes to them.

use serde_json::{Value, json};

use super::{each, set, set_in};

/// Seconds for which a client sticks to its endpoint under `sessionAffinity: ClientIP`.
const AFFINITY_SECONDS: i64 = 10_800;

pub(super) fn service(object: &mut Value) {
    set(object, "/spec", "type", "ClusterIP");
    set(object, "/spec", "sessionAffinity", "None");
    let text = |object: &Value, key: &str| {
        object.pointer(&format!("/spec/{key}")).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let kind = text(object, "type");
    if text(object, "sessionAffinity") == "ClientIP" {
        set(
            object,
            "/spec",
            "sessionAffinityConfig",
            json!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}),
        );
    }
    if kind != "ExternalName" {
        set(object, "/spec", "internalTrafficPolicy", "Cluster");
        set(object, "/spec", "ipFamilies", json!(["IPv4"]));
        set(object, "/spec", "ipFamilyPolicy", "SingleStack");
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        set(object, "/spec", "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set(object, "/spec", "allocateLoadBalancerNodePorts", true);
    }
    for port in each(object, "/spec/ports") {
        set_in(port, "protocol", "TCP");
        let number = port.get("port").cloned().unwrap_or_default();
        // Go's zero is "not given" here.
        if port.get("targetPort") == Some(&json!(0)) {
            port.shift_remove("targetPort");
        }
        set_in(port, "targetPort", number);
    }
    set(object, "/status", "loadBalancer", json!({}));
}

pub(super) fn endpoints(object: &mut Value) {
    let subsets = object.get_mut("subsets").and_then(Value::as_array_mut);
    for subset in subsets.into_iter().flatten() {
        for port in each(subset, "/ports") {
            set_in(port, "protocol", "TCP");
        }
    }
}

pub(super) fn endpoint_slice(object: &mut Value) {
    for port in each(object, "/ports") {
        set_in(port, "protocol", "TCP");
        if !port.contains_key("name") {
            port.insert("name".into(), json!(""));
        }
    }
}

pub(super) fn network_policy(object: &mut Value) {
    let egress = object.pointer("/spec/egress").and_then(Value::as_array).is_some_and(|e| !e.is_empty());
    let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    set(object, "/spec", "policyTypes", types);
    for direction in ["/spec/ingress", "/spec/egress"] {
        let rules = object.pointer_mut(direction).and_then(Value::as_array_mut);
        for rule in rules.into_iter().flatten() {
            for port in each(rule, "/ports") {
                set_in(port, "protocol", "TCP");
            }
        }
    }
}

pub(super) fn ingress(object: &mut Value) {
    let rules = object.pointer_mut("/spec/rules").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten() {
        for path in each(rule, "/http/paths") {
            set_in(path, "pathType", "ImplementationSpecific");
        }
    }
    set(object, "/status", "loadBalancer", json!({}));
}
