//! Who may: RBAC over the stored roles and bindings.

use portolan_apimachinery::ApiStatus;
use portolan_apimachinery::rbac::{Attributes, denial};

use crate::api::Api;
use crate::authn::User;
use crate::request::RequestInfo;

/// Paths that everyone may read, also without an identity.
const OPEN_PATHS: &[&str] = &["/healthz", "/livez", "/readyz", "/version"];

/// Whether `user` may make the request.
///
/// # Errors
/// 401 for an anonymous request outside of the open paths, 403 otherwise.
pub(crate) fn authorize(api: &Api, user: &User, info: &RequestInfo) -> Result<(), ApiStatus> {
    let open = OPEN_PATHS.iter().any(|path| info.path == *path || info.path.starts_with(&format!("{path}/")));
    if open && info.resource.is_none() && matches!(info.verb, "get" | "head") {
        return Ok(());
    }
    if user.is_anonymous() {
        return Err(ApiStatus::unauthorized());
    }
    let attributes = attributes(user, info);
    if api.policy().1.authorize(&attributes).is_some() {
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
