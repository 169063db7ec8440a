//! What peers last exported, remembered in a ConfigMap for each: a control plane that starts while a peer is away
//! serves what the one before it served. Nothing is trusted for being remembered: it is checked as if it came from the
//! peer now, and the peer's gateway still decides about every connection.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Resource, runtime::reflector::Store};
use portolan_federation::{ServiceList, ServiceMessage};
use portolan_resources::ServiceMeshPeer;

use super::store::named;

/// Key of the list.
const SERVICES: &str = "services.json";

/// An object holds at most 1 MiB; a longer list is not remembered.
const MAX_BYTES: usize = 900 * 1024;

/// What one peer exports, and whose memory it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Memory {
    /// The peer's resource: the memory goes with it.
    pub(super) owner: OwnerReference,
    /// Checked services.
    pub(super) offered: Vec<ServiceMessage>,
}

/// Name of a peer's ConfigMap.
pub(super) fn name(peer: &str) -> String {
    format!("portolan-peer-{peer}")
}

/// What was remembered of a peer; nothing when it is another peer's by the same name, or can't be read.
pub(super) fn recall(
    maps: &Store<ConfigMap>,
    peer: &ServiceMeshPeer,
    trust_domain: &str,
) -> Vec<ServiceMessage> {
    let Some(map) = peer.metadata.name.as_deref().and_then(|peer| named(maps, &name(peer))) else {
        return Vec::new();
    };
    read(&map, peer.metadata.uid.as_deref(), trust_domain).unwrap_or_default()
}

fn read(map: &ConfigMap, uid: Option<&str>, trust_domain: &str) -> Option<Vec<ServiceMessage>> {
    let owners = map.metadata.owner_references.as_deref().unwrap_or_default();
    if !owners.iter().any(|owner| Some(owner.uid.as_str()) == uid) {
        return None;
    }
    let text = map.data.as_ref()?.get(SERVICES)?;
    match serde_json::from_str::<ServiceList>(text) {
        Ok(list) => Some(list.accept(trust_domain).0),
        Err(error) => {
            tracing::warn!(config_map = map.metadata.name, %error, "what a peer exported can't be recalled");
            None
        }
    }
}

/// The ConfigMap to store; nothing when the list is too long.
pub(super) fn config_map(peer: &str, memory: &Memory) -> Option<ConfigMap> {
    let text = serde_json::to_string(&ServiceList::new(memory.offered.clone())).ok()?;
    if text.len() > MAX_BYTES {
        tracing::warn!(
            peer,
            bytes = text.len(),
            "the peer's list is too long to be remembered over a restart"
        );
        return None;
    }
    let mut map =
        ConfigMap { data: Some(BTreeMap::from([(SERVICES.to_owned(), text)])), ..ConfigMap::default() };
    map.metadata.name = Some(name(peer));
    map.metadata.owner_references = Some(vec![memory.owner.clone()]);
    Some(map)
}

/// The reference by which a peer's resource owns its memory.
pub(super) fn owner(peer: &ServiceMeshPeer) -> Option<OwnerReference> {
    peer.owner_ref(&())
}

#[cfg(test)]
mod tests {
    use portolan_federation::ServicePortMessage;

    use super::*;

    fn memory() -> Memory {
        let owner = OwnerReference { uid: "uid-1".into(), name: "east".into(), ..OwnerReference::default() };
        let port = ServicePortMessage { name: "http".into(), port: 9080, protocol: "HTTP".into() };
        let service = ServiceMessage {
            name: "ratings".into(),
            namespace: "bookinfo".into(),
            hostname: "ratings.bookinfo.svc.west-exports.local".into(),
            service_ports: vec![port],
            service_accounts: vec!["spiffe://east.local/ns/istio-system/sa/west-ingress".into()],
        };
        Memory { owner, offered: vec![service] }
    }

    #[test]
    fn only_the_same_peer_and_trust_domain_are_recalled() {
        let memory = memory();
        let map = config_map("east", &memory).unwrap();
        assert_eq!(map.metadata.name.as_deref(), Some("portolan-peer-east"));
        assert_eq!(read(&map, Some("uid-1"), "east.local"), Some(memory.offered));
        assert_eq!(read(&map, Some("uid-2"), "east.local"), None, "another peer by the same name");
        assert_eq!(read(&map, None, "east.local"), None);
        assert_eq!(read(&map, Some("uid-1"), "other.local"), Some(vec![]), "identities are checked again");
    }

    #[test]
    fn damaged_and_long_memories_are_none() {
        let mut memory = memory();
        let mut map = config_map("east", &memory).unwrap();
        map.data.as_mut().unwrap().insert(SERVICES.into(), "{".into());
        assert_eq!(read(&map, Some("uid-1"), "east.local"), None);
        memory.offered = vec![memory.offered[0].clone(); 10_000];
        assert!(config_map("east", &memory).is_none());
    }
}
