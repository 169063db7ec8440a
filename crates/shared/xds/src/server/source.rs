//! Where a stream gets what it sends.

use std::{collections::BTreeMap, sync::Arc};

use crate::Resource;

/// The resources of one type that one client may see, as they are now.
///
/// Both methods have to agree: [`Source::all`] gives what [`Source::get`] finds.
pub trait Source {
    /// The resource of this name, if there is one and the client may see it.
    fn get(&self, name: &str) -> Option<Arc<Resource>>;

    /// Calls back for everything that the client may see, in any order.
    fn all(&self, each: &mut dyn FnMut(&Arc<Resource>));
}

/// Resources that have been made all at once, as a source. Of two with one name the first counts.
#[derive(Clone, Debug, Default)]
pub struct Collected(BTreeMap<Arc<str>, Arc<Resource>>);

impl FromIterator<Arc<Resource>> for Collected {
    fn from_iter<I: IntoIterator<Item = Arc<Resource>>>(resources: I) -> Self {
        let mut collected = BTreeMap::new();
        for resource in resources {
            collected.entry(resource.name.clone()).or_insert(resource);
        }
        Self(collected)
    }
}

impl Source for Collected {
    fn get(&self, name: &str) -> Option<Arc<Resource>> {
        self.0.get(name).cloned()
    }

    fn all(&self, each: &mut dyn FnMut(&Arc<Resource>)) {
        self.0.values().for_each(each);
    }
}
