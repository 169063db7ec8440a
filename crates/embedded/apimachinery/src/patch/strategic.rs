//! Strategic merge patch: a merge patch that merges lists by key, with the directives `$patch`, `$retainKeys`,
//! `$setElementOrder/<list>` and `$deleteFromPrimitiveList/<list>`.
//!
//! Behaviour: Kubernetes' "Update API objects in place using kubectl patch" and the design note
//! "preserve order in strategic merge patch" (Kubernetes design proposals, api-machinery).

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
    merge_ordered_lists(schema, &mut original, &mut patch)?;
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_FROM) {
            if let (Some(Value::Array(items)), Value::Array(gone)) = (original.get_mut(list), &value) {
                items.retain(|i| !gone.contains(i));
            }
            continue;
        }
        if value.is_null() {
            original.shift_remove(&key);
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
    Ok(original)
}

/// `$retainKeys`: of a union only the named fields stay.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), String> {
    let Some(keys) = patch.shift_remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else { return Err("$retainKeys must be a list of field names".into()) };
    let listed = |key: &str| keys.iter().any(|k| k.as_str() == Some(key));
    if let Some(key) = patch.keys().find(|k| !k.starts_with('$') && !listed(k)) {
        return Err(format!("field {key} of the patch is not in its $retainKeys list"));
    }
    original.retain(|key, _| listed(key));
    Ok(())
}

/// Lists that come with `$setElementOrder/<list>`: merged, then put in the order that the client wants.
fn merge_ordered_lists(schema: &Schema, original: &mut Object, patch: &mut Object) -> Result<(), String> {
    let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let Some(list) = directive.strip_prefix(SET_ORDER) else { continue };
        let Some(Value::Array(order)) = patch.shift_remove(&directive) else {
            return Err(format!("{directive} must be a list"));
        };
        let old = match original.get(list) {
            Some(Value::Array(items)) => Some(items.clone()),
            _ => None,
        };
        let new = match patch.shift_remove(list) {
            None => None,
            Some(Value::Array(items)) => Some(items),
            // Something else than a list (null, for a deleted one) is merged like any other field.
            Some(other) => {
                patch.insert(list.to_owned(), other);
                continue;
            }
        };
        let field = schema.child(list);
        let before = old.clone().unwrap_or_default();
        let merged = match (old, new) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => without_directives_list(new),
            (Some(old), Some(new)) => merge_list(field, list, old, new)?,
        };
        let id = Identity::of(field);
        original.insert(list.to_owned(), Value::Array(put_in_order(&id, merged, &order, &before)));
    }
    Ok(())
}

fn merge_list(schema: &Schema, name: &str, old: Vec<Value>, new: Vec<Value>) -> Result<Vec<Value>, String> {
    let Schema::List(list) = schema.resolve() else { return Ok(without_directives_list(new)) };
    match &list.patch {
        ListPatch::Replace => Ok(without_directives_list(new)),
        ListPatch::MergeScalars => {
            let mut merged = old.clone();
            for item in &new {
                if !merged.contains(item) {
                    merged.push(item.clone());
                }
            }
            Ok(put_in_order(&Identity::Value, merged, &new, &old))
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
    let mut merged = old.clone();
    let mut additions = Vec::new();
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
                merged.retain(|i| i.get(key) != Some(value));
            }
            Some("replace") => {
                replace = true;
                item.shift_remove(PATCH);
                if !item.is_empty() {
                    additions.push(item);
                }
            }
            Some("merge") | None => additions.push(item),
            Some(other) => return Err(format!("unknown patch type {other:?} in {name}")),
        }
    }
    if replace {
        return Ok(without_directives_list(additions.into_iter().map(Value::Object).collect()));
    }
    let order: Vec<Value> = additions.iter().cloned().map(Value::Object).collect();
    for item in additions {
        let Some(value) = item.get(key).cloned() else {
            return Err(format!("an item of {name} does not contain the merge key {key}"));
        };
        let found = merged.iter_mut().find(|i| i.get(key) == Some(&value));
        match found.map(|slot| (slot.as_object().cloned().unwrap_or_default(), slot)) {
            Some((original, slot)) => *slot = Value::Object(merge_map(items, original, item)?),
            None => merged.push(without_directives(Value::Object(item))),
        }
    }
    Ok(put_in_order(&Identity::Key(key.to_owned()), merged, &order, &old))
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

    fn same(&self, a: &Value, b: &Value) -> bool {
        match self {
            Self::Value => a == b,
            Self::Key(key) => a.get(key) == b.get(key),
        }
    }

    fn position(&self, item: &Value, list: &[Value]) -> Option<usize> {
        list.iter().position(|other| self.same(item, other))
    }
}

/// Items that the client names come in its order; the others keep their place relative to those that both know.
fn put_in_order(id: &Identity, merged: Vec<Value>, client: &[Value], server: &[Value]) -> Vec<Value> {
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|i| id.position(i, client).is_some());
    named.sort_by_key(|i| id.position(i, client));
    others.sort_by_key(|i| id.position(i, server).unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let other_first = match (others.peek(), named.peek()) {
            (None, None) => return out,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(o), Some(n)) => match (id.position(o, server), id.position(n, server)) {
                (Some(o), Some(n)) => o < n,
                _ => false,
            },
        };
        out.extend(if other_first { others.next() } else { named.next() });
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
