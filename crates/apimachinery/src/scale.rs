//! The `scale` sub-resource: `autoscaling/v1 Scale` made from, and written back to, the object it scales.

use serde_json::Value;

use crate::resources::Resource;
use crate::status::ApiStatus;

/// The Scale of `object`.
///
/// # Errors
/// 500 when a custom resource's replicas path leads nowhere sensible.
pub fn read(resource: &Resource, object: &Value) -> Result<Value, ApiStatus> {
    let _ = (resource, object);
    Err(ApiStatus::internal("not built yet"))
}

/// Writes `spec.replicas` of `scale` into `object`.
///
/// # Errors
/// 422 for a negative or missing number.
pub fn write(resource: &Resource, object: &mut Value, scale: &Value) -> Result<(), ApiStatus> {
    let _ = (resource, object, scale);
    Ok(())
}
