//! Changing an object: replace, patch, apply.

use std::sync::Arc;

use portolan_apimachinery::{ApiStatus, convert, defaults, managed, strategy, validate};
use serde_json::{Value, json};

use super::Mode;
use super::commit::{Commit, turn};
use super::create::create_as;
use super::delete::may_go;
use crate::admission::Operation;
use crate::api::Api;
use crate::clock;
use crate::kinds;
use crate::limits;
use crate::store::Object;
use crate::writing::{Writing, Written, is_terminating, name_of};

/// How an update makes the new object out of the one that is there.
pub(crate) type Change<'a> =
    dyn Fn(Option<&Value>) -> Result<(Value, Vec<String>), ApiStatus> + Send + Sync + 'a;

/// Changes an object: `change` gets the current one in the served form. With a `resourceVersion` in what it makes, the
/// write succeeds only at that revision; without one it is tried again on the newer object. `or_create` lets an apply
/// make what does not exist.
pub(crate) async fn update(
    api: &Api,
    writing: &Writing,
    name: &str,
    or_create: bool,
    mode: Mode,
    change: &Change<'_>,
) -> Result<Written, ApiStatus> {
    let mut last = None;
    for _ in 0..limits::MAX_CONFLICT_RETRIES {
        let Some(old) = api.store.get(&writing.key, &writing.namespace, name) else {
            if !or_create {
                return Err(ApiStatus::not_found(&writing.resource, name));
            }
            let (mut object, warnings) = change(None)?;
            if name_of(&object).is_empty() {
                object["metadata"]["name"] = json!(name);
            }
            let mut written = create_as(api, writing, object, mode).await?;
            written.warnings.extend(warnings);
            return Ok(written);
        };
        let before = writing.serve(&old);
        let (new, warnings) = change(Some(&before))?;
        let wanted = new.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
        let bound = !wanted.is_empty()
            && Some(wanted) != before.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        if bound {
            return Err(ApiStatus::stale(&writing.resource, name));
        }
        let pinned = !wanted.is_empty() && mode == Mode::Put;
        match replace(api, writing, name, &old, &before, new, mode).await {
            Ok(mut written) => {
                written.warnings.extend(warnings);
                return Ok(written);
            }
            // Somebody was faster. A client that named the revision hears of it; a patch is made anew.
            Err(error)
                if error.reason == "Conflict"
                    && !pinned
                    && error.details.as_ref().is_none_or(|d| d.causes.is_empty()) =>
            {
                last = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| ApiStatus::stale(&writing.resource, name)))
}

async fn replace(
    api: &Api,
    writing: &Writing,
    name: &str,
    old: &Arc<Object>,
    before: &Value,
    mut new: Value,
    mode: Mode,
) -> Result<Written, ApiStatus> {
    let resource = &writing.resource;
    let kind = kinds::of(resource);
    let now = clock::text();
    strategy::prepare_for_update(resource, &writing.subresource, before, &mut new)?;
    defaults::apply(resource, &mut new);
    kind.prepare(api, writing, Some(before), &mut new)?;
    let mut warnings = Vec::new();
    let mut new = writing.admit(api, Operation::Update, Some(before), new, &mut warnings).await?;
    let taken = kind.admit(api, writing, Some(before), &mut new)?;
    let errors = validate::update(resource, &writing.subresource, before, &new);
    if !errors.is_empty() {
        return Err(ApiStatus::invalid(resource, name, &errors));
    }
    writing.confirm(api, Operation::Update, name, Some(before), Some(&new), &mut warnings).await?;
    if mode != Mode::Apply {
        managed::track_update(resource, Some(before), &mut new, writing.writer(&now));
    }
    let turn = turn(api, kind).await;
    kind.complete(api, writing, &mut new, &now);
    let written = |object: Value| Written { object, warnings, created: false };
    if strategy::is_unchanged(before, &new) {
        return Ok(written(before.clone()));
    }
    if writing.dry_run {
        return Ok(written(new));
    }
    let commit = Commit::new(api, writing, name, taken, turn);
    let stored = if is_terminating(&new) && may_go(kind, &new) {
        commit.delete(old.clone()).await
    } else {
        commit.update(old.clone(), convert::to_storage(resource, new)).await
    };
    let stored = stored.map_err(|error| writing.error(name, error))?;
    Ok(written(writing.serve(&stored)))
}
