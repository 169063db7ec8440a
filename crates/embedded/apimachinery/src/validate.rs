//! Semantic validation of objects: `Invalid` with one cause per broken rule.
//!
//! The rules are the ones people trip over (names, labels, containers, selectors, ports, references); texts follow
//! the real server.

mod config;
mod metadata;
mod pod;
mod services;
mod webhooks;
mod workloads;

use serde_json::Value;

use crate::crd::Definition;
use crate::resources::Resource;
use crate::status::FieldError;
use crate::syntax;

/// Checks a new object (after defaulting).
pub fn create(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = metadata::check(resource, object);
    body(resource, object, &mut errors);
    errors
}

/// Checks a change (after defaulting): the rules of [`create`] and the fields that may not change.
pub fn update(resource: &Resource, subresource: &str, old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = metadata::check(resource, new);
    metadata::check_update(old, new, &mut errors);
    // Writes through /status and the like leave the rest as it was admitted.
    if resource.custom.is_some() || subresource.is_empty() {
        body(resource, new, &mut errors);
    }
    if subresource.is_empty() && resource.custom.is_none() {
        immutable(resource, old, new, &mut errors);
    }
    errors
}

fn body(resource: &Resource, object: &Value, errors: &mut Vec<FieldError>) {
    if let Some(custom) = &resource.custom {
        errors.extend(custom.validate(object));
        return;
    }
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => pod::spec(object.get("spec"), "spec", errors),
        ("", "Service") => services::service(object, errors),
        ("discovery.k8s.io", _) => services::endpoint_slice(object, errors),
        ("apps", "ControllerRevision") => {}
        ("apps", kind) => workloads::apps(kind, object, errors),
        ("batch", "Job") => workloads::job(object.get("spec"), "spec", true, errors),
        ("batch", "CronJob") => workloads::cron_job(object, errors),
        ("", "ConfigMap") => config::config_map(object, errors),
        ("", "Secret") => config::secret(object, errors),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            config::role_binding(resource.kind == "RoleBinding", object, errors);
        }
        ("rbac.authorization.k8s.io", _) => config::role(resource.namespaced, object, errors),
        ("admissionregistration.k8s.io", _) => webhooks::webhooks(object, errors),
        ("apiextensions.k8s.io", _) => errors.extend(Definition::compile(object).err().unwrap_or_default()),
        _ => {}
    }
}

/// Fields that may not change, by kind.
fn immutable(resource: &Resource, old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    const IMMUTABLE: &str = "field is immutable";
    let fields: &[(&str, &str)] = match (resource.group.as_str(), resource.kind.as_str()) {
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet") => &[("spec.selector", IMMUTABLE)],
        ("apps", "StatefulSet") => &[("spec.selector", IMMUTABLE), ("spec.serviceName", IMMUTABLE)],
        ("batch", "Job") => {
            &[("spec.selector", IMMUTABLE), ("spec.template", IMMUTABLE), ("spec.completionMode", IMMUTABLE)]
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            &[("roleRef", "cannot change roleRef")]
        }
        ("", "Secret") => &[("type", IMMUTABLE)],
        ("discovery.k8s.io", _) => &[("addressType", IMMUTABLE)],
        ("apiextensions.k8s.io", _) => {
            &[("spec.group", IMMUTABLE), ("spec.scope", IMMUTABLE), ("spec.names.plural", IMMUTABLE)]
        }
        _ => &[],
    };
    for (field, why) in fields {
        let pointer = format!("/{}", field.replace('.', "/"));
        let (before, after) = (old.pointer(&pointer), new.pointer(&pointer));
        if before.is_some() && before != after {
            errors.push(FieldError::invalid(*field, after.cloned().unwrap_or_default(), *why));
        }
    }
    match resource.kind.as_str() {
        "Pod" => pod::check_update(old, new, errors),
        "Service" => services::check_update(old, new, errors),
        "ConfigMap" | "Secret" => config::check_update(old, new, errors),
        _ => {}
    }
}

/// The text at a pointer, empty if there is none.
fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The list at a pointer, empty if there is none.
fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A fault if a given text is not one of `allowed`.
fn one_of(value: &str, allowed: &[&str], field: String, errors: &mut Vec<FieldError>) {
    if !value.is_empty() && !allowed.contains(&value) {
        errors.push(FieldError::not_supported(field, value, allowed));
    }
}

/// A fault if a given number is not a port.
fn port(value: Option<&Value>, field: String, errors: &mut Vec<FieldError>) {
    match value {
        Some(Value::Number(n)) if !n.as_i64().is_some_and(|n| (1..=65_535).contains(&n)) => {
            errors.push(FieldError::invalid(field, n.clone(), "must be between 1 and 65535, inclusive"));
        }
        Some(Value::String(name)) => {
            if let Some(why) = syntax::port_name(name) {
                errors.push(FieldError::invalid(field, name.as_str(), why));
            }
        }
        _ => {}
    }
}

/// A fault if a given number is negative.
fn not_negative(object: &Value, pointer: &str, errors: &mut Vec<FieldError>) {
    if let Some(number) = object.pointer(pointer).and_then(Value::as_i64).filter(|n| *n < 0) {
        let field = pointer.trim_start_matches('/').replace('/', ".");
        errors.push(FieldError::invalid(field, number, "must be greater than or equal to 0"));
    }
}

#[cfg(test)]
mod tests;
