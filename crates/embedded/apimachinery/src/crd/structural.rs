//! The structural schema rules of apiextensions v1: every value's type is known without looking into logical
//! junctors, so that pruning and defaulting are well defined.

use serde_json::Value;

use crate::status::FieldError;

/// Keywords that may not stand inside allOf, anyOf, oneOf and not, because they would define structure there.
const FORBIDDEN_IN_JUNCTORS: &[&str] = &[
    "description",
    "default",
    "nullable",
    "additionalProperties",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
];
/// Keywords that no schema may have.
const FORBIDDEN: &[&str] =
    &["$ref", "definitions", "dependencies", "patternProperties", "additionalItems", "id", "$schema"];

/// Checks a whole schema.
pub(super) fn check(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        let given = schema.get("type").cloned().unwrap_or_default();
        errors.push(FieldError::invalid(format!("{path}.type"), given, "must be object at the root"));
        return;
    }
    node(schema, path, errors);
}

fn is_true(schema: &Value, keyword: &str) -> bool {
    schema.get(keyword) == Some(&Value::Bool(true))
}

fn node(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let int_or_string = is_true(schema, "x-kubernetes-int-or-string");
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    match kind {
        "" if int_or_string || is_true(schema, "x-kubernetes-preserve-unknown-fields") => {}
        "" => errors.push(FieldError::required(
            format!("{path}.type"),
            "must not be empty for specified object fields",
        )),
        "array" | "boolean" | "integer" | "number" | "object" | "string" => {}
        other => errors.push(FieldError::not_supported(
            format!("{path}.type"),
            other,
            &["array", "boolean", "integer", "number", "object", "string"],
        )),
    }
    if int_or_string && !kind.is_empty() {
        errors.push(FieldError::forbidden(
            format!("{path}.type"),
            "must be empty if x-kubernetes-int-or-string is true",
        ));
    }
    for keyword in FORBIDDEN.iter().filter(|k| schema.get(**k).is_some()) {
        errors.push(FieldError::forbidden(format!("{path}.{keyword}"), "is not supported"));
    }
    if is_true(schema, "uniqueItems") {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(format!("{path}.uniqueItems"), why));
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    if properties.is_some_and(|p| !p.is_empty())
        && schema.get("additionalProperties").is_some_and(|a| a != false)
    {
        let why = "additionalProperties and properties are mutual exclusive";
        errors.push(FieldError::forbidden(format!("{path}.additionalProperties"), why));
    }
    for (name, child) in properties.into_iter().flatten() {
        node(child, &format!("{path}.properties[{name}]"), errors);
    }
    if let Some(child) = schema.get("additionalProperties").filter(|a| a.is_object()) {
        node(child, &format!("{path}.additionalProperties"), errors);
    }
    match schema.get("items") {
        Some(items @ Value::Object(_)) => node(items, &format!("{path}.items"), errors),
        Some(_) => {
            errors.push(FieldError::forbidden(format!("{path}.items"), "items must be a schema object"))
        }
        None if kind == "array" => {
            errors.push(FieldError::required(format!("{path}.items"), "must be specified"));
        }
        None => {}
    }
    list_type(schema, path, errors);
    for keyword in ["allOf", "anyOf", "oneOf"] {
        for (i, branch) in schema.get(keyword).and_then(Value::as_array).into_iter().flatten().enumerate() {
            junctor(branch, int_or_string, &format!("{path}.{keyword}[{i}]"), errors);
        }
    }
    if let Some(branch) = schema.get("not") {
        junctor(branch, false, &format!("{path}.not"), errors);
    }
}

fn list_type(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
    match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("map") => {
            let fields = schema.get("items").and_then(|i| i.get("properties"));
            let keys_path = format!("{path}.x-kubernetes-list-map-keys");
            if keys.is_none_or(Vec::is_empty) {
                let why = "must not be empty if x-kubernetes-list-type is map";
                errors.push(FieldError::required(keys_path, why));
                return;
            }
            for key in keys.into_iter().flatten().filter_map(Value::as_str) {
                if fields.and_then(|f| f.get(key)).is_none() {
                    errors.push(FieldError::invalid(
                        keys_path.clone(),
                        key,
                        "must be a property of the items",
                    ));
                }
            }
        }
        None | Some("atomic" | "set") => {
            if keys.is_some_and(|k| !k.is_empty()) {
                let why = "must be empty if x-kubernetes-list-type is not map";
                errors.push(FieldError::forbidden(format!("{path}.x-kubernetes-list-map-keys"), why));
            }
        }
        Some(other) => errors.push(FieldError::not_supported(
            format!("{path}.x-kubernetes-list-type"),
            other,
            &["atomic", "map", "set"],
        )),
    }
}

fn junctor(schema: &Value, int_or_string: bool, path: &str, errors: &mut Vec<FieldError>) {
    for keyword in FORBIDDEN_IN_JUNCTORS.iter().filter(|k| schema.get(**k).is_some()) {
        errors.push(FieldError::forbidden(format!("{path}.{keyword}"), "must be undefined to be structural"));
    }
    // The branches of an int-or-string spell out its two types; nothing else may have a type here.
    if schema.get("type").is_some() && !int_or_string {
        errors.push(FieldError::forbidden(format!("{path}.type"), "must be empty to be structural"));
    }
    for (name, child) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        junctor(child, int_or_string, &format!("{path}.properties[{name}]"), errors);
    }
    if let Some(items) = schema.get("items") {
        junctor(items, int_or_string, &format!("{path}.items"), errors);
    }
    for keyword in ["allOf", "anyOf", "oneOf"] {
        for (i, branch) in schema.get(keyword).and_then(Value::as_array).into_iter().flatten().enumerate() {
            junctor(branch, int_or_string, &format!("{path}.{keyword}[{i}]"), errors);
        }
    }
    if let Some(branch) = schema.get("not") {
        junctor(branch, int_or_string, &format!("{path}.not"), errors);
    }
}
