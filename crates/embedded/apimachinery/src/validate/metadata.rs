//! Rules of `metadata`, the same for every kind but for the name's syntax.

use std::collections::HashSet;

use serde_json::Value;

use super::{list, text};
use crate::resources::Resource;
use crate::status::{FieldError, FieldErrorKind};
use crate::syntax;

/// Bytes of all annotations together; the limit of the real server.
const MAX_ANNOTATIONS: usize = 256 * 1024;

pub(super) fn check(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let name = text(object, "/metadata/name");
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else if let Some(why) = name_syntax(resource)(name) {
        errors.push(FieldError::invalid("metadata.name", name, why));
    }
    let namespace = text(object, "/metadata/namespace");
    if resource.namespaced {
        if namespace.is_empty() {
            errors.push(FieldError::required("metadata.namespace", ""));
        } else if let Some(why) = syntax::dns_label(namespace) {
            errors.push(FieldError::invalid("metadata.namespace", namespace, why));
        }
    }
    labels(object.pointer("/metadata/labels"), "metadata.labels", &mut errors);
    let mut size = 0;
    for (key, value) in
        object.pointer("/metadata/annotations").and_then(Value::as_object).into_iter().flatten()
    {
        size += key.len() + value.as_str().map_or(0, str::len);
        if let Some(why) = syntax::qualified(&key.to_lowercase()) {
            errors.push(FieldError::invalid("metadata.annotations", key.as_str(), why));
        }
    }
    if size > MAX_ANNOTATIONS {
        let detail = format!("may not be more than {MAX_ANNOTATIONS} bytes");
        let error = FieldError::invalid("metadata.annotations", "", detail);
        errors.push(FieldError { kind: FieldErrorKind::TooLong, ..error });
    }
    for (i, finalizer) in list(object, "/metadata/finalizers").iter().filter_map(Value::as_str).enumerate() {
        if let Some(why) = syntax::qualified(finalizer) {
            errors.push(FieldError::invalid(format!("metadata.finalizers[{i}]"), finalizer, why));
        }
    }
    owners(object, &mut errors);
    errors
}

pub(super) fn check_update(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    if old.pointer("/metadata/deletionTimestamp").is_none() {
        return;
    }
    let before: HashSet<&Value> = list(old, "/metadata/finalizers").iter().collect();
    let added: Vec<String> = list(new, "/metadata/finalizers")
        .iter()
        .filter(|f| !before.contains(f))
        .map(Value::to_string)
        .collect();
    if !added.is_empty() {
        errors.push(FieldError::forbidden(
            "metadata.finalizers",
            format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            ),
        ));
    }
}

/// Labels of an object, or of a selector or template.
pub(super) fn labels(labels: Option<&Value>, field: &str, errors: &mut Vec<FieldError>) {
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        if let Some(why) = syntax::qualified(key) {
            errors.push(FieldError::invalid(field, key.as_str(), why));
        }
        let value = value.as_str().unwrap_or_default();
        if let Some(why) = syntax::label_value(value) {
            errors.push(FieldError::invalid(field, value, why));
        }
    }
}

fn name_syntax(resource: &Resource) -> fn(&str) -> Option<String> {
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Namespace") => syntax::dns_label,
        ("", "Service") => syntax::dns_1035_label,
        ("rbac.authorization.k8s.io", _) => syntax::path_segment,
        _ => syntax::dns_subdomain,
    }
}

fn owners(object: &Value, errors: &mut Vec<FieldError>) {
    let mut controllers = 0;
    for (i, owner) in list(object, "/metadata/ownerReferences").iter().enumerate() {
        let field = format!("metadata.ownerReferences[{i}]");
        for key in ["apiVersion", "kind", "name", "uid"] {
            if text(owner, &format!("/{key}")).is_empty() {
                errors.push(FieldError::invalid(
                    format!("{field}.{key}"),
                    "",
                    format!("{key} must not be empty"),
                ));
            }
        }
        controllers += usize::from(owner.get("controller") == Some(&Value::Bool(true)));
    }
    if controllers > 1 {
        errors.push(FieldError::invalid(
            "metadata.ownerReferences",
            controllers,
            "Only one reference can have Controller set to true",
        ));
    }
}
