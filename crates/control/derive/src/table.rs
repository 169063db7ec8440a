//! The table: facts are set, keys are held, and the table is made true again.

use std::{
    any::TypeId,
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use crate::{
    Counts, Derived, Failure, Input, Key,
    derived::DerivedOps,
    input::{self, AllKeys, Tagged},
    node::Shared,
    reader::Reader,
};

/// Facts and what follows from them. Whoever shares one puts it behind a lock: one at a time works with it.
#[derive(Default)]
pub struct Table {
    graph: Shared,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("counts", &self.counts()).finish()
    }
}

/// The held keys whose values differ since the last [`Table::settle`], by type of key.
#[derive(Debug, Default)]
pub struct Changes(HashMap<TypeId, Vec<Box<dyn std::any::Any + Send>>>);

impl Changes {
    /// The keys of one type, in their order.
    pub fn of<K: Key>(&self) -> impl Iterator<Item = &K> {
        self.0.get(&TypeId::of::<K>()).into_iter().flatten().filter_map(|key| key.downcast_ref())
    }

    /// Nothing differs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Table {
    /// A table without facts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a fact, or takes it away. Whether that is a change.
    pub fn set<I: Input>(&mut self, key: &I, value: Option<I::Value>) -> bool {
        let graph = self.graph.get_mut();
        let id = graph.enter(key, &input::Ops::<I>::VALUE);
        let old: Option<I::Value> = graph.value(id);
        let tags = |value: &Option<I::Value>| -> BTreeSet<I::Tag> {
            value.iter().flat_map(|value| key.tags(value)).collect()
        };
        let (before, after) = (tags(&old), tags(&value));
        let (was, is) = (old.is_some(), value.is_some());
        if !graph.put(id, value) {
            graph.sweep();
            return false;
        }
        graph.announce(id);
        for (tag, listed) in before
            .difference(&after)
            .map(|tag| (tag, false))
            .chain(after.difference(&before).map(|tag| (tag, true)))
        {
            input::list(graph, &Tagged::<I>(tag.clone()), &input::Ops::<I>::TAGGED, key, listed);
        }
        if was != is {
            input::list(graph, &AllKeys::<I>::new(), &input::Ops::<I>::ALL, key, is);
        }
        graph.loose.push(id);
        graph.sweep();
        true
    }

    /// Makes the facts of a kind these and no others; whether anything differs.
    pub fn replace<I: Input>(&mut self, facts: BTreeMap<I, I::Value>) -> bool {
        let mut differs = false;
        for key in self.keys::<I>() {
            if !facts.contains_key(&key) {
                differs |= self.set(&key, None);
            }
        }
        for (key, value) in facts {
            differs |= self.set(&key, Some(value));
        }
        differs
    }

    /// The keys of all facts of a kind.
    pub fn keys<I: Input>(&self) -> Vec<I> {
        let graph = self.graph.borrow();
        let keys = graph.find(&AllKeys::<I>::new()).and_then(|id| graph.value::<input::Keys<I>>(id));
        keys.map(|keys| keys.iter().cloned().collect()).unwrap_or_default()
    }

    /// A fact.
    pub fn fact<I: Input>(&self, key: &I) -> Option<I::Value> {
        let graph = self.graph.borrow();
        graph.value(graph.find(key)?)
    }

    /// Has a value kept and its changes told by [`Table::settle`], for the first time by the next one. Held twice it has to
    /// be released twice.
    pub fn hold<D: Derived>(&mut self, key: &D) {
        let graph = self.graph.get_mut();
        let id = graph.enter(key, &DerivedOps::<D>::OPS);
        let Some(node) = graph.get_mut(id) else { return };
        node.holds += 1;
        if node.dirty {
            graph.soil(id);
        }
        // It may come out as it was, but whoever holds it now has not heard of it.
        graph.changed.entry(TypeId::of::<D>()).or_default().insert(id);
    }

    /// Takes back a [`Table::hold`].
    pub fn release<D: Derived>(&mut self, key: &D) {
        let graph = self.graph.get_mut();
        let Some(id) = graph.find(key) else { return };
        if let Some(node) = graph.get_mut(id) {
            node.holds = node.holds.saturating_sub(1);
        }
        graph.loose.push(id);
    }

    /// The value of a held key as the last [`Table::settle`] left it.
    pub fn held<D: Derived>(&self, key: &D) -> Option<D::Value> {
        let graph = self.graph.borrow();
        graph.value(graph.find(key)?)
    }

    /// Makes everything that is held true again and says what of it differs.
    pub fn settle(&mut self) -> Changes {
        self.make_true();
        let graph = self.graph.get_mut();
        graph.sweep();
        let mut changes = Changes::default();
        for (of, ids) in std::mem::take(&mut graph.changed) {
            let keys: Vec<_> = ids
                .into_iter()
                .filter_map(|id| graph.get(id).filter(|node| node.holds > 0))
                .map(|node| (node.ops.copy_key)(node.key.as_ref()))
                .collect();
            if !keys.is_empty() {
                changes.0.insert(of, keys);
            }
        }
        changes
    }

    /// Reads what follows from the facts as they are now. What is not held is made for this and forgotten by the next
    /// [`Table::settle`] or reader.
    pub fn reader(&self) -> Reader<'_> {
        self.make_true();
        self.graph.borrow_mut().sweep();
        Reader::new(&self.graph)
    }

    /// Functions that have panicked since this was asked last.
    pub fn take_failures(&mut self) -> Vec<Failure> {
        std::mem::take(&mut self.graph.get_mut().failures)
    }

    /// How much work there was so far, by kind.
    pub fn counts(&self) -> BTreeMap<&'static str, Counts> {
        self.graph.borrow().counters.all()
    }

    fn make_true(&self) {
        loop {
            // The graph is let go of before anything is made: what is made reads it.
            let next = self.graph.borrow_mut().next_dirty();
            let Some((id, make)) = next else { return };
            make(&self.graph, id);
        }
    }
}
