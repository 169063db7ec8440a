//! Policies that hold for one workload, and the identities that clients of a service accept.

use std::collections::{BTreeMap, BTreeSet};

use portolan_names::names;

use crate::{
    authn::{self, MtlsModes},
    authz::{self, WorkloadPolicies},
    service::Service,
    snapshot::Snapshot,
};

impl Snapshot {
    /// mTLS modes of a workload.
    pub(crate) fn mtls_modes(&self, namespace: &str, labels: &BTreeMap<String, String>) -> MtlsModes {
        authn::modes(&self.peer_authentications, &self.mesh_config.root_namespace, namespace, labels)
    }

    /// Policies that hold for a workload.
    pub(crate) fn policies(&self, namespace: &str, labels: &BTreeMap<String, String>) -> WorkloadPolicies {
        authz::policies(
            &self.authorization_policies,
            &self.request_authentications,
            &self.mesh_config.root_namespace,
            namespace,
            labels,
        )
    }

    /// Identities that a client accepts from a service: those of its endpoints and those that the service names. Our own
    /// trust domain's are repeated for its aliases.
    pub(crate) fn accepted_identities(&self, service: &Service) -> BTreeSet<String> {
        let mut out = service.subject_alt_names.clone();
        if let Some(endpoints) = self.endpoints.get(&service.host) {
            out.extend(endpoints.identities());
        }
        let own = format!("{}{}/", names::SPIFFE_PREFIX, self.mesh_config.trust_domain);
        let aliases: Vec<String> = out
            .iter()
            .filter_map(|id| id.strip_prefix(&own))
            .flat_map(|rest| {
                self.mesh_config
                    .trust_domain_aliases
                    .iter()
                    .map(move |alias| format!("{}{alias}/{rest}", names::SPIFFE_PREFIX))
            })
            .collect();
        out.extend(aliases);
        out
    }
}
