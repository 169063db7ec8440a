//! The roots of a peer's trust domain, out of the ConfigMap that its ServiceMeshPeer names
//! (docs/reference/federation.md).

use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::reflector::Store;
use portolan_federation::{LocalMesh, Peer};
use portolan_identity::TrustBundle;
use portolan_resources::federation::{ROOT_CERT_KEY, default_root_config_map};

use super::store::named;

/// The roots, checked; nothing when the peer shares our trust domain, or they are missing or unusable. Such a peer is
/// not reachable until they are there.
pub(super) fn of(maps: &Store<ConfigMap>, mesh: &LocalMesh, peer: &Peer) -> Option<String> {
    if !peer.is_foreign(mesh) {
        return None;
    }
    let reference = peer.spec.security.certificate_chain.as_ref();
    if let Some(reference) = reference
        && !matches!(reference.kind.as_str(), "" | "ConfigMap")
    {
        tracing::warn!(
            peer = peer.name,
            kind = reference.kind,
            "certificateChain names a kind that is not supported; use a ConfigMap"
        );
        return None;
    }
    let given = reference.map(|reference| reference.name.clone()).filter(|name| !name.is_empty());
    let name = given.unwrap_or_else(|| default_root_config_map(&peer.name));
    let Some(map) = named(maps, &name) else {
        tracing::warn!(
            peer = peer.name,
            config_map = name,
            "the peer's root certificates are missing: create this ConfigMap with key {ROOT_CERT_KEY}"
        );
        return None;
    };
    let pem = map.data.as_ref().and_then(|data| data.get(ROOT_CERT_KEY));
    let Some(pem) = pem else {
        tracing::warn!(peer = peer.name, config_map = name, "the ConfigMap has no key {ROOT_CERT_KEY}");
        return None;
    };
    match TrustBundle::from_pem(pem.as_bytes()) {
        Ok(bundle) => Some(bundle.to_pem()),
        Err(error) => {
            tracing::warn!(peer = peer.name, config_map = name, %error, "the peer's root certificates can't be used");
            None
        }
    }
}
