//! Bodies in `application/vnd.kubernetes.protobuf`, decoded by the schema table's tags.
//!
//! kubectl 1.32 sends them for `create` of built-in kinds. Only decoding: answers are JSON.

mod wire;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::gvk::GroupVersion;
use crate::schema::{Field, ObjectSchema, Schema};
use crate::time;
use wire::{Reader, Wire};

/// Start of every body: distinguishes the envelope from other protobuf data.
const MAGIC: &[u8] = b"k8s\0";

/// Nesting of messages that is followed; built-in kinds stay far below.
const MAX_DEPTH: usize = 48;

/// Optional fields whose zero differs from absence: Go has them as pointers. Other zeroes are dropped, because Go
/// writes its plain fields even when they are unset.
const ZERO_HAS_MEANING: &[&str] = &[
    "allocateLoadBalancerNodePorts",
    "allowPrivilegeEscalation",
    "automountServiceAccountToken",
    "backoffLimit",
    "completions",
    "defaultMode",
    "enableServiceLinks",
    "failedJobsHistoryLimit",
    "fsGroup",
    "gracePeriodSeconds",
    "hostUsers",
    "immutable",
    "minReplicas",
    "mode",
    "parallelism",
    "partition",
    "progressDeadlineSeconds",
    "ready",
    "replicas",
    "revisionHistoryLimit",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "serving",
    "storageClassName",
    "successfulJobsHistoryLimit",
    "suspend",
    "terminationGracePeriodSeconds",
    "ttlSecondsAfterFinished",
];

/// Why a protobuf body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// The first four bytes are not `k8s\0`.
    #[error("the body does not start with the Kubernetes protobuf magic \"k8s\\0\"")]
    Magic,
    /// Truncated or malformed wire data.
    #[error("malformed protobuf data in {0}")]
    Malformed(String),
    /// `apiVersion` and `kind` are not a built-in type.
    #[error("no protobuf form is known for {0}; send JSON instead")]
    UnknownType(String),
}

/// Decodes `k8s\0` + `runtime.Unknown` of a built-in kind (or of meta options) to JSON.
///
/// # Errors
/// See [`ProtobufError`].
pub fn decode(body: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = body.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?;
    let bad = || ProtobufError::Malformed("the runtime.Unknown envelope".into());
    let (mut api_version, mut kind, mut raw, mut content_type) = (String::new(), String::new(), &[][..], "");
    let mut reader = Reader::new(envelope);
    while let Some((number, value)) = reader.next().ok_or_else(bad)? {
        match (number, value) {
            (1, Wire::Bytes(type_meta)) => {
                let mut fields = Reader::new(type_meta);
                while let Some((number, value)) = fields.next().ok_or_else(bad)? {
                    let Wire::Bytes(text) = value else { continue };
                    let text = std::str::from_utf8(text).map_err(|_| bad())?.to_owned();
                    match number {
                        1 => api_version = text,
                        2 => kind = text,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            (4, Wire::Bytes(text)) => content_type = std::str::from_utf8(text).map_err(|_| bad())?,
            _ => {}
        }
    }
    if content_type == "application/json" {
        return serde_json::from_slice(raw)
            .map_err(|e| ProtobufError::Malformed(format!("the embedded JSON: {e}")));
    }
    let unknown = || ProtobufError::UnknownType(format!("{api_version} {kind}"));
    let gv = GroupVersion::parse(&api_version).ok_or_else(unknown)?;
    let schema = Schema::of_kind(&gv.with_kind(&kind));
    let object = schema.as_object().ok_or_else(unknown)?;
    let mut out = Map::new();
    out.insert("apiVersion".into(), json!(api_version));
    out.insert("kind".into(), json!(kind));
    message(object, raw, &[], &mut out, 0)?;
    Ok(Value::Object(out))
}

/// Decodes one message into `out`. `prefix` is the tag path of an embedded Go struct inside `object`.
fn message(
    object: &ObjectSchema,
    bytes: &[u8],
    prefix: &[u32],
    out: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    let bad = || ProtobufError::Malformed(object.name.to_owned());
    if depth > MAX_DEPTH {
        return Err(bad());
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.next().ok_or_else(bad)? {
        let mut path = prefix.to_vec();
        path.push(number);
        if let Some((name, field)) = object.fields.iter().find(|(_, f)| f.tags == path) {
            add(object, name, field, value, out, depth)?;
        } else if object.fields.values().any(|f| f.tags.starts_with(&path)) {
            let Wire::Bytes(inner) = value else { return Err(bad()) };
            message(object, inner, &path, out, depth + 1)?;
        }
        // Fields that the table does not know come from a newer client; the real server drops them too.
    }
    Ok(())
}

fn add(
    object: &ObjectSchema,
    name: &str,
    field: &Field,
    value: Wire<'_>,
    out: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    let bad = || ProtobufError::Malformed(format!("{}.{name}", object.name));
    match field.schema.resolve() {
        Schema::List(list) => {
            let slot = out.entry(name).or_insert_with(|| json!([]));
            let Value::Array(items) = slot else { return Err(bad()) };
            match (list.items.resolve(), value) {
                // Numbers may be packed into one field.
                (Schema::Int32 | Schema::Int64, Wire::Bytes(packed)) => {
                    let mut reader = Reader::new(packed);
                    while !reader.is_empty() {
                        items.push(json!(wire::signed(reader.varint().ok_or_else(bad)?)));
                    }
                }
                (schema, value) => items.push(single(schema, value, depth).ok_or_else(bad)??),
            }
        }
        Schema::Map(map) => {
            let Wire::Bytes(entry) = value else { return Err(bad()) };
            let mut reader = Reader::new(entry);
            let (mut key, mut entry_value) = (String::new(), None);
            while let Some((number, value)) = reader.next().ok_or_else(bad)? {
                match (number, value) {
                    (1, Wire::Bytes(text)) => key = String::from_utf8(text.to_vec()).map_err(|_| bad())?,
                    (2, value) => {
                        entry_value = Some(single(map.values.resolve(), value, depth).ok_or_else(bad)??)
                    }
                    _ => {}
                }
            }
            let empty = if map.values == Schema::String { json!("") } else { Value::Null };
            let slot = out.entry(name).or_insert_with(|| json!({}));
            slot.as_object_mut().ok_or_else(bad)?.insert(key, entry_value.unwrap_or(empty));
        }
        schema => {
            let value = single(schema, value, depth).ok_or_else(bad)??;
            let zero = match &value {
                Value::Null => true,
                Value::String(text) => text.is_empty(),
                Value::Bool(b) => !b,
                Value::Number(n) => n.as_f64() == Some(0.0),
                _ => false,
            };
            if !zero || (!value.is_null() && (field.required || ZERO_HAS_MEANING.contains(&name))) {
                out.insert(name.to_owned(), value);
            }
        }
    }
    Ok(())
}

/// One value; `None` when its wire form does not fit the schema.
fn single(schema: &Schema, value: Wire<'_>, depth: usize) -> Option<Result<Value, ProtobufError>> {
    let decoded = match (schema, value) {
        (Schema::Object(object), Wire::Bytes(bytes)) => {
            let mut out = Map::new();
            return Some(message(object, bytes, &[], &mut out, depth + 1).map(|()| Value::Object(out)));
        }
        (Schema::Named(_), Wire::Bytes(bytes)) => return single(schema.resolve(), Wire::Bytes(bytes), depth),
        (Schema::String, Wire::Bytes(bytes)) => json!(std::str::from_utf8(bytes).ok()?),
        (Schema::Bytes, Wire::Bytes(bytes)) => json!(STANDARD.encode(bytes)),
        (Schema::Bool, Wire::Varint(n)) => json!(n != 0),
        (Schema::Int32 | Schema::Int64, Wire::Varint(n)) => json!(wire::signed(n)),
        (Schema::Double, Wire::Fixed64(n)) => json!(f64::from_bits(n)),
        (Schema::Quantity, Wire::Bytes(bytes)) => json!(text_field(bytes, 1)?),
        (Schema::Time, Wire::Bytes(bytes)) => {
            moment(bytes)?.map_or(Value::Null, |(s, _)| json!(time::format(s)))
        }
        (Schema::MicroTime, Wire::Bytes(bytes)) => {
            moment(bytes)?.map_or(Value::Null, |(s, n)| json!(time::format_micro(s, n)))
        }
        (Schema::IntOrString, Wire::Bytes(bytes)) => int_or_string(bytes)?,
        // RawExtension, FieldsV1 and JSON carry JSON text in their first field.
        (Schema::Any, Wire::Bytes(bytes)) => match text_field(bytes, 1)?.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text).ok()?,
        },
        // A list as a map's value is a message of its own (ExtraValue).
        (Schema::List(list), Wire::Bytes(bytes)) => {
            let mut items = Vec::new();
            let mut reader = Reader::new(bytes);
            while let Some((_, value)) = reader.next()? {
                match single(list.items.resolve(), value, depth + 1)? {
                    Ok(item) => items.push(item),
                    Err(error) => return Some(Err(error)),
                }
            }
            Value::Array(items)
        }
        _ => return None,
    };
    Some(Ok(decoded))
}

fn text_field(bytes: &[u8], wanted: u32) -> Option<String> {
    let mut text = String::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.next()? {
        if let (true, Wire::Bytes(bytes)) = (number == wanted, value) {
            text = String::from_utf8(bytes.to_vec()).ok()?;
        }
    }
    Some(text)
}

/// Seconds and nanoseconds; the inner `None` is Go's zero time.
fn moment(bytes: &[u8]) -> Option<Option<(i64, u32)>> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.next()? {
        match (number, value) {
            (1, Wire::Varint(n)) => seconds = wire::signed(n),
            (2, Wire::Varint(n)) => nanos = u32::try_from(n).ok().filter(|n| *n < 1_000_000_000)?,
            _ => {}
        }
    }
    // Outside the years 1 to 9999 there is no RFC 3339 text.
    if !(-62_135_596_800..253_402_300_800).contains(&seconds) {
        return None;
    }
    Some((!bytes.is_empty() && (seconds, nanos) != (0, 0)).then_some((seconds, nanos)))
}

fn int_or_string(bytes: &[u8]) -> Option<Value> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    let mut reader = Reader::new(bytes);
    while let Some((field, value)) = reader.next()? {
        match (field, value) {
            (1, Wire::Varint(n)) => is_text = n == 1,
            (2, Wire::Varint(n)) => number = wire::signed(n),
            (3, Wire::Bytes(bytes)) => text = String::from_utf8(bytes.to_vec()).ok()?,
            _ => {}
        }
    }
    Some(if is_text { json!(text) } else { json!(number) })
}

#[cfg(test)]
mod tests;
