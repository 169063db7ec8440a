//! One watch per kind, kept in memory, shared by all controllers that need the kind.

use std::fmt::Debug;

use futures::StreamExt;
use kube::Api;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use serde::de::DeserializeOwned;
use tokio::sync::watch::{self as signal, Sender};
use tokio::task::JoinSet;

/// What happened to the objects of a kind. The store already shows it when the handler is called.
pub(crate) enum Change<'a, K> {
    /// Created or changed.
    Set(&'a K),
    /// Deleted.
    Gone(&'a K),
    /// The whole kind was listed anew: anything may have changed.
    Listed,
}

/// How many kinds have not been listed yet: nobody may decide before it has seen everything.
///
/// Not `Store::wait_until_ready`, which wakes only one of several that wait for the same store.
#[derive(Debug, Clone)]
pub(crate) struct Unlisted(Sender<usize>);

impl Unlisted {
    pub(crate) fn new() -> Self {
        Self(signal::Sender::new(0))
    }

    /// Waits until every kind has been listed completely.
    pub(crate) async fn none(&self) {
        // Fails only when the sender is gone, and `self` holds it.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// Watches a kind for ever in a task of `tasks`; `handle` is told of every change, after the store shows it.
pub(crate) fn inform<K>(
    tasks: &mut JoinSet<()>,
    unlisted: &Unlisted,
    api: Api<K>,
    config: watcher::Config,
    handle: impl Fn(Change<'_, K>, &Store<K>) + Send + 'static,
) -> Store<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store::<K>();
    let reader = store.clone();
    let unlisted = unlisted.0.clone();
    unlisted.send_modify(|count| *count += 1);
    tasks.spawn(async move {
        let mut first = true;
        let mut events = std::pin::pin!(watch(api, config).default_backoff().reflect(writer));
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(object)) => handle(Change::Set(&object), &reader),
                Ok(Event::Delete(object)) => handle(Change::Gone(&object), &reader),
                Ok(Event::InitDone) => {
                    handle(Change::Listed, &reader);
                    if std::mem::take(&mut first) {
                        unlisted.send_modify(|count| *count -= 1);
                    }
                }
                Ok(Event::Init | Event::InitApply(_)) => {}
                Err(error) => {
                    tracing::debug!(kind = %K::kind(&()), %error, "watch broke off, will be resumed");
                }
            }
        }
    });
    store
}
