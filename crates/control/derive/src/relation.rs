//! Maps that are read entry by entry.

use std::{cell::RefCell, collections::BTreeMap, marker::PhantomData, sync::Arc};

use crate::{
    Relation,
    guard::guarded,
    node::{Graph, Id, Ops, Shared},
    reader::Reader,
};

/// The whole map of a relation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Whole<R>(pub(crate) R);

/// One entry of a relation's map.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Entry<R: Relation>(pub(crate) R, pub(crate) R::Entry);

/// The map as it is held.
pub(crate) type Map<R> = Arc<BTreeMap<<R as Relation>::Entry, <R as Relation>::Value>>;

/// The operations of relations.
pub(crate) struct RelationOps<R>(PhantomData<R>);

impl<R: Relation> RelationOps<R> {
    pub(crate) const WHOLE: Ops = Ops { make: Some(make_whole::<R>), ..Ops::fact::<Whole<R>>() };
    pub(crate) const ENTRY: Ops = Ops { make: Some(make_entry::<R>), entry: true, ..Ops::fact::<Entry<R>>() };
}

fn make_whole<R: Relation>(graph: &Shared, id: Id) {
    let Some(key) = graph.borrow_mut().begin::<Whole<R>>(id) else { return };
    let reads = RefCell::default();
    let reader = Reader::recording(graph, &reads);
    let map = guarded(graph, id, || key.0.derive(&reader));
    let mut graph = graph.borrow_mut();
    graph.end(id, reads.take());
    let Some(map) = map else { return graph.count(id, false) };
    let map: Map<R> = Arc::new(map);
    let before: Map<R> = graph.value(id).unwrap_or_default();
    let changed = graph.put(id, Some(map.clone()));
    graph.count(id, changed);
    if changed {
        graph.announce(id);
        soil_entries(&mut graph, &key.0, &before, &map);
    }
}

/// Has the entries that differ made again. Both maps are sorted: one walk finds them.
fn soil_entries<R: Relation>(graph: &mut Graph, relation: &R, before: &Map<R>, after: &Map<R>) {
    let mut soil = |entry: &R::Entry| {
        if let Some(id) = graph.find(&Entry(relation.clone(), entry.clone())) {
            graph.soil(id);
        }
    };
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    loop {
        match (old.peek().copied(), new.peek().copied()) {
            (None, None) => return,
            (Some((a, x)), Some((b, y))) if a == b => {
                if x != y {
                    soil(a);
                }
                old.next();
                new.next();
            }
            (Some((a, _)), b) if b.is_none_or(|(b, _)| a < b) => {
                soil(a);
                old.next();
            }
            (_, Some((b, _))) => {
                soil(b);
                new.next();
            }
            (Some(_), None) => return,
        }
    }
}

fn make_entry<R: Relation>(graph: &Shared, id: Id) {
    let Some(key) = graph.borrow_mut().begin::<Entry<R>>(id) else { return };
    let reads = RefCell::default();
    let reader = Reader::recording(graph, &reads);
    let map = guarded(graph, id, || reader.whole(&key.0));
    let mut graph = graph.borrow_mut();
    graph.end(id, reads.take());
    let Some(map) = map else { return };
    let value: Option<R::Value> = map.get(&key.1).cloned();
    // An entry that is not there has a value too: that it is not there.
    if graph.put(id, Some(value)) {
        graph.announce(id);
    }
}

impl Reader<'_> {
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
