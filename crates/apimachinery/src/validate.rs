//! Semantic validation of objects: `Invalid` with one cause per broken rule.

pub mod names;

use serde_json::Value;

use crate::resources::Resource;
use crate::status::FieldError;

/// Checks a new object (after defaulting).
pub fn create(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let _ = (resource, object);
    Vec::new()
}

/// Checks a change (after defaulting): the rules of [`create`] and the fields that may not change.
pub fn update(resource: &Resource, subresource: &str, old: &Value, new: &Value) -> Vec<FieldError> {
    let _ = (resource, subresource, old, new);
    Vec::new()
}
