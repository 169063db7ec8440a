//! Namespaces: their own finalizers, in `spec`, stand for their content.

use portolan_apimachinery::ApiStatus;
use serde_json::{Value, json};

use super::steps::Kind;
use crate::api::Api;
use crate::writing::Writing;

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

    fn begin_deletion(&self, object: &mut Value, _now: &str) {
        object["status"]["phase"] = json!("Terminating");
    }

    fn holds(&self, object: &Value) -> bool {
        object.pointer("/spec/finalizers").and_then(Value::as_array).is_some_and(|list| !list.is_empty())
    }
}
