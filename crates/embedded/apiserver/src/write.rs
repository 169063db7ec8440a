//! The path of a write: what the server decides, defaults, admission, validation, ownership, the store.
//!
//! Written once, for every kind and every way to write (create, update, patch, apply, delete, bootstrap).

use std::sync::Arc;

use portolan_apimachinery::managed::{self, Writer};
use portolan_apimachinery::status::FieldError;
use portolan_apimachinery::strategy::{self, Fresh, NAME_ALPHABET};
use portolan_apimachinery::{ApiStatus, GroupVersionKind, Resource, convert, crd, defaults, validate};
use serde_json::{Value, json};

use crate::admission::{Operation, Review};
use crate::api::{Api, CRDS, NAMESPACES, SERVICE_ACCOUNTS, storage_key};
use crate::authn::User;
use crate::clock;
use crate::dispatch::Call;
use crate::limits;
use crate::respond;
use crate::services::Taken;
use crate::store::{Object, StoreError};

/// Who writes what, and how.
pub(crate) struct Writing {
    pub(crate) resource: Arc<Resource>,
    /// Where objects of the resource are stored.
    pub(crate) key: String,
    /// Empty for objects of the cluster.
    pub(crate) namespace: String,
    /// Empty for the object itself.
    pub(crate) subresource: String,
    pub(crate) user: User,
    pub(crate) manager: String,
    pub(crate) dry_run: bool,
    /// Written by the server itself: admission has no say.
    internal: bool,
}

/// What a write did.
pub(crate) struct Written {
    /// The object in the served form.
    pub(crate) object: Value,
    pub(crate) warnings: Vec<String>,
    pub(crate) created: bool,
}

impl Writing {
    pub(crate) fn of(call: &Call) -> Result<Writing, ApiStatus> {
        Ok(Writing {
            resource: call.resource.clone(),
            key: storage_key(&call.resource),
            namespace: call.namespace().to_owned(),
            subresource: call.path.subresource.clone(),
            user: call.user.clone(),
            manager: call.manager(),
            dry_run: call.query().dry_run()?,
            internal: false,
        })
    }

    /// A write of the server itself.
    pub(crate) fn internal(api: &Api, object: &Value, manager: &str) -> Result<Writing, ApiStatus> {
        let gvk = GroupVersionKind::of(object).ok_or_else(|| ApiStatus::internal("object without kind"))?;
        let resource = api.table().by_kind(&gvk).cloned().ok_or_else(ApiStatus::unknown_path)?;
        let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
        Ok(Writing {
            key: storage_key(&resource),
            namespace: namespace.to_owned(),
            subresource: String::new(),
            user: User { name: format!("system:{manager}"), ..User::default() },
            manager: manager.to_owned(),
            dry_run: false,
            internal: true,
            resource,
        })
    }

    fn writer<'a>(&'a self, now: &'a str) -> Writer<'a> {
        Writer { manager: &self.manager, subresource: &self.subresource, time: now }
    }

    fn is(&self, group: &str, kind: &str) -> bool {
        self.resource.group == group && self.resource.kind == kind
    }

    fn review<'a>(&'a self, operation: Operation, name: &'a str, old: Option<&'a Value>) -> Review<'a> {
        Review {
            resource: &self.resource,
            subresource: &self.subresource,
            namespace: &self.namespace,
            name,
            operation,
            user: &self.user,
            old,
            dry_run: self.dry_run,
        }
    }

    async fn admit(
        &self,
        api: &Api,
        operation: Operation,
        old: Option<&Value>,
        object: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Value, ApiStatus> {
        if self.internal {
            return Ok(object);
        }
        let name = name_of(&object).to_owned();
        let review = self.review(operation, &name, old);
        let mut changed = api.webhooks.mutate(api, &review, object, warnings).await?;
        defaults::apply(&self.resource, &mut changed);
        Ok(changed)
    }

    async fn confirm(
        &self,
        api: &Api,
        operation: Operation,
        name: &str,
        old: Option<&Value>,
        object: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiStatus> {
        if self.internal {
            return Ok(());
        }
        api.webhooks.validate(api, &self.review(operation, name, old), object, warnings).await
    }

    fn serve(&self, object: &Object) -> Value {
        respond::served(&self.resource, object)
    }

    /// A store's error as the client sees it.
    pub(crate) fn error(&self, name: &str, error: StoreError) -> ApiStatus {
        match error {
            StoreError::Exists => ApiStatus::already_exists(&self.resource, name),
            StoreError::NotFound => ApiStatus::not_found(&self.resource, name),
            StoreError::Conflict { .. } => ApiStatus::stale(&self.resource, name),
            StoreError::Expired { wanted, oldest } => ApiStatus::too_old(wanted, oldest),
            StoreError::Closed => ApiStatus::unavailable("the server is shutting down"),
            other => ApiStatus::internal(other.to_string()),
        }
    }
}

pub(crate) fn name_of(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

fn is_terminating(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null())
}

fn invalid(resource: &Resource, name: &str, errors: Vec<FieldError>) -> Result<(), ApiStatus> {
    if errors.is_empty() { Ok(()) } else { Err(ApiStatus::invalid(resource, name, &errors)) }
}

/// Random characters for generated names.
fn suffix() -> String {
    let alphabet = NAME_ALPHABET.as_bytes();
    (0..5).map(|_| char::from(alphabet[fastrand::usize(..alphabet.len())])).collect()
}

/// Creates an object that was decoded from a request.
pub(crate) async fn create(api: &Api, writing: &Writing, object: Value) -> Result<Written, ApiStatus> {
    let generated = name_of(&object).is_empty();
    let attempts = if generated { limits::MAX_NAME_ATTEMPTS } else { 1 };
    let mut outcome = Err(ApiStatus::internal("no name was tried"));
    for _ in 0..attempts {
        outcome = create_once(api, writing, object.clone()).await;
        match &outcome {
            Err(error) if error.reason == "AlreadyExists" => {}
            _ => break,
        }
    }
    outcome
}

async fn create_once(api: &Api, writing: &Writing, mut object: Value) -> Result<Written, ApiStatus> {
    let resource = &writing.resource;
    let now = clock::text();
    let (uid, suffix) = (uuid::Uuid::new_v4().to_string(), suffix());
    let fresh = Fresh { uid: &uid, now: &now, suffix: &suffix };
    strategy::prepare_for_create(resource, &writing.namespace, &mut object, fresh)?;
    namespace_takes(api, writing, &object)?;
    defaults::apply(resource, &mut object);
    if writing.is("", "Pod") {
        service_account(api, writing, &mut object, &suffix)?;
    }
    let mut warnings = Vec::new();
    let mut object = writing.admit(api, Operation::Create, None, object, &mut warnings).await?;
    let name = name_of(&object).to_owned();
    let taken = assign(api, writing, None, &mut object)?;
    let outcome = async {
        check_crd(writing, &name, &object)?;
        invalid(resource, &name, validate::create(resource, &object))?;
        writing.confirm(api, Operation::Create, &name, None, Some(&object), &mut warnings).await?;
        managed::track_update(resource, None, &mut object, writing.writer(&now));
        establish(api, writing, &mut object, &now);
        if writing.dry_run {
            if api.store.get(&writing.key, &writing.namespace, &name).is_some() {
                return Err(ApiStatus::already_exists(resource, &name));
            }
            return Ok(object);
        }
        let stored = convert::to_storage(resource, object);
        let stored = api.store.create(&writing.key, &writing.namespace, &name, stored).await;
        stored.map(|stored| writing.serve(&stored)).map_err(|error| writing.error(&name, error))
    }
    .await;
    if outcome.is_err() || writing.dry_run {
        api.services.lock().give_back(&taken);
    }
    outcome.map(|object| Written { object, warnings, created: true })
}

/// Objects are only made in namespaces that exist and stay.
fn namespace_takes(api: &Api, writing: &Writing, object: &Value) -> Result<(), ApiStatus> {
    if !writing.resource.namespaced {
        return Ok(());
    }
    let Some(namespace) = api.store.get(NAMESPACES, "", &writing.namespace) else {
        let namespaces = api.resource("", "v1", "namespaces")?;
        return Err(ApiStatus::not_found(&namespaces, &writing.namespace));
    };
    if is_terminating(&namespace.value) {
        let why = format!(
            "unable to create new content in namespace {} because it is being terminated",
            writing.namespace
        );
        return Err(ApiStatus::forbidden(
            &writing.resource.group,
            &writing.resource.plural,
            name_of(object),
            &why,
        ));
    }
    Ok(())
}

/// What the ServiceAccount admission step of Kubernetes does.
fn service_account(api: &Api, writing: &Writing, pod: &mut Value, suffix: &str) -> Result<(), ApiStatus> {
    let given =
        pod.pointer("/spec/serviceAccountName").and_then(Value::as_str).filter(|name| !name.is_empty());
    let account = given.unwrap_or("default").to_owned();
    let Some(found) = api.store.get(SERVICE_ACCOUNTS, &writing.namespace, &account) else {
        let why = format!(
            "error looking up service account {}/{account}: serviceaccount {account:?} not found",
            writing.namespace
        );
        return Err(ApiStatus::forbidden("", "pods", name_of(pod), &why));
    };
    let automount = found.value.get("automountServiceAccountToken").and_then(Value::as_bool);
    defaults::admit_service_account(pod, automount, suffix);
    Ok(())
}

fn assign(api: &Api, writing: &Writing, old: Option<&Value>, new: &mut Value) -> Result<Taken, ApiStatus> {
    if !writing.is("", "Service") || !writing.subresource.is_empty() {
        return Ok(Taken::default());
    }
    let assigned = api.services.lock().assign(old, new);
    assigned.map_err(|errors| ApiStatus::invalid(&writing.resource, name_of(new), &errors))
}

fn check_crd(writing: &Writing, name: &str, object: &Value) -> Result<(), ApiStatus> {
    if writing.key != CRDS {
        return Ok(());
    }
    match crd::Definition::compile(object) {
        Ok(_) => Ok(()),
        Err(errors) => invalid(&writing.resource, name, errors),
    }
}

/// A CRD is served as soon as it is stored; its status says so.
fn establish(api: &Api, writing: &Writing, object: &mut Value, now: &str) {
    if writing.key != CRDS {
        return;
    }
    let text =
        |object: &Value, path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or("").to_owned();
    let (group, plural) = (text(object, "/spec/group"), text(object, "/spec/names/plural"));
    let kind = text(object, "/spec/names/kind");
    let own = name_of(object).to_owned();
    let others = api.store.list(CRDS, None).1;
    let conflict = others.iter().find(|other| {
        *other.name != *own
            && text(&other.value, "/spec/group") == group
            && (text(&other.value, "/spec/names/plural") == plural
                || text(&other.value, "/spec/names/kind") == kind)
    });
    let conflict =
        conflict.map(|other| format!("{plural:?} or {kind:?} is already in use by {}", other.name));
    object["status"] = crd::status(object, conflict.as_deref(), now);
}

/// How an object is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The whole object is sent; a revision in it is the one that it was made from.
    Put,
    /// It is made from the current object.
    Patch,
    /// As [`Mode::Patch`], and the fields' owners are already worked out.
    Apply,
}

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
            let mut written = create(api, writing, object).await?;
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
    let now = clock::text();
    strategy::prepare_for_update(resource, &writing.subresource, before, &mut new)?;
    defaults::apply(resource, &mut new);
    if writing.key == NAMESPACES && writing.subresource.is_empty() {
        // Only `finalize` touches them.
        new["spec"] = before.get("spec").cloned().unwrap_or_else(|| json!({}));
    }
    let mut warnings = Vec::new();
    let mut new = writing.admit(api, Operation::Update, Some(before), new, &mut warnings).await?;
    let taken = assign(api, writing, Some(before), &mut new)?;
    let outcome = async {
        if writing.subresource.is_empty() {
            check_crd(writing, name, &new)?;
        }
        invalid(resource, name, validate::update(resource, &writing.subresource, before, &new))?;
        writing.confirm(api, Operation::Update, name, Some(before), Some(&new), &mut warnings).await?;
        if mode != Mode::Apply {
            managed::track_update(resource, Some(before), &mut new, writing.writer(&now));
        }
        if writing.subresource.is_empty() {
            establish(api, writing, &mut new, &now);
        }
        if strategy::is_unchanged(before, &new) {
            return Ok(before.clone());
        }
        if writing.dry_run {
            return Ok(new);
        }
        if is_terminating(&new) && may_go(writing, &new) {
            let gone = remove(api, writing, name, old).await?;
            return Ok(writing.serve(&gone));
        }
        let stored = convert::to_storage(resource, new);
        let stored = api.store.update(&writing.key, &writing.namespace, name, old.revision, stored).await;
        let stored = stored.map_err(|error| writing.error(name, error))?;
        if writing.is("", "Service") {
            api.services.lock().release(&old.value, Some(&stored.value));
        }
        Ok(writing.serve(&stored))
    }
    .await;
    if outcome.is_err() || writing.dry_run {
        api.services.lock().give_back(&taken);
    }
    outcome.map(|object| Written { object, warnings, created: false })
}

/// Nothing holds a terminating object any more.
fn may_go(writing: &Writing, object: &Value) -> bool {
    let none = |path: &str| object.pointer(path).and_then(Value::as_array).is_none_or(Vec::is_empty);
    let graceful = writing.is("", "Pod")
        && object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0) > 0;
    none("/metadata/finalizers") && !graceful && (writing.key != NAMESPACES || none("/spec/finalizers"))
}

async fn remove(
    api: &Api,
    writing: &Writing,
    name: &str,
    old: &Arc<Object>,
) -> Result<Arc<Object>, ApiStatus> {
    let gone = api.store.delete(&writing.key, &writing.namespace, name, old.revision).await;
    let gone = gone.map_err(|error| writing.error(name, error))?;
    if writing.is("", "Service") {
        api.services.lock().release(&gone.value, None);
    }
    if writing.key == CRDS {
        remove_custom_objects(api, &gone.value).await;
    }
    Ok(gone)
}

/// The objects of a CRD go with it.
async fn remove_custom_objects(api: &Api, crd: &Value) {
    let text = |path: &str| crd.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let key = format!("{}/{}", text("/spec/group"), text("/spec/names/plural"));
    for object in api.store.list(&key, None).1 {
        if let Err(error) = api.store.delete(&key, &object.namespace, &object.name, object.revision).await {
            tracing::warn!(object = %object.name, %error, "an object of a deleted CRD stays behind");
        }
    }
}

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
        preconditions(writing, name, &before, options)?;
        writing.confirm(api, Operation::Delete, name, Some(&before), None, warnings).await?;
        let marked = mark(writing, &before, options);
        if writing.dry_run {
            return Ok(Deleted::Gone(before));
        }
        let outcome = match marked {
            None => remove(api, writing, name, &old).await.map(|gone| Deleted::Gone(writing.serve(&gone))),
            Some(new) if strategy::is_unchanged(&before, &new) => Ok(Deleted::Pending(before)),
            Some(new) => {
                let stored = convert::to_storage(&writing.resource, new);
                let stored =
                    api.store.update(&writing.key, &writing.namespace, name, old.revision, stored).await;
                stored
                    .map(|stored| Deleted::Pending(writing.serve(&stored)))
                    .map_err(|error| writing.error(name, error))
            }
        };
        match outcome {
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
    let mut new = before.clone();
    let wants_orphans = options.get("orphanDependents") == Some(&json!(true));
    let policy = options.get("propagationPolicy").and_then(Value::as_str);
    let added = match policy {
        Some("Foreground") => Some("foregroundDeletion"),
        Some("Orphan") => Some("orphan"),
        _ if wants_orphans => Some("orphan"),
        _ => None,
    };
    let mut finalizers: Vec<Value> =
        before.pointer("/metadata/finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(added) = added
        && !finalizers.contains(&json!(added))
    {
        finalizers.push(json!(added));
        new["metadata"]["finalizers"] = json!(finalizers);
    }
    let grace = grace(writing, before, options);
    if !is_terminating(&new) {
        let at = clock::seconds() + grace;
        new["metadata"]["deletionTimestamp"] = json!(portolan_apimachinery::time::format(at));
        new["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        if writing.key == NAMESPACES {
            new["status"]["phase"] = json!("Terminating");
        }
        if new.pointer("/metadata/generation").is_some() {
            let generation = new.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
            new["metadata"]["generation"] = json!(generation + 1);
        }
    } else if new.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0) > grace
    {
        new["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
    }
    if may_go(writing, &new) { None } else { Some(new) }
}

/// Seconds that a Pod has to end; nothing else has a grace period. A Pod that does not run ends at once.
fn grace(writing: &Writing, object: &Value, options: &Value) -> i64 {
    if !writing.is("", "Pod") {
        return 0;
    }
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    if text("/spec/nodeName").is_empty() || matches!(text("/status/phase"), "Succeeded" | "Failed") {
        return 0;
    }
    let given = options.get("gracePeriodSeconds").and_then(Value::as_i64);
    given.or_else(|| object.pointer("/spec/terminationGracePeriodSeconds")?.as_i64()).unwrap_or(30).max(0)
}
