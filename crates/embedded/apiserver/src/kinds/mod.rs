//! What single kinds do on the path of a write beside what all kinds do. One kind is one file, registered by one
//! line in [`of`]; the path itself (`write`) knows no kind by name.
//!
//! The steps are those of the REST strategies of Kubernetes' own API server
//! (`k8s.io/apiserver/pkg/registry/rest`: `RESTCreateStrategy`, `RESTUpdateStrategy`, `RESTDeleteStrategy`).

mod crd;
mod namespace;
mod pod;
mod rbac;
mod service;
mod steps;

use portolan_apimachinery::Resource;

pub(crate) use crd::CLEANUP as DEFINITION_CLEANUP;
pub(crate) use steps::{Kind, add_finalizer};

/// A kind about which there is nothing special.
struct Plain;

impl Kind for Plain {}

/// The steps of a resource's kind.
pub(crate) fn of(resource: &Resource) -> &'static dyn Kind {
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => &pod::Pods,
        ("", "Service") => &service::Services,
        ("", "Namespace") => &namespace::Namespaces,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => &crd::Definitions,
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => &rbac::Roles,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => &rbac::Bindings,
        _ => &Plain,
    }
}
