//! One kind is listed and followed for good.

use std::{fmt::Debug, sync::Arc};

use futures::StreamExt;
use kube::{
    Api, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use portolan_mesh::ObjectKey;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::slim::Slim;

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

/// Follows one kind for good.
pub(super) async fn follow<K, U, F>(
    api: Api<K>,
    config: watcher::Config,
    kind: impl std::fmt::Display + Send + 'static,
    queue: mpsc::Sender<U>,
    wrap: F,
) where
    U: Send + 'static,
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Slim + 'static,
    F: Fn(Change<K>) -> U + Send + 'static,
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

fn slimmed<K: Resource + Slim>(mut object: K) -> Arc<K> {
    object.meta_mut().managed_fields = None;
    object.slim();
    Arc::new(object)
}

pub(super) fn key(object: &impl ResourceExt) -> ObjectKey {
    ObjectKey::new(object.namespace().unwrap_or_default(), object.name_any())
}
