//! The static resources of a bootstrap, given to the data path once and for good.

use portolan_envoy_api::pb::envoy::config::bootstrap::v3::Bootstrap;
use prost::Message;

use portolan_dataplane::config::{ConfigStore, ConfigUpdate, Rejection, ResourceKind};

/// Applies the static resources. Unlike resources of a control plane, a bad one is fatal: the caller stops.
pub fn apply_static(bootstrap: &Bootstrap, store: &ConfigStore) -> Result<(), Vec<Rejection>> {
    let Some(resources) = &bootstrap.static_resources else { return Ok(()) };
    let mut secrets = ConfigUpdate::new(ResourceKind::Secret).fixed();
    for secret in &resources.secrets {
        secrets = secrets.upsert(secret.name.clone(), "", secret.encode_to_vec());
    }
    let mut clusters = ConfigUpdate::new(ResourceKind::Cluster).fixed();
    for cluster in &resources.clusters {
        clusters = clusters.upsert(cluster.name.clone(), "", cluster.encode_to_vec());
    }
    let mut listeners = ConfigUpdate::new(ResourceKind::Listener).fixed();
    for (index, listener) in resources.listeners.iter().enumerate() {
        let mut listener = listener.clone();
        if listener.name.is_empty() {
            // Envoy allows static listeners without a name; the data path knows resources by name.
            listener.name = format!("static-listener-{index}");
        }
        listeners = listeners.upsert(listener.name.clone(), "", listener.encode_to_vec());
    }
    let mut rejected = Vec::new();
    for update in [secrets, clusters, listeners] {
        if let Err(reasons) = store.apply(update) {
            rejected.extend(reasons);
        }
    }
    if rejected.is_empty() { Ok(()) } else { Err(rejected) }
}
