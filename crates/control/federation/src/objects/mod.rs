//! The in-memory objects of federation: ordinary Istio configuration that nobody stores (docs/reference/federation.md).
//! Users see their effect and their names, and a VirtualService of their own for the same host wins over ours.

mod discovery;
mod export;
mod import;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portolan_mesh::{FederationConfigs, FederationInputs};
use portolan_names::{annotations, labels};
use portolan_resources::federation::ImportedServiceLocality;
use portolan_resources::security::PolicySelector;

use crate::{Export, Import, LocalMesh, Peer};

/// Everything that is known of one peering.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerState {
    /// The peer.
    pub peer: Peer,
    /// What it gets from us.
    pub exports: BTreeMap<String, Export>,
    /// What we get from it.
    pub imports: Vec<Import>,
    /// Locality that imports count as.
    pub locality: Option<ImportedServiceLocality>,
    /// Resolved addresses of the peer's ingress gateway.
    pub remote_addresses: BTreeSet<IpAddr>,
    /// Addresses of the ready Pods of our egress gateway for the peer.
    pub egress_addresses: BTreeSet<IpAddr>,
    /// Roots of the peer's trust domain, PEM; `None` when it shares ours or the roots are not known.
    pub root_certificates: Option<String>,
}

/// What all peerings together add to the mesh model.
///
/// Two peers may call us by the same name and so export the same host; the first by name has it, because merging them
/// would send one peer's traffic to the other.
pub fn federation_inputs(mesh: &LocalMesh, peers: &[PeerState]) -> FederationInputs {
    let mut inputs = FederationInputs::default();
    let mut hosts = BTreeSet::new();
    let mut sorted: Vec<&PeerState> = peers.iter().collect();
    sorted.sort_by(|a, b| a.peer.name.cmp(&b.peer.name));
    for state in sorted {
        // A foreign peer whose roots are not known can be neither called nor believed.
        if state.peer.is_foreign(mesh) {
            let Some(roots) = &state.root_certificates else { continue };
            inputs.trust.bundles.insert(state.peer.spec.security.trust_domain.clone(), roots.clone());
            let gateways = &state.peer.spec.gateways;
            let named =
                [&gateways.ingress.name, &gateways.egress.name].into_iter().filter(|name| !name.is_empty());
            inputs.trust.gateways.extend(named.cloned());
        }
        discovery::add(&mut inputs.configs, mesh, &state.peer);
        export::add(&mut inputs.configs, mesh, state);
        import::add(&mut inputs, mesh, state, &mut hosts);
    }
    inputs.trust.gateways.sort();
    inputs.trust.gateways.dedup();
    inputs
}

/// Metadata of an in-memory object. Without creation time it sorts after whatever a user made.
fn metadata(peer: &Peer, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(peer.namespace.clone()),
        annotations: Some(BTreeMap::from([
            (annotations::RECONCILED_GENERATION.to_owned(), peer.generation.to_string()),
            (annotations::MANAGE_ROUTE.to_owned(), "false".to_owned()),
        ])),
        ..ObjectMeta::default()
    }
}

/// Selects the Pods of a gateway.
fn gateway_labels(gateway: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(labels::CANONICAL_NAME.to_owned(), gateway.to_owned())])
}

fn gateway_selector(gateway: &str) -> PolicySelector {
    PolicySelector { match_labels: gateway_labels(gateway) }
}

/// Where the configuration of all peers is gathered.
type Configs = FederationConfigs;

#[cfg(test)]
mod tests;
