//! What the user wrote on top of what is injected.

use serde_json::Value;

/// Lists of a container whose items are told apart by a key.
const KEYED: [(&str, &str); 4] = [
    ("env", "name"),
    ("volumeMounts", "mountPath"),
    ("ports", "containerPort"),
    ("volumeDevices", "devicePath"),
];

/// The image that stands for "the injected one".
const AUTO_IMAGE: &str = "auto";

/// Completes the user's container with the template's: the user's fields win, objects merge, keyed lists merge by
/// their key.
pub(super) fn overlay(template: Value, user: &Value) -> Value {
    let (Value::Object(mut result), Value::Object(user)) = (template, user) else { return user.clone() };
    for (key, value) in user {
        if value.is_null() || (key == "image" && value == AUTO_IMAGE) {
            continue;
        }
        let below = result.get_mut(key).map(Value::take);
        let merged = match (below, KEYED.iter().find(|(list, _)| list == key)) {
            (Some(Value::Array(mut items)), Some((_, id))) => {
                for item in value.as_array().into_iter().flatten() {
                    match items
                        .iter_mut()
                        .find(|below| below.get(*id).is_some_and(|v| Some(v) == item.get(*id)))
                    {
                        Some(below) => *below = item.clone(),
                        None => items.push(item.clone()),
                    }
                }
                Value::Array(items)
            }
            (Some(below @ Value::Object(_)), None) if value.is_object() => overlay(below, value),
            _ => value.clone(),
        };
        result.insert(key.clone(), merged);
    }
    Value::Object(result)
}
