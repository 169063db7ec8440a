//! Admission webhooks: who changes or refuses an object on its way to the store
//! (admissionregistration.k8s.io/v1).

mod call;
mod rules;

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portolan_apimachinery::{ApiStatus, Resource};
use serde_json::{Value, json};

use crate::api::{Api, SERVICES};
use crate::authn::User;
use crate::derived::Derived;
use rules::Webhook;

const MUTATING: &str = "admissionregistration.k8s.io/mutatingwebhookconfigurations";
const VALIDATING: &str = "admissionregistration.k8s.io/validatingwebhookconfigurations";
const SLICES: &str = "discovery.k8s.io/endpointslices";

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

impl Operation {
    fn name(self) -> &'static str {
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
    fn request(&self, uid: &str, object: Option<&Value>) -> Value {
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

/// All webhooks that are configured.
pub(crate) struct Webhooks {
    mutating: Derived<Vec<Arc<Webhook>>>,
    validating: Derived<Vec<Arc<Webhook>>>,
}

/// What a webhook said.
struct Verdict {
    patch: Option<json_patch::Patch>,
}

impl Webhooks {
    pub(crate) fn new() -> Webhooks {
        Webhooks { mutating: Derived::new(&[MUTATING]), validating: Derived::new(&[VALIDATING]) }
    }

    /// Lets mutating webhooks change the object, in the order of their configurations' names.
    pub(crate) async fn mutate(
        &self,
        api: &Api,
        review: &Review<'_>,
        mut object: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Value, ApiStatus> {
        let hooks = self.mutating.get(&api.store, |_| rules::load(&api.store, MUTATING));
        let mut again: Vec<Arc<Webhook>> = Vec::new();
        for hook in &hooks.1 {
            if !hook.matches(api, review, Some(&object)) {
                continue;
            }
            let before = object.clone();
            apply(hook, ask(api, hook, review, Some(&object), warnings).await?, &mut object)?;
            if hook.reinvoke {
                again.push(hook.clone());
            }
            // Who has run before and wants to know of later changes is asked once more.
            if object != before {
                let earlier: Vec<Arc<Webhook>> =
                    again.iter().filter(|other| !Arc::ptr_eq(other, hook)).cloned().collect();
                again.retain(|other| Arc::ptr_eq(other, hook));
                for other in earlier {
                    if other.matches(api, review, Some(&object)) {
                        apply(&other, ask(api, &other, review, Some(&object), warnings).await?, &mut object)?;
                    }
                }
            }
        }
        Ok(object)
    }

    /// Asks validating webhooks, all at once; the first refusal in their order counts.
    pub(crate) async fn validate(
        &self,
        api: &Api,
        review: &Review<'_>,
        object: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiStatus> {
        let hooks = self.validating.get(&api.store, |_| rules::load(&api.store, VALIDATING));
        let matching: Vec<&Arc<Webhook>> =
            hooks.1.iter().filter(|hook| hook.matches(api, review, object)).collect();
        let asked = matching.into_iter().map(|hook| async move {
            let mut warnings = Vec::new();
            let verdict = ask(api, hook, review, object, &mut warnings).await;
            (verdict, warnings)
        });
        for (verdict, said) in futures::future::join_all(asked).await {
            warnings.extend(said);
            verdict?;
        }
        Ok(())
    }
}

fn apply(hook: &Webhook, verdict: Verdict, object: &mut Value) -> Result<(), ApiStatus> {
    let Some(patch) = verdict.patch else { return Ok(()) };
    json_patch::patch(object, &patch).map_err(|error| {
        ApiStatus::internal(format!(
            "admission webhook {:?} answered with a patch that does not fit: {error}",
            hook.name
        ))
    })
}

async fn ask(
    api: &Api,
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
    let answer = match call::call(api, hook, &request).await {
        Ok(answer) if answer.pointer("/response/uid").and_then(Value::as_str) == Some(uid.as_str()) => answer,
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
        let why =
            message.or(reason).map_or_else(|| " without explanation".to_owned(), |text| format!(": {text}"));
        let code = status.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        let code = code.filter(|code| (400..600).contains(code)).unwrap_or(400);
        let text = format!("admission webhook {:?} denied the request{why}", hook.name);
        return Err(ApiStatus::custom(code, reason, text));
    }
    let Some(patch) = response.get("patch").and_then(Value::as_str).filter(|_| hook.mutating) else {
        return Ok(Verdict { patch: None });
    };
    let decoded = STANDARD.decode(patch).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    match decoded {
        Some(patch) => Ok(Verdict { patch: Some(patch) }),
        None => failed(hook, "the answer's patch is not a JSON patch"),
    }
}

/// A webhook that cannot be asked: `failurePolicy` decides.
fn failed(hook: &Webhook, why: &str) -> Result<Verdict, ApiStatus> {
    if hook.ignore_failure {
        tracing::warn!(webhook = hook.name, why, "admission webhook failed and is passed over");
        return Ok(Verdict { patch: None });
    }
    Err(ApiStatus::internal(format!("failed calling webhook {:?}: {why}", hook.name)))
}

/// The address of a ready endpoint of a Service's port: by number or name, the first one without either.
pub(crate) fn endpoint_of(api: &Api, namespace: &str, name: &str, port: Option<&str>) -> Option<SocketAddr> {
    let service = api.store.get(SERVICES, namespace, name)?;
    let ports = service.value.pointer("/spec/ports")?.as_array()?;
    let wanted = ports.iter().find(|candidate| {
        port.is_none_or(|port| {
            candidate.get("name").and_then(Value::as_str) == Some(port)
                || candidate.get("port").and_then(Value::as_u64).map(|number| number.to_string()).as_deref()
                    == Some(port)
        })
    })?;
    let port_name = wanted.get("name").and_then(Value::as_str).unwrap_or_default();
    let mut found = Vec::new();
    for slice in api.store.list(SLICES, Some(namespace)).1 {
        if slice.value.pointer("/metadata/labels/kubernetes.io~1service-name").and_then(Value::as_str)
            != Some(name)
        {
            continue;
        }
        let number =
            slice.value.get("ports").and_then(Value::as_array).into_iter().flatten().find_map(|port| {
                let same = port.get("name").and_then(Value::as_str).unwrap_or_default() == port_name;
                same.then(|| u16::try_from(port.get("port")?.as_u64()?).ok()).flatten()
            });
        let Some(number) = number else { continue };
        for endpoint in slice.value.get("endpoints").and_then(Value::as_array).into_iter().flatten() {
            if endpoint.pointer("/conditions/ready") == Some(&json!(false)) {
                continue;
            }
            let addresses = endpoint.get("addresses").and_then(Value::as_array).into_iter().flatten();
            found.extend(
                addresses
                    .filter_map(|address| Some(SocketAddr::new(address.as_str()?.parse().ok()?, number))),
            );
        }
    }
    if found.is_empty() { None } else { found.get(fastrand::usize(..found.len())).copied() }
}
