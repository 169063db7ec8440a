//! Envoy API messages as JSON and back, by reflection over the descriptor set that `build.rs` compiles.
//!
//! The form is the one that Envoy's admin API prints: field names as in the .proto files, enums by name, 64-bit
//! integers as strings, defaults left out, the content of an `Any` spelled out beside its `@type`. An `Any` of a type
//! that is not known shows as `{"@type": ..., "value": <base64>}`, which stock libraries refuse to print at all.
//! Fields that the API marks as sensitive (private keys, tokens, ticket keys) are always replaced by `[redacted]`.

use std::{borrow::Cow, sync::OnceLock};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, Kind, MapKey,
    MessageDescriptor, ReflectMessage, SerializeOptions, Value,
};
use serde_json::{Map, Number, Value as Json};

/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Depth of nested `Any`s that is followed; deeper ones show as base64.
const MAX_ANY_DEPTH: usize = 32;

/// A message that can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The type is not in the descriptor set.
    #[error("the message type {0} is not known here")]
    UnknownType(String),
    /// The bytes are not a message of that type.
    #[error("not a valid {0}: {1}")]
    Decode(String, prost::DecodeError),
    /// The JSON does not fit the type.
    #[error("not a valid {0}: {1}")]
    Json(String, serde_json::Error),
}

/// The descriptor set; empty when it can't be read, so that every type is unknown.
pub fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(portolan_envoy_api::DESCRIPTORS).unwrap_or_default())
}

/// The JSON of an `Any`, for readers: the message's fields and `@type`. Of an empty message with a JSON form of its own the
/// `value` is spelled out, without which Go's library refuses the whole text.
pub fn any_to_json(type_url: &str, value: &Bytes) -> Json {
    with_values(&any_json(type_url, value, 0)).into_owned()
}

/// The JSON of a message with field names as protobuf's own mapping has them (`connectTimeout`), from JSON in either
/// spelling. Text that holds an `Any` of an unknown type cannot be read.
pub fn with_json_names(type_name: &str, json: &Json) -> Result<Json, JsonError> {
    let wrong = |error| JsonError::Json(type_name.to_owned(), error);
    let message = DynamicMessage::deserialize(descriptor(type_name)?, &*with_values(json)).map_err(wrong)?;
    let options = SerializeOptions::new().use_proto_field_name(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).map_err(wrong)
}

/// The JSON of a message without `@type`. `type_name` is a full name or a type URL.
pub fn message_to_json(type_name: &str, value: &Bytes) -> Result<Json, JsonError> {
    let descriptor = descriptor(type_name)?;
    let message = DynamicMessage::decode(descriptor, value.clone())
        .map_err(|error| JsonError::Decode(type_name.to_owned(), error))?;
    Ok(message_json(&message, 0))
}

/// The JSON of a typed message.
pub fn to_json<M: Message + prost::Name>(message: &M) -> Result<Json, JsonError> {
    message_to_json(&M::full_name(), &message.encode_to_vec().into())
}

/// Encodes JSON (of a bootstrap file, a patch) as a message of the named type. `type_name` is a full name or a type
/// URL; field names are taken in both spellings.
pub fn from_json(type_name: &str, json: &Json) -> Result<Bytes, JsonError> {
    let descriptor = descriptor(type_name)?;
    let json = with_values(json);
    let message = DynamicMessage::deserialize(descriptor, &*json)
        .map_err(|error| JsonError::Json(type_name.to_owned(), error))?;
    Ok(message.encode_to_vec().into())
}

/// An `Any` of a type with a JSON form of its own that is nothing but its `@type` means the empty message to Envoy,
/// and for `Empty` that is the only form; the reader wants a `value`.
fn with_values(json: &Json) -> Cow<'_, Json> {
    if !lacks_value(json) {
        return Cow::Borrowed(json);
    }
    Cow::Owned(match json {
        Json::Object(fields) => {
            let mut fields: Map<String, Json> =
                fields.iter().map(|(name, value)| (name.clone(), with_values(value).into_owned())).collect();
            if let Some(value) = absent_value(&fields) {
                fields.insert("value".into(), value);
            }
            Json::Object(fields)
        }
        Json::Array(items) => items.iter().map(|item| with_values(item).into_owned()).collect(),
        other => other.clone(),
    })
}

fn lacks_value(json: &Json) -> bool {
    match json {
        Json::Object(fields) => absent_value(fields).is_some() || fields.values().any(lacks_value),
        Json::Array(items) => items.iter().any(lacks_value),
        _ => false,
    }
}

/// The `value` that a lone `@type` stands for.
fn absent_value(fields: &Map<String, Json>) -> Option<Json> {
    let type_url = fields.get("@type").filter(|_| fields.len() == 1)?.as_str()?;
    Some(match type_url.rsplit('/').next()?.strip_prefix("google.protobuf.")? {
        "Empty" | "Struct" => Json::Object(Map::new()),
        "ListValue" => Json::Array(Vec::new()),
        "Value" => Json::Null,
        "Duration" => "0s".into(),
        "Timestamp" => timestamp_text(0, 0).into(),
        "StringValue" | "BytesValue" => "".into(),
        "BoolValue" => false.into(),
        "Int32Value" | "UInt32Value" | "Int64Value" | "UInt64Value" | "FloatValue" | "DoubleValue" => {
            0.into()
        }
        _ => return None,
    })
}

/// Whether messages of the type can be shown in full.
pub fn knows(type_name: &str) -> bool {
    descriptor(type_name).is_ok()
}

fn descriptor(type_name: &str) -> Result<MessageDescriptor, JsonError> {
    let name = type_name.rsplit('/').next().unwrap_or(type_name);
    pool().get_message_by_name(name).ok_or_else(|| JsonError::UnknownType(name.to_owned()))
}

fn any_json(type_url: &str, value: &Bytes, depth: usize) -> Json {
    let decoded = (depth < MAX_ANY_DEPTH)
        .then(|| descriptor(type_url).ok())
        .flatten()
        .and_then(|descriptor| DynamicMessage::decode(descriptor, value.clone()).ok());
    let mut object = Map::new();
    object.insert("@type".into(), type_url.into());
    match decoded.map(|message| message_json(&message, depth + 1)) {
        Some(Json::Object(fields)) if !is_well_known(type_url) => object.extend(fields),
        // Messages with a JSON form of their own stand in `value`.
        Some(special) => {
            object.insert("value".into(), special);
        }
        None => {
            object.insert("value".into(), STANDARD.encode(value).into());
        }
    }
    Json::Object(object)
}

fn is_well_known(type_url: &str) -> bool {
    type_url.rsplit('/').next().is_some_and(|name| {
        matches!(name.strip_prefix("google.protobuf."), Some("Struct" | "Value" | "ListValue" | "Any"))
    })
}

fn message_json(message: &DynamicMessage, depth: usize) -> Json {
    let descriptor = message.descriptor();
    if let Some(name) = descriptor.full_name().strip_prefix("google.protobuf.")
        && let Some(json) = well_known_json(name, message, depth)
    {
        return json;
    }
    let mut object = Map::new();
    let mut fields: Vec<(FieldDescriptor, &Value)> = message.fields().collect();
    fields.sort_by_key(|(field, _)| field.number());
    for (field, value) in fields {
        if !field.supports_presence() && value.is_default_for_field(&field) {
            continue;
        }
        let json =
            if is_sensitive(&field) { redacted(value) } else { value_json(value, &field.kind(), depth) };
        object.insert(field.name().to_owned(), json);
    }
    Json::Object(object)
}

fn value_json(value: &Value, kind: &Kind, depth: usize) -> Json {
    match value {
        Value::Bool(v) => (*v).into(),
        Value::I32(v) => (*v).into(),
        Value::U32(v) => (*v).into(),
        Value::I64(v) => v.to_string().into(),
        Value::U64(v) => v.to_string().into(),
        Value::F32(v) => float_json(v.to_string().parse().unwrap_or(f64::from(*v))),
        Value::F64(v) => float_json(*v),
        Value::String(v) => v.as_str().into(),
        Value::Bytes(v) => STANDARD.encode(v).into(),
        Value::EnumNumber(number) => enum_json(kind.as_enum(), *number),
        Value::Message(message) => message_json(message, depth),
        Value::List(items) => items.iter().map(|item| value_json(item, kind, depth)).collect(),
        Value::Map(entries) => {
            let entry = kind.as_message().filter(|message| message.is_map_entry());
            let value_kind = entry.map_or_else(|| kind.clone(), |entry| entry.map_entry_value_field().kind());
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            let object = entries
                .into_iter()
                .map(|(key, item)| (key_text(key).into_owned(), value_json(item, &value_kind, depth)))
                .collect();
            Json::Object(object)
        }
    }
}

fn float_json(value: f64) -> Json {
    match Number::from_f64(value) {
        Some(number) => Json::Number(number),
        None if value.is_nan() => "NaN".into(),
        None if value.is_sign_positive() => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

fn enum_json(descriptor: Option<&EnumDescriptor>, number: i32) -> Json {
    match descriptor.and_then(|d| d.get_value(number)) {
        Some(value) => value.name().into(),
        None => number.into(),
    }
}

fn key_text(key: &MapKey) -> Cow<'_, str> {
    match key {
        MapKey::Bool(v) => v.to_string().into(),
        MapKey::I32(v) => v.to_string().into(),
        MapKey::I64(v) => v.to_string().into(),
        MapKey::U32(v) => v.to_string().into(),
        MapKey::U64(v) => v.to_string().into(),
        MapKey::String(v) => v.as_str().into(),
    }
}

/// Messages of `google.protobuf` that have a JSON form of their own.
fn well_known_json(name: &str, message: &DynamicMessage, depth: usize) -> Option<Json> {
    let field = |number: u32| message.get_field_by_number(number);
    let json = match name {
        "Any" => {
            let type_url = field(1)?.as_str()?.to_owned();
            let value = field(2)?.as_bytes()?.clone();
            any_json(&type_url, &value, depth)
        }
        "Duration" => duration_text(field(1)?.as_i64()?, field(2)?.as_i32()?).into(),
        "Timestamp" => timestamp_text(field(1)?.as_i64()?, field(2)?.as_i32()?).into(),
        "BoolValue" | "StringValue" | "BytesValue" | "Int32Value" | "UInt32Value" | "Int64Value"
        | "UInt64Value" | "FloatValue" | "DoubleValue" | "Struct" | "ListValue" => {
            let descriptor = message.descriptor().get_field(1)?;
            value_json(field(1)?.as_ref(), &descriptor.kind(), depth)
        }
        "Value" => match message.fields().next() {
            None => Json::Null,
            Some((descriptor, _)) if descriptor.name() == "null_value" => Json::Null,
            Some((descriptor, value)) => value_json(value, &descriptor.kind(), depth),
        },
        _ => return None,
    };
    Some(json)
}

fn duration_text(seconds: i64, nanos: i32) -> String {
    if nanos == 0 {
        return format!("{seconds}s");
    }
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let text = format!("{sign}{}.{:09}", seconds.unsigned_abs(), nanos.unsigned_abs());
    format!("{}s", trim_thousands(&text))
}

/// Shortens a fraction of nine digits to six or three where nothing is lost.
fn trim_thousands(text: &str) -> &str {
    let text = text.strip_suffix("000").unwrap_or(text);
    text.strip_suffix("000").unwrap_or(text)
}

/// RFC 3339 in UTC. Days to civil date after the usual era arithmetic (400 years = 146 097 days).
pub fn timestamp_text(seconds: i64, nanos: i32) -> String {
    let days = seconds.div_euclid(86_400);
    let second = seconds.rem_euclid(86_400);
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let mut text = format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    );
    if nanos > 0 {
        let fraction = format!(".{nanos:09}");
        text.push_str(trim_thousands(&fraction));
    }
    text.push('Z');
    text
}

/// `udpa.annotations.sensitive` on the field.
fn is_sensitive(field: &FieldDescriptor) -> bool {
    static MARK: OnceLock<Option<ExtensionDescriptor>> = OnceLock::new();
    let mark = MARK.get_or_init(|| pool().get_extension_by_name("udpa.annotations.sensitive"));
    match mark {
        Some(mark) => field.options().get_extension(mark).as_bool().unwrap_or(false),
        // Without the mark no field can be told from a secret.
        None => true,
    }
}

/// A secret's shape stays visible, its content does not.
fn redacted(value: &Value) -> Json {
    match value {
        Value::Message(message) => {
            let fields =
                message.fields().map(|(field, value)| (field.name().to_owned(), redacted(value))).collect();
            Json::Object(fields)
        }
        Value::List(items) => items.iter().map(redacted).collect(),
        Value::Bytes(_) => STANDARD.encode(REDACTED).into(),
        _ => REDACTED.into(),
    }
}

#[cfg(test)]
mod tests;
