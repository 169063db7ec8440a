//! Names that only the mesh knows, for the DNS server of the embedded cluster: ConfigMap `portolan-dns`, key `hosts`,
//! lines `IP host`. Agents get the same table over xDS.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use portolan_derive::{Derived, Reader};
use portolan_mesh::Model;
use serde_json::json;
use tokio::sync::watch;

/// The ConfigMap.
const CONFIG_MAP: &str = "portolan-dns";

/// Its key.
const HOSTS: &str = "hosts";

/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// An object holds at most 1 MiB; what does not fit is left to the agents.
const MAX_BYTES: usize = 900 * 1024;

/// The lines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hosts;

impl Derived for Hosts {
    type Value = Arc<str>;
    fn derive(&self, read: &Reader<'_>) -> Arc<str> {
        hosts(Model::new(read)).into()
    }
}

/// Keeps the ConfigMap as it should be, for ever.
pub async fn publish(client: Client, namespace: String, mut lines: watch::Receiver<Option<Arc<str>>>) {
    let api: Api<ConfigMap> = Api::namespaced(client, &namespace);
    loop {
        let now = lines.borrow_and_update().clone();
        if let Some(hosts) = now
            && let Err(error) = write(&api, &hosts).await
        {
            tracing::warn!(%error, "ConfigMap {CONFIG_MAP} can't be written; trying again");
            tokio::time::sleep(RETRY).await;
            continue;
        }
        if lines.changed().await.is_err() {
            return;
        }
    }
}

fn hosts(model: Model<'_>) -> String {
    let mut text = String::new();
    for (host, entry) in model.dns_table().iter() {
        for address in &entry.addresses {
            if text.len() + host.len() > MAX_BYTES {
                tracing::warn!("the DNS table is larger than {MAX_BYTES} bytes; the rest is left out");
                return text;
            }
            let _ = writeln!(text, "{address} {host}");
        }
    }
    text
}

async fn write(api: &Api<ConfigMap>, hosts: &str) -> Result<(), kube::Error> {
    match api.get_opt(CONFIG_MAP).await? {
        Some(map) if map.data.as_ref().and_then(|data| data.get(HOSTS)).is_some_and(|old| old == hosts) => {
            Ok(())
        }
        Some(_) => {
            let patch = Patch::Merge(json!({"data": {HOSTS: hosts}}));
            api.patch(CONFIG_MAP, &PatchParams::default(), &patch).await.map(drop)
        }
        None => {
            let mut map = ConfigMap {
                data: Some(BTreeMap::from([(HOSTS.to_owned(), hosts.to_owned())])),
                ..ConfigMap::default()
            };
            map.metadata.name = Some(CONFIG_MAP.to_owned());
            api.create(&PostParams::default(), &map).await.map(drop)
        }
    }
}
