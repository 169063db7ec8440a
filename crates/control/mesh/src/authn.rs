//! Effective mTLS mode of a workload's ports (Istio 1.9 reference, Security).

use std::collections::BTreeMap;

use portolan_resources::security::{MtlsMode, PeerAuthenticationSpec};

use crate::object::Resolved;

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

/// All PeerAuthentications, oldest first.
pub(crate) type Policies = Vec<Resolved<PeerAuthenticationSpec>>;

/// Modes of a workload with `labels` in `namespace`: the narrowest scope wins, in a scope the oldest policy; UNSET takes
/// the next wider scope's.
pub(crate) fn modes(
    policies: &Policies,
    root_namespace: &str,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> MtlsModes {
    let has_selector = |p: &&Resolved<PeerAuthenticationSpec>| {
        p.spec.selector.as_ref().is_some_and(|s| !s.match_labels.is_empty())
    };
    let mode = |p: &Resolved<PeerAuthenticationSpec>| p.spec.mtls.map(|m| m.mode).unwrap_or_default();
    let in_namespace = |ns: &str| {
        let ns = ns.to_owned();
        policies.iter().filter(move |p| p.meta.key.namespace == ns)
    };
    let root = in_namespace(root_namespace).find(|p| !has_selector(p)).map(mode).unwrap_or_default();
    let root = if root == MtlsMode::Unset { MtlsMode::Permissive } else { root };
    let or = |mode: MtlsMode, wider: MtlsMode| if mode == MtlsMode::Unset { wider } else { mode };
    let own = if namespace == root_namespace {
        root
    } else {
        or(in_namespace(namespace).find(|p| !has_selector(p)).map(mode).unwrap_or_default(), root)
    };
    let selected = in_namespace(namespace).filter(has_selector).find(|p| {
        p.spec.selector.iter().flat_map(|s| &s.match_labels).all(|(k, v)| labels.get(k) == Some(v))
    });
    let Some(policy) = selected else { return MtlsModes { default: own, ports: BTreeMap::new() } };
    let default = or(mode(policy), own);
    let ports = policy
        .spec
        .port_level_mtls
        .iter()
        .filter_map(|(port, m)| Some((port.parse().ok()?, or(m.mode, default))))
        .collect();
    MtlsModes { default, ports }
}
