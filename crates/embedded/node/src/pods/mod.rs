//! The kubelet's and the scheduler's place: runs the Pods that are assigned to this node, and assigns those that are not.

mod addresses;
mod assemble;
mod env;
mod events;
mod fields;
mod files;
mod life;
mod manager;
mod node_object;
mod observed;
mod probes;
mod roster;
mod runner;
mod scheduler;
mod status;
mod stop;
mod supervisor;
mod volumes;
mod worker;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::runtime::reflector::Store;
use tokio::sync::broadcast;

pub(crate) use addresses::AddressPool;
pub(crate) use events::Events;
pub(crate) use fields::Capacity;
pub(crate) use manager::{run, watch_sources};
pub(crate) use node_object::keep_node;

use crate::catalogue::{self, Images};
use crate::logs::Logs;
use crate::network::Network;
use volumes::Kind;

/// A ConfigMap or Secret has changed.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    kind: Kind,
    namespace: String,
    name: String,
}

/// What all Pods share.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) network: Network,
    pub(crate) events: Events,
    pub(crate) logs: Logs,
    pub(crate) catalogue: Catalogue,
    pub(crate) addresses: AddressPool,
    pub(crate) changes: broadcast::Sender<Change>,
    pub(crate) capacity: Capacity,
    pub(crate) state_dir: PathBuf,
    /// Program and first arguments of `portolan pod-init`.
    pub(crate) pod_init: Vec<OsString>,
}

/// The image catalogue with its three layers.
pub(crate) struct Catalogue {
    pub(crate) built_in: Images,
    pub(crate) state_dir: PathBuf,
    pub(crate) config_map: Store<ConfigMap>,
}

impl Catalogue {
    /// The layers as they are now, the weakest first. A layer that cannot be read is left out with a warning.
    pub(crate) fn layers(&self) -> [Images; 3] {
        let read = |result: Result<Images, catalogue::CatalogueError>| {
            result.unwrap_or_else(|error| {
                tracing::warn!(%error, "image catalogue");
                Images::new()
            })
        };
        let (namespace, name) = catalogue::CONFIG_MAP;
        let state: Vec<Arc<ConfigMap>> = self.config_map.state();
        let text = state.first().and_then(|m| m.data.as_ref()).and_then(|d| d.get(catalogue::FILE).cloned());
        let from_api = text
            .map(|t| catalogue::parse(&format!("ConfigMap {namespace}/{name}"), &t))
            .unwrap_or_else(|| Ok(Images::new()));
        [self.built_in.clone(), read(catalogue::read_file(&self.state_dir)), read(from_api)]
    }
}
