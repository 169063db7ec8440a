//! Reviews: questions about identity and permission, answered and never stored.

use portolan_apimachinery::ApiStatus;
use portolan_apimachinery::body::{self, FieldValidation};
use portolan_apimachinery::rbac::{Attributes, denial};
use serde_json::{Value, json};

use crate::api::Api;
use crate::authn::User;
use crate::call::Call;
use crate::respond::{self, Answer};

pub(crate) fn answer(api: &Api, call: &Call) -> Result<Answer, ApiStatus> {
    let decoded = body::decode(&call.resource, None, call.content_type(), &call.body, FieldValidation::Warn)?;
    let mut review = decoded.object;
    review["status"] = match call.resource.kind.as_str() {
        "TokenReview" => token(api, &review),
        "SelfSubjectReview" => json!({"userInfo": call.user.to_value()}),
        "SelfSubjectAccessReview" => access(api, &call.user, &review["spec"]),
        "SubjectAccessReview" => access(api, &subject(&review["spec"]), &review["spec"]),
        "LocalSubjectAccessReview" => {
            let asked = review.pointer("/spec/resourceAttributes/namespace").and_then(Value::as_str);
            if asked != Some(call.path.namespace.as_str()) {
                return Err(ApiStatus::bad_request(
                    "spec.resourceAttributes.namespace must be the namespace of the review",
                ));
            }
            access(api, &subject(&review["spec"]), &review["spec"])
        }
        "SelfSubjectRulesReview" => {
            let namespace = review.pointer("/spec/namespace").and_then(Value::as_str).unwrap_or_default();
            api.policy().1.rules(&call.user.name, &call.user.groups, namespace)
        }
        _ => return Err(ApiStatus::unknown_path()),
    };
    if let Some(metadata) = review.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.entry("creationTimestamp").or_insert(Value::Null);
    }
    Ok(respond::warn(respond::value(201, &review), &decoded.warnings))
}

fn token(api: &Api, review: &Value) -> Value {
    let token = review.pointer("/spec/token").and_then(Value::as_str).unwrap_or_default();
    let listed = review.pointer("/spec/audiences").and_then(Value::as_array).into_iter().flatten();
    let audiences: Vec<String> = listed.filter_map(|audience| audience.as_str().map(str::to_owned)).collect();
    match api.tokens.authenticate(&api.store, token, &audiences) {
        Ok((user, audiences)) => {
            json!({"authenticated": true, "user": user.to_value(), "audiences": audiences})
        }
        Err(error) => json!({"authenticated": false, "error": error.to_string(), "user": {}}),
    }
}

/// The user that a SubjectAccessReview is about.
fn subject(spec: &Value) -> User {
    let groups = spec.get("groups").and_then(Value::as_array).into_iter().flatten();
    User {
        name: spec.get("user").and_then(Value::as_str).unwrap_or_default().to_owned(),
        groups: groups.filter_map(|group| group.as_str().map(str::to_owned)).collect(),
        ..User::default()
    }
}

fn access(api: &Api, user: &User, spec: &Value) -> Value {
    let text = |part: &str, key: &str| {
        spec.get(part).and_then(|part| part.get(key)).and_then(Value::as_str).unwrap_or_default()
    };
    let base = Attributes { user: &user.name, groups: &user.groups, ..Attributes::default() };
    let attributes = if spec.get("nonResourceAttributes").is_some_and(Value::is_object) {
        Attributes {
            verb: text("nonResourceAttributes", "verb"),
            path: text("nonResourceAttributes", "path"),
            ..base
        }
    } else {
        let part = "resourceAttributes";
        Attributes {
            verb: text(part, "verb"),
            group: text(part, "group"),
            resource: text(part, "resource"),
            subresource: text(part, "subresource"),
            name: text(part, "name"),
            namespace: text(part, "namespace"),
            ..base
        }
    };
    match api.policy().1.authorize(&attributes) {
        Some(reason) => json!({"allowed": true, "reason": reason}),
        None => json!({"allowed": false, "reason": denial(&attributes)}),
    }
}
