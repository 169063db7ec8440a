//! Namespaces: their own finalizers, in `spec`, stand for their content.

use portolan_apimachinery::ApiStatus;
use serde_json::{Value, json};

use super::steps::Kind;
use crate::api::Api;
use crate::writing::Writing;

/// What the server itself lives in; the same as Kubernetes'.
const KEPT: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) struct Namespaces;

impl Kind for Namespaces {
    /// Only `finalize` touches `spec.finalizers`.
    fn prepare(
        &self,
        _api: &Api,
        writing: &Writing,
        old: Option<&Value>,
        new: &mut Value,
    ) -> Result<(), ApiStatus> {
        if let Some(old) = old
            && writing.subresource.is_empty()
        {
            new["spec"] = old.get("spec").cloned().unwrap_or_else(|| json!({}));
        }
        Ok(())
    }

    fn delete(&self, writing: &Writing, name: &str) -> Result<(), ApiStatus> {
        if KEPT.contains(&name) && !writing.internal {
            let why = "this namespace may not be deleted";
            return Err(ApiStatus::forbidden("", "namespaces", name, why));
        }
        Ok(())
    }

    fn begin_deletion(&self, object: &mut Value, _now: &str) {
        object["status"]["phase"] = json!("Terminating");
    }

    fn holds(&self, object: &Value) -> bool {
        object.pointer("/spec/finalizers").and_then(Value::as_array).is_some_and(|list| !list.is_empty())
    }
}
