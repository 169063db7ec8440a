//! Kinds that make Pods from a template.

use serde_json::{Value, json};

use super::{list, metadata, not_negative, pod, text};
use crate::selector::LabelSelector;
use crate::status::FieldError;

/// Deployments, ReplicaSets, StatefulSets and DaemonSets.
pub(super) fn apps(kind: &str, object: &Value, errors: &mut Vec<FieldError>) {
    for pointer in [
        "/spec/replicas",
        "/spec/minReadySeconds",
        "/spec/revisionHistoryLimit",
        "/spec/progressDeadlineSeconds",
    ] {
        not_negative(object, pointer, errors);
    }
    let selector = object.pointer("/spec/selector");
    let template_labels = object.pointer("/spec/template/metadata/labels");
    match selector {
        None | Some(Value::Null) => errors.push(FieldError::required("spec.selector", "")),
        Some(selector) => {
            metadata::labels(selector.get("matchLabels"), "spec.selector.matchLabels", errors);
            match LabelSelector::from_object(selector) {
                Ok(parsed) if parsed.is_empty() => errors.push(FieldError::invalid(
                    "spec.selector",
                    selector.clone(),
                    format!("empty selector is invalid for {}", kind.to_lowercase()),
                )),
                Ok(parsed) if !parsed.matches(template_labels) => errors.push(FieldError::invalid(
                    "spec.template.metadata.labels",
                    template_labels.cloned().unwrap_or(Value::Null),
                    "`selector` does not match template `labels`",
                )),
                Ok(_) => {}
                Err(e) => errors.push(FieldError::invalid("spec.selector", selector.clone(), e.message)),
            }
        }
    }
    template(object.pointer("/spec/template"), "spec.template", errors);
    let policy = text(object, "/spec/template/spec/restartPolicy");
    if !matches!(policy, "" | "Always") {
        errors.push(FieldError::not_supported("spec.template.spec.restartPolicy", policy, &["Always"]));
    }
    let field = if kind == "Deployment" { "strategy" } else { "updateStrategy" };
    let allowed: &[&str] =
        if kind == "Deployment" { &["Recreate", "RollingUpdate"] } else { &["OnDelete", "RollingUpdate"] };
    super::one_of(
        text(object, &format!("/spec/{field}/type")),
        allowed,
        format!("spec.{field}.type"),
        errors,
    );
    if text(object, "/spec/strategy/type") == "Recreate"
        && object.pointer("/spec/strategy/rollingUpdate").is_some()
    {
        let why = "may not be specified when strategy `type` is 'Recreate'";
        errors.push(FieldError::forbidden("spec.strategy.rollingUpdate", why));
    }
}

/// A Job's spec at `path`. Inside a CronJob the selector does not exist yet.
pub(super) fn job(spec: Option<&Value>, path: &str, with_selector: bool, errors: &mut Vec<FieldError>) {
    let empty = json!({});
    let spec = spec.unwrap_or(&empty);
    if with_selector && spec.get("selector").is_none() {
        errors.push(FieldError::required(format!("{path}.selector"), ""));
    }
    template(spec.get("template"), &format!("{path}.template"), errors);
    let policy = text(spec, "/template/spec/restartPolicy");
    if !matches!(policy, "OnFailure" | "Never") {
        let field = format!("{path}.template.spec.restartPolicy");
        errors.push(FieldError::not_supported(field, policy, &["OnFailure", "Never"]));
    }
}

pub(super) fn cron_job(object: &Value, errors: &mut Vec<FieldError>) {
    let schedule = text(object, "/spec/schedule");
    let fields = schedule.split_whitespace().count();
    if schedule.is_empty() {
        errors.push(FieldError::required("spec.schedule", ""));
    } else if fields != 5 && !schedule.starts_with('@') {
        let why = format!("expected exactly 5 fields, found {fields}: [{schedule}]");
        errors.push(FieldError::invalid("spec.schedule", schedule, why));
    }
    job(object.pointer("/spec/jobTemplate/spec"), "spec.jobTemplate.spec", false, errors);
}

fn template(template: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    let labels = template.and_then(|t| t.pointer("/metadata/labels"));
    metadata::labels(labels, &format!("{path}.metadata.labels"), errors);
    let spec = template.and_then(|t| t.get("spec"));
    pod::spec(spec, &format!("{path}.spec"), errors);
    if spec.is_some_and(|s| !list(s, "/ephemeralContainers").is_empty()) {
        let why = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(format!("{path}.spec.ephemeralContainers"), why));
    }
}
