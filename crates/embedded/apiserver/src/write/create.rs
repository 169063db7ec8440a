//! Creating an object.

use portolan_apimachinery::strategy::{self, Fresh};
use portolan_apimachinery::{ApiStatus, convert, defaults, managed, validate};
use serde_json::Value;

use super::Mode;
use super::commit::{Commit, turn};
use crate::admission::Operation;
use crate::api::Api;
use crate::clock;
use crate::idle;
use crate::keys::{CRDS, NAMESPACES};
use crate::kinds;
use crate::limits;
use crate::random::suffix;
use crate::store::Parent;
use crate::writing::{Writing, Written, is_terminating, name_of};

/// Creates an object that was decoded from a request.
pub(crate) async fn create(api: &Api, writing: &Writing, object: Value) -> Result<Written, ApiStatus> {
    create_as(api, writing, object, Mode::Put).await
}

/// As [`create`]; of an object that was applied the fields' owners are already worked out.
pub(super) async fn create_as(
    api: &Api,
    writing: &Writing,
    object: Value,
    mode: Mode,
) -> Result<Written, ApiStatus> {
    let generated = name_of(&object).is_empty();
    let attempts = if generated { limits::MAX_NAME_ATTEMPTS } else { 1 };
    let mut outcome = Err(ApiStatus::internal("no name was tried"));
    for _ in 0..attempts {
        outcome = create_once(api, writing, object.clone(), mode).await;
        match &outcome {
            Err(error) if error.reason == "AlreadyExists" => {}
            _ => break,
        }
    }
    outcome
}

async fn create_once(
    api: &Api,
    writing: &Writing,
    mut object: Value,
    mode: Mode,
) -> Result<Written, ApiStatus> {
    let resource = &writing.resource;
    let kind = kinds::of(resource);
    let now = clock::text();
    let (uid, suffix) = (uuid::Uuid::new_v4().to_string(), suffix());
    let fresh = Fresh { uid: &uid, now: &now, suffix: &suffix };
    strategy::prepare_for_create(resource, &writing.namespace, &mut object, fresh)?;
    let parents = parents(api, writing, &object)?;
    defaults::apply(resource, &mut object);
    kind.prepare(api, writing, None, &mut object)?;
    let mut warnings = Vec::new();
    let mut object = writing.admit(api, Operation::Create, None, object, &mut warnings).await?;
    warnings.extend(idle::warnings(resource, &object));
    let name = name_of(&object).to_owned();
    let taken = kind.admit(api, writing, None, &mut object)?;
    let errors = validate::create(resource, &object);
    if !errors.is_empty() {
        return Err(ApiStatus::invalid(resource, &name, &errors));
    }
    writing.confirm(api, Operation::Create, &name, None, Some(&object), &mut warnings).await?;
    if mode != Mode::Apply {
        managed::track_update(resource, None, &mut object, writing.writer(&now));
    }
    let turn = turn(api, kind).await;
    kind.complete(api, writing, &mut object, &now);
    if writing.dry_run {
        if api.store.get(&writing.key, &writing.namespace, &name).is_some() {
            return Err(ApiStatus::already_exists(resource, &name));
        }
        return Ok(Written { object, warnings, created: true });
    }
    let stored = convert::to_storage(resource, object);
    let stored = Commit::new(api, writing, &name, taken, turn).create(stored, parents).await;
    let stored = stored.map_err(|error| writing.error(&name, error))?;
    Ok(Written { object: writing.serve(&stored), warnings, created: true })
}

/// What a new object lives below: its namespace, and the definition of its kind. Both exist and stay.
fn parents(api: &Api, writing: &Writing, object: &Value) -> Result<Vec<Parent>, ApiStatus> {
    let resource = &writing.resource;
    let mut parents = Vec::new();
    if resource.namespaced {
        let Some(namespace) = api.store.get(NAMESPACES, "", &writing.namespace) else {
            let namespaces = api.resource("", "v1", "namespaces")?;
            return Err(ApiStatus::not_found(&namespaces, &writing.namespace));
        };
        if is_terminating(&namespace.value) {
            return Err(writing.namespace_terminates(name_of(object)));
        }
        parents.push(Parent { resource: NAMESPACES.into(), name: writing.namespace.as_str().into() });
    }
    if resource.custom.is_some() {
        let definition = format!("{}.{}", resource.plural, resource.group);
        let crd = api.store.get(CRDS, "", &definition).ok_or_else(ApiStatus::unknown_path)?;
        if is_terminating(&crd.value) {
            return Err(writing.crd_terminates());
        }
        parents.push(Parent { resource: CRDS.into(), name: definition.into() });
    }
    Ok(parents)
}
