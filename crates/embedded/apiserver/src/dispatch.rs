//! The life of a request: limits, identity, permission, the verb, and every error turned into a `Status`.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Request;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use portolan_apimachinery::ApiStatus;

use crate::api::Api;
use crate::authn;
use crate::authz;
use crate::call::Call;
use crate::http::{Handler, Peer};
use crate::keys::storage_key;
use crate::limits;
use crate::request::RequestInfo;
use crate::respond::{self, Answer};
use crate::{discovery, reviews, subresources, verbs};

impl Handler for Api {
    fn handle(self: Arc<Self>, peer: Arc<Peer>, request: Request<Incoming>) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let method = request.method().clone();
            let uri = request.uri().clone();
            let answer = match answer(&self, &peer, request).await {
                Ok(answer) => answer,
                Err(error) => respond::error(&error),
            };
            tracing::debug!(peer = %peer.address, %method, %uri, status = answer.status().as_u16(), "request");
            answer
        })
    }
}

async fn answer(api: &Arc<Api>, peer: &Peer, request: Request<Incoming>) -> Result<Answer, ApiStatus> {
    let info = RequestInfo::parse(request.method(), request.uri())?;
    if info.is_long_running() {
        // The permit goes along with the stream; see `verbs::watch` and `subresources::log`.
        return respond_to(api, peer, request, info).await;
    }
    let _permit = api
        .in_flight
        .try_acquire()
        .map_err(|_| ApiStatus::too_many_requests("too many requests in work, please try again later", 1))?;
    tokio::time::timeout(limits::REQUEST_TIMEOUT, respond_to(api, peer, request, info))
        .await
        .map_err(|_| ApiStatus::timeout("request did not complete within the allotted time"))?
}

async fn respond_to(
    api: &Arc<Api>,
    peer: &Peer,
    request: Request<Incoming>,
    info: RequestInfo,
) -> Result<Answer, ApiStatus> {
    let mut user = authn::authenticate(&api.store, &api.tokens, peer, request.headers())?;
    peer.has_asked(!user.is_anonymous());
    if let Some(other) = authn::impersonate(&api.policy().1, &user, request.headers())? {
        tracing::debug!(user = user.name, acts_as = other.name, "impersonation");
        user = other;
    }
    authz::authorize(&api.policy().1, &user, &info)?;
    let (parts, body) = request.into_parts();
    let Some(path) = info.resource.clone() else {
        return discovery::answer(api, &info, &parts.method, &parts.headers);
    };
    let resource = api.resource(&path.group, &path.version, &path.plural)?;
    if !resource.namespaced && !path.namespace.is_empty() && path.plural != "namespaces" {
        return Err(ApiStatus::unknown_path());
    }
    let body = read_body(body).await?;
    let call = Call { info, path, resource, user, headers: parts.headers, body };
    if is_heavy(api, &call) {
        return off_the_workers(api.clone(), call).await;
    }
    carry_out(api, &call).await
}

async fn carry_out(api: &Arc<Api>, call: &Call) -> Result<Answer, ApiStatus> {
    let outcome = verb(api, call).await;
    outcome.map_err(|error| {
        if error.code >= 500 {
            tracing::warn!(user = call.user.name, verb = call.info.verb, path = call.info.path, %error, "request failed");
        }
        error
    })
}

/// Whether decoding, merging and judging may keep a processor busy for longer than others should wait: what comes is large,
/// or what it changes is.
fn is_heavy(api: &Api, call: &Call) -> bool {
    if call.info.is_long_running() || call.body.is_empty() {
        return false;
    }
    let changed = || api.store.get(&storage_key(&call.resource), call.namespace(), &call.path.name);
    call.body.len() > limits::HEAVY
        || (call.info.verb == "patch" && changed().is_some_and(|object| object.json.len() > limits::HEAVY))
}

/// Carries out a request on a thread of its own, a few at a time: the others are still answered.
async fn off_the_workers(api: Arc<Api>, call: Call) -> Result<Answer, ApiStatus> {
    let permit = api.heavy.clone().acquire_owned().await;
    let permit = permit.map_err(|_| ApiStatus::unavailable("the server is shutting down"))?;
    let runtime = tokio::runtime::Handle::current();
    let work = tokio::task::spawn_blocking(move || {
        // Held until the work is done, also when nobody waits for it any more.
        let _permit = permit;
        runtime.block_on(async {
            let limit = tokio::time::timeout(limits::REQUEST_TIMEOUT, carry_out(&api, &call)).await;
            limit.map_err(|_| ApiStatus::timeout("request did not complete within the allotted time"))?
        })
    });
    work.await.unwrap_or_else(|_| Err(ApiStatus::internal("the request could not be carried out")))
}

async fn verb(api: &Arc<Api>, call: &Call) -> Result<Answer, ApiStatus> {
    let resource = &call.resource;
    let verb = call.info.verb;
    if !call.path.subresource.is_empty() {
        return subresources::answer(api, call).await;
    }
    let needs_namespace = resource.namespaced && call.path.namespace.is_empty();
    if !resource.allows(verb) || (needs_namespace && !matches!(verb, "list" | "watch")) {
        return Err(ApiStatus::method_not_allowed(&resource.group, &resource.plural, verb));
    }
    if resource.is_review() {
        return reviews::answer(api, call);
    }
    match verb {
        "get" => verbs::get(api, call),
        "list" => verbs::list(api, call),
        "watch" => verbs::watch(api, call),
        "create" => verbs::create(api, call).await,
        "update" => verbs::update(api, call).await,
        "patch" => verbs::patch(api, call).await,
        "delete" => verbs::delete(api, call).await,
        "deletecollection" => verbs::delete_collection(api, call).await,
        _ => Err(ApiStatus::method_not_allowed(&resource.group, &resource.plural, verb)),
    }
}

async fn read_body(body: Incoming) -> Result<Bytes, ApiStatus> {
    match Limited::new(body, limits::MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiStatus::too_large(limits::MAX_BODY)),
        Err(error) => Err(ApiStatus::bad_request(format!("reading the request body: {error}"))),
    }
}
