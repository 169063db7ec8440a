//! What one client has been sent of one type.

use std::{
    borrow::Borrow,
    hash::{Hash, Hasher},
    sync::Arc,
};

use foldhash::{HashSet, HashSetExt};

use crate::{Resource, Revision, Version};

/// Names with the version that the client has of each. An entry is one pointer: revisions are shared with the resources
/// and with all other streams.
#[derive(Debug, Default)]
pub(super) struct Sent(HashSet<Entry>);

/// A revision that is found by its name.
#[derive(Debug)]
struct Entry(Arc<Revision>);

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Entry {}

impl Borrow<str> for Entry {
    fn borrow(&self) -> &str {
        &self.0.name
    }
}

impl Sent {
    /// Nothing, with room for so many names.
    pub(super) fn with_room(names: usize) -> Self {
        Self(HashSet::with_capacity(names))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Whether the client has this very version of the resource.
    pub(super) fn has(&self, resource: &Resource) -> bool {
        self.0.get(&*resource.name).is_some_and(|entry| entry.0.version == resource.version)
    }

    /// The name as it is shared with the resource, if that has been sent.
    pub(super) fn shared<'a>(&'a self, name: &'a Arc<str>) -> &'a Arc<str> {
        self.0.get(&**name).map_or(name, |entry| &entry.0.name)
    }

    /// From now on the client has this version and no other one.
    pub(super) fn put(&mut self, revision: &Arc<Revision>) {
        self.0.replace(Entry(revision.clone()));
    }

    /// Forgets a name; says which version the client had.
    pub(super) fn remove(&mut self, name: &str) -> Option<Version> {
        self.0.take(name).map(|entry| entry.0.version)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|entry| keep(&entry.0.name));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().map(|entry| &entry.0.name)
    }
}
