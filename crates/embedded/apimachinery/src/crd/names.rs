//! The names, versions and status of a CRD.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{list, text, texts};
use crate::status::FieldError;
use crate::syntax;

/// Checks everything but the schemas.
pub(super) fn check(crd: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let group = text(crd, "/spec/group");
    let plural = text(crd, "/spec/names/plural");
    if group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else if let Some(why) = syntax::dns_subdomain(group) {
        errors.push(FieldError::invalid("spec.group", group, why));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid("spec.group", group, "should be a domain with at least one dot"));
    }
    let wanted = format!("{plural}.{group}");
    if text(crd, "/metadata/name") != wanted {
        let name = text(crd, "/metadata/name");
        errors.push(FieldError::invalid(
            "metadata.name",
            name,
            format!("must be spec.names.plural+\".\"+spec.group ({wanted})"),
        ));
    }
    let scope = text(crd, "/spec/scope");
    if !matches!(scope, "Namespaced" | "Cluster") {
        errors.push(FieldError::not_supported("spec.scope", scope, &["Cluster", "Namespaced"]));
    }
    for key in ["plural", "kind"] {
        let value = text(crd, &format!("/spec/names/{key}"));
        let path = format!("spec.names.{key}");
        if value.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else if let Some(why) = syntax::dns_1035_label(&value.to_lowercase()) {
            errors.push(FieldError::invalid(path, value, why));
        }
    }
    for (i, short) in texts(crd, "/spec/names/shortNames").iter().enumerate() {
        if let Some(why) = syntax::dns_1035_label(short) {
            errors.push(FieldError::invalid(format!("spec.names.shortNames[{i}]"), short.as_str(), why));
        }
    }
    versions(crd, &mut errors);
    errors
}

fn versions(crd: &Value, errors: &mut Vec<FieldError>) {
    let versions = list(crd, "/spec/versions");
    if versions.is_empty() {
        errors.push(FieldError::required("spec.versions", "must have at least one version"));
        return;
    }
    let mut seen = BTreeSet::new();
    for (i, version) in versions.iter().enumerate() {
        let name = text(version, "/name");
        let path = format!("spec.versions[{i}].name");
        if let Some(why) = syntax::dns_1035_label(name) {
            errors.push(FieldError::invalid(path, name, why));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(path, name));
        }
    }
    if versions.iter().filter(|v| v.get("storage") == Some(&Value::Bool(true))).count() != 1 {
        errors.push(FieldError::invalid(
            "spec.versions",
            json!(versions.iter().map(|v| text(v, "/name")).collect::<Vec<_>>()),
            "must have exactly one version marked as storage version",
        ));
    }
}

pub(super) fn status(crd: &Value, conflict: Option<&str>, now: &str) -> Value {
    let old = crd.get("status").cloned().unwrap_or_default();
    let mut stored = texts(&old, "/storedVersions");
    for version in list(crd, "/spec/versions").iter().filter(|v| v.get("storage") == Some(&Value::Bool(true)))
    {
        let name = text(version, "/name").to_owned();
        if !stored.contains(&name) {
            stored.push(name);
        }
    }
    let condition = |kind: &str, ok: bool, reason: &str, message: &str| {
        let status = if ok { "True" } else { "False" };
        let before = list(&old, "/conditions").iter().find(|c| text(c, "/type") == kind);
        let since = before
            .filter(|c| text(c, "/status") == status)
            .map(|c| text(c, "/lastTransitionTime"))
            .filter(|t| !t.is_empty())
            .unwrap_or(now);
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
    };
    let own = match conflict {
        None => [
            condition("NamesAccepted", true, "NoConflicts", "no conflicts found"),
            condition("Established", true, "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        Some(why) => [
            condition("NamesAccepted", false, "NameConflict", why),
            condition("Established", false, "NotAccepted", "not all names are accepted"),
        ],
    };
    // `Terminating` belongs to whoever deletes.
    let others = list(&old, "/conditions")
        .iter()
        .filter(|c| !matches!(text(c, "/type"), "NamesAccepted" | "Established"));
    let conditions: Vec<Value> = own.into_iter().chain(others.cloned()).collect();
    let none = json!({"plural": "", "kind": ""});
    let names = if conflict.is_none() { crd.pointer("/spec/names").cloned().unwrap_or(none) } else { none };
    json!({"conditions": conditions, "acceptedNames": names, "storedVersions": stored})
}
