//! The entries of a table and who reads whom.

use std::{
    any::{Any, TypeId},
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    Key, Value,
    counters::{Counters, short_name},
    failure::Failure,
};

/// Place of an entry.
pub(crate) type Id = u32;

/// Makes an entry.
pub(crate) type Make = fn(&Shared, Id);

/// The graph as those share it who read it and those who make what is read.
pub(crate) type Shared = RefCell<Graph>;

/// What is to be done with an entry, by its kind.
pub(crate) struct Ops {
    /// Name of the kind, for counters.
    pub(crate) name: fn(&(dyn Any + Send + Sync)) -> &'static str,
    /// Makes the value again; nothing for facts.
    pub(crate) make: Option<Make>,
    /// Takes the key out of its index.
    pub(crate) unlist: fn(&mut Graph, &(dyn Any + Send + Sync)),
    /// It is kept although nobody reads it.
    pub(crate) kept: fn(&Node) -> bool,
    /// It is told of changes by name, and not by being read.
    pub(crate) entry: bool,
    /// A copy of the key, for whoever is told of changes.
    pub(crate) copy_key: fn(&(dyn Any + Send + Sync)) -> Box<dyn Any + Send>,
    /// The key as text.
    pub(crate) show: fn(&(dyn Any + Send + Sync)) -> String,
}

impl Ops {
    /// Those of a kind that is set from outside and not kept for its own sake.
    pub(crate) const fn fact<K: Key>() -> Self {
        Self {
            name: |_| short_name::<K>(),
            make: None,
            unlist: unlist::<K>,
            kept: |_| false,
            entry: false,
            copy_key: copy_key::<K>,
            show: |key| format!("{:?}", key.downcast_ref::<K>()),
        }
    }
}

/// An entry.
pub(crate) struct Node {
    pub(crate) key: Arc<dyn Any + Send + Sync>,
    pub(crate) value: Option<Box<dyn Any + Send + Sync>>,
    pub(crate) ops: &'static Ops,
    /// One more than the highest of what it reads: waves go upwards.
    pub(crate) height: u32,
    /// What it has read, sorted.
    pub(crate) reads: Vec<Id>,
    pub(crate) readers: BTreeSet<Id>,
    pub(crate) holds: u32,
    pub(crate) dirty: bool,
    pub(crate) making: bool,
    /// How often the value has come out different.
    pub(crate) changes: u32,
    /// Why it could not be made the last time.
    pub(crate) failed: Option<Box<str>>,
}

/// A read: of which entry, and how often its value had changed by then.
pub(crate) type Read = (Id, u32);

/// All entries.
#[derive(Default)]
pub(crate) struct Graph {
    nodes: Vec<Option<Node>>,
    free: Vec<Id>,
    indexes: HashMap<TypeId, Box<dyn Any + Send>>,
    /// Entries that are to be made again, lowest first.
    pub(crate) queue: BTreeSet<(u32, Id)>,
    /// Held entries whose values differ, by the type of their keys.
    pub(crate) changed: HashMap<TypeId, BTreeSet<Id>>,
    /// Entries that perhaps nobody needs any more.
    pub(crate) loose: Vec<Id>,
    pub(crate) counters: Counters,
    pub(crate) failures: Vec<Failure>,
}

type Index<K> = HashMap<Arc<K>, Id>;

impl Graph {
    fn index<K: Key>(&mut self) -> Option<&mut Index<K>> {
        let made = || Box::new(Index::<K>::new()) as Box<dyn Any + Send>;
        self.indexes.entry(TypeId::of::<K>()).or_insert_with(made).downcast_mut()
    }

    /// The entry of a key, if there is one.
    pub(crate) fn find<K: Key>(&self, key: &K) -> Option<Id> {
        self.indexes.get(&TypeId::of::<K>())?.downcast_ref::<Index<K>>()?.get(key).copied()
    }

    /// The entry of a key, new without a value if there was none.
    pub(crate) fn enter<K: Key>(&mut self, key: &K, ops: &'static Ops) -> Id {
        if let Some(id) = self.find(key) {
            return id;
        }
        let key = Arc::new(key.clone());
        let name = (ops.name)(key.as_ref());
        let node = Node {
            key: key.clone(),
            value: None,
            ops,
            height: 0,
            reads: Vec::new(),
            readers: BTreeSet::new(),
            holds: 0,
            dirty: ops.make.is_some(),
            making: false,
            changes: 0,
            failed: None,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.nodes[id as usize] = Some(node);
                id
            }
            None => {
                self.nodes.push(Some(node));
                // A table of four thousand million entries does not fit in memory.
                u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(index) = self.index::<K>() {
            index.insert(key, id);
        }
        self.counters.of(name).live += 1;
        self.loose.push(id);
        id
    }

    pub(crate) fn get(&self, id: Id) -> Option<&Node> {
        self.nodes.get(id as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut Node> {
        self.nodes.get_mut(id as usize)?.as_mut()
    }

    /// The value of an entry.
    pub(crate) fn value<V: Value>(&self, id: Id) -> Option<V> {
        self.get(id)?.value.as_ref()?.downcast_ref::<V>().cloned()
    }

    /// Begins to make an entry: its key.
    pub(crate) fn begin<K: Key>(&mut self, id: Id) -> Option<Arc<K>> {
        let node = self.get_mut(id)?;
        node.dirty = false;
        node.making = true;
        node.failed = None;
        node.key.clone().downcast::<K>().ok()
    }

    /// Ends it. When something that it has read is different by now, it is to be made again.
    pub(crate) fn end(&mut self, id: Id, reads: Vec<Read>) {
        if let Some(node) = self.get_mut(id) {
            node.making = false;
        }
        let outdated = reads.iter().any(|(read, seen)| self.get(*read).is_none_or(|n| n.changes != *seen));
        self.set_reads(id, reads.into_iter().map(|(read, _)| read).collect());
        if outdated {
            self.soil(id);
        }
    }

    /// Counts that an entry could not be made.
    pub(crate) fn count_failure(&mut self, id: Id) {
        if let Some(name) = self.get(id).map(|node| (node.ops.name)(node.key.as_ref())) {
            self.counters.of(name).failed += 1;
        }
    }

    /// Counts that an entry was made.
    pub(crate) fn count(&mut self, id: Id, changed: bool) {
        let Some(name) = self.get(id).map(|node| (node.ops.name)(node.key.as_ref())) else { return };
        let counts = self.counters.of(name);
        counts.made += 1;
        counts.unchanged += u64::from(!changed);
    }

    /// Puts a value in; whether it differs.
    pub(crate) fn put<V: Value>(&mut self, id: Id, value: Option<V>) -> bool {
        let Some(node) = self.get_mut(id) else { return false };
        let old = node.value.as_ref().and_then(|v| v.downcast_ref::<V>());
        if old == value.as_ref() {
            return false;
        }
        node.value = value.map(|v| Box::new(v) as Box<dyn Any + Send + Sync>);
        true
    }

    /// Has all readers of an entry made again, and notes it if it is held.
    pub(crate) fn announce(&mut self, id: Id) {
        let Some(node) = self.get_mut(id) else { return };
        node.changes = node.changes.wrapping_add(1);
        if node.holds > 0 {
            let of = node.key.as_ref().type_id();
            self.changed.entry(of).or_default().insert(id);
        }
        let Some(node) = self.get(id) else { return };
        let readers: Vec<Id> = node.readers.iter().copied().collect();
        for reader in readers {
            if !self.get(reader).is_some_and(|n| n.ops.entry) {
                self.soil(reader);
            }
        }
    }

    /// Marks an entry as to be made again.
    pub(crate) fn soil(&mut self, id: Id) {
        let Some(node) = self.get_mut(id) else { return };
        node.dirty = true;
        let place = (node.height, id);
        self.queue.insert(place);
    }

    /// Writes down what an entry has read.
    pub(crate) fn set_reads(&mut self, id: Id, mut reads: Vec<Id>) {
        reads.sort_unstable();
        reads.dedup();
        reads.shrink_to_fit();
        let height = reads.iter().filter_map(|r| self.get(*r)).map(|n| n.height + 1).max().unwrap_or(0);
        let Some(node) = self.get_mut(id) else { return };
        node.height = height;
        let before = std::mem::take(&mut node.reads);
        for gone in before.iter().filter(|r| reads.binary_search(r).is_err()) {
            if let Some(read) = self.get_mut(*gone) {
                read.readers.remove(&id);
                self.loose.push(*gone);
            }
        }
        for new in reads.iter().filter(|r| before.binary_search(r).is_err()) {
            if let Some(read) = self.get_mut(*new) {
                read.readers.insert(id);
            }
        }
        if let Some(node) = self.get_mut(id) {
            node.reads = reads;
        }
    }

    /// Whether anybody wants an entry.
    pub(crate) fn wanted(&self, id: Id) -> bool {
        self.get(id).is_some_and(|n| n.holds > 0 || !n.readers.is_empty())
    }

    /// The lowest entry that is to be made again, and how.
    pub(crate) fn next_dirty(&mut self) -> Option<(Id, Make)> {
        while let Some((_, id)) = self.queue.pop_first() {
            let Some(node) = self.get(id).filter(|node| node.dirty) else { continue };
            let make = node.ops.make;
            if !self.wanted(id) {
                // Whoever reads it next makes it again.
                self.loose.push(id);
                continue;
            }
            if let Some(make) = make {
                return Some((id, make));
            }
        }
        None
    }

    /// Forgets what nobody wants.
    pub(crate) fn sweep(&mut self) {
        while let Some(id) = self.loose.pop() {
            let Some(node) = self.get(id) else { continue };
            if node.holds > 0 || !node.readers.is_empty() || (node.ops.kept)(node) {
                continue;
            }
            let Some(node) = self.nodes.get_mut(id as usize).and_then(Option::take) else { continue };
            (node.ops.unlist)(self, node.key.as_ref());
            self.queue.remove(&(node.height, id));
            let counts = self.counters.of((node.ops.name)(node.key.as_ref()));
            counts.live = counts.live.saturating_sub(1);
            for read in node.reads {
                if let Some(other) = self.get_mut(read) {
                    other.readers.remove(&id);
                    self.loose.push(read);
                }
            }
            self.free.push(id);
        }
    }
}

fn copy_key<K: Key>(key: &(dyn Any + Send + Sync)) -> Box<dyn Any + Send> {
    match key.downcast_ref::<K>() {
        Some(key) => Box::new(key.clone()),
        // A node's operations are those of its key's type.
        None => Box::new(()),
    }
}

/// Takes a key out of the index of its type.
fn unlist<K: Key>(graph: &mut Graph, key: &(dyn Any + Send + Sync)) {
    if let (Some(key), Some(index)) = (key.downcast_ref::<K>(), graph.index::<K>()) {
        index.remove(key);
    }
}

/// Makes an entry now if it has to be; for reads in the middle of a wave.
pub(crate) fn freshen(graph: &Shared, id: Id) {
    let make = {
        let graph = graph.borrow();
        let Some(node) = graph.get(id) else { return };
        assert!(!node.making, "a circle of reads through {}", (node.ops.show)(node.key.as_ref()));
        if !node.dirty {
            return;
        }
        node.ops.make
    };
    if let Some(make) = make {
        make(graph, id);
    }
}
