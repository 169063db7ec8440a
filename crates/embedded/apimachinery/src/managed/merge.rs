//! The value half of server-side apply: merging a configuration into the live object, removing what its applier
//! gave up, and putting the result back into the whole object.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::set::Set;
use super::walk::{Shape, item_element, shape};
use crate::resources::Resource;
use crate::schema::{ListSchema, Schema};

/// `config` laid over `live`.
pub(super) fn merge(schema: &Schema, live: &Value, config: &Value) -> Value {
    match (shape(schema, live), shape(schema, config)) {
        (Shape::Fields(live), Shape::Fields(config)) => {
            let mut out = live.clone();
            for (key, value) in config {
                let merged = match live.get(key) {
                    Some(old) => merge(schema.child(key), old, value),
                    None => value.clone(),
                };
                out.insert(key.clone(), merged);
            }
            Value::Object(out)
        }
        (Shape::Items(list, live), Shape::Items(_, config)) => Value::Array(merge_items(list, live, config)),
        // An empty list or map with the wrong form of the other side has nothing to keep.
        _ => config.clone(),
    }
}

/// The applier's order; items that only the live list has come first where the two orders allow it.
fn merge_items(list: &ListSchema, live: &[Value], config: &[Value]) -> Vec<Value> {
    let elements = |items: &[Value]| -> Vec<String> {
        items.iter().enumerate().map(|(i, item)| item_element(list, i, item)).collect()
    };
    let (live_elements, config_elements) = (elements(live), elements(config));
    let mut out = Vec::with_capacity(live.len().max(config.len()));
    let in_config: HashSet<&String> = config_elements.iter().collect();
    let mut in_live = HashMap::with_capacity(live.len());
    for (at, element) in live_elements.iter().enumerate() {
        in_live.entry(element).or_insert(at);
    }
    let live_only = |element: &String| !in_config.contains(element);
    let mut rest = live_elements.iter().zip(live).enumerate().peekable();
    for (element, item) in config_elements.iter().zip(config) {
        let found = in_live.get(element).copied();
        // Up to the same item of the live list; without one, up to the next item that both have.
        let before = |at: usize, e: &String| found.map_or_else(|| live_only(e), |found| at < found);
        while let Some((_, (e, value))) = rest.next_if(|(at, (e, _))| before(*at, e)) {
            if live_only(e) {
                out.push(value.clone());
            }
        }
        match found.and_then(|at| live.get(at)) {
            Some(old) => out.push(merge(&list.items, old, item)),
            None => out.push(item.clone()),
        }
    }
    out.extend(rest.filter(|(_, (e, _))| live_only(e)).map(|(_, (_, value))| value.clone()));
    out
}

/// Removes from `value` what `previous` owned and nobody in `keep` owns any more.
pub(super) fn prune(schema: &Schema, value: &mut Value, previous: &Set, keep: &Set) {
    match schema.resolve() {
        Schema::List(list) => {
            let Some(items) = value.as_array_mut() else { return };
            let mut index = 0;
            items.retain_mut(|item| {
                let element = item_element(list, index, item);
                index += 1;
                prune_child(&list.items, item, previous, keep, &element, false)
            });
        }
        resolved => {
            let Some(map) = value.as_object_mut() else { return };
            map.retain(|key, child| {
                let declared = super::walk::is_declared(resolved, key);
                prune_child(resolved.child(key), child, previous, keep, &format!("f:{key}"), declared)
            });
        }
    }
}

/// Whether the child stays.
fn prune_child(
    schema: &Schema,
    child: &mut Value,
    previous: &Set,
    keep: &Set,
    element: &str,
    declared: bool,
) -> bool {
    let Some(before) = previous.nodes.get(element) else { return true };
    match keep.nodes.get(element) {
        // Nobody owns it or anything in it. Fields of structs need no owner of their own to go.
        None if before.member || declared => false,
        None => {
            prune(schema, child, &before.children, &Set::default());
            true
        }
        Some(kept) => {
            prune(schema, child, &before.children, &kept.children);
            true
        }
    }
}

/// Puts the merged part back: identity and server-made metadata come from the live object, or from the
/// configuration when there is none yet.
pub(super) fn graft(
    resource: &Resource,
    subresource: &str,
    live: Option<&Value>,
    config: &Value,
    merged: Value,
) -> Value {
    let base = live.unwrap_or(config);
    let mut merged = merged.as_object().cloned().unwrap_or_default();
    let mut out = Map::new();
    out.insert("apiVersion".into(), json!(resource.api_version()));
    out.insert("kind".into(), json!(resource.kind));
    let mut metadata = Map::new();
    let base_metadata = base.get("metadata").and_then(Value::as_object);
    let identity = super::relevant(resource, "", &json!({"metadata": base.get("metadata")}));
    let writable = identity.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    for (key, value) in base_metadata.into_iter().flatten() {
        // Through /status the metadata stays as it is.
        if subresource == "status" || !writable.contains_key(key) {
            metadata.insert(key.clone(), value.clone());
        }
    }
    // The applier may state uid and resourceVersion as preconditions; the caller checks them on the result.
    for key in ["resourceVersion", "uid"] {
        if let Some(value) = config.pointer(&format!("/metadata/{key}")).filter(|v| !v.is_null()) {
            metadata.insert(key.into(), value.clone());
        }
    }
    if let Some(Value::Object(merged)) = merged.shift_remove("metadata") {
        metadata.extend(merged);
    }
    out.insert("metadata".into(), Value::Object(metadata));
    // The half that this write does not touch comes from the live object.
    for (key, value) in base.as_object().into_iter().flatten() {
        let other_half = match subresource {
            "status" => key != "status",
            _ => key == "status" && resource.has_status(),
        };
        if live.is_some() && other_half && !out.contains_key(key) {
            out.insert(key.clone(), value.clone());
        }
    }
    out.extend(merged);
    Value::Object(out)
}
