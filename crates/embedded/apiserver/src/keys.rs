//! Where objects of the kinds that the server itself looks at are stored.

use portolan_apimachinery::Resource;

/// CustomResourceDefinitions.
pub(crate) const CRDS: &str = "apiextensions.k8s.io/customresourcedefinitions";
/// Namespaces.
pub(crate) const NAMESPACES: &str = "/namespaces";
/// ServiceAccounts.
pub(crate) const SERVICE_ACCOUNTS: &str = "/serviceaccounts";
/// Pods.
pub(crate) const PODS: &str = "/pods";
/// Services.
pub(crate) const SERVICES: &str = "/services";
/// EndpointSlices.
pub(crate) const SLICES: &str = "discovery.k8s.io/endpointslices";
/// Mutating webhooks.
pub(crate) const MUTATING_WEBHOOKS: &str = "admissionregistration.k8s.io/mutatingwebhookconfigurations";
/// Validating webhooks.
pub(crate) const VALIDATING_WEBHOOKS: &str = "admissionregistration.k8s.io/validatingwebhookconfigurations";
/// Secrets.
pub(crate) const SECRETS: &str = "/secrets";
/// RBAC objects.
pub(crate) const RBAC: [&str; 4] = [
    "rbac.authorization.k8s.io/roles",
    "rbac.authorization.k8s.io/clusterroles",
    "rbac.authorization.k8s.io/rolebindings",
    "rbac.authorization.k8s.io/clusterrolebindings",
];

/// The key under which a resource's objects are stored.
pub(crate) fn storage_key(resource: &Resource) -> String {
    format!("{}/{}", resource.storage.group, resource.storage.plural)
}
