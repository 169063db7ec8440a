//! What the store holds and tells: objects, their changes, pages of them.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

/// One object as it is stored.
#[derive(Debug)]
pub struct Object {
    /// Its resource: `group/plural`, or `/plural` for the core group.
    pub resource: Arc<str>,
    /// Its namespace, empty for objects of the cluster.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The revision that wrote it; equal to `metadata.resourceVersion`.
    pub revision: u64,
    /// The object.
    pub value: Value,
    /// The same, as JSON text: written to disk, lists and watches without serialising it again.
    pub json: Bytes,
}

/// What happened to an object.
#[derive(Debug)]
pub struct Event {
    /// When.
    pub revision: u64,
    /// The object after the change; for a deletion its last state with the deletion's revision.
    pub object: Arc<Object>,
    /// The object before the change.
    pub previous: Option<Arc<Object>>,
    /// Whether the object is gone.
    pub deleted: bool,
}

/// A page of a list.
#[derive(Debug)]
pub struct Page {
    /// The revision that the whole list shows.
    pub revision: u64,
    /// The objects, ordered by namespace and name.
    pub items: Vec<Arc<Object>>,
    /// More objects follow the last one.
    pub more: bool,
    /// How many follow, as far as known (selectors are not counted).
    pub remaining: usize,
}

/// How much of the past is kept for watches and paged lists, per resource.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Events kept at most.
    pub events: usize,
    /// Bytes of object text kept at most.
    pub bytes: usize,
}

impl Default for Window {
    /// 10,000 events or 64 MiB: minutes of a busy cluster, bounded memory.
    fn default() -> Self {
        Window { events: 10_000, bytes: 64 << 20 }
    }
}

/// An object of the cluster that must exist, and not be on its way out, for a new object to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// Its resource, as in [`Object::resource`].
    pub resource: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}
