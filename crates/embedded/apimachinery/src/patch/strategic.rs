//! Strategic merge patch: a merge patch that merges lists by key, with the directives `$patch`, `$retainKeys`,
//! `$setElementOrder/<list>` and `$deleteFromPrimitiveList/<list>`.
//!
//! Behaviour: Kubernetes' "Update API objects in place using kubectl patch" and the design note
//! "preserve order in strategic merge patch" (Kubernetes design proposals, api-machinery).

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::schema::{ListPatch, Schema};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Merges `patch` into a copy of `current`.
pub(super) fn merge(schema: &Schema, current: &Value, patch: Value) -> Result<Value, String> {
    let original = current.as_object().cloned().unwrap_or_default();
    let Value::Object(patch) = patch else { return Err("the patch must be a JSON object".into()) };
    merge_map(schema, original, patch).map(Value::Object)
}

type Object = Map<String, Value>;

fn merge_map(schema: &Schema, mut original: Object, mut patch: Object) -> Result<Object, String> {
    match patch.shift_remove(PATCH) {
        None => {}
        Some(Value::String(d)) if d == "merge" => {}
        Some(Value::String(d)) if d == "replace" => return Ok(without_directives_map(patch)),
        Some(Value::String(d)) if d == "delete" => return Ok(Object::new()),
        Some(other) => {
            return Err(format!("unknown patch type found: {other}: use replace, merge or delete"));
        }
    }
    retain_keys(&mut original, &mut patch)?;
    let done = merge_ordered_lists(schema, &mut original, &mut patch)?;
    let mut removed = HashSet::new();
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_FROM) {
            if let (Some(Value::Array(items)), Value::Array(gone)) = (original.get_mut(list), &value) {
                let gone: HashSet<String> = gone.iter().map(canonical).collect();
                items.retain(|i| !gone.contains(&canonical(i)));
            }
            continue;
        }
        if done.contains(&key) {
            continue;
        }
        if value.is_null() {
            removed.insert(key);
            continue;
        }
        let merged = match (original.get_mut(&key).map(Value::take), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                Value::Object(merge_map(schema.child(&key), old, new)?)
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                Value::Array(merge_list(schema.child(&key), &key, old, new)?)
            }
            (_, new) => without_directives(new),
        };
        original.insert(key, merged);
    }
    // Together: one removal alone moves everything behind it.
    if !removed.is_empty() {
        original.retain(|key, _| !removed.contains(key));
    }
    Ok(original)
}

/// `$retainKeys`: of a union only the named fields stay.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), String> {
    let Some(keys) = patch.shift_remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else { return Err("$retainKeys must be a list of field names".into()) };
    let keys: HashSet<&str> = keys.iter().filter_map(Value::as_str).collect();
    let listed = |key: &str| keys.contains(key);
    if let Some(key) = patch.keys().find(|k| !k.starts_with('$') && !listed(k)) {
        return Err(format!("field {key} of the patch is not in its $retainKeys list"));
    }
    original.retain(|key, _| listed(key));
    Ok(())
}

/// Lists that come with `$setElementOrder/<list>`: merged, then put in the order that the client wants. Answers the
/// keys of the patch that are done with.
fn merge_ordered_lists(
    schema: &Schema,
    original: &mut Object,
    patch: &mut Object,
) -> Result<HashSet<String>, String> {
    let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(SET_ORDER)).cloned().collect();
    let mut done = HashSet::new();
    for directive in directives {
        let Some(list) = directive.strip_prefix(SET_ORDER) else { continue };
        let Some(Value::Array(order)) = patch.get_mut(&directive).map(Value::take) else {
            return Err(format!("{directive} must be a list"));
        };
        let old = match original.get_mut(list) {
            Some(Value::Array(items)) => Some(std::mem::take(items)),
            _ => None,
        };
        let new = match patch.get_mut(list) {
            None => None,
            Some(Value::Array(items)) => {
                done.insert(list.to_owned());
                Some(std::mem::take(items))
            }
            // Something else than a list (null, for a deleted one) is merged like any other field.
            Some(_) => {
                done.insert(directive);
                continue;
            }
        };
        let field = schema.child(list);
        let id = Identity::of(field);
        let before = Positions::of(&id, old.as_deref().unwrap_or_default());
        let merged = match (old, new) {
            (None, None) => None,
            (Some(old), None) => Some(old),
            (None, Some(new)) => Some(without_directives_list(new)),
            (Some(old), Some(new)) => Some(merge_list(field, list, old, new)?),
        };
        if let Some(merged) = merged {
            let ordered = put_in_order(&id, merged, &Positions::of(&id, &order), &before);
            original.insert(list.to_owned(), Value::Array(ordered));
        }
        done.insert(directive);
    }
    Ok(done)
}

fn merge_list(schema: &Schema, name: &str, old: Vec<Value>, new: Vec<Value>) -> Result<Vec<Value>, String> {
    let Schema::List(list) = schema.resolve() else { return Ok(without_directives_list(new)) };
    match &list.patch {
        ListPatch::Replace => Ok(without_directives_list(new)),
        ListPatch::MergeScalars => {
            let id = Identity::Value;
            let (before, order) = (Positions::of(&id, &old), Positions::of(&id, &new));
            let mut known: HashSet<String> = old.iter().map(canonical).collect();
            let mut merged = old;
            merged.extend(new.into_iter().filter(|item| known.insert(canonical(item))));
            Ok(put_in_order(&id, merged, &order, &before))
        }
        ListPatch::MergeBy(key) => merge_objects(&list.items, name, key, old, new),
    }
}

fn merge_objects(
    items: &Schema,
    name: &str,
    key: &str,
    old: Vec<Value>,
    new: Vec<Value>,
) -> Result<Vec<Value>, String> {
    let id = Identity::Key(key.to_owned());
    let before = Positions::of(&id, &old);
    let mut additions = Vec::new();
    let mut deleted = HashSet::new();
    let mut replace = false;
    for item in new {
        let Value::Object(mut item) = item else {
            return Err(format!("the items of {name} must be objects with the merge key {key}"));
        };
        match item.get(PATCH).and_then(Value::as_str) {
            Some("delete") => {
                let Some(value) = item.get(key) else {
                    return Err(format!("a $patch: delete item of {name} must have the merge key {key}"));
                };
                deleted.insert(canonical(value));
            }
            Some("replace") => {
                replace = true;
                item.shift_remove(PATCH);
                if !item.is_empty() {
                    additions.push(Value::Object(item));
                }
            }
            Some("merge") | None => additions.push(Value::Object(item)),
            Some(other) => return Err(format!("unknown patch type {other:?} in {name}")),
        }
    }
    if replace {
        return Ok(without_directives_list(additions));
    }
    let mut merged = old;
    if !deleted.is_empty() {
        merged.retain(|item| item.get(key).is_none_or(|value| !deleted.contains(&canonical(value))));
    }
    let order = Positions::of(&id, &additions);
    let mut places = Positions::of(&id, &merged);
    for item in additions {
        let Some(value) = item.get(key).map(canonical) else {
            return Err(format!("an item of {name} does not contain the merge key {key}"));
        };
        match (places.0.get(&value).and_then(|at| merged.get_mut(*at)), item) {
            (Some(slot), Value::Object(item)) => {
                let Value::Object(original) = slot.take() else { continue };
                *slot = Value::Object(merge_map(items, original, item)?);
            }
            (_, item) => {
                places.0.insert(value, merged.len());
                merged.push(without_directives(item));
            }
        }
    }
    Ok(put_in_order(&id, merged, &order, &before))
}

/// What makes two list items the same.
enum Identity {
    Value,
    Key(String),
}

impl Identity {
    fn of(schema: &Schema) -> Self {
        match schema.resolve() {
            Schema::List(list) => match &list.patch {
                ListPatch::MergeBy(key) => Self::Key(key.clone()),
                _ => Self::Value,
            },
            _ => Self::Value,
        }
    }

    /// Equal for items that are the same, and for no others.
    fn text(&self, item: &Value) -> String {
        match self {
            Self::Value => canonical(item),
            Self::Key(key) => item.get(key).map(canonical).unwrap_or_default(),
        }
    }
}

/// Where the items of a list stand, by what identifies them; the first of several that are the same.
struct Positions(HashMap<String, usize>);

impl Positions {
    fn of(id: &Identity, list: &[Value]) -> Self {
        let mut positions = HashMap::with_capacity(list.len());
        for (at, item) in list.iter().enumerate() {
            positions.entry(id.text(item)).or_insert(at);
        }
        Self(positions)
    }
}

/// A text that equal values have, whatever the order of their fields, and no others.
fn canonical(value: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().map(|(k, v)| (k.clone(), sorted(v))).collect();
                fields.sort_by(|a, b| a.0.cmp(&b.0));
                Value::Object(fields.into_iter().collect())
            }
            Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
            scalar => scalar.clone(),
        }
    }
    match value {
        Value::Object(_) | Value::Array(_) => sorted(value).to_string(),
        scalar => scalar.to_string(),
    }
}

/// Items that the client names come in its order; the others keep their place relative to those that both know.
fn put_in_order(id: &Identity, merged: Vec<Value>, client: &Positions, server: &Positions) -> Vec<Value> {
    /// An item, and its places in the two lists.
    type Placed = (Value, Option<usize>, Option<usize>);
    let placed = merged.into_iter().map(|item| {
        let text = id.text(&item);
        (item, client.0.get(&text).copied(), server.0.get(&text).copied())
    });
    let (mut named, mut others): (Vec<Placed>, Vec<Placed>) = placed.partition(|(_, at, _)| at.is_some());
    named.sort_by_key(|(_, client, _)| *client);
    others.sort_by_key(|(_, _, server)| server.unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let other_first = match (others.peek(), named.peek()) {
            (None, None) => return out,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some((_, _, other)), Some((_, _, named))) => match (other, named) {
                (Some(other), Some(named)) => other < named,
                _ => false,
            },
        };
        out.extend(if other_first { others.next() } else { named.next() }.map(|(item, _, _)| item));
    }
}

/// A value that is added whole: directives have nothing to work on, nulls mean absence.
fn without_directives(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(without_directives_map(map)),
        Value::Array(items) => Value::Array(without_directives_list(items)),
        scalar => scalar,
    }
}

fn without_directives_map(map: Object) -> Object {
    map.into_iter()
        .filter(|(k, v)| {
            let directive =
                k == PATCH || k == RETAIN_KEYS || k.starts_with(SET_ORDER) || k.starts_with(DELETE_FROM);
            !directive && !v.is_null()
        })
        .map(|(k, v)| (k, without_directives(v)))
        .collect()
}

fn without_directives_list(items: Vec<Value>) -> Vec<Value> {
    items
        .into_iter()
        .filter(|i| i.get(PATCH).and_then(Value::as_str) != Some("delete"))
        .map(without_directives)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(kind: &str, current: Value, patch: Value, want: Value) {
        let got = merge(&Schema::builtin(kind), &current, patch.clone()).unwrap();
        assert_eq!(got, want, "{patch}");
    }

    fn pod(containers: Value) -> Value {
        json!({"spec": {"containers": containers}})
    }

    #[test]
    fn lists_merge_by_their_key() {
        check(
            "core.v1.Pod",
            pod(json!([{"name": "a", "image": "x", "env": [{"name": "E", "value": "1"}]}, {"name": "b"}])),
            pod(json!([{"name": "a", "image": "y", "env": [{"name": "F", "value": "2"}]}])),
            pod(
                json!([{"name": "a", "image": "y", "env": [{"name": "F", "value": "2"}, {"name": "E", "value": "1"}]},
                {"name": "b"}]),
            ),
        );
        check(
            "core.v1.Service",
            json!({"spec": {"ports": [{"port": 80, "targetPort": 1}, {"port": 81}]}}),
            json!({"spec": {"ports": [{"port": 80, "targetPort": 2}, {"port": 81, "$patch": "delete"}]}}),
            json!({"spec": {"ports": [{"port": 80, "targetPort": 2}]}}),
        );
        check(
            "core.v1.Pod",
            pod(json!([{"name": "a", "command": ["x", "y"]}])),
            pod(json!([{"name": "a", "command": ["z"]}])),
            pod(json!([{"name": "a", "command": ["z"]}])),
        );
    }

    #[test]
    fn set_element_order_places_items() {
        check(
            "core.v1.Pod",
            pod(json!([{"name": "a"}, {"name": "server"}, {"name": "b"}])),
            json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "new"}, {"name": "a"}],
                "containers": [{"name": "new", "image": "n"}]}}),
            pod(json!([{"name": "server"}, {"name": "b"}, {"name": "new", "image": "n"}, {"name": "a"}])),
        );
        check(
            "core.v1.Pod",
            json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
            json!({"metadata": {"$setElementOrder/finalizers": ["c", "a"], "$deleteFromPrimitiveList/finalizers": ["b"]}}),
            json!({"metadata": {"finalizers": ["c", "a"]}}),
        );
    }

    #[test]
    fn directives_replace_delete_and_retain() {
        check(
            "core.v1.Pod",
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
            json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}}}),
            json!({"metadata": {"labels": {"c": "3"}}}),
        );
        check(
            "core.v1.Pod",
            pod(json!([{"name": "a"}, {"name": "b"}])),
            pod(json!([{"$patch": "replace"}, {"name": "c"}])),
            pod(json!([{"name": "c"}])),
        );
        check(
            "apps.v1.Deployment",
            json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
            json!({"spec": {"strategy": {"type": "Recreate"}}}),
        );
        check(
            "core.v1.ConfigMap",
            json!({"data": {"a": "1"}, "metadata": {"name": "x"}}),
            json!({"data": null, "metadata": {"annotations": {"x": "y", "z": null}}}),
            json!({"metadata": {"name": "x", "annotations": {"x": "y"}}}),
        );
    }

    #[test]
    fn bad_patches_are_refused() {
        for (current, patch) in [
            (pod(json!([])), pod(json!([{"image": "x"}]))),
            (pod(json!([])), pod(json!([1]))),
            (pod(json!([])), json!({"spec": {"$patch": "explode"}})),
            (pod(json!([])), json!({"spec": {"$retainKeys": ["a"], "b": 1}})),
            (pod(json!([])), pod(json!([{"$patch": "delete"}]))),
        ] {
            assert!(merge(&Schema::builtin("core.v1.Pod"), &current, patch.clone()).is_err(), "{patch}");
        }
    }
}
