//! The evaluator: roles and bindings compiled into decisions.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::selector::LabelSelector;

/// Group whose members may do anything, whatever the roles say; it cannot be locked out.
pub const SUPERUSERS: &str = "system:masters";

/// Who asks, and for what.
#[derive(Clone, Debug, Default)]
pub struct Attributes<'a> {
    /// User name.
    pub user: &'a str,
    /// Groups of the user, with `system:authenticated` and the like.
    pub groups: &'a [String],
    /// Verb: `get`, `list`, ...; the HTTP method in lower case for non-resource paths.
    pub verb: &'a str,
    /// API group.
    pub group: &'a str,
    /// Plural name; empty for a non-resource request.
    pub resource: &'a str,
    /// Sub-resource, may be empty.
    pub subresource: &'a str,
    /// Object name, may be empty.
    pub name: &'a str,
    /// Namespace, empty for cluster scope.
    pub namespace: &'a str,
    /// Path of a non-resource request, else empty.
    pub path: &'a str,
}

/// The compiled set of roles and bindings.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    bindings: Vec<Binding>,
    /// Bindings by `u:<user>` or `g:<group>`, so that a decision looks only at the asker's own.
    by_subject: HashMap<String, Vec<usize>>,
    /// The rules of ClusterRoles by name.
    cluster_roles: HashMap<String, Arc<[Rule]>>,
    /// The rules of Roles by namespace and name.
    roles: HashMap<(String, String), Arc<[Rule]>>,
}

#[derive(Clone, Debug)]
struct Binding {
    /// `None` for a ClusterRoleBinding: it holds everywhere.
    namespace: Option<String>,
    /// For the reason of a decision.
    description: String,
    rules: Arc<[Rule]>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rule {
    pub(super) verbs: Vec<String>,
    pub(super) groups: Vec<String>,
    pub(super) resources: Vec<String>,
    pub(super) names: Vec<String>,
    pub(super) paths: Vec<String>,
}

impl Policy {
    /// Compiles the stored objects of the four kinds. Aggregated ClusterRoles are resolved here.
    /// Objects that do not parse grant nothing.
    pub fn new<'a>(
        roles: impl IntoIterator<Item = &'a Value>,
        cluster_roles: impl IntoIterator<Item = &'a Value>,
        role_bindings: impl IntoIterator<Item = &'a Value>,
        cluster_role_bindings: impl IntoIterator<Item = &'a Value>,
    ) -> Self {
        let cluster_roles: Vec<&Value> = cluster_roles.into_iter().collect();
        let cluster: HashMap<&str, Arc<[Rule]>> =
            cluster_roles.iter().map(|r| (meta(r, "name"), cluster_rules(r, &cluster_roles))).collect();
        let local: HashMap<(&str, &str), Arc<[Rule]>> = roles
            .into_iter()
            .map(|r| ((meta(r, "namespace"), meta(r, "name")), rules_of(r).into()))
            .collect();
        let mut policy = Self::default();
        for binding in cluster_role_bindings {
            if let Some(rules) =
                cluster.get(reference(binding, "name")).filter(|_| refers_to(binding, "ClusterRole"))
            {
                policy.bind(binding, None, rules);
            }
        }
        for binding in role_bindings {
            let namespace = meta(binding, "namespace");
            let rules = match reference(binding, "kind") {
                "ClusterRole" => cluster.get(reference(binding, "name")),
                "Role" => local.get(&(namespace, reference(binding, "name"))),
                _ => None,
            };
            if let Some(rules) = rules {
                policy.bind(binding, Some(namespace), rules);
            }
        }
        policy.cluster_roles = cluster.into_iter().map(|(name, rules)| (name.to_owned(), rules)).collect();
        policy.roles = local
            .into_iter()
            .map(|((namespace, name), rules)| ((namespace.to_owned(), name.to_owned()), rules))
            .collect();
        policy
    }

    fn bind(&mut self, binding: &Value, namespace: Option<&str>, rules: &Arc<[Rule]>) {
        let kind = if namespace.is_some() { "RoleBinding" } else { "ClusterRoleBinding" };
        let index = self.bindings.len();
        self.bindings.push(Binding {
            namespace: namespace.map(str::to_owned),
            description: format!(
                "RBAC: allowed by {kind} {:?} of {} {:?}",
                meta(binding, "name"),
                reference(binding, "kind"),
                reference(binding, "name")
            ),
            rules: rules.clone(),
        });
        for subject in binding.get("subjects").and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| subject.get(key).and_then(Value::as_str).unwrap_or_default();
            let home =
                if text("namespace").is_empty() { namespace.unwrap_or_default() } else { text("namespace") };
            let key = match text("kind") {
                "User" => format!("u:{}", text("name")),
                "Group" => format!("g:{}", text("name")),
                "ServiceAccount" => format!("u:system:serviceaccount:{home}:{}", text("name")),
                _ => continue,
            };
            self.by_subject.entry(key).or_default().push(index);
        }
    }

    /// The bindings of a user that hold in `namespace`.
    fn of<'p>(&'p self, user: &str, groups: &[String], namespace: &str) -> impl Iterator<Item = &'p Binding> {
        let keys = std::iter::once(format!("u:{user}")).chain(groups.iter().map(|g| format!("g:{g}")));
        let indices: Vec<usize> =
            keys.filter_map(|k| self.by_subject.get(&k)).flat_map(|list| list.iter().copied()).collect();
        let namespace = namespace.to_owned();
        indices
            .into_iter()
            .filter_map(|i| self.bindings.get(i))
            .filter(move |b| b.namespace.as_ref().is_none_or(|n| !namespace.is_empty() && *n == namespace))
    }

    /// The rules that a user has in `namespace`.
    pub(super) fn held<'p>(
        &'p self,
        user: &str,
        groups: &[String],
        namespace: &str,
    ) -> impl Iterator<Item = &'p Rule> {
        self.of(user, groups, namespace).flat_map(|binding| binding.rules.iter())
    }

    /// The rules of a role, `None` if there is no such role.
    pub(super) fn rules_of(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<[Rule]>> {
        match kind {
            "ClusterRole" => self.cluster_roles.get(name).cloned(),
            "Role" => self.roles.get(&(namespace.to_owned(), name.to_owned())).cloned(),
            _ => None,
        }
    }

    /// Whether the request is allowed; `Some(reason)` says by which binding. `system:masters` may do anything.
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Option<String> {
        if attributes.groups.iter().any(|g| g == SUPERUSERS) {
            return Some(String::new());
        }
        let namespace = if attributes.resource.is_empty() { "" } else { attributes.namespace };
        self.of(attributes.user, attributes.groups, namespace)
            .find(|b| b.rules.iter().any(|r| r.allows(attributes)))
            .map(|b| b.description.clone())
    }

    /// `status` of a SelfSubjectRulesReview for one namespace.
    pub fn rules(&self, user: &str, groups: &[String], namespace: &str) -> Value {
        let everything = Rule {
            verbs: vec!["*".into()],
            groups: vec!["*".into()],
            resources: vec!["*".into()],
            ..Rule::default()
        };
        let everywhere = Rule { verbs: vec!["*".into()], paths: vec!["*".into()], ..Rule::default() };
        let mut all: Vec<&Rule> = self.of(user, groups, namespace).flat_map(|b| b.rules.iter()).collect();
        if groups.iter().any(|g| g == SUPERUSERS) {
            all.extend([&everything, &everywhere]);
        }
        let mut resource_rules = Vec::new();
        let mut path_rules = Vec::new();
        for rule in all {
            if rule.paths.is_empty() {
                let mut out =
                    json!({"verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources});
                if !rule.names.is_empty() {
                    out["resourceNames"] = json!(rule.names);
                }
                resource_rules.push(out);
            } else {
                path_rules.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.paths}));
            }
        }
        json!({"resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": false})
    }
}

impl Rule {
    /// The rules that a role states itself.
    pub(super) fn all_of(role: &Value) -> Vec<Rule> {
        rules_of(role)
    }

    fn allows(&self, a: &Attributes<'_>) -> bool {
        let has = |list: &[String], what: &str| list.iter().any(|x| x == "*" || x == what);
        if !has(&self.verbs, a.verb) {
            return false;
        }
        if a.resource.is_empty() {
            return self.paths.iter().any(|p| match p.strip_suffix('*') {
                Some(prefix) => a.path.starts_with(prefix),
                None => p == a.path,
            });
        }
        let resource = self.resources.iter().any(|r| match (r.as_str(), a.subresource) {
            ("*", _) => true,
            (r, "") => r == a.resource,
            (r, sub) => {
                r.split_once('/').is_some_and(|(res, s)| s == sub && (res == "*" || res == a.resource))
            }
        });
        resource
            && has(&self.groups, a.group)
            && (self.names.is_empty() || self.names.iter().any(|n| n == a.name))
    }
}

fn cluster_rules(role: &Value, all: &[&Value]) -> Arc<[Rule]> {
    let Some(selectors) = role.pointer("/aggregationRule/clusterRoleSelectors").and_then(Value::as_array)
    else {
        return rules_of(role).into();
    };
    let selectors: Vec<LabelSelector> =
        selectors.iter().filter_map(|s| LabelSelector::from_object(s).ok()).collect();
    let mut seen = Vec::new();
    let mut rules = Vec::new();
    aggregate(&selectors, all, &mut seen, &mut rules);
    rules.into()
}

/// Collects the rules of all roles that match, following roles that are aggregated themselves.
fn aggregate(selectors: &[LabelSelector], all: &[&Value], seen: &mut Vec<String>, rules: &mut Vec<Rule>) {
    for role in all {
        let matches = selectors.iter().any(|s| s.matches(role.pointer("/metadata/labels")));
        let name = meta(role, "name");
        if !matches || seen.iter().any(|s| s == name) {
            continue;
        }
        seen.push(name.to_owned());
        match role.pointer("/aggregationRule/clusterRoleSelectors").and_then(Value::as_array) {
            Some(inner) => {
                let inner: Vec<LabelSelector> =
                    inner.iter().filter_map(|s| LabelSelector::from_object(s).ok()).collect();
                aggregate(&inner, all, seen, rules);
            }
            None => rules.extend(rules_of(role)),
        }
    }
}

fn rules_of(role: &Value) -> Vec<Rule> {
    let rule = |rule: &Value| {
        let list = |key: &str| -> Vec<String> {
            let list = rule.get(key).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        Rule {
            verbs: list("verbs"),
            groups: list("apiGroups"),
            resources: list("resources"),
            names: list("resourceNames"),
            paths: list("nonResourceURLs"),
        }
    };
    role.get("rules").and_then(Value::as_array).into_iter().flatten().map(rule).collect()
}

fn meta<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get("metadata").and_then(|m| m.get(key)).and_then(Value::as_str).unwrap_or_default()
}

fn reference<'a>(binding: &'a Value, key: &str) -> &'a str {
    binding.get("roleRef").and_then(|r| r.get(key)).and_then(Value::as_str).unwrap_or_default()
}

fn refers_to(binding: &Value, kind: &str) -> bool {
    reference(binding, "kind") == kind
}
