//! Objects between the version that is served and the version that is stored.

use serde_json::Value;

use crate::resources::Resource;

/// From the form of `resource` to the stored form.
pub fn to_storage(resource: &Resource, object: Value) -> Value {
    let _ = resource;
    object
}

/// From the stored form to the form of `resource`.
pub fn from_storage(resource: &Resource, object: Value) -> Value {
    let _ = resource;
    object
}
