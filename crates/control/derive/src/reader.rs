//! Reads, written down.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use crate::{
    Derived, Input, Key, Relation, Value,
    derived::DerivedOps,
    failure::unmade,
    input::{self, AllKeys, Keys, Tagged},
    node::{Id, Ops, Read},
    relation::{Entry, Map, RelationOps, Whole},
    table::Table,
};

/// What a function reads with. Every read is written down, so that the function is asked again when it would see
/// something else.
#[derive(Clone, Copy)]
pub struct Reader<'t> {
    table: &'t Table,
    reads: Option<&'t RefCell<Vec<Read>>>,
}

impl<'t> Reader<'t> {
    pub(crate) fn new(table: &'t Table) -> Self {
        Self { table, reads: None }
    }

    pub(crate) fn recording(table: &'t Table, reads: &'t RefCell<Vec<Read>>) -> Self {
        Self { table, reads: Some(reads) }
    }

    /// The entry of a key, made if it has to be.
    fn enter<K: Key>(&self, key: &K, ops: &'static Ops) -> Id {
        let id = self.table.graph.borrow_mut().enter(key, ops);
        self.table.freshen(id);
        if let Some(reads) = &self.reads {
            let seen = self.table.graph.borrow().get(id).map_or(0, |node| node.changes);
            reads.borrow_mut().push((id, seen));
        }
        id
    }

    /// A fact.
    pub fn fact<I: Input>(&self, key: &I) -> Option<I::Value> {
        let id = self.enter(key, &input::Ops::<I>::VALUE);
        self.table.graph.borrow().value(id)
    }

    /// The keys of all facts of a kind, sorted. Who reads them is concerned when one comes or goes, not when it changes.
    pub fn keys<I: Input>(&self) -> Arc<std::collections::BTreeSet<I>> {
        let id = self.enter(&AllKeys::<I>::new(), &input::Ops::<I>::ALL);
        self.table.graph.borrow().value::<Keys<I>>(id).unwrap_or_default()
    }

    /// The keys of the facts of a kind that have a mark, sorted.
    pub fn tagged<I: Input>(&self, tag: &I::Tag) -> Arc<std::collections::BTreeSet<I>> {
        let id = self.enter(&Tagged::<I>(tag.clone()), &input::Ops::<I>::TAGGED);
        self.table.graph.borrow().value::<Keys<I>>(id).unwrap_or_default()
    }

    /// A derived value.
    ///
    /// # Panics
    /// If its function does and has never given a value, or is the one that reads, directly or through others.
    pub fn get<D: Derived>(&self, key: &D) -> D::Value {
        let id = self.enter(key, &DerivedOps::<D>::OPS);
        self.value(id)
    }

    fn value<V: Value>(&self, id: Id) -> V {
        let graph = self.table.graph.borrow();
        graph.value(id).unwrap_or_else(|| unmade(&graph, id, self.reads.is_some()))
    }

    /// One entry of a relation.
    ///
    /// # Panics
    /// As [`Reader::get`] does.
    pub fn entry<R: Relation>(&self, relation: &R, entry: &R::Entry) -> Option<R::Value> {
        let id = self.enter(&Entry(relation.clone(), entry.clone()), &RelationOps::<R>::ENTRY);
        self.value(id)
    }

    /// All entries of a relation. Who reads them is concerned by every change of it.
    ///
    /// # Panics
    /// As [`Reader::get`] does.
    pub fn whole<R: Relation>(&self, relation: &R) -> Arc<BTreeMap<R::Entry, R::Value>> {
        let id = self.enter(&Whole(relation.clone()), &RelationOps::<R>::WHOLE);
        self.value::<Map<R>>(id)
    }
}
