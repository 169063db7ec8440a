//! OpenAPI documents made from the resource table.

use serde_json::{Value, json};

use crate::gvk::GroupVersion;
use crate::resources::ResourceTable;

/// `GET /openapi/v3`: the index of documents; each `serverRelativeURL` carries a content hash.
pub fn index(table: &ResourceTable) -> Value {
    let _ = table;
    json!({"paths": {}})
}

/// `GET /openapi/v3/api/v1` and `/openapi/v3/apis/G/V`; `None` when there is no such group version.
pub fn document(table: &ResourceTable, gv: &GroupVersion) -> Option<Value> {
    let _ = (table, gv);
    None
}

/// `GET /openapi/v2` as JSON.
pub fn v2_json(table: &ResourceTable) -> Value {
    let _ = table;
    json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1"}, "paths": {}})
}

/// `GET /openapi/v2` as protobuf (`application/com.github.proto-openapi.spec.v2@v1.0+protobuf`), which kubectl 1.20
/// asks for.
pub fn v2_protobuf(table: &ResourceTable) -> Vec<u8> {
    let _ = table;
    Vec::new()
}
