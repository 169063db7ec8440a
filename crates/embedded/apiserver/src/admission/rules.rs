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
    use portolan_apimachinery::{GroupVersionKind, Resource, ResourceTable};
    use tempfile::TempDir;

    use super::super::review::Operation;
    use super::*;
    use crate::authn::User;
    use crate::store::Window;

    #[test]
    fn rules() {
        let rule = |resources: Value, scope: &str| json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": resources, "scope": scope});
        for (rule, operation, plural, subresource, want) in [
            (rule(json!(["pods"]), "*"), "CREATE", "pods", "", true),
            (rule(json!(["pods"]), "*"), "UPDATE", "pods", "", false),
            (rule(json!(["pods"]), "*"), "CREATE", "services", "", false),
            (rule(json!(["pods"]), "*"), "CREATE", "pods", "status", false),
            (rule(json!(["pods/*"]), "*"), "CREATE", "pods", "status", true),
            (rule(json!(["pods/*"]), "*"), "CREATE", "pods", "", false),
            (rule(json!(["pods/status"]), "*"), "CREATE", "pods", "status", true),
            (rule(json!(["pods/status"]), "*"), "CREATE", "pods", "log", false),
            (rule(json!(["*"]), "*"), "CREATE", "services", "", true),
            (rule(json!(["*"]), "*"), "CREATE", "services", "status", false),
            (rule(json!(["*/*"]), "*"), "CREATE", "services", "status", true),
            (rule(json!(["*/*"]), "*"), "CREATE", "services", "", true),
            (rule(json!(["pods"]), "Cluster"), "CREATE", "pods", "", false),
            (rule(json!(["pods"]), "Namespaced"), "CREATE", "pods", "", true),
        ] {
            assert_eq!(
                rule_matches(&rule, operation, "", "v1", plural, subresource, true),
                want,
                "{rule} {plural}"
            );
        }
    }

    #[test]
    fn a_rule_is_about_its_groups_and_versions() {
        let rule = |group: &str, version: &str| json!({"operations": ["*"], "apiGroups": [group], "apiVersions": [version], "resources": ["*"]});
        for (group, version, want) in
            [("apps", "v1", true), ("*", "*", true), ("batch", "v1", false), ("apps", "v2", false)]
        {
            let rule = rule(group, version);
            assert_eq!(rule_matches(&rule, "DELETE", "apps", "v1", "deployments", "", true), want, "{rule}");
        }
        let cluster = json!({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "scope": "Namespaced"});
        assert!(!rule_matches(&cluster, "CREATE", "", "v1", "nodes", "", false));
    }

    /// A store with the namespaces `plain` and `meshed`; the second has the label `mesh: on`.
    async fn store() -> (Store, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store.db"), Window::default()).unwrap();
        for (name, labels) in [("plain", json!({})), ("meshed", json!({"mesh": "on"}))] {
            let namespace = json!({"metadata": {"name": name, "labels": labels}});
            store.create(NAMESPACES, "", name, namespace, Vec::new()).await.unwrap();
        }
        (store, directory)
    }

    fn resource(group: &str, version: &str, kind: &str) -> Arc<Resource> {
        let kind = GroupVersionKind::new(group, version, kind);
        ResourceTable::builtin().by_kind(&kind).unwrap().clone()
    }

    /// Asks about everything that its selectors let through.
    fn hook(selectors: Value) -> Webhook {
        let mut hook = json!({"name": "h", "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]});
        for (key, selector) in selectors.as_object().unwrap() {
            hook[key] = selector.clone();
        }
        Webhook::read(&hook, false).unwrap()
    }

    fn matches(
        store: &Store,
        hook: &Webhook,
        resource: &Resource,
        namespace: &str,
        old: Option<&Value>,
        new: Option<&Value>,
    ) -> bool {
        let user = User::default();
        let review = Review {
            resource,
            subresource: "",
            namespace,
            name: "x",
            operation: Operation::Update,
            user: &user,
            old,
            dry_run: false,
        };
        hook.matches(store, &review, new)
    }

    fn labelled(on: bool) -> Value {
        json!({"metadata": {"labels": if on { json!({"mesh": "on"}) } else { json!({}) }}})
    }

    #[tokio::test]
    async fn a_webhook_is_not_asked_about_webhooks_or_reviews() {
        let (store, _directory) = store().await;
        let all = hook(json!({}));
        for (group, version, kind, want) in [
            ("", "v1", "Pod", true),
            ("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", false),
            ("authorization.k8s.io", "v1", "SubjectAccessReview", false),
        ] {
            let resource = resource(group, version, kind);
            assert_eq!(matches(&store, &all, &resource, "plain", None, Some(&json!({}))), want, "{kind}");
        }
    }

    #[tokio::test]
    async fn a_namespace_selector_looks_at_the_namespace_of_the_object() {
        let (store, _directory) = store().await;
        let meshed = hook(json!({"namespaceSelector": {"matchLabels": {"mesh": "on"}}}));
        let pods = resource("", "v1", "Pod");
        for (namespace, want) in [("meshed", true), ("plain", false), ("missing", false)] {
            assert_eq!(
                matches(&store, &meshed, &pods, namespace, None, Some(&labelled(true))),
                want,
                "{namespace}"
            );
        }
    }

    #[tokio::test]
    async fn a_namespace_selector_looks_at_the_labels_of_a_namespace_itself() {
        let (store, _directory) = store().await;
        let meshed = hook(json!({"namespaceSelector": {"matchLabels": {"mesh": "on"}}}));
        let namespaces = resource("", "v1", "Namespace");
        for (old, new, want) in [
            (None, Some(true), true),
            (None, Some(false), false),
            (Some(true), None, true),
            (Some(true), Some(false), false),
        ] {
            let (old, new) = (old.map(labelled), new.map(labelled));
            let found = matches(&store, &meshed, &namespaces, "", old.as_ref(), new.as_ref());
            assert_eq!(found, want, "{old:?} {new:?}");
        }
    }

    #[tokio::test]
    async fn a_namespace_selector_lets_other_objects_of_the_cluster_through() {
        let (store, _directory) = store().await;
        let meshed = hook(json!({"namespaceSelector": {"matchLabels": {"mesh": "on"}}}));
        assert!(matches(&store, &meshed, &resource("", "v1", "Node"), "", None, Some(&labelled(false))));
    }

    #[tokio::test]
    async fn an_object_selector_takes_the_object_as_it_was_or_as_it_is() {
        let (store, _directory) = store().await;
        let meshed = hook(json!({"objectSelector": {"matchLabels": {"mesh": "on"}}}));
        let pods = resource("", "v1", "Pod");
        for (old, new, want) in [
            (None, Some(true), true),
            (None, Some(false), false),
            (Some(true), Some(false), true),
            (Some(false), Some(true), true),
            (Some(false), Some(false), false),
            (Some(true), None, true),
            (Some(false), None, false),
        ] {
            let (old, new) = (old.map(labelled), new.map(labelled));
            let found = matches(&store, &meshed, &pods, "plain", old.as_ref(), new.as_ref());
            assert_eq!(found, want, "{old:?} {new:?}");
        }
    }

    #[test]
    fn what_a_webhook_says_of_itself_is_taken() {
        let read = |hook: Value| Webhook::read(&hook, true).unwrap();
        let plain = read(json!({"name": "h"}));
        assert!(!plain.ignore_failure && !plain.safe_for_dry_run && !plain.reinvoke && plain.mutating);
        assert_eq!(plain.timeout, limits::WEBHOOK_TIMEOUT);
        let said = read(
            json!({"failurePolicy": "Ignore", "sideEffects": "NoneOnDryRun", "reinvocationPolicy": "IfNeeded", "timeoutSeconds": 3}),
        );
        assert!(said.ignore_failure && said.safe_for_dry_run && said.reinvoke);
        assert_eq!(said.timeout, Duration::from_secs(3));
        assert_eq!(read(json!({"timeoutSeconds": 999})).timeout, MAX_TIMEOUT);
        assert!(!read(json!({"failurePolicy": "Fail", "sideEffects": "Some"})).ignore_failure);
    }
}
