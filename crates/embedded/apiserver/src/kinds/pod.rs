//! Pods: their ServiceAccount, and the time that they get to end.

use portolan_apimachinery::{ApiStatus, defaults};
use serde_json::Value;

use super::steps::Kind;
use crate::api::Api;
use crate::keys::SERVICE_ACCOUNTS;
use crate::random::suffix;
use crate::writing::{Writing, name_of};

/// Grace of a Pod that names none, in seconds.
const DEFAULT_GRACE: i64 = 30;

pub(super) struct Pods;

impl Kind for Pods {
    fn prepare(
        &self,
        api: &Api,
        writing: &Writing,
        old: Option<&Value>,
        new: &mut Value,
    ) -> Result<(), ApiStatus> {
        if old.is_none() { service_account(api, writing, new) } else { Ok(()) }
    }

    /// A Pod that does not run ends at once.
    fn grace(&self, object: &Value, options: &Value) -> i64 {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
        if text("/spec/nodeName").is_empty() || matches!(text("/status/phase"), "Succeeded" | "Failed") {
            return 0;
        }
        let given = options.get("gracePeriodSeconds").and_then(Value::as_i64);
        let own = || object.pointer("/spec/terminationGracePeriodSeconds")?.as_i64();
        given.or_else(own).unwrap_or(DEFAULT_GRACE).max(0)
    }

    /// While its grace runs its containers end; then the node deletes it for good.
    fn holds(&self, object: &Value) -> bool {
        object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0) > 0
    }
}

/// What the ServiceAccount admission step of Kubernetes does.
fn service_account(api: &Api, writing: &Writing, pod: &mut Value) -> Result<(), ApiStatus> {
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
    defaults::admit_service_account(pod, automount, &suffix());
    Ok(())
}
