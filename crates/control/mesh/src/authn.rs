//! Effective mTLS mode of a workload's ports (Istio 1.9 reference, Security).

use std::{collections::BTreeMap, sync::Arc};

use portolan_derive::{Derived, Reader};
use portolan_resources::security::{MtlsMode, PeerAuthenticationSpec};

use crate::{object::Resolved, objects::PeerAuthenticationsIn, settings};

/// mTLS modes of one workload; never [`MtlsMode::Unset`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MtlsModes {
    /// Mode of all other ports.
    pub default: MtlsMode,
    /// Modes of single workload ports.
    pub ports: BTreeMap<u16, MtlsMode>,
}

impl Default for MtlsModes {
    fn default() -> Self {
        Self { default: MtlsMode::Permissive, ports: BTreeMap::new() }
    }
}

impl MtlsModes {
    /// Mode of a workload port.
    pub fn port(&self, number: u16) -> MtlsMode {
        self.ports.get(&number).copied().unwrap_or(self.default)
    }
}

/// The modes of the workloads of a namespace with these labels: the narrowest policy wins, of equally narrow ones the
/// oldest; UNSET takes the next wider one's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ModesOf {
    pub(crate) namespace: String,
    pub(crate) labels: Arc<BTreeMap<String, String>>,
}

impl Derived for ModesOf {
    type Value = Arc<MtlsModes>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let root = settings::root_namespace(read);
        let of_root = read.get(&PeerAuthenticationsIn(root.to_string()));
        let wider = or(of_all(&of_root), MtlsMode::Permissive);
        let own = read.get(&PeerAuthenticationsIn(self.namespace.clone()));
        let whole = if *self.namespace == *root { wider } else { or(of_all(&own), wider) };
        let selected = own.iter().filter(|p| has_selector(p)).find(|p| {
            let labels = p.spec.selector.iter().flat_map(|s| &s.match_labels);
            labels.into_iter().all(|(k, v)| self.labels.get(k) == Some(v))
        });
        let Some(policy) = selected else {
            return Arc::new(MtlsModes { default: whole, ports: BTreeMap::new() });
        };
        let default = or(mode(policy), whole);
        let ports = policy
            .spec
            .port_level_mtls
            .iter()
            .filter_map(|(port, m)| Some((port.parse().ok()?, or(m.mode, default))))
            .collect();
        Arc::new(MtlsModes { default, ports })
    }
}

type Policy = Resolved<PeerAuthenticationSpec>;

fn or(mode: MtlsMode, wider: MtlsMode) -> MtlsMode {
    if mode == MtlsMode::Unset { wider } else { mode }
}

fn has_selector(policy: &Policy) -> bool {
    policy.spec.selector.as_ref().is_some_and(|s| !s.match_labels.is_empty())
}

fn mode(policy: &Policy) -> MtlsMode {
    policy.spec.mtls.map(|m| m.mode).unwrap_or_default()
}

/// What a namespace says for all of its workloads.
fn of_all(policies: &[Arc<Policy>]) -> MtlsMode {
    policies.iter().find(|p| !has_selector(p)).map(|p| mode(p)).unwrap_or_default()
}
