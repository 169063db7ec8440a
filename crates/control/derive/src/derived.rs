//! Values that follow from others.

use std::{
    any::Any,
    cell::RefCell,
    marker::PhantomData,
    panic::{self, AssertUnwindSafe},
};

use crate::{
    Derived,
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
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| key.derive(&reader)));
    let mut graph = table.graph.borrow_mut();
    graph.end(id, reads.take());
    match outcome {
        Ok(value) => {
            let changed = graph.put(id, Some(value));
            graph.count(id, changed);
            if changed {
                graph.announce(id);
            }
        }
        Err(payload) => {
            let known = graph.fail(id, payload.as_ref());
            drop(graph);
            if !known {
                // Whoever reads it has nothing to go on with.
                panic::resume_unwind(payload);
            }
        }
    }
}
