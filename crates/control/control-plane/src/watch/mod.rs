//! Watches: everything that the model is made from, out of the Kubernetes API, into one bounded queue.
//!
//! Each kind has a watcher of its own that lists, follows, and starts over with a growing pause when something goes
//! wrong; what was known stays known meanwhile. A kind whose CRD is missing counts as empty until it appears.

mod follow;
mod kinds;
mod slim;

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, runtime::watcher};
use tokio::sync::mpsc;

pub use follow::Change;
pub use kinds::{Events, Kind, Update};

/// Changes that wait for the model. A full queue holds the watchers back, which the API server buffers.
pub const QUEUE: usize = 1024;

/// Starts all watchers. They end when the queue's receiver is dropped.
pub fn start(client: &Client, namespace: &str) -> mpsc::Receiver<Update> {
    let (queue, receiver) = mpsc::channel(QUEUE);
    kinds::start_all(client, &queue);
    let settings: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let only = format!("metadata.name={}", portolan_names::names::MESH_CONFIG_MAP);
    let config = watcher::Config::default().fields(&only);
    tokio::spawn(follow::follow(settings, config, Kind::MeshConfig, queue, Update::MeshConfig));
    receiver
}

/// Pause between attempts to reach an API server that is not up yet.
pub const RETRY: Duration = Duration::from_secs(1);
