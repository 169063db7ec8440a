//! One request that may be carried out: what every verb and sub-resource is given.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, header};
use portolan_apimachinery::{ApiStatus, Resource, managed};

use crate::authn::User;
use crate::negotiate::{self, Form};
use crate::request::{Query, RequestInfo, ResourcePath};
use crate::respond;

/// A request that may be carried out.
pub(crate) struct Call {
    pub(crate) info: RequestInfo,
    pub(crate) path: ResourcePath,
    pub(crate) resource: Arc<Resource>,
    pub(crate) user: User,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn query(&self) -> &Query {
        &self.info.query
    }

    /// The namespace under which objects are stored: none for objects of the cluster.
    pub(crate) fn namespace(&self) -> &str {
        if self.resource.namespaced { &self.path.namespace } else { "" }
    }

    pub(crate) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn form(&self) -> Result<Form, ApiStatus> {
        negotiate::form(self.header(header::ACCEPT))
    }

    pub(crate) fn content_type(&self) -> &str {
        self.header(header::CONTENT_TYPE).unwrap_or(respond::JSON)
    }

    /// Who is to own the written fields.
    pub(crate) fn manager(&self) -> String {
        match self.query().get("fieldManager") {
            Some(manager) => manager.to_owned(),
            None => managed::default_manager(self.header(header::USER_AGENT).unwrap_or("")).to_owned(),
        }
    }
}
