//! Policies that hold for a workload.

use std::{collections::BTreeMap, sync::Arc};

use portolan_derive::{Derived, Reader};
use portolan_resources::security::{
    AuthorizationAction, AuthorizationPolicySpec, PolicySelector, RequestAuthenticationSpec,
};

use crate::{
    object::Resolved,
    objects::{AuthorizationPoliciesIn, RequestAuthenticationsIn},
    settings,
};

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

/// The policies of the workloads of a namespace with these labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PoliciesOf {
    pub(crate) namespace: String,
    pub(crate) labels: Arc<BTreeMap<String, String>>,
}

impl Derived for PoliciesOf {
    type Value = Arc<WorkloadPolicies>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let mut out = WorkloadPolicies::default();
        let root = settings::root_namespace(read);
        let mut namespaces = vec![root.to_string()];
        if self.namespace != *root {
            namespaces.push(self.namespace.clone());
        }
        for namespace in namespaces {
            for policy in read.get(&AuthorizationPoliciesIn(namespace.clone())).iter() {
                if !selects(policy.spec.selector.as_ref(), &self.labels) {
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
            let requests = read.get(&RequestAuthenticationsIn(namespace));
            let matching = requests.iter().filter(|r| selects(r.spec.selector.as_ref(), &self.labels));
            out.requests.extend(matching.cloned());
        }
        Arc::new(out)
    }
}
