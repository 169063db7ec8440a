//! A write as webhooks see it: the AdmissionReview (admission.k8s.io/v1).

use portolan_apimachinery::Resource;
use serde_json::{Value, json};

use crate::authn::User;

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
        }
    }
}

/// A write as webhooks see it.
pub(crate) struct Review<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) operation: Operation,
    pub(crate) user: &'a User,
    pub(crate) old: Option<&'a Value>,
    pub(crate) dry_run: bool,
}

impl Review<'_> {
    pub(super) fn request(&self, uid: &str, object: Option<&Value>) -> Value {
        let resource = self.resource;
        let kind = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
        let named =
            json!({"group": resource.group, "version": resource.version, "resource": resource.plural});
        let mut request = json!({
            "uid": uid, "kind": kind, "resource": named, "requestKind": kind, "requestResource": named,
            "name": self.name, "operation": self.operation.name(), "userInfo": self.user.to_value(),
            "object": object, "oldObject": self.old, "dryRun": self.dry_run, "options": null,
        });
        if !self.namespace.is_empty() {
            request["namespace"] = json!(self.namespace);
        }
        if !self.subresource.is_empty() {
            request["subResource"] = json!(self.subresource);
            request["requestSubResource"] = json!(self.subresource);
        }
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})
    }
}
