//! Discovery documents: `/api`, `/apis`, `/apis/G`, `/apis/G/V`, plain and aggregated.

use serde_json::{Value, json};

use crate::gvk::GroupVersion;
use crate::resources::ResourceTable;

/// The media type of the aggregated form, `version` being `v2` or `v2beta1`.
pub fn aggregated_content_type(version: &str) -> String {
    format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList")
}

/// `GET /api` plain. `server_address` is `host:port` as clients reach us.
pub fn api_versions(server_address: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

/// `GET /apis` plain (`APIGroupList`).
pub fn group_list(table: &ResourceTable) -> Value {
    let _ = table;
    Value::Null
}

/// `GET /apis/G` (`APIGroup`); `None` when there is no such group.
pub fn group(table: &ResourceTable, group: &str) -> Option<Value> {
    let _ = (table, group);
    None
}

/// `GET /api/v1` and `GET /apis/G/V` (`APIResourceList`); `None` when there is no such group version.
pub fn resource_list(table: &ResourceTable, gv: &GroupVersion) -> Option<Value> {
    let _ = (table, gv);
    None
}

/// `GET /api` (`core` true) or `GET /apis` aggregated: `APIGroupDiscoveryList` of apidiscovery.k8s.io `version`
/// (`v2` or `v2beta1`).
pub fn aggregated(table: &ResourceTable, core: bool, version: &str) -> Value {
    let _ = (table, core, version);
    Value::Null
}
