//! Admission webhooks: who changes or refuses an object on its way to the store
//! (admissionregistration.k8s.io/v1).

mod call;
mod review;
mod rules;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portolan_apimachinery::{ApiStatus, patch};
use serde_json::{Value, json};

use crate::config::Dialer;
use crate::derived::Derived;
use crate::keys::{MUTATING_WEBHOOKS as MUTATING, VALIDATING_WEBHOOKS as VALIDATING};
use crate::store::Store;
pub(crate) use review::{Operation, Review};
use rules::Webhook;

/// All webhooks that are configured, and the way to them.
pub(crate) struct Webhooks {
    store: Store,
    dial: Dialer,
    mutating: Derived<Vec<Arc<Webhook>>>,
    validating: Derived<Vec<Arc<Webhook>>>,
}

/// What a webhook said.
struct Verdict {
    /// The text of a JSON patch.
    patch: Option<Vec<u8>>,
}

impl Webhooks {
    pub(crate) fn new(store: Store, dial: Dialer) -> Webhooks {
        Webhooks { store, dial, mutating: Derived::new(&[MUTATING]), validating: Derived::new(&[VALIDATING]) }
    }

    /// Lets mutating webhooks change the object, in the order of their configurations' names.
    pub(crate) async fn mutate(
        &self,
        review: &Review<'_>,
        mut object: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Value, ApiStatus> {
        let hooks = self.mutating.get(&self.store, |_| rules::load(&self.store, MUTATING));
        let mut again: Vec<Arc<Webhook>> = Vec::new();
        for hook in &hooks.1 {
            if !hook.matches(&self.store, review, Some(&object)) {
                continue;
            }
            let before = object.clone();
            apply(hook, self.ask(hook, review, Some(&object), warnings).await?, &mut object)?;
            if hook.reinvoke {
                again.push(hook.clone());
            }
            // Who has run before and wants to know of later changes is asked once more.
            if object != before {
                let earlier: Vec<Arc<Webhook>> =
                    again.iter().filter(|other| !Arc::ptr_eq(other, hook)).cloned().collect();
                again.retain(|other| Arc::ptr_eq(other, hook));
                for other in earlier {
                    if other.matches(&self.store, review, Some(&object)) {
                        apply(&other, self.ask(&other, review, Some(&object), warnings).await?, &mut object)?;
                    }
                }
            }
        }
        Ok(object)
    }

    /// Asks validating webhooks, all at once; the first refusal in their order counts.
    pub(crate) async fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiStatus> {
        let hooks = self.validating.get(&self.store, |_| rules::load(&self.store, VALIDATING));
        let matching: Vec<&Arc<Webhook>> =
            hooks.1.iter().filter(|hook| hook.matches(&self.store, review, object)).collect();
        let asked = matching.into_iter().map(|hook| async move {
            let mut warnings = Vec::new();
            let verdict = self.ask(hook, review, object, &mut warnings).await;
            (verdict, warnings)
        });
        for (verdict, said) in futures::future::join_all(asked).await {
            warnings.extend(said);
            verdict?;
        }
        Ok(())
    }

    async fn ask(
        &self,
        hook: &Webhook,
        review: &Review<'_>,
        object: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<Verdict, ApiStatus> {
        if review.dry_run && !hook.safe_for_dry_run {
            return Err(ApiStatus::bad_request(format!(
                "admission webhook {:?} does not support dry run",
                hook.name
            )));
        }
        let uid = uuid::Uuid::new_v4().to_string();
        let request = review.request(&uid, object);
        let answer = match call::call(&self.store, &self.dial, hook, &request).await {
            Ok(answer) if answer.pointer("/response/uid").and_then(Value::as_str) == Some(uid.as_str()) => {
                answer
            }
            Ok(_) => return failed(hook, "the answer is not for the question that was asked"),
            Err(error) => return failed(hook, &error.to_string()),
        };
        let response = &answer["response"];
        let said = response.get("warnings").and_then(Value::as_array).into_iter().flatten();
        warnings.extend(said.filter_map(|warning| warning.as_str().map(str::to_owned)));
        if response.get("allowed") != Some(&json!(true)) {
            let status = &response["status"];
            let message = status.get("message").and_then(Value::as_str).filter(|text| !text.is_empty());
            let reason = status.get("reason").and_then(Value::as_str);
            let why = message
                .or(reason)
                .map_or_else(|| " without explanation".to_owned(), |text| format!(": {text}"));
            let code = status.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
            let code = code.filter(|code| (400..600).contains(code)).unwrap_or(400);
            let text = format!("admission webhook {:?} denied the request{why}", hook.name);
            return Err(ApiStatus::custom(code, reason, text));
        }
        let Some(patch) = response.get("patch").and_then(Value::as_str).filter(|_| hook.mutating) else {
            return Ok(Verdict { patch: None });
        };
        match STANDARD.decode(patch) {
            Ok(patch) => Ok(Verdict { patch: Some(patch) }),
            Err(_) => failed(hook, "the answer's patch is not base64"),
        }
    }
}

fn apply(hook: &Webhook, verdict: Verdict, object: &mut Value) -> Result<(), ApiStatus> {
    let Some(patch) = verdict.patch else { return Ok(()) };
    *object = patch::json_patch(object, &patch).map_err(|error| {
        ApiStatus::internal(format!(
            "admission webhook {:?} answered with a patch that does not fit: {error}",
            hook.name
        ))
    })?;
    Ok(())
}

/// A webhook that cannot be asked: `failurePolicy` decides.
fn failed(hook: &Webhook, why: &str) -> Result<Verdict, ApiStatus> {
    if hook.ignore_failure {
        tracing::warn!(webhook = hook.name, why, "admission webhook failed and is passed over");
        return Ok(Verdict { patch: None });
    }
    Err(ApiStatus::internal(format!("failed calling webhook {:?}: {why}", hook.name)))
}
