//! What federation writes: status of the three resources (docs/reference/federation.md), and what peers last exported; each
//! when it differs from what was written last. Nothing waits for it.

use std::{collections::BTreeMap, time::Duration};

use jiff::{Timestamp, Unit};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
};
use portolan_resources::{
    ExportedServiceSet, ImportedServiceSet, ServiceMeshPeer,
    federation::{
        DiscoveryConnectionStatus, DiscoveryRemoteStatus, ExportedServiceSetStatus, ImportedServiceSetStatus,
        PeerDiscoveryStatus, PodPeerDiscoveryStatus, ServiceMeshPeerStatus,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::memory::{self, Memory};

/// Changes within this time are written together, so that a busy peer does not keep the API server busy.
const GATHER: Duration = Duration::from_millis(200);

/// Pause after a write that failed.
const RETRY: Duration = Duration::from_secs(2);

/// How long one write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Owner of the fields that are applied.
const FIELD_MANAGER: &str = "istiod-federation";

/// Now, as Kubernetes writes it.
pub(super) fn now() -> String {
    let now = Timestamp::now();
    now.round(Unit::Second).unwrap_or(now).to_string()
}

/// What the statuses should say, by peer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Desired {
    pub(super) watches: BTreeMap<String, DiscoveryConnectionStatus>,
    pub(super) remotes: BTreeMap<String, Vec<DiscoveryRemoteStatus>>,
    pub(super) exports: BTreeMap<String, ExportedServiceSetStatus>,
    pub(super) imports: BTreeMap<String, ImportedServiceSetStatus>,
    pub(super) memories: BTreeMap<String, Memory>,
}

/// Writes statuses in the background.
pub(super) struct StatusWriter {
    desired: watch::Sender<Desired>,
}

impl StatusWriter {
    pub(super) fn start(client: Client, namespace: String) -> Self {
        let (desired, changes) = watch::channel(Desired::default());
        tokio::spawn(write_for_ever(client, namespace, changes));
        StatusWriter { desired }
    }

    pub(super) fn set(&self, new: Desired) {
        self.desired.send_if_modified(|old| {
            let changed = *old != new;
            *old = new;
            changed
        });
    }
}

async fn write_for_ever(client: Client, namespace: String, mut changes: watch::Receiver<Desired>) {
    let pod = std::env::var(portolan_names::env::POD_NAME)
        .or_else(|_| std::env::var("HOSTNAME"))
        .unwrap_or_else(|_| "istiod".into());
    let peers: Api<ServiceMeshPeer> = Api::namespaced(client.clone(), &namespace);
    let exports: Api<ExportedServiceSet> = Api::namespaced(client.clone(), &namespace);
    let imports: Api<ImportedServiceSet> = Api::namespaced(client.clone(), &namespace);
    let config_maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let mut written = Desired::default();
    while changes.changed().await.is_ok() {
        loop {
            sleep(GATHER).await;
            let desired = changes.borrow_and_update().clone();
            let mut complete = true;
            for (name, watch) in &desired.watches {
                let remotes = desired.remotes.get(name);
                if written.watches.get(name) == Some(watch) && written.remotes.get(name) == remotes {
                    continue;
                }
                let status = peer_status(&pod, watch, remotes.cloned().unwrap_or_default());
                complete &= write(&peers, name, &status).await;
            }
            for (name, status) in &desired.exports {
                if written.exports.get(name) != Some(status) {
                    complete &= write(&exports, name, status).await;
                }
            }
            for (name, status) in &desired.imports {
                if written.imports.get(name) != Some(status) {
                    complete &= write(&imports, name, status).await;
                }
            }
            for (name, memory) in &desired.memories {
                if written.memories.get(name) != Some(memory) {
                    complete &= remember(&config_maps, name, memory).await;
                }
            }
            if complete {
                written = desired;
                break;
            }
            sleep(RETRY).await;
        }
    }
}

/// One replica is supported, so that what other Pods once wrote is out of date: the lists hold this Pod only.
fn peer_status(
    pod: &str,
    watch: &DiscoveryConnectionStatus,
    remotes: Vec<DiscoveryRemoteStatus>,
) -> ServiceMeshPeerStatus {
    let own = PodPeerDiscoveryStatus { pod: pod.to_owned(), remotes: Some(remotes), watch: watch.clone() };
    let (active, inactive) = if watch.connected { (vec![own], vec![]) } else { (vec![], vec![own]) };
    ServiceMeshPeerStatus {
        discovery_status: PeerDiscoveryStatus { active: Some(active), inactive: Some(inactive) },
    }
}

async fn write<K>(api: &Api<K>, name: &str, status: &impl Serialize) -> bool
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let patch = Patch::Merge(json!({ "status": status }));
    done(name, api.patch_status(name, &PatchParams::default(), &patch)).await
}

async fn remember(api: &Api<ConfigMap>, peer: &str, memory: &Memory) -> bool {
    let Some(map) = memory::config_map(peer, memory) else { return true };
    let params = PatchParams::apply(FIELD_MANAGER).force();
    done(peer, api.patch(&memory::name(peer), &params, &Patch::Apply(&map))).await
}

/// Waits for a write; whether it need not be tried again.
async fn done<K: Resource<DynamicType = ()>>(
    name: &str,
    write: impl Future<Output = Result<K, kube::Error>>,
) -> bool {
    let kind = K::kind(&());
    match timeout(WRITE_TIMEOUT, write).await {
        Ok(Ok(_)) => true,
        // It was deleted meanwhile.
        Ok(Err(kube::Error::Api(error))) if error.code == 404 => true,
        Ok(Err(error)) => {
            tracing::warn!(%kind, name, %error, "not written; trying again");
            false
        }
        Err(_) => {
            tracing::warn!(%kind, name, "writing takes too long; trying again");
            false
        }
    }
}
