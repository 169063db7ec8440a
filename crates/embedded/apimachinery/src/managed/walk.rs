//! Values walked with their schema: which paths a value has, and which differ between two values.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::set::Set;
use crate::schema::{ListSchema, ListType, Schema};

/// What changed from one value to another.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) added: Set,
    pub(super) modified: Set,
    pub(super) removed: Set,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }
}

/// How ownership sees a value: as a whole, by field, or by item.
pub(super) enum Shape<'a> {
    Leaf,
    /// `declared` tells a struct's field from a map's key.
    Fields(&'a Map<String, Value>),
    Items(&'a ListSchema, &'a [Value]),
}

/// The shape of a value; values that do not fit their schema are leaves.
pub(super) fn shape<'a>(schema: &'a Schema, value: &'a Value) -> Shape<'a> {
    match (schema.resolve(), value) {
        (Schema::Object(object), _) if object.atomic => Shape::Leaf,
        (Schema::Map(map), _) if map.atomic => Shape::Leaf,
        // Without a schema, maps are granular and lists are not.
        (Schema::Object(_) | Schema::Map(_) | Schema::Any, Value::Object(map)) => Shape::Fields(map),
        (Schema::List(list), Value::Array(items)) if list.list_type != ListType::Atomic => {
            Shape::Items(list, items)
        }
        _ => Shape::Leaf,
    }
}

/// Whether `key` is a declared field of a struct, so that it needs no owner of its own.
pub(super) fn is_declared(schema: &Schema, key: &str) -> bool {
    schema.as_object().is_some_and(|o| o.fields.contains_key(key))
}

/// The path element of a list's item.
pub(super) fn item_element(list: &ListSchema, index: usize, item: &Value) -> String {
    match &list.list_type {
        ListType::Set => format!("v:{item}"),
        ListType::Map(keys) => {
            let fields = list.items.as_object().map(|o| &o.fields);
            let mut sorted: BTreeMap<&str, Value> = BTreeMap::new();
            for key in keys {
                let default = || fields.and_then(|f| f.get(key)).and_then(|f| f.default.clone());
                if let Some(value) = item.get(key).cloned().or_else(default) {
                    sorted.insert(key, value);
                }
            }
            if sorted.is_empty() {
                return format!("i:{index}");
            }
            let map: Map<String, Value> = sorted.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
            format!("k:{}", Value::Object(map))
        }
        ListType::Atomic => format!("i:{index}"),
    }
}

/// Every path of `value` that its writer states.
pub(super) fn set_of(schema: &Schema, value: &Value) -> Set {
    let mut set = Set::default();
    collect(schema, value, &mut Vec::new(), &mut set);
    set
}

fn collect(schema: &Schema, value: &Value, path: &mut Vec<String>, set: &mut Set) {
    match shape(schema, value) {
        Shape::Leaf => set.insert(path),
        Shape::Fields(map) => {
            for (key, child) in map {
                path.push(format!("f:{key}"));
                collect(schema.child(key), child, path, set);
                let empty = child.as_object().is_some_and(Map::is_empty);
                if empty || !is_declared(schema, key) {
                    set.insert(path);
                }
                path.pop();
            }
        }
        Shape::Items(list, items) => {
            for (i, item) in items.iter().enumerate() {
                path.push(item_element(list, i, item));
                collect(&list.items, item, path, set);
                set.insert(path);
                path.pop();
            }
        }
    }
}

/// What changed from `old` to `new`.
pub(super) fn compare(schema: &Schema, old: &Value, new: &Value) -> Changes {
    let mut changes = Changes::default();
    difference(schema, Some(old), Some(new), &mut Vec::new(), &mut changes);
    changes
}

fn difference(
    schema: &Schema,
    old: Option<&Value>,
    new: Option<&Value>,
    path: &mut Vec<String>,
    changes: &mut Changes,
) {
    if old == new {
        return;
    }
    let shapes = (old.map(|v| shape(schema, v)), new.map(|v| shape(schema, v)));
    match &shapes {
        (Some(Shape::Leaf) | None, Some(Shape::Leaf) | None) => match (old, new) {
            (None, _) => changes.added.insert(path),
            (_, None) => changes.removed.insert(path),
            _ => changes.modified.insert(path),
        },
        (Some(Shape::Fields(_)) | None, Some(Shape::Fields(_)) | None) => {
            let old_keys = old.and_then(Value::as_object).into_iter().flat_map(Map::keys);
            let new_keys = new.and_then(Value::as_object).into_iter().flat_map(Map::keys);
            let gone = old_keys.filter(|k| new.and_then(|v| v.get(k.as_str())).is_none());
            for key in new_keys.chain(gone) {
                path.push(format!("f:{key}"));
                let (before, after) = (old.and_then(|v| v.get(key)), new.and_then(|v| v.get(key)));
                difference(schema.child(key), before, after, path, changes);
                path.pop();
            }
            one_sided(old, new, path, changes);
        }
        (Some(Shape::Items(..)) | None, Some(Shape::Items(..)) | None) => {
            let Schema::List(list) = schema.resolve() else { return };
            let (old_items, new_items) = (by_element(list, old), by_element(list, new));
            let gone = old_items.keys().filter(|k| !new_items.contains_key(*k));
            for element in new_items.keys().chain(gone) {
                path.push(element.clone());
                let (old, new) = (old_items.get(element).copied(), new_items.get(element).copied());
                difference(&list.items, old, new, path, changes);
                path.pop();
            }
            one_sided(old, new, path, changes);
        }
        // The form changed (a map became a scalar): everything old is gone, everything new is added.
        _ => {
            difference(schema, old, None, path, changes);
            difference(schema, None, new, path, changes);
        }
    }
}

/// A struct, map, list or item that appears or disappears is a path of its own.
fn one_sided(old: Option<&Value>, new: Option<&Value>, path: &[String], changes: &mut Changes) {
    // These exist in every object of the Go types, so that nobody owns them.
    let always_there = matches!(
        path.last().map(String::as_str),
        None | Some("f:metadata" | "f:spec" | "f:status" | "f:template")
    );
    match (old, new) {
        _ if always_there => {}
        (None, Some(_)) => changes.added.insert(path),
        (Some(_), None) => changes.removed.insert(path),
        _ => {}
    }
}

fn by_element<'a>(list: &ListSchema, value: Option<&'a Value>) -> BTreeMap<String, &'a Value> {
    let items = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    items.iter().enumerate().map(|(i, item)| (item_element(list, i, item), item)).collect()
}
