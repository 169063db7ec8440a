//! The last step of a write: the store, and what follows from its answer.

use std::future::Future;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::OwnedMutexGuard;

use crate::addresses::{Addresses, Taken};
use crate::api::Api;
use crate::kinds::{self, Kind};
use crate::store::{Object, Parent, Store, StoreError};
use crate::writing::Writing;

/// A write that has been decided. From here on it runs to its end, also when the client has gone: what it took
/// is kept exactly if the store has it.
pub(super) struct Commit {
    store: Store,
    addresses: Addresses,
    kind: &'static dyn Kind,
    key: String,
    namespace: String,
    name: String,
    taken: Taken,
    /// Held by kinds whose writes depend on the other objects of the kind.
    turn: Option<OwnedMutexGuard<()>>,
}

impl Commit {
    pub(super) fn new(
        api: &Api,
        writing: &Writing,
        name: &str,
        taken: Taken,
        turn: Option<OwnedMutexGuard<()>>,
    ) -> Commit {
        Commit {
            store: api.store.clone(),
            addresses: api.addresses.clone(),
            kind: kinds::of(&writing.resource),
            key: writing.key.clone(),
            namespace: writing.namespace.clone(),
            name: name.to_owned(),
            taken,
            turn,
        }
    }

    pub(super) async fn create(self, value: Value, parents: Vec<Parent>) -> Result<Arc<Object>, StoreError> {
        to_its_end(async move {
            let stored = self.store.create(&self.key, &self.namespace, &self.name, value, parents).await?;
            self.taken.keep();
            drop(self.turn);
            Ok(stored)
        })
        .await
    }

    pub(super) async fn update(self, old: Arc<Object>, value: Value) -> Result<Arc<Object>, StoreError> {
        to_its_end(async move {
            let stored =
                self.store.update(&self.key, &self.namespace, &self.name, old.revision, value).await?;
            self.taken.keep();
            self.kind.stored(&self.addresses, &old.value, Some(&stored.value));
            drop(self.turn);
            Ok(stored)
        })
        .await
    }

    pub(super) async fn delete(self, old: Arc<Object>) -> Result<Arc<Object>, StoreError> {
        to_its_end(async move {
            let gone = self.store.delete(&self.key, &self.namespace, &self.name, old.revision).await?;
            self.kind.stored(&self.addresses, &gone.value, None);
            drop(self.turn);
            Ok(gone)
        })
        .await
    }
}

/// Runs `work` in a task of its own: whoever waits may stop waiting.
async fn to_its_end(
    work: impl Future<Output = Result<Arc<Object>, StoreError>> + Send + 'static,
) -> Result<Arc<Object>, StoreError> {
    // It ends early only when the whole runtime does.
    tokio::spawn(work).await.unwrap_or(Err(StoreError::Closed))
}

/// The turn of a kind that is written one object at a time.
pub(super) async fn turn(api: &Api, kind: &dyn Kind) -> Option<OwnedMutexGuard<()>> {
    if kind.one_at_a_time() { Some(api.turn.clone().lock_owned().await) } else { None }
}
