//! Webhook configurations: a bad one would block every write, so that it is refused here.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{list, one_of, text};
use crate::selector::LabelSelector;
use crate::status::FieldError;
use crate::syntax;

pub(super) fn webhooks(object: &Value, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (i, webhook) in list(object, "/webhooks").iter().enumerate() {
        let path = format!("webhooks[{i}]");
        let name = text(webhook, "/name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if let Some(why) = syntax::dns_subdomain(name) {
            errors.push(FieldError::invalid(format!("{path}.name"), name, why));
        } else if name.split('.').count() < 3 {
            let why = "should be a domain with at least three segments separated by dots";
            errors.push(FieldError::invalid(format!("{path}.name"), name, why));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), name));
        }
        if list(webhook, "/admissionReviewVersions").is_empty() {
            let why = "must specify one of v1, v1beta1";
            errors.push(FieldError::required(format!("{path}.admissionReviewVersions"), why));
        } else if !list(webhook, "/admissionReviewVersions").iter().any(|v| v == "v1" || v == "v1beta1") {
            let given = webhook["admissionReviewVersions"].clone();
            errors.push(FieldError::invalid(
                format!("{path}.admissionReviewVersions"),
                given,
                "must include at least one of v1, v1beta1",
            ));
        }
        match text(webhook, "/sideEffects") {
            "" => {
                let why = "must specify one of None, NoneOnDryRun";
                errors.push(FieldError::required(format!("{path}.sideEffects"), why));
            }
            given => one_of(given, &["None", "NoneOnDryRun"], format!("{path}.sideEffects"), errors),
        }
        one_of(text(webhook, "/failurePolicy"), &["Fail", "Ignore"], format!("{path}.failurePolicy"), errors);
        one_of(
            text(webhook, "/matchPolicy"),
            &["Equivalent", "Exact"],
            format!("{path}.matchPolicy"),
            errors,
        );
        let seconds = webhook.get("timeoutSeconds").and_then(Value::as_i64).unwrap_or(10);
        if !(1..=30).contains(&seconds) {
            let why = "the timeout value must be between 1 and 30 seconds";
            errors.push(FieldError::invalid(format!("{path}.timeoutSeconds"), seconds, why));
        }
        for selector in ["namespaceSelector", "objectSelector"] {
            if let Some(value) = webhook.get(selector)
                && let Err(e) = LabelSelector::from_object(value)
            {
                errors.push(FieldError::invalid(format!("{path}.{selector}"), value.clone(), e.message));
            }
        }
        client_config(webhook, &path, errors);
        for (j, rule) in list(webhook, "/rules").iter().enumerate() {
            for key in ["operations", "apiGroups", "apiVersions", "resources"] {
                if list(rule, &format!("/{key}")).is_empty() {
                    errors.push(FieldError::required(format!("{path}.rules[{j}].{key}"), ""));
                }
            }
            for (k, operation) in list(rule, "/operations").iter().filter_map(Value::as_str).enumerate() {
                let field = format!("{path}.rules[{j}].operations[{k}]");
                one_of(operation, &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"], field, errors);
            }
        }
    }
}

fn client_config(webhook: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let url = text(webhook, "/clientConfig/url");
    let service = webhook.pointer("/clientConfig/service");
    let field = format!("{path}.clientConfig");
    match (url.is_empty(), service) {
        (true, None) | (false, Some(_)) => {
            errors.push(FieldError::required(field, "exactly one of url or service is required"));
        }
        (false, None) => {
            if !url.starts_with("https://") {
                let why = "'https' is the only allowed URL scheme";
                errors.push(FieldError::invalid(format!("{field}.url"), url, why));
            }
        }
        (true, Some(service)) => {
            for key in ["name", "namespace"] {
                if text(service, &format!("/{key}")).is_empty() {
                    let why = format!("service {key} is required");
                    errors.push(FieldError::required(format!("{field}.service.{key}"), why));
                }
            }
        }
    }
}
