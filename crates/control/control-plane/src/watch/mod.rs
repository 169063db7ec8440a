//! Watches: everything that the model is made from, out of the Kubernetes API, into one bounded queue.
//!
//! Each kind has a watcher of its own that lists, follows, and starts over with a growing pause when something goes
//! wrong; what was known stays known meanwhile. A kind whose CRD is missing counts as empty until it appears.

mod kinds;
mod slim;

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use portolan_mesh::ObjectKey;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

pub use kinds::{Kind, Update};

/// Changes that wait for the model. A full queue holds the watchers back, which the API server buffers.
pub const QUEUE: usize = 1024;

/// Objects per page of a list.
const PAGE: u32 = 500;

/// After this many failures in a row a watch is reported again.
const REPORT_EVERY: u32 = 10;

/// A change of one kind.
#[derive(Clone, Debug)]
pub enum Change<T> {
    /// All objects there are, after a list.
    Replace(Vec<Arc<T>>),
    /// A new or changed object.
    Apply(Arc<T>),
    /// An object is gone.
    Delete(ObjectKey),
}

/// Starts all watchers. They end when the queue's receiver is dropped.
pub fn start(client: &Client, namespace: &str) -> mpsc::Receiver<Update> {
    let (queue, receiver) = mpsc::channel(QUEUE);
    kinds::start_all(client, &queue);
    let settings: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let only = format!("metadata.name={}", portolan_names::names::MESH_CONFIG_MAP);
    let config = watcher::Config::default().fields(&only);
    tokio::spawn(follow(settings, config, Kind::MeshConfig, queue, Update::MeshConfig));
    receiver
}

/// Follows one kind for good.
async fn follow<K, F>(api: Api<K>, config: watcher::Config, kind: Kind, queue: mpsc::Sender<Update>, wrap: F)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + slim::Slim + 'static,
    F: Fn(Change<K>) -> Update + Send + 'static,
{
    let mut events = watcher(api, config.page_size(PAGE)).default_backoff().boxed();
    let mut listing: Vec<Arc<K>> = Vec::new();
    let mut failures = 0_u32;
    while let Some(event) = events.next().await {
        let change = match event {
            Ok(Event::Init) => {
                listing.clear();
                continue;
            }
            Ok(Event::InitApply(object)) => {
                listing.push(slimmed(object));
                continue;
            }
            Ok(Event::InitDone) => {
                if failures > 0 {
                    tracing::info!(%kind, "watch is back");
                    failures = 0;
                }
                Change::Replace(std::mem::take(&mut listing))
            }
            Ok(Event::Apply(object)) => {
                failures = 0;
                Change::Apply(slimmed(object))
            }
            Ok(Event::Delete(object)) => {
                failures = 0;
                Change::Delete(key(&object))
            }
            Err(error) => {
                failures += 1;
                let missing = is_missing(&error);
                if failures == 1 && missing {
                    tracing::info!(%kind, "the API server does not serve this kind; counted as none until its CRD is there");
                } else if failures % REPORT_EVERY == 1 && !missing {
                    tracing::warn!(%kind, %error, failures, "watch failed; what was known stays in force, trying again");
                }
                if !(missing && failures == 1) {
                    continue;
                }
                Change::Replace(Vec::new())
            }
        };
        if queue.send(wrap(change)).await.is_err() {
            return;
        }
    }
}

/// The kind is not served at all.
fn is_missing(error: &watcher::Error) -> bool {
    let client = match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => error,
        _ => return false,
    };
    matches!(client, kube::Error::Api(status) if status.code == 404)
}

fn slimmed<K: Resource + slim::Slim>(mut object: K) -> Arc<K> {
    object.meta_mut().managed_fields = None;
    object.slim();
    Arc::new(object)
}

pub(crate) fn key(object: &impl ResourceExt) -> ObjectKey {
    ObjectKey::new(object.namespace().unwrap_or_default(), object.name_any())
}

/// Pause between attempts to reach an API server that is not up yet.
pub const RETRY: Duration = Duration::from_secs(1);
