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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn defaulted(schema: Value, mut object: Value) -> Value {
        apply_root(&schema, &mut object);
        object
    }

    #[test]
    fn missing_fields_get_their_defaults() {
        let schema = json!({"properties": {"a": {"default": 1}, "b": {}}});
        assert_eq!(defaulted(schema.clone(), json!({})), json!({"a": 1}));
        assert_eq!(defaulted(schema, json!({"a": 2})), json!({"a": 2}));
    }

    #[test]
    fn defaults_have_defaults_inside() {
        let inner = json!({"default": {}, "properties": {"x": {"default": 1}}});
        let schema = json!({"properties": {"a": inner}});
        assert_eq!(defaulted(schema.clone(), json!({})), json!({"a": {"x": 1}}));
        assert_eq!(defaulted(schema, json!({"a": {"y": 2}})), json!({"a": {"y": 2, "x": 1}}));
    }

    #[test]
    fn items_and_values_get_defaults() {
        let one = json!({"properties": {"x": {"default": 1}}});
        let list = json!({"properties": {"a": {"items": one}}});
        assert_eq!(defaulted(list, json!({"a": [{}, {"x": 2}]})), json!({"a": [{"x": 1}, {"x": 2}]}));
        let map = json!({"properties": {"a": {"properties": {"own": {}}, "additionalProperties": one}}});
        let wanted = json!({"a": {"own": {}, "other": {"x": 1}}});
        assert_eq!(defaulted(map, json!({"a": {"own": {}, "other": {}}})), wanted);
        let open = json!({"properties": {"a": {"additionalProperties": true}}});
        assert_eq!(defaulted(open, json!({"a": {"b": {}}})), json!({"a": {"b": {}}}));
    }

    #[test]
    fn metadata_have_no_defaults() {
        let schema =
            json!({"properties": {"metadata": {"default": {"x": 1}, "properties": {"y": {"default": 1}}}}});
        assert_eq!(defaulted(schema.clone(), json!({})), json!({}));
        assert_eq!(defaulted(schema, json!({"metadata": {"name": "a"}})), json!({"metadata": {"name": "a"}}));
    }
}
