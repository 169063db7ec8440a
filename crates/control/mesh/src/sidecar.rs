//! Which Sidecar object holds for a proxy, and what it lets through (Istio 1.9 reference, Sidecar).

use std::{collections::BTreeMap, sync::Arc};

use portolan_derive::Reader;
use portolan_resources::networking::SidecarSpec;

use crate::{host::host_matches, object::Resolved, objects::SidecarsIn, settings};

/// The Sidecar of a workload: one that selects it, else the namespace's, else the root namespace's.
pub(crate) fn find(
    read: &Reader<'_>,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Option<Arc<Resolved<SidecarSpec>>> {
    let selector =
        |s: &Resolved<SidecarSpec>| s.spec.workload_selector.clone().filter(|w| !w.labels.is_empty());
    let selects = |s: &&Arc<Resolved<SidecarSpec>>| {
        selector(s).is_some_and(|w| w.labels.iter().all(|(k, v)| labels.get(k) == Some(v)))
    };
    let of_all = |s: &&Arc<Resolved<SidecarSpec>>| selector(s).is_none();
    let own = read.get(&SidecarsIn(namespace.to_owned()));
    let found = own.iter().find(selects).or_else(|| own.iter().find(of_all));
    found.cloned().or_else(|| {
        let root = read.get(&SidecarsIn(settings::root_namespace(read).to_string()));
        root.iter().find(of_all).cloned()
    })
}

/// One `namespace/host` of an egress listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EgressHost {
    /// `None` is any namespace.
    namespace: Option<String>,
    host: String,
    /// Port of the listener; `None` is any.
    port: Option<u16>,
}

/// The hosts that a Sidecar lets through; `None` lets everything through.
pub(crate) fn egress_hosts(sidecar: &Resolved<SidecarSpec>, own: &str) -> Option<Vec<EgressHost>> {
    if sidecar.spec.egress.is_empty() {
        return None;
    }
    let mut out = Vec::new();
    for listener in &sidecar.spec.egress {
        let port = listener.port.as_ref().and_then(|p| u16::try_from(p.number).ok());
        for text in &listener.hosts {
            let Some((ns, host)) = text.split_once('/') else { continue };
            let namespace = match ns {
                "*" => None,
                "." => Some(own.to_owned()),
                "~" => continue,
                name => Some(name.to_owned()),
            };
            out.push(EgressHost { namespace, host: host.to_ascii_lowercase(), port });
        }
    }
    Some(out)
}

/// Whether the hosts let a host of a namespace through, on a port when one is given.
pub(crate) fn lets_through(hosts: &[EgressHost], namespace: &str, host: &str, port: Option<u16>) -> bool {
    hosts.iter().any(|e| {
        e.namespace.as_deref().is_none_or(|ns| ns == namespace)
            && host_matches(&e.host, host)
            && (e.port.is_none() || port.is_none() || e.port == port)
    })
}
