//! Roles and bindings: nobody grants what he does not have himself.

use portolan_apimachinery::ApiStatus;
use portolan_apimachinery::rbac::{Escalation, Granter};
use serde_json::Value;

use super::steps::Kind;
use crate::addresses::Taken;
use crate::api::Api;
use crate::writing::{Writing, name_of};

/// Roles and ClusterRoles.
pub(super) struct Roles;

/// RoleBindings and ClusterRoleBindings.
pub(super) struct Bindings;

impl Kind for Roles {
    fn admit(
        &self,
        api: &Api,
        writing: &Writing,
        old: Option<&Value>,
        new: &mut Value,
    ) -> Result<Taken, ApiStatus> {
        if writing.internal || is_cleanup(old, new) {
            return Ok(Taken::default());
        }
        let judged = api.policy().1.may_define(granter(writing), &writing.resource.plural, new);
        judged.map(|()| Taken::default()).map_err(|why| refusal(api, writing, new, why))
    }
}

impl Kind for Bindings {
    fn admit(
        &self,
        api: &Api,
        writing: &Writing,
        old: Option<&Value>,
        new: &mut Value,
    ) -> Result<Taken, ApiStatus> {
        if writing.internal || is_cleanup(old, new) {
            return Ok(Taken::default());
        }
        let judged = api.policy().1.may_bind(granter(writing), new);
        judged.map(|()| Taken::default()).map_err(|why| refusal(api, writing, new, why))
    }
}

fn granter(writing: &Writing) -> Granter<'_> {
    Granter { user: &writing.user.name, groups: &writing.user.groups, namespace: &writing.namespace }
}

/// Whether an update touches nothing but what garbage collection needs: the grant is as it was.
fn is_cleanup(old: Option<&Value>, new: &Value) -> bool {
    let granted = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|key, _| {
                !matches!(
                    key.as_str(),
                    "ownerReferences" | "finalizers" | "managedFields" | "resourceVersion" | "generation"
                )
            });
        }
        object
    };
    old.is_some_and(|old| granted(old) == granted(new))
}

fn refusal(api: &Api, writing: &Writing, object: &Value, why: Escalation) -> ApiStatus {
    let resource = &writing.resource;
    match why {
        Escalation::Forbidden(why) => {
            ApiStatus::forbidden(&resource.group, &resource.plural, name_of(object), &why)
        }
        Escalation::NoRole => {
            let reference = |key: &str| {
                object.pointer(&format!("/roleRef/{key}")).and_then(Value::as_str).unwrap_or_default()
            };
            let plural = if reference("kind") == "ClusterRole" { "clusterroles" } else { "roles" };
            match api.resource(&resource.group, &resource.version, plural) {
                Ok(role) => ApiStatus::not_found(&role, reference("name")),
                Err(error) => error,
            }
        }
    }
}
