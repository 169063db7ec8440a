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

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use kube::runtime::{reflector, watcher::Event};
    use portolan_identity::CertificateAuthority;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_root_of_a_peer_is_in_the_config_map_that_it_names() {
        let root =
            CertificateAuthority::self_signed("east.local", SystemTime::now(), Duration::from_secs(3600));
        let pem = root.unwrap().root_pem().to_owned();
        let (store, mut writer) = reflector::store::<ConfigMap>();
        for (name, key) in
            [("own", ROOT_CERT_KEY), ("east-ca-root-cert", ROOT_CERT_KEY), ("keyless", "other")]
        {
            let map = json!({"metadata": {"name": name, "namespace": "istio-system"}, "data": { key: pem }});
            writer.apply_watcher_event(&Event::Apply(serde_json::from_value(map).unwrap()));
        }
        let mesh = LocalMesh {
            namespace: "istio-system".to_owned(),
            trust_domain: "west.local".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            discovery_host: "istiod.istio-system.svc.cluster.local".to_owned(),
            service_account: "istiod".to_owned(),
            network: String::new(),
        };
        let found = |chain: Value| {
            let spec = json!({"security": {"trustDomain": "east.local", "certificateChain": chain}});
            let spec = serde_json::from_value(spec).unwrap();
            let (name, namespace) = ("east".to_owned(), mesh.namespace.clone());
            of(&store, &mesh, &Peer { name, namespace, generation: 1, spec }).is_some()
        };
        for (chain, expected) in [
            (json!(null), true),
            (json!({"kind": "ConfigMap", "name": "own"}), true),
            (json!({"kind": "", "name": "own"}), true),
            (json!({"kind": "ConfigMap", "name": "missing"}), false),
            (json!({"kind": "ConfigMap", "name": "keyless"}), false),
            (json!({"kind": "Secret", "name": "own"}), false),
        ] {
            assert_eq!(found(chain.clone()), expected, "{chain}");
        }
    }
}
