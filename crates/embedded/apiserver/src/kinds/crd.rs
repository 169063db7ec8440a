//! CustomResourceDefinitions: names that no other one has, and objects that go before their definition does.

use portolan_apimachinery::{ApiStatus, crd};
use serde_json::{Value, json};

use super::steps::{Kind, add_finalizer};
use crate::addresses::Taken;
use crate::api::Api;
use crate::keys::CRDS;
use crate::writing::{Writing, name_of};

/// Keeps a deleted definition until its objects are gone; the same as Kubernetes'.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

pub(super) struct Definitions;

impl Kind for Definitions {
    fn admit(
        &self,
        _api: &Api,
        writing: &Writing,
        _old: Option<&Value>,
        new: &mut Value,
    ) -> Result<Taken, ApiStatus> {
        if !writing.subresource.is_empty() {
            return Ok(Taken::default());
        }
        match crd::Definition::compile(new) {
            Ok(_) => Ok(Taken::default()),
            Err(errors) => Err(ApiStatus::invalid(&writing.resource, name_of(new), &errors)),
        }
    }

    /// Of two definitions that want the same names the first one stored has them.
    fn one_at_a_time(&self) -> bool {
        true
    }

    /// A CRD is served as soon as it is stored; its status says so.
    fn complete(&self, api: &Api, writing: &Writing, object: &mut Value, now: &str) {
        if !writing.subresource.is_empty() {
            return;
        }
        let text = |object: &Value, path: &str| {
            object.pointer(path).and_then(Value::as_str).unwrap_or("").to_owned()
        };
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

    fn begin_deletion(&self, object: &mut Value, now: &str) {
        add_finalizer(object, CLEANUP);
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let mut conditions: Vec<Value> = conditions.cloned().unwrap_or_default();
        conditions.retain(|condition| condition["type"] != "Terminating");
        conditions.push(json!({
            "type": "Terminating", "status": "True", "reason": "InstanceDeletionPending",
            "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
            "lastTransitionTime": now,
        }));
        object["status"]["conditions"] = json!(conditions);
    }
}
