//! Values computed from stored objects and kept until one of those objects changes.
//!
//! Looked up at use, not refreshed in the background: what a client wrote a moment ago (a role binding, a
//! CRD, a webhook) is in force for the very next request.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::store::Store;

/// A value made from the objects of some resources.
pub(crate) struct Derived<T> {
    resources: &'static [&'static str],
    /// The newest change of the resources that the value has seen, and the value.
    cached: ArcSwapOption<(u64, T)>,
}

impl<T> Derived<T> {
    pub(crate) fn new(resources: &'static [&'static str]) -> Derived<T> {
        Derived { resources, cached: ArcSwapOption::empty() }
    }

    /// The value; `make` is called if the resources have changed since it was made.
    pub(crate) fn get(&self, store: &Store, make: impl FnOnce(Option<&T>) -> T) -> Arc<(u64, T)> {
        // Read before the objects: a change in between makes the value new again next time.
        let newest = store.changed_at(self.resources);
        let cached = self.cached.load_full();
        match cached {
            Some(cached) if cached.0 == newest => cached,
            cached => {
                let made = Arc::new((newest, make(cached.as_deref().map(|cached| &cached.1))));
                self.cached.store(Some(made.clone()));
                made
            }
        }
    }
}
