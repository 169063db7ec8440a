//! OpenAPI documents made from the resource table.
//!
//! What stock clients need of them: kubectl leaves field validation to the server when the
//! patch operation of a kind has the query parameter `fieldValidation`; `explain` finds the kind by a path's `get`
//! operation and prints its schema.

mod paths;
mod schemas;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::gvk::GroupVersion;
use crate::resources::{Resource, ResourceTable};

/// Version that the documents state; it is also part of their hashes, so that it must change with their form.
const DOCUMENT_VERSION: &str = "v1.32.0";

/// `GET /openapi/v3`: the index of documents; each `serverRelativeURL` carries a content hash.
pub fn index(table: &ResourceTable) -> Value {
    let mut paths = Map::new();
    for gv in table.group_versions() {
        let path = paths::root(&gv);
        let url = format!("/openapi/v3{path}?hash={}", hash(table, &gv));
        paths.insert(path.trim_start_matches('/').to_owned(), json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

/// `GET /openapi/v3/api/v1` and `/openapi/v3/apis/G/V`; `None` when there is no such group version.
pub fn document(table: &ResourceTable, gv: &GroupVersion) -> Option<Value> {
    let mut paths = Map::new();
    let mut definitions = schemas::Definitions::default();
    for resource in table.in_group_version(gv) {
        paths::add(resource, &mut paths);
        definitions.add_resource(resource);
    }
    if paths.is_empty() {
        return None;
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": DOCUMENT_VERSION},
        "paths": paths,
        "components": {"schemas": definitions.finish()},
    }))
}

/// `GET /openapi/v2` as JSON: paths and definitions are left out, which clients read as "no schema known" and skip
/// their own validation.
pub fn v2_json(table: &ResourceTable) -> Value {
    let _ = table;
    json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": DOCUMENT_VERSION}, "paths": {}})
}

/// `Content-Type` of [`v2_protobuf`]. Old clients ask for `...spec.v2@v1.0+protobuf`; the answer must have a dot,
/// because an `@` is no valid media type and kubectl 1.32 refuses it.
pub const V2_PROTOBUF_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// `GET /openapi/v2` as protobuf ([`V2_PROTOBUF_TYPE`]), which kubectl 1.20 asks for, and 1.32 for a `List`. As empty as [`v2_json`]: fields 1 `swagger`, 2 `info` (1 `title`, 2 `version`), 8 `paths`.
pub fn v2_protobuf(table: &ResourceTable) -> Vec<u8> {
    let _ = table;
    let mut info = Vec::new();
    put(&mut info, 1, b"Kubernetes");
    put(&mut info, 2, DOCUMENT_VERSION.as_bytes());
    let mut document = Vec::new();
    put(&mut document, 1, b"2.0");
    put(&mut document, 2, &info);
    put(&mut document, 8, b"");
    document
}

/// Writes a length-delimited protobuf field; both numbers are below 128 here and take one byte each.
fn put(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    debug_assert!(bytes.len() < 128, "only short fields are written");
    out.push(number << 3 | 2);
    out.push(u8::try_from(bytes.len()).unwrap_or(0));
    out.extend_from_slice(bytes);
}

/// A hash of everything that the document is made from.
fn hash(table: &ResourceTable, gv: &GroupVersion) -> String {
    let mut hasher = Sha256::new();
    hasher.update(DOCUMENT_VERSION);
    hasher.update(gv.to_string());
    for resource in table.in_group_version(gv) {
        hasher.update(&resource.plural);
        hasher.update(&resource.kind);
        if let Some(custom) = &resource.custom {
            hasher.update(custom.schema.to_string());
            hasher.update(format!("{:?}", resource.subresources.iter().map(|s| &s.name).collect::<Vec<_>>()));
        }
    }
    let digest = hasher.finalize();
    digest.iter().take(16).map(|b| format!("{b:02X}")).collect()
}

/// The name of a type in OpenAPI: `core.v1.Pod` is `io.k8s.api.core.v1.Pod`; a custom one has its group reversed.
pub(crate) fn definition_name(schema_name: &str) -> String {
    let prefix = match schema_name.split('.').next().unwrap_or_default() {
        "meta" => "io.k8s.apimachinery.pkg.apis.",
        "apiextensions" => "io.k8s.apiextensions-apiserver.pkg.apis.",
        "apiregistration" => "io.k8s.kube-aggregator.pkg.apis.",
        _ => "io.k8s.api.",
    };
    format!("{prefix}{schema_name}")
}

fn resource_definition_name(resource: &Resource) -> String {
    if resource.custom.is_none() {
        return definition_name(&resource.schema_name);
    }
    let mut parts: Vec<&str> = resource.group.split('.').collect();
    parts.reverse();
    format!("{}.{}.{}", parts.join("."), resource.version, resource.kind)
}

fn gvk_value(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_version_has_a_document_whose_references_resolve() {
        let table = ResourceTable::builtin();
        let index = index(&table);
        for gv in table.group_versions() {
            let document = document(&table, &gv).unwrap();
            let key = paths::root(&gv);
            let url = index["paths"][key.trim_start_matches('/')]["serverRelativeURL"].as_str().unwrap();
            assert!(url.starts_with(&format!("/openapi/v3{key}?hash=")), "{url}");
            let text = document.to_string();
            for part in text.split("#/components/schemas/").skip(1) {
                let name = part.split('"').next().unwrap();
                assert!(document["components"]["schemas"].get(name).is_some(), "{gv}: {name} is missing");
            }
        }
        assert!(super::document(&table, &GroupVersion::new("none", "v1")).is_none());
    }

    #[test]
    fn kubectl_finds_what_it_looks_for() {
        let table = ResourceTable::builtin();
        let document = document(&table, &GroupVersion::new("apps", "v1")).unwrap();
        let path = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
        let gvk = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
        assert_eq!(path["patch"]["x-kubernetes-group-version-kind"], gvk);
        let parameters = path["patch"]["parameters"].as_array().unwrap();
        assert!(parameters.iter().any(|p| p["name"] == "fieldValidation" && p["in"] == "query"));
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"], json!([gvk]));
        let ports = &schemas["io.k8s.api.core.v1.Container"]["properties"]["ports"];
        assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["containerPort", "protocol"]));
        assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
        assert_eq!(schemas["io.k8s.api.core.v1.PodSpec"]["required"], json!(["containers"]));
    }

    #[test]
    fn the_v2_document_is_valid_protobuf() {
        let bytes = v2_protobuf(&ResourceTable::builtin());
        assert_eq!(&bytes[..5], b"\x0a\x032.0");
        assert!(bytes.ends_with(&[8 << 3 | 2, 0]));
    }
}
