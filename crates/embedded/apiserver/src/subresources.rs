//! Sub-resources: status, scale, finalize, binding, eviction, token, log, proxy.

use std::sync::Arc;

use futures::StreamExt;
use portolan_apimachinery::body::{self, FieldValidation};
use portolan_apimachinery::patch::{self, PatchKind};
use portolan_apimachinery::{ApiStatus, scale};
use serde_json::{Value, json};

use crate::api::Api;
use crate::authn::{Bound, Reference, TokenRequest};
use crate::call::Call;
use crate::clock;
use crate::http;
use crate::keys::{PODS, SECRETS, SERVICE_ACCOUNTS, storage_key};
use crate::limits;
use crate::logs::{LogError, LogRequest};
use crate::proxy;
use crate::respond::{self, Answer};
use crate::store::Object;
use crate::verbs;
use crate::write::{self, Mode};
use crate::writing::Writing;

pub(crate) async fn answer(api: &Arc<Api>, call: &Call) -> Result<Answer, ApiStatus> {
    let (resource, name) = (&call.resource, call.path.subresource.as_str());
    let verb = call.info.verb;
    if name == "proxy" && matches!(resource.plural.as_str(), "pods" | "services") && resource.group.is_empty()
    {
        return proxy::answer(api, call).await;
    }
    let known = resource.subresource(name).ok_or_else(ApiStatus::unknown_path)?;
    let denied =
        || ApiStatus::method_not_allowed(&resource.group, &format!("{}/{name}", resource.plural), verb);
    match (name, verb) {
        ("status" | "approval", "get") => verbs::get(api, call),
        ("status" | "approval", "update") => verbs::update(api, call).await,
        ("status" | "approval", "patch") => verbs::patch(api, call).await,
        ("finalize", "update") => finalize(api, call).await,
        ("scale", "get") => read_scale(api, call),
        ("scale", "update" | "patch") => write_scale(api, call, verb == "patch").await,
        ("binding", "create") => bind(api, call).await,
        ("eviction", "create") => evict(api, call).await,
        ("token", "create") => token(api, call),
        ("log", "get") => log(api, call).await,
        _ if known.verbs.contains(&verb) => Err(denied()),
        _ => Err(denied()),
    }
}

fn existing(api: &Api, call: &Call) -> Result<Arc<Object>, ApiStatus> {
    api.store
        .get(&storage_key(&call.resource), call.namespace(), &call.path.name)
        .ok_or_else(|| ApiStatus::not_found(&call.resource, &call.path.name))
}

/// `namespaces/N/finalize`: the only way to take a namespace's own finalizers away.
async fn finalize(api: &Api, call: &Call) -> Result<Answer, ApiStatus> {
    let decoded =
        body::decode(&call.resource, None, call.content_type(), &call.body, FieldValidation::Ignore)?;
    let finalizers = decoded.object.pointer("/spec/finalizers").cloned().unwrap_or_else(|| json!([]));
    let change = |current: Option<&Value>| {
        let mut object = current.cloned().unwrap_or_default();
        object["spec"]["finalizers"] = finalizers.clone();
        Ok((object, Vec::new()))
    };
    let written =
        write::update(api, &Writing::of(call)?, &call.path.name, false, Mode::Patch, &change).await?;
    Ok(respond::value(200, &written.object))
}

fn read_scale(api: &Api, call: &Call) -> Result<Answer, ApiStatus> {
    let object = existing(api, call)?;
    Ok(respond::value(200, &scale::read(&call.resource, &respond::served(&call.resource, &object))?))
}

async fn write_scale(api: &Api, call: &Call, is_patch: bool) -> Result<Answer, ApiStatus> {
    let whole = if is_patch {
        None
    } else {
        let decoded = body::decode(
            &call.resource,
            Some("scale"),
            call.content_type(),
            &call.body,
            FieldValidation::Warn,
        )?;
        Some(decoded.object)
    };
    let change = |current: Option<&Value>| {
        let mut object = current.cloned().unwrap_or_default();
        let wanted = match &whole {
            Some(scale) => scale.clone(),
            None => {
                let now = scale::read(&call.resource, &object)?;
                // A Scale has no lists, so that a strategic patch of it is a merge patch.
                let kind = match PatchKind::from_content_type(&call.resource, call.content_type())? {
                    PatchKind::Json => PatchKind::Json,
                    _ => PatchKind::Merge,
                };
                patch::patch(&call.resource, kind, &now, &call.body)?
            }
        };
        scale::write(&call.resource, &mut object, &wanted)?;
        Ok((object, Vec::new()))
    };
    // Replicas are part of the spec: what is written is the object itself, and owned through `scale`.
    let mut writing = Writing::of(call)?;
    writing.subresource.clear();
    let written = write::update(api, &writing, &call.path.name, false, Mode::Patch, &change).await?;
    Ok(respond::value(200, &scale::read(&call.resource, &written.object)?))
}

/// A scheduler's decision.
async fn bind(api: &Api, call: &Call) -> Result<Answer, ApiStatus> {
    let decoded = body::decode(
        &call.resource,
        Some("binding"),
        call.content_type(),
        &call.body,
        FieldValidation::Warn,
    )?;
    let node = decoded.object.pointer("/target/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if node.is_empty() {
        return Err(ApiStatus::bad_request("target.name of a Binding names the node; it is missing"));
    }
    let change = |current: Option<&Value>| {
        let mut pod = current.cloned().unwrap_or_default();
        let bound = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !bound.is_empty() && bound != node {
            let why = format!("pod {} is already assigned to node {bound:?}", call.path.name);
            return Err(ApiStatus::conflict(&call.resource, &call.path.name, &why));
        }
        pod["spec"]["nodeName"] = json!(node);
        let scheduled = json!({
            "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": clock::text(),
        });
        let conditions =
            pod.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut conditions: Vec<Value> =
            conditions.into_iter().filter(|condition| condition["type"] != "PodScheduled").collect();
        conditions.push(scheduled);
        pod["status"]["conditions"] = json!(conditions);
        Ok((pod, Vec::new()))
    };
    let writing = Writing::of(call)?;
    write::update(api, &writing, &call.path.name, false, Mode::Patch, &change).await?;
    Ok(respond::value(
        201,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}),
    ))
}

async fn evict(api: &Api, call: &Call) -> Result<Answer, ApiStatus> {
    let decoded = body::decode(
        &call.resource,
        Some("eviction"),
        call.content_type(),
        &call.body,
        FieldValidation::Warn,
    )?;
    let options = decoded.object.get("deleteOptions").cloned().unwrap_or_else(|| json!({}));
    let mut warnings = Vec::new();
    let mut writing = Writing::of(call)?;
    writing.subresource.clear();
    write::delete(api, &writing, &call.path.name, &options, &mut warnings).await?;
    let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    Ok(respond::warn(respond::value(201, &done), &warnings))
}

/// Mints a ServiceAccount token.
fn token(api: &Api, call: &Call) -> Result<Answer, ApiStatus> {
    let decoded =
        body::decode(&call.resource, Some("token"), call.content_type(), &call.body, FieldValidation::Warn)?;
    let mut request = decoded.object;
    let account = api
        .store
        .get(SERVICE_ACCOUNTS, call.namespace(), &call.path.name)
        .ok_or_else(|| ApiStatus::not_found(&call.resource, &call.path.name))?;
    let uid = |object: &Object| {
        object.value.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or("").to_owned()
    };
    let listed = request.pointer("/spec/audiences").and_then(Value::as_array);
    let mut audiences: Vec<String> =
        listed.into_iter().flatten().filter_map(|audience| audience.as_str().map(str::to_owned)).collect();
    if audiences.is_empty() {
        audiences.push(api.tokens.issuer().to_owned());
    }
    let wanted = request.pointer("/spec/expirationSeconds").and_then(Value::as_i64);
    let seconds = wanted.unwrap_or(limits::DEFAULT_TOKEN_SECONDS);
    if seconds < limits::MIN_TOKEN_SECONDS {
        return Err(ApiStatus::bad_request(format!(
            "spec.expirationSeconds: may not specify a duration less than {} seconds",
            limits::MIN_TOKEN_SECONDS
        )));
    }
    let seconds = seconds.min(limits::MAX_TOKEN_SECONDS);
    let (bound, node) = bound(api, call, &request)?;
    let expires = clock::seconds() + seconds;
    let account_uid = uid(&account);
    let minted = api.tokens.mint(TokenRequest {
        namespace: call.namespace(),
        account: &call.path.name,
        account_uid: &account_uid,
        audiences: audiences.clone(),
        expires,
        bound,
        node,
    });
    let minted = minted.map_err(|error| ApiStatus::internal(error.to_string()))?;
    request["metadata"]["name"] = json!(call.path.name);
    request["metadata"]["namespace"] = json!(call.namespace());
    request["metadata"]["creationTimestamp"] = json!(clock::text());
    request["spec"]["audiences"] = json!(audiences);
    request["spec"]["expirationSeconds"] = json!(seconds);
    request["status"] =
        json!({"token": minted, "expirationTimestamp": portolan_apimachinery::time::format(expires)});
    Ok(respond::value(201, &request))
}

/// The object that a token is asked to be bound to; it must exist and be the one that is meant.
fn bound(api: &Api, call: &Call, request: &Value) -> Result<(Option<Bound>, Option<Reference>), ApiStatus> {
    let Some(reference) = request.pointer("/spec/boundObjectRef").filter(|reference| reference.is_object())
    else {
        return Ok((None, None));
    };
    let text = |key: &str| reference.get(key).and_then(Value::as_str).unwrap_or_default();
    let (key, plural) = match text("kind") {
        "Pod" => (PODS, "pods"),
        "Secret" => (SECRETS, "secrets"),
        other => {
            return Err(ApiStatus::bad_request(format!("cannot bind a token to object of kind {other:?}")));
        }
    };
    let resource = api.resource("", "v1", plural)?;
    let object = api
        .store
        .get(key, call.namespace(), text("name"))
        .ok_or_else(|| ApiStatus::not_found(&resource, text("name")))?;
    let have = object.value.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
    if !text("uid").is_empty() && text("uid") != have {
        let why = format!(
            "the UID in the bound object reference ({}) does not match the UID in record",
            text("uid")
        );
        return Err(ApiStatus::conflict(&resource, text("name"), &why));
    }
    let found = Reference { name: text("name").to_owned(), uid: have.to_owned() };
    if plural == "secrets" {
        return Ok((Some(Bound::Secret(found)), None));
    }
    let account =
        object.value.pointer("/spec/serviceAccountName").and_then(Value::as_str).unwrap_or_default();
    if account != call.path.name {
        return Err(ApiStatus::bad_request(format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name",
            call.path.name
        )));
    }
    let node = object.value.pointer("/spec/nodeName").and_then(Value::as_str).filter(|name| !name.is_empty());
    let node = node.and_then(|name| {
        let node = api.store.get("/nodes", "", name)?;
        let uid = node.value.pointer("/metadata/uid")?.as_str()?.to_owned();
        Some(Reference { name: name.to_owned(), uid })
    });
    Ok((Some(Bound::Pod(found)), node))
}

async fn log(api: &Arc<Api>, call: &Call) -> Result<Answer, ApiStatus> {
    let permit = api.long_running.take(&call.user.name)?;
    let pod = existing(api, call)?;
    let query = call.query();
    let container = container(&pod, query.get("container"))?;
    let tail_lines = query.number::<u64>("tailLines")?.map(|lines| lines.min(limits::MAX_TAIL_LINES));
    let since = match query.number::<i64>("sinceSeconds")? {
        Some(seconds) => Some(clock::seconds() - seconds),
        None => query.get("sinceTime").and_then(portolan_apimachinery::time::parse),
    };
    let request = LogRequest {
        namespace: call.namespace().to_owned(),
        pod: call.path.name.clone(),
        uid: pod.value.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().to_owned(),
        container: container.clone(),
        previous: query.flag("previous"),
        follow: query.flag("follow"),
        tail_lines,
        since,
        timestamps: query.flag("timestamps"),
        limit_bytes: query.number("limitBytes")?,
    };
    let stream = api.logs.open(request).await.map_err(|error| match error {
        LogError::NotStarted(_) | LogError::NoPrevious(_) => {
            ApiStatus::bad_request(format!("{error} in pod {:?}", call.path.name))
        }
        LogError::Io(_) => ApiStatus::internal(error.to_string()),
    })?;
    let stop = api.stop.clone();
    let held = stream.take_until(async move { stop.cancelled().await }).map(move |piece| {
        let _held = &permit;
        piece
    });
    let mut answer = respond::bytes(200, "text/plain", bytes::Bytes::new());
    *answer.body_mut() = http::stream(held);
    Ok(answer)
}

/// The container that is meant: the named one, the annotated default, or the only one.
fn container(pod: &Object, wanted: Option<&str>) -> Result<String, ApiStatus> {
    let names = |path: &str| -> Vec<String> {
        let list = pod.value.pointer(path).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|container| container.get("name")?.as_str().map(str::to_owned)).collect()
    };
    let (containers, init) = (names("/spec/containers"), names("/spec/initContainers"));
    if let Some(wanted) = wanted {
        if containers.iter().chain(&init).any(|name| name == wanted) {
            return Ok(wanted.to_owned());
        }
        return Err(ApiStatus::bad_request(format!("container {wanted} is not valid for pod {}", pod.name)));
    }
    let annotated = pod.value.pointer("/metadata/annotations/kubectl.kubernetes.io~1default-container");
    if let Some(name) = annotated.and_then(Value::as_str).filter(|name| containers.iter().any(|c| c == name))
    {
        return Ok(name.to_owned());
    }
    match containers.as_slice() {
        [only] => Ok(only.clone()),
        _ => Err(ApiStatus::bad_request(format!(
            "a container name must be specified for pod {}, choose one of: [{}]{}",
            pod.name,
            containers.join(" "),
            if init.is_empty() {
                String::new()
            } else {
                format!(" or one of the init containers: [{}]", init.join(" "))
            }
        ))),
    }
}
