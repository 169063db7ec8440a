//! `components.schemas` of a document: the schema model written as OpenAPI.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{definition_name, gvk_value, resource_definition_name};
use crate::resources::Resource;
use crate::schema::{Field, ListPatch, ListType, ObjectSchema, Schema};

/// The definitions of one document, closed over references.
#[derive(Default)]
pub(super) struct Definitions {
    done: BTreeMap<String, Value>,
    // Built-in types that are referred to and not yet written.
    pending: Vec<&'static str>,
}

impl Definitions {
    /// Adds the kind of `resource` and its list.
    pub(super) fn add_resource(&mut self, resource: &Resource) {
        let name = resource_definition_name(resource);
        let mut definition = match &resource.custom {
            Some(custom) => self.custom(&custom.schema),
            None => self.schema_object(resource.schema.resolve()),
        };
        definition["x-kubernetes-group-version-kind"] = json!([gvk_value(resource)]);
        self.done.insert(name.clone(), definition);
        if resource.is_review() {
            return;
        }
        let metadata = self.reference("meta.v1.ListMeta");
        let mut gvk = gvk_value(resource);
        gvk["kind"] = json!(resource.list_kind);
        let list = json!({
            "type": "object", "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": metadata,
                "items": {"type": "array", "items": {"$ref": format!("#/components/schemas/{name}")}},
            },
            "x-kubernetes-group-version-kind": [gvk],
        });
        self.done.insert(format!("{name}List"), list);
    }

    /// Writes the types that are referred to and returns all.
    pub(super) fn finish(mut self) -> Value {
        while let Some(name) = self.pending.pop() {
            let key = definition_name(name);
            if self.done.contains_key(&key) {
                continue;
            }
            // Holds the place while the type refers to itself.
            self.done.insert(key.clone(), Value::Null);
            let schema = Schema::builtin(name);
            let definition = self.schema_object(schema.resolve());
            self.done.insert(key, definition);
        }
        json!(self.done)
    }

    fn reference(&mut self, name: &'static str) -> Value {
        self.pending.push(name);
        json!({"$ref": format!("#/components/schemas/{}", definition_name(name))})
    }

    /// A custom schema is OpenAPI already; it lacks what every object has.
    fn custom(&mut self, schema: &Value) -> Value {
        let mut definition = if schema.is_object() { schema.clone() } else { json!({"type": "object"}) };
        let metadata = self.reference("meta.v1.ObjectMeta");
        let mut properties = Map::new();
        properties.insert("apiVersion".into(), described(json!({"type": "string"}), API_VERSION));
        properties.insert("kind".into(), described(json!({"type": "string"}), KIND));
        properties.insert("metadata".into(), json!({"allOf": [metadata], "description": METADATA}));
        if let Some(own) = definition.get("properties").and_then(Value::as_object) {
            for (name, schema) in
                own.iter().filter(|(n, _)| !matches!(n.as_str(), "apiVersion" | "kind" | "metadata"))
            {
                properties.insert(name.clone(), schema.clone());
            }
        }
        definition["properties"] = Value::Object(properties);
        definition
    }

    fn schema_object(&mut self, schema: &Schema) -> Value {
        match schema {
            Schema::Object(object) => self.object(object),
            other => self.schema(other),
        }
    }

    fn object(&mut self, object: &ObjectSchema) -> Value {
        let mut properties = Map::new();
        for (name, field) in &object.fields {
            properties.insert(name.clone(), self.field(name, field));
        }
        let required: Vec<&String> =
            object.fields.iter().filter(|(_, f)| f.required).map(|(n, _)| n).collect();
        let mut out = json!({"type": "object", "properties": properties});
        if !required.is_empty() {
            out["required"] = json!(required);
        }
        if object.atomic {
            out["x-kubernetes-map-type"] = json!("atomic");
        }
        if !object.description.is_empty() {
            out["description"] = json!(object.description);
        }
        out
    }

    fn field(&mut self, name: &str, field: &Field) -> Value {
        let mut out = self.schema(&field.schema);
        let text = match name {
            _ if !field.description.is_empty() => field.description.as_str(),
            "apiVersion" => API_VERSION,
            "kind" => KIND,
            "metadata" => METADATA,
            "spec" => SPEC,
            "status" => STATUS,
            _ => "",
        };
        // Siblings of $ref are ignored, so that a reference is wrapped.
        if out.get("$ref").is_some() && (!text.is_empty() || field.retain_keys) {
            out = json!({"allOf": [out]});
        }
        if field.retain_keys {
            out["x-kubernetes-patch-strategy"] = json!("retainKeys");
        }
        if text.is_empty() { out } else { described(out, text) }
    }

    fn schema(&mut self, schema: &Schema) -> Value {
        match schema {
            Schema::Any => json!({"x-kubernetes-preserve-unknown-fields": true}),
            Schema::String => json!({"type": "string"}),
            Schema::Bytes => json!({"type": "string", "format": "byte"}),
            Schema::Int32 => json!({"type": "integer", "format": "int32"}),
            Schema::Int64 => json!({"type": "integer", "format": "int64"}),
            Schema::Double => json!({"type": "number", "format": "double"}),
            Schema::Bool => json!({"type": "boolean"}),
            Schema::IntOrString => {
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
            }
            Schema::Quantity => json!({"type": "string", "format": "quantity"}),
            Schema::Time | Schema::MicroTime => json!({"type": "string", "format": "date-time"}),
            Schema::Object(object) => self.object(object),
            Schema::Named(name) => self.reference(name),
            Schema::Map(map) => {
                let mut out = json!({"type": "object", "additionalProperties": self.schema(&map.values)});
                if map.atomic {
                    out["x-kubernetes-map-type"] = json!("atomic");
                }
                out
            }
            Schema::List(list) => {
                let mut out = json!({"type": "array", "items": self.schema(&list.items)});
                match &list.list_type {
                    ListType::Atomic => out["x-kubernetes-list-type"] = json!("atomic"),
                    ListType::Set => out["x-kubernetes-list-type"] = json!("set"),
                    ListType::Map(keys) => {
                        out["x-kubernetes-list-type"] = json!("map");
                        out["x-kubernetes-list-map-keys"] = json!(keys);
                    }
                }
                match &list.patch {
                    ListPatch::Replace => {}
                    ListPatch::MergeScalars => out["x-kubernetes-patch-strategy"] = json!("merge"),
                    ListPatch::MergeBy(key) => {
                        out["x-kubernetes-patch-strategy"] = json!("merge");
                        out["x-kubernetes-patch-merge-key"] = json!(key);
                    }
                }
                out
            }
        }
    }
}

const API_VERSION: &str = "Group and version of the schema that this object follows.";
const KIND: &str = "Type of this object, in CamelCase; it cannot be changed.";
const METADATA: &str = "Name, namespace, labels and what else every object has.";
const SPEC: &str = "The state that is wanted.";
const STATUS: &str = "The state that was last observed; the system writes it.";

fn described(mut schema: Value, text: &str) -> Value {
    schema["description"] = json!(text);
    schema
}
