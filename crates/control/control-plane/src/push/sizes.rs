//! How much there is in the mesh, for the metrics.

use portolan_derive::{Derived, Reader};
use portolan_mesh::Model;

/// The numbers of services and of VirtualServices.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Sizes;

impl Derived for Sizes {
    type Value = (usize, usize);
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let model = Model::new(read);
        (model.services().len(), model.virtual_services().len())
    }
}
