//! Which webhook is asked about what.

use std::sync::Arc;
use std::time::Duration;

use portolan_apimachinery::selector::LabelSelector;
use serde_json::{Value, json};

use super::review::Review;
use crate::keys::{MUTATING_WEBHOOKS as MUTATING, NAMESPACES};
use crate::limits;
use crate::store::Store;

/// Longest `timeoutSeconds`.
const MAX_TIMEOUT: Duration = Duration::from_secs(30);

/// One webhook of one configuration.
pub(super) struct Webhook {
    pub(super) name: String,
    pub(super) mutating: bool,
    pub(super) reinvoke: bool,
    pub(super) ignore_failure: bool,
    pub(super) safe_for_dry_run: bool,
    pub(super) timeout: Duration,
    /// `clientConfig`.
    pub(super) client: Value,
    rules: Vec<Value>,
    namespaces: LabelSelector,
    objects: LabelSelector,
}

/// All webhooks of a kind, in the order of their configurations.
pub(super) fn load(store: &Store, key: &str) -> Vec<Arc<Webhook>> {
    let mut hooks = Vec::new();
    for configuration in store.list(key, None).1 {
        let listed = configuration.value.get("webhooks").and_then(Value::as_array).into_iter().flatten();
        hooks.extend(listed.filter_map(|hook| Webhook::read(hook, key == MUTATING)).map(Arc::new));
    }
    hooks
}

impl Webhook {
    fn read(hook: &Value, mutating: bool) -> Option<Webhook> {
        let text = |key: &str| hook.get(key).and_then(Value::as_str).unwrap_or_default();
        // Selectors were checked when the configuration was written.
        let selector = |key: &str| match hook.get(key) {
            None | Some(Value::Null) => LabelSelector::from_object(&json!({})).ok(),
            Some(selector) => LabelSelector::from_object(selector).ok(),
        };
        let seconds = hook.get("timeoutSeconds").and_then(Value::as_u64).filter(|seconds| *seconds > 0);
        Some(Webhook {
            name: text("name").to_owned(),
            mutating,
            reinvoke: text("reinvocationPolicy") == "IfNeeded",
            ignore_failure: text("failurePolicy") == "Ignore",
            safe_for_dry_run: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
            timeout: seconds.map_or(limits::WEBHOOK_TIMEOUT, Duration::from_secs).min(MAX_TIMEOUT),
            client: hook.get("clientConfig").cloned().unwrap_or_default(),
            rules: hook.get("rules").and_then(Value::as_array).cloned().unwrap_or_default(),
            namespaces: selector("namespaceSelector")?,
            objects: selector("objectSelector")?,
        })
    }

    /// Whether it is to be asked. Webhook configurations themselves are exempt: a bad one must stay repairable.
    pub(super) fn matches(&self, store: &Store, review: &Review<'_>, object: Option<&Value>) -> bool {
        let resource = review.resource;
        if resource.group == "admissionregistration.k8s.io" || resource.is_review() {
            return false;
        }
        let ruled = self.rules.iter().any(|rule| {
            rule_matches(
                rule,
                review.operation.name(),
                &resource.group,
                &resource.version,
                &resource.plural,
                review.subresource,
                resource.namespaced,
            )
        });
        ruled && self.namespace_matches(store, review, object) && self.object_matches(review, object)
    }

    fn namespace_matches(&self, store: &Store, review: &Review<'_>, object: Option<&Value>) -> bool {
        if self.namespaces.is_empty() {
            return true;
        }
        if review.resource.group.is_empty() && review.resource.kind == "Namespace" {
            return self
                .namespaces
                .matches(object.or(review.old).and_then(|object| object.pointer("/metadata/labels")));
        }
        if !review.resource.namespaced {
            return true;
        }
        let namespace = store.get(NAMESPACES, "", review.namespace);
        namespace
            .is_some_and(|namespace| self.namespaces.matches(namespace.value.pointer("/metadata/labels")))
    }

    fn object_matches(&self, review: &Review<'_>, object: Option<&Value>) -> bool {
        let labels =
            |object: Option<&Value>| object.and_then(|object| object.pointer("/metadata/labels")).cloned();
        self.objects.is_empty()
            || (object.is_some() && self.objects.matches(labels(object).as_ref()))
            || (review.old.is_some() && self.objects.matches(labels(review.old).as_ref()))
    }
}

fn rule_matches(
    rule: &Value,
    operation: &str,
    group: &str,
    version: &str,
    plural: &str,
    subresource: &str,
    namespaced: bool,
) -> bool {
    let has = |key: &str, wanted: &dyn Fn(&str) -> bool| {
        let list = rule.get(key).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).any(wanted)
    };
    let scope = match rule.get("scope").and_then(Value::as_str) {
        Some("Namespaced") => namespaced,
        Some("Cluster") => !namespaced,
        _ => true,
    };
    scope
        && has("operations", &|text| text == "*" || text == operation)
        && has("apiGroups", &|text| text == "*" || text == group)
        && has("apiVersions", &|text| text == "*" || text == version)
        && has("resources", &|text| {
            let (name, sub) = text.split_once('/').unwrap_or((text, ""));
            let all = text == "*/*";
            all || ((name == "*" || name == plural)
                && (sub == subresource || (sub == "*" && !subresource.is_empty())))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let rule = |resources: Value, scope: &str| json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": resources, "scope": scope});
        for (rule, operation, plural, subresource, want) in [
            (rule(json!(["pods"]), "*"), "CREATE", "pods", "", true),
            (rule(json!(["pods"]), "*"), "UPDATE", "pods", "", false),
            (rule(json!(["pods"]), "*"), "CREATE", "pods", "status", false),
            (rule(json!(["pods/*"]), "*"), "CREATE", "pods", "status", true),
            (rule(json!(["*"]), "*"), "CREATE", "services", "", true),
            (rule(json!(["*/*"]), "*"), "CREATE", "services", "status", true),
            (rule(json!(["pods"]), "Cluster"), "CREATE", "pods", "", false),
        ] {
            assert_eq!(
                rule_matches(&rule, operation, "", "v1", plural, subresource, true),
                want,
                "{rule} {plural}"
            );
        }
    }
}
