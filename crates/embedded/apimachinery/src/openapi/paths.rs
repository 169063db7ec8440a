//! `paths` of a document: the operations by which clients find a kind and the parameters they look for.

use serde_json::{Map, Value, json};

use super::{gvk_value, resource_definition_name};
use crate::gvk::GroupVersion;
use crate::resources::Resource;

/// `/api/v1` or `/apis/G/V`.
pub(super) fn root(gv: &GroupVersion) -> String {
    if gv.group.is_empty() { format!("/api/{}", gv.version) } else { format!("/apis/{gv}") }
}

/// Adds the paths of one resource.
pub(super) fn add(resource: &Resource, paths: &mut Map<String, Value>) {
    let root = root(&resource.group_version());
    let base = if resource.namespaced {
        format!("{root}/namespaces/{{namespace}}/{}", resource.plural)
    } else {
        format!("{root}/{}", resource.plural)
    };
    let has = |verb: &str| resource.allows(verb);
    let mut collection = Map::new();
    for (method, verb, action) in [
        ("get", "list", "list"),
        ("post", "create", "post"),
        ("delete", "deletecollection", "deletecollection"),
    ] {
        if has(verb) {
            collection.insert(method.into(), operation(resource, action));
        }
    }
    collection.insert("parameters".into(), path_parameters(resource.namespaced, false));
    paths.insert(base.clone(), Value::Object(collection));
    if resource.namespaced && has("list") {
        let all = json!({"get": operation(resource, "list")});
        paths.insert(format!("{root}/{}", resource.plural), all);
    }
    let mut item = Map::new();
    for (method, verb, action) in [
        ("get", "get", "get"),
        ("put", "update", "put"),
        ("delete", "delete", "delete"),
        ("patch", "patch", "patch"),
    ] {
        if has(verb) {
            item.insert(method.into(), operation(resource, action));
        }
    }
    if item.is_empty() {
        return;
    }
    item.insert("parameters".into(), path_parameters(resource.namespaced, true));
    paths.insert(format!("{base}/{{name}}"), Value::Object(item));
    for sub in resource.subresources.iter().filter(|s| s.gvk == resource.gvk() && s.verbs.contains(&"patch"))
    {
        let item = json!({
            "get": operation(resource, "get"),
            "put": operation(resource, "put"),
            "patch": operation(resource, "patch"),
            "parameters": path_parameters(resource.namespaced, true),
        });
        paths.insert(format!("{base}/{{name}}/{}", sub.name), item);
    }
}

fn operation(resource: &Resource, action: &str) -> Value {
    let reference = json!({"$ref": format!("#/components/schemas/{}", resource_definition_name(resource))});
    let writes = matches!(action, "post" | "put" | "patch");
    let names: &[&str] = match action {
        "post" | "put" => &["pretty", "dryRun", "fieldManager", "fieldValidation"],
        "patch" => &["pretty", "dryRun", "fieldManager", "fieldValidation", "force"],
        "delete" => &["pretty", "dryRun", "gracePeriodSeconds", "propagationPolicy"],
        "get" => &["pretty"],
        _ => &["pretty", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "watch"],
    };
    let parameters: Vec<Value> = names.iter().map(|name| query(name)).collect();
    let mut operation = json!({
        "operationId": format!("{action}{}{}", resource.version, resource.kind),
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk_value(resource),
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}},
    });
    if writes && action != "patch" {
        operation["requestBody"] =
            json!({"content": {"application/json": {"schema": reference}}, "required": true});
    }
    operation
}

fn query(name: &str) -> Value {
    let kind = match name {
        "force" | "watch" => "boolean",
        "limit" | "gracePeriodSeconds" => "integer",
        _ => "string",
    };
    json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
}

fn path_parameters(namespaced: bool, named: bool) -> Value {
    [(named, "name"), (namespaced, "namespace")]
        .into_iter()
        .filter(|(present, _)| *present)
        .map(|(_, name)| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect()
}
