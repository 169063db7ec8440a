//! What a client is told that may not.

use super::policy::Attributes;

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
