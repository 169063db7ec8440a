//! Values that follow from others.

use std::{any::Any, cell::RefCell, marker::PhantomData};

use crate::{
    Derived,
    guard::guarded,
    node::{Id, Ops, Shared},
    reader::Reader,
};

/// The operations of derived values.
pub(crate) struct DerivedOps<D>(PhantomData<D>);

impl<D: Derived> DerivedOps<D> {
    pub(crate) const OPS: Ops = Ops { make: Some(make::<D>), name: kind::<D>, ..Ops::fact::<D>() };
}

fn kind<D: Derived>(key: &(dyn Any + Send + Sync)) -> &'static str {
    key.downcast_ref::<D>().map_or("", D::kind)
}

fn make<D: Derived>(graph: &Shared, id: Id) {
    let Some(key) = graph.borrow_mut().begin::<D>(id) else { return };
    let reads = RefCell::default();
    let reader = Reader::recording(graph, &reads);
    let value = guarded(graph, id, || key.derive(&reader));
    let mut graph = graph.borrow_mut();
    graph.end(id, reads.take());
    let Some(value) = value else { return graph.count(id, false) };
    let changed = graph.put(id, Some(value));
    graph.count(id, changed);
    if changed {
        graph.announce(id);
    }
}

impl Reader<'_> {
    /// A derived value.
    ///
    /// # Panics
    /// If its function does and has never given a value, or is the one that reads, directly or through others.
    pub fn get<D: Derived>(&self, key: &D) -> D::Value {
        let id = self.enter(key, &DerivedOps::<D>::OPS);
        self.value(id)
    }
}
