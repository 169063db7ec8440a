//! Labels of hosts, and what routes ask of them, as texts that are equal exactly when the values are.

use crate::pb;

/// Where labels stand in the metadata of endpoints, routes and weighted clusters.
pub(super) const NAMESPACE: &str = "envoy.lb";
/// What a host is called on a ring, instead of its address.
pub(super) const HASH_KEY: &str = "hash_key";

/// The labels of a host, sorted by key; a list is several values if `list_as_any`.
pub(super) fn of_host(from: &pb::Struct, list_as_any: bool) -> Vec<(String, Vec<String>)> {
    let mut labels: Vec<_> = from
        .fields
        .iter()
        .map(|(key, value)| {
            let values = match &value.kind {
                Some(pb::Kind::ListValue(list)) if list_as_any => list.values.iter().map(text).collect(),
                _ => vec![text(value)],
            };
            (key.clone(), values)
        })
        .collect();
    labels.sort();
    labels
}

/// What a struct asks for, sorted by key.
pub(super) fn of_struct(from: &pb::Struct) -> Vec<(String, String)> {
    let mut criteria: Vec<_> = from.fields.iter().map(|(key, value)| (key.clone(), text(value))).collect();
    criteria.sort();
    criteria
}

/// What the `metadata_match` of a route asks for, sorted by key.
pub(crate) fn of_criteria(from: Option<&pb::core::Metadata>) -> Vec<(String, String)> {
    let labels = from.and_then(|metadata| metadata.filter_metadata.get(NAMESPACE));
    labels.map(of_struct).unwrap_or_default()
}

/// A value as JSON with sorted keys.
fn text(value: &pb::Value) -> String {
    json(value).to_string()
}

fn json(value: &pb::Value) -> serde_json::Value {
    match &value.kind {
        None | Some(pb::Kind::NullValue(_)) => serde_json::Value::Null,
        Some(pb::Kind::NumberValue(number)) => (*number).into(),
        Some(pb::Kind::StringValue(text)) => text.as_str().into(),
        Some(pb::Kind::BoolValue(value)) => (*value).into(),
        Some(pb::Kind::ListValue(list)) => list.values.iter().map(json).collect(),
        Some(pb::Kind::StructValue(fields)) => {
            let sorted: std::collections::BTreeMap<_, _> = fields.fields.iter().collect();
            sorted.into_iter().map(|(key, value)| (key.clone(), json(value))).collect()
        }
    }
}
