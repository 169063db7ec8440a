//! CustomResourceDefinitions: a definition compiled once into resources with their rules.

mod model;
mod names;
mod structural;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::custom::{CustomVersion, Rules, ScalePaths};
use crate::gvk::GroupVersionKind;
use crate::jsonpath::JsonPath;
use crate::printers::Column;
use crate::resources::{ALL_VERBS, Resource, StorageKey, Subresource};
use crate::status::FieldError;

/// A CustomResourceDefinition that passed its checks.
#[derive(Clone, Debug)]
pub struct Definition {
    resources: Vec<Arc<Resource>>,
}

impl Definition {
    /// Compiles a CRD object (apiextensions.k8s.io/v1, after defaulting).
    ///
    /// # Errors
    /// Every fault found: names, versions, schemas that are not structural.
    pub fn compile(crd: &Value) -> Result<Self, Vec<FieldError>> {
        let mut errors = names::check(crd);
        let mut resources = Vec::new();
        for (i, version) in list(crd, "/spec/versions").iter().enumerate() {
            let path = format!("spec.versions[{i}]");
            if let Some(resource) = compile_version(crd, version, &path, &mut errors)
                && version.get("served") == Some(&Value::Bool(true))
            {
                resources.push(Arc::new(resource));
            }
        }
        if errors.is_empty() { Ok(Self { resources }) } else { Err(errors) }
    }

    /// The resources of the served versions.
    pub fn resources(&self) -> &[Arc<Resource>] {
        &self.resources
    }
}

/// The `status` of a CRD object: `acceptedNames`, `storedVersions` and the conditions `NamesAccepted` and
/// `Established`. `conflict` tells why the names cannot be accepted (taken by another CRD). `now` is an RFC 3339
/// time for `lastTransitionTime` of conditions that change.
pub fn status(crd: &Value, conflict: Option<&str>, now: &str) -> Value {
    names::status(crd, conflict, now)
}

fn compile_version(
    crd: &Value,
    version: &Value,
    path: &str,
    errors: &mut Vec<FieldError>,
) -> Option<Resource> {
    let schema = version.pointer("/schema/openAPIV3Schema");
    let Some(schema) = schema.filter(|s| s.is_object()) else {
        errors.push(FieldError::required(format!("{path}.schema.openAPIV3Schema"), "schemas are required"));
        return None;
    };
    let schema_path = format!("{path}.schema.openAPIV3Schema");
    let before = errors.len();
    structural::check(schema, &schema_path, errors);
    let rules = Rules::compile(schema, &schema_path, errors);
    let columns = columns(version, path, errors);
    let scale = scale(version, path, errors);
    if errors.len() > before {
        return None;
    }
    let group = text(crd, "/spec/group");
    let kind = text(crd, "/spec/names/kind");
    let name = text(version, "/name");
    let own = GroupVersionKind::new(group, name, kind);
    let mut subresources = Vec::new();
    const READ_WRITE: &[&str] = &["get", "patch", "update"];
    if scale.is_some() {
        let gvk = GroupVersionKind::new("autoscaling", "v1", "Scale");
        subresources.push(Subresource { name: "scale".into(), gvk, verbs: READ_WRITE });
    }
    if version.pointer("/subresources/status").is_some() {
        subresources.push(Subresource { name: "status".into(), gvk: own, verbs: READ_WRITE });
    }
    let storage = list(crd, "/spec/versions").iter().find(|v| v.get("storage") == Some(&Value::Bool(true)));
    let selectable = list(version, "/selectableFields");
    Some(Resource {
        group: group.to_owned(),
        version: name.to_owned(),
        kind: kind.to_owned(),
        list_kind: match text(crd, "/spec/names/listKind") {
            "" => format!("{kind}List"),
            list_kind => list_kind.to_owned(),
        },
        plural: text(crd, "/spec/names/plural").to_owned(),
        singular: match text(crd, "/spec/names/singular") {
            "" => kind.to_lowercase(),
            singular => singular.to_owned(),
        },
        short_names: texts(crd, "/spec/names/shortNames"),
        categories: texts(crd, "/spec/names/categories"),
        namespaced: text(crd, "/spec/scope") == "Namespaced",
        verbs: ALL_VERBS,
        subresources,
        storage: StorageKey {
            group: group.to_owned(),
            version: storage.map_or(name, |v| text(v, "/name")).to_owned(),
            plural: text(crd, "/spec/names/plural").to_owned(),
        },
        schema_name: format!("{group}.{name}.{kind}"),
        schema: Arc::new(model::root(schema)),
        columns: columns.into(),
        custom: Some(Arc::new(CustomVersion {
            schema: schema.clone(),
            selectable_fields: selectable.iter().map(|f| text(f, "/jsonPath").to_owned()).collect(),
            scale,
            rules,
        })),
        counts_generation: true,
    })
}

/// `Name`, then the version's own columns, or `Age` if it has none.
fn columns(version: &Value, path: &str, errors: &mut Vec<FieldError>) -> Vec<Column> {
    let mut columns = vec![Column::named("Name")];
    let age = json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"});
    let own = list(version, "/additionalPrinterColumns");
    for (i, column) in if own.is_empty() { std::slice::from_ref(&age) } else { own }.iter().enumerate() {
        match JsonPath::parse(text(column, "/jsonPath")) {
            Ok(json_path) => columns.push(Column {
                name: text(column, "/name").to_owned(),
                kind: text(column, "/type").to_owned(),
                format: text(column, "/format").to_owned(),
                description: text(column, "/description").to_owned(),
                priority: column.get("priority").and_then(Value::as_i64).unwrap_or(0),
                path: Some(json_path),
            }),
            Err(e) => errors.push(FieldError::invalid(
                format!("{path}.additionalPrinterColumns[{i}].jsonPath"),
                text(column, "/jsonPath"),
                e.to_string(),
            )),
        }
    }
    columns
}

fn scale(version: &Value, path: &str, errors: &mut Vec<FieldError>) -> Option<ScalePaths> {
    let scale = version.pointer("/subresources/scale")?;
    let mut field = |key: &str, root: &str, required: bool| {
        let value = text(scale, &format!("/{key}"));
        let ok = JsonPath::parse(value)
            .ok()
            .and_then(|p| p.fields().map(|f| f.first() == Some(&root)))
            .unwrap_or(false);
        if !ok && (required || !value.is_empty()) {
            let path = format!("{path}.subresources.scale.{key}");
            errors.push(FieldError::invalid(path, value, format!("should be a json path under .{root}")));
        }
        value.to_owned()
    };
    Some(ScalePaths {
        spec_replicas: field("specReplicasPath", "spec", true),
        status_replicas: field("statusReplicasPath", "status", true),
        label_selector: field("labelSelectorPath", "status", false),
    })
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn texts(value: &Value, pointer: &str) -> Vec<String> {
    list(value, pointer).iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests;
