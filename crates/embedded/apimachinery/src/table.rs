//! The Table form of objects (`meta.k8s.io/v1 Table`), which kubectl prints.

use serde_json::{Value, json};

use crate::jsonpath::JsonPath;
use crate::printers::{Column, printer};
use crate::resources::Resource;
use crate::time;

/// The `includeObject` query parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncludeObject {
    /// No object.
    None,
    /// `PartialObjectMetadata`, the default.
    Metadata,
    /// The whole object.
    Object,
}

impl IncludeObject {
    /// Reads the query parameter; anything unknown is the default.
    pub fn parse(parameter: Option<&str>) -> Self {
        match parameter {
            Some("None") => Self::None,
            Some("Object") => Self::Object,
            _ => Self::Metadata,
        }
    }
}

/// Renders `items` as a Table. `list_metadata` is the `metadata` of the list (or of the one object), `now` the
/// seconds since the epoch for AGE columns; `with_columns` is false for the later events of a watch.
pub fn render<'a>(
    resource: &Resource,
    items: impl IntoIterator<Item = &'a Value>,
    list_metadata: Value,
    include: IncludeObject,
    with_columns: bool,
    now: i64,
) -> Value {
    let rows: Vec<Value> = items
        .into_iter()
        .map(|item| {
            let mut row = json!({"cells": cells(resource, item, now)});
            match include {
                IncludeObject::None => {}
                IncludeObject::Object => row["object"] = item.clone(),
                IncludeObject::Metadata => row["object"] = partial_metadata(item),
            }
            row
        })
        .collect();
    let columns = with_columns.then(|| resource.columns.iter().map(Column::definition).collect::<Vec<_>>());
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": table_metadata(&list_metadata),
        "columnDefinitions": columns, "rows": rows,
    })
}

/// `PartialObjectMetadata` of an object, also an answer of its own (`as=PartialObjectMetadata`).
pub fn partial_metadata(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

/// Only what ListMeta has: the metadata may be that of a single object.
fn table_metadata(metadata: &Value) -> Value {
    let mut out = json!({});
    for key in ["resourceVersion", "continue", "remainingItemCount"] {
        if let Some(value) = metadata.get(key) {
            out[key] = value.clone();
        }
    }
    out
}

fn cells(resource: &Resource, object: &Value, now: i64) -> Vec<Value> {
    let name = object.pointer("/metadata/name").cloned().unwrap_or_default();
    if resource.custom.is_some() {
        return resource
            .columns
            .iter()
            .map(|column| match &column.path {
                None => name.clone(),
                Some(path) => custom_cell(column, path, object, now),
            })
            .collect();
    }
    let printer = printer(&resource.group, &resource.kind);
    let mut cells = Vec::new();
    if !printer.columns.starts_with('-') {
        cells.push(name);
    }
    cells.extend((printer.cells)(object, now));
    cells
}

fn custom_cell(column: &Column, path: &JsonPath, object: &Value, now: i64) -> Value {
    let Some(value) = path.first(object) else { return Value::Null };
    match (column.kind.as_str(), value) {
        ("date", Value::String(text)) => match time::parse(text) {
            Some(then) => json!(time::human_duration(now - then)),
            None => json!("<invalid>"),
        },
        ("integer", Value::Number(n)) => json!(n.as_i64().or_else(|| n.as_f64().map(|f| f as i64))),
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) | ("string", Value::String(_)) => {
            value.clone()
        }
        ("string", other) => json!(other.to_string()),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests;
