//! Who writes what, and how: what every step of a write is told.

use std::sync::Arc;

use portolan_apimachinery::managed::Writer;
use portolan_apimachinery::{ApiStatus, GroupVersionKind, Resource, defaults};
use serde_json::Value;

use crate::admission::{Operation, Review};
use crate::api::Api;
use crate::authn::User;
use crate::call::Call;
use crate::keys::{CRDS, storage_key};
use crate::respond;
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
    /// The sub-resource that owners of fields are noted with.
    pub(crate) tracked_as: String,
    pub(crate) user: User,
    pub(crate) manager: String,
    pub(crate) dry_run: bool,
    /// Written by the server itself: admission has no say.
    pub(crate) internal: bool,
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
            tracked_as: call.path.subresource.clone(),
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
            tracked_as: String::new(),
            user: User { name: format!("system:{manager}"), ..User::default() },
            manager: manager.to_owned(),
            dry_run: false,
            internal: true,
            resource,
        })
    }

    pub(crate) fn writer<'a>(&'a self, now: &'a str) -> Writer<'a> {
        Writer { manager: &self.manager, subresource: &self.tracked_as, time: now }
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

    /// Lets mutating webhooks change the object.
    pub(crate) async fn admit(
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
        let mut changed = api.webhooks.mutate(&review, object, warnings).await?;
        defaults::apply(&self.resource, &mut changed);
        Ok(changed)
    }

    /// Asks validating webhooks.
    pub(crate) async fn confirm(
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
        api.webhooks.validate(&self.review(operation, name, old), object, warnings).await
    }

    /// The object as clients see it.
    pub(crate) fn serve(&self, object: &Object) -> Value {
        respond::served(&self.resource, object)
    }

    /// A store's error as the client sees it.
    pub(crate) fn error(&self, name: &str, error: StoreError) -> ApiStatus {
        match error {
            StoreError::Exists => ApiStatus::already_exists(&self.resource, name),
            StoreError::NotFound => ApiStatus::not_found(&self.resource, name),
            StoreError::Conflict { .. } => ApiStatus::stale(&self.resource, name),
            StoreError::ParentGone { resource, .. } if resource == CRDS => self.crd_terminates(),
            StoreError::ParentGone { .. } => self.namespace_terminates(name),
            StoreError::Expired { wanted, oldest } => ApiStatus::too_old(wanted, oldest),
            StoreError::Closed => ApiStatus::unavailable("the server is shutting down"),
            other => ApiStatus::internal(other.to_string()),
        }
    }

    /// Nothing new is made below a CRD that is being deleted.
    pub(crate) fn crd_terminates(&self) -> ApiStatus {
        let why = "create not allowed while custom resource definition is terminating";
        ApiStatus::custom(405, Some("MethodNotAllowed"), why)
    }

    /// Nothing new is made in a namespace that is being deleted.
    pub(crate) fn namespace_terminates(&self, name: &str) -> ApiStatus {
        let why = format!(
            "unable to create new content in namespace {} because it is being terminated",
            self.namespace
        );
        ApiStatus::forbidden(&self.resource.group, &self.resource.plural, name, &why)
    }
}

/// `metadata.name`, empty without one.
pub(crate) fn name_of(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

/// Whether an object has been deleted and something still holds it.
pub(crate) fn is_terminating(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null())
}
