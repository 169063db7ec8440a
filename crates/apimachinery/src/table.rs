//! The Table form of objects (`meta.k8s.io/v1 Table`), which kubectl prints.

use serde_json::Value;

use crate::resources::Resource;

/// One column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// `string`, `integer`, `date`, ...
    pub kind: String,
    /// `name` for the object's name, else mostly empty.
    pub format: String,
    /// Text for `explain`.
    pub description: String,
    /// 0: always shown; 1: only with `-o wide`.
    pub priority: i64,
}

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

/// Columns of a built-in kind.
pub(crate) fn builtin_columns(group: &str, kind: &str) -> Vec<Column> {
    let _ = (group, kind);
    Vec::new()
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
    let _ = (resource, items.into_iter(), list_metadata, include, with_columns, now);
    Value::Null
}
