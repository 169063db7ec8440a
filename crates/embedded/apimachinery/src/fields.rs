//! The walk that fits a value to its schema: types are checked, nulls dropped, unknown fields removed and noted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::path::Path;
use crate::schema::{ObjectSchema, Schema};
use crate::{quantity, time};

/// Unknown fields that are remembered; more are not worth reporting.
const MAX_UNKNOWN: usize = 100;

/// Result of a walk.
#[derive(Debug, Default)]
pub(crate) struct Fit {
    /// Paths of removed fields.
    pub(crate) unknown: Vec<String>,
    /// The first value of a wrong type, in the words of Go's decoder.
    pub(crate) error: Option<String>,
}

/// Fits `value` to `schema`. Where the schema is a custom resource's, wrong types are left for its validation.
pub(crate) fn fit(schema: &Schema, value: &mut Value) -> Fit {
    let mut walk = Walk { fit: Fit::default() };
    let strict_types = schema.as_object().is_none_or(|o| !o.name.is_empty());
    walk.value(schema, value, Place { path: &Path::Root, owner: "", strict_types });
    walk.fit
}

#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a Path<'a>,
    /// Name of the type that holds the field, for error texts.
    owner: &'a str,
    strict_types: bool,
}

struct Walk {
    fit: Fit,
}

/// What Go's decoder makes of a `null` among the values of a map or a list: the zero value of their type.
fn zero(schema: &Schema) -> Option<Value> {
    Some(match schema.resolve() {
        Schema::String | Schema::Bytes => json!(""),
        Schema::Int32 | Schema::Int64 | Schema::IntOrString => json!(0),
        Schema::Double => json!(0.0),
        Schema::Bool => json!(false),
        Schema::Quantity => json!("0"),
        Schema::Object(_) | Schema::Map(_) => json!({}),
        Schema::List(_) => json!([]),
        Schema::Any | Schema::Named(_) | Schema::Time | Schema::MicroTime => return None,
    })
}

impl Walk {
    fn value(&mut self, schema: &Schema, value: &mut Value, place: Place<'_>) {
        match schema.resolve() {
            Schema::Any | Schema::Named(_) => {}
            Schema::Object(object) => self.object(object, value, place),
            Schema::Map(map) => {
                let Some(entries) = self.as_map(value, "map[string]", place) else { return };
                for (key, entry) in entries.iter_mut() {
                    if entry.is_null()
                        && place.strict_types
                        && let Some(zero) = zero(&map.values)
                    {
                        *entry = zero;
                    }
                    let path = place.path.key(key);
                    self.value(&map.values, entry, Place { path: &path, ..place });
                }
            }
            Schema::List(list) => {
                let Value::Array(items) = value else { return self.wrong(value, "[]", place) };
                for (i, item) in items.iter_mut().enumerate() {
                    if item.is_null()
                        && place.strict_types
                        && let Some(zero) = zero(&list.items)
                    {
                        *item = zero;
                    }
                    let path = place.path.index(i);
                    self.value(&list.items, item, Place { path: &path, ..place });
                }
            }
            scalar => self.scalar(scalar, value, place),
        }
    }

    fn as_map<'v>(
        &mut self,
        value: &'v mut Value,
        go_type: &str,
        place: Place<'_>,
    ) -> Option<&'v mut Map<String, Value>> {
        if !value.is_object() {
            self.wrong(value, go_type, place);
        }
        value.as_object_mut()
    }

    fn object(&mut self, object: &ObjectSchema, value: &mut Value, place: Place<'_>) {
        let short = object.name.rsplit('.').next().unwrap_or_default();
        let builtin = !object.name.is_empty();
        let Some(entries) = self.as_map(value, object.name, place) else { return };
        // In the order of fields, after what is inside of them.
        let mut unknown = Vec::new();
        entries.retain(|key, entry| {
            let path = place.path.key(key);
            let Some(field) = object.fields.get(key) else {
                if !object.preserve_unknown && self.fit.unknown.len() + unknown.len() < MAX_UNKNOWN {
                    unknown.push(path.shown());
                }
                return object.preserve_unknown;
            };
            // Null means absence, unless a custom schema says that it is a value.
            if entry.is_null() && !field.nullable && field.schema != Schema::Any {
                return false;
            }
            let strict_types = field.schema.as_object().map_or(builtin, |o| !o.name.is_empty());
            self.value(&field.schema, entry, Place { path: &path, owner: short, strict_types });
            true
        });
        unknown.truncate(MAX_UNKNOWN.saturating_sub(self.fit.unknown.len()));
        self.fit.unknown.append(&mut unknown);
    }

    fn scalar(&mut self, schema: &Schema, value: &mut Value, place: Place<'_>) {
        match schema {
            Schema::String if !value.is_string() => self.wrong(value, "string", place),
            Schema::Bool if !value.is_boolean() => self.wrong(value, "bool", place),
            Schema::Int32 if value.as_i64().is_none_or(|n| i32::try_from(n).is_err()) => {
                self.wrong(value, "int32", place);
            }
            Schema::Int64 if value.as_i64().is_none() => self.wrong(value, "int64", place),
            Schema::Double if !value.is_number() => self.wrong(value, "float64", place),
            Schema::IntOrString if !(value.is_string() || value.is_i64()) => {
                self.wrong(value, "intstr.IntOrString", place)
            }
            Schema::Bytes => match value.as_str() {
                None => self.wrong(value, "[]uint8", place),
                Some(text) => {
                    if STANDARD.decode(text.replace(['\n', '\r'], "")).is_err() {
                        self.fail(place, "illegal base64 data".into());
                    }
                }
            },
            Schema::Quantity => {
                if value.is_number() {
                    *value = Value::String(value.to_string());
                }
                if !value.as_str().is_some_and(quantity::is_valid) {
                    self.fail(place, quantity::EXPECTED.into());
                }
            }
            Schema::Time | Schema::MicroTime => match value.as_str() {
                None => self.wrong(value, "time.Time", place),
                Some(text) if time::parse(text).is_none() => self.fail(
                    place,
                    format!("parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": not a time of RFC 3339"),
                ),
                Some(_) => {}
            },
            _ => {}
        }
    }

    fn wrong(&mut self, value: &Value, go_type: &str, place: Place<'_>) {
        let found = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(n) if go_type.starts_with("int") => format!("number {n}"),
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        let Place { path, owner, .. } = place;
        self.fail(
            place,
            format!("json: cannot unmarshal {found} into Go struct field {owner}.{path} of type {go_type}"),
        );
    }

    fn fail(&mut self, place: Place<'_>, text: String) {
        if place.strict_types && self.fit.error.is_none() {
            let text = if text.starts_with("json:") { text } else { format!("{}: {text}", place.path) };
            self.fit.error = Some(text);
        }
    }
}
