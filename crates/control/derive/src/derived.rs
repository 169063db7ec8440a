//! Values that follow from others.

use std::{any::Any, cell::RefCell, marker::PhantomData};

use crate::{
    Derived,
    failure::guarded,
    node::{Id, Ops},
    reader::Reader,
    table::Table,
};

/// The operations of derived values.
pub(crate) struct DerivedOps<D>(PhantomData<D>);

impl<D: Derived> DerivedOps<D> {
    pub(crate) const OPS: Ops = Ops { make: Some(make::<D>), name: kind::<D>, ..Ops::fact::<D>() };
}

fn kind<D: Derived>(key: &(dyn Any + Send + Sync)) -> &'static str {
    key.downcast_ref::<D>().map_or("", D::kind)
}

fn make<D: Derived>(table: &Table, id: Id) {
    let Some(key) = table.graph.borrow_mut().begin::<D>(id) else { return };
    let reads = RefCell::default();
    let reader = Reader::recording(table, &reads);
    let value = guarded(table, id, || key.derive(&reader));
    let mut graph = table.graph.borrow_mut();
    graph.end(id, reads.take());
    let Some(value) = value else { return graph.count(id, false) };
    let changed = graph.put(id, Some(value));
    graph.count(id, changed);
    if changed {
        graph.announce(id);
    }
}
