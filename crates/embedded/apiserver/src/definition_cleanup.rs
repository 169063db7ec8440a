//! Empties deleted CRDs: their objects go first, then the definition, as with Kubernetes' finalizer
//! `customresourcecleanup.apiextensions.k8s.io`.
//!
//! The definition stays stored until the last object is gone. So a server that dies in between goes on where it
//! stopped, and a definition of the same name never finds objects of the one before it. No object can be added
//! meanwhile: the store refuses new ones below a parent that is marked as deleted ([`Store::create`]).

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::keys::CRDS;
use crate::kinds::DEFINITION_CLEANUP;
use crate::limits::CLEANUP_INTERVAL;
use crate::store::{Object, Store, StoreError};
use crate::write::begin_deletion;
use crate::writing::is_terminating;

/// Runs until `stop`, or until the store is closed.
pub(crate) async fn run(store: Store, stop: CancellationToken) {
    loop {
        // One pass sees the definitions as they are now; what changes later wakes the cursor.
        let (definitions, mut cursor) = store.list_and_watch(CRDS, None);
        let mut waiting = false;
        for definition in definitions.iter().filter(|definition| waits(&definition.value)) {
            match empty(&store, definition).await {
                Ok(done) => waiting |= !done,
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::warn!(crd = %definition.name, %error, "emptying a deleted CRD, will be tried again");
                    waiting = true;
                }
            }
        }
        let again = async {
            if waiting { tokio::time::sleep(CLEANUP_INTERVAL).await } else { std::future::pending().await }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = cursor.changed() => if changed.is_err() { return },
            () = again => {}
        }
    }
}

/// Whether a definition is deleted and its objects have not been removed yet.
fn waits(definition: &Value) -> bool {
    is_terminating(definition) && finalizers(definition).any(|name| name == DEFINITION_CLEANUP)
}

fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    let list = object.pointer("/metadata/finalizers").and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str)
}

/// Deletes the objects of a definition, and when none is left lets the definition go. Tells whether it did.
async fn empty(store: &Store, definition: &Object) -> Result<bool, StoreError> {
    let text = |path: &str| definition.value.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let key = format!("{}/{}", text("/spec/group"), text("/spec/names/plural"));
    for object in store.list(&key, None).1 {
        match end(store, &object).await {
            // Somebody was faster; the next look tells.
            Ok(()) | Err(StoreError::Conflict { .. } | StoreError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    if store.count(&key) > 0 {
        return Ok(false);
    }
    match release(store, definition).await {
        Ok(()) | Err(StoreError::NotFound) => Ok(true),
        Err(StoreError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Deletes one object, or marks it when its finalizers hold it.
async fn end(store: &Store, object: &Object) -> Result<(), StoreError> {
    let (key, namespace, name) = (&object.resource, &object.namespace, &object.name);
    if finalizers(&object.value).next().is_none() {
        store.delete(key, namespace, name, object.revision).await?;
    } else if !is_terminating(&object.value) {
        let mut marked = object.value.clone();
        begin_deletion(&mut marked, clock::seconds(), 0);
        store.update(key, namespace, name, object.revision, marked).await?;
    }
    Ok(())
}

/// Takes the finalizer off a definition; with the last one the definition goes.
async fn release(store: &Store, definition: &Object) -> Result<(), StoreError> {
    let others: Vec<&str> =
        finalizers(&definition.value).filter(|name| *name != DEFINITION_CLEANUP).collect();
    let (key, name) = (&definition.resource, &definition.name);
    if others.is_empty() {
        return store.delete(key, "", name, definition.revision).await.map(drop);
    }
    let mut released = definition.value.clone();
    released["metadata"]["finalizers"] = json!(others);
    if let Some(conditions) = released.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
        for condition in conditions.iter_mut().filter(|condition| condition["type"] == "Terminating") {
            condition["status"] = json!("False");
            condition["reason"] = json!("InstanceDeletionCompleted");
            condition["message"] = json!("removed all instances");
            condition["lastTransitionTime"] = json!(clock::text());
        }
    }
    store.update(key, "", name, definition.revision, released).await.map(drop)
}
