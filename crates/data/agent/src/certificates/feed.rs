//! The agent's secrets for the data path in the same process.

use std::collections::BTreeMap;
use std::sync::Arc;

use portolan_dataplane::config::{ConfigStore, ConfigUpdate, Needs, ResourceKind};
use tokio_util::sync::CancellationToken;

use super::secrets::{SecretHub, is_own};

/// Hands the agent's secrets to the data path as it asks for them and as they change.
pub async fn feed(hub: SecretHub, store: ConfigStore, stop: CancellationToken) {
    let mut needs = store.needs();
    let mut changes = hub.changes();
    let mut fed: BTreeMap<String, Arc<str>> = BTreeMap::new();
    loop {
        let wanted: Needs = needs.borrow_and_update().clone();
        changes.mark_unchanged();
        let names: Vec<&String> = wanted.secrets.iter().filter(|name| is_own(name)).collect();
        for name in &names {
            if !hub.want_file(name) {
                tracing::warn!(name = name.as_str(), "too many secrets in files; this one is not served");
            }
        }
        if names.iter().any(|name| hub.get(name).is_none()) {
            hub.refresh_files();
        }
        let mut update = ConfigUpdate::new(ResourceKind::Secret);
        for name in names {
            if let Some(secret) = hub.get(name)
                && fed.get(name) != Some(&secret.version)
            {
                fed.insert(name.clone(), secret.version.clone());
                update = update.upsert(name.clone(), secret.version.to_string(), secret.body);
            }
        }
        if !update.upserts.is_empty() {
            for rejection in store.apply(update).err().unwrap_or_default() {
                tracing::warn!(%rejection, "the data path rejects a secret of the agent");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = needs.changed() => if changed.is_err() { return },
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}
