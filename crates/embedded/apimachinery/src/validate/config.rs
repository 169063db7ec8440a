//! ConfigMaps, Secrets and access control.

use serde_json::{Value, json};

use super::{list, text};
use crate::status::{FieldError, FieldErrorKind};
use crate::syntax;

/// Bytes of a ConfigMap's or Secret's data; the limit of the real server.
const MAX_DATA: usize = 1024 * 1024;

pub(super) fn config_map(object: &Value, errors: &mut Vec<FieldError>) {
    let size = keys(object, "data", errors) + keys(object, "binaryData", errors);
    let other = object.get("data").and_then(Value::as_object);
    for key in object.get("binaryData").and_then(Value::as_object).into_iter().flat_map(|m| m.keys()) {
        if other.is_some_and(|o| o.contains_key(key)) {
            let why = "duplicate of key present in binaryData";
            errors.push(FieldError::invalid(format!("data[{key}]"), key.as_str(), why));
        }
    }
    too_large(size, "", errors);
}

pub(super) fn secret(object: &Value, errors: &mut Vec<FieldError>) {
    let size = keys(object, "data", errors);
    too_large(size, "data", errors);
    let required: &[&str] = match text(object, "/type") {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in required.iter().filter(|k| object.get("data").and_then(|d| d.get(**k)).is_none()) {
        errors.push(FieldError::required(format!("data[{key}]"), ""));
    }
}

/// `immutable: true` freezes the data and itself.
pub(super) fn check_update(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    if old.get("immutable") != Some(&Value::Bool(true)) {
        return;
    }
    for field in ["immutable", "data", "binaryData"] {
        if old.get(field) != new.get(field) {
            errors.push(FieldError::forbidden(field, "field is immutable when `immutable` is set"));
        }
    }
}

fn keys(object: &Value, field: &str, errors: &mut Vec<FieldError>) -> usize {
    let mut size = 0;
    for (key, value) in object.get(field).and_then(Value::as_object).into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        if let Some(why) = syntax::config_key(key) {
            errors.push(FieldError::invalid(format!("{field}[{key}]"), key.as_str(), why));
        }
    }
    size
}

fn too_large(size: usize, field: &str, errors: &mut Vec<FieldError>) {
    if size > MAX_DATA {
        let error = FieldError::invalid(field, "", format!("may not be more than {MAX_DATA} bytes"));
        errors.push(FieldError { kind: FieldErrorKind::TooLong, ..error });
    }
}

pub(super) fn role(namespaced: bool, object: &Value, errors: &mut Vec<FieldError>) {
    for (i, rule) in list(object, "/rules").iter().enumerate() {
        let path = format!("rules[{i}]");
        let empty = |key: &str| list(rule, &format!("/{key}")).is_empty();
        if empty("verbs") {
            errors
                .push(FieldError::required(format!("{path}.verbs"), "verbs must contain at least one value"));
        }
        if empty("nonResourceURLs") {
            for (key, what) in [("apiGroups", "apiGroups"), ("resources", "resources")] {
                if empty(key) {
                    let why = format!(
                        "resource rules must supply at least one {}",
                        if what == "apiGroups" { "api group" } else { "resource" }
                    );
                    errors.push(FieldError::required(format!("{path}.{key}"), why));
                }
            }
        } else if namespaced {
            let why = "namespaced rules cannot apply to non-resource URLs";
            errors.push(FieldError::invalid(
                format!("{path}.nonResourceURLs"),
                rule["nonResourceURLs"].clone(),
                why,
            ));
        } else if !empty("apiGroups") || !empty("resources") {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(FieldError::invalid(
                format!("{path}.nonResourceURLs"),
                rule["nonResourceURLs"].clone(),
                why,
            ));
        }
    }
}

pub(super) fn role_binding(namespaced: bool, object: &Value, errors: &mut Vec<FieldError>) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    let kind = text(object, "/roleRef/kind");
    if !kinds.contains(&kind) {
        errors.push(FieldError::not_supported("roleRef.kind", kind, kinds));
    }
    let group = text(object, "/roleRef/apiGroup");
    if group != GROUP {
        errors.push(FieldError::not_supported("roleRef.apiGroup", group, &[GROUP]));
    }
    if text(object, "/roleRef/name").is_empty() {
        errors.push(FieldError::required("roleRef.name", ""));
    }
    for (i, subject) in list(object, "/subjects").iter().enumerate() {
        let path = format!("subjects[{i}]");
        if text(subject, "/name").is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        }
        let group = text(subject, "/apiGroup");
        match text(subject, "/kind") {
            "ServiceAccount" => {
                if !group.is_empty() {
                    errors.push(FieldError::not_supported(format!("{path}.apiGroup"), group, &[""]));
                }
                if !namespaced && text(subject, "/namespace").is_empty() {
                    errors.push(FieldError::required(format!("{path}.namespace"), ""));
                }
            }
            "User" | "Group" => {
                if group != GROUP {
                    errors.push(FieldError::not_supported(format!("{path}.apiGroup"), group, &[GROUP]));
                }
            }
            other => {
                let kinds = ["ServiceAccount", "User", "Group"];
                errors.push(FieldError::not_supported(format!("{path}.kind"), json!(other), &kinds));
            }
        }
    }
}
