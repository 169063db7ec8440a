//! The list in `metadata.managedFields`.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::Writer;
use super::set::Set;

/// Update managers that are kept apart; the oldest of more are folded into one, as the real server does.
const MAX_UPDATE_MANAGERS: usize = 10;
/// Name of the entry that they are folded into.
const ANCIENT_CHANGES: &str = "ancient-changes";

/// What kind of write made an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// What tells entries apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) manager: String,
    pub(super) operation: Operation,
    pub(super) api_version: String,
    pub(super) subresource: String,
}

#[derive(Clone, Debug)]
struct Entry {
    id: Id,
    set: Set,
    time: String,
}

/// All entries of one object.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    entries: Vec<Entry>,
}

impl Id {
    pub(super) fn new(operation: Operation, api_version: &str, writer: Writer<'_>) -> Self {
        Self {
            manager: writer.manager.to_owned(),
            operation,
            api_version: api_version.to_owned(),
            subresource: writer.subresource.to_owned(),
        }
    }

    /// As conflict messages name it.
    fn describe(&self, time: &str) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
            if !time.is_empty() {
                text.push_str(&format!(" at {time}"));
            }
        }
        text
    }
}

impl Entries {
    /// Reads an object's entries; malformed ones are dropped.
    pub(super) fn of(object: &Value) -> Self {
        let list = object.pointer("/metadata/managedFields").and_then(Value::as_array);
        let entries = list.into_iter().flatten().filter_map(|entry| {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let operation = match text("operation").as_str() {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return None,
            };
            let id = Id {
                manager: text("manager"),
                operation,
                api_version: text("apiVersion"),
                subresource: text("subresource"),
            };
            Some(Entry { id, set: Set::from_value(entry.get("fieldsV1")?), time: text("time") })
        });
        Self { entries: entries.collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Removes and returns the entry of `id`.
    pub(super) fn take(&mut self, id: &Id) -> Option<(Set, Option<String>)> {
        let at = self.entries.iter().position(|e| e.id == *id)?;
        let entry = self.entries.remove(at);
        Some((entry.set, Some(entry.time)))
    }

    /// Removes and returns what an applier owned, under any version.
    pub(super) fn take_applied(&mut self, id: &Id) -> (Set, Option<String>) {
        let (mut set, mut time) = (Set::default(), None);
        self.entries.retain(|e| {
            let own = e.id.operation == Operation::Apply
                && e.id.manager == id.manager
                && e.id.subresource == id.subresource;
            if own {
                set.add(&e.set);
                time = Some(e.time.clone());
            }
            !own
        });
        (set, time)
    }

    pub(super) fn put(&mut self, id: Id, set: Set, time: &str) {
        if !set.is_empty() {
            self.entries.push(Entry { id, set, time: time.to_owned() });
        }
    }

    /// Everything that anybody owns.
    pub(super) fn union(&self) -> Set {
        let mut all = Set::default();
        self.entries.iter().for_each(|entry| all.add(&entry.set));
        all
    }

    /// Who owns something of `touched`.
    pub(super) fn conflicts(&self, touched: &Set) -> Vec<(String, Set)> {
        let mut out: Vec<(String, Set)> = self
            .entries
            .iter()
            .map(|e| (e.id.describe(&e.time), e.set.intersection(touched)))
            .filter(|(_, set)| !set.is_empty())
            .collect();
        out.sort_by(|a, b| a.0.cmp(&b.0));
        out
    }

    /// Takes `gone` from everybody.
    pub(super) fn give_up(&mut self, gone: &Set) {
        for entry in &mut self.entries {
            entry.set = entry.set.difference(gone);
        }
        self.entries.retain(|e| !e.set.is_empty());
    }

    /// Writes the entries into `metadata.managedFields`, appliers first, then by time.
    pub(super) fn write(mut self, object: &mut Value) {
        self.fold_old_updates();
        self.entries.sort_by(|a, b| {
            let key =
                |e: &Entry| (e.id.operation, e.time.clone(), e.id.manager.clone(), e.id.subresource.clone());
            key(a).cmp(&key(b))
        });
        let list: Vec<Value> = self.entries.iter().map(Entry::to_value).collect();
        let Some(object) = object.as_object_mut() else { return };
        let metadata = object.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            if list.is_empty() {
                metadata.shift_remove("managedFields");
            } else {
                metadata.insert("managedFields".into(), Value::Array(list));
            }
        }
    }

    fn fold_old_updates(&mut self) {
        let mut updates: Vec<usize> = (0..self.entries.len())
            .filter(|i| self.entries.get(*i).is_some_and(|e| e.id.operation == Operation::Update))
            .collect();
        if updates.len() <= MAX_UPDATE_MANAGERS {
            return;
        }
        updates.sort_by_key(|i| self.entries.get(*i).map(|e| e.time.clone()));
        let excess = updates.len() - MAX_UPDATE_MANAGERS + 1;
        let old: HashSet<usize> = updates.into_iter().take(excess).collect();
        let entries = std::mem::take(&mut self.entries).into_iter().enumerate();
        let (removed, kept): (Vec<_>, Vec<_>) = entries.partition(|(at, _)| old.contains(at));
        self.entries = kept.into_iter().map(|(_, entry)| entry).collect();
        let removed: Vec<Entry> = removed.into_iter().map(|(_, entry)| entry).rev().collect();
        let Some(mut folded) = removed.first().cloned() else { return };
        folded.id.manager = ANCIENT_CHANGES.into();
        for entry in &removed {
            folded.set.add(&entry.set);
            folded.time = folded.time.max(entry.time.clone());
        }
        self.entries.push(folded);
    }
}

impl Entry {
    fn to_value(&self) -> Value {
        let mut out = json!({
            "manager": self.id.manager,
            "operation": match self.id.operation { Operation::Apply => "Apply", Operation::Update => "Update" },
            "apiVersion": self.id.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.set.to_value(),
        });
        if !self.id.subresource.is_empty() {
            out["subresource"] = json!(self.id.subresource);
        }
        out
    }
}
