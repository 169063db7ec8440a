//! The types of the built-in kinds, read once from a table.
//!
//! The table's lines: `type <name> [atomic] [kind]`, then one line per field:
//! `<json name> <protobuf tag path> <type> [r] [l=<list type>[:keys]] [k=<merge key>] [p=<patch strategy>] [atomic]`,
//! where a type is `[]T`, `{}T` (map), a scalar's name or the name of another type; tag `0` means none.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::{Field, ListPatch, ListSchema, ListType, MapSchema, ObjectSchema, Schema};

const TABLE: &str = include_str!("builtin.txt");
const DESCRIPTIONS: &str = include_str!("descriptions.txt");

static TYPES: LazyLock<HashMap<&'static str, Schema>> = LazyLock::new(|| {
    let mut types = parse(TABLE);
    for (place, text) in descriptions() {
        describe(&mut types, place, text);
    }
    own_copies(&mut types);
    types
});

/// A type by name.
pub(super) fn find(name: &str) -> Option<(&'static str, &'static Schema)> {
    TYPES.get_key_value(name).map(|(name, schema)| (*name, schema))
}

/// All names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TYPES.keys().copied()
}

fn parse(table: &'static str) -> HashMap<&'static str, Schema> {
    let mut types = HashMap::new();
    let mut current: Option<ObjectSchema> = None;
    for line in table.lines() {
        if let Some(head) = line.strip_prefix("type ") {
            finish(&mut types, current.take());
            let mut words = head.split(' ');
            let mut object =
                ObjectSchema { name: words.next().unwrap_or_default(), ..ObjectSchema::default() };
            for word in words {
                match word {
                    "atomic" => object.atomic = true,
                    "kind" => object.is_kind = true,
                    _ => {}
                }
            }
            if object.is_kind {
                object.fields.insert("apiVersion".into(), Field::new(Schema::String));
                object.fields.insert("kind".into(), Field::new(Schema::String));
            }
            current = Some(object);
        } else if let (Some(line), Some(object)) = (line.strip_prefix(' '), &mut current) {
            let mut words = line.split(' ');
            if let (Some(name), Some(tags), Some(ty)) = (words.next(), words.next(), words.next()) {
                let mut field = field(tags, ty, words);
                // The one key of built-in lists that may be left out: ports are told apart by number and protocol.
                if name == "protocol" && object.name.ends_with("Port") {
                    field.default = Some("TCP".into());
                }
                object.fields.insert(name.to_owned(), field);
            }
        }
    }
    finish(&mut types, current);
    types
}

/// Places (`<type>` or `<type>.<field>`) and their texts.
fn descriptions() -> impl Iterator<Item = (&'static str, &'static str)> {
    DESCRIPTIONS.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once(": "))
}

/// Whether the place exists.
fn describe(types: &mut HashMap<&'static str, Schema>, place: &str, text: &str) -> bool {
    if let Some(Schema::Object(object)) = types.get_mut(place) {
        object.description = text.to_owned();
        return true;
    }
    let Some((name, field)) = place.rsplit_once('.') else { return false };
    let Some(Schema::Object(object)) = types.get_mut(name) else { return false };
    object.fields.get_mut(field).map(|f| f.description = text.to_owned()).is_some()
}

/// Gives each atomic use of a type its own copy of that type.
fn own_copies(types: &mut HashMap<&'static str, Schema>) {
    let known = types.clone();
    for schema in types.values_mut() {
        let Schema::Object(object) = schema else { continue };
        for field in object.fields.values_mut() {
            if let Schema::Object(stub) = &mut field.schema
                && let Some(Schema::Object(full)) = known.get(stub.name)
            {
                **stub = ObjectSchema { atomic: true, ..(**full).clone() };
            }
        }
    }
}

fn finish(types: &mut HashMap<&'static str, Schema>, object: Option<ObjectSchema>) {
    if let Some(object) = object {
        types.insert(object.name, Schema::Object(Box::new(object)));
    }
}

fn field(tags: &str, ty: &'static str, options: std::str::Split<'static, char>) -> Field {
    let mut field = Field::new(Schema::Any);
    field.tags = tags.split('.').filter_map(|t| t.parse().ok()).filter(|t| *t != 0).collect();
    let (mut list_type, mut merge_key, mut strategy, mut atomic) = (None, None, "", false);
    for option in options {
        match option.split_once('=').unwrap_or((option, "")) {
            ("r", _) => field.required = true,
            ("l", kind) => list_type = Some(kind),
            ("k", key) => merge_key = Some(key),
            ("p", name) => strategy = name,
            ("atomic", _) => atomic = true,
            _ => {}
        }
    }
    let merges = strategy.split(',').any(|s| s == "merge");
    field.retain_keys = strategy.contains("retainKeys");
    field.schema = if let Some(items) = ty.strip_prefix("[]") {
        let patch = match (merges, merge_key) {
            (false, _) => ListPatch::Replace,
            (true, None) => ListPatch::MergeScalars,
            (true, Some(key)) => ListPatch::MergeBy(key.to_owned()),
        };
        let list_type = match list_type {
            Some("set") => ListType::Set,
            Some(kind) => match kind.strip_prefix("map:") {
                Some(keys) => ListType::Map(keys.split(',').map(str::to_owned).collect()),
                None => ListType::Atomic,
            },
            // Without a list type the merge strategy decides, as in the published OpenAPI's conversion.
            None => match &patch {
                ListPatch::Replace => ListType::Atomic,
                ListPatch::MergeScalars => ListType::Set,
                ListPatch::MergeBy(key) => ListType::Map(vec![key.clone()]),
            },
        };
        Schema::List(Box::new(ListSchema { items: value(items), list_type, patch }))
    } else if let Some(values) = ty.strip_prefix("{}") {
        Schema::Map(Box::new(MapSchema { values: value(values), atomic }))
    } else {
        match (value(ty), atomic) {
            // Only this use of the type is atomic: a stub that `own_copies` replaces.
            (Schema::Named(name), true) => {
                Schema::Object(Box::new(ObjectSchema { name, atomic: true, ..ObjectSchema::default() }))
            }
            (schema, _) => schema,
        }
    };
    field
}

fn value(ty: &'static str) -> Schema {
    if let Some(items) = ty.strip_prefix("[]") {
        let (items, list_type, patch) = (value(items), ListType::Atomic, ListPatch::Replace);
        return Schema::List(Box::new(ListSchema { items, list_type, patch }));
    }
    match ty {
        "string" => Schema::String,
        "bytes" => Schema::Bytes,
        "int32" => Schema::Int32,
        "int64" => Schema::Int64,
        "double" => Schema::Double,
        "bool" => Schema::Bool,
        "intorstring" => Schema::IntOrString,
        "quantity" => Schema::Quantity,
        "time" => Schema::Time,
        "microtime" => Schema::MicroTime,
        "rawextension" | "fieldsv1" | "json" | "customresourcesubresourcestatus" => Schema::Any,
        "jsonschemapropsorarray" | "jsonschemapropsorbool" | "jsonschemapropsorstringarray" => Schema::Any,
        name => Schema::Named(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_description_has_its_place() {
        let mut types = parse(TABLE);
        for (place, text) in descriptions() {
            assert!(describe(&mut types, place, text), "{place} does not exist");
        }
    }
}
