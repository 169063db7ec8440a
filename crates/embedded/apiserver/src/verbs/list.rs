//! Reading: one object, or a list.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portolan_apimachinery::selector::{FieldSelector, LabelSelector};
use portolan_apimachinery::{ApiStatus, Resource};
use serde::{Deserialize, Serialize};

use crate::api::Api;
use crate::call::Call;
use crate::keys::storage_key;
use crate::limits;
use crate::request::Query;
use crate::respond::{self, Answer, ListMeta};
use crate::store::{Object, StoreError};

pub(crate) fn get(api: &Api, call: &Call) -> Result<Answer, ApiStatus> {
    let form = call.form()?;
    let object = api
        .store
        .get(&storage_key(&call.resource), call.namespace(), &call.path.name)
        .ok_or_else(|| ApiStatus::not_found(&call.resource, &call.path.name))?;
    if form == crate::negotiate::Form::Object {
        return Ok(respond::bytes(200, respond::JSON, respond::served_json(&call.resource, &object)));
    }
    Ok(respond::object(200, &call.resource, form, call.query(), &respond::served(&call.resource, &object)))
}

/// Which objects a list or watch is about.
pub(crate) struct Selection {
    resource: Arc<Resource>,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    pub(crate) fn of(resource: &Arc<Resource>, query: &Query) -> Result<Selection, ApiStatus> {
        Ok(Selection {
            resource: resource.clone(),
            labels: LabelSelector::parse(query.get("labelSelector").unwrap_or_default())?,
            fields: FieldSelector::parse(resource, query.get("fieldSelector").unwrap_or_default())?,
        })
    }

    pub(crate) fn keeps(&self, object: &Object) -> bool {
        if !self.labels.matches(object.value.pointer("/metadata/labels")) {
            return false;
        }
        if self.fields.is_empty() {
            return true;
        }
        if respond::is_stored_form(&self.resource, object) {
            self.fields.matches(&object.value)
        } else {
            self.fields.matches(&respond::served(&self.resource, object))
        }
    }
}

/// Where a paged list goes on.
#[derive(Serialize, Deserialize)]
struct Continue {
    revision: u64,
    namespace: String,
    name: String,
}

impl Continue {
    fn parse(text: &str) -> Result<Continue, ApiStatus> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or_else(|| {
            ApiStatus::bad_request("continue key is not valid: it must come from the list before")
        })
    }

    fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }
}

/// The namespace that a collection is about; `None` for all.
pub(crate) fn scope(call: &Call) -> Option<&str> {
    let namespace = call.namespace();
    if call.resource.namespaced && namespace.is_empty() { None } else { Some(namespace) }
}

pub(crate) fn list(api: &Api, call: &Call) -> Result<Answer, ApiStatus> {
    let form = call.form()?;
    let query = call.query();
    let selection = Selection::of(&call.resource, query)?;
    let limit = match query.number::<usize>("limit")? {
        None | Some(0) => limits::MAX_PAGE,
        Some(limit) => limit.min(limits::MAX_PAGE),
    };
    let from = query.get("continue").map(Continue::parse).transpose()?;
    let wanted = query.number::<u64>("resourceVersion")?.unwrap_or(0);
    let current = api.store.revision();
    if wanted > current {
        return Err(ApiStatus::too_large_resource_version(wanted, current));
    }
    let exact = query.get("resourceVersionMatch") == Some("Exact");
    let at = from.as_ref().map(|from| from.revision).or((exact && wanted > 0).then_some(wanted));
    let after = from.as_ref().map(|from| (from.namespace.as_str(), from.name.as_str()));
    let page = api
        .store
        .page(&storage_key(&call.resource), scope(call), at, after, limit, &|object| selection.keeps(object))
        .map_err(|error| match error {
            StoreError::Expired { .. } if from.is_some() => ApiStatus::expired(
                "The provided continue parameter is too old to display a consistent list result. Start the list anew without it",
            ),
            StoreError::Expired { wanted, oldest } => ApiStatus::too_old(wanted, oldest),
            other => ApiStatus::internal(other.to_string()),
        })?;
    let selected = query.get("labelSelector").is_none() && query.get("fieldSelector").is_none();
    let next = page.items.last().filter(|_| page.more).map(|last| {
        let next = Continue {
            revision: page.revision,
            namespace: last.namespace.to_string(),
            name: last.name.to_string(),
        };
        next.text()
    });
    let meta = ListMeta {
        revision: page.revision,
        remaining: next.as_ref().filter(|_| selected).map(|_| page.remaining),
        next,
    };
    Ok(respond::list(&call.resource, form, query, &meta, &page.items))
}
