//! A structural schema as the schema model: what pruning, server-side apply and strict decoding read.

use serde_json::Value;

use crate::schema::{Field, ListPatch, ListSchema, ListType, MapSchema, ObjectSchema, Schema};

/// The schema of a custom resource: its own plus what every object has.
pub(super) fn root(schema: &Value) -> Schema {
    let mut object = object(schema);
    add_identity(&mut object);
    Schema::Object(Box::new(object))
}

fn add_identity(object: &mut ObjectSchema) {
    object.is_kind = true;
    object.fields.insert("apiVersion".into(), Field::new(Schema::String));
    object.fields.insert("kind".into(), Field::new(Schema::String));
    object.fields.insert("metadata".into(), Field::new(Schema::builtin("meta.v1.ObjectMeta")));
}

fn is_true(schema: &Value, keyword: &str) -> bool {
    schema.get(keyword) == Some(&Value::Bool(true))
}

fn model(schema: &Value) -> Schema {
    if is_true(schema, "x-kubernetes-int-or-string") {
        return Schema::IntOrString;
    }
    let atomic = schema.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic");
    let has_properties = schema.get("properties").and_then(Value::as_object).is_some_and(|p| !p.is_empty());
    match schema.get("type").and_then(Value::as_str).unwrap_or_default() {
        "string" => Schema::String,
        "boolean" => Schema::Bool,
        "number" => Schema::Double,
        "integer" => Schema::Int64,
        "array" => list(schema),
        "object" if !has_properties => match schema.get("additionalProperties") {
            Some(values @ Value::Object(_)) => {
                Schema::Map(Box::new(MapSchema { values: model(values), atomic }))
            }
            Some(Value::Bool(true)) => Schema::Map(Box::new(MapSchema { values: Schema::Any, atomic })),
            _ => structured(schema, atomic),
        },
        "object" => structured(schema, atomic),
        _ => Schema::Any,
    }
}

fn structured(schema: &Value, atomic: bool) -> Schema {
    let mut object = object(schema);
    object.atomic = atomic;
    if is_true(schema, "x-kubernetes-embedded-resource") {
        add_identity(&mut object);
    }
    Schema::Object(Box::new(object))
}

fn object(schema: &Value) -> ObjectSchema {
    let mut object = ObjectSchema {
        preserve_unknown: is_true(schema, "x-kubernetes-preserve-unknown-fields"),
        ..ObjectSchema::default()
    };
    let required = schema.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for (name, child) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let mut field = Field::new(model(child));
        field.required = required.iter().any(|r| r.as_str() == Some(name));
        field.nullable = is_true(child, "nullable");
        field.default = child.get("default").cloned();
        field.description = child.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
        object.fields.insert(name.clone(), field);
    }
    object
}

fn list(schema: &Value) -> Schema {
    let items = schema.get("items").map_or(Schema::Any, model);
    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
    let keys = keys.into_iter().flatten().filter_map(|k| k.as_str().map(str::to_owned)).collect();
    let list_type = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("map") => ListType::Map(keys),
        Some("set") => ListType::Set,
        _ => ListType::Atomic,
    };
    Schema::List(Box::new(ListSchema { items, list_type, patch: ListPatch::Replace }))
}
