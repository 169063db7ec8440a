//! Reads, written down.

use std::{cell::RefCell, sync::Arc};

use crate::{
    Input, Key, Value,
    guard::unmade,
    input::{self, AllKeys, Keys, Tagged},
    node::{Id, Ops, Read, Shared, freshen},
};

/// What a function reads with. Every read is written down, so that the function is asked again when it would see
/// something else.
#[derive(Clone, Copy)]
pub struct Reader<'t> {
    graph: &'t Shared,
    reads: Option<&'t RefCell<Vec<Read>>>,
}

impl<'t> Reader<'t> {
    pub(crate) fn new(graph: &'t Shared) -> Self {
        Self { graph, reads: None }
    }

    pub(crate) fn recording(graph: &'t Shared, reads: &'t RefCell<Vec<Read>>) -> Self {
        Self { graph, reads: Some(reads) }
    }

    /// The entry of a key, made if it has to be.
    pub(crate) fn enter<K: Key>(&self, key: &K, ops: &'static Ops) -> Id {
        let id = self.graph.borrow_mut().enter(key, ops);
        freshen(self.graph, id);
        if let Some(reads) = &self.reads {
            let seen = self.graph.borrow().get(id).map_or(0, |node| node.changes);
            reads.borrow_mut().push((id, seen));
        }
        id
    }

    /// A fact.
    pub fn fact<I: Input>(&self, key: &I) -> Option<I::Value> {
        let id = self.enter(key, &input::Ops::<I>::VALUE);
        self.graph.borrow().value(id)
    }

    /// The keys of all facts of a kind, sorted. Who reads them is concerned when one comes or goes, not when it changes.
    pub fn keys<I: Input>(&self) -> Arc<std::collections::BTreeSet<I>> {
        let id = self.enter(&AllKeys::<I>::new(), &input::Ops::<I>::ALL);
        self.graph.borrow().value::<Keys<I>>(id).unwrap_or_default()
    }

    /// The keys of the facts of a kind that have a mark, sorted.
    pub fn tagged<I: Input>(&self, tag: &I::Tag) -> Arc<std::collections::BTreeSet<I>> {
        let id = self.enter(&Tagged::<I>(tag.clone()), &input::Ops::<I>::TAGGED);
        self.graph.borrow().value::<Keys<I>>(id).unwrap_or_default()
    }

    /// The value of an entry that has one, or had one before its function failed.
    pub(crate) fn value<V: Value>(&self, id: Id) -> V {
        let graph = self.graph.borrow();
        graph.value(id).unwrap_or_else(|| unmade(&graph, id, self.reads.is_some()))
    }
}
