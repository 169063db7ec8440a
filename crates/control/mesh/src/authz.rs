//! Policies that hold for a workload.

use std::{collections::BTreeMap, sync::Arc};

use portolan_resources::security::{
    AuthorizationAction, AuthorizationPolicySpec, PolicySelector, RequestAuthenticationSpec,
};

use crate::object::Resolved;

/// AuthorizationPolicies and RequestAuthentications of one workload: root namespace first, then its own, each by age.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkloadPolicies {
    /// CUSTOM policies.
    pub custom: Vec<Arc<Resolved<AuthorizationPolicySpec>>>,
    /// DENY policies.
    pub deny: Vec<Arc<Resolved<AuthorizationPolicySpec>>>,
    /// ALLOW policies; one at least means that what none allows is denied.
    pub allow: Vec<Arc<Resolved<AuthorizationPolicySpec>>>,
    /// AUDIT policies.
    pub audit: Vec<Arc<Resolved<AuthorizationPolicySpec>>>,
    /// JWT rules.
    pub requests: Vec<Arc<Resolved<RequestAuthenticationSpec>>>,
}

impl WorkloadPolicies {
    /// Nothing is asked of requests.
    pub fn is_empty(&self) -> bool {
        self.custom.is_empty()
            && self.deny.is_empty()
            && self.allow.is_empty()
            && self.audit.is_empty()
            && self.requests.is_empty()
    }
}

fn selects(selector: Option<&PolicySelector>, labels: &BTreeMap<String, String>) -> bool {
    selector.is_none_or(|s| s.match_labels.iter().all(|(k, v)| labels.get(k) == Some(v)))
}

/// Policies by namespace, oldest first.
pub(crate) type ByNamespace<T> = BTreeMap<String, Vec<Arc<Resolved<T>>>>;

pub(crate) fn policies(
    authorization: &ByNamespace<AuthorizationPolicySpec>,
    requests: &ByNamespace<RequestAuthenticationSpec>,
    root_namespace: &str,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> WorkloadPolicies {
    let mut out = WorkloadPolicies::default();
    let mut scopes = vec![root_namespace];
    if namespace != root_namespace {
        scopes.push(namespace);
    }
    for scope in scopes {
        for policy in authorization.get(scope).into_iter().flatten() {
            if !selects(policy.spec.selector.as_ref(), labels) {
                continue;
            }
            let list = match policy.spec.action.unwrap_or_default() {
                AuthorizationAction::Allow => &mut out.allow,
                AuthorizationAction::Deny => &mut out.deny,
                AuthorizationAction::Audit => &mut out.audit,
                AuthorizationAction::Custom => &mut out.custom,
            };
            list.push(policy.clone());
        }
        let matching = requests.get(scope).into_iter().flatten();
        out.requests.extend(matching.filter(|r| selects(r.spec.selector.as_ref(), labels)).cloned());
    }
    out
}
