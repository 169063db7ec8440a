//! The `scale` sub-resource: `autoscaling/v1 Scale` made from, and written back to, the object it scales.

use serde_json::{Map, Value, json};

use crate::jsonpath::JsonPath;
use crate::resources::Resource;
use crate::status::{ApiStatus, FieldError};

/// The Scale of `object`.
///
/// # Errors
/// 500 when a custom resource's replicas path leads nowhere sensible.
pub fn read(resource: &Resource, object: &Value) -> Result<Value, ApiStatus> {
    let paths = Paths::of(resource)?;
    let number = |path: &JsonPath| path.first(object).and_then(Value::as_i64);
    let mut metadata = Map::new();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.pointer(&format!("/metadata/{key}")) {
            metadata.insert(key.into(), value.clone());
        }
    }
    let mut status = json!({"replicas": number(&paths.status).unwrap_or(0)});
    if let Some(selector) = paths.selector.as_ref().and_then(|p| p.first(object)).and_then(selector_text) {
        status["selector"] = json!(selector);
    }
    let replicas = number(&paths.spec).unwrap_or(0);
    Ok(json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": replicas}, "status": status,
    }))
}

/// Writes `spec.replicas` of `scale` into `object`.
///
/// # Errors
/// 422 for a negative or missing number.
pub fn write(resource: &Resource, object: &mut Value, scale: &Value) -> Result<(), ApiStatus> {
    let paths = Paths::of(resource)?;
    let name = scale.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    // Go drops a zero, so that an absent number means none.
    let replicas = match scale.pointer("/spec/replicas") {
        None | Some(Value::Null) => Some(0),
        Some(value) => value.as_i64(),
    };
    let Some(replicas) = replicas.filter(|n| (0..=i64::from(i32::MAX)).contains(n)) else {
        let given = scale.pointer("/spec/replicas").cloned().unwrap_or_default();
        let error = FieldError::invalid("spec.replicas", given, "must be greater than or equal to 0");
        return Err(ApiStatus::invalid(resource, &name, &[error]));
    };
    let fields = paths.spec.fields().unwrap_or_default();
    let mut at = object;
    for (i, field) in fields.iter().enumerate() {
        let Some(map) = at.as_object_mut() else {
            return Err(ApiStatus::internal(format!(
                "{} of {} is not an object",
                paths.spec, resource.plural
            )));
        };
        let last = i + 1 == fields.len();
        at = map.entry(*field).or_insert_with(|| json!({}));
        if last {
            *at = json!(replicas);
        }
    }
    Ok(())
}

struct Paths {
    spec: JsonPath,
    status: JsonPath,
    selector: Option<JsonPath>,
}

impl Paths {
    fn of(resource: &Resource) -> Result<Self, ApiStatus> {
        let scale = resource.custom.as_ref().and_then(|c| c.scale.as_ref());
        let (spec, status, selector) = match scale {
            Some(s) => (s.spec_replicas.as_str(), s.status_replicas.as_str(), s.label_selector.as_str()),
            None => (".spec.replicas", ".status.replicas", ".spec.selector"),
        };
        let parse =
            |text: &str| JsonPath::parse(text).map_err(|e| ApiStatus::internal(format!("scale path {e}")));
        let selector = if selector.is_empty() { None } else { Some(parse(selector)?) };
        Ok(Self { spec: parse(spec)?, status: parse(status)?, selector })
    }
}

/// A selector as text: custom resources keep the text itself, built-in kinds a LabelSelector or a map.
fn selector_text(selector: &Value) -> Option<String> {
    if let Some(text) = selector.as_str() {
        return Some(text.to_owned());
    }
    let pairs = |map: &Map<String, Value>| -> Vec<String> {
        map.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect()
    };
    let map = selector.as_object()?;
    let mut parts = match map.get("matchLabels").and_then(Value::as_object) {
        Some(labels) => pairs(labels),
        None if map.contains_key("matchExpressions") => Vec::new(),
        None => pairs(map),
    };
    for expression in map.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let key = expression.get("key").and_then(Value::as_str).unwrap_or_default();
        let values = expression.get("values").and_then(Value::as_array);
        let values = values.into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
        parts.push(match expression.get("operator").and_then(Value::as_str) {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    Some(parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ResourceTable;

    #[test]
    fn deployments_scale() {
        let resource = ResourceTable::builtin().get("apps", "v1", "deployments").unwrap().clone();
        let mut object = json!({"metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {"replicas": 2,
            "selector": {"matchLabels": {"app": "a"}}}, "status": {"replicas": 1}});
        let mut scale = read(&resource, &object).unwrap();
        assert_eq!(scale["metadata"], json!({"name": "a"}));
        assert_eq!(scale["spec"], json!({"replicas": 2}));
        assert_eq!(scale["status"], json!({"replicas": 1, "selector": "app=a"}));
        scale["spec"]["replicas"] = json!(5);
        write(&resource, &mut object, &scale).unwrap();
        assert_eq!(object["spec"]["replicas"], 5);
        scale["spec"]["replicas"] = json!(-1);
        assert_eq!(write(&resource, &mut object, &scale).unwrap_err().code, 422);
    }

    #[test]
    fn selectors_are_texts() {
        for (selector, text) in [
            (json!("a=b"), Some("a=b")),
            (json!({"a": "b", "c": "d"}), Some("a=b,c=d")),
            (
                json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}),
                Some("a=b,x"),
            ),
            (json!({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}), Some("!x")),
            (
                json!({"matchExpressions": [{"key": "x", "operator": "In", "values": ["p", "q"]}]}),
                Some("x in (p,q)"),
            ),
            (
                json!({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["p"]}]}),
                Some("x notin (p)"),
            ),
            (json!(7), None),
        ] {
            assert_eq!(selector_text(&selector).as_deref(), text, "{selector}");
        }
    }

    #[test]
    fn numbers_of_replicas_are_checked() {
        let resource = ResourceTable::builtin().get("apps", "v1", "deployments").unwrap().clone();
        let written = |replicas: Value| {
            let mut object = json!({});
            let scale = json!({"spec": {"replicas": replicas}});
            write(&resource, &mut object, &scale).map(|()| object["spec"]["replicas"].clone()).ok()
        };
        let most = i64::from(i32::MAX);
        for (replicas, want) in [
            (json!(null), Some(json!(0))),
            (json!(0), Some(json!(0))),
            (json!(most), Some(json!(most))),
            (json!(most + 1), None),
            (json!("1"), None),
        ] {
            assert_eq!(written(replicas.clone()), want, "{replicas}");
        }
        let mut broken = json!({"spec": "x"});
        assert_eq!(write(&resource, &mut broken, &json!({})).unwrap_err().code, 500);
    }
}
