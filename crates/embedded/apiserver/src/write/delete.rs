//! Deleting an object, or marking it when something holds it.

use portolan_apimachinery::{ApiStatus, convert, strategy};
use serde_json::{Value, json};

use super::commit::Commit;
use crate::addresses::Taken;
use crate::admission::Operation;
use crate::api::Api;
use crate::clock;
use crate::kinds::{self, Kind};
use crate::limits;
use crate::writing::{Writing, is_terminating};

/// What a deletion did.
pub(crate) enum Deleted {
    /// The object is gone; its last state.
    Gone(Value),
    /// Something holds it; its state now.
    Pending(Value),
}

/// Deletes an object, or marks it when finalizers or a grace period hold it.
pub(crate) async fn delete(
    api: &Api,
    writing: &Writing,
    name: &str,
    options: &Value,
    warnings: &mut Vec<String>,
) -> Result<Deleted, ApiStatus> {
    let mut last = None;
    for _ in 0..limits::MAX_CONFLICT_RETRIES {
        let old = api
            .store
            .get(&writing.key, &writing.namespace, name)
            .ok_or_else(|| ApiStatus::not_found(&writing.resource, name))?;
        let before = writing.serve(&old);
        kinds::of(&writing.resource).delete(writing, name)?;
        preconditions(writing, name, &before, options)?;
        writing.confirm(api, Operation::Delete, name, Some(&before), None, warnings).await?;
        let marked = mark(writing, &before, options);
        if writing.dry_run {
            return Ok(Deleted::Gone(before));
        }
        let commit = Commit::new(api, writing, name, Taken::default(), None);
        let outcome = match marked {
            None => commit.delete(old).await.map(|gone| Deleted::Gone(writing.serve(&gone))),
            Some(new) if strategy::is_unchanged(&before, &new) => Ok(Deleted::Pending(before)),
            Some(new) => {
                let stored = commit.update(old, convert::to_storage(&writing.resource, new)).await;
                stored.map(|stored| Deleted::Pending(writing.serve(&stored)))
            }
        };
        match outcome.map_err(|error| writing.error(name, error)) {
            Err(error) if error.reason == "Conflict" => last = Some(error),
            outcome => return outcome,
        }
    }
    Err(last.unwrap_or_else(|| ApiStatus::stale(&writing.resource, name)))
}

fn preconditions(writing: &Writing, name: &str, object: &Value, options: &Value) -> Result<(), ApiStatus> {
    for (key, label) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let wanted = options.pointer(&format!("/preconditions/{key}")).and_then(Value::as_str);
        let have = object.pointer(&format!("/metadata/{key}")).and_then(Value::as_str).unwrap_or_default();
        if let Some(wanted) = wanted
            && wanted != have
        {
            let why = format!(
                "Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {have}"
            );
            return Err(ApiStatus::conflict(&writing.resource, name, &why));
        }
    }
    Ok(())
}

/// The object as it waits for its end; `None` when nothing holds it.
fn mark(writing: &Writing, before: &Value, options: &Value) -> Option<Value> {
    let kind = kinds::of(&writing.resource);
    let mut new = before.clone();
    let wants_orphans = options.get("orphanDependents") == Some(&json!(true));
    let policy = options.get("propagationPolicy").and_then(Value::as_str);
    let added = match policy {
        Some("Foreground") => Some("foregroundDeletion"),
        Some("Orphan") => Some("orphan"),
        _ if wants_orphans => Some("orphan"),
        _ => None,
    };
    if let Some(added) = added {
        kinds::add_finalizer(&mut new, added);
    }
    let grace = kind.grace(before, options);
    if !is_terminating(&new) {
        begin_deletion(&mut new, clock::seconds(), grace);
        kind.begin_deletion(&mut new, &clock::text());
    } else if new.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0) > grace
    {
        new["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
    }
    if may_go(kind, &new) { None } else { Some(new) }
}

/// Marks an object as deleted at `now` with `grace` seconds to end.
pub(crate) fn begin_deletion(object: &mut Value, now: i64, grace: i64) {
    object["metadata"]["deletionTimestamp"] = json!(portolan_apimachinery::time::format(now + grace));
    object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
    if let Some(generation) = object.pointer("/metadata/generation").and_then(Value::as_i64) {
        object["metadata"]["generation"] = json!(generation + 1);
    }
}

/// Nothing holds a terminating object any more.
pub(super) fn may_go(kind: &dyn Kind, object: &Value) -> bool {
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    finalizers.is_none_or(Vec::is_empty) && !kind.holds(object)
}
