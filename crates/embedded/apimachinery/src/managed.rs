//! `metadata.managedFields`: server-side apply and the tracking of every other write.
//!
//! The rules are those of structured-merge-diff as the real server uses it (Kubernetes documentation, "Server-Side Apply"): every leaf, list
//! item and map key has owners; an applier that changes what another owns gets a conflict; what an applier stops
//! sending and nobody else owns is removed.

mod entries;
mod merge;
mod set;
mod walk;

use serde_json::{Value, json};

use crate::resources::Resource;
use crate::status::{ApiStatus, Cause};
use entries::{Entries, Id, Operation};
use set::Set;

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

/// Owner of what a live object had before the first apply when nobody tracked it.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

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
    if config.pointer("/metadata/managedFields").and_then(Value::as_array).is_some_and(|m| !m.is_empty()) {
        return Err(ApiStatus::bad_request("metadata.managedFields must be nil"));
    }
    let empty = json!({});
    let live_object = live.unwrap_or(&empty);
    let mut entries = live.map_or_else(Entries::default, Entries::of);
    let schema = &resource.schema;
    let relevant = |object: &Value| relevant(resource, writer.subresource, object);
    let api_version = resource.api_version();
    if let (Some(live), true) = (live, entries.is_empty()) {
        let id =
            Id { manager: BEFORE_FIRST_APPLY.into(), ..Id::new(Operation::Update, &api_version, writer) };
        let owned = walk::compare(schema, &empty, &relevant(live)).added;
        entries.put(id, owned, writer.time);
    }
    let id = Id::new(Operation::Apply, &api_version, writer);
    // The same applier may have used another version of the resource; there is one set of fields per name.
    let (previous, previous_time) = entries.take_applied(&id);
    let config_part = relevant(config);
    let applied = walk::set_of(schema, &config_part);
    let mut merged = merge::merge(schema, &relevant(live_object), &config_part);
    let keep = entries.union().union(&applied);
    merge::prune(schema, &mut merged, &previous, &keep);
    let changes = walk::compare(schema, &relevant(live_object), &merged);
    let touched = changes.modified.union(&changes.added);
    let conflicts = entries.conflicts(&touched);
    if !conflicts.is_empty() && !force {
        return Err(conflict_status(&conflicts));
    }
    entries.give_up(&touched);
    entries.give_up(&changes.removed);
    let unchanged = changes.is_empty() && previous == applied;
    let time = if unchanged { previous_time.as_deref().unwrap_or(writer.time) } else { writer.time };
    entries.put(id, applied, time);
    let mut result = merge::graft(resource, writer.subresource, live, config, merged);
    entries.write(&mut result);
    Ok(result)
}

/// Records a create, update or non-apply patch in `new`'s managedFields, compared with `old`.
/// `new` may carry its own `metadata.managedFields` (clients send them back); a list of one empty entry resets them.
pub fn track_update(resource: &Resource, old: Option<&Value>, new: &mut Value, writer: Writer<'_>) {
    let given = new.pointer("/metadata/managedFields").and_then(Value::as_array);
    if given.is_some_and(|list| list.len() == 1 && list.first() == Some(&json!({}))) {
        if let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.shift_remove("managedFields");
        }
        return;
    }
    let mut entries = match given {
        // A sub-resource's writer cannot edit the ownership.
        Some(list) if !list.is_empty() && writer.subresource.is_empty() => Entries::of(new),
        _ => old.map_or_else(Entries::default, Entries::of),
    };
    let empty = json!({});
    let before = relevant(resource, writer.subresource, old.unwrap_or(&empty));
    let after = relevant(resource, writer.subresource, new);
    let changes = walk::compare(&resource.schema, &before, &after);
    let touched = changes.modified.union(&changes.added);
    let id = Id::new(Operation::Update, &resource.api_version(), writer);
    let own = entries.take(&id);
    entries.give_up(&touched);
    entries.give_up(&changes.removed);
    let (previous, previous_time) = own.unwrap_or_default();
    let owned = previous.difference(&changes.removed).union(&touched);
    let time = if changes.is_empty() { previous_time.as_deref().unwrap_or(writer.time) } else { writer.time };
    entries.put(id, owned, time);
    entries.write(new);
}

/// The part of an object whose fields have owners in this write: without identity and server-made metadata, and
/// without the half that the sub-resource (or the main resource) does not write.
fn relevant(resource: &Resource, subresource: &str, object: &Value) -> Value {
    const SERVER_METADATA: &[&str] = &[
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "generation",
        "managedFields",
        "resourceVersion",
        "generateName",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ];
    let Some(map) = object.as_object() else { return json!({}) };
    let mut part = map.clone();
    part.shift_remove("apiVersion");
    part.shift_remove("kind");
    match subresource {
        "status" => part.retain(|k, _| k == "status"),
        _ if resource.has_status() => {
            part.shift_remove("status");
        }
        _ => {}
    }
    if let Some(metadata) = part.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|k, _| !SERVER_METADATA.contains(&k.as_str()));
        if metadata.is_empty() {
            part.shift_remove("metadata");
        }
    }
    Value::Object(part)
}

fn conflict_status(conflicts: &[(String, Set)]) -> ApiStatus {
    let mut causes = Vec::new();
    let mut lines = Vec::new();
    for (manager, set) in conflicts {
        lines.push(format!("conflicts with {manager}:"));
        for path in set.paths() {
            lines.push(format!("- {path}"));
            causes.push(Cause {
                reason: "FieldManagerConflict".into(),
                message: format!("conflict with {manager}"),
                field: path,
            });
        }
    }
    let message = match causes.as_slice() {
        [only] => format!("Apply failed with 1 conflict: {}: {}", only.message, only.field),
        many => format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n")),
    };
    ApiStatus::apply_conflict(message, causes)
}

#[cfg(test)]
mod tests;
