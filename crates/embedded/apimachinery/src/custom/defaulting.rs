//! Defaults of a structural schema.

use serde_json::Value;

/// Fills in an object; its metadata has no defaults.
pub(super) fn apply_root(schema: &Value, object: &mut Value) {
    let metadata = object.get("metadata").cloned();
    apply(schema, object);
    if let Some(map) = object.as_object_mut() {
        match metadata {
            Some(metadata) => map.insert("metadata".into(), metadata),
            None => map.shift_remove("metadata"),
        };
    }
}

fn apply(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, child) in properties.into_iter().flatten() {
                if let Some(default) = child.get("default")
                    && !map.contains_key(name)
                {
                    map.insert(name.clone(), default.clone());
                }
                if let Some(value) = map.get_mut(name) {
                    apply(child, value);
                }
            }
            if let Some(values) = schema.get("additionalProperties").filter(|a| a.is_object()) {
                for (name, value) in map.iter_mut() {
                    if properties.is_none_or(|p| !p.contains_key(name)) {
                        apply(values, value);
                    }
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for item in items {
                    apply(schema, item);
                }
            }
        }
        _ => {}
    }
}
