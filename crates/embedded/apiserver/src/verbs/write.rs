//! Writing: from the request to the path of a write.

use portolan_apimachinery::body::{self, FieldValidation};
use portolan_apimachinery::managed::{self, Writer};
use portolan_apimachinery::patch::{self, PatchKind};
use portolan_apimachinery::{ApiStatus, status};
use serde_json::{Value, json};

use super::list::{Selection, scope};
use crate::api::Api;
use crate::call::Call;
use crate::clock;
use crate::respond::{self, Answer};
use crate::write::{self, Deleted, Mode};
use crate::writing::{Writing, Written, name_of};

fn validation(call: &Call) -> Result<FieldValidation, ApiStatus> {
    FieldValidation::parse(call.query().get("fieldValidation"))
}

/// Answers with the object as it is now.
fn answer(call: &Call, written: &Written) -> Result<Answer, ApiStatus> {
    let code = if written.created { 201 } else { 200 };
    let answer = respond::object(code, &call.resource, call.form()?, call.query(), &written.object);
    Ok(respond::warn(answer, &written.warnings))
}

pub(crate) async fn create(api: &Api, call: &Call) -> Result<Answer, ApiStatus> {
    let decoded = body::decode(&call.resource, None, call.content_type(), &call.body, validation(call)?)?;
    let mut written = write::create(api, &Writing::of(call)?, decoded.object).await?;
    written.warnings.splice(0..0, decoded.warnings);
    answer(call, &written)
}

/// Replaces the object, or (`/status` and the like) the part that the sub-resource stands for.
pub(crate) async fn update(api: &Api, call: &Call) -> Result<Answer, ApiStatus> {
    let decoded = body::decode(&call.resource, None, call.content_type(), &call.body, validation(call)?)?;
    let change = |_: Option<&Value>| Ok((decoded.object.clone(), decoded.warnings.clone()));
    let written = write::update(api, &Writing::of(call)?, &call.path.name, false, Mode::Put, &change).await?;
    answer(call, &written)
}

pub(crate) async fn patch(api: &Api, call: &Call) -> Result<Answer, ApiStatus> {
    let kind = PatchKind::from_content_type(&call.resource, call.content_type())?;
    let writing = Writing::of(call)?;
    let validation = validation(call)?;
    let name = &call.path.name;
    if kind == PatchKind::Apply {
        return apply(api, call, &writing, validation).await;
    }
    let change = |current: Option<&Value>| {
        let current = current.ok_or_else(|| ApiStatus::not_found(&call.resource, name))?;
        let patched = patch::patch(&call.resource, kind, current, &call.body)?;
        let decoded = body::recheck(&call.resource, patched, validation)?;
        Ok((decoded.object, decoded.warnings))
    };
    let written = write::update(api, &writing, name, false, Mode::Patch, &change).await?;
    answer(call, &written)
}

async fn apply(
    api: &Api,
    call: &Call,
    writing: &Writing,
    validation: FieldValidation,
) -> Result<Answer, ApiStatus> {
    if call.query().get("fieldManager").is_none() {
        return Err(ApiStatus::bad_request("fieldManager is required for apply patch"));
    }
    let name = &call.path.name;
    let decoded = body::decode(&call.resource, None, "application/yaml", &call.body, validation)?;
    let mut config = decoded.object;
    if config.pointer("/metadata/name").is_none() {
        config["metadata"]["name"] = json!(name);
    }
    if name_of(&config) != name {
        return Err(ApiStatus::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            name_of(&config)
        )));
    }
    if call.resource.namespaced && config.pointer("/metadata/namespace").is_none() {
        config["metadata"]["namespace"] = json!(call.namespace());
    }
    let force = call.query().flag("force");
    let now = clock::text();
    let change = |current: Option<&Value>| {
        let writer = Writer { manager: &writing.manager, subresource: &writing.subresource, time: &now };
        let applied = managed::apply(&call.resource, current, &config, writer, force)?;
        Ok((applied, decoded.warnings.clone()))
    };
    let or_create = writing.subresource.is_empty();
    let written = write::update(api, writing, name, or_create, Mode::Apply, &change).await?;
    answer(call, &written)
}

/// The options of a deletion: from the body, and from the query where the body says nothing.
pub(crate) fn options(call: &Call) -> Result<Value, ApiStatus> {
    let mut options = body::decode_options("DeleteOptions", call.content_type(), &call.body)?;
    if let Some(seconds) = call.query().number::<i64>("gracePeriodSeconds")?
        && options.get("gracePeriodSeconds").is_none()
    {
        options["gracePeriodSeconds"] = json!(seconds);
    }
    if let Some(policy) = call.query().get("propagationPolicy")
        && options.get("propagationPolicy").is_none()
    {
        options["propagationPolicy"] = json!(policy);
    }
    Ok(options)
}

fn deleting(call: &Call, options: &Value) -> Result<Writing, ApiStatus> {
    let mut writing = Writing::of(call)?;
    let dry =
        options.get("dryRun").and_then(Value::as_array).is_some_and(|list| list.contains(&json!("All")));
    writing.dry_run |= dry;
    Ok(writing)
}

pub(crate) async fn delete(api: &Api, call: &Call) -> Result<Answer, ApiStatus> {
    let options = options(call)?;
    let writing = deleting(call, &options)?;
    let mut warnings = Vec::new();
    let answer = match write::delete(api, &writing, &call.path.name, &options, &mut warnings).await? {
        Deleted::Gone(object) if call.resource.kind == "Pod" => respond::value(200, &object),
        Deleted::Gone(object) => {
            let uid = object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
            respond::value(200, &status::deleted(&call.resource, &call.path.name, uid))
        }
        Deleted::Pending(object) => respond::value(200, &object),
    };
    Ok(respond::warn(answer, &warnings))
}

pub(crate) async fn delete_collection(api: &Api, call: &Call) -> Result<Answer, ApiStatus> {
    let options = options(call)?;
    let selection = Selection::of(&call.resource, call.query())?;
    let mut warnings = Vec::new();
    let mut items = Vec::new();
    let base = deleting(call, &options)?;
    for object in api.store.list(&base.key, scope(call)).1.iter().filter(|object| selection.keeps(object)) {
        let mut writing = deleting(call, &options)?;
        writing.namespace = object.namespace.to_string();
        match write::delete(api, &writing, &object.name, &options, &mut warnings).await {
            Ok(Deleted::Gone(object) | Deleted::Pending(object)) => items.push(object),
            Err(error) if error.reason == "NotFound" => {}
            Err(error) => return Err(error),
        }
    }
    let list = json!({
        "kind": call.resource.list_kind, "apiVersion": call.resource.api_version(),
        "metadata": {"resourceVersion": api.store.revision().to_string()}, "items": items,
    });
    Ok(respond::warn(respond::value(200, &list), &warnings))
}
