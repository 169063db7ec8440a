//! Role-based access control: a pure evaluator and the default roles.

use serde_json::Value;

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
pub struct Policy {}

impl Policy {
    /// Compiles the stored objects of the four kinds. Aggregated ClusterRoles are resolved here.
    /// Objects that do not parse grant nothing.
    pub fn new<'a>(
        roles: impl IntoIterator<Item = &'a Value>,
        cluster_roles: impl IntoIterator<Item = &'a Value>,
        role_bindings: impl IntoIterator<Item = &'a Value>,
        cluster_role_bindings: impl IntoIterator<Item = &'a Value>,
    ) -> Self {
        let _ = (roles.into_iter(), cluster_roles.into_iter());
        let _ = (role_bindings.into_iter(), cluster_role_bindings.into_iter());
        Self {}
    }

    /// Whether the request is allowed; `Some(reason)` says by which binding. `system:masters` may do anything.
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Option<String> {
        let _ = attributes;
        None
    }

    /// `status` of a SelfSubjectRulesReview for one namespace.
    pub fn rules(&self, user: &str, groups: &[String], namespace: &str) -> Value {
        let _ = (user, groups, namespace);
        Value::Null
    }
}

/// The text of a 403's message after `is forbidden: `: `User "x" cannot get resource "pods" in API group "" ...`.
pub fn denial(attributes: &Attributes<'_>) -> String {
    let a = attributes;
    if a.resource.is_empty() {
        return format!("User {:?} cannot {} path {:?}", a.user, a.verb, a.path);
    }
    let resource = if a.subresource.is_empty() {
        a.resource.to_owned()
    } else {
        format!("{}/{}", a.resource, a.subresource)
    };
    let scope = if a.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", a.namespace)
    };
    format!("User {:?} cannot {} resource {resource:?} in API group {:?} {scope}", a.user, a.verb, a.group)
}

/// The objects that a new cluster starts with: ClusterRoles and ClusterRoleBindings (and the Roles and RoleBindings
/// of kube-public and kube-system), without uid and times.
pub fn default_objects() -> Vec<Value> {
    Vec::new()
}
