//! The steps of a write in which a kind may have its own say.

use portolan_apimachinery::ApiStatus;
use serde_json::{Value, json};

use crate::addresses::{Addresses, Taken};
use crate::api::Api;
use crate::writing::Writing;

/// What a kind does beside what all kinds do, in the order of a write.
pub(crate) trait Kind: Send + Sync {
    /// Completes a new version after its defaults, before webhooks see it. `old` is `None` for a new object.
    ///
    /// # Errors
    /// What the client is to be told; nothing is written then.
    fn prepare(
        &self,
        _api: &Api,
        _writing: &Writing,
        _old: Option<&Value>,
        _new: &mut Value,
    ) -> Result<(), ApiStatus> {
        Ok(())
    }

    /// After mutating webhooks: checks what the schema cannot say, and takes what only one object may have. What
    /// is taken is given back unless the write happens.
    ///
    /// # Errors
    /// What the client is to be told; nothing is written then.
    fn admit(
        &self,
        _api: &Api,
        _writing: &Writing,
        _old: Option<&Value>,
        _new: &mut Value,
    ) -> Result<Taken, ApiStatus> {
        Ok(Taken::default())
    }

    /// Whether [`Kind::complete`] depends on the other objects of the kind, so that between it and the store no
    /// other one may be written.
    fn one_at_a_time(&self) -> bool {
        false
    }

    /// What the server itself says in the object, right before it is stored. `now` is an RFC 3339 time.
    fn complete(&self, _api: &Api, _writing: &Writing, _object: &mut Value, _now: &str) {}

    /// The store shows the change; `new` is `None` when the object is gone.
    fn stored(&self, _addresses: &Addresses, _old: &Value, _new: Option<&Value>) {}

    /// Whether the object may be deleted at all.
    ///
    /// # Errors
    /// What the client is to be told; nothing is deleted then.
    fn delete(&self, _writing: &Writing, _name: &str) -> Result<(), ApiStatus> {
        Ok(())
    }

    /// Seconds that a deleted object gets to end.
    fn grace(&self, _object: &Value, _options: &Value) -> i64 {
        0
    }

    /// Completes an object that has just been marked as deleted. `now` is an RFC 3339 time.
    fn begin_deletion(&self, _object: &mut Value, _now: &str) {}

    /// Whether something beside `metadata.finalizers` keeps a deleted object.
    fn holds(&self, _object: &Value) -> bool {
        false
    }
}

/// Adds a finalizer that is not there yet.
pub(crate) fn add_finalizer(object: &mut Value, finalizer: &str) {
    let mut finalizers =
        object.pointer("/metadata/finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
    if !finalizers.iter().any(|known| known == finalizer) {
        finalizers.push(json!(finalizer));
        object["metadata"]["finalizers"] = json!(finalizers);
    }
}
