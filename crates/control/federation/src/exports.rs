//! What we export to a peer (docs/reference/federation.md).

use std::{collections::BTreeMap, sync::Arc};

use portolan_mesh::{Registry, Service};
use portolan_names::names;
use portolan_resources::federation::{
    ExportedServiceSetSpec, ExportedServiceSetStatus, LocalServiceKey, MeshServiceMapping,
};

use crate::message::{Action, ServiceList, ServiceMessage, ServicePortMessage, WatchEvent};
use crate::{ExportRules, Peer};

/// One service that a peer gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Name of the service here.
    pub name: String,
    /// Namespace of the service here.
    pub namespace: String,
    /// Host of the service here.
    pub host: String,
    /// What the peer is told.
    pub message: ServiceMessage,
}

/// Everything that `set` exports of our `services` to `peer`, by local host. `identities` are the SPIFFE ids of our ingress gateway for
/// this peer. Two services with one exported name: the first by local host wins.
pub fn exports(
    services: &BTreeMap<String, Arc<Service>>,
    peer: &Peer,
    set: Option<&ExportedServiceSetSpec>,
    identities: &[String],
) -> BTreeMap<String, Export> {
    let mut found = BTreeMap::new();
    let Some(set) = set else { return found };
    let mut taken = std::collections::BTreeSet::new();
    for (host, service) in services {
        if !eligible(service, peer) {
            continue;
        }
        let Some((name, namespace)) =
            ExportRules(set).apply(&service.name, &service.namespace, &service.labels)
        else {
            continue;
        };
        let hostname = format!("{name}.{namespace}.{}", names::exports_domain(&peer.name));
        if !taken.insert(hostname.clone()) {
            continue;
        }
        let service_ports = service.ports.iter().map(|port| ServicePortMessage {
            name: port.name.clone(),
            port: u32::from(port.number),
            protocol: port.protocol.as_str().to_owned(),
        });
        let message = ServiceMessage {
            name,
            namespace,
            hostname,
            service_ports: service_ports.collect(),
            service_accounts: identities.to_vec(),
        };
        let export = Export {
            name: service.name.clone(),
            namespace: service.namespace.clone(),
            host: host.clone(),
            message,
        };
        found.insert(host.clone(), export);
    }
    found
}

/// Services of the outside and imports of other peers are never passed on (no transit), and a service that is not
/// visible to the peer's namespace stays here. Our gateways for peers are plumbing, not services.
fn eligible(service: &Service, peer: &Peer) -> bool {
    let gateways = &peer.spec.gateways;
    let plumbing = service.namespace == peer.namespace
        && (service.name == gateways.ingress.name || service.name == gateways.egress.name);
    !service.name.is_empty()
        && !service.namespace.is_empty()
        && !service.ports.is_empty()
        && !service.mesh_external
        && !plumbing
        && service.registry != Registry::Federation
        && service.visibility.includes(&peer.namespace)
}

/// What a peer that watches is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportEvents {
    /// In order.
    pub events: Vec<WatchEvent>,
    /// The list after them.
    pub list: ServiceList,
}

/// The events that lead from `before` to `after`. A service that is renamed is deleted and added.
pub fn export_events(before: &BTreeMap<String, Export>, after: &BTreeMap<String, Export>) -> ExportEvents {
    let list = ServiceList::new(after.values().map(|export| export.message.clone()).collect());
    let mut events = Vec::new();
    let mut tell = |action, service: &ServiceMessage| {
        events.push(WatchEvent { action, service: Some(service.clone()), checksum: list.checksum });
    };
    for (host, old) in before {
        let kept = after.get(host).is_some_and(|new| new.message.hostname == old.message.hostname);
        if !kept {
            tell(Action::Delete, &old.message);
        }
    }
    for (host, new) in after {
        match before.get(host) {
            Some(old) if old.message == new.message => {}
            Some(old) if old.message.hostname == new.message.hostname => tell(Action::Update, &new.message),
            _ => tell(Action::Add, &new.message),
        }
    }
    ExportEvents { events, list }
}

/// Status of the ExportedServiceSet.
pub fn export_status(exports: &BTreeMap<String, Export>) -> ExportedServiceSetStatus {
    let mut exported_services: Vec<MeshServiceMapping> = exports
        .values()
        .map(|export| MeshServiceMapping {
            local_service: LocalServiceKey {
                name: export.name.clone(),
                namespace: export.namespace.clone(),
                hostname: export.host.clone(),
            },
            exported_name: export.message.hostname.clone(),
        })
        .collect();
    exported_services.sort_by(|a, b| {
        let key = |m: &MeshServiceMapping| {
            (m.local_service.namespace.clone(), m.local_service.name.clone(), m.exported_name.clone())
        };
        key(a).cmp(&key(b))
    });
    ExportedServiceSetStatus { exported_services }
}

#[cfg(test)]
mod tests;
