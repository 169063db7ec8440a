//! Who may: RBAC over the stored roles and bindings.

use portolan_apimachinery::ApiStatus;
use portolan_apimachinery::rbac::{Attributes, Policy, denial};

use crate::authn::User;
use crate::request::RequestInfo;

/// Paths that everyone may read, also without an identity.
const OPEN_PATHS: &[&str] = &["/healthz", "/livez", "/readyz", "/version"];

/// Whether `user` may make the request.
///
/// # Errors
/// 401 for an anonymous request outside of the open paths, 403 otherwise.
pub(crate) fn authorize(policy: &Policy, user: &User, info: &RequestInfo) -> Result<(), ApiStatus> {
    let open = OPEN_PATHS.iter().any(|path| info.path == *path || info.path.starts_with(&format!("{path}/")));
    if open && info.resource.is_none() && matches!(info.verb, "get" | "head") {
        return Ok(());
    }
    if user.is_anonymous() {
        return Err(ApiStatus::unauthorized());
    }
    let attributes = attributes(user, info);
    if policy.authorize(&attributes).is_some() {
        return Ok(());
    }
    let why = denial(&attributes);
    tracing::debug!(user = user.name, %why, "request denied");
    Err(ApiStatus::forbidden(attributes.group, attributes.resource, attributes.name, &why))
}

fn attributes<'a>(user: &'a User, info: &'a RequestInfo) -> Attributes<'a> {
    let empty =
        Attributes { user: &user.name, groups: &user.groups, verb: info.verb, ..Attributes::default() };
    match &info.resource {
        Some(resource) => Attributes {
            group: &resource.group,
            resource: &resource.plural,
            subresource: &resource.subresource,
            name: &resource.name,
            namespace: &resource.namespace,
            ..empty
        },
        None => Attributes { path: &info.path, ..empty },
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use super::*;

    /// The user `u` may read the Secret `one` of `ns` and the logs of its Pods, and look at `/metrics`.
    fn policy() -> Policy {
        let name = |name: &str| json!({"name": name, "namespace": "ns"});
        let subjects = json!([{"kind": "User", "name": "u"}]);
        let role = json!({"metadata": name("r"), "rules": [
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["list"]}]});
        let cluster_role = json!({"metadata": {"name": "m"}, "rules": [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]});
        let bound = |kind: &str, role: &str| json!({"metadata": name(role), "roleRef": {"kind": kind, "name": role}, "subjects": subjects});
        let none: [&Value; 0] = [];
        let policy =
            Policy::new([&role], [&cluster_role], [&bound("Role", "r")], [&bound("ClusterRole", "m")]);
        assert!(Policy::new(none, none, none, none).authorize(&Attributes::default()).is_none());
        policy
    }

    /// The code of the refusal, 200 for none.
    fn code(user: &User, method: &Method, path: &str) -> u16 {
        let info = RequestInfo::parse(method, &path.parse().unwrap()).unwrap();
        authorize(&policy(), user, &info).map_or_else(|refused| refused.code, |()| 200)
    }

    fn u() -> User {
        User { name: "u".into(), ..User::default() }
    }

    #[test]
    fn everybody_may_ask_whether_the_server_lives() {
        for path in ["/healthz", "/healthz/etcd", "/livez", "/readyz", "/version"] {
            assert_eq!(code(&User::anonymous(), &Method::GET, path), 200, "{path}");
            assert_eq!(code(&User::anonymous(), &Method::HEAD, path), 200, "{path}");
        }
    }

    #[test]
    fn who_has_no_identity_may_do_nothing_else() {
        for (method, path) in [
            (Method::POST, "/healthz"),
            (Method::GET, "/healthzz"),
            (Method::GET, "/metrics"),
            (Method::GET, "/api/v1/namespaces/ns/secrets/one"),
            (Method::GET, "/apis"),
        ] {
            assert_eq!(code(&User::anonymous(), &method, path), 401, "{method} {path}");
        }
    }

    #[test]
    fn what_a_request_is_about_is_what_the_roles_are_asked_for() {
        for (method, path, expected) in [
            (Method::GET, "/api/v1/namespaces/ns/secrets/one", 200),
            (Method::GET, "/api/v1/namespaces/ns/secrets/two", 403),
            (Method::GET, "/api/v1/namespaces/other/secrets/one", 403),
            (Method::DELETE, "/api/v1/namespaces/ns/secrets/one", 403),
            (Method::GET, "/api/v1/namespaces/ns/pods/p/log", 200),
            (Method::GET, "/api/v1/namespaces/ns/pods/p", 403),
            (Method::GET, "/apis/apps/v1/namespaces/ns/deployments", 200),
            (Method::GET, "/apis/batch/v1/namespaces/ns/deployments", 403),
            (Method::GET, "/metrics", 200),
            (Method::GET, "/metrics/more", 403),
            (Method::POST, "/healthz", 403),
        ] {
            assert_eq!(code(&u(), &method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn groups_count_as_well_as_the_name() {
        let mut user = User { name: "x".into(), ..User::default() };
        assert_eq!(code(&user, &Method::GET, "/metrics"), 403);
        user.groups.push("system:masters".into());
        assert_eq!(code(&user, &Method::GET, "/metrics"), 200);
    }

    #[test]
    fn a_refusal_says_what_is_missing() {
        let info =
            RequestInfo::parse(&Method::GET, &"/api/v1/namespaces/ns/secrets/two".parse().unwrap()).unwrap();
        let refused = authorize(&policy(), &u(), &info).unwrap_err();
        let why = r#"User "u" cannot get resource "secrets" in API group "" in the namespace "ns""#;
        assert!(refused.message.contains(why), "{}", refused.message);
    }
}
