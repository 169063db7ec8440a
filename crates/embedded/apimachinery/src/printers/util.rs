//! Cells that many kinds share.

use serde_json::{Value, json};

use crate::time;

/// What stands for an absent value.
pub(super) const NONE: &str = "<none>";

/// The text at a JSON pointer, empty if there is none.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The text at a pointer, `<none>` if there is none.
pub(super) fn text_or_none<'a>(object: &'a Value, pointer: &str) -> &'a str {
    match text(object, pointer) {
        "" => NONE,
        text => text,
    }
}

/// The number at a pointer, 0 if there is none.
pub(super) fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// The list at a pointer, empty if there is none.
pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// How many entries the map at a pointer has.
pub(super) fn entries(object: &Value, pointer: &str) -> usize {
    object.pointer(pointer).and_then(Value::as_object).map_or(0, serde_json::Map::len)
}

/// Time since the moment at a pointer.
pub(super) fn since(object: &Value, pointer: &str, now: i64) -> String {
    match text(object, pointer) {
        "" => "<unknown>".into(),
        text => time::parse(text).map_or_else(|| "<invalid>".into(), |then| time::human_duration(now - then)),
    }
}

/// The AGE cell.
pub(super) fn age(object: &Value, now: i64) -> Value {
    json!(since(object, "/metadata/creationTimestamp", now))
}

/// `a=b,c=d` of a map at a pointer.
pub(super) fn pairs(object: &Value, pointer: &str) -> String {
    let map = object.pointer(pointer).and_then(Value::as_object);
    let mut pairs: Vec<String> =
        map.into_iter().flatten().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    pairs.sort();
    if pairs.is_empty() { NONE.into() } else { pairs.join(",") }
}

/// The text of a LabelSelector.
pub(super) fn selector(object: &Value, pointer: &str) -> String {
    let labels = pairs(object, &format!("{pointer}/matchLabels"));
    let mut parts = if labels == NONE { Vec::new() } else { vec![labels] };
    for expression in list(object, &format!("{pointer}/matchExpressions")) {
        let key = text(expression, "/key");
        let values =
            list(expression, "/values").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
        parts.push(match text(expression, "/operator") {
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            operator => format!("{key} {} ({values})", operator.to_lowercase()),
        });
    }
    if parts.is_empty() { NONE.into() } else { parts.join(",") }
}

/// Names and images of a pod template's containers.
pub(super) fn containers(object: &Value, pod_spec: &str) -> [Value; 2] {
    ["/name", "/image"].map(|field| {
        let containers = list(object, &format!("{pod_spec}/containers"));
        json!(containers.iter().map(|c| text(c, field)).collect::<Vec<_>>().join(","))
    })
}

/// A number or text, as an IntOrString field has it.
pub(super) fn plain(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "N/A".into(),
        Some(other) => other.to_string(),
    }
}

/// Whether the condition of this type has the status `True`.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(object, "/status/conditions").iter().find(|c| text(c, "/type") == kind)
}
