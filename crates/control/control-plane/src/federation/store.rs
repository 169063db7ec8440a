//! Objects that a watch keeps.

use std::sync::Arc;

use kube::runtime::reflector::Store;

/// The object of a name.
pub(super) fn named<K>(store: &Store<K>, name: &str) -> Option<Arc<K>>
where
    K: kube::runtime::reflector::Lookup + Clone + 'static,
    K::DynamicType: Eq + std::hash::Hash + Clone + Default,
{
    store.find(|object| object.name().as_deref() == Some(name))
}
